//! Which copy may go when a file has more than its policy wants (W28): never one that the policy would miss. Where it
//! would miss any, which one should move.

use super::candidates::told_views;
use super::on_hosts::is_named;
use super::{Question, ReplicationPolicy, Verdict, hosts_per_network};
use crate::clock::Chance;
use crate::cluster::device::DeviceView;
use crate::cluster::device_state::DeviceStatus;
use crate::ids::DevId;
use rand::seq::SliceRandom;

impl ReplicationPolicy {
    /// The copy to remove, of the told devices in `removable`; `None` if the policy does not say that there are too
    /// many, or if it would not be content without any of these.
    ///
    /// Content it must be in the whole world, without the copy, and with only those of the others that may be read: a
    /// copy on a device that is down counts, but is no reason to remove one that works. Of several, in this order: one
    /// that is where the policy wants none; one on a host or device that is not alive; one that shares its host with
    /// the most others; one on the fullest device; any.
    pub fn choose_surplus(&self, question: &Question<'_>, removable: &[DevId], chance: &mut Chance) -> Option<DevId> {
        if self.ask(question, chance) != Verdict::TooGood {
            return None;
        }
        let views = self.least_wanted_first(question, removable, chance);
        let spared = views.iter().find(|view| self.can_spare(question, view, chance))?;
        Some(spared.device.devid)
    }

    /// The copy to move when there are too many, but none can be spared where they are (four on two hosts, of which
    /// three should be on three): in its new place, another one can be. `None` if no move leads there.
    pub fn choose_move(&self, question: &Question<'_>, removable: &[DevId], chance: &mut Chance) -> Option<DevId> {
        if self.ask(question, chance) != Verdict::TooGood {
            return None;
        }
        let views = self.least_wanted_first(question, removable, chance);
        views.iter().map(|view| view.device.devid).find(|&devid| self.helps_elsewhere(question, devid, chance))
    }

    /// Does this copy make another one dispensable if it is where the policy wants it instead?
    fn helps_elsewhere(&self, question: &Question<'_>, devid: DevId, chance: &mut Chance) -> bool {
        let left = without(question.told, devid);
        let Verdict::CopyTo { ideal, .. } = self.ask(&Question { told: &left, ..*question }, chance) else {
            return false;
        };
        let new_places = ideal.iter().filter(|target| !question.told.contains(target));
        new_places.take(1).any(|&target| {
            let told = [left.as_slice(), &[target]].concat();
            let moved = Question { told: &told, ..*question };
            self.choose_surplus(&moved, &left, chance).is_some()
        })
    }

    /// Those of the told devices in `removable` whose copies bring the file nearer to what is wanted by going.
    fn least_wanted_first<'w>(
        &self,
        question: &Question<'w>,
        removable: &[DevId],
        chance: &mut Chance,
    ) -> Vec<DeviceView<'w>> {
        let told = told_views(question).filter(|view| removable.contains(&view.device.devid));
        let mut views: Vec<_> = told.filter(|view| self.has_surplus_at(question, view)).collect();
        // Equals stay in the order of chance.
        views.shuffle(chance);
        let fullest_first = |view: &DeviceView<'_>| (view.device.free_fraction() * f64::from(u32::MAX)) as u32;
        views.sort_by_key(|view| {
            let is_in_use = view.host.is_alive() && view.device.status == DeviceStatus::Alive;
            let on_its_host = std::cmp::Reverse(copies_on_host(question, view));
            (self.wants_copy_on(view), is_in_use, on_its_host, fullest_first(view))
        });
        views
    }

    /// Is the policy content without this copy?
    fn can_spare(&self, question: &Question<'_>, view: &DeviceView<'_>, chance: &mut Chance) -> bool {
        let left = without(question.told, view.device.devid);
        let readable: Vec<_> = left
            .iter()
            .copied()
            .filter(|&devid| question.world.device(devid).is_some_and(|other| other.may_be_read()))
            .collect();
        !readable.is_empty()
            && self.is_content(&Question { told: &left, ..*question }, chance)
            // What cannot be read itself is not worth less than it was.
            && (!view.may_be_read() || self.is_content(&Question { told: &readable, ..*question }, chance))
    }

    fn is_content(&self, question: &Question<'_>, chance: &mut Chance) -> bool {
        matches!(self.ask(question, chance), Verdict::AllGood | Verdict::TooGood)
    }

    /// Does removing this copy bring it nearer to the number that is wanted?
    fn has_surplus_at(&self, question: &Question<'_>, view: &DeviceView<'_>) -> bool {
        match self {
            Self::HostsPerNetwork(wanted) => hosts_per_network::has_surplus_at(wanted, question, view),
            Self::Union(parts) => parts.iter().any(|part| part.has_surplus_at(question, view)),
            _ => true,
        }
    }

    /// May the file be here at all, if there is enough room elsewhere?
    fn wants_copy_on(&self, view: &DeviceView<'_>) -> bool {
        match self {
            Self::NotOnHosts(names) => !is_named(names, view),
            Self::Union(parts) => parts.iter().all(|part| part.wants_copy_on(view)),
            _ => true,
        }
    }
}

fn without(told: &[DevId], devid: DevId) -> Vec<DevId> {
    told.iter().copied().filter(|&other| other != devid).collect()
}

/// How many told devices there are on the host of this one.
fn copies_on_host(question: &Question<'_>, view: &DeviceView<'_>) -> usize {
    told_views(question).filter(|told| told.host.hostid == view.host.hostid).count()
}

#[cfg(test)]
mod tests {
    use crate::clock::{Chance, chance_from_seed};
    use crate::cluster::fixture::Fixture;
    use crate::ids::DevId;
    use crate::policy::{Question, ReplicationPolicy, parse};

    type Choice = fn(&ReplicationPolicy, &Question<'_>, &[DevId], &mut Chance) -> Option<DevId>;

    /// What may be removed over many draws, of these devices.
    fn chosen_of(policy: &str, mindevcount: i64, cluster: &str, removable: &[i64]) -> Vec<i64> {
        draw_all(ReplicationPolicy::choose_surplus, policy, mindevcount, cluster, removable)
    }

    fn moved(policy: &str, mindevcount: i64, cluster: &str) -> Vec<i64> {
        draw_all(ReplicationPolicy::choose_move, policy, mindevcount, cluster, &(1..10).collect::<Vec<_>>())
    }

    fn draw_all(choose: Choice, policy: &str, mindevcount: i64, cluster: &str, removable: &[i64]) -> Vec<i64> {
        let world = Fixture::parse(cluster);
        let question =
            Question { told: &world.told, world: &world.snapshot, failed: &[], mindevcount, min_free_space_mb: 100 };
        let removable: Vec<_> = removable.iter().copied().map(DevId).collect();
        let policy = parse(policy).expect("a policy");
        let draw = |seed| choose(&policy, &question, &removable, &mut chance_from_seed(seed));
        let mut chosen: Vec<_> = (0..40).filter_map(draw).map(|devid| devid.0).collect();
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }

    fn chosen(policy: &str, mindevcount: i64, cluster: &str) -> Vec<i64> {
        chosen_of(policy, mindevcount, cluster, &(1..10).collect::<Vec<_>>())
    }

    /// W28.
    #[test]
    fn the_only_copy_on_a_second_host_stays() {
        assert_eq!(chosen("MultipleHosts()", 2, "h1[d1=X d2=X] h2[d3=X]"), [1, 2]);
        assert_eq!(chosen_of("MultipleHosts()", 2, "h1[d1=X d2=X] h2[d3=X]", &[3]), [0; 0]);
        assert_eq!(chosen("MultipleHosts()", 2, "h1[d1=X d2=X d3=X] h2[d4=_]"), [0; 0], "on one host, two are wanted");
        assert_eq!(chosen("MultipleHosts()", 2, "h1[d1=X] h2[d2=X] h3[d3=_]"), [0; 0], "no surplus");
    }

    #[test]
    fn what_is_worth_least_goes_first() {
        assert_eq!(chosen("MultipleHosts()", 2, "h1[d1=X,drain] h2[d2=X,used:800] h3[d3=X d4=X]"), [1], "drained");
        assert_eq!(chosen("MultipleHosts()", 2, "h1=readonly[d1=X] h2[d2=X,used:800] h3[d3=X d4=X]"), [1]);
        assert_eq!(chosen("MultipleHosts()", 2, "h1[d1=X] h2[d2=X,used:800] h3[d3=X,used:300 d4=X]"), [3], "doubled");
        assert_eq!(chosen("MultipleHosts()", 2, "h1[d1=X] h2[d2=X,used:800] h3[d3=X]"), [2], "the fullest");
        assert_eq!(chosen("MultipleHosts()", 2, "h1[d1=X] h2[d2=X] h3[d3=X]"), [1, 2, 3], "any of equals");
        assert_eq!(chosen("NotOnHosts(h9)", 2, "h9[d9=X] h1[d1=X,drain] h2[d2=X,used:800]"), [9], "unwanted there");
        assert_eq!(chosen("MultipleDevices()", 2, "h1[d1=X d2=X,drain] h2[d3=X]"), [2]);
    }

    /// The policy counts copies that cannot be read now; they may never be read again.
    #[test]
    fn copies_that_cannot_be_read_replace_none_that_can() {
        assert_eq!(chosen("MultipleHosts()", 2, "h1[d1=X] h2[d2=X] h3[d3=X,down]"), [3]);
        assert_eq!(chosen_of("MultipleHosts()", 2, "h1[d1=X] h2[d2=X] h3[d3=X,down]", &[1, 2]), [0; 0]);
        assert_eq!(chosen("MultipleHosts()", 1, "h1[d1=X] h2!unreachable[d2=X]"), [2]);
        assert_eq!(chosen("MultipleHosts()", 1, "h1[d1=X,down] h2[d2=X,down]"), [0; 0]);
    }

    #[test]
    fn where_none_can_be_spared_one_of_a_host_with_several_moves() {
        let two_by_two = "h1[d1=X d2=X] h2[d3=X,used:800 d4=X] h3[d5=_]";
        assert_eq!(chosen("MultipleHosts()", 3, two_by_two), [0; 0]);
        assert_eq!(moved("MultipleHosts()", 3, two_by_two), [3]);
        assert_eq!(moved("MultipleHosts()", 3, "h1[d1=X d2=X] h2[d3=X] h3[d5=_]"), [0; 0], "no surplus");
        assert_eq!(
            moved("MultipleHosts()", 3, "h1[d1=X d2=X] h2[d3=X d4=X] h3[d5=_,used:1000]"),
            [0; 0],
            "nowhere to go"
        );
    }
}
