//! The storage node: a plain HTTP server over directories `dev1`, `dev2`, …, usage files, and the side channel.
//!
//! What is answered 2xx is stored whole and, with `node.sync`, survives a power cut. Nothing outside a device's directory
//! is ever read or written, and no device directory is ever made: an unmounted disk takes no uploads.
//! Source: storage-node.md.

mod download;
mod http;
mod paths;
mod side_channel;
mod upload;
mod usage;
mod utilization;

use crate::settings::NodeSettings;
use slog::Logger;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long running requests may take to finish when the node stops.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// Clients that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NodeStartError {
    #[error("the document root {} is not a directory{}", path.display(), cause.as_ref().map(|error| format!(": {error}")).unwrap_or_default())]
    Docroot { path: PathBuf, cause: Option<io::Error> },
    #[error("cannot listen on {address}: {cause}")]
    Listen { address: String, cause: io::Error },
}

/// What all parts of a node share.
struct Node {
    docroot: PathBuf,
    sync: bool,
    idle_timeout: Duration,
    log: Logger,
    stopping: watch::Receiver<bool>,
}

/// A node that runs on the current thread.
pub struct RunningNode {
    pub http_addr: SocketAddr,
    pub side_channel_addr: SocketAddr,
    stop: watch::Sender<bool>,
    http: JoinHandle<()>,
    background: Vec<JoinHandle<()>>,
}

/// Starts a node on the current runtime; its usage files are written before this returns.
///
/// # Errors
/// The document root is no directory, or an address cannot be bound; nothing runs then.
pub fn start(settings: &NodeSettings, log: Logger) -> Result<RunningNode, NodeStartError> {
    check_docroot(&settings.docroot)?;
    let (http_socket, http_addr) = listen(&settings.http_listen)?;
    let (side_socket, side_channel_addr) = listen(&settings.side_channel_listen)?;
    let (stop, stopping) = watch::channel(false);
    let node = Rc::new(Node {
        docroot: settings.docroot.clone(),
        sync: settings.sync,
        idle_timeout: Duration::from_millis(settings.idle_timeout_ms),
        log,
        stopping,
    });
    usage::write_all(&node);
    let cleaned = settings.docroot.clone();
    let background = vec![
        actix_rt::spawn(usage::keep_written(node.clone(), Duration::from_millis(settings.usage_interval_ms))),
        actix_rt::spawn(side_channel::serve(node.clone(), side_socket)),
        actix_rt::spawn(async move {
            // A walk that is cut short by the end of the process goes on at the next start.
            let _walked = tokio::task::spawn_blocking(move || upload::remove_stale(&cleaned)).await;
        }),
    ];
    let http = actix_rt::spawn(http::serve(node, http_socket));
    Ok(RunningNode { http_addr, side_channel_addr, stop, http, background })
}

impl RunningNode {
    /// Accepts nobody any more, finishes running requests within some seconds, then ends.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // Requests that take longer are cut: their uploads were never answered.
        let _finished = tokio::time::timeout(STOP_DEADLINE, self.http).await;
        for task in self.background {
            task.abort();
        }
    }
}

fn check_docroot(path: &std::path::Path) -> Result<(), NodeStartError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(NodeStartError::Docroot { path: path.to_owned(), cause: None }),
        Err(error) => Err(NodeStartError::Docroot { path: path.to_owned(), cause: Some(error) }),
    }
}

fn listen(address: &str) -> Result<(TcpListener, SocketAddr), NodeStartError> {
    bind(address).map_err(|cause| NodeStartError::Listen { address: address.to_owned(), cause })
}

fn bind(address: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "not an address like 0.0.0.0:7500");
    let address: SocketAddr = address.parse().map_err(|_| invalid())?;
    let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}
