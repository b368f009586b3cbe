//! Which dead device has its turn when (jobs.md 9). Pure: the time is passed in.
//!
//! A device is watched for as long as it is dead, for ever: what a slower tracker still adds to it is found some day
//! (W12). One that is dead anew begins anew, with the time of grace.

use crate::ids::{DevId, Fid};
use crate::store::reaping::Position;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// After a pass that removed something.
const PAUSE_AFTER_WORK: Duration = Duration::from_secs(5);
/// After a first pass that removed nothing; doubled with each further one.
const PAUSE_FIRST: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// Files that a log line names.
const EXAMPLES_MAX: usize = 5;

/// One pass over all locations of a device.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    pub position: Position,
    pub removed: u64,
    /// Locations that stay because no other device has the file.
    pub kept: u64,
    pub kept_examples: Vec<Fid>,
    pub begun: Instant,
    /// When the log was last told.
    pub told: Instant,
    /// Was the log told that the queue of replication holds it back?
    pub told_held_back: bool,
}

impl Pass {
    fn new(now: Instant) -> Self {
        Self {
            position: Position::START,
            removed: 0,
            kept: 0,
            kept_examples: Vec::new(),
            begun: now,
            told: now,
            told_held_back: false,
        }
    }

    pub fn count(&mut self, removed: usize, kept: &[Fid]) {
        self.removed += removed as u64;
        self.kept += kept.len() as u64;
        let room = EXAMPLES_MAX.saturating_sub(self.kept_examples.len());
        self.kept_examples.extend(kept.iter().take(room));
    }
}

struct Watched {
    due: Instant,
    /// The pause after the next pass that removes nothing.
    idle_pause: Duration,
    pass: Option<Pass>,
    /// How many kept locations the log knows of.
    told_kept: u64,
}

/// The dead devices.
pub(super) struct Schedule {
    grace: Duration,
    devices: BTreeMap<DevId, Watched>,
}

impl Schedule {
    /// A device has its first turn `grace` after it was first seen dead: a mistake can be taken back until then (J105).
    pub fn new(grace: Duration) -> Self {
        Self { grace, devices: BTreeMap::new() }
    }

    /// These devices are dead now, no others.
    pub fn observe(&mut self, dead: &BTreeSet<DevId>, now: Instant) {
        self.devices.retain(|devid, _| dead.contains(devid));
        for &devid in dead {
            let new = || Watched { due: now + self.grace, idle_pause: PAUSE_FIRST, pass: None, told_kept: 0 };
            self.devices.entry(devid).or_insert_with(new);
        }
    }

    /// The device whose turn it is: the one that has waited longest.
    pub fn due(&self, now: Instant) -> Option<DevId> {
        let waiting = self.devices.iter().filter(|(_, watched)| watched.due <= now);
        waiting.min_by_key(|(_, watched)| watched.due).map(|(&devid, _)| devid)
    }

    /// How long until it is a device's turn; `None` without devices.
    pub fn until_due(&self, now: Instant) -> Option<Duration> {
        self.devices.values().map(|watched| watched.due.saturating_duration_since(now)).min()
    }

    /// The pass over a device that is under way, or a new one. Put it back with one of the two below.
    pub fn take_pass(&mut self, devid: DevId, now: Instant) -> Pass {
        self.devices.get_mut(&devid).and_then(|watched| watched.pass.take()).unwrap_or_else(|| Pass::new(now))
    }

    /// The pass goes on after a pause.
    pub fn go_on(&mut self, devid: DevId, pass: Pass, pause: Duration, now: Instant) {
        if let Some(watched) = self.devices.get_mut(&devid) {
            watched.due = now + pause;
            watched.pass = Some(pass);
        }
    }

    /// The pass has come to its end; gives the pause until the next one.
    pub fn end_pass(&mut self, devid: DevId, removed_any: bool, now: Instant) -> Duration {
        let Some(watched) = self.devices.get_mut(&devid) else { return PAUSE_MAX };
        let pause = if removed_any { PAUSE_AFTER_WORK } else { watched.idle_pause };
        watched.idle_pause = if removed_any { PAUSE_FIRST } else { (watched.idle_pause * 2).min(PAUSE_MAX) };
        watched.due = now + pause;
        pause
    }

    /// Is this another number of kept locations than the log was told last? It counts as told from now on.
    pub fn kept_is_news(&mut self, devid: DevId, kept: u64) -> bool {
        let watched = self.devices.get_mut(&devid);
        watched.is_some_and(|watched| std::mem::replace(&mut watched.told_kept, kept) != kept)
    }

    /// The database says that the device is not dead. Should the next snapshot say so still, it begins anew.
    pub fn forget(&mut self, devid: DevId) {
        self.devices.remove(&devid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(16);

    fn dead(devids: &[i64]) -> BTreeSet<DevId> {
        devids.iter().copied().map(DevId).collect()
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// J105: the first turn comes 16 s after the device was first seen dead, however often it is seen.
    #[test]
    fn a_dead_device_has_a_time_of_grace() {
        let (start, mut schedule) = (Instant::now(), Schedule::new(GRACE));
        for second in 0..16 {
            schedule.observe(&dead(&[7]), start + secs(second));
            assert_eq!(schedule.due(start + secs(second)), None);
        }
        assert_eq!(schedule.until_due(start + secs(10)), Some(secs(6)));
        assert_eq!(schedule.due(start + secs(16)), Some(DevId(7)));
    }

    /// J110 (replacement, W12): the pauses without finds grow to an hour and go on for ever.
    #[test]
    fn passes_without_finds_become_rare_but_never_stop() {
        let (mut now, mut schedule) = (Instant::now(), Schedule::new(Duration::ZERO));
        schedule.observe(&dead(&[7]), now);
        for expected in [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600] {
            assert_eq!(schedule.due(now), Some(DevId(7)));
            assert_eq!(schedule.end_pass(DevId(7), false, now), secs(expected));
            assert_eq!(schedule.due(now + secs(expected) - secs(1)), None);
            now += secs(expected);
            schedule.observe(&dead(&[7]), now);
        }
        // A find makes it lively again.
        assert_eq!(schedule.end_pass(DevId(7), true, now), secs(5));
        assert_eq!(schedule.end_pass(DevId(7), false, now + secs(5)), secs(60));
    }

    /// J111, J112 (replacement): alive again means forgotten; dead again begins anew, grace and pass.
    #[test]
    fn a_device_that_dies_again_begins_anew() {
        let (start, mut schedule) = (Instant::now(), Schedule::new(GRACE));
        schedule.observe(&dead(&[7]), start);
        let mut pass = schedule.take_pass(DevId(7), start);
        pass.count(3, &[Fid(1)]);
        schedule.go_on(DevId(7), pass, Duration::ZERO, start);
        assert_eq!(schedule.take_pass(DevId(7), start).removed, 3);
        schedule.observe(&dead(&[]), start + secs(1));
        assert_eq!(schedule.until_due(start + secs(1)), None);
        schedule.observe(&dead(&[7]), start + secs(2));
        assert_eq!(schedule.until_due(start + secs(2)), Some(GRACE));
        let pass = schedule.take_pass(DevId(7), start + secs(2));
        assert_eq!((pass.removed, pass.position), (0, Position::START));
    }

    #[test]
    fn what_is_kept_is_told_once_and_when_it_changes() {
        let (now, mut schedule) = (Instant::now(), Schedule::new(GRACE));
        schedule.observe(&dead(&[7]), now);
        let news = [0, 3, 3, 2, 2].map(|kept| schedule.kept_is_news(DevId(7), kept));
        assert_eq!(news, [false, true, false, true, false]);
        // Dead anew.
        schedule.observe(&dead(&[]), now);
        schedule.observe(&dead(&[7]), now);
        assert!(schedule.kept_is_news(DevId(7), 2));
    }

    #[test]
    fn devices_take_turns() {
        let (start, mut schedule) = (Instant::now(), Schedule::new(Duration::ZERO));
        schedule.observe(&dead(&[1]), start);
        schedule.observe(&dead(&[1, 2]), start + secs(1));
        let mut turns = Vec::new();
        for second in 1..5 {
            let now = start + secs(second);
            let devid = schedule.due(now).expect("one is due");
            let pass = schedule.take_pass(devid, now);
            schedule.go_on(devid, pass, Duration::ZERO, now);
            turns.push(devid.0);
        }
        assert_eq!(turns, [1, 1, 2, 1]);
    }

    #[test]
    fn a_pass_names_a_few_of_the_files_it_kept() {
        let mut pass = Pass::new(Instant::now());
        let fids: Vec<Fid> = (1..=4).map(Fid).collect();
        pass.count(0, &fids);
        pass.count(2, &fids);
        assert_eq!((pass.kept, pass.removed), (8, 2));
        assert_eq!(pass.kept_examples, [1, 2, 3, 4, 1].map(Fid));
    }
}
