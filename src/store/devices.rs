//! Table `device` (database.md 2.5). Devices are never deleted.

use super::connection::StoreConnection;
use super::error::{StoreError, StoreResult};
use super::holds;
use super::schema::device;
use super::types::{AnyInt, Int};
use crate::cluster::device_state::DeviceStatus;
use crate::ids::{DevId, HostId};
use diesel::backend::Backend as DieselBackend;
use diesel::expression::{AppearsOnTable, Expression};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{HasSqlType, Nullable};

/// One row of `device`; the status as stored.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct DeviceRow {
    pub devid: DevId,
    pub hostid: HostId,
    pub status: Option<String>,
    pub weight: Option<i64>,
    pub mb_total: Option<i64>,
    pub mb_used: Option<i64>,
    /// Unix time of the usage figures, by the clock of the tracker that wrote them.
    pub mb_asof: Option<i64>,
}

/// Space of a device, in MiB, as its node reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceUsage {
    pub devid: DevId,
    pub mb_total: i64,
    pub mb_used: i64,
    /// Unix time.
    pub mb_asof: i64,
}

/// Every device, by number.
pub fn all(conn: &mut StoreConnection) -> StoreResult<Vec<DeviceRow>> {
    let query = device::table
        .select((
            device::devid,
            device::hostid,
            device::status,
            device::weight,
            device::mb_total,
            device::mb_used,
            device::mb_asof,
        ))
        .order(device::devid);
    Ok(each!(conn, c => query.load(c))?)
}

/// Creates a device with weight 100 and unknown space.
///
/// # Errors
/// [`StoreError::Duplicate`] if the number is taken.
pub fn create(conn: &mut StoreConnection, devid: DevId, hostid: HostId, status: DeviceStatus) -> StoreResult<()> {
    let row = (device::devid.eq(devid), device::hostid.eq(hostid), device::status.eq(status.name()));
    match insert_new!(conn, device::table, row)? {
        0 => Err(StoreError::Duplicate),
        _ => Ok(()),
    }
}

/// False if there is no such device.
pub fn set_status(conn: &mut StoreConnection, devid: DevId, status: DeviceStatus) -> StoreResult<bool> {
    holds::device(conn, devid)?;
    let row = device::table.filter(device::devid.eq(devid));
    Ok(each!(conn, c => diesel::update(row).set(device::status.eq(status.name())).execute(c))? > 0)
}

/// Changes the status only if it is as the caller last knew it; false if it is not, or if there is no such device. For
/// whoever must not overrule an operator (jobs.md W3).
pub fn change_status(
    conn: &mut StoreConnection,
    devid: DevId,
    from: DeviceStatus,
    to: DeviceStatus,
) -> StoreResult<bool> {
    let row = device::table.filter(device::devid.eq(devid)).filter(device::status.eq(from.name()));
    Ok(each!(conn, c => diesel::update(row).set(device::status.eq(to.name())).execute(c))? > 0)
}

/// The status as it is stored now; any text that is none counts as down. `None` if there is no such device.
pub fn status(conn: &mut StoreConnection, devid: DevId) -> StoreResult<Option<DeviceStatus>> {
    let query = device::table.filter(device::devid.eq(devid)).select(device::status);
    let text: Option<Option<String>> = each!(conn, c => query.get_result(c).optional())?;
    let parse = |text: Option<String>| text.as_deref().and_then(DeviceStatus::from_name).unwrap_or(DeviceStatus::Down);
    Ok(text.map(parse))
}

/// False if there is no such device.
pub fn set_weight(conn: &mut StoreConnection, devid: DevId, weight: i64) -> StoreResult<bool> {
    let row = device::table.filter(device::devid.eq(devid));
    Ok(each!(conn, c => diesel::update(row).set(device::weight.eq(Int(weight))).execute(c))? > 0)
}

/// Rows that one statement of [`update_usage`] changes at most.
const USAGE_ROWS_PER_STATEMENT: usize = 500;

/// Stores usage figures that are newer than the stored ones by more than so many seconds; nothing else of a device is
/// touched. What the table says now decides: another tracker may have stored meanwhile. In the order of the numbers, so
/// that two trackers do not get in each other's way.
pub fn update_usage(conn: &mut StoreConnection, usages: &[DeviceUsage], newer_by_secs: i64) -> StoreResult<()> {
    let mut usages = usages.to_vec();
    usages.sort_by_key(|usage| usage.devid);
    for chunk in usages.chunks(USAGE_ROWS_PER_STATEMENT) {
        let column =
            |value: fn(&DeviceUsage) -> i64| ByDevid(chunk.iter().map(|usage| (usage.devid, value(usage))).collect());
        let values = (
            device::mb_total.eq(column(|usage| usage.mb_total)),
            device::mb_used.eq(column(|usage| usage.mb_used)),
            device::mb_asof.eq(column(|usage| usage.mb_asof)),
        );
        let devids = chunk.iter().map(|usage| usage.devid);
        let oldest = chunk.iter().map(|usage| usage.mb_asof).min().unwrap_or_default();
        let rows = device::table
            .filter(device::devid.eq_any(devids))
            .filter(device::mb_asof.is_null().or(device::mb_asof.assume_not_null().lt(Int(oldest - newer_by_secs))));
        each!(&mut *conn, c => diesel::update(rows).set(values).execute(c))?;
    }
    Ok(())
}

/// `CASE devid WHEN … THEN … END`: a value for each device. At least one, or the database refuses it.
struct ByDevid(Vec<(DevId, i64)>);

impl Expression for ByDevid {
    type SqlType = Nullable<AnyInt>;
}

impl AppearsOnTable<device::table> for ByDevid {}

/// Each number of devices is another statement.
impl QueryId for ByDevid {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<DB> QueryFragment<DB> for ByDevid
where
    DB: DieselBackend + HasSqlType<AnyInt>,
    DevId: ToSql<AnyInt, DB>,
    i64: ToSql<AnyInt, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        // Statements of every length would fill the cache.
        out.unsafe_to_cache_prepared();
        out.push_sql("CASE devid");
        for (devid, value) in &self.0 {
            out.push_sql(" WHEN ");
            out.push_bind_param::<AnyInt, _>(devid)?;
            out.push_sql(" THEN ");
            out.push_bind_param::<AnyInt, _>(value)?;
        }
        out.push_sql(" END");
        Ok(())
    }
}
