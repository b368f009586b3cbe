//! Tables `plugin_metadata_names` and `plugin_metadata_data` of the extension MetaData: names and values of files
//! (database.md 1.8).
//!
//! Names are not unique in their table: several rows of one name are one name.

use super::connection::StoreConnection;
use super::error::{StoreError, StoreResult};
use super::schema::{plugin_metadata_data as data, plugin_metadata_names as names};
use super::types::Int;
use crate::ids::Fid;
use bstr::{BStr, BString};
use diesel::prelude::*;
use std::collections::HashMap;

/// Files that one query asks about.
const FILES_PER_QUERY: usize = 500;

/// Stores names and values with a file; of equal names the last one counts.
///
/// # Errors
/// [`StoreError::InvalidValue`] for what the database cannot hold.
pub fn store(conn: &mut StoreConnection, fid: Fid, pairs: &[(BString, BString)]) -> StoreResult<()> {
    for (name, value) in pairs {
        let nameid = name_id(conn, name.as_ref())?;
        let key = (data::fid.eq(fid), data::nameid.eq(nameid));
        let value = conn.key(value.as_ref())?;
        let row = (key, data::data.eq(value.clone()));
        upsert!(&mut *conn, data::table, row, (data::fid, data::nameid), data::data.eq(value))?;
    }
    Ok(())
}

fn name_id(conn: &mut StoreConnection, name: &BStr) -> StoreResult<Int> {
    if let Some(nameid) = find_name(conn, name)? {
        return Ok(nameid);
    }
    let row = names::name.eq(conn.key(name)?);
    each!(&mut *conn, c => diesel::insert_into(names::table).values(row).execute(c))?;
    // There is no other way to learn the number that all databases have in common. It was written just now.
    find_name(conn, name)?.ok_or_else(|| StoreError::Other(format!("the name {name} was stored and is not found")))
}

/// The first of the rows with this name.
fn find_name(conn: &mut StoreConnection, name: &BStr) -> StoreResult<Option<Int>> {
    let key = conn.key(name)?;
    let query = names::table.filter(names::name.eq(key)).select(names::nameid).order(names::nameid).limit(1);
    Ok(each!(conn, c => query.first(c).optional())?)
}

/// The values under one name, of those of the files that have one.
pub fn of_files(conn: &mut StoreConnection, name: &BStr, fids: &[Fid]) -> StoreResult<HashMap<Fid, BString>> {
    let mut values = HashMap::new();
    for fids in fids.chunks(FILES_PER_QUERY) {
        let key = conn.key(name)?;
        let query = data::table
            .inner_join(names::table.on(names::nameid.eq(data::nameid)))
            .filter(data::fid.eq_any(fids.to_vec()))
            .filter(names::name.eq(key))
            .select((data::fid, data::data));
        let rows: Vec<(Fid, BString)> = each!(&mut *conn, c => query.load(c))?;
        values.extend(rows);
    }
    Ok(values)
}

/// Removes all metadata of a file; how many rows there were.
pub fn delete(conn: &mut StoreConnection, fid: Fid) -> StoreResult<usize> {
    Ok(each!(conn, c => diesel::delete(data::table.filter(data::fid.eq(fid))).execute(c))?)
}
