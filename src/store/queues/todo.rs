//! Queue `file_to_queue`: what fsck and rebalance have to look at. One fid may be in it once for each kind.

use super::{CLAIM_SECS, FAILCOUNT_MAX, claim};
use crate::ids::{DevId, Fid};
use crate::store::connection::StoreConnection;
use crate::store::error::StoreResult;
use crate::store::schema::file_to_queue;
use crate::store::types::{Int, NOW, NowPlus, plus};
use diesel::prelude::*;
use std::collections::BTreeMap;

/// `file_to_queue.type` of fsck.
pub const FSCK: i64 = 1;

/// `file_to_queue.type` of rebalance.
pub const REBALANCE: i64 = 2;

/// One row of `file_to_queue`.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct TodoRow {
    pub fid: Fid,
    pub devid: Option<DevId>,
    /// [`FSCK`] or [`REBALANCE`].
    pub kind: i64,
    pub nexttry: i64,
    pub failcount: i64,
    pub flags: i64,
    pub arg: Option<String>,
}

/// A claimed row of fsck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Queryable)]
pub struct FsckTodo {
    pub fid: Fid,
    /// What the claim wrote: when the row comes up again if nobody finishes it.
    pub nexttry: i64,
    pub failcount: i64,
}

/// A claimed row of rebalance: a copy that is to move.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct RebalanceTodo {
    pub fid: Fid,
    /// What the claim wrote: when the row comes up again if nobody finishes it.
    pub nexttry: i64,
    /// The device that is to lose its copy.
    pub devid: Option<DevId>,
    /// The devices it may go to, as ids joined by commas; nothing for any.
    pub arg: Option<String>,
}

/// Claims due rows of fsck; call it through `Session::claim_fsck`.
pub(in crate::store) fn claim_fsck(conn: &mut StoreConnection, limit: i64) -> StoreResult<Vec<FsckTodo>> {
    let columns = (file_to_queue::fid, NowPlus(CLAIM_SECS), file_to_queue::failcount);
    Ok(claim!(conn, file_to_queue, columns, FsckTodo, limit, file_to_queue::kind.eq(Int(FSCK))))
}

/// Claims due rows of rebalance; call it through `Session::claim_rebalance`.
pub(in crate::store) fn claim_rebalance(conn: &mut StoreConnection, limit: i64) -> StoreResult<Vec<RebalanceTodo>> {
    let columns = (file_to_queue::fid, NowPlus(CLAIM_SECS), file_to_queue::devid, file_to_queue::arg);
    Ok(claim!(conn, file_to_queue, columns, RebalanceTodo, limit, file_to_queue::kind.eq(Int(REBALANCE))))
}

/// Deletes the row of a move if it is as it was claimed; false if not. What is queued since, for this source or another,
/// stays.
pub fn finish_move(conn: &mut StoreConnection, todo: &RebalanceTodo) -> StoreResult<bool> {
    let row = file_to_queue::table
        .filter(file_to_queue::fid.eq(todo.fid))
        .filter(file_to_queue::kind.eq(Int(REBALANCE)))
        .filter(file_to_queue::nexttry.eq(Int(todo.nexttry)));
    let deleted = match todo.devid {
        Some(devid) => each!(conn, c => diesel::delete(row.filter(file_to_queue::devid.eq(devid))).execute(c))?,
        None => each!(conn, c => diesel::delete(row.filter(file_to_queue::devid.is_null())).execute(c))?,
    };
    Ok(deleted > 0)
}

/// The rows of these claims of fsck that nobody has touched since.
macro_rules! as_claimed {
    ($todos:expr) => {{
        let fids: Vec<Fid> = $todos.iter().map(|todo| todo.fid).collect();
        let mut claims: Vec<i64> = $todos.iter().map(|todo| todo.nexttry).collect();
        claims.sort_unstable();
        claims.dedup();
        file_to_queue::table
            .filter(file_to_queue::fid.eq_any(fids))
            .filter(file_to_queue::kind.eq(Int(FSCK)))
            .filter(file_to_queue::nexttry.eq_any(claims.into_iter().map(Int)))
    }};
}

/// Deletes rows of fsck that are as they were claimed; how many there were. One that somebody wants looked at again
/// meanwhile stays.
pub fn finish_fsck(conn: &mut StoreConnection, todos: &[FsckTodo]) -> StoreResult<usize> {
    let rows = as_claimed!(todos);
    Ok(each!(conn, c => diesel::delete(rows).execute(c))?)
}

/// Counts a failure of rows of fsck that are as they were claimed; they come up again when their claim runs out.
pub fn count_stall(conn: &mut StoreConnection, todos: &[FsckTodo]) -> StoreResult<()> {
    let rows = as_claimed!(todos).filter(file_to_queue::failcount.lt(Int(FAILCOUNT_MAX)));
    let counted = file_to_queue::failcount.eq(plus(file_to_queue::failcount, Int(1)));
    each!(conn, c => diesel::update(rows).set(counted).execute(c))?;
    Ok(())
}

/// Gives back a claimed row that nobody began with: it is due again. One that somebody has touched since stays as it is.
pub fn release(conn: &mut StoreConnection, fid: Fid, kind: i64, claimed_nexttry: i64) -> StoreResult<bool> {
    let row = file_to_queue::table
        .filter(file_to_queue::fid.eq(fid))
        .filter(file_to_queue::kind.eq(Int(kind)))
        .filter(file_to_queue::nexttry.eq(Int(claimed_nexttry)));
    Ok(each!(conn, c => diesel::update(row).set(file_to_queue::nexttry.eq(Int(0))).execute(c))? > 0)
}

/// How many rows of a kind there are, the claimed ones included.
pub fn count(conn: &mut StoreConnection, kind: i64) -> StoreResult<i64> {
    let rows = file_to_queue::table.filter(file_to_queue::kind.eq(Int(kind))).count();
    Ok(each!(conn, c => rows.get_result(c))?)
}

/// How many rows of a kind have never failed, the claimed ones included.
pub fn count_untried(conn: &mut StoreConnection, kind: i64) -> StoreResult<i64> {
    let rows =
        file_to_queue::table.filter(file_to_queue::kind.eq(Int(kind))).filter(file_to_queue::failcount.eq(Int(0)));
    Ok(each!(conn, c => rows.count().get_result(c))?)
}

/// Puts a fid into the queue, due at once; a row that is there already becomes due at once.
pub fn enqueue_now(conn: &mut StoreConnection, fid: Fid, kind: i64) -> StoreResult<()> {
    let row = (
        file_to_queue::fid.eq(fid),
        file_to_queue::kind.eq(Int(kind)),
        file_to_queue::nexttry.eq(Int(0)),
        file_to_queue::failcount.eq(Int(0)),
        file_to_queue::flags.eq(Int(0)),
    );
    if insert_new!(conn, file_to_queue::table, row)? == 0 {
        let there = file_to_queue::table.filter(file_to_queue::fid.eq(fid)).filter(file_to_queue::kind.eq(Int(kind)));
        each!(conn, c => diesel::update(there).set(file_to_queue::nexttry.eq(Int(0))).execute(c))?;
    }
    Ok(())
}

/// A copy that is to move: the file, and the devices it may go to as ids joined by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMove {
    pub fid: Fid,
    pub arg: String,
}

/// Queues moves away from a device, due at once; how many are new. A file that is queued for rebalance already keeps its
/// row (jobs.md 11.4, step 9).
pub fn enqueue_moves(conn: &mut StoreConnection, devid: DevId, moves: &[NewMove]) -> StoreResult<usize> {
    let mut inserted = 0;
    for NewMove { fid, arg } in moves {
        let row = (
            file_to_queue::fid.eq(fid),
            file_to_queue::devid.eq(devid),
            file_to_queue::kind.eq(Int(REBALANCE)),
            file_to_queue::nexttry.eq(NOW),
            file_to_queue::failcount.eq(Int(0)),
            file_to_queue::flags.eq(Int(0)),
            file_to_queue::arg.eq(arg),
        );
        inserted += insert_new!(&mut *conn, file_to_queue::table, row)?;
    }
    Ok(inserted)
}

/// Those of the files that are queued for rebalance, each with the device that is to lose its copy.
pub fn queued_moves(conn: &mut StoreConnection, fids: &[Fid]) -> StoreResult<BTreeMap<Fid, Option<DevId>>> {
    let rows = file_to_queue::table
        .filter(file_to_queue::kind.eq(Int(REBALANCE)))
        .filter(file_to_queue::fid.eq_any(fids))
        .select((file_to_queue::fid, file_to_queue::devid));
    let rows: Vec<(Fid, Option<DevId>)> = each!(conn, c => rows.load(c))?;
    Ok(rows.into_iter().collect())
}

/// The row of a fid and kind.
pub fn find(conn: &mut StoreConnection, fid: Fid, kind: i64) -> StoreResult<Option<TodoRow>> {
    let query =
        file_to_queue::table.filter(file_to_queue::fid.eq(fid)).filter(file_to_queue::kind.eq(Int(kind))).select((
            file_to_queue::fid,
            file_to_queue::devid,
            file_to_queue::kind,
            file_to_queue::nexttry,
            file_to_queue::failcount,
            file_to_queue::flags,
            file_to_queue::arg,
        ));
    Ok(each!(conn, c => query.get_result(c).optional())?)
}
