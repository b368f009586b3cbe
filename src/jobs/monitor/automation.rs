//! Which devices get another status by rule: those that nobody reaches for long, and those whose disk is the wrong one.
//!
//! All rules are off by default. They never act on what may be the fault of this tracker or its network, never on more
//! than one host or a few devices an hour, and marking dead never costs a file its last copy (that is asked of the
//! database by whoever carries the orders out). Pure.

use super::guards::{Guards, is_seen_unreachable};
use crate::cluster::ClusterSnapshot;
use crate::cluster::device::DeviceView;
use crate::cluster::device_state::DeviceStatus;
use crate::ids::{DevId, HostId};
use std::collections::{BTreeMap, BTreeSet};

/// Server settings (see docs/MONITOR.md); absent or 0 is off.
pub const DRAIN_AFTER_SETTING: &str = "auto_drain_unreachable_secs";
pub const DEAD_AFTER_SETTING: &str = "auto_dead_unreachable_secs";
pub const DEVICES_MAX_SETTING: &str = "auto_dead_devices_max";
pub const GUARD_SETTING: &str = "auto_drain_failed_guard";

/// Devices whose status rules change within an hour, if the setting does not say.
const DEVICES_MAX: i64 = 4;
const HOUR_SECS: i64 = 3600;
/// The database must have answered for so long without a break; less if the rules are quicker.
const STEADY_SECS_MAX: i64 = 300;

/// The rules in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub drain_after_secs: Option<i64>,
    pub dead_after_secs: Option<i64>,
    pub drain_failed_guard: bool,
    /// Devices changed within an hour, at most; of one host only.
    pub devices_max: usize,
}

impl Rules {
    /// `None` if all are off.
    pub fn of(cluster: &ClusterSnapshot) -> Option<Self> {
        let secs = |field: &str| Some(cluster.server_number(field, 0)).filter(|&secs| secs > 0);
        let rules = Self {
            drain_after_secs: secs(DRAIN_AFTER_SETTING),
            dead_after_secs: secs(DEAD_AFTER_SETTING),
            drain_failed_guard: cluster.server_flag(GUARD_SETTING),
            devices_max: usize::try_from(cluster.server_number(DEVICES_MAX_SETTING, DEVICES_MAX)).unwrap_or(0),
        };
        let is_on = rules.drain_after_secs.is_some() || rules.dead_after_secs.is_some() || rules.drain_failed_guard;
        is_on.then_some(rules)
    }

    /// How long this tracker must have had its database before it acts.
    pub fn steady_secs(&self) -> i64 {
        let quickest = self.drain_after_secs.into_iter().chain(self.dead_after_secs).min();
        quickest.unwrap_or(STEADY_SECS_MAX).min(STEADY_SECS_MAX)
    }
}

/// Why a device gets another status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Unreachable { for_secs: i64, at_least_secs: i64 },
    MountGuard,
}

impl Reason {
    pub fn text(self) -> String {
        match self {
            Self::Unreachable { for_secs, .. } => format!("nobody has reached it for {for_secs} s"),
            Self::MountGuard => "its disk is not the one that it should be (mount guard)".to_owned(),
        }
    }
}

/// A change that is to be made if the device still has the status `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub devid: DevId,
    pub from: DeviceStatus,
    pub to: DeviceStatus,
    pub reason: Reason,
}

impl Order {
    /// Are the copies on the device given up?
    pub fn is_final(&self) -> bool {
        self.to == DeviceStatus::Dead
    }
}

/// What to do, and what not although a rule says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub orders: Vec<Order>,
    pub refused: Vec<String>,
}

/// Decides, by what this tracker sees and what the table says at its time `guards.now`.
pub fn decide(cluster: &ClusterSnapshot, guards: &Guards, rules: &Rules) -> Decision {
    let mut wanted: BTreeMap<HostId, Vec<Order>> = BTreeMap::new();
    for view in cluster.devices() {
        if let Some(order) = wanted_order(cluster, &view, guards, rules) {
            wanted.entry(view.host.hostid).or_default().push(order);
        }
    }
    let Some((&hostid, _)) = wanted.first_key_value() else { return Decision::default() };
    let mut decision = Decision::default();
    if !reaches_most(cluster, |other| !wanted.contains_key(&other)) {
        decision.refused.push("this tracker reaches too few of the other hosts: the fault may be its own".to_owned());
        return decision;
    }
    let recent = recently_changed(cluster, guards);
    let hosts_in_trouble = hosts_in_trouble(cluster, guards);
    let mut changed: BTreeSet<DevId> = recent.keys().copied().collect();
    for (host, orders) in wanted {
        for order in orders {
            let devid = order.devid;
            if host != hostid || recent.values().any(|&other| other != host) {
                decision.refused.push(format!("device {devid} is left alone: rules act on one host an hour"));
            } else if order.is_final() && hosts_in_trouble.iter().any(|&other| other != host) {
                decision.refused.push(format!("device {devid} is not marked dead: other hosts have trouble, too"));
            } else if !changed.contains(&devid) && changed.len() >= rules.devices_max {
                let max = rules.devices_max;
                decision.refused.push(format!("device {devid} is left alone: rules act on {max} devices an hour"));
            } else {
                changed.insert(devid);
                decision.orders.push(order);
            }
        }
    }
    decision
}

fn wanted_order(cluster: &ClusterSnapshot, view: &DeviceView<'_>, guards: &Guards, rules: &Rules) -> Option<Order> {
    let (devid, from) = (view.device.devid, view.device.status);
    // Devices and hosts that somebody has marked are that person's.
    if !view.is_monitored() {
        return None;
    }
    let order = |to, reason| Some(Order { devid, from, to, reason }).filter(|order| order.from != order.to);
    let may_drain = from == DeviceStatus::Alive;
    if cluster.guard_failures.contains_key(&devid) {
        return order(DeviceStatus::Drain, Reason::MountGuard).filter(|_| rules.drain_failed_guard && may_drain);
    }
    // What this tracker reaches, or has not looked at yet, is not lost, whatever the table says.
    if !is_seen_unreachable(cluster, view) {
        return None;
    }
    let for_secs = guards.rows.get(&devid)?.unreachable_secs(guards.now)?;
    let is_over = |limit: Option<i64>| limit.filter(|&limit| for_secs >= limit);
    if let Some(at_least_secs) = is_over(rules.dead_after_secs) {
        return order(DeviceStatus::Dead, Reason::Unreachable { for_secs, at_least_secs });
    }
    let at_least_secs = is_over(rules.drain_after_secs).filter(|_| may_drain)?;
    order(DeviceStatus::Drain, Reason::Unreachable { for_secs, at_least_secs })
}

/// Does this tracker reach more than half of these hosts, and one at least?
fn reaches_most(cluster: &ClusterSnapshot, counts: impl Fn(HostId) -> bool) -> bool {
    let mut hosts: BTreeMap<HostId, bool> = BTreeMap::new();
    for view in cluster.devices().filter(|view| view.is_monitored() && counts(view.host.hostid)) {
        *hosts.entry(view.host.hostid).or_default() |= view.may_be_read();
    }
    let reached = hosts.values().filter(|&&reached| reached).count();
    reached > 0 && reached * 2 > hosts.len()
}

/// The devices whose status rules have changed within the last hour, with their hosts.
fn recently_changed(cluster: &ClusterSnapshot, guards: &Guards) -> BTreeMap<DevId, HostId> {
    let is_recent = |changed_at: Option<i64>| changed_at.is_some_and(|changed_at| guards.now - changed_at < HOUR_SECS);
    let recent = guards.rows.values().filter(|row| is_recent(row.changed_at));
    recent.filter_map(|row| Some((row.devid, cluster.devices.get(&row.devid)?.hostid))).collect()
}

/// The hosts with devices that are looked at and not reached.
fn hosts_in_trouble(cluster: &ClusterSnapshot, guards: &Guards) -> BTreeSet<HostId> {
    let is_lost = |view: &DeviceView<'_>| {
        let row = guards.rows.get(&view.device.devid);
        view.is_monitored() && (!view.may_be_read() || row.is_some_and(|row| row.unreachable_since.is_some()))
    };
    cluster.devices().filter(is_lost).map(|view| view.host.hostid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::device::Device;
    use crate::cluster::device_state::{HostStatus, ObservedDevice, ObservedHost};
    use crate::cluster::host::Host;
    use crate::cluster::mount_guard::GuardFailure;
    use crate::store::device_guard::GuardRow;
    use std::sync::Arc;

    const NOW: i64 = 1_000_000;
    const RULES: Rules =
        Rules { drain_after_secs: Some(100), dead_after_secs: Some(1000), drain_failed_guard: false, devices_max: 4 };

    /// Four hosts of two devices: host 3 has 30 and 31. All are well.
    fn cluster() -> ClusterSnapshot {
        let mut cluster = ClusterSnapshot::default();
        for hostid in 1..=4 {
            let host = Host {
                hostid: HostId(hostid),
                name: format!("h{hostid}"),
                status: Some(HostStatus::Alive),
                ip: "127.0.0.1".to_owned(),
                http_port: 7500,
                http_get_port: None,
                altip: None,
                altmask_text: None,
                altmask: None,
                observed: Some(ObservedHost::Reachable),
            };
            cluster.hosts.insert(host.hostid, Arc::new(host));
            for devid in [hostid * 10, hostid * 10 + 1] {
                let device = Device {
                    devid: DevId(devid),
                    hostid: HostId(hostid),
                    status: DeviceStatus::Alive,
                    weight: None,
                    mb_total: None,
                    mb_used: None,
                    mb_asof: None,
                    observed: Some(ObservedDevice::Writeable),
                    utilization: None,
                    reject_bad_md5: None,
                    wait: None,
                };
                cluster.devices.insert(device.devid, Arc::new(device));
            }
        }
        cluster
    }

    fn row(devid: i64) -> GuardRow {
        GuardRow {
            devid: DevId(devid),
            uuid: None,
            unreachable_since: None,
            unreachable_seen: Some(NOW - 60),
            changed_at: None,
        }
    }

    /// The cluster and the table when these devices have been unreachable for so long.
    fn lost(devices: &[(i64, i64)]) -> (ClusterSnapshot, Guards) {
        let (mut cluster, mut guards) = (cluster(), Guards { rows: BTreeMap::new(), now: NOW, is_set_up: true });
        for &(devid, secs) in devices {
            change(&mut cluster, devid, |device| device.observed = Some(ObservedDevice::Unreachable));
            guards.rows.insert(DevId(devid), GuardRow { unreachable_since: Some(NOW - secs), ..row(devid) });
        }
        (cluster, guards)
    }

    fn change(cluster: &mut ClusterSnapshot, devid: i64, how: impl FnOnce(&mut Device)) {
        how(Arc::make_mut(cluster.devices.get_mut(&DevId(devid)).expect("a device")));
    }

    fn decided((cluster, guards): &(ClusterSnapshot, Guards), rules: &Rules) -> (Vec<(i64, &'static str)>, usize) {
        let decision = decide(cluster, guards, rules);
        let orders = decision.orders.iter().map(|order| (order.devid.0, order.to.name())).collect();
        (orders, decision.refused.len())
    }

    #[test]
    fn time_decides_between_drain_and_dead() {
        assert_eq!(decided(&lost(&[]), &RULES), (vec![], 0));
        assert_eq!(decided(&lost(&[(10, 99)]), &RULES), (vec![], 0));
        assert_eq!(decided(&lost(&[(10, 100), (11, 999)]), &RULES), (vec![(10, "drain"), (11, "drain")], 0));
        assert_eq!(decided(&lost(&[(10, 1000), (11, 100)]), &RULES), (vec![(10, "dead"), (11, "drain")], 0));
        let off = Rules { drain_after_secs: None, dead_after_secs: None, ..RULES };
        assert_eq!(decided(&lost(&[(10, 9999)]), &off), (vec![], 0));
    }

    #[test]
    fn what_a_person_has_marked_is_left_alone() {
        for status in [DeviceStatus::Down, DeviceStatus::Dead] {
            let mut world = lost(&[(10, 9999)]);
            change(&mut world.0, 10, |device| device.status = status);
            assert_eq!(decided(&world, &RULES), (vec![], 0));
        }
        let mut world = lost(&[(10, 500)]);
        change(&mut world.0, 10, |device| device.status = DeviceStatus::Readonly);
        assert_eq!(decided(&world, &RULES), (vec![], 0), "only alive ones are drained");
        let mut world = lost(&[(10, 9999)]);
        change(&mut world.0, 10, |device| device.observed = Some(ObservedDevice::Readable));
        assert_eq!(decided(&world, &RULES), (vec![], 0), "this tracker reaches it");
    }

    #[test]
    fn time_in_which_nobody_looked_does_not_count() {
        let mut world = lost(&[(10, 9999)]);
        world
            .1
            .rows
            .insert(DevId(10), GuardRow { unreachable_seen: Some(NOW - 301), ..world.1.rows[&DevId(10)].clone() });
        assert_eq!(decided(&world, &RULES), (vec![], 0));
        let mut world = lost(&[(10, 9999)]);
        change(&mut world.0, 10, |device| device.observed = None);
        assert_eq!(decided(&world, &RULES), (vec![], 0), "this tracker has not looked yet");
    }

    #[test]
    fn a_tracker_that_is_cut_off_does_nothing() {
        let mut world = lost(&[(10, 9999), (11, 9999)]);
        for hostid in [2, 3] {
            let host = world.0.hosts.get_mut(&HostId(hostid)).expect("a host");
            Arc::make_mut(host).observed = Some(ObservedHost::Unreachable);
        }
        assert_eq!(decided(&world, &RULES), (vec![], 1));
        let everything: Vec<_> = [10, 11, 20, 21, 30, 31, 40, 41].map(|devid| (devid, 9999)).into();
        assert_eq!(decided(&lost(&everything), &RULES), (vec![], 1));
    }

    #[test]
    fn nothing_is_marked_dead_while_other_hosts_have_trouble() {
        assert_eq!(decided(&lost(&[(10, 1000), (20, 5)]), &RULES), (vec![], 1));
        let one_host_at_a_time = (vec![(10, "drain")], 1);
        assert_eq!(decided(&lost(&[(10, 100), (20, 100)]), &RULES), one_host_at_a_time);
    }

    #[test]
    fn rules_act_on_few_devices_of_one_host_an_hour() {
        let few = Rules { devices_max: 1, ..RULES };
        assert_eq!(decided(&lost(&[(10, 1000), (11, 1000)]), &few), (vec![(10, "dead")], 1));
        for (changed, secs_ago, expected) in [
            (20, 3599, (vec![], 1)),
            (20, 3600, (vec![(10, "dead")], 0)),
            // The same host, and the same device, which was drained first.
            (11, 10, (vec![], 1)),
            (10, 10, (vec![(10, "dead")], 0)),
        ] {
            let mut world = lost(&[(10, 1000)]);
            let guard = world.1.rows.entry(DevId(changed)).or_insert_with(|| row(changed));
            guard.changed_at = Some(NOW - secs_ago);
            assert_eq!(decided(&world, &few), expected, "{changed} {secs_ago}");
        }
    }

    #[test]
    fn a_failed_guard_drains_if_wanted_and_never_kills() {
        let mut world = lost(&[]);
        let failure = GuardFailure { expected: "a".to_owned(), seen: None };
        world.0.guard_failures.insert(DevId(10), failure);
        change(&mut world.0, 10, |device| device.observed = Some(ObservedDevice::Unreachable));
        world.1.rows.insert(DevId(10), GuardRow { unreachable_since: Some(1), ..row(10) });
        assert_eq!(decided(&world, &RULES), (vec![], 0));
        let drained = Rules { drain_failed_guard: true, ..RULES };
        assert_eq!(decided(&world, &drained), (vec![(10, "drain")], 0));
    }
}
