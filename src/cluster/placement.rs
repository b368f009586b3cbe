//! Choosing devices: weighted random order, devices for new files, the order in which copies are read.
//! Source: jobs.md 5.1–5.3, protocol.md 8.5. Pure: chance is passed in.

use super::ClusterSnapshot;
use super::device::DeviceView;
use super::device_state::DeviceStatus;
use crate::clock::Chance;
use crate::ids::{DevId, HostId};
use rand::RngExt;
use rand::seq::SliceRandom;

/// Devices that are weighed, of those with the largest free share (J40).
pub const TOP_DEVICES: usize = 20;
/// Weight of a device that has none, or 0, when copies are read.
const READ_WEIGHT_DEFAULT: f64 = 100.0;
/// A device of this utilization (percent) would have weight 0; so fully busy ones keep a little.
const UTILIZATION_CEILING: f64 = 102.0;
const BYTES_PER_MIB: i64 = 1 << 20;

/// Draws one item after the other, each with a probability of its share of the remaining weight. Items with a weight
/// of 0 or less are dropped.
pub fn weighted_random_order<T>(items: impl IntoIterator<Item = (T, f64)>, chance: &mut Chance) -> Vec<T> {
    let mut rest: Vec<(T, f64)> = items.into_iter().filter(|(_, weight)| *weight > 0.0).collect();
    let mut ordered = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let total: f64 = rest.iter().map(|(_, weight)| weight).sum();
        let drawn = chance.random_range(0.0..=total);
        let place = first_reaching(&rest, drawn);
        ordered.push(rest.remove(place).0);
    }
    ordered
}

/// The first place whose running sum reaches the drawn value; the last one if rounding keeps the sum below it.
fn first_reaching<T>(items: &[(T, f64)], drawn: f64) -> usize {
    let mut sum = 0.0;
    for (place, (_, weight)) in items.iter().enumerate() {
        sum += weight;
        if sum >= drawn {
            return place;
        }
    }
    items.len() - 1
}

/// The candidates with the largest free share, in weighted random order. Devices without usage figures drop out.
pub fn order_by_free_space(mut candidates: Vec<DeviceView<'_>>, chance: &mut Chance) -> Vec<DevId> {
    // Equals are cut by lot: by id, a cluster of many equally empty devices would fill only its first ones.
    candidates.shuffle(chance);
    candidates.sort_by(|a, b| b.device.free_fraction().total_cmp(&a.device.free_fraction()));
    candidates.truncate(TOP_DEVICES);
    order_all_by_free_space(candidates, chance)
}

/// All candidates in weighted random order by their free share. Devices without usage figures drop out.
pub fn order_all_by_free_space(candidates: Vec<DeviceView<'_>>, chance: &mut Chance) -> Vec<DevId> {
    let weighted = candidates.iter().map(|view| (view.device.devid, 100.0 * view.device.free_fraction()));
    weighted_random_order(weighted, chance)
}

/// All candidates in random order, all alike. Devices whose free space is unknown drop out.
pub fn order_at_random(candidates: Vec<DeviceView<'_>>, chance: &mut Chance) -> Vec<DevId> {
    let known = candidates.iter().filter(|view| view.device.mb_free().is_some());
    let mut ordered: Vec<_> = known.map(|view| view.device.devid).collect();
    ordered.shuffle(chance);
    ordered
}

/// The devices that can take a new file, in no order. `size_bytes` keeps out those without room for it.
pub fn eligible_for_new_file(
    snapshot: &ClusterSnapshot,
    size_bytes: Option<i64>,
    min_free_space_mb: i64,
) -> Vec<DeviceView<'_>> {
    let has_room = |view: &DeviceView<'_>| match (size_bytes, view.device.mb_free()) {
        (None, _) => true,
        (Some(size), Some(free_mb)) => free_mb.saturating_mul(BYTES_PER_MIB) > size,
        // Weight 0 would drop it anyway.
        (Some(_), None) => false,
    };
    snapshot.devices().filter(|view| view.may_get_files(min_free_space_mb) && has_room(view)).collect()
}

/// The devices to offer for a new file, best first.
pub fn devices_for_new_file(
    snapshot: &ClusterSnapshot,
    size_bytes: Option<i64>,
    min_free_space_mb: i64,
    chance: &mut Chance,
) -> Vec<DevId> {
    order_by_free_space(eligible_for_new_file(snapshot, size_bytes, min_free_space_mb), chance)
}

/// The first devices of the order that are on different hosts (defect 6: host ids are compared with host ids).
pub fn spread_over_hosts(snapshot: &ClusterSnapshot, ordered: &[DevId], count_max: usize) -> Vec<DevId> {
    let mut used: Vec<HostId> = Vec::with_capacity(count_max);
    let mut chosen = Vec::with_capacity(count_max);
    for &devid in ordered {
        if chosen.len() == count_max {
            break;
        }
        let Some(view) = snapshot.device(devid) else { continue };
        if !used.contains(&view.host.hostid) {
            used.push(view.host.hostid);
            chosen.push(devid);
        }
    }
    chosen
}

/// The devices to offer for one new file: the first of the order, on different hosts each. Where those that are ordered
/// are on fewer hosts (they are the freest only), other hosts' freest devices follow (J42).
pub fn destinations(
    snapshot: &ClusterSnapshot,
    ordered: &[DevId],
    eligible: &[DeviceView<'_>],
    count_max: usize,
    chance: &mut Chance,
) -> Vec<DevId> {
    let mut chosen = spread_over_hosts(snapshot, ordered, count_max);
    while !chosen.is_empty() && chosen.len() < count_max {
        let is_used = |host: &HostId| {
            chosen.iter().filter_map(|&devid| snapshot.device(devid)).any(|view| view.host.hostid == *host)
        };
        let elsewhere = eligible.iter().filter(|view| !is_used(&view.host.hostid)).copied().collect();
        let Some(&next) = order_by_free_space(elsewhere, chance).first() else { break };
        chosen.push(next);
    }
    chosen
}

/// The known devices of a file in the order in which they should be read: idle ones first, by chance.
pub fn order_for_reading(snapshot: &ClusterSnapshot, devids: &[DevId], chance: &mut Chance) -> Vec<DevId> {
    let weighted =
        devids.iter().filter_map(|&devid| snapshot.device(devid)).map(|view| (view.device.devid, read_weight(&view)));
    weighted_random_order(weighted, chance)
}

/// When a copy is offered to readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadTurn {
    /// In the order of [`order_for_reading`].
    Normal,
    /// After all that have a normal turn: the device is drained.
    Last,
    /// Cannot be read as far as is known: offered only if there is nothing else.
    IfNoOther,
}

/// The turn of a copy on this device.
pub fn read_turn(view: &DeviceView<'_>) -> ReadTurn {
    if !view.may_be_read() {
        ReadTurn::IfNoOther
    } else if view.device.status == DeviceStatus::Drain {
        ReadTurn::Last
    } else {
        ReadTurn::Normal
    }
}

fn read_weight(view: &DeviceView<'_>) -> f64 {
    let utilization = view.device.utilization.as_deref().and_then(|text| text.parse::<f64>().ok());
    match utilization.filter(|percent| percent.is_finite() && *percent >= 0.0) {
        // iostat prints a little more than 100 for a saturated disk.
        Some(percent) => UTILIZATION_CEILING - percent.min(100.0),
        None => match view.device.weight {
            Some(weight) if weight > 0 => weight as f64,
            _ => READ_WEIGHT_DEFAULT,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::chance_from_seed;
    use crate::cluster::fixture::{self, device_mut};
    use std::sync::Arc;

    /// Hosts with their devices' used MiB of 1000.
    fn snapshot(hosts: &[&[i64]]) -> ClusterSnapshot {
        let mut snapshot = ClusterSnapshot::default();
        let mut devid = 0;
        for (hostid, devices) in (1..).zip(hosts) {
            snapshot.hosts.insert(HostId(hostid), Arc::new(fixture::host(hostid)));
            for &used in *devices {
                devid += 1;
                let mut device = fixture::device(devid, hostid);
                device.mb_used = Some(used);
                snapshot.devices.insert(DevId(devid), Arc::new(device));
            }
        }
        snapshot
    }

    fn first_share(draws: usize, wanted: DevId, mut draw: impl FnMut() -> Vec<DevId>) -> f64 {
        let firsts = (0..draws).filter(|_| draw().first() == Some(&wanted)).count();
        firsts as f64 / draws as f64
    }

    /// J39.
    #[test]
    fn new_files_follow_the_free_space() {
        let (snapshot, mut chance) = (snapshot(&[&[100], &[900]]), chance_from_seed(1));
        let share = first_share(5000, DevId(1), || devices_for_new_file(&snapshot, None, 0, &mut chance));
        assert!((0.87..0.93).contains(&share), "{share}");
    }

    /// J40.
    #[test]
    fn only_the_freest_devices_are_offered() {
        let used: Vec<i64> = (0..40).map(|n| n * 10).collect();
        let snapshot = snapshot(&[&used]);
        let mut offered = devices_for_new_file(&snapshot, None, 0, &mut chance_from_seed(2));
        offered.sort();
        assert_eq!(offered, (1..=20).map(DevId).collect::<Vec<_>>());
    }

    /// J8, J41; conformance 133.
    #[test]
    fn devices_without_room_or_figures_are_left_out() {
        let mut snapshot = snapshot(&[&[100], &[100]]);
        let mut chance = chance_from_seed(3);
        assert_eq!(devices_for_new_file(&snapshot, Some(900 * BYTES_PER_MIB), 0, &mut chance), []);
        assert_eq!(devices_for_new_file(&snapshot, Some(900 * BYTES_PER_MIB - 1), 0, &mut chance).len(), 2);
        device_mut(&mut snapshot, 1).mb_used = None;
        assert_eq!(devices_for_new_file(&snapshot, None, 0, &mut chance), [DevId(2)]);
    }

    /// J7: exactly the minimum passes.
    #[test]
    fn the_minimum_free_space_is_kept() {
        let snapshot = snapshot(&[&[900], &[901]]);
        assert_eq!(devices_for_new_file(&snapshot, None, 100, &mut chance_from_seed(4)), [DevId(1)]);
    }

    /// J42, defect 6.
    #[test]
    fn destinations_are_on_different_hosts() {
        let snapshot = snapshot(&[&[0, 0, 0], &[0]]);
        let ordered: Vec<_> = (1..=4).map(DevId).collect();
        assert_eq!(spread_over_hosts(&snapshot, &ordered, 3), [DevId(1), DevId(4)]);
        assert_eq!(spread_over_hosts(&snapshot, &ordered, 1), [DevId(1)]);
    }

    /// J42: the twenty freest devices are all on one host, and yet there are three hosts.
    #[test]
    fn destinations_are_on_as_many_hosts_as_there_are() {
        let (snapshot, mut chance) = (snapshot(&[&[0; 30], &[500; 30], &[800], &[950]]), chance_from_seed(6));
        let eligible = eligible_for_new_file(&snapshot, None, 100);
        let ordered = order_by_free_space(eligible.clone(), &mut chance);
        let hosts = |count_max, chance: &mut Chance| -> Vec<i64> {
            let chosen = destinations(&snapshot, &ordered, &eligible, count_max, chance);
            chosen.iter().map(|&devid| snapshot.device(devid).expect("known").host.hostid.0).collect()
        };
        assert_eq!(hosts(1, &mut chance), [1]);
        let mut three = hosts(3, &mut chance);
        three.sort_unstable();
        assert_eq!(three, [1, 2, 3]);
        assert_eq!(hosts(9, &mut chance).len(), 3, "host 4 has not enough room");
        assert_eq!(destinations(&snapshot, &[], &eligible, 3, &mut chance), [], "an extension left all out");
    }

    /// J43, J44, J46.
    #[test]
    fn busy_devices_are_read_last() {
        let mut snapshot = snapshot(&[&[0], &[0]]);
        let devids = [DevId(1), DevId(2), DevId(9)];
        let mut chance = chance_from_seed(5);
        device_mut(&mut snapshot, 1).utilization = Some("95".to_owned());
        device_mut(&mut snapshot, 2).utilization = Some("5.00".to_owned());
        let share = first_share(5000, DevId(2), || order_for_reading(&snapshot, &devids, &mut chance));
        assert!((0.90..0.96).contains(&share), "{share}");
        let device = device_mut(&mut snapshot, 1);
        (device.utilization, device.weight) = (None, Some(0));
        let device = device_mut(&mut snapshot, 2);
        (device.utilization, device.weight) = (Some("-".to_owned()), None);
        let share = first_share(5000, DevId(2), || order_for_reading(&snapshot, &devids, &mut chance));
        assert!((0.47..0.53).contains(&share), "{share}");
    }
}
