//! MultipleNetworks(n): copies on as many networks as possible, then on so many hosts. The numbers are those of the
//! rules in replication-policies.md 9.

use super::candidates::{alive_devices, candidates, disks_total, hosts_total, told_views, used_hosts};
use super::{Question, Verdict};
use crate::clock::Chance;
use crate::cluster::device::DeviceView;
use crate::cluster::placement::order_by_free_space;
use crate::cluster::zones::{Network, Zones};
use crate::ids::HostId;
use std::collections::BTreeSet;

pub fn ask(min: i64, question: &Question<'_>, chance: &mut Chance) -> Verdict {
    let min = usize::try_from(min).unwrap_or(0);
    let on = question.told.len();
    if min == 1 && on >= 1 {
        return Verdict::AllGood; // 1
    }
    if on >= 2 && on == disks_total(question) {
        return Verdict::AllGood; // 2
    }
    let zones = Zones::from_settings(&question.world.server_settings);
    let used = Used::of(question, &zones);
    let hosts_total = hosts_total(question);
    let networks_wanted = min.min(networks_total(question, &zones));
    let (hosts_on, networks_on) = (used.hosts.len(), used.networks.len().max(1));
    // 3
    if networks_on >= networks_wanted {
        if hosts_on > min || (hosts_on == min && on > min) {
            return Verdict::TooGood;
        }
        if hosts_on == min || (hosts_on >= hosts_total && on >= min) {
            return Verdict::AllGood;
        }
    }
    let mut candidates = candidates(question); // 5
    if on >= min {
        // With enough copies, only one that reaches a further host or network that is wanted (Q8, as rule 5.9).
        candidates.retain(|view| {
            !used.has_host(view)
                && (hosts_on < min || (networks_on < networks_wanted && !used.has_network_of(view, &zones)))
        });
    }
    if candidates.is_empty() {
        return Verdict::TemporaryFailure;
    }
    let exclude_used = hosts_on < hosts_total; // 4
    let (on_used_hosts, rest): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|view| exclude_used && used.has_host(view));
    let (on_used_networks, ideal): (Vec<_>, Vec<_>) =
        rest.into_iter().partition(|view| exclude_used && used.has_network_of(view, &zones));
    // 6
    let mut desperate = order_by_free_space(on_used_networks, chance);
    desperate.extend(order_by_free_space(on_used_hosts, chance));
    Verdict::CopyTo { ideal: order_by_free_space(ideal, chance), desperate } // 7
}

/// Where the file is.
struct Used<'z> {
    hosts: BTreeSet<HostId>,
    networks: BTreeSet<Network<'z>>,
}

impl<'z> Used<'z> {
    fn of(question: &Question<'_>, zones: &'z Zones) -> Self {
        let networks = told_views(question).map(|view| zones.network_of(view.host)).collect();
        Self { hosts: used_hosts(question), networks }
    }

    fn has_host(&self, view: &DeviceView<'_>) -> bool {
        self.hosts.contains(&view.host.hostid)
    }

    fn has_network_of(&self, view: &DeviceView<'_>, zones: &'z Zones) -> bool {
        self.networks.contains(&zones.network_of(view.host))
    }
}

/// Networks of hosts with a device whose status is alive, at least 1.
fn networks_total(question: &Question<'_>, zones: &Zones) -> usize {
    // A host has many devices and one network.
    let mut hosts = BTreeSet::new();
    let first_of_host = alive_devices(question).filter(|view| hosts.insert(view.host.hostid));
    first_of_host.map(|view| zones.network_of(view.host)).collect::<BTreeSet<_>>().len().max(1)
}
