//! What every job is given: its own database session and HTTP client, and the handles that all share.
//!
//! A context belongs to one worker thread. It knows no actor: what has to be told upward goes through recipients.

use super::copy_notices::CopyNotices;
use super::copy_slots::CopySlots;
use super::doubtful_copies::DoubtfulCopies;
use super::extensions::Extensions;
use super::fsck::FsckShared;
use super::pace::Pace;
use super::path_cache::{PathCache, PathChange};
use crate::clock::Chance;
use crate::cluster::ClusterView;
use crate::ids::Dmid;
use crate::metrics::Metrics;
use crate::node_client::NodeClient;
use crate::notices::{AwaitMonitorRound, RefreshCluster, WakeJobs};
use crate::settings::Settings;
use crate::store::Session;
use actix::Recipient;
use bstr::BStr;
use slog::Logger;
use std::cell::RefCell;
use std::sync::Arc;

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
    pub chance: RefCell<Chance>,
    pub wake_jobs: Recipient<WakeJobs>,
    pub refresh_cluster: Recipient<RefreshCluster>,
    pub await_monitor_round: Recipient<AwaitMonitorRound>,
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
