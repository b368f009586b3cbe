//! The devices of a file, by what they are good for while copies of it are made.

use super::outcome::ReplicateOutcome;
use crate::cluster::ClusterSnapshot;
use crate::cluster::device::DeviceView;
use crate::cluster::domain::Class;
use crate::ids::DevId;
use crate::policy::Question;

const BYTES_PER_MIB: i64 = 1 << 20;

/// The devices of a file as the work goes on.
pub(in crate::jobs) struct Whereabouts {
    /// Every recorded copy, also on devices that this tracker does not know yet.
    on: Vec<DevId>,
    /// Those that count for the policy: not dead.
    told: Vec<DevId>,
    /// Those that can be read and did not fail yet.
    sources: Vec<DevId>,
    /// Targets that failed, or that have no room for this file.
    failed_targets: Vec<DevId>,
}

impl Whereabouts {
    pub(in crate::jobs) fn new(cluster: &ClusterSnapshot, devids: Vec<DevId>, length_bytes: i64) -> Self {
        let known: Vec<_> = devids.iter().filter_map(|&devid| cluster.device(devid)).collect();
        let ids = |select: fn(&DeviceView<'_>) -> bool| -> Vec<DevId> {
            known.iter().filter(|device| select(device)).map(|device| device.device.devid).collect()
        };
        let failed_targets = cluster
            .devices()
            .filter(|device| device.device.mb_free().is_some_and(|free| free * BYTES_PER_MIB <= length_bytes))
            .map(|device| device.device.devid)
            .collect();
        Self {
            told: ids(|device| !device.device.is_dead()),
            sources: ids(|device| device.may_be_read()),
            on: devids,
            failed_targets,
        }
    }

    pub(in crate::jobs) fn sources(&self) -> &[DevId] {
        &self.sources
    }

    pub(in crate::jobs) fn failed_targets(&self) -> &[DevId] {
        &self.failed_targets
    }

    /// Why nothing can be copied, whatever the policy wants.
    pub(in crate::jobs) fn obstacle(&self) -> Option<ReplicateOutcome> {
        if self.on.is_empty() {
            Some(ReplicateOutcome::NoSource)
        } else if self.sources.is_empty() {
            Some(ReplicateOutcome::SourceDown)
        } else {
            None
        }
    }

    /// What the policy is asked.
    pub(in crate::jobs) fn question<'q>(
        &'q self,
        cluster: &'q ClusterSnapshot,
        class: &Class,
        min_free_space_mb: i64,
    ) -> Question<'q> {
        Question {
            told: &self.told,
            world: cluster,
            failed: &self.failed_targets,
            mindevcount: class.mindevcount,
            min_free_space_mb,
        }
    }

    /// A copy that the policy is not told of, because it is to go. It still serves as a source.
    pub(super) fn mask(&mut self, devid: DevId) {
        self.told.retain(|&told| told != devid);
    }

    pub(super) fn told(&self) -> &[DevId] {
        &self.told
    }

    pub(super) fn is_on(&self, devid: DevId) -> bool {
        self.on.contains(&devid)
    }

    pub(super) fn source_failed(&mut self, devid: DevId) {
        self.sources.retain(|&source| source != devid);
    }

    pub(super) fn target_failed(&mut self, devid: DevId) {
        self.failed_targets.push(devid);
    }

    pub(super) fn add(&mut self, devid: DevId) {
        self.on.push(devid);
        self.told.push(devid);
        self.sources.push(devid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fixture::Fixture;

    /// J61: a device that was made a moment ago is known to other trackers only; it is not as if there were no copy.
    #[test]
    fn copies_on_unknown_devices_are_waited_for() {
        let world = Fixture::parse("h1[d1=X]").snapshot;
        let obstacle =
            |devids: &[i64]| Whereabouts::new(&world, devids.iter().copied().map(DevId).collect(), 10).obstacle();
        assert_eq!(obstacle(&[]), Some(ReplicateOutcome::NoSource));
        assert_eq!(obstacle(&[7]), Some(ReplicateOutcome::SourceDown));
        assert_eq!(obstacle(&[1, 7]), None);
    }
}
