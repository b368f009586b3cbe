//! From settings to a running tracker.

use super::listener::ClientSocket;
use super::permissions::Permissions;
use super::supervisor::{StopTracker, Supervisor, SupervisorConfig};
use crate::cluster::ClusterView;
use crate::jobs::extensions::Extensions;
use crate::jobs::query::manual::all_commands;
use crate::logging::watch::WatchBus;
use crate::metrics::Metrics;
use crate::service::access::is_loopback;
use crate::service::listen::ListenSockets;
use crate::service::tokens::TokenList;
use crate::settings::Settings;
use crate::store::{Store, StoreError};
use crate::tls::{NodeAccess, ServerTls, TlsError};
use actix::{Actor, Addr};
use slog::Logger;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// Why a tracker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {cause}")]
    Listen { address: String, cause: std::io::Error },
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("setting {0}")]
    Settings(String),
    #[error("{0}")]
    Tls(#[from] TlsError),
}

/// A tracker whose database is open.
pub struct OpenTracker {
    settings: Settings,
    store: Store,
    tokens: TokenList,
    log: Logger,
    watch_bus: WatchBus,
    tls: Option<ServerTls>,
    node_access: NodeAccess,
}

/// A tracker that could begin: its sockets are there, too.
pub struct PreparedTracker {
    open: OpenTracker,
    sockets: Vec<std::net::TcpListener>,
    tls_sockets: Vec<std::net::TcpListener>,
    administrative_addresses: Vec<SocketAddr>,
    kept_sockets: ListenSockets,
}

/// A tracker that runs in this process.
pub struct RunningTracker {
    pub supervisor: Addr<Supervisor>,
    /// What it listens on, in the order of the settings.
    pub addresses: Vec<SocketAddr>,
    pub metrics: Metrics,
    pub view: ClusterView,
    pub store: Store,
    pub sockets: ListenSockets,
    /// Where TLS is talked, in the order of the settings.
    pub tls_addresses: Vec<SocketAddr>,
    /// What is shown there; none without such addresses.
    pub tls: Option<ServerTls>,
    /// For storage nodes that are reached by TLS.
    pub node_access: NodeAccess,
    serving: watch::Receiver<bool>,
    stopped: watch::Receiver<bool>,
}

/// Opens the database, binds the listen addresses and starts the actors in the current system. Requests that come before
/// the first monitor round wait.
///
/// # Errors
/// The database cannot be used or an address cannot be bound; nothing runs then.
pub async fn start(settings: Settings, log: Logger) -> Result<RunningTracker, StartError> {
    Ok(open(settings, log)?.listen(ListenSockets::default()).await?.begin(false))
}

/// Opens the database.
///
/// # Errors
/// It cannot be used.
pub fn open(settings: Settings, log: Logger) -> Result<OpenTracker, StartError> {
    let watch_bus = WatchBus::new();
    let log = watch_bus.attach(log);
    let extensions = Extensions::enable(&settings.extensions).map_err(StartError::Settings)?;
    let tokens = TokenList::read(&settings.security.tokens_file)
        .map_err(|why| StartError::Settings(format!("security.tokens_file: {why}")))?;
    let tls = match settings.tracker.tls_listen.as_slice() {
        [] => None,
        _ => Some(ServerTls::load(&settings.tls)?),
    };
    let node_access = NodeAccess::of(&settings.node_client)?;
    let store = Store::open(&settings.database, log.clone())?;
    store.require_extensions(&extensions.tables())?;
    slog::info!(log, "database is open"; "database" => store.backend().name(),
        "schema_checked" => !settings.database.skip_schema_check, "min_fid" => %store.highest_fid());
    Ok(OpenTracker { settings, store, tokens, log, watch_bus, tls, node_access })
}

impl OpenTracker {
    /// Opens the listen sockets, unless they were given or handed over.
    ///
    /// # Errors
    /// An address cannot be bound.
    pub async fn listen(self, given: ListenSockets) -> Result<PreparedTracker, StartError> {
        let failed = |address: &str, cause| StartError::Listen { address: address.to_owned(), cause };
        let mut sockets = given.given_for("tracker", &self.log).map_err(|cause| failed("a given socket", cause))?;
        if sockets.is_empty() {
            for address in &self.settings.tracker.listen {
                let opened = given.open("tracker", address, &self.log).await;
                sockets.push(opened.map_err(|cause| failed(address, cause))?);
            }
        }
        let mut tls_sockets = Vec::new();
        for address in &self.settings.tracker.tls_listen {
            let opened = given.open("tls", address, &self.log).await;
            tls_sockets.push(opened.map_err(|cause| failed(address, cause))?);
        }
        let mut administrative_addresses = Vec::new();
        for address in &self.settings.tracker.admin_listen {
            let opened = given.open("admin", address, &self.log).await.map_err(|cause| failed(address, cause))?;
            administrative_addresses.extend(opened.local_addr());
            sockets.push(opened);
        }
        given.close_unused(&self.log);
        Ok(PreparedTracker { open: self, sockets, tls_sockets, administrative_addresses, kept_sockets: given })
    }
}

impl PreparedTracker {
    /// Starts the actors in the current system. With a predecessor, clients are accepted once the pools are started.
    pub fn begin(self, has_predecessor: bool) -> RunningTracker {
        let Self {
            open: OpenTracker { settings, store, tokens, log, watch_bus, tls, node_access },
            sockets,
            tls_sockets,
            administrative_addresses,
            kept_sockets,
        } = self;
        let (addresses, tls_addresses) = (local_addresses(&sockets), local_addresses(&tls_sockets));
        let (stopped, stopped_receiver) = watch::channel(false);
        let (serving, serving_receiver) = watch::channel(false);
        let (metrics, view) = (Metrics::default(), ClusterView::default());
        metrics.requests.know(all_commands().map(|command| command.name));
        let permissions = Permissions::of(&settings.security, administrative_addresses.clone(), tokens);
        // Whoever needs a certificate to come in is not everybody.
        let is_tls_open = tls.as_ref().is_some_and(|tls| !tls.asks_for_certificates());
        let open_tls_addresses = tls_addresses.iter().filter(|_address| is_tls_open);
        let open_addresses: Vec<SocketAddr> = addresses.iter().chain(open_tls_addresses).copied().collect();
        warn_if_open(&permissions, &open_addresses, &log);
        for address in &administrative_addresses {
            slog::info!(log, "listening for administration"; "address" => %address);
        }
        for address in addresses.iter().filter(|address| !administrative_addresses.contains(address)) {
            slog::info!(log, "listening"; "address" => %address, "database" => store.backend().name());
        }
        for address in &tls_addresses {
            slog::info!(log, "listening with TLS"; "address" => %address,
                "client_certificates" => tls.as_ref().is_some_and(ServerTls::asks_for_certificates));
        }
        if let Some(tls) = &tls {
            tls.tell_validity(&log);
            metrics.tls_certificate_ends.set(tls.ends_at_unix_secs().unwrap_or_default());
        }
        let with_tls = tls_sockets.into_iter().map(|socket| ClientSocket { socket, tls: tls.clone() });
        let sockets = sockets.into_iter().map(ClientSocket::from).chain(with_tls).collect();
        let supervisor = Supervisor::new(SupervisorConfig {
            settings: Arc::new(settings),
            store: store.clone(),
            sockets,
            permissions,
            view: view.clone(),
            metrics: metrics.clone(),
            log,
            watch_bus,
            serving,
            stopped,
            kept_sockets: kept_sockets.clone(),
            node_access: node_access.clone(),
            has_predecessor,
        })
        .start();
        RunningTracker {
            supervisor,
            addresses,
            metrics,
            view,
            store,
            sockets: kept_sockets,
            tls_addresses,
            tls,
            node_access,
            serving: serving_receiver,
            stopped: stopped_receiver,
        }
    }
}

fn local_addresses(sockets: &[std::net::TcpListener]) -> Vec<SocketAddr> {
    sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
}

/// Nobody should learn from an accident that anybody could delete a domain.
fn warn_if_open(permissions: &Permissions, addresses: &[SocketAddr], log: &Logger) {
    let is_open = |address: &&SocketAddr| !is_loopback(**address);
    if !permissions.limit_administration()
        && let Some(address) = addresses.iter().find(is_open)
    {
        slog::warn!(log, "whoever reaches this tracker may administer it: set security.clients_from, security.admin_from, \
            security.anonymous_role or tracker.admin_listen (docs/SECURITY.md)"; "address" => %address);
    }
}

impl RunningTracker {
    /// Ends when the tracker has stopped, by [`RunningTracker::stop`] or by `!shutdown`.
    pub async fn wait_until_stopped(&self) {
        let mut stopped = self.stopped.clone();
        // A Supervisor that is gone has stopped, too.
        let _stopped = stopped.wait_for(|&stopped| stopped).await;
    }

    /// Becomes true when the pools are started and clients are accepted.
    pub fn serving(&self) -> watch::Receiver<bool> {
        self.serving.clone()
    }

    /// Stops in order: clients get their replies, workers finish what they hold, the database is closed.
    pub async fn stop(&self) {
        self.supervisor.do_send(StopTracker);
        self.wait_until_stopped().await;
    }
}
