//! Making the entries of directories durable: one turn of the disk for all that wait for the same directory.
//!
//! Whoever asks gets a sync that began after the question. Must never answer with one that was under way by then: it may
//! have missed the name in question.

use super::mounts;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};

/// The directories that somebody is waiting for.
static DIRECTORIES: LazyLock<Mutex<HashMap<PathBuf, Arc<Turns>>>> = LazyLock::new(Mutex::default);

/// Makes the entries of a directory durable. Blocks.
///
/// # Errors
/// As of opening and syncing the directory.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    let turns = Arc::clone(lock(&DIRECTORIES).entry(directory.to_owned()).or_default());
    let outcome = turns.next(|| File::open(directory)?.sync_all());
    let mut directories = lock(&DIRECTORIES);
    // New clones are made under this guard only: one here and one in the table mean that nobody else waits.
    if Arc::strong_count(&turns) <= 2 {
        directories.remove(directory);
    }
    outcome
}

/// File systems on which a sync of a file puts the name on disk too that it was given before (decision 0016), or on which
/// nothing outlives a crash anyway.
const NAMES_GO_WITH_FILES: [&str; 3] = ["ext4", "xfs", "tmpfs"];

/// What is known of file systems, by device number.
static FILE_SYSTEMS: LazyLock<Mutex<HashMap<u64, bool>>> = LazyLock::new(Mutex::default);

/// Does a sync of this file make the name durable that it was given in this directory before? False where that is not
/// known.
pub(super) fn syncs_names_too(file: &File, directory: &Path) -> bool {
    let Ok(device) = file.metadata().map(|metadata| metadata.dev()) else { return false };
    *lock(&FILE_SYSTEMS).entry(device).or_insert_with(|| {
        let real = directory.canonicalize().ok();
        let mounts = mounts::current();
        let mount = real.as_deref().and_then(|real| mounts::of(&mounts, real));
        mount.is_some_and(|mount| NAMES_GO_WITH_FILES.contains(&mount.kind.as_str()))
    })
}

/// The syncs of one directory, one after the other.
#[derive(Default)]
struct Turns {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// Turns that began, and those of them that ended: all, or all but one.
    begun: u64,
    ended: u64,
    /// The last turn that failed, with the number of the fault.
    last_failure: Option<(u64, Option<i32>)>,
}

impl Turns {
    /// Waits for the first turn that begins from now on, or takes it.
    fn next(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = lock(&self.state);
        let wanted = state.begun + 1;
        while state.ended < wanted && state.ended < state.begun {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.begun < wanted {
            state.begun = wanted;
            drop(state);
            let outcome = sync();
            state = lock(&self.state);
            state.ended = wanted;
            if let Err(error) = &outcome {
                state.last_failure = Some((wanted, error.raw_os_error()));
            }
            self.ended.notify_all();
            return outcome;
        }
        match state.last_failure {
            // Also a later one: it says that the disk does not keep what it is given.
            Some((failed, os_error)) if failed >= wanted => Err(fault(os_error)),
            _ => Ok(()),
        }
    }
}

fn fault(os_error: Option<i32>) -> io::Error {
    os_error.map_or_else(|| io::Error::other("the directory could not be synced"), io::Error::from_raw_os_error)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::channel;

    #[test]
    fn those_who_wait_share_the_next_turn_and_its_fault() {
        let turns = Turns::default();
        let (syncs, (release, held), (entered, enters)) = (AtomicU32::new(0), channel::<()>(), channel());
        std::thread::scope(|scope| {
            let turns = &turns;
            let syncs = &syncs;
            let first = scope.spawn(move || {
                turns.next(|| {
                    entered.send(()).expect("somebody listens");
                    held.recv().map_err(io::Error::other)
                })
            });
            enters.recv().expect("the first turn has begun");
            let others: Vec<_> = (0..5)
                .map(|_| {
                    scope.spawn(move || {
                        turns.next(|| {
                            syncs.fetch_add(1, Ordering::SeqCst);
                            Err(io::Error::from_raw_os_error(28))
                        })
                    })
                })
                .collect();
            // They wait for the first turn, wherever they are; what counts is the outcome.
            while others.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                std::thread::yield_now();
            }
            release.send(()).expect("the first turn waits");
            assert!(first.join().expect("no panic").is_ok(), "the fault of a later turn is not that of the first");
            for other in others {
                let error = other.join().expect("no panic").expect_err("the turn failed");
                assert_eq!(error.raw_os_error(), Some(28));
            }
        });
        assert!((1..=5).contains(&syncs.load(Ordering::SeqCst)));
        assert!(turns.next(|| Ok(())).is_ok(), "a fault is not for those who ask later");
    }

    #[test]
    fn nothing_is_kept_of_directories_that_nobody_waits_for() {
        let directory = tempfile::tempdir().expect("temporary directory");
        sync_directory(directory.path()).expect("synced");
        assert!(!lock(&DIRECTORIES).contains_key(directory.path()));
        let gone = directory.path().join("gone");
        assert_eq!(sync_directory(&gone).expect_err("not there").kind(), io::ErrorKind::NotFound);
        assert!(!lock(&DIRECTORIES).contains_key(&gone));
    }
}
