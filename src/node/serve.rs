//! Accepting connections until the node stops, for both ports.

use slog::{Logger, warn};
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long running requests may take to finish once the node stops.
pub(crate) const FINISH_LIMIT: Duration = Duration::from_secs(3);

/// Pause after a failure to accept that will not go away by itself, as when file descriptors have run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves each connection by a task of its own; once stopped, waits for them for a few seconds.
pub(crate) async fn accept_until_stopped<S, F>(
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
    finish_limit: &watch::Receiver<Duration>,
    log: &Logger,
    serve: S,
) where
    S: Fn(TcpStream) -> F,
    F: Future<Output = ()> + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted.and_then(prepared) {
                Ok(stream) => { connections.spawn_local(serve(stream)); }
                Err(error) => after_failed_accept(&error, log).await,
            },
            Some(ended) = connections.join_next() => note_panic(ended, log),
            () = stopped(&mut stop) => break,
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    let limit = *finish_limit.borrow();
    if tokio::time::timeout(limit, finished).await.is_err() {
        warn!(log, "connections cut at stop"; "connections" => connections.len());
    }
}

/// Ends when the node is to stop, or its handle is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the handle was dropped: a stop as well.
    let _ = stop.wait_for(|&stop| stop).await;
}

/// Answers go out at once, not when the client has acknowledged the piece before.
fn prepared((stream, _peer): (TcpStream, std::net::SocketAddr)) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn after_failed_accept(error: &io::Error, log: &Logger) {
    let client_gone = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::InvalidInput
    );
    if !client_gone {
        warn!(log, "cannot accept a connection"; "error" => %error);
        tokio::time::sleep(ACCEPT_RETRY).await;
    }
}

fn note_panic(ended: Result<(), tokio::task::JoinError>, log: &Logger) {
    if let Err(error) = ended {
        warn!(log, "connection ended by a defect"; "error" => %error);
    }
}
