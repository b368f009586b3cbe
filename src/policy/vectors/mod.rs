//! The test vectors of replication-policies.md 12, and the laws that hold for every policy.

mod laws;
mod tables;

use super::{Question, Verdict, parse, parse_stored};
use crate::clock::{Chance, chance_from_seed};
use crate::cluster::fixture::Fixture;
use crate::ids::DevId;
use std::collections::BTreeMap;

const MIN_FREE_SPACE_MB: i64 = 100;

fn devids(text: &str) -> Vec<DevId> {
    text.split(',').filter(|id| !id.is_empty() && *id != "-").map(|id| DevId(id.parse().expect("a number"))).collect()
}

/// The lists of a verdict in ascending order.
fn in_order(verdict: &Verdict) -> Verdict {
    let sorted = |devids: &[DevId]| {
        let mut devids = devids.to_vec();
        devids.sort();
        devids
    };
    match verdict {
        Verdict::CopyTo { ideal, desperate } => Verdict::CopyTo { ideal: sorted(ideal), desperate: sorted(desperate) },
        verdict => verdict.clone(),
    }
}

/// The verdict as the tables write it.
fn shown(verdict: &Verdict) -> String {
    let list = |devids: &[DevId]| match devids {
        [] => "-".to_owned(),
        devids => devids.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    };
    match in_order(verdict) {
        Verdict::AllGood => "all good".to_owned(),
        Verdict::TooGood => "too good".to_owned(),
        Verdict::TemporaryFailure => "temp fail".to_owned(),
        Verdict::CopyTo { ideal, desperate } => format!("ideal {}; desperate {}", list(&ideal), list(&desperate)),
    }
}

/// H1–H56 but H46, D1–D13, T3–T5.
#[test]
fn hosts_and_devices() {
    assert_eq!(check(tables::HOSTS_AND_DEVICES), 71);
}

/// N1–N24 but N22 and N23, Z1–Z20, Q1–Q12.
#[test]
fn networks() {
    assert_eq!(check(tables::NETWORKS), 48);
}

/// O1–O12.
#[test]
fn on_hosts() {
    assert_eq!(check(tables::ON_HOSTS), 12);
    assert_eq!(check(tables::BETTER_THAN_THE_PLUGINS), 12);
}

/// W1, W2: H46, D14, Q14, R1–R8. Q7: R9, R10.
#[test]
fn the_world_is_whole() {
    assert_eq!(check(tables::WHOLE_WORLD), 13);
}

/// N22, N23: Q8.
#[test]
fn copies_are_not_piled_up() {
    assert_eq!(check(tables::NO_PILES), 8);
}

#[test]
fn unions() {
    assert_eq!(check(tables::UNIONS), 9);
}

/// How many vectors the table has.
fn check(table: &str) -> usize {
    let (mut count, mut settings) = (0, Vec::new());
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(zones) = line.strip_prefix("zones ") {
            settings = zone_settings(zones);
            continue;
        }
        let fields: Vec<_> = line.split('|').map(str::trim).collect();
        let [id, policy, min, devices, failed, expected] = fields[..] else { panic!("six fields: {line}") };
        let mut world = Fixture::parse(devices);
        world.snapshot.server_settings.extend(settings.iter().cloned());
        let question = Question {
            told: &world.told,
            world: &world.snapshot,
            failed: &devids(failed),
            mindevcount: min.parse().expect("a number"),
            min_free_space_mb: MIN_FREE_SPACE_MB,
        };
        let verdict = parse_stored(policy).expect("a policy").ask(&question, &mut chance_from_seed(7));
        assert_eq!(shown(&verdict), expected, "{id}: {policy} {devices}");
        count += 1;
    }
    count
}

/// The settings of `near=10.5.0.0/16; far=10.6.0.0/16, 10.7.0.0/16`.
fn zone_settings(text: &str) -> Vec<(String, String)> {
    let zones: Vec<_> = text.split("; ").map(|zone| zone.split_once('=').expect("a zone")).collect();
    let names: Vec<_> = zones.iter().map(|(name, _)| *name).collect();
    let masks = zones.iter().map(|(name, masks)| (format!("zone_{name}"), (*masks).to_owned()));
    [("network_zones".to_owned(), names.join(","))].into_iter().chain(masks).collect()
}

/// What a policy wants of a file that is nowhere, or on the devices marked X.
fn wish(policy: &str, mindevcount: i64, world: &Fixture, chance: &mut Chance) -> (Vec<DevId>, Vec<DevId>) {
    let question = Question {
        told: &world.told,
        world: &world.snapshot,
        failed: &[],
        mindevcount,
        min_free_space_mb: MIN_FREE_SPACE_MB,
    };
    match parse(policy).expect("a policy").ask(&question, chance) {
        Verdict::CopyTo { ideal, desperate } => (ideal, desperate),
        verdict => panic!("a copy is wanted: {verdict:?}"),
    }
}

/// T1, T2.
#[test]
fn the_twenty_emptiest_are_named() {
    let hosts: Vec<_> = (1..=25).map(|n| format!("h{n}[d{n}=_,used:{}]", 100 + 10 * n)).collect();
    let devices: Vec<_> = (1..=25).map(|n| format!("d{n}=_,used:{}", 100 + 10 * n)).collect();
    for (policy, text) in [
        ("MultipleHosts()", format!("h99[d99=X] {}", hosts.join(" "))),
        ("MultipleDevices()", format!("h99[d99=X] h1[{}]", devices.join(" "))),
    ] {
        let (mut ideal, desperate) = wish(policy, 2, &Fixture::parse(&text), &mut chance_from_seed(5));
        ideal.sort();
        assert_eq!((ideal, desperate), ((1..=20).map(DevId).collect(), Vec::new()), "{policy}");
    }
}

/// N2, N4: other hosts of a network that has a copy come before the host that has it.
#[test]
fn multiple_networks_prefers_other_hosts_to_the_same() {
    let world = Fixture::parse("h1@192.168.0.2[d1=X d2=_,used:0] h2@192.168.0.3[d3=_,used:800 d4=_,used:800]");
    for seed in 0..20 {
        let (_, desperate) = wish("MultipleNetworks()", 2, &world, &mut chance_from_seed(seed));
        assert_eq!((desperate.len(), desperate[2]), (3, DevId(2)));
    }
}

/// What serves all parts that want a copy is tried first.
#[test]
fn union_prefers_what_serves_several_parts() {
    let world = Fixture::parse("h1[d1=X] h2[d2=_,used:0] h3[d3=_,used:800] h4[d4=_,used:0]");
    for seed in 0..20 {
        let policy = "Union(MultipleHosts(2), OnHosts(h3), NotOnHosts(h2,h4,h1))";
        let (ideal, _) = wish(policy, 1, &world, &mut chance_from_seed(seed));
        assert_eq!((ideal.len(), ideal[0]), (3, DevId(3)));
    }
}

/// Named hosts come first although others are emptier.
#[test]
fn on_hosts_serves_named_hosts_first() {
    let world = Fixture::parse("h1[d1=_,used:0] h2[d2=_,used:0] h9[d9=_,used:800]");
    for seed in 0..20 {
        let (ideal, _) = wish("OnHosts(h9)", 1, &world, &mut chance_from_seed(seed));
        assert_eq!((ideal[0], ideal.len()), (DevId(9), 3));
    }
}

/// Not cut to the 20 emptiest, and the fullest is as often first as the emptiest.
#[test]
fn multiple_hosts_random_prefers_nobody() {
    let hosts: Vec<_> = (1..=25).map(|n| format!("h{n}[d{n}=_,used:{}]", 30 * n)).collect();
    let world = Fixture::parse(&hosts.join(" "));
    let (mut chance, mut first) = (chance_from_seed(3), BTreeMap::new());
    for _ in 0..5000 {
        let (ideal, _) = wish("MultipleHostsRandom()", 2, &world, &mut chance);
        assert_eq!(ideal.len(), 25);
        *first.entry(ideal[0]).or_insert(0) += 1;
    }
    // 200 expected for each; 5 standard deviations are 70.
    assert!(first.len() == 25 && first.values().all(|times| (130..270).contains(times)), "{first:?}");
}
