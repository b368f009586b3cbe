//! Table `mogilefs_deleted_file`: files that were deleted lately and can be brought back.
//!
//! The table is ours: a database that 2.73 made lacks it until `mogilefs db setup` has run, and everything here bears that.
//! A row alone means nothing. What counts is the row of `file_to_delete2`: as long as it stands exactly as the deletion
//! left it, nobody has begun to remove the copies, and whoever deletes that row (and sees that it did) owns the file.

use super::connection::StoreConnection;
use super::error::{StoreError, StoreResult};
use super::schema::{file, file_on, file_to_delete2, mogilefs_deleted_file as deleted};
use super::types::{AnyInt, DeletedKeyLike, Int, NOW};
use super::{db_unixtime, file_on as locations, files, queues, server_settings, tables};
use crate::ids::{ClassId, DevId, Dmid, Fid};
use bstr::{BStr, BString};
use diesel::prelude::*;

/// The server setting: for so many seconds a deleted file can be brought back; absent or 0 means not at all.
pub const WINDOW_SETTING: &str = "undelete_window_secs";

/// Rows that one [`sweep`] removes at most.
const SWEEP_ROWS_MAX: i64 = 1000;

/// When a file is deleted, and when its copies may go; both by the database's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub deleted_at: i64,
    pub due_at: i64,
}

/// Is the table there?
pub fn is_set_up(conn: &mut StoreConnection) -> StoreResult<bool> {
    tables::exists(conn, "mogilefs_deleted_file")
}

/// The window in force; 0 if it is off. What is no number counts as off.
pub fn window_secs(conn: &mut StoreConnection) -> StoreResult<i64> {
    let value = server_settings::get(conn, WINDOW_SETTING)?;
    Ok(value.and_then(|text| text.trim().parse().ok()).filter(|&secs: &i64| secs > 0).unwrap_or(0))
}

/// The term of a file that is deleted now; `None` if deleted files are not kept.
pub(super) fn term(conn: &mut StoreConnection) -> StoreResult<Option<Term>> {
    let window_secs = window_secs(conn)?;
    if window_secs == 0 || !is_set_up(conn)? {
        return Ok(None);
    }
    let deleted_at = db_unixtime(conn)?;
    // The end of time itself means "parked" to people who read the queues.
    let due_at = deleted_at.saturating_add(window_secs).min(queues::PARKED - 1);
    Ok(Some(Term { deleted_at, due_at }))
}

/// Keeps what the row of `file` says, which is still there. The bytes of the key stay in the database.
pub(super) fn record(conn: &mut StoreConnection, fid: Fid, term: Term) -> StoreResult<()> {
    // What an earlier file of this number may have left.
    each!(&mut *conn, c => diesel::delete(deleted::table.filter(deleted::fid.eq(fid))).execute(c))?;
    let row = file::table.filter(file::fid.eq(fid)).select((
        file::fid,
        file::dmid,
        file::dkey,
        file::length,
        file::classid,
        file::devcount,
        Int(term.deleted_at).into_sql::<AnyInt>(),
        Int(term.due_at).into_sql::<AnyInt>(),
    ));
    let columns = (
        deleted::fid,
        deleted::dmid,
        deleted::dkey,
        deleted::length,
        deleted::classid,
        deleted::devcount,
        deleted::deleted_at,
        deleted::due_at,
    );
    each!(conn, c => row.insert_into(deleted::table).into_columns(columns).execute(c))?;
    Ok(())
}

/// Forgets a fid: it cannot be brought back any more, or it was. Nothing happens without the table.
pub fn forget(conn: &mut StoreConnection, fid: Fid) -> StoreResult<()> {
    if is_set_up(conn)? {
        each!(conn, c => diesel::delete(deleted::table.filter(deleted::fid.eq(fid))).execute(c))?;
    }
    Ok(())
}

/// The highest number of a class of this domain that a deleted file names.
pub(super) fn highest_classid(conn: &mut StoreConnection, dmid: Dmid) -> StoreResult<Option<ClassId>> {
    if !is_set_up(conn)? {
        return Ok(None);
    }
    let classes = deleted::table.filter(deleted::dmid.eq(dmid)).select(deleted::classid);
    let highest = classes.order(deleted::classid.desc()).limit(1);
    Ok(each!(conn, c => highest.first(c).optional())?)
}

/// Forgets the files of a domain that is deleted: its number may get another meaning.
pub(super) fn forget_domain(conn: &mut StoreConnection, dmid: Dmid) -> StoreResult<()> {
    if is_set_up(conn)? {
        each!(conn, c => diesel::delete(deleted::table.filter(deleted::dmid.eq(dmid))).execute(c))?;
    }
    Ok(())
}

/// Forgets files whose time is over and whose copies another tracker, which does not know the table, has removed; how
/// many.
pub fn sweep(conn: &mut StoreConnection) -> StoreResult<usize> {
    if !is_set_up(conn)? {
        return Ok(0);
    }
    let over = deleted::table
        .left_join(file_to_delete2::table.on(file_to_delete2::fid.eq(deleted::fid)))
        .filter(deleted::due_at.lt(NOW))
        .filter(file_to_delete2::fid.nullable().is_null())
        .select(deleted::fid)
        .limit(SWEEP_ROWS_MAX);
    let fids: Vec<Fid> = each!(&mut *conn, c => over.load(c))?;
    if fids.is_empty() {
        return Ok(0);
    }
    Ok(each!(conn, c => diesel::delete(deleted::table.filter(deleted::fid.eq_any(fids))).execute(c))?)
}

/// A deleted file that can be brought back.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct DeletedFile {
    pub fid: Fid,
    /// As stored.
    pub dkey: BString,
    pub length: i64,
    pub classid: ClassId,
    /// Unix times of the database.
    pub deleted_at: i64,
    pub due_at: i64,
}

/// Rows of the table whose row in the deletion queue stands as the deletion left it, with the columns of
/// [`DeletedFile`].
macro_rules! restorable {
    () => {
        deleted::table
            .inner_join(file_to_delete2::table.on(file_to_delete2::fid.eq(deleted::fid)))
            .filter(file_to_delete2::nexttry.eq(deleted::due_at))
            .filter(file_to_delete2::failcount.eq(Int(0)))
            .select((
                deleted::fid,
                deleted::dkey,
                deleted::length,
                deleted::classid,
                deleted::deleted_at,
                deleted::due_at,
            ))
    };
}

/// The files of a domain that can be brought back, by number after the given one; of keys that begin so (as the database
/// compares). Call it only if [`is_set_up`].
pub fn list(
    conn: &mut StoreConnection,
    dmid: Dmid,
    prefix: &BStr,
    after: Fid,
    limit: i64,
) -> StoreResult<Vec<DeletedFile>> {
    let page =
        restorable!().filter(deleted::dmid.eq(dmid)).filter(deleted::fid.gt(after)).order(deleted::fid).limit(limit);
    if prefix.is_empty() {
        return Ok(each!(conn, c => page.load(c))?);
    }
    let like = DeletedKeyLike { pattern: files::pattern_key(conn, prefix)? };
    Ok(each!(conn, c => page.filter(like).load(c))?)
}

/// The file of this number, if it can be brought back.
pub fn find_by_fid(conn: &mut StoreConnection, fid: Fid) -> StoreResult<Option<DeletedFile>> {
    if !is_set_up(conn)? {
        return Ok(None);
    }
    Ok(each!(conn, c => restorable!().filter(deleted::fid.eq(fid)).get_result(c).optional())?)
}

/// What is to be brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelete {
    pub dmid: Dmid,
    /// The key it had.
    pub dkey: BString,
    /// Which one of those that had the key; the one deleted last if `None`.
    pub fid: Option<Fid>,
    /// The key it gets, if another one.
    pub to_key: Option<BString>,
}

/// What became of [`undelete`]. Only [`UndeleteOutcome::Restored`] has changed anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UndeleteOutcome {
    Restored(files::FileRow),
    /// The database lacks our table.
    NotSetUp,
    /// Nothing that had this key can be brought back (any more).
    NothingDeleted,
    /// The key leads to a file.
    KeyExists,
    /// No device has a copy.
    NoCopies,
    /// The domain was deleted.
    DomainGone,
}

/// Brings a deleted file back with its number, as one change. A file whose class is gone comes back in the class
/// `default`.
///
/// # Errors
/// [`StoreError::Deadlock`] when somebody else is getting the same key: the whole is to be repeated, as `Session::write`
/// does.
pub fn undelete(conn: &mut StoreConnection, wanted: &Undelete) -> StoreResult<UndeleteOutcome> {
    if !is_set_up(conn)? {
        return Ok(UndeleteOutcome::NotSetUp);
    }
    let Some(found) = find(conn, wanted)? else { return Ok(UndeleteOutcome::NothingDeleted) };
    let Some(classid) = class_to_restore(conn, wanted.dmid, found.classid)? else {
        return Ok(UndeleteOutcome::DomainGone);
    };
    let target = wanted.to_key.as_ref().unwrap_or(&wanted.dkey);
    if !files::lock_fids_of_key(conn, wanted.dmid, target.as_ref())?.is_empty() {
        return Ok(UndeleteOutcome::KeyExists);
    }
    // Locked, because on MySQL a plain reading would show the rows as they were when the transaction began.
    let copies = file_on::table.filter(file_on::fid.eq(found.fid)).select(file_on::devid);
    if load_for_update!(&mut *conn, copies, DevId)?.is_empty() {
        return Ok(UndeleteOutcome::NoCopies);
    }
    // A claim has another `nexttry`. Until here nothing was changed.
    if files::find_by_fid(conn, found.fid)?.is_some()
        || !queues::delete::finish_unclaimed(conn, found.fid, found.due_at)?
    {
        return Ok(UndeleteOutcome::NothingDeleted);
    }
    restore(conn, &found, classid, wanted.to_key.as_ref().map(AsRef::as_ref))?;
    locations::recount(conn, found.fid)?;
    forget(conn, found.fid)?;
    queues::replicate::enqueue(conn, found.fid, 0)?;
    let row = files::find_by_fid(conn, found.fid)?;
    row.map(UndeleteOutcome::Restored).ok_or_else(|| StoreError::Other("a restored file vanished".to_owned()))
}

fn find(conn: &mut StoreConnection, wanted: &Undelete) -> StoreResult<Option<DeletedFile>> {
    let key = conn.key(wanted.dkey.as_ref())?;
    let newest_first = restorable!()
        .filter(deleted::dmid.eq(wanted.dmid))
        .filter(deleted::dkey.eq(key))
        .order((deleted::deleted_at.desc(), deleted::fid.desc()));
    Ok(match wanted.fid {
        Some(fid) => each!(conn, c => newest_first.filter(deleted::fid.eq(fid)).first(c).optional())?,
        None => each!(conn, c => newest_first.first(c).optional())?,
    })
}

/// The class of the file, else the default one; `None` if the domain is gone. Held until the change is done.
fn class_to_restore(conn: &mut StoreConnection, dmid: Dmid, classid: ClassId) -> StoreResult<Option<ClassId>> {
    for classid in [classid, ClassId::DEFAULT] {
        if files::hold_class(conn, dmid, classid)? {
            return Ok(Some(classid));
        }
    }
    Ok(None)
}

fn restore(
    conn: &mut StoreConnection,
    found: &DeletedFile,
    classid: ClassId,
    to_key: Option<&BStr>,
) -> StoreResult<()> {
    let columns = (file::fid, file::dmid, file::dkey, file::length, file::classid, file::devcount);
    let row = deleted::table.filter(deleted::fid.eq(found.fid));
    let classid = classid.into_sql::<AnyInt>();
    let inserted = match to_key {
        None => {
            let row =
                row.select((deleted::fid, deleted::dmid, deleted::dkey, deleted::length, classid, deleted::devcount));
            each!(&mut *conn, c => row.insert_into(file::table).into_columns(columns).execute(c))
        }
        Some(key) => {
            let key = conn.key(key)?;
            let row = row.select((deleted::fid, deleted::dmid, key, deleted::length, classid, deleted::devcount));
            each!(&mut *conn, c => row.insert_into(file::table).into_columns(columns).execute(c))
        }
    };
    match inserted.map_err(StoreError::from) {
        Ok(1) => Ok(()),
        // The key was taken, or the row was swept, since we looked: another try will see it.
        Ok(_) | Err(StoreError::Duplicate) => Err(StoreError::Deadlock),
        Err(error) => Err(error),
    }
}
