//! Is the database server there? While it is away one thread asks, and everybody else is refused at once: a request must
//! not wait for a connection that will not come, nor a hundred workers knock on a server that is just starting.
//!
//! Only connecting is judged here. A session that has its connection goes on using it; SQLite's file is always there.

use super::error::{StoreError, StoreResult};
use rand::RngExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Between the first two attempts to reach it again; twice as long after each, up to the maximum.
const PROBE_PAUSE_MIN: Duration = Duration::from_millis(100);
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(3);

/// What is known of the server.
pub(super) struct Health {
    is_there: watch::Sender<bool>,
    away: Mutex<Option<Away>>,
}

struct Away {
    since: Instant,
    reason: String,
}

impl Health {
    pub(super) fn new() -> Self {
        Self { is_there: watch::Sender::new(true), away: Mutex::new(None) }
    }

    /// May a connection be tried?
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the server is away, with the reason.
    pub(super) fn check(&self) -> StoreResult<()> {
        match &*self.away() {
            None => Ok(()),
            Some(Away { since, reason }) => {
                let secs = since.elapsed().as_secs();
                Err(StoreError::Unavailable(format!("the database has been away for {secs} s: {reason}")))
            }
        }
    }

    /// It could not be reached. True if that is news.
    pub(super) fn note_away(&self, reason: &StoreError) -> bool {
        let mut away = self.away();
        if away.is_some() {
            return false;
        }
        let reason = match reason {
            StoreError::Unavailable(reason) => reason.clone(),
            other => other.to_string(),
        };
        *away = Some(Away { since: Instant::now(), reason });
        self.is_there.send_replace(false);
        true
    }

    /// It was reached; how long it was away.
    pub(super) fn note_back(&self) -> Duration {
        let away = self.away().take();
        self.is_there.send_replace(true);
        away.map_or(Duration::ZERO, |away| away.since.elapsed())
    }

    pub(super) fn is_away(&self) -> bool {
        !*self.is_there.borrow()
    }

    /// Ends when the server is there.
    pub(super) async fn back(&self) {
        // The sender is ours and lives as long as this.
        let _ = self.is_there.subscribe().wait_for(|&is_there| is_there).await;
    }

    fn away(&self) -> MutexGuard<'_, Option<Away>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pauses between attempts to reach the server: longer and longer, and not those of the tracker next door.
pub(super) struct ProbePauses {
    next: Duration,
}

impl ProbePauses {
    pub(super) fn new() -> Self {
        Self { next: PROBE_PAUSE_MIN }
    }
}

impl Iterator for ProbePauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next;
        self.next = (pause * 2).min(PROBE_PAUSE_MAX);
        Some(pause.mul_f64(rand::rng().random_range(0.75..1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[test]
    fn away_is_news_once_and_ends() {
        let health = Health::new();
        assert_eq!(health.check(), Ok(()));
        assert!(health.back().now_or_never().is_some());
        assert!(health.note_away(&StoreError::Unavailable("connection refused".to_owned())));
        assert!(!health.note_away(&StoreError::Unavailable("another".to_owned())));
        let refused = health.check().expect_err("away").to_string();
        assert!(refused.contains("connection refused"), "{refused}");
        assert!(health.is_away() && health.back().now_or_never().is_none());
        health.note_back();
        assert_eq!(health.check(), Ok(()));
        assert!(!health.is_away() && health.back().now_or_never().is_some());
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let pauses: Vec<_> = ProbePauses::new().take(12).collect();
        assert!(pauses[0] <= PROBE_PAUSE_MIN && pauses[0] >= PROBE_PAUSE_MIN.mul_f64(0.7));
        assert!(pauses.iter().all(|&pause| pause <= PROBE_PAUSE_MAX));
        assert!(pauses[11] >= PROBE_PAUSE_MAX.mul_f64(0.7));
    }
}
