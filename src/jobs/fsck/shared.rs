//! What the fsck workers of a tracker share: how many requests a host gets at once, and what was logged of files that
//! could not be settled.
//!
//! Memory of one tracker: after a restart an unsettled file may be logged once more, nothing else.

use super::event::Event;
use crate::ids::{Fid, HostId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Unsettled files that are remembered; what is beyond is logged each time it comes up.
const FILES_MAX: usize = 100_000;

/// The shared handle. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct FsckShared {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    hosts: Mutex<HashMap<HostId, Arc<Semaphore>>>,
    logged: Mutex<Logged>,
    summed_at: Mutex<Option<Instant>>,
}

/// What was logged in the present run.
#[derive(Debug, Default)]
struct Logged {
    run: i64,
    by_fid: HashMap<Fid, Vec<Event>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FsckShared {
    /// Waits for a turn with a host, of which there are so many at once.
    pub(super) async fn turn(&self, host: HostId, at_once: usize) -> Option<OwnedSemaphorePermit> {
        let turns = lock(&self.inner.hosts).entry(host).or_insert_with(|| Arc::new(Semaphore::new(at_once))).clone();
        // Nobody closes it.
        turns.acquire_owned().await.ok()
    }

    /// Those of the events that this run has not logged yet of the file.
    pub(super) fn unlogged(&self, run: i64, fid: Fid, events: &[Event]) -> Vec<Event> {
        let logged = lock(&self.inner.logged);
        let known = logged.by_fid.get(&fid).filter(|_| logged.run == run).map(Vec::as_slice).unwrap_or_default();
        events.iter().filter(|event| !known.contains(event)).copied().collect()
    }

    /// The file stays unsettled, and these events of it were logged: not again in this run (W23).
    pub(super) fn remember(&self, run: i64, fid: Fid, events: Vec<Event>) {
        let mut logged = lock(&self.inner.logged);
        if logged.run != run {
            *logged = Logged { run, by_fid: HashMap::new() };
        }
        if events.is_empty() || (logged.by_fid.len() >= FILES_MAX && !logged.by_fid.contains_key(&fid)) {
            return;
        }
        logged.by_fid.entry(fid).or_default().extend(events);
    }

    /// The file is settled.
    pub(super) fn forget(&self, fid: Fid) {
        lock(&self.inner.logged).by_fid.remove(&fid);
    }

    /// True once per interval, for whoever asks first.
    pub(super) fn sum_is_due(&self, now: Instant, interval: Duration) -> bool {
        let mut summed_at = lock(&self.inner.summed_at);
        let is_due = summed_at.is_none_or(|at| now.saturating_duration_since(at) >= interval);
        if is_due {
            *summed_at = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::DevId;
    use crate::jobs::fsck::event::Evcode;

    /// W23: once per file and run.
    #[test]
    fn an_unsettled_file_is_logged_once_in_a_run() {
        let (shared, fid) = (FsckShared::default(), Fid(7));
        let events = [Evcode::NoPlaces.of_file(), Evcode::SearchBegan.of_file()];
        assert_eq!(shared.unlogged(1, fid, &events), events);
        shared.remember(1, fid, events.to_vec());
        let later = [events[0], Evcode::Missing.of_copy(DevId(1)), events[1]];
        assert_eq!(shared.unlogged(1, fid, &later), [later[1]]);
        assert_eq!(shared.unlogged(1, Fid(8), &events), events, "another file");
        assert_eq!(shared.unlogged(2, fid, &events), events, "another run");
        shared.remember(2, Fid(8), vec![events[0]]);
        assert_eq!(shared.unlogged(2, fid, &events), events, "the run before is forgotten");
        shared.forget(Fid(8));
        assert_eq!(shared.unlogged(2, Fid(8), &events), events, "settled");
    }

    #[test]
    fn memory_is_bounded() {
        let shared = FsckShared::default();
        let event = Evcode::NoPlaces.of_file();
        (0..=FILES_MAX as i64).for_each(|fid| shared.remember(1, Fid(fid), vec![event]));
        assert_eq!(lock(&shared.inner.logged).by_fid.len(), FILES_MAX);
        assert!(shared.unlogged(1, Fid(0), &[event]).is_empty());
    }

    #[test]
    fn sums_are_made_once_per_interval() {
        let (shared, now, second) = (FsckShared::default(), Instant::now(), Duration::from_secs(1));
        assert!(shared.sum_is_due(now, second) && !shared.sum_is_due(now, second));
        assert!(shared.sum_is_due(now + second, second));
    }
}
