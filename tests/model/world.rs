//! The real thing under test: jobs and commands on a database in a file, with nodes in memory.

use crate::nodes::{Manners, Nodes, host_of};
use actix::{Actor, Addr, Context, Handler};
use bytes::Bytes;
use diesel::connection::SimpleConnection as _;
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, RunQueryDsl as _};
use mogilefs::cluster::device_state::{DeviceStatus, ObservedDevice, ObservedHost};
use mogilefs::cluster::{ClusterSnapshot, ClusterView};
use mogilefs::ids::{DevId, Fid};
use mogilefs::jobs::context::{JobContext, SharedContext, Upward};
use mogilefs::jobs::monitor::refresh;
use mogilefs::jobs::query::dispatch;
use mogilefs::metrics::Metrics;
use mogilefs::node_client::NodeClient;
use mogilefs::notices::{AwaitMonitorRound, RefreshCluster, WakeJobs};
use mogilefs::settings::Settings;
use mogilefs::store::{Store, StoreError};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

pub const HOSTS: i64 = 4;
/// Every device there is.
pub const DEVICES: [i64; 8] = [11, 12, 21, 22, 31, 32, 41, 42];
/// Copies wanted by the classes `c1` to `c3`.
pub const CLASSES: [(&str, i64); 3] = [("c1", 1), ("c2", 2), ("c3", 3)];

/// Stands where the Supervisor is in a tracker.
struct NobodyAbove;

impl Actor for NobodyAbove {
    type Context = Context<Self>;
}

impl Handler<WakeJobs> for NobodyAbove {
    type Result = ();
    fn handle(&mut self, _: WakeJobs, _: &mut Self::Context) {}
}

impl Handler<RefreshCluster> for NobodyAbove {
    type Result = ();
    fn handle(&mut self, _: RefreshCluster, _: &mut Self::Context) {}
}

impl Handler<AwaitMonitorRound> for NobodyAbove {
    type Result = bool;
    fn handle(&mut self, _: AwaitMonitorRound, _: &mut Self::Context) -> bool {
        true
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Pair {
    #[diesel(sql_type = BigInt)]
    a: i64,
    #[diesel(sql_type = BigInt)]
    b: i64,
}

pub struct World {
    pub nodes: Nodes,
    pub view: ClusterView,
    store: Store,
    settings: Arc<Settings>,
    above: Addr<NobodyAbove>,
    log: slog::Logger,
    _directory: tempfile::TempDir,
}

impl World {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut settings = Settings::defaults();
        settings.database.url = format!("sqlite:{}", directory.path().join("model.db").display());
        // Every upload is old enough to be given up when the step says so.
        settings.jobs.tempfile_max_age_secs = -10;
        settings.jobs.reaper_grace_ms = 0;
        Store::setup(&settings.database).expect("a schema");
        let log = slog::Logger::root(slog::Discard, slog::o!());
        let world = Self {
            nodes: Nodes::start(usize::try_from(HOSTS).expect("small")).await,
            view: ClusterView::default(),
            store: Store::open(&settings.database, log.clone()).expect("a store"),
            settings: Arc::new(settings),
            above: NobodyAbove.start(),
            log,
            _directory: directory,
        };
        world.fill().await;
        world.look();
        world
    }

    async fn fill(&self) {
        let mut rows = "INSERT INTO domain (dmid, namespace) VALUES (1, 'd');".to_owned();
        for (classid, (name, mindevcount)) in (1..).zip(CLASSES) {
            rows += &format!(
                "INSERT INTO class (dmid, classid, classname, mindevcount) VALUES (1, {classid}, '{name}', {mindevcount});"
            );
        }
        for hostid in 1..=HOSTS {
            let port = self.nodes.port(hostid);
            rows += &format!(
                "INSERT INTO host (hostid, status, http_port, hostname, hostip) \
                 VALUES ({hostid}, 'alive', {port}, 'h{hostid}', '127.0.0.{hostid}');"
            );
        }
        for devid in DEVICES {
            rows += &format!(
                "INSERT INTO device (devid, hostid, status, weight, mb_total, mb_used) \
                 VALUES ({devid}, {}, 'alive', 100, 1000, 100);",
                host_of(devid)
            );
        }
        self.sql(rows).await;
    }

    /// A tracker with one worker.
    pub fn tracker(&self) -> JobContext {
        let above = &self.above;
        let upward = Upward {
            wake_jobs: above.clone().recipient(),
            refresh_cluster: above.clone().recipient(),
            await_monitor_round: above.clone().recipient(),
        };
        let (store, settings, view) = (self.store.clone(), self.settings.clone(), self.view.clone());
        let shared = SharedContext::new(store, settings, view, Metrics::default(), upward, self.log.clone());
        shared.open(&self.log).expect("a context")
    }

    /// What a monitor would see now.
    pub fn look(&self) {
        let session = self.store.session().expect("a session");
        let tables = refresh::read_tables(&session, &self.settings.extensions).expect("tables");
        let mut snapshot: ClusterSnapshot = refresh::build(tables, &self.view.load(), 2);
        for host in snapshot.hosts.values_mut() {
            let is_up = self.nodes.manners(host.hostid.0) != Manners::Down;
            let seen = if is_up { ObservedHost::Reachable } else { ObservedHost::Unreachable };
            Arc::make_mut(host).observed = Some(seen);
        }
        for device in snapshot.devices.values_mut() {
            let seen = match self.nodes.manners(device.hostid.0) {
                Manners::Down => ObservedDevice::Unreachable,
                Manners::DiskFull => ObservedDevice::Readable,
                Manners::Good | Manners::LosesBytes => ObservedDevice::Writeable,
            };
            Arc::make_mut(device).observed = Some(seen);
        }
        self.view.publish(snapshot);
    }

    /// One request line, answered by a tracker.
    pub async fn ask(tracker: &JobContext, line: &str) -> String {
        let mut reply = Vec::new();
        dispatch::answer(tracker, line.as_bytes(), IpAddr::V4(Ipv4Addr::LOCALHOST), &mut reply).await;
        String::from_utf8(reply).expect("text").trim_end().to_owned()
    }

    /// What a client does with its bytes; false when the node refuses.
    pub async fn upload(&self, devid: i64, fid: i64, bytes: &Bytes) -> bool {
        let url = {
            let cluster = self.view.load();
            let device = cluster.device(DevId(devid)).expect("a device");
            device.upload_url(Fid(fid), mogilefs::cluster::host::Zone::NONE)
        };
        NodeClient::new(&self.settings.storage, self.log.clone()).put_small(&url, bytes.clone(), None).await.is_ok()
    }

    pub async fn sql(&self, statements: String) {
        let session = self.store.session().expect("a session");
        let done = session.write(move |conn| conn.batch_execute(&statements).map_err(StoreError::from)).await;
        done.expect("the statements");
    }

    /// Everything that was handed to the database or a node is carried out.
    pub async fn at_rest(&self) {
        self.sql("SELECT 1;".to_owned()).await;
        self.nodes.at_rest().await;
    }

    /// Two columns of small numbers.
    pub fn pairs(&self, query: &str) -> Vec<(i64, i64)> {
        let session = self.store.session().expect("a session");
        let rows: Vec<Pair> = session.read(|conn| Ok(diesel::sql_query(query).load::<Pair>(conn)?)).expect("the query");
        rows.into_iter().map(|pair| (pair.a, pair.b)).collect()
    }

    pub fn count(&self, of: &str) -> i64 {
        let session = self.store.session().expect("a session");
        let query = format!("SELECT COUNT(*) AS n FROM {of}");
        session.read(|conn| Ok(diesel::sql_query(&query).get_result::<Number>(conn)?)).expect("the query").n
    }

    /// The fid that a key leads to.
    pub fn fid_of(&self, key: &str) -> Option<i64> {
        let rows = self.pairs(&format!("SELECT fid AS a, length AS b FROM file WHERE dmid = 1 AND dkey = '{key}'"));
        rows.first().map(|(fid, _)| *fid)
    }

    /// Devices that are recorded to have a file.
    pub fn recorded(&self, fid: i64) -> Vec<i64> {
        let rows = self.pairs(&format!("SELECT devid AS a, fid AS b FROM file_on WHERE fid = {fid}"));
        rows.into_iter().map(|(devid, _)| devid).collect()
    }

    pub fn is_dead(&self, devid: i64) -> bool {
        self.view.load().devices[&DevId(devid)].status == DeviceStatus::Dead
    }

    /// Recorded copies with exactly these bytes, on devices that live.
    pub fn good_copies(&self, fid: i64, bytes: &Bytes) -> usize {
        let is_good = |devid: &&i64| !self.is_dead(**devid) && self.nodes.stored(**devid, fid).as_ref() == Some(bytes);
        self.recorded(fid).iter().filter(is_good).count()
    }
}
