//! Files on their way to their place: written without a name where the file system can do that, else under a temporary
//! one beside the place, then given their name.
//!
//! A file that is not put in its place is gone: without a name also after a crash.

use super::directory_sync::{sync_directory, syncs_names_too};
use rustix::fs::{AtFlags, CWD, OFlags, RenameFlags, linkat, renameat_with};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest part of the target's name that is used in the temporary one; file systems allow 255 bytes.
const NAME_BYTES_MAX: usize = 200;

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// Can any process give a name to a file that has none? Not where `/proc` is missing.
static CAN_BE_NAMED: LazyLock<bool> = LazyLock::new(|| Path::new("/proc/self/fd").is_dir());

/// A file that has no name yet, or a temporary one.
pub(crate) struct TempFile {
    file: File,
    name: Name,
}

enum Name {
    None,
    Temporary(PathBuf),
    Own,
}

impl TempFile {
    /// Creates a temporary file beside the target, to replace it.
    ///
    /// # Errors
    /// As of opening: among others `NotFound` if the directory does not exist.
    pub fn beside(target: &Path) -> io::Result<Self> {
        loop {
            let path = target.with_file_name(temp_name(target));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { file, name: Name::Temporary(path) }),
                // Left by an earlier process with our process id.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Creates a file for a target that is probably not there: one change of the directory instead of two.
    ///
    /// # Errors
    /// As of opening: among others `NotFound` if the directory does not exist.
    pub fn for_new(target: &Path) -> io::Result<Self> {
        if !*CAN_BE_NAMED {
            return Self::beside(target);
        }
        let directory = target.parent().unwrap_or(Path::new("."));
        let flags = i32::try_from(OFlags::TMPFILE.bits()).unwrap_or_default();
        match OpenOptions::new().write(true).custom_flags(flags).open(directory) {
            Ok(file) => Ok(Self { file, name: Name::None }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            // The file system does not have such files; or there is a fault that naming one will meet, too.
            Err(_) => Self::beside(target),
        }
    }

    /// Appends all of the bytes.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Puts the bytes on disk; the name is another matter.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Gives the file its name; what had that name before is replaced. With `sync`, file and directory are on disk when
    /// this returns.
    ///
    /// What is replaced stays until the new file is on disk. A name that is free may come first, and then both go to disk
    /// in one turn where the file system does that (decision 0016): nobody was told of the file yet.
    pub fn place(mut self, target: &Path, sync: bool) -> io::Result<Placed> {
        if !sync {
            return self.take_name(target);
        }
        let directory = target.parent().unwrap_or(Path::new("."));
        if syncs_names_too(&self.file, directory) && self.take_free_name(target)? {
            self.file.sync_all().inspect_err(|_| self.give_up_name(target))?;
            return Ok(Placed::New);
        }
        self.file.sync_all()?;
        let placed = self.take_name(target)?;
        sync_directory(directory)?;
        Ok(placed)
    }

    fn take_name(&mut self, target: &Path) -> io::Result<Placed> {
        if self.take_free_name(target)? {
            return Ok(Placed::New);
        }
        self.replace(target)?;
        Ok(Placed::Replaced)
    }

    /// False if the name is taken, or the file system cannot tell.
    fn take_free_name(&mut self, target: &Path) -> io::Result<bool> {
        match &self.name {
            Name::None => match give_first_name(&self.file, target) {
                Err(Errno::EXIST) => return Ok(false),
                named => named?,
            },
            Name::Temporary(path) => {
                if renameat_with(CWD, path, CWD, target, RenameFlags::NOREPLACE).is_err() {
                    return Ok(false);
                }
            }
            Name::Own => {}
        }
        self.name = Name::Own;
        Ok(true)
    }

    fn replace(&mut self, target: &Path) -> io::Result<()> {
        if matches!(self.name, Name::None) {
            let path = target.with_file_name(temp_name(target));
            give_first_name(&self.file, &path)?;
            self.name = Name::Temporary(path);
        }
        if let Name::Temporary(path) = &self.name {
            std::fs::rename(path, target)?;
        }
        self.name = Name::Own;
        Ok(())
    }

    /// The disk did not keep the file: it must not look as if it were there. Unless somebody has replaced it meanwhile.
    fn give_up_name(&self, target: &Path) {
        let (Ok(own), Ok(found)) = (self.file.metadata(), target.symlink_metadata()) else { return };
        if (own.dev(), own.ino()) == (found.dev(), found.ino()) {
            // The disk is failing; what is left is no longer than it should be, and was acknowledged to nobody.
            let _ = std::fs::remove_file(target);
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Name::Temporary(path) = &self.name {
            // If this fails too, the sweep at the next start removes it.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// What there was under the name of a file that was placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    New,
    Replaced,
}

/// Names a file that has no name. By its descriptor where the kernel lets us, which spares looking it up in `/proc`.
fn give_first_name(file: &File, path: &Path) -> Result<(), Errno> {
    match linkat(file, "", CWD, path, AtFlags::EMPTY_PATH) {
        // A kernel that wants a privilege for it says so in this way.
        Err(Errno::NOENT | Errno::PERM) => {
            let own = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW)
        }
        named => named,
    }
}

fn temp_name(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().take(NAME_BYTES_MAX / 4).collect();
    let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
    format!(".{name}.{}.{number}.tmp", std::process::id())
}

/// Names as made here: `.<name>.<process id>.<number>.tmp`. No `.fid` and no usage file has such a name.
pub(crate) fn is_temp_name(name: &str) -> bool {
    let is_number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u64>().is_ok());
    let Some(rest) = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp")) else { return false };
    let mut parts = rest.rsplitn(3, '.');
    is_number(parts.next()) && is_number(parts.next()) && parts.next().is_some_and(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_are_known_again() {
        for target in ["/d/0000000001.fid", "/d/usage", "/d/test-write-1.2"] {
            let name = temp_name(Path::new(target));
            assert!(is_temp_name(&name), "{name}");
            assert!(!name.ends_with(".fid"));
        }
        for other in ["0000000001.fid", ".x.tmp", "x.1.2.tmp", ".x.1.y.tmp", ".1.2.tmp", "..1.2.tmp", ".tmp", ""] {
            assert!(!is_temp_name(other), "{other}");
        }
    }

    /// All ways of placing: under a free name, and in the place of something; of a file with a temporary name, and of one
    /// without any.
    #[test]
    fn a_file_takes_a_free_name_and_replaces_what_has_one() {
        for (create, sync) in [
            (TempFile::beside as fn(&Path) -> io::Result<TempFile>, true),
            (TempFile::beside, false),
            (TempFile::for_new, true),
            (TempFile::for_new, false),
        ] {
            let directory = tempfile::tempdir().expect("temporary directory");
            let target = directory.path().join("a");
            for (content, expected) in [("first", Placed::New), ("second", Placed::Replaced)] {
                let mut temp = create(&target).expect("created");
                temp.write_all(content.as_bytes()).expect("written");
                assert_eq!(temp.place(&target, sync).expect("placed"), expected);
                assert_eq!(std::fs::read_to_string(&target).expect("read"), content);
            }
            assert_eq!(directory.path().read_dir().expect("listed").count(), 1);
        }
    }

    #[test]
    fn a_file_without_a_name_is_not_seen_and_leaves_nothing() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let target = directory.path().join("a");
        let mut temp = TempFile::for_new(&target).expect("created");
        if !matches!(temp.name, Name::None) {
            return; // The file system of temporary directories does not have such files.
        }
        temp.write_all(b"half").expect("written");
        assert_eq!(directory.path().read_dir().expect("listed").count(), 0);
        drop(temp);
        assert_eq!(directory.path().read_dir().expect("listed").count(), 0);
    }

    #[test]
    fn a_name_that_is_taken_stays_until_the_new_file_is_whole() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let target = directory.path().join("a");
        std::fs::write(&target, "old").expect("written");
        for mut temp in [TempFile::beside(&target).expect("created"), TempFile::for_new(&target).expect("created")] {
            assert!(!temp.take_free_name(&target).expect("asked"));
            assert_eq!(std::fs::read_to_string(&target).expect("read"), "old");
        }
    }

    #[test]
    fn only_an_own_file_is_removed_when_the_disk_fails() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let target = directory.path().join("a");
        let mut temp = TempFile::beside(&target).expect("created");
        if !temp.take_free_name(&target).expect("asked") {
            return; // A file system without such renames never comes here.
        }
        let other = directory.path().join("b");
        std::fs::write(&other, "somebody else's").expect("written");
        std::fs::rename(&other, &target).expect("replaced");
        temp.give_up_name(&target);
        assert_eq!(std::fs::read_to_string(&target).expect("read"), "somebody else's");
        std::fs::remove_file(&target).expect("removed");
        let mut temp = TempFile::beside(&target).expect("created");
        assert!(temp.take_free_name(&target).expect("asked"));
        temp.give_up_name(&target);
        assert!(!target.exists());
    }

    #[test]
    fn what_is_not_placed_is_removed() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let target = directory.path().join("a");
        let mut broken = TempFile::beside(&target).expect("created");
        broken.write_all(b"half").expect("written");
        drop(broken);
        let mut whole = TempFile::beside(&target).expect("created");
        whole.write_all(b"whole").expect("written");
        whole.place(&target, true).expect("placed");
        let names: Vec<_> = directory.path().read_dir().expect("listed").flatten().map(|e| e.file_name()).collect();
        assert_eq!(names, ["a"]);
        assert_eq!(std::fs::read(&target).expect("read"), b"whole");
    }
}
