//! Commands that begin, end and watch a fsck. They change the settings that all trackers share.

pub mod clearlog;
pub mod getlog;
pub mod history;
pub mod reset;
pub mod start;
pub mod status;
pub mod stop;
