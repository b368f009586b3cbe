//! Queue `file_to_delete2`: fids whose copies are to be removed from the devices. Nothing here looks at `file`: whoever
//! works on a row must see that the fid is no file (D3).

use super::{CLAIM_SECS, claim, one_failure_more};
use crate::ids::Fid;
use crate::store::connection::StoreConnection;
use crate::store::error::StoreResult;
use crate::store::schema::{file_on, file_to_delete2};
use crate::store::types::{Int, NowPlus};
use diesel::dsl::{exists, not};
use diesel::prelude::*;

/// A row: claimed (`nexttry` is when it comes up again), or as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Queryable)]
pub struct DeleteTodo {
    pub fid: Fid,
    pub nexttry: i64,
    pub failcount: i64,
}

/// Wants the copies of a fid removed, in so many seconds. A row that is there stays as it is (C77).
pub fn enqueue(conn: &mut StoreConnection, fid: Fid, in_secs: i64) -> StoreResult<()> {
    let row = (file_to_delete2::fid.eq(fid), file_to_delete2::nexttry.eq(NowPlus(in_secs)));
    insert_new!(conn, file_to_delete2::table, row)?;
    Ok(())
}

/// Wants the copies of a fid removed at this Unix time of the database; false if there is a row already, which stays.
pub(in crate::store) fn enqueue_at(conn: &mut StoreConnection, fid: Fid, unixtime: i64) -> StoreResult<bool> {
    let row = (file_to_delete2::fid.eq(fid), file_to_delete2::nexttry.eq(Int(unixtime)));
    Ok(insert_new!(conn, file_to_delete2::table, row)? == 1)
}

/// Deletes the row if it stands exactly as [`enqueue_at`] wrote it: nobody has begun with it, nor will anybody. A claim
/// that is under way is waited for, and then seen.
pub(in crate::store) fn finish_unclaimed(conn: &mut StoreConnection, fid: Fid, unixtime: i64) -> StoreResult<bool> {
    let row = file_to_delete2::table
        .filter(file_to_delete2::fid.eq(fid))
        .filter(file_to_delete2::nexttry.eq(Int(unixtime)))
        .filter(file_to_delete2::failcount.eq(Int(0)));
    Ok(each!(conn, c => diesel::delete(row).execute(c))? == 1)
}

/// Claims due rows; call it through `Session::claim_delete`.
pub(in crate::store) fn claim(conn: &mut StoreConnection, limit: i64) -> StoreResult<Vec<DeleteTodo>> {
    let columns = (file_to_delete2::fid, NowPlus(CLAIM_SECS), file_to_delete2::failcount);
    Ok(claim!(conn, file_to_delete2, columns, DeleteTodo, limit))
}

/// Deletes the row: nothing is left to do. False if there was none.
pub fn finish(conn: &mut StoreConnection, fid: Fid) -> StoreResult<bool> {
    let row = file_to_delete2::table.filter(file_to_delete2::fid.eq(fid));
    Ok(each!(conn, c => diesel::delete(row).execute(c))? > 0)
}

/// Deletes the row of a fid of which no copy is recorded any more. One that got a copy meanwhile (of a worker that had lost
/// its lock) keeps its row, and comes up again. False if the row is still there.
pub fn finish_without_copies(conn: &mut StoreConnection, fid: Fid) -> StoreResult<bool> {
    let copies = file_on::table.filter(file_on::fid.eq(fid));
    let row = file_to_delete2::table.filter(file_to_delete2::fid.eq(fid)).filter(not(exists(copies)));
    Ok(each!(conn, c => diesel::delete(row).execute(c))? > 0)
}

/// Gives back a claimed row that nobody began with: it is due again. One that somebody has touched since stays as it is.
pub fn release(conn: &mut StoreConnection, todo: &DeleteTodo) -> StoreResult<bool> {
    let row = file_to_delete2::table
        .filter(file_to_delete2::fid.eq(todo.fid))
        .filter(file_to_delete2::nexttry.eq(Int(todo.nexttry)));
    Ok(each!(conn, c => diesel::update(row).set(file_to_delete2::nexttry.eq(Int(0))).execute(c))? > 0)
}

/// Counts a failure and comes back in so many seconds; false if there is no row.
pub fn reschedule_in(conn: &mut StoreConnection, fid: Fid, secs: i64) -> StoreResult<bool> {
    let row = file_to_delete2::table.filter(file_to_delete2::fid.eq(fid));
    let changes =
        (file_to_delete2::nexttry.eq(NowPlus(secs)), file_to_delete2::failcount.eq(one_failure_more!(file_to_delete2)));
    Ok(each!(conn, c => diesel::update(row).set(changes).execute(c))? > 0)
}

/// Comes back in so many seconds, without a failure; false if there is no row.
pub fn put_off(conn: &mut StoreConnection, fid: Fid, secs: i64) -> StoreResult<bool> {
    let row = file_to_delete2::table.filter(file_to_delete2::fid.eq(fid));
    let later = file_to_delete2::nexttry.eq(NowPlus(secs));
    Ok(each!(conn, c => diesel::update(row).set(later).execute(c))? > 0)
}

/// The row of a fid.
pub fn find(conn: &mut StoreConnection, fid: Fid) -> StoreResult<Option<DeleteTodo>> {
    let query = file_to_delete2::table.filter(file_to_delete2::fid.eq(fid)).select((
        file_to_delete2::fid,
        file_to_delete2::nexttry,
        file_to_delete2::failcount,
    ));
    Ok(each!(conn, c => query.get_result(c).optional())?)
}
