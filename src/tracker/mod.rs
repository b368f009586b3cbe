//! The running tracker: actors, the sockets of clients, start and stop. What is done stands in `jobs`.
//!
//! ```text
//! Supervisor                owns all; decides from events; never does I/O
//!  ├─ ClientListener        accepts clients; one ClientConnection each
//!  ├─ Monitor               own arbiter; DbMonitor and MainMonitor ticks
//!  │    └─ MonitorJustRan ─► Supervisor: the first one starts the pools
//!  ├─ JobMaster             own arbiter; claims rows, hands them to workers
//!  └─ WorkerPool per job    starts, watches, replaces and stops workers
//!       └─ worker ×n        own arbiter, own database session, own HTTP client
//! ```

pub mod admin;
pub mod ask;
pub mod batch;
mod client_stream;
pub mod connection;
pub mod desk;
pub mod hand_over;
pub mod job_master;
pub mod job_worker;
pub mod listener;
pub mod monitor;
pub mod output;
pub mod permissions;
pub mod pool;
pub mod query_worker;
mod reaper;
pub mod recent;
pub mod seat;
pub mod slowest;
pub mod start;
pub mod supervisor;

pub use start::{OpenTracker, PreparedTracker, RunningTracker, StartError, open, start};

/// What `!version` answers: tools expect it to begin with the version of the reference that we replace.
pub const VERSION: &str = concat!("2.73-mogilefs-rs-", env!("CARGO_PKG_VERSION"));
