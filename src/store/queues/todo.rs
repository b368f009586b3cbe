//! Queue `file_to_queue`: what fsck and rebalance have to look at. One fid may be in it once for each kind.

use crate::ids::{DevId, Fid};
use crate::store::connection::StoreConnection;
use crate::store::error::StoreResult;
use crate::store::schema::file_to_queue;
use crate::store::types::Int;
use diesel::prelude::*;

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
    Ok(each!(conn, c => query.first(c).optional())?)
}
