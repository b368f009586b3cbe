//! `QueryWorker`: carries out the requests of clients.
//!
//! A request that needs no storage node is answered within the handler of its message; one that waits for a node goes on
//! by itself, so that it holds up nobody else on this worker.

use super::batch::{ExecuteBatch, Lines, Progress, Replies};
use super::seat::{Heartbeat, Retire, Seat};
use crate::jobs::context::JobContext;
use crate::jobs::query::dispatch;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::request::Request;
use crate::protocol::response::write_reply;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use futures::FutureExt as _;
use futures::task::noop_waker_ref;
use slog::Logger;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
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
/// Room for a usual reply.
const REPLY_BYTES_USUAL: usize = 128;

/// The actor.
pub struct QueryWorker {
    seat: Seat,
    open: OpenContext,
    context: Option<Rc<JobContext>>,
    in_flight: Rc<Cell<usize>>,
    retiring: bool,
    log: Logger,
}

impl QueryWorker {
    pub fn new(seat: Seat, open: OpenContext, log: Logger) -> Self {
        Self { seat, open, context: None, in_flight: Rc::default(), retiring: false, log }
    }

    fn stop_if_done(&self, ctx: &mut Context<Self>) {
        if self.retiring && self.in_flight.get() == 0 {
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
        let ExecuteBatch { lines, from, peer, progress, reply } = batch;
        let begun_before = progress.begun();
        let ready = Rc::new(Ready { reply: RefCell::new(Some(reply)), replies: RefCell::default() });
        let batch = Batch { lines, from, peer, progress: progress.clone(), ready: ready.clone() };
        let mut work = Box::pin(carry_out(context.clone(), batch));
        // Most requests are done in one go; only those that wait are given to the arbiter.
        let polled = work.as_mut().poll(&mut std::task::Context::from_waker(noop_waker_ref()));
        context.metrics.queries.add(progress.begun().saturating_sub(begun_before) as u64);
        match polled {
            Poll::Ready(()) => ready.deliver_last(),
            Poll::Pending => {
                ready.deliver_before_waiting();
                self.go_on(context, work, ready, progress, ctx);
            }
        }
    }
}

impl QueryWorker {
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
            ready.deliver_last();
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
}

impl Ready {
    fn is_abandoned(&self) -> bool {
        self.reply.borrow().as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Takes over the bytes of one line's reply.
    fn add(&self, reply: &mut Vec<u8>, time: Duration) {
        let mut replies = self.replies.borrow_mut();
        if replies.bytes.is_empty() {
            std::mem::swap(&mut replies.bytes, reply);
        } else {
            replies.bytes.append(reply);
        }
        replies.times_us.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    fn bytes_len(&self) -> usize {
        self.replies.borrow().bytes.len()
    }

    /// What is ready need not wait for the line that does.
    fn deliver_before_waiting(&self) {
        let mut replies = self.replies.borrow_mut();
        if replies.times_us.is_empty() {
            return;
        }
        let (sender, rest) = oneshot::channel();
        replies.rest = Some(rest);
        if let Some(reply) = self.reply.replace(Some(sender)) {
            // A client that is gone needs no reply; the next line is not begun then.
            let _gone = reply.send(std::mem::take(&mut *replies));
        }
    }

    fn deliver_last(&self) {
        if let Some(reply) = self.reply.take() {
            let _gone = reply.send(self.replies.take());
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
async fn carry_out(context: Rc<JobContext>, batch: Batch) {
    let reply_bytes_max = context.settings.limits.reply_buffer_bytes;
    let begun = Instant::now();
    let (mut before, mut reply) = (begun, Vec::with_capacity(REPLY_BYTES_USUAL));
    for line in batch.lines.iter_from(batch.from) {
        if batch.ready.is_abandoned() {
            return;
        }
        batch.progress.begin_line();
        answer_guarded(&context, line, batch.peer, &mut reply).await;
        let now = Instant::now();
        batch.ready.add(&mut reply, now - before);
        if batch.ready.bytes_len() >= reply_bytes_max || now - begun >= TURN {
            return;
        }
        before = now;
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
