//! The queues in the database (database.md 3.2, 3.3). A row stays until its work is done: claiming only moves its
//! `nexttry` ahead, so the work of a tracker that died comes up again.

pub mod counts;
pub mod delete;
pub mod old_delete;
pub mod replicate;
pub mod todo;

use super::connection::StoreConnection;
use super::error::StoreResult;
use super::schema::{file_to_delete2, file_to_queue, file_to_replicate};
use super::types::{Int, NOW};
use diesel::dsl::exists;
use diesel::prelude::*;

/// A claimed row comes up again after so many seconds.
pub const CLAIM_SECS: i64 = 1000;

/// `nexttry` of rows that wait for a person.
pub const PARKED: i64 = 2_147_483_647;

/// The largest `failcount`: more does not fit on MySQL (D19).
pub const FAILCOUNT_MAX: i64 = 255;

/// Which queues have work that is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    pub replicate: bool,
    pub delete: bool,
    pub fsck: bool,
    pub rebalance: bool,
}

/// Looks at all queues in one round trip, without a lock.
pub fn due(conn: &mut StoreConnection) -> StoreResult<Due> {
    let due_of = |kind: i64| {
        file_to_queue::table.filter(file_to_queue::kind.eq(Int(kind))).filter(file_to_queue::nexttry.le(NOW))
    };
    let query = diesel::select((
        exists(file_to_replicate::table.filter(file_to_replicate::nexttry.le(NOW))),
        exists(file_to_delete2::table.filter(file_to_delete2::nexttry.le(NOW))),
        exists(due_of(todo::FSCK)),
        exists(due_of(todo::REBALANCE)),
    ));
    let (replicate, delete, fsck, rebalance) = each!(conn, c => query.get_result(c))?;
    Ok(Due { replicate, delete, fsck, rebalance })
}

/// Claims due rows of a queue: the soonest first, each pushed ahead in the same transaction that chose it. Trackers that
/// claim at the same time get different rows: SQLite has one writer, PostgreSQL skips rows that another one is
/// claiming, and on MySQL the caller holds the queue's lock. `$of` limits it to rows of one kind (W17).
macro_rules! claim {
    ($conn:expr, $table:ident, $columns:expr, $row:ty, $limit:expr $(, $of:expr)?) => {{
        let query = $table::table
            .filter($table::nexttry.le($crate::store::types::NOW))
            $(.filter($of))?
            .select($columns)
            .order($table::nexttry)
            .limit($limit);
        let rows = match &mut *$conn {
            StoreConnection::Sqlite(c) => query.load::<$row>(c)?,
            #[cfg(feature = "mysql")]
            StoreConnection::Mysql(c) => query.for_update().load::<$row>(c)?,
            #[cfg(feature = "postgres")]
            StoreConnection::Postgres(c) => query.for_update().skip_locked().load::<$row>(c)?,
        };
        let fids: Vec<Fid> = rows.iter().map(|row| row.fid).collect();
        if let Some(first) = rows.first() {
            let claimed = $table::table.filter($table::fid.eq_any(fids))$(.filter($of))?;
            let until = $crate::store::types::Int(first.nexttry);
            each!(&mut *$conn, c => diesel::update(claimed).set($table::nexttry.eq(until)).execute(c))?;
        }
        rows
    }};
}

pub(in crate::store) use claim;

/// What `failcount` becomes with one failure more.
macro_rules! one_failure_more {
    ($table:ident) => {{
        use $crate::store::queues::FAILCOUNT_MAX;
        use $crate::store::types::{Int, plus};
        diesel::dsl::case_when($table::failcount.lt(Int(FAILCOUNT_MAX)), plus($table::failcount, Int(1)))
            .otherwise(Int(FAILCOUNT_MAX))
    }};
}

pub(in crate::store) use one_failure_more;
