//! A worker's client: which server a key belongs to, what is asked, and the courier that brings what is owed.

use super::connection::{self, Exchange, Patience};
use super::server::{Server, Servers};
use super::wire::{self, Answer, Expected, Mode, WireKey};
use crate::settings::MemcachedSettings;
use futures::future::join_all;
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

/// A value that is to be served no more is covered by this one.
const MARKER: &[u8] = b"-";
/// So long. A reader that saw the database before the change may try to store what it saw; it must have given up when the
/// marker is gone.
pub const MARKER_SECS: u32 = 20;
/// A change that was given up in the middle may still come true; its keys are covered for so long.
const DOUBT: Duration = Duration::from_secs(30);
/// Longest that an entry lives, whatever it was given.
const LIFETIME_MAX: Duration = Duration::from_secs(wire::LIFETIME_SECS_MAX as u64);

/// Why there is no answer; for readers it is a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Not asked: the server failed a while ago, or holds something for this key that is to be covered.
    Paused,
    /// Asked in vain.
    Failed,
}

/// What a server has under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// Something was there that is not to be served; the token allows to replace it.
    Marker(u64),
    Value {
        bytes: Vec<u8>,
        token: u64,
    },
}

impl Found {
    /// How a value read afterwards may be stored: only if nothing has changed here since.
    pub fn fill_mode(&self) -> Mode {
        match self {
            Self::Nothing => Mode::Add,
            Self::Marker(token) | Self::Value { token, .. } => Mode::Swap(*token),
        }
    }
}

/// A worker's connections to the servers of one configuration. Lives in its worker's thread.
pub struct Client {
    links: Vec<Link>,
    patience: Patience,
    courier: Notify,
}

struct Link {
    server: Arc<Server>,
    /// The connection, once there was one.
    exchanges: RefCell<Option<mpsc::UnboundedSender<Exchange>>>,
}

impl Client {
    /// A client of these servers, of which there is at least one; connects when needed. To be called within a `LocalSet`.
    pub fn start(servers: &Servers, addresses: &[String], settings: &MemcachedSettings) -> Rc<Self> {
        let link = |address: &String| Link { server: servers.get(address), exchanges: RefCell::default() };
        let client = Rc::new(Self {
            links: addresses.iter().map(link).collect(),
            patience: Patience {
                connect: Duration::from_millis(settings.connect_timeout_ms),
                reply: Duration::from_millis(settings.reply_timeout_ms),
            },
            courier: Notify::new(),
        });
        for place in 0..client.links.len() {
            tokio::task::spawn_local(deliver_owed(Rc::downgrade(&client), place));
        }
        client
    }

    /// What is stored under a key.
    ///
    /// # Errors
    /// There is no answer. Nothing may be stored then either.
    pub async fn get(&self, key: &WireKey) -> Result<Found, Unavailable> {
        let link = self.link(key);
        if link.server.is_owed(key) || !link.server.may_be_asked() {
            return Err(Unavailable::Paused);
        }
        let mut bytes = Vec::with_capacity(64);
        wire::put_get(key, &mut bytes);
        match self.submit(link, bytes, Expected::Value(*key)).await {
            // A change was made known while the answer was on its way.
            Ok(_) if link.server.is_owed(key) => Err(Unavailable::Paused),
            Ok(Answer::Value { bytes, token }) if bytes == MARKER => Ok(Found::Marker(token)),
            Ok(Answer::Value { bytes, token }) => Ok(Found::Value { bytes, token }),
            Ok(_) => Ok(Found::Nothing),
            Err(_gone) => Err(Unavailable::Failed),
        }
    }

    /// Offers a value; nobody waits for what becomes of it.
    pub fn offer(&self, mode: Mode, key: &WireKey, value: &[u8], lifetime_secs: u32) {
        let link = self.link(key);
        if value.len() > wire::VALUE_BYTES_MAX || link.server.is_owed(key) || !link.server.may_be_asked() {
            return;
        }
        let mut bytes = Vec::with_capacity(96 + value.len());
        wire::put_store(mode, key, value, lifetime_secs, &mut bytes);
        drop(self.submit(link, bytes, Expected::Verdict));
    }

    /// Covers what is stored under these keys. Afterwards nobody reads it: it is covered, or, where the server cannot be
    /// reached, this tracker does not look there until it could be.
    pub async fn forget(&self, keys: &[WireKey]) {
        let owed: Vec<_> = keys.iter().map(|key| (*key, self.link(key).server.owe(*key, Duration::ZERO))).collect();
        if !self.cover(&owed).await {
            self.courier.notify_waiters();
        }
    }

    /// The same for a change that was given up but may still come true: covers these keys for a while.
    pub fn distrust(&self, keys: &[WireKey]) {
        for key in keys {
            self.link(key).server.owe(*key, DOUBT);
        }
        self.courier.notify_waiters();
    }

    /// Covers these keys; true if all of them are.
    async fn cover(&self, owed: &[(WireKey, u64)]) -> bool {
        let all = join_all(owed.iter().map(|(key, wish)| async move {
            let link = self.link(key);
            if !link.server.may_be_asked() {
                return false;
            }
            let mut bytes = Vec::with_capacity(96);
            wire::put_store(Mode::Set, key, MARKER, MARKER_SECS, &mut bytes);
            let is_covered = self.submit(link, bytes, Expected::Verdict).await == Ok(Answer::Stored);
            if is_covered {
                link.server.paid(key, *wish);
            }
            is_covered
        }));
        all.await.into_iter().all(|is_covered| is_covered)
    }

    /// A key belongs to one server, also while that one is away: entries on another could not be found to be covered.
    fn link(&self, key: &WireKey) -> &Link {
        &self.links[key.place(self.links.len())]
    }

    /// Hands a question to the connection, a new one if there is none.
    fn submit(&self, link: &Link, bytes: Vec<u8>, expected: Expected) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        let mut exchange = Exchange { bytes, expected, answer };
        let mut exchanges = link.exchanges.borrow_mut();
        if let Some(open) = exchanges.as_ref() {
            match open.send(exchange) {
                Ok(()) => return receiver,
                Err(closed) => exchange = closed.0,
            }
        }
        let opened = exchanges.insert(connection::open(link.server.clone(), self.patience));
        // Its task has not run yet, so it listens.
        let _listening = opened.send(exchange);
        receiver
    }
}

/// The courier of one server: tries again, after each pause, to cover what is owed to it. Ends with its client.
async fn deliver_owed(client: Weak<Client>, place: usize) {
    /// Looked at without being called, because a worker that could have called may have died.
    const ROUND: Duration = Duration::from_secs(10);
    loop {
        let Some(pause) = client.upgrade().map(|client| client.links[place].server.pause()) else { return };
        let called = async {
            match client.upgrade() {
                Some(client) => client.courier.notified().await,
                None => std::future::ready(()).await,
            }
        };
        let _called = tokio::time::timeout(ROUND, called).await;
        while let Some(client) = client.upgrade() {
            let server = client.links[place].server.clone();
            let owed = server.some_owed(LIFETIME_MAX);
            if owed.is_empty() {
                break;
            }
            let before = server.owed_count();
            client.cover(&owed).await;
            drop(client);
            if server.owed_count() >= before {
                tokio::time::sleep(pause).await;
            }
        }
    }
}
