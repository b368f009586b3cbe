//! Requests that wait at the same time for the same worker are looked up together: one statement for the keys of all.
//!
//! On a database server a statement costs more than what it looks for; the more is asked at once, the more is answered.
//! What was found serves only the requests that it was asked for, all of which had come before: none gets an answer that
//! is older than itself. Nothing is kept beyond.

use crate::ids::Dmid;
use crate::store::StoreResult;
use crate::store::files::LocatedFile;
use bstr::{BStr, BString};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Keys in one statement at most: so that it is over soon, and of few lengths.
pub const KEYS_MAX: usize = 64;

/// What one worker found for the requests in its hands.
#[derive(Default)]
pub struct JointLookUp {
    found: RefCell<Option<Found>>,
}

struct Found {
    asked_at: Instant,
    by_domain: HashMap<Dmid, HashMap<BString, Option<LocatedFile>>>,
}

impl JointLookUp {
    /// Looks the keys up, those of each domain in one go. What the database fails to say, each request asks for itself.
    pub fn look_up(
        &self,
        wanted: &[&(Dmid, BString)],
        locate_many: impl Fn(Dmid, &[&BStr]) -> StoreResult<Vec<Option<LocatedFile>>>,
    ) {
        let mut by_domain: HashMap<Dmid, Vec<&BStr>> = HashMap::new();
        for (dmid, dkey) in wanted {
            by_domain.entry(*dmid).or_default().push(dkey.as_ref());
        }
        let asked_at = Instant::now();
        let answered = by_domain.into_iter().filter_map(|(dmid, mut dkeys)| {
            dkeys.sort_unstable();
            dkeys.dedup();
            let located = locate_many(dmid, &dkeys).ok()?;
            Some((dmid, dkeys.into_iter().map(BStr::to_owned).zip(located).collect()))
        });
        let by_domain = answered.collect();
        self.found.replace(Some(Found { asked_at, by_domain }));
    }

    /// What was found for a key, and when the database was asked; `None` if it was not asked for.
    pub fn recall(&self, dmid: Dmid, dkey: &BStr) -> Option<(Instant, Option<LocatedFile>)> {
        let found = self.found.borrow();
        let Found { asked_at, by_domain } = found.as_ref()?;
        Some((*asked_at, by_domain.get(&dmid)?.get(dkey)?.clone()))
    }

    /// To be called before anything else is carried out than the requests that were looked up.
    pub fn forget(&self) {
        self.found.take();
    }
}

/// How many workers look up at the same time, as far as there are more requests than that: enough to keep the processors
/// busy while others wait for the database, and not more, so that requests come together. Clones are one.
#[derive(Clone, Debug)]
pub struct LookUpLanes {
    processors: usize,
    quickest_ns: Arc<AtomicU64>,
}

/// A look-up by itself takes about so much of processors' time, here and at a database on the same machine. One that takes
/// longer waits for something else, such as a network.
const BUSY_NS: usize = 200_000;
/// The quickest statement is forgotten at this rate: by one part of so many with each that takes longer.
const FORGET_PARTS: u64 = 4096;

impl Default for LookUpLanes {
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }
}

impl LookUpLanes {
    fn new(processors: usize) -> Self {
        Self { processors, quickest_ns: Arc::default() }
    }

    /// How many workers, at the moment.
    pub fn workers(&self) -> usize {
        let quickest_ns = usize::try_from(self.quickest_ns.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        (self.processors.saturating_mul(quickest_ns).saturating_add(BUSY_NS / 2) / BUSY_NS).max(1)
    }

    /// Looking up a single key took so long.
    pub fn note(&self, elapsed: Duration) {
        let elapsed_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let quickest_ns = self.quickest_ns.load(Ordering::Relaxed);
        let risen_ns = quickest_ns + elapsed_ns.saturating_sub(quickest_ns) / FORGET_PARTS;
        self.quickest_ns.store(if quickest_ns == 0 { elapsed_ns } else { risen_ns.min(elapsed_ns) }, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClassId, DevId, Fid};
    use crate::store::StoreError;
    use crate::store::files::FileRow;
    use std::cell::Cell;

    fn located(dmid: Dmid, dkey: &BStr) -> LocatedFile {
        let file = FileRow { fid: Fid(7), dmid, dkey: dkey.to_owned(), length: 5, classid: ClassId(0), devcount: 1 };
        (file, vec![DevId(1)])
    }

    #[test]
    fn each_domain_is_asked_once_and_every_key_gets_its_own() {
        let joint = JointLookUp::default();
        let wanted =
            [(Dmid(1), "a"), (Dmid(2), "a"), (Dmid(1), "b"), (Dmid(1), "a")].map(|(d, k)| (d, BString::from(k)));
        let asked = Cell::new(0);
        joint.look_up(&wanted.iter().collect::<Vec<_>>(), |dmid, dkeys| {
            asked.set(asked.get() + 1);
            Ok(dkeys.iter().map(|&dkey| (dkey == "a").then(|| located(dmid, dkey))).collect())
        });
        assert_eq!(asked.get(), 2);
        let found = |dmid, dkey: &str| joint.recall(dmid, dkey.into()).map(|(_, found)| found);
        assert_eq!(found(Dmid(1), "a"), Some(Some(located(Dmid(1), "a".into()))));
        assert_eq!(found(Dmid(2), "a"), Some(Some(located(Dmid(2), "a".into()))));
        assert_eq!(found(Dmid(1), "b"), Some(None));
        assert_eq!(found(Dmid(2), "b"), None);
        joint.forget();
        assert_eq!(found(Dmid(1), "a"), None);
    }

    #[test]
    fn what_fails_is_left_to_each_request() {
        let joint = JointLookUp::default();
        joint.look_up(&[&(Dmid(1), "a".into())], |_, _| Err(StoreError::Deadlock));
        assert_eq!(joint.recall(Dmid(1), "a".into()), None);
    }

    #[test]
    fn the_slower_the_database_the_more_ask_it_at_once() {
        let lanes = LookUpLanes::new(2);
        assert_eq!(lanes.workers(), 1);
        lanes.note(Duration::from_micros(100));
        assert_eq!(lanes.workers(), 1);
        // One that was slow says little ...
        lanes.note(Duration::from_millis(1));
        assert_eq!(lanes.workers(), 1);
        // ... and many say more.
        (0..100_000).for_each(|_| lanes.note(Duration::from_millis(1)));
        assert!((8..=10).contains(&lanes.workers()), "{}", lanes.workers());
        lanes.note(Duration::from_micros(300));
        assert_eq!(lanes.workers(), 3);
    }
}
