//! `ClientConnection`: one client. Reads lines, has them carried out in order, writes the replies in order.
//!
//! One run of pipelined lines at a time: nothing more is read before its replies are handed to the kernel, so memory per
//! client is bounded and replies come in request order (protocol.md 5).

use super::admin;
use super::batch::{ExecuteBatch, Lines, Progress};
use super::listener::{ClientListener, ConnectionId, Disconnected, Shared};
use super::pool::Handle;
use super::query_worker::QueryWorker;
use crate::protocol::admin::AdminCommand;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::line::{LineBuffer, LineTooLong};
use crate::protocol::request::Request;
use crate::protocol::response::{ErrorReply, write_reply};
use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, WrapFuture};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Pause before another try when every worker's mailbox is full.
const FULL_PAUSE: Duration = Duration::from_millis(2);
/// A worker answers within the limit of each request; so much longer, and it counts as lost.
const WORKER_GRACE: Duration = Duration::from_secs(5);

/// What a connection waits for; read by the console.
pub struct Current {
    pub peer: IpAddr,
    lines: RefCell<Arc<Lines>>,
    progress: Progress,
}

impl Current {
    pub fn new(peer: IpAddr) -> Self {
        Self { peer, lines: RefCell::default(), progress: Progress::default() }
    }

    /// Requests that no worker has begun.
    pub fn waiting(&self) -> Vec<String> {
        let lines = self.lines.borrow();
        lines.iter().skip(self.progress.begun()).map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    /// Is a request being carried out?
    pub fn is_processing(&self) -> bool {
        self.progress.begun() > 0 && !self.lines.borrow().is_empty()
    }

    fn begin(&self, lines: &Arc<Lines>) {
        self.progress.reset();
        self.lines.replace(lines.clone());
    }

    fn end(&self) {
        self.lines.replace(Arc::default());
        self.progress.reset();
    }
}

/// The actor. Its work is one loop; the actor gives it a life and a place to end.
pub struct ClientConnection {
    id: ConnectionId,
    stream: Option<TcpStream>,
    current: Rc<Current>,
    shared: Rc<Shared>,
    listener: Addr<ClientListener>,
}

impl ClientConnection {
    pub fn new(
        id: ConnectionId,
        stream: TcpStream,
        current: Rc<Current>,
        shared: Rc<Shared>,
        listener: Addr<ClientListener>,
    ) -> Self {
        Self { id, stream: Some(stream), current, shared, listener }
    }
}

impl Actor for ClientConnection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(stream) = self.stream.take() else { return };
        let conversation = Conversation {
            stream,
            buffer: LineBuffer::new(self.shared.limits.line_bytes_max),
            current: self.current.clone(),
            shared: self.shared.clone(),
        };
        let (log, peer) = (self.shared.log.clone(), self.current.peer);
        ctx.spawn(conversation.run().into_actor(self).map(move |ended, _connection, ctx: &mut Context<Self>| {
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
    Read,
}

/// The talk with one client.
struct Conversation {
    stream: TcpStream,
    buffer: LineBuffer,
    current: Rc<Current>,
    shared: Rc<Shared>,
}

impl Conversation {
    async fn run(mut self) -> io::Result<()> {
        let mut deferred = None;
        loop {
            let step = match deferred.take() {
                Some(step) => step,
                None => self.next_step(&mut deferred),
            };
            match step {
                Step::Execute(lines) => {
                    let replies = self.execute(lines).await;
                    self.write(&replies).await?;
                }
                Step::Admin(AdminCommand::Shutdown) => {
                    self.shared.supervisor.do_send(super::supervisor::StopTracker);
                    return Ok(());
                }
                Step::Admin(command) => {
                    let reply = admin::answer(&self.shared, &command).await;
                    self.write(&reply).await?;
                }
                Step::Refuse(LineTooLong) => return self.refuse_line().await,
                Step::Read => {
                    if !self.read().await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Takes as many whole lines as make a batch. A step that must come after them is deferred.
    fn next_step(&mut self, deferred: &mut Option<Step>) -> Step {
        let mut lines = Lines::default();
        let next = loop {
            if lines.len() == self.shared.limits.pipeline_batch_max {
                break None;
            }
            match self.buffer.next_line() {
                Ok(Some(line)) => match crate::protocol::admin::parse(line) {
                    Some(command) => break Some(Step::Admin(command)),
                    None => lines.push(line),
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

    /// Reads what is there; false when the client (or the tracker) is done.
    ///
    /// Polls the stream itself, into the buffer that all connections share: after a read that did not fill the buffer
    /// the runtime knows that nothing is left, where a separate wait for readiness would cost one more system call.
    async fn read(&mut self) -> io::Result<bool> {
        let mut stopping = self.shared.stopping.clone();
        let (stream, lines, shared) = (&mut self.stream, &mut self.buffer, &self.shared);
        let read = poll_fn(|cx| {
            let mut buffer = shared.read_buffer.borrow_mut();
            let mut filled = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut filled))?;
            lines.push(filled.filled());
            Poll::Ready(Ok(!filled.filled().is_empty()))
        });
        tokio::select! {
            read = read => read,
            _ = stopping.wait_for(|&stopping| stopping) => Ok(false),
        }
    }

    /// A reader that takes nothing for the whole write timeout is cut off.
    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        let limit = Duration::from_millis(self.shared.limits.write_timeout_ms);
        while !bytes.is_empty() {
            match self.stream.try_write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match tokio::time::timeout(limit, self.stream.writable()).await {
                        Ok(ready) => ready?,
                        Err(_elapsed) => {
                            slog::warn!(self.shared.log, "write timeout expired"; "peer" => %self.current.peer);
                            return Err(io::ErrorKind::TimedOut.into());
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn refuse_line(&self) -> io::Result<()> {
        let text = format!("Request line is longer than {} bytes", self.shared.limits.line_bytes_max);
        let mut reply = Vec::new();
        write_reply(&Err(ErrorReply::with_text(ErrorCode::BadArgs, text)), None, &mut reply);
        self.write(&reply).await
    }

    /// Has the lines carried out by one worker; gives all replies.
    async fn execute(&self, lines: Arc<Lines>) -> Vec<u8> {
        self.current.begin(&lines);
        let per_request = Duration::from_millis(self.shared.limits.request_timeout_ms);
        let limit = per_request * u32::try_from(lines.len()).unwrap_or(u32::MAX) + WORKER_GRACE;
        let replies = loop {
            let worker = self.idle_worker().await;
            match self.send(&worker, &lines, limit).await {
                Outcome::Done(replies) => break replies,
                Outcome::NotBegun => tokio::time::sleep(FULL_PAUSE).await,
                Outcome::Lost => break failures(&lines),
            }
        };
        self.current.end();
        replies
    }

    async fn send(&self, worker: &Handle<QueryWorker>, lines: &Arc<Lines>, limit: Duration) -> Outcome {
        let (reply, answer) = oneshot::channel();
        let progress = self.current.progress.clone();
        let batch = ExecuteBatch { lines: lines.clone(), peer: self.current.peer, progress, reply };
        worker.load.fetch_add(1, Ordering::Relaxed);
        let outcome = match worker.addr.try_send(batch) {
            Err(_full_or_closed) => Outcome::NotBegun,
            Ok(()) => match tokio::time::timeout(limit, answer).await {
                Ok(Ok(replies)) => Outcome::Done(replies),
                // The worker went before it began: another one can.
                Ok(Err(_dropped)) if self.current.progress.begun() == 0 => Outcome::NotBegun,
                Ok(Err(_dropped)) => Outcome::Lost,
                Err(_elapsed) => Outcome::Lost,
            },
        };
        worker.load.fetch_sub(1, Ordering::Relaxed);
        outcome
    }

    /// An idle worker, else the least busy one; waits while there is none (before the first monitor round).
    async fn idle_worker(&self) -> Handle<QueryWorker> {
        let mut workers = self.shared.workers.clone();
        loop {
            if let Some(worker) = self.least_busy() {
                return worker;
            }
            if workers.changed().await.is_err() {
                // The pool is gone: the tracker stops, and with it this connection.
                std::future::pending::<()>().await;
            }
        }
    }

    fn least_busy(&self) -> Option<Handle<QueryWorker>> {
        let workers = self.shared.workers.borrow();
        let mut best: Option<(&Handle<QueryWorker>, usize)> = None;
        for worker in workers.iter() {
            let load = worker.load.load(Ordering::Relaxed);
            if load == 0 {
                return Some(worker.clone());
            }
            if best.is_none_or(|(_, least)| load < least) {
                best = Some((worker, load));
            }
        }
        self.shared.metrics.times_out_of_qworkers.add(1);
        best.map(|(worker, _)| worker.clone())
    }
}

enum Outcome {
    Done(Vec<u8>),
    NotBegun,
    Lost,
}

/// One `failure` per line: the worker died in the middle, and what it did is not known.
fn failures(lines: &Lines) -> Vec<u8> {
    let mut replies = Vec::new();
    for line in lines.iter() {
        write_reply(&Err(ErrorCode::Failure.into()), Request::parse(line).callid(), &mut replies);
    }
    replies
}
