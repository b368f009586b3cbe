//! Background work gives way to clients: when requests become slower than they are without it, it rests.
//!
//! One pace per tracker. Connections say how long prompt requests took ([`Pace::note_request`]: a few loads and adds, no
//! lock); workers ask before each piece of work how many of them may be done side by side ([`Pace::side_by_side`]), and
//! after it how long to rest ([`Pace::rest_after`]). What is held is the slow end: not more than one request in a hundred
//! may take half as long again as one in a hundred takes while no background work is done. (What clients see grows more
//! than what is seen here, by what a request waits until it is read.) Without clients there is no rest at all. It never
//! stops work altogether: a share of the time, the floor, is always left, since files with one copy are waiting.
//!
//! Additive increase, multiplicative decrease and a slow start, as in TCP. Must never hold a lock that a request needs.

use crate::settings::JobSettings;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The share of the time that background work may use, in thousandths.
const FULL_SHARE: u32 = 1000;
/// What a good window adds to the share.
const SHARE_STEP: u32 = 20;
/// The share of work that begins while clients are there: it has to find out first how much they bear.
const SHARE_AT_BEGIN: u32 = 50;
/// A window is judged after so long if it had enough requests, else later.
const WINDOW_MIN: Duration = Duration::from_millis(100);
const WINDOW_MAX: Duration = Duration::from_secs(1);
/// Requests that make a window worth judging.
const REQUESTS_ENOUGH: u64 = 50;
/// Fewer in the longest window: nobody is being disturbed.
const REQUESTS_IDLE: u64 = 10;
/// One piece of work is never followed by a longer rest.
const REST_MAX: Duration = Duration::from_secs(1);
/// How slow one request in a hundred is taken to be before it was measured.
const SLOW_US_DEFAULT: u32 = 1000;
/// Below this it is the machine's own restlessness.
const SLOW_US_MIN: u32 = 200;
/// Background work that rested for so long is not there.
const ABSENT_AFTER: Duration = Duration::from_secs(2);

/// The pace of one tracker; clones are the same.
#[derive(Clone, Debug)]
pub struct Pace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    is_on: bool,
    floor: u32,
    /// What one prompt request in a hundred takes at least while no background work is done, in microseconds.
    quiet_slow_us: AtomicU32,
    requests: AtomicU64,
    slow_requests: AtomicU64,
    is_background_active: AtomicBool,
    share: AtomicU32,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    begun: Instant,
}

impl Pace {
    pub fn new(settings: &JobSettings) -> Self {
        Self(Arc::new(Inner {
            is_on: settings.give_way_to_clients,
            floor: settings.give_way_floor_percent.clamp(1, 100) * FULL_SHARE / 100,
            quiet_slow_us: AtomicU32::new(SLOW_US_DEFAULT),
            requests: AtomicU64::new(0),
            slow_requests: AtomicU64::new(0),
            is_background_active: AtomicBool::new(false),
            share: AtomicU32::new(FULL_SHARE),
            window: Mutex::new(Window { begun: Instant::now() }),
        }))
    }

    /// A request that waited for no node was answered after so long. To be called from one thread.
    pub fn note_request(&self, took: Duration) {
        let inner = &*self.0;
        let took_us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let quiet_slow_us = inner.quiet_slow_us.load(Ordering::Relaxed);
        inner.requests.fetch_add(1, Ordering::Relaxed);
        if inner.is_background_active.load(Ordering::Relaxed) {
            if took_us > quiet_slow_us.saturating_add(quiet_slow_us / 2) {
                inner.slow_requests.fetch_add(1, Ordering::Relaxed);
            }
        } else {
            inner.quiet_slow_us.store(next_quantile(quiet_slow_us, took_us), Ordering::Relaxed);
        }
    }

    /// How long a worker is to rest after a piece of work that took so long.
    pub fn rest_after(&self, worked: Duration) -> Duration {
        let inner = &*self.0;
        if !inner.is_on {
            return Duration::ZERO;
        }
        if !inner.is_background_active.swap(true, Ordering::Relaxed) {
            self.begin_work(Instant::now());
        }
        self.judge_window(Instant::now());
        rest_for(inner.share.load(Ordering::Relaxed), worked)
    }

    /// How many of so many pieces of work may be done side by side now; at least one. A burst of work is as long a wait for
    /// a request as its pieces together, however long the rest after it.
    pub fn side_by_side(&self, most: usize) -> usize {
        let inner = &*self.0;
        let share = match inner.is_background_active.load(Ordering::Relaxed) {
            _ if !inner.is_on => FULL_SHARE,
            true => inner.share.load(Ordering::Relaxed),
            false => self.share_at_begin(inner.requests.load(Ordering::Relaxed)),
        };
        (most * share as usize / FULL_SHARE as usize).max(1)
    }

    /// The share of work that begins, by the requests of late.
    fn share_at_begin(&self, requests: u64) -> u32 {
        if requests < REQUESTS_IDLE { FULL_SHARE } else { SHARE_AT_BEGIN.max(self.0.floor) }
    }

    /// The share of the time that background work has now, in percent.
    pub fn share_percent(&self) -> u32 {
        self.0.share.load(Ordering::Relaxed) * 100 / FULL_SHARE
    }

    /// Work begins after a pause: slowly, if there are clients.
    fn begin_work(&self, now: Instant) {
        let inner = &*self.0;
        inner.window.lock().unwrap_or_else(PoisonError::into_inner).begun = now;
        inner.slow_requests.store(0, Ordering::Relaxed);
        let requests = inner.requests.swap(0, Ordering::Relaxed);
        inner.share.store(self.share_at_begin(requests), Ordering::Relaxed);
    }

    /// Whoever comes first after the end of a window judges it; nobody waits for that.
    fn judge_window(&self, now: Instant) {
        let inner = &*self.0;
        let mut window = match inner.window.try_lock() {
            Ok(window) => window,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(std::sync::TryLockError::WouldBlock) => return,
        };
        let age = now.saturating_duration_since(window.begun);
        let requests = inner.requests.load(Ordering::Relaxed);
        if age < WINDOW_MIN || (requests < REQUESTS_ENOUGH && age < WINDOW_MAX) {
            return;
        }
        window.begun = now;
        let slow_requests = inner.slow_requests.swap(0, Ordering::Relaxed);
        inner.requests.store(0, Ordering::Relaxed);
        let share = inner.share.load(Ordering::Relaxed);
        inner.share.store(next_share(share, inner.floor, requests, slow_requests), Ordering::Relaxed);
    }

    /// To be called about once a second, by whoever looks after the workers: without work for a while, what requests take
    /// is measured anew, and how many there are.
    pub fn look_whether_quiet(&self) {
        let inner = &*self.0;
        let mut window = inner.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.begun.elapsed() > ABSENT_AFTER {
            inner.is_background_active.store(false, Ordering::Relaxed);
            window.begun = Instant::now();
            inner.requests.store(0, Ordering::Relaxed);
        }
    }
}

/// The next estimate of what one value in a hundred exceeds: up by 99 parts for a value above, down by one for another.
fn next_quantile(estimate: u32, value: u32) -> u32 {
    let estimate = f64::from(estimate);
    let step = estimate * 0.05;
    let next = if f64::from(value) > estimate { estimate + 0.99 * step } else { estimate - 0.01 * step };
    (next.round() as u32).max(SLOW_US_MIN)
}

fn next_share(share: u32, floor: u32, requests: u64, slow_requests: u64) -> u32 {
    if requests < REQUESTS_IDLE {
        return FULL_SHARE;
    }
    if slow_requests > 1 && slow_requests * 100 > requests {
        return (share / 2).max(floor);
    }
    (share + SHARE_STEP).min(FULL_SHARE)
}

fn rest_for(share: u32, worked: Duration) -> Duration {
    if share >= FULL_SHARE {
        return Duration::ZERO;
    }
    (worked * (FULL_SHARE - share) / share.max(1)).min(REST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use proptest::prelude::*;

    const FLOOR: u32 = 50;

    #[test]
    fn slow_requests_halve_the_share_and_quick_ones_give_it_back() {
        assert_eq!(next_share(1000, FLOOR, 200, 2), 1000, "one in a hundred is what there is without work");
        assert_eq!(next_share(1000, FLOOR, 200, 3), 500);
        assert_eq!(next_share(60, FLOOR, 200, 50), FLOOR);
        assert_eq!(next_share(500, FLOOR, 200, 0), 520);
        assert_eq!(next_share(FLOOR, FLOOR, 9, 9), FULL_SHARE, "nobody is there");
        assert_eq!(next_share(500, FLOOR, 20, 1), 520, "a single one says nothing");
    }

    #[test]
    fn rest_makes_up_the_share() {
        let worked = Duration::from_millis(10);
        assert_eq!(rest_for(1000, worked), Duration::ZERO);
        assert_eq!(rest_for(500, worked), worked);
        assert_eq!(rest_for(100, worked), 9 * worked);
        assert_eq!(rest_for(50, Duration::from_secs(3600)), REST_MAX);
    }

    #[test]
    fn what_is_slow_is_learnt_without_background_work_only() {
        let pace = Pace::new(&Settings::defaults().jobs);
        for n in 0..5000_u64 {
            pace.note_request(Duration::from_micros(if n % 50 == 0 { 4000 } else { 300 }));
        }
        let learnt = pace.0.quiet_slow_us.load(Ordering::Relaxed);
        assert!((2000..6000).contains(&learnt), "two in a hundred take 4000 us: {learnt}");
        pace.rest_after(Duration::from_millis(1));
        for _ in 0..5000 {
            pace.note_request(Duration::from_millis(100));
        }
        assert_eq!(pace.0.quiet_slow_us.load(Ordering::Relaxed), learnt);
        assert_eq!(pace.0.slow_requests.load(Ordering::Relaxed), 5000);
    }

    #[test]
    fn work_begins_slowly_only_where_clients_are() {
        let pace = Pace::new(&Settings::defaults().jobs);
        let worked = Duration::from_millis(1);
        assert_eq!((pace.side_by_side(200), pace.rest_after(worked)), (200, Duration::ZERO));
        let pace = Pace::new(&Settings::defaults().jobs);
        (0..REQUESTS_IDLE).for_each(|_| pace.note_request(Duration::from_micros(100)));
        assert_eq!((pace.side_by_side(200), pace.side_by_side(8)), (10, 1), "the first pieces of work know it too");
        assert_eq!(pace.rest_after(worked), 19 * worked);
        assert_eq!((pace.side_by_side(200), pace.side_by_side(8)), (10, 1));
        assert_eq!(pace.share_percent(), 5);
    }

    #[test]
    fn can_be_switched_off() {
        let mut settings = Settings::defaults().jobs;
        settings.give_way_to_clients = false;
        let pace = Pace::new(&settings);
        pace.0.share.store(FLOOR, Ordering::Relaxed);
        assert_eq!((pace.side_by_side(7), pace.rest_after(Duration::from_secs(1))), (7, Duration::ZERO));
    }

    proptest! {
        #[test]
        fn the_share_stays_between_floor_and_full(
            windows in proptest::collection::vec((0..1000_u64, 0..1000_u64), 1..50),
            floor in 1..=FULL_SHARE,
        ) {
            let mut share = FULL_SHARE;
            for (requests, slow) in windows {
                share = next_share(share, floor, requests, slow.min(requests));
                prop_assert!((floor..=FULL_SHARE).contains(&share));
            }
        }
    }
}
