//! `ClientListener`: accepts clients on every listen address, one [`ClientConnection`] each.
//!
//! It and all its connections live on one arbiter; what they share needs no lock.

use super::connection::ClientConnection;
use super::hand_over::Current;
use super::pool::Roster;
use super::query_worker::QueryWorker;
use super::recent::Recent;
use super::supervisor::Supervisor;
use crate::cluster::ClusterView;
use crate::jobs::joint_look_up::LookUpLanes;
use crate::jobs::pace::Pace;
use crate::logging::watch::WatchBus;
use crate::metrics::Metrics;
use crate::settings::LimitSettings;
use crate::store::Store;
use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, ResponseFuture, WrapFuture};
use slog::Logger;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};

/// Clients that wait to be accepted.
const BACKLOG: u32 = 1024;
/// Bytes read from a client at once.
const READ_BYTES: usize = 64 * 1024;
/// Pause after a failed accept, as when the system is out of sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Number of a connection within its listener.
pub type ConnectionId = u64;

/// Binds a listen address (`host:port`, `[::1]:port`).
///
/// # Errors
/// The address cannot be resolved or bound.
pub async fn bind(address: &str) -> io::Result<std::net::TcpListener> {
    let mut last_error = io::Error::new(io::ErrorKind::InvalidInput, "the address names no host");
    for candidate in tokio::net::lookup_host(address).await? {
        match bind_one(candidate) {
            Ok(listener) => return listener.into_std(),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_keepalive(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What a listener and its connections share.
pub struct Shared {
    pub limits: LimitSettings,
    pub workers: Roster<QueryWorker>,
    pub supervisor: Addr<Supervisor>,
    pub metrics: Metrics,
    pub store: Store,
    pub view: ClusterView,
    pub log: Logger,
    pub started: Instant,
    /// True once the tracker stops: connections finish what they have and close.
    pub stopping: watch::Receiver<bool>,
    /// One buffer for all reads: an idle connection holds none.
    pub read_buffer: RefCell<Vec<u8>>,
    /// What each connection is waiting for, for the console.
    pub connections: RefCell<HashMap<ConnectionId, Rc<Current>>>,
    /// How many runs of lines came until now.
    pub arrivals: Cell<u64>,
    /// The last requests that were answered, for the console.
    pub recent: RefCell<Recent>,
    /// The log, for those who watch.
    pub watch_bus: WatchBus,
    pub pace: Pace,
    /// On a database server: how many workers look up at the same time.
    pub look_up_lanes: Option<LookUpLanes>,
}

impl Shared {
    /// A number that is greater than all before.
    pub fn next_arrival(&self) -> u64 {
        self.arrivals.set(self.arrivals.get() + 1);
        self.arrivals.get()
    }
}

/// What a listener is made of; crosses into its arbiter.
pub struct ListenerConfig {
    pub sockets: Vec<std::net::TcpListener>,
    pub limits: LimitSettings,
    pub workers: Roster<QueryWorker>,
    pub supervisor: Addr<Supervisor>,
    pub metrics: Metrics,
    pub store: Store,
    pub view: ClusterView,
    pub log: Logger,
    pub watch_bus: WatchBus,
    pub pace: Pace,
    /// On a database server: how many workers look up at the same time.
    pub look_up_lanes: Option<LookUpLanes>,
}

/// The actor.
pub struct ClientListener {
    sockets: Vec<std::net::TcpListener>,
    shared: Rc<Shared>,
    stopping: watch::Sender<bool>,
    places: Rc<Semaphore>,
    next_id: ConnectionId,
    drained: Vec<oneshot::Sender<()>>,
}

impl ClientListener {
    pub fn new(config: ListenerConfig) -> Self {
        let (stopping, receiver) = watch::channel(false);
        let places = Rc::new(Semaphore::new(config.limits.connections_max));
        let shared = Shared {
            limits: config.limits,
            workers: config.workers,
            supervisor: config.supervisor,
            metrics: config.metrics,
            store: config.store,
            view: config.view,
            log: config.log,
            started: Instant::now(),
            stopping: receiver,
            read_buffer: RefCell::new(vec![0; READ_BYTES]),
            connections: RefCell::default(),
            arrivals: Cell::default(),
            recent: RefCell::default(),
            watch_bus: config.watch_bus,
            pace: config.pace,
            look_up_lanes: config.look_up_lanes,
        };
        Self { sockets: config.sockets, shared: Rc::new(shared), stopping, places, next_id: 1, drained: Vec::new() }
    }

    fn tell_if_drained(&mut self) {
        if *self.stopping.borrow() && self.shared.connections.borrow().is_empty() {
            for waiter in self.drained.drain(..) {
                // A waiter that gave up has passed its deadline already.
                let _gone = waiter.send(());
            }
        }
    }
}

impl Actor for ClientListener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        for socket in std::mem::take(&mut self.sockets) {
            match TcpListener::from_std(socket) {
                Ok(socket) => {
                    let accepting = accept_all(socket, ctx.address(), self.places.clone(), self.shared.clone());
                    ctx.spawn(accepting.into_actor(self));
                }
                Err(error) => slog::crit!(self.shared.log, "cannot listen"; "error" => %error),
            }
        }
    }
}

/// Accepts until the tracker stops. A full house leaves clients in the listen queue.
async fn accept_all(socket: TcpListener, listener: Addr<ClientListener>, places: Rc<Semaphore>, shared: Rc<Shared>) {
    let mut stopping = shared.stopping.clone();
    loop {
        let accepted = tokio::select! {
            accepted = accept_one(&socket, &places) => accepted,
            _ = stopping.wait_for(|&stopping| stopping) => return,
        };
        match accepted {
            Ok((stream, peer)) => listener.do_send(Accepted { stream, peer }),
            Err(error) => {
                slog::warn!(shared.log, "cannot accept a client"; "error" => %error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept_one(socket: &TcpListener, places: &Semaphore) -> io::Result<(TcpStream, SocketAddr)> {
    let place = places.acquire().await.map_err(io::Error::other)?;
    let accepted = socket.accept().await?;
    // Given back when the connection is closed.
    place.forget();
    Ok(accepted)
}

#[derive(Message)]
#[rtype(result = "()")]
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
}

impl Handler<Accepted> for ClientListener {
    type Result = ();

    fn handle(&mut self, Accepted { stream, peer }: Accepted, ctx: &mut Self::Context) {
        let id = self.next_id;
        self.next_id += 1;
        if let Err(error) = stream.set_nodelay(true) {
            slog::debug!(self.shared.log, "cannot switch off delayed sending"; "peer" => %peer, "error" => %error);
        }
        let current = Rc::new(Current::new(peer));
        self.shared.connections.borrow_mut().insert(id, current.clone());
        self.shared.metrics.connections.add(1);
        ClientConnection::new(id, stream, current, self.shared.clone(), ctx.address()).start();
    }
}

/// A connection is closed.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Disconnected(pub ConnectionId);

impl Handler<Disconnected> for ClientListener {
    type Result = ();

    fn handle(&mut self, Disconnected(id): Disconnected, _ctx: &mut Self::Context) {
        if self.shared.connections.borrow_mut().remove(&id).is_some() {
            self.shared.metrics.connections.sub(1);
            self.places.add_permits(1);
        }
        self.tell_if_drained();
    }
}

/// Accept nobody any more; answered when the last client has its replies and is disconnected.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct StopListening;

impl Handler<StopListening> for ClientListener {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: StopListening, _ctx: &mut Self::Context) -> Self::Result {
        let (sender, drained) = oneshot::channel();
        self.drained.push(sender);
        self.stopping.send_replace(true);
        self.tell_if_drained();
        Box::pin(async move {
            // A listener that is dropped has no connections either.
            let _drained = drained.await;
        })
    }
}
