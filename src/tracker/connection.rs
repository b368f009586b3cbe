//! `ClientConnection`: one client. Reads lines, has them carried out in order, writes the replies in order.
//!
//! One run of pipelined lines at a time: nothing more is read before its replies are handed to the kernel, so memory per
//! client is bounded and replies come in request order (protocol.md 5), also while the client watches the log.

use super::admin;
use super::batch::Lines;
use super::client_stream::{ClientStream, Reader};
use super::hand_over::{Current, Part, Run};
use super::listener::{ClientListener, ConnectionId, Course, Disconnected, Shared};
use super::output::Output;
use super::permissions::{Denial, May, Permissions};
use super::recent::Answered;
use crate::jobs::query::authenticate;
use crate::jobs::query::dispatch::answer_at_once;
use crate::logging::watch::WatchLine;
use crate::protocol::admin::AdminCommand;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::line::{LineBuffer, LineTooLong};
use crate::protocol::request::Request;
use crate::protocol::response::{ErrorReply, write_reply};
use crate::service::hand_over::PassedClient;
use crate::tls::ServerTls;
use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, WrapFuture};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::sync::broadcast;

/// The actor. Its work is one loop; the actor gives it a life and a place to end.
pub struct ClientConnection {
    id: ConnectionId,
    stream: Option<TcpStream>,
    /// For those who are to talk TLS.
    tls: Option<ServerTls>,
    before: Before,
    current: Rc<Current>,
    shared: Rc<Shared>,
    listener: Addr<ClientListener>,
}

/// What is known of a client from the time before its connection was taken over.
#[derive(Debug, Default)]
pub struct Before {
    /// What it has sent already.
    pub unread: Vec<u8>,
    /// The name of the token that it has shown.
    pub token: Option<String>,
}

impl ClientConnection {
    pub fn new(
        id: ConnectionId,
        stream: TcpStream,
        tls: Option<ServerTls>,
        before: Before,
        current: Rc<Current>,
        shared: Rc<Shared>,
        listener: Addr<ClientListener>,
    ) -> Self {
        Self { id, stream: Some(stream), tls, before, current, shared, listener }
    }
}

impl Actor for ClientConnection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(stream) = self.stream.take() else { return };
        let (log, peer) = (self.shared.log.clone(), self.current.peer);
        let before = std::mem::take(&mut self.before);
        let (tls, current, shared) = (self.tls.take(), self.current.clone(), self.shared.clone());
        let conversation = async move {
            let stream = match tls {
                None => stream.into(),
                Some(tls) => match shake_hands(&tls, stream, &shared).await? {
                    Some(stream) => stream,
                    None => return Ok(()),
                },
            };
            converse(stream, before, current, shared).await
        };
        ctx.spawn(conversation.into_actor(self).map(move |ended, _connection, ctx: &mut Context<Self>| {
            if let Err(error) = ended {
                slog::debug!(log, "client connection failed"; "peer" => %peer, "error" => %error);
            }
            ctx.stop();
        }));
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        self.listener.do_send(Disconnected(self.id));
    }
}

/// What to do next.
enum Step {
    Execute(Arc<Lines>),
    Admin(AdminCommand),
    Refuse(LineTooLong),
    /// The line with the token.
    Authenticate(Vec<u8>),
    /// The reply to a line that is not allowed.
    Deny(Vec<u8>),
    Read,
}

/// An answer to a wrong token takes so long.
const WRONG_TOKEN_PAUSE: Duration = Duration::from_secs(1);
/// After so many the connection is closed.
const WRONG_TOKENS_MAX: u32 = 5;

/// What the console answers whom it is not for.
fn console_denial(denial: Denial) -> Vec<u8> {
    let text = match denial {
        Denial::Address => "the console is not for this address",
        Denial::Role(_) => "the console needs the role admin",
    };
    format!("ERROR: {text}\r\n.\r\n").into_bytes()
}

/// The reply to a request that is not allowed.
fn request_denial(denial: Denial, line: &[u8]) -> Vec<u8> {
    let error = match denial {
        Denial::Address => ErrorCode::AccessDenied.into(),
        Denial::Role(role) => ErrorReply::with_text(ErrorCode::AccessDenied, format!("This needs the role {role}")),
    };
    let mut reply = Vec::new();
    write_reply(&Err(error), Request::parse(line).callid(), &mut reply);
    reply
}

/// The talk with one client.
struct Conversation<'a> {
    reader: Reader<'a>,
    output: Output<'a>,
    buffer: LineBuffer,
    line_bytes_max: usize,
    /// Lines of the log for this client; none unless it watches.
    watch: Option<broadcast::Receiver<WatchLine>>,
    current: Rc<Current>,
    may: May,
    /// The rules by which it may.
    rules: Rc<Permissions>,
    /// Where it came to.
    local: SocketAddr,
    /// The name of the token that it has shown.
    token: Option<String>,
    wrong_tokens: u32,
    idle_max: Option<Duration>,
    shared: Rc<Shared>,
}

/// Nothing if the tracker ends meanwhile: nobody has been promised anything yet.
async fn shake_hands(tls: &ServerTls, stream: TcpStream, shared: &Shared) -> io::Result<Option<ClientStream>> {
    let mut course = shared.course.clone();
    tokio::select! {
        accepted = Box::pin(tls.accept(stream)) => {
            accepted.map(|stream| Some(stream.into())).inspect_err(|_error| shared.metrics.tls_handshakes_failed.add(1))
        }
        _ = course.wait_for(Course::ends) => Ok(None),
    }
}

/// Talks until the client or the tracker is done.
async fn converse(
    mut stream: ClientStream,
    before: Before,
    current: Rc<Current>,
    shared: Rc<Shared>,
) -> io::Result<()> {
    let Before { unread, token } = before;
    let (rules, local) = (shared.permissions.borrow().clone(), stream.local_addr()?);
    let may = rules.of_connection(current.peer.ip(), local, token.as_deref());
    let (reader, writer) = stream.split();
    let limits = shared.limits();
    let write_timeout = Duration::from_millis(limits.write_timeout_ms);
    let course = shared.course.clone();
    let mut conversation = Conversation {
        reader,
        output: Output::new(writer, write_timeout, current.peer, shared.log.clone()),
        buffer: LineBuffer::new(limits.line_bytes_max),
        line_bytes_max: limits.line_bytes_max,
        watch: None,
        current,
        may,
        rules,
        local,
        token,
        wrong_tokens: 0,
        idle_max: (limits.idle_timeout_ms > 0).then(|| Duration::from_millis(limits.idle_timeout_ms)),
        shared,
    };
    if !unread.is_empty() {
        conversation.buffer.push(&unread);
    }
    let ended = conversation.run().await?;
    let (watches, unread) = (conversation.watch.is_some(), conversation.buffer.pending().to_vec());
    let token = conversation.token.take();
    let Some(socket) = stream.into_socket() else { return Ok(()) };
    // A watcher watches this process: its log ends here.
    if let (Ended::Between, false, Course::HandOver(successor)) = (ended, watches, &*course.borrow()) {
        // A successor that is gone leaves clients to connect anew.
        let _gone = successor.send(PassedClient { stream: socket.into_std()?, unread, token });
    }
    Ok(())
}

/// Ends when a client has been silent for too long.
async fn idle_out(idle_max: Option<Duration>) {
    if let Some(idle_max) = idle_max {
        tokio::time::sleep(idle_max).await;
    }
}

/// How a talk has ended.
enum Ended {
    /// By the client, or with it.
    Over,
    /// By the tracker, between two requests.
    Between,
}

impl Conversation<'_> {
    async fn run(&mut self) -> io::Result<Ended> {
        let mut deferred = None;
        loop {
            let step = match deferred.take() {
                Some(step) => step,
                None => self.next_step(&mut deferred),
            };
            match step {
                Step::Execute(lines) => {
                    if self.answer_at_once(&lines).await? {
                        // A client that sends on and on gives turns to the others.
                        if lines.len() == self.shared.limits.borrow().pipeline_batch_max {
                            tokio::task::yield_now().await;
                        }
                    } else {
                        self.execute(lines).await?;
                    }
                }
                Step::Admin(AdminCommand::Shutdown) => {
                    self.shared.supervisor.do_send(super::supervisor::StopTracker);
                    return Ok(Ended::Over);
                }
                Step::Admin(AdminCommand::Watch) => self.toggle_watch().await?,
                Step::Admin(command) => {
                    let reply = admin::answer(&self.shared, &command).await;
                    self.output.write(&reply).await?;
                }
                Step::Refuse(LineTooLong) => {
                    self.refuse_line().await?;
                    return Ok(Ended::Over);
                }
                Step::Deny(reply) => {
                    self.shared.metrics.requests_denied.add(1);
                    self.output.write(&reply).await?;
                }
                Step::Authenticate(line) => {
                    self.authenticate(&line).await?;
                    if self.wrong_tokens == WRONG_TOKENS_MAX {
                        return Ok(Ended::Over);
                    }
                }
                Step::Read => match self.read().await? {
                    Some(Ended::Between) => return Ok(Ended::Between),
                    Some(Ended::Over) => return Ok(Ended::Over),
                    None => {}
                },
            }
        }
    }

    /// Takes as many whole lines as make a batch. A step that must come after them is deferred.
    fn next_step(&mut self, deferred: &mut Option<Step>) -> Step {
        self.follow_rules();
        let mut lines = Lines::default();
        let next = loop {
            if lines.len() == self.shared.limits.borrow().pipeline_batch_max {
                break None;
            }
            match self.buffer.next_line() {
                Ok(Some(line)) => match crate::protocol::admin::parse(line) {
                    Some(command) => {
                        let denial = self.may.denies_console();
                        break Some(denial.map_or(Step::Admin(command), |why| Step::Deny(console_denial(why))));
                    }
                    None if authenticate::is_authenticate(line) => break Some(Step::Authenticate(line.to_vec())),
                    None => match self.may.denies(line) {
                        // What comes after a line that says who this is may be allowed then.
                        Some(why) => break Some(Step::Deny(request_denial(why, line))),
                        None => lines.push(line),
                    },
                },
                Ok(None) => break Some(Step::Read),
                Err(too_long) => break Some(Step::Refuse(too_long)),
            }
        };
        match (lines.is_empty(), next) {
            (true, Some(step)) => step,
            (_, next) => {
                *deferred = next.filter(|step| !matches!(step, Step::Read));
                Step::Execute(Arc::new(lines))
            }
        }
    }

    /// Rules that have changed count from the next request on.
    fn follow_rules(&mut self) {
        let rules = self.shared.permissions.borrow();
        if !Rc::ptr_eq(&rules, &self.rules) {
            self.may = rules.of_connection(self.current.peer.ip(), self.local, self.token.as_deref());
            self.rules = rules.clone();
        }
    }

    /// Somebody says who he is. The line is kept nowhere.
    async fn authenticate(&mut self, line: &[u8]) -> io::Result<()> {
        let mut reply = Vec::new();
        match authenticate::answer(line, &self.rules.tokens, &mut reply) {
            Some(token) => {
                self.may.set_role(token.role);
                self.token = Some(token.name.clone());
            }
            None => {
                self.wrong_tokens += 1;
                self.shared.metrics.requests_denied.add(1);
                slog::warn!(self.shared.log, "a client has shown a token that is not known"; "peer" => %self.current.peer);
                tokio::time::sleep(WRONG_TOKEN_PAUSE).await;
            }
        }
        self.output.write(&reply).await
    }

    /// Reads what is there; or how the talk ends, when the client (or the tracker) is done.
    ///
    /// Polls the stream itself, into the buffer that all connections share: after a read that did not fill the buffer
    /// the runtime knows that nothing is left, where a separate wait for readiness would cost one more system call.
    async fn read(&mut self) -> io::Result<Option<Ended>> {
        let mut course = self.shared.course.clone();
        // The successor reads what waits in the socket.
        if matches!(&*course.borrow(), Course::HandOver(_)) {
            return Ok(Some(Ended::Between));
        }
        let Self { reader, output, buffer, watch, idle_max, shared, .. } = self;
        let read = poll_fn(|cx| {
            let mut shared_buffer = shared.read_buffer.borrow_mut();
            let mut filled = ReadBuf::new(&mut shared_buffer);
            ready!(reader.poll_read(cx, &mut filled))?;
            buffer.push(filled.filled());
            Poll::Ready(Ok(filled.filled().is_empty().then_some(Ended::Over)))
        });
        let watches = watch.is_some();
        tokio::select! {
            read = read => read,
            error = output.pass_on(watch), if watches => Err(error),
            _ = course.wait_for(Course::ends) => Ok(Some(Ended::Between)),
            // Who watches the log has a reason to be silent.
            () = idle_out(*idle_max), if idle_max.is_some() && !watches => Ok(Some(Ended::Over)),
        }
    }

    /// Has the lines carried out and writes their replies before anything more is read. A client that resets
    /// the connection meanwhile is noticed, and what it still wants is dropped.
    async fn execute(&mut self, lines: Arc<Lines>) -> io::Result<()> {
        let mut run = Run::new(lines, self.current.clone(), self.shared.clone());
        let Self { reader, output, watch, .. } = self;
        let watches = watch.is_some();
        loop {
            let part = tokio::select! {
                biased;
                part = run.next() => part,
                error = output.pass_on(watch), if watches => return Err(error),
                gone = reader.is_reset() => {
                    return gone.and(Err(io::ErrorKind::ConnectionReset.into()));
                }
            };
            let Some(Part { bytes, answered }) = part else { return Ok(()) };
            output.write(&bytes).await?;
            self.shared.note_answered(&bytes, answered);
        }
    }

    /// Answers what needs no worker, without the way to one and back. False if one of the lines does need one; nothing is
    /// done then. Before there are workers everything waits, as in the reference (protocol.md 5).
    async fn answer_at_once(&mut self, lines: &Arc<Lines>) -> io::Result<bool> {
        if self.shared.workers.borrow().is_empty() {
            return Ok(false);
        }
        let (begun, peer) = (Instant::now(), self.current.peer.ip());
        let mut replies = Vec::new();
        if !lines.iter_from(0).all(|line| answer_at_once(&self.shared.view, line, peer, &mut replies)) {
            return Ok(false);
        }
        let elapsed = begun.elapsed();
        self.shared.metrics.queries.add(lines.len() as u64);
        self.output.write(&replies).await?;
        let each_us = elapsed.as_micros() / lines.len().max(1) as u128;
        let times_us = vec![u32::try_from(each_us).unwrap_or(u32::MAX); lines.len()];
        let answered = Answered { peer, lines: lines.clone(), from: 0, times_us, elapsed };
        self.shared.note_answered(&replies, answered);
        Ok(true)
    }

    async fn toggle_watch(&mut self) -> io::Result<()> {
        let text: &[u8] = match self.watch.take() {
            Some(_lines) => b"Removed you from watcher list.\r\n.\r\n",
            None => {
                self.watch = Some(self.shared.watch_bus.watch());
                b"Added you to watcher list.\r\n.\r\n"
            }
        };
        self.output.write(text).await
    }

    async fn refuse_line(&self) -> io::Result<()> {
        let text = format!("Request line is longer than {} bytes", self.line_bytes_max);
        let mut reply = Vec::new();
        write_reply(&Err(ErrorReply::with_text(ErrorCode::BadArgs, text)), None, &mut reply);
        self.output.write(&reply).await
    }
}
