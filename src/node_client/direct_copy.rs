//! Copying without the bytes: the target node fetches them from the source itself (decision 0011).
//!
//! Only nodes that have said in an earlier answer that they can are asked. What the node says of the stored file (length,
//! digest) is compared here; anything that is not understood is no copy.

use super::copy::{Copy, CopyReport};
use super::copy_order::{self, CopyOrder, CopyResult};
use super::error::{CopyError, NodeError};
use super::http::{self, Broken, NodeClient};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::CONTENT_LENGTH;
use hyper::http::uri::Authority;
use hyper::{Request, Response, StatusCode, Uri};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A node's word holds for so long; each of its answers renews it.
const KNOWN_FOR: Duration = Duration::from_secs(3600);
/// Nodes remembered; beyond it those not heard of for long are forgotten.
const NODES_MAX: usize = 10_000;
/// A line of a result is not longer.
const LINE_BYTES_MAX: usize = 4096;

/// The nodes that fetch files by themselves.
#[derive(Default)]
pub(super) struct CapableNodes {
    known_until: HashMap<Authority, Instant>,
}

impl CapableNodes {
    /// Takes note of what an answer of the node says.
    pub fn learn(&mut self, node: &Authority, is_capable: bool) {
        let now = Instant::now();
        if !is_capable {
            self.known_until.remove(node);
        } else if let Some(until) = self.known_until.get_mut(node) {
            *until = now + KNOWN_FOR;
        } else {
            if self.known_until.len() >= NODES_MAX {
                self.known_until.retain(|_, until| *until > now);
            }
            self.known_until.insert(node.clone(), now + KNOWN_FOR);
        }
    }

    pub fn has(&self, node: &Authority) -> bool {
        self.known_until.get(node).is_some_and(|until| *until > Instant::now())
    }
}

impl NodeClient {
    /// Lets the target fetch the file. `None` if it does not do that, or could not begin: then the file can still be
    /// streamed, and that will show which side is to blame.
    ///
    /// # Errors
    /// Which side failed in the middle, and how.
    pub async fn copy_directly(&self, copy: &Copy<'_>) -> Option<Result<CopyReport, CopyError>> {
        let target: Uri = copy.target_url.parse().ok()?;
        if !self.is_capable(target.authority()?) || !copy_order::is_file_url(copy.source_url) {
            return None;
        }
        let begun = Instant::now();
        let response = match self.order(copy, &target).await? {
            Ok(response) if response.status() == StatusCode::OK => response,
            Ok(refused) => {
                self.finish(refused).await;
                return None;
            }
            Err(Broken::Timeout(limit)) => return Some(Err(CopyError::Target(NodeError::Timeout(limit)))),
            Err(Broken::NotConnected(_) | Broken::Midway(_)) => return None,
        };
        let told = self.last_line(response).await;
        Some(told.map_err(CopyError::Target).and_then(|line| judge(copy, &line, begun)))
    }

    /// Sends the order; a kept connection that turns out dead costs a second try.
    async fn order(&self, copy: &Copy<'_>, target: &Uri) -> Option<Result<Response<Incoming>, Broken>> {
        let order = CopyOrder { source_url: copy.source_url.to_owned(), length: copy.length, hashtype: copy.hashtype };
        let build = || {
            let mut request = Request::new(http::full(Bytes::new()));
            *request.method_mut() = hyper::Method::from_bytes(copy_order::METHOD.as_bytes()).ok()?;
            *request.uri_mut() = target.clone();
            request.headers_mut().insert(CONTENT_LENGTH, 0.into());
            order.write(request.headers_mut())?;
            Some(request)
        };
        let limit = self.stall_limit();
        match self.send(build()?, limit).await {
            Err(Broken::Midway(_)) => Some(self.send(build()?, limit).await),
            outcome => Some(outcome),
        }
    }

    /// The last line of the answer. While the copy goes on, the node sends empty ones.
    async fn last_line(&self, response: Response<Incoming>) -> Result<String, NodeError> {
        let mut body = response.into_body();
        let mut line: Vec<u8> = Vec::new();
        let limit = self.stall_limit();
        loop {
            let frame = match tokio::time::timeout(limit, body.frame()).await {
                Err(_elapsed) => return Err(NodeError::Timeout(limit)),
                Ok(None) => return Ok(String::from_utf8_lossy(&line).into_owned()),
                Ok(Some(Err(error))) => return Err(NodeError::Unreachable(http::describe(&error))),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(bytes) = frame.into_data() else { continue };
            line.extend_from_slice(if line.is_empty() { bytes.trim_ascii_start() } else { &bytes });
            if line.len() > LINE_BYTES_MAX {
                return Err(NodeError::TooLarge(LINE_BYTES_MAX));
            }
        }
    }
}

/// What the node says must be exactly what was wanted.
fn judge(copy: &Copy<'_>, line: &str, begun: Instant) -> Result<CopyReport, CopyError> {
    match CopyResult::parse(line) {
        Some(CopyResult::Stored { length, .. }) if length != copy.length => {
            Err(CopyError::Target(NodeError::WrongLength { expected: copy.length, actual: length }))
        }
        Some(CopyResult::Stored { checksum, .. })
            if checksum.as_ref().map(|checksum| checksum.hashtype) == copy.hashtype =>
        {
            Ok(CopyReport { checksum, seen_by_target: true, duration: begun.elapsed() })
        }
        Some(CopyResult::SourceFailed(text)) => Err(CopyError::Source(NodeError::Unreachable(text))),
        Some(CopyResult::TargetFailed(text)) => Err(CopyError::Target(NodeError::Unreachable(text))),
        Some(CopyResult::Stored { .. }) | None => {
            Err(CopyError::Target(NodeError::Unreachable("the node did not say what it stored".to_owned())))
        }
    }
}
