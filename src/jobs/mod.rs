//! The work itself: client commands, monitoring, replication, deletion.
//!
//! Plain functions over a [`context::JobContext`]; no actor and no socket of a client. Actors (`tracker`) call them.

pub mod backoff;
pub mod context;
pub mod copy_notices;
pub mod delete;
pub mod doubtful_copies;
pub mod explain;
pub mod extensions;
pub mod monitor;
pub mod query;
pub mod replicate;
