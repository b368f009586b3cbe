//! How busy the disks are, each second, from `/proc/diskstats` (storage-node.md 6.1).
//!
//! Values are whole percents, which all trackers understand; `-` where the kernel does not count.

use super::NodeShared;
use super::blocking::blocking;
use super::devices::DeviceDirectory;
use super::mounts;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

const INTERVAL: Duration = Duration::from_secs(1);

/// After so many samples the disks behind the directories are looked up anew, as something may have been mounted.
const SAMPLES_PER_MAP: u32 = 30;

/// Major and minor number of a block device.
type BlockDevice = (u32, u32);

/// Milliseconds during which each block device was busy since boot.
type BusyMs = HashMap<BlockDevice, u64>;

struct Sample {
    taken: Instant,
    busy_ms: BusyMs,
}

/// Publishes a group each second while somebody watches.
pub(crate) async fn run(shared: Arc<NodeShared>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<Sample> = None;
    let mut disks = Disks::default();
    loop {
        ticks.tick().await;
        // Also while nobody watches, so that the first group has values.
        let sample = Sample { taken: Instant::now(), busy_ms: read_busy_ms() };
        if shared.utilisation.receiver_count() > 0 {
            disks.refresh(&shared).await;
            let group = group(&disks.devices, |device| {
                utilisation_percent(before.as_ref()?, &sample, *disks.of.get(&device.number)?)
            });
            shared.utilisation.send_replace(Arc::from(group));
        }
        before = Some(sample);
    }
}

/// Which disk each device directory lies on.
#[derive(Default)]
struct Disks {
    devices: Arc<Vec<DeviceDirectory>>,
    of: BTreeMap<u64, BlockDevice>,
    samples: u32,
}

impl Disks {
    async fn refresh(&mut self, shared: &NodeShared) {
        let devices = shared.devices.load();
        let is_due = self.samples.is_multiple_of(SAMPLES_PER_MAP) || !Arc::ptr_eq(&devices, &self.devices);
        self.samples = self.samples.wrapping_add(1);
        if !is_due {
            return;
        }
        self.devices = Arc::clone(&devices);
        self.of = blocking(move || Ok(find_disks(&devices))).await.unwrap_or_default();
    }
}

fn find_disks(devices: &[DeviceDirectory]) -> BTreeMap<u64, BlockDevice> {
    let mounts = mounts::current();
    devices.iter().filter_map(|device| Some((device.number, find_disk(&device.path, &mounts)?))).collect()
}

/// Some file systems have numbers of their own, which are no disk's (major 0); for them what is mounted counts.
fn find_disk(directory: &Path, mounts: &[mounts::Mount]) -> Option<BlockDevice> {
    let number = directory.metadata().ok()?.dev();
    let device = match (rustix::fs::major(number), rustix::fs::minor(number)) {
        (0, _) => {
            let source = &mounts::of(mounts, &directory.canonicalize().ok()?)?.source;
            let number = source.starts_with("/dev").then(|| source.metadata().ok()).flatten()?.rdev();
            (rustix::fs::major(number), rustix::fs::minor(number))
        }
        device => device,
    };
    Some(whole_disk(device).unwrap_or(device))
}

/// The disk that this is a partition of; `None` if it is none.
fn whole_disk((major, minor): BlockDevice) -> Option<BlockDevice> {
    let device = Path::new("/sys/dev/block").join(format!("{major}:{minor}")).canonicalize().ok()?;
    device.join("partition").exists().then_some(())?;
    let number = std::fs::read_to_string(device.parent()?.join("dev")).ok()?;
    let (major, minor) = number.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `/proc` never waits for a disk. Without it nothing is known.
fn read_busy_ms() -> BusyMs {
    std::fs::read_to_string("/proc/diskstats").map(|table| parse_diskstats(&table)).unwrap_or_default()
}

fn parse_diskstats(table: &str) -> BusyMs {
    table.lines().filter_map(parse_diskstats_line).collect()
}

/// `major minor name` and counters, the tenth of which is the time with requests in flight.
fn parse_diskstats_line(line: &str) -> Option<(BlockDevice, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let device = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((device, fields.nth(10)?.parse().ok()?))
}

fn utilisation_percent(before: &Sample, now: &Sample, disk: BlockDevice) -> Option<u128> {
    let busy_ms = now.busy_ms.get(&disk)?.checked_sub(*before.busy_ms.get(&disk)?)?;
    let elapsed_ms = now.taken.duration_since(before.taken).as_millis();
    (u128::from(busy_ms) * 100).checked_div(elapsed_ms).map(|percent| percent.min(100))
}

/// `<number> TAB <value> LF` for each device, then `. LF`.
fn group(devices: &[DeviceDirectory], percent: impl Fn(&DeviceDirectory) -> Option<u128>) -> String {
    let mut group = String::new();
    for device in devices {
        let value = percent(device).map_or_else(|| "-".to_owned(), |percent| percent.to_string());
        // Writing to a string cannot fail.
        let _ = writeln!(group, "{}\t{value}", device.number);
    }
    group.push_str(".\n");
    group
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const DISKSTATS: &str =
        "   8       0 sda 1 2 3 4 5 6 7 8 0 4321 12 0 0 0 0\n 253 1 dm-1 1 2 3 4 5 6 7 8 9 10 11\nbad\n";

    #[test]
    fn busy_time_is_the_tenth_counter() {
        let busy = parse_diskstats(DISKSTATS);
        assert_eq!(busy.get(&(8, 0)), Some(&4321));
        assert_eq!(busy.get(&(253, 1)), Some(&10));
        assert_eq!(busy.len(), 2);
    }

    /// S22.
    #[test]
    fn groups_have_whole_percents_or_a_dash() {
        let taken = Instant::now();
        let sample = |after_ms, busy_ms| Sample {
            taken: taken + Duration::from_millis(after_ms),
            busy_ms: HashMap::from([((8, 0), busy_ms)]),
        };
        let percent = |busy_ms| utilisation_percent(&sample(0, 1000), &sample(1000, busy_ms), (8, 0));
        assert_eq!(percent(1417), Some(41));
        assert_eq!(percent(3000), Some(100));
        assert_eq!(percent(900), None);
        let device = |number| DeviceDirectory { number, path: PathBuf::new() };
        let group = group(&[device(9), device(11)], |device| (device.number == 9).then_some(41));
        assert_eq!(group, "9\t41\n11\t-\n.\n");
    }
}
