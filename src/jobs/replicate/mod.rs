//! Replication: a file gets as many copies, in such places, as the policy of its class wants.
//!
//! A copy is recorded only after its length was seen on the target; nothing is removed here.

mod copy_one;
pub mod outcome;
mod run;

pub use copy_one::{CopyOne, copy_one};
pub use run::run;
pub(in crate::jobs) use run::{Whereabouts, class_and_policy};
