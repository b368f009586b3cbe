//! Locks by name that exclude other workers, other trackers and the reference's trackers (database.md 2.3).
//!
//! A lock of this process comes first, because locks of the servers are re-entrant within a connection and rows of
//! SQLite name only the process. Then the lock of the database is taken. Both are given back together; a lost connection
//! takes its locks with it, and the guard knows (D20).

use super::connection::{Backend, Location, StoreConnection};
use super::error::{StoreError, StoreResult};
use super::lease::{self, Lease};
use super::lock_row::{self, Holder};
use super::session::{Session, SessionInner};
use super::writer::Durability;
use slog::warn;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

/// Between two looks at a lock that another process holds.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A row of SQLite that is older is anybody's.
const ROW_HELD_MAX: Duration = Duration::from_secs(lock_row::HELD_SECS_MAX.unsigned_abs());

/// The locks of this process.
#[derive(Default)]
pub(super) struct LockTable {
    names: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// SQLite's lock rows name the process, so all stores of a process on one file share a table.
static TABLES_OF_FILES: LazyLock<Mutex<HashMap<PathBuf, Weak<LockTable>>>> = LazyLock::new(Mutex::default);

impl LockTable {
    /// The table for stores at this place.
    pub(super) fn of(location: &Location) -> Arc<Self> {
        let Location::Sqlite(path) = location else { return Arc::default() };
        let path = path.canonicalize().unwrap_or_else(|_| path.clone());
        let mut tables = TABLES_OF_FILES.lock().unwrap_or_else(PoisonError::into_inner);
        tables.retain(|_, table| table.strong_count() > 0);
        if let Some(table) = tables.get(&path).and_then(Weak::upgrade) {
            return table;
        }
        let table = Arc::<Self>::default();
        tables.insert(path, Arc::downgrade(&table));
        table
    }

    /// Takes the lock within this process; `None` when it is not free in time. Waiters are woken in their order.
    async fn take(self: &Arc<Self>, name: &str, wait: Duration) -> Option<ProcessLock> {
        let lock = Arc::clone(self.names().entry(name.to_owned()).or_default());
        let mut held = Arc::clone(&lock).try_lock_owned().ok();
        if held.is_none() && !wait.is_zero() {
            held = tokio::time::timeout(wait, Arc::clone(&lock).lock_owned()).await.ok();
        }
        drop(lock);
        // Also when the wait was in vain: the name may be nobody's by now.
        let process_lock = ProcessLock { table: Arc::clone(self), name: name.to_owned(), held };
        process_lock.held.is_some().then_some(process_lock)
    }

    fn names(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<()>>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lock held within this process, until dropped.
pub(super) struct ProcessLock {
    table: Arc<LockTable>,
    name: String,
    held: Option<OwnedMutexGuard<()>>,
}

impl Drop for ProcessLock {
    fn drop(&mut self) {
        self.held = None;
        let mut names = self.table.names();
        // New clones are made under this guard only, so the count cannot grow meanwhile.
        if names.get(&self.name).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            names.remove(&self.name);
        }
    }
}

/// A lock that is held. Release it; dropping it does the same as well as it can without waiting.
pub struct LockGuard {
    session: Arc<SessionInner>,
    name: String,
    holder: Holder,
    /// The session's count of lost connections when the lock was taken.
    losses: u64,
    /// From then on others may steal it (SQLite only).
    stolen_from: Option<Instant>,
    /// If locks are kept in our table; then it depends on no connection.
    lease: Option<Arc<Lease>>,
    /// `None` once the lock was given back.
    process_lock: Option<ProcessLock>,
}

impl Session {
    /// Takes the lock of this name if it becomes free within `wait` (zero: if it is free now). `None` if not. A session may
    /// hold several locks; asking again for one that it holds waits like anybody.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn try_lock(&self, name: &str, wait: Duration) -> StoreResult<Option<LockGuard>> {
        let deadline = Instant::now() + wait;
        let Some(process_lock) = self.inner.shared.locks.take(name, wait).await else { return Ok(None) };
        let holder = Holder::this_process();
        if self.inner.shared.keeps_leases() {
            return self.try_lease(name, &holder, deadline, process_lock).await;
        }
        let mut first = true;
        let mut asked = Instant::now();
        while !self.take_in_database(name, &holder, first).await? {
            first = false;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            tokio::time::sleep(left.min(POLL_INTERVAL)).await;
            asked = Instant::now();
        }
        Ok(Some(LockGuard {
            session: Arc::clone(&self.inner),
            name: name.to_owned(),
            holder,
            losses: self.inner.losses.load(Ordering::Acquire),
            stolen_from: (self.backend() == Backend::Sqlite).then(|| asked + ROW_HELD_MAX),
            lease: None,
            process_lock: Some(process_lock),
        }))
    }

    async fn try_lease(
        &self,
        name: &str,
        holder: &Holder,
        deadline: Instant,
        process_lock: ProcessLock,
    ) -> StoreResult<Option<LockGuard>> {
        let shared = &self.inner.shared;
        let leases = shared.leases()?;
        let token = Lease::new_token();
        loop {
            let asked = std::time::Instant::now();
            let taken = self.read(|conn| lease::take(conn, name, &token, holder)).inspect_err(|_| {
                // The answer may be lost, and the lock taken.
                leases.abandon(name, &token, None);
            })?;
            if taken {
                return Ok(Some(LockGuard {
                    session: Arc::clone(&self.inner),
                    name: name.to_owned(),
                    holder: holder.clone(),
                    losses: 0,
                    stolen_from: None,
                    lease: Some(leases.keep(name, token, asked)),
                    process_lock: Some(process_lock),
                }));
            }
            // Waiting only reads.
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(None);
                }
                tokio::time::sleep(left.min(POLL_INTERVAL)).await;
                if self.read(|conn| lease::is_free(conn, name))? {
                    break;
                }
            }
        }
    }

    async fn take_in_database(&self, name: &str, holder: &Holder, first: bool) -> StoreResult<bool> {
        if self.backend() == Backend::Sqlite {
            // Waiting only reads.
            if !first && self.read(|conn| lock_row::row_is_held(conn, name, holder))? {
                return Ok(false);
            }
            let (name, holder) = (name.to_owned(), holder.clone());
            return self.write_visibly(move |conn| lock_row::take_row(conn, &name, &holder)).await;
        }
        let taken = self.read(|conn| lock_row::try_on_connection(conn, name, &holder.hostname))?;
        if taken {
            self.inner.locks_held.fetch_add(1, Ordering::AcqRel);
        }
        Ok(taken)
    }
}

impl LockGuard {
    /// The name of the lock.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Is it still held? Not after the connection it was taken on was lost (C97), nor on SQLite when it is so old that
    /// others may steal it, nor when a lease could not be renewed for a while.
    pub fn is_held(&self) -> bool {
        if let Some(lease) = &self.lease {
            return self.process_lock.is_some() && lease.is_trusted();
        }
        self.process_lock.is_some()
            && self.losses == self.session.losses.load(Ordering::Acquire)
            && self.stolen_from.is_none_or(|stolen_from| Instant::now() < stolen_from)
    }

    /// As [`Session::write`] on the session of the lock, but refused, with nothing stored, if the lock is not held any more
    /// when the change is made.
    ///
    /// # Errors
    /// Those of [`Session::write`]; [`StoreError::Refused`] when the lock was lost.
    pub async fn write<T, F>(&self, body: F) -> StoreResult<T>
    where
        T: Send + 'static,
        F: FnMut(&mut StoreConnection) -> StoreResult<T> + Send + 'static,
    {
        self.write_if(Proof::is_held, body).await
    }

    /// As [`LockGuard::write`], for what is done last under the lock: a row of the lock goes with it, so that giving the
    /// lock back costs nothing of its own. [`LockGuard::end`] is to follow when it is stored, else [`LockGuard::release`].
    ///
    /// # Errors
    /// Those of [`LockGuard::write`].
    pub async fn write_last<T, F>(&self, body: F) -> StoreResult<T>
    where
        T: Send + 'static,
        F: FnMut(&mut StoreConnection) -> StoreResult<T> + Send + 'static,
    {
        self.write_if(Proof::release, body).await
    }

    async fn write_if<T, F>(
        &self,
        check: impl Fn(&Proof, &mut StoreConnection) -> StoreResult<bool> + Send + 'static,
        mut body: F,
    ) -> StoreResult<T>
    where
        T: Send + 'static,
        F: FnMut(&mut StoreConnection) -> StoreResult<T> + Send + 'static,
    {
        if !self.is_held() {
            return Err(lost_lock(&self.name));
        }
        let (name, proof) = (self.name.clone(), self.proof());
        let session = Session { inner: Arc::clone(&self.session) };
        session.write(move |conn| if check(&proof, conn)? { body(conn) } else { Err(lost_lock(&name)) }).await
    }

    fn proof(&self) -> Proof {
        match &self.lease {
            Some(lease) => Proof::Lease(self.name.clone(), Arc::clone(lease)),
            None if self.session.shared.writer.is_some() => Proof::Row(self.name.clone(), self.holder.clone()),
            None => Proof::Connection { then: self.losses, now: Arc::clone(&self.session.losses) },
        }
    }

    /// Gives the lock back. True if it was held until now; false if it had been lost. A database that cannot be reached is
    /// logged: its lock ends with the connection, or on SQLite with this process.
    pub async fn release(mut self) -> bool {
        let was_held = self.is_held();
        let Some(process_lock) = self.process_lock.take().filter(|_| was_held || self.lease.is_some()) else {
            return false;
        };
        if let Some(lease) = self.lease.take() {
            return self.release_lease(&lease, process_lock) && was_held;
        }
        let outcome = match &self.session.shared.writer {
            None => self.release_on_connection(),
            Some(writer) => match writer.submit(Durability::Visible, self.release_row(process_lock)) {
                Ok(answer) => answer.await.unwrap_or(Ok(false)),
                Err(error) => Err(error),
            },
        };
        outcome.unwrap_or_else(|error| {
            warn!(self.session.shared.log, "a lock was not released"; "lock" => &self.name, "error" => %error);
            false
        })
    }

    /// A row that cannot be removed now is removed later.
    fn release_lease(&self, lease: &Lease, process_lock: ProcessLock) -> bool {
        let released = self.session.run_on(&mut |conn| lease::release(conn, &self.name, lease.token()));
        released.unwrap_or_else(|error| {
            warn!(self.session.shared.log, "a lock was not released, trying again"; "lock" => &self.name,
                "error" => %error);
            self.abandon(lease, process_lock);
            false
        })
    }

    fn abandon(&self, lease: &Lease, process_lock: ProcessLock) {
        // Without leases there would be none of them.
        if let Ok(leases) = self.session.shared.leases() {
            leases.abandon(&self.name, lease.token(), Some(process_lock));
        }
    }

    /// Ends a lock after its [`LockGuard::write_last`] was stored.
    pub async fn end(mut self) {
        match (&self.session.shared.writer, &self.lease) {
            (Some(_), _) | (_, Some(_)) => self.process_lock = None,
            (None, None) => drop(self.release().await),
        }
    }

    /// Gives back the row, and the lock within this process after it: the next holder's row must not be the one that is
    /// deleted.
    fn release_row(&self, process_lock: ProcessLock) -> impl FnMut(&mut StoreConnection) -> StoreResult<bool> + use<> {
        let (name, holder) = (self.name.clone(), self.holder.clone());
        move |conn| {
            let _until_then = &process_lock;
            lock_row::release_row(conn, &name, &holder)
        }
    }

    fn release_on_connection(&self) -> StoreResult<bool> {
        self.session.run_on(&mut |conn| {
            lock_row::release_on_connection(conn, &self.name, &self.holder.hostname)?;
            Ok(true)
        })?;
        self.forget_one();
        Ok(true)
    }

    fn forget_one(&self) {
        // Not below zero: a loss in between has set it to zero already.
        let less = |held: usize| held.checked_sub(1);
        let _ = self.session.locks_held.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }
}

fn lost_lock(name: &str) -> StoreError {
    StoreError::Refused(format!("the lock {name} was lost"))
}

/// What tells within a write whether a lock is held.
enum Proof {
    /// The connection has not been lost: the count of its losses then, and now.
    Connection {
        then: u64,
        now: Arc<AtomicU64>,
    },
    /// The row of SQLite, by name and holder.
    Row(String, Holder),
    Lease(String, Arc<Lease>),
}

impl Proof {
    fn is_held(&self, conn: &mut StoreConnection) -> StoreResult<bool> {
        match self {
            Self::Connection { then, now } => Ok(*then == now.load(Ordering::Acquire)),
            Self::Row(name, holder) => lock_row::row_is_own(conn, name, holder),
            // Whoever takes the lock from now on is in conflict with this transaction.
            Self::Lease(name, lease) => Ok(lease.is_trusted() && lease::hold(conn, name, lease.token())?),
        }
    }

    /// Was it held until now? A row goes: who has stolen it has put another in its place.
    fn release(&self, conn: &mut StoreConnection) -> StoreResult<bool> {
        match self {
            Self::Connection { .. } => self.is_held(conn),
            Self::Row(name, holder) => lock_row::release_row(conn, name, holder),
            Self::Lease(name, lease) => Ok(lease.is_trusted() && lease::release(conn, name, lease.token())?),
        }
    }
}

/// Best effort for guards that nobody released: on SQLite the writer is asked, on servers the connection if it is idle.
impl Drop for LockGuard {
    fn drop(&mut self) {
        let was_held = self.is_held();
        let Some(process_lock) = self.process_lock.take().filter(|_| was_held || self.lease.is_some()) else { return };
        if let Some(lease) = self.lease.take() {
            self.abandon(&lease, process_lock);
            return;
        }
        match &self.session.shared.writer {
            // The answer is for nobody. It comes after what the holder had handed over and did not wait for.
            Some(writer) => drop(writer.submit(Durability::OnDisk, self.release_row(process_lock))),
            None => self.session.with_idle_connection(|conn| {
                if lock_row::release_on_connection(conn, &self.name, &self.holder.hostname).is_ok() {
                    self.forget_one();
                }
            }),
        }
    }
}
