//! Table `server_settings`: what all trackers of a cluster share (database.md 2.6, 3.6).

use super::connection::StoreConnection;
use super::error::{StoreError, StoreResult};
use super::schema::server_settings;
use diesel::prelude::*;
use std::collections::BTreeMap;

/// Every setting that has a value.
pub fn all(conn: &mut StoreConnection) -> StoreResult<BTreeMap<String, String>> {
    let query = server_settings::table.select((server_settings::field, server_settings::value));
    let rows: Vec<(String, Option<String>)> = each!(conn, c => query.load(c))?;
    Ok(rows.into_iter().filter_map(|(field, value)| Some((field, value?))).collect())
}

/// One setting.
pub fn get(conn: &mut StoreConnection, field: &str) -> StoreResult<Option<String>> {
    let query = server_settings::table.filter(server_settings::field.eq(field)).select(server_settings::value);
    let value: Option<Option<String>> = each!(conn, c => query.first(c).optional())?;
    Ok(value.flatten())
}

/// Sets one setting, or deletes it.
pub fn set(conn: &mut StoreConnection, field: &str, value: Option<&str>) -> StoreResult<()> {
    let Some(value) = value else {
        let row = server_settings::table.filter(server_settings::field.eq(field));
        each!(conn, c => diesel::delete(row).execute(c))?;
        return Ok(());
    };
    let row = (server_settings::field.eq(field), server_settings::value.eq(value));
    upsert!(conn, server_settings::table, row, server_settings::field, server_settings::value.eq(value))?;
    Ok(())
}

/// Adds to a setting that is a number and gives the sum; an absent one counts as zero. Exact for all numbers of 64 bits
/// (C81). Adding zero writes nothing.
///
/// # Errors
/// [`StoreError::InvalidValue`] if the setting is not a number or the sum is too large.
pub fn increment(conn: &mut StoreConnection, field: &str, by: i64) -> StoreResult<i64> {
    let query = server_settings::table.filter(server_settings::field.eq(field)).select(server_settings::value);
    let rows = load_for_update!(&mut *conn, query, Option<String>)?;
    let text = rows.into_iter().next().flatten().unwrap_or_default();
    let old = match text.trim() {
        "" => 0,
        digits => digits
            .parse::<i64>()
            .map_err(|_| StoreError::InvalidValue(format!("server setting {field} is not a number")))?,
    };
    let sum = old
        .checked_add(by)
        .ok_or_else(|| StoreError::InvalidValue(format!("server setting {field} would become too large")))?;
    if by != 0 {
        set(conn, field, Some(&sum.to_string()))?;
    }
    Ok(sum)
}
