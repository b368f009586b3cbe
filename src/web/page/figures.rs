//! What the page shows besides the cluster's snapshot: asked seldom, shared by all who look.

use super::reply::{Refused, Reply};
use crate::protocol::args::Args;
use crate::tracker::ask::{Ask, GetTraffic, Traffic};
use crate::tracker::supervisor::{GetJobs, Supervisor};
use actix::Addr;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Figures of this process are asked again after so long.
const PROCESS_FIGURES_AGE_MAX: Duration = Duration::from_millis(1500);
/// How far fsck and rebalance are.
const PROGRESS_AGE_MAX: Duration = Duration::from_secs(5);
/// Rows that are counted: takes time when there are millions.
const COUNTS_AGE_MAX: Duration = Duration::from_secs(15);
/// A page is made with what was known before rather than wait longer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// Workers of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    pub job: &'static str,
    pub wanted: usize,
    pub living: usize,
}

/// An answer, and when it was given.
#[derive(Clone, Debug)]
pub struct Told {
    pub answer: Result<Args, Refused>,
    pub at: Instant,
}

/// All figures; what nobody has told yet is missing.
#[derive(Clone, Debug, Default)]
pub struct FigureSet {
    pub traffic: Traffic,
    pub workers: Vec<Workers>,
    pub at_risk: Option<Told>,
    pub queues: Option<Told>,
    pub fsck: Option<Told>,
    pub rebalance: Option<Told>,
    pub asked_at: Option<Instant>,
    /// Did the tracker itself answer? If not, its traffic and workers are not zero but unknown.
    pub is_of_now: bool,
}

/// The one set of figures, and the way to new ones.
pub struct Figures {
    supervisor: Addr<Supervisor>,
    /// Held while new ones are asked for: whoever comes meanwhile waits and takes the same.
    latest: Mutex<Arc<FigureSet>>,
}

impl Figures {
    pub fn new(supervisor: Addr<Supervisor>) -> Self {
        Self { supervisor, latest: Mutex::default() }
    }

    /// Figures that are not too old.
    pub async fn latest(&self) -> Arc<FigureSet> {
        let mut latest = self.latest.lock().await;
        let is_fresh = latest.asked_at.is_some_and(|at| at.elapsed() < PROCESS_FIGURES_AGE_MAX);
        if !is_fresh {
            *latest = Arc::new(self.renewed(&latest).await);
        }
        latest.clone()
    }

    /// Something was changed from here: the next viewer wants to see it.
    pub async fn forget(&self) {
        *self.latest.lock().await = Arc::default();
    }

    async fn renewed(&self, before: &FigureSet) -> FigureSet {
        let (process, at_risk, queues, fsck, rebalance) = futures::join!(
            self.of_process(),
            self.told("at_risk", before.at_risk.as_ref(), COUNTS_AGE_MAX),
            self.told("jobs_status", before.queues.as_ref(), COUNTS_AGE_MAX),
            self.told("fsck_status", before.fsck.as_ref(), PROGRESS_AGE_MAX),
            self.told("rebalance_status", before.rebalance.as_ref(), PROGRESS_AGE_MAX),
        );
        let is_of_now = process.is_some();
        let (traffic, workers) = process.unwrap_or_default();
        FigureSet { traffic, workers, at_risk, queues, fsck, rebalance, asked_at: Some(Instant::now()), is_of_now }
    }

    async fn of_process(&self) -> Option<(Traffic, Vec<Workers>)> {
        let (traffic, jobs) = futures::join!(
            timeout(ANSWER_TIME_MAX, self.supervisor.send(GetTraffic)),
            timeout(ANSWER_TIME_MAX, self.supervisor.send(GetJobs))
        );
        let (traffic, jobs) = (traffic.ok()?.ok()?, jobs.ok()?.ok()?);
        let workers = jobs
            .iter()
            .map(|report| Workers { job: report.kind.name(), wanted: report.desired, living: report.workers.len() })
            .collect();
        Some((traffic, workers))
    }

    async fn told(&self, command: &str, before: Option<&Told>, age_max: Duration) -> Option<Told> {
        if let Some(told) = before.filter(|told| told.at.elapsed() < age_max) {
            return Some(told.clone());
        }
        let ask = Ask { line: command.as_bytes().to_vec(), peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) };
        match timeout(ANSWER_TIME_MAX, self.supervisor.send(ask)).await {
            Ok(Ok(line)) => Some(Told { answer: Reply::parse(&line), at: Instant::now() }),
            _ => before.cloned(),
        }
    }
}
