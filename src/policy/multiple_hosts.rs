//! MultipleHosts(n): copies on so many different hosts. The numbers are those of the rules in
//! replication-policies.md 5.

use super::candidates::{candidates, disks_total, hosts_total, used_hosts};
use super::{Question, Verdict};
use crate::clock::Chance;
use crate::cluster::device::DeviceView;
use crate::ids::DevId;

/// Puts candidates in order; may leave some out.
type Order = for<'v> fn(Vec<DeviceView<'v>>, &mut Chance) -> Vec<DevId>;

pub fn ask(min: i64, question: &Question<'_>, order: Order, chance: &mut Chance) -> Verdict {
    let min = usize::try_from(min).unwrap_or(0);
    let on = question.told.len();
    let used_hosts = used_hosts(question);
    let (hosts_on, hosts_total) = (used_hosts.len(), hosts_total(question));
    if min == 1 && on == 1 {
        return Verdict::AllGood; // 1
    }
    if hosts_on > min || on > min {
        return Verdict::TooGood; // 2
    }
    if hosts_on == min {
        return Verdict::AllGood; // 3
    }
    if hosts_on >= hosts_total && on >= min {
        return Verdict::AllGood; // 4
    }
    if on >= 2 && on == disks_total(question) {
        return Verdict::AllGood; // 5
    }
    let candidates = candidates(question);
    if candidates.is_empty() {
        return Verdict::TemporaryFailure; // 7
    }
    let exclude_used = hosts_on < hosts_total; // 6
    let (desperate, ideal): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|view| exclude_used && used_hosts.contains(&view.host.hostid)); // 8
    // Ordered first: a device of unknown free space drops out, and would make desperate copies pile up meanwhile.
    let ideal = order(ideal, chance);
    if on >= min && ideal.is_empty() {
        return Verdict::TemporaryFailure; // 9
    }
    Verdict::CopyTo { ideal, desperate: order(desperate, chance) } // 10
}
