//! Commands about the service itself: server settings, cache, diagnostics, and what operators and tools want done now.

pub mod at_risk;
pub mod check_cluster;
pub mod diagnostics;
pub mod do_monitor_round;
pub mod httpcopy;
pub mod jobs_status;
pub mod replicate_now;
pub mod settings;
