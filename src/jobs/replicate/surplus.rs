//! One copy less of a file that has more than its policy wants (jobs.md 7.8, W28). One per pass: the next pass sees what
//! became of it.

use super::outcome::ReplicateOutcome;
use super::remove_copy::{IfMissing, Removal, remove_copy};
use super::replication::Replication;
use super::whereabouts::Whereabouts;
use crate::ids::DevId;
use crate::store::{LockGuard, StoreResult};

/// Removes the copy that the policy misses least, if the others are really there.
pub(super) async fn remove_one(
    replication: &Replication<'_>,
    lock: &LockGuard,
    whereabouts: &Whereabouts,
) -> StoreResult<ReplicateOutcome> {
    let removable = removable(replication, whereabouts);
    if removable.is_empty() {
        return Ok(ReplicateOutcome::SurplusKept("no device may lose its copy now".to_owned()));
    }
    let seen = replication.look_at(whereabouts.told()).await;
    let damaged: Vec<DevId> = removable.iter().copied().filter(|devid| seen.damaged.contains(devid)).collect();
    // What is no copy any more goes first: else a sound one might go instead.
    let chosen = choose(replication, whereabouts, &damaged).or_else(|| choose(replication, whereabouts, &removable));
    let Some(chosen) = chosen else {
        return Ok(ReplicateOutcome::SurplusKept("the policy can spare no copy that may be removed".to_owned()));
    };
    if !replication.is_safe_without(chosen, &seen, whereabouts) {
        return Ok(ReplicateOutcome::SurplusKept(format!(
            "of the copies beside that on device {chosen}, nodes show only those on {}",
            devices(&seen.whole, chosen)
        )));
    }
    match remove_copy(replication.ctx, lock, replication.file, chosen, IfMissing::CountsAsDeleted).await? {
        Removal::Removed => Ok(ReplicateOutcome::SurplusRemoved { devid: chosen }),
        Removal::Kept(reason) => Ok(ReplicateOutcome::SurplusKept(reason)),
    }
}

/// Devices that may be read and may lose a copy, and that would let it go.
fn removable(replication: &Replication<'_>, whereabouts: &Whereabouts) -> Vec<DevId> {
    let told = whereabouts.told().iter().filter_map(|&devid| replication.cluster.device(devid));
    told.filter(|device| device.may_be_read() && device.may_be_deleted_from() && device.is_observed_writeable())
        .map(|device| device.device.devid)
        .collect()
}

fn choose(replication: &Replication<'_>, whereabouts: &Whereabouts, removable: &[DevId]) -> Option<DevId> {
    let ctx = replication.ctx;
    let question = whereabouts.question(&replication.cluster, replication.class, ctx.min_free_space_mb());
    replication.policy.choose_surplus(&question, removable, &mut ctx.chance.borrow_mut())
}

fn devices(devids: &[DevId], without: DevId) -> String {
    let names: Vec<_> =
        devids.iter().filter(|&&devid| devid != without).map(|devid| format!("device {devid}")).collect();
    if names.is_empty() { "no device".to_owned() } else { names.join(", ") }
}
