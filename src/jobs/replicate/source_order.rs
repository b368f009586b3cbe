//! Which copy to read: the one that will probably be read soonest.

use crate::clock::Chance;
use crate::cluster::ClusterSnapshot;
use crate::cluster::device::DeviceView;
use crate::ids::DevId;
use crate::jobs::copy_slots::CopySlots;
use rand::seq::SliceRandom;
use std::time::Duration;

/// Differences below it are noise: how busy a device is counts more then.
const WAIT_MIN: Duration = Duration::from_millis(5);

/// Puts those in front that answer quickly and have little to do; among equals chance decides.
pub(super) fn order(cluster: &ClusterSnapshot, slots: &CopySlots, sources: &mut [DevId], chance: &mut Chance) {
    sources.shuffle(chance);
    sources.sort_by_cached_key(|&devid| {
        cluster.device(devid).map_or((u128::MAX, usize::MAX), |view| {
            let (on_device, on_host) = slots.load(&view);
            (expected_wait_us(&view, on_device), on_host)
        })
    });
}

/// The usual wait for an answer, longer by what the disk has to do besides.
fn expected_wait_us(view: &DeviceView<'_>, copies_under_way: usize) -> u128 {
    let wait = view.device.wait.unwrap_or_default().max(WAIT_MIN).as_micros();
    let busy_percent = view.device.utilization.as_deref().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    let busy_percent = busy_percent.clamp(0.0, 100.0) as u128;
    wait * (1 + copies_under_way as u128) * (100 + busy_percent) / 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::chance_from_seed;
    use crate::cluster::fixture::{Fixture, device_mut};

    /// What is asked first over many draws.
    fn first(world: &ClusterSnapshot, slots: &CopySlots) -> Vec<i64> {
        let mut chosen: Vec<i64> = (0..40)
            .map(|seed| {
                let mut sources = [DevId(1), DevId(2), DevId(3)];
                order(world, slots, &mut sources, &mut chance_from_seed(seed));
                sources[0].0
            })
            .collect();
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }

    #[test]
    fn quick_and_idle_devices_are_read_first() {
        let mut world = Fixture::parse("h1[d1=X] h2[d2=X] h3[d3=X]").snapshot;
        let slots = CopySlots::new(8, 8);
        assert_eq!(first(&world, &slots), [1, 2, 3], "any of equals");
        device_mut(&mut world, 1).wait = Some(Duration::from_millis(80));
        device_mut(&mut world, 2).wait = Some(Duration::from_millis(2));
        assert_eq!(first(&world, &slots), [2, 3], "less than 5 ms is noise");
        device_mut(&mut world, 3).utilization = Some("93.5".to_owned());
        assert_eq!(first(&world, &slots), [2]);
        let _copies: Vec<_> =
            (0..3).filter_map(|_| slots.take(&world.device(DevId(2))?, &world.device(DevId(1))?)).collect();
        assert_eq!(first(&world, &slots), [3], "the other one has copies under way");
    }
}
