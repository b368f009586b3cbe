//! `Monitor`: keeps the view of the cluster up to date.
//!
//! Two ticks: [`DbMonitor`] reads the configuration tables, [`MainMonitor`] starts a round of device checks. After every
//! complete round it says [`MonitorJustRan`] to the Supervisor. A [`RefreshCluster`] is answered when a database reading
//! that began after it came in, and a device round after that, are complete: rounds are never taken for older than they
//! are (protocol.md 12, defect 7).

use super::seat::{Heartbeat, Retire, Seat};
use crate::clock::{Chance, new_chance};
use crate::cluster::{ClusterSnapshot, ClusterView};
use crate::jobs::monitor::refresh;
use crate::jobs::monitor::round::{self, RoundMemory, RoundReport};
use crate::node_client::NodeClient;
use crate::notices::{AwaitMonitorRound, RefreshCluster};
use crate::settings::Settings;
use crate::store::{Session, Store, StoreResult, deleted_files, devices};
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture, WrapFuture,
};
use slog::Logger;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

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

/// The actor; one per tracker, on an arbiter of its own.
pub struct Monitor {
    seat: Seat,
    store: Store,
    session: Option<Rc<Session>>,
    nodes: Option<NodeClient>,
    settings: Arc<Settings>,
    view: ClusterView,
    supervisor: Recipient<MonitorJustRan>,
    memory: Rc<RefCell<RoundMemory>>,
    chance: Rc<RefCell<Chance>>,
    round_running: bool,
    database_read: bool,
    database_failing: bool,
    /// The database was asked whether it can keep deleted files, since that is wanted.
    undelete_checked: bool,
    /// Wait for the round after the one that runs.
    waiting: Vec<oneshot::Sender<()>>,
    /// The tables were read since the last round began.
    read_since_round: bool,
    /// Wait for the end of a round that included a reading.
    listening: Vec<oneshot::Sender<()>>,
    log: Logger,
}

impl Monitor {
    pub fn new(
        seat: Seat,
        store: Store,
        settings: Arc<Settings>,
        view: ClusterView,
        supervisor: Recipient<MonitorJustRan>,
        log: Logger,
    ) -> Self {
        Self {
            seat,
            store,
            session: None,
            nodes: None,
            settings,
            view,
            supervisor,
            memory: Rc::default(),
            chance: Rc::new(RefCell::new(new_chance())),
            round_running: false,
            database_read: false,
            database_failing: false,
            undelete_checked: false,
            waiting: Vec::new(),
            read_since_round: false,
            listening: Vec::new(),
            log,
        }
    }

    /// Reads the configuration tables and publishes them with what was observed before. An outage keeps the old view.
    fn read_database(&mut self) {
        let Some(session) = self.session.clone() else { return };
        match refresh::read_tables(&session, &self.settings.extensions) {
            Ok(tables) => {
                let default_mindevcount = self.settings.tracker.default_mindevcount;
                self.view.publish(refresh::build(tables, &self.view.load(), default_mindevcount));
                self.database_read = true;
                self.read_since_round = true;
                self.check_undelete(&session);
                if std::mem::take(&mut self.database_failing) {
                    slog::info!(self.log, "database answers again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.database_failing, true) {
                    slog::error!(self.log, "cannot read the configuration tables; the last known ones stay in force";
                        "error" => %error);
                }
            }
        }
    }

    /// Says once when deleted files are to be kept but the database has no table for that.
    fn check_undelete(&mut self, session: &Session) {
        let is_on = self.view.load().server_number(deleted_files::WINDOW_SETTING, 0) > 0;
        if !is_on || std::mem::replace(&mut self.undelete_checked, true) {
            self.undelete_checked = is_on;
            return;
        }
        match session.read(deleted_files::is_set_up) {
            Ok(true) => {}
            Ok(false) => slog::warn!(self.log, "deleted files are not kept: the database has no table for them";
                "setting" => deleted_files::WINDOW_SETTING, "remedy" => "mogilefs db setup"),
            Err(error) => {
                slog::debug!(self.log, "cannot look for the table of deleted files"; "error" => %error);
                self.undelete_checked = false;
            }
        }
    }

    fn start_round(&mut self, ctx: &mut Context<Self>) {
        let Some(nodes) = self.nodes.clone() else { return };
        self.round_running = true;
        let answered = std::mem::take(&mut self.waiting);
        let includes_reading = std::mem::take(&mut self.read_since_round);
        let cluster = self.view.load_full();
        let (settings, memory, chance) = (self.settings.clone(), self.memory.clone(), self.chance.clone());
        let round = async move { round::run(&nodes, &cluster, &settings.monitor, &memory, &chance).await };
        ctx.spawn(round.into_actor(self).map(move |report, monitor: &mut Self, ctx| {
            monitor.end_round(&report, answered, ctx);
            if includes_reading {
                monitor.tell_listeners();
            }
        }));
    }

    fn end_round(&mut self, report: &RoundReport, answered: Vec<oneshot::Sender<()>>, ctx: &mut Context<Self>) {
        self.round_running = false;
        let before = self.view.load_full();
        self.log_changes(report, &before);
        self.view.publish(report.apply(&before));
        self.store_usages(report, &before, ctx);
        for waiter in answered {
            // A client that went away meanwhile needs no answer.
            let _gone = waiter.send(());
        }
        if self.database_read {
            self.supervisor.do_send(MonitorJustRan);
        }
        if !self.waiting.is_empty() {
            self.read_database();
            self.start_round(ctx);
        }
    }

    fn tell_listeners(&mut self) {
        for listener in self.listening.drain(..) {
            // A client that went away meanwhile needs no answer.
            let _gone = listener.send(());
        }
    }

    fn log_changes(&self, report: &RoundReport, before: &ClusterSnapshot) {
        for change in report.changes(before) {
            slog::info!(self.log, "device state seen"; "devid" => change.devid, "host" => change.host,
                "device" => change.device.map(|state| state.name()),
                "host_state" => change.host_observed.map(|state| format!("{state:?}").to_lowercase()),
                "problem" => change.problem);
        }
    }

    fn store_usages(&self, report: &RoundReport, before: &ClusterSnapshot, ctx: &mut Context<Self>) {
        let usages = report.usages_to_store(before, self.settings.monitor.usage_store_interval_secs);
        let (Some(session), false) = (self.session.clone(), usages.is_empty()) else { return };
        let log = self.log.clone();
        let storing = async move {
            if let Err(error) = store_usages(&session, usages).await {
                slog::warn!(log, "could not store usage figures"; "error" => %error);
            }
        };
        ctx.spawn(storing.into_actor(self));
    }
}

/// One tracker at a time writes the usage columns.
async fn store_usages(session: &Session, usages: Vec<devices::DeviceUsage>) -> StoreResult<()> {
    let Some(lock) = session.try_lock("mgfs:device_update", Duration::ZERO).await? else { return Ok(()) };
    let stored = session.write(move |conn| devices::update_usage(conn, &usages)).await;
    lock.release().await;
    stored
}

impl Actor for Monitor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.seat.beat();
        match self.store.session() {
            Ok(session) => self.session = Some(Rc::new(session)),
            Err(error) => {
                slog::error!(self.log, "worker cannot start"; "error" => %error);
                ctx.stop();
                return;
            }
        }
        self.nodes = Some(NodeClient::new(&self.settings.storage, self.log.clone()));
        ctx.notify(DbMonitor);
        ctx.notify(MainMonitor);
        let settings = &self.settings.monitor;
        ctx.run_interval(Duration::from_millis(settings.db_interval_ms), |_, ctx| ctx.notify(DbMonitor));
        ctx.run_interval(Duration::from_millis(settings.round_interval_ms), |_, ctx| ctx.notify(MainMonitor));
    }
}

impl Handler<DbMonitor> for Monitor {
    type Result = ();

    fn handle(&mut self, _: DbMonitor, _ctx: &mut Self::Context) {
        self.read_database();
    }
}

impl Handler<MainMonitor> for Monitor {
    type Result = ();

    /// No-op while a round runs.
    fn handle(&mut self, _: MainMonitor, ctx: &mut Self::Context) {
        if !self.round_running {
            self.start_round(ctx);
        }
    }
}

impl Handler<RefreshCluster> for Monitor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: RefreshCluster, ctx: &mut Self::Context) -> Self::Result {
        let (sender, refreshed) = oneshot::channel();
        self.waiting.push(sender);
        if !self.round_running {
            self.read_database();
            self.start_round(ctx);
        }
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
