//! Moving a copy away from a device (jobs.md 7.7 with W1, W2, W29): first the copies that make it superfluous, then its
//! removal.
//!
//! The policy is asked about the whole cluster, as if the copy were not there; the targets only narrow down where new
//! copies may go. The copy is removed only when the policy is content with the others, and their nodes have shown them.

use super::lock_file;
use super::outcome::ReplicateOutcome;
use super::remove_copy::{IfMissing, Removal};
use super::replication::{Purpose, Replication, class_and_policy};
use super::whereabouts::Whereabouts;
use crate::ids::{DevId, Fid};
use crate::jobs::context::JobContext;
use crate::store::queues::todo::RebalanceTodo;
use crate::store::{LockGuard, StoreResult, files, queues};

/// What became of a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoveOutcome {
    /// The device has lost its copy; so many others were made for it.
    Moved { copies: usize },
    /// No key leads to the file any more.
    Gone,
    /// The device has no copy of the file.
    NotThere,
    /// Another worker is changing the copies of the file: nothing was looked at.
    LockHeld,
    /// The copy is still there. If copies were made for the move, the file is queued for replication, which removes
    /// what is too much.
    Failed { copies: usize, reason: String },
}

/// Carries out one move.
///
/// # Errors
/// The database failed: nobody knows how far the move came. The file is safe, but may have a copy too much.
pub async fn move_away(ctx: &JobContext, todo: &RebalanceTodo) -> StoreResult<MoveOutcome> {
    let (Some(devid), Some(targets)) = (todo.devid, targets(todo)) else {
        return Ok(failed(ctx, todo, 0, "the queue row names no device, or targets that are no devices".to_owned()));
    };
    let Some(lock) = lock_file(ctx, todo.fid).await? else { return Ok(MoveOutcome::LockHeld) };
    let outcome = move_locked(ctx, &lock, todo, devid, &targets).await;
    lock.release().await;
    outcome
}

async fn move_locked(
    ctx: &JobContext,
    lock: &LockGuard,
    todo: &RebalanceTodo,
    devid: DevId,
    targets: &[DevId],
) -> StoreResult<MoveOutcome> {
    let cluster = ctx.view.load_full();
    let Some((file, devids)) = ctx.session.read(|conn| files::with_devids_by_fid(conn, todo.fid))? else {
        return Ok(MoveOutcome::Gone);
    };
    if !devids.contains(&devid) {
        return Ok(MoveOutcome::NotThere);
    }
    // Else copies would be made in vain.
    if !cluster.device(devid).is_some_and(|device| device.may_be_deleted_from() && device.is_observed_writeable()) {
        return Ok(failed(ctx, todo, 0, format!("nothing can be deleted from device {devid} now")));
    }
    let (class, policy) = match class_and_policy(&cluster, &file) {
        Ok(found) => found,
        Err(reason) => return Ok(failed(ctx, todo, 0, reason)),
    };
    let mut replication = Replication::of(ctx, lock, &cluster, class, policy, &file, &devids)?;
    let mut whereabouts = Whereabouts::new(&cluster, devids, file.length);
    let if_missing = match ctx.settings.jobs.rebalance_ignore_missing {
        true => IfMissing::CountsAsDeleted,
        false => IfMissing::IsAFailure,
    };
    let removed = move_copy(&mut replication, &mut whereabouts, devid, targets, if_missing).await;
    let copies = replication.copies_made;
    match removed {
        Ok(Removal::Removed) => {
            slog::debug!(ctx.log, "moved a copy"; "fid" => todo.fid, "devid" => devid, "copies" => copies);
            Ok(MoveOutcome::Moved { copies })
        }
        Ok(Removal::Kept(reason)) => {
            enqueue_surplus(ctx, todo.fid, copies).await?;
            Ok(failed(ctx, todo, copies, reason))
        }
        Err(error) => {
            // The first error says more than one that comes of the attempt to make up for it.
            let _enqueued = enqueue_surplus(ctx, todo.fid, copies).await;
            Err(error)
        }
    }
}

/// Makes the copies that the policy wants if that on this device is to go, on these targets only if there are any; then
/// removes it. The caller has seen that the device lets it go.
pub(super) async fn move_copy(
    replication: &mut Replication<'_>,
    whereabouts: &mut Whereabouts,
    devid: DevId,
    targets: &[DevId],
    if_missing: IfMissing,
) -> StoreResult<Removal> {
    whereabouts.mask(devid);
    let copied = replication.until_content(whereabouts, Purpose::Move { targets }).await?;
    remove_original(replication, whereabouts, devid, copied, if_missing).await
}

/// Removes the copy if what was done before suffices.
async fn remove_original(
    replication: &Replication<'_>,
    whereabouts: &Whereabouts,
    devid: DevId,
    copied: ReplicateOutcome,
    if_missing: IfMissing,
) -> StoreResult<Removal> {
    let reason = match copied {
        ReplicateOutcome::Replicated { .. } | ReplicateOutcome::AlreadyHappy | ReplicateOutcome::TooHappy => None,
        ReplicateOutcome::NoSuggestions => Some("no suitable destination devices".to_owned()),
        ReplicateOutcome::CopyFailed { reason, .. } => Some(reason),
        other => Some(other.code().to_owned()),
    };
    if let Some(reason) = reason {
        return Ok(Removal::Kept(reason));
    }
    let seen = replication.look_at(whereabouts.told()).await;
    replication.remove_if_safe(devid, &seen, if_missing).await
}

/// W29: copies that were made for nothing are found again.
async fn enqueue_surplus(ctx: &JobContext, fid: Fid, copies: usize) -> StoreResult<()> {
    if copies == 0 {
        return Ok(());
    }
    ctx.session.write(move |conn| queues::replicate::enqueue(conn, fid, 1)).await
}

/// The devices of `arg`, none for any device; `None` if it is no list of devices.
fn targets(todo: &RebalanceTodo) -> Option<Vec<DevId>> {
    let listed = todo.arg.as_deref().unwrap_or_default().split(',').map(str::trim).filter(|devid| !devid.is_empty());
    listed.map(|devid| devid.parse().ok().map(DevId)).collect()
}

fn failed(ctx: &JobContext, todo: &RebalanceTodo, copies: usize, reason: String) -> MoveOutcome {
    slog::warn!(ctx.log, "could not move a copy"; "fid" => todo.fid, "devid" => todo.devid.map(|devid| devid.0),
        "copies" => copies, "reason" => &reason);
    MoveOutcome::Failed { copies, reason }
}
