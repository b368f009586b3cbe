//! From the configuration tables to a [`ClusterSnapshot`], keeping what was observed (jobs.md 4.2).

use super::guards::Guards;
use crate::cluster::ClusterSnapshot;
use crate::cluster::checksum::HashType;
use crate::cluster::device::Device;
use crate::cluster::device_state::{DeviceStatus, HostStatus};
use crate::cluster::domain::{Class, Domain};
use crate::cluster::host::Host;
use crate::cluster::mount_guard::GuardFailure;
use crate::cluster::netmask::Netmask;
use crate::ids::{ClassId, DevId, Dmid};
use crate::jobs::cluster_check::DEAD_HOSTS_SETTING;
use crate::settings::ExtensionSettings;
use crate::store::classes::ClassRow;
use crate::store::devices::DeviceRow;
use crate::store::domains::DomainRow;
use crate::store::hosts::HostRow;
use crate::store::{
    Session, StoreResult, classes, deleted_files, devices, domains, file_paths, hosts, server_settings,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Port of a host that has none stored (the column's default).
const HTTP_PORT_DEFAULT: u16 = 7500;

/// The rows of the configuration tables.
pub struct Tables {
    pub domains: Vec<DomainRow>,
    pub classes: Vec<ClassRow>,
    pub hosts: Vec<HostRow>,
    pub devices: Vec<DeviceRow>,
    pub server_settings: BTreeMap<String, String>,
    pub file_paths_domains: Vec<Dmid>,
    pub guards: Guards,
}

impl Tables {
    /// Are deleted files to be kept for a while?
    pub fn keep_deleted_files(&self) -> bool {
        let window = self.server_settings.get(deleted_files::WINDOW_SETTING);
        window.and_then(|text| text.trim().parse::<i64>().ok()).is_some_and(|secs| secs > 0)
    }
}

/// Reads all configuration tables, and those of extensions that are switched on.
pub fn read_tables(session: &Session, extensions: &ExtensionSettings) -> StoreResult<Tables> {
    let with_file_paths = extensions.enabled.iter().any(|name| name == "FilePaths");
    session.read(|conn| {
        let file_paths_domains = if with_file_paths { file_paths::domains(conn)? } else { Vec::new() };
        Ok(Tables {
            file_paths_domains,
            domains: domains::all(conn)?,
            classes: classes::all(conn)?,
            hosts: hosts::all(conn)?,
            devices: devices::all(conn)?,
            server_settings: server_settings::all(conn)?,
            guards: Guards::read(conn)?,
        })
    })
}

/// Builds the next snapshot; observed states carry over from the previous one (J35), but not those of what is looked at no
/// more: nobody knows how such a device is when it comes back (jobs.md W22).
pub fn build(tables: Tables, previous: &ClusterSnapshot, default_mindevcount: i64) -> ClusterSnapshot {
    let hosts: BTreeMap<_, _> = tables.hosts.into_iter().map(|row| (row.hostid, build_host(row, previous))).collect();
    let dead_with_host = flag(&tables.server_settings, DEAD_HOSTS_SETTING);
    let build_device = |mut row: DeviceRow| {
        let host = hosts.get(&row.hostid);
        let host_is_watched = host.is_some_and(Host::may_be_read);
        if dead_with_host && host.is_some_and(|host| host.status == Some(HostStatus::Dead)) {
            row.status = Some(DeviceStatus::Dead.name().to_owned());
        }
        (row.devid, Arc::new(build_device(row, host_is_watched, previous)))
    };
    let mut next = ClusterSnapshot {
        guard_failures: BTreeMap::new(),
        domains: build_domains(tables.domains, tables.classes, default_mindevcount),
        devices: tables.devices.into_iter().map(build_device).collect(),
        hosts: hosts.into_iter().map(|(hostid, host)| (hostid, Arc::new(host))).collect(),
        server_settings: tables.server_settings,
        file_paths_domains: tables.file_paths_domains.into_iter().collect(),
    };
    next.guard_failures = guard_failures(previous, &next, &tables.guards);
    next
}

/// Those that are known, of devices that are still looked at and must still bear the same mark.
fn guard_failures(
    previous: &ClusterSnapshot,
    next: &ClusterSnapshot,
    guards: &Guards,
) -> BTreeMap<DevId, GuardFailure> {
    let still_fails = |devid: DevId, failure: &GuardFailure| {
        guards.expected_mark(devid) == Some(failure.expected.as_str())
            && next.device(devid).is_some_and(|view| view.is_monitored())
    };
    let failures = previous.guard_failures.iter().filter(|(devid, failure)| still_fails(**devid, failure));
    failures.map(|(devid, failure)| (*devid, failure.clone())).collect()
}

fn flag(settings: &BTreeMap<String, String>, field: &str) -> bool {
    settings.get(field).is_some_and(|value| !value.is_empty() && value != "0")
}

fn build_domains(
    domains: Vec<DomainRow>,
    classes: Vec<ClassRow>,
    default_mindevcount: i64,
) -> BTreeMap<Dmid, Arc<Domain>> {
    let mut by_domain: BTreeMap<_, Vec<Class>> = BTreeMap::new();
    for row in classes {
        by_domain.entry(row.dmid).or_default().push(Class {
            classid: row.classid,
            name: row.classname,
            mindevcount: row.mindevcount,
            replpolicy: row.replpolicy,
            hashtype: row.hashtype.and_then(HashType::from_number),
        });
    }
    domains
        .into_iter()
        .map(|row| {
            let mut classes = by_domain.remove(&row.dmid).unwrap_or_default();
            if !classes.iter().any(|class| class.classid == ClassId::DEFAULT) {
                classes.push(Class::implied_default(default_mindevcount));
            }
            classes.sort_by_key(|class| class.classid);
            (row.dmid, Arc::new(Domain { dmid: row.dmid, name: row.namespace, classes }))
        })
        .collect()
}

fn build_host(row: HostRow, previous: &ClusterSnapshot) -> Host {
    let port = |number: Option<i64>| number.and_then(|number| u16::try_from(number).ok());
    let observed = previous.host(row.hostid).and_then(|host| host.observed);
    let mut host = Host {
        hostid: row.hostid,
        name: row.hostname.unwrap_or_default(),
        status: row.status.as_deref().and_then(HostStatus::from_name),
        ip: row.hostip.unwrap_or_default(),
        http_port: port(row.http_port).unwrap_or(HTTP_PORT_DEFAULT),
        http_get_port: port(row.http_get_port),
        altip: row.altip,
        altmask: row.altmask.as_deref().and_then(Netmask::parse),
        altmask_text: row.altmask,
        observed: None,
    };
    host.observed = observed.filter(|_| host.may_be_read());
    host
}

fn build_device(row: DeviceRow, host_is_watched: bool, previous: &ClusterSnapshot) -> Device {
    let before = previous.devices.get(&row.devid);
    let status = row.status.as_deref().and_then(DeviceStatus::from_name).unwrap_or(DeviceStatus::Down);
    let is_watched = host_is_watched && status.may_be_read();
    // What was seen lately counts until somebody has stored figures: a new device is of use after its first round.
    let (mb_total, mb_used) = match (row.mb_total, row.mb_used, before) {
        (Some(total), Some(used), _) => (Some(total), Some(used)),
        (_, _, Some(before)) if is_watched => (before.mb_total, before.mb_used),
        (total, used, _) => (total, used),
    };
    Device {
        devid: row.devid,
        hostid: row.hostid,
        status,
        weight: row.weight,
        mb_total,
        mb_used,
        mb_asof: row.mb_asof,
        observed: before.and_then(|device| device.observed).filter(|_| is_watched),
        utilization: before.and_then(|device| device.utilization.clone()),
        reject_bad_md5: before.and_then(|device| device.reject_bad_md5),
        wait: before.and_then(|device| device.wait),
    }
}
