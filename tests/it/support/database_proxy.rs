//! A way to a database server that a test can cut: connections die in the middle of whatever they carry.

use super::database::Database;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Passes bytes between trackers and a database server on loopback.
pub struct DatabaseProxy {
    /// The database's URL, through here.
    pub url: String,
    line: Arc<Line>,
}

struct Line {
    server: String,
    is_cut: AtomicBool,
    /// Both ends of every connection.
    open: Mutex<Vec<TcpStream>>,
}

impl DatabaseProxy {
    /// In front of the server of this database, whose URL names host and port.
    pub fn start(database: &Database) -> Self {
        let (before, rest) = database.url.split_once('@').expect("a URL with an account");
        let (server, name) = rest.split_once('/').expect("a URL with a database");
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let url = format!("{before}@{}/{name}", listener.local_addr().expect("bound"));
        let line = Line { server: server.to_owned(), is_cut: AtomicBool::new(false), open: Mutex::default() };
        let line = Arc::new(line);
        let passing = Arc::clone(&line);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                passing.pass(client);
            }
        });
        Self { url, line }
    }

    /// How many connections were made since the last [`Self::kill_connections`].
    pub fn connections(&self) -> usize {
        self.line.open.lock().expect("no panic").len() / 2
    }

    /// Ends all connections; new ones are let through.
    pub fn kill_connections(&self) {
        for stream in self.line.open.lock().expect("no panic").drain(..) {
            // It may be gone already.
            let _gone = stream.shutdown(Shutdown::Both);
        }
    }

    /// The server is away: connections end, and new ones at once.
    pub fn cut(&self) {
        self.line.is_cut.store(true, Ordering::SeqCst);
        self.kill_connections();
    }

    pub fn mend(&self) {
        self.line.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Line {
    fn pass(self: &Arc<Self>, client: TcpStream) {
        let server: SocketAddr = self.server.parse().expect("an address");
        let Ok(server) = TcpStream::connect(server) else { return };
        let mut open = self.open.lock().expect("no panic");
        if self.is_cut.load(Ordering::SeqCst) {
            return;
        }
        for (mut from, mut to) in [(clone(&client), clone(&server)), (clone(&server), clone(&client))] {
            std::thread::spawn(move || {
                // An end of one direction is the end of both.
                let _broken = std::io::copy(&mut from, &mut to);
                let _gone = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            });
        }
        open.extend([client, server]);
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.set_nodelay(true).expect("socket option");
    stream.try_clone().expect("clone")
}
