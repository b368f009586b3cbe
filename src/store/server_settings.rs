//! Table `server_settings`: what all trackers of a cluster share (database.md 2.6, 3.6).

use super::connection::StoreConnection;
use super::error::{StoreError, StoreResult};
use super::holds;
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
    let value: Option<Option<String>> = each!(conn, c => query.get_result(c).optional())?;
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

/// One setting, if it says anything: an empty value and `0` count as absent.
pub fn get_true(conn: &mut StoreConnection, field: &str) -> StoreResult<Option<String>> {
    Ok(get(conn, field)?.filter(|value| is_true(value)))
}

/// Does one of these settings say anything, as [`get_true`] has it?
pub fn says(settings: &BTreeMap<String, String>, field: &str) -> bool {
    settings.get(field).is_some_and(|value| is_true(value))
}

fn is_true(value: &str) -> bool {
    !value.is_empty() && value != "0"
}

/// Sets several settings, and deletes those that are given no value.
pub fn set_all(conn: &mut StoreConnection, changes: &[(&str, Option<&str>)]) -> StoreResult<()> {
    changes.iter().try_for_each(|(field, value)| set(conn, field, *value))
}

/// Deletes the settings whose names start so; how many there were.
pub fn remove_prefix(conn: &mut StoreConnection, prefix: &str) -> StoreResult<usize> {
    // Chosen here: `_` occurs in most names and is a placeholder of `LIKE`.
    let mut fields: Vec<String> =
        each!(&mut *conn, c => server_settings::table.select(server_settings::field).load(c))?;
    fields.retain(|field| field.starts_with(prefix));
    if fields.is_empty() {
        return Ok(0);
    }
    let rows = server_settings::table.filter(server_settings::field.eq_any(fields));
    Ok(each!(conn, c => diesel::delete(rows).execute(c))?)
}

/// Keeps other trackers of this program from passing here until this transaction ends: call it first where what is
/// stored depends on settings read before. The row that is locked is one that every database has and nobody changes.
pub fn hold(conn: &mut StoreConnection) -> StoreResult<()> {
    let row = server_settings::table.filter(server_settings::field.eq("schema_version"));
    holds::settings(&mut *conn)?;
    load_for_update!(conn, row.select(server_settings::field), String)?;
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
