//! How far a run is and how long it will still take, by what was checked, not by what was queued. Pure.

use super::{field, number};
use crate::store::server_settings;
use std::collections::BTreeMap;

/// The figures of a run at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Files checked since the start.
    pub checked: i64,
    /// Files that wait to be checked.
    pub queued: i64,
    /// Seconds since the start, until the last file was checked.
    elapsed_secs: i64,
    /// Numbers of files: walked over since the start, and still to be walked over.
    walked: i64,
    ahead: i64,
}

impl Progress {
    /// From the shared settings and the database's time.
    pub fn of(settings: &BTreeMap<String, String>, queued: i64, now: i64) -> Self {
        let number = |field: &str| number(settings, field);
        let runs = server_settings::says(settings, field::HOST) || queued > 0;
        let until = if runs { now } else { number(field::CHECKED_TIME) };
        let position = number(field::POSITION);
        Self {
            checked: number(field::FIDS_CHECKED),
            queued,
            elapsed_secs: (until - number(field::START_TIME)).max(0),
            walked: (position - number(field::START)).max(0),
            ahead: (number(field::END) - position).max(0),
        }
    }

    /// Files checked per second.
    pub fn rate(&self) -> f64 {
        self.checked as f64 / self.elapsed_secs.max(1) as f64
    }

    /// Files still to be checked. Of numbers to be walked over as many are files (of the scope) as of those before.
    fn left(&self) -> f64 {
        let per_number = match self.walked {
            0 => 1.0,
            walked => (self.checked + self.queued) as f64 / walked as f64,
        };
        self.queued as f64 + self.ahead as f64 * per_number.min(1.0)
    }

    /// Seconds until all are checked; `None` while nothing was checked by which it could be told.
    pub fn eta_secs(&self) -> Option<i64> {
        let left = self.left();
        match (left > 0.0, self.checked > 0) {
            (false, _) => Some(0),
            (true, false) => None,
            (true, true) => Some((left / self.rate()).ceil() as i64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(pairs: &[(&str, i64)], queued: i64, now: i64) -> Progress {
        let settings = pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_string())).collect();
        Progress::of(&settings, queued, now)
    }

    #[test]
    fn what_is_left_takes_as_long_as_what_was_done() {
        // A third of the numbers are files; 400 of 500 that were taken are checked, in 100 s.
        let running = [
            (field::HOST, 1),
            (field::START_TIME, 1000),
            (field::START, 0),
            (field::POSITION, 1500),
            (field::END, 4500),
            (field::FIDS_CHECKED, 400),
        ];
        let half_way = progress(&running, 100, 1100);
        assert!((half_way.rate() - 4.0).abs() < 1e-9);
        assert_eq!(half_way.eta_secs(), Some((100 + 1000) / 4));
    }

    #[test]
    fn nothing_is_told_before_something_was_checked() {
        let begun = [(field::HOST, 1), (field::START_TIME, 1000), (field::END, 4500)];
        assert_eq!(progress(&begun, 0, 1001).eta_secs(), None);
        let over = [
            (field::START_TIME, 1000),
            (field::STOP_TIME, 1002),
            (field::CHECKED_TIME, 1010),
            (field::FIDS_CHECKED, 50),
        ];
        let over = progress(&over, 0, 5000);
        assert_eq!((over.eta_secs(), over.rate()), (Some(0), 5.0));
    }
}
