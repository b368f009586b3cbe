//! One round of device checks: all devices at the same time, and what was seen put into the next snapshot (jobs.md 4.3).

use super::check_device::{CheckTarget, DeviceCheck, UsageKib, check_device};
use crate::clock::{Chance, unix_now_secs};
use crate::cluster::ClusterSnapshot;
use crate::cluster::device_state::{ObservedDevice, ObservedHost};
use crate::cluster::host::Zone;
use crate::ids::DevId;
use crate::node_client::NodeClient;
use crate::settings::MonitorSettings;
use crate::store::devices::DeviceUsage;
use futures::StreamExt as _;
use rand::{Rng as _, SeedableRng as _};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const KIB_PER_MIB: i64 = 1024;

/// What a monitor remembers between rounds.
#[derive(Default)]
pub struct RoundMemory {
    /// When each device was written to last.
    write_tested: HashMap<DevId, Instant>,
}

/// What one round saw.
pub struct RoundReport {
    pub checks: Vec<(DevId, DeviceCheck)>,
}

/// Checks every device that is to be checked. A slow node holds up nobody but the end of the round.
pub async fn run(
    nodes: &NodeClient,
    cluster: &ClusterSnapshot,
    settings: &MonitorSettings,
    memory: &RefCell<RoundMemory>,
    chance: &RefCell<Chance>,
) -> RoundReport {
    let targets = targets(cluster, settings, &memory.borrow());
    let checks = futures::stream::iter(targets)
        .map(|target| {
            let mut chance = Chance::seed_from_u64(chance.borrow_mut().next_u64());
            async move {
                let check = check_device(nodes, &target, &mut chance).await;
                (target.devid, check)
            }
        })
        .buffer_unordered(settings.checks_in_flight_max)
        .collect::<Vec<_>>()
        .await;
    let mut memory = memory.borrow_mut();
    for (devid, _) in checks.iter().filter(|(_, check)| check.write_tested) {
        memory.write_tested.insert(*devid, Instant::now());
    }
    RoundReport { checks }
}

fn targets(cluster: &ClusterSnapshot, settings: &MonitorSettings, memory: &RoundMemory) -> Vec<CheckTarget> {
    let interval = Duration::from_millis(settings.write_test_interval_ms);
    cluster
        .devices()
        .filter(|device| device.is_monitored())
        .map(|device| {
            let address = device.host.address(Zone::NONE);
            let devid = device.device.devid;
            CheckTarget {
                devid,
                http_base: format!("http://{address}:{}", device.host.http_port),
                get_base: format!("http://{address}:{}", device.host.get_port()),
                may_write: device.may_be_deleted_from(),
                write_test_due: memory.write_tested.get(&devid).is_none_or(|tested| tested.elapsed() >= interval),
            }
        })
        .collect()
}

impl RoundReport {
    /// The snapshot with what this round saw. Devices and hosts that vanished meanwhile are left out.
    pub fn apply(&self, cluster: &ClusterSnapshot) -> ClusterSnapshot {
        let mut next = cluster.clone();
        for (devid, check) in &self.checks {
            let Some(device) = next.devices.get_mut(devid) else { continue };
            let device = Arc::make_mut(device);
            device.observed = check.device.or(device.observed);
            device.reject_bad_md5 = check.reject_bad_md5.or(device.reject_bad_md5);
            device.wait = average_wait(device.wait, check.waited);
            if let Some(usage) = &check.usage {
                (device.mb_total, device.mb_used) = (Some(mib(usage.total)), Some(mib(usage.used)));
            }
            let hostid = device.hostid;
            if let (Some(observed), Some(host)) = (check.host, next.hosts.get_mut(&hostid)) {
                Arc::make_mut(host).observed = Some(observed);
            }
        }
        next
    }

    /// The usage figures that are old enough to be stored anew.
    pub fn usages_to_store(&self, cluster: &ClusterSnapshot, interval_secs: i64) -> Vec<DeviceUsage> {
        let now = unix_now_secs();
        let is_due = |devid: &DevId| {
            let asof = cluster.devices.get(devid).and_then(|device| device.mb_asof);
            asof.is_none_or(|asof| asof + interval_secs < now)
        };
        let usage = |devid: DevId, usage: &UsageKib| DeviceUsage {
            devid,
            mb_total: mib(usage.total),
            mb_used: mib(usage.used),
            mb_asof: now,
        };
        self.checks
            .iter()
            .filter(|(devid, _)| is_due(devid))
            .filter_map(|(devid, check)| Some(usage(*devid, check.usage.as_ref()?)))
            .collect()
    }

    /// The devices whose observed state differs from the snapshot's, with what is to be said of them.
    pub fn changes<'r>(&'r self, cluster: &'r ClusterSnapshot) -> impl Iterator<Item = Change<'r>> + 'r {
        self.checks.iter().filter_map(|(devid, check)| {
            let view = cluster.device(*devid)?;
            let device_changed = check.device.is_some() && check.device != view.device.observed;
            let host_changed = check.host.is_some() && check.host != view.host.observed;
            (device_changed || host_changed).then_some(Change {
                devid: *devid,
                host: &view.host.name,
                device: check.device.filter(|_| device_changed),
                host_observed: check.host.filter(|_| host_changed),
                problem: check.problem.as_deref(),
            })
        })
    }
}

/// A change of what is observed, for the log.
pub struct Change<'r> {
    pub devid: DevId,
    pub host: &'r str,
    pub device: Option<ObservedDevice>,
    pub host_observed: Option<ObservedHost>,
    pub problem: Option<&'r str>,
}

fn mib(kib: i64) -> i64 {
    kib / KIB_PER_MIB
}

/// A moving average: what was measured last counts for a fifth.
fn average_wait(before: Option<Duration>, measured: Option<Duration>) -> Option<Duration> {
    match (before, measured) {
        (Some(before), Some(measured)) => Some((before * 4 + measured) / 5),
        (before, measured) => measured.or(before),
    }
}

#[cfg(test)]
mod tests {
    use super::average_wait;
    use std::time::Duration;

    #[test]
    fn the_wait_follows_what_is_measured_slowly() {
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(average_wait(None, None), None);
        assert_eq!(average_wait(None, ms(10)), ms(10));
        assert_eq!(average_wait(ms(10), None), ms(10));
        assert_eq!(average_wait(ms(10), ms(20)), ms(12));
    }
}
