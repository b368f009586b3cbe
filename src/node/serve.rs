//! Accepting connections until the node stops, for all ports, and the threads that serve HTTP.

use super::http::{self, Access};
use super::{NodeShared, copy_in};
use crate::tls::ServerTls;
use actix_rt::Arbiter;
use slog::{Logger, warn};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// How long running requests may take to finish once the node stops.
pub(crate) const FINISH_LIMIT: Duration = Duration::from_secs(3);

/// Pause after a failure to accept that will not go away by itself, as when file descriptors have run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves each connection by a task of its own; once stopped, waits for them for a few seconds.
pub(crate) async fn accept_until_stopped<S, F>(
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
    shared: &NodeShared,
    serve: S,
) where
    S: Fn(TcpStream) -> F,
    F: Future<Output = ()> + 'static,
{
    let next = async || {
        tokio::select! {
            accepted = listener.accept() => Some(accepted.and_then(prepared)),
            () = stopped(&mut stop) => None,
        }
    };
    serve_all(next, shared, serve).await;
}

/// Serves connections until no more come, and waits for the last ones.
async fn serve_all<C, S, F>(mut next: impl AsyncFnMut() -> Option<io::Result<C>>, shared: &NodeShared, serve: S)
where
    S: Fn(C) -> F,
    F: Future<Output = ()> + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = next() => match accepted {
                Some(Ok(connection)) => { connections.spawn_local(serve(connection)); }
                Some(Err(error)) => after_failed_accept(&error, &shared.log).await,
                None => break,
            },
            Some(ended) = connections.join_next() => note_panic(ended, &shared.log),
        }
    }
    drop(next);
    let finished = async { while connections.join_next().await.is_some() {} };
    let limit = *shared.finish_limit.borrow();
    if tokio::time::timeout(limit, finished).await.is_err() {
        warn!(shared.log, "connections cut at stop"; "connections" => connections.len());
    }
}

/// Where connections come in, and what they may ask for there.
pub(crate) struct Door {
    pub listener: TcpListener,
    pub access: Access,
    pub tls: Option<ServerTls>,
}

/// A connection on its way to the thread that serves it.
pub(crate) struct Accepted {
    pub stream: std::net::TcpStream,
    pub access: Access,
    /// To be talked there.
    pub tls: Option<ServerTls>,
    pub counted: Counted,
}

/// Counts as one of the connections of its thread and of the node until it is dropped.
pub(crate) struct Counted {
    of_thread: Arc<AtomicUsize>,
    _of_node: OwnedSemaphorePermit,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.of_thread.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The threads that serve HTTP.
pub(crate) struct HttpThreads {
    threads: Vec<HttpThread>,
    /// One permit for each connection that may be open.
    room: Arc<Semaphore>,
}

struct HttpThread {
    connections: Arc<AtomicUsize>,
    queue: mpsc::UnboundedSender<Accepted>,
    /// Dropped by the thread when its last connection has ended.
    ended: oneshot::Receiver<()>,
}

impl HttpThreads {
    /// Starts so many threads. They end when nobody accepts for them any more.
    pub fn start(count: usize, shared: &Arc<NodeShared>, stop: &watch::Receiver<bool>) -> Self {
        let threads = (0..count).map(|_| HttpThread::start(Arc::clone(shared), stop.clone())).collect();
        Self { threads, room: Arc::new(Semaphore::new(shared.connections_max)) }
    }

    /// Hands each connection to the thread that has the fewest, until the node stops.
    pub fn accept(
        &self,
        Door { listener, access, tls }: Door,
        shared: Arc<NodeShared>,
        mut stop: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + 'static {
        let room = Arc::clone(&self.room);
        let threads: Vec<_> =
            self.threads.iter().map(|thread| (Arc::clone(&thread.connections), thread.queue.clone())).collect();
        async move {
            loop {
                let next = async {
                    // Who finds no room waits in the kernel's queue.
                    let permit = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
                    let stream = prepared(listener.accept().await?)?.into_std()?;
                    Ok((stream, permit))
                };
                let (stream, permit) = tokio::select! {
                    accepted = next => match accepted {
                        Ok(accepted) => accepted,
                        Err(error) => {
                            after_failed_accept(&error, &shared.log).await;
                            continue;
                        }
                    },
                    () = stopped(&mut stop) => return,
                };
                let access = match access {
                    // Somebody who has gone already writes nothing.
                    Access::Full => stream.peer_addr().map_or(Access::Read, |peer| shared.access_from(peer.ip())),
                    other => other,
                };
                let Some((connections, queue)) = threads.iter().min_by_key(|thread| thread.0.load(Ordering::Relaxed))
                else {
                    return;
                };
                connections.fetch_add(1, Ordering::Relaxed);
                let counted = Counted { of_thread: Arc::clone(connections), _of_node: permit };
                if queue.send(Accepted { stream, access, tls: tls.clone(), counted }).is_err() {
                    warn!(shared.log, "a thread of the node is gone");
                }
            }
        }
    }

    /// Waits until all threads have ended.
    pub async fn ended(self) {
        let (queues, ends): (Vec<_>, Vec<_>) =
            self.threads.into_iter().map(|thread| (thread.queue, thread.ended)).unzip();
        drop(queues);
        for ended in ends {
            // An error is what says that it has ended.
            let _ = ended.await;
        }
    }
}

impl HttpThread {
    fn start(shared: Arc<NodeShared>, stop: watch::Receiver<bool>) -> Self {
        let (queue, mut accepted) = mpsc::unbounded_channel();
        let (alive, ended) = oneshot::channel::<()>();
        Arbiter::new().spawn_fn(move || {
            actix_rt::spawn(async move {
                let sources = copy_in::sources(&shared);
                let serve = |accepted| http::connection(accepted, Arc::clone(&shared), sources.clone(), stop.clone());
                // Who was accepted before the stop is served.
                serve_all(async || accepted.recv().await.map(Ok), &shared, serve).await;
                drop(alive);
                Arbiter::current().stop();
            });
        });
        Self { connections: Arc::default(), queue, ended }
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
