//! Table `class`: how the files of a kind are kept (database.md 2.4). Class 0, `default`, need not have a row.

use super::DeleteOutcome;
use super::connection::StoreConnection;
use super::deleted_files;
use super::error::{StoreError, StoreResult};
use super::holds;
use super::schema::{class, file, tempfile};
use super::types::Int;
use crate::ids::{ClassId, Dmid};
use bstr::{BStr, BString};
use diesel::dsl::exists;
use diesel::prelude::*;

/// One row of `class`.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct ClassRow {
    pub dmid: Dmid,
    pub classid: ClassId,
    pub classname: BString,
    /// Copies wanted.
    pub mindevcount: i64,
    pub replpolicy: Option<String>,
    /// Number of the digest algorithm, if files of the class get one.
    pub hashtype: Option<i64>,
}

/// What is stored of a class besides its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassFields {
    /// Copies wanted.
    pub mindevcount: i64,
    /// `None` leaves it as it is.
    pub replpolicy: Option<String>,
    /// `None` leaves it as it is, `Some(None)` takes it away.
    pub hashtype: Option<Option<i64>>,
}

/// Every class that is stored, by domain and number.
pub fn all(conn: &mut StoreConnection) -> StoreResult<Vec<ClassRow>> {
    let query = class::table
        .select((class::dmid, class::classid, class::classname, class::mindevcount, class::replpolicy, class::hashtype))
        .order((class::dmid, class::classid));
    Ok(each!(conn, c => query.load(c))?)
}

/// The number of the stored class that the database finds by this name; 0 is a number like any.
pub fn find(conn: &mut StoreConnection, dmid: Dmid, classname: &BStr) -> StoreResult<Option<ClassId>> {
    let key = conn.key(classname)?;
    let query = class::table.filter(class::dmid.eq(dmid)).filter(class::classname.eq(key)).select(class::classid);
    Ok(each!(conn, c => query.get_result(c).optional())?)
}

/// Creates a class with its final values; the name `default` gets number 0.
///
/// # Errors
/// [`StoreError::Duplicate`] if the domain has a class of this name; [`StoreError::Deadlock`] if another creation took
/// the number.
pub fn create(conn: &mut StoreConnection, dmid: Dmid, classname: &BStr, fields: &ClassFields) -> StoreResult<ClassId> {
    let classid = if classname == "default" { ClassId::DEFAULT } else { next_classid(conn, dmid)? };
    let row = (
        class::dmid.eq(dmid),
        class::classid.eq(classid),
        class::classname.eq(conn.key(classname)?),
        class::mindevcount.eq(Int(fields.mindevcount)),
        class::replpolicy.eq(fields.replpolicy.as_deref()),
        class::hashtype.eq(fields.hashtype.flatten().map(Int)),
    );
    if insert_new!(&mut *conn, class::table, row)? == 1 {
        return Ok(classid);
    }
    match find(conn, dmid, classname)? {
        Some(_) => Err(StoreError::Duplicate),
        None if classid == ClassId::DEFAULT => Err(StoreError::Duplicate),
        None => Err(StoreError::Deadlock),
    }
}

/// Above the classes of the domain, and above what uploads and deleted files still name (D18): they would find themselves in
/// a class that they were never meant for.
fn next_classid(conn: &mut StoreConnection, dmid: Dmid) -> StoreResult<ClassId> {
    let classes =
        class::table.filter(class::dmid.eq(dmid)).select(class::classid).order(class::classid.desc()).limit(1);
    let uploads = tempfile::table.filter(tempfile::dmid.eq(dmid)).select(tempfile::classid);
    let uploads = uploads.order(tempfile::classid.desc()).limit(1);
    let highest: [Option<ClassId>; 2] = each!(&mut *conn, c => [
        classes.first(c).optional()?,
        uploads.first(c).optional()?,
    ]);
    let deleted = deleted_files::highest_classid(conn, dmid)?;
    let highest = highest.into_iter().flatten().chain(deleted).max().unwrap_or_default();
    Ok(ClassId(highest.0 + 1))
}

/// Columns to change; `None` leaves one as it is.
#[derive(AsChangeset)]
#[diesel(table_name = class)]
struct Changes<'a> {
    mindevcount: Int,
    replpolicy: Option<&'a str>,
    hashtype: Option<Option<Int>>,
}

/// Changes a stored class; false if there is none.
pub fn update(conn: &mut StoreConnection, dmid: Dmid, classid: ClassId, fields: &ClassFields) -> StoreResult<bool> {
    let changes = Changes {
        mindevcount: Int(fields.mindevcount),
        replpolicy: fields.replpolicy.as_deref(),
        hashtype: fields.hashtype.map(|hashtype| hashtype.map(Int)),
    };
    let row = class::table.filter(class::dmid.eq(dmid)).filter(class::classid.eq(classid));
    Ok(each!(conn, c => diesel::update(row).set(&changes).execute(c))? > 0)
}

/// Deletes a class that has no files.
pub fn delete(conn: &mut StoreConnection, dmid: Dmid, classid: ClassId) -> StoreResult<DeleteOutcome> {
    // Locking the row first lets closing uploads finish, so that their files are seen (D26).
    let row = class::table.filter(class::dmid.eq(dmid)).filter(class::classid.eq(classid)).select(class::classid);
    if load_for_update!(&mut *conn, row, ClassId)?.is_empty() {
        return Ok(DeleteOutcome::Missing);
    }
    holds::own_domain(conn, dmid)?;
    let files = file::table.filter(file::dmid.eq(dmid)).filter(file::classid.eq(classid));
    if each!(&mut *conn, c => diesel::select(exists(files)).get_result::<bool>(c))? {
        return Ok(DeleteOutcome::HasFiles);
    }
    let row = class::table.filter(class::dmid.eq(dmid)).filter(class::classid.eq(classid));
    each!(conn, c => diesel::delete(row).execute(c))?;
    Ok(DeleteOutcome::Deleted)
}
