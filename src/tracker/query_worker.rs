//! `QueryWorker`: carries out the requests of clients.
//!
//! A request that needs no storage node is answered within the handler of its message; one that waits for a node goes on
//! by itself, so that it holds up nobody else on this worker.

use super::batch::ExecuteBatch;
use super::seat::{Heartbeat, Retire, Seat};
use crate::jobs::context::JobContext;
use crate::jobs::query::dispatch;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::request::Request;
use crate::protocol::response::write_reply;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use futures::FutureExt as _;
use futures::task::noop_waker_ref;
use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

/// Opens what a worker needs, in its own thread.
pub type OpenContext = Arc<dyn Fn() -> Result<JobContext, crate::store::StoreError> + Send + Sync>;

/// Mailbox of a worker: every connection has at most one batch under way, so this bounds the connections that wait for
/// the same worker before senders wait themselves.
const MAILBOX_CAPACITY: usize = 1024;

/// The actor.
pub struct QueryWorker {
    seat: Seat,
    open: OpenContext,
    context: Option<Rc<JobContext>>,
    in_flight: Rc<Cell<usize>>,
    retiring: bool,
    log: slog::Logger,
}

impl QueryWorker {
    pub fn new(seat: Seat, open: OpenContext, log: slog::Logger) -> Self {
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
        match (self.open)() {
            Ok(context) => self.context = Some(Rc::new(context)),
            Err(error) => {
                slog::error!(self.log, "query worker cannot start"; "worker" => self.seat.id, "error" => %error);
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
        context.metrics.queries.add(batch.lines.len() as u64);
        let ExecuteBatch { lines, peer, progress, reply } = batch;
        let mut work = Box::pin(async move {
            let mut replies = Vec::with_capacity(128 * lines.len());
            for line in lines.iter() {
                progress.begin_line();
                answer_guarded(&context, line, peer, &mut replies).await;
            }
            replies
        });
        // Most requests are done in one go; only those that wait are given to the arbiter.
        match work.as_mut().poll(&mut std::task::Context::from_waker(noop_waker_ref())) {
            Poll::Ready(replies) => drop(reply.send(replies)),
            Poll::Pending => {
                let in_flight = self.in_flight.clone();
                in_flight.set(in_flight.get() + 1);
                let rest = async move {
                    let replies = work.await;
                    drop(reply.send(replies));
                };
                ctx.spawn(rest.into_actor(self).map(|(), worker: &mut Self, ctx| {
                    worker.in_flight.set(worker.in_flight.get() - 1);
                    worker.stop_if_done(ctx);
                }));
            }
        }
    }
}

/// A panic in a handler costs its client a `failure`, and nobody else anything.
async fn answer_guarded(context: &JobContext, line: &[u8], peer: std::net::IpAddr, replies: &mut Vec<u8>) {
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
