//! The HTTP side: connections, the threads that serve them, and what each method leads to.

use super::answer::{self, Answer};
use super::body::{FilePieces, NodeBody, read_exactly};
use super::direct::{self, Then};
use super::fetch::{self, Asked, Found, FoundBody};
use super::preconditions::Preconditions;
use super::pulse::{Pulse, PulsedStream};
use super::serve::{Accepted, stopped};
use super::{NodeShared, copy_in, delete, upload};
use crate::node_client::{NodeClient, copy_order};
use crate::service::signature;
use bytes::{Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use slog::{debug, trace, warn};
use std::convert::Infallible;
use std::io::{self, Seek as _, SeekFrom};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

/// Files and ranges up to here are read at once, on the network thread: faster than a thread pool for small ones.
const INLINE_BYTES: u64 = 256 * 1024;

/// What a connection may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Full,
    /// What is signed; GET and HEAD without.
    Signed,
    /// GET and HEAD.
    Read,
}

/// Serves one connection to its end.
pub(crate) async fn connection(
    accepted: Accepted,
    shared: Arc<NodeShared>,
    sources: NodeClient,
    stop: watch::Receiver<bool>,
) {
    let Accepted { stream, access, tls, counted: _counted } = accepted;
    let stream = match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return warn!(shared.log, "a connection cannot be served"; "error" => %error),
    };
    let pulse = Pulse::new();
    let requests = async {
        let mut stop_early = stop.clone();
        if let Some(tls) = tls {
            let accepted = tokio::select! {
                accepted = Box::pin(tls.accept(stream)) => accepted,
                () = stopped_a_moment_ago(&mut stop_early) => return,
            };
            match accepted {
                Ok(stream) => {
                    let stream = PulsedStream { read_before: BytesMut::new(), stream, pulse: Rc::clone(&pulse) };
                    with_library(stream, access, &shared, &sources, &pulse, stop.clone()).await;
                }
                Err(error) => debug!(shared.log, "a TLS handshake failed"; "error" => %error),
            }
            return;
        }
        match direct::serve(stream, access, &shared, &pulse, stopped_a_moment_ago(&mut stop_early)).await {
            Ok(Then::HandOver(stream, read_before)) => {
                let stream = PulsedStream { read_before, stream, pulse: Rc::clone(&pulse) };
                with_library(stream, access, &shared, &sources, &pulse, stop.clone()).await;
            }
            Ok(Then::Close) => {}
            Err(error) => trace!(shared.log, "connection ended early"; "error" => %error),
        }
    };
    tokio::select! {
        () = requests => {}
        () = silence(&pulse, &shared) => {}
    }
}

/// Ends when the connection has been idle for too long.
async fn silence(pulse: &Pulse, shared: &NodeShared) {
    loop {
        tokio::time::sleep_until(pulse.deadline(shared.idle_timeout)).await;
        if pulse.is_idle(shared.idle_timeout) {
            return;
        }
    }
}

async fn with_library<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    stream: PulsedStream<S>,
    access: Access,
    shared: &Arc<NodeShared>,
    sources: &NodeClient,
    pulse: &Rc<Pulse>,
    mut stop: watch::Receiver<bool>,
) {
    let service = service_fn(|request| async {
        let answer = handle(Arc::clone(shared), access, sources.clone(), Rc::clone(pulse), request);
        Ok::<_, Infallible>(Box::pin(answer).await)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .timer(TokioTimer::new())
        // Counted from the answer before: nobody trickles in a head for longer than one may be idle.
        .header_read_timeout(shared.idle_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let mut stopping = false;
    loop {
        tokio::select! {
            result = served.as_mut() => {
                if let Err(error) = result {
                    trace!(shared.log, "connection ended early"; "error" => %error);
                }
                return;
            }
            () = stopped_a_moment_ago(&mut stop), if !stopping => {
                stopping = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

/// A connection without a request is closed at once by a graceful shutdown, also if its first one is on its way.
const REQUEST_ON_ITS_WAY: Duration = Duration::from_millis(300);

async fn stopped_a_moment_ago(stop: &mut watch::Receiver<bool>) {
    stopped(stop).await;
    tokio::time::sleep(REQUEST_ON_ITS_WAY).await;
}

async fn handle(
    shared: Arc<NodeShared>,
    access: Access,
    sources: NodeClient,
    pulse: Rc<Pulse>,
    request: Request<Incoming>,
) -> Answer {
    if access == Access::Signed && signature::is_write(request.method().as_str()) {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let value = text(request.headers(), signature::HEADER);
        if let Some(why) = shared.denies_signature(request.method().as_str(), path, value) {
            return answer::closing(answer::text(StatusCode::FORBIDDEN, why));
        }
    }
    match *request.method() {
        Method::GET | Method::HEAD => read(&shared, &request),
        _ if access == Access::Read => {
            let why = "this address is for reading only, or for all but you (setting node.writes_from)";
            answer::closing(answer::text(StatusCode::METHOD_NOT_ALLOWED, why))
        }
        Method::PUT => upload::upload(&shared, &pulse, request).await,
        Method::DELETE => delete::delete(&shared, request.uri().path()),
        _ if request.method().as_str() == copy_order::METHOD => {
            copy_in::copy_in(&shared, &sources, &pulse, request).await
        }
        _ if request.method().as_str() == "MKCOL" => {
            answer::text(StatusCode::BAD_REQUEST, "directories are created by uploads")
        }
        _ => answer::text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
    }
}

/// A GET or HEAD that did not come plainly, or after something else.
fn read(shared: &NodeShared, request: &Request<Incoming>) -> Answer {
    let headers = request.headers();
    let asked = Asked {
        is_head: *request.method() == Method::HEAD,
        path: request.uri().path(),
        range: text(headers, "range"),
        preconditions: Preconditions {
            if_match: text(headers, "if-match"),
            if_none_match: text(headers, "if-none-match"),
            if_modified_since: text(headers, "if-modified-since"),
            if_unmodified_since: text(headers, "if-unmodified-since"),
            if_range: text(headers, "if-range"),
        },
    };
    let found = fetch::fetch(shared, &asked);
    to_answer(shared, found, asked.is_head).unwrap_or_else(|error| {
        warn!(shared.log, "cannot read"; "path" => request.uri().path(), "error" => %error);
        answer::text(StatusCode::INTERNAL_SERVER_ERROR, "disk error")
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn to_answer(shared: &NodeShared, found: Found, is_head: bool) -> io::Result<Answer> {
    let mut headers = HeaderMap::new();
    found.headers(|name, value| {
        // Names and values of our own making.
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value.to_string()))
        {
            headers.insert(name, value);
        }
    });
    let body = match found.body {
        _ if is_head => NodeBody::Empty,
        FoundBody::Nothing => NodeBody::Empty,
        FoundBody::Text(text) => NodeBody::Full(Some(Bytes::from(text.into_owned()))),
        FoundBody::File { mut file, first, count } => {
            file.seek(SeekFrom::Start(first))?;
            match count {
                0 => NodeBody::Empty,
                1..=INLINE_BYTES if shared.bandwidth_is_free() => NodeBody::Full(Some(read_exactly(&file, count)?)),
                _ => NodeBody::File(FilePieces::new(file, count, shared.pace())),
            }
        }
    };
    let mut answer = answer::with_body(found.status, body);
    answer.headers_mut().extend(headers);
    Ok(answer)
}
