//! Table `host` (database.md 2.5).

use super::DeleteOutcome;
use super::connection::StoreConnection;
use super::error::{StoreError, StoreResult};
use super::schema::{device, host};
use super::types::Int;
use crate::cluster::device_state::HostStatus;
use crate::ids::HostId;
use diesel::dsl::exists;
use diesel::prelude::*;

/// One row of `host`; texts as stored.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct HostRow {
    pub hostid: HostId,
    pub status: Option<String>,
    pub http_port: Option<i64>,
    pub http_get_port: Option<i64>,
    pub hostname: Option<String>,
    pub hostip: Option<String>,
    pub altip: Option<String>,
    pub altmask: Option<String>,
}

/// Values for a new host, or changes of one; `None` leaves the column as it is. An empty `altip` or `altmask` takes it
/// away (two empty ones would collide).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostChanges {
    pub ip: Option<String>,
    pub http_port: Option<u16>,
    pub http_get_port: Option<u16>,
    pub altip: Option<String>,
    pub altmask: Option<String>,
    pub status: Option<HostStatus>,
}

/// The columns of [`HostChanges`].
#[derive(AsChangeset)]
#[diesel(table_name = host)]
struct Columns<'a> {
    hostip: Option<&'a str>,
    http_port: Option<Int>,
    http_get_port: Option<Int>,
    altip: Option<Option<&'a str>>,
    altmask: Option<Option<&'a str>>,
    status: Option<&'a str>,
}

impl HostChanges {
    fn columns(&self) -> Columns<'_> {
        let port = |port: Option<u16>| port.map(|port| Int(i64::from(port)));
        Columns {
            hostip: self.ip.as_deref(),
            http_port: port(self.http_port),
            http_get_port: port(self.http_get_port),
            altip: self.altip.as_deref().map(none_if_empty),
            altmask: self.altmask.as_deref().map(none_if_empty),
            status: self.status.map(HostStatus::name),
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn none_if_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Every host, by number.
pub fn all(conn: &mut StoreConnection) -> StoreResult<Vec<HostRow>> {
    let query = host::table
        .select((
            host::hostid,
            host::status,
            host::http_port,
            host::http_get_port,
            host::hostname,
            host::hostip,
            host::altip,
            host::altmask,
        ))
        .order(host::hostid);
    Ok(each!(conn, c => query.load(c))?)
}

/// The number of the host of this name.
pub fn find(conn: &mut StoreConnection, hostname: &str) -> StoreResult<Option<HostId>> {
    let query = host::table.filter(host::hostname.eq(hostname)).select(host::hostid);
    Ok(each!(conn, c => query.get_result(c).optional())?)
}

/// Creates a host: `down` and at port 7500 unless said otherwise.
///
/// # Errors
/// [`StoreError::Duplicate`] if name, address or alternative address are taken; [`StoreError::Deadlock`] if another
/// creation took the number.
pub fn create(conn: &mut StoreConnection, hostname: &str, values: &HostChanges) -> StoreResult<HostId> {
    let hostid = next_hostid(conn)?;
    let columns = values.columns();
    let row = (
        host::hostid.eq(hostid),
        host::hostname.eq(hostname),
        host::hostip.eq(columns.hostip),
        host::http_port.eq(columns.http_port.unwrap_or(Int(7500))),
        host::http_get_port.eq(columns.http_get_port),
        host::altip.eq(columns.altip.flatten()),
        host::altmask.eq(columns.altmask.flatten()),
        host::status.eq(columns.status.unwrap_or(HostStatus::Down.name())),
    );
    if insert_new!(&mut *conn, host::table, row)? == 1 {
        return Ok(hostid);
    }
    let same_id = host::table.filter(host::hostid.eq(hostid));
    let number_taken = each!(conn, c => diesel::select(exists(same_id)).get_result::<bool>(c))?;
    Err(if number_taken { StoreError::Deadlock } else { StoreError::Duplicate })
}

/// Above the hosts, and above what devices may still name (D18).
fn next_hostid(conn: &mut StoreConnection) -> StoreResult<HostId> {
    let hosts = host::table.select(host::hostid).order(host::hostid.desc()).limit(1);
    let of_devices = device::table.select(device::hostid).order(device::hostid.desc()).limit(1);
    let highest: [Option<HostId>; 2] = each!(conn, c => [hosts.first(c).optional()?, of_devices.first(c).optional()?]);
    let highest = highest.into_iter().flatten().max().unwrap_or_default();
    Ok(HostId(highest.0 + 1))
}

/// Changes a host; false if there is none.
///
/// # Errors
/// [`StoreError::Duplicate`] if an address is taken.
pub fn update(conn: &mut StoreConnection, hostid: HostId, changes: &HostChanges) -> StoreResult<bool> {
    let row = host::table.filter(host::hostid.eq(hostid));
    if changes.is_empty() {
        return Ok(each!(conn, c => diesel::select(exists(row)).get_result::<bool>(c))?);
    }
    let columns = changes.columns();
    Ok(each!(conn, c => diesel::update(row).set(&columns).execute(c))? > 0)
}

/// Deletes a host that has no devices.
pub fn delete(conn: &mut StoreConnection, hostid: HostId) -> StoreResult<DeleteOutcome> {
    let row = host::table.filter(host::hostid.eq(hostid)).select(host::hostid);
    if load_for_update!(&mut *conn, row, HostId)?.is_empty() {
        return Ok(DeleteOutcome::Missing);
    }
    let devices = device::table.filter(device::hostid.eq(hostid));
    if each!(&mut *conn, c => diesel::select(exists(devices)).get_result::<bool>(c))? {
        return Ok(DeleteOutcome::NotEmpty);
    }
    each!(conn, c => diesel::delete(host::table.filter(host::hostid.eq(hostid))).execute(c))?;
    Ok(DeleteOutcome::Deleted)
}
