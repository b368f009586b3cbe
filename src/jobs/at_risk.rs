//! Files at one copy: how many wait for a second one, and how long that takes at the present pace.
//!
//! What is counted are rows of the replication queue whose file has at most one copy by its `devcount`. Files that nobody
//! has queued (a lost disk whose device is not marked dead) are not among them: fsck finds those.

use crate::metrics::Counter;
use std::collections::VecDeque;
use std::time::Duration;

/// Over which time the pace is measured.
const WINDOW: Duration = Duration::from_secs(60);

/// A counter's growth within the last minute.
#[derive(Debug, Default)]
pub struct Pace {
    /// When the counter had which value, oldest first; times count from any fixed point.
    samples: VecDeque<(Duration, u64)>,
}

impl Pace {
    /// Looks at the counter; gives its growth within the last minute (or since the first look).
    pub fn sample(&mut self, now: Duration, counter: &Counter) -> u64 {
        let value = counter.get();
        self.samples.push_back((now, value));
        // The oldest sample is the newest of those that are a minute old.
        while self.samples.get(1).is_some_and(|(then, _)| now.saturating_sub(*then) >= WINDOW) {
            self.samples.pop_front();
        }
        self.samples.front().map_or(0, |(_, before)| value.saturating_sub(*before))
    }
}

/// How long so many files take at a pace of so many a minute; `None` while nothing is copied. 0 files are safe now.
pub fn safe_in_secs(files: u64, copied_last_minute: u64) -> Option<u64> {
    match (files, copied_last_minute) {
        (0, _) => Some(0),
        (_, 0) => None,
        (files, copied) => Some((files.saturating_mul(WINDOW.as_secs())).div_ceil(copied)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_last_minute() {
        let (mut pace, counter) = (Pace::default(), Counter::default());
        assert_eq!(pace.sample(Duration::ZERO, &counter), 0);
        for second in 1..=200 {
            counter.add(if second <= 100 { 10 } else { 1 });
            let copied = pace.sample(Duration::from_secs(second), &counter);
            match second {
                60 => assert_eq!(copied, 600),
                100 => assert_eq!(copied, 600),
                200 => assert_eq!(copied, 60),
                _ => {}
            }
        }
        assert!(pace.samples.len() <= 61);
    }

    #[test]
    fn the_time_is_honest_about_standstill() {
        assert_eq!(safe_in_secs(0, 0), Some(0));
        assert_eq!(safe_in_secs(5, 0), None);
        assert_eq!(safe_in_secs(600, 60), Some(600));
        assert_eq!(safe_in_secs(1, 7), Some(9));
    }
}
