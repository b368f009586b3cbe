//! Actor-message tests: the wiring of Supervisor, Monitor and pools, with messages in and messages out.
//!
//! Timers of actors that share the test's arbiter run on paused time; workers on arbiters of their own run on real time,
//! so those tests wait for facts.

use actix::{Actor, Addr, Context, Handler, Message, ResponseFuture};
use mogilefs::cluster::ClusterView;
use mogilefs::job_kind::JobKind;
use mogilefs::jobs::context::{SharedContext, Upward};
use mogilefs::jobs::pace::Pace;
use mogilefs::logging;
use mogilefs::logging::watch::WatchBus;
use mogilefs::metrics::Metrics;
use mogilefs::notices::{AwaitMonitorRound, RefreshCluster, WakeJobs};
use mogilefs::settings::Settings;
use mogilefs::store::{Store, domains};
use mogilefs::tracker::listener::{BeginAccepting, ClientListener, ListenerConfig};
use mogilefs::tracker::monitor::{Monitor, MonitorJustRan};
use mogilefs::tracker::permissions::Permissions;
use mogilefs::tracker::pool::{Drain, GetReport, PoolConfig, Roster, SetDesired, WorkerPool};
use mogilefs::tracker::query_worker::{OpenContext, QueryWorker};
use mogilefs::tracker::seat::{Heartbeat, Pulse, Retire, Seat, WorkerGone, next_worker_id};
use mogilefs::tracker::supervisor::{GetJobs, StopTracker, Supervisor, SupervisorConfig, Want};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::TcpStream;
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(20);

/// A worker that does as it is told.
struct Puppet {
    seat: Seat,
}

impl Actor for Puppet {
    type Context = Context<Self>;
}

impl Handler<Heartbeat> for Puppet {
    type Result = ();

    fn handle(&mut self, _: Heartbeat, _ctx: &mut Self::Context) {
        self.seat.beat();
    }
}

impl Handler<Retire> for Puppet {
    type Result = ();

    fn handle(&mut self, _: Retire, ctx: &mut Self::Context) {
        actix::ActorContext::stop(ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
enum Do {
    Panic,
    Block(Duration),
}

impl Handler<Do> for Puppet {
    type Result = ();

    fn handle(&mut self, order: Do, _ctx: &mut Self::Context) {
        match order {
            Do::Panic => panic!("a worker panics, as this test wants"),
            Do::Block(time) => std::thread::sleep(time),
        }
    }
}

fn puppet_pool(silence_max: Duration, metrics: &Metrics) -> (Addr<WorkerPool<Puppet>>, Roster<Puppet>) {
    let (pool, roster) = WorkerPool::new(PoolConfig {
        kind: JobKind::QueryWorker,
        silence_max,
        factory: Arc::new(|seat| Puppet { seat }),
        metrics: metrics.clone(),
        log: logging::discard(),
    });
    (pool.start(), roster)
}

/// Waits until the roster is as wanted.
async fn roster_until(roster: &mut Roster<Puppet>, what: &str, wanted: impl Fn(&[u64]) -> bool) -> Vec<u64> {
    let ids = |roster: &Roster<Puppet>| roster.borrow().iter().map(|worker| worker.id).collect::<Vec<_>>();
    let begun = Instant::now();
    loop {
        let now = ids(roster);
        if wanted(&now) {
            return now;
        }
        assert!(begun.elapsed() < PATIENCE, "never: {what}; the roster is {now:?}");
        let _changed = tokio::time::timeout(Duration::from_millis(100), roster.changed()).await;
    }
}

#[actix::test]
async fn a_worker_that_panics_is_replaced_by_a_new_one() {
    let metrics = Metrics::default();
    let (pool, mut roster) = puppet_pool(PATIENCE, &metrics);
    pool.send(SetDesired(2)).await.expect("pool lives");
    let before = roster_until(&mut roster, "two workers", |ids| ids.len() == 2).await;
    let victim = roster.borrow()[0].clone();
    assert!(victim.addr.send(Do::Panic).await.is_err(), "the sender learns at once that its worker died");
    let after = roster_until(&mut roster, "two workers without the dead one", |ids| {
        ids.len() == 2 && !ids.contains(&victim.id)
    })
    .await;
    assert!(after.contains(&before[1]), "the other worker goes on");
    assert_eq!(metrics.workers_replaced.get(), 1);
}

#[actix::test]
async fn a_worker_that_hangs_is_replaced() {
    let metrics = Metrics::default();
    let (pool, mut roster) = puppet_pool(Duration::from_millis(1500), &metrics);
    pool.send(SetDesired(1)).await.expect("pool lives");
    let before = roster_until(&mut roster, "a worker", |ids| ids.len() == 1).await;
    let worker = roster.borrow()[0].clone();
    worker.addr.do_send(Do::Block(Duration::from_secs(6)));
    roster_until(&mut roster, "another worker", |ids| ids.len() == 1 && ids != before).await;
    assert_eq!(metrics.workers_replaced.get(), 1);
}

#[actix::test]
async fn a_pool_grows_shrinks_and_drains() {
    let (pool, mut roster) = puppet_pool(PATIENCE, &Metrics::default());
    pool.send(SetDesired(3)).await.expect("pool lives");
    roster_until(&mut roster, "three workers", |ids| ids.len() == 3).await;
    pool.send(SetDesired(1)).await.expect("pool lives");
    let left = roster_until(&mut roster, "one worker", |ids| ids.len() == 1).await;
    pool.send(Drain).await.expect("pool lives");
    let report = pool.send(GetReport).await.expect("pool lives");
    assert_eq!((report.desired, report.workers.len()), (0, 0), "after {left:?}");
}

/// A store on a new SQLite database.
fn store(directory: &TempDir) -> (Store, Settings) {
    let mut settings = Settings::defaults();
    settings.database.url = format!("sqlite:{}", directory.path().join("tracker.db").display());
    Store::setup(&settings.database).expect("setup");
    (Store::open(&settings.database, logging::discard()).expect("open"), settings)
}

/// Counts what the Monitor says.
struct Ear {
    heard: Arc<AtomicUsize>,
}

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<MonitorJustRan> for Ear {
    type Result = ();

    fn handle(&mut self, _: MonitorJustRan, _ctx: &mut Self::Context) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }
}

impl Handler<WorkerGone> for Ear {
    type Result = ();

    fn handle(&mut self, _: WorkerGone, _ctx: &mut Self::Context) {}
}

struct Listened {
    monitor: Addr<Monitor>,
    view: ClusterView,
    heard: Arc<AtomicUsize>,
    store: Store,
    _directory: TempDir,
}

fn listen_to_monitor() -> Listened {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, settings) = store(&directory);
    let (view, heard) = (ClusterView::default(), Arc::<AtomicUsize>::default());
    let ear = Ear { heard: heard.clone() }.start();
    let seat = Seat::new(next_worker_id(), JobKind::Monitor, Pulse::new(), ear.clone().recipient());
    let log = logging::discard();
    let (settings, metrics) = (Arc::new(settings), Metrics::default());
    let monitor = Monitor::new(seat, store.clone(), settings, view.clone(), metrics, ear.recipient(), log).start();
    Listened { monitor, view, heard, store, _directory: directory }
}

/// The ticks: a round every 2.5 s, told to the Supervisor; an hour passes in no time.
#[actix::test]
async fn the_monitor_says_after_every_round_that_it_ran() {
    let listened = listen_to_monitor();
    listened.monitor.send(RefreshCluster).await.expect("monitor lives");
    tokio::time::pause();
    let before = listened.heard.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let rounds = listened.heard.load(Ordering::Relaxed) - before;
    assert!((23..=25).contains(&rounds), "60 s have 24 rounds of 2.5 s, give or take one: {rounds}");
}

/// The database tick alone brings changes of others into the view, within 4 s.
#[actix::test]
async fn the_monitor_sees_what_others_change() {
    let listened = listen_to_monitor();
    listened.monitor.send(RefreshCluster).await.expect("monitor lives");
    let session = listened.store.session().expect("session");
    session.write(|conn| domains::create(conn, "others".into())).await.expect("created");
    assert!(listened.view.load().domain_by_name("others".into()).is_none());
    tokio::time::pause();
    tokio::time::sleep(Duration::from_millis(4100)).await;
    assert!(listened.view.load().domain_by_name("others".into()).is_some());
}

/// Protocol defect 7: a refresh is answered by a reading that began after it came in, never by an older one.
#[actix::test]
async fn a_refresh_shows_what_was_written_before_it() {
    let listened = listen_to_monitor();
    let session = listened.store.session().expect("session");
    for number in 0..20 {
        let name = format!("domain{number}");
        let created = name.clone();
        session.write(move |conn| domains::create(conn, created.as_str().into())).await.expect("created");
        listened.monitor.send(RefreshCluster).await.expect("monitor lives");
        assert!(listened.view.load().domain_by_name(name.as_str().into()).is_some(), "{name}");
    }
}

/// Nobody begins a round for those who only wait for one; a round without a reading of the database is not theirs.
#[actix::test]
async fn who_awaits_a_round_hears_of_the_next_with_a_reading() {
    let listened = listen_to_monitor();
    listened.monitor.send(RefreshCluster).await.expect("monitor lives");
    tokio::time::pause();
    for _ in 0..5 {
        let session = listened.store.session().expect("session");
        let name = format!("d{}", listened.heard.load(Ordering::Relaxed));
        let created = name.clone();
        session.write(move |conn| domains::create(conn, created.as_str().into())).await.expect("created");
        let begun = tokio::time::Instant::now();
        // The first may be that of a round under way; the next one's reading came after it.
        for _ in 0..2 {
            assert!(listened.monitor.send(AwaitMonitorRound).await.expect("monitor lives"));
        }
        assert!(listened.view.load().domain_by_name(name.as_str().into()).is_some());
        let waited = begun.elapsed();
        assert!((Duration::from_secs(1)..Duration::from_secs(14)).contains(&waited), "{waited:?}");
    }
}

#[actix::test]
async fn who_awaits_a_round_is_told_when_the_monitor_goes() {
    let listened = listen_to_monitor();
    listened.monitor.send(RefreshCluster).await.expect("monitor lives");
    let waiting = listened.monitor.send(AwaitMonitorRound);
    listened.monitor.send(Retire).await.expect("monitor lives");
    assert!(!waiting.await.unwrap_or(false), "no round was completed");
}

struct Supervised {
    supervisor: Addr<Supervisor>,
    stopped: watch::Receiver<bool>,
    _directory: TempDir,
}

/// A Supervisor on a new database; `host` is put there as an alive host with one device.
async fn supervised(host: Option<u16>) -> Supervised {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, mut settings) = store(&directory);
    settings.tracker.query_workers = 3;
    settings.storage.node_timeout_ms = 60_000;
    if let Some(port) = host {
        use mogilefs::cluster::device_state::{DeviceStatus, HostStatus};
        use mogilefs::ids::DevId;
        use mogilefs::store::{devices, hosts};
        let values = hosts::HostChanges {
            ip: Some("127.0.0.1".to_owned()),
            http_port: Some(port),
            status: Some(HostStatus::Alive),
            ..hosts::HostChanges::default()
        };
        let session = store.session().expect("session");
        let made = session.write(move |conn| {
            let hostid = hosts::create(conn, "silent", &values)?;
            devices::create(conn, DevId(1), hostid, DeviceStatus::Alive)
        });
        made.await.expect("created");
    }
    let (stopped_sender, stopped) = watch::channel(false);
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.set_nonblocking(true).expect("non-blocking");
    let supervisor = Supervisor::new(SupervisorConfig {
        settings: Arc::new(settings),
        store,
        sockets: vec![socket.into()],
        permissions: mogilefs::tracker::permissions::Permissions::default(),
        view: ClusterView::default(),
        metrics: Metrics::default(),
        log: logging::discard(),
        watch_bus: WatchBus::new(),
        stopped: stopped_sender,
        serving: watch::channel(false).0,
        node_access: mogilefs::tls::NodeAccess::default(),
        kept_sockets: mogilefs::service::listen::ListenSockets::default(),
        has_predecessor: false,
    })
    .start();
    Supervised { supervisor, stopped, _directory: directory }
}

/// Kinds with their desired and present numbers of workers.
async fn jobs(supervisor: &Addr<Supervisor>) -> BTreeMap<&'static str, (usize, usize)> {
    let reports = supervisor.send(GetJobs).await.expect("supervisor lives");
    reports.into_iter().map(|report| (report.kind.name(), (report.desired, report.workers.len()))).collect()
}

async fn jobs_until(supervisor: &Addr<Supervisor>, wanted: &[(&'static str, (usize, usize))]) {
    let wanted: BTreeMap<_, _> = wanted.iter().copied().collect();
    let begun = Instant::now();
    loop {
        let now = jobs(supervisor).await;
        if now == wanted {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "never {wanted:?}; the jobs are {now:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const MINIMUM: [(&str, (usize, usize)); 7] = [
    ("delete", (1, 1)),
    ("fsck", (1, 1)),
    ("job_master", (1, 1)),
    ("monitor", (1, 1)),
    ("queryworker", (3, 3)),
    ("reaper", (1, 1)),
    ("replicate", (1, 1)),
];

/// J12: only the monitor runs before its first round; `MonitorJustRan` sets the minimum workers and starts the pools.
#[actix::test]
async fn the_first_monitor_round_starts_the_pools() {
    // A node that accepts and never answers keeps the first round going.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let supervised = supervised(Some(silent.local_addr().expect("an address").port())).await;
    jobs_until(&supervised.supervisor, &[("monitor", (1, 1))]).await;
    let refused = supervised.supervisor.send(Want { count: 1, job: "delete".to_owned() }).await.expect("answer");
    assert!(refused.starts_with("ERROR: Monitor has not completed initial run yet"), "{refused}");
    supervised.supervisor.send(MonitorJustRan).await.expect("supervisor lives");
    jobs_until(&supervised.supervisor, &MINIMUM).await;
}

/// `!want` changes the number; a later `MonitorJustRan` does not change it back.
#[actix::test]
async fn wanted_numbers_stay() {
    let supervised = supervised(None).await;
    jobs_until(&supervised.supervisor, &MINIMUM).await;
    let want = |count, job: &str| supervised.supervisor.send(Want { count, job: job.to_owned() });
    assert_eq!(want(5, "queryworker").await.expect("answer"), "Now desiring 5 children doing 'queryworker'.");
    assert_eq!(want(0, "delete").await.expect("answer"), "Now desiring 0 children doing 'delete'.");
    assert_eq!(want(2, "monitor").await.expect("answer"), "Now desiring 2 children doing 'monitor'.");
    supervised.supervisor.send(MonitorJustRan).await.expect("supervisor lives");
    let wanted = [
        ("delete", (0, 0)),
        ("fsck", (1, 1)),
        ("job_master", (1, 1)),
        ("monitor", (1, 1)),
        ("queryworker", (5, 5)),
        ("reaper", (1, 1)),
        ("replicate", (1, 1)),
    ];
    jobs_until(&supervised.supervisor, &wanted).await;
}

#[actix::test]
async fn stopping_leaves_no_worker_behind() {
    let mut supervised = supervised(None).await;
    jobs_until(&supervised.supervisor, &MINIMUM).await;
    supervised.supervisor.send(StopTracker).await.expect("supervisor lives");
    let stopped = tokio::time::timeout(PATIENCE, supervised.stopped.wait_for(|&stopped| stopped)).await;
    assert!(stopped.is_ok(), "stopped in time");
    let left: usize = jobs(&supervised.supervisor).await.values().map(|(_, present)| present).sum();
    assert_eq!(left, 0);
}

/// What a worker tells its tracker in these tests goes nowhere.
struct Nobody;

impl Actor for Nobody {
    type Context = Context<Self>;
}

impl Handler<WakeJobs> for Nobody {
    type Result = ();

    fn handle(&mut self, _: WakeJobs, _ctx: &mut Self::Context) {}
}

impl Handler<RefreshCluster> for Nobody {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: RefreshCluster, _ctx: &mut Self::Context) -> Self::Result {
        Box::pin(std::future::ready(()))
    }
}

impl Handler<AwaitMonitorRound> for Nobody {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, _: AwaitMonitorRound, _ctx: &mut Self::Context) -> Self::Result {
        Box::pin(std::future::ready(true))
    }
}

/// Query workers whose threads can be ended from outside, in the order in which they were started.
fn mortal_query_workers(store: &Store, settings: &Settings) -> (WorkerPool<QueryWorker>, Roster<QueryWorker>, Threads) {
    let threads = Threads::default();
    let nobody = Nobody.start();
    let upward = Upward {
        wake_jobs: nobody.clone().recipient(),
        refresh_cluster: nobody.clone().recipient(),
        await_monitor_round: nobody.recipient(),
    };
    let (view, metrics) = (ClusterView::default(), Metrics::default());
    let shared =
        SharedContext::new(store.clone(), Arc::new(settings.clone()), view, metrics, upward, logging::discard());
    let open: OpenContext = {
        let threads = threads.clone();
        Arc::new(move |log| {
            threads.lock().expect("lock").push(actix::Arbiter::current());
            shared.open(log)
        })
    };
    let (pool, roster) = WorkerPool::new(PoolConfig {
        kind: JobKind::QueryWorker,
        silence_max: PATIENCE,
        factory: Arc::new(move |seat| QueryWorker::new(seat, open.clone(), logging::discard())),
        metrics: Metrics::default(),
        log: logging::discard(),
    });
    (pool, roster, threads)
}

type Threads = Arc<Mutex<Vec<actix::ArbiterHandle>>>;

/// Protocol defect 3: a request whose worker dies fails; it is never given to another worker. One that had not begun is.
#[actix::test]
async fn a_request_that_a_dead_worker_had_begun_is_not_repeated() {
    let supervised = supervised(None).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (store, settings) = store(&directory);
    let (pool, mut workers, threads) = mortal_query_workers(&store, &settings);
    let pool = pool.start();
    pool.send(SetDesired(1)).await.expect("pool lives");
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.set_nonblocking(true).expect("non-blocking");
    let address = socket.local_addr().expect("bound");
    let listener = ClientListener::new(ListenerConfig {
        sockets: vec![socket.into()],
        permissions: Permissions::default(),
        limits: settings.limits.clone(),
        workers: workers.clone(),
        supervisor: supervised.supervisor.clone(),
        metrics: Metrics::default(),
        store: store.clone(),
        view: ClusterView::default(),
        log: logging::discard(),
        watch_bus: WatchBus::new(),
        pace: Pace::new(&settings.jobs),
        look_up_lanes: None,
    })
    .start();
    listener.do_send(BeginAccepting);

    let mut client = BufStream::new(TcpStream::connect(address).await.expect("accepted"));
    let requests = b"noop callid=1\r\nsleep duration=25&callid=2\r\ncreate_domain domain=once&callid=3\r\n";
    client.write_all(requests).await.expect("sent");
    client.flush().await.expect("sent");
    let mut replies = client.lines();
    let mut reply = async || {
        let line = tokio::time::timeout(PATIENCE, replies.next_line()).await.expect("in time");
        line.expect("the connection stays").expect("a reply")
    };
    assert_eq!(reply().await, "OK callid=1");
    // The first reply came because the second request waits.
    threads.lock().expect("lock")[0].stop();
    assert_eq!(reply().await, "ERR failure Operation+failed 2");
    let born = workers.wait_for(|workers| workers.iter().all(|worker| worker.addr.connected())).await;
    drop(born.expect("pool lives"));
    assert_eq!(reply().await, "OK domain=once&callid=3", "it had not begun: a new worker does it");
    assert_eq!(threads.lock().expect("lock").len(), 2);
}
