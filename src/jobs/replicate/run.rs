//! One item of the replication queue, from its lock to the fate of its row (jobs.md 7.3–7.6).

use super::outcome::{ReplicateOutcome, RowFate};
use crate::cluster::ClusterSnapshot;
use crate::cluster::checksum::{Checksum, HashType};
use crate::cluster::devfid::DevFid;
use crate::cluster::device::DeviceView;
use crate::cluster::domain::Class;
use crate::cluster::host::Zone;
use crate::ids::{DevId, Fid};
use crate::jobs::backoff;
use crate::jobs::context::JobContext;
use crate::node_client::{Copy, CopyError, NodeError};
use crate::policy::{self, Question, ReplicationPolicy, Verdict};
use crate::store::files::FileRow;
use crate::store::queues::replicate::ReplicateTodo;
use crate::store::{StoreResult, checksums, file_on, files, queues};
use rand::seq::SliceRandom;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to wait for the lock of a file.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(1);
const BYTES_PER_MIB: i64 = 1 << 20;

/// Carries out one item: makes copies until the policy is content, then settles the queue row.
///
/// # Errors
/// The database failed; the row stays as claimed and comes back.
pub async fn run(ctx: &JobContext, todo: &ReplicateTodo) -> StoreResult<ReplicateOutcome> {
    let lock_name = format!("mgfs:fid:{}:replicate", todo.fid);
    let Some(lock) = ctx.session.try_lock(&lock_name, LOCK_WAIT).await? else {
        return Ok(ReplicateOutcome::LockHeld);
    };
    let begun = Instant::now();
    // The lock is kept until the row was settled, so that no other worker sees the file in between.
    let outcome = make_copies(ctx, todo).await;
    let settled = match &outcome {
        Ok(outcome) => settle(ctx, todo, outcome).await,
        Err(error) => Err(error.clone()),
    };
    lock.release().await;
    settled?;
    let outcome = outcome?;
    log_outcome(ctx, todo, &outcome, begun.elapsed());
    Ok(outcome)
}

async fn make_copies(ctx: &JobContext, todo: &ReplicateTodo) -> StoreResult<ReplicateOutcome> {
    let cluster = ctx.view.load_full();
    let Some((file, devids)) = ctx.session.read(|conn| files::with_devids_by_fid(conn, todo.fid))? else {
        return Ok(ReplicateOutcome::Gone);
    };
    let (class, policy) = match class_and_policy(&cluster, &file) {
        Ok(found) => found,
        Err(reason) => return Ok(ReplicateOutcome::NoPolicy(reason)),
    };
    let replication = Replication::of(ctx, &cluster, class, policy, &file, todo.fromdevid)?;
    replication.until_content(devids).await
}

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

/// The devices of a file as the work goes on.
pub(in crate::jobs) struct Whereabouts {
    /// Every known copy.
    on: Vec<DevId>,
    /// Those that count for the policy: not dead.
    told: Vec<DevId>,
    /// Those that can be read and did not fail yet.
    sources: Vec<DevId>,
    /// Targets that failed, or that have no room for this file.
    failed_targets: Vec<DevId>,
}

impl Whereabouts {
    pub(in crate::jobs) fn new(cluster: &ClusterSnapshot, devids: Vec<DevId>, length_bytes: i64) -> Self {
        let known: Vec<_> = devids.iter().filter_map(|&devid| cluster.device(devid)).collect();
        let ids = |select: fn(&DeviceView<'_>) -> bool| -> Vec<DevId> {
            known.iter().filter(|device| select(device)).map(|device| device.device.devid).collect()
        };
        let failed_targets = cluster
            .devices()
            .filter(|device| device.device.mb_free().is_some_and(|free| free * BYTES_PER_MIB <= length_bytes))
            .map(|device| device.device.devid)
            .collect();
        Self {
            on: ids(|_| true),
            told: ids(|device| !device.device.is_dead()),
            sources: ids(|device| device.may_be_read()),
            failed_targets,
        }
    }

    pub(in crate::jobs) fn sources(&self) -> &[DevId] {
        &self.sources
    }

    pub(in crate::jobs) fn failed_targets(&self) -> &[DevId] {
        &self.failed_targets
    }

    /// Why nothing can be copied, whatever the policy wants.
    pub(in crate::jobs) fn obstacle(&self) -> Option<ReplicateOutcome> {
        if self.on.is_empty() {
            Some(ReplicateOutcome::NoSource)
        } else if self.sources.is_empty() {
            Some(ReplicateOutcome::SourceDown)
        } else {
            None
        }
    }

    /// What the policy is asked.
    pub(in crate::jobs) fn question<'q>(
        &'q self,
        cluster: &'q ClusterSnapshot,
        class: &Class,
        min_free_space_mb: i64,
    ) -> Question<'q> {
        Question {
            told: &self.told,
            world: cluster,
            failed: &self.failed_targets,
            mindevcount: class.mindevcount,
            min_free_space_mb,
        }
    }

    fn add(&mut self, devid: DevId) {
        self.on.push(devid);
        self.told.push(devid);
        self.sources.push(devid);
    }
}

/// The replication of one file.
pub(super) struct Replication<'a> {
    ctx: &'a JobContext,
    cluster: Arc<ClusterSnapshot>,
    class: &'a Class,
    policy: ReplicationPolicy,
    file: &'a FileRow,
    known_checksum: Option<Checksum>,
    preferred_source: Option<DevId>,
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
        Ok(Self { ctx, cluster: cluster.clone(), class, policy, file, known_checksum, preferred_source })
    }

    /// Asks the policy, copies, asks again.
    async fn until_content(mut self, devids: Vec<DevId>) -> StoreResult<ReplicateOutcome> {
        let mut whereabouts = Whereabouts::new(&self.cluster, devids, self.file.length);
        if let Some(obstacle) = whereabouts.obstacle() {
            return Ok(obstacle);
        }
        let (mut copies, mut last_failure) = (0, None);
        loop {
            let target = match self.ask(&whereabouts) {
                Verdict::AllGood if copies > 0 => return Ok(ReplicateOutcome::Replicated { copies }),
                Verdict::AllGood => return Ok(ReplicateOutcome::AlreadyHappy),
                Verdict::TooGood => return Ok(ReplicateOutcome::TooHappy),
                Verdict::TemporaryFailure => None,
                Verdict::CopyTo { ideal, desperate } => ideal.into_iter().chain(desperate).next(),
            };
            let Some(target) = target else {
                return Ok(last_failure.unwrap_or(ReplicateOutcome::NoSuggestions));
            };
            let Some(source) = self.choose_source(&whereabouts.sources) else {
                return Ok(last_failure.unwrap_or(ReplicateOutcome::SourceDown));
            };
            match self.copy(source, target).await {
                Ok(checksum) => {
                    self.record(target, checksum).await?;
                    whereabouts.add(target);
                    copies += 1;
                }
                Err(CopyError::Source(error)) => {
                    whereabouts.sources.retain(|&devid| devid != source);
                    last_failure = Some(self.failed(source, "source", &error, target));
                }
                Err(CopyError::Target(error)) => {
                    whereabouts.failed_targets.push(target);
                    last_failure = Some(self.failed(target, "target", &error, target));
                }
            }
        }
    }

    fn ask(&self, whereabouts: &Whereabouts) -> Verdict {
        let question = whereabouts.question(&self.cluster, self.class, self.ctx.min_free_space_mb());
        self.policy.ask(&question, &mut self.ctx.chance.borrow_mut())
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

    /// Copies the file and, where its class wants checksums, verifies what arrived. Gives the checksum if computed.
    pub(super) async fn copy(&self, source: DevId, target: DevId) -> Result<Option<Checksum>, CopyError> {
        let unknown = || NodeError::Unreachable("device is unknown".to_owned());
        let source = self.cluster.device(source).ok_or_else(|| CopyError::Source(unknown()))?;
        let target = self.cluster.device(target).ok_or_else(|| CopyError::Target(unknown()))?;
        self.make_directories(&target).await;
        let hashtype = self.known_checksum.as_ref().map(|checksum| checksum.hashtype).or(self.class.hashtype);
        let target_url = target.upload_url(self.file.fid, Zone::NONE);
        let known_md5 = self.known_checksum.as_ref().filter(|checksum| checksum.hashtype == HashType::Md5);
        let copied = self
            .ctx
            .nodes
            .copy(Copy {
                source_url: &source.upload_url(self.file.fid, Zone::NONE),
                target_url: &target_url,
                length: u64::try_from(self.file.length).unwrap_or(0),
                content_md5: known_md5,
                hashtype,
            })
            .await;
        let checked = match copied {
            Ok(report) => self.check(&target, &target_url, known_md5.is_some(), report.checksum).await,
            Err(error) => Err(error),
        };
        if checked.is_err() {
            self.remove_leftover(&target_url).await;
        }
        checked
    }

    /// The bytes read must have the known checksum; the bytes stored must have the same one, unless the node itself
    /// has verified them by Content-MD5 (W10).
    async fn check(
        &self,
        target: &DeviceView<'_>,
        target_url: &str,
        md5_was_sent: bool,
        read: Option<Checksum>,
    ) -> Result<Option<Checksum>, CopyError> {
        let Some(read) = read else { return Ok(None) };
        if self.known_checksum.as_ref().is_some_and(|known| *known != read) {
            return Err(CopyError::Source(NodeError::ChecksumDiffers { actual: read.to_string() }));
        }
        if md5_was_sent && target.device.reject_bad_md5 == Some(true) {
            return Ok(Some(read));
        }
        match self.ctx.nodes.digest(target_url, read.hashtype).await {
            Ok(stored) if stored == read => Ok(Some(read)),
            Ok(stored) => Err(CopyError::Target(NodeError::ChecksumDiffers { actual: stored.to_string() })),
            Err(error) => Err(CopyError::Target(error)),
        }
    }

    async fn make_directories(&self, target: &DeviceView<'_>) {
        if self.cluster.server_flag("skip_mkcol") {
            return;
        }
        let base = format!("http://{}:{}", target.host.address(Zone::NONE), target.host.http_port);
        let directories = DevFid { devid: target.device.devid, fid: self.file.fid }.directories();
        self.ctx.nodes.make_directories(&base, &directories).await;
    }

    /// What a failed copy may have left on the target. No row says that the file is there, and the lock is held, so
    /// nobody else can have put it there meanwhile (W9).
    async fn remove_leftover(&self, target_url: &str) {
        if let Err(error) = self.ctx.nodes.delete(target_url).await {
            slog::debug!(self.ctx.log, "could not remove the leftover of a failed copy";
                "url" => target_url, "error" => %error);
        }
    }

    /// The copy is there: record it. Only now, so that a crash in between costs a copy nobody knows, never a row
    /// without a copy.
    pub(super) async fn record(&mut self, target: DevId, checksum: Option<Checksum>) -> StoreResult<()> {
        let fid = self.file.fid;
        let recount = !self.cluster.server_flag("skip_devcount");
        let new_checksum = checksum.filter(|_| self.known_checksum.is_none());
        let row = new_checksum.as_ref().map(|checksum| (checksum.hashtype.number(), checksum.digest.clone()));
        let change = self.ctx.path_change(self.file.dmid, &[self.file.dkey.as_ref()]);
        let recorded = self
            .ctx
            .session
            .write(move |conn| {
                file_on::add(conn, fid, target)?;
                if recount {
                    file_on::recount(conn, fid)?;
                }
                match &row {
                    Some((number, digest)) => checksums::set(conn, fid, *number, digest),
                    None => Ok(()),
                }
            })
            .await;
        change.announce().await;
        recorded?;
        if new_checksum.is_some() {
            self.known_checksum = new_checksum;
        }
        self.ctx.copy_notices.tell(fid);
        self.ctx.metrics.files_replicated.add(1);
        Ok(())
    }

    fn failed(&self, devid: DevId, side: &str, error: &NodeError, target: DevId) -> ReplicateOutcome {
        ReplicateOutcome::CopyFailed { target: Some(target), reason: format!("{side} device {devid}: {error}") }
    }
}

async fn settle(ctx: &JobContext, todo: &ReplicateTodo, outcome: &ReplicateOutcome) -> StoreResult<()> {
    match outcome.row_fate() {
        RowFate::Leave => Ok(()),
        RowFate::Remove => remove_row(ctx, todo, outcome).await,
        RowFate::Park => {
            let fid = todo.fid;
            ctx.session.write(move |conn| queues::replicate::park(conn, fid)).await.map(drop)
        }
        RowFate::Retry => {
            let fid = todo.fid;
            let delay_secs = backoff::replication_delay_secs(todo.failcount, &mut ctx.chance.borrow_mut());
            ctx.session.write(move |conn| queues::replicate::reschedule_in(conn, fid, delay_secs)).await.map(drop)
        }
    }
}

/// A row that somebody changed meanwhile (a new class, W24) stays and is looked at again; that of a deleted file goes.
async fn remove_row(ctx: &JobContext, todo: &ReplicateTodo, outcome: &ReplicateOutcome) -> StoreResult<()> {
    let (todo, gone) = (*todo, *outcome == ReplicateOutcome::Gone);
    ctx.session
        .write(move |conn| match gone {
            true => queues::replicate::finish_any(conn, todo.fid),
            false => queues::replicate::finish(conn, &todo),
        })
        .await
        .map(drop)
}

fn log_outcome(ctx: &JobContext, todo: &ReplicateTodo, outcome: &ReplicateOutcome, took: Duration) {
    let fid: Fid = todo.fid;
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match outcome {
        ReplicateOutcome::Replicated { copies } => {
            slog::debug!(ctx.log, "replicated file"; "fid" => fid, "copies" => copies, "duration_ms" => duration_ms);
        }
        ReplicateOutcome::AlreadyHappy | ReplicateOutcome::Gone | ReplicateOutcome::LockHeld => {
            slog::debug!(ctx.log, "nothing to replicate"; "fid" => fid, "outcome" => outcome.code());
        }
        ReplicateOutcome::TooHappy => {
            slog::info!(ctx.log, "file has more copies than its class wants; left alone"; "fid" => fid);
        }
        ReplicateOutcome::NoSource => {
            slog::error!(ctx.log, "file has no known copy; its replication is parked"; "fid" => fid);
        }
        ReplicateOutcome::SourceDown | ReplicateOutcome::NoSuggestions => {
            slog::warn!(ctx.log, "cannot replicate file now"; "fid" => fid, "outcome" => outcome.code(),
                "failcount" => todo.failcount);
        }
        ReplicateOutcome::NoPolicy(reason) | ReplicateOutcome::CopyFailed { reason, .. } => {
            slog::warn!(ctx.log, "cannot replicate file now"; "fid" => fid, "outcome" => outcome.code(),
                "reason" => reason, "failcount" => todo.failcount);
        }
    }
}
