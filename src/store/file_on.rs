//! Table `file_on`: which devices have a copy of which file, and the cached count `file.devcount` (database.md 3.4).

use super::connection::StoreConnection;
use super::error::StoreResult;
use super::schema::{file, file_on};
use crate::ids::{DevId, Fid};
use diesel::dsl::exists;
use diesel::prelude::*;

/// The devices that have a copy, by number.
pub fn devids(conn: &mut StoreConnection, fid: Fid) -> StoreResult<Vec<DevId>> {
    let query = file_on::table.filter(file_on::fid.eq(fid)).select(file_on::devid).order(file_on::devid);
    Ok(each!(conn, c => query.load(c))?)
}

/// The devices that have a copy of a fid, by number; `None` if a key owns it. One round trip, unless there is no copy.
pub fn devids_unless_owned(conn: &mut StoreConnection, fid: Fid) -> StoreResult<Option<Vec<DevId>>> {
    let owned = || exists(file::table.filter(file::fid.eq(fid)));
    let query = file_on::table.filter(file_on::fid.eq(fid)).select((file_on::devid, owned())).order(file_on::devid);
    let rows: Vec<(DevId, bool)> = each!(&mut *conn, c => query.load(c))?;
    let is_owned = match rows.first() {
        Some(&(_, is_owned)) => is_owned,
        None => each!(conn, c => diesel::select(owned()).get_result(c))?,
    };
    Ok((!is_owned).then(|| rows.into_iter().map(|(devid, _)| devid).collect()))
}

/// Adds a location; false if it was there already. Any other fault is an error (D5).
pub fn add(conn: &mut StoreConnection, fid: Fid, devid: DevId) -> StoreResult<bool> {
    let row = (file_on::fid.eq(fid), file_on::devid.eq(devid));
    Ok(insert_new!(conn, file_on::table, row)? == 1)
}

/// Removes a location; how many rows there were (0 or 1).
pub fn remove(conn: &mut StoreConnection, fid: Fid, devid: DevId) -> StoreResult<usize> {
    let row = file_on::table.filter(file_on::fid.eq(fid)).filter(file_on::devid.eq(devid));
    Ok(each!(conn, c => diesel::delete(row).execute(c))?)
}

/// Brings `file.devcount` up to date; nothing happens if there is no such file. One statement, so that no change in
/// between is lost (D16).
pub fn recount(conn: &mut StoreConnection, fid: Fid) -> StoreResult<()> {
    let count = super::types::CopyCount(fid);
    let row = file::table.filter(file::fid.eq(fid));
    each!(conn, c => diesel::update(row).set(file::devcount.eq(count)).execute(c))?;
    Ok(())
}
