//! Table `mogilefs_device_guard`: the mark of each device's disk, and since when no tracker reaches the device.
//!
//! The table is ours: a database that 2.73 made lacks it until `mogilefs db setup` has run. Call the functions here only
//! if [`is_set_up`].

use super::connection::StoreConnection;
use super::error::StoreResult;
use super::schema::{device, file_on, mogilefs_device_guard as guard};
use super::tables;
use super::types::{AnyInt, NOW, NowPlus};
use crate::cluster::device_state::DeviceStatus;
use crate::ids::{DevId, Fid};
use diesel::prelude::*;

/// What is remembered of one device. Times are Unix times of the database.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct GuardRow {
    pub devid: DevId,
    /// `None`: its node never showed one, or it was given up.
    pub uuid: Option<String>,
    /// Since when no tracker has reached it; `None` while one does.
    pub unreachable_since: Option<i64>,
    /// When a tracker has seen that last.
    pub unreachable_seen: Option<i64>,
    /// When a rule changed its status last.
    pub changed_at: Option<i64>,
}

/// If nobody has looked for so long, nobody knows whether a device was unreachable meanwhile: its time begins anew.
const UNSEEN_SECS_MAX: i64 = 300;

impl GuardRow {
    /// For how long trackers have seen, at this time and without a break, that nobody reaches the device.
    pub fn unreachable_secs(&self, now: i64) -> Option<i64> {
        let since = self.unreachable_since?;
        (now - self.unreachable_seen? <= UNSEEN_SECS_MAX).then_some(now - since)
    }
}

/// Is the table there?
pub fn is_set_up(conn: &mut StoreConnection) -> StoreResult<bool> {
    tables::exists(conn, "mogilefs_device_guard")
}

/// Every row, by device.
pub fn all(conn: &mut StoreConnection) -> StoreResult<Vec<GuardRow>> {
    let query = guard::table
        .select((guard::devid, guard::uuid, guard::unreachable_since, guard::unreachable_seen, guard::changed_at))
        .order(guard::devid);
    Ok(each!(conn, c => query.load(c))?)
}

/// The mark that the disk of this device must bear; `None` if any will do, and without the table.
pub fn expected_mark(conn: &mut StoreConnection, devid: DevId) -> StoreResult<Option<String>> {
    if !is_set_up(conn)? {
        return Ok(None);
    }
    let query = guard::table.filter(guard::devid.eq(devid)).select(guard::uuid);
    let mark: Option<Option<String>> = each!(conn, c => query.get_result(c).optional())?;
    Ok(mark.flatten())
}

/// Remembers marks of devices that have none yet. One that is remembered stays.
pub fn remember(conn: &mut StoreConnection, marks: &[(DevId, String)]) -> StoreResult<()> {
    for (devid, uuid) in marks {
        ensure_row(conn, *devid)?;
        let row = guard::table.filter(guard::devid.eq(devid)).filter(guard::uuid.is_null());
        each!(&mut *conn, c => diesel::update(row).set(guard::uuid.eq(uuid)).execute(c))?;
    }
    Ok(())
}

/// An operator says which disk this device is from now on: this one, or any (`None`).
pub fn accept(conn: &mut StoreConnection, devid: DevId, uuid: Option<&str>) -> StoreResult<()> {
    ensure_row(conn, devid)?;
    let row = guard::table.filter(guard::devid.eq(devid));
    each!(conn, c => diesel::update(row).set(guard::uuid.eq(uuid)).execute(c))?;
    Ok(())
}

/// A tracker does not reach these devices. Since when is that of the first time, unless nobody has looked for a while.
pub fn note_unreachable(conn: &mut StoreConnection, devids: &[DevId]) -> StoreResult<()> {
    devids.iter().try_for_each(|&devid| ensure_row(conn, devid))?;
    let now = || NOW.into_sql::<AnyInt>().nullable();
    let goes_on = guard::unreachable_since
        .is_not_null()
        .and(guard::unreachable_seen.is_not_null())
        .and(guard::unreachable_seen.assume_not_null().ge(NowPlus(-UNSEEN_SECS_MAX)));
    let begins = guard::table.filter(guard::devid.eq_any(devids)).filter(diesel::dsl::not(goes_on));
    each!(&mut *conn, c => diesel::update(begins).set(guard::unreachable_since.eq(now())).execute(c))?;
    let rows = guard::table.filter(guard::devid.eq_any(devids));
    each!(conn, c => diesel::update(rows).set(guard::unreachable_seen.eq(now())).execute(c))?;
    Ok(())
}

/// A tracker reaches these devices.
pub fn note_reached(conn: &mut StoreConnection, devids: &[DevId]) -> StoreResult<()> {
    let rows = guard::table.filter(guard::devid.eq_any(devids)).filter(guard::unreachable_since.is_not_null());
    each!(conn, c => diesel::update(rows).set(guard::unreachable_since.eq(None::<super::types::Int>)).execute(c))?;
    Ok(())
}

fn ensure_row(conn: &mut StoreConnection, devid: DevId) -> StoreResult<()> {
    let row = (guard::devid.eq(devid), guard::first_seen.eq(NOW));
    insert_new!(conn, guard::table, row)?;
    Ok(())
}

/// A change of status that a rule wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusChange {
    pub devid: DevId,
    /// It is made only if the device has this status.
    pub from: DeviceStatus,
    pub to: DeviceStatus,
    /// And only if no tracker has reached the device for so long.
    pub unreachable_for_secs: Option<i64>,
}

/// Changes the status of a device by compare-and-set, and notes when; false if something is otherwise than the rule knew.
/// Part of one transaction.
pub fn change_status(conn: &mut StoreConnection, change: &StatusChange) -> StoreResult<bool> {
    if let Some(secs) = change.unreachable_for_secs {
        let row = guard::table
            .filter(guard::devid.eq(change.devid))
            .filter(guard::unreachable_since.assume_not_null().le(NowPlus(-secs)))
            .filter(guard::unreachable_seen.assume_not_null().ge(NowPlus(-UNSEEN_SECS_MAX)))
            .select(guard::devid);
        if load_for_update!(&mut *conn, row, DevId)?.is_empty() {
            return Ok(false);
        }
    }
    let row = device::table.filter(device::devid.eq(change.devid)).filter(device::status.eq(change.from.name()));
    if each!(&mut *conn, c => diesel::update(row).set(device::status.eq(change.to.name())).execute(c))? == 0 {
        return Ok(false);
    }
    ensure_row(conn, change.devid)?;
    let row = guard::table.filter(guard::devid.eq(change.devid));
    let now = guard::changed_at.eq(NOW.into_sql::<AnyInt>().nullable());
    each!(conn, c => diesel::update(row).set(now).execute(c))?;
    Ok(true)
}

diesel::alias!(file_on as elsewhere: Elsewhere);

/// A file with a copy on this device and on none of the others, if there is one.
pub fn file_only_on(conn: &mut StoreConnection, devid: DevId, others: &[DevId]) -> StoreResult<Option<Fid>> {
    let elsewhere_copy = elsewhere
        .filter(elsewhere.field(file_on::fid).eq(file_on::fid))
        .filter(elsewhere.field(file_on::devid).eq_any(others))
        .select(elsewhere.field(file_on::fid));
    let query = file_on::table
        .filter(file_on::devid.eq(devid))
        .filter(diesel::dsl::not(diesel::dsl::exists(elsewhere_copy)))
        .select(file_on::fid)
        .limit(1);
    Ok(each!(conn, c => query.first(c).optional())?)
}
