//! Table `mogilefs_fsck_run`: the runs of fsck, and through the log what each of them saw.
//!
//! The table is ours: a database that 2.73 made lacks it until `mogilefs db setup` has run, and everything here bears
//! that. The events themselves are those of `fsck_log`, from a run's `first_logid` to that of the next one.

use super::connection::StoreConnection;
use super::error::{StoreError, StoreResult};
use super::fsck_log;
use super::schema::{fsck_log as log, mogilefs_fsck_run as run};
use super::setup::names_missing_table;
use super::tables;
use super::types::Int;
use crate::ids::{DevId, Fid};
use diesel::prelude::*;

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct FsckRun {
    pub runid: i64,
    /// Unix times of the database. `ended`: when the last file was queued, if it came so far.
    pub started: i64,
    pub ended: Option<i64>,
    /// Files with numbers above the first, up to and with the last.
    pub first_fid: Fid,
    pub last_fid: Fid,
    /// The last event before it.
    pub first_logid: i64,
    /// What it was limited to, for people.
    pub options: String,
}

/// Is the table there?
pub fn is_set_up(conn: &mut StoreConnection) -> StoreResult<bool> {
    tables::exists(conn, "mogilefs_fsck_run")
}

/// Records that a run begins, or goes on. Nothing happens without the table.
pub fn begin(conn: &mut StoreConnection, new: &FsckRun) -> StoreResult<()> {
    if !is_set_up(conn)? {
        return Ok(());
    }
    let row = (
        run::runid.eq(Int(new.runid)),
        run::started.eq(Int(new.started)),
        run::first_fid.eq(new.first_fid),
        run::last_fid.eq(new.last_fid),
        run::first_logid.eq(Int(new.first_logid)),
        run::options.eq(&new.options),
    );
    insert_new!(conn, run::table, row)?;
    Ok(())
}

/// Records that all files of a run are queued. Nothing happens without the table.
pub fn end(conn: &mut StoreConnection, runid: i64, now: i64) -> StoreResult<()> {
    if is_set_up(conn)? {
        let row = run::table.filter(run::runid.eq(Int(runid)));
        each!(conn, c => diesel::update(row).set(run::ended.eq(Int(now))).execute(c))?;
    }
    Ok(())
}

/// The highest fid of a run that began so early: files with higher numbers came later. `None` if none is known, and
/// without the table.
pub fn highest_fid_at(conn: &mut StoreConnection, unixtime: i64) -> StoreResult<Option<Fid>> {
    if !is_set_up(conn)? {
        return Ok(None);
    }
    let query =
        run::table.filter(run::started.le(Int(unixtime))).select(run::last_fid).order(run::last_fid.desc()).limit(1);
    Ok(each!(conn, c => query.first(c).optional())?)
}

/// The latest runs, the oldest of them first; none without the table.
pub fn latest(conn: &mut StoreConnection, limit: i64) -> StoreResult<Vec<FsckRun>> {
    let columns = (run::runid, run::started, run::ended, run::first_fid, run::last_fid, run::first_logid, run::options);
    let query = run::table.select(columns).order(run::runid.desc()).limit(limit);
    let loaded: Result<Vec<FsckRun>, _> = each!(conn, c => query.load(c));
    match loaded.map_err(StoreError::from) {
        Ok(mut runs) => {
            runs.reverse();
            Ok(runs)
        }
        Err(StoreError::Other(message)) if names_missing_table(&message) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The events of a run: their numbers are above the first and up to and with the last, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    pub after: i64,
    pub upto: i64,
}

impl LogRange {
    /// From one run to the next; when the log was emptied in between its numbers may begin anew, and nothing is left.
    pub fn of(run: &FsckRun, next: Option<&FsckRun>) -> Self {
        Self { after: run.first_logid, upto: next.map_or(i64::from(u32::MAX), |next| next.first_logid) }
    }
}

/// How many events of each code a run saw.
pub fn counts(conn: &mut StoreConnection, range: LogRange) -> StoreResult<Vec<(String, i64)>> {
    fsck_log::counts_by_evcode(conn, range.after, range.upto)
}

/// What a run saw of a file, in order.
pub fn events_of(
    conn: &mut StoreConnection,
    range: LogRange,
    fid: Fid,
    limit: i64,
) -> StoreResult<Vec<(String, Option<DevId>)>> {
    let query = log::table
        .filter(log::logid.gt(Int(range.after)))
        .filter(log::logid.le(Int(range.upto)))
        .filter(log::fid.eq(fid))
        .select((log::evcode, log::devid))
        .order(log::logid)
        .limit(limit);
    let events: Vec<(Option<String>, Option<DevId>)> = each!(conn, c => query.load(c))?;
    Ok(events.into_iter().filter_map(|(evcode, devid)| Some((evcode?, devid))).collect())
}

/// The files that a run saw with this event, by number.
pub fn fids_with(conn: &mut StoreConnection, range: LogRange, evcode: &str, limit: i64) -> StoreResult<Vec<Fid>> {
    let query = log::table
        .filter(log::logid.gt(Int(range.after)))
        .filter(log::logid.le(Int(range.upto)))
        .filter(log::evcode.eq(evcode))
        .filter(log::fid.is_not_null())
        .select(log::fid.assume_not_null())
        .distinct()
        .order(log::fid.assume_not_null())
        .limit(limit);
    Ok(each!(conn, c => query.load(c))?)
}
