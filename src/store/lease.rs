//! Locks as rows of `mogilefs_lock` (setting `database.locks = "table"`): leases that their holder renews.
//!
//! A lease is taken, renewed and given back by one statement each. Its end is a time of the database's clock, which all
//! takers compare with; the holder goes by its own clock and trusts its lease for less long than others respect it, so that
//! neither a slow answer nor clocks of database nodes that differ a little let two hold one lock.

use super::connection::StoreConnection;
use super::error::{StoreError, StoreResult};
use super::lock::ProcessLock;
use super::lock_row::Holder;
use super::schema::mogilefs_lock as lock;
use super::types::{Int, NOW, NowPlus, plus};
use diesel::prelude::*;
use slog::{Logger, debug, warn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// So long others respect a lease that is not renewed.
const LEASE_SECS: i64 = 60;

/// So long after it was asked for the holder takes the lease to be its own. The rest of [`LEASE_SECS`] is for clocks of
/// database servers that differ.
const TRUSTED_FOR: Duration = Duration::from_secs(40);

/// A lease that is still held is renewed after so long.
const RENEW_AFTER: Duration = Duration::from_secs(15);

/// How often it is looked which leases need that.
const KEEPER_PAUSE: Duration = Duration::from_secs(2);

/// A lease that ended so long ago is nobody's: its row is cleared away.
const SWEPT_AFTER_SECS: i64 = 3600;

/// Takes the lock if it is free or its lease has run out. Asked twice for one token, the answer is the same.
pub(super) fn take(conn: &mut StoreConnection, name: &str, token: &str, holder: &Holder) -> StoreResult<bool> {
    let row = (
        lock::name.eq(name),
        lock::owner.eq(token),
        lock::hostname.eq(&holder.hostname),
        lock::pid.eq(Int(holder.pid)),
        lock::expires_at.eq(NowPlus(LEASE_SECS)),
        lock::writes.eq(Int(0)),
    );
    if conflict_is_none(insert_new!(&mut *conn, lock::table, row).map_err(StoreError::from))? > 0 {
        return Ok(true);
    }
    let free = lock::table.filter(lock::name.eq(name)).filter(lock::owner.eq(token).or(lock::expires_at.lt(NOW)));
    let values = (
        lock::owner.eq(token),
        lock::hostname.eq(&holder.hostname),
        lock::pid.eq(Int(holder.pid)),
        lock::expires_at.eq(NowPlus(LEASE_SECS)),
        lock::writes.eq(plus(lock::writes, Int(1))),
    );
    let taken = each!(conn, c => diesel::update(free).set(values).execute(c)).map_err(StoreError::from);
    Ok(conflict_is_none(taken)? > 0)
}

/// Somebody on another node was faster.
fn conflict_is_none(rows: StoreResult<usize>) -> StoreResult<usize> {
    match rows {
        Err(StoreError::Deadlock) => Ok(0),
        rows => rows,
    }
}

/// May the lock be taken? Reads only, for those who wait.
pub(super) fn is_free(conn: &mut StoreConnection, name: &str) -> StoreResult<bool> {
    let held = lock::table.filter(lock::name.eq(name)).filter(lock::expires_at.ge(NOW));
    Ok(!each!(conn, c => diesel::select(diesel::dsl::exists(held)).get_result::<bool>(c))?)
}

/// Part of a transaction that relies on the lock: is it held? Who takes it away meanwhile, on whichever node, is in conflict
/// with this transaction, for it writes the row.
pub(super) fn hold(conn: &mut StoreConnection, name: &str, token: &str) -> StoreResult<bool> {
    let row = lock::table.filter(lock::name.eq(name)).filter(lock::owner.eq(token));
    let once_more = lock::writes.eq(plus(lock::writes, Int(1)));
    Ok(each!(conn, c => diesel::update(row).set(once_more).execute(c))? > 0)
}

/// Gives the lock back; false if it was somebody else's by then.
pub(super) fn release(conn: &mut StoreConnection, name: &str, token: &str) -> StoreResult<bool> {
    let row = lock::table.filter(lock::name.eq(name)).filter(lock::owner.eq(token));
    Ok(each!(conn, c => diesel::delete(row).execute(c))? > 0)
}

fn renew(conn: &mut StoreConnection, name: &str, token: &str) -> StoreResult<bool> {
    let row = lock::table.filter(lock::name.eq(name)).filter(lock::owner.eq(token));
    let values = (lock::expires_at.eq(NowPlus(LEASE_SECS)), lock::writes.eq(plus(lock::writes, Int(1))));
    Ok(each!(conn, c => diesel::update(row).set(values).execute(c))? > 0)
}

fn sweep(conn: &mut StoreConnection) -> StoreResult<usize> {
    let rows = lock::table.filter(lock::expires_at.lt(NowPlus(-SWEPT_AFTER_SECS)));
    Ok(each!(conn, c => diesel::delete(rows).execute(c))?)
}

/// A lease that is held.
pub(super) struct Lease {
    name: String,
    /// Nobody else's, ever.
    token: String,
    /// When it was asked for last with success; `None` once it is known to be lost.
    asked: Mutex<Option<Instant>>,
}

impl Lease {
    pub(super) fn new_token() -> String {
        format!("{:032x}", rand::random::<u128>())
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Goes by the clock of this process, from before the question.
    pub(super) fn is_trusted(&self) -> bool {
        self.is_trusted_at(Instant::now())
    }

    fn is_trusted_at(&self, now: Instant) -> bool {
        self.asked().is_some_and(|asked| now.saturating_duration_since(asked) < TRUSTED_FOR)
    }

    fn needs_renewal_at(&self, now: Instant) -> bool {
        self.asked().is_some_and(|asked| now.saturating_duration_since(asked) >= RENEW_AFTER)
    }

    /// Renewed by a statement that began then, or not ours any more. One whose trust has ended does not come back: what was
    /// done meanwhile may have gone by that.
    fn note_renewal(&self, began: Instant, renewed: bool) {
        let is_trusted = self.is_trusted();
        *self.asked() = (renewed && is_trusted).then_some(began);
    }

    fn asked(&self) -> MutexGuard<'_, Option<Instant>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lock whose row is still there though nobody holds it. The lock within this process is kept until the row is gone.
struct Abandoned {
    name: String,
    token: String,
    _process_lock: Option<ProcessLock>,
}

/// The leases of a store.
#[derive(Default)]
pub(super) struct Leases {
    held: Mutex<Vec<Weak<Lease>>>,
    abandoned: Mutex<Vec<Abandoned>>,
}

impl Leases {
    /// Remembers a lease that was asked for then, so that it is renewed for as long as it lives.
    pub(super) fn keep(&self, name: &str, token: String, asked: Instant) -> Arc<Lease> {
        let lease = Arc::new(Lease { name: name.to_owned(), token, asked: Mutex::new(Some(asked)) });
        let mut held = self.held();
        held.retain(|lease| lease.strong_count() > 0);
        held.push(Arc::downgrade(&lease));
        lease
    }

    /// Leaves the row to the keeper to remove.
    pub(super) fn abandon(&self, name: &str, token: &str, process_lock: Option<ProcessLock>) {
        let (name, token) = (name.to_owned(), token.to_owned());
        self.abandoned().push(Abandoned { name, token, _process_lock: process_lock });
    }

    /// One round of the keeper. Rows that cannot be removed now are tried again in the next one.
    fn look_after(&self, conn: &mut StoreConnection, log: &Logger) -> StoreResult<()> {
        let now = Instant::now();
        let due: Vec<Arc<Lease>> =
            self.held().iter().filter_map(Weak::upgrade).filter(|lease| lease.needs_renewal_at(now)).collect();
        for lease in due {
            let began = Instant::now();
            let renewed = renew(conn, &lease.name, &lease.token)?;
            lease.note_renewal(began, renewed);
            if !lease.is_trusted() {
                warn!(log, "a lock was lost"; "lock" => &lease.name);
            }
        }
        loop {
            let Some(next) = self.abandoned().pop() else { return Ok(()) };
            if let Err(error) = release(conn, &next.name, &next.token) {
                self.abandoned().push(next);
                return Err(error);
            }
        }
    }

    fn has_work(&self) -> bool {
        let now = Instant::now();
        !self.abandoned().is_empty()
            || self.held().iter().filter_map(Weak::upgrade).any(|lease| lease.needs_renewal_at(now))
    }

    fn held(&self) -> MutexGuard<'_, Vec<Weak<Lease>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abandoned(&self) -> MutexGuard<'_, Vec<Abandoned>> {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread that renews leases; it ends with them.
pub(super) fn start_keeper(
    leases: &Arc<Leases>,
    connect: impl Fn() -> Option<StoreResult<StoreConnection>> + Send + 'static,
    log: Logger,
) -> StoreResult<()> {
    let leases = Arc::downgrade(leases);
    std::thread::Builder::new()
        .name("db-leases".to_owned())
        .spawn(move || keep(&leases, connect, &log))
        .map(drop)
        .map_err(|error| StoreError::Other(format!("cannot start the thread that renews locks: {error}")))
}

/// Connects when there is something to do. `connect` gives nothing when the store is gone.
fn keep(leases: &Weak<Leases>, connect: impl Fn() -> Option<StoreResult<StoreConnection>>, log: &Logger) {
    let mut conn: Option<StoreConnection> = None;
    let mut last_sweep: Option<Instant> = None;
    loop {
        std::thread::sleep(KEEPER_PAUSE);
        let Some(leases) = leases.upgrade() else { return };
        if !leases.has_work() {
            continue;
        }
        let is_sweep_due = last_sweep.is_none_or(|last| last.elapsed().as_secs() >= SWEPT_AFTER_SECS.unsigned_abs());
        let done = match conn.take().map(Ok).or_else(&connect) {
            None => return,
            Some(connected) => connected.and_then(|mut open| {
                leases.look_after(&mut open, log)?;
                if is_sweep_due {
                    sweep(&mut open)?;
                }
                conn = Some(open);
                Ok(())
            }),
        };
        match done {
            Ok(()) if is_sweep_due => last_sweep = Some(Instant::now()),
            Ok(()) => {}
            Err(error) => debug!(log, "locks were not renewed, trying again"; "error" => %error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(asked: Instant) -> Arc<Lease> {
        Leases::default().keep("name", Lease::new_token(), asked)
    }

    /// C97.
    #[test]
    fn a_lease_is_trusted_for_less_long_than_others_respect_it() {
        let asked = Instant::now();
        let held = lease(asked);
        let after = |secs: u64| asked + Duration::from_secs(secs);
        assert!(held.is_trusted_at(asked) && held.is_trusted_at(after(39)));
        assert!(!held.is_trusted_at(after(40)) && !held.is_trusted_at(after(4000)));
        assert!(!held.needs_renewal_at(after(14)) && held.needs_renewal_at(after(15)));
        assert!(TRUSTED_FOR.as_secs() + 15 < LEASE_SECS.unsigned_abs());
        assert!(RENEW_AFTER + KEEPER_PAUSE * 5 < TRUSTED_FOR);
    }

    #[test]
    fn what_was_lost_does_not_come_back() {
        let now = Instant::now();
        let held = lease(now);
        held.note_renewal(now + Duration::from_secs(1), true);
        assert!(held.is_trusted_at(now + Duration::from_secs(40)));
        held.note_renewal(now, false);
        assert!(!held.is_trusted());
        held.note_renewal(now, true);
        assert!(!held.is_trusted() && !held.needs_renewal_at(now + Duration::from_secs(100)));
    }

    #[test]
    fn tokens_differ() {
        assert_ne!(Lease::new_token(), Lease::new_token());
        assert_eq!(Lease::new_token().len(), 32);
    }
}
