//! A worker's steps in this process: a hand-made view of the cluster on a real database and real nodes.

use super::cluster::{Node, http_put};
use super::database::{Database, Kind};
use actix::{Actor, Context, Handler, ResponseFuture};
use mogilefs::cluster::domain::{Class, Domain};
use mogilefs::cluster::fixture::{Fixture, host_mut};
use mogilefs::cluster::{ClusterSnapshot, ClusterView};
use mogilefs::ids::Dmid;
use mogilefs::jobs::context::{JobContext, SharedContext, Upward};
use mogilefs::logging;
use mogilefs::metrics::Metrics;
use mogilefs::notices::{AwaitMonitorRound, RefreshCluster, WakeJobs};
use mogilefs::settings::Settings;
use mogilefs::store::Store;
use std::sync::Arc;

pub const FID: i64 = 77;
pub const CONTENT: &[u8] = b"some bytes";

/// What a worker tells its tracker goes nowhere.
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

/// Three hosts with two devices each, and one file with copies on some of them.
pub struct World {
    pub database: Database,
    pub nodes: Vec<Node>,
    pub view: ClusterView,
    pub settings: Settings,
}

impl World {
    pub fn new(cluster: &str, copies_wanted: i64, copies_on: &[i64]) -> Self {
        let database = Database::create(Kind::Sqlite);
        let nodes: Vec<Node> =
            [(1, [1, 2]), (2, [3, 4]), (3, [5, 6])].map(|(number, devids)| Node::start(number, &devids)).into();
        let mut snapshot = Fixture::parse(cluster).snapshot;
        for (hostid, node) in (1..).zip(&nodes) {
            let host = host_mut(&mut snapshot, hostid);
            (host.ip, host.http_port) = (node.ip.clone(), node.port);
        }
        let class = Class { mindevcount: copies_wanted, ..Class::implied_default(2) };
        let domain = Domain { dmid: Dmid(1), name: "d".into(), classes: vec![class] };
        snapshot.domains.insert(domain.dmid, Arc::new(domain));
        let length = CONTENT.len();
        database.execute(&format!(
            "INSERT INTO domain (dmid, namespace) VALUES (1, 'd');
             INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES ({FID}, 1, 'k', {length}, 0, 9)"
        ));
        let mut settings = Settings::defaults();
        settings.database.url.clone_from(&database.url);
        let world = Self { database, nodes, view: ClusterView::new(snapshot), settings };
        for &devid in copies_on {
            world.database.execute(&format!("INSERT INTO file_on (fid, devid) VALUES ({FID}, {devid})"));
            http_put(&world.url(devid), CONTENT);
        }
        world
    }

    pub fn node(&self, devid: i64) -> &Node {
        &self.nodes[usize::try_from((devid - 1) / 2).expect("small")]
    }

    pub fn url(&self, devid: i64) -> String {
        let node = self.node(devid);
        format!("http://{}:{}{}", node.ip, node.port, path(devid))
    }

    /// The devices that have the file on disk, whole, and those that are recorded.
    pub fn copies(&self) -> (Vec<i64>, Vec<i64>) {
        let on_disk = |devid: &i64| std::fs::read(self.node(*devid).file(&path(*devid))).is_ok_and(|b| b == CONTENT);
        let recorded = |devid: &i64| self.database.count("file_on", &format!("fid = {FID} AND devid = {devid}")) == 1;
        ((1..=6).filter(on_disk).collect(), (1..=6).filter(recorded).collect())
    }

    /// Changes what the worker knows of the cluster.
    pub fn change(&mut self, change: impl FnOnce(&mut ClusterSnapshot)) {
        let mut snapshot = ClusterSnapshot::clone(&self.view.load());
        change(&mut snapshot);
        self.view.publish(snapshot);
    }

    /// A worker of a tracker of its own.
    pub fn context(&self) -> JobContext {
        let (nobody, log) = (Nobody.start(), logging::discard());
        let upward = Upward {
            wake_jobs: nobody.clone().recipient(),
            refresh_cluster: nobody.clone().recipient(),
            await_monitor_round: nobody.recipient(),
        };
        let settings = Arc::new(self.settings.clone());
        let store = Store::open(&settings.database, log.clone()).expect("open");
        let shared = SharedContext::new(store, settings, self.view.clone(), Metrics::default(), upward, log.clone());
        shared.open(&log).expect("a context")
    }
}

pub fn path(devid: i64) -> String {
    format!("/dev{devid}/0/000/000/{FID:010}.fid")
}
