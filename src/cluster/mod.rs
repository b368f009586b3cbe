//! What the tracker knows about the cluster: domains, classes, hosts, devices and settings, as one immutable value.
//!
//! Values only: nothing here asks a database or a node.

pub mod checksum;
pub mod devfid;
pub mod device;
pub mod device_state;
pub mod domain;
#[doc(hidden)]
pub mod fixture;
pub mod host;
pub mod mount_guard;
pub mod netmask;
pub mod placement;
pub mod view;
pub mod zones;

use crate::ids::{DevId, Dmid, HostId};
use bstr::BStr;
use device::{Device, DeviceView};
use domain::Domain;
use host::Host;
use mount_guard::GuardFailure;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use view::ClusterView;

/// Everything the monitor last knew. Never changed once published; see [`ClusterView`].
#[derive(Clone, Debug, Default)]
pub struct ClusterSnapshot {
    pub domains: BTreeMap<Dmid, Arc<Domain>>,
    pub hosts: BTreeMap<HostId, Arc<Host>>,
    pub devices: BTreeMap<DevId, Arc<Device>>,
    /// Table `server_settings`.
    pub server_settings: BTreeMap<String, String>,
    /// Domains that take part in the extension FilePaths.
    pub file_paths_domains: BTreeSet<Dmid>,
    /// Devices whose disk is not the one that it should be. They count as unreachable.
    pub guard_failures: BTreeMap<DevId, GuardFailure>,
}

impl ClusterSnapshot {
    pub fn domain(&self, dmid: Dmid) -> Option<&Domain> {
        self.domains.get(&dmid).map(Arc::as_ref)
    }

    pub fn domain_by_name(&self, name: &BStr) -> Option<&Domain> {
        self.domains.values().find(|domain| domain.name == name).map(Arc::as_ref)
    }

    pub fn host(&self, hostid: HostId) -> Option<&Host> {
        self.hosts.get(&hostid).map(Arc::as_ref)
    }

    pub fn host_by_name(&self, name: &BStr) -> Option<&Host> {
        self.hosts.values().find(|host| name == host.name.as_bytes()).map(Arc::as_ref)
    }

    /// The device with its host; `None` when either is unknown.
    pub fn device(&self, devid: DevId) -> Option<DeviceView<'_>> {
        let device = self.devices.get(&devid)?;
        Some(DeviceView { device, host: self.host(device.hostid)? })
    }

    /// Every device whose host is known, by device id.
    pub fn devices(&self) -> impl Iterator<Item = DeviceView<'_>> {
        self.devices.values().filter_map(|device| Some(DeviceView { device, host: self.host(device.hostid)? }))
    }

    /// A server setting; an empty value counts as absent.
    pub fn server_setting(&self, field: &str) -> Option<&str> {
        self.server_settings.get(field).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A server setting that is a switch: absent, empty and `0` are off.
    pub fn server_flag(&self, field: &str) -> bool {
        self.server_setting(field).is_some_and(|value| value != "0")
    }

    /// A server setting that is a number; absent, empty, zero and non-numeric values give the default.
    pub fn server_number(&self, field: &str, default: i64) -> i64 {
        self.server_setting(field)
            .and_then(|value| value.trim().parse().ok())
            .filter(|&number| number != 0)
            .unwrap_or(default)
    }
}
