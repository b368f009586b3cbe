//! How many rows the queues have, by when they are due. Counting takes time with the rows: for people who ask, not for
//! jobs.

use super::{PARKED, todo};
use crate::store::connection::StoreConnection;
use crate::store::error::StoreResult;
use crate::store::schema::{file_to_delete, file_to_delete_later, file_to_delete2, file_to_queue, file_to_replicate};
use crate::store::types::{Int, NOW};
use diesel::prelude::*;

/// The rows of one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Due now.
    pub due: i64,
    /// Due later: claimed by a tracker, or put off after a failure.
    pub deferred: i64,
    /// Left to a person.
    pub parked: i64,
}

/// The rows of all queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllCounts {
    pub replicate: QueueCounts,
    pub delete: QueueCounts,
    pub fsck: QueueCounts,
    pub rebalance: QueueCounts,
    /// `file_to_delete`, of older trackers.
    pub old_delete: QueueCounts,
    /// `file_to_delete_later`, of older trackers.
    pub old_delete_later: QueueCounts,
}

/// Counts the rows of a table, of one kind if `$of` says which.
macro_rules! count {
    ($conn:expr, $table:ident $(, $of:expr)?) => {{
        let rows = || $table::table$(.filter($of))?;
        let due = rows().filter($table::nexttry.le(NOW)).count();
        let later = rows().filter($table::nexttry.gt(NOW)).filter($table::nexttry.lt(Int(PARKED))).count();
        let parked = rows().filter($table::nexttry.ge(Int(PARKED))).count();
        QueueCounts {
            due: each!(&mut *$conn, c => due.get_result(c))?,
            deferred: each!(&mut *$conn, c => later.get_result(c))?,
            parked: each!(&mut *$conn, c => parked.get_result(c))?,
        }
    }};
}

/// Counts all queues.
pub fn all(conn: &mut StoreConnection) -> StoreResult<AllCounts> {
    Ok(AllCounts {
        replicate: count!(conn, file_to_replicate),
        delete: count!(conn, file_to_delete2),
        fsck: count!(conn, file_to_queue, file_to_queue::kind.eq(Int(todo::FSCK))),
        rebalance: count!(conn, file_to_queue, file_to_queue::kind.eq(Int(todo::REBALANCE))),
        old_delete: old_delete(conn)?,
        old_delete_later: old_delete_later(conn)?,
    })
}

fn old_delete(conn: &mut StoreConnection) -> StoreResult<QueueCounts> {
    let due = each!(conn, c => file_to_delete::table.count().get_result(c))?;
    Ok(QueueCounts { due, ..QueueCounts::default() })
}

fn old_delete_later(conn: &mut StoreConnection) -> StoreResult<QueueCounts> {
    let due = file_to_delete_later::table.filter(file_to_delete_later::delafter.lt(NOW)).count();
    let later = file_to_delete_later::table.filter(file_to_delete_later::delafter.ge(NOW)).count();
    Ok(QueueCounts {
        due: each!(&mut *conn, c => due.get_result(c))?,
        deferred: each!(conn, c => later.get_result(c))?,
        parked: 0,
    })
}
