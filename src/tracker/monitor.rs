//! `Monitor`: keeps the view of the cluster up to date.
//!
//! Two ticks: [`DbMonitor`] reads the configuration tables, [`MainMonitor`] starts a round of device checks. After every
//! complete round it says [`MonitorJustRan`] to the Supervisor. Which round answers which request for a fresh view is
//! [`Coupling`]'s matter (protocol.md 12, defect 7). The database is asked on threads of its own: one that hangs must not
//! let checks run out of time.

use super::seat::{Heartbeat, Retire, Seat};
use crate::clock::new_chance;
use crate::cluster::{ClusterSnapshot, ClusterView};
use crate::jobs::monitor::coupling::{Coupling, Need};
use crate::jobs::monitor::refresh::{self, Tables};
use crate::jobs::monitor::round::{Change, RoundReport, Rounds};
use crate::node_client::NodeClient;
use crate::notices::{AwaitMonitorRound, RefreshCluster};
use crate::settings::Settings;
use crate::store::{Session, Store, StoreResult, deleted_files, devices};
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture,
    SpawnHandle, WrapFuture,
};
use slog::Logger;
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
    session: Option<Session>,
    settings: Arc<Settings>,
    view: ClusterView,
    supervisor: Recipient<MonitorJustRan>,
    /// `None` while a round runs.
    rounds: Option<Rounds>,
    coupling: Coupling<oneshot::Sender<()>>,
    next_reading: SpawnHandle,
    database_read: bool,
    database_failing: bool,
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
            settings,
            view,
            supervisor,
            rounds: None,
            coupling: Coupling::default(),
            next_reading: SpawnHandle::default(),
            database_read: false,
            database_failing: false,
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
        let reading = tokio::task::spawn_blocking(move || {
            let tables = refresh::read_tables(&session, &settings.extensions);
            let asks = !undelete_checked && tables.as_ref().is_ok_and(Tables::keep_deleted_files);
            Reading { tables, undelete_table: asks.then(|| session.read(deleted_files::is_set_up)) }
        });
        ctx.spawn(reading.into_actor(self).map(|reading, monitor: &mut Self, ctx| {
            match reading {
                Ok(reading) => monitor.take_reading(reading),
                Err(ended) => {
                    slog::error!(monitor.log, "reading the configuration tables broke off"; "error" => %ended);
                }
            }
            monitor.end_reading(ctx);
        }));
    }

    /// Publishes what was read, with what was observed before. An outage keeps the old view (J33).
    fn take_reading(&mut self, reading: Reading) {
        match reading.tables {
            Ok(tables) => {
                self.undelete_checked &= tables.keep_deleted_files();
                let default_mindevcount = self.settings.tracker.default_mindevcount;
                self.view.publish(refresh::build(tables, &self.view.load(), default_mindevcount));
                self.database_read = true;
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
        if let Some(table) = reading.undelete_table {
            self.note_undelete_table(table);
        }
    }

    fn end_reading(&mut self, ctx: &mut Context<Self>) {
        self.coupling.end_reading();
        let interval = Duration::from_millis(self.settings.monitor.db_interval_ms);
        self.next_reading = ctx.notify_later(DbMonitor, interval);
        self.serve_requests(ctx);
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
        let (cluster, database_read) = (self.view.load_full(), self.database_read);
        let round = async move {
            let report = rounds.run(&cluster).await;
            (rounds, report)
        };
        ctx.spawn(round.into_actor(self).map(move |(rounds, report), monitor: &mut Self, ctx| {
            monitor.rounds = Some(rounds);
            monitor.end_round(&report, database_read, ctx);
        }));
    }

    /// `database_read`: the round knew the devices of the database.
    fn end_round(&mut self, report: &RoundReport, database_read: bool, ctx: &mut Context<Self>) {
        let before = self.view.load_full();
        let after = report.apply(&before);
        self.log_changes(&report.changes(&before, &after));
        self.view.publish(after);
        self.store_usages(report, &before, ctx);
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

    fn store_usages(&self, report: &RoundReport, before: &ClusterSnapshot, ctx: &mut Context<Self>) {
        let interval_secs = self.settings.monitor.usage_store_interval_secs;
        let usages = report.usages_to_store(before, interval_secs);
        let (Some(session), false) = (self.session.clone(), usages.is_empty()) else { return };
        let log = self.log.clone();
        let storing = in_background(async move {
            if let Err(error) = store_usages(&session, usages, interval_secs).await {
                slog::warn!(log, "could not store usage figures"; "error" => %error);
            }
        });
        ctx.spawn(storing.into_actor(self));
    }
}

fn tell(waiters: Vec<oneshot::Sender<()>>) {
    for waiter in waiters {
        // A client that went away meanwhile needs no answer.
        let _gone = waiter.send(());
    }
}

/// Does work with the database on a thread where it may block; a panic of it is that thread's.
async fn in_background(work: impl Future<Output = ()> + Send + 'static) {
    let runtime = tokio::runtime::Handle::current();
    let _panicked = tokio::task::spawn_blocking(move || runtime.block_on(work)).await;
}

/// One tracker at a time writes the usage columns.
async fn store_usages(session: &Session, usages: Vec<devices::DeviceUsage>, interval_secs: i64) -> StoreResult<()> {
    let Some(lock) = session.try_lock("mgfs:device_update", Duration::ZERO).await? else { return Ok(()) };
    let stored = session.write(move |conn| devices::update_usage(conn, &usages, interval_secs)).await;
    lock.release().await;
    stored
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
        let nodes = NodeClient::new(&self.settings.storage, self.log.clone());
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
