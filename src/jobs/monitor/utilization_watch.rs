//! One connection to the side channel of each node, for its utilisation stream (jobs.md 4.6).
//!
//! Each runs as a task of its own: a node that hangs, floods or lies costs a round nothing. What a node says of devices that
//! are not its own is not believed.

use super::utilization::{StreamReader, Utilizations};
use crate::cluster::ClusterSnapshot;
use crate::cluster::host::Zone;
use crate::settings::StorageSettings;
use slog::{Logger, debug};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// After a failure the next try comes so late, or with the next good answer about a device of the node (J37).
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// "At once" after a stream that had told something; nodes that close every connection must not be flooded.
const BETWEEN_CONNECTIONS: Duration = Duration::from_secs(1);
/// Nodes speak once a second.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A pause after each piece keeps a peer that floods us from taking the thread.
const BETWEEN_READS: Duration = Duration::from_millis(50);
const READ_BYTES: usize = 16 * 1024;

/// The connections of one monitor.
pub struct UtilizationWatch {
    port: u16,
    connect_timeout: Duration,
    streams: BTreeMap<String, Stream>,
    log: Logger,
}

/// One node's stream; it ends when this is dropped.
struct Stream {
    shared: Rc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    latest: RefCell<Option<(Instant, Utilizations)>>,
    /// The node gave a good answer about a device.
    answered: Notify,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl UtilizationWatch {
    /// To be used on one thread, inside a runtime that runs local tasks.
    pub fn new(settings: &StorageSettings, log: Logger) -> Self {
        let (port, connect_timeout) = (settings.side_channel_port, settings.node_timeout());
        Self { port, connect_timeout, streams: BTreeMap::new(), log }
    }

    /// Watches the nodes of all devices that are looked at, and no others.
    pub fn follow(&mut self, cluster: &ClusterSnapshot) {
        let watched = cluster.devices().filter(|view| view.is_monitored());
        let addresses: BTreeSet<&str> = watched.map(|view| view.host.address(Zone::NONE)).collect();
        self.streams.retain(|address, _| addresses.contains(address.as_str()));
        for address in addresses {
            if !self.streams.contains_key(address) {
                let stream = self.open(address);
                self.streams.insert(address.to_owned(), stream);
            }
        }
    }

    fn open(&self, address: &str) -> Stream {
        let shared = Rc::<Shared>::default();
        let following =
            follow_for_ever(address.to_owned(), self.port, self.connect_timeout, Rc::clone(&shared), self.log.clone());
        Stream { shared, task: tokio::task::spawn_local(following) }
    }

    /// A device of this node gave a good answer: if its stream could not be opened, it is tried again (J37).
    pub fn note_answer(&self, address: &str) {
        if let Some(stream) = self.streams.get(address) {
            stream.shared.answered.notify_waiters();
        }
    }

    /// The snapshot with what the nodes said last. A node that has fallen silent has said nothing.
    pub fn apply(&self, mut cluster: ClusterSnapshot) -> ClusterSnapshot {
        for device in cluster.devices.values_mut() {
            let host = cluster.hosts.get(&device.hostid);
            let stream = host.and_then(|host| self.streams.get(host.address(Zone::NONE)));
            let latest = stream.map(|stream| stream.shared.latest.borrow());
            let told = latest.as_ref().and_then(|latest| latest.as_ref());
            let fresh = told.filter(|(when, _)| when.elapsed() < SILENCE_MAX);
            let value = fresh.and_then(|(_, values)| values.get(&device.devid));
            if device.utilization.as_ref() != value {
                Arc::make_mut(device).utilization = value.cloned();
            }
        }
        cluster
    }
}

async fn follow_for_ever(address: String, port: u16, connect_timeout: Duration, shared: Rc<Shared>, log: Logger) {
    loop {
        let begun = Instant::now();
        let mut has_told = false;
        let outcome = follow_once(&address, port, connect_timeout, |values| {
            has_told = true;
            *shared.latest.borrow_mut() = Some((Instant::now(), values));
        })
        .await;
        debug!(log, "utilisation stream ended"; "address" => &address, "port" => port,
            "error" => outcome.err().map(|error| error.to_string()));
        if has_told {
            sleep_until(begun + BETWEEN_CONNECTIONS).await;
        } else {
            let _either = timeout(RETRY_AFTER, shared.answered.notified()).await;
        }
    }
}

/// Follows one connection until it ends.
async fn follow_once(
    address: &str,
    port: u16,
    connect_timeout: Duration,
    mut tell: impl FnMut(Utilizations),
) -> io::Result<()> {
    let mut stream = timeout(connect_timeout, TcpStream::connect((address, port))).await??;
    timeout(connect_timeout, stream.write_all(b"watch\n")).await??;
    let mut reader = StreamReader::default();
    let mut bytes = vec![0; READ_BYTES];
    loop {
        let count = timeout(SILENCE_MAX, stream.read(&mut bytes)).await??;
        if count == 0 {
            return Ok(());
        }
        if let Some(values) = reader.push(&bytes[..count]).map_err(io::Error::other)? {
            tell(values);
        }
        sleep(BETWEEN_READS).await;
    }
}
