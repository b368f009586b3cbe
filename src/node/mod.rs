//! The storage node: files of devices over HTTP, sizes, checksums and utilisation over the side channel, usage files.
//!
//! Source of the behaviour: storage-node.md. It knows nothing of trackers or the database, never creates a device
//! directory, and never answers success for an upload that is not complete in its place.

mod answer;
pub mod automount;
mod blocking;
mod body;
mod byte_range;
mod content_range;
mod copy_in;
mod delete;
mod devices;
mod digest;
mod direct;
mod direct_put;
mod directory_sync;
mod fetch;
mod http;
mod mount_guard;
mod mounts;
mod pace;
mod path;
mod preconditions;
mod pulse;
mod serve;
mod side_channel;
mod side_command;
mod sweep;
mod temp_file;
mod upload;
mod usage;
mod utilisation;

use crate::clock::unix_now_secs;
use crate::service::access::{AddressList, is_loopback};
use crate::service::listen::ListenSockets;
use crate::service::signature::SigningKey;
use crate::settings::{NodeClientSettings, NodeSettings, SyncPolicy, TlsSettings};
use crate::tls::{NodeTls, ServerTls, TlsError};
use devices::DeviceList;
use digest::DigestLimits;
use http::Access;
use pace::{Bandwidth, Pace};
use path::DevicePath;
use serve::{Door, HttpThreads};
use slog::{Logger, info, o, warn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use usage::ReadOnlyUsage;

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeStartError {
    #[error("document root {path} cannot be used (setting node.docroot): {source}")]
    Docroot { path: PathBuf, source: io::Error },
    #[error("a device is in two places, {first} and {second} (settings node.docroot, node.extra_docroots)")]
    DuplicateDevice { first: PathBuf, second: PathBuf },
    #[error("{0} (setting node.signing_key_file)")]
    SigningKey(String),
    #[error("cannot listen on {address} (setting node.{purpose}_listen): {source}")]
    Listen { purpose: &'static str, address: String, source: io::Error },
    #[error("{0}")]
    Tls(#[from] TlsError),
}

/// What all connections and background tasks of a node share.
pub(crate) struct NodeShared {
    /// Above the device directories, without symbolic links; at least one.
    docroots: Vec<PathBuf>,
    sync: SyncPolicy,
    /// Who may store and delete.
    writers: watch::Sender<AddressList>,
    /// By which others may, too.
    signing_key: Option<SigningKey>,
    idle_timeout: Duration,
    /// How long running requests may take once the node stops.
    finish_limit: watch::Sender<Duration>,
    header_timeout: Duration,
    connections_max: usize,
    rate_min_bytes_per_sec: u64,
    connection_bandwidth_bytes_per_sec: u64,
    bandwidth: Option<Arc<Bandwidth>>,
    background_bandwidth: Option<Arc<Bandwidth>>,
    /// For nodes that copies are fetched from.
    sources_tls: Option<NodeTls>,
    read_only_usage: ReadOnlyUsage,
    started: SystemTime,
    devices: DeviceList,
    digest_limits: DigestLimits,
    /// The latest utilisation group, as sent to `watch` connections; empty before the first.
    utilisation: watch::Sender<Arc<str>>,
    log: Logger,
}

impl NodeShared {
    /// The document root of the device with this name, also of one that does not exist.
    fn docroot_of(&self, device: &str) -> &Path {
        let [first, others @ ..] = self.docroots.as_slice() else { return Path::new("") };
        if others.is_empty() {
            return first;
        }
        let devices = self.devices.load();
        let known = devices.iter().find(|known| known.path.ends_with(device)).and_then(|known| known.path.parent());
        let holds_it = |docroot: &&PathBuf| match known {
            Some(known) => docroot.as_path() == known,
            // Not yet found.
            None => docroot.join(device).is_dir(),
        };
        self.docroots.iter().find(holds_it).unwrap_or(first)
    }

    fn device_dir(&self, path: &DevicePath) -> PathBuf {
        path.device_dir(self.docroot_of(path.device()))
    }

    fn on_disk(&self, path: &DevicePath) -> PathBuf {
        path.on_disk(self.docroot_of(path.device()))
    }

    /// What somebody from here may do.
    fn access_from(&self, peer: IpAddr) -> Access {
        let writers = self.writers.borrow();
        match &self.signing_key {
            None if writers.allows(peer) => Access::Full,
            None => Access::Read,
            Some(_) if !writers.is_for_all() && writers.allows(peer) => Access::Full,
            Some(_) => Access::Signed,
        }
    }

    /// Why this request, which changes something, is not proven by its signature, if so.
    fn denies_signature(&self, method: &str, path: &str, value: Option<&str>) -> Option<&'static str> {
        let key = self.signing_key.as_ref()?;
        let Some(value) = value else { return Some("a signature is needed here (setting node.signing_key_file)") };
        key.verify(value, method, path, unix_now_secs()).err()
    }

    /// The pace of a body from or to a client.
    fn pace(&self) -> Pace {
        let own = Bandwidth::of(self.connection_bandwidth_bytes_per_sec);
        Pace::new(own.into_iter().chain(self.bandwidth.clone()), self.idle_timeout, self.rate_min_bytes_per_sec)
    }

    /// The pace of a copy from another node.
    fn background_pace(&self) -> Pace {
        let limits = self.background_bandwidth.iter().chain(&self.bandwidth).cloned();
        Pace::new(limits, self.idle_timeout, 0)
    }

    fn bandwidth_is_free(&self) -> bool {
        self.bandwidth.is_none() && self.connection_bandwidth_bytes_per_sec == 0
    }
}

/// A node at work. Dropping it stops it too, but without waiting for running requests.
#[must_use = "a node stops when this is dropped"]
pub struct RunningNode {
    /// Where HTTP is served; the port is the real one if 0 was asked for.
    pub http_addr: SocketAddr,
    /// Where the side channel is served; the port is the real one if 0 was asked for.
    pub side_channel_addr: SocketAddr,
    /// Where HTTP is served for reading only, if it was asked for.
    pub get_addr: Option<SocketAddr>,
    /// Where HTTP is served in TLS, if it was asked for.
    pub tls_addr: Option<SocketAddr>,
    /// What is shown there.
    pub tls: Option<ServerTls>,
    /// For nodes that copies are fetched from.
    pub sources_tls: Option<NodeTls>,
    /// For a successor.
    pub sockets: ListenSockets,
    shared: Arc<NodeShared>,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    threads: HttpThreads,
    background: Background,
}

/// Tasks that end when their work is no longer wanted.
struct Background(Vec<JoinHandle<()>>);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl RunningNode {
    /// Who may store and delete from now on; connections that there are stay what they are.
    pub fn set_writers(&self, settings: &NodeSettings) {
        self.shared.writers.send_replace(AddressList::parse(&settings.writes_from).unwrap_or_default());
    }

    /// Stops accepting, lets running requests finish for a few seconds, then cuts what is left.
    pub async fn stop(self) {
        self.stop_within(serve::FINISH_LIMIT).await;
    }

    /// The same, with another limit for running requests.
    pub async fn stop_within(self, limit: Duration) {
        self.sockets.close();
        self.shared.finish_limit.send_replace(limit);
        // No receiver is left only if both listeners have ended already.
        let _ = self.stop.send(true);
        for listener in self.listeners {
            // A listener that panicked has nothing left to finish.
            let _ = listener.await;
        }
        self.threads.ended().await;
        drop(self.background);
    }
}

/// Starts a node on the current runtime, which must run local tasks (an actix-rt system or arbiter).
///
/// When it returns, both ports are open and every device directory has a usage file.
///
/// # Errors
/// The document root is missing or is no directory; an address cannot be used.
pub async fn start(settings: &NodeSettings, log: Logger) -> Result<RunningNode, NodeStartError> {
    let (tls, node_client) = (TlsSettings::default(), NodeClientSettings::default());
    start_with(settings, &tls, &node_client, ListenSockets::default(), log).await
}

/// As [`start`], with listen sockets that were given or handed over.
///
/// # Errors
/// As for [`start`].
pub async fn start_with(
    settings: &NodeSettings,
    tls: &TlsSettings,
    node_client: &NodeClientSettings,
    sockets: ListenSockets,
    log: Logger,
) -> Result<RunningNode, NodeStartError> {
    let docroots = usable_docroots(settings)?;
    let scan = devices::scan(&docroots, &[]);
    if let Some((first, second)) = scan.duplicates.into_iter().next() {
        return Err(NodeStartError::DuplicateDevice { first, second });
    }
    let sources_tls = NodeTls::of(node_client)?;
    let signing_key = SigningKey::read(&settings.signing_key_file).map_err(NodeStartError::SigningKey)?;
    let http = listen(&sockets, "http", &settings.http_listen, &log).await?;
    let get = match settings.get_listen.as_str() {
        "" => None,
        address => Some(listen(&sockets, "get", address, &log).await?),
    };
    let tls = match settings.tls_listen.as_str() {
        "" => None,
        address => Some((listen(&sockets, "tls", address, &log).await?, ServerTls::load(tls)?)),
    };
    let side_channel = listen(&sockets, "side_channel", &settings.side_channel_listen, &log).await?;
    sockets.close_unused(&log);
    let (http_addr, side_channel_addr) = (local_addr(&http)?, local_addr(&side_channel)?);
    let get_addr = get.as_ref().map(local_addr).transpose()?;
    let tls_addr = tls.as_ref().map(|(listener, _)| local_addr(listener)).transpose()?;
    let shared = Arc::new(NodeShared {
        docroots,
        sync: settings.sync,
        writers: watch::Sender::new(AddressList::parse(&settings.writes_from).unwrap_or_default()),
        signing_key,
        idle_timeout: Duration::from_millis(settings.idle_timeout_ms),
        finish_limit: watch::Sender::new(serve::FINISH_LIMIT),
        header_timeout: Duration::from_millis(settings.header_timeout_ms),
        connections_max: settings.connections_max,
        rate_min_bytes_per_sec: settings.rate_min_bytes_per_sec,
        connection_bandwidth_bytes_per_sec: settings.connection_bandwidth_bytes_per_sec,
        bandwidth: Bandwidth::of(settings.bandwidth_bytes_per_sec),
        background_bandwidth: Bandwidth::of(settings.background_bandwidth_bytes_per_sec),
        sources_tls: sources_tls.clone(),
        read_only_usage: ReadOnlyUsage::default(),
        started: SystemTime::now(),
        devices: DeviceList::default(),
        digest_limits: DigestLimits::default(),
        utilisation: watch::Sender::new(Arc::from("")),
        log: log.new(o!("role" => "node")),
    });
    // Whoever needs a certificate to come in is not everybody.
    let is_tls_open = tls.as_ref().is_some_and(|(_, tls)| !tls.asks_for_certificates());
    let open_addresses = std::iter::once(http_addr).chain(tls_addr.filter(|_| is_tls_open));
    if shared.signing_key.is_none()
        && shared.writers.borrow().is_for_all()
        && let Some(address) = open_addresses.into_iter().find(|address| !is_loopback(*address))
    {
        warn!(shared.log, "whoever reaches this node may store and delete: set node.writes_from (docs/SECURITY.md)";
            "address" => %address);
    }
    if let Some((_, tls)) = &tls {
        tls.tell_validity(&shared.log);
    }
    let mut usage = usage::UsageRounds::new(Arc::clone(&shared));
    usage.first_round().await;
    let background = Background(vec![
        actix_rt::spawn(usage.run(Duration::from_millis(settings.usage_interval_ms))),
        actix_rt::spawn(sweep::run(Arc::clone(&shared))),
        actix_rt::spawn(utilisation::run(Arc::clone(&shared))),
    ]);
    let stop = watch::Sender::new(false);
    let threads = HttpThreads::start(thread_count(settings), &shared, &stop.subscribe());
    let accept =
        |listener, access, tls| threads.accept(Door { listener, access, tls }, Arc::clone(&shared), stop.subscribe());
    let mut listeners = vec![
        actix_rt::spawn(accept(http, Access::Full, None)),
        actix_rt::spawn(side_channel::listen(side_channel, Arc::clone(&shared), stop.subscribe())),
    ];
    listeners.extend(get.map(|get| actix_rt::spawn(accept(get, Access::Read, None))));
    let (tls_listener, tls) = tls.unzip();
    listeners.extend(tls_listener.map(|listener| actix_rt::spawn(accept(listener, Access::Full, tls.clone()))));
    info!(shared.log, "storage node started"; "http" => %http_addr, "side_channel" => %side_channel_addr,
        "tls" => tls_addr.map_or_else(String::new, |address| address.to_string()),
        "get" => get_addr.map_or_else(String::new, |address| address.to_string()),
        "docroots" => shared.docroots.iter().map(|docroot| docroot.display().to_string()).collect::<Vec<_>>().join(" "),
        "devices" => shared.devices.load().len());
    Ok(RunningNode {
        http_addr,
        side_channel_addr,
        get_addr,
        tls_addr,
        tls,
        sources_tls,
        sockets,
        shared,
        stop,
        listeners,
        threads,
        background,
    })
}

fn thread_count(settings: &NodeSettings) -> usize {
    match settings.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
}

/// Each once, without symbolic links.
fn usable_docroots(settings: &NodeSettings) -> Result<Vec<PathBuf>, NodeStartError> {
    let mut docroots = Vec::new();
    for path in std::iter::once(&settings.docroot).chain(&settings.extra_docroots) {
        let failed = |source| NodeStartError::Docroot { path: path.clone(), source };
        let docroot = path.canonicalize().map_err(failed)?;
        if !docroot.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        if !docroots.contains(&docroot) {
            docroots.push(docroot);
        }
    }
    Ok(docroots)
}

/// `purpose` as a successor and systemd name the socket; the setting is `node.<purpose>_listen`.
async fn listen(
    sockets: &ListenSockets,
    purpose: &'static str,
    address: &str,
    log: &Logger,
) -> Result<TcpListener, NodeStartError> {
    let opened = sockets.open(purpose, address, log).await.and_then(TcpListener::from_std);
    opened.map_err(|source| NodeStartError::Listen { purpose, address: address.to_owned(), source })
}

fn local_addr(listener: &TcpListener) -> Result<SocketAddr, NodeStartError> {
    listener.local_addr().map_err(|source| NodeStartError::Listen {
        purpose: "http",
        address: "its own address".to_owned(),
        source,
    })
}
