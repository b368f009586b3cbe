//! Which devices a policy selects now (jobs.md 11.1).

use super::policy::{RebalancePolicy, Side, Thresholds};
use super::state::RebalanceState;
use crate::cluster::ClusterSnapshot;
use crate::cluster::device::{Device, DeviceView};
use crate::ids::DevId;

/// The devices whose copies are to be moved, by device id.
pub fn sources(policy: &RebalancePolicy, cluster: &ClusterSnapshot) -> Vec<DevId> {
    let is_source = |view: &DeviceView<'_>| view.may_be_deleted_from() && policy.from.takes(view.device);
    cluster.devices().filter(is_source).map(|view| view.device.devid).collect()
}

/// The devices that may get copies, by device id: never one that the run takes copies from.
pub fn destinations(
    policy: &RebalancePolicy,
    state: &RebalanceState,
    cluster: &ClusterSnapshot,
    min_free_space_mb: i64,
) -> Vec<DevId> {
    let is_destination =
        |view: &DeviceView<'_>| view.may_get_files(min_free_space_mb) && is_meant(policy, state, view.device);
    cluster.devices().filter(is_destination).map(|view| view.device.devid).collect()
}

/// Is there a destination, if only one that the monitor has not looked at since this tracker began?
pub fn has_unseen_destination(policy: &RebalancePolicy, state: &RebalanceState, cluster: &ClusterSnapshot) -> bool {
    cluster.devices().any(|view| {
        view.host.is_alive()
            && view.device.status.may_get_new_files()
            && (view.host.observed.is_none() || view.device.observed.is_none())
            && is_meant(policy, state, view.device)
    })
}

/// Does the policy name it as a destination?
fn is_meant(policy: &RebalancePolicy, state: &RebalanceState, device: &Device) -> bool {
    !state.has_source(device.devid)
        && policy.to.takes(device)
        && !policy.not_to_devices.contains(&device.devid)
        && !policy.not_to_hosts.contains(&device.hostid)
}

impl Side {
    fn takes(&self, device: &Device) -> bool {
        self.devices.as_ref().is_none_or(|devices| devices.contains(&device.devid))
            && self.hosts.as_ref().is_none_or(|hosts| hosts.contains(&device.hostid))
            && self.above.are_exceeded_by(device)
    }
}

impl Thresholds {
    /// A device without figures exceeds nothing.
    fn are_exceeded_by(&self, device: &Device) -> bool {
        if *self == Self::default() {
            return true;
        }
        let (Some(total), Some(used)) = (device.mb_total.filter(|&total| total > 0), device.mb_used) else {
            return false;
        };
        let (total, used, free) = (total as f64, used as f64, (total - used) as f64);
        let exceeds = |figure: f64, threshold: Option<f64>| threshold.is_none_or(|threshold| figure > threshold);
        // Multiplied before it is divided, so that exactly 95 % is not above 95 (J142).
        exceeds(used * 100.0 / total, self.percent_used)
            && exceeds(free * 100.0 / total, self.percent_free)
            && exceeds(used, self.mb_used)
            && exceeds(free, self.mb_free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::device_state::{DeviceStatus, ObservedDevice};
    use crate::cluster::fixture::{self, device_mut};
    use crate::ids::HostId;
    use std::sync::Arc;

    /// Devices 11, 12 on host 1, 21, 22 on host 2 and so on, all in order, each with 1000 MiB of which it uses `used`.
    fn cluster(used: &[[i64; 2]]) -> ClusterSnapshot {
        let mut cluster = ClusterSnapshot::default();
        for (hostid, used) in (1..).zip(used) {
            cluster.hosts.insert(HostId(hostid), Arc::new(fixture::host(hostid)));
            for (number, &used) in (1..).zip(used) {
                let mut device = fixture::device(10 * hostid + number, hostid);
                device.mb_used = Some(used);
                cluster.devices.insert(device.devid, Arc::new(device));
            }
        }
        cluster
    }

    /// Sources and destinations of a run that begins now.
    fn selected(policy: &str, cluster: &ClusterSnapshot) -> (Vec<i64>, Vec<i64>) {
        let policy: RebalancePolicy = policy.parse().expect("a policy");
        let sources = sources(&policy, cluster);
        let state = RebalanceState::begin(sources.clone(), 0);
        let destinations = destinations(&policy, &state, cluster, 100);
        let numbers = |devids: Vec<DevId>| devids.into_iter().map(|devid| devid.0).collect();
        (numbers(sources), numbers(destinations))
    }

    /// J141 and its like.
    #[test]
    fn lists_select() {
        let cluster = cluster(&[[500, 500], [500, 500], [500, 500]]);
        for (policy, sources, destinations) in [
            ("from_devices=11 to_devices=21,22", &[11][..], &[21, 22][..]),
            ("from_hosts=1 to_hosts=2", &[11, 12], &[21, 22]),
            ("from_hosts=1", &[11, 12], &[21, 22, 31, 32]),
            ("from_hosts=1,2 from_devices=12,31", &[12], &[11, 21, 22, 31, 32]),
            ("from_hosts=1 not_to_hosts=2 not_to_devices=31", &[11, 12], &[32]),
            ("from_hosts=1 to_hosts=1,3 not_to_devices=32", &[11, 12], &[31]),
            ("from_devices=99 to_devices=abc", &[], &[]),
        ] {
            assert_eq!(selected(policy, &cluster), (sources.to_vec(), destinations.to_vec()), "{policy}");
        }
    }

    /// All devices are sources then, and none is left to move to.
    #[test]
    fn a_source_is_no_destination() {
        let cluster = cluster(&[[500, 500], [500, 500]]);
        assert_eq!(selected("", &cluster), (vec![11, 12, 21, 22], vec![]));
        let policy: RebalancePolicy = "from_devices=11".parse().expect("a policy");
        let state: RebalanceState = "completed_devs=12 sdev_current=21".parse().expect("a state");
        assert_eq!(destinations(&policy, &state, &cluster, 100), [DevId(11), DevId(22)]);
    }

    /// W6: a tracker that has just begun does not end a run for want of destinations.
    #[test]
    fn a_destination_that_nobody_has_looked_at_is_waited_for() {
        let policy: RebalancePolicy = "from_devices=11 to_devices=21".parse().expect("a policy");
        let state = RebalanceState::begin(vec![DevId(11)], 0);
        let mut cluster = cluster(&[[500, 500], [500, 500]]);
        assert!(!has_unseen_destination(&policy, &state, &cluster));
        device_mut(&mut cluster, 22).observed = None;
        assert!(!has_unseen_destination(&policy, &state, &cluster), "the policy does not mean it");
        device_mut(&mut cluster, 21).observed = None;
        assert!(has_unseen_destination(&policy, &state, &cluster));
        assert_eq!(destinations(&policy, &state, &cluster, 100), []);
        device_mut(&mut cluster, 21).status = DeviceStatus::Drain;
        assert!(!has_unseen_destination(&policy, &state, &cluster));
    }

    /// J142: comparisons are strict.
    #[test]
    fn thresholds_are_to_be_exceeded() {
        let cluster = cluster(&[[950, 951], [10, 500]]);
        assert_eq!(selected("from_percent_used=95", &cluster).0, [12]);
        assert_eq!(selected("from_percent_used=94.9", &cluster).0, [11, 12]);
        assert_eq!(selected("from_space_used=950", &cluster).0, [12]);
        assert_eq!(selected("from_percent_free=50", &cluster).0, [21]);
        assert_eq!(selected("from_space_free=49 from_space_used=499", &cluster).0, [11, 22]);
        assert_eq!(selected("from_devices=11 to_percent_free=50", &cluster).1, [21]);
        assert_eq!(selected("from_devices=11 to_space_used=10", &cluster).1, [22]);
        assert_eq!(selected("from_percent_used=0", &cluster).0.len(), 4, "0 is no threshold");
    }

    #[test]
    fn a_device_without_figures_exceeds_nothing() {
        let mut cluster = cluster(&[[500, 500]]);
        device_mut(&mut cluster, 11).mb_used = None;
        assert_eq!(selected("from_percent_free=1", &cluster).0, [12]);
        device_mut(&mut cluster, 12).mb_total = Some(0);
        assert_eq!(selected("from_percent_free=1", &cluster).0, [0; 0]);
        assert_eq!(selected("from_hosts=1", &cluster).0, [11, 12]);
    }

    #[test]
    fn states_decide_what_may_be_a_source_or_a_destination() {
        let mut cluster = cluster(&[[500, 500], [500, 500], [500, 950]]);
        device_mut(&mut cluster, 11).status = DeviceStatus::Drain;
        device_mut(&mut cluster, 12).status = DeviceStatus::Readonly;
        device_mut(&mut cluster, 21).status = DeviceStatus::Dead;
        device_mut(&mut cluster, 22).observed = Some(ObservedDevice::Readable);
        let (sources, _) = selected("", &cluster);
        assert_eq!(sources, [11, 22, 31, 32]);
        let (_, destinations) = selected("from_devices=99", &cluster);
        assert_eq!(destinations, [31], "32 must keep 100 MiB free");
    }
}
