//! Table `file_on`: which devices have a copy of which file, and the cached count `file.devcount` (database.md 3.4).

use super::connection::StoreConnection;
use super::error::StoreResult;
use super::schema::{file, file_on, tempfile};
use super::types::{AnyInt, Int, plus};
use crate::ids::{DevId, Fid};
use diesel::backend::Backend as DieselBackend;
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::HasSqlType;

/// The devices that have a copy, by number.
pub fn devids(conn: &mut StoreConnection, fid: Fid) -> StoreResult<Vec<DevId>> {
    let query = file_on::table.filter(file_on::fid.eq(fid)).select(file_on::devid).order(file_on::devid);
    Ok(each!(conn, c => query.load(c))?)
}

/// What there is of a fid that no key owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unowned {
    /// The devices that have a copy, by number.
    pub devids: Vec<DevId>,
    /// Is there an open upload of it? A key will own it when that is closed.
    pub is_open: bool,
}

/// What there is of a fid; `None` if a key owns it. One round trip, unless there is no copy.
pub fn find_unless_owned(conn: &mut StoreConnection, fid: Fid) -> StoreResult<Option<Unowned>> {
    let owned = || exists(file::table.filter(file::fid.eq(fid)));
    let open = || exists(tempfile::table.filter(tempfile::fid.eq(fid)));
    let query =
        file_on::table.filter(file_on::fid.eq(fid)).select((file_on::devid, owned(), open())).order(file_on::devid);
    let rows: Vec<(DevId, bool, bool)> = each!(&mut *conn, c => query.load(c))?;
    let (is_owned, is_open): (bool, bool) = match rows.first() {
        Some(&(_, is_owned, is_open)) => (is_owned, is_open),
        None => each!(conn, c => diesel::select((owned(), open())).get_result(c))?,
    };
    let devids = || rows.into_iter().map(|(devid, ..)| devid).collect();
    Ok((!is_owned).then(|| Unowned { devids: devids(), is_open }))
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

/// A copy on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Queryable)]
pub struct DeviceFile {
    pub fid: Fid,
    /// In bytes; `None` if no key leads to the file any more.
    pub length: Option<i64>,
}

/// Where a page of the files of a device begins, and in which direction it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Files with higher numbers, the lowest first.
    Above(Fid),
    /// Files with lower numbers, the highest first.
    Below(Fid),
}

macro_rules! page {
    ($on_device:expr, $beyond:expr, $order:expr, $limit:expr) => {
        file_on::table
            .left_join(file::table)
            .filter($on_device)
            .filter($beyond)
            .select((file_on::fid, file::length.nullable()))
            .order($order)
            .limit($limit)
    };
}

/// The next files of a device by number; one range of an index however many it has.
///
/// SQLite knows of no statistics and would sort all files of the device for each page; a sum is no column of an index, so
/// it goes through the files by number instead.
pub fn of_device(conn: &mut StoreConnection, devid: DevId, page: Page, limit: i64) -> StoreResult<Vec<DeviceFile>> {
    let beside_index = plus(file_on::devid, Int(0)).eq(devid);
    Ok(match page {
        Page::Above(fid) => match conn {
            StoreConnection::Sqlite(c) => page!(beside_index, file_on::fid.gt(fid), file_on::fid, limit).load(c)?,
            #[cfg(feature = "mysql")]
            StoreConnection::Mysql(c) => {
                page!(file_on::devid.eq(devid), file_on::fid.gt(fid), file_on::fid, limit).load(c)?
            }
            #[cfg(feature = "postgres")]
            StoreConnection::Postgres(c) => {
                page!(file_on::devid.eq(devid), file_on::fid.gt(fid), file_on::fid, limit).load(c)?
            }
        },
        Page::Below(fid) => match conn {
            StoreConnection::Sqlite(c) => {
                page!(beside_index, file_on::fid.lt(fid), file_on::fid.desc(), limit).load(c)?
            }
            #[cfg(feature = "mysql")]
            StoreConnection::Mysql(c) => {
                page!(file_on::devid.eq(devid), file_on::fid.lt(fid), file_on::fid.desc(), limit).load(c)?
            }
            #[cfg(feature = "postgres")]
            StoreConnection::Postgres(c) => {
                page!(file_on::devid.eq(devid), file_on::fid.lt(fid), file_on::fid.desc(), limit).load(c)?
            }
        },
    })
}

/// Brings `file.devcount` up to date. One statement, so that no change in between is lost (D16). False if there is no such
/// file; if there is one, whoever deletes it waits until the end of the transaction.
pub fn recount(conn: &mut StoreConnection, fid: Fid) -> StoreResult<bool> {
    // Rows that were found count, changed or not: diesel asks MySQL for that (CLIENT_FOUND_ROWS).
    Ok(each!(conn, c => Recount(fid).execute(c))? > 0)
}

/// The statement of [`recount`]. Written out, because diesel prepares its updates anew each time: on a server that is a
/// round trip more for every copy.
#[derive(Clone, Copy, Debug, QueryId)]
struct Recount(Fid);

impl<Conn> RunQueryDsl<Conn> for Recount {}

impl<DB> QueryFragment<DB> for Recount
where
    DB: DieselBackend + HasSqlType<AnyInt>,
    Fid: ToSql<AnyInt, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql("UPDATE file SET devcount = (SELECT COUNT(*) FROM file_on WHERE file_on.fid = ");
        out.push_bind_param::<AnyInt, _>(&self.0)?;
        out.push_sql(") WHERE file.fid = ");
        out.push_bind_param::<AnyInt, _>(&self.0)
    }
}
