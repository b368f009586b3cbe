//! Files on their way to their place: written under a temporary name beside it, then renamed.
//!
//! A temporary file that is not put in its place removes itself.

use super::directory_sync::sync_directory;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
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

    /// Gives the file its name; what had that name before is replaced. With `sync`, file and directory are on disk when
    /// this returns.
    pub fn place(mut self, target: &Path, sync: bool) -> io::Result<()> {
        if sync {
            self.file.sync_all()?;
        }
        std::fs::rename(&self.path, target)?;
        self.placed = true;
        match target.parent() {
            Some(directory) if sync => sync_directory(directory),
            _ => Ok(()),
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
