//! Checksums of files on disk, with a limit on how many are made at once on one file system.

use super::blocking::blocking;
use crate::cluster::checksum::{Checksum, HashType};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Bytes read at once.
const PIECE_BYTES: usize = 1024 * 1024;

/// Checksums that are made at once on one file system for other reasons than `fsck`.
const OTHERS_AT_ONCE: usize = 4;

/// Who asks, which decides how many may run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// The patient reader of whole disks: one at a time.
    Fsck,
    Other,
}

/// What became of a checksum.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DigestResult {
    Made(Checksum),
    /// The file cannot be opened.
    Missing,
    /// Reading failed at this offset in bytes.
    ReadFailed {
        offset: u64,
    },
}

/// The limits, by file system (device number) and reason.
#[derive(Default)]
pub(crate) struct DigestLimits(Mutex<HashMap<(u64, Reason), Arc<Semaphore>>>);

impl DigestLimits {
    fn of(&self, file_system: u64, reason: Reason) -> Arc<Semaphore> {
        let at_once = match reason {
            Reason::Fsck => 1,
            Reason::Other => OTHERS_AT_ONCE,
        };
        let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(limits.entry((file_system, reason)).or_insert_with(|| Arc::new(Semaphore::new(at_once))))
    }
}

/// Makes the checksum of a file, when its turn comes. Stops reading when nobody waits for it any more.
pub(crate) async fn digest(path: PathBuf, hashtype: HashType, reason: Reason, limits: &DigestLimits) -> DigestResult {
    let Ok((file, file_system)) = blocking(move || open(path)).await else { return DigestResult::Missing };
    // Nobody closes these semaphores.
    let turn = limits.of(file_system, reason).acquire_owned().await;
    let cancel = CancelOnDrop::default();
    let cancelled = Arc::clone(&cancel.0);
    let work = move || {
        let result = read_all(&file, hashtype, &cancelled);
        drop(turn);
        Ok(result)
    };
    blocking(work).await.unwrap_or(DigestResult::ReadFailed { offset: 0 })
}

/// Tells the reading thread that the asker is gone.
#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn open(path: PathBuf) -> io::Result<(File, u64)> {
    let file = File::open(path)?;
    let file_system = file.metadata()?.dev();
    // Only a hint; where it is not understood, reading works all the same.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential);
    Ok((file, file_system))
}

fn read_all(mut file: &File, hashtype: HashType, cancelled: &AtomicBool) -> DigestResult {
    let mut hasher = hashtype.hasher();
    let mut piece = vec![0; PIECE_BYTES];
    let mut offset = 0;
    loop {
        match file.read(&mut piece) {
            _ if cancelled.load(Ordering::Relaxed) => return DigestResult::ReadFailed { offset },
            Ok(0) => return DigestResult::Made(hasher.finish()),
            Ok(count) => {
                hasher.update(&piece[..count]);
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return DigestResult::ReadFailed { offset },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S23: the second of two on one file system waits for the first; another file system does not.
    #[test]
    fn fsck_digests_take_turns_per_file_system() {
        let limits = DigestLimits::default();
        let first = limits.of(1, Reason::Fsck).try_acquire_owned();
        assert!(first.is_ok());
        assert!(limits.of(1, Reason::Fsck).try_acquire_owned().is_err());
        assert!(limits.of(2, Reason::Fsck).try_acquire_owned().is_ok());
        assert!(limits.of(1, Reason::Other).try_acquire_owned().is_ok());
        drop(first);
        assert!(limits.of(1, Reason::Fsck).try_acquire_owned().is_ok());
    }

    #[tokio::test]
    async fn a_waiting_digest_is_made_when_the_turn_is_free() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("a");
        std::fs::write(&path, "abc").expect("written");
        let limits = DigestLimits::default();
        let file_system = std::fs::metadata(&path).expect("there").dev();
        let turn = limits.of(file_system, Reason::Fsck).try_acquire_owned();
        let mut waiting = std::pin::pin!(digest(path, HashType::Md5, Reason::Fsck, &limits));
        let early = tokio::time::timeout(std::time::Duration::from_millis(50), waiting.as_mut()).await;
        assert!(early.is_err(), "it did not wait");
        drop(turn);
        let DigestResult::Made(checksum) = waiting.await else { panic!("no checksum") };
        assert_eq!(checksum.hex(), "900150983cd24fb0d6963f7d28e17f72");
    }
}
