//! Making copies of one file until its policy is content (jobs.md 7.4, 7.5). The caller holds the lock of the file.

use super::outcome::ReplicateOutcome;
use super::whereabouts::Whereabouts;
use crate::cluster::ClusterSnapshot;
use crate::cluster::checksum::{Checksum, HashType};
use crate::cluster::domain::Class;
use crate::ids::DevId;
use crate::jobs::context::JobContext;
use crate::node_client::{CopyError, NodeError};
use crate::policy::{self, Question, ReplicationPolicy, Verdict};
use crate::store::files::FileRow;
use crate::store::{StoreResult, checksums};
use rand::seq::SliceRandom;
use std::sync::Arc;

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

/// What copies are made for, which decides where they may go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose<'t> {
    /// The file is to have what its class wants: a poor place is better than none.
    Safety,
    /// A copy is to leave its device: only for places that the policy will be content with, and only on these devices;
    /// on any if there are none of them.
    Move { targets: &'t [DevId] },
}

/// The replication of one file.
pub(super) struct Replication<'a> {
    pub(super) ctx: &'a JobContext,
    pub(super) cluster: Arc<ClusterSnapshot>,
    pub(super) class: &'a Class,
    pub(super) policy: ReplicationPolicy,
    pub(super) file: &'a FileRow,
    pub(super) known_checksum: Option<Checksum>,
    preferred_source: Option<DevId>,
    /// Copies that were made and recorded.
    pub(super) copies_made: usize,
}

impl<'a> Replication<'a> {
    /// With the checksum that the file is known to have.
    pub(super) fn of(
        ctx: &'a JobContext,
        cluster: &Arc<ClusterSnapshot>,
        class: &'a Class,
        policy: ReplicationPolicy,
        file: &'a FileRow,
        preferred_source: Option<DevId>,
    ) -> StoreResult<Self> {
        let known = ctx.session.read(|conn| checksums::find(conn, file.fid))?;
        let known_checksum =
            known.and_then(|(number, digest)| Some(Checksum { hashtype: HashType::from_number(number)?, digest }));
        Ok(Self {
            ctx,
            cluster: cluster.clone(),
            class,
            policy,
            file,
            known_checksum,
            preferred_source,
            copies_made: 0,
        })
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
            let target = match self.ask(whereabouts) {
                Verdict::AllGood if self.copies_made > 0 => {
                    return Ok(ReplicateOutcome::Replicated { copies: self.copies_made });
                }
                Verdict::AllGood => return Ok(ReplicateOutcome::AlreadyHappy),
                Verdict::TooGood => return Ok(ReplicateOutcome::TooHappy),
                Verdict::TemporaryFailure => None,
                Verdict::CopyTo { ideal, desperate } => self.choose_target(whereabouts, purpose, ideal, desperate),
            };
            let Some(target) = target else {
                return Ok(last_failure.unwrap_or(ReplicateOutcome::NoSuggestions));
            };
            let Some(source) = self.choose_source(whereabouts.sources()) else {
                return Ok(last_failure.unwrap_or(ReplicateOutcome::SourceDown));
            };
            match self.copy(source, target).await {
                Ok(checksum) => {
                    self.record(target, checksum).await?;
                    whereabouts.add(target);
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

    fn choose_target(
        &self,
        whereabouts: &Whereabouts,
        purpose: Purpose<'_>,
        ideal: Vec<DevId>,
        desperate: Vec<DevId>,
    ) -> Option<DevId> {
        let is_allowed = |devid: &DevId| match purpose {
            Purpose::Safety => true,
            Purpose::Move { targets } => targets.is_empty() || targets.contains(devid),
        };
        let is_worth_it = |devid: &DevId| match purpose {
            Purpose::Safety => true,
            Purpose::Move { .. } => self.is_content_with(&[whereabouts.told(), &[*devid]].concat(), whereabouts),
        };
        let mut ideal = ideal.into_iter().filter(|&devid| !whereabouts.is_on(devid)).filter(is_allowed);
        let mut desperate = desperate.into_iter().filter(|&devid| !whereabouts.is_on(devid)).filter(is_allowed);
        ideal.next().or_else(|| desperate.find(is_worth_it))
    }

    /// The preferred source while it works, else any, or one that an extension prefers.
    fn choose_source(&self, sources: &[DevId]) -> Option<DevId> {
        if let Some(preferred) = self.preferred_source.filter(|preferred| sources.contains(preferred)) {
            return Some(preferred);
        }
        let mut ordered = sources.to_vec();
        ordered.shuffle(&mut *self.ctx.chance.borrow_mut());
        self.ctx.extensions.order_sources(&self.cluster, &mut ordered);
        ordered.first().copied()
    }
}

fn failed(devid: DevId, side: &str, error: &NodeError, target: DevId) -> ReplicateOutcome {
    ReplicateOutcome::CopyFailed { target: Some(target), reason: format!("{side} device {devid}: {error}") }
}
