//! What a tracker shows over HTTP: the page for operators, metrics for those who draw curves, and whether it is well.
//!
//! Must never be on the way of clients: it has a thread of its own, and asks by the roads that clients use.

pub mod health;
pub mod metrics;
pub mod page;
pub mod serve;
