//! `QueryWorker`: carries out the requests of clients.
//!
//! A request that needs no storage node is answered within the handler of its message; one that waits for a node goes on
//! by itself, so that it holds up nobody else on this worker. Look-ups that have come meanwhile are made together.

use super::batch::{ExecuteBatch, Lines, Progress, Replies};
use super::seat::{Heartbeat, Retire, Seat};
use crate::jobs::context::JobContext;
use crate::jobs::query::{dispatch, together};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::request::Request;
use crate::protocol::response::write_reply;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use futures::FutureExt as _;
use futures::task::noop_waker_ref;
use slog::Logger;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Opens what a worker needs, in its own thread; the worker logs to this logger.
pub type OpenContext = Arc<dyn Fn(&Logger) -> Result<JobContext, crate::store::StoreError> + Send + Sync>;

/// Mailbox of a worker: every connection has at most one batch under way, so this bounds the connections that wait for
/// the same worker before senders wait themselves.
const MAILBOX_CAPACITY: usize = 1024;
/// After so long on one batch, others get their turn.
const TURN: Duration = Duration::from_millis(5);
/// Lines between two looks at the clock.
const LINES_PER_CLOCK: usize = 8;
/// Room for a usual reply.
const REPLY_BYTES_USUAL: usize = 128;

/// The actor.
pub struct QueryWorker {
    seat: Seat,
    open: OpenContext,
    context: Option<Rc<JobContext>>,
    in_flight: Rc<Cell<usize>>,
    /// Batches that begin with a look-up, until [`MakeLookUps`] comes.
    look_ups: Vec<ExecuteBatch>,
    retiring: bool,
    log: Logger,
}

impl QueryWorker {
    pub fn new(seat: Seat, open: OpenContext, log: Logger) -> Self {
        Self { seat, open, context: None, in_flight: Rc::default(), look_ups: Vec::new(), retiring: false, log }
    }

    fn stop_if_done(&self, ctx: &mut Context<Self>) {
        if self.retiring && self.in_flight.get() == 0 && self.look_ups.is_empty() {
            ctx.stop();
        }
    }
}

impl Actor for QueryWorker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_CAPACITY);
        match (self.open)(&self.log) {
            Ok(context) => self.context = Some(Rc::new(context)),
            Err(error) => {
                slog::error!(self.log, "worker cannot start"; "error" => %error);
                ctx.stop();
            }
        }
        self.seat.beat();
    }
}

impl Handler<ExecuteBatch> for QueryWorker {
    type Result = ();

    fn handle(&mut self, batch: ExecuteBatch, ctx: &mut Self::Context) {
        self.seat.beat();
        // Without a context the worker is stopping; the dropped reply tells the connection.
        let Some(context) = self.context.clone() else { return };
        if batch.next_line().is_some_and(together::is_look_up) && together::is_worth_while(&context) {
            if self.look_ups.is_empty() {
                // Comes when all messages are handled that are here now.
                ctx.notify(MakeLookUps);
            }
            self.look_ups.push(batch);
        } else {
            self.execute(context, batch, ctx);
        }
    }
}

/// Carry out the batches that begin with look-ups.
#[derive(Message)]
#[rtype(result = "()")]
struct MakeLookUps;

impl Handler<MakeLookUps> for QueryWorker {
    type Result = ();

    fn handle(&mut self, _: MakeLookUps, ctx: &mut Self::Context) {
        let batches = std::mem::take(&mut self.look_ups);
        let Some(context) = self.context.clone() else { return };
        look_up_together(&context, &batches);
        for batch in batches {
            self.execute(context.clone(), batch, ctx);
        }
        together::forget(&context);
        self.stop_if_done(ctx);
    }
}

/// What the lines ask for with which the batches begin. A panic here is met again, and answered, by the request it is of.
fn look_up_together(context: &JobContext, batches: &[ExecuteBatch]) {
    let lines = batches.iter().flat_map(|batch| {
        let lines = batch.lines.iter_from(batch.from).take_while(|line| together::is_look_up(line));
        lines.map(|line| (line, batch.peer))
    });
    if catch_unwind(AssertUnwindSafe(|| together::look_up(context, lines))).is_err() {
        together::forget(context);
        slog::crit!(context.log, "looking up together panicked"; "requests" => batches.len());
    }
}

impl QueryWorker {
    fn execute(&self, context: Rc<JobContext>, batch: ExecuteBatch, ctx: &mut Context<Self>) {
        let ExecuteBatch { lines, from, peer, progress, reply } = batch;
        let begun_before = progress.begun();
        let ready = Rc::new(Ready::new(reply));
        let batch = Batch { lines, from, peer, progress: progress.clone(), ready: ready.clone() };
        let mut work = Box::pin(carry_out(context.clone(), batch));
        // Most requests are done in one go; only those that wait are given to the arbiter.
        let polled = work.as_mut().poll(&mut std::task::Context::from_waker(noop_waker_ref()));
        context.metrics.queries.add(progress.begun().saturating_sub(begun_before) as u64);
        match polled {
            Poll::Ready(()) => ready.deliver_last(true),
            Poll::Pending => {
                ready.deliver_before_waiting();
                self.go_on(context, work, ready, progress, ctx);
            }
        }
    }

    /// Carries on by itself with a batch whose line waits for something.
    fn go_on(
        &self,
        context: Rc<JobContext>,
        mut work: Pin<Box<impl Future<Output = ()> + 'static>>,
        ready: Rc<Ready>,
        progress: Progress,
        ctx: &mut Context<Self>,
    ) {
        let in_flight = self.in_flight.clone();
        in_flight.set(in_flight.get() + 1);
        let begun_before = progress.begun();
        let rest = async move {
            poll_fn(|cx| {
                let polled = work.as_mut().poll(cx);
                if polled.is_pending() {
                    ready.deliver_before_waiting();
                }
                polled
            })
            .await;
            context.metrics.queries.add(progress.begun().saturating_sub(begun_before) as u64);
            ready.deliver_last(false);
        };
        ctx.spawn(rest.into_actor(self).map(|(), worker: &mut Self, ctx| {
            worker.in_flight.set(worker.in_flight.get() - 1);
            worker.stop_if_done(ctx);
        }));
    }
}

/// What of a batch is done and not delivered yet.
struct Ready {
    reply: RefCell<Option<oneshot::Sender<Replies>>>,
    replies: RefCell<Replies>,
    /// When the clock was read last, and how many replies have their time until then.
    timed: Cell<(Instant, usize)>,
    /// The line under way has waited.
    waited: Cell<bool>,
}

impl Ready {
    fn new(reply: oneshot::Sender<Replies>) -> Self {
        let (reply, replies) = (RefCell::new(Some(reply)), RefCell::default());
        Self { reply, replies, timed: Cell::new((Instant::now(), 0)), waited: Cell::new(false) }
    }

    fn is_abandoned(&self) -> bool {
        self.reply.borrow().as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Takes over the bytes of one line's reply.
    fn add(&self, reply: &mut Vec<u8>) {
        let mut replies = self.replies.borrow_mut();
        if replies.bytes.is_empty() {
            std::mem::swap(&mut replies.bytes, reply);
        } else {
            replies.bytes.append(reply);
        }
        replies.times_us.push(0);
    }

    /// Reads the clock, and divides the time since the last reading among the replies that came since then.
    fn share_time(&self) -> Instant {
        let (now, (before, timed)) = (Instant::now(), self.timed.get());
        let times = &mut self.replies.borrow_mut().times_us;
        if let Ok(count @ 1..) = u32::try_from(times.len() - timed) {
            let share = (now - before) / count;
            times[timed..].fill(u32::try_from(share.as_micros()).unwrap_or(u32::MAX));
            self.timed.set((now, times.len()));
        }
        now
    }

    fn bytes_len(&self) -> usize {
        self.replies.borrow().bytes.len()
    }

    /// What is ready need not wait for the line that does.
    fn deliver_before_waiting(&self) {
        self.waited.set(true);
        if self.replies.borrow().times_us.is_empty() {
            return;
        }
        self.share_time();
        let (sender, rest) = oneshot::channel();
        let mut replies = self.replies.take();
        replies.rest = Some(rest);
        if let Some(reply) = self.reply.replace(Some(sender)) {
            // A client that is gone needs no reply; the next line is not begun then.
            let _gone = reply.send(replies);
        }
        self.timed.set((self.timed.get().0, 0));
    }

    fn deliver_last(&self, is_prompt: bool) {
        self.share_time();
        if let Some(reply) = self.reply.take() {
            let _gone = reply.send(Replies { is_prompt, ..self.replies.take() });
        }
    }
}

/// A batch as it is carried out.
struct Batch {
    lines: Arc<Lines>,
    from: usize,
    peer: IpAddr,
    progress: Progress,
    ready: Rc<Ready>,
}

/// One line after the other, until all are done, the client is gone, or it is time to deliver and let others go first.
///
/// The clock is read once for several lines, which then share the time: reading it costs a twentieth of a cheap request.
/// A line that waited has its own time.
async fn carry_out(context: Rc<JobContext>, batch: Batch) {
    let Batch { lines, from, peer, progress, ready } = batch;
    let reply_bytes_max = context.settings.limits.reply_buffer_bytes;
    let begun = ready.timed.get().0;
    let mut reply = Vec::with_capacity(REPLY_BYTES_USUAL);
    for (number, line) in (from + 1..).zip(lines.iter_from(from)) {
        if ready.is_abandoned() {
            return;
        }
        if !together::is_look_up(line) {
            together::forget(&context);
        }
        progress.begin_line();
        answer_guarded(&context, line, peer, &mut reply).await;
        ready.add(&mut reply);
        let reads_clock = ready.waited.take() || number % LINES_PER_CLOCK == 0;
        if reads_clock && ready.share_time() - begun >= TURN || ready.bytes_len() >= reply_bytes_max {
            return;
        }
    }
}

/// A panic in a handler costs its client a `failure`, and nobody else anything.
async fn answer_guarded(context: &JobContext, line: &[u8], peer: IpAddr, replies: &mut Vec<u8>) {
    let before = replies.len();
    let done = AssertUnwindSafe(dispatch::answer(context, line, peer, replies)).catch_unwind().await;
    if done.is_err() {
        replies.truncate(before);
        let request = Request::parse(line);
        slog::crit!(context.log, "request panicked"; "command" => &request.command);
        write_reply(&Err(ErrorCode::Failure.into()), request.callid(), replies);
    }
}

impl Handler<Heartbeat> for QueryWorker {
    type Result = ();

    fn handle(&mut self, _: Heartbeat, _ctx: &mut Self::Context) {
        self.seat.beat();
    }
}

impl Handler<Retire> for QueryWorker {
    type Result = ();

    fn handle(&mut self, _: Retire, ctx: &mut Self::Context) {
        self.retiring = true;
        self.stop_if_done(ctx);
    }
}
