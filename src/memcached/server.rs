//! What all workers know of one server: whether it may be asked now, and what could not be brought to it yet.

use super::wire::WireKey;
use slog::Logger;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// More keys than these are not remembered for one server. While it is away so long, entries that should have been
/// covered may outlive the outage by their lifetime at most.
const OWED_MAX: usize = 100_000;

/// Every server that was ever configured, shared by the workers of a tracker.
#[derive(Clone)]
pub struct Servers {
    known: Arc<Mutex<HashMap<String, Arc<Server>>>>,
    pause: Duration,
    log: Logger,
}

impl Servers {
    /// A server that fails is left alone for `pause`.
    pub fn new(pause: Duration, log: Logger) -> Self {
        Self { known: Arc::default(), pause, log }
    }

    pub(super) fn get(&self, address: &str) -> Arc<Server> {
        let mut known = lock(&self.known);
        let new = || Arc::new(Server::new(address.to_owned(), self.pause, self.log.clone()));
        known.entry(address.to_owned()).or_insert_with(new).clone()
    }
}

/// The usable entries of `host:port,host:port`. Those that do not end in a port are ignored.
pub fn parse_addresses(list: &str) -> Vec<String> {
    let is_usable = |entry: &&str| {
        entry.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        })
    };
    list.split(',').map(str::trim).filter(is_usable).map(str::to_owned).collect()
}

/// One server.
pub(super) struct Server {
    pub(super) address: String,
    pause: Duration,
    log: Logger,
    begun: Instant,
    /// Not to be asked until then (milliseconds since `begun`); 0 while it is well.
    silent_until_ms: AtomicU64,
    /// When it last failed.
    failed_at_ms: AtomicU64,
    /// The outage was logged.
    is_down: AtomicBool,
    /// Keys to be covered that the server has not confirmed.
    owed: Mutex<HashMap<WireKey, Owed>>,
    /// Their number, for a quick look.
    owed_count: AtomicUsize,
    wishes: AtomicU64,
}

/// The latest wish to have a key covered.
struct Owed {
    wish: u64,
    since: Instant,
    /// Covering it earlier is not enough.
    until: Instant,
}

impl Server {
    fn new(address: String, pause: Duration, log: Logger) -> Self {
        Self {
            address,
            pause,
            log,
            begun: Instant::now(),
            silent_until_ms: AtomicU64::new(0),
            failed_at_ms: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
            owed: Mutex::default(),
            owed_count: AtomicUsize::new(0),
            wishes: AtomicU64::new(0),
        }
    }

    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    fn ms_since_begin(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }

    /// May it be asked now? After a failure not for a while, then by one asker at a time until it answers.
    pub(super) fn may_be_asked(&self) -> bool {
        let until = self.silent_until_ms.load(Ordering::Acquire);
        if until == 0 {
            return true;
        }
        let now = self.ms_since_begin(Instant::now());
        now >= until
            && self
                .silent_until_ms
                .compare_exchange(until, self.silence_from(now), Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }

    fn silence_from(&self, now_ms: u64) -> u64 {
        now_ms.saturating_add(u64::try_from(self.pause.as_millis()).unwrap_or(u64::MAX)).max(1)
    }

    /// It did not answer, or not sensibly.
    pub(super) fn failed(&self, reason: &str) {
        let now = self.ms_since_begin(Instant::now());
        self.failed_at_ms.store(now, Ordering::Release);
        self.silent_until_ms.store(self.silence_from(now), Ordering::Release);
        if !self.is_down.swap(true, Ordering::AcqRel) {
            slog::warn!(self.log, "memcached does not answer; paths come from the database meanwhile";
                "server" => &self.address, "reason" => reason);
        }
    }

    /// It answered what was asked at that moment. An answer to an older question than the last failure proves nothing.
    pub(super) fn answered(&self, asked: Instant) {
        if self.silent_until_ms.load(Ordering::Acquire) == 0
            || self.ms_since_begin(asked) <= self.failed_at_ms.load(Ordering::Acquire)
        {
            return;
        }
        self.silent_until_ms.store(0, Ordering::Release);
        if self.is_down.swap(false, Ordering::AcqRel) {
            slog::info!(self.log, "memcached answers again"; "server" => &self.address);
        }
    }

    /// Remembers a key that has to be covered, again and again for so long; gives the number of this wish.
    pub(super) fn owe(&self, key: WireKey, at_least: Duration) -> u64 {
        let wish = self.wishes.fetch_add(1, Ordering::Relaxed);
        let mut owed = self.owed();
        if owed.len() >= OWED_MAX && !owed.contains_key(&key) {
            slog::error!(self.log, "too many keys wait for memcached; some may be served until they expire";
                "server" => &self.address);
            return wish;
        }
        let since = Instant::now();
        owed.insert(key, Owed { wish, since, until: since + at_least });
        self.owed_count.store(owed.len(), Ordering::Release);
        wish
    }

    /// The key was covered, unless a later wish came meanwhile.
    pub(super) fn paid(&self, key: &WireKey, wish: u64) {
        let mut owed = self.owed();
        if owed.get(key).is_some_and(|latest| latest.wish == wish && latest.until <= Instant::now()) {
            owed.remove(key);
        }
        self.owed_count.store(owed.len(), Ordering::Release);
    }

    pub(super) fn is_owed(&self, key: &WireKey) -> bool {
        self.owed_count.load(Ordering::Acquire) > 0 && self.owed().contains_key(key)
    }

    /// Some of what is still to be covered. Wishes older than the lifetime of entries have fulfilled themselves and go.
    pub(super) fn some_owed(&self, lifetime: Duration) -> Vec<(WireKey, u64)> {
        /// So many are covered at once.
        const ROUND_MAX: usize = 1000;
        if self.owed_count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut owed = self.owed();
        owed.retain(|_, owed| owed.since.elapsed() < lifetime);
        self.owed_count.store(owed.len(), Ordering::Release);
        owed.iter().map(|(key, owed)| (*key, owed.wish)).take(ROUND_MAX).collect()
    }

    pub(super) fn owed_count(&self) -> usize {
        self.owed_count.load(Ordering::Acquire)
    }

    fn owed(&self) -> MutexGuard<'_, HashMap<WireKey, Owed>> {
        lock(&self.owed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(pause: Duration) -> Arc<Server> {
        Servers::new(pause, Logger::root(slog::Discard, slog::o!())).get("h:1")
    }

    /// config-and-startup.md 11.1.
    #[test]
    fn entries_without_a_port_are_ignored() {
        for (list, expected) in [
            ("", vec![]),
            ("a:1,b:11211", vec!["a:1", "b:11211"]),
            (" a:1 , b", vec!["a:1"]),
            ("a:,:1,a:x,a:99999,,[::1]:5", vec!["[::1]:5"]),
        ] {
            assert_eq!(parse_addresses(list), expected, "{list:?}");
        }
    }

    #[test]
    fn a_failed_server_is_left_alone_then_asked_by_one() {
        let patient = server(Duration::from_secs(3600));
        assert!(patient.may_be_asked() && patient.may_be_asked());
        patient.failed("test");
        assert!(!patient.may_be_asked());
        let quick = server(Duration::ZERO);
        quick.failed("test");
        let asked = Instant::now();
        quick.answered(quick.begun);
        assert!(quick.silent_until_ms.load(Ordering::Acquire) > 0, "an older question proves nothing");
        std::thread::sleep(Duration::from_millis(3));
        assert!(quick.may_be_asked());
        quick.answered(asked.max(Instant::now()));
        assert_eq!(quick.silent_until_ms.load(Ordering::Acquire), 0);
    }

    #[test]
    fn only_the_latest_wish_pays() {
        let server = server(Duration::ZERO);
        let key = WireKey::of(&[b"k"]);
        let (first, second) = (server.owe(key, Duration::ZERO), server.owe(key, Duration::ZERO));
        server.paid(&key, first);
        assert!(server.is_owed(&key));
        assert_eq!(server.some_owed(Duration::from_secs(60)), [(key, second)]);
        server.paid(&key, second);
        assert!(!server.is_owed(&key));
        let third = server.owe(key, Duration::from_secs(3600));
        server.paid(&key, third);
        assert!(server.is_owed(&key), "once is not enough");
        assert_eq!(server.some_owed(Duration::ZERO), []);
    }
}
