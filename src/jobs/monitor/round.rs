//! Rounds of device checks: all devices at the same time, and what was seen put into the next snapshot (jobs.md 4.3).
//!
//! A round never waits for a host longer than [`Rounds::run`] says: checks that take longer go on beside the next rounds,
//! which leave that host alone until then.

use super::check_device::{CheckTarget, DeviceCheck, UsageKib};
use super::guards::Guards;
use super::host_checks::{HostReport, HostTargets, Permits, check_host};
use crate::clock::{Chance, unix_now_secs};
use crate::cluster::ClusterSnapshot;
use crate::cluster::device::DeviceView;
use crate::cluster::device_state::{ObservedDevice, ObservedHost};
use crate::cluster::host::Zone;
use crate::ids::{DevId, HostId};
use crate::node_client::NodeClient;
use crate::settings::Settings;
use crate::store::devices::DeviceUsage;
use futures::StreamExt as _;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use rand::{Rng as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

const KIB_PER_MIB: i64 = 1024;

/// What a round waits beyond the time limit of a node, so that silence is seen in the round in which it began.
const ROUND_SLACK: Duration = Duration::from_millis(250);

/// The rounds of one monitor: what is under way, and what is remembered from one to the next.
pub struct Rounds {
    nodes: NodeClient,
    permits: Permits,
    write_test_interval: Duration,
    round_max: Duration,
    chance: Chance,
    /// When each device was written to last.
    write_tested: HashMap<DevId, Instant>,
    under_way: FuturesUnordered<LocalBoxFuture<'static, HostReport>>,
    /// The hosts of `under_way`.
    busy: BTreeSet<HostId>,
}

/// What one round saw.
#[derive(Debug, Default)]
pub struct RoundReport {
    pub hosts: Vec<HostReport>,
}

impl Rounds {
    pub fn new(nodes: NodeClient, settings: &Settings, chance: Chance) -> Self {
        let monitor = &settings.monitor;
        Self {
            nodes,
            permits: Permits {
                all: Rc::new(Semaphore::new(monitor.checks_in_flight_max)),
                per_host: monitor.checks_per_host_max,
            },
            write_test_interval: Duration::from_millis(monitor.write_test_interval_ms),
            round_max: settings.storage.node_timeout() + ROUND_SLACK,
            chance,
            write_tested: HashMap::new(),
            under_way: FuturesUnordered::new(),
            busy: BTreeSet::new(),
        }
    }

    /// Checks every device that is to be checked. A node that dallies beyond `node_timeout_ms` holds up nobody: what is
    /// seen of its host comes with a later round.
    pub async fn run(&mut self, cluster: &ClusterSnapshot, guards: &Guards) -> RoundReport {
        let deadline = Instant::now() + self.round_max;
        self.write_tested.retain(|devid, _| cluster.devices.contains_key(devid));
        let mut awaited = BTreeSet::new();
        for host in self.targets(cluster, guards) {
            awaited.insert(host.hostid);
            self.busy.insert(host.hostid);
            let chance = Chance::seed_from_u64(self.chance.next_u64());
            self.under_way.push(Box::pin(check_host(self.nodes.clone(), host, self.permits.clone(), chance)));
        }
        let mut report = RoundReport::default();
        while !awaited.is_empty() {
            let Ok(Some(host)) = tokio::time::timeout_at(deadline, self.under_way.next()).await else { break };
            awaited.remove(&host.hostid);
            self.busy.remove(&host.hostid);
            for (devid, _) in host.checks.iter().filter(|(_, check)| check.write_tested) {
                self.write_tested.insert(*devid, Instant::now());
            }
            report.hosts.push(host);
        }
        report
    }

    /// Hosts that answered come first: those that are silent would keep the permits for long.
    fn targets(&self, cluster: &ClusterSnapshot, guards: &Guards) -> Vec<HostTargets> {
        let mut hosts = BTreeMap::<HostId, HostTargets>::new();
        let is_due = |view: &DeviceView<'_>| view.is_monitored() && !self.busy.contains(&view.host.hostid);
        for view in cluster.devices().filter(is_due) {
            let host = hosts.entry(view.host.hostid).or_insert_with(|| HostTargets {
                hostid: view.host.hostid,
                was_silent: view.host.observed == Some(ObservedHost::Unreachable),
                targets: Vec::new(),
            });
            host.targets.push(self.target(&view, guards));
        }
        let mut hosts: Vec<_> = hosts.into_values().collect();
        hosts.sort_by_key(|host| host.was_silent);
        hosts
    }

    fn target(&self, view: &DeviceView<'_>, guards: &Guards) -> CheckTarget {
        let (devid, address) = (view.device.devid, view.host.address(Zone::NONE));
        // What is not known to be readable is tested at once, so that it is of use as soon as it is back (J22).
        let is_known = view.host.is_reachable()
            && matches!(view.device.observed, Some(ObservedDevice::Writeable | ObservedDevice::Readable));
        let tested_lately =
            self.write_tested.get(&devid).is_some_and(|tested| tested.elapsed() < self.write_test_interval);
        CheckTarget {
            devid,
            http_base: format!("http://{address}:{}", view.host.http_port),
            get_base: format!("http://{address}:{}", view.host.get_port()),
            may_write: view.may_be_deleted_from(),
            write_test_due: !(is_known && tested_lately),
            expected_mark: guards.expected_mark(devid).map(str::to_owned),
        }
    }
}

impl RoundReport {
    pub(super) fn checks(&self) -> impl Iterator<Item = &(DevId, DeviceCheck)> {
        self.hosts.iter().flat_map(|host| &host.checks)
    }

    /// The snapshot with what this round saw. Devices and hosts that vanished meanwhile are left out.
    pub fn apply(&self, cluster: &ClusterSnapshot) -> ClusterSnapshot {
        let mut next = cluster.clone();
        for report in &self.hosts {
            if let (Some(answered), Some(host)) = (report.answered, next.hosts.get_mut(&report.hostid)) {
                let observed = if answered { ObservedHost::Reachable } else { ObservedHost::Unreachable };
                if host.observed != Some(observed) {
                    Arc::make_mut(host).observed = Some(observed);
                }
            }
            for (devid, check) in &report.checks {
                let Some(device) = next.devices.get_mut(devid) else { continue };
                let device = Arc::make_mut(device);
                // Silence tells of the device only if others of its host answer; else the host is down, and its devices are
                // what they were (J22).
                let is_silence = check.host == Some(ObservedHost::Unreachable);
                if !is_silence || report.answered == Some(true) {
                    device.observed = check.device.or(device.observed);
                }
                device.reject_bad_md5 = check.reject_bad_md5.or(device.reject_bad_md5);
                device.wait = average_wait(device.wait, check.waited);
                match &check.guard_failure {
                    Some(failure) => {
                        next.guard_failures.insert(*devid, failure.clone());
                    }
                    None if check.usage.is_some() => {
                        next.guard_failures.remove(devid);
                    }
                    None => {}
                }
                if let Some(usage) = &check.usage {
                    (device.mb_total, device.mb_used) = (Some(mib(usage.total)), Some(mib(usage.used)));
                }
            }
        }
        next
    }

    /// Did a node of ours show the mark of a disk?
    pub fn shows_marks(&self) -> bool {
        self.checks().any(|(_, check)| check.mark.is_some())
    }

    /// The addresses of hosts of which some device gave its usage.
    pub fn answering<'r>(&'r self, cluster: &'r ClusterSnapshot) -> impl Iterator<Item = &'r str> {
        let has_usage = |host: &&HostReport| host.checks.iter().any(|(_, check)| check.usage.is_some());
        let hosts = self.hosts.iter().filter(has_usage).filter_map(|report| cluster.host(report.hostid));
        hosts.map(|host| host.address(Zone::NONE))
    }

    /// The usage figures that are, by what was read last, old enough to be stored anew.
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
        self.checks()
            .filter(|(devid, _)| is_due(devid))
            .filter_map(|(devid, check)| Some(usage(*devid, check.usage.as_ref()?)))
            .collect()
    }

    /// What is observed otherwise than before, for the log.
    pub fn changes<'r>(&'r self, before: &'r ClusterSnapshot, after: &'r ClusterSnapshot) -> Vec<Change<'r>> {
        let mut changes = Vec::new();
        for report in &self.hosts {
            let Some(host) = after.host(report.hostid) else { continue };
            let problem = report.checks.iter().find_map(|(_, check)| check.problem.as_deref());
            if before.host(report.hostid).is_some_and(|before| before.observed != host.observed) {
                changes.push(Change::Host { host: &host.name, observed: host.observed, problem });
            }
            for (devid, check) in &report.checks {
                let Some(device) = after.devices.get(devid) else { continue };
                if before.devices.get(devid).is_some_and(|before| before.observed != device.observed) {
                    let (observed, problem) = (device.observed, check.problem.as_deref());
                    changes.push(Change::Device { devid: *devid, host: &host.name, observed, problem });
                }
            }
        }
        changes
    }
}

/// A change of what is observed.
#[derive(Debug, PartialEq, Eq)]
pub enum Change<'r> {
    Host { host: &'r str, observed: Option<ObservedHost>, problem: Option<&'r str> },
    Device { devid: DevId, host: &'r str, observed: Option<ObservedDevice>, problem: Option<&'r str> },
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
