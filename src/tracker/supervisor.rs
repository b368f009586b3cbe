//! `Supervisor`: owns everything that runs in a tracker and decides from events. It never does I/O.
//!
//! At start it has a [`ClientListener`] and a Monitor; the first [`MonitorJustRan`] makes it set the minimum workers and
//! start the pools. Stopping is a list of steps, each with a deadline.

use super::job_master::JobMaster;
use super::job_worker::{DeleteWork, FsckWork, JobWorker, ReplicateWork};
use super::listener::{
    Adopt, BeginAccepting, ClientListener, ClientSocket, Course, ListenerConfig, SetLimits, SetPermissions,
    StopListening,
};
use super::monitor::{Monitor, MonitorJustRan};
use super::permissions::Permissions;
use super::pool::{Drain, GetReport, PoolConfig, PoolReport, Roster, SetDesired, WORKERS_MAX, WorkerPool};
use super::query_worker::{OpenContext, QueryWorker};
use super::reaper::ReaperWork;
use super::seat::{Heartbeat, Retire, Seat};
use crate::cluster::ClusterView;
use crate::job_kind::JobKind;
use crate::jobs::context::{SharedContext, Upward};
use crate::jobs::joint_look_up::LookUpLanes;
use crate::jobs::pace::Pace;
use crate::logging::watch::WatchBus;
use crate::metrics::Metrics;
use crate::notices::{AwaitMonitorRound, RefreshCluster, WakeJobs};
use crate::service::hand_over::PassedClient;
use crate::service::listen::ListenSockets;
use crate::service::tokens::TokenList;
use crate::settings::{SecuritySettings, Settings};
use crate::store::{Backend, Store};
use crate::tls::NodeAccess;
use actix::dev::ToEnvelope;
use actix::{
    Actor, Addr, Arbiter, AsyncContext, Context, Handler, MailboxError, Message, MessageResult, Recipient,
    ResponseFuture,
};
use futures::future::BoxFuture;
use slog::{Logger, o};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Query workers on a database server: their answers are waited for.
const QUERY_WORKERS_ON_SERVER: usize = 20;

/// What a Supervisor is made of.
pub struct SupervisorConfig {
    pub settings: Arc<Settings>,
    pub store: Store,
    pub sockets: Vec<ClientSocket>,
    /// Of the sockets, those for administration.
    pub permissions: Permissions,
    pub view: ClusterView,
    pub metrics: Metrics,
    pub log: Logger,
    /// Shows the log to those who watch.
    pub watch_bus: WatchBus,
    /// Becomes true when the tracker serves: the pools are started, and clients are accepted.
    pub serving: watch::Sender<bool>,
    /// Becomes true when the tracker has stopped.
    pub stopped: watch::Sender<bool>,
    /// Copies of the sockets, which go when the tracker stops.
    pub kept_sockets: ListenSockets,
    /// For storage nodes that are reached by TLS.
    pub node_access: NodeAccess,
    /// Another process accepts clients until the pools are started.
    pub has_predecessor: bool,
}

/// How the Supervisor talks to a pool, whatever its workers are.
struct PoolLink {
    desire: Recipient<SetDesired>,
    report: Recipient<GetReport>,
    drain: Recipient<Drain>,
    desired: usize,
    /// Had workers once: shown by `!jobs` from then on.
    ever_started: bool,
}

/// The actor.
pub struct Supervisor {
    config: SupervisorConfig,
    pools: BTreeMap<JobKind, PoolLink>,
    monitor: Option<Roster<Monitor>>,
    job_master: Option<Roster<JobMaster>>,
    listener: Option<Addr<ClientListener>>,
    query_workers: Option<Roster<QueryWorker>>,
    listener_arbiter: Arbiter,
    monitor_has_run: bool,
    stopping: bool,
}

impl Supervisor {
    pub fn new(config: SupervisorConfig) -> Self {
        Self {
            config,
            pools: BTreeMap::new(),
            monitor: None,
            job_master: None,
            listener: None,
            query_workers: None,
            listener_arbiter: Arbiter::new(),
            monitor_has_run: false,
            stopping: false,
        }
    }

    /// Where clients come in; none before the tracker has begun.
    pub fn listener(&self) -> Option<&Addr<ClientListener>> {
        self.listener.as_ref()
    }

    /// Workers that a kind has once the monitor has run.
    fn minimum_workers(&self, kind: JobKind) -> usize {
        let tracker = &self.config.settings.tracker;
        match kind {
            JobKind::Monitor => 1,
            JobKind::JobMaster => usize::from(tracker.job_master),
            JobKind::QueryWorker if tracker.query_workers > 0 => tracker.query_workers,
            JobKind::QueryWorker => match self.config.store.backend() {
                // More threads than processors only take turns: 4 in place of 2 cost a third of the requests/s.
                Backend::Sqlite => std::thread::available_parallelism().map_or(2, usize::from).max(2),
                _ => QUERY_WORKERS_ON_SERVER,
            },
            JobKind::Replicate if tracker.job_master => tracker.replicate_workers,
            JobKind::Delete if tracker.job_master => tracker.delete_workers,
            JobKind::Fsck if tracker.job_master => tracker.fsck_workers,
            JobKind::Reaper => tracker.reaper_workers,
            JobKind::Replicate | JobKind::Delete | JobKind::Fsck => 0,
        }
    }

    fn start_pool<W>(&mut self, kind: JobKind, factory: impl Fn(Seat) -> W + Send + Sync + 'static) -> Roster<W>
    where
        W: Actor<Context = Context<W>> + Handler<Heartbeat> + Handler<Retire>,
        Context<W>: ToEnvelope<W, Heartbeat> + ToEnvelope<W, Retire>,
    {
        let (pool, roster) = WorkerPool::new(PoolConfig {
            kind,
            silence_max: kind.silence_max(),
            factory: Arc::new(factory),
            metrics: self.config.metrics.clone(),
            log: self.config.log.clone(),
        });
        let pool = pool.start();
        let link = PoolLink {
            desire: pool.clone().recipient(),
            report: pool.clone().recipient(),
            drain: pool.recipient(),
            desired: 0,
            ever_started: false,
        };
        self.pools.insert(kind, link);
        roster
    }

    fn set_desired(&mut self, kind: JobKind, desired: usize) {
        if let Some(link) = self.pools.get_mut(&kind) {
            link.desired = desired;
        }
        match kind {
            JobKind::JobMaster => JobKind::ALL.into_iter().for_each(|kind| self.apply_desired(kind)),
            _ => self.apply_desired(kind),
        }
    }

    /// Workers that get their work from a job master do not run while none is wanted; they come back with it
    /// (admin-console.md, `!want`).
    fn apply_desired(&mut self, kind: JobKind) {
        let has_master = self.pools.get(&JobKind::JobMaster).is_some_and(|link| link.desired > 0);
        let needs_master = matches!(kind, JobKind::Replicate | JobKind::Delete | JobKind::Fsck);
        if let Some(link) = self.pools.get_mut(&kind) {
            let workers = if needs_master && !has_master { 0 } else { link.desired };
            link.ever_started |= workers > 0;
            link.desire.do_send(SetDesired(workers));
        }
    }

    fn start_children(&mut self, ctx: &mut Context<Self>) {
        let shared = self.shared_context(ctx);
        let (pace, look_up_lanes) = (shared.pace.clone(), shared.look_up_lanes.clone());
        let open: OpenContext = Arc::new(move |log: &Logger| shared.open(log));
        let (store, settings, view) =
            (self.config.store.clone(), self.config.settings.clone(), self.config.view.clone());
        let (metrics, log) = (self.config.metrics.clone(), self.config.log.clone());

        let just_ran: Recipient<MonitorJustRan> = ctx.address().recipient();
        let monitor = {
            let (store, settings, view, log) = (store.clone(), settings.clone(), view.clone(), log.clone());
            let (metrics, node_access) = (metrics.clone(), self.config.node_access.clone());
            move |seat: Seat| {
                let (store, settings, view, metrics) = (store.clone(), settings.clone(), view.clone(), metrics.clone());
                let log = seat.logger(&log);
                let monitor = Monitor::new(seat, store, settings, view, metrics, just_ran.clone(), log);
                monitor.with_node_access(node_access.clone())
            }
        };
        self.monitor = Some(self.start_pool(JobKind::Monitor, monitor));

        let (master_open, master_log) = (open.clone(), log.clone());
        let job_master = self.start_pool(JobKind::JobMaster, move |seat: Seat| {
            let log = seat.logger(&master_log);
            JobMaster::new(seat, master_open.clone(), &metrics, log)
        });
        self.job_master = Some(job_master.clone());

        let (query_open, query_log) = (open.clone(), log.clone());
        let workers = self.start_pool(JobKind::QueryWorker, move |seat: Seat| {
            let log = seat.logger(&query_log);
            QueryWorker::new(seat, query_open.clone(), log)
        });
        let (replicate_open, replicate_log, replicate_master) = (open.clone(), log.clone(), job_master.clone());
        self.start_pool(JobKind::Replicate, move |seat: Seat| {
            let log = seat.logger(&replicate_log);
            JobWorker::<ReplicateWork>::new(seat, replicate_open.clone(), replicate_master.clone(), log)
        });
        let (fsck_open, fsck_log, fsck_master) = (open.clone(), log.clone(), job_master.clone());
        self.start_pool(JobKind::Fsck, move |seat: Seat| {
            let log = seat.logger(&fsck_log);
            JobWorker::<FsckWork>::new(seat, fsck_open.clone(), fsck_master.clone(), log)
        });
        let (reaper_open, reaper_log, reaper_master) = (open.clone(), log.clone(), job_master.clone());
        self.start_pool(JobKind::Reaper, move |seat: Seat| {
            let log = seat.logger(&reaper_log);
            JobWorker::<ReaperWork>::new(seat, reaper_open.clone(), reaper_master.clone(), log)
        });
        self.start_pool(JobKind::Delete, move |seat: Seat| {
            let log = seat.logger(&log);
            JobWorker::<DeleteWork>::new(seat, open.clone(), job_master.clone(), log)
        });

        self.query_workers = Some(workers.clone());
        self.start_listener(workers, pace, look_up_lanes, ctx);
        self.set_desired(JobKind::Monitor, 1);
    }

    /// What the workers share.
    fn shared_context(&self, ctx: &mut Context<Self>) -> SharedContext {
        let SupervisorConfig { store, settings, view, metrics, log, node_access, .. } = &self.config;
        let upward = Upward {
            wake_jobs: ctx.address().recipient(),
            refresh_cluster: ctx.address().recipient(),
            await_monitor_round: ctx.address().recipient(),
        };
        let (store, settings, view, metrics) = (store.clone(), settings.clone(), view.clone(), metrics.clone());
        let mut shared = SharedContext::new(store, settings, view, metrics, upward, log.clone());
        shared.node_access = node_access.clone();
        shared
    }

    fn start_listener(
        &mut self,
        workers: Roster<QueryWorker>,
        pace: Pace,
        look_up_lanes: LookUpLanes,
        ctx: &mut Context<Self>,
    ) {
        let is_on_server = self.config.store.backend() != Backend::Sqlite;
        let config = ListenerConfig {
            sockets: std::mem::take(&mut self.config.sockets),
            permissions: self.config.permissions.clone(),
            limits: self.config.settings.limits.clone(),
            workers,
            supervisor: ctx.address(),
            metrics: self.config.metrics.clone(),
            store: self.config.store.clone(),
            view: self.config.view.clone(),
            log: self.config.log.new(o!("part" => "listener")),
            watch_bus: self.config.watch_bus.clone(),
            pace,
            look_up_lanes: is_on_server.then_some(look_up_lanes),
        };
        let listener =
            ClientListener::start_in_arbiter(&self.listener_arbiter.handle(), move |_ctx| ClientListener::new(config));
        if !self.config.has_predecessor {
            listener.do_send(BeginAccepting);
        }
        self.listener = Some(listener);
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.start_children(ctx);
    }
}

impl Handler<MonitorJustRan> for Supervisor {
    type Result = ();

    /// The first one sets the minimum workers and so starts the pools; later ones only show that the monitor lives.
    fn handle(&mut self, _: MonitorJustRan, ctx: &mut Self::Context) {
        if self.monitor_has_run || self.stopping {
            return;
        }
        self.monitor_has_run = true;
        slog::info!(self.config.log, "first monitor round is complete; starting workers");
        for kind in JobKind::ALL {
            self.set_desired(kind, self.minimum_workers(kind));
        }
        let (workers, listener) = (self.query_workers.clone(), self.listener.clone());
        let (serving, log) = (self.config.serving.clone(), self.config.log.clone());
        let takes_over = self.config.has_predecessor;
        ctx.spawn(actix::fut::wrap_future(async move {
            // Fails when the tracker stops before there is one.
            if let (Some(mut workers), Some(listener)) = (workers, listener)
                && workers.wait_for(|living| !living.is_empty()).await.is_ok()
            {
                if takes_over {
                    listener.do_send(BeginAccepting);
                }
                slog::info!(log, "serving: the pools are started");
                serving.send_replace(true);
            }
        }));
    }
}

/// Claim no work any more and begin no job, for a successor is to do it. Answered when nothing is claimed any more.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct PauseJobs;

impl Handler<PauseJobs> for Supervisor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: PauseJobs, _ctx: &mut Self::Context) -> Self::Result {
        for kind in [JobKind::Replicate, JobKind::Fsck, JobKind::Delete, JobKind::Reaper] {
            if let Some(link) = self.pools.get(&kind) {
                link.desire.do_send(SetDesired(0));
            }
        }
        let drained = self.pools.get(&JobKind::JobMaster).map(|link| link.drain.send(Drain));
        Box::pin(async move {
            if let Some(drained) = drained {
                let _mailbox = drained.await;
            }
        })
    }
}

/// There is no successor after all: everything as before [`PauseJobs`].
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct ResumeJobs;

impl Handler<ResumeJobs> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: ResumeJobs, _ctx: &mut Self::Context) {
        if self.monitor_has_run && !self.stopping {
            JobKind::ALL.into_iter().for_each(|kind| self.apply_desired(kind));
        }
    }
}

/// Accept nobody any more and give each client away between two of its requests. Answered when the last one is gone.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct HandOverClients(pub mpsc::UnboundedSender<PassedClient>);

impl Handler<HandOverClients> for Supervisor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, HandOverClients(successor): HandOverClients, _ctx: &mut Self::Context) -> Self::Result {
        self.config.kept_sockets.close();
        let given = self.listener.as_ref().map(|listener| listener.send(StopListening(Course::HandOver(successor))));
        Box::pin(async move {
            if let Some(given) = given {
                let _mailbox = given.await;
            }
        })
    }
}

impl Handler<Adopt> for Supervisor {
    type Result = ();

    fn handle(&mut self, client: Adopt, _ctx: &mut Self::Context) {
        if let Some(listener) = &self.listener {
            listener.do_send(client);
        }
    }
}

/// Do the Supervisor and the Monitor live? Whoever is answered true has heard from both.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "bool")]
pub struct IsAlive;

impl Handler<IsAlive> for Supervisor {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, _: IsAlive, _ctx: &mut Self::Context) -> Self::Result {
        let monitor = self.present_monitor();
        Box::pin(async move {
            match monitor {
                Some(monitor) => monitor.send(Heartbeat).await.is_ok(),
                None => false,
            }
        })
    }
}

/// From now on these settings, as far as they are looked at while the tracker runs: numbers of workers, limits of clients.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct Reload(pub Arc<Settings>);

impl Handler<Reload> for Supervisor {
    type Result = ();

    fn handle(&mut self, Reload(settings): Reload, _ctx: &mut Self::Context) {
        let before = JobKind::ALL.map(|kind| self.minimum_workers(kind));
        let limits = settings.limits.clone();
        self.config.permissions = self.permissions_of(&settings.security);
        self.config.settings = settings;
        if let Some(listener) = &self.listener {
            listener.do_send(SetLimits(limits));
            listener.do_send(SetPermissions(self.config.permissions.clone()));
        }
        if self.monitor_has_run && !self.stopping {
            // Numbers that an operator has changed by `!want` stay unless the settings have changed them too.
            for (kind, before) in JobKind::ALL.into_iter().zip(before) {
                let now = self.minimum_workers(kind);
                if now != before {
                    self.set_desired(kind, now);
                }
            }
        }
    }
}

impl Supervisor {
    /// The rules of these settings; tokens that cannot be read stay as they are.
    fn permissions_of(&self, security: &SecuritySettings) -> Permissions {
        let before = &self.config.permissions;
        let tokens = TokenList::read(&security.tokens_file).unwrap_or_else(|why| {
            slog::error!(self.config.log, "tokens cannot be read; they stay as they were"; "error" => why);
            before.tokens.clone()
        });
        before.with(security, tokens)
    }
}

impl Handler<WakeJobs> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: WakeJobs, _ctx: &mut Self::Context) {
        let master = self.job_master.as_ref().and_then(|roster| roster.borrow().first().map(|one| one.addr.clone()));
        if let Some(master) = master {
            master.do_send(WakeJobs);
        }
    }
}

impl Supervisor {
    fn present_monitor(&self) -> Option<Addr<Monitor>> {
        self.monitor.as_ref().and_then(|roster| roster.borrow().first().map(|one| one.addr.clone()))
    }
}

impl Handler<AwaitMonitorRound> for Supervisor {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, _: AwaitMonitorRound, _ctx: &mut Self::Context) -> Self::Result {
        let monitor = self.present_monitor();
        Box::pin(async move {
            match monitor {
                Some(monitor) => monitor.send(AwaitMonitorRound).await.unwrap_or(false),
                None => false,
            }
        })
    }
}

impl Handler<RefreshCluster> for Supervisor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: RefreshCluster, _ctx: &mut Self::Context) -> Self::Result {
        let monitor = self.present_monitor();
        let log = self.config.log.clone();
        Box::pin(async move {
            let Some(monitor) = monitor else { return };
            if let Err(error) = monitor.send(RefreshCluster).await {
                slog::warn!(log, "monitor could not refresh"; "error" => %error);
            }
        })
    }
}

/// What `!jobs` shows of one kind of worker.
pub type JobReport = PoolReport;

/// Ask for all kinds that have had workers, in alphabetical order.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Vec<JobReport>")]
pub struct GetJobs;

impl Handler<GetJobs> for Supervisor {
    type Result = ResponseFuture<Vec<JobReport>>;

    fn handle(&mut self, _: GetJobs, _ctx: &mut Self::Context) -> Self::Result {
        let mut shown: Vec<_> = self.pools.iter().filter(|(_, link)| link.ever_started).collect();
        shown.sort_by_key(|(kind, _)| kind.name());
        let ask = |link: &PoolLink| {
            let (desired, report) = (link.desired, link.report.send(GetReport));
            async move { report.await.map(|report| PoolReport { desired, ..report }) }
        };
        let questions: Vec<_> = shown.into_iter().map(|(_, link)| ask(link)).collect();
        Box::pin(async move {
            let reports: Vec<Result<PoolReport, MailboxError>> = futures::future::join_all(questions).await;
            reports.into_iter().flatten().collect()
        })
    }
}

/// Change the number of workers of a kind, as `!want` does. Answers the line for the operator.
#[derive(Message, Clone, Debug)]
#[rtype(result = "String")]
pub struct Want {
    pub count: usize,
    pub job: String,
}

impl Handler<Want> for Supervisor {
    type Result = MessageResult<Want>;

    fn handle(&mut self, Want { count, job }: Want, _ctx: &mut Self::Context) -> Self::Result {
        MessageResult(self.want(count, &job))
    }
}

impl Supervisor {
    fn want(&mut self, count: usize, job: &str) -> String {
        if !self.monitor_has_run {
            return "ERROR: Monitor has not completed initial run yet\n".to_owned();
        }
        let Ok(kind) = job.parse::<JobKind>() else {
            let valid: Vec<_> = JobKind::ALL.iter().map(|kind| kind.name()).collect();
            return format!("ERROR: Invalid class '{job}'.  Valid classes: {}", valid.join(", "));
        };
        if !self.pools.contains_key(&kind) {
            return format!("ERROR: This version has no '{job}' workers");
        }
        let count = count.min(WORKERS_MAX);
        let single = matches!(kind, JobKind::Monitor | JobKind::JobMaster);
        if !single || count <= 1 {
            self.set_desired(kind, count);
        }
        format!("Now desiring {count} children doing '{job}'.")
    }
}

/// Stop the tracker in order.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct StopTracker;

impl Handler<StopTracker> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: StopTracker, ctx: &mut Self::Context) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        slog::info!(self.config.log, "stopping");
        self.config.kept_sockets.close();
        let drain = |kind: JobKind| -> BoxFuture<'static, ()> {
            let drained = self.pools.get(&kind).map(|link| link.drain.send(Drain));
            Box::pin(async move {
                if let Some(drained) = drained {
                    let _mailbox = drained.await;
                }
            })
        };
        let closed = self.listener.as_ref().map(|listener| listener.send(StopListening(Course::Stop)));
        let clients: BoxFuture<'static, ()> = Box::pin(async move {
            if let Some(closed) = closed {
                let _mailbox = closed.await;
            }
        });
        let jobs = [JobKind::Replicate, JobKind::Fsck, JobKind::Delete, JobKind::Reaper].map(drain);
        let jobs: BoxFuture<'static, ()> = Box::pin(async move {
            futures::future::join_all(jobs).await;
        });
        let steps: Vec<Step> = vec![
            ("answering clients", Duration::from_secs(5), clients),
            ("claiming work", Duration::from_secs(2), drain(JobKind::JobMaster)),
            ("finishing jobs", Duration::from_secs(10), jobs),
            ("query workers", Duration::from_secs(2), drain(JobKind::QueryWorker)),
            ("monitor", Duration::from_secs(2), drain(JobKind::Monitor)),
        ];
        let (store, log, stopped) = (self.config.store.clone(), self.config.log.clone(), self.config.stopped.clone());
        let arbiter = self.listener_arbiter.handle();
        ctx.spawn(actix::fut::wrap_future(async move {
            run_steps(steps, &log).await;
            arbiter.stop();
            store.close();
            slog::info!(log, "stopped");
            stopped.send_replace(true);
        }));
    }
}

/// Name, deadline, work.
type Step = (&'static str, Duration, BoxFuture<'static, ()>);

/// One step after the other; what is not done by its deadline is named and left behind.
async fn run_steps(steps: Vec<Step>, log: &Logger) {
    for (name, deadline, step) in steps {
        if tokio::time::timeout(deadline, step).await.is_err() {
            slog::warn!(log, "did not finish in time; going on"; "step" => name,
                "deadline_ms" => u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
        }
    }
}
