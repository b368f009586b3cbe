//! What all policies need: the devices that could take a copy, and how many disks there are.

use super::Question;
use crate::cluster::device::DeviceView;

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

/// Devices of the world that are not dead.
pub fn disks_total(question: &Question<'_>) -> usize {
    question.world.devices().filter(|view| !view.device.is_dead()).count()
}
