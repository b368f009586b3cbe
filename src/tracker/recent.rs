//! The last requests whose reply was delivered, for `!recent`.
//!
//! Written once for each run of replies, with nothing copied and nothing formatted; what it holds is bounded.

use super::batch::Lines;
use super::slowest::{self, AnsweredRequest};
use std::collections::VecDeque;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Requests that are shown.
const REQUESTS_MAX: usize = 50;
/// Of longer request lines the beginning is shown, so that neither `!recent` nor `!queue` grows without bound.
pub const SHOWN_BYTES_MAX: usize = 4096;
/// Larger runs of lines are not kept as they are, but cut to what is shown.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Lines that were answered together.
pub struct Answered {
    pub peer: IpAddr,
    pub lines: Arc<Lines>,
    /// The first one that was answered.
    pub from: usize,
    /// How long each took within the worker.
    pub times_us: Vec<u32>,
    /// From the hand-over to the arrival of the replies.
    pub elapsed: Duration,
}

impl Answered {
    fn len(&self) -> usize {
        self.times_us.len()
    }

    /// The way to the worker and back, as one line's share of it.
    fn way_us(&self) -> f64 {
        let within: u64 = self.times_us.iter().map(|&time| u64::from(time)).sum();
        let way = self.elapsed.saturating_sub(Duration::from_micros(within));
        way.as_secs_f64() * 1e6 / self.len().max(1) as f64
    }

    /// The same with no more than is shown.
    fn cut(mut self) -> Self {
        if self.lines.bytes_len() > KEPT_BYTES_MAX {
            let mut kept = Lines::default();
            for line in self.lines.iter_from(self.from).take(self.len()) {
                kept.push(shown(line));
            }
            self.lines = Arc::new(kept);
            self.from = 0;
        }
        self
    }
}

/// The part of a request line that the console shows.
pub fn shown(line: &[u8]) -> &[u8] {
    &line[..line.len().min(SHOWN_BYTES_MAX)]
}

/// The ring of one listener.
#[derive(Default)]
pub struct Recent {
    runs: VecDeque<Answered>,
    requests: usize,
}

impl Recent {
    pub fn add(&mut self, answered: Answered) {
        self.requests += answered.len();
        self.runs.push_back(answered.cut());
        while let Some(oldest) = self.runs.front()
            && self.requests - oldest.len() >= REQUESTS_MAX
        {
            self.requests -= oldest.len();
            self.runs.pop_front();
        }
    }

    /// The last requests, the latest first.
    pub fn list(&self) -> Vec<AnsweredRequest> {
        let runs = self.runs.iter().flat_map(|run| slowest::with_times(run.peer, &run.lines, run.from, &run.times_us));
        let mut list: Vec<AnsweredRequest> = runs.collect();
        list.reverse();
        list.truncate(REQUESTS_MAX);
        list
    }

    /// `<ip> <request line> <T1> <T2>`, oldest first (admin-console.md A.2).
    pub fn write_lines(&self, out: &mut Vec<u8>) {
        let mut skipped = self.requests.saturating_sub(REQUESTS_MAX);
        for run in &self.runs {
            let way_us = run.way_us();
            for (line, &time_us) in run.lines.iter_from(run.from).zip(&run.times_us) {
                if skipped > 0 {
                    skipped -= 1;
                    continue;
                }
                let within = f64::from(time_us);
                // Writing to a vector does not fail.
                let _infallible = write!(out, "{} ", run.peer);
                out.extend_from_slice(shown(line));
                let _infallible = write!(out, " {:.4} {:.4}\r\n", (within + way_us) / 1e6, within / 1e6);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(texts: &[&str], times_us: &[u32], elapsed_us: u64) -> Answered {
        let mut lines = Lines::default();
        for text in texts {
            lines.push(text.as_bytes());
        }
        Answered {
            peer: IpAddr::from([10, 0, 3, 7]),
            lines: Arc::new(lines),
            from: texts.len() - times_us.len(),
            times_us: times_us.to_vec(),
            elapsed: Duration::from_micros(elapsed_us),
        }
    }

    fn shown_lines(recent: &Recent) -> Vec<String> {
        let mut out = Vec::new();
        recent.write_lines(&mut out);
        String::from_utf8(out).expect("ASCII").split_terminator("\r\n").map(str::to_owned).collect()
    }

    /// Conformance 299.
    #[test]
    fn shows_the_last_fifty_with_both_times() {
        let mut recent = Recent::default();
        recent.add(answered(&["noop", "sleep duration=1", "noop a=1"], &[1_000_000, 200], 1_000_400));
        assert_eq!(
            shown_lines(&recent),
            ["10.0.3.7 sleep duration=1 1.0001 1.0000", "10.0.3.7 noop a=1 0.0003 0.0002"]
        );
        for number in 0..40 {
            let texts: Vec<String> = (0..3).map(|part| format!("noop n={number}.{part}")).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            recent.add(answered(&texts, &[0; 3], 0));
        }
        let lines = shown_lines(&recent);
        assert_eq!(lines.len(), 50);
        assert_eq!(lines[0], "10.0.3.7 noop n=23.1 0.0000 0.0000");
        assert_eq!(lines[49], "10.0.3.7 noop n=39.2 0.0000 0.0000");
        assert!(recent.runs.len() <= 17, "older ones are let go");
    }

    #[test]
    fn long_lines_are_not_kept() {
        let mut recent = Recent::default();
        let long = "x".repeat(1 << 20);
        for _ in 0..60 {
            recent.add(answered(&["noop", &long], &[1], 1));
        }
        assert_eq!(shown_lines(&recent)[0].len(), "10.0.3.7  0.0000 0.0000".len() + SHOWN_BYTES_MAX);
        let held: usize = recent.runs.iter().map(|run| run.lines.bytes_len()).sum();
        assert!(held <= 50 * SHOWN_BYTES_MAX, "{held}");
    }
}
