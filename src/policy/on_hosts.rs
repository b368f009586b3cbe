//! OnHosts(host,...) and NotOnHosts(host,...): copies on certain hosts, or anywhere but there
//! (replication-policies.md 11.2).

use super::candidates::{candidates, told_views};
use super::{Question, Verdict};
use crate::clock::Chance;
use crate::cluster::device::DeviceView;
use crate::cluster::placement::order_all_by_free_space;
use crate::ids::{DevId, HostId};
use std::collections::BTreeSet;

/// Where a file is: hosts, and devices, that are named and that are not.
struct Spread {
    named_hosts: BTreeSet<HostId>,
    other_hosts: BTreeSet<HostId>,
    other_devices: usize,
}

impl Spread {
    fn of(names: &[String], question: &Question<'_>) -> Self {
        let told: Vec<_> = told_views(question).collect();
        let (named, other): (Vec<_>, Vec<_>) = told.into_iter().partition(|view| is_named(names, view));
        let hosts = |views: &[DeviceView<'_>]| views.iter().map(|view| view.host.hostid).collect();
        Self { named_hosts: hosts(&named), other_hosts: hosts(&other), other_devices: other.len() }
    }

    fn is_used(&self, view: &DeviceView<'_>) -> bool {
        self.named_hosts.contains(&view.host.hostid) || self.other_hosts.contains(&view.host.hostid)
    }
}

/// Is this device's host one of those named?
pub fn is_named(names: &[String], view: &DeviceView<'_>) -> bool {
    names.contains(&view.host.name)
}

/// `mindevcount` copies on named hosts and as many on others.
pub fn ask_on(names: &[String], question: &Question<'_>, chance: &mut Chance) -> Verdict {
    let min = usize::try_from(question.mindevcount).unwrap_or(0);
    let on = question.told.len();
    let spread = Spread::of(names, question);
    let (named_on, others_on) = (spread.named_hosts.len(), spread.other_hosts.len());
    if named_on >= min && others_on >= min {
        // The plugin also says so where copies are still missing on one of both sides; nothing could be removed then.
        return if on > 2 * min { Verdict::TooGood } else { Verdict::AllGood };
    }
    let unused: Vec<_> = candidates(question).into_iter().filter(|view| !spread.is_used(view)).collect();
    let (mut named, mut other): (Vec<_>, Vec<_>) = unused.into_iter().partition(|view| is_named(names, view));
    if named_on >= min {
        named.clear();
    }
    // Others stand in for named hosts that cannot be had, up to the number of copies. (The plugin copies on, and then
    // has too many.)
    if others_on >= min && named_on + others_on >= 2 * min {
        other.clear();
    }
    let mut ideal = order_all_by_free_space(named, chance);
    ideal.extend(order_all_by_free_space(other, chance));
    copy_to(ideal)
}

/// `mindevcount` copies on hosts that are not named. Those on named hosts do not count, and are surplus in the end.
pub fn ask_not_on(names: &[String], question: &Question<'_>, chance: &mut Chance) -> Verdict {
    let min = usize::try_from(question.mindevcount).unwrap_or(0);
    let spread = Spread::of(names, question);
    let hosts_on = spread.other_hosts.len();
    if hosts_on >= min {
        let is_surplus = hosts_on > min || spread.other_devices > min || !spread.named_hosts.is_empty();
        return if is_surplus { Verdict::TooGood } else { Verdict::AllGood };
    }
    let allowed = candidates(question).into_iter().filter(|view| !spread.is_used(view) && !is_named(names, view));
    copy_to(order_all_by_free_space(allowed.collect(), chance))
}

fn copy_to(ideal: Vec<DevId>) -> Verdict {
    match ideal.is_empty() {
        true => Verdict::TemporaryFailure,
        false => Verdict::CopyTo { ideal, desperate: Vec::new() },
    }
}
