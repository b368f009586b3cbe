//! The storage node: files of devices over HTTP, sizes, checksums and utilisation over the side channel, usage files.
//!
//! Source of the behaviour: storage-node.md. It knows nothing of trackers or the database, never creates a device
//! directory, and never answers success for an upload that is not complete in its place.

mod answer;
mod blocking;
mod body;
mod byte_range;
mod content_range;
mod copy_in;
mod delete;
mod devices;
mod digest;
mod directory_sync;
mod fetch;
mod http;
mod mount_guard;
mod mounts;
mod path;
mod pulse;
mod serve;
mod side_channel;
mod side_command;
mod sweep;
mod temp_file;
mod upload;
mod usage;
mod utilisation;

use crate::service::listen::ListenSockets;
use crate::settings::NodeSettings;
use devices::DeviceList;
use digest::DigestLimits;
use slog::{Logger, info, o};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeStartError {
    #[error("document root {path} cannot be used (setting node.docroot): {source}")]
    Docroot { path: PathBuf, source: io::Error },
    #[error("cannot listen on {address} (setting node.{purpose}_listen): {source}")]
    Listen { purpose: &'static str, address: String, source: io::Error },
}

/// What all connections and background tasks of a node share.
pub(crate) struct NodeShared {
    /// Above the device directories, without symbolic links.
    docroot: PathBuf,
    /// Sync file and directory before an upload is answered.
    sync: bool,
    idle_timeout: Duration,
    started: SystemTime,
    devices: DeviceList,
    digest_limits: DigestLimits,
    /// The latest utilisation group, as sent to `watch` connections; empty before the first.
    utilisation: watch::Sender<Arc<str>>,
    log: Logger,
}

/// A node at work. Dropping it stops it too, but without waiting for running requests.
#[must_use = "a node stops when this is dropped"]
pub struct RunningNode {
    /// Where HTTP is served; the port is the real one if 0 was asked for.
    pub http_addr: SocketAddr,
    /// Where the side channel is served; the port is the real one if 0 was asked for.
    pub side_channel_addr: SocketAddr,
    /// For a successor.
    pub sockets: ListenSockets,
    /// How long running requests may take once the node stops.
    finish_limit: watch::Sender<Duration>,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
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
    /// Stops accepting, lets running requests finish for a few seconds, then cuts what is left.
    pub async fn stop(self) {
        self.stop_within(serve::FINISH_LIMIT).await;
    }

    /// The same, with another limit for running requests.
    pub async fn stop_within(self, limit: Duration) {
        self.sockets.close();
        self.finish_limit.send_replace(limit);
        // No receiver is left only if both listeners have ended already.
        let _ = self.stop.send(true);
        for listener in self.listeners {
            // A listener that panicked has nothing left to finish.
            let _ = listener.await;
        }
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
    start_with(settings, ListenSockets::default(), log).await
}

/// As [`start`], with listen sockets that were given or handed over.
///
/// # Errors
/// As for [`start`].
pub async fn start_with(
    settings: &NodeSettings,
    sockets: ListenSockets,
    log: Logger,
) -> Result<RunningNode, NodeStartError> {
    let docroot = usable_docroot(settings)?;
    let http = listen(&sockets, "http", &settings.http_listen, &log).await?;
    let side_channel = listen(&sockets, "side_channel", &settings.side_channel_listen, &log).await?;
    sockets.close_unused(&log);
    let (http_addr, side_channel_addr) = (local_addr(&http)?, local_addr(&side_channel)?);
    let shared = Arc::new(NodeShared {
        docroot,
        sync: settings.sync,
        idle_timeout: Duration::from_millis(settings.idle_timeout_ms),
        started: SystemTime::now(),
        devices: DeviceList::default(),
        digest_limits: DigestLimits::default(),
        utilisation: watch::Sender::new(Arc::from("")),
        log: log.new(o!("role" => "node")),
    });
    let mut usage = usage::UsageRounds::new(Arc::clone(&shared));
    usage.first_round().await;
    let background = Background(vec![
        actix_rt::spawn(usage.run(Duration::from_millis(settings.usage_interval_ms))),
        actix_rt::spawn(sweep::run(Arc::clone(&shared))),
        actix_rt::spawn(utilisation::run(Arc::clone(&shared))),
    ]);
    let stop = watch::Sender::new(false);
    let finish_limit = watch::Sender::new(serve::FINISH_LIMIT);
    let listeners = vec![
        actix_rt::spawn(http::listen(http, Arc::clone(&shared), stop.subscribe(), finish_limit.subscribe())),
        actix_rt::spawn(side_channel::listen(
            side_channel,
            Arc::clone(&shared),
            stop.subscribe(),
            finish_limit.subscribe(),
        )),
    ];
    info!(shared.log, "storage node started"; "http" => %http_addr, "side_channel" => %side_channel_addr,
        "docroot" => %shared.docroot.display(), "devices" => shared.devices.load().len());
    Ok(RunningNode { http_addr, side_channel_addr, sockets, finish_limit, stop, listeners, background })
}

fn usable_docroot(settings: &NodeSettings) -> Result<PathBuf, NodeStartError> {
    let failed = |source| NodeStartError::Docroot { path: settings.docroot.clone(), source };
    let docroot = settings.docroot.canonicalize().map_err(failed)?;
    match docroot.is_dir() {
        true => Ok(docroot),
        false => Err(failed(io::ErrorKind::NotADirectory.into())),
    }
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
