//! Counts and latencies of a run, by kind of request.

use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longer latencies count as this one.
const MAX_LATENCY_US: u64 = 3_600_000_000;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Get,
    Info,
    List,
    Noop,
    /// The three steps of an upload together.
    Upload,
    Open,
    Put,
    Close,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Info => "info",
            Self::List => "list",
            Self::Noop => "noop",
            Self::Upload => "upload",
            Self::Open => "open",
            Self::Put => "put",
            Self::Close => "close",
        }
    }

    /// Part of an upload, which is counted as a whole.
    fn is_step(self) -> bool {
        matches!(self, Self::Open | Self::Put | Self::Close)
    }
}

/// What a thread, or all of them together, saw.
pub(super) struct Stats {
    latencies_us: BTreeMap<Kind, Histogram<u64>>,
    /// Failed requests by the tracker's code or a word of ours.
    errors: BTreeMap<String, u64>,
    /// Uploads begun, by connection: so many keys may have to be deleted.
    pub(super) uploads: BTreeMap<u32, u64>,
}

impl Stats {
    pub(super) fn new() -> Self {
        Self { latencies_us: BTreeMap::new(), errors: BTreeMap::new(), uploads: BTreeMap::new() }
    }

    /// A request that succeeded.
    pub(super) fn succeeded(&mut self, kind: Kind, latency: Duration) {
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).clamp(1, MAX_LATENCY_US);
        self.latencies_us.entry(kind).or_insert_with(new_histogram).saturating_record(latency_us);
    }

    /// Requests that failed.
    pub(super) fn failed(&mut self, code: &str, count: u64) {
        match self.errors.get_mut(code) {
            Some(errors) => *errors += count,
            None if count > 0 => drop(self.errors.insert(code.to_owned(), count)),
            None => {}
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (kind, histogram) in &other.latencies_us {
            let mine = self.latencies_us.entry(*kind).or_insert_with(new_histogram);
            mine.add(histogram).expect("all histograms have the same bounds");
        }
        other.errors.iter().for_each(|(code, count)| self.failed(code, *count));
        self.uploads.extend(&other.uploads);
    }

    pub(super) fn errors(&self) -> &BTreeMap<String, u64> {
        &self.errors
    }

    pub(super) fn by_kind(&self) -> impl Iterator<Item = (Kind, &Histogram<u64>)> {
        self.latencies_us.iter().map(|(kind, histogram)| (*kind, histogram))
    }

    /// Latencies of all requests; of uploads the whole, not the steps.
    pub(super) fn total(&self) -> Histogram<u64> {
        let mut total = new_histogram();
        for (_, histogram) in self.by_kind().filter(|(kind, _)| !kind.is_step()) {
            total.add(histogram).expect("all histograms have the same bounds");
        }
        total
    }
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).expect("the bounds are sound")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_leave_steps_out() {
        let mut stats = Stats::new();
        let mut other = Stats::new();
        stats.succeeded(Kind::Open, Duration::from_micros(10));
        other.succeeded(Kind::Upload, Duration::from_micros(100));
        other.failed("no_devices", 2);
        stats.merge(&other);
        stats.merge(&other);
        assert_eq!((stats.total().len(), stats.total().max()), (2, 100));
        assert_eq!(stats.errors()["no_devices"], 4);
    }
}
