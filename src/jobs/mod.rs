//! The work itself: client commands, monitoring, replication, deletion, and what fsck and rebalance go by.
//!
//! Plain functions over a [`context::JobContext`]; no actor and no socket of a client. Actors (`tracker`) call them.

pub mod at_risk;
pub mod backoff;
pub mod cluster_check;
pub mod context;
pub mod copy_notices;
pub mod copy_slots;
pub mod delete;
pub mod doubtful_copies;
pub mod explain;
pub mod extensions;
pub mod fsck;
pub mod hostname;
mod island;
pub mod joint_look_up;
pub mod monitor;
pub mod pace;
pub mod path_cache;
pub mod query;
pub mod reaper;
pub mod rebalance;
pub mod replicate;
