//! The life of a service: its start step by step, what signals make of it, its end or its successor.

use super::output::Failure;
use crate::logging;
use crate::node::{self, RunningNode};
use crate::service::daemon::{self, Part};
use crate::service::hand_over::{PassedClient, Predecessor, Successor};
use crate::service::listen::ListenSockets;
use crate::service::notify::{self, Notifier};
use crate::service::pidfile::{Before, Pidfile};
use crate::settings::{self, LimitSettings, LogTo, Settings, TrackerSettings};
use crate::tracker::listener::Adopt;
use crate::tracker::supervisor::{HandOverClients, IsAlive, PauseJobs, Reload, ResumeJobs};
use crate::tracker::{self, RunningTracker};
use crate::web::serve;
use serde_json::Value;
use slog::Logger;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// How long a successor may take to open its database, and to start its pools.
const SUCCESSOR_PATIENCE: Duration = Duration::from_secs(60);
/// How long the job master may take to give up what it has claimed and nobody has taken.
const PAUSE_LIMIT: Duration = Duration::from_secs(5);

/// Settings that are taken over at SIGHUP, by the beginning of their keys; others need a restart.
const RELOADABLE_BY_ALL: [&str; 2] = ["log.", "service.upgrade_linger_ms"];
const RELOADABLE_BY_TRACKER: [&str; 12] = [
    "security.",
    "limits.connections_per_address_max",
    "limits.idle_timeout_ms",
    "tracker.query_workers",
    "tracker.replicate_workers",
    "tracker.delete_workers",
    "tracker.fsck_workers",
    "tracker.reaper_workers",
    "tracker.job_master",
    "limits.line_bytes_max",
    "limits.pipeline_batch_max",
    "limits.write_timeout_ms",
];
const RELOADABLE_BY_NODE: [&str; 1] = ["node.writes_from"];

/// What this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Tracker,
    Node,
}

impl Role {
    fn reloads(self, key: &str) -> bool {
        let own: &[&str] = match self {
            Self::Tracker => &RELOADABLE_BY_TRACKER,
            Self::Node => &RELOADABLE_BY_NODE,
        };
        RELOADABLE_BY_ALL.iter().chain(own).any(|beginning| key.starts_with(beginning))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tracker => "tracker",
            Self::Node => "node",
        }
    }
}

/// Runs the role from its first step to its last. `read_again` gives the settings as they are when it is called.
///
/// # Errors
/// It could not start, or was stopped at once.
pub async fn run(
    role: Role,
    mut settings: Settings,
    log: Logger,
    read_again: impl Fn() -> Result<Settings, Failure>,
) -> Result<(), Failure> {
    let part = daemon::enter(settings.service.daemonize).map_err(local)?;
    if let Part::Done { runs } = part {
        return match runs {
            true => Ok(()),
            false => Err(Failure::Local("the service in the background did not start".to_owned())),
        };
    }
    let in_background = part == Part::Service;
    into_background_log(&mut settings, in_background);
    let _library_logs = logging::adopt_library_logs(&log);
    let mut signals = Signals::install()?;
    let notifier = Rc::new(Notifier::of_process());
    let (predecessor, sockets) = match Predecessor::of_process().await.map_err(local)? {
        Some((predecessor, sockets)) => (Some(predecessor), sockets),
        None => (None, ListenSockets::of_process()),
    };
    slog::info!(log, "settings are read"; "role" => role.name(), "pid" => std::process::id(),
        "predecessor" => predecessor.as_ref().map(|predecessor| predecessor.pid));
    let start = Start { role, settings: &settings, log: &log, predecessor: predecessor.as_ref() };
    let (running, pidfile) = start.run(sockets).await?;
    if in_background {
        if let Some(control) = logging::control() {
            control.apply(&settings.log).map_err(Failure::Local)?;
        }
        daemon::go_down().map_err(local)?;
        slog::info!(log, "in the background");
    }
    let mut life = Life { role, running, settings, log: log.clone(), notifier, pidfile, read_again, in_background };
    let ended = life.serve(predecessor, &mut signals).await;
    let Life { running, settings, notifier, pidfile, .. } = life;
    if ended == Ended::Stopped {
        notifier.stopping();
    }
    let stop = async {
        match running {
            Running::Tracker(tracker) => tracker.stop().await,
            Running::Node(node) if ended == Ended::Succeeded => node.stop_within(linger(&settings)).await,
            Running::Node(node) => node.stop().await,
        }
    };
    let stopped = in_order_or_at_once(stop, &mut signals, &log).await;
    drop(pidfile);
    stopped
}

/// In the background standard error leads nowhere.
fn into_background_log(settings: &mut Settings, in_background: bool) {
    if in_background && settings.log.to == LogTo::Stderr {
        settings.log.to = LogTo::Syslog;
    }
}

fn linger(settings: &Settings) -> Duration {
    Duration::from_millis(settings.service.upgrade_linger_ms)
}

/// The steps from the settings to a service that listens.
struct Start<'a> {
    role: Role,
    settings: &'a Settings,
    log: &'a Logger,
    predecessor: Option<&'a Predecessor>,
}

impl Start<'_> {
    async fn run(&self, sockets: ListenSockets) -> Result<(Running, Option<Pidfile>), Failure> {
        match self.role {
            Role::Tracker => {
                let open = tracker::open(self.settings.clone(), self.log.clone()).map_err(local)?;
                let pidfile = self.pidfile_at_start()?;
                // Before the tracker closes what nobody wanted of the given ones.
                let page = serve::open(&self.settings.web, &sockets, self.log).await.map_err(local)?;
                let prepared = open.listen(sockets).await.map_err(local)?;
                self.wait_for_go().await?;
                let tracker = prepared.begin(self.predecessor.is_some());
                page.begin(&tracker, self.settings, self.log);
                Ok((Running::Tracker(tracker), pidfile))
            }
            Role::Node => {
                let pidfile = self.pidfile_at_start()?;
                self.wait_for_go().await?;
                let node = node::start_with(
                    &self.settings.node,
                    &self.settings.tls,
                    &self.settings.node_client,
                    sockets,
                    self.log.clone(),
                );
                let node = node.await.map_err(local)?;
                slog::info!(self.log, "storage node is ready"; "http" => %node.http_addr,
                    "side_channel" => %node.side_channel_addr, "docroot" => %self.settings.node.docroot.display());
                Ok((Running::Node(node), pidfile))
            }
        }
    }

    /// A successor takes the file over when it serves.
    fn pidfile_at_start(&self) -> Result<Option<Pidfile>, Failure> {
        if self.predecessor.is_some() { Ok(None) } else { create_pidfile(self.settings, None, self.log) }
    }

    async fn wait_for_go(&self) -> Result<(), Failure> {
        match self.predecessor {
            Some(predecessor) => predecessor.wait_for_go().await.map_err(local),
            None => Ok(()),
        }
    }
}

fn create_pidfile(settings: &Settings, predecessor: Option<u32>, log: &Logger) -> Result<Option<Pidfile>, Failure> {
    let path = &settings.service.pidfile;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let (pidfile, before) = Pidfile::create(&crate::service::absolute(path), predecessor).map_err(local)?;
    let stale_pid = if let Before::Stale(pid) = before { pid } else { None };
    slog::info!(log, "pidfile is written"; "path" => %path.display(), "pid" => std::process::id(),
        "stale" => matches!(before, Before::Stale(_)), "stale_pid" => stale_pid);
    Ok(Some(pidfile))
}

/// The role at work.
enum Running {
    Tracker(RunningTracker),
    Node(RunningNode),
}

impl Running {
    fn sockets(&self) -> &ListenSockets {
        match self {
            Self::Tracker(tracker) => &tracker.sockets,
            Self::Node(node) => &node.sockets,
        }
    }

    /// Becomes true when clients are served.
    fn serving(&self) -> watch::Receiver<bool> {
        match self {
            Self::Tracker(tracker) => tracker.serving(),
            Self::Node(_) => watch::channel(true).1,
        }
    }

    /// Ends when the role has stopped by itself.
    async fn wait_until_stopped(&self) {
        match self {
            Self::Tracker(tracker) => tracker.wait_until_stopped().await,
            Self::Node(_) => std::future::pending().await,
        }
    }

    /// Reads the files of certificates anew.
    fn read_certificates(&self, settings: &Settings, log: &Logger) {
        let (tls, node_tls) = match self {
            Self::Tracker(tracker) => (&tracker.tls, &tracker.node_access.tls),
            Self::Node(node) => (&node.tls, &node.sources_tls),
        };
        let read = tls.as_ref().map(|tls| tls.reload(&settings.tls));
        let read_for_nodes = node_tls.as_ref().map(|tls| tls.reload(&settings.node_client));
        for read in read.into_iter().chain(read_for_nodes) {
            match read {
                Ok(()) => slog::info!(log, "certificates are read again"),
                Err(error) => {
                    slog::error!(log, "certificates cannot be used; those of before stay"; "error" => %error);
                }
            }
        }
        if let Some(tls) = tls {
            tls.tell_validity(log);
            if let Self::Tracker(tracker) = self {
                tracker.metrics.tls_certificate_ends.set(tls.ends_at_unix_secs().unwrap_or_default());
            }
        }
    }

    async fn pause(&self) {
        if let Self::Tracker(tracker) = self {
            // Should it take longer: two that claim keep out of each other's way, as trackers of a cluster do.
            let _late = timeout(PAUSE_LIMIT, tracker.supervisor.send(PauseJobs)).await;
        }
    }

    fn resume(&self) {
        if let Self::Tracker(tracker) = self {
            tracker.supervisor.do_send(ResumeJobs);
        }
    }
}

/// How the time of serving came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Stopped,
    Succeeded,
}

struct Life<R> {
    role: Role,
    running: Running,
    settings: Settings,
    log: Logger,
    notifier: Rc<Notifier>,
    pidfile: Option<Pidfile>,
    read_again: R,
    in_background: bool,
}

impl<R: Fn() -> Result<Settings, Failure>> Life<R> {
    /// Until it is to stop.
    async fn serve(&mut self, predecessor: Option<Predecessor>, signals: &mut Signals) -> Ended {
        let mut predecessor = predecessor;
        let mut serving = self.running.serving();
        let mut serves = false;
        let mut successor_is_wanted = false;
        let watchdog = self.start_watchdog();
        let ended = loop {
            if serves && std::mem::take(&mut successor_is_wanted) {
                if let Some(ended) = self.hand_over(signals).await {
                    break ended;
                }
                self.notifier.status("serving");
            }
            let order = tokio::select! {
                order = signals.next() => order,
                () = self.running.wait_until_stopped() => break Ended::Stopped,
                _ = serving.wait_for(|&serving| serving), if !serves => {
                    serves = true;
                    self.begin_to_serve(predecessor.take()).await;
                    continue;
                }
            };
            match order {
                Order::Stop => {
                    slog::info!(self.log, "signal received; stopping in order, a second one stops at once");
                    break Ended::Stopped;
                }
                Order::Reload => self.reload(serves),
                Order::ReopenLog => self.reopen_log(),
                Order::HandOver => {
                    successor_is_wanted = true;
                    if !serves {
                        slog::info!(self.log, "hand-over is put off until this process serves");
                    }
                }
            }
        };
        if let Some(watchdog) = watchdog {
            watchdog.abort();
        }
        ended
    }

    async fn begin_to_serve(&mut self, predecessor: Option<Predecessor>) {
        self.notifier.ready("serving");
        let Some(predecessor) = predecessor else { return };
        match create_pidfile(&self.settings, Some(predecessor.pid), &self.log) {
            Ok(pidfile) => self.pidfile = pidfile,
            Err(error) => slog::error!(self.log, "the pidfile is not ours"; "error" => error.text()),
        }
        if let Err(error) = predecessor.serving().await {
            slog::warn!(self.log, "the predecessor is gone"; "error" => %error);
        }
        if let Running::Tracker(tracker) = &self.running {
            let (supervisor, log) = (tracker.supervisor.clone(), self.log.clone());
            actix_rt::spawn(async move {
                let mut clients = 0_u64;
                loop {
                    match predecessor.next_client().await {
                        Ok(Some(client)) => {
                            clients += 1;
                            supervisor.do_send(Adopt(client));
                        }
                        Ok(None) => break,
                        Err(error) => {
                            slog::warn!(log, "clients of the predecessor are lost"; "error" => %error);
                            break;
                        }
                    }
                }
                slog::info!(log, "the predecessor has left"; "pid" => predecessor.pid, "clients_taken_over" => clients);
            });
        }
    }

    /// Tells the service manager that all is well, as long as it is. Ends with nobody to tell.
    fn start_watchdog(&self) -> Option<actix_rt::task::JoinHandle<()>> {
        let interval = notify::watchdog_interval()?;
        let notifier = self.notifier.clone();
        let supervisor = match &self.running {
            Running::Tracker(tracker) => Some(tracker.supervisor.clone()),
            Running::Node(_) => None,
        };
        Some(actix_rt::spawn(async move {
            let mut ticks = tokio::time::interval(interval);
            loop {
                ticks.tick().await;
                let lives = match &supervisor {
                    Some(supervisor) => matches!(timeout(interval, supervisor.send(IsAlive)).await, Ok(Ok(true))),
                    None => true,
                };
                if lives {
                    notifier.alive();
                }
            }
        }))
    }

    fn reopen_log(&self) {
        let reopened = logging::control().map_or(Ok(()), |control| control.reopen());
        match reopened {
            Ok(()) => slog::info!(self.log, "log is opened anew"),
            Err(error) => slog::error!(self.log, "log cannot be opened anew; the old one stays"; "error" => error),
        }
    }

    /// A process that does not serve yet is not called ready by this.
    fn reload(&mut self, serves: bool) {
        if serves {
            self.notifier.reloading();
        }
        match (self.read_again)() {
            Ok(settings) => self.take_over_settings(settings),
            Err(error) => {
                slog::error!(self.log, "settings are wrong; everything stays as it was"; "error" => error.text());
            }
        }
        if serves {
            self.notifier.ready("serving");
        }
    }

    fn take_over_settings(&mut self, mut read: Settings) {
        into_background_log(&mut read, self.in_background);
        let differences = differences(&self.settings, &read);
        let mut merged = merged(&self.settings, &read);
        if let Some(Err(error)) = logging::control().map(|control| control.apply(&read.log)) {
            slog::error!(self.log, "log settings are wrong; the log stays as it was"; "error" => error);
            merged.log = self.settings.log.clone();
        }
        self.running.read_certificates(&self.settings, &self.log);
        match &self.running {
            Running::Tracker(tracker) => tracker.supervisor.do_send(Reload(Arc::new(merged.clone()))),
            Running::Node(node) => node.set_writers(&merged.node),
        }
        self.settings = merged;
        for (key, before, now) in &differences {
            if self.role.reloads(key) {
                slog::info!(self.log, "setting changed"; "key" => key, "before" => %before, "now" => %now);
            } else {
                slog::warn!(self.log, "setting needs a restart"; "key" => key, "running" => %before, "read" => %now);
            }
        }
        slog::info!(self.log, "settings are read again"; "differences" => differences.len());
    }

    /// How it ended, if there is a successor that serves or a signal came; else everything is as before.
    async fn hand_over(&mut self, signals: &mut Signals) -> Option<Ended> {
        self.notifier.status("starting a successor");
        let begun = tokio::select! {
            begun = self.begin_hand_over() => begun,
            () = signals.stop() => {
                slog::info!(self.log, "signal received; no hand-over, stopping");
                return Some(Ended::Stopped);
            }
        };
        let successor = match begun {
            Ok(successor) => successor,
            Err(error) => {
                slog::error!(self.log, "no hand-over: this process goes on"; "error" => %error);
                self.running.resume();
                return None;
            }
        };
        self.notifier.main_pid(successor.pid());
        slog::info!(self.log, "the successor serves; leaving"; "successor" => successor.pid());
        if let Running::Tracker(tracker) = &self.running {
            let passed = timeout(linger(&self.settings), pass_clients(tracker, &successor, &self.log));
            tokio::select! {
                passed = passed => if passed.is_err() {
                    slog::warn!(self.log, "clients are left that wait for an answer"; "waited_ms" => self.settings.service.upgrade_linger_ms);
                },
                () = signals.stop() => {}
            }
        }
        Some(Ended::Succeeded)
    }

    async fn begin_hand_over(&self) -> std::io::Result<Successor> {
        let mut successor = Successor::start(self.running.sockets()).await?;
        slog::info!(self.log, "successor is started"; "successor" => successor.pid());
        timeout(SUCCESSOR_PATIENCE, successor.prepared()).await??;
        self.running.pause().await;
        timeout(SUCCESSOR_PATIENCE, successor.serve()).await??;
        Ok(successor)
    }
}

/// Gives all clients to the successor, each between two of its requests.
async fn pass_clients(tracker: &RunningTracker, successor: &Successor, log: &Logger) {
    let (sender, mut clients) = mpsc::unbounded_channel::<PassedClient>();
    let given = tracker.supervisor.send(HandOverClients(sender));
    tokio::pin!(given);
    let mut count = 0_u64;
    loop {
        let client = tokio::select! {
            biased;
            Some(client) = clients.recv() => client,
            // All have been sent before the last one was gone.
            _ = &mut given => match clients.try_recv() {
                Ok(client) => client,
                Err(_empty) => break,
            },
        };
        count += 1;
        if let Err(error) = successor.pass(&client).await {
            slog::error!(log, "a client is lost"; "error" => %error);
        }
    }
    slog::info!(log, "all clients are handed over"; "clients" => count);
}

/// The present settings with what can be taken over of those read.
fn merged(present: &Settings, read: &Settings) -> Settings {
    let mut merged = present.clone();
    merged.log = read.log.clone();
    merged.service.upgrade_linger_ms = read.service.upgrade_linger_ms;
    merged.tracker = TrackerSettings {
        listen: present.tracker.listen.clone(),
        admin_listen: present.tracker.admin_listen.clone(),
        tls_listen: present.tracker.tls_listen.clone(),
        default_mindevcount: present.tracker.default_mindevcount,
        ..read.tracker.clone()
    };
    merged.security = read.security.clone();
    merged.node.writes_from = read.node.writes_from.clone();
    merged.limits = LimitSettings {
        connections_per_address_max: read.limits.connections_per_address_max,
        idle_timeout_ms: read.limits.idle_timeout_ms,
        line_bytes_max: read.limits.line_bytes_max,
        pipeline_batch_max: read.limits.pipeline_batch_max,
        write_timeout_ms: read.limits.write_timeout_ms,
        ..present.limits.clone()
    };
    merged
}

/// Key, value before, value now. Of secrets, only that they differ.
fn differences(before: &Settings, now: &Settings) -> Vec<(String, Value, Value)> {
    let (known_before, known_now) = (flat(before), flat(now));
    let differs = |(key, now): (String, Value)| {
        let before = known_before.get(&key)?.clone();
        (before != now).then_some((key, before, now))
    };
    let mut differences: Vec<_> = known_now.into_iter().filter_map(differs).collect();
    if before.database.url != now.database.url {
        let shown = |settings: &Settings| Value::from(settings::shown_address(&settings.database.url));
        differences.push(("database.url".to_owned(), shown(before), shown(now)));
    }
    let secrets = [
        ("database.password", &before.database.password, &now.database.password),
        ("web.token", &before.web.token, &now.web.token),
    ];
    for (key, _, _) in secrets.into_iter().filter(|(_, before, now)| before != now) {
        differences.push((key.to_owned(), Value::from(HIDDEN), Value::from(HIDDEN)));
    }
    differences
}

/// In the place of a secret.
const HIDDEN: &str = "(hidden)";

fn flat(settings: &Settings) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    // Settings are tables of tables of values.
    if let Ok(Value::Object(sections)) = serde_json::to_value(settings) {
        for (section, values) in sections {
            if let Value::Object(values) = values {
                flat.extend(values.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)));
            }
        }
    }
    // May have a password in it.
    flat.remove("database.url");
    flat
}

pub(super) fn local(error: impl std::error::Error) -> Failure {
    Failure::Local(error.to_string())
}

/// Waits for an ordered stop; a signal meanwhile ends it at once.
pub(super) async fn in_order_or_at_once(
    stop: impl Future<Output = ()>,
    signals: &mut Signals,
    log: &Logger,
) -> Result<(), Failure> {
    tokio::select! {
        () = stop => Ok(()),
        () = signals.stop() => {
            slog::warn!(log, "second signal; stopping at once");
            Err(Failure::Local("stopped at once by a second signal".to_owned()))
        }
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// SIGTERM, SIGINT: the first stops in order, the second at once.
    Stop,
    /// SIGHUP
    Reload,
    /// SIGUSR1
    ReopenLog,
    /// SIGUSR2
    HandOver,
}

/// The signals. SIGPIPE is ignored by every program of this language.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    pub(super) fn install() -> Result<Self, Failure> {
        let install = |kind| signal(kind).map_err(|error| Failure::Local(format!("cannot wait for signals: {error}")));
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
            hangup: install(SignalKind::hangup())?,
            user1: install(SignalKind::user_defined1())?,
            user2: install(SignalKind::user_defined2())?,
        })
    }

    pub(super) async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.terminate.recv() => Order::Stop,
            _ = self.interrupt.recv() => Order::Stop,
            _ = self.hangup.recv() => Order::Reload,
            _ = self.user1.recv() => Order::ReopenLog,
            _ = self.user2.recv() => Order::HandOver,
        }
    }

    /// The next SIGTERM or SIGINT; others wait.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
