//! The slowest requests of the last minutes, for people who look for what is slow.
//!
//! Bounded: so many a minute, for so many minutes. A run of quick requests costs one comparison each.

use super::batch::Lines;
use super::recent::{Answered, shown};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Minutes that are remembered, the present one among them.
const MINUTES: usize = 10;
/// Requests kept of each minute.
const KEPT_PER_MINUTE: usize = 10;
/// Nothing quicker is called slow.
const SLOW_US_MIN: u32 = 1000;
/// Of longer request lines the beginning is kept.
const LINE_BYTES_MAX: usize = 300;

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnsweredRequest {
    pub peer: IpAddr,
    pub line: Vec<u8>,
    /// Within the worker.
    pub time_us: u32,
    /// How long ago that was; only known of slow ones.
    pub ago: Option<Duration>,
}

/// The requests of one minute, the slowest first.
struct Minute {
    begun: Instant,
    slowest: Vec<(Instant, AnsweredRequest)>,
}

/// The memory of one listener.
#[derive(Default)]
pub struct Slowest {
    minutes: VecDeque<Minute>,
    /// What a request must exceed to be kept now.
    threshold_us: u32,
}

impl Slowest {
    pub fn add(&mut self, answered: &Answered, now: Instant) {
        let begins_anew = self.minutes.back().is_none_or(|minute| now - minute.begun >= Duration::from_secs(60));
        if begins_anew {
            self.minutes.push_back(Minute { begun: now, slowest: Vec::new() });
            self.threshold_us = SLOW_US_MIN;
        }
        while self.minutes.len() > MINUTES {
            self.minutes.pop_front();
        }
        if answered.times_us.iter().all(|&time_us| time_us <= self.threshold_us) {
            return;
        }
        let timed = answered.lines.iter_from(answered.from).zip(&answered.times_us);
        for (line, &time_us) in timed {
            if time_us > self.threshold_us {
                let line = line[..line.len().min(LINE_BYTES_MAX)].to_vec();
                self.keep(AnsweredRequest { peer: answered.peer, line, time_us, ago: None }, now);
            }
        }
    }

    fn keep(&mut self, request: AnsweredRequest, now: Instant) {
        let Some(minute) = self.minutes.back_mut() else { return };
        let place = minute.slowest.partition_point(|(_, kept)| kept.time_us >= request.time_us);
        minute.slowest.insert(place, (now, request));
        minute.slowest.truncate(KEPT_PER_MINUTE);
        if minute.slowest.len() == KEPT_PER_MINUTE {
            self.threshold_us = minute.slowest.last().map_or(SLOW_US_MIN, |(_, least)| least.time_us);
        }
    }

    /// The slowest of all that is remembered, the slowest first.
    pub fn list(&self, now: Instant, count: usize) -> Vec<AnsweredRequest> {
        let memory = Duration::from_secs(60) * u32::try_from(MINUTES).unwrap_or(u32::MAX);
        let all = self.minutes.iter().flat_map(|minute| &minute.slowest);
        let mut list: Vec<AnsweredRequest> = all
            .map(|(then, request)| AnsweredRequest {
                ago: Some(now.saturating_duration_since(*then)),
                ..request.clone()
            })
            .filter(|request| request.ago.is_some_and(|ago| ago <= memory))
            .collect();
        list.sort_by_key(|request| std::cmp::Reverse(request.time_us));
        list.truncate(count);
        list
    }
}

/// The requests of these lines with their times.
pub fn with_times<'a>(
    peer: IpAddr,
    lines: &'a Lines,
    from: usize,
    times_us: &'a [u32],
) -> impl Iterator<Item = AnsweredRequest> + 'a {
    lines.iter_from(from).zip(times_us).map(move |(line, &time_us)| {
        let line = shown(line);
        AnsweredRequest { peer, line: line[..line.len().min(LINE_BYTES_MAX)].to_vec(), time_us, ago: None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn answered(texts: &[&str], times_us: &[u32]) -> Answered {
        let mut lines = Lines::default();
        texts.iter().for_each(|text| lines.push(text.as_bytes()));
        let (times_us, elapsed) = (times_us.to_vec(), Duration::ZERO);
        Answered { peer: IpAddr::from([10, 0, 0, 1]), lines: Arc::new(lines), from: 0, times_us, elapsed }
    }

    #[test]
    fn the_slowest_of_the_last_minutes_are_kept_and_nothing_more() {
        let (mut slowest, start) = (Slowest::default(), Instant::now());
        slowest.add(&answered(&["quick", "slow"], &[1000, 1001]), start);
        for number in 0..100 {
            slowest.add(&answered(&["noop", &"x".repeat(9999)], &[10, 5000 + number]), start);
        }
        let list = slowest.list(start, 100);
        assert_eq!(list.len(), KEPT_PER_MINUTE);
        assert_eq!((list[0].time_us, list[9].time_us, list[0].line.len()), (5099, 5090, LINE_BYTES_MAX));
        // In the next minute less is enough.
        let later = start + Duration::from_secs(61);
        slowest.add(&answered(&["later"], &[1500]), later);
        assert_eq!(slowest.list(later, 100).last().map(|one| one.line.clone()), Some(b"later".to_vec()));
        assert_eq!(slowest.list(later, 3).len(), 3);
        // And all is forgotten in time, also without new requests.
        assert_eq!(slowest.list(later + Duration::from_secs(599), 100).len(), 1);
        assert_eq!(slowest.list(later + Duration::from_secs(601), 100).len(), 0);
    }
}
