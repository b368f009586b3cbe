//! How fast bodies move: limits of bandwidth, and clients that are too slow.
//!
//! A limit holds on average: who has moved bytes ahead of time waits until the time has come.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What may be moved ahead of time: shorter waits would be lost in the timer's grain.
const AHEAD_MAX: Duration = Duration::from_millis(20);

/// A rate that all who share it keep together.
#[derive(Debug)]
pub(crate) struct Bandwidth {
    bytes_per_sec: u64,
    /// When all that was moved so far would have been moved at this rate.
    due: Mutex<Instant>,
}

impl Bandwidth {
    /// `None` for 0: no limit.
    pub fn of(bytes_per_sec: u64) -> Option<Arc<Self>> {
        (bytes_per_sec > 0).then(|| Arc::new(Self { bytes_per_sec, due: Mutex::new(Instant::now()) }))
    }

    /// Counts the bytes, and says until when to wait for it.
    fn moved(&self, bytes: usize, now: Instant) -> Option<Instant> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        *due = (*due).max(now) + Duration::from_secs_f64(bytes as f64 / self.bytes_per_sec as f64);
        (*due > now + AHEAD_MAX).then_some(*due)
    }
}

/// A client moves too little.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooSlow;

/// The pace of one body.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    limits: Vec<Arc<Bandwidth>>,
    /// Time that the client kept us waiting, and what it moved.
    waited: Duration,
    bytes: u64,
    /// Asked for only after this much waiting.
    patience: Duration,
    /// 0: any rate is fast enough.
    rate_min_bytes_per_sec: u64,
}

impl Pace {
    pub fn new(
        limits: impl IntoIterator<Item = Arc<Bandwidth>>,
        patience: Duration,
        rate_min_bytes_per_sec: u64,
    ) -> Self {
        Self { limits: limits.into_iter().collect(), patience, rate_min_bytes_per_sec, ..Self::default() }
    }

    /// Is there no limit of bandwidth?
    pub fn is_free(&self) -> bool {
        self.limits.is_empty()
    }

    /// The time until this is done counts as the client's.
    pub async fn wait_for_client<T>(&mut self, client: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let result = client.await;
        self.waited += begun.elapsed();
        result
    }

    /// Counts bytes that were moved, and waits where a limit wants it.
    ///
    /// # Errors
    /// The client is too slow.
    pub async fn moved(&mut self, bytes: usize) -> Result<(), TooSlow> {
        self.bytes += bytes as u64;
        if self.is_too_slow() {
            return Err(TooSlow);
        }
        self.held_back(bytes).await;
        Ok(())
    }

    /// Waits where a limit of bandwidth wants it.
    pub async fn held_back(&mut self, bytes: usize) {
        if self.limits.is_empty() || bytes == 0 {
            return;
        }
        let now = Instant::now();
        if let Some(until) = self.limits.iter().filter_map(|limit| limit.moved(bytes, now)).max() {
            tokio::time::sleep_until(until).await;
        }
    }

    fn is_too_slow(&self) -> bool {
        let wanted = u128::from(self.rate_min_bytes_per_sec) * self.waited.as_millis() / 1000;
        self.waited > self.patience && u128::from(self.bytes) < wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn limits_hold_on_average_for_all_together() {
        let limit = Bandwidth::of(1_000_000).expect("a limit");
        let begun = Instant::now();
        let one = async {
            let mut pace = Pace::new([Arc::clone(&limit)], Duration::ZERO, 0);
            for _ in 0..10 {
                pace.moved(100_000).await.expect("not too slow");
            }
        };
        let other = async { Pace::new([Arc::clone(&limit)], Duration::ZERO, 0).held_back(1_000_000).await };
        futures::join!(one, other);
        let took = begun.elapsed().as_millis();
        assert!((1980..2020).contains(&took), "{took} ms for 2 MB at 1 MB/s");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_too_slow_is_told_so_after_a_while() {
        let mut pace = Pace::new([], Duration::from_secs(5), 1000);
        let mut rounds = 0;
        loop {
            pace.wait_for_client(tokio::time::sleep(Duration::from_secs(1))).await;
            rounds += 1;
            if pace.moved(10).await.is_err() {
                break;
            }
        }
        assert_eq!(rounds, 6);
    }

    #[tokio::test(start_paused = true)]
    async fn our_own_time_is_not_the_clients() {
        let mut pace = Pace::new([], Duration::from_secs(1), 1_000_000);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(pace.moved(1).await, Ok(()));
    }
}
