//! The HTTP side: connections and what each method leads to.

use super::answer::{self, Answer};
use super::pulse::{Pulse, PulsedStream};
use super::serve::{accept_until_stopped, stopped};
use super::{NodeShared, copy_in, delete, fetch, upload};
use crate::node_client::{NodeClient, copy_order};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use slog::trace;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Serves HTTP until the node stops.
pub(crate) async fn listen(
    listener: TcpListener,
    shared: Arc<NodeShared>,
    stop: watch::Receiver<bool>,
    finish_limit: watch::Receiver<Duration>,
) {
    let sources = copy_in::sources(&shared);
    let serve = |stream| connection(stream, Arc::clone(&shared), sources.clone(), stop.clone());
    accept_until_stopped(listener, stop.clone(), &finish_limit, &shared.log, serve).await;
}

async fn connection(stream: TcpStream, shared: Arc<NodeShared>, sources: NodeClient, mut stop: watch::Receiver<bool>) {
    let pulse = Pulse::new();
    let service = service_fn(|request| async {
        Ok::<_, Infallible>(Box::pin(handle(Arc::clone(&shared), sources.clone(), Rc::clone(&pulse), request)).await)
    });
    let io = TokioIo::new(PulsedStream { stream, pulse: Rc::clone(&pulse) });
    let served = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .header_read_timeout(None)
        .serve_connection(io, service);
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
            () = tokio::time::sleep_until(pulse.deadline(shared.idle_timeout)) => {
                if pulse.is_idle(shared.idle_timeout) {
                    return;
                }
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

async fn handle(shared: Arc<NodeShared>, sources: NodeClient, pulse: Rc<Pulse>, request: Request<Incoming>) -> Answer {
    match *request.method() {
        Method::GET | Method::HEAD => fetch::fetch(&shared, request.method(), request.uri().path(), request.headers()),
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
