//! Removes what nobody needs any more: temporary files that a crash left, and old files of trackers' write tests.
//!
//! Walks slowly through every device in the background. Removes nothing but files with names of our own making that are
//! older than this process, and files in `test-write/` that are older than an hour.

use super::NodeShared;
use super::blocking::blocking;
use super::devices::DeviceDirectory;
use super::temp_file::is_temp_name;
use slog::{info, warn};
use std::fs::DirEntry;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// Between two looks at the write tests.
const TEST_WRITE_INTERVAL: Duration = Duration::from_secs(600);

/// What a write test left is kept so long.
const TEST_WRITE_AGE: Duration = Duration::from_secs(3600);

/// Times of files may lie behind the clock by a tick of the kernel.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// Walks all devices once for temporary files, and again and again for write tests.
pub(crate) async fn run(shared: Arc<NodeShared>) {
    let cancelled = CancelOnDrop::default();
    let flag = Arc::clone(&cancelled.0);
    let (devices, before) = (shared.devices.load(), shared.started - CLOCK_TICK);
    report(&shared, "temporary files", blocking(move || Ok(sweep_temp_files(&devices, before, &flag))).await);
    loop {
        let devices = shared.devices.load();
        report(&shared, "write tests", blocking(move || Ok(expire_write_tests(&devices, SystemTime::now()))).await);
        tokio::time::sleep(TEST_WRITE_INTERVAL).await;
    }
}

/// Ends a walk on another thread when the task that waits for it is gone.
#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn report(shared: &NodeShared, what: &'static str, removed: io::Result<u64>) {
    match removed {
        Ok(0) => {}
        Ok(removed) => info!(shared.log, "old files removed"; "what" => what, "files" => removed),
        Err(error) => warn!(shared.log, "cannot look for old files"; "what" => what, "error" => %error),
    }
}

fn sweep_temp_files(devices: &[DeviceDirectory], before: SystemTime, cancelled: &AtomicBool) -> u64 {
    let mut removed = 0;
    for DeviceDirectory { path, .. } in devices {
        let mut directories = vec![path.clone()];
        while let Some(directory) = directories.pop() {
            if cancelled.load(Ordering::Relaxed) {
                return removed;
            }
            for entry in entries(&directory) {
                // Of the entry itself: symbolic links are not followed.
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                    Ok(kind) if kind.is_file() && has_temp_name(&entry) => removed += remove_if_older(&entry, before),
                    _ => {}
                }
            }
        }
    }
    removed
}

fn expire_write_tests(devices: &[DeviceDirectory], now: SystemTime) -> u64 {
    let before = now - TEST_WRITE_AGE;
    devices
        .iter()
        .flat_map(|device| entries(&device.path.join("test-write")))
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| remove_if_older(&entry, before))
        .sum()
}

/// What can be read of a directory. One that cannot is skipped: a broken device must not keep the others unswept.
fn entries(directory: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    directory.read_dir().into_iter().flat_map(|entries| entries.map_while(Result::ok))
}

fn has_temp_name(entry: &DirEntry) -> bool {
    entry.file_name().to_str().is_some_and(is_temp_name)
}

/// The number of files removed.
fn remove_if_older(entry: &DirEntry, before: SystemTime) -> u64 {
    let is_older = entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|modified| modified < before);
    u64::from(is_older && std::fs::remove_file(entry.path()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn docroot_with(files: &[(&str, SystemTime)]) -> tempfile::TempDir {
        let docroot = tempfile::tempdir().expect("temporary directory");
        for (name, modified) in files {
            let path = docroot.path().join(name);
            std::fs::create_dir_all(path.parent().expect("below")).expect("made");
            File::create(&path).and_then(|file| file.set_modified(*modified)).expect("created");
        }
        docroot
    }

    fn devices(docroot: &tempfile::TempDir) -> Vec<DeviceDirectory> {
        crate::node::devices::scan(&[docroot.path().to_owned()], &[]).devices
    }

    fn left(docroot: &tempfile::TempDir, files: &[(&str, SystemTime)]) -> Vec<bool> {
        files.iter().map(|(name, _)| docroot.path().join(name).exists()).collect()
    }

    /// N2.
    #[test]
    fn only_own_old_temporary_files_are_removed() {
        let now = SystemTime::now();
        let old = now - Duration::from_secs(60);
        let files = [
            ("dev1/0/000/000/.0000000001.fid.17.3.tmp", old),
            ("dev1/.usage.17.4.tmp", old),
            ("dev1/0/000/000/.0000000001.fid.17.5.tmp", now + Duration::from_secs(1)),
            ("dev1/0/000/000/0000000002.fid", old),
            ("dev1/other.tmp", old),
            ("elsewhere/.0000000001.fid.17.3.tmp", old),
        ];
        let docroot = docroot_with(&files);
        assert_eq!(sweep_temp_files(&devices(&docroot), now, &AtomicBool::new(false)), 2);
        assert_eq!(left(&docroot, &files), [false, false, true, true, true, true]);
    }

    /// N12.
    #[test]
    fn write_tests_expire_after_an_hour() {
        let now = SystemTime::now();
        let ago = |minutes: u64| now - Duration::from_secs(60 * minutes);
        let files = [("dev1/test-write/test-write-59", ago(61)), ("dev1/test-write/a", ago(59)), ("dev1/a", ago(99))];
        let docroot = docroot_with(&files);
        assert_eq!(expire_write_tests(&devices(&docroot), now), 1);
        assert_eq!(left(&docroot, &files), [false, true, true]);
    }
}
