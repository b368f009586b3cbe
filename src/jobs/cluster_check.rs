//! What is not as it should be in the cluster, in words for operators. Pure: from what this tracker knows.

use crate::cluster::ClusterSnapshot;
use crate::cluster::device::{DeviceView, Obstacle};
use crate::cluster::device_state::{HostStatus, ObservedDevice, ObservedHost};
use crate::ids::DevId;

/// The server setting: devices of hosts that are marked dead count as dead, too.
pub const DEAD_HOSTS_SETTING: &str = "dead_host_devices_are_dead";

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One word, for scripts.
    pub kind: &'static str,
    /// `None`: it is about the host.
    pub devid: Option<DevId>,
    pub host: String,
    /// A sentence.
    pub text: String,
}

/// Everything that is not as it should be: hosts first, then devices by number. What an operator has marked `down` is as
/// it should be.
pub fn problems(cluster: &ClusterSnapshot, min_free_space_mb: i64) -> Vec<Problem> {
    let silent = cluster.hosts.values().filter(|host| host.observed == Some(ObservedHost::Unreachable));
    let hosts = silent.map(|host| Problem {
        kind: "host_unreachable",
        devid: None,
        host: host.name.clone(),
        text: format!("host {} does not answer", host.name),
    });
    let devices = cluster.devices().filter_map(|view| {
        let devid = view.device.devid;
        let (kind, text) = device_problem(cluster, &view, min_free_space_mb)?;
        let text = format!("device {devid} on {}: {text}", view.host.name);
        Some(Problem { kind, devid: Some(devid), host: view.host.name.clone(), text })
    });
    hosts.chain(devices).collect()
}

/// Devices that are not marked dead on hosts that are: their copies count as good for ever (jobs.md W30).
pub fn devices_of_dead_hosts(cluster: &ClusterSnapshot) -> Vec<DevId> {
    cluster.devices().filter(is_left_on_dead_host).map(|view| view.device.devid).collect()
}

fn is_left_on_dead_host(view: &DeviceView<'_>) -> bool {
    view.host.status == Some(HostStatus::Dead) && !view.device.is_dead()
}

fn device_problem(
    cluster: &ClusterSnapshot,
    view: &DeviceView<'_>,
    min_free_space_mb: i64,
) -> Option<(&'static str, String)> {
    if is_left_on_dead_host(view) {
        let text = format!(
            "its host is dead, but it is {}: its copies count as good; mark it dead (or set {DEAD_HOSTS_SETTING})",
            view.device.status.name()
        );
        return Some(("dead_host", text));
    }
    if !view.is_monitored() {
        return None;
    }
    if let Some(failure) = cluster.guard_failures.get(&view.device.devid) {
        return Some(("mount_guard", failure.text()));
    }
    match (view.device.observed, view.host.observed) {
        (_, Some(ObservedHost::Unreachable)) => None,
        (Some(ObservedDevice::Unreachable), _) => Some(("device_unreachable", "it does not answer".to_owned())),
        (Some(ObservedDevice::Readable), _) if view.may_be_deleted_from() => {
            Some(("not_writeable", "it cannot be written to".to_owned()))
        }
        _ if view.placing_obstacle(min_free_space_mb) == Some(Obstacle::TooFull) => {
            Some(("full", "it is too full for new files".to_owned()))
        }
        _ => None,
    }
}
