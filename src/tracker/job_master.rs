//! `JobMaster`: claims rows of the queues for this tracker and hands them to the workers that ask.
//!
//! Rows are claimed only for a queue whose workers wait (config-and-startup.md 14, defect 11). Local changes wake it at
//! once by [`WakeJobs`]; rows of other trackers are found by looking, at least every `jobs.poll_interval_ms`.
//! Claims are compatible with trackers of the reference on the same database (jobs.md 6.3).

use super::seat::{Heartbeat, Retire, Seat};
use crate::cluster::ClusterView;
use crate::metrics::{JobMetrics, Metrics};
use crate::notices::WakeJobs;
use crate::settings::Settings;
use crate::store::queues::delete::DeleteTodo;
use crate::store::queues::replicate::ReplicateTodo;
use crate::store::{Session, Store, StoreResult, queues};
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use slog::Logger;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// Rows that a first claim asks for, how the number grows while the queue runs dry, and its usual limit (jobs.md 6.2).
const ROWS_FIRST: i64 = 100;
const ROWS_STEP: i64 = 50;
const ROWS_MAX_DEFAULT: i64 = 500;

/// A worker asks for rows; answered as soon as there are some.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct TakeWork<T: Send + 'static> {
    /// As many as the worker has room for.
    pub rows_max: usize,
    pub reply: oneshot::Sender<Vec<T>>,
}

/// Claimed rows of one kind, and the workers that wait for some.
struct Desk<T: Send + 'static> {
    rows: VecDeque<T>,
    waiting: VecDeque<TakeWork<T>>,
    rows_limit: i64,
    metrics: JobMetrics,
}

impl<T: Send + 'static> Desk<T> {
    fn new(metrics: JobMetrics) -> Self {
        Self { rows: VecDeque::new(), waiting: VecDeque::new(), rows_limit: ROWS_FIRST, metrics }
    }

    /// How many rows to claim now; none while nobody waits or enough is here.
    fn rows_to_claim(&mut self, rows_max: i64) -> i64 {
        self.waiting.retain(|waiter| !waiter.reply.is_closed());
        if self.waiting.is_empty() || !self.rows.is_empty() {
            return 0;
        }
        if self.rows_limit < rows_max {
            self.rows_limit += ROWS_STEP;
        }
        self.rows_limit
    }

    fn put(&mut self, rows: Vec<T>) {
        if rows.is_empty() {
            self.rows_limit = ROWS_FIRST;
        }
        self.rows.extend(rows);
        self.hand_out();
    }

    fn ask(&mut self, question: TakeWork<T>) {
        self.waiting.push_back(question);
        self.hand_out();
    }

    fn hand_out(&mut self) {
        while !self.rows.is_empty()
            && let Some(TakeWork { rows_max, reply }) = self.waiting.pop_front()
        {
            let count = rows_max.min(self.rows.len());
            let rows: Vec<T> = self.rows.drain(..count).collect();
            match reply.send(rows) {
                Ok(()) => self.metrics.sent.add(count as u64),
                // The worker is gone: the rows are for the next one, in their old order.
                Err(rows) => rows.into_iter().rev().for_each(|row| self.rows.push_front(row)),
            }
        }
        self.metrics.waiting.set(self.rows.len() as u64);
    }
}

struct Desks {
    replicate: Desk<ReplicateTodo>,
    delete: Desk<DeleteTodo>,
}

/// The actor; one per tracker.
pub struct JobMaster {
    seat: Seat,
    store: Store,
    settings: Arc<Settings>,
    view: ClusterView,
    desks: Rc<RefCell<Desks>>,
    wake: Rc<Notify>,
    retiring: Rc<Cell<bool>>,
    log: Logger,
}

impl JobMaster {
    pub fn new(
        seat: Seat,
        store: Store,
        settings: Arc<Settings>,
        view: ClusterView,
        metrics: &Metrics,
        log: Logger,
    ) -> Self {
        let desks =
            Desks { replicate: Desk::new(metrics.replicate.clone()), delete: Desk::new(metrics.delete.clone()) };
        Self {
            seat,
            store,
            settings,
            view,
            desks: Rc::new(RefCell::new(desks)),
            wake: Rc::default(),
            retiring: Rc::default(),
            log,
        }
    }
}

impl Actor for JobMaster {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.seat.beat();
        let session = match self.store.session() {
            Ok(session) => session,
            Err(error) => {
                slog::error!(self.log, "worker cannot start"; "error" => %error);
                ctx.stop();
                return;
            }
        };
        let rounds = Rounds {
            session,
            desks: self.desks.clone(),
            wake: self.wake.clone(),
            retiring: self.retiring.clone(),
            view: self.view.clone(),
            pause: Duration::from_millis(self.settings.jobs.poll_interval_ms),
            log: self.log.clone(),
        };
        ctx.spawn(rounds.run().into_actor(self).map(|(), _master, ctx: &mut Context<Self>| ctx.stop()));
    }
}

/// The look-and-claim loop.
struct Rounds {
    session: Session,
    desks: Rc<RefCell<Desks>>,
    wake: Rc<Notify>,
    retiring: Rc<Cell<bool>>,
    view: ClusterView,
    pause: Duration,
    log: Logger,
}

impl Rounds {
    async fn run(self) {
        let mut failing = false;
        while !self.retiring.get() {
            let looked = self.look().await;
            match &looked {
                Err(error) if !failing => {
                    slog::error!(self.log, "cannot look at the queues; trying again"; "error" => %error);
                }
                Ok(_) if failing => slog::info!(self.log, "looking at the queues again"),
                _ => {}
            }
            failing = looked.is_err();
            if !looked.unwrap_or(false) {
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(self.pause) => {}
                }
            }
        }
        if let Err(error) = self.give_back().await {
            slog::warn!(self.log, "could not give back rows; they come back when their claim runs out"; "error" => %error);
        }
    }

    /// Rows that were claimed and not handed out would otherwise wait until their claim runs out, with one copy each.
    async fn give_back(&self) -> StoreResult<()> {
        let (replicate, delete) = {
            let mut desks = self.desks.borrow_mut();
            (std::mem::take(&mut desks.replicate.rows), std::mem::take(&mut desks.delete.rows))
        };
        if replicate.is_empty() && delete.is_empty() {
            return Ok(());
        }
        slog::debug!(self.log, "giving back rows"; "replicate" => replicate.len(), "delete" => delete.len());
        self.session
            .write(move |conn| {
                for todo in &replicate {
                    queues::replicate::release(conn, todo)?;
                }
                for todo in &delete {
                    queues::delete::release(conn, todo)?;
                }
                Ok(())
            })
            .await
    }

    /// One look at all queues. True if something was claimed: then there may be more.
    async fn look(&self) -> StoreResult<bool> {
        let rows_max = self.view.load().server_number("internal_queue_limit", ROWS_MAX_DEFAULT);
        let (replicate_rows, delete_rows) = {
            let mut desks = self.desks.borrow_mut();
            (desks.replicate.rows_to_claim(rows_max), desks.delete.rows_to_claim(rows_max))
        };
        if replicate_rows == 0 && delete_rows == 0 {
            return Ok(false);
        }
        let due = self.session.read(queues::due)?;
        let mut claimed = false;
        if due.replicate && replicate_rows > 0 {
            let rows = self.session.claim_replicate(replicate_rows).await?;
            claimed |= !rows.is_empty();
            self.desks.borrow_mut().replicate.put(rows);
        }
        if due.delete && delete_rows > 0 {
            let rows = self.session.claim_delete(delete_rows).await?;
            claimed |= !rows.is_empty();
            self.desks.borrow_mut().delete.put(rows);
        }
        Ok(claimed)
    }
}

impl Handler<TakeWork<ReplicateTodo>> for JobMaster {
    type Result = ();

    fn handle(&mut self, question: TakeWork<ReplicateTodo>, _ctx: &mut Self::Context) {
        self.desks.borrow_mut().replicate.ask(question);
        self.wake.notify_one();
    }
}

impl Handler<TakeWork<DeleteTodo>> for JobMaster {
    type Result = ();

    fn handle(&mut self, question: TakeWork<DeleteTodo>, _ctx: &mut Self::Context) {
        self.desks.borrow_mut().delete.ask(question);
        self.wake.notify_one();
    }
}

impl Handler<WakeJobs> for JobMaster {
    type Result = ();

    fn handle(&mut self, _: WakeJobs, _ctx: &mut Self::Context) {
        self.wake.notify_one();
    }
}

impl Handler<Heartbeat> for JobMaster {
    type Result = ();

    fn handle(&mut self, _: Heartbeat, _ctx: &mut Self::Context) {
        self.seat.beat();
    }
}

impl Handler<Retire> for JobMaster {
    type Result = ();

    /// The rounds end after the look that is under way, so that no claimed row is forgotten; the actor ends with them.
    fn handle(&mut self, _: Retire, _ctx: &mut Self::Context) {
        self.retiring.set(true);
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(rows_max: usize) -> (TakeWork<u32>, oneshot::Receiver<Vec<u32>>) {
        let (reply, answer) = oneshot::channel();
        (TakeWork { rows_max, reply }, answer)
    }

    /// J47, J49: 150 at first, 50 more each time the queue ran dry, back to the start after an empty claim.
    #[test]
    fn claims_grow_while_the_queue_runs_dry() {
        let mut desk: Desk<u32> = Desk::new(JobMetrics::default());
        assert_eq!(desk.rows_to_claim(500), 0, "nobody waits");
        let mut answers = Vec::new();
        for expected in [150, 200, 250] {
            let (ask, answer) = question(1);
            desk.ask(ask);
            answers.push(answer);
            assert_eq!(desk.rows_to_claim(500), expected);
        }
        desk.put(Vec::new());
        assert_eq!(desk.rows_to_claim(500), 150);
    }

    #[test]
    fn rows_of_a_worker_that_is_gone_go_to_the_next_in_order() {
        let mut desk: Desk<u32> = Desk::new(JobMetrics::default());
        let (gone, answer) = question(2);
        drop(answer);
        desk.ask(gone);
        desk.put(vec![1, 2, 3]);
        let (ask, mut answer) = question(2);
        desk.ask(ask);
        assert_eq!(answer.try_recv().expect("answered"), [1, 2]);
        assert_eq!(desk.metrics.waiting.get(), 1);
    }
}
