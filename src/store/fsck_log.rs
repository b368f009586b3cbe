//! Table `fsck_log`: what fsck found, and the sums by event code that `server_settings` keeps of it (jobs.md 10.7,
//! database.md 2.10).
//!
//! A row is counted once, whoever sums: callers of [`fold`] and [`clear`] hold the lock [`SUM_LOCK`].

use super::connection::StoreConnection;
use super::error::StoreResult;
use super::schema::fsck_log;
use super::server_settings;
use super::types::{Int, NOW};
use crate::ids::{DevId, Fid};
use diesel::dsl::count_star;
use diesel::prelude::*;

/// The lock that trackers of the reference hold while they sum.
pub const SUM_LOCK: &str = "mgfs:fscksum";
/// Setting: up to which `logid` the sums go.
pub const MARK_FIELD: &str = "fsck_logid_processed";
/// Settings: the sum of each event code, which follows this.
pub const SUM_PREFIX: &str = "fsck_sum_evcount_";

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct FsckLogRow {
    pub logid: i64,
    /// Unix time of the database.
    pub utime: i64,
    pub fid: Option<Fid>,
    /// Four letters.
    pub evcode: Option<String>,
    pub devid: Option<DevId>,
}

/// The next events by number.
pub fn list_after(conn: &mut StoreConnection, after: i64, limit: i64) -> StoreResult<Vec<FsckLogRow>> {
    let query = fsck_log::table
        .filter(fsck_log::logid.gt(Int(after)))
        .select((fsck_log::logid, fsck_log::utime, fsck_log::fid, fsck_log::evcode, fsck_log::devid))
        .order(fsck_log::logid)
        .limit(limit);
    Ok(each!(conn, c => query.load(c))?)
}

/// Writes events of a file, in their order: four letters, and the device that an event is about.
pub fn append(conn: &mut StoreConnection, fid: Fid, events: &[(&str, Option<DevId>)]) -> StoreResult<()> {
    for &(evcode, devid) in events {
        let row =
            (fsck_log::utime.eq(NOW), fsck_log::fid.eq(fid), fsck_log::evcode.eq(evcode), fsck_log::devid.eq(devid));
        each!(&mut *conn, c => diesel::insert_into(fsck_log::table).values(row).execute(c))?;
    }
    Ok(())
}

/// The number of the latest event, 0 if there is none.
pub fn max_logid(conn: &mut StoreConnection) -> StoreResult<i64> {
    let query = fsck_log::table.select(fsck_log::logid).order(fsck_log::logid.desc()).limit(1);
    let last: Option<i64> = each!(conn, c => query.first(c).optional())?;
    Ok(last.unwrap_or(0))
}

/// How many events of each code have numbers above `after`, up to and with `last`. Rows without a code are of none.
pub fn counts_by_evcode(conn: &mut StoreConnection, after: i64, last: i64) -> StoreResult<Vec<(String, i64)>> {
    let query = fsck_log::table
        .filter(fsck_log::logid.gt(Int(after)))
        .filter(fsck_log::logid.le(Int(last)))
        .group_by(fsck_log::evcode)
        .select((fsck_log::evcode, count_star()));
    let mut counts: Vec<(Option<String>, i64)> = each!(conn, c => query.load(c))?;
    counts.sort();
    Ok(counts.into_iter().filter_map(|(evcode, count)| Some((evcode?, count))).collect())
}

/// Up to which number the events are summed.
pub fn mark(conn: &mut StoreConnection) -> StoreResult<i64> {
    Ok(server_settings::get(conn, MARK_FIELD)?.and_then(|mark| mark.trim().parse().ok()).unwrap_or(0))
}

/// Adds the events that are new since the last time to the sums (C90).
pub fn fold(conn: &mut StoreConnection) -> StoreResult<()> {
    server_settings::hold(conn)?;
    let (mark, last) = (mark(conn)?, max_logid(conn)?);
    // A mark beyond the last event: on MySQL the reference empties the table so that numbers begin again (D17).
    let after = if mark > last { 0 } else { mark };
    for (evcode, count) in counts_by_evcode(conn, after, last)? {
        server_settings::increment(conn, &format!("{SUM_PREFIX}{evcode}"), count)?;
    }
    if mark != last {
        server_settings::set(conn, MARK_FIELD, Some(&last.to_string()))?;
    }
    Ok(())
}

/// Deletes the events that there are, after adding them to the sums. Should the database number its rows from 1 again
/// some time, the new ones count too (C91).
pub fn clear(conn: &mut StoreConnection) -> StoreResult<()> {
    fold(conn)?;
    let summed = mark(conn)?;
    delete_up_to(conn, summed)?;
    server_settings::set(conn, MARK_FIELD, Some("0"))
}

/// Deletes the events that there are; those not summed are lost to the sums.
pub fn clear_unsummed(conn: &mut StoreConnection) -> StoreResult<()> {
    let last = max_logid(conn)?;
    delete_up_to(conn, last)
}

fn delete_up_to(conn: &mut StoreConnection, last: i64) -> StoreResult<()> {
    let rows = fsck_log::table.filter(fsck_log::logid.le(Int(last)));
    each!(conn, c => diesel::delete(rows).execute(c))?;
    Ok(())
}
