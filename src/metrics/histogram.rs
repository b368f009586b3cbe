//! How long things took, in buckets of fixed bounds.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the buckets, in microseconds; longer times have a bucket of their own.
pub const BOUNDS_US: [u32; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// Times, counted by bucket.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// A histogram as it is shown: each bucket with all shorter ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cumulated {
    /// As many as [`BOUNDS_US`].
    pub up_to: Vec<u64>,
    pub count: u64,
    pub sum_us: u64,
}

impl Histogram {
    pub fn add(&self, time_us: u32) {
        let bucket = BOUNDS_US.iter().position(|&bound_us| time_us <= bound_us).unwrap_or(BOUNDS_US.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(time_us.into(), Ordering::Relaxed);
    }

    pub fn cumulated(&self) -> Cumulated {
        let mut count = 0;
        let mut sums = self.counts.iter().map(|bucket| {
            count += bucket.load(Ordering::Relaxed);
            count
        });
        let up_to = sums.by_ref().take(BOUNDS_US.len()).collect();
        sums.for_each(drop);
        Cumulated { up_to, count, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_all_later_ones_contain_it() {
        let histogram = Histogram::default();
        [0, 100, 101, 10_000_001].into_iter().for_each(|time_us| histogram.add(time_us));
        let Cumulated { up_to, count, sum_us } = histogram.cumulated();
        assert_eq!((up_to[0], up_to[1], up_to[14], count), (2, 3, 3, 4));
        assert_eq!(sum_us, 10_000_202);
    }
}
