//! Watching the cluster: reading the configuration tables, checking every device over HTTP.
//!
//! Plain functions and values; the actor with its timers is `tracker/monitor.rs`.

pub mod check_device;
pub mod coupling;
pub mod host_checks;
pub mod refresh;
pub mod round;
