//! Watching the cluster: reading the configuration tables, checking every device over HTTP.
//!
//! Plain functions and values; the actor with its timers is `tracker/monitor.rs`.

pub mod automation;
pub mod check_device;
pub mod complaints;
pub mod coupling;
pub mod guards;
pub mod host_checks;
pub mod refresh;
pub mod round;
pub mod upkeep;
pub mod utilization;
pub mod utilization_watch;
