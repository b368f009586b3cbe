//! Files on their way to their place: written under a temporary name beside it, then renamed.
//!
//! A temporary file that is not put in its place removes itself.

use super::directory_sync::{sync_directory, syncs_names_too};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest part of the target's name that is used in the temporary one; file systems allow 255 bytes.
const NAME_BYTES_MAX: usize = 200;

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// A file under its temporary name.
pub(crate) struct TempFile {
    file: File,
    path: PathBuf,
    placed: bool,
}

impl TempFile {
    /// Creates a temporary file beside the target.
    ///
    /// # Errors
    /// As of opening: among others `NotFound` if the directory does not exist.
    pub fn beside(target: &Path) -> io::Result<Self> {
        loop {
            let path = target.with_file_name(temp_name(target));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { file, path, placed: false }),
                // Left by an earlier process with our process id.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
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
    pub fn place(mut self, target: &Path, sync: bool) -> io::Result<()> {
        let directory = target.parent().filter(|_| sync);
        let one_turn = directory.is_some_and(|directory| syncs_names_too(&self.file, directory));
        if one_turn && self.take_free_name(target) {
            return self.file.sync_all().inspect_err(|_| self.give_up_name(target));
        }
        if sync {
            self.file.sync_all()?;
        }
        std::fs::rename(&self.path, target)?;
        self.placed = true;
        directory.map_or(Ok(()), sync_directory)
    }

    /// False if the name is taken, or the file system cannot tell.
    fn take_free_name(&mut self, target: &Path) -> bool {
        self.placed = renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE).is_ok();
        self.placed
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
        if !self.placed {
            // If this fails too, the sweep at the next start removes it.
            let _ = std::fs::remove_file(&self.path);
        }
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

    /// Both ways of placing: under a free name, and in the place of something.
    #[test]
    fn a_file_takes_a_free_name_and_replaces_what_has_one() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let target = directory.path().join("a");
        for content in ["first", "second"] {
            let mut temp = TempFile::beside(&target).expect("created");
            temp.write_all(content.as_bytes()).expect("written");
            temp.place(&target, true).expect("placed");
            assert_eq!(std::fs::read_to_string(&target).expect("read"), content);
        }
        assert_eq!(directory.path().read_dir().expect("listed").count(), 1);
    }

    #[test]
    fn a_name_that_is_taken_stays_until_the_new_file_is_whole() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let target = directory.path().join("a");
        std::fs::write(&target, "old").expect("written");
        let mut temp = TempFile::beside(&target).expect("created");
        assert!(!temp.take_free_name(&target));
        assert_eq!(std::fs::read_to_string(&target).expect("read"), "old");
    }

    #[test]
    fn only_an_own_file_is_removed_when_the_disk_fails() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let target = directory.path().join("a");
        let mut temp = TempFile::beside(&target).expect("created");
        if !temp.take_free_name(&target) {
            return; // A file system without such renames never comes here.
        }
        let other = directory.path().join("b");
        std::fs::write(&other, "somebody else's").expect("written");
        std::fs::rename(&other, &target).expect("replaced");
        temp.give_up_name(&target);
        assert_eq!(std::fs::read_to_string(&target).expect("read"), "somebody else's");
        std::fs::remove_file(&target).expect("removed");
        let mut temp = TempFile::beside(&target).expect("created");
        assert!(temp.take_free_name(&target));
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
