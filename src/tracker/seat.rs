//! A worker's seat in its pool: who it is, and the notice that goes out when it is gone, however it goes.

use crate::job_kind::JobKind;
use actix::{Message, Recipient};
use slog::{Logger, o};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A number that is given to one worker only; shown as its "pid" by `!jobs`.
pub type WorkerId = u64;

/// A fresh worker number.
pub fn next_worker_id() -> WorkerId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A worker is gone.
#[derive(Message, Clone, Copy, Debug, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct WorkerGone {
    pub id: WorkerId,
    pub panicked: bool,
}

/// Finish what is in hand, then stop.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Retire;

/// Show that you are alive: the worker's handler calls [`Seat::beat`].
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Heartbeat;

/// When a worker last showed that it is alive; shared with the pool that watches it.
#[derive(Clone, Debug)]
pub struct Pulse {
    begun: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Pulse {
    pub fn new() -> Self {
        Self { begun: Instant::now(), last_ms: Arc::default() }
    }

    pub fn beat(&self) {
        self.last_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    /// Milliseconds since the last beat.
    pub fn silence_ms(&self) -> u64 {
        self.elapsed_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed))
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

/// Held by a worker for its whole life. Dropping it, also in a panic, tells the pool.
pub struct Seat {
    pub id: WorkerId,
    pub kind: JobKind,
    pub pulse: Pulse,
    pool: Recipient<WorkerGone>,
}

impl Seat {
    pub fn new(id: WorkerId, kind: JobKind, pulse: Pulse, pool: Recipient<WorkerGone>) -> Self {
        Self { id, kind, pulse, pool }
    }

    pub fn beat(&self) {
        self.pulse.beat();
    }

    /// The worker's logger: each record says who it is.
    pub fn logger(&self, log: &Logger) -> Logger {
        log.new(o!("job" => self.kind.name(), "worker" => self.id))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.pool.do_send(WorkerGone { id: self.id, panicked: std::thread::panicking() });
    }
}
