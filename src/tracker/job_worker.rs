//! `JobWorker`: carries out claimed rows of one queue, several at the same time on its own thread.
//!
//! It asks the job master for as many rows as it has room for and never holds more, so that what waits, waits in one
//! place. A row whose work fails or panics stays as claimed in the database and comes back by itself.

use super::job_master::{JobMaster, TakeWork};
use super::pool::Roster;
use super::query_worker::OpenContext;
use super::seat::{Heartbeat, Retire, Seat};
use crate::ids::Fid;
use crate::job_kind::JobKind;
use crate::jobs::context::JobContext;
use crate::jobs::{delete, replicate};
use crate::store::StoreResult;
use crate::store::queues::delete::DeleteTodo;
use crate::store::queues::replicate::ReplicateTodo;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use slog::Logger;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// A kind of background work over claimed rows.
pub trait Job: Sized + Unpin + 'static {
    /// One claimed row.
    type Todo: Send + 'static;
    const KIND: JobKind;

    fn fid(todo: &Self::Todo) -> Fid;
    /// Rows that one worker carries out at the same time.
    fn in_flight_max(ctx: &JobContext) -> usize;
    fn run<'a>(ctx: &'a JobContext, todo: &'a Self::Todo) -> LocalBoxFuture<'a, StoreResult<()>>;
    /// Work of this kind that comes from no queue, done between the rows; gives the pause until the next time.
    fn upkeep(_ctx: &JobContext) -> Option<(Duration, LocalBoxFuture<'_, StoreResult<()>>)> {
        None
    }
}

/// Replication of files.
pub struct ReplicateJob;

impl Job for ReplicateJob {
    type Todo = ReplicateTodo;
    const KIND: JobKind = JobKind::Replicate;

    fn fid(todo: &ReplicateTodo) -> Fid {
        todo.fid
    }

    fn in_flight_max(ctx: &JobContext) -> usize {
        ctx.settings.jobs.copies_in_flight_per_worker
    }

    fn run<'a>(ctx: &'a JobContext, todo: &'a ReplicateTodo) -> LocalBoxFuture<'a, StoreResult<()>> {
        replicate::run(ctx, todo).map(|outcome| outcome.map(drop)).boxed_local()
    }
}

/// Deletion of files, and of uploads that were never closed.
pub struct DeleteJob;

impl Job for DeleteJob {
    type Todo = DeleteTodo;
    const KIND: JobKind = JobKind::Delete;

    fn fid(todo: &DeleteTodo) -> Fid {
        todo.fid
    }

    fn in_flight_max(ctx: &JobContext) -> usize {
        ctx.settings.jobs.deletes_in_flight_per_worker
    }

    fn run<'a>(ctx: &'a JobContext, todo: &'a DeleteTodo) -> LocalBoxFuture<'a, StoreResult<()>> {
        delete::run(ctx, todo).map(|outcome| outcome.map(drop)).boxed_local()
    }

    fn upkeep(ctx: &JobContext) -> Option<(Duration, LocalBoxFuture<'_, StoreResult<()>>)> {
        let expire = async {
            if delete::expire(ctx).await? > 0 {
                ctx.wake_jobs();
            }
            Ok(())
        };
        Some((Duration::from_millis(ctx.settings.jobs.tempfile_interval_ms), expire.boxed_local()))
    }
}

/// The actor.
pub struct JobWorker<J: Job> {
    seat: Seat,
    open: OpenContext,
    master: Roster<JobMaster>,
    retire: watch::Sender<bool>,
    log: Logger,
    job: PhantomData<J>,
}

impl<J: Job> JobWorker<J> {
    pub fn new(seat: Seat, open: OpenContext, master: Roster<JobMaster>, log: Logger) -> Self {
        Self { seat, open, master, retire: watch::Sender::new(false), log, job: PhantomData }
    }
}

impl<J: Job> Actor for JobWorker<J>
where
    JobMaster: Handler<TakeWork<J::Todo>>,
{
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.seat.beat();
        let context = match (self.open)(&self.log) {
            Ok(context) => Rc::new(context),
            Err(error) => {
                slog::error!(self.log, "worker cannot start"; "error" => %error);
                ctx.stop();
                return;
            }
        };
        if J::upkeep(&context).is_some() {
            ctx.spawn(keep_up::<J>(context.clone(), self.retire.subscribe()).into_actor(self));
        }
        let rounds = work_rounds::<J>(context, self.master.clone(), self.retire.subscribe());
        ctx.spawn(rounds.into_actor(self).map(|(), _worker, ctx: &mut Context<Self>| ctx.stop()));
    }
}

impl<J: Job> Handler<Heartbeat> for JobWorker<J>
where
    JobMaster: Handler<TakeWork<J::Todo>>,
{
    type Result = ();

    fn handle(&mut self, _: Heartbeat, _ctx: &mut Self::Context) {
        self.seat.beat();
    }
}

impl<J: Job> Handler<Retire> for JobWorker<J>
where
    JobMaster: Handler<TakeWork<J::Todo>>,
{
    type Result = ();

    fn handle(&mut self, _: Retire, _ctx: &mut Self::Context) {
        self.retire.send_replace(true);
    }
}

/// Takes rows and carries them out until told to retire; then finishes those in hand.
async fn work_rounds<J: Job>(context: Rc<JobContext>, master: Roster<JobMaster>, mut retire: watch::Receiver<bool>)
where
    JobMaster: Handler<TakeWork<J::Todo>>,
{
    let in_flight_max = J::in_flight_max(&context);
    let mut in_hand = FuturesUnordered::new();
    let mut wanted: Option<oneshot::Receiver<Vec<J::Todo>>> = None;
    loop {
        let room = in_flight_max - in_hand.len();
        if wanted.is_none() && room > 0 {
            wanted = ask::<J>(&context, &master, room);
        }
        tokio::select! {
            todos = receive(&mut wanted) => {
                wanted = None;
                for todo in todos {
                    in_hand.push(run_guarded::<J>(context.clone(), todo));
                }
            }
            Some(()) = in_hand.next(), if !in_hand.is_empty() => {}
            _ = retire.wait_for(|&retire| retire) => break,
        }
    }
    // Rows that arrived meanwhile are in hand as well; what is in hand is finished.
    if let Some(mut wanted) = wanted {
        wanted.close();
        for todo in wanted.try_recv().unwrap_or_default() {
            in_hand.push(run_guarded::<J>(context.clone(), todo));
        }
    }
    while in_hand.next().await.is_some() {}
}

fn ask<J: Job>(
    context: &JobContext,
    master: &Roster<JobMaster>,
    rows_max: usize,
) -> Option<oneshot::Receiver<Vec<J::Todo>>>
where
    JobMaster: Handler<TakeWork<J::Todo>>,
{
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

async fn run_guarded<J: Job>(context: Rc<JobContext>, todo: J::Todo) {
    let fid = J::fid(&todo);
    match AssertUnwindSafe(J::run(&context, &todo)).catch_unwind().await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => slog::error!(context.log, "job failed; its row comes back when its claim runs out";
            "fid" => fid, "error" => %error),
        Err(_panic) => slog::crit!(context.log, "job panicked; its row comes back when its claim runs out";
            "fid" => fid),
    }
}

async fn keep_up<J: Job>(context: Rc<JobContext>, mut retire: watch::Receiver<bool>) {
    while let Some((pause, upkeep)) = J::upkeep(&context) {
        if let Err(error) = upkeep.await {
            slog::error!(context.log, "upkeep failed"; "error" => %error);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = retire.wait_for(|&retire| retire) => return,
        }
    }
}
