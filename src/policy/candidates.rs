//! What all policies need: where the file is, the devices that could take a copy, and how many places there are.

use super::Question;
use crate::cluster::device::DeviceView;
use crate::cluster::device_state::DeviceStatus;
use crate::ids::HostId;
use std::collections::BTreeSet;

/// The world without the devices that hold the file or failed, that may get replicas (replication-policies.md 5.7).
pub fn candidates<'a>(question: &Question<'a>) -> Vec<DeviceView<'a>> {
    question
        .world
        .devices()
        .filter(|view| {
            let devid = view.device.devid;
            !question.told.contains(&devid)
                && !question.failed.contains(&devid)
                && view.may_get_files(question.min_free_space_mb)
        })
        .collect()
}

/// The known devices among those told.
pub fn told_views<'a>(question: &Question<'a>) -> impl Iterator<Item = DeviceView<'a>> {
    question.told.iter().filter_map(|&devid| question.world.device(devid))
}

/// Hosts that hold the file.
pub fn used_hosts(question: &Question<'_>) -> BTreeSet<HostId> {
    told_views(question).map(|view| view.host.hostid).collect()
}

/// Devices whose status is alive, whatever the status of their hosts.
pub fn alive_devices<'a>(question: &Question<'a>) -> impl Iterator<Item = DeviceView<'a>> {
    question.world.devices().filter(|view| view.device.status == DeviceStatus::Alive)
}

/// Hosts with at least one device whose status is alive, whatever their own status.
pub fn hosts_total(question: &Question<'_>) -> usize {
    alive_devices(question).map(|view| view.host.hostid).collect::<BTreeSet<_>>().len()
}

/// Devices of the world that are not dead.
pub fn disks_total(question: &Question<'_>) -> usize {
    question.world.devices().filter(|view| !view.device.is_dead()).count()
}
