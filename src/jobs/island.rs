//! Island mode: while the database is away, `get_paths` is answered from what it said last (decision 0014).
//!
//! Off unless `database.island_mode` is set. Only for reading; every such answer says that it may be out of date, and how
//! old it is. What this tracker changes is forgotten before anybody is told of the change. Nothing is remembered that the
//! database did not say, and nothing is kept on disk.

use super::path_cache::Location;
use crate::ids::{DevId, Dmid, Fid};
use crate::metrics::Metrics;
use crate::settings::DatabaseSettings;
use crate::store::{ChangeNote, Session, StoreError, StoreResult};
use bstr::{BStr, BString};
use hashlink::LruCache;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What an entry takes besides its key and its devices, about.
const ENTRY_BYTES: usize = 256;

/// The memory of all workers of a tracker. Clones are one.
#[derive(Clone)]
pub struct Island {
    /// `None` while the mode is off.
    memory: Option<Arc<Mutex<Memory>>>,
    metrics: Metrics,
}

type Key = (Dmid, BString);

struct Remembered {
    fid: Fid,
    devids: Box<[DevId]>,
    length: Option<i64>,
    /// When the database was asked.
    asked_at: Instant,
}

struct Memory {
    entries: LruCache<Arc<Key>, Remembered>,
    /// The keys by which files were asked for: one, but for other spellings.
    by_fid: HashMap<Fid, Vec<Arc<Key>>>,
    bytes: usize,
    bytes_max: usize,
    entries_max: usize,
}

impl Island {
    pub fn new(settings: &DatabaseSettings, metrics: Metrics) -> Self {
        let memory = || Memory::new(settings.island_entries_max, settings.island_bytes_max);
        Self { memory: settings.island_mode.then(|| Arc::new(Mutex::new(memory()))), metrics }
    }

    /// Is anything remembered at all?
    pub fn is_on(&self) -> bool {
        self.memory.is_some()
    }

    /// Remembers what the database, asked at that moment, said about a key; or answers in its place if it is away.
    ///
    /// # Errors
    /// The database's, if it is away and the key is not remembered.
    pub fn settle(
        &self,
        session: &Session,
        (dmid, dkey): (Dmid, &BStr),
        asked_at: Instant,
        located: StoreResult<Option<Location>>,
    ) -> StoreResult<Option<Location>> {
        let Some(memory) = &self.memory else { return located };
        let mut memory = lock(memory);
        match &located {
            // A cache of paths does not tell how old its entry is, nor the length.
            Ok(Some(Location { length: None, .. })) => {}
            // Under the lock: who ends a change forgets afterwards what was remembered until then.
            Ok(Some(location)) if !session.is_changed_since(asked_at, dmid, dkey, location.fid) => {
                memory.remember((dmid, dkey.to_owned()), location, asked_at);
            }
            Ok(_) => memory.forget_key(&(dmid, dkey.to_owned())),
            Err(StoreError::Unavailable(_)) => {
                if let Some(location) = memory.recall(&(dmid, dkey.to_owned())) {
                    self.metrics.island_answers.add(1);
                    return Ok(Some(location));
                }
            }
            Err(_) => {}
        }
        located
    }
}

/// A change that this tracker makes, for the store (a replica may lack it) and for the memory. Dropped without
/// [`OwnChange::end`], it counts as one that may still come true.
#[must_use]
pub struct OwnChange {
    note: ChangeNote,
    memory: Option<Arc<Mutex<Memory>>>,
    /// These are only for the memory.
    keys: Vec<Key>,
    fids: Vec<Fid>,
    domains: Vec<Dmid>,
}

impl OwnChange {
    /// Before a change of what these keys lead to, or of the copies of their files.
    pub fn begin(island: &Island, session: &Session, dmid: Dmid, dkeys: &[&BStr]) -> Self {
        let note = session.note_change(dmid, dkeys);
        let mut change =
            Self { note, memory: island.memory.clone(), keys: Vec::new(), fids: Vec::new(), domains: Vec::new() };
        if change.memory.is_some() {
            change.keys.extend(dkeys.iter().map(|&dkey| (dmid, dkey.to_owned())));
        }
        change
    }

    /// It is about these files, whichever keys led to them.
    pub fn add_files(&mut self, fids: &[Fid]) {
        fids.iter().for_each(|&fid| self.note.covers_file(fid));
        self.fids.extend(fids);
    }

    /// Nobody knows what in this domain it is about.
    pub fn add_domain(&mut self, dmid: Dmid) {
        self.note.covers_domain(dmid);
        self.domains.push(dmid);
    }

    /// It was refused: nothing is different.
    pub fn void(&mut self) {
        self.note.void();
        self.keys.clear();
    }

    /// To be called when the change was made or refused, before anybody is told.
    pub fn end(&mut self) {
        self.note.end();
        self.forget();
    }

    /// Only when the note is made: what is remembered after this is held against it.
    fn forget(&mut self) {
        let Some(memory) = self.memory.take() else { return };
        let mut memory = lock(&memory);
        self.keys.iter().for_each(|key| memory.forget_key(key));
        self.fids.iter().for_each(|&fid| memory.forget_file(fid));
        self.domains.iter().for_each(|&dmid| memory.forget_domain(dmid));
    }
}

impl Drop for OwnChange {
    fn drop(&mut self) {
        self.note.give_up();
        self.forget();
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    fn new(entries_max: usize, bytes_max: usize) -> Self {
        let entries = LruCache::new_unbounded();
        Self { entries, by_fid: HashMap::new(), bytes: 0, bytes_max, entries_max }
    }

    fn remember(&mut self, key: Key, location: &Location, asked_at: Instant) {
        // An answer that took longer than another one does not replace it.
        if self.entries.peek(&key).is_some_and(|known| known.asked_at > asked_at) {
            return;
        }
        self.forget_key(&key);
        let remembered = Remembered {
            fid: location.fid,
            devids: location.devids.as_slice().into(),
            length: location.length,
            asked_at,
        };
        self.bytes += cost(&key, &remembered);
        let key = Arc::new(key);
        self.by_fid.entry(location.fid).or_default().push(Arc::clone(&key));
        self.entries.insert(key, remembered);
        while self.bytes > self.bytes_max || self.entries.len() > self.entries_max {
            let Some((key, dropped)) = self.entries.remove_lru() else { return };
            self.note_gone(&key, &dropped);
        }
    }

    fn recall(&mut self, key: &Key) -> Option<Location> {
        let Remembered { fid, devids, length, asked_at } = self.entries.get(key)?;
        let stale_for = Some(asked_at.elapsed());
        Some(Location { fid: *fid, devids: devids.to_vec(), length: *length, stale_for })
    }

    fn forget_key(&mut self, key: &Key) {
        if let Some((key, gone)) = self.entries.remove_entry(key) {
            self.note_gone(&key, &gone);
        }
    }

    fn forget_file(&mut self, fid: Fid) {
        for key in self.by_fid.remove(&fid).unwrap_or_default() {
            self.forget_key(&key);
        }
    }

    fn forget_domain(&mut self, dmid: Dmid) {
        let keys: Vec<_> = self.entries.iter().map(|(key, _)| Arc::clone(key)).filter(|key| key.0 == dmid).collect();
        keys.iter().for_each(|key| self.forget_key(key));
    }

    fn note_gone(&mut self, key: &Arc<Key>, gone: &Remembered) {
        self.bytes -= cost(key, gone);
        if let Some(keys) = self.by_fid.get_mut(&gone.fid) {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.by_fid.remove(&gone.fid);
            }
        }
    }
}

fn cost(key: &Key, remembered: &Remembered) -> usize {
    ENTRY_BYTES + key.1.len() + size_of_val(&*remembered.devids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn location(fid: i64) -> Location {
        Location { fid: Fid(fid), devids: vec![DevId(1), DevId(2)], length: Some(5), stale_for: None }
    }

    fn key(dmid: i64, dkey: &str) -> Key {
        (Dmid(dmid), dkey.into())
    }

    fn is_known(memory: &mut Memory, key: &Key) -> Option<i64> {
        memory.recall(key).map(|location| location.fid.0)
    }

    #[test]
    fn what_was_used_last_stays() {
        let mut memory = Memory::new(2, usize::MAX);
        let (a, b, c) = (key(1, "a"), key(1, "b"), key(2, "a"));
        for (fid, key) in (1..).zip([&a, &b]) {
            memory.remember(key.clone(), &location(fid), Instant::now());
        }
        assert_eq!(is_known(&mut memory, &a), Some(1));
        memory.remember(c.clone(), &location(3), Instant::now());
        assert_eq!([&a, &b, &c].map(|key| is_known(&mut memory, key)), [Some(1), None, Some(3)]);
        assert_eq!((memory.by_fid.len(), memory.bytes), (2, 2 * (ENTRY_BYTES + 1 + 16)));
        let recalled = memory.recall(&a).expect("known");
        assert!(recalled.stale_for.is_some());
        assert_eq!(Location { stale_for: None, ..recalled }, location(1));
    }

    #[test]
    fn no_more_bytes_than_allowed_are_held() {
        let mut memory = Memory::new(1000, 10 * ENTRY_BYTES);
        for fid in 0..100 {
            memory.remember(key(1, &format!("key {fid}")), &location(fid), Instant::now());
            assert!(memory.bytes <= 10 * ENTRY_BYTES);
        }
        assert!(memory.entries.len() > 5 && memory.by_fid.len() == memory.entries.len());
        memory.remember(key(1, &"x".repeat(10_000)), &location(100), Instant::now());
        assert_eq!((memory.entries.len(), memory.by_fid.len(), memory.bytes), (0, 0, 0), "it does not fit at all");
    }

    #[test]
    fn a_file_is_forgotten_in_all_spellings() {
        let mut memory = Memory::new(10, usize::MAX);
        let (lower, upper, other) = (key(1, "k"), key(1, "K"), key(1, "other"));
        for (key, fid) in [(&lower, 7), (&upper, 7), (&other, 8)] {
            memory.remember(key.clone(), &location(fid), Instant::now());
        }
        memory.forget_file(Fid(7));
        assert_eq!([&lower, &upper, &other].map(|key| is_known(&mut memory, key)), [None, None, Some(8)]);
        memory.forget_domain(Dmid(2));
        assert_eq!(is_known(&mut memory, &other), Some(8));
        memory.forget_domain(Dmid(1));
        assert_eq!((memory.entries.len(), memory.by_fid.len(), memory.bytes), (0, 0, 0));
    }

    #[test]
    fn the_answer_to_the_later_question_counts() {
        let mut memory = Memory::new(10, usize::MAX);
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        memory.remember(key(1, "k"), &location(2), later);
        memory.remember(key(1, "k"), &location(1), now);
        assert_eq!(is_known(&mut memory, &key(1, "k")), Some(2));
    }
}
