//! Table `tempfile`: uploads that are open, and the counter that fids come from (database.md 2.7, 3.1).
//!
//! Whoever deletes the row has the fid: the one who closes the upload, or the one who reaps it. Everything else of the
//! change comes after that (D2).

#[cfg(feature = "mysql")]
use super::connection::Backend;
use super::connection::StoreConnection;
use super::error::{StoreError, StoreResult};
use super::one_statement::OpenUpload;
use super::schema::{
    file, file_on, file_to_delete, file_to_delete_later, file_to_delete2, file_to_queue, file_to_replicate, tempfile,
};
use super::types::{NOW, NowPlus};
use super::{file_on as locations, queues};
use crate::ids::{ClassId, DevId, Dmid, Fid};
use bstr::BString;
use diesel::dsl::exists;
use diesel::prelude::*;

/// An upload that a client opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTempfile {
    /// `None` lets the database choose.
    pub fid: Option<Fid>,
    pub dmid: Dmid,
    pub dkey: BString,
    pub classid: ClassId,
    /// Devices offered, in the order of preference.
    pub devids: Vec<DevId>,
}

/// One row of `tempfile`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TempfileRow {
    pub fid: Fid,
    /// Unix time by the database.
    pub createtime: i64,
    pub classid: ClassId,
    pub dmid: Dmid,
    pub dkey: BString,
    pub devids: Vec<DevId>,
}

/// The row as stored.
type Columns = (Fid, i64, ClassId, Dmid, BString, Option<String>);

impl From<Columns> for TempfileRow {
    fn from((fid, createtime, classid, dmid, dkey, devids): Columns) -> Self {
        Self { fid, createtime, classid, dmid, dkey, devids: parse_devids(devids.as_deref().unwrap_or_default()) }
    }
}

/// Room for the list of devices, in characters.
const DEVIDS_CHARACTERS_MAX: usize = 60;

fn print_devids(devids: &[DevId]) -> StoreResult<String> {
    let text = devids.iter().map(DevId::to_string).collect::<Vec<_>>().join(",");
    if text.len() > DEVIDS_CHARACTERS_MAX {
        return Err(StoreError::InvalidValue(format!("more devices than a row of tempfile can hold: {text}")));
    }
    Ok(text)
}

/// Nothing, if the text is not a list of numbers (database.md 2.7).
fn parse_devids(text: &str) -> Vec<DevId> {
    let numbers: Result<Vec<i64>, _> = text.split(',').map(str::parse).collect();
    numbers.map(|numbers| numbers.into_iter().map(DevId).collect()).unwrap_or_default()
}

/// How many numbers of the counter are tried, should files be in their way.
const NUMBERS_TRIED: u32 = 3;

/// Opens an upload and gives its fid.
///
/// # Errors
/// [`StoreError::Duplicate`] if the fid asked for is in use anywhere; nothing is written then (C14, D31).
pub fn register(conn: &mut StoreConnection, new: &NewTempfile) -> StoreResult<Fid> {
    let devids = print_devids(&new.devids)?;
    if let Some(fid) = new.fid {
        if is_in_use(conn, fid)? || !insert_as(conn, fid, new, &devids)? {
            return Err(StoreError::Duplicate);
        }
        return Ok(fid);
    }
    for _ in 0..NUMBERS_TRIED {
        let (fid, is_taken) = insert_next(conn, new, devids.clone())?;
        if !is_taken {
            return Ok(fid);
        }
        // The counter is behind: somebody stored files with numbers of their own. A safety net, see Store::open.
        delete_row(conn, fid)?;
        super::fid_counter::raise(conn)?;
    }
    Err(StoreError::Other("no free fid was found".to_owned()))
}

/// The first step of [`register`], where the database chooses the fid: that fid, and whether it is a file already. Then
/// [`register_above`] goes on. Needs no transaction: a row that nobody closes is reaped.
pub(super) fn register_at_once(conn: &mut StoreConnection, new: &NewTempfile) -> StoreResult<(Fid, bool)> {
    let devids = print_devids(&new.devids)?;
    insert_next(conn, new, devids)
}

/// [`register`] after a number of the counter was found to be taken.
pub(super) fn register_above(conn: &mut StoreConnection, taken: Fid, new: &NewTempfile) -> StoreResult<Fid> {
    // The counter is behind: somebody stored files with numbers of their own. A safety net, see Store::open.
    delete_row(conn, taken)?;
    super::fid_counter::raise(conn)?;
    register(conn, new)
}

/// The values but the fid.
macro_rules! values {
    ($conn:expr, $new:expr, $devids:expr) => {
        (
            tempfile::createtime.eq(NOW),
            tempfile::classid.eq($new.classid),
            tempfile::dmid.eq($new.dmid),
            tempfile::dkey.eq($conn.key($new.dkey.as_ref())?),
            tempfile::devids.eq($devids),
        )
    };
}

fn insert_as(conn: &mut StoreConnection, fid: Fid, new: &NewTempfile, devids: &str) -> StoreResult<bool> {
    let row = (tempfile::fid.eq(fid), values!(conn, new, devids));
    Ok(insert_new!(conn, tempfile::table, row)? == 1)
}

/// The fid that the row got, and whether that is a file already.
fn insert_next(conn: &mut StoreConnection, new: &NewTempfile, devids: String) -> StoreResult<(Fid, bool)> {
    #[cfg(feature = "mysql")]
    if conn.backend() == Backend::Mysql {
        return insert_and_ask(conn, new, &devids);
    }
    let insert = OpenUpload { dmid: new.dmid, dkey: conn.key(new.dkey.as_ref())?, classid: new.classid, devids };
    Ok(each!(conn, c => insert.get_result(c))?)
}

/// MySQL does not return what it inserts, and what MariaDB returns the client library does not know of beforehand, which
/// diesel wants.
#[cfg(feature = "mysql")]
fn insert_and_ask(conn: &mut StoreConnection, new: &NewTempfile, devids: &str) -> StoreResult<(Fid, bool)> {
    use last_id::last_insert_id;
    let insert = diesel::insert_into(tempfile::table).values(values!(conn, new, devids));
    each!(&mut *conn, c => insert.execute(c))?;
    let StoreConnection::Mysql(c) = conn else {
        return Err(StoreError::Other("no connection to MySQL".to_owned()));
    };
    let files = file::table.filter(file::fid.eq(last_insert_id()));
    Ok(diesel::select((last_insert_id(), exists(files))).get_result(c)?)
}

#[cfg(feature = "mysql")]
mod last_id {
    diesel::define_sql_function! {
        /// MySQL: the number that the last insert of this connection got.
        fn last_insert_id() -> crate::store::types::AnyInt;
    }
}

fn is_file(conn: &mut StoreConnection, fid: Fid) -> StoreResult<bool> {
    let files = file::table.filter(file::fid.eq(fid));
    Ok(each!(conn, c => diesel::select(exists(files)).get_result(c))?)
}

/// Does anything name this fid?
fn is_in_use(conn: &mut StoreConnection, fid: Fid) -> StoreResult<bool> {
    macro_rules! any_of {
        ($($table:ident),+) => {
            $(each!(&mut *conn, c =>
                diesel::select(exists($table::table.filter($table::fid.eq(fid)))).get_result::<bool>(c))?)||+
        };
    }
    Ok(any_of!(
        file,
        tempfile,
        file_on,
        file_to_delete2,
        file_to_delete,
        file_to_delete_later,
        file_to_replicate,
        file_to_queue
    ))
}

/// The columns of [`TempfileRow`].
macro_rules! columns {
    () => {
        (tempfile::fid, tempfile::createtime, tempfile::classid, tempfile::dmid, tempfile::dkey, tempfile::devids)
    };
}

/// The open upload of this fid.
pub fn find(conn: &mut StoreConnection, fid: Fid) -> StoreResult<Option<TempfileRow>> {
    let query = tempfile::table.filter(tempfile::fid.eq(fid)).select(columns!());
    let row: Option<Columns> = each!(conn, c => query.get_result(c).optional())?;
    Ok(row.map(TempfileRow::from))
}

/// Uploads that were opened more than so many seconds ago, by fid.
pub fn expired(conn: &mut StoreConnection, max_age_secs: i64, limit: i64) -> StoreResult<Vec<TempfileRow>> {
    let query = tempfile::table
        .filter(tempfile::createtime.lt(NowPlus(-max_age_secs)))
        .select(columns!())
        .order(tempfile::fid)
        .limit(limit);
    let rows: Vec<Columns> = each!(conn, c => query.load(c))?;
    Ok(rows.into_iter().map(TempfileRow::from).collect())
}

/// Ends an upload that was never closed: its bodies are queued for deletion. False if it is gone by now, closed or reaped
/// by somebody else. A fid that is a file keeps everything but the row (C23–C26).
pub fn expire(conn: &mut StoreConnection, row: &TempfileRow) -> StoreResult<bool> {
    if !delete_row(conn, row.fid)? {
        return Ok(false);
    }
    if is_file(conn, row.fid)? {
        return Ok(true);
    }
    for &devid in &row.devids {
        locations::add(conn, row.fid, devid)?;
    }
    queues::delete::enqueue(conn, row.fid, 0)?;
    Ok(true)
}

/// Ends the upload of a fid that is to be deleted, so that nobody closes it any more: somebody who queued it may not have
/// come to that (W13). False if a key owns the fid by now. To be called as one change.
pub fn end_for_deletion(conn: &mut StoreConnection, fid: Fid) -> StoreResult<bool> {
    // First, because a close that is under way is waited for here, and seen after it.
    delete_row(conn, fid)?;
    Ok(!is_file(conn, fid)?)
}

/// True if there was such a row: the caller has the fid then.
pub fn delete_row(conn: &mut StoreConnection, fid: Fid) -> StoreResult<bool> {
    let row = tempfile::table.filter(tempfile::fid.eq(fid));
    Ok(each!(conn, c => diesel::delete(row).execute(c))? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_devices() {
        assert_eq!(parse_devids("1,22"), [DevId(1), DevId(22)]);
        assert_eq!(parse_devids(""), []);
        assert_eq!(parse_devids("1,x"), []);
        assert_eq!(print_devids(&[DevId(1), DevId(22)]), Ok("1,22".to_owned()));
        assert!(print_devids(&[DevId(12345); 11]).is_err());
    }
}
