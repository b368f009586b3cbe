//! Queue `file_to_replicate`: files that may have too few copies, or copies in the wrong places.

use super::{CLAIM_SECS, PARKED, claim, one_failure_more};
use crate::ids::{ClassId, DevId, Fid};
use crate::store::connection::StoreConnection;
use crate::store::error::StoreResult;
use crate::store::schema::{file, file_to_replicate};
use crate::store::types::{AnyInt, Int, NOW, NowPlus};
use diesel::dsl::{case_when, exists, not};
#[cfg(feature = "mysql")]
use diesel::mysql::Mysql;
#[cfg(feature = "postgres")]
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sqlite::Sqlite;
use std::collections::HashMap;

/// A claimed row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Queryable)]
pub struct ReplicateTodo {
    pub fid: Fid,
    /// What the claim wrote: when the row comes up again if nobody finishes it.
    pub nexttry: i64,
    pub failcount: i64,
    /// Where the copies are to come from, if somebody said.
    pub fromdevid: Option<DevId>,
    pub flags: i64,
}

/// A claimed row at the end of the work, and what the work went by.
///
/// Claims are told apart by the second in which they were made. Of two in the same second, the later one may have found
/// the file locked and have left it to the earlier, which knows nothing of the change that the later one came for (W24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkedTodo {
    pub todo: ReplicateTodo,
    /// The class that the file had when the work began; `None` if there was no file.
    pub classid: Option<ClassId>,
}

/// A row as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Queryable)]
pub struct ReplicateRow {
    pub fid: Fid,
    /// Unix time; 0 urgent, [`PARKED`] for a person to look at.
    pub nexttry: i64,
    pub failcount: i64,
    pub fromdevid: Option<DevId>,
    pub flags: i64,
}

/// One statement for rows that are there and rows that are not: the sooner time wins, and a parked row starts anew.
/// `failcount` stands first because MySQL assigns from left to right.
macro_rules! enqueue_at {
    ($conn:expr, $rows:expr, $when:expr) => {{
        let sooner = (
            file_to_replicate::failcount.eq(case_when(
                file_to_replicate::nexttry.eq(Int(PARKED)),
                Int(0).into_sql::<AnyInt>(),
            )
            .otherwise(file_to_replicate::failcount)),
            file_to_replicate::nexttry
                .eq(case_when(file_to_replicate::nexttry.gt($when), $when).otherwise(file_to_replicate::nexttry)),
        );
        upsert!($conn, file_to_replicate::table, $rows, file_to_replicate::fid, sooner)?;
    }};
}

/// Wants a file looked at in so many seconds, 0 being urgent. A row that is there keeps its failures and moves only to a
/// sooner time (C66); a parked one starts anew.
pub fn enqueue(conn: &mut StoreConnection, fid: Fid, in_secs: i64) -> StoreResult<()> {
    if in_secs > 0 {
        let row = (file_to_replicate::fid.eq(fid), file_to_replicate::nexttry.eq(NowPlus(in_secs)));
        enqueue_at!(conn, row, NowPlus(in_secs));
    } else {
        each!(conn, c => EnqueueUrgent(fid).execute(c))?;
    }
    Ok(())
}

/// The statement of [`enqueue`] for urgent files. Written out, because diesel prepares its upserts anew each time, and
/// every upload needs this one.
#[derive(Clone, Copy, Debug, QueryId)]
struct EnqueueUrgent(Fid);

impl<Conn> RunQueryDsl<Conn> for EnqueueUrgent {}

/// What becomes of a row that is there when its file is wanted urgently, in SQLite's and PostgreSQL's words: as in
/// `enqueue_at!`, and 2147483647 is [`PARKED`].
pub(in crate::store) const OR_URGENT: &str = " ON CONFLICT (fid) DO UPDATE SET \
     failcount = CASE WHEN file_to_replicate.nexttry = 2147483647 THEN 0 ELSE file_to_replicate.failcount END, \
     nexttry = CASE WHEN file_to_replicate.nexttry > 0 THEN 0 ELSE file_to_replicate.nexttry END";

const ENQUEUE_URGENT: &str = "INSERT INTO file_to_replicate (nexttry, fid) VALUES (0, ";

impl QueryFragment<Sqlite> for EnqueueUrgent {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(ENQUEUE_URGENT);
        out.push_bind_param::<AnyInt, _>(&self.0)?;
        out.push_sql(")");
        out.push_sql(OR_URGENT);
        Ok(())
    }
}

#[cfg(feature = "mysql")]
impl QueryFragment<Mysql> for EnqueueUrgent {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Mysql>) -> QueryResult<()> {
        out.push_sql(ENQUEUE_URGENT);
        out.push_bind_param::<AnyInt, _>(&self.0)?;
        out.push_sql(
            ") ON DUPLICATE KEY UPDATE failcount = CASE WHEN nexttry = 2147483647 THEN 0 ELSE failcount END, \
             nexttry = CASE WHEN nexttry > 0 THEN 0 ELSE nexttry END",
        );
        Ok(())
    }
}

#[cfg(feature = "postgres")]
impl QueryFragment<Pg> for EnqueueUrgent {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(ENQUEUE_URGENT);
        out.push_bind_param::<AnyInt, _>(&self.0)?;
        out.push_sql(")");
        out.push_sql(OR_URGENT);
        Ok(())
    }
}

const _: () = assert!(PARKED == 2_147_483_647, "the statements above have the number");

/// Rows of one statement: all databases take so many parameters.
const ROWS_PER_STATEMENT: usize = 1000;

/// Does for many files what [`enqueue`] does for one, in at least one second.
pub(in crate::store) fn enqueue_all(conn: &mut StoreConnection, fids: &[Fid], in_secs: i64) -> StoreResult<()> {
    let when = NowPlus(in_secs.max(1));
    for fids in fids.chunks(ROWS_PER_STATEMENT) {
        let row = |fid: &Fid| (file_to_replicate::fid.eq(*fid), file_to_replicate::nexttry.eq(when));
        let rows: Vec<_> = fids.iter().map(row).collect();
        enqueue_at!(&mut *conn, &rows, when);
    }
    Ok(())
}

/// Claims due rows; call it through `Session::claim_replicate`. Of those, files with the fewest copies come first, as far
/// as `devcount` knows: they have the most to lose.
pub(in crate::store) fn claim(conn: &mut StoreConnection, limit: i64) -> StoreResult<Vec<ReplicateTodo>> {
    let columns = (
        file_to_replicate::fid,
        NowPlus(CLAIM_SECS),
        file_to_replicate::failcount,
        file_to_replicate::fromdevid,
        file_to_replicate::flags,
    );
    let mut rows = claim!(conn, file_to_replicate, columns, ReplicateTodo, limit);
    if rows.len() > 1 {
        let fids: Vec<Fid> = rows.iter().map(|row| row.fid).collect();
        let query = file::table.filter(file::fid.eq_any(fids)).select((file::fid, file::devcount));
        let devcounts: Vec<(Fid, i64)> = each!(conn, c => query.load(c))?;
        let devcounts: HashMap<Fid, i64> = devcounts.into_iter().collect();
        rows.sort_by_key(|row| devcounts.get(&row.fid).copied().unwrap_or(0));
    }
    Ok(rows)
}

/// The row as it was claimed.
macro_rules! claimed {
    ($todo:expr) => {
        file_to_replicate::table
            .filter(file_to_replicate::fid.eq($todo.fid))
            .filter(file_to_replicate::nexttry.eq(Int($todo.nexttry)))
            .filter(file_to_replicate::failcount.eq(Int($todo.failcount)))
    };
}

/// Runs one body on the row as it was claimed, if the file is still what the work went by.
macro_rules! on_worked {
    ($worked:expr, $row:ident => $body:expr) => {{
        let WorkedTodo { todo, classid } = $worked;
        let files = file::table.filter(file::fid.eq(todo.fid)).select(file::fid);
        match classid {
            Some(classid) => {
                let $row = claimed!(todo).filter(exists(files.filter(file::classid.eq(*classid))));
                $body
            }
            None => {
                let $row = claimed!(todo).filter(not(exists(files)));
                $body
            }
        }
    }};
}

/// Deletes the row if it is as it was claimed, and the file of the class that the work went by. False if not: the row,
/// if there is one, is due then, because somebody wants the file looked at again.
pub fn finish(conn: &mut StoreConnection, worked: &WorkedTodo) -> StoreResult<bool> {
    let finished = on_worked!(worked, row => each!(&mut *conn, c => diesel::delete(row).execute(c))?) > 0;
    if !finished {
        make_due(conn, worked.todo.fid)?;
    }
    Ok(finished)
}

/// Makes a row due that waits for a later time, be it for a claim to run out. A parked one stays.
fn make_due(conn: &mut StoreConnection, fid: Fid) -> StoreResult<()> {
    let row = file_to_replicate::table
        .filter(file_to_replicate::fid.eq(fid))
        .filter(file_to_replicate::nexttry.gt(NOW))
        .filter(file_to_replicate::nexttry.lt(Int(PARKED)));
    each!(conn, c => diesel::update(row).set(file_to_replicate::nexttry.eq(NOW)).execute(c))?;
    Ok(())
}

/// Leaves a claimed row to whoever has the file locked. It comes back a second before its claim runs out: an earlier
/// claim of the same second does not take it for its own, so that what this one came for is not forgotten.
pub fn leave(conn: &mut StoreConnection, todo: &ReplicateTodo) -> StoreResult<bool> {
    let sooner = file_to_replicate::nexttry.eq(Int(todo.nexttry - 1));
    Ok(each!(conn, c => diesel::update(claimed!(todo)).set(sooner).execute(c))? > 0)
}

/// Gives back a claimed row that nobody began with: it is due again. One that somebody has touched since stays as it is.
pub fn release(conn: &mut StoreConnection, todo: &ReplicateTodo) -> StoreResult<bool> {
    let row = file_to_replicate::table
        .filter(file_to_replicate::fid.eq(todo.fid))
        .filter(file_to_replicate::nexttry.eq(Int(todo.nexttry)));
    Ok(each!(conn, c => diesel::update(row).set(file_to_replicate::nexttry.eq(Int(0))).execute(c))? > 0)
}

/// As [`release`], but due in a second: behind what is due now.
pub fn put_back(conn: &mut StoreConnection, todo: &ReplicateTodo) -> StoreResult<bool> {
    let row = file_to_replicate::table
        .filter(file_to_replicate::fid.eq(todo.fid))
        .filter(file_to_replicate::nexttry.eq(Int(todo.nexttry)));
    Ok(each!(conn, c => diesel::update(row).set(file_to_replicate::nexttry.eq(NowPlus(1))).execute(c))? > 0)
}

/// Counts a failure and comes back in so many seconds, if the row is as it was claimed, and the file of the class that the
/// work went by. False if not: the row, if there is one, is due then, because somebody wants the file looked at again.
pub fn reschedule(conn: &mut StoreConnection, worked: &WorkedTodo, secs: i64) -> StoreResult<bool> {
    let changes = (
        file_to_replicate::nexttry.eq(NowPlus(secs)),
        file_to_replicate::failcount.eq(one_failure_more!(file_to_replicate)),
    );
    let put_off = on_worked!(worked, row => each!(&mut *conn, c => diesel::update(row).set(changes).execute(c))?) > 0;
    if !put_off {
        make_due(conn, worked.todo.fid)?;
    }
    Ok(put_off)
}

/// Counts a failure and leaves a row to a person (J61), if it is as it was claimed.
pub fn park(conn: &mut StoreConnection, todo: &ReplicateTodo) -> StoreResult<bool> {
    let changes = (
        file_to_replicate::nexttry.eq(Int(PARKED)),
        file_to_replicate::failcount.eq(one_failure_more!(file_to_replicate)),
    );
    Ok(each!(conn, c => diesel::update(claimed!(todo)).set(changes).execute(c))? > 0)
}

/// The row of a file.
pub fn find(conn: &mut StoreConnection, fid: Fid) -> StoreResult<Option<ReplicateRow>> {
    let query = file_to_replicate::table.filter(file_to_replicate::fid.eq(fid)).select((
        file_to_replicate::fid,
        file_to_replicate::nexttry,
        file_to_replicate::failcount,
        file_to_replicate::fromdevid,
        file_to_replicate::flags,
    ));
    Ok(each!(conn, c => query.get_result(c).optional())?)
}

/// Makes every row due that is not, the parked ones among them; how many.
pub fn wake_all(conn: &mut StoreConnection) -> StoreResult<usize> {
    let later = file_to_replicate::table.filter(file_to_replicate::nexttry.gt(NOW));
    Ok(each!(conn, c => diesel::update(later).set(file_to_replicate::nexttry.eq(NOW)).execute(c))?)
}

/// Is one of the next so many files of the queue at one copy?
pub fn is_any_at_risk(conn: &mut StoreConnection, next: i64) -> StoreResult<bool> {
    let queued = file_to_replicate::table.select(file_to_replicate::fid).order(file_to_replicate::nexttry).limit(next);
    let fids: Vec<Fid> = each!(&mut *conn, c => queued.load(c))?;
    if fids.is_empty() {
        return Ok(false);
    }
    let at_risk = file::table.filter(file::fid.eq_any(fids)).filter(file::devcount.lt(Int(2))).select(file::fid);
    let found: Option<Fid> = each!(conn, c => at_risk.first(c).optional())?;
    Ok(found.is_some())
}

/// How many queued files have at most one copy by their `devcount`; counts up to `limit`.
pub fn count_at_risk(conn: &mut StoreConnection, limit: i64) -> StoreResult<i64> {
    let query = file_to_replicate::table
        .inner_join(file::table.on(file::fid.eq(file_to_replicate::fid)))
        .filter(file::devcount.lt(Int(2)))
        .select(file_to_replicate::fid)
        .limit(limit);
    let fids: Vec<Fid> = each!(conn, c => query.load(c))?;
    Ok(i64::try_from(fids.len()).unwrap_or(limit))
}

/// How many rows that were never tried wait for a later time (or are claimed), the parked ones not counted.
pub fn untried_deferred_count(conn: &mut StoreConnection) -> StoreResult<i64> {
    let query = file_to_replicate::table
        .filter(file_to_replicate::nexttry.ne(Int(0)))
        .filter(file_to_replicate::nexttry.lt(Int(PARKED)))
        .filter(file_to_replicate::failcount.eq(Int(0)))
        .count();
    Ok(each!(conn, c => query.get_result(c))?)
}
