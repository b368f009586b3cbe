//! `JobMaster`: claims rows of the queues for this tracker and hands them to the workers that ask.
//!
//! Rows are claimed only for a queue whose workers wait (config-and-startup.md 14, defect 11). Local changes wake it at
//! once by [`WakeJobs`]; rows of other trackers are found by looking, at least every `jobs.poll_interval_ms`.
//! Before each look it fills the queues that this tracker fills: those of a rebalance it carries out.
//! Claims are compatible with trackers of the reference on the same database (jobs.md 6.3).

use super::desk::{ClaimedRow, Desks, TakeWork, give_back};
use super::query_worker::OpenContext;
use super::seat::{Heartbeat, Retire, Seat};
use crate::jobs::context::JobContext;
use crate::jobs::{fsck, rebalance};
use crate::metrics::Metrics;
use crate::notices::WakeJobs;
use crate::store::StoreResult;
use crate::store::queues::delete::DeleteTodo;
use crate::store::queues::replicate::ReplicateTodo;
use crate::store::queues::todo::{FsckTodo, RebalanceTodo};
use crate::store::queues::{self, Due};
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use slog::Logger;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// The usual limit of the setting `internal_queue_limit` (jobs.md 6.2).
const ROWS_MAX_DEFAULT: i64 = 500;

/// The actor; one per tracker.
pub struct JobMaster {
    seat: Seat,
    open: OpenContext,
    desks: Rc<RefCell<Desks>>,
    wake: Rc<Notify>,
    retiring: Rc<Cell<bool>>,
    log: Logger,
}

impl JobMaster {
    pub fn new(seat: Seat, open: OpenContext, metrics: &Metrics, log: Logger) -> Self {
        let desks = Rc::new(RefCell::new(Desks::new(metrics)));
        Self { seat, open, desks, wake: Rc::default(), retiring: Rc::default(), log }
    }
}

impl Actor for JobMaster {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.seat.beat();
        let context = match (self.open)(&self.log) {
            Ok(context) => context,
            Err(error) => {
                slog::error!(self.log, "worker cannot start"; "error" => %error);
                ctx.stop();
                return;
            }
        };
        let rounds =
            Rounds { context, desks: self.desks.clone(), wake: self.wake.clone(), retiring: self.retiring.clone() };
        let session = rounds.context.session.clone();
        let counted = async move { session.on_behalf_of("job_master", rounds.run()).await };
        ctx.spawn(counted.into_actor(self).map(|(), _master, ctx: &mut Context<Self>| ctx.stop()));
    }
}

/// The look-and-claim loop.
struct Rounds {
    context: JobContext,
    desks: Rc<RefCell<Desks>>,
    wake: Rc<Notify>,
    retiring: Rc<Cell<bool>>,
}

impl Rounds {
    async fn run(self) {
        let pause = Duration::from_millis(self.context.settings.jobs.poll_interval_ms);
        let log = &self.context.log;
        let mut failing = false;
        while !self.retiring.get() {
            self.context.pace.look_whether_quiet();
            let looked = self.pass().await;
            match &looked {
                Err(error) if !failing => {
                    slog::error!(log, "cannot look at the queues; trying again"; "error" => %error);
                }
                Ok(_) if failing => slog::info!(log, "looking at the queues again"),
                _ => {}
            }
            failing = looked.is_err();
            if !looked.unwrap_or(false) {
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
        if let Err(error) = self.give_back().await {
            slog::warn!(log, "could not give back rows; they come back when their claim runs out"; "error" => %error);
        }
    }

    async fn give_back(&self) -> StoreResult<()> {
        self.give_back_of::<ReplicateTodo>().await?;
        self.give_back_of::<DeleteTodo>().await?;
        self.give_back_of::<FsckTodo>().await?;
        self.give_back_of::<RebalanceTodo>().await
    }

    async fn give_back_of<T: ClaimedRow>(&self) -> StoreResult<()> {
        let rows = std::mem::take(&mut T::desk(&mut self.desks.borrow_mut()).rows);
        give_back::<T>(&self.context, rows.into()).await
    }

    /// Fills the queues that this tracker fills, also while nobody waits for rows, and looks at all of them. True if there
    /// may be more to do at once.
    async fn pass(&self) -> StoreResult<bool> {
        let session = &self.context.session;
        let checks = session.on_behalf_of("job_fsck", fsck::inject(&self.context)).await;
        let moves = session.on_behalf_of("job_rebalance", rebalance::pass(&self.context)).await;
        let claimed = self.look().await?;
        Ok(checks? | moves? | claimed)
    }

    /// One look at all queues, most urgent first. True if something was claimed: then there may be more.
    async fn look(&self) -> StoreResult<bool> {
        let rows_max = self.context.view.load().server_number("internal_queue_limit", ROWS_MAX_DEFAULT);
        let rows = {
            let mut desks = self.desks.borrow_mut();
            [
                ReplicateTodo::desk(&mut desks).rows_to_claim(rows_max),
                DeleteTodo::desk(&mut desks).rows_to_claim(rows_max),
                FsckTodo::desk(&mut desks).rows_to_claim(rows_max),
                RebalanceTodo::desk(&mut desks).rows_to_claim(rows_max),
            ]
        };
        if rows == [0; 4] {
            return Ok(false);
        }
        let due = self.context.session.read(queues::due)?;
        let [replicate, delete, fsck, rebalance] = rows;
        Ok(self.claim::<ReplicateTodo>(&due, replicate).await?
            | self.claim::<DeleteTodo>(&due, delete).await?
            | self.claim::<FsckTodo>(&due, fsck).await?
            | self.claim::<RebalanceTodo>(&due, rebalance).await?)
    }

    /// Claims rows of one kind; true if there were some.
    async fn claim<T: ClaimedRow>(&self, due: &Due, limit: i64) -> StoreResult<bool> {
        if limit == 0 || !T::is_due(due) {
            return Ok(false);
        }
        let rows = T::claim(&self.context.session, limit).await?;
        let claimed = !rows.is_empty();
        T::desk(&mut self.desks.borrow_mut()).put(rows);
        Ok(claimed)
    }
}

impl<T: ClaimedRow> Handler<TakeWork<T>> for JobMaster {
    type Result = ();

    fn handle(&mut self, question: TakeWork<T>, _ctx: &mut Self::Context) {
        T::desk(&mut self.desks.borrow_mut()).ask(question);
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
