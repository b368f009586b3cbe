//! The HTTP client, and the requests that are answered at once.

use super::copy_order;
use super::direct_copy::CapableNodes;
use super::directories::DirectoryMemory;
use super::error::NodeError;
use super::side_digest::SideChannels;
use crate::cluster::checksum::{Checksum, HashType};
use crate::settings::StorageSettings;
use crate::tls::NodeAccess;
use crate::tls::nodes::NodeConnector;
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, SERVER};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use slog::Logger;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// A request body: nothing, a few bytes, or a stream of known length.
pub(super) type Body = BoxBody<Bytes, io::Error>;

/// Idle connections are given up after so long; nodes close theirs after 30 s.
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(25);

/// The HTTP client of one thread. Clones share its connections.
#[derive(Clone)]
pub struct NodeClient {
    inner: Rc<Inner>,
}

struct Inner {
    http: Client<NodeConnector, Body>,
    access: NodeAccess,
    limits: Limits,
    directories: RefCell<DirectoryMemory>,
    side_channels: SideChannels,
    capable: RefCell<CapableNodes>,
    log: Logger,
}

/// How long a client waits, and what it keeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connecting, and each wait for an answer.
    pub node_timeout: Duration,
    /// Longest time without a byte in the middle of a file.
    pub stall_timeout: Duration,
    pub idle_connections_per_node: usize,
    /// Of all nodes; `None`: their side channels are not used.
    pub side_channel_port: Option<u16>,
}

/// What a successful deletion found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    Removed,
    WasMissing,
}

impl NodeClient {
    /// A client for the current thread and runtime, as a tracker needs it.
    pub fn new(settings: &StorageSettings, log: Logger) -> Self {
        Self::with_access(settings, NodeAccess::default(), log)
    }

    /// The same, with what nodes ask for.
    pub fn with_access(settings: &StorageSettings, access: NodeAccess, log: Logger) -> Self {
        let limits = Limits {
            node_timeout: settings.node_timeout(),
            stall_timeout: settings.copy_stall_timeout(),
            idle_connections_per_node: settings.idle_connections_per_node,
            side_channel_port: Some(settings.side_channel_port),
        };
        Self::with_limits(limits, access, log)
    }

    /// A client for the current thread and runtime.
    pub fn with_limits(limits: Limits, access: NodeAccess, log: Logger) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(limits.node_timeout));
        // A connection that is given up still waits until the node has taken what was buffered: a node that reads nothing
        // would hold it, and the source of a copy, for ever. Twice, so that our own limit strikes first.
        #[cfg(target_os = "linux")]
        connector.set_tcp_user_timeout(Some(2 * limits.stall_timeout.max(limits.node_timeout)));
        let http = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(limits.idle_connections_per_node)
            .pool_idle_timeout(IDLE_CONNECTION_MAX)
            .pool_timer(TokioTimer::new())
            .build(NodeConnector::new(connector, access.tls.clone(), limits.node_timeout));
        let inner = Inner {
            http,
            access,
            limits,
            directories: RefCell::default(),
            side_channels: SideChannels::default(),
            capable: RefCell::default(),
            log,
        };
        Self { inner: Rc::new(inner) }
    }

    /// Length of a file in bytes, by HEAD.
    ///
    /// # Errors
    /// [`NodeError::Missing`] when the node says so; [`NodeError::NoLength`] when it gives no length.
    pub async fn head_size(&self, url: &str) -> Result<u64, NodeError> {
        let response = self.simple(Method::HEAD, url).await?;
        success(&response)?;
        match content_length(&response) {
            Some(length) => Ok(length),
            // lighttpd leaves the length of an empty file out (storage-node.md 4).
            None if is_lighttpd(&response) => Ok(0),
            None => Err(NodeError::NoLength),
        }
    }

    /// The text of a small file.
    pub async fn get_text(&self, url: &str, bytes_max: usize) -> Result<Vec<u8>, NodeError> {
        let response = self.simple(Method::GET, url).await?;
        success(&response)?;
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(bytes) = self.next_bytes(&mut body).await? {
            if text.len() + bytes.len() > bytes_max {
                return Err(NodeError::TooLarge(bytes_max));
            }
            text.extend_from_slice(&bytes);
        }
        Ok(text)
    }

    /// Writes a small file. `content_md5` is the base64 text of the header.
    pub async fn put_small(&self, url: &str, bytes: Bytes, content_md5: Option<&str>) -> Result<(), NodeError> {
        let build = || {
            let mut request =
                Request::put(url).header(CONTENT_TYPE, "application/octet-stream").header(CONTENT_LENGTH, bytes.len());
            if let Some(md5) = content_md5 {
                request = request.header(CONTENT_MD5, md5);
            }
            request.body(full(bytes.clone()))
        };
        let response = self.repeated_once(build).await?;
        success(&response)?;
        self.finish(response).await;
        Ok(())
    }

    /// Deletes a file; a missing one is as good.
    pub async fn delete(&self, url: &str) -> Result<Deleted, NodeError> {
        let response = self.simple(Method::DELETE, url).await?;
        let outcome = match success(&response) {
            Ok(()) => Ok(Deleted::Removed),
            Err(NodeError::Missing) => Ok(Deleted::WasMissing),
            Err(error) => Err(error),
        };
        self.finish(response).await;
        outcome
    }

    /// Digest of a file, computed here from its bytes.
    pub async fn digest(&self, url: &str, hashtype: HashType) -> Result<Checksum, NodeError> {
        let response = self.simple(Method::GET, url).await?;
        success(&response)?;
        let mut hasher = hashtype.hasher();
        let mut body = response.into_body();
        while let Some(bytes) = self.next_bytes(&mut body).await? {
            hasher.update(&bytes);
        }
        Ok(hasher.finish())
    }

    /// Makes directories by MKCOL, outermost first. What nodes answer decides only what is asked next time; the upload
    /// decides whether it worked (storage-node.md 3.1).
    pub async fn make_directories(&self, base: &str, directories: &[String]) {
        for directory in directories {
            let url = format!("{base}{directory}");
            if !self.inner.directories.borrow_mut().must_ask(base, &url) {
                continue;
            }
            let answer = self.make_directory(&url).await;
            self.inner.directories.borrow_mut().learn(base, &url, answer);
        }
    }

    async fn make_directory(&self, url: &str) -> Option<u16> {
        let mkcol = Method::from_bytes(b"MKCOL").ok()?;
        match self.simple(mkcol, url).await {
            Ok(response) => {
                let status = response.status().as_u16();
                self.finish(response).await;
                Some(status)
            }
            Err(error) => {
                slog::debug!(self.inner.log, "could not make a directory"; "url" => url, "error" => %error);
                None
            }
        }
    }

    pub(super) fn side_channels(&self) -> &SideChannels {
        &self.inner.side_channels
    }

    pub(super) fn side_channel_port(&self) -> Option<u16> {
        self.inner.limits.side_channel_port
    }

    pub(super) fn log(&self) -> &Logger {
        &self.inner.log
    }

    pub(super) fn node_timeout(&self) -> Duration {
        self.inner.limits.node_timeout
    }

    /// Longest time without a byte in the middle of a file.
    pub(super) fn stall_limit(&self) -> Duration {
        self.inner.limits.stall_timeout.max(self.inner.limits.node_timeout)
    }

    /// Does this node fetch files by itself, as far as is known?
    pub(super) fn is_capable(&self, node: &Authority) -> bool {
        self.inner.capable.borrow().has(node)
    }

    /// A request without a body.
    pub(super) async fn simple(&self, method: Method, url: &str) -> Result<Response<Incoming>, NodeError> {
        self.repeated_once(|| Request::builder().method(method.clone()).uri(url).body(full(Bytes::new()))).await
    }

    /// Sends a request that may be sent twice; a kept connection that turns out dead costs a second try, no failure.
    async fn repeated_once(
        &self,
        build: impl Fn() -> Result<Request<Body>, hyper::http::Error>,
    ) -> Result<Response<Incoming>, NodeError> {
        let request = || build().map_err(|error| NodeError::Unreachable(error.to_string()));
        match self.send(request()?, self.inner.limits.node_timeout).await {
            Err(Broken::Midway(_)) => {
                self.send(request()?, self.inner.limits.node_timeout).await.map_err(Broken::into_error)
            }
            outcome => outcome.map_err(Broken::into_error),
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&self, mut request: Request<Body>, limit: Duration) -> Result<Response<Incoming>, Broken> {
        self.inner.access.sign(&mut request);
        let node = request.uri().authority().cloned();
        match tokio::time::timeout(limit, self.inner.http.request(request)).await {
            Ok(Ok(response)) => {
                if let Some(node) = node {
                    let is_capable = response.headers().get(copy_order::CAPABILITY) == Some(&copy_order::CAPABLE);
                    self.inner.capable.borrow_mut().learn(&node, is_capable);
                }
                Ok(response)
            }
            // The connector's own limit may strike first: silence all the same, not a refusal (J21).
            Ok(Err(error)) if error.is_connect() && is_timeout(&error) => {
                Err(Broken::Timeout(self.inner.limits.node_timeout))
            }
            Ok(Err(error)) if error.is_connect() => Err(Broken::NotConnected(describe(&error))),
            Ok(Err(error)) => Err(Broken::Midway(describe(&error))),
            Err(_elapsed) => Err(Broken::Timeout(limit)),
        }
    }

    /// The next bytes of an answer.
    pub(super) async fn next_bytes(&self, body: &mut Incoming) -> Result<Option<Bytes>, NodeError> {
        loop {
            let limit = self.inner.limits.node_timeout;
            match tokio::time::timeout(limit, body.frame()).await {
                Err(_elapsed) => return Err(NodeError::Timeout(limit)),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(NodeError::Unreachable(describe(&error))),
                Ok(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// Reads what is left of a small answer, so that its connection can be kept. A failure only costs the connection.
    pub(super) async fn finish(&self, response: Response<Incoming>) {
        let mut body = response.into_body();
        while let Ok(Some(_)) = self.next_bytes(&mut body).await {}
    }
}

/// Why no answer came.
pub(super) enum Broken {
    NotConnected(String),
    /// The connection broke after the request may have been sent.
    Midway(String),
    Timeout(Duration),
}

impl Broken {
    pub(super) fn into_error(self) -> NodeError {
        match self {
            Broken::NotConnected(text) | Broken::Midway(text) => NodeError::Unreachable(text),
            Broken::Timeout(limit) => NodeError::Timeout(limit),
        }
    }
}

pub(super) const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// The value of a Content-MD5 header.
pub(super) fn content_md5(checksum: &Checksum) -> String {
    base64::engine::general_purpose::STANDARD.encode(&checksum.digest)
}

pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// 2xx, or why not.
pub(super) fn success(response: &Response<Incoming>) -> Result<(), NodeError> {
    match response.status() {
        status if status.is_success() => Ok(()),
        StatusCode::NOT_FOUND => Err(NodeError::Missing),
        status => Err(NodeError::Status(status.as_u16())),
    }
}

pub(super) fn content_length(response: &Response<Incoming>) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn is_lighttpd(response: &Response<Incoming>) -> bool {
    response.headers().get(SERVER).is_some_and(|server| server.as_bytes().starts_with(b"lighttpd"))
}

/// Is a wait that took too long among the causes?
fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut))
}

/// An error with its causes, in one line.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
