//! What this tracker changed lately: a replica may not show it yet, and what was remembered from before is wrong.
//!
//! Changes are known by the spelling of keys that took part and by the numbers of files, because only the database knows
//! which keys are one (database.md 1.6): a row that is out of date has a number or a stored spelling that is noted here.
//! Forgets nothing silently: what had to be dropped makes everything before it count as changed.

use super::session::Session;
use crate::ids::{Dmid, Fid};
use bstr::BStr;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Changes that are kept apart.
const CHANGES_MAX: usize = 100_000;
/// No replica that is asked is further behind.
const KEPT_FOR: Duration = Duration::from_secs(3600);
/// A change that was given up in the middle may still come true for so long.
const DOUBT: Duration = Duration::from_secs(30);

/// The changes of one tracker.
pub(super) struct RecentChanges {
    is_on: AtomicBool,
    hasher: RandomState,
    log: Mutex<ChangeLog>,
}

#[derive(Default)]
struct ChangeLog {
    latest: HashMap<u64, Instant>,
    order: VecDeque<(u64, Instant)>,
    /// Until then everything counts as changed.
    floor: Option<Instant>,
}

/// What a change is about.
#[derive(Clone, Copy, Hash)]
pub(super) enum Changed<'a> {
    Key(i64, &'a [u8]),
    File(i64),
    /// Some files of it.
    Domain(i64),
}

impl RecentChanges {
    pub(super) fn new() -> Self {
        Self { is_on: AtomicBool::new(false), hasher: RandomState::new(), log: Mutex::default() }
    }

    /// Begins to keep changes. Those from before are not known.
    pub(super) fn switch_on(&self) {
        self.is_on.store(true, Ordering::Release);
    }

    fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    fn note(&self, things: &[u64], at: Instant) {
        if !things.is_empty() {
            self.log().note(things, at, CHANGES_MAX);
        }
    }

    /// Was one of these changed at that moment or later? True also where that is not known any more.
    pub(super) fn is_any_changed(&self, since: Instant, things: &[Changed<'_>]) -> bool {
        let log = self.log();
        let is_late = |at: &Instant| *at >= since;
        log.floor.as_ref().is_some_and(is_late)
            || things.iter().any(|thing| log.latest.get(&self.hasher.hash_one(thing)).is_some_and(is_late))
    }

    fn log(&self) -> MutexGuard<'_, ChangeLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChangeLog {
    fn note(&mut self, things: &[u64], at: Instant, changes_max: usize) {
        for &thing in things {
            let latest = self.latest.entry(thing).or_insert(at);
            *latest = at.max(*latest);
            self.order.push_back((thing, at));
        }
        while let Some(&(thing, at)) = self.order.front()
            && (self.order.len() > changes_max || at.elapsed() > KEPT_FOR)
        {
            self.order.pop_front();
            self.floor = self.floor.max(Some(at));
            if self.latest.get(&thing) == Some(&at) {
                self.latest.remove(&thing);
            }
        }
    }
}

/// A change of files that is under way. Dropped without [`ChangeNote::end`], it counts as one that may still come true.
#[must_use]
pub struct ChangeNote {
    changes: Arc<RecentChanges>,
    /// Empty while nobody wants to know.
    things: Vec<u64>,
}

impl Session {
    /// To be called before a change of what these keys lead to, or of the copies of their files.
    pub fn note_change(&self, dmid: Dmid, dkeys: &[&BStr]) -> ChangeNote {
        let mut note = ChangeNote { changes: Arc::clone(&self.inner.shared.changes), things: Vec::new() };
        for dkey in dkeys {
            note.add(Changed::Key(dmid.0, dkey));
        }
        note
    }

    /// Begins to keep what this tracker changes, for [`Session::is_changed_since`].
    pub fn keep_changes(&self) {
        self.inner.shared.changes.switch_on();
    }

    /// Did this tracker change what this key leads to, or this file, at that moment or later? True also where that is not
    /// known any more.
    pub fn is_changed_since(&self, since: Instant, dmid: Dmid, dkey: &BStr, fid: Fid) -> bool {
        let things = [Changed::Key(dmid.0, dkey), Changed::File(fid.0), Changed::Domain(dmid.0)];
        self.inner.shared.changes.is_any_changed(since, &things)
    }
}

impl ChangeNote {
    /// The change is about this file, whichever keys led to it.
    pub fn covers_file(&mut self, fid: Fid) {
        self.add(Changed::File(fid.0));
    }

    /// Nobody knows which files of the domain the change is about.
    pub fn covers_domain(&mut self, dmid: Dmid) {
        self.add(Changed::Domain(dmid.0));
    }

    /// The change was refused: nothing is different.
    pub fn void(&mut self) {
        self.things.clear();
    }

    fn add(&mut self, thing: Changed<'_>) {
        if self.changes.is_on() {
            self.things.push(self.changes.hasher.hash_one(thing));
        }
    }

    /// To be called when the change was made or refused, before anybody is told.
    pub fn end(&mut self) {
        self.changes.note(&std::mem::take(&mut self.things), Instant::now());
    }
}

impl ChangeNote {
    /// Nobody knows how the change ends. Nothing after [`ChangeNote::end`].
    pub fn give_up(&mut self) {
        self.changes.note(&std::mem::take(&mut self.things), Instant::now() + DOUBT);
    }
}

impl Drop for ChangeNote {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(changes: &Arc<RecentChanges>, thing: Changed<'_>) -> ChangeNote {
        let mut note = ChangeNote { changes: Arc::clone(changes), things: Vec::new() };
        note.add(thing);
        note
    }

    #[test]
    fn a_change_is_known_from_its_end_on() {
        let changes = Arc::new(RecentChanges::new());
        let before = Instant::now();
        note(&changes, Changed::File(1)).end();
        assert!(!changes.is_any_changed(before, &[Changed::File(1)]), "nobody wanted to know");
        changes.switch_on();
        let mut change = note(&changes, Changed::Key(1, b"k"));
        let meanwhile = Instant::now();
        change.end();
        let asked = [Changed::File(7), Changed::Key(1, b"k")];
        assert!(changes.is_any_changed(before, &asked) && changes.is_any_changed(meanwhile, &asked));
        assert!(!changes.is_any_changed(Instant::now(), &asked));
        for other in [Changed::Key(2, b"k"), Changed::Key(1, b"K"), Changed::Domain(1), Changed::File(1)] {
            assert!(!changes.is_any_changed(before, &[other]));
        }
    }

    #[test]
    fn a_change_that_was_given_up_stays_in_doubt() {
        let changes = Arc::new(RecentChanges::new());
        changes.switch_on();
        drop(note(&changes, Changed::Domain(1)));
        assert!(changes.is_any_changed(Instant::now() + DOUBT / 2, &[Changed::Domain(1)]));
        assert!(!changes.is_any_changed(Instant::now() + DOUBT * 2, &[Changed::Domain(1)]));
    }

    #[test]
    fn what_was_dropped_makes_all_before_it_count() {
        let mut log = ChangeLog::default();
        let start = Instant::now();
        let at = |n: u32| start + Duration::from_millis(n.into());
        for n in 1..=5 {
            log.note(&[u64::from(n)], at(n), 3);
        }
        assert_eq!((log.latest.len(), log.order.len()), (3, 3));
        assert_eq!(log.floor, Some(at(2)));
        // Noted twice, dropped once: still known.
        log.note(&[5, 5, 5], at(9), 3);
        assert_eq!((log.latest.get(&5), log.floor), (Some(&at(9)), Some(at(5))));
    }
}
