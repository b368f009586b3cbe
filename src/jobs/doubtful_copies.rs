//! Copies that a client could not read (`bad_path`): for a while they are the last to be offered.
//!
//! Memory of one tracker, bounded; what is wrong with a copy is found out by fsck, never decided here.

use crate::ids::{DevId, Fid};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Reports kept at the same time; beyond it the oldest are forgotten.
const COPIES_MAX: usize = 100_000;

/// Longer ones would leave the range of the clock.
const DURATION_MAX: Duration = Duration::from_secs(366 * 86_400);

/// The shared handle. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct DoubtfulCopies {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Kept beside the map so that looking up costs nothing while there are no reports.
    count: AtomicUsize,
    doubted_until: RwLock<HashMap<(Fid, DevId), Instant>>,
}

impl DoubtfulCopies {
    /// The copy is in doubt for so long from now on.
    pub fn report(&self, fid: Fid, devid: DevId, now: Instant, duration: Duration) {
        let mut copies = self.shared.doubted_until.write().unwrap_or_else(PoisonError::into_inner);
        copies.retain(|_, until| *until > now);
        if copies.len() >= COPIES_MAX
            && let Some(oldest) = copies.iter().min_by_key(|(_, until)| **until).map(|(copy, _)| *copy)
        {
            copies.remove(&oldest);
        }
        copies.insert((fid, devid), now + duration.min(DURATION_MAX));
        self.shared.count.store(copies.len(), Ordering::Release);
    }

    /// Puts the copies of the file that are in doubt behind the others, each group in its order.
    pub fn last(&self, fid: Fid, ordered: &mut [DevId]) {
        if self.shared.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let now = Instant::now();
        let copies = self.shared.doubted_until.read().unwrap_or_else(PoisonError::into_inner);
        let is_doubtful = |devid: DevId| copies.get(&(fid, devid)).is_some_and(|until| *until > now);
        ordered.sort_by_key(|&devid| is_doubtful(devid));
    }

    /// Those of the file's copies that are in doubt.
    pub fn among(&self, fid: Fid, devids: &[DevId]) -> Vec<DevId> {
        let now = Instant::now();
        let copies = self.shared.doubted_until.read().unwrap_or_else(PoisonError::into_inner);
        let is_doubtful = |devid: &DevId| copies.get(&(fid, *devid)).is_some_and(|until| *until > now);
        devids.iter().copied().filter(is_doubtful).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(copies: &DoubtfulCopies, fid: i64) -> Vec<i64> {
        let mut devids = [DevId(1), DevId(2), DevId(3)];
        copies.last(Fid(fid), &mut devids);
        devids.iter().map(|devid| devid.0).collect()
    }

    #[test]
    fn a_doubtful_copy_comes_last_until_its_time_is_over() {
        let (copies, now) = (DoubtfulCopies::default(), Instant::now());
        copies.report(Fid(7), DevId(1), now, Duration::from_secs(600));
        assert_eq!(ordered(&copies, 7), [2, 3, 1]);
        assert_eq!(ordered(&copies, 8), [1, 2, 3], "another file is not touched");
        copies.report(Fid(8), DevId(2), now, Duration::ZERO);
        assert_eq!(ordered(&copies, 8), [1, 2, 3]);
    }

    #[test]
    fn the_oldest_reports_are_forgotten_first() {
        let (copies, now) = (DoubtfulCopies::default(), Instant::now());
        {
            let mut map = copies.shared.doubted_until.write().expect("not poisoned");
            map.extend((0..COPIES_MAX as i64).map(|n| ((Fid(n), DevId(1)), now + Duration::from_secs(600 + n as u64))));
        }
        copies.report(Fid(-1), DevId(1), now, Duration::from_secs(100_000_000));
        let map = copies.shared.doubted_until.read().expect("not poisoned");
        assert_eq!(map.len(), COPIES_MAX);
        assert!(!map.contains_key(&(Fid(0), DevId(1))) && map.contains_key(&(Fid(1), DevId(1))));
    }
}
