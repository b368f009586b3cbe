//! The mark of each device: a UUID in a file on its disk, shown in the usage file, so that trackers notice when another disk,
//! or none, is mounted in its place.
//!
//! A mark is made only where that cannot hide a loss: on a device that this node has never seen, or on a file system of
//! its own, where an empty disk was mounted. A directory that was marked once, has lost its mark, and lies on the same
//! file system as the document root is taken for a mount point without its disk: it stays without a mark. That a
//! directory was marked is remembered below the document root, beside the devices.

use super::mounts::{self, Mount};
use super::temp_file::TempFile;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// The mark, in the device directory.
const MARK: &str = ".mogilefs-device";

/// In the document root: a file for each device directory, with the mark last seen on it.
const MEMORY: &str = ".mogilefs-devices";
/// A mark is 36 bytes.
const MARK_BYTES_MAX: u64 = 256;

/// Is this the name of the file that marks a disk? Nobody may write or remove it from outside.
pub(super) fn is_mark_name(name: &str) -> bool {
    name == MARK
}

/// What is known of a device's mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Present(String),
    /// It had one, and nothing is mounted in its place.
    Lost,
}

impl Mark {
    /// What the usage file shows.
    pub fn shown(&self) -> Option<&str> {
        match self {
            Self::Present(mark) => Some(mark),
            Self::Lost => None,
        }
    }
}

/// The mark of a device directory, made if it may be. `real` is the directory without symbolic links. May block.
///
/// # Errors
/// The disk or the document root cannot be read or written: nothing is known of the mark.
pub(crate) fn look(docroot: &Path, device: &Path, real: &Path, mounts: &[Mount]) -> io::Result<Mark> {
    let memory = memory_of(docroot, device)?;
    let remembered = read_mark(&memory)?;
    let mark = match read_mark(&device.join(MARK))? {
        Some(mark) => mark,
        None if remembered.is_none() || has_own_file_system(docroot, real, mounts) => make_mark(device)?,
        None => return Ok(Mark::Lost),
    };
    if remembered.as_deref() != Some(&*mark) {
        write(&memory, &mark)?;
    }
    Ok(Mark::Present(mark))
}

fn memory_of(docroot: &Path, device: &Path) -> io::Result<PathBuf> {
    let name = device.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(docroot.join(MEMORY).join(name))
}

/// Is something mounted for it that is neither the root of the system nor where the document root lies?
fn has_own_file_system(docroot: &Path, real: &Path, mounts: &[Mount]) -> bool {
    let own = mounts::of(mounts, real).map(|mount| &mount.mount_point);
    let shared = mounts::of(mounts, docroot).map(|mount| &mount.mount_point);
    own.is_some_and(|point| point != Path::new("/")) && own != shared
}

/// `None` if there is no such file. One that makes no sense is an error, and never replaced.
fn read_mark(path: &Path) -> io::Result<Option<String>> {
    match path.metadata() {
        Ok(metadata) if metadata.len() > MARK_BYTES_MAX => return Err(io::Error::other("the mark is too long")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let text = std::fs::read_to_string(path)?;
    let mark = text.trim();
    let is_mark = !mark.is_empty() && mark.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match is_mark {
        true => Ok(Some(mark.to_owned())),
        false => Err(io::Error::other(format!("{} is no mark of a device", path.display()))),
    }
}

fn make_mark(device: &Path) -> io::Result<String> {
    let mark = uuid(rand::random());
    write(&device.join(MARK), &mark)?;
    Ok(mark)
}

/// Durable before it counts: a mark that a power cut takes back would look like a lost disk.
fn write(path: &Path, mark: &str) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| directory.ends_with(MEMORY)) {
        std::fs::create_dir_all(directory)?;
    }
    let mut temp = TempFile::beside(path)?;
    temp.write_all(format!("{mark}\n").as_bytes())?;
    temp.place(path, true).map(|_| ())
}

/// A random UUID (version 4) of these bytes.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Disk {
        root: tempfile::TempDir,
    }

    impl Disk {
        fn new() -> Self {
            let root = tempfile::tempdir().expect("temporary directory");
            std::fs::create_dir(root.path().join("dev1")).expect("made");
            Self { root }
        }

        fn device(&self) -> PathBuf {
            self.root.path().join("dev1")
        }

        fn look(&self, mounts: &[Mount]) -> io::Result<Mark> {
            look(self.root.path(), &self.device(), &self.device(), mounts)
        }

        /// As if a disk were mounted at the device.
        fn mounted(&self) -> Vec<Mount> {
            let mount = |point: &Path| Mount {
                mount_point: point.to_owned(),
                source: PathBuf::from("/dev/x"),
                kind: "ext4".to_owned(),
            };
            vec![mount(Path::new("/")), mount(&self.device())]
        }
    }

    fn root_only() -> Vec<Mount> {
        vec![Mount { mount_point: PathBuf::from("/"), source: PathBuf::from("/dev/root"), kind: "ext4".to_owned() }]
    }

    #[test]
    fn a_new_device_is_marked_once() {
        let disk = Disk::new();
        let Ok(Mark::Present(mark)) = disk.look(&root_only()) else { panic!("it is marked") };
        assert_eq!((mark.len(), mark.as_bytes()[14], mark.split('-').count()), (36, b'4', 5), "{mark}");
        assert_eq!(disk.look(&root_only()).expect("read"), Mark::Present(mark.clone()));
        // What remembers it may be lost: the mark itself counts.
        std::fs::remove_dir_all(disk.root.path().join(MEMORY)).expect("removed");
        assert_eq!(disk.look(&root_only()).expect("read"), Mark::Present(mark));
    }

    #[test]
    fn a_mount_point_without_its_disk_gets_no_new_mark() {
        let disk = Disk::new();
        let before = disk.look(&disk.mounted()).expect("marked");
        let hidden = disk.root.path().join("hidden");
        std::fs::rename(disk.device(), &hidden).expect("unmounted");
        std::fs::create_dir(disk.device()).expect("the mount point");
        assert_eq!(disk.look(&root_only()).expect("read"), Mark::Lost);
        assert_eq!(disk.look(&[]).expect("read"), Mark::Lost, "nor where the system tells nothing of mounts");
        assert!(!disk.device().join(MARK).exists());
        std::fs::remove_dir(disk.device()).expect("removed");
        std::fs::rename(&hidden, disk.device()).expect("mounted again");
        assert_eq!(disk.look(&disk.mounted()).expect("read"), before);
    }

    #[test]
    fn an_empty_disk_gets_a_mark_of_its_own() {
        let disk = Disk::new();
        let before = disk.look(&disk.mounted()).expect("marked");
        std::fs::remove_file(disk.device().join(MARK)).expect("another disk");
        let after = disk.look(&disk.mounted()).expect("marked");
        assert!(matches!(after, Mark::Present(_)));
        assert_ne!(before, after);
        // A disk that was a device elsewhere keeps its mark.
        std::fs::write(disk.device().join(MARK), "another\n").expect("written");
        assert_eq!(disk.look(&disk.mounted()).expect("read"), Mark::Present("another".to_owned()));
    }

    #[test]
    fn nonsense_is_never_overwritten() {
        let disk = Disk::new();
        for nonsense in ["", "two words", &"x".repeat(300)] {
            std::fs::write(disk.device().join(MARK), nonsense).expect("written");
            assert!(disk.look(&root_only()).is_err());
            assert_eq!(std::fs::read_to_string(disk.device().join(MARK)).expect("read"), nonsense);
        }
    }
}
