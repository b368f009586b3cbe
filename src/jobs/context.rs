//! What every job is given: its own database session and HTTP client, and the handles that all share.
//!
//! A context belongs to one worker thread. It knows no actor: what has to be told upward goes through recipients.

use super::copy_notices::CopyNotices;
use super::copy_slots::CopySlots;
use super::doubtful_copies::DoubtfulCopies;
use super::extensions::Extensions;
use super::fsck::FsckShared;
use super::island::Island;
use super::joint_look_up::LookUpLanes;
use super::pace::Pace;
use super::path_cache::{PathCache, PathChange};
use crate::clock::{Chance, new_chance};
use crate::cluster::ClusterView;
use crate::ids::Dmid;
use crate::memcached;
use crate::metrics::Metrics;
use crate::node_client::NodeClient;
use crate::notices::{AwaitMonitorRound, RefreshCluster, WakeJobs};
use crate::settings::Settings;
use crate::store::{Session, Store, StoreError, StoreResult};
use crate::tls::NodeAccess;
use actix::Recipient;
use bstr::BStr;
use slog::Logger;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// The surroundings of a job.
pub struct JobContext {
    pub session: Session,
    pub nodes: NodeClient,
    pub view: ClusterView,
    pub settings: Arc<Settings>,
    pub metrics: Metrics,
    pub log: Logger,
    pub extensions: Extensions,
    pub copy_notices: CopyNotices,
    pub copy_slots: CopySlots,
    pub doubtful_copies: DoubtfulCopies,
    pub fsck: FsckShared,
    pub path_cache: PathCache,
    pub pace: Pace,
    pub look_up_lanes: LookUpLanes,
    pub chance: RefCell<Chance>,
    pub wake_jobs: Recipient<WakeJobs>,
    pub refresh_cluster: Recipient<RefreshCluster>,
    pub await_monitor_round: Recipient<AwaitMonitorRound>,
}

/// Whom jobs tell what concerns the whole tracker.
#[derive(Clone)]
pub struct Upward {
    pub wake_jobs: Recipient<WakeJobs>,
    pub refresh_cluster: Recipient<RefreshCluster>,
    pub await_monitor_round: Recipient<AwaitMonitorRound>,
}

/// What all workers of a tracker share. Each opens its own context from it, in its own thread.
#[derive(Clone)]
pub struct SharedContext {
    store: Store,
    settings: Arc<Settings>,
    view: ClusterView,
    metrics: Metrics,
    upward: Upward,
    memcached: memcached::Servers,
    copy_notices: CopyNotices,
    copy_slots: CopySlots,
    doubtful_copies: DoubtfulCopies,
    fsck: FsckShared,
    island: Island,
    pub pace: Pace,
    pub look_up_lanes: LookUpLanes,
    /// For nodes that are reached by TLS.
    pub node_access: NodeAccess,
}

impl SharedContext {
    pub fn new(
        store: Store,
        settings: Arc<Settings>,
        view: ClusterView,
        metrics: Metrics,
        upward: Upward,
        log: Logger,
    ) -> Self {
        let jobs = &settings.jobs;
        let pause = Duration::from_millis(settings.memcached.pause_after_failure_ms);
        Self {
            memcached: memcached::Servers::new(pause, log),
            copy_notices: CopyNotices::default(),
            copy_slots: CopySlots::new(jobs.copies_in_flight_per_device, jobs.copies_in_flight_per_host),
            doubtful_copies: DoubtfulCopies::default(),
            fsck: FsckShared::default(),
            island: Island::new(&settings.database, metrics.clone()),
            pace: Pace::new(jobs),
            look_up_lanes: LookUpLanes::default(),
            node_access: NodeAccess::default(),
            store,
            settings,
            view,
            metrics,
            upward,
        }
    }

    /// A context for the current thread.
    ///
    /// # Errors
    /// The database cannot be reached, or an extension cannot be switched on.
    pub fn open(&self, log: &Logger) -> StoreResult<JobContext> {
        let Upward { wake_jobs, refresh_cluster, await_monitor_round } = self.upward.clone();
        let session = self.store.session()?;
        if self.island.is_on() {
            session.keep_changes();
        }
        Ok(JobContext {
            session,
            nodes: NodeClient::with_access(&self.settings.storage, self.node_access.clone(), log.clone()),
            view: self.view.clone(),
            settings: self.settings.clone(),
            metrics: self.metrics.clone(),
            log: log.clone(),
            extensions: Extensions::enable(&self.settings.extensions).map_err(StoreError::Other)?,
            copy_notices: self.copy_notices.clone(),
            copy_slots: self.copy_slots.clone(),
            doubtful_copies: self.doubtful_copies.clone(),
            fsck: self.fsck.clone(),
            path_cache: PathCache::new(
                self.memcached.clone(),
                self.settings.clone(),
                self.metrics.clone(),
                self.island.clone(),
            ),
            pace: self.pace.clone(),
            look_up_lanes: self.look_up_lanes.clone(),
            chance: RefCell::new(new_chance()),
            wake_jobs,
            refresh_cluster,
            await_monitor_round,
        })
    }
}

impl JobContext {
    /// Says that a queue in the database has new work. Never waits: a full mailbox has been told already.
    pub fn wake_jobs(&self) {
        if let Err(actix::prelude::SendError::Closed(_)) = self.wake_jobs.try_send(WakeJobs) {
            slog::debug!(self.log, "job master is gone; the row waits for the next tracker");
        }
    }

    /// To be called before a change of what these keys lead to, or of the copies of their files; it is to be announced
    /// afterwards, so that no cache goes on with what was.
    pub fn path_change(&self, dmid: Dmid, dkeys: &[&BStr]) -> PathChange {
        self.path_cache.change(&self.view, &self.session, dmid, dkeys)
    }

    /// Free space in MiB that a device must keep.
    pub fn min_free_space_mb(&self) -> i64 {
        self.settings.storage.min_free_space_mb
    }
}
