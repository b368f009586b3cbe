//! Look-ups that a replica may answer. What it does not have, and what this tracker changed since the replica was up to
//! date, the master is asked for.

use super::super::connection::StoreConnection;
use super::super::error::{StoreError, StoreResult};
use super::super::files::{self, LocatedFile};
use super::super::session::Session;
use super::super::{checksums, recent_changes::Changed};
use super::Replica;
use crate::ids::{Dmid, Fid};
use bstr::BStr;
use slog::debug;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    Master,
    /// It may be out of date, but not by what this tracker changed.
    Replica,
}

/// The connections of one session to replicas, each opened when it is needed first.
#[derive(Default)]
pub(in crate::store) struct ReplicaConnections {
    open: Mutex<Vec<(Arc<Replica>, StoreConnection)>>,
}

impl Session {
    /// The file under this key and the devices that have it, in no order.
    ///
    /// # Errors
    /// Those of [`Session::read`], if no replica knows the file.
    pub fn locate(&self, dmid: Dmid, dkey: &BStr) -> StoreResult<(Option<LocatedFile>, FoundBy)> {
        if let Some((Some(located), has_all_until)) = self.ask_replicas(|conn| files::locate(conn, dmid, dkey))
            && !self.is_out_of_date(&located, dkey, has_all_until)
        {
            return Ok((Some(located), FoundBy::Replica));
        }
        self.count_master();
        Ok((self.read(|conn| files::locate(conn, dmid, dkey))?, FoundBy::Master))
    }

    /// [`Session::locate`] for each of the keys, in their order.
    ///
    /// # Errors
    /// As there, if no replica knows all the files.
    pub fn locate_many(&self, dmid: Dmid, dkeys: &[&BStr]) -> StoreResult<Vec<Option<LocatedFile>>> {
        let asked = self.ask_replicas(|conn| files::locate_many(conn, dmid, dkeys));
        let Some((mut located, has_all_until)) = asked else {
            self.count_master();
            return self.read(|conn| files::locate_many(conn, dmid, dkeys));
        };
        let is_current = |place: usize, dkey: &BStr| matches!(located.get(place), Some(Some(found)) if !self.is_out_of_date(found, dkey, has_all_until));
        let asked = dkeys.iter().copied().enumerate();
        let (places, open): (Vec<usize>, Vec<&BStr>) = asked.filter(|&(place, dkey)| !is_current(place, dkey)).unzip();
        if open.is_empty() {
            return Ok(located);
        }
        self.count_master();
        let current = self.read(|conn| files::locate_many(conn, dmid, &open))?;
        for (place, found) in places.into_iter().zip(current) {
            if let Some(slot) = located.get_mut(place) {
                *slot = found;
            }
        }
        Ok(located)
    }

    /// Number of the algorithm and digest of a file, if they are stored.
    ///
    /// # Errors
    /// Those of [`Session::read`], if no replica knows them.
    pub fn checksum(&self, fid: Fid) -> StoreResult<Option<(i64, Vec<u8>)>> {
        match self.ask_replicas(|conn| checksums::find(conn, fid)) {
            Some((Some(found), has_all_until)) if !self.is_any_changed(has_all_until, &[Changed::File(fid.0)]) => {
                Ok(Some(found))
            }
            _ => self.read(|conn| checksums::find(conn, fid)),
        }
    }

    /// Did this tracker change, since that moment, what the key leads to or the file that it led to?
    fn is_out_of_date(&self, (file, _): &LocatedFile, dkey: &BStr, since: Instant) -> bool {
        let things = [
            Changed::File(file.fid.0),
            // As asked for, and as stored: the database knows the key in other spellings, too.
            Changed::Key(file.dmid.0, dkey),
            Changed::Key(file.dmid.0, &file.dkey),
            Changed::Domain(file.dmid.0),
        ];
        self.is_any_changed(since, &things)
    }

    fn is_any_changed(&self, since: Instant, things: &[Changed<'_>]) -> bool {
        self.inner.shared.changes.is_any_changed(since, things)
    }

    fn count_master(&self) {
        let replicas = &self.inner.shared.replicas;
        if !replicas.is_empty() {
            replicas.master_instead.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What the first replica that answers says, and until when it surely has everything; `None` if the master is to be
    /// asked.
    fn ask_replicas<T>(&self, mut body: impl FnMut(&mut StoreConnection) -> StoreResult<T>) -> Option<(T, Instant)> {
        let shared = &self.inner.shared;
        if shared.replicas.is_empty() {
            return None;
        }
        for (replica, has_all_until) in shared.replicas.to_ask(&shared.settings, Instant::now()) {
            match self.inner.replica_connections.ask(&replica, &mut body) {
                Ok(value) => {
                    replica.reads.fetch_add(1, Ordering::Relaxed);
                    return Some((value, has_all_until));
                }
                // Of the key and of the moment, not of the replica: the master knows better.
                Err(StoreError::InvalidValue(_) | StoreError::Deadlock) => return None,
                Err(error) => {
                    debug!(shared.log, "a read replica failed"; "replica" => &replica.entry.key, "error" => %error);
                    replica.note_failure(&error);
                }
            }
        }
        None
    }
}

impl ReplicaConnections {
    /// A connection that was cut while it was idle is replaced once.
    fn ask<T>(
        &self,
        replica: &Arc<Replica>,
        body: &mut dyn FnMut(&mut StoreConnection) -> StoreResult<T>,
    ) -> StoreResult<T> {
        if let Some(mut held) = self.take(replica) {
            match body(&mut held) {
                Ok(value) => {
                    self.keep(replica, held);
                    return Ok(value);
                }
                Err(error @ (StoreError::InvalidValue(_) | StoreError::Deadlock)) => return Err(error),
                Err(_lost) => {}
            }
        }
        let mut fresh = replica.connect()?;
        let value = body(&mut fresh)?;
        self.keep(replica, fresh);
        Ok(value)
    }

    fn take(&self, replica: &Arc<Replica>) -> Option<StoreConnection> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(replica, _)| !replica.is_retired());
        let place = open.iter().position(|(held, _)| Arc::ptr_eq(held, replica))?;
        Some(open.swap_remove(place).1)
    }

    fn keep(&self, replica: &Arc<Replica>, conn: StoreConnection) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !replica.is_retired() {
            open.push((Arc::clone(replica), conn));
        }
    }
}
