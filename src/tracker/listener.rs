//! `ClientListener`: accepts clients on every listen address, one [`ClientConnection`] each.
//!
//! It and all its connections live on one arbiter; what they share needs no lock.

use super::connection::{Before, ClientConnection};
use super::hand_over::Current;
use super::permissions::Permissions;
use super::pool::Roster;
use super::query_worker::QueryWorker;
use super::recent::{Answered, Recent};
use super::slowest::Slowest;
use super::supervisor::Supervisor;
use crate::cluster::ClusterView;
use crate::jobs::joint_look_up::LookUpLanes;
use crate::jobs::pace::Pace;
use crate::logging::watch::WatchBus;
use crate::metrics::Metrics;
use crate::protocol::request::Request;
use crate::service::hand_over::PassedClient;
use crate::settings::LimitSettings;
use crate::store::Store;
use crate::tls::ServerTls;
use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, ResponseFuture, WrapFuture};
use slog::Logger;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Bytes read from a client at once.
const READ_BYTES: usize = 64 * 1024;
/// Pause after a failed accept, as when the system is out of sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Number of a connection within its listener.
pub type ConnectionId = u64;

/// Whether the tracker goes on with its clients.
#[derive(Clone, Debug)]
pub enum Course {
    Serve,
    /// Connections finish what they have and close.
    Stop,
    /// Connections finish what they have and go to the successor by this way.
    HandOver(mpsc::UnboundedSender<PassedClient>),
}

impl Course {
    pub fn ends(&self) -> bool {
        !matches!(self, Self::Serve)
    }
}

/// What a listener and its connections share.
pub struct Shared {
    /// Who may do what. Can change at any time.
    pub permissions: RefCell<Rc<Permissions>>,
    /// Can change at any time.
    pub limits: RefCell<Rc<LimitSettings>>,
    pub workers: Roster<QueryWorker>,
    pub supervisor: Addr<Supervisor>,
    pub metrics: Metrics,
    pub store: Store,
    pub view: ClusterView,
    pub log: Logger,
    pub started: Instant,
    pub course: watch::Receiver<Course>,
    /// Accepted clients that have no connection yet.
    pub coming: Cell<usize>,
    /// Clients that a predecessor gave, beyond the number of places.
    standing: Cell<usize>,
    /// One buffer for all reads: an idle connection holds none.
    pub read_buffer: RefCell<Vec<u8>>,
    /// What each connection is waiting for, for the console.
    pub connections: RefCell<HashMap<ConnectionId, Rc<Current>>>,
    /// How many runs of lines came until now.
    pub arrivals: Cell<u64>,
    /// The last requests that were answered, for the console.
    pub recent: RefCell<Recent>,
    /// The slowest requests of the last minutes.
    pub slowest: RefCell<Slowest>,
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

    /// Remembers requests whose replies, these lines, were delivered.
    pub fn note_answered(&self, replies: &[u8], answered: Answered) {
        let replies = replies.split_inclusive(|&byte| byte == b'\n');
        let answers = answered.lines.iter_from(answered.from).zip(&answered.times_us).zip(replies);
        for ((line, &time_us), reply) in answers {
            self.metrics.requests.add(Request::name_of(line), reply, time_us);
        }
        self.slowest.borrow_mut().add(&answered, Instant::now());
        self.recent.borrow_mut().add(answered);
    }

    pub fn limits(&self) -> Rc<LimitSettings> {
        self.limits.borrow().clone()
    }
}

/// A listen socket, and whether TLS is talked there.
#[derive(Debug)]
pub struct ClientSocket {
    pub socket: std::net::TcpListener,
    pub tls: Option<ServerTls>,
}

impl From<std::net::TcpListener> for ClientSocket {
    fn from(socket: std::net::TcpListener) -> Self {
        Self { socket, tls: None }
    }
}

/// What a listener is made of; crosses into its arbiter.
pub struct ListenerConfig {
    pub sockets: Vec<ClientSocket>,
    pub permissions: Permissions,
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
    sockets: Vec<ClientSocket>,
    shared: Rc<Shared>,
    course: watch::Sender<Course>,
    places: Rc<Semaphore>,
    next_id: ConnectionId,
    drained: Vec<oneshot::Sender<()>>,
}

impl ClientListener {
    pub fn new(config: ListenerConfig) -> Self {
        let (course, receiver) = watch::channel(Course::Serve);
        let places = Rc::new(Semaphore::new(config.limits.connections_max));
        let shared = Shared {
            permissions: RefCell::new(Rc::new(config.permissions)),
            limits: RefCell::new(Rc::new(config.limits)),
            workers: config.workers,
            supervisor: config.supervisor,
            metrics: config.metrics,
            store: config.store,
            view: config.view,
            log: config.log,
            started: Instant::now(),
            course: receiver,
            coming: Cell::default(),
            standing: Cell::default(),
            read_buffer: RefCell::new(vec![0; READ_BYTES]),
            connections: RefCell::default(),
            arrivals: Cell::default(),
            recent: RefCell::default(),
            slowest: RefCell::default(),
            watch_bus: config.watch_bus,
            pace: config.pace,
            look_up_lanes: config.look_up_lanes,
        };
        Self { sockets: config.sockets, shared: Rc::new(shared), course, places, next_id: 1, drained: Vec::new() }
    }

    /// What the connections share.
    pub fn shared(&self) -> Rc<Shared> {
        self.shared.clone()
    }

    /// A client is gone.
    fn give_place_back(&self) {
        match self.shared.standing.get() {
            0 => self.places.add_permits(1),
            standing => self.shared.standing.set(standing - 1),
        }
    }

    fn tell_if_drained(&mut self) {
        let is_empty = self.shared.coming.get() == 0 && self.shared.connections.borrow().is_empty();
        if self.course.borrow().ends() && is_empty {
            for waiter in self.drained.drain(..) {
                // A waiter that gave up has passed its deadline already.
                let _gone = waiter.send(());
            }
        }
    }
}

impl Actor for ClientListener {
    type Context = Context<Self>;
}

/// Begin to accept clients.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct BeginAccepting;

impl Handler<BeginAccepting> for ClientListener {
    type Result = ();

    fn handle(&mut self, _: BeginAccepting, ctx: &mut Self::Context) {
        if self.course.borrow().ends() {
            return;
        }
        for ClientSocket { socket, tls } in std::mem::take(&mut self.sockets) {
            match TcpListener::from_std(socket) {
                Ok(socket) => {
                    let accepting = accept_all(socket, tls, ctx.address(), self.places.clone(), self.shared.clone());
                    ctx.spawn(accepting.into_actor(self));
                }
                Err(error) => slog::crit!(self.shared.log, "cannot listen"; "error" => %error),
            }
        }
    }
}

/// Accepts until the tracker stops. A full house leaves clients in the listen queue.
async fn accept_all(
    socket: TcpListener,
    tls: Option<ServerTls>,
    listener: Addr<ClientListener>,
    places: Rc<Semaphore>,
    shared: Rc<Shared>,
) {
    let mut course = shared.course.clone();
    loop {
        let accepted = tokio::select! {
            accepted = accept_one(&socket, &places) => accepted,
            _ = course.wait_for(Course::ends) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                shared.coming.set(shared.coming.get() + 1);
                listener.do_send(Accepted { stream, peer, tls: tls.clone() });
            }
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
    tls: Option<ServerTls>,
}

impl Handler<Accepted> for ClientListener {
    type Result = ();

    fn handle(&mut self, Accepted { stream, peer, tls }: Accepted, ctx: &mut Self::Context) {
        self.shared.coming.set(self.shared.coming.get().saturating_sub(1));
        if self.has_too_many_from(peer) {
            self.turn_away(peer, "limits.connections_per_address_max");
            return;
        }
        self.welcome(Coming { stream, peer, tls, before: Before::default() }, ctx);
    }
}

/// A client that has no connection yet.
struct Coming {
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<ServerTls>,
    before: Before,
}

impl ClientListener {
    /// Clients that a predecessor gives are not counted out: they were let in.
    fn has_too_many_from(&self, peer: SocketAddr) -> bool {
        let most = self.shared.limits.borrow().connections_per_address_max;
        let address = peer.ip().to_canonical();
        most > 0 && {
            let connections = self.shared.connections.borrow();
            connections.values().filter(|current| current.peer.ip().to_canonical() == address).count() >= most
        }
    }

    /// The stream is closed by whoever drops it; its place is free again.
    fn turn_away(&mut self, peer: SocketAddr, setting: &str) {
        self.shared.metrics.clients_refused.add(1);
        slog::debug!(self.shared.log, "a client was turned away"; "peer" => %peer, "setting" => setting);
        self.give_place_back();
        self.tell_if_drained();
    }

    fn welcome(&mut self, Coming { stream, peer, tls, before }: Coming, ctx: &mut Context<Self>) {
        if !self.shared.permissions.borrow().may_connect(peer.ip()) {
            self.turn_away(peer, "security.clients_from");
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        if let Err(error) = stream.set_nodelay(true) {
            slog::debug!(self.shared.log, "cannot switch off delayed sending"; "peer" => %peer, "error" => %error);
        }
        let current = Rc::new(Current::new(peer));
        self.shared.connections.borrow_mut().insert(id, current.clone());
        self.shared.metrics.connections.add(1);
        ClientConnection::new(id, stream, tls, before, current, self.shared.clone(), ctx.address()).start();
    }
}

/// A client that a predecessor gives.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Adopt(pub PassedClient);

impl Handler<Adopt> for ClientListener {
    type Result = ();

    fn handle(&mut self, Adopt(PassedClient { stream, unread, token }): Adopt, ctx: &mut Self::Context) {
        let peer = stream.peer_addr();
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        match (stream, peer) {
            (Ok(stream), Ok(peer)) => {
                // There were places for all in the predecessor, but others may have come first.
                if self.places.forget_permits(1) == 0 {
                    self.shared.standing.set(self.shared.standing.get() + 1);
                }
                self.welcome(Coming { stream, peer, tls: None, before: Before { unread, token } }, ctx);
            }
            // It has gone meanwhile.
            (Err(error), _) | (_, Err(error)) => {
                slog::debug!(self.shared.log, "a client of the predecessor is gone"; "error" => %error);
            }
        }
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
            self.give_place_back();
        }
        self.tell_if_drained();
    }
}

/// Accept nobody any more; answered when the last client has its replies and is disconnected or handed over.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct StopListening(pub Course);

impl Handler<StopListening> for ClientListener {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, StopListening(course): StopListening, _ctx: &mut Self::Context) -> Self::Result {
        let (sender, drained) = oneshot::channel();
        self.drained.push(sender);
        self.sockets.clear();
        self.course.send_replace(course);
        self.tell_if_drained();
        Box::pin(async move {
            // A listener that is dropped has no connections either.
            let _drained = drained.await;
        })
    }
}

/// From now on these limits, for what begins now; the number of places stays.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct SetLimits(pub LimitSettings);

impl Handler<SetLimits> for ClientListener {
    type Result = ();

    fn handle(&mut self, SetLimits(limits): SetLimits, _ctx: &mut Self::Context) {
        *self.shared.limits.borrow_mut() = Rc::new(limits);
    }
}

/// From now on these rules, also for the next request of clients that there are.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct SetPermissions(pub Permissions);

impl Handler<SetPermissions> for ClientListener {
    type Result = ();

    fn handle(&mut self, SetPermissions(permissions): SetPermissions, _ctx: &mut Self::Context) {
        *self.shared.permissions.borrow_mut() = Rc::new(permissions);
    }
}
