//! `Monitor`: keeps the view of the cluster up to date.
//!
//! Two ticks: [`DbMonitor`] reads the configuration tables, [`MainMonitor`] starts a round of device checks. After every
//! complete round it says [`MonitorJustRan`] to the Supervisor. Which round answers which request for a fresh view is
//! [`Coupling`]'s matter (protocol.md 12, defect 7). The database is asked on threads of its own: one that hangs must not
//! let checks run out of time.

use super::seat::{Heartbeat, Retire, Seat};
use crate::clock::new_chance;
use crate::cluster::{ClusterSnapshot, ClusterView};
use crate::ids::DevId;
use crate::jobs::at_risk::Pace;
use crate::jobs::cluster_check;
use crate::jobs::monitor::automation::Rules;
use crate::jobs::monitor::complaints;
use crate::jobs::monitor::coupling::{Coupling, Need};
use crate::jobs::monitor::guards::Guards;
use crate::jobs::monitor::refresh::{self, Tables};
use crate::jobs::monitor::round::{Change, RoundReport, Rounds};
use crate::jobs::monitor::upkeep;
use crate::jobs::monitor::utilization_watch::UtilizationWatch;
use crate::metrics::Metrics;
use crate::node_client::NodeClient;
use crate::notices::{AwaitMonitorRound, RefreshCluster};
use crate::settings::Settings;
use crate::store::{Session, Store, StoreResult, deleted_files, queues};
use crate::tls::NodeAccess;
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture,
    SpawnHandle, WrapFuture,
};
use slog::Logger;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Time to read the configuration tables.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct DbMonitor;

/// Time to check the devices.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct MainMonitor;

/// A round is complete: the configuration was read and every device was looked at.
#[derive(Message, Clone, Copy, Debug, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct MonitorJustRan;

/// Under which its questions to the database are counted.
const NAME: &str = "monitor";
/// Rows of the replication queue that are looked at for files at one copy.
const RISK_ROWS: i64 = 1000;
/// Between two tries of the rules for devices after they refused something, which may cost the database some time.
const AFTER_REFUSAL_SECS: i64 = 60;

/// The actor; one per tracker, on an arbiter of its own.
pub struct Monitor {
    seat: Seat,
    store: Store,
    session: Option<Session>,
    settings: Arc<Settings>,
    view: ClusterView,
    metrics: Metrics,
    pace: Pace,
    born: Instant,
    /// Files were at one copy when it was looked last.
    files_at_risk: bool,
    /// As last told.
    devices_of_dead_hosts: Vec<DevId>,
    supervisor: Recipient<MonitorJustRan>,
    /// `None` while a round runs.
    rounds: Option<Rounds>,
    node_access: NodeAccess,
    utilization: UtilizationWatch,
    /// As last read.
    guards: Arc<Guards>,
    /// A node showed the mark of a disk, and the database has no place for it: that was said.
    guard_table_missed: bool,
    /// What the rules refused last, and until when they are left alone.
    rules_refused: Vec<String>,
    rules_rest_until: Option<Instant>,
    coupling: Coupling<oneshot::Sender<()>>,
    next_reading: SpawnHandle,
    database_read: bool,
    database_failing: bool,
    /// What is wrong in the tables, as it was said.
    complaints: BTreeSet<String>,
    /// Since when the database has answered without a break.
    database_steady_since: Option<Instant>,
    /// The database was asked whether it can keep deleted files, since that is wanted.
    undelete_checked: bool,
    /// The newest reading that a complete round has included.
    reading_announced: u64,
    /// Wait for the end of a round that included a reading.
    listening: Vec<oneshot::Sender<()>>,
    log: Logger,
}

/// What one reading of the database gave.
struct Reading {
    tables: StoreResult<Tables>,
    /// Deleted files are to be kept, and the database was asked whether it has a table for them.
    undelete_table: Option<StoreResult<bool>>,
    /// Is some queued file at one copy?
    files_at_risk: Option<bool>,
}

impl Monitor {
    /// Nodes are reached by TLS, some or all.
    pub fn with_node_access(self, node_access: NodeAccess) -> Self {
        Self { node_access, ..self }
    }

    pub fn new(
        seat: Seat,
        store: Store,
        settings: Arc<Settings>,
        view: ClusterView,
        metrics: Metrics,
        supervisor: Recipient<MonitorJustRan>,
        log: Logger,
    ) -> Self {
        Self {
            seat,
            store,
            session: None,
            utilization: UtilizationWatch::new(&settings.storage, log.clone()),
            settings,
            view,
            metrics,
            node_access: NodeAccess::default(),
            pace: Pace::default(),
            born: Instant::now(),
            files_at_risk: false,
            devices_of_dead_hosts: Vec::new(),
            supervisor,
            rounds: None,
            guards: Arc::default(),
            guard_table_missed: false,
            rules_refused: Vec::new(),
            rules_rest_until: None,
            database_steady_since: None,
            coupling: Coupling::default(),
            next_reading: SpawnHandle::default(),
            database_read: false,
            database_failing: false,
            complaints: BTreeSet::new(),
            undelete_checked: false,
            reading_announced: 0,
            listening: Vec::new(),
            log,
        }
    }

    fn start_reading(&mut self, ctx: &mut Context<Self>) {
        let Some(session) = self.session.clone() else { return };
        if !self.coupling.begin_reading() {
            return;
        }
        ctx.cancel_future(self.next_reading);
        let (settings, undelete_checked) = (self.settings.clone(), self.undelete_checked);
        let read = move |session: &Session| {
            let tables = refresh::read_tables(session, &settings.extensions);
            let asks = !undelete_checked && tables.as_ref().is_ok_and(Tables::keep_deleted_files);
            // What cannot be counted is looked for again next time.
            let is_any_at_risk = || session.read(|conn| queues::replicate::is_any_at_risk(conn, RISK_ROWS));
            let files_at_risk = tables.is_ok().then(|| is_any_at_risk().ok()).flatten();
            Reading { tables, files_at_risk, undelete_table: asks.then(|| session.read(deleted_files::is_set_up)) }
        };
        let reading = tokio::task::spawn_blocking(move || session.on_behalf_of_at_once(NAME, || read(&session)));
        ctx.spawn(reading.into_actor(self).map(|reading, monitor: &mut Self, ctx| {
            match reading {
                Ok(reading) => monitor.take_reading(reading),
                Err(ended) => {
                    monitor.database_steady_since = None;
                    slog::error!(monitor.log, "reading the configuration tables broke off"; "error" => %ended);
                }
            }
            monitor.end_reading(ctx);
            monitor.apply_rules(ctx);
        }));
    }

    /// Publishes what was read, with what was observed before. An outage keeps the old view (J33).
    fn take_reading(&mut self, reading: Reading) {
        match reading.tables {
            Ok(tables) => {
                self.undelete_checked &= tables.keep_deleted_files();
                self.guards = Arc::new(tables.guards.clone());
                self.complain(&tables);
                self.store.configure_replicas(&tables.server_settings);
                self.database_steady_since.get_or_insert_with(Instant::now);
                let default_mindevcount = self.settings.tracker.default_mindevcount;
                self.view.publish(refresh::build(tables, &self.view.load(), default_mindevcount));
                self.database_read = true;
                self.note_dead_hosts();
                if std::mem::take(&mut self.database_failing) {
                    slog::info!(self.log, "database answers again");
                }
            }
            Err(error) => {
                self.database_steady_since = None;
                if !std::mem::replace(&mut self.database_failing, true) {
                    slog::error!(self.log, "cannot read the configuration tables; the last known ones stay in force";
                        "error" => %error);
                }
            }
        }
        if let Some(at_risk) = reading.files_at_risk {
            self.note_risk(at_risk);
        }
        if let Some(table) = reading.undelete_table {
            self.note_undelete_table(table);
        }
    }

    /// Says once what the tables say that cannot be meant.
    fn complain(&mut self, tables: &Tables) {
        let complaints = complaints::of_tables(tables);
        for complaint in complaints.difference(&self.complaints) {
            slog::warn!(self.log, "the configuration in the database is passed over in part"; "reason" => complaint);
        }
        self.complaints = complaints;
    }

    fn end_reading(&mut self, ctx: &mut Context<Self>) {
        self.coupling.end_reading();
        let interval = Duration::from_millis(self.settings.monitor.db_interval_ms);
        self.next_reading = ctx.notify_later(DbMonitor, interval);
        self.serve_requests(ctx);
    }

    /// Says when the first file is at one copy, and when none is any more.
    fn note_risk(&mut self, at_risk: bool) {
        if std::mem::replace(&mut self.files_at_risk, at_risk) == at_risk {
            return;
        }
        if at_risk {
            slog::info!(self.log, "files are at one copy and wait for another"; "show" => "mogilefs check");
        } else {
            slog::info!(self.log, "no queued file is at one copy any more");
        }
    }

    /// Says when other devices than before are left on hosts that are dead (jobs.md W30).
    fn note_dead_hosts(&mut self) {
        let devids = cluster_check::devices_of_dead_hosts(&self.view.load());
        if !devids.is_empty() && devids != self.devices_of_dead_hosts {
            slog::warn!(self.log, "devices of dead hosts are not marked dead: their copies count as good";
                "devids" => format!("{devids:?}"), "show" => "mogilefs check");
        }
        self.devices_of_dead_hosts = devids;
    }

    /// Says once when deleted files are to be kept but the database has no table for that.
    fn note_undelete_table(&mut self, is_set_up: StoreResult<bool>) {
        self.undelete_checked = is_set_up.is_ok();
        match is_set_up {
            Ok(true) => {}
            Ok(false) => slog::warn!(self.log, "deleted files are not kept: the database has no table for them";
                "setting" => deleted_files::WINDOW_SETTING, "remedy" => "mogilefs db setup"),
            Err(error) => slog::debug!(self.log, "cannot look for the table of deleted files"; "error" => %error),
        }
    }

    fn start_round(&mut self, ctx: &mut Context<Self>) {
        let Some(mut rounds) = self.rounds.take() else { return };
        self.coupling.begin_round();
        let (cluster, guards, database_read) = (self.view.load_full(), self.guards.clone(), self.database_read);
        self.utilization.follow(&cluster);
        let round = async move {
            let report = rounds.run(&cluster, &guards).await;
            (rounds, report)
        };
        ctx.spawn(round.into_actor(self).map(move |(rounds, report), monitor: &mut Self, ctx| {
            monitor.rounds = Some(rounds);
            monitor.end_round(&report, database_read, ctx);
        }));
    }

    /// `database_read`: the round knew the devices of the database.
    fn end_round(&mut self, report: &RoundReport, database_read: bool, ctx: &mut Context<Self>) {
        let copied = self.pace.sample(self.born.elapsed(), &self.metrics.files_replicated);
        self.metrics.copied_last_minute.set(copied);
        let before = self.view.load_full();
        report.answering(&before).for_each(|address| self.utilization.note_answer(address));
        let after = self.utilization.apply(report.apply(&before));
        self.log_changes(&report.changes(&before, &after));
        self.log_guards(report, &before, &after);
        self.store(report, &before, &after, ctx);
        self.view.publish(after);
        let (reading, released) = self.coupling.end_round();
        tell(released);
        if reading > self.reading_announced {
            self.reading_announced = reading;
            tell(std::mem::take(&mut self.listening));
        }
        if database_read {
            self.supervisor.do_send(MonitorJustRan);
        }
        self.serve_requests(ctx);
    }

    /// Begins what waiting requests need.
    fn serve_requests(&mut self, ctx: &mut Context<Self>) {
        match self.coupling.need() {
            Some(Need::Reading) => self.start_reading(ctx),
            Some(Need::Round) => self.start_round(ctx),
            None => {}
        }
    }

    fn log_guards(&mut self, report: &RoundReport, before: &ClusterSnapshot, after: &ClusterSnapshot) {
        let (before, after) = (&before.guard_failures, &after.guard_failures);
        for (devid, failure) in after.iter().filter(|(devid, failure)| before.get(devid) != Some(failure)) {
            slog::error!(self.log, "mount guard failed: the device counts as unreachable"; "devid" => devid,
                "problem" => failure.text(), "remedy" => format!("mount its disk, or: mogilefs device accept {devid}"));
        }
        for devid in before.keys().filter(|devid| !after.contains_key(devid)) {
            slog::info!(self.log, "mount guard holds again"; "devid" => devid);
        }
        if !self.guards.is_set_up && !self.guard_table_missed && self.database_read && report.shows_marks() {
            self.guard_table_missed = true;
            slog::warn!(self.log, "marks of disks are not watched: the database has no table for them";
                "remedy" => "mogilefs db setup");
        }
    }

    fn log_changes(&self, changes: &[Change<'_>]) {
        for change in changes {
            match change {
                Change::Host { host, observed, problem } => {
                    slog::info!(self.log, "host state seen"; "host" => host,
                        "state" => observed.map(|state| state.name()), "problem" => problem);
                }
                Change::Device { devid, host, observed, problem } => {
                    slog::info!(self.log, "device state seen"; "devid" => devid, "host" => host,
                        "device" => observed.map(|state| state.name()), "problem" => problem);
                }
            }
        }
    }

    /// Writes what the round learned.
    fn store(
        &mut self,
        report: &RoundReport,
        before: &ClusterSnapshot,
        after: &ClusterSnapshot,
        ctx: &mut Context<Self>,
    ) {
        let Some(session) = self.session.clone() else { return };
        let interval_secs = self.settings.monitor.usage_store_interval_secs;
        let usages = report.usages_to_store(before, interval_secs);
        let update = self.guards.update(report, after);
        Arc::make_mut(&mut self.guards).apply(&update);
        if usages.is_empty() && update.is_empty() {
            return;
        }
        let log = self.log.clone();
        let storing = in_background(session.clone(), async move {
            if !usages.is_empty()
                && let Err(error) = upkeep::store_usages(&session, usages, interval_secs).await
            {
                slog::warn!(log, "could not store usage figures"; "error" => %error);
            }
            if !update.is_empty()
                && let Err(error) = upkeep::store_guards(&session, update).await
            {
                slog::warn!(log, "could not store what is known of devices"; "error" => %error);
            }
        });
        ctx.spawn(storing.into_actor(self).map(|_done, _monitor, _ctx| ()));
    }

    /// Lets the rules act, if any is on and this tracker has had its database for long enough. Only after a reading, so
    /// never in an outage.
    fn apply_rules(&mut self, ctx: &mut Context<Self>) {
        let cluster = self.view.load_full();
        let (Some(rules), Some(session), Some(steady_since)) =
            (Rules::of(&cluster), self.session.clone(), self.database_steady_since)
        else {
            return;
        };
        let is_steady = steady_since.elapsed().as_secs() >= u64::try_from(rules.steady_secs()).unwrap_or(u64::MAX);
        let rests = self.rules_rest_until.is_some_and(|until| Instant::now() < until);
        if rests || !is_steady || !self.guards.is_set_up || self.reading_announced == 0 {
            return;
        }
        let log = self.log.clone();
        let applying =
            in_background(session.clone(), async move { upkeep::apply_rules(&session, &cluster, rules, &log).await });
        ctx.spawn(applying.into_actor(self).map(move |report, monitor, ctx| match report {
            Some(Ok(report)) => {
                let rest_secs = u64::try_from(rules.steady_secs().min(AFTER_REFUSAL_SECS)).unwrap_or(0);
                let rest = (!report.refused.is_empty()).then_some(Duration::from_secs(rest_secs));
                monitor.rules_rest_until = rest.map(|rest| Instant::now() + rest);
                upkeep::log_refusals(&monitor.log, &mut monitor.rules_refused, report.refused);
                if report.changed > 0 {
                    ctx.notify(DbMonitor);
                }
            }
            Some(Err(error)) => slog::warn!(monitor.log, "the rules for devices could not act"; "error" => %error),
            None => {}
        }));
    }
}

fn tell(waiters: Vec<oneshot::Sender<()>>) {
    for waiter in waiters {
        // A client that went away meanwhile needs no answer.
        let _gone = waiter.send(());
    }
}

/// Does work with the database on a thread where it may block; `None` if it panicked there.
async fn in_background<T: Send + 'static>(
    session: Session,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(session.on_behalf_of(NAME, work))).await.ok()
}

impl Actor for Monitor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.seat.beat();
        match self.store.session() {
            Ok(session) => self.session = Some(session),
            Err(error) => {
                slog::error!(self.log, "worker cannot start"; "error" => %error);
                ctx.stop();
                return;
            }
        }
        let nodes = NodeClient::with_access(&self.settings.storage, self.node_access.clone(), self.log.clone());
        self.rounds = Some(Rounds::new(nodes, &self.settings, new_chance()));
        // The first round begins as soon as the first reading has ended.
        let (first, _) = oneshot::channel();
        self.coupling.request(first);
        self.serve_requests(ctx);
        let interval = Duration::from_millis(self.settings.monitor.round_interval_ms);
        ctx.run_interval(interval, |_, ctx| ctx.notify(MainMonitor));
    }
}

impl Handler<DbMonitor> for Monitor {
    type Result = ();

    fn handle(&mut self, _: DbMonitor, ctx: &mut Self::Context) {
        self.start_reading(ctx);
    }
}

impl Handler<MainMonitor> for Monitor {
    type Result = ();

    /// No-op while a round runs.
    fn handle(&mut self, _: MainMonitor, ctx: &mut Self::Context) {
        self.start_round(ctx);
    }
}

impl Handler<RefreshCluster> for Monitor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: RefreshCluster, ctx: &mut Self::Context) -> Self::Result {
        let (sender, refreshed) = oneshot::channel();
        self.coupling.request(sender);
        self.serve_requests(ctx);
        Box::pin(async move {
            // A monitor that stops meanwhile is replaced, and the next request sees what it reads.
            let _refreshed = refreshed.await;
        })
    }
}

impl Handler<AwaitMonitorRound> for Monitor {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, _: AwaitMonitorRound, _ctx: &mut Self::Context) -> Self::Result {
        let (sender, told) = oneshot::channel();
        self.listening.push(sender);
        Box::pin(async move { told.await.is_ok() })
    }
}

impl Handler<Heartbeat> for Monitor {
    type Result = ();

    fn handle(&mut self, _: Heartbeat, _ctx: &mut Self::Context) {
        self.seat.beat();
    }
}

impl Handler<Retire> for Monitor {
    type Result = ();

    fn handle(&mut self, _: Retire, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
