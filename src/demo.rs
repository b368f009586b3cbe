//! A whole cluster in one process on loopback: a tracker on embedded SQLite, three storage nodes with two devices each,
//! a domain ready for use. Real sockets, real files; everything stays in one directory and is there again next time.

use crate::cluster::device_state::{DeviceStatus, HostStatus};
use crate::ids::{DevId, HostId};
use crate::node::{self, RunningNode};
use crate::service::listen::ListenSockets;
use crate::settings::{NodeSettings, Settings};
use crate::store::classes::{self, ClassFields};
use crate::store::hosts::{self, HostChanges};
use crate::store::{Session, Store, StoreResult, devices, domains};
use crate::tracker::{self, RunningTracker};
use crate::web::serve;
use actix::Arbiter;
use bstr::BStr;
use slog::{Logger, o};
use std::path::{Path, PathBuf};
use tokio::sync::oneshot;

/// Storage nodes, and devices on each.
const NODES: u16 = 3;
const DEVICES_PER_NODE: i64 = 2;
/// The domain that is ready for use.
pub const DOMAIN: &str = "demo";
/// A class that wants a copy on every node.
const IMPORTANT: &str = "important";
const IMPORTANT_COPIES: i64 = 3;

/// Where the demo lives.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    pub data_dir: PathBuf,
    /// Address of the tracker.
    pub listen: String,
    /// HTTP port of the first node; the others follow. The port after the last is the side channel's, on each address.
    pub node_port: u16,
}

/// Why the demo cannot start; a sentence for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DemoError(String);

/// The running cluster.
pub struct RunningDemo {
    pub tracker: RunningTracker,
    /// Where the web page is; none if another program has its port.
    pub page: Option<std::net::SocketAddr>,
    nodes: Vec<(Arbiter, oneshot::Sender<()>)>,
}

/// Starts everything; the cluster keeps its files in the data directory.
///
/// # Errors
/// The directory cannot be made, a port is taken, or the database cannot be used.
pub async fn start(options: &DemoOptions, log: Logger) -> Result<RunningDemo, DemoError> {
    let settings = settings(options);
    let open_page = serve::open(&settings.web, &ListenSockets::default(), &log).await;
    let open_page = open_page.map_err(|error| DemoError(error.to_string()))?;
    let page = open_page.addresses().next();
    let mut nodes = Vec::new();
    for number in 0..NODES {
        nodes.push(start_node(options, number, &log).await?);
    }
    let describe = |error: crate::store::StoreError| DemoError(error.to_string());
    Store::setup(&settings.database).map_err(describe)?;
    let store = Store::open(&settings.database, log.clone()).map_err(describe)?;
    let seeded = seed(&store.session().map_err(describe)?, options.node_port).await;
    store.close();
    seeded.map_err(describe)?;
    let tracker = tracker::start(settings.clone(), log.clone()).await;
    let tracker = tracker.map_err(|error| DemoError(error.to_string()))?;
    open_page.begin(&tracker, &settings, &log);
    Ok(RunningDemo { tracker, page, nodes })
}

impl RunningDemo {
    /// Stops the tracker first, then the nodes, so that nothing under way loses its node.
    pub async fn stop(self) {
        self.tracker.stop().await;
        for (arbiter, stop) in self.nodes {
            if stop.send(()).is_ok() {
                // The node's future stops its arbiter when it is done; wait for the thread in the background pool.
                let _joined = tokio::task::spawn_blocking(move || arbiter.join()).await;
            }
        }
    }
}

/// What to print once the cluster runs: lines that can be pasted.
pub fn greeting(options: &DemoOptions, tracker: std::net::SocketAddr, page: Option<std::net::SocketAddr>) -> String {
    let look = page.map_or_else(String::new, |page| format!("Look at it: http://{page}/\n"));
    let program = std::env::args().next().unwrap_or_else(|| "mogilefs".to_owned());
    let trackers = if tracker.port() == 7001 { String::new() } else { format!(" --trackers {tracker}") };
    let mogilefs = format!("{program}{trackers} --domain {DOMAIN}");
    let (host, port) = (tracker.ip(), tracker.port());
    format!(
        "\nA MogileFS cluster is running: tracker on {tracker}, {NODES} storage nodes, data in {}\n\
         Domain {DOMAIN:?} has the classes default (2 copies) and {IMPORTANT} ({IMPORTANT_COPIES} copies).\n{look}\n\
         In another terminal, try:\n\n  \
         {mogilefs} put hello.txt README.md\n  \
         {mogilefs} info hello.txt\n  \
         {mogilefs} cat hello.txt | head -3\n  \
         echo important news | {mogilefs} put --class {IMPORTANT} news.txt -\n  \
         {mogilefs} list\n  \
         {mogilefs} rename news.txt old-news.txt\n  \
         {mogilefs} rm hello.txt\n  \
         {mogilefs} device list\n  \
         printf 'get_paths domain={DOMAIN}&key=old-news.txt\\r\\n' | nc -w 1 {host} {port}\n  \
         printf '!jobs\\r\\n' | nc -w 1 {host} {port}\n\n\
         Ctrl-C stops it; the files stay.\n",
        options.data_dir.display(),
    )
}

fn settings(options: &DemoOptions) -> Settings {
    let mut settings = Settings::defaults();
    settings.tracker.listen = vec![options.listen.clone()];
    settings.database.url = format!("sqlite:{}", options.data_dir.join("tracker.db").display());
    settings.storage.side_channel_port = options.node_port + NODES;
    settings
}

/// Each node has a loopback address of its own, as the database wants different addresses for different hosts.
fn node_address(number: u16) -> String {
    format!("127.0.0.{}", number + 1)
}

fn node_devids(number: u16) -> impl Iterator<Item = i64> {
    let first = i64::from(number) * DEVICES_PER_NODE + 1;
    first..first + DEVICES_PER_NODE
}

async fn start_node(
    options: &DemoOptions,
    number: u16,
    log: &Logger,
) -> Result<(Arbiter, oneshot::Sender<()>), DemoError> {
    let docroot = options.data_dir.join(format!("node{}", number + 1));
    for devid in node_devids(number) {
        let directory = docroot.join(format!("dev{devid}"));
        make_directory(&directory)?;
    }
    let address = node_address(number);
    let settings = NodeSettings {
        http_listen: format!("{address}:{}", options.node_port + number),
        side_channel_listen: format!("{address}:{}", options.node_port + NODES),
        docroot,
        ..Settings::defaults().node
    };
    let (started_sender, started) = oneshot::channel();
    let (stop, stop_receiver) = oneshot::channel();
    let arbiter = Arbiter::new();
    arbiter.spawn(serve(settings, log.new(o!("node" => number + 1)), started_sender, stop_receiver));
    match started.await {
        Ok(Ok(())) => Ok((arbiter, stop)),
        Ok(Err(error)) => Err(DemoError(format!("storage node {}: {error}", number + 1))),
        Err(_dropped) => Err(DemoError(format!("storage node {} died while it started", number + 1))),
    }
}

/// One node's life on its own arbiter.
async fn serve(
    settings: NodeSettings,
    log: Logger,
    started: oneshot::Sender<Result<(), String>>,
    stop: oneshot::Receiver<()>,
) {
    let node: Result<RunningNode, _> = node::start(&settings, log).await;
    let told = started.send(node.as_ref().map(|_| ()).map_err(ToString::to_string));
    if let (Ok(node), Ok(())) = (node, told) {
        // A sender that is dropped means stop as well.
        let _stop = stop.await;
        node.stop().await;
    }
    Arbiter::current().stop();
}

fn make_directory(directory: &Path) -> Result<(), DemoError> {
    std::fs::create_dir_all(directory)
        .map_err(|error| DemoError(format!("cannot make the directory {}: {error}", directory.display())))
}

/// Puts hosts, devices, domain and class into the database where they are missing; a second start finds them there.
async fn seed(session: &Session, node_port: u16) -> StoreResult<()> {
    session
        .write(move |conn| {
            let known_devices = devices::all(conn)?;
            for number in 0..NODES {
                let hostid = seed_host(conn, number, node_port)?;
                for devid in node_devids(number).map(DevId) {
                    if !known_devices.iter().any(|device| device.devid == devid) {
                        devices::create(conn, devid, hostid, DeviceStatus::Alive)?;
                    }
                }
            }
            let dmid = match domains::find(conn, BStr::new(DOMAIN))? {
                Some(dmid) => dmid,
                None => domains::create(conn, BStr::new(DOMAIN))?,
            };
            if classes::find(conn, dmid, BStr::new(IMPORTANT))?.is_none() {
                let fields = ClassFields { mindevcount: IMPORTANT_COPIES, replpolicy: None, hashtype: None };
                classes::create(conn, dmid, BStr::new(IMPORTANT), &fields)?;
            }
            Ok(())
        })
        .await
}

/// The ports of a known host follow the options of this start.
fn seed_host(conn: &mut crate::store::StoreConnection, number: u16, node_port: u16) -> StoreResult<HostId> {
    let name = format!("node{}", number + 1);
    let changes = HostChanges {
        ip: Some(node_address(number)),
        http_port: Some(node_port + number),
        status: Some(HostStatus::Alive),
        ..HostChanges::default()
    };
    match hosts::find(conn, &name)? {
        Some(hostid) => {
            let ports = HostChanges { http_port: changes.http_port, ..HostChanges::default() };
            hosts::update(conn, hostid, &ports)?;
            Ok(hostid)
        }
        None => hosts::create(conn, &name, &changes),
    }
}
