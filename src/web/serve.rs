//! The listener of all that is shown over HTTP: few connections, small requests, short patience.

use super::health::{Health, Verdict};
use super::metrics::Exporter;
use super::metrics::text::CONTENT_TYPE;
use super::page::{BODY_BYTES_MAX, Page, PageRequest, PageSettings};
use crate::service::listen::ListenSockets;
use crate::settings::{Secret, Settings, WebSettings};
use crate::tracker::RunningTracker;
use actix_rt::Arbiter;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE as CONTENT_TYPE_NAME, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use slog::Logger;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The address in `settings/default.toml`.
const DEFAULT_LISTEN: &str = "127.0.0.1:7002";

/// Connections at the same time; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 128;
/// For the head of a request, and for its body; so long a connection may be idle, too.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after a failed accept, as when the system is out of sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why there is no page; a sentence for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PageError(String);

/// What is needed before the tracker begins.
pub struct OpenPage {
    sockets: Vec<TcpListener>,
    settings: PageSettings,
}

/// Opens the addresses of the settings, and reads the token.
///
/// # Errors
/// An address cannot be bound, or the token's file cannot be read.
pub async fn open(settings: &WebSettings, sockets: &ListenSockets, log: &Logger) -> Result<OpenPage, PageError> {
    let mut opened = Vec::new();
    for address in &settings.listen {
        match sockets.open("web", address, log).await {
            Ok(socket) => opened.push(socket),
            // Nobody chose the address: another tracker on this machine may have it.
            Err(error) if settings.listen == [DEFAULT_LISTEN] => {
                slog::warn!(log, "there is no web page (setting web.listen)"; "address" => address, "error" => %error);
            }
            Err(error) => {
                return Err(PageError(format!("cannot listen on {address} (setting web.listen): {error}")));
            }
        }
    }
    let token = token(settings)?;
    Ok(OpenPage { sockets: opened, settings: PageSettings { token, names: settings.names.clone() } })
}

fn token(settings: &WebSettings) -> Result<Secret, PageError> {
    let file = &settings.token_file;
    if file.as_os_str().is_empty() {
        return Ok(settings.token.clone());
    }
    let failed = |why: &str| PageError(format!("cannot read the file of web.token_file, {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| failed(&error.to_string()))?;
    match text.trim() {
        // An empty file would silently mean: nobody may act.
        "" => Err(failed("it is empty")),
        token => Ok(Secret::from(token)),
    }
}

impl OpenPage {
    /// Where it will be.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok())
    }

    /// Serves the page of this tracker, on a thread of its own, until the process ends.
    pub fn begin(self, tracker: &RunningTracker, settings: &Settings, log: &Logger) {
        if self.sockets.is_empty() {
            return;
        }
        let log = log.new(slog::o!("part" => "web"));
        let (supervisor, view) = (tracker.supervisor.clone(), tracker.view.clone());
        let can_act = !self.settings.token.reveal().is_empty();
        let min_free_space_mb = settings.storage.min_free_space_mb;
        let site = Arc::new(Site {
            health: Health { supervisor: supervisor.clone(), store: tracker.store.clone(), serving: tracker.serving() },
            exporter: Exporter {
                metrics: tracker.metrics.clone(),
                view: view.clone(),
                store: tracker.store.clone(),
                min_free_space_mb,
            },
            page: Page::new(supervisor, view, self.settings, min_free_space_mb, log.clone()),
        });
        let arbiter = Arbiter::new();
        for socket in self.sockets {
            if let Ok(address) = socket.local_addr() {
                slog::info!(log, "web page is ready"; "address" => %address, "actions" => can_act);
            }
            // An arbiter that is gone belongs to a process that ends.
            let _is_sent = arbiter.spawn(accept_all(socket, Arc::clone(&site), log.clone()));
        }
    }
}

/// All that is shown.
struct Site {
    health: Health,
    exporter: Exporter,
    page: Page,
}

async fn accept_all(socket: TcpListener, site: Arc<Site>, log: Logger) {
    let socket = match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => return slog::error!(log, "cannot listen"; "error" => %error),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = places.clone().acquire_owned().await {
        match socket.accept().await {
            Ok((stream, peer)) => {
                let (site, log) = (Arc::clone(&site), log.clone());
                actix_rt::spawn(async move {
                    connection(stream, peer, site, &log).await;
                    drop(place);
                });
            }
            Err(error) => {
                slog::warn!(log, "cannot accept a browser"; "error" => %error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, peer: SocketAddr, site: Arc<Site>, log: &Logger) {
    let service = service_fn(|request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(Box::pin(site.answer(peer, request)).await.map(Full::new)) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        slog::trace!(log, "connection ended early"; "peer" => %peer, "error" => %error);
    }
}

impl Site {
    async fn answer(&self, peer: SocketAddr, request: Request<Incoming>) -> Response<Bytes> {
        if matches!(*request.method(), Method::GET | Method::HEAD)
            && let Some(answer) = self.for_machines(request.uri().path()).await
        {
            return answer;
        }
        let (head, body) = request.into_parts();
        let body = match timeout(PATIENCE, Limited::new(body, BODY_BYTES_MAX).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            _ => {
                let mut refusal = Response::new(Bytes::from_static(b"the body is too long, or did not come\n"));
                *refusal.status_mut() = StatusCode::BAD_REQUEST;
                return refusal;
            }
        };
        let request = PageRequest { method: &head.method, uri: &head.uri, headers: &head.headers, peer, body: &body };
        self.page.answer(request).await
    }

    /// What monitoring asks for. Scrapers call us by any name: nothing here acts, or tells what files there are.
    async fn for_machines(&self, path: &str) -> Option<Response<Bytes>> {
        match path {
            "/metrics" => {
                let text = self.exporter.text(self.page.figures()).await;
                Some(plain(StatusCode::OK, CONTENT_TYPE, text))
            }
            "/healthz" => Some(verdict(self.health.lives().await)),
            "/readyz" => Some(verdict(self.health.is_ready().await)),
            _ => None,
        }
    }
}

fn verdict(Verdict { is_good, json }: Verdict) -> Response<Bytes> {
    let status = if is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    plain(status, "application/json", json)
}

fn plain(status: StatusCode, content_type: &'static str, text: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE_NAME, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
