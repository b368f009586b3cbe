//! Taking the locations on a dead device out of `file_on` (jobs.md 9).
//!
//! A location goes only in the transaction that has queued its file for replication and has seen that the device is dead
//! (J109, J111). `file.devcount` stays as it is (J114): replication brings it up to date.

use super::connection::StoreConnection;
use super::error::StoreResult;
use super::holds;
use super::queues;
use super::schema::{device, file_on};
use crate::cluster::device_state::DeviceStatus;
use crate::ids::{DevId, Fid};
use diesel::prelude::*;
use std::collections::BTreeSet;

/// A file is looked at so many seconds after it lost a location: 0 would put it before new uploads.
const REPLICATE_IN_SECS: i64 = 1;

/// How far a pass over the locations of a device has come.
///
/// Where `(devid, fid)` can be read in order, the last fid. SQLite's index on `devid` knows the order of the rows only, and
/// by fid it would sort all that is left for every page; so there it is the last row's number. A `VACUUM` in the middle of
/// a pass may renumber rows: what is missed then, the next pass finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(i64);

impl Position {
    /// Before all locations.
    pub const START: Self = Self(i64::MIN);
}

/// Locations on one device, and where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub fids: Vec<Fid>,
    pub end: Position,
}

diesel::table! {
    use crate::store::types::AnyInt;

    /// `file_on` with the row number of SQLite.
    #[sql_name = "file_on"]
    numbered_file_on (rowid) {
        rowid -> AnyInt,
        fid -> AnyInt,
        devid -> AnyInt,
    }
}

/// The next locations on a device; fewer than `limit` at the end.
pub fn page(conn: &mut StoreConnection, devid: DevId, after: Position, limit: i64) -> StoreResult<Page> {
    use super::types::Int;
    use numbered_file_on as numbered;
    let by_number = numbered::table
        .filter(numbered::devid.eq(devid))
        .filter(numbered::rowid.gt(Int(after.0)))
        .select((numbered::fid, numbered::rowid))
        .order(numbered::rowid)
        .limit(limit);
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    let by_fid = file_on::table
        .filter(file_on::devid.eq(devid))
        .filter(file_on::fid.gt(Int(after.0)))
        .select((file_on::fid, file_on::fid))
        .order(file_on::fid)
        .limit(limit);
    let rows: Vec<(Fid, i64)> = match conn {
        StoreConnection::Sqlite(c) => by_number.load(c)?,
        #[cfg(feature = "mysql")]
        StoreConnection::Mysql(c) => by_fid.load(c)?,
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(c) => by_fid.load(c)?,
    };
    let end = rows.last().map_or(after, |&(_, number)| Position(number));
    Ok(Page { fids: rows.into_iter().map(|(fid, _)| fid).collect(), end })
}

/// What [`reap`] did with the locations it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaped {
    /// The device is not dead, or there is no such device: nothing was touched.
    NotDead,
    Dead {
        /// Locations that are gone.
        removed: usize,
        /// Files whose only known copies are on dead or unknown devices: left alone.
        kept: Vec<Fid>,
    },
}

/// Queues the files for replication, then removes their locations on the device, if it is dead now. With
/// `keep_last_copies`, a location stays while no other device that may come back has the file. To be called as one
/// change, by the holder of the lock `mgfs:reaper`.
pub fn reap(conn: &mut StoreConnection, devid: DevId, fids: &[Fid], keep_last_copies: bool) -> StoreResult<Reaped> {
    if !hold_dead_device(conn, devid)? {
        return Ok(Reaped::NotDead);
    }
    let safe_elsewhere = if keep_last_copies { Some(on_devices_not_dead(conn, fids)?) } else { None };
    let may_go = |fid: &Fid| safe_elsewhere.as_ref().is_none_or(|safe| safe.contains(fid));
    let (leaving, kept): (Vec<Fid>, Vec<Fid>) = fids.iter().partition(|&fid| may_go(fid));
    if leaving.is_empty() {
        return Ok(Reaped::Dead { removed: 0, kept });
    }
    queues::replicate::enqueue_all(conn, &leaving, REPLICATE_IN_SECS)?;
    let rows = file_on::table.filter(file_on::devid.eq(devid)).filter(file_on::fid.eq_any(leaving));
    let removed = each!(conn, c => diesel::delete(rows).execute(c))?;
    Ok(Reaped::Dead { removed, kept })
}

/// Would [`reap`] keep the last copies of all these files, and so change nothing? Only a look: what holds is what `reap` sees.
pub fn keeps_all(conn: &mut StoreConnection, fids: &[Fid]) -> StoreResult<bool> {
    Ok(on_devices_not_dead(conn, fids)?.is_empty())
}

/// Is the device dead? If so, it stays dead until this transaction ends.
fn hold_dead_device(conn: &mut StoreConnection, devid: DevId) -> StoreResult<bool> {
    holds::device(conn, devid)?;
    let query = device::table.filter(device::devid.eq(devid)).select(device::status);
    let statuses = load_for_update!(conn, query, Option<String>)?;
    Ok(statuses.first().is_some_and(|status| is_dead(status.as_deref())))
}

fn is_dead(status: Option<&str>) -> bool {
    status == Some(DeviceStatus::Dead.name())
}

/// Those of the files that have a location on a device that is known and not dead.
fn on_devices_not_dead(conn: &mut StoreConnection, fids: &[Fid]) -> StoreResult<BTreeSet<Fid>> {
    let devices: Vec<(DevId, Option<String>)> =
        each!(&mut *conn, c => device::table.select((device::devid, device::status)).load(c))?;
    let not_dead: BTreeSet<DevId> =
        devices.into_iter().filter(|(_, status)| !is_dead(status.as_deref())).map(|(devid, _)| devid).collect();
    let query = file_on::table.filter(file_on::fid.eq_any(fids)).select((file_on::fid, file_on::devid));
    let locations: Vec<(Fid, DevId)> = each!(conn, c => query.load(c))?;
    Ok(locations.into_iter().filter(|(_, devid)| not_dead.contains(devid)).map(|(fid, _)| fid).collect())
}
