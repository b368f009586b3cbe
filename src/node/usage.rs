//! Usage files: `dev<N>/usage` tells trackers how much space a device has (storage-node.md 7).

use super::{Node, paths};
use crate::clock::unix_now_secs;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

const BYTES_PER_KIB: u64 = 1024;
/// Test files of trackers are of no use after so long (N12).
const TEST_FILE_AGE_MAX: Duration = Duration::from_secs(3600);

/// Writes the usage files again and again, until the task is ended.
pub async fn keep_written(node: Rc<Node>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        write_all(&node);
    }
}

/// Writes the usage file of every device that is there, and tidies its test files.
pub fn write_all(node: &Node) {
    for (devid, directory) in paths::devices(&node.docroot) {
        if let Err(error) = write(&directory) {
            slog::warn!(node.log, "cannot write the usage file"; "devid" => devid, "error" => %error);
        }
        remove_old_test_files(&directory.join("test-write"));
    }
}

/// Through a temporary file, so that nobody ever reads a part.
fn write(directory: &Path) -> io::Result<()> {
    let usage = Usage::of(directory)?;
    let temporary = directory.join(".usage.tmp");
    fs::write(&temporary, usage.text())?;
    fs::rename(&temporary, directory.join("usage"))
}

/// The seven values of a usage file; sizes in KiB.
struct Usage {
    available: u64,
    total: u64,
    used: u64,
    device: String,
    disk: PathBuf,
}

impl Usage {
    fn of(directory: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(directory)?;
        let kib = |blocks: u64| blocks.saturating_mul(stat.f_frsize) / BYTES_PER_KIB;
        let available = kib(stat.f_bavail);
        // Rounded up to at least 1: trackers of the reference take 0 for an error (N7).
        let used = kib(stat.f_blocks.saturating_sub(stat.f_bfree)).max(1);
        let (device, disk) = mounted_at(directory);
        Ok(Self { available, total: used + available, used, device, disk })
    }

    /// Keys in sorted order, as the reference writes them.
    fn text(&self) -> String {
        let percent = (self.used * 100).div_ceil(self.total.max(1));
        format!(
            "available: {}\ndevice: {}\ndisk: {}\ntime: {}\ntotal: {}\nuse: {percent}%\nused: {}\n",
            self.available,
            self.device,
            self.disk.display(),
            unix_now_secs(),
            self.total,
            self.used,
        )
    }
}

/// The block device of a directory, and its mount point if the directory is one, else the directory itself.
fn mounted_at(directory: &Path) -> (String, PathBuf) {
    let unknown = || ("unknown".to_owned(), directory.to_owned());
    let (Ok(metadata), Ok(mounts)) = (fs::metadata(directory), fs::read_to_string("/proc/self/mountinfo")) else {
        return unknown();
    };
    let dev = metadata.dev();
    let number = format!("{}:{}", rustix::fs::major(dev), rustix::fs::minor(dev));
    // Fields: id parent major:minor root mount-point options … - type source options.
    let found = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&number));
    let source = found.and_then(|line| line.split_once(" - ")?.1.split(' ').nth(1));
    source.map_or_else(unknown, |source| (source.to_owned(), directory.to_owned()))
}

fn remove_old_test_files(directory: &Path) {
    let now = SystemTime::now();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|modified| now.duration_since(modified).ok());
        if age.is_some_and(|age| age > TEST_FILE_AGE_MAX) {
            // Gone already is as good.
            let _removed = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S16.
    #[test]
    fn a_usage_file_has_the_seven_keys_in_order() {
        let directory = tempfile::tempdir().expect("a directory");
        write(directory.path()).expect("written");
        let text = fs::read_to_string(directory.path().join("usage")).expect("readable");
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(&format!("{key}: "))).expect("the key");
        let keys: Vec<_> = text.lines().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(keys, ["available", "device", "disk", "time", "total", "use", "used"]);
        let number = |key: &str| value(key).parse::<u64>().expect("a number");
        assert_eq!(number("total"), number("used") + number("available"));
        assert!(number("used") > 0);
    }
}
