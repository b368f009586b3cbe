//! Replication: a file gets as many copies, in such places, as the policy of its class wants.
//!
//! A copy is recorded only after its length was seen on the target; nothing is removed here.

pub mod outcome;
mod run;

pub use run::run;
pub(in crate::jobs) use run::{Whereabouts, class_and_policy};
