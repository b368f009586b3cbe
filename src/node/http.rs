//! The HTTP side of the node: accepts connections, tells methods apart, answers.

use super::Node;
use super::download;
use super::paths::{self, Refused};
use super::upload::{self, UploadError};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;
pub(super) type Answer = Response<Body>;

/// Pause after a failed accept, as when the system is out of sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Connections that are open, and word when the last one closes.
#[derive(Default)]
struct Open {
    count: Cell<usize>,
    changed: Notify,
}

/// Serves until the node stops, then waits for the requests under way.
pub async fn serve(node: Rc<Node>, socket: TcpListener) {
    let open = Rc::new(Open::default());
    let mut stopping = node.stopping.clone();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = stopping.wait_for(|&stopping| stopping) => break,
        };
        match accepted {
            Ok((stream, _peer)) => {
                let (node, open) = (node.clone(), open.clone());
                open.count.set(open.count.get() + 1);
                actix_rt::spawn(async move {
                    serve_connection(node, stream).await;
                    open.count.set(open.count.get() - 1);
                    open.changed.notify_one();
                });
            }
            Err(error) => {
                slog::warn!(node.log, "cannot accept a connection"; "error" => %error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(socket);
    while open.count.get() > 0 {
        open.changed.notified().await;
    }
}

async fn serve_connection(node: Rc<Node>, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        slog::debug!(node.log, "cannot switch off delayed sending"; "error" => %error);
    }
    let mut stopping = node.stopping.clone();
    let service = {
        let node = node.clone();
        service_fn(move |request| {
            let node = node.clone();
            async move { Ok::<_, Infallible>(answer(&node, request).await) }
        })
    };
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // Also ends connections that idle between requests.
        .header_read_timeout(node.idle_timeout)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        _ = stopping.wait_for(|&stopping| stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        slog::debug!(node.log, "connection ended"; "error" => %error);
    }
}

async fn answer(node: &Rc<Node>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    match *request.method() {
        Method::GET | Method::HEAD if path == "/" => text(StatusCode::OK, "MogileFS storage node\n"),
        Method::GET | Method::HEAD => match paths::readable(&node.docroot, &path) {
            Ok(file) => download::answer(&request, &file).await,
            Err(refused) => refusal(refused),
        },
        Method::PUT => put(node, request, &path).await,
        Method::DELETE => match paths::writable(&node.docroot, &path) {
            Ok(file) => delete(&file),
            Err(refused) => refusal(refused),
        },
        // Trackers take 400 for "this node makes its directories by itself".
        ref method if method.as_str() == "MKCOL" => text(StatusCode::BAD_REQUEST, "directories are made on PUT\n"),
        _ => {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            answer.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD, PUT, DELETE"));
            answer
        }
    }
}

async fn put(node: &Rc<Node>, request: Request<Incoming>, path: &str) -> Answer {
    if request.headers().contains_key(CONTENT_RANGE) {
        return text(StatusCode::BAD_REQUEST, "a part of a file cannot be written\n");
    }
    let file = match paths::writable(&node.docroot, path) {
        Ok(file) => file,
        Err(refused) => return refusal(refused),
    };
    match upload::store(request, &file, node.sync, node.idle_timeout).await {
        Ok(()) => empty(StatusCode::CREATED),
        Err(error) => {
            log_failed_upload(node, path, &error);
            text(upload_status(&error), &format!("{error}\n"))
        }
    }
}

/// What the client did wrong is its own affair (trackers send a wrong Content-MD5 on purpose); what the disk did is ours.
fn log_failed_upload(node: &Node, path: &str, error: &UploadError) {
    match error {
        UploadError::Io(_) => slog::warn!(node.log, "upload failed"; "path" => path, "error" => %error),
        _ => slog::debug!(node.log, "upload refused"; "path" => path, "error" => %error),
    }
}

fn upload_status(error: &UploadError) -> StatusCode {
    match error {
        UploadError::Md5Malformed | UploadError::Md5Differs | UploadError::Body(_) => StatusCode::BAD_REQUEST,
        UploadError::Stalled => StatusCode::REQUEST_TIMEOUT,
        UploadError::Io(error) if error.kind() == io::ErrorKind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        UploadError::Io(error) if error.kind() == io::ErrorKind::QuotaExceeded => StatusCode::INSUFFICIENT_STORAGE,
        UploadError::Io(error) if error.kind() == io::ErrorKind::IsADirectory => StatusCode::BAD_REQUEST,
        UploadError::Io(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn delete(file: &std::path::Path) -> Answer {
    match std::fs::symlink_metadata(file) {
        Ok(metadata) if metadata.is_dir() => text(StatusCode::BAD_REQUEST, "directories are not deleted\n"),
        Ok(_) => match std::fs::remove_file(file) {
            Ok(()) => empty(StatusCode::NO_CONTENT),
            Err(error) => io_answer(&error),
        },
        Err(error) => io_answer(&error),
    }
}

fn refusal(refused: Refused) -> Answer {
    match refused {
        Refused::Malformed => text(StatusCode::BAD_REQUEST, "not a path of this node\n"),
        Refused::NoDevice => text(StatusCode::NOT_FOUND, "no such device on this node\n"),
    }
}

/// What an error of the file system is on the wire.
pub(super) fn io_answer(error: &io::Error) -> Answer {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => text(StatusCode::NOT_FOUND, "not found\n"),
        io::ErrorKind::PermissionDenied => text(StatusCode::FORBIDDEN, "permission denied\n"),
        _ => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(full(Bytes::new()));
    *answer.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        answer.headers_mut().insert(CONTENT_LENGTH, hyper::header::HeaderValue::from(0));
    }
    answer
}

pub(super) fn text(status: StatusCode, text: &str) -> Answer {
    let mut answer = Response::new(full(Bytes::copy_from_slice(text.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain"));
    answer
}

pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
