//! Storage nodes in memory: what is on their disks can be looked at, and they fail on demand.
//!
//! A node keeps an upload only when it has the whole body, as a node that renames a finished file does.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_LENGTH;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;

/// How a host behaves towards stored files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manners {
    #[default]
    Good,
    /// Every answer is 500.
    Down,
    /// Uploads are refused.
    DiskFull,
    /// Uploads are answered 201, but the last byte is lost.
    LosesBytes,
}

/// All hosts of a cluster.
pub struct Nodes {
    hosts: Vec<Arc<HostNode>>,
    open_requests: Arc<AtomicUsize>,
}

struct HostNode {
    port: u16,
    manners: Mutex<Manners>,
    /// By device and fid.
    files: Mutex<BTreeMap<(i64, i64), Bytes>>,
}

impl Nodes {
    /// Hosts 1 to `count`, served until the runtime ends.
    pub async fn start(count: usize) -> Self {
        let open_requests = Arc::new(AtomicUsize::new(0));
        let mut hosts = Vec::new();
        for hostid in 1..=count {
            let listener = TcpListener::bind((format!("127.0.0.{hostid}"), 0)).await.expect("bind");
            let host = Arc::new(HostNode {
                port: listener.local_addr().expect("bound").port(),
                manners: Mutex::default(),
                files: Mutex::default(),
            });
            tokio::spawn(serve(listener, host.clone(), open_requests.clone()));
            hosts.push(host);
        }
        Self { hosts, open_requests }
    }

    pub fn port(&self, hostid: i64) -> u16 {
        self.host(hostid).port
    }

    pub fn manners(&self, hostid: i64) -> Manners {
        *lock(&self.host(hostid).manners)
    }

    pub fn set_manners(&self, hostid: i64, manners: Manners) {
        *lock(&self.host(hostid).manners) = manners;
    }

    /// The bytes of a file on a device.
    pub fn stored(&self, devid: i64, fid: i64) -> Option<Bytes> {
        lock(&self.host(host_of(devid)).files).get(&(devid, fid)).cloned()
    }

    /// Every stored file, as device and fid.
    pub fn all_stored(&self) -> Vec<(i64, i64)> {
        self.hosts.iter().flat_map(|host| lock(&host.files).keys().copied().collect::<Vec<_>>()).collect()
    }

    /// What a failing disk leaves of a file: nothing, or all but its last byte.
    pub fn damage(&self, devid: i64, fid: i64, is_cut: bool) {
        let mut files = lock(&self.host(host_of(devid)).files);
        if let Some(bytes) = files.remove(&(devid, fid)).filter(|_| is_cut) {
            files.insert((devid, fid), bytes.slice(..bytes.len().saturating_sub(1)));
        }
    }

    /// The disk is gone with all that was on it.
    pub fn destroy(&self, devid: i64) {
        lock(&self.host(host_of(devid)).files).retain(|(on, _), _| *on != devid);
    }

    /// Until no request is being worked on: that of a client which went away may be.
    pub async fn at_rest(&self) {
        while self.open_requests.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    fn host(&self, hostid: i64) -> &Arc<HostNode> {
        &self.hosts[usize::try_from(hostid).expect("a host id") - 1]
    }
}

/// Devices 11, 12 are on host 1 and so on.
pub fn host_of(devid: i64) -> i64 {
    devid / 10
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, host: Arc<HostNode>, open_requests: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (host, open_requests) = (host.clone(), open_requests.clone());
        let service = service_fn(move |request| {
            let (host, open) = (host.clone(), OpenRequest::begin(&open_requests));
            async move {
                let response = host.answer(request).await;
                drop(open);
                Ok::<_, Infallible>(response)
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// Counts a request until it is answered or given up.
struct OpenRequest(Arc<AtomicUsize>);

impl OpenRequest {
    fn begin(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(open.clone())
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl HostNode {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let manners = *lock(&self.manners);
        if manners != Manners::Down && request.uri().path().ends_with("/usage") {
            return Response::new(Full::new(Bytes::from_static(b"total: 1000000\nused: 100000\n")));
        }
        let place = place_of(request.uri().path());
        match (manners, place, request.method().clone()) {
            (Manners::Down, _, _) => status(StatusCode::INTERNAL_SERVER_ERROR),
            (_, None, _) => status(StatusCode::METHOD_NOT_ALLOWED),
            (Manners::DiskFull, Some(_), Method::PUT) => status(StatusCode::INSUFFICIENT_STORAGE),
            (_, Some(place), Method::PUT) => self.put(place, request, manners).await,
            (_, Some(place), Method::GET) => match lock(&self.files).get(&place) {
                Some(bytes) => Response::new(Full::new(bytes.clone())),
                None => status(StatusCode::NOT_FOUND),
            },
            (_, Some(place), Method::HEAD) => self.head(place),
            (_, Some(place), Method::DELETE) => match lock(&self.files).remove(&place) {
                Some(_) => status(StatusCode::NO_CONTENT),
                None => status(StatusCode::NOT_FOUND),
            },
            _ => status(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    async fn put(&self, place: (i64, i64), request: Request<Incoming>, manners: Manners) -> Response<Full<Bytes>> {
        let Ok(body) = request.into_body().collect().await else { return status(StatusCode::BAD_REQUEST) };
        let mut bytes = body.to_bytes();
        if manners == Manners::LosesBytes {
            bytes.truncate(bytes.len().saturating_sub(1));
        }
        lock(&self.files).insert(place, bytes);
        status(StatusCode::CREATED)
    }

    fn head(&self, place: (i64, i64)) -> Response<Full<Bytes>> {
        let Some(length) = lock(&self.files).get(&place).map(Bytes::len) else { return status(StatusCode::NOT_FOUND) };
        let mut response = status(StatusCode::OK);
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        response
    }
}

fn status(code: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    *response.status_mut() = code;
    response
}

/// Device and fid of `/dev11/0/000/000/0000000007.fid`.
fn place_of(path: &str) -> Option<(i64, i64)> {
    let mut parts = path.strip_prefix("/dev")?.split('/');
    let devid = parts.next()?.parse().ok()?;
    let fid = parts.next_back()?.strip_suffix(".fid")?.parse().ok()?;
    Some((devid, fid))
}
