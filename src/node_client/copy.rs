//! Copying a file from one node to another, through us: streamed with bounded memory, counted, hashed on the way.
//!
//! The target never gets a whole upload unless the source gave exactly the announced bytes, and the copy counts only
//! after the target has shown its length (jobs.md W8).

use super::error::{CopyError, NodeError};
use super::http::{self, Broken, CONTENT_MD5, NodeClient};
use crate::cluster::checksum::{Checksum, HashType, Hasher};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// What to copy.
#[derive(Clone, Copy, Debug)]
pub struct Copy<'a> {
    pub source_url: &'a str,
    pub target_url: &'a str,
    /// Bytes that the file must have.
    pub length: u64,
    /// A known MD5, sent along so that the node can refuse other bytes.
    pub content_md5: Option<&'a Checksum>,
    /// Compute this digest of the bytes that were read.
    pub hashtype: Option<HashType>,
}

/// A copy that is complete.
#[derive(Clone, Debug)]
pub struct CopyReport {
    /// Of the bytes, if asked for.
    pub checksum: Option<Checksum>,
    /// The checksum is what the target made of the bytes that it stored.
    pub seen_by_target: bool,
    pub duration: Duration,
}

/// A source that has announced the right length and is about to send.
#[derive(Debug)]
pub struct OpenSource {
    body: Incoming,
    begun: Instant,
}

/// Between two looks at the progress of a copy.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

impl NodeClient {
    /// Copies a file.
    ///
    /// # Errors
    /// Which side failed, and how. The target may be left with nothing or, on nodes that write in place, with a part.
    pub async fn copy(&self, copy: Copy<'_>) -> Result<CopyReport, CopyError> {
        let source = self.open_source(&copy).await?;
        self.copy_from(source, copy).await
    }

    /// The first half of [`NodeClient::copy`]: the target hears nothing of it.
    ///
    /// # Errors
    /// The source does not begin to give exactly the file.
    pub async fn open_source(&self, copy: &Copy<'_>) -> Result<OpenSource, CopyError> {
        let begun = Instant::now();
        let body = self.open(copy.source_url, copy.length).await.map_err(CopyError::Source)?;
        Ok(OpenSource { body, begun })
    }

    /// The second half.
    ///
    /// # Errors
    /// As of [`NodeClient::copy`].
    pub async fn copy_from(&self, source: OpenSource, copy: Copy<'_>) -> Result<CopyReport, CopyError> {
        let OpenSource { body: source, begun } = source;
        let state = Arc::new(Mutex::new(CopyState::new(&copy)));
        let body = CopyBody { source, remaining: copy.length, state: state.clone() };
        self.upload(&copy, body, &state).await?;
        let found = self.head_size(copy.target_url).await.map_err(CopyError::Target)?;
        if found != copy.length {
            return Err(CopyError::Target(NodeError::WrongLength { expected: copy.length, actual: found }));
        }
        let checksum = lock(&state).hasher.take().map(Hasher::finish);
        Ok(CopyReport { checksum, seen_by_target: false, duration: begun.elapsed() })
    }

    async fn upload(&self, copy: &Copy<'_>, body: CopyBody, state: &SharedState) -> Result<(), CopyError> {
        let mut request = Request::put(copy.target_url)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, copy.length);
        if let Some(md5) = copy.content_md5 {
            request = request.header(CONTENT_MD5, http::content_md5(md5));
        }
        let request =
            request.body(body.boxed()).map_err(|error| CopyError::Target(NodeError::Unreachable(error.to_string())))?;
        // The whole transfer has no limit of its own; standing still has one.
        let no_limit = Duration::from_secs(u64::from(u32::MAX));
        let answer = tokio::select! {
            answer = self.send(request, no_limit) => answer,
            stalled = self.stalled(state) => return Err(stalled),
        };
        let response = match answer {
            Ok(response) => response,
            Err(broken) => return Err(blame(state, copy, broken)),
        };
        // A node may answer before it read everything: then it has not stored everything.
        if let Some(error) = lock(state).source_error.take() {
            return Err(CopyError::Source(error));
        }
        let is_incomplete = lock(state).missing_bytes > 0;
        let status = http::success(&response);
        self.finish(response).await;
        status.map_err(|error| {
            let error = match error {
                NodeError::Missing => NodeError::Status(404),
                error => error,
            };
            wrong_bytes(state, copy).unwrap_or(CopyError::Target(error))
        })?;
        // The length it shows now may be that of an older file, and the digest would be that of a part.
        if is_incomplete {
            let early = "the node answered before it had the whole file";
            return Err(CopyError::Target(NodeError::Unreachable(early.to_owned())));
        }
        Ok(())
    }

    /// Ends when nothing moved for too long, and says on which side.
    async fn stalled(&self, state: &SharedState) -> CopyError {
        let limit = self.stall_limit();
        loop {
            tokio::time::sleep(PROGRESS_INTERVAL.min(limit)).await;
            let state = lock(state);
            if state.moved.elapsed() >= limit {
                let error = NodeError::Timeout(limit);
                return if state.waits_for_source { CopyError::Source(error) } else { CopyError::Target(error) };
            }
        }
    }
}

/// A failed upload is the source's fault if its bytes failed first.
fn blame(state: &SharedState, copy: &Copy<'_>, broken: Broken) -> CopyError {
    if let Some(error) = lock(state).source_error.take() {
        return CopyError::Source(error);
    }
    wrong_bytes(state, copy).unwrap_or_else(|| CopyError::Target(broken.into_error()))
}

/// A target that checks Content-MD5 is right to refuse bytes that are not the known ones: the source has failed then,
/// and another one may do better (J77).
fn wrong_bytes(state: &SharedState, copy: &Copy<'_>) -> Option<CopyError> {
    let known = copy.content_md5?;
    let mut state = lock(state);
    if state.missing_bytes > 0 {
        return None;
    }
    let read = state.hasher.take()?.finish();
    let differs = read.hashtype == known.hashtype && read != *known;
    differs.then(|| CopyError::Source(NodeError::ChecksumDiffers { actual: read.to_string() }))
}

/// What the copy and its body share; the body is moved into the connection's task.
struct CopyState {
    hasher: Option<Hasher>,
    /// Not yet handed over to the target's connection.
    missing_bytes: u64,
    source_error: Option<NodeError>,
    waits_for_source: bool,
    moved: Instant,
}

type SharedState = Arc<Mutex<CopyState>>;

impl CopyState {
    fn new(copy: &Copy<'_>) -> Self {
        Self {
            hasher: copy.hashtype.map(HashType::hasher),
            missing_bytes: copy.length,
            source_error: None,
            waits_for_source: false,
            moved: Instant::now(),
        }
    }
}

fn lock(state: &SharedState) -> std::sync::MutexGuard<'_, CopyState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The source's bytes on their way to the target: exactly `remaining`, or an error that breaks the upload off.
struct CopyBody {
    source: Incoming,
    remaining: u64,
    state: SharedState,
}

impl CopyBody {
    fn fail(&self, error: NodeError) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let text = error.to_string();
        lock(&self.state).source_error = Some(error);
        Poll::Ready(Some(Err(io::Error::other(text))))
    }
}

impl HttpBody for CopyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            let polled = Pin::new(&mut self.source).poll_frame(cx);
            {
                let mut state = lock(&self.state);
                state.waits_for_source = polled.is_pending();
                if polled.is_ready() {
                    state.moved = Instant::now();
                }
            }
            match polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) if self.remaining == 0 => return Poll::Ready(None),
                Poll::Ready(None) => {
                    return self.fail(NodeError::Unreachable(format!("{} bytes missing at the end", self.remaining)));
                }
                Poll::Ready(Some(Err(error))) => {
                    return self.fail(NodeError::Unreachable(http::describe(&error)));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    let Some(remaining) = self.remaining.checked_sub(bytes.len() as u64) else {
                        return self.fail(NodeError::Unreachable("more bytes than announced".to_owned()));
                    };
                    self.remaining = remaining;
                    let mut state = lock(&self.state);
                    state.missing_bytes = remaining;
                    if let Some(hasher) = state.hasher.as_mut() {
                        hasher.update(&bytes);
                    }
                    drop(state);
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}
