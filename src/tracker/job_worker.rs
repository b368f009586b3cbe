//! `JobWorker`: carries out claimed rows of one queue, several at the same time on its own thread.
//!
//! It asks the job master for as many rows as it has room for and never holds more, so that what waits, waits in one
//! place. A row whose work fails or panics stays as claimed in the database and comes back by itself.

use super::desk::{ClaimedRow, TakeWork};
use super::job_master::JobMaster;
use super::pool::Roster;
use super::query_worker::OpenContext;
use super::seat::{Heartbeat, Retire, Seat};
use crate::ids::Fid;
use crate::jobs::context::JobContext;
use crate::jobs::{delete, fsck, rebalance, replicate};
use crate::store::queues::delete::DeleteTodo;
use crate::store::queues::replicate::ReplicateTodo;
use crate::store::queues::todo::{FsckTodo, RebalanceTodo};
use crate::store::{StoreError, StoreResult};
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use futures::future::{LocalBoxFuture, join, join_all};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use slog::Logger;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Background work over the rows of one queue.
pub(super) trait Job: Sized + Unpin + 'static {
    /// One claimed row.
    type Todo: ClaimedRow;
    /// Under which its questions to the database are counted.
    const NAME: &str;
    /// Rows that are carried out together, where that saves something.
    const BATCH_MAX: usize = 1;

    fn fid(todo: &Self::Todo) -> Fid;
    /// Rows that one worker carries out at the same time.
    fn in_flight_max(ctx: &JobContext) -> usize;
    /// Carries out one batch. Rows that are not settled stay as claimed.
    fn run<'a>(ctx: &'a JobContext, todos: &'a [Self::Todo]) -> LocalBoxFuture<'a, StoreResult<()>>;
}

/// What a kind of worker does: one job or several side by side, and what comes from no queue.
pub(super) trait Work: Unpin + 'static {
    /// Works until told to retire, then finishes what is in hand.
    fn rounds(hands: Hands) -> LocalBoxFuture<'static, ()>;
    /// Work that comes from no queue, done between the rows; gives the pause until the next time.
    fn upkeep(_ctx: &JobContext) -> Option<(Duration, LocalBoxFuture<'_, StoreResult<()>>)> {
        None
    }
}

/// What the rounds of a worker need.
#[derive(Clone)]
pub(super) struct Hands {
    pub(super) context: Rc<JobContext>,
    master: Roster<JobMaster>,
    pub(super) retire: watch::Receiver<bool>,
}

/// Rows that share nothing, side by side to the end of each; the first error.
fn each<'a, T: 'a>(
    rows: impl Iterator<Item = impl Future<Output = StoreResult<T>> + 'a> + 'a,
) -> LocalBoxFuture<'a, StoreResult<()>> {
    join_all(rows).map(|outcomes| outcomes.into_iter().try_for_each(|outcome| outcome.map(drop))).boxed_local()
}

/// Replication of files, and moves of copies.
pub(super) struct ReplicateWork;

impl Work for ReplicateWork {
    fn rounds(hands: Hands) -> LocalBoxFuture<'static, ()> {
        async {
            let moves = work_rounds::<RebalanceJob>(hands.clone());
            futures::join!(work_rounds::<ReplicateJob>(hands), moves);
        }
        .boxed_local()
    }
}

struct ReplicateJob;

impl Job for ReplicateJob {
    type Todo = ReplicateTodo;
    const NAME: &str = "job_replicate";

    fn fid(todo: &ReplicateTodo) -> Fid {
        todo.fid
    }

    fn in_flight_max(ctx: &JobContext) -> usize {
        ctx.settings.jobs.copies_in_flight_per_worker
    }

    fn run<'a>(ctx: &'a JobContext, todos: &'a [ReplicateTodo]) -> LocalBoxFuture<'a, StoreResult<()>> {
        each(todos.iter().map(|todo| replicate::run(ctx, todo)))
    }
}

struct RebalanceJob;

impl Job for RebalanceJob {
    type Todo = RebalanceTodo;
    const NAME: &str = "job_rebalance";

    fn fid(todo: &RebalanceTodo) -> Fid {
        todo.fid
    }

    fn in_flight_max(ctx: &JobContext) -> usize {
        ctx.settings.jobs.moves_in_flight_per_worker
    }

    fn run<'a>(ctx: &'a JobContext, todos: &'a [RebalanceTodo]) -> LocalBoxFuture<'a, StoreResult<()>> {
        each(todos.iter().map(|todo| rebalance::run(ctx, todo)))
    }
}

/// Deletion of files, and of uploads that were never closed.
pub(super) struct DeleteWork;

impl Work for DeleteWork {
    fn rounds(hands: Hands) -> LocalBoxFuture<'static, ()> {
        let old_queue = work_off_old_queue(hands.context.clone(), hands.retire.clone());
        join(work_rounds::<DeleteJob>(hands), old_queue).map(|((), ())| ()).boxed_local()
    }

    fn upkeep(ctx: &JobContext) -> Option<(Duration, LocalBoxFuture<'_, StoreResult<()>>)> {
        let expire = async {
            if ctx.session.on_behalf_of(DeleteJob::NAME, delete::expire(ctx)).await? > 0 {
                ctx.wake_jobs();
            }
            Ok(())
        };
        Some((Duration::from_millis(ctx.settings.jobs.tempfile_interval_ms), expire.boxed_local()))
    }
}

/// Looks at the old queue of deletion, ever more rarely while it is empty.
async fn work_off_old_queue(context: Rc<JobContext>, mut retire: watch::Receiver<bool>) {
    const PAUSE_FIRST: Duration = Duration::from_secs(5);
    let pause_max = Duration::from_millis(context.settings.jobs.old_delete_queue_pause_max_ms);
    let mut pause = PAUSE_FIRST.min(pause_max);
    loop {
        match context.session.on_behalf_of(DeleteJob::NAME, delete::move_old_queue(&context)).await {
            Ok(0) => {}
            Ok(_moved) => pause = PAUSE_FIRST.min(pause_max),
            Err(error) => slog::error!(context.log, "cannot work off the old queue of deletion"; "error" => %error),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(pause_max),
            _ = retire.wait_for(|&retire| retire) => return,
        }
    }
}

struct DeleteJob;

impl Job for DeleteJob {
    type Todo = DeleteTodo;
    const NAME: &str = "job_delete";

    fn fid(todo: &DeleteTodo) -> Fid {
        todo.fid
    }

    fn in_flight_max(ctx: &JobContext) -> usize {
        ctx.settings.jobs.deletes_in_flight_per_worker
    }

    fn run<'a>(ctx: &'a JobContext, todos: &'a [DeleteTodo]) -> LocalBoxFuture<'a, StoreResult<()>> {
        each(todos.iter().map(|todo| delete::run(ctx, todo)))
    }
}

/// Checks of files.
pub(super) struct FsckWork;

impl Work for FsckWork {
    fn rounds(hands: Hands) -> LocalBoxFuture<'static, ()> {
        work_rounds::<FsckJob>(hands).boxed_local()
    }
}

struct FsckJob;

impl Job for FsckJob {
    type Todo = FsckTodo;
    const NAME: &str = "job_fsck";
    const BATCH_MAX: usize = fsck::BATCH_ROWS_MAX;

    fn fid(todo: &FsckTodo) -> Fid {
        todo.fid
    }

    fn in_flight_max(ctx: &JobContext) -> usize {
        ctx.settings.jobs.checks_in_flight_per_worker
    }

    fn run<'a>(ctx: &'a JobContext, todos: &'a [FsckTodo]) -> LocalBoxFuture<'a, StoreResult<()>> {
        fsck::run(ctx, todos).boxed_local()
    }
}

/// The actor.
pub(super) struct JobWorker<W: Work> {
    seat: Seat,
    open: OpenContext,
    master: Roster<JobMaster>,
    retire: watch::Sender<bool>,
    log: Logger,
    work: PhantomData<W>,
}

impl<W: Work> JobWorker<W> {
    pub fn new(seat: Seat, open: OpenContext, master: Roster<JobMaster>, log: Logger) -> Self {
        Self { seat, open, master, retire: watch::Sender::new(false), log, work: PhantomData }
    }
}

impl<W: Work> Actor for JobWorker<W> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.seat.beat();
        let context = match (self.open)(&self.log) {
            Ok(context) => {
                context.session.wait_in_reads();
                Rc::new(context)
            }
            Err(error) => {
                slog::error!(self.log, "worker cannot start"; "error" => %error);
                ctx.stop();
                return;
            }
        };
        give_way(&context);
        if W::upkeep(&context).is_some() {
            ctx.spawn(keep_up::<W>(context.clone(), self.retire.subscribe()).into_actor(self));
        }
        let hands = Hands { context, master: self.master.clone(), retire: self.retire.subscribe() };
        ctx.spawn(W::rounds(hands).into_actor(self).map(|(), _worker, ctx: &mut Context<Self>| ctx.stop()));
    }
}

impl<W: Work> Handler<Heartbeat> for JobWorker<W> {
    type Result = ();

    fn handle(&mut self, _: Heartbeat, _ctx: &mut Self::Context) {
        self.seat.beat();
    }
}

impl<W: Work> Handler<Retire> for JobWorker<W> {
    type Result = ();

    fn handle(&mut self, _: Retire, _ctx: &mut Self::Context) {
        self.retire.send_replace(true);
    }
}

/// Takes rows and carries them out until told to retire; then finishes those in hand.
async fn work_rounds<J: Job>(hands: Hands) {
    let Hands { context, master, mut retire } = hands;
    let leave = retire.clone();
    let begin = |batch: Vec<J::Todo>| run_guarded::<J>(context.clone(), batch, leave.clone());
    let mut rows_in_hand = 0;
    let mut in_hand = FuturesUnordered::new();
    let mut waiting = VecDeque::new();
    let mut wanted: Option<oneshot::Receiver<Vec<J::Todo>>> = None;
    loop {
        // May be less than what was asked for: clients may have come meanwhile.
        let side_by_side = context.pace.side_by_side(J::in_flight_max(&context));
        let mut room = side_by_side.saturating_sub(rows_in_hand);
        while let Some(batch) = next_batch::<J>(&mut waiting, room) {
            room -= batch.len();
            rows_in_hand += batch.len();
            in_hand.push(begin(batch));
        }
        // Asked for when there is room for a whole batch: else rows would trickle in as batches of one.
        if wanted.is_none() && waiting.is_empty() && room >= J::BATCH_MAX.min(side_by_side) {
            wanted = ask::<J>(&context, &master, room);
        }
        tokio::select! {
            todos = receive(&mut wanted), if waiting.is_empty() => {
                wanted = None;
                waiting.extend(todos);
            }
            Some(rows) = in_hand.next(), if !in_hand.is_empty() => rows_in_hand -= rows,
            _ = retire.wait_for(|&retire| retire) => break,
        }
    }
    // Rows that arrived meanwhile are in hand as well; what is in hand is finished.
    if let Some(mut wanted) = wanted {
        wanted.close();
        waiting.extend(wanted.try_recv().unwrap_or_default());
    }
    while let Some(batch) = next_batch::<J>(&mut waiting, J::BATCH_MAX) {
        in_hand.push(begin(batch));
    }
    while in_hand.next().await.is_some() {}
}

/// The rows that are to be begun with together, as far as there is room; `None` without any.
fn next_batch<J: Job>(waiting: &mut VecDeque<J::Todo>, room: usize) -> Option<Vec<J::Todo>> {
    let rows = J::BATCH_MAX.min(room).min(waiting.len());
    (rows > 0).then(|| waiting.drain(..rows).collect())
}

fn ask<J: Job>(
    context: &JobContext,
    master: &Roster<JobMaster>,
    rows_max: usize,
) -> Option<oneshot::Receiver<Vec<J::Todo>>> {
    let (reply, todos) = oneshot::channel();
    let master = master.borrow().first()?.addr.clone();
    match master.try_send(TakeWork { rows_max, reply }) {
        Ok(()) => Some(todos),
        Err(error) => {
            slog::debug!(context.log, "job master takes no questions"; "error" => %error);
            None
        }
    }
}

/// The rows that were asked for. Without a master that answers: none, after a while.
async fn receive<T>(wanted: &mut Option<oneshot::Receiver<Vec<T>>>) -> Vec<T> {
    const PAUSE_WITHOUT_MASTER: Duration = Duration::from_millis(200);
    if let Some(todos) = wanted
        && let Ok(todos) = todos.await
    {
        return todos;
    }
    tokio::time::sleep(PAUSE_WITHOUT_MASTER).await;
    Vec::new()
}

/// Makes this thread one of background work for the scheduler of the system too. Its threads have priorities of their
/// own on Linux; elsewhere the priority is the process's, and left alone.
fn give_way(context: &JobContext) {
    let nice = context.settings.jobs.worker_nice;
    if cfg!(target_os = "linux")
        && nice != 0
        && let Err(error) = rustix::process::nice(nice)
    {
        slog::warn!(context.log, "cannot lower the priority of the thread"; "nice" => nice, "error" => %error);
    }
}

/// After so long a batch is not begun again: its rows come back before it could be done.
const BEGIN_AGAIN_MAX: Duration = Duration::from_secs(600);

/// Carries out a batch, whatever happens, and rests if clients need that; how many rows it had.
async fn run_guarded<J: Job>(context: Rc<JobContext>, todos: Vec<J::Todo>, retire: watch::Receiver<bool>) -> usize {
    let begun = Instant::now();
    let fids = || todos.iter().map(|todo| J::fid(todo).to_string()).collect::<Vec<_>>().join(",");
    loop {
        match AssertUnwindSafe(context.session.on_behalf_of(J::NAME, J::run(&context, &todos))).catch_unwind().await {
            Ok(Ok(())) => {}
            Ok(Err(StoreError::Unavailable(_)))
                if begun.elapsed() < BEGIN_AGAIN_MAX && is_back(&context, retire.clone()).await =>
            {
                slog::debug!(context.log, "the database is back; beginning again"; "fids" => fids());
                continue;
            }
            Ok(Err(error)) => slog::error!(context.log, "job failed; its rows come back when their claim runs out";
                "fids" => fids(), "error" => %error),
            Err(_panic) => slog::crit!(context.log, "job panicked; its rows come back when their claim runs out";
                "fids" => fids()),
        }
        break;
    }
    let rest = context.pace.rest_after(begun.elapsed());
    if !rest.is_zero() {
        tokio::time::sleep(rest).await;
    }
    todos.len()
}

/// Waits for a database server that is away. False if it is not, or if the worker is to retire first.
async fn is_back(context: &JobContext, mut retire: watch::Receiver<bool>) -> bool {
    if !context.session.is_away() {
        return false;
    }
    tokio::select! {
        () = context.session.back() => true,
        _ = retire.wait_for(|&retire| retire) => false,
    }
}

async fn keep_up<W: Work>(context: Rc<JobContext>, mut retire: watch::Receiver<bool>) {
    while let Some((pause, upkeep)) = W::upkeep(&context) {
        if let Err(error) = upkeep.await {
            slog::error!(context.log, "upkeep failed"; "error" => %error);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = retire.wait_for(|&retire| retire) => return,
        }
    }
}
