//! Making copies of one file until its policy is content (jobs.md 7.4, 7.5). The caller holds the lock of the file.

use super::outcome::ReplicateOutcome;
use super::source_order;
use super::whereabouts::Whereabouts;
use crate::cluster::ClusterSnapshot;
use crate::cluster::checksum::{Checksum, HashType};
use crate::cluster::domain::Class;
use crate::ids::DevId;
use crate::jobs::context::JobContext;
use crate::jobs::copy_slots::CopySlot;
use crate::node_client::{CopyError, NodeError};
use crate::policy::{self, Question, ReplicationPolicy, Verdict};
use crate::store::files::FileRow;
use crate::store::queues::replicate::{ReplicateTodo, WorkedTodo};
use crate::store::{LockGuard, StoreResult, checksums};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The class of a file and its policy, or why they are unknown.
pub(in crate::jobs) fn class_and_policy<'c>(
    cluster: &'c ClusterSnapshot,
    file: &FileRow,
) -> Result<(&'c Class, ReplicationPolicy), String> {
    let class = cluster
        .domain(file.dmid)
        .and_then(|domain| domain.class(file.classid))
        .ok_or_else(|| format!("class {} of domain {} is unknown", file.classid, file.dmid))?;
    let policy = policy::parse_stored(class.policy_text()).map_err(|error| error.to_string())?;
    Ok((class, policy))
}

/// How long to wait, with the lock of the file, for devices that have too many copies under way.
const SLOT_WAIT: Duration = Duration::from_millis(500);

/// What copies are made for, which decides where they may go.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'t> {
    /// The file is to have what its class wants: a poor place is better than none. With the last copy the queue row goes,
    /// and the lock is given back.
    Item { todo: &'t ReplicateTodo },
    /// A copy is to leave its device: only for places that the policy will be content with, and only on these devices;
    /// on any if there are none of them.
    Move { targets: &'t [DevId] },
}

/// The replication of one file.
pub(super) struct Replication<'a> {
    pub(super) ctx: &'a JobContext,
    /// That of the file.
    pub(super) lock: &'a LockGuard,
    pub(super) cluster: Arc<ClusterSnapshot>,
    pub(super) class: &'a Class,
    pub(super) policy: ReplicationPolicy,
    pub(super) file: &'a FileRow,
    pub(super) known_checksum: Option<Checksum>,
    /// The only location of the file when the work began, if it had exactly one.
    sole_location: Option<DevId>,
    /// Copies that were made and recorded.
    pub(super) copies_made: usize,
    /// The queue row went with the last of them, and the row of the lock.
    pub(super) is_settled: bool,
}

impl<'a> Replication<'a> {
    /// With the checksum that the file is known to have, and the devices that are recorded to have it.
    pub(super) fn of(
        ctx: &'a JobContext,
        lock: &'a LockGuard,
        cluster: &Arc<ClusterSnapshot>,
        class: &'a Class,
        policy: ReplicationPolicy,
        file: &'a FileRow,
        devids: &[DevId],
    ) -> StoreResult<Self> {
        let known = ctx.session.read(|conn| checksums::find(conn, file.fid))?;
        let known_checksum =
            known.and_then(|(number, digest)| Some(Checksum { hashtype: HashType::from_number(number)?, digest }));
        let sole_location = if let [devid] = devids { Some(*devid) } else { None };
        let cluster = cluster.clone();
        Ok(Self {
            ctx,
            lock,
            cluster,
            class,
            policy,
            file,
            known_checksum,
            sole_location,
            copies_made: 0,
            is_settled: false,
        })
    }

    /// May the checksum of what was read there become that of the file? Where there are other copies, this one may be the
    /// bad one: fsck, which compares them all, is to say.
    pub(super) fn may_define_checksum(&self, source: DevId) -> bool {
        self.sole_location == Some(source)
    }

    /// Asks the policy, copies, asks again.
    pub(super) async fn until_content(
        &mut self,
        whereabouts: &mut Whereabouts,
        purpose: Purpose<'_>,
    ) -> StoreResult<ReplicateOutcome> {
        if let Some(obstacle) = whereabouts.obstacle() {
            return Ok(obstacle);
        }
        let mut last_failure = None;
        loop {
            let targets = match self.ask(whereabouts) {
                Verdict::AllGood if self.copies_made > 0 => {
                    return Ok(ReplicateOutcome::Replicated { copies: self.copies_made });
                }
                Verdict::AllGood => return Ok(ReplicateOutcome::AlreadyHappy),
                Verdict::TooGood => return Ok(ReplicateOutcome::TooHappy),
                Verdict::TemporaryFailure => Vec::new(),
                Verdict::CopyTo { ideal, desperate } => self.targets(whereabouts, purpose, ideal, desperate),
            };
            if targets.is_empty() {
                return Ok(last_failure.unwrap_or(ReplicateOutcome::NoSuggestions));
            }
            if whereabouts.sources().is_empty() {
                return Ok(last_failure.unwrap_or(ReplicateOutcome::SourceDown));
            }
            let Some((source, target, slot)) = self.choose(whereabouts, purpose, &targets).await else {
                return Ok(ReplicateOutcome::Busy);
            };
            let copied = self.copy(source, target).await;
            drop(slot);
            match copied {
                Ok(checksum) => {
                    whereabouts.add(target);
                    let done = match purpose {
                        Purpose::Item { todo } if self.ask(whereabouts) == Verdict::AllGood => {
                            Some(WorkedTodo { todo: *todo, classid: Some(self.file.classid) })
                        }
                        Purpose::Item { .. } | Purpose::Move { .. } => None,
                    };
                    let is_settled = done.is_some();
                    self.record(target, checksum, done).await?;
                    self.is_settled = is_settled;
                    self.copies_made += 1;
                }
                Err(CopyError::Source(error)) => {
                    whereabouts.source_failed(source);
                    last_failure = Some(failed(source, "source", &error, target));
                }
                Err(CopyError::Target(error)) => {
                    whereabouts.target_failed(target);
                    last_failure = Some(failed(target, "target", &error, target));
                }
            }
        }
    }

    fn ask(&self, whereabouts: &Whereabouts) -> Verdict {
        let question = whereabouts.question(&self.cluster, self.class, self.ctx.min_free_space_mb());
        self.policy.ask(&question, &mut self.ctx.chance.borrow_mut())
    }

    /// Is the policy content with copies on these devices alone?
    pub(super) fn is_content_with(&self, told: &[DevId], whereabouts: &Whereabouts) -> bool {
        let question = whereabouts.question(&self.cluster, self.class, self.ctx.min_free_space_mb());
        let verdict = self.policy.ask(&Question { told, ..question }, &mut self.ctx.chance.borrow_mut());
        matches!(verdict, Verdict::AllGood | Verdict::TooGood)
    }

    /// The suggestions that serve the purpose, the best first; poor places only where there is no good one.
    fn targets(
        &self,
        whereabouts: &Whereabouts,
        purpose: Purpose<'_>,
        ideal: Vec<DevId>,
        desperate: Vec<DevId>,
    ) -> Vec<DevId> {
        let is_allowed = |devid: &DevId| match purpose {
            Purpose::Item { .. } => true,
            Purpose::Move { targets } => targets.is_empty() || targets.contains(devid),
        };
        let is_worth_it = |devid: &DevId| match purpose {
            Purpose::Item { .. } => true,
            Purpose::Move { .. } => self.is_content_with(&[whereabouts.told(), &[*devid]].concat(), whereabouts),
        };
        let new = |devids: Vec<DevId>| {
            devids.into_iter().filter(|&devid| !whereabouts.is_on(devid)).filter(is_allowed).collect::<Vec<_>>()
        };
        let mut targets = new(ideal);
        if targets.is_empty() {
            targets = new(desperate);
            targets.retain(is_worth_it);
        }
        targets
    }

    /// The best source and target that have room for one copy more, and the room. `None`: none of them has, for a while.
    async fn choose(
        &self,
        whereabouts: &Whereabouts,
        purpose: Purpose<'_>,
        targets: &[DevId],
    ) -> Option<(DevId, DevId, CopySlot)> {
        let slots = &self.ctx.copy_slots;
        let deadline = Instant::now() + SLOT_WAIT;
        let views = |devids: &[DevId]| -> Vec<_> { devids.iter().filter_map(|&id| self.cluster.device(id)).collect() };
        loop {
            let freed = slots.freed();
            let sources = views(&self.sources_in_order(whereabouts, purpose));
            for target in views(targets) {
                for source in &sources {
                    if let Some(slot) = slots.take(source, &target) {
                        return Some((source.device.devid, target.device.devid, slot));
                    }
                }
            }
            tokio::time::timeout_at(deadline, freed).await.ok()?;
        }
    }

    /// The preferred source while it works; then those that can give the file soonest, or that an extension prefers.
    fn sources_in_order(&self, whereabouts: &Whereabouts, purpose: Purpose<'_>) -> Vec<DevId> {
        let mut ordered = whereabouts.sources().to_vec();
        source_order::order(&self.cluster, &self.ctx.copy_slots, &mut ordered, &mut self.ctx.chance.borrow_mut());
        self.ctx.extensions.order_sources(&self.cluster, &mut ordered);
        if let Purpose::Item { todo: ReplicateTodo { fromdevid: Some(preferred), .. } } = purpose {
            ordered.sort_by_key(|devid| devid != preferred);
        }
        ordered
    }
}

fn failed(devid: DevId, side: &str, error: &NodeError, target: DevId) -> ReplicateOutcome {
    ReplicateOutcome::CopyFailed { target: Some(target), reason: format!("{side} device {devid}: {error}") }
}
