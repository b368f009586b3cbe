//! Usage files: how full each device is, for trackers to read (storage-node.md 7).
//!
//! Written beside and renamed, so that nobody ever sees half a file. A device that hangs delays only itself.

use super::NodeShared;
use super::blocking::blocking;
use super::devices::{self, DeviceDirectory, Scan};
use super::mount_guard::{self, Mark};
use super::mounts::{self, Mount};
use super::temp_file::TempFile;
use slog::{info, warn};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// How long the start of the node waits for the first usage files; a device that hangs must not keep the others away.
const FIRST_ROUND_LIMIT: Duration = Duration::from_secs(5);

/// Sizes of a file system in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Space {
    used: u64,
    available: u64,
}

impl Space {
    /// From counts of blocks. Blocks reserved for the superuser count neither as used nor as available. `used` is at
    /// least 1: trackers take no notice of a device with 0.
    fn from_blocks(block_bytes: u64, blocks: u64, free: u64, available: u64) -> Self {
        let kib = |blocks: u64| u128::from(blocks) * u128::from(block_bytes) / 1024;
        let narrow = |kib: u128| u64::try_from(kib).unwrap_or(u64::MAX / 2);
        Self { used: narrow(kib(blocks.saturating_sub(free))).max(1), available: narrow(kib(available)) }
    }

    fn total(self) -> u64 {
        self.used + self.available
    }

    /// Rounded up, as df does.
    fn used_percent(self) -> u128 {
        (u128::from(self.used) * 100).div_ceil(u128::from(self.total()))
    }
}

/// The text of a usage file: seven keys, sorted, and the mark of the disk, which trackers of 2.73 do not read.
fn usage_text(space: Space, device: &Path, disk: &Path, unix_secs: u64, mark: Option<&str>) -> String {
    let Space { used, available } = space;
    let uuid = mark.map(|mark| format!("uuid: {mark}\n")).unwrap_or_default();
    format!(
        "available: {available}\ndevice: {}\ndisk: {}\ntime: {unix_secs}\ntotal: {}\nuse: {}%\nused: {used}\n{uuid}",
        one_line(device),
        one_line(disk),
        space.total(),
        space.used_percent(),
    )
}

fn one_line(path: &Path) -> String {
    path.display().to_string().replace(['\n', '\r'], "?")
}

/// Writes the usage file of a device, also of one whose mark is lost or cannot be read: it shows none then. That of a
/// read-only device is kept in memory and served from there: what is on its disk gets ever older. May block.
fn write_usage(shared: &NodeShared, device: &Path, mounts: &[Mount]) -> io::Result<()> {
    let docroot = device.parent().unwrap_or(device);
    let real = device.canonicalize()?;
    let mount = mounts::of(mounts, &real);
    let source = mount.map_or(real.as_path(), |mount| &mount.source);
    let disk = mount.map(|mount| mount.mount_point.as_path()).filter(|point| *point == real).unwrap_or(device);
    let status = rustix::fs::statvfs(device)?;
    let space = Space::from_blocks(status.f_frsize, status.f_blocks, status.f_bfree, status.f_bavail);
    let unix_secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let mark = mount_guard::look(docroot, device, &real, mounts);
    let shown = mark.as_ref().ok().and_then(Mark::shown);
    let target = device.join("usage");
    let text = usage_text(space, source, disk, unix_secs, shown);
    let written = write_beside(&target, &text);
    let is_read_only = written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem);
    shared.read_only_usage.set(&target, is_read_only.then(|| format!("{text}readonly: yes\n")));
    written?;
    match mark {
        Ok(Mark::Present(_)) => Ok(()),
        Ok(Mark::Lost) => Err(io::Error::other(
            "the device has lost its mark, and nothing is mounted for it: is its disk mounted? (mount guard)",
        )),
        Err(error) => Err(io::Error::new(error.kind(), format!("the mark of the device (mount guard): {error}"))),
    }
}

fn write_beside(target: &Path, text: &str) -> io::Result<()> {
    let mut temp = TempFile::beside(target)?;
    temp.write_all(text.as_bytes())?;
    temp.place(target, false).map(|_| ())
}

/// Usage files that cannot be written, because their device is read-only: what they would say.
#[derive(Default)]
pub(crate) struct ReadOnlyUsage(Mutex<BTreeMap<PathBuf, String>>);

impl ReadOnlyUsage {
    /// What the usage file at this path would say; `None` if it stands there.
    pub fn of(&self, path: &Path) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    fn set(&self, path: &Path, text: Option<String>) {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match text {
            Some(text) => _ = texts.insert(path.to_owned(), text),
            None => _ = texts.remove(path),
        }
    }
}

/// Writes all usage files, again and again.
pub(crate) struct UsageRounds {
    shared: Arc<NodeShared>,
    /// What is being written, by device directory.
    writing: BTreeMap<PathBuf, JoinHandle<io::Result<()>>>,
    /// Devices whose last writing failed; told once, not in every round.
    failing: BTreeMap<PathBuf, String>,
}

impl UsageRounds {
    pub fn new(shared: Arc<NodeShared>) -> Self {
        Self { shared, writing: BTreeMap::new(), failing: BTreeMap::new() }
    }

    /// Writes the first usage files; waits for them, but not for ever.
    pub async fn first_round(&mut self) {
        let round = async {
            self.begin_round().await;
            for (device, writing) in std::mem::take(&mut self.writing) {
                let result = writing.await.unwrap_or_else(|ended| Err(io::Error::other(ended)));
                self.note(device, result);
            }
        };
        if tokio::time::timeout(FIRST_ROUND_LIMIT, round).await.is_err() {
            warn!(self.shared.log, "devices are slow, their usage files will come later");
        }
    }

    /// Writes them each interval, for ever.
    pub async fn run(mut self, interval: Duration) {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.collect().await;
            self.begin_round().await;
        }
    }

    async fn begin_round(&mut self) {
        let shared = Arc::clone(&self.shared);
        let look = move || Ok((devices::scan(&shared.docroots, &shared.devices.load()), mounts::current()));
        // It fails only if the look panics: the next round looks again.
        let Ok((found, mounts)) = blocking(look).await else { return };
        self.note_scan(&found);
        let mounts = Arc::new(mounts);
        for DeviceDirectory { path, .. } in &found.devices {
            let (shared, device, mounts) = (Arc::clone(&self.shared), path.clone(), Arc::clone(&mounts));
            self.writing
                .entry(path.clone())
                .or_insert_with(|| tokio::task::spawn_blocking(move || write_usage(&shared, &device, &mounts)));
        }
        self.shared.devices.store(found.devices);
    }

    fn note_scan(&mut self, found: &Scan) {
        for docroot in self.shared.docroots.clone() {
            let failure = found.failures.iter().find(|(failed, _)| *failed == docroot);
            self.note(docroot, failure.map_or(Ok(()), |(_, error)| Err(io::Error::other(error.to_string()))));
        }
        for (in_service, ignored) in &found.duplicates {
            let text = format!("its number is in service at {}: it is left alone", in_service.display());
            self.note(ignored.clone(), Err(io::Error::other(text)));
        }
    }

    /// Takes note of what has been written since; what still hangs stays, and gets no second writer.
    async fn collect(&mut self) {
        for (device, writing) in std::mem::take(&mut self.writing) {
            if writing.is_finished() {
                let result = writing.await.unwrap_or_else(|ended| Err(io::Error::other(ended)));
                self.note(device, result);
            } else {
                self.note(device.clone(), Err(io::ErrorKind::TimedOut.into()));
                self.writing.insert(device, writing);
            }
        }
    }

    /// Logs a failure when it is new, and its end.
    fn note(&mut self, path: PathBuf, result: io::Result<()>) {
        let log = &self.shared.log;
        match result {
            Ok(()) => {
                if self.failing.remove(&path).is_some() {
                    info!(log, "usage is in order again"; "path" => %path.display());
                }
            }
            Err(error) => {
                let text = error.to_string();
                if self.failing.get(&path) != Some(&text) {
                    warn!(log, "the usage of a device is not in order"; "path" => %path.display(), "error" => &text);
                    self.failing.insert(path, text);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_blocks_count_nowhere() {
        let space = Space::from_blocks(4096, 1000, 300, 250);
        assert_eq!(space, Space { used: 2800, available: 1000 });
        assert_eq!(space.total(), 3800);
        assert_eq!(space.used_percent(), 74);
    }

    #[test]
    fn an_empty_file_system_uses_at_least_one_kib() {
        let space = Space::from_blocks(512, 1000, 1000, 1000);
        assert_eq!((space.used, space.available), (1, 500));
    }

    /// S16.
    #[test]
    fn seven_sorted_keys() {
        let text =
            |mark| usage_text(Space { used: 1, available: 3 }, Path::new("/dev/sda"), Path::new("/m/dev\n1"), 9, mark);
        let expected = "available: 3\ndevice: /dev/sda\ndisk: /m/dev?1\ntime: 9\ntotal: 4\nuse: 25%\nused: 1\n";
        assert_eq!(text(None), expected);
        assert_eq!(text(Some("a-b")), format!("{expected}uuid: a-b\n"));
    }
}
