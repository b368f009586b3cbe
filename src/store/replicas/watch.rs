//! The threads behind replicas: one counts on the master, and one for each replica looks at it. A replica that hangs holds
//! up nobody else.

use super::super::connection::{StoreConnection, begin, commit};
use super::super::error::{StoreError, StoreResult};
use super::super::store_handle::{Store, StoreShared, writer_vanished};
use super::super::writer::Durability;
use super::heartbeat::{self, Beat, Standing};
use super::{Replica, ReplicaReport};
use slog::{debug, warn};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Between two looks whether a thread is still wanted.
const PAUSE_MAX: Duration = Duration::from_millis(200);

impl Store {
    /// Takes over what the server settings say of read replicas. Does not wait for any of them.
    pub fn configure_replicas(&self, server_settings: &BTreeMap<String, String>) {
        let shared = self.shared();
        if !shared.replicas.configure(server_settings, shared) {
            return;
        }
        shared.changes.switch_on();
        if !shared.replicas.beat_runs.swap(true, Ordering::AcqRel) {
            let store = Arc::downgrade(shared);
            start(shared, move || count_on(&store));
        }
        for replica in &shared.replicas.set.load().replicas {
            let (store, replica) = (Arc::downgrade(shared), Arc::clone(replica));
            start(shared, move || watch(&store, &replica));
        }
    }

    /// The replicas, for the console; and how many look-ups the master answered in their place.
    pub fn replica_reports(&self) -> (Vec<ReplicaReport>, u64) {
        let shared = self.shared();
        (shared.replicas.reports(&shared.settings), shared.replicas.master_instead())
    }
}

fn start(shared: &StoreShared, work: impl FnOnce() + Send + 'static) {
    // Without their threads replicas are not asked.
    if let Err(error) = std::thread::Builder::new().name("db-replica".to_owned()).spawn(work) {
        warn!(shared.log, "cannot start a thread for a read replica"; "error" => %error);
    }
}

/// Waits for the check interval, as long as it is of use.
fn pause(store: &Weak<StoreShared>, interval: Duration, is_wanted: impl Fn(&StoreShared) -> bool) -> bool {
    let begun = Instant::now();
    loop {
        match store.upgrade() {
            Some(store) if !store.closed.load(Ordering::Acquire) && is_wanted(&store) => {}
            _ => return false,
        }
        let left = interval.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(PAUSE_MAX));
    }
}

/// Counts on the master until there are no replicas.
fn count_on(store: &Weak<StoreShared>) {
    let (mut conn, mut anew, mut is_failing) = (None, false, false);
    loop {
        let Some(shared) = store.upgrade() else { return };
        let begun = Instant::now();
        match beat(&shared, &mut conn, anew) {
            Ok(beat) => {
                anew = !shared.replicas.beats().add(beat, begun);
                is_failing = false;
            }
            Err(error) => {
                conn = None;
                // That the database is away was said; a clash with another tracker comes and goes.
                let is_ordinary = matches!(error, StoreError::Unavailable(_) | StoreError::Deadlock);
                if !is_ordinary && !std::mem::replace(&mut is_failing, true) {
                    warn!(shared.log, "cannot tell how far read replicas are behind"; "error" => %error);
                }
            }
        }
        let interval = Duration::from_millis(shared.settings.replica_check_interval_ms);
        let weak = Arc::downgrade(&shared);
        drop(shared);
        if !pause(&weak, interval, |store| !store.replicas.is_empty()) {
            break;
        }
    }
    if let Some(store) = store.upgrade() {
        store.replicas.beat_runs.store(false, Ordering::Release);
    }
}

fn beat(shared: &Arc<StoreShared>, conn: &mut Option<StoreConnection>, anew: bool) -> StoreResult<Beat> {
    if let Some(writer) = &shared.writer {
        let written = writer.submit(Durability::Visible, move |conn| heartbeat::write(conn, anew))?;
        return written.blocking_recv().unwrap_or_else(|_| Err(writer_vanished()));
    }
    let conn = match conn {
        Some(conn) => conn,
        None => conn.insert(shared.connect()?),
    };
    begin(conn)?;
    let beat = heartbeat::write(conn, anew)?;
    commit(conn)?;
    Ok(beat)
}

/// Looks at a replica until it is not configured any more.
fn watch(store: &Weak<StoreShared>, replica: &Replica) {
    let mut conn = None;
    loop {
        let Some(shared) = store.upgrade() else { return };
        if replica.rests_until().is_none_or(|until| until <= Instant::now()) {
            match look(replica, &mut conn) {
                Ok(shown) => {
                    replica.note_standing(judge(&shared, shown), Instant::now());
                }
                Err(error) => {
                    debug!(shared.log, "a read replica failed"; "replica" => &replica.entry.key, "error" => %error);
                    replica.note_failure(&error);
                }
            }
        }
        let interval = Duration::from_millis(shared.settings.replica_check_interval_ms);
        drop(shared);
        if !pause(store, interval, |_| !replica.is_retired()) {
            return;
        }
    }
}

/// While the master is away a replica does not fall further behind.
fn judge(shared: &StoreShared, shown: Option<Beat>) -> Standing {
    let beats = shared.replicas.beats();
    let last = beats.last_begun().filter(|_| shared.health.is_away());
    beats.judge(shown, last.unwrap_or_else(Instant::now))
}

/// The number that it shows. A connection that was cut while it was idle is not yet a failure.
fn look(replica: &Replica, conn: &mut Option<StoreConnection>) -> StoreResult<Option<Beat>> {
    if let Some(mut held) = conn.take()
        && let Ok(shown) = heartbeat::read(&mut held)
    {
        *conn = Some(held);
        return Ok(shown);
    }
    let mut fresh = replica.connect()?;
    let shown = heartbeat::read(&mut fresh)?;
    *conn = Some(fresh);
    Ok(shown)
}
