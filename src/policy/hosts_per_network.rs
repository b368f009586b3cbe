//! HostsPerNetwork(zone=count,...): so many hosts in each of these network zones (replication-policies.md 10). The
//! class' number of copies plays no part, and neither do copies outside these zones.

use super::candidates::{candidates, told_views, used_hosts};
use super::{Question, Verdict};
use crate::clock::Chance;
use crate::cluster::device::DeviceView;
use crate::cluster::placement::order_by_free_space;
use crate::cluster::zones::Zones;
use crate::ids::HostId;
use std::collections::{BTreeMap, BTreeSet};

/// Hosts wanted in each zone, at least 1.
pub type HostsOfZones = BTreeMap<String, u16>;

pub fn ask(wanted: &HostsOfZones, question: &Question<'_>, chance: &mut Chance) -> Verdict {
    let zones = Zones::from_settings(&question.world.server_settings);
    let counted = count(question, &zones);
    let of_zone = |zone: &str| counted.get(zone).cloned().unwrap_or_default();
    let needed: BTreeSet<&str> = wanted
        .iter()
        .filter(|(zone, count)| of_zone(zone).needs_more(usize::from(**count)))
        .map(|(zone, _)| zone.as_str())
        .collect();
    if needed.is_empty() {
        let has_surplus = wanted.iter().any(|(zone, &count)| of_zone(zone).devices_on > usize::from(count));
        return if has_surplus { Verdict::TooGood } else { Verdict::AllGood };
    }
    let used_hosts = used_hosts(question);
    let (mut ideal, mut desperate) = (Vec::new(), Vec::new());
    for view in candidates(question) {
        let Some(zone) = zones.of_host(view.host).filter(|zone| needed.contains(zone)) else { continue };
        if !used_hosts.contains(&view.host.hostid) {
            ideal.push(view);
        } else if wanted.get(zone).is_some_and(|&count| of_zone(zone).devices_on < usize::from(count)) {
            // With enough copies on too few hosts: wait for another host rather than pile up (as Q8).
            desperate.push(view);
        }
    }
    if ideal.is_empty() && desperate.is_empty() {
        return Verdict::TemporaryFailure;
    }
    Verdict::CopyTo { ideal: order_by_free_space(ideal, chance), desperate: order_by_free_space(desperate, chance) }
}

/// Has this copy's zone more copies than the policy wants there? Others are not its business.
pub fn has_surplus_at(wanted: &HostsOfZones, question: &Question<'_>, view: &DeviceView<'_>) -> bool {
    let zones = Zones::from_settings(&question.world.server_settings);
    let zone = zones.of_host(view.host);
    let devices_on = || told_views(question).filter(|told| zones.of_host(told.host) == zone).count();
    zone.and_then(|zone| wanted.get(zone)).is_some_and(|&count| devices_on() > usize::from(count))
}

/// What there is in a zone.
#[derive(Clone, Default)]
struct ZoneCount {
    hosts_on: BTreeSet<HostId>,
    devices_on: usize,
    /// Hosts with a device that is not dead.
    hosts: BTreeSet<HostId>,
}

impl ZoneCount {
    /// Where there are fewer hosts than wanted, devices count.
    fn needs_more(&self, wanted: usize) -> bool {
        let have = if wanted <= self.hosts.len() { self.hosts_on.len() } else { self.devices_on };
        have < wanted
    }
}

fn count<'z>(question: &Question<'_>, zones: &'z Zones) -> BTreeMap<&'z str, ZoneCount> {
    let mut counted: BTreeMap<&str, ZoneCount> = BTreeMap::new();
    for view in told_views(question) {
        if let Some(zone) = zones.of_host(view.host) {
            let zone = counted.entry(zone).or_default();
            zone.hosts_on.insert(view.host.hostid);
            zone.devices_on += 1;
        }
    }
    let mut seen = BTreeSet::new();
    let living = question.world.devices().filter(|view| !view.device.is_dead());
    for view in living.filter(|view| seen.insert(view.host.hostid)) {
        if let Some(zone) = zones.of_host(view.host) {
            counted.entry(zone).or_default().hosts.insert(view.host.hostid);
        }
    }
    counted
}
