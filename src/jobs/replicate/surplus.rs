//! One copy less of a file that has more than its policy wants (jobs.md 7.8, W28). One per pass: the next pass sees what
//! became of it. Where none can be spared as they lie, one moves to where the policy wants it, so that the next pass can
//! spare another.

use super::move_away::move_copy;
use super::outcome::ReplicateOutcome;
use super::remove_copy::{IfMissing, Removal};
use super::replication::Replication;
use super::whereabouts::Whereabouts;
use crate::clock::Chance;
use crate::ids::DevId;
use crate::policy::{Question, ReplicationPolicy};
use crate::store::StoreResult;

/// Removes the copy that the policy misses least, if the others are really there.
pub(super) async fn remove_one(
    replication: &mut Replication<'_>,
    whereabouts: &mut Whereabouts,
) -> StoreResult<ReplicateOutcome> {
    let removable = removable(replication, whereabouts);
    if removable.is_empty() {
        return Ok(ReplicateOutcome::SurplusKept("no device may lose its copy now".to_owned()));
    }
    let seen = replication.look_at(whereabouts.told()).await;
    let damaged: Vec<DevId> = removable.iter().copied().filter(|devid| seen.damaged.contains(devid)).collect();
    // What is no copy any more goes first: else a sound one might go instead.
    let surplus = |devids: &[DevId]| choose(replication, whereabouts, devids, ReplicationPolicy::choose_surplus);
    let Some(chosen) = surplus(&damaged).or_else(|| surplus(&removable)) else {
        return move_one(replication, whereabouts, &removable).await;
    };
    let removal = replication.remove_if_safe(chosen, &seen, IfMissing::CountsAsDeleted).await?;
    Ok(outcome(removal, chosen))
}

async fn move_one(
    replication: &mut Replication<'_>,
    whereabouts: &mut Whereabouts,
    removable: &[DevId],
) -> StoreResult<ReplicateOutcome> {
    let Some(chosen) = choose(replication, whereabouts, removable, ReplicationPolicy::choose_move) else {
        return Ok(ReplicateOutcome::SurplusKept("the policy can spare no copy that may be removed".to_owned()));
    };
    let removal = move_copy(replication, whereabouts, chosen, &[], IfMissing::CountsAsDeleted).await?;
    Ok(outcome(removal, chosen))
}

fn outcome(removal: Removal, devid: DevId) -> ReplicateOutcome {
    match removal {
        Removal::Removed => ReplicateOutcome::SurplusRemoved { devid },
        Removal::Kept(reason) => ReplicateOutcome::SurplusKept(reason),
    }
}

/// Devices that may be read and may lose a copy, and that would let it go.
fn removable(replication: &Replication<'_>, whereabouts: &Whereabouts) -> Vec<DevId> {
    let told = whereabouts.told().iter().filter_map(|&devid| replication.cluster.device(devid));
    told.filter(|device| device.may_be_read() && device.may_be_deleted_from() && device.is_observed_writeable())
        .map(|device| device.device.devid)
        .collect()
}

type Choice = fn(&ReplicationPolicy, &Question<'_>, &[DevId], &mut Chance) -> Option<DevId>;

fn choose(
    replication: &Replication<'_>,
    whereabouts: &Whereabouts,
    removable: &[DevId],
    choice: Choice,
) -> Option<DevId> {
    let ctx = replication.ctx;
    let question = whereabouts.question(&replication.cluster, replication.class, ctx.min_free_space_mb());
    choice(&replication.policy, &question, removable, &mut ctx.chance.borrow_mut())
}
