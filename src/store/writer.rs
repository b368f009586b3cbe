//! SQLite's one writer: a thread that carries out waiting writes in groups, one durable transaction per group.
//!
//! Each write runs in a savepoint of its own, so that one that fails takes nothing else with it; none is answered before
//! the transaction is on disk. When the group as a whole breaks (a full disk, a panic), nothing of it is stored, and its
//! writes are carried out again one by one.
//!
//! Rows of locks need not outlive a power failure, which ends their holders too. They go first, in a transaction of their
//! own that waits for no disk.

use super::connection::{StoreConnection, begin, commit, is_at_outer_level};
use super::error::{StoreError, StoreResult};
use super::load::{self, AskerLoad};
use diesel::Connection;
use diesel::connection::SimpleConnection;
use slog::{Logger, error, warn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// What must be true before a write is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// It is on disk.
    OnDisk,
    /// Every process sees it. It may overtake writes that were handed over before it and are not answered yet.
    Visible,
}

impl Durability {
    fn pragma(self) -> &'static str {
        match self {
            Self::OnDisk => "PRAGMA synchronous = FULL",
            Self::Visible => "PRAGMA synchronous = NORMAL",
        }
    }
}

/// One write that waits for its turn; may be run more than once, with nothing left of the runs before the last.
trait Job: Send {
    fn durability(&self) -> Durability;

    /// On whose behalf it is.
    fn asker(&self) -> Option<Arc<AskerLoad>>;

    /// Does the work and keeps its result.
    fn run(&mut self, conn: &mut StoreConnection) -> StoreResult<()>;

    /// Tells the caller: the kept result, or why the commit failed.
    fn answer(self: Box<Self>, committed: StoreResult<()>);
}

struct TypedJob<T, F> {
    durability: Durability,
    asker: Option<Arc<AskerLoad>>,
    body: F,
    result: Option<StoreResult<T>>,
    reply: oneshot::Sender<StoreResult<T>>,
}

impl<T, F> Job for TypedJob<T, F>
where
    T: Send + 'static,
    F: FnMut(&mut StoreConnection) -> StoreResult<T> + Send + 'static,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn asker(&self) -> Option<Arc<AskerLoad>> {
        self.asker.clone()
    }

    fn run(&mut self, conn: &mut StoreConnection) -> StoreResult<()> {
        let result = (self.body)(conn);
        let outcome = result.as_ref().map(|_| ()).map_err(StoreError::clone);
        self.result = Some(result);
        outcome
    }

    fn answer(self: Box<Self>, committed: StoreResult<()>) {
        let Self { body, result, reply, .. } = *self;
        // What the body holds on to is free when the caller goes on.
        drop(body);
        let outcome = match (committed, result) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(StoreError::Other("the write was not run".to_owned())),
        };
        // A caller that has given up does not want the answer.
        let _ = reply.send(outcome);
    }
}

/// How the writer gets a connection, now and after it lost trust in the one it has.
pub(super) type Reconnect = Box<dyn Fn() -> StoreResult<StoreConnection> + Send>;

/// The handle to the writer thread.
pub(super) struct Writer {
    running: Mutex<Option<Running>>,
}

struct Running {
    jobs: Sender<Box<dyn Job>>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts the thread; fails if its first connection cannot be had.
    pub(super) fn start(reconnect: Reconnect, group_max: usize, log: Logger) -> StoreResult<Self> {
        let conn = reconnect()?;
        let (jobs, waiting) = channel();
        let mut worker = Worker { conn: Some(conn), durability: None, reconnect, group_max, log };
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || worker.work(&waiting))
            .map_err(|error| StoreError::Unavailable(format!("cannot start the writer: {error}")))?;
        Ok(Self { running: Mutex::new(Some(Running { jobs, thread })) })
    }

    /// Hands a write over; the receiver gets its result once it is what `durability` says.
    pub(super) fn submit<T, F>(&self, durability: Durability, body: F) -> StoreResult<oneshot::Receiver<StoreResult<T>>>
    where
        T: Send + 'static,
        F: FnMut(&mut StoreConnection) -> StoreResult<T> + Send + 'static,
    {
        let (reply, receiver) = oneshot::channel();
        let job = Box::new(TypedJob { durability, asker: load::asker(), body, result: None, reply });
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = running.as_ref().is_some_and(|running| running.jobs.send(job).is_ok());
        if sent { Ok(receiver) } else { Err(closed()) }
    }

    /// Carries out what waits, then ends the thread. Later writes are refused. Blocks meanwhile.
    pub(super) fn close(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { jobs, thread }) = running else { return };
        drop(jobs);
        if thread.thread().id() != std::thread::current().id() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// The answer to a write on a closed store.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

struct Worker {
    /// `None` after a failure: the next group connects anew.
    conn: Option<StoreConnection>,
    /// What the connection's commits are now, if known.
    durability: Option<Durability>,
    reconnect: Reconnect,
    group_max: usize,
    log: Logger,
}

impl Worker {
    fn work(&mut self, waiting: &Receiver<Box<dyn Job>>) {
        while let Ok(first) = waiting.recv() {
            let mut group = vec![first];
            group.extend(waiting.try_iter().take(self.group_max.saturating_sub(1)));
            let (visible, on_disk) =
                group.into_iter().partition::<Vec<_>, _>(|job| job.durability() == Durability::Visible);
            self.carry_out(visible, Durability::Visible);
            self.carry_out(on_disk, Durability::OnDisk);
        }
    }

    fn carry_out(&mut self, mut group: Vec<Box<dyn Job>>, durability: Durability) {
        if group.is_empty() {
            return;
        }
        match self.attempt(&mut group, durability) {
            Ok(()) => answer_all(group, &Ok(())),
            Err(failure) if group.len() > 1 && failure.worth_separating => {
                warn!(self.log, "a group of writes broke, repeating them one by one";
                    "writes" => group.len(), "error" => %failure.error);
                for job in group {
                    self.carry_out(vec![job], durability);
                }
            }
            Err(failure) => {
                error!(self.log, "a write was not stored"; "writes" => group.len(), "error" => %failure.error);
                answer_all(group, &Err(failure.error));
            }
        }
    }

    /// Runs the group in one transaction. After an error nothing of it is stored.
    fn attempt(&mut self, group: &mut [Box<dyn Job>], durability: Durability) -> Result<(), GroupFailure> {
        let mut conn = match (self.conn.take(), self.durability.take()) {
            (Some(conn), Some(known)) if known == durability => conn,
            (Some(conn), _) => with_commits(conn, durability)?,
            (None, _) => with_commits((self.reconnect)().map_err(GroupFailure::of_all)?, durability)?,
        };
        begin(&mut conn).map_err(GroupFailure::of_all)?;
        run_group(&mut conn, group).map_err(GroupFailure::of_one)?;
        commit(&mut conn).map_err(GroupFailure::of_one)?;
        self.conn = Some(conn);
        self.durability = Some(durability);
        Ok(())
    }
}

/// The connection, with commits of this kind from now on.
fn with_commits(mut conn: StoreConnection, durability: Durability) -> Result<StoreConnection, GroupFailure> {
    conn.batch_execute(durability.pragma()).map_err(|error| GroupFailure::of_all(error.into()))?;
    Ok(conn)
}

/// Why nothing of a group was stored. The connection is given up, which rolls back.
struct GroupFailure {
    error: StoreError,
    /// May the writes succeed one by one?
    worth_separating: bool,
}

impl GroupFailure {
    fn of_all(error: StoreError) -> Self {
        Self { error, worth_separating: false }
    }

    fn of_one(error: StoreError) -> Self {
        Self { error, worth_separating: true }
    }
}

fn answer_all(group: Vec<Box<dyn Job>>, committed: &StoreResult<()>) {
    for job in group {
        job.answer(committed.clone());
    }
}

/// An error of a job is its own affair; an error here is one of the group.
fn run_group(conn: &mut StoreConnection, group: &mut [Box<dyn Job>]) -> StoreResult<()> {
    for job in group {
        let mut body_failed = false;
        let run = catch_unwind(AssertUnwindSafe(|| {
            load::on_behalf_of_at_once(job.asker(), || {
                conn.transaction(|conn| job.run(conn).inspect_err(|_| body_failed = true))
            })
        }));
        match run {
            Ok(Ok(())) => {}
            // A serious error makes SQLite roll back everything; then there is no savepoint to return to, and diesel
            // notices.
            Ok(Err(_)) if body_failed && is_at_outer_level(conn) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(StoreError::Other("the write panicked".to_owned())),
        }
    }
    Ok(())
}
