//! Table `file`: what is stored under which key (database.md 2.8, 6.3–6.5).
//!
//! Changes of a key are whole here: the file that goes is queued for deletion in the same change in which the new one
//! comes (D1, D8, D9).

use super::connection::StoreConnection;
use super::error::{StoreError, StoreResult};
use super::holds;
#[cfg(feature = "postgres")]
use super::one_statement::{Close, Delete, LocateMany, Rename};
use super::schema::{class, domain, file, file_on};
use super::types::{Int, Key, KeyLike, above_prefix, prefix_pattern};
use super::{checksums, deleted_files, file_on as locations, queues, tempfiles};
use crate::ids::{ClassId, DevId, Dmid, Fid};
use bstr::{BStr, BString};
use diesel::dsl::exists;
use diesel::prelude::*;
use std::collections::HashMap;

/// One row of `file`.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct FileRow {
    pub fid: Fid,
    pub dmid: Dmid,
    /// As stored: not always the bytes it was looked up by (database.md 1.6).
    pub dkey: BString,
    pub length: i64,
    pub classid: ClassId,
    /// A cached count of the copies; see `file_on::recount`.
    pub devcount: i64,
}

/// The columns of [`FileRow`].
macro_rules! columns {
    () => {
        (file::fid, file::dmid, file::dkey, file::length, file::classid, file::devcount)
    };
}

/// The file that the database finds under this key.
pub fn find_by_key(conn: &mut StoreConnection, dmid: Dmid, dkey: &BStr) -> StoreResult<Option<FileRow>> {
    let key = conn.key(dkey)?;
    let query = file::table.filter(file::dmid.eq(dmid)).filter(file::dkey.eq(key)).select(columns!());
    Ok(each!(conn, c => query.get_result(c).optional())?)
}

/// The file of this number.
pub fn find_by_fid(conn: &mut StoreConnection, fid: Fid) -> StoreResult<Option<FileRow>> {
    let query = file::table.filter(file::fid.eq(fid)).select(columns!());
    Ok(each!(conn, c => query.get_result(c).optional())?)
}

/// Does a key lead to this number? The answer holds until the end of the transaction: whoever deletes the file waits.
pub fn exists_until_commit(conn: &mut StoreConnection, fid: Fid) -> StoreResult<bool> {
    let query = file::table.filter(file::fid.eq(fid)).select(file::fid);
    Ok(!load_for_update!(conn, query, Fid)?.is_empty())
}

/// A file and the devices that have it, in no order.
pub type LocatedFile = (FileRow, Vec<DevId>);

/// One row per location, or a single one without.
type Located = (FileRow, Option<DevId>);

/// The file under this key and the devices that have it, in no order: one query (C103).
pub fn locate(conn: &mut StoreConnection, dmid: Dmid, dkey: &BStr) -> StoreResult<Option<LocatedFile>> {
    let key = conn.key(dkey)?;
    let query = file::table
        .left_join(file_on::table)
        .filter(file::dmid.eq(dmid))
        .filter(file::dkey.eq(key))
        .select((columns!(), file_on::devid.nullable()));
    let rows: Vec<Located> = each!(conn, c => query.load(c))?;
    Ok(gather(rows))
}

/// [`locate`] for each of the keys, in their order.
///
/// Servers are asked once for all. What a row's key answers to is decided by its bytes there; a key that got none so is
/// looked up by itself, because the database may know it in another spelling.
pub fn locate_many(conn: &mut StoreConnection, dmid: Dmid, keys: &[&BStr]) -> StoreResult<Vec<Option<LocatedFile>>> {
    let holdable: Vec<Key> = keys.iter().filter_map(|key| conn.key(key).ok()).collect();
    let by_key = if holdable.len() > 1 { located_by_key(conn, dmid, holdable)? } else { HashMap::new() };
    let located = keys.iter().map(|&key| match by_key.get(key) {
        Some(found) => Ok(Some(found.clone())),
        None => match locate(conn, dmid, key) {
            // A key that this database cannot hold leads nowhere.
            Err(StoreError::InvalidValue(_)) => Ok(None),
            found => found,
        },
    });
    located.collect()
}

/// What one statement finds under these keys. Nothing on SQLite, which is not asked for many at once.
#[cfg_attr(not(any(feature = "mysql", feature = "postgres")), expect(unused_variables))]
fn located_by_key(
    conn: &mut StoreConnection,
    dmid: Dmid,
    keys: Vec<Key>,
) -> StoreResult<HashMap<BString, LocatedFile>> {
    match conn {
        StoreConnection::Sqlite(_) => Ok(HashMap::new()),
        #[cfg(feature = "mysql")]
        StoreConnection::Mysql(c) => {
            let query = file::table
                .left_join(file_on::table)
                .filter(file::dmid.eq(dmid))
                .filter(super::types::KeyIn { keys })
                .select((columns!(), file_on::devid.nullable()));
            let rows: Vec<Located> = query.load(c)?;
            let mut by_key: HashMap<BString, LocatedFile> = HashMap::new();
            for (row, devid) in rows {
                by_key.entry(row.dkey.clone()).or_insert_with(|| (row, Vec::new())).1.extend(devid);
            }
            Ok(by_key)
        }
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(c) => {
            let dkeys = keys.into_iter().map(Key::into_text).collect::<StoreResult<_>>()?;
            let rows: Vec<(FileRow, Vec<i64>)> = LocateMany { dmid, dkeys }.load(c)?;
            let devids = |devids: Vec<i64>| devids.into_iter().map(DevId).collect();
            Ok(rows.into_iter().map(|(row, list)| (row.dkey.clone(), (row, devids(list)))).collect())
        }
    }
}

/// The file of this number and the devices that have it, in no order.
pub fn with_devids_by_fid(conn: &mut StoreConnection, fid: Fid) -> StoreResult<Option<LocatedFile>> {
    let query =
        file::table.left_join(file_on::table).filter(file::fid.eq(fid)).select((columns!(), file_on::devid.nullable()));
    let rows: Vec<Located> = each!(conn, c => query.load(c))?;
    Ok(gather(rows))
}

fn gather(rows: Vec<Located>) -> Option<LocatedFile> {
    let mut devids = Vec::with_capacity(rows.len());
    let mut found = None;
    for (row, devid) in rows {
        devids.extend(devid);
        found.get_or_insert(row);
    }
    Some((found?, devids))
}

/// The next files by number (C41, D23).
pub fn list_after(conn: &mut StoreConnection, after: Fid, limit: i64) -> StoreResult<Vec<FileRow>> {
    let query = file::table.filter(file::fid.gt(after)).select(columns!()).order(file::fid).limit(limit);
    Ok(each!(conn, c => query.load(c))?)
}

/// The highest number of a file.
pub fn max_fid(conn: &mut StoreConnection) -> StoreResult<Option<Fid>> {
    let query = file::table.select(file::fid).order(file::fid.desc()).limit(1);
    Ok(each!(conn, c => query.first(c).optional())?)
}

/// The next keys of a domain that start so, in the database's order, after the given one (none if empty). Upper and lower
/// case are told apart as the database does, or always if `case_sensitive`.
pub fn list_keys(
    conn: &mut StoreConnection,
    dmid: Dmid,
    prefix: &BStr,
    after: &BStr,
    limit: i64,
    case_sensitive: bool,
) -> StoreResult<Vec<BString>> {
    let like = KeyLike { pattern: pattern_key(conn, prefix)? };
    let after = conn.key(after)?;
    match conn {
        StoreConnection::Sqlite(c) => list_keys_sqlite(c, dmid, prefix, after, like, limit, case_sensitive),
        #[cfg(feature = "mysql")]
        StoreConnection::Mysql(c) => {
            let binary = super::types::KeyLikeBinary { pattern: like.pattern.clone() };
            let page = keys_after(dmid, after, limit).filter(like);
            Ok(if case_sensitive { page.filter(binary).load(c)? } else { page.load(c)? })
        }
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(c) => Ok(keys_after(dmid, after, limit).filter(like).load(c)?),
    }
}

/// A pattern may be longer than a key: it has escape characters.
pub(super) fn pattern_key(conn: &StoreConnection, prefix: &BStr) -> StoreResult<Key> {
    let checked = conn.key(prefix)?;
    let pattern = prefix_pattern(prefix);
    Ok(match checked {
        Key::Raw(_) => Key::raw(pattern.as_ref()),
        Key::Text(text) => Key::Text(text_pattern(&text)),
    })
}

/// [`prefix_pattern`] for a key that is text already.
fn text_pattern(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for character in prefix.chars() {
        if matches!(character, '%' | '_' | '|') {
            pattern.push('|');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

/// The start of every page of keys.
#[diesel::dsl::auto_type(no_type_alias)]
fn keys_after(dmid: Dmid, after: Key, limit: i64) -> _ {
    let of_domain: diesel::dsl::Eq<file::dmid, Dmid> = file::dmid.eq(dmid);
    let behind: diesel::dsl::Gt<file::dkey, Key> = file::dkey.gt(after);
    file::table.filter(of_domain).filter(behind).select(file::dkey).order(file::dkey).limit(limit)
}

/// SQLite orders keys by their bytes, so a prefix is a range; only its `LIKE` takes no notice of case.
fn list_keys_sqlite(
    conn: &mut diesel::SqliteConnection,
    dmid: Dmid,
    prefix: &BStr,
    after: Key,
    like: KeyLike,
    limit: i64,
    case_sensitive: bool,
) -> StoreResult<Vec<BString>> {
    let page = keys_after(dmid, after, limit);
    if prefix.is_empty() {
        return Ok(page.load(conn)?);
    }
    if !case_sensitive {
        return Ok(page.filter(like).load(conn)?);
    }
    let from = page.filter(file::dkey.ge(Key::raw(prefix)));
    Ok(match above_prefix(prefix) {
        Some(above) => from.filter(file::dkey.lt(Key::raw(above.as_ref()))).load(conn)?,
        None => from.load(conn)?,
    })
}

/// An upload that is to become a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseUpload {
    pub fid: Fid,
    pub dmid: Dmid,
    pub dkey: BString,
    pub classid: ClassId,
    pub length: i64,
    /// Where the body is.
    pub devid: DevId,
    /// Number of the algorithm and raw digest, if it is to be stored.
    pub checksum: Option<(i64, Vec<u8>)>,
}

/// What became of [`close_upload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseOutcome {
    /// The key leads to the new file; what it led to before is queued for deletion.
    Stored,
    /// The upload is not open: closed or reaped before. Nothing was changed.
    NoTempfile,
    /// A file has this number already. Nothing was changed.
    FidExists,
    /// The domain or the class was deleted meanwhile. Nothing was changed.
    ClassGone,
}

/// Turns an open upload into the file of its key, as one change (database.md 6.4).
///
/// # Errors
/// [`StoreError::Deadlock`] when another upload is getting the same key: the whole is to be repeated, as
/// `Session::write` does.
pub fn close_upload(conn: &mut StoreConnection, close: &CloseUpload) -> StoreResult<CloseOutcome> {
    close_upload_replacing(conn, close, &mut Vec::new())
}

/// [`close_upload`], adding the files that the key led to before, which are deleted, to `replaced`.
///
/// # Errors
/// Those of [`close_upload`].
pub fn close_upload_replacing(
    conn: &mut StoreConnection,
    close: &CloseUpload,
    replaced: &mut Vec<Fid>,
) -> StoreResult<CloseOutcome> {
    if let Some(refused) = why_not_close(conn, close)? {
        return Ok(refused);
    }
    if !tempfiles::delete_row(conn, close.fid)? {
        return Ok(CloseOutcome::NoTempfile);
    }
    store_under_key(conn, close, replaced)?;
    locations::add(conn, close.fid, close.devid)?;
    queues::replicate::enqueue(conn, close.fid, 0)?;
    if let Some((hashtype, digest)) = &close.checksum {
        checksums::set(conn, close.fid, *hashtype, digest)?;
    }
    Ok(CloseOutcome::Stored)
}

/// [`close_upload`] in one statement. `None` if it was not that simple: nothing was changed then.
pub(super) fn close_upload_at_once(
    conn: &mut StoreConnection,
    close: &CloseUpload,
) -> StoreResult<Option<CloseOutcome>> {
    let dkey = conn.key(close.dkey.as_ref())?;
    let stored: i64 = match conn {
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(c) => match &close.checksum {
            None => Close::<false> { close, dkey }.get_result(c)?,
            Some(_) => Close::<true> { close, dkey }.get_result(c)?,
        },
        _ => {
            let _ = dkey;
            0
        }
    };
    Ok((stored > 0).then_some(CloseOutcome::Stored))
}

/// [`close_upload`] when an earlier try may have done it, and nobody knows.
pub(super) fn close_upload_again(conn: &mut StoreConnection, close: &CloseUpload) -> StoreResult<CloseOutcome> {
    let outcome = close_upload(conn, close)?;
    if outcome != CloseOutcome::NoTempfile {
        return Ok(outcome);
    }
    let key = conn.key(close.dkey.as_ref())?;
    let stored = file::table.filter(file::fid.eq(close.fid)).filter(file::dmid.eq(close.dmid));
    let is_stored = diesel::select(exists(stored.filter(file::dkey.eq(key))));
    Ok(if each!(conn, c => is_stored.get_result(c))? { CloseOutcome::Stored } else { outcome })
}

fn why_not_close(conn: &mut StoreConnection, close: &CloseUpload) -> StoreResult<Option<CloseOutcome>> {
    let Look { class_is_there, is_open, is_file } = look_and_hold(conn, close)?;
    Ok(if !is_open {
        Some(CloseOutcome::NoTempfile)
    } else if is_file {
        Some(CloseOutcome::FidExists)
    } else if !class_is_there {
        Some(CloseOutcome::ClassGone)
    } else {
        None
    })
}

/// What decides whether an upload can be closed.
struct Look {
    class_is_there: bool,
    is_open: bool,
    is_file: bool,
}

/// Domain and class are held as [`hold_class`] does it. On MySQL that begins the view of the database that the rest is
/// read in; what comes later is noticed by the unique keys of `file`.
fn look_and_hold(conn: &mut StoreConnection, close: &CloseUpload) -> StoreResult<Look> {
    use super::schema::tempfile;
    let (fid, dmid, classid) = (close.fid, close.dmid, close.classid);
    let is_open = || exists(tempfile::table.filter(tempfile::fid.eq(fid)));
    let is_file = || exists(file::table.filter(file::fid.eq(fid)));
    match conn {
        StoreConnection::Sqlite(c) => {
            let domains = domain::table.filter(domain::dmid.eq(dmid));
            let classes = class::table.filter(class::dmid.eq(dmid)).filter(class::classid.eq(classid));
            let query = diesel::select((is_open(), is_file(), exists(domains), exists(classes)));
            let (is_open, is_file, has_domain, has_class): (bool, bool, bool, bool) = query.get_result(c)?;
            let class_is_there = has_domain && (has_class || classid == ClassId::DEFAULT);
            Ok(Look { class_is_there, is_open, is_file })
        }
        #[cfg(feature = "mysql")]
        StoreConnection::Mysql(c) => {
            use super::types::LockInShareMode;
            let domains = domain::table.filter(domain::dmid.eq(dmid));
            let held: Vec<(bool, bool)> = if classid == ClassId::DEFAULT {
                LockInShareMode(domains.select((is_open(), is_file()))).load(c)?
            } else {
                let both = domains.inner_join(class::table.on(class::dmid.eq(domain::dmid)));
                let both = both.filter(class::classid.eq(classid)).select((is_open(), is_file()));
                LockInShareMode(both).load(c)?
            };
            let class_is_there = !held.is_empty();
            let (is_open, is_file) = match held.into_iter().next() {
                Some(seen) => seen,
                None => diesel::select((is_open(), is_file())).get_result(c)?,
            };
            if class_is_there {
                holds::share_domain(conn, dmid)?;
            }
            Ok(Look { class_is_there, is_open, is_file })
        }
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(_) => {
            let class_is_there = hold_class(conn, dmid, classid)?;
            let query = diesel::select((is_open(), is_file()));
            let (is_open, is_file): (bool, bool) = each!(conn, c => query.get_result(c))?;
            Ok(Look { class_is_there, is_open, is_file })
        }
    }
}

/// Are domain and class there? Until the end of the transaction nobody deletes them (D26), while others may hold them
/// too. Class 0 needs no row.
pub(super) fn hold_class(conn: &mut StoreConnection, dmid: Dmid, classid: ClassId) -> StoreResult<bool> {
    if !lock_class(conn, dmid, classid)? {
        return Ok(false);
    }
    holds::share_domain(conn, dmid)?;
    Ok(true)
}

fn lock_class(conn: &mut StoreConnection, dmid: Dmid, classid: ClassId) -> StoreResult<bool> {
    let domains = domain::table.filter(domain::dmid.eq(dmid)).select(domain::dmid);
    let classes = class::table.filter(class::dmid.eq(dmid)).filter(class::classid.eq(classid)).select(class::classid);
    let needs_row = classid != ClassId::DEFAULT;
    match conn {
        StoreConnection::Sqlite(c) => {
            let domain_is_there = diesel::select(exists(domains)).get_result::<bool>(c)?;
            Ok(domain_is_there && (!needs_row || diesel::select(exists(classes)).get_result::<bool>(c)?))
        }
        #[cfg(feature = "mysql")]
        StoreConnection::Mysql(c) => {
            use super::types::LockInShareMode;
            let domain_is_there = !LockInShareMode(domains).load::<Dmid>(c)?.is_empty();
            Ok(domain_is_there && (!needs_row || !LockInShareMode(classes).load::<ClassId>(c)?.is_empty()))
        }
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(c) => {
            let domain_is_there = !domains.for_share().load::<Dmid>(c)?.is_empty();
            Ok(domain_is_there && (!needs_row || !classes.for_share().load::<ClassId>(c)?.is_empty()))
        }
    }
}

/// The usual case, a new key, is one statement. Otherwise the present owners of the key go first, into the deletion
/// queue; there may be several, or one under another spelling, by the database's idea of equality.
fn store_under_key(conn: &mut StoreConnection, close: &CloseUpload, replaced: &mut Vec<Fid>) -> StoreResult<()> {
    if insert_file(conn, close)? {
        return Ok(());
    }
    for displaced in lock_fids_of_key(conn, close.dmid, close.dkey.as_ref())? {
        delete_file(conn, displaced)?;
        replaced.push(displaced);
    }
    // Somebody else was faster: seen only now, and to be displaced by another try.
    if insert_file(conn, close)? { Ok(()) } else { Err(StoreError::Deadlock) }
}

/// False if the key or the fid is taken.
fn insert_file(conn: &mut StoreConnection, close: &CloseUpload) -> StoreResult<bool> {
    let row = (
        file::fid.eq(close.fid),
        file::dmid.eq(close.dmid),
        file::dkey.eq(conn.key(close.dkey.as_ref())?),
        file::length.eq(Int(close.length)),
        file::classid.eq(close.classid),
        file::devcount.eq(Int(1)),
    );
    Ok(insert_new!(conn, file::table, row)? == 1)
}

/// The spellings under which the database has this key: itself, another one that it takes for equal, or none.
pub fn stored_keys(conn: &mut StoreConnection, dmid: Dmid, dkey: &BStr) -> StoreResult<Vec<BString>> {
    let key = conn.key(dkey)?;
    let query = file::table.filter(file::dmid.eq(dmid)).filter(file::dkey.eq(key)).select(file::dkey);
    Ok(each!(conn, c => query.load(c))?)
}

pub(super) fn lock_fids_of_key(conn: &mut StoreConnection, dmid: Dmid, dkey: &BStr) -> StoreResult<Vec<Fid>> {
    let key = conn.key(dkey)?;
    let query = file::table.filter(file::dmid.eq(dmid)).filter(file::dkey.eq(key)).select(file::fid);
    Ok(load_for_update!(conn, query, Fid)?)
}

/// The row goes, and its copies are queued for deletion: at once, or later if deleted files are to be kept for a while.
/// False if there was no row.
fn delete_file(conn: &mut StoreConnection, fid: Fid) -> StoreResult<bool> {
    let term = deleted_files::term(conn)?;
    if let Some(term) = term {
        deleted_files::record(conn, fid, term)?;
    }
    let row = file::table.filter(file::fid.eq(fid));
    if each!(&mut *conn, c => diesel::delete(row).execute(c))? == 0 {
        return Ok(false);
    }
    match term {
        None => queues::delete::enqueue(conn, fid, 0)?,
        // Somebody queued it before: his row stands, and the file cannot come back.
        Some(term) if !queues::delete::enqueue_at(conn, fid, term.due_at)? => deleted_files::forget(conn, fid)?,
        Some(_) => {}
    }
    Ok(true)
}

/// Gives an upload up whose body may be on the device: body and fid are queued for deletion. False if it is not open. A
/// fid that is a file keeps everything but the row of the upload.
pub fn discard_upload(conn: &mut StoreConnection, fid: Fid, devid: DevId) -> StoreResult<bool> {
    if !tempfiles::delete_row(conn, fid)? {
        return Ok(false);
    }
    if find_by_fid(conn, fid)?.is_none() {
        locations::add(conn, fid, devid)?;
        queues::delete::enqueue(conn, fid, 0)?;
    }
    Ok(true)
}

/// Deletes the file of a key and queues its copies for deletion; its number, or `None` if there is no such key.
pub fn delete_by_key(conn: &mut StoreConnection, dmid: Dmid, dkey: &BStr) -> StoreResult<Option<Fid>> {
    let mut deleted = None;
    for fid in lock_fids_of_key(conn, dmid, dkey)? {
        if delete_file(conn, fid)? {
            deleted = Some(fid);
        }
    }
    Ok(deleted)
}

/// [`delete_by_key`] in one statement. `None` if there is no such key, or if it is not that simple: nothing was changed
/// then.
pub(super) fn delete_at_once(conn: &mut StoreConnection, dmid: Dmid, dkey: &BStr) -> StoreResult<Option<Fid>> {
    let dkey = conn.key(dkey)?;
    match conn {
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(c) => Ok(Delete { dmid, dkey }.load::<Fid>(c)?.into_iter().next()),
        _ => {
            let _ = (dmid, dkey);
            Ok(None)
        }
    }
}

/// [`rename`] in one statement. `None` if there is no such key.
pub(super) fn rename_at_once(
    conn: &mut StoreConnection,
    dmid: Dmid,
    from: &BStr,
    to: &BStr,
) -> StoreResult<Option<RenameOutcome>> {
    let (from, to) = (conn.key(from)?, conn.key(to)?);
    match conn {
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(c) => {
            Ok(Rename { dmid, from, to }.load::<Fid>(c)?.into_iter().next().map(RenameOutcome::Renamed))
        }
        _ => {
            let _ = (dmid, from, to);
            Ok(None)
        }
    }
}

/// What became of [`rename`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameOutcome {
    Renamed(Fid),
    UnknownKey,
    /// The new key leads to another file. Nothing was changed.
    KeyExists,
}

/// Gives a file another key of its domain.
pub fn rename(conn: &mut StoreConnection, dmid: Dmid, from: &BStr, to: &BStr) -> StoreResult<RenameOutcome> {
    let new_key = conn.key(to)?;
    let Some(fid) = lock_fids_of_key(conn, dmid, from)?.into_iter().next() else {
        return Ok(RenameOutcome::UnknownKey);
    };
    // Asked first, because on PostgreSQL a failed statement ends the transaction. Another spelling of the file's own key
    // is not in the way.
    if lock_fids_of_key(conn, dmid, to)?.into_iter().any(|other| other != fid) {
        return Ok(RenameOutcome::KeyExists);
    }
    let row = file::table.filter(file::fid.eq(fid));
    match each!(conn, c => diesel::update(row).set(file::dkey.eq(new_key)).execute(c)).map_err(StoreError::from) {
        Ok(_) => Ok(RenameOutcome::Renamed(fid)),
        // Taken since we asked: another try will see it.
        Err(StoreError::Duplicate) => Err(StoreError::Deadlock),
        Err(error) => Err(error),
    }
}

/// Moves a file to another class of its domain and has its copies checked; false if there is no such file or class.
pub fn set_class(conn: &mut StoreConnection, fid: Fid, classid: ClassId) -> StoreResult<bool> {
    let dmid = file::table.filter(file::fid.eq(fid)).select(file::dmid);
    let dmid: Option<Dmid> = each!(&mut *conn, c => dmid.first(c).optional())?;
    let Some(dmid) = dmid else { return Ok(false) };
    if !hold_class(conn, dmid, classid)? {
        return Ok(false);
    }
    let row = file::table.filter(file::fid.eq(fid));
    if each!(&mut *conn, c => diesel::update(row).set(file::classid.eq(classid)).execute(c))? == 0 {
        return Ok(false);
    }
    queues::replicate::enqueue(conn, fid, 0)?;
    Ok(true)
}
