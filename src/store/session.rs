//! A worker's own connection: reading at once, writing as one change, and what happens when the connection is lost.
//!
//! A write either is stored as a whole and answered, or is an error: never a silent success (C78, D6).

use super::connection::{Backend, StoreConnection, transaction};
use super::error::{MAY_BE_STORED, StoreError, StoreResult};
use super::holds::{self, WritesHolds};
use super::key_form::KeyForm;
use super::load;
use super::queues;
use super::queues::delete::DeleteTodo;
use super::queues::replicate::ReplicateTodo;
use super::queues::todo::{FsckTodo, RebalanceTodo};
use super::replicas::ReplicaConnections;
use super::store_handle::{StoreShared, writer_vanished};
use super::writer::Durability;
use crate::ids::Fid;
use bstr::BStr;
use rand::RngExt as _;
use slog::warn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a write is tried when other transactions are in the way.
const DEADLOCK_TRIES: u32 = 5;

/// How long a claim waits for the claim of another tracker (MySQL only).
const CLAIM_LOCK_WAIT: Duration = Duration::from_secs(5);

/// One connection. Clones share it.
#[derive(Clone)]
pub struct Session {
    pub(super) inner: Arc<SessionInner>,
}

pub(super) struct SessionInner {
    pub(super) shared: Arc<StoreShared>,
    /// `None` until the first use, and after it was lost until the next.
    conn: Mutex<Option<StoreConnection>>,
    /// Counts the connections given up; a lock of an earlier one is lost.
    pub(super) losses: Arc<AtomicU64>,
    /// Locks held on the present connection (database servers only).
    pub(super) locks_held: AtomicUsize,
    /// Galera: reading waits until the node has what was acknowledged elsewhere. Writing always does.
    reads_wait: AtomicBool,
    /// Galera: whether the present connection waits at what begins now.
    is_waiting: AtomicBool,
    /// See [`holds`].
    share: u32,
    pub(super) replica_connections: ReplicaConnections,
    /// Of the present connection, or nearly.
    uses: AtomicU64,
}

/// How a change of one statement ended.
pub(super) enum AtOnce<T> {
    Done(StoreResult<T>),
    /// The connection was lost, and with it whether the change was made.
    Unknown(StoreError),
}

/// How a run on the connection ended.
enum Run<T> {
    Done(StoreResult<T>),
    /// The connection is gone. `safe` says whether surely nothing was stored; `locks` how many locks went with it.
    Lost {
        error: StoreError,
        safe: bool,
        locks: usize,
    },
}

impl Session {
    pub(super) fn open(shared: Arc<StoreShared>) -> StoreResult<Self> {
        shared.check_open()?;
        let conn = match shared.location.backend() {
            Backend::Sqlite => Some(shared.connect()?),
            // A worker that starts while the server is away works when it is back.
            Backend::Mysql | Backend::Postgres => None,
        };
        let client_reads_wait = shared.settings.client_reads_wait;
        Ok(Self {
            inner: Arc::new(SessionInner {
                shared,
                conn: Mutex::new(conn),
                losses: Arc::default(),
                locks_held: AtomicUsize::new(0),
                reads_wait: AtomicBool::new(client_reads_wait),
                is_waiting: AtomicBool::new(false),
                share: holds::choose_share(),
                replica_connections: ReplicaConnections::default(),
                uses: AtomicU64::new(0),
            }),
        })
    }

    /// For a job, which must not act on what is old: on a Galera cluster reading waits, too, until the node has everything
    /// that was acknowledged on another one.
    pub fn wait_in_reads(&self) {
        self.inner.reads_wait.store(true, Ordering::Release);
    }

    /// Which kind of database this is.
    pub fn backend(&self) -> Backend {
        self.inner.shared.location.backend()
    }

    /// Can this database hold such a key? Looking another one up is an error, since trackers that are set up otherwise may
    /// have stored a file under it.
    pub fn can_hold(&self, dkey: &BStr) -> bool {
        KeyForm::of_trackers(self.backend()).key(dkey).is_ok()
    }

    /// The highest fid of a file when the store was opened. Numbers up to here may have been given out before.
    pub fn highest_fid_at_start(&self) -> Fid {
        self.inner.shared.highest_fid
    }

    /// Is the database server known to be away? Everything fails at once then.
    pub fn is_away(&self) -> bool {
        self.inner.shared.health.is_away()
    }

    /// Ends when the database server is there.
    pub async fn back(&self) {
        self.inner.shared.health.back().await;
    }

    /// Carries out work on behalf of a command or a job: what it asks the database is counted under this name, on
    /// whichever session of the store.
    pub fn on_behalf_of<F: Future>(&self, asker: &'static str, work: F) -> impl Future<Output = F::Output> + use<F> {
        load::on_behalf_of(self.inner.shared.load.of(asker), work)
    }

    /// [`Session::on_behalf_of`] for work that blocks its thread.
    pub fn on_behalf_of_at_once<T>(&self, asker: &'static str, work: impl FnOnce() -> T) -> T {
        load::on_behalf_of_at_once(Some(self.inner.shared.load.of(asker)), work)
    }

    /// Reads at once, blocking this thread. A lost connection is replaced and the reading repeated once. Writing here is
    /// refused on SQLite, and is no transaction anywhere.
    ///
    /// # Errors
    /// Those of the body; [`StoreError::Unavailable`] when there is no connection to be had.
    pub fn read<T>(&self, body: impl FnMut(&mut StoreConnection) -> StoreResult<T>) -> StoreResult<T> {
        self.read_with(self.inner.reads_wait.load(Ordering::Acquire), body)
    }

    /// As [`Session::read`], for what a client was told to be there: a node of a Galera cluster that does not have it is asked
    /// once more when it has caught up with the others.
    ///
    /// # Errors
    /// As there.
    pub fn look_up<T>(
        &self,
        mut body: impl FnMut(&mut StoreConnection) -> StoreResult<Option<T>>,
    ) -> StoreResult<Option<T>> {
        let found = self.read(&mut body)?;
        let may_be_behind = self.inner.shared.traits.is_galera && !self.inner.reads_wait.load(Ordering::Acquire);
        if found.is_some() || !may_be_behind { Ok(found) } else { self.read_with(true, body) }
    }

    fn read_with<T>(
        &self,
        waits: bool,
        mut body: impl FnMut(&mut StoreConnection) -> StoreResult<T>,
    ) -> StoreResult<T> {
        let load = &self.inner.shared.load;
        load.count_call();
        load.counted(match self.inner.run(waits, &mut body) {
            Run::Done(result) => result,
            Run::Lost { .. } => match self.inner.run(waits, &mut body) {
                Run::Done(result) => result,
                Run::Lost { error, .. } => Err(error),
            },
        })
    }

    /// Makes everything the body does one change: all of it is stored when this returns `Ok`, nothing after an error of
    /// the body. The body may be run several times; only its last run counts.
    ///
    /// # Errors
    /// Those of the body; [`StoreError::Deadlock`] when other transactions were in the way on every try;
    /// [`StoreError::Unavailable`] when the database cannot be reached, or when locks were lost with the connection.
    pub async fn write<T, F>(&self, body: F) -> StoreResult<T>
    where
        T: Send + 'static,
        F: FnMut(&mut StoreConnection) -> StoreResult<T> + Send + 'static,
    {
        self.write_with(Durability::OnDisk, body).await
    }

    /// As [`Session::write`], but need not survive a power failure. Servers decide that themselves.
    pub(super) async fn write_visibly<T, F>(&self, body: F) -> StoreResult<T>
    where
        T: Send + 'static,
        F: FnMut(&mut StoreConnection) -> StoreResult<T> + Send + 'static,
    {
        self.write_with(Durability::Visible, body).await
    }

    async fn write_with<T, F>(&self, durability: Durability, body: F) -> StoreResult<T>
    where
        T: Send + 'static,
        F: FnMut(&mut StoreConnection) -> StoreResult<T> + Send + 'static,
    {
        let load = &self.inner.shared.load;
        load.count_call();
        load.counted(match &self.inner.shared.writer {
            Some(writer) => match writer.submit(durability, body) {
                Ok(written) => written.await.unwrap_or_else(|_| Err(writer_vanished())),
                Err(error) => Err(error),
            },
            None => self.write_directly(body).await,
        })
    }

    async fn write_directly<T, F>(&self, mut body: F) -> StoreResult<T>
    where
        F: FnMut(&mut StoreConnection) -> StoreResult<T>,
    {
        let mut reconnected = false;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.inner.run_transaction(&mut body) {
                Run::Done(Err(StoreError::Deadlock)) if tries < DEADLOCK_TRIES => {
                    self.inner.shared.load.deadlocks_retried.add(1);
                    tokio::time::sleep(jitter(tries)).await;
                }
                Run::Done(result) => return result,
                Run::Lost { safe: true, locks: 0, .. } if !reconnected => reconnected = true,
                Run::Lost { error, safe, locks } => return Err(lost(&error, safe, locks)),
            }
        }
    }

    /// Makes a change at once, blocking this thread, without a transaction around it: for a single statement, which is one
    /// change by itself, or where half of the change does no harm. Not for SQLite.
    pub(super) fn write_at_once<T>(&self, body: impl FnOnce(&mut StoreConnection) -> StoreResult<T>) -> AtOnce<T> {
        let load = &self.inner.shared.load;
        load.count_call();
        match self.inner.with_connection(|conn| (body(conn), false)) {
            Run::Done(result) => AtOnce::Done(load.counted(result)),
            Run::Lost { error, safe, locks: 0 } => AtOnce::Unknown(lost(&error, safe, 0)),
            Run::Lost { error, safe, locks } => AtOnce::Done(load.counted(Err(lost(&error, safe, locks)))),
        }
    }

    /// Claims due fids of the replication queue, soonest first (database.md 3.2). Empty when there are none, or when
    /// another tracker is claiming.
    ///
    /// # Errors
    /// Those of [`Session::write`].
    pub async fn claim_replicate(&self, limit: i64) -> StoreResult<Vec<ReplicateTodo>> {
        self.claim("mfsd:file_to_replicate", move |conn| queues::replicate::claim(conn, limit)).await
    }

    /// Claims due fids of the deletion queue, as [`Session::claim_replicate`] does.
    ///
    /// # Errors
    /// Those of [`Session::write`].
    pub async fn claim_delete(&self, limit: i64) -> StoreResult<Vec<DeleteTodo>> {
        self.claim("mfsd:file_to_delete2", move |conn| queues::delete::claim(conn, limit)).await
    }

    /// Claims due fids of fsck, as [`Session::claim_replicate`] does.
    ///
    /// # Errors
    /// Those of [`Session::write`].
    pub async fn claim_fsck(&self, limit: i64) -> StoreResult<Vec<FsckTodo>> {
        self.claim("mfsd:file_to_queue", move |conn| queues::todo::claim_fsck(conn, limit)).await
    }

    /// Claims copies that are to move, as [`Session::claim_replicate`] does.
    ///
    /// # Errors
    /// Those of [`Session::write`].
    pub async fn claim_rebalance(&self, limit: i64) -> StoreResult<Vec<RebalanceTodo>> {
        self.claim("mfsd:file_to_queue", move |conn| queues::todo::claim_rebalance(conn, limit)).await
    }

    /// On MySQL claims are made one at a time, under the lock that the reference uses. With locks in our table too: conflicts
    /// between nodes of Galera alone did not keep two from claiming the same rows (docs/decisions/0015).
    async fn claim<T, F>(&self, lock: &str, body: F) -> StoreResult<Vec<T>>
    where
        T: Send + 'static,
        F: FnMut(&mut StoreConnection) -> StoreResult<Vec<T>> + Send + 'static,
    {
        if self.backend() != Backend::Mysql {
            return self.write(body).await;
        }
        let Some(guard) = self.try_lock(lock, CLAIM_LOCK_WAIT).await? else { return Ok(Vec::new()) };
        let claimed = self.write(body).await;
        guard.release().await;
        claimed
    }
}

impl SessionInner {
    /// Runs the body on the connection, opening one if there is none.
    pub(super) fn run_on<T>(&self, body: &mut dyn FnMut(&mut StoreConnection) -> StoreResult<T>) -> StoreResult<T> {
        match self.run(self.reads_wait.load(Ordering::Acquire), body) {
            Run::Done(result) => result,
            Run::Lost { error, .. } => Err(error),
        }
    }

    fn run<T>(&self, waits: bool, body: &mut dyn FnMut(&mut StoreConnection) -> StoreResult<T>) -> Run<T> {
        self.with_connection(|conn| (self.set_waiting(conn, waits).and_then(|()| body(conn)), true))
    }

    /// Whether the body came to its end without an error tells whether a loss was a loss at commit.
    fn run_transaction<T>(&self, body: &mut dyn FnMut(&mut StoreConnection) -> StoreResult<T>) -> Run<T> {
        self.with_connection(|conn| {
            if let Err(error) = self.set_waiting(conn, true) {
                return (Err(error), true);
            }
            let _written = self.shared.writes_holds().then(|| WritesHolds::with_share(self.share));
            let mut finished = false;
            let result = transaction(conn, |conn| body(conn).inspect(|_| finished = true));
            (result, !finished)
        })
    }

    /// Galera: sees to it that the next transaction or reading begins only when the node has all that was acknowledged
    /// elsewhere, or at once.
    fn set_waiting(&self, conn: &mut StoreConnection, waits: bool) -> StoreResult<()> {
        if !self.shared.traits.is_galera || self.is_waiting.load(Ordering::Acquire) == waits {
            return Ok(());
        }
        self.shared.traits.set_waiting(conn, waits)?;
        self.is_waiting.store(waits, Ordering::Release);
        Ok(())
    }

    /// The body gives its result and whether, had the connection been lost, surely nothing was stored.
    fn with_connection<T>(&self, body: impl FnOnce(&mut StoreConnection) -> (StoreResult<T>, bool)) -> Run<T> {
        let mut slot = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut conn = match slot.take() {
            Some(conn) => self.renewed(conn),
            None => match self.connect() {
                Ok(conn) => conn,
                Err(error) => return Run::Done(Err(error)),
            },
        };
        let (result, safe) = match catch_unwind(AssertUnwindSafe(|| body(&mut conn))) {
            Ok(outcome) => outcome,
            Err(panic) => {
                // The connection may be inside a transaction: it goes, and its locks with it.
                self.count_loss();
                drop(slot);
                resume_unwind(panic)
            }
        };
        match result {
            Err(error) if self.is_lost(&error, &mut conn) => {
                let locks = self.count_loss();
                warn!(self.shared.log, "connection to the database lost"; "error" => %error, "locks" => locks);
                Run::Lost { error, safe, locks }
            }
            result => {
                if matches!(result, Err(StoreError::Deadlock | StoreError::Unavailable(_) | StoreError::Other(_))) {
                    conn.forget_statements();
                }
                *slot = Some(conn);
                Run::Done(result)
            }
        }
    }

    /// After `max_handles` uses another connection takes its place, if there is one to be had and no lock goes with it.
    fn renewed(&self, conn: StoreConnection) -> StoreConnection {
        let uses_max = self.shared.settings.max_handles;
        if uses_max == 0 || self.uses.fetch_add(1, Ordering::Relaxed) < uses_max {
            return conn;
        }
        if self.locks_held.load(Ordering::Acquire) > 0 || self.shared.location.backend() == Backend::Sqlite {
            return conn;
        }
        self.uses.store(0, Ordering::Relaxed);
        self.connect().unwrap_or(conn)
    }

    fn connect(&self) -> StoreResult<StoreConnection> {
        let conn = self.shared.connect()?;
        if self.losses.load(Ordering::Acquire) > 0 {
            self.shared.load.reconnects.add(1);
        }
        self.is_waiting.store(false, Ordering::Release);
        Ok(conn)
    }

    /// SQLite's file is not lost; of a server's connection only the server can tell.
    fn is_lost(&self, error: &StoreError, conn: &mut StoreConnection) -> bool {
        matches!(error, StoreError::Unavailable(_))
            && self.shared.location.backend() != Backend::Sqlite
            && (error.is_of_node_cut_off() || !conn.is_alive())
    }

    fn count_loss(&self) -> usize {
        self.losses.fetch_add(1, Ordering::AcqRel);
        self.locks_held.swap(0, Ordering::AcqRel)
    }

    /// The connection, if nobody is using it: for releasing a lock from a destructor.
    pub(super) fn with_idle_connection(&self, body: impl FnOnce(&mut StoreConnection)) {
        if let Ok(mut slot) = self.conn.try_lock()
            && let Some(conn) = slot.as_mut()
        {
            body(conn);
        }
    }
}

fn jitter(tries: u32) -> Duration {
    Duration::from_millis(rand::rng().random_range(1..=10 * u64::from(tries)))
}

fn lost(error: &StoreError, safe: bool, locks: usize) -> StoreError {
    StoreError::Unavailable(match (safe, locks) {
        (false, _) => format!("connection lost at commit, {MAY_BE_STORED}: {error}"),
        (true, 0) => format!("connection lost: {error}"),
        (true, locks) => format!("connection lost, and {locks} locks with it: {error}"),
    })
}
