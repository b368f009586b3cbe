//! A desk of the job master: claimed rows of one queue, and the workers that wait for some.
//!
//! What waits, waits here and nowhere else. Rows are claimed only for workers that ask (config-and-startup.md 14,
//! defect 11).

use crate::jobs::context::JobContext;
use crate::metrics::{JobMetrics, Metrics};
use crate::store::queues::delete::DeleteTodo;
use crate::store::queues::replicate::ReplicateTodo;
use crate::store::queues::todo::{FSCK, FsckTodo, REBALANCE, RebalanceTodo};
use crate::store::queues::{self, Due};
use crate::store::{Session, StoreConnection, StoreResult};
use actix::Message;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use std::collections::VecDeque;
use tokio::sync::oneshot;

/// Rows that a first claim asks for, and how the number grows while the queue runs dry (jobs.md 6.2).
const ROWS_FIRST: i64 = 100;
const ROWS_STEP: i64 = 50;

/// A worker asks for rows; answered as soon as there are some.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct TakeWork<T: Send + 'static> {
    /// As many as the worker has room for.
    pub rows_max: usize,
    pub reply: oneshot::Sender<Vec<T>>,
}

/// A row that the job master claims and hands out.
pub(super) trait ClaimedRow: Clone + Send + Sized + 'static {
    fn desk(desks: &mut Desks) -> &mut Desk<Self>;
    fn is_due(due: &Due) -> bool;
    fn claim(session: &Session, limit: i64) -> LocalBoxFuture<'_, StoreResult<Vec<Self>>>;
    /// Makes the row due again, if nobody has touched it since it was claimed.
    fn release(conn: &mut StoreConnection, row: &Self) -> StoreResult<bool>;
}

/// Claimed rows of one kind, and the workers that wait for some.
pub(super) struct Desk<T: Send + 'static> {
    pub(super) rows: VecDeque<T>,
    waiting: VecDeque<TakeWork<T>>,
    rows_limit: i64,
    metrics: JobMetrics,
}

impl<T: Send + 'static> Desk<T> {
    fn new(metrics: &JobMetrics) -> Self {
        Self { rows: VecDeque::new(), waiting: VecDeque::new(), rows_limit: ROWS_FIRST, metrics: metrics.clone() }
    }

    /// How many rows to claim now; none while nobody waits or enough is here.
    pub(super) fn rows_to_claim(&mut self, rows_max: i64) -> i64 {
        self.waiting.retain(|waiter| !waiter.reply.is_closed());
        if self.waiting.is_empty() || !self.rows.is_empty() {
            return 0;
        }
        if self.rows_limit < rows_max {
            self.rows_limit += ROWS_STEP;
        }
        self.rows_limit
    }

    pub(super) fn put(&mut self, rows: Vec<T>) {
        if rows.is_empty() {
            self.rows_limit = ROWS_FIRST;
        }
        self.rows.extend(rows);
        self.hand_out();
    }

    pub(super) fn ask(&mut self, question: TakeWork<T>) {
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

/// All desks.
pub(super) struct Desks {
    replicate: Desk<ReplicateTodo>,
    rebalance: Desk<RebalanceTodo>,
    delete: Desk<DeleteTodo>,
    fsck: Desk<FsckTodo>,
}

impl Desks {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            replicate: Desk::new(&metrics.replicate),
            rebalance: Desk::new(&metrics.rebalance),
            delete: Desk::new(&metrics.delete),
            fsck: Desk::new(&metrics.fsck),
        }
    }
}

impl ClaimedRow for ReplicateTodo {
    fn desk(desks: &mut Desks) -> &mut Desk<Self> {
        &mut desks.replicate
    }

    fn is_due(due: &Due) -> bool {
        due.replicate
    }

    fn claim(session: &Session, limit: i64) -> LocalBoxFuture<'_, StoreResult<Vec<Self>>> {
        session.claim_replicate(limit).boxed_local()
    }

    fn release(conn: &mut StoreConnection, row: &Self) -> StoreResult<bool> {
        queues::replicate::release(conn, row)
    }
}

impl ClaimedRow for RebalanceTodo {
    fn desk(desks: &mut Desks) -> &mut Desk<Self> {
        &mut desks.rebalance
    }

    fn is_due(due: &Due) -> bool {
        due.rebalance
    }

    fn claim(session: &Session, limit: i64) -> LocalBoxFuture<'_, StoreResult<Vec<Self>>> {
        session.claim_rebalance(limit).boxed_local()
    }

    fn release(conn: &mut StoreConnection, row: &Self) -> StoreResult<bool> {
        queues::todo::release(conn, row.fid, REBALANCE, row.nexttry)
    }
}

impl ClaimedRow for DeleteTodo {
    fn desk(desks: &mut Desks) -> &mut Desk<Self> {
        &mut desks.delete
    }

    fn is_due(due: &Due) -> bool {
        due.delete
    }

    fn claim(session: &Session, limit: i64) -> LocalBoxFuture<'_, StoreResult<Vec<Self>>> {
        session.claim_delete(limit).boxed_local()
    }

    fn release(conn: &mut StoreConnection, row: &Self) -> StoreResult<bool> {
        queues::delete::release(conn, row)
    }
}

impl ClaimedRow for FsckTodo {
    fn desk(desks: &mut Desks) -> &mut Desk<Self> {
        &mut desks.fsck
    }

    fn is_due(due: &Due) -> bool {
        due.fsck
    }

    fn claim(session: &Session, limit: i64) -> LocalBoxFuture<'_, StoreResult<Vec<Self>>> {
        session.claim_fsck(limit).boxed_local()
    }

    fn release(conn: &mut StoreConnection, row: &Self) -> StoreResult<bool> {
        queues::todo::release(conn, row.fid, FSCK, row.nexttry)
    }
}

/// Rows that were claimed and not handed out would otherwise wait until their claim runs out, with one copy each.
pub(super) async fn give_back<T: ClaimedRow>(context: &JobContext, rows: Vec<T>) -> StoreResult<()> {
    if rows.is_empty() {
        return Ok(());
    }
    slog::debug!(context.log, "giving back rows"; "rows" => rows.len());
    context
        .session
        .write(move |conn| {
            for row in &rows {
                T::release(conn, row)?;
            }
            Ok(())
        })
        .await
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
        let mut desk: Desk<u32> = Desk::new(&JobMetrics::default());
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

    /// J54: the setting `internal_queue_limit` is where growing ends. J48 (ours is stricter): nothing is claimed while any
    /// row waits. J57: a worker gets no more than it has room for.
    #[test]
    fn claims_have_limits() {
        let mut desk: Desk<u32> = Desk::new(&JobMetrics::default());
        let mut answers = Vec::new();
        let mut limits = Vec::new();
        for _ in 0..20 {
            let (ask, answer) = question(1);
            desk.ask(ask);
            answers.push(answer);
            limits.push(desk.rows_to_claim(1000));
        }
        assert_eq!((limits[16], limits[17], limits[19]), (950, 1000, 1000));
        desk.put((0..25).collect());
        assert_eq!(
            answers.iter_mut().filter_map(|answer| answer.try_recv().ok()).map(|rows| rows.len()).max(),
            Some(1)
        );
        let (ask, mut answer) = question(3);
        desk.ask(ask);
        assert_eq!(answer.try_recv().expect("answered").len(), 3);
        let (ask, _answer) = question(1);
        desk.waiting.push_back(ask);
        assert_eq!((desk.rows.len(), desk.rows_to_claim(1000)), (2, 0));
    }

    #[test]
    fn rows_of_a_worker_that_is_gone_go_to_the_next_in_order() {
        let mut desk: Desk<u32> = Desk::new(&JobMetrics::default());
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
