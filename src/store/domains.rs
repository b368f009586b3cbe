//! Table `domain`: namespaces of keys (database.md 2.4).
//!
//! A domain is never deleted under a file or an upload that is being closed (D26).

use super::DeleteOutcome;
use super::connection::StoreConnection;
use super::deleted_files;
use super::error::{StoreError, StoreResult};
use super::holds;
use super::schema::{class, domain, file, tempfile};
use super::types::Int;
use crate::ids::{ClassId, Dmid};
use bstr::{BStr, BString};
use diesel::dsl::exists;
use diesel::prelude::*;

/// One row of `domain`.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct DomainRow {
    pub dmid: Dmid,
    pub namespace: BString,
}

/// Every domain, by number.
pub fn all(conn: &mut StoreConnection) -> StoreResult<Vec<DomainRow>> {
    let query = domain::table.select((domain::dmid, domain::namespace)).order(domain::dmid);
    Ok(each!(conn, c => query.load(c))?)
}

/// The number of the domain that the database finds by this name.
pub fn find(conn: &mut StoreConnection, namespace: &BStr) -> StoreResult<Option<Dmid>> {
    let key = conn.key(namespace)?;
    let query = domain::table.filter(domain::namespace.eq(key)).select(domain::dmid);
    Ok(each!(conn, c => query.get_result(c).optional())?)
}

/// Creates a domain; its number is the next one above all that anything names.
///
/// # Errors
/// [`StoreError::Duplicate`] if the name is taken; [`StoreError::Deadlock`] if another creation took the number.
pub fn create(conn: &mut StoreConnection, namespace: &BStr) -> StoreResult<Dmid> {
    let dmid = next_dmid(conn)?;
    let key = conn.key(namespace)?;
    let row = (domain::dmid.eq(dmid), domain::namespace.eq(key));
    if insert_new!(&mut *conn, domain::table, row)? == 1 {
        return Ok(dmid);
    }
    match find(conn, namespace)? {
        Some(_) => Err(StoreError::Duplicate),
        None => Err(StoreError::Deadlock),
    }
}

/// Above the domains, and above what may be left of deleted ones (D18).
fn next_dmid(conn: &mut StoreConnection) -> StoreResult<Dmid> {
    let domains = domain::table.select(domain::dmid).order(domain::dmid.desc()).limit(1);
    let classes = class::table.select(class::dmid).order(class::dmid.desc()).limit(1);
    let uploads = tempfile::table.select(tempfile::dmid).order(tempfile::dmid.desc()).limit(1);
    let highest: [Option<Dmid>; 3] = each!(conn, c => [
        domains.first(c).optional()?,
        classes.first(c).optional()?,
        uploads.first(c).optional()?,
    ]);
    let highest = highest.into_iter().flatten().max().unwrap_or_default();
    Ok(Dmid(highest.0 + 1))
}

/// Deletes a domain that has neither files nor classes, with its class `default`.
pub fn delete(conn: &mut StoreConnection, dmid: Dmid) -> StoreResult<DeleteOutcome> {
    // Locking the row first lets closing uploads finish, so that their files are seen.
    let row = domain::table.filter(domain::dmid.eq(dmid)).select(domain::dmid);
    if load_for_update!(&mut *conn, row, Dmid)?.is_empty() {
        return Ok(DeleteOutcome::Missing);
    }
    holds::own_domain(conn, dmid)?;
    let files = diesel::select(exists(file::table.filter(file::dmid.eq(dmid))));
    if each!(&mut *conn, c => files.get_result::<bool>(c))? {
        return Ok(DeleteOutcome::HasFiles);
    }
    let classes = class::table.filter(class::dmid.eq(dmid)).filter(class::classid.ne(Int(ClassId::DEFAULT.0)));
    if each!(&mut *conn, c => diesel::select(exists(classes)).get_result::<bool>(c))? {
        return Ok(DeleteOutcome::HasClasses);
    }
    deleted_files::forget_domain(conn, dmid)?;
    each!(&mut *conn, c => diesel::delete(class::table.filter(class::dmid.eq(dmid))).execute(c))?;
    each!(conn, c => diesel::delete(domain::table.filter(domain::dmid.eq(dmid))).execute(c))?;
    Ok(DeleteOutcome::Deleted)
}
