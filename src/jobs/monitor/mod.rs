//! Watching the cluster: reading the configuration tables, checking every device over HTTP.
//!
//! Plain functions; the rounds and their timers are the Monitor actor's (`tracker/monitor.rs`).

pub mod check_device;
pub mod refresh;
pub mod round;
