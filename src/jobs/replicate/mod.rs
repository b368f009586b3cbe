//! Replication: a file gets as many copies, in such places, as the policy of its class wants, and loses what is too much.
//!
//! A copy is recorded only after it was seen whole on the target. One is removed only under the lock of its file, and
//! only when the policy is content with those of the others that their nodes have just shown.

mod copy_file;
mod copy_one;
mod move_away;
pub mod outcome;
mod remove_copy;
mod replication;
mod run;
mod source_order;
mod surplus;
mod whereabouts;

pub use copy_one::{CopyOne, copy_one};
pub use move_away::{MoveOutcome, move_away};
pub use remove_copy::{IfMissing, Removal, remove_copy};
pub(in crate::jobs) use replication::class_and_policy;
pub use run::run;
pub(in crate::jobs) use whereabouts::Whereabouts;

use crate::ids::Fid;
use crate::jobs::context::JobContext;
use crate::store::{LockGuard, StoreResult};
use std::time::Duration;

/// How long to wait for the lock of a file.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// The lock that whoever adds or removes copies of a file holds; `None` if somebody else does.
async fn lock_file(ctx: &JobContext, fid: Fid) -> StoreResult<Option<LockGuard>> {
    ctx.session.try_lock(&format!("mgfs:fid:{fid}:replicate"), LOCK_WAIT).await
}
