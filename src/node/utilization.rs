//! How busy the disk of each device is, once a second, from `/proc/diskstats` (storage-node.md 6.1, N8).

use super::paths;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const INTERVAL: Duration = Duration::from_secs(1);

/// Milliseconds of I/O of each block device, by major and minor number.
type BusyMs = HashMap<(u32, u32), u64>;

/// Sends groups of `devid TAB percent` lines until the client goes.
pub async fn stream(docroot: &Path, client: &mut TcpStream) -> io::Result<()> {
    let (mut before, mut at) = (read_busy_ms(), Instant::now());
    loop {
        tokio::time::sleep(INTERVAL).await;
        let (now, elapsed) = (read_busy_ms(), at.elapsed());
        at = Instant::now();
        client.write_all(group(docroot, &before, &now, elapsed).as_bytes()).await?;
        before = now;
    }
}

/// One line per device, ascending, then a full stop; lines end in LF.
fn group(docroot: &Path, before: &BusyMs, now: &BusyMs, elapsed: Duration) -> String {
    let mut lines = String::new();
    for (devid, directory) in paths::devices(docroot) {
        let disk = fs::metadata(directory).ok().map(|metadata| disk_number(metadata.dev()));
        let percent = disk.and_then(|disk| percent(*before.get(&disk)?, *now.get(&disk)?, elapsed));
        lines
            .push_str(&format!("{devid}\t{}\n", percent.map_or_else(|| "-".to_owned(), |percent| percent.to_string())));
    }
    lines.push_str(".\n");
    lines
}

fn disk_number(dev: u64) -> (u32, u32) {
    (rustix::fs::major(dev), rustix::fs::minor(dev))
}

/// Whole percent: trackers of the reference understand nothing else.
fn percent(before_ms: u64, now_ms: u64, elapsed: Duration) -> Option<u64> {
    let elapsed_ms = u64::try_from(elapsed.as_millis()).ok().filter(|&elapsed_ms| elapsed_ms > 0)?;
    Some((now_ms.saturating_sub(before_ms) * 100 / elapsed_ms).min(100))
}

fn read_busy_ms() -> BusyMs {
    parse_busy_ms(&fs::read_to_string("/proc/diskstats").unwrap_or_default())
}

/// Fields: major minor name, then eleven counters and more; the tenth counter is the time spent in I/O.
fn parse_busy_ms(text: &str) -> BusyMs {
    text.lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let number = (fields.first()?.parse().ok()?, fields.get(1)?.parse().ok()?);
            Some((number, fields.get(12)?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_time_spent_in_io() {
        let text = " 254       0 vda 1 2 3 4 5 6 7 8 9 1234 11 12 13 14\n   7 0 loop0 0 0 0 0 0 0 0 0 0 0 0\n";
        assert_eq!(parse_busy_ms(text), HashMap::from([((254, 0), 1234), ((7, 0), 0)]));
        assert_eq!(percent(1000, 1500, Duration::from_secs(1)), Some(50));
        assert_eq!(percent(1000, 9000, Duration::from_secs(1)), Some(100));
    }

    /// S22.
    #[test]
    fn a_group_names_every_device_and_ends_with_a_full_stop() {
        let root = tempfile::tempdir().expect("a directory");
        for device in ["dev10", "dev9", "other"] {
            fs::create_dir(root.path().join(device)).expect("a directory");
        }
        let nothing = BusyMs::new();
        assert_eq!(group(root.path(), &nothing, &nothing, Duration::from_secs(1)), "9\t-\n10\t-\n.\n");
    }
}
