//! The old queues of deletion, `file_to_delete` and `file_to_delete_later`: no tracker since long has filled them by itself,
//! but rows of older ones, and those that a worker of 2.73 puts off, are to be worked off (jobs.md 8.4).
//!
//! Their rows move to `file_to_delete2`, whose worker takes the lock of the file and leaves alone what a key owns.

use super::delete;
use crate::ids::Fid;
use crate::store::connection::StoreConnection;
use crate::store::error::StoreResult;
use crate::store::schema::{file_to_delete, file_to_delete_later};
use crate::store::types::NOW;
use diesel::dsl::exists;
use diesel::prelude::*;

/// Is anything due? One round trip.
pub fn is_due(conn: &mut StoreConnection) -> StoreResult<bool> {
    let later = file_to_delete_later::table.filter(file_to_delete_later::delafter.lt(NOW));
    let query = diesel::select((exists(file_to_delete::table.select(file_to_delete::fid)), exists(later)));
    let (now, later): (bool, bool) = each!(conn, c => query.get_result(c))?;
    Ok(now || later)
}

/// Moves up to so many due rows of each to `file_to_delete2`, due at once; how many. A fid that is there already keeps its
/// row.
pub fn move_over(conn: &mut StoreConnection, limit: i64) -> StoreResult<usize> {
    let old = file_to_delete::table.select(file_to_delete::fid).order(file_to_delete::fid).limit(limit);
    let later = file_to_delete_later::table
        .filter(file_to_delete_later::delafter.lt(NOW))
        .select(file_to_delete_later::fid)
        .order(file_to_delete_later::fid)
        .limit(limit);
    let old: Vec<Fid> = each!(&mut *conn, c => old.load(c))?;
    let later: Vec<Fid> = each!(&mut *conn, c => later.load(c))?;
    for &fid in old.iter().chain(&later) {
        delete::enqueue(conn, fid, 0)?;
    }
    let moved = old.len() + later.len();
    let rows = file_to_delete::table.filter(file_to_delete::fid.eq_any(old));
    each!(&mut *conn, c => diesel::delete(rows).execute(c))?;
    let rows = file_to_delete_later::table.filter(file_to_delete_later::fid.eq_any(later));
    each!(conn, c => diesel::delete(rows).execute(c))?;
    Ok(moved)
}
