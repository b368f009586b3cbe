//! Listen sockets: taken over from a predecessor, given by systemd (socket activation), or opened.

use listenfd::ListenFd;
use rustix::net::sockopt;
use slog::{Logger, info};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpSocket;

/// Clients that wait to be accepted.
const BACKLOG: u32 = 1024;
/// What systemd calls sockets whose unit gives them no name.
const NAMELESS: &str = "unknown";

/// A socket and what it is for: `tracker`, or with the address as the settings have it, `tracker=0.0.0.0:7001`.
#[derive(Debug)]
pub struct NamedSocket {
    pub name: String,
    pub listener: TcpListener,
}

impl NamedSocket {
    fn port(&self) -> Option<u16> {
        self.listener.local_addr().ok().map(|address| address.port())
    }
}

/// Sockets that this process got at its start, and those that it has opened: a successor will get them.
/// Clones are one.
#[derive(Clone, Debug, Default)]
pub struct ListenSockets {
    inherited: Arc<Mutex<Vec<NamedSocket>>>,
    opened: Arc<Mutex<Vec<NamedSocket>>>,
}

impl ListenSockets {
    /// With sockets from a predecessor.
    pub fn taken_over(sockets: Vec<NamedSocket>) -> Self {
        Self { inherited: Arc::new(Mutex::new(sockets)), opened: Arc::default() }
    }

    /// With those of systemd, if it started this process for them.
    pub fn of_process() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut given = ListenFd::from_env();
        let mut sockets = Vec::new();
        for at in 0..given.len() {
            // What is no TCP socket is none of ours.
            if let Ok(Some(listener)) = given.take_tcp_listener(at) {
                let name = names.split(':').nth(at).filter(|name| !name.is_empty()).unwrap_or(NAMELESS);
                sockets.push(NamedSocket { name: name.to_owned(), listener });
            }
        }
        Self::taken_over(sockets)
    }

    /// Sockets for this purpose without an address: where there are any, those of the settings are not opened.
    pub fn given_for(&self, purpose: &str, log: &Logger) -> io::Result<Vec<TcpListener>> {
        let fits = |socket: &NamedSocket| {
            socket.name == purpose || socket.name == NAMELESS || socket.name.ends_with(".socket")
        };
        let sockets: Vec<_> = locked(&self.inherited).extract_if(.., |socket| fits(socket)).collect();
        sockets.into_iter().map(|socket| self.keep(purpose.to_owned(), socket.listener, "given", log)).collect()
    }

    /// The socket of this address: inherited if there is one for it, else opened.
    ///
    /// # Errors
    /// The address cannot be resolved or bound.
    pub async fn open(&self, purpose: &str, address: &str, log: &Logger) -> io::Result<TcpListener> {
        let name = format!("{purpose}={address}");
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let inherited = {
            let mut inherited = locked(&self.inherited);
            let same_name = inherited.iter().position(|socket| socket.name == name);
            let given = || inherited.iter().position(|socket| socket.name == purpose);
            let same_port = || {
                let fits = |socket: &NamedSocket| !socket.name.contains('=') && socket.port() == port;
                inherited.iter().position(fits)
            };
            let at = same_name.or_else(given).or_else(same_port);
            at.map(|at| inherited.swap_remove(at))
        };
        match inherited {
            Some(socket) => self.keep(socket.name, socket.listener, "inherited", log),
            None => self.keep(name, bind(address).await?, "opened", log),
        }
    }

    fn keep(&self, name: String, listener: TcpListener, from: &str, log: &Logger) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        info!(log, "listen socket"; "for" => name.split('=').next(), "address" => %address, "socket" => from);
        locked(&self.opened).push(NamedSocket { name, listener: listener.try_clone()? });
        Ok(listener)
    }

    /// Copies of what is open, for a successor.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn for_successor(&self) -> io::Result<Vec<NamedSocket>> {
        let copy = |socket: &NamedSocket| {
            Ok(NamedSocket { name: socket.name.clone(), listener: socket.listener.try_clone()? })
        };
        locked(&self.opened).iter().map(copy).collect()
    }

    /// Closes inherited sockets that nobody wanted, and says so.
    pub fn close_unused(&self, log: &Logger) {
        for socket in locked(&self.inherited).drain(..) {
            let address = socket.listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
            info!(log, "inherited socket is not used"; "name" => socket.name, "address" => address);
        }
    }

    /// Lets go of all, so that nobody can connect any more once their users have closed theirs.
    pub fn close(&self) {
        locked(&self.opened).clear();
        locked(&self.inherited).clear();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Binds a listen address (`host:port`, `[::1]:port`).
///
/// # Errors
/// The address cannot be resolved or bound.
pub async fn bind(address: &str) -> io::Result<TcpListener> {
    let mut last_error = io::Error::new(io::ErrorKind::InvalidInput, "the address names no host");
    for candidate in tokio::net::lookup_host(address).await? {
        match bind_one(candidate) {
            Ok(listener) => return Ok(listener),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_keepalive(true)?;
    // Accepted connections inherit it.
    socket.set_nodelay(true)?;
    if address.is_ipv6() {
        // So that 0.0.0.0 and [::] can both be given.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discard() -> Logger {
        Logger::root(slog::Discard, slog::o!())
    }

    #[tokio::test]
    async fn both_families_can_have_the_same_port() {
        let Ok(v6) = bind("[::]:0").await else { return };
        let port = v6.local_addr().expect("bound").port();
        bind(&format!("0.0.0.0:{port}")).await.expect("the other family");
        assert!(bind(&format!("[::]:{port}")).await.is_err());
        bind("localhost:0").await.expect("names are resolved");
    }

    #[tokio::test]
    async fn inherited_sockets_are_found_by_name_then_by_port() {
        let named = |name: &str, listener: TcpListener| NamedSocket { name: name.to_owned(), listener };
        let mut ports = Vec::new();
        let mut sockets = Vec::new();
        for name in ["http=0.0.0.0:0", "side_channel", "x.socket", "web=1"] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
            ports.push(listener.local_addr().expect("bound").port());
            sockets.push(named(name, listener));
        }
        let sockets = ListenSockets::taken_over(sockets);
        let log = discard();
        let open = async |purpose: &str, address: &str| {
            let opened = sockets.open(purpose, address, &log).await.expect("opened");
            opened.local_addr().expect("bound").port()
        };
        assert_eq!(open("http", "0.0.0.0:0").await, ports[0]);
        assert_eq!(open("side_channel", "127.0.0.1:0").await, ports[1]);
        assert_eq!(open("get", &format!("127.0.0.1:{}", ports[2])).await, ports[2]);
        assert!(!ports.contains(&open("http", "127.0.0.1:0").await));
        let names: Vec<_> = sockets.for_successor().expect("copies").into_iter().map(|socket| socket.name).collect();
        assert_eq!(names, ["http=0.0.0.0:0", "side_channel", "x.socket", "http=127.0.0.1:0"]);
    }

    #[test]
    fn sockets_without_an_address_serve_one_purpose() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("bound");
        let sockets = ListenSockets::taken_over(vec![NamedSocket {
            name: "mogilefs-tracker.socket".to_owned(),
            listener: socket,
        }]);
        assert_eq!(sockets.given_for("tracker", &discard()).expect("given").len(), 1);
        assert_eq!(sockets.given_for("tracker", &discard()).expect("given").len(), 0);
        assert_eq!(sockets.for_successor().expect("copies")[0].name, "tracker");
    }
}
