//! From settings to a running tracker.

use super::listener;
use super::supervisor::{StopTracker, Supervisor, SupervisorConfig};
use crate::cluster::ClusterView;
use crate::jobs::extensions::Extensions;
use crate::logging::watch::WatchBus;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::store::{Store, StoreError};
use actix::{Actor, Addr};
use slog::Logger;
use std::net::SocketAddr;
use std::path::PathBuf;
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
    #[error("cannot write the pidfile {}: {cause}", path.display())]
    Pidfile { path: PathBuf, cause: std::io::Error },
}

/// A tracker that runs in this process.
pub struct RunningTracker {
    pub supervisor: Addr<Supervisor>,
    /// What it listens on, in the order of the settings.
    pub addresses: Vec<SocketAddr>,
    pub metrics: Metrics,
    pub view: ClusterView,
    stopped: watch::Receiver<bool>,
    pidfile: Option<PathBuf>,
}

/// Opens the database, binds the listen addresses and starts the actors in the current system. Requests that come before
/// the first monitor round wait.
///
/// # Errors
/// The database cannot be used or an address cannot be bound; nothing runs then.
pub async fn start(settings: Settings, log: Logger) -> Result<RunningTracker, StartError> {
    let watch_bus = WatchBus::new();
    let log = watch_bus.attach(log);
    let extensions = Extensions::enable(&settings.extensions).map_err(StartError::Settings)?;
    let store = Store::open(&settings.database, log.clone())?;
    store.require_extensions(&extensions.tables())?;
    drop(extensions);
    let mut sockets = Vec::new();
    for address in &settings.tracker.listen {
        let bound = listener::bind(address).await;
        sockets.push(bound.map_err(|cause| StartError::Listen { address: address.clone(), cause })?);
    }
    let addresses: Vec<SocketAddr> = sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect();
    let pidfile = write_pidfile(&settings)?;
    let (stopped, stopped_receiver) = watch::channel(false);
    let (metrics, view) = (Metrics::default(), ClusterView::default());
    for address in &addresses {
        slog::info!(log, "listening"; "address" => %address, "database" => store.backend().name());
    }
    let supervisor = Supervisor::new(SupervisorConfig {
        settings: Arc::new(settings),
        store,
        sockets,
        view: view.clone(),
        metrics: metrics.clone(),
        log,
        watch_bus,
        stopped,
    })
    .start();
    Ok(RunningTracker { supervisor, addresses, metrics, view, stopped: stopped_receiver, pidfile })
}

impl RunningTracker {
    /// Ends when the tracker has stopped, by [`RunningTracker::stop`] or by `!shutdown`.
    pub async fn wait_until_stopped(&self) {
        let mut stopped = self.stopped.clone();
        // A Supervisor that is gone has stopped, too.
        let _stopped = stopped.wait_for(|&stopped| stopped).await;
    }

    /// Stops in order: clients get their replies, workers finish what they hold, the database is closed.
    pub async fn stop(self) {
        self.supervisor.do_send(StopTracker);
        self.wait_until_stopped().await;
    }
}

impl Drop for RunningTracker {
    fn drop(&mut self) {
        if let Some(pidfile) = &self.pidfile {
            // It may have been removed by hand.
            let _removed = std::fs::remove_file(pidfile);
        }
    }
}

fn write_pidfile(settings: &Settings) -> Result<Option<PathBuf>, StartError> {
    let path = &settings.service.pidfile;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    std::fs::write(path, format!("{}\n", std::process::id()))
        .map_err(|cause| StartError::Pidfile { path: path.clone(), cause })?;
    Ok(Some(path.clone()))
}
