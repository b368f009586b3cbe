//! What holds for every policy in every cluster.

use super::{MIN_FREE_SPACE_MB, in_order, zone_settings};
use crate::clock::{chance_from_seed, new_chance};
use crate::cluster::ClusterSnapshot;
use crate::cluster::fixture::Fixture;
use crate::ids::DevId;
use crate::policy::{Question, ReplicationPolicy, Verdict, parse};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fmt;

const POLICIES: &[&str] = &[
    "MultipleHosts()",
    "MultipleHosts(3)",
    "MultipleDevices()",
    "MultipleHostsRandom()",
    "OnHosts(h1,h2)",
    "NotOnHosts(h1,h2)",
    "MultipleNetworks()",
    "HostsPerNetwork(near=2,far=1)",
    "HostsPerNetwork(near=1)",
    "Union(MultipleHosts(2), HostsPerNetwork(far=1))",
    "Union(NotOnHosts(h1), MultipleNetworks(), Union(MultipleDevices(3)))",
];

/// A device: does it hold the file, did it fail as a target, and what it is like.
fn devices() -> impl Strategy<Value = (bool, bool, String)> {
    let likeness = prop_oneof![
        4 => Just(String::new()),
        1 => prop::sample::select(vec![",drain", ",readonly", ",down", ",dead", ",readable", ",nousage", ",used:950"])
            .prop_map(str::to_owned),
        1 => (0..900_i64).prop_map(|used| format!(",used:{used}")),
    ];
    (prop::bool::weighted(0.35), prop::bool::weighted(0.1), likeness)
}

/// A cluster of up to five hosts in three networks, two of which are zones.
#[derive(Clone)]
struct World {
    text: String,
    cluster: Fixture,
    failed: Vec<DevId>,
    mindevcount: i64,
    policy: &'static str,
}

fn worlds() -> impl Strategy<Value = World> {
    let status = prop_oneof![6 => Just(""), 1 => prop::sample::select(vec!["=down", "=readonly", "=dead"])];
    let host = (status, 5..8_u8, prop::bool::weighted(0.1), prop::collection::vec(devices(), 1..5));
    let hosts = prop::collection::vec(host, 1..6);
    (hosts, 1..5_i64, prop::sample::select(POLICIES)).prop_map(|(hosts, mindevcount, policy)| {
        let (mut text, mut failed, mut devid) = (String::new(), Vec::new(), 0);
        for (hostid, (status, network, unreachable, devices)) in (1..).zip(hosts) {
            let observed = if unreachable { "!unreachable" } else { "" };
            text += &format!("h{hostid}{status}@10.{network}.0.{hostid}{observed}[");
            for (holds, fails, likeness) in devices {
                devid += 1;
                text += &format!("d{devid}={}{likeness} ", if holds { "X" } else { "_" });
                if fails {
                    failed.push(DevId(devid));
                }
            }
            text += "] ";
        }
        let mut cluster = Fixture::parse(&text);
        cluster.snapshot.server_settings.extend(zone_settings("near=10.5.0.0/16; far=10.6.0.0/16"));
        World { text, cluster, failed, mindevcount, policy }
    })
}

/// As a vector, to be pasted into a table.
impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} | {} | {} | {:?}", self.policy, self.mindevcount, self.text, self.failed)
    }
}

impl World {
    fn policy(&self) -> ReplicationPolicy {
        parse(self.policy).expect("a policy")
    }

    fn snapshot(&self) -> &ClusterSnapshot {
        &self.cluster.snapshot
    }

    fn question<'q>(&'q self, told: &'q [DevId]) -> Question<'q> {
        Question {
            told,
            world: self.snapshot(),
            failed: &self.failed,
            mindevcount: self.mindevcount,
            min_free_space_mb: MIN_FREE_SPACE_MB,
        }
    }

    fn ask(&self, told: &[DevId]) -> Verdict {
        self.policy().ask(&self.question(told), &mut new_chance())
    }

    fn copies_wanted(&self) -> usize {
        usize::try_from(self.policy().copies_wanted(self.mindevcount)).expect("not negative")
    }

    /// Devices that copies can be on at all.
    fn disks(&self) -> usize {
        self.snapshot().devices().filter(|view| !view.device.is_dead()).count()
    }

    /// Copies to the first that is proposed until nothing is, and gives the devices that hold the file then.
    fn replicate(&self, told: &[DevId]) -> Vec<DevId> {
        let mut told = told.to_vec();
        loop {
            let Verdict::CopyTo { ideal, desperate } = self.ask(&told) else { return told };
            let Some(&target) = ideal.iter().chain(&desperate).next() else { return told };
            told.push(target);
            assert!(told.len() <= self.snapshot().devices.len(), "a device is proposed twice");
        }
    }
}

/// More copies than this are never made of a file that has none. Parts of a union may ask for different places.
fn copies_max(policy: &ReplicationPolicy, mindevcount: i64) -> i64 {
    match policy {
        ReplicationPolicy::Union(parts) => parts.iter().map(|part| copies_max(part, mindevcount)).sum(),
        policy => policy.copies_wanted(mindevcount),
    }
}

fn is_content(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::AllGood | Verdict::TooGood)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn only_devices_that_can_take_the_file_are_proposed(world in worlds()) {
        if let Verdict::CopyTo { ideal, desperate } = world.ask(&world.cluster.told) {
            let proposed: Vec<_> = ideal.iter().chain(&desperate).copied().collect();
            for devid in &proposed {
                prop_assert!(!world.cluster.told.contains(devid), "{devid} holds the file");
                prop_assert!(!world.failed.contains(devid), "{devid} failed");
                let view = world.snapshot().device(*devid).expect("known");
                prop_assert!(view.may_get_files(MIN_FREE_SPACE_MB), "{devid} may not get files");
            }
            prop_assert_eq!(proposed.iter().collect::<BTreeSet<_>>().len(), proposed.len(), "one is named twice");
        }
    }

    #[test]
    fn content_only_with_enough_copies(world in worlds()) {
        let (told, wanted) = (&world.cluster.told, world.copies_wanted());
        match world.ask(told) {
            Verdict::AllGood => prop_assert!(told.len() >= wanted.min(world.disks()), "too few"),
            Verdict::TooGood => prop_assert!(told.len() > wanted, "none too many"),
            Verdict::CopyTo { .. } | Verdict::TemporaryFailure => {}
        }
    }

    #[test]
    fn the_order_of_what_is_told_does_not_matter(world in worlds(), seed in any::<u64>()) {
        let mut shuffled = world.clone();
        let mut chance = chance_from_seed(seed);
        rand::seq::SliceRandom::shuffle(&mut *shuffled.cluster.told, &mut chance);
        rand::seq::SliceRandom::shuffle(&mut *shuffled.failed, &mut chance);
        prop_assert_eq!(
            in_order(&shuffled.ask(&shuffled.cluster.told)),
            in_order(&world.ask(&world.cluster.told))
        );
    }

    /// Nobody goes on copying in a cluster that stays as it is, and not beyond what is wanted.
    #[test]
    fn copying_comes_to_an_end(world in worlds()) {
        let told = world.replicate(&world.cluster.told);
        prop_assert!(told.starts_with(&world.cluster.told));
        let placed = world.replicate(&[]);
        let copies_max = copies_max(&world.policy(), world.mindevcount);
        prop_assert!(placed.len() as i64 <= copies_max, "piled up: {placed:?}");
    }

    /// W28: and after as many removals as there can be, the policy is still content.
    #[test]
    fn removing_surplus_never_makes_a_content_policy_discontent(world in worlds(), removable in any::<u64>()) {
        let policy = world.policy();
        let removable: Vec<_> = (1..64).filter(|bit| removable >> bit & 1 == 1).map(DevId).collect();
        let mut told = world.cluster.told.clone();
        let readable = |told: &[DevId]| {
            told.iter().filter(|&&devid| world.snapshot().device(devid).is_some_and(|view| view.may_be_read())).count()
        };
        while let Some(surplus) = policy.choose_surplus(&world.question(&told), &removable, &mut new_chance()) {
            prop_assert_eq!(world.ask(&told), Verdict::TooGood);
            prop_assert!(told.contains(&surplus) && removable.contains(&surplus));
            let readable_before = readable(&told);
            told.retain(|&devid| devid != surplus);
            prop_assert!(is_content(&world.ask(&told)), "{surplus} is missed");
            prop_assert!(readable(&told) >= 1.min(readable_before), "nothing is left to read");
        }
        if world.ask(&world.cluster.told) != Verdict::TooGood {
            prop_assert_eq!(told, world.cluster.told.clone());
        }
    }
}
