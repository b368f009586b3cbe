//! Counted things: one registry per tracker, which the console, the web page and the exporter of metrics print.
//!
//! Counting never waits and never allocates on the way of a request that succeeds.

pub mod histogram;
pub mod requests;

use requests::RequestMetrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down. Clones are one number.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Saturates at zero.
    pub fn sub(&self, count: u64) {
        let _previous =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| Some(value.saturating_sub(count)));
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a tracker counts, under the names of `!stats` (admin-console.md).
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// `queries`: requests handed to query workers since start.
    pub queries: Counter,
    /// Every request that was answered, by command.
    pub requests: RequestMetrics,
    /// `times_out_of_qworkers`: requests that found no idle query worker.
    pub times_out_of_qworkers: Counter,
    pub replicate: JobMetrics,
    pub delete: JobMetrics,
    pub fsck: JobMetrics,
    pub rebalance: JobMetrics,
    /// Copies made.
    pub files_replicated: Counter,
    /// Bytes of these copies.
    pub bytes_replicated: Counter,
    /// Tries to make a copy that came to nothing.
    pub copies_failed: Counter,
    /// Copies made within the last minute.
    pub copied_last_minute: Gauge,
    /// Copies removed from nodes.
    pub copies_deleted: Counter,
    /// Locations on dead devices that were taken out of the database.
    pub locations_reaped: Counter,
    /// `memcache_hits`: paths found in memcached.
    pub memcache_hits: Counter,
    /// `memcache_misses`: paths not found there, or not asked for because the server failed a while ago.
    pub memcache_misses: Counter,
    /// `memcache_errors`: paths asked for in vain.
    pub memcache_errors: Counter,
    /// `island_answers`: paths told from memory while the database was away.
    pub island_answers: Counter,
    /// Workers that were replaced after a panic or a hang.
    pub workers_replaced: Counter,
    /// Clients turned away for the address they came from.
    pub clients_refused: Counter,
    /// Requests and console lines refused for the address they came from.
    pub requests_denied: Counter,
    /// Clients with whom no TLS came about.
    pub tls_handshakes_failed: Counter,
    /// Until when the certificate shown to clients is valid, in seconds since 1970; 0 without one.
    pub tls_certificate_ends: Gauge,
    /// Clients connected now.
    pub connections: Gauge,
}

impl Metrics {
    /// The queues of background work, by name.
    pub fn queues(&self) -> [(&'static str, &JobMetrics); 4] {
        [("delete", &self.delete), ("fsck", &self.fsck), ("rebalance", &self.rebalance), ("replicate", &self.replicate)]
    }
}

/// What is counted for each kind of background job.
#[derive(Clone, Debug, Default)]
pub struct JobMetrics {
    /// `work_queue_for_<job>`: claimed rows that wait for a worker.
    pub waiting: Gauge,
    /// `work_sent_to_<job>`: rows handed to workers since start.
    pub sent: Counter,
}
