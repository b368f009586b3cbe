//! The load itself: each connection is a task that keeps its pipeline full until time is up.

use super::files::{KEY_PREFIX, UploadError, Uploader, upload_key};
use super::stats::{Kind, Stats};
use super::wire::{Wire, io_code, verdict};
use super::{Plan, Scenario};
use crate::cli::output::Failure;
use crate::client::{ClientError, StorageClient};
use crate::protocol::args::escape;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Before a lost connection is tried again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// Runs the connections of one thread; of a thousand connections and four threads, thread 1 has 1, 5, 9 …
pub(super) fn run_thread(plan: &Plan, thread: u32, barrier: &Barrier) -> Result<Stats, Failure> {
    crate::cli::block_on(async {
        let connected = connect_all(plan, thread).await;
        // Also when that failed: the other threads wait here.
        barrier.wait();
        let deadline = Instant::now() + plan.measured;
        let stats = Rc::new(RefCell::new(Stats::new()));
        let storage = StorageClient::with_access(plan.timeouts, plan.node_access.clone());
        let tasks = connected?.into_iter().map(|(connection, wire)| {
            let worker = Worker { plan, connection, deadline, stats: stats.clone() };
            let storage = storage.clone();
            async move {
                match plan.scenario {
                    Scenario::OpenClose => worker.upload_until_deadline(storage).await,
                    _ => worker.ask_until_deadline(wire).await,
                }
            }
        });
        futures::future::join_all(tasks).await;
        Ok(stats.replace(Stats::new()))
    })
}

async fn connect_all(plan: &Plan, thread: u32) -> Result<Vec<(u32, Wire)>, Failure> {
    let mut connected = Vec::new();
    for connection in (thread..plan.connections).step_by(plan.threads as usize) {
        let tracker = plan.tracker(connection);
        let wire = Wire::connect(plan, connection).await;
        let wire = wire.map_err(|error| Failure::Client(ClientError::Connect(format!("{tracker}: {error}"))))?;
        connected.push((connection, wire));
    }
    Ok(connected)
}

/// One connection's work.
struct Worker<'a> {
    plan: &'a Plan,
    connection: u32,
    deadline: Instant,
    stats: Rc<RefCell<Stats>>,
}

impl Worker<'_> {
    fn time_is_left(&self) -> bool {
        Instant::now() < self.deadline
    }

    /// Asks, and connects again when the connection breaks.
    async fn ask_until_deadline(self, wire: Wire) {
        let mut requests = Requests::new(self.plan, self.connection);
        let mut wire = Some(wire);
        while self.time_is_left() {
            let outcome = match wire.take() {
                Some(wire) => self.ask(wire, &mut requests).await,
                None => Wire::connect(self.plan, self.connection).await.map(|connected| wire = Some(connected)),
            };
            if let Err(error) = outcome {
                self.stats.borrow_mut().failed(io_code(&error), 1);
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
        }
    }

    /// Keeps as many requests in flight as the pipeline is deep; returns when time is up and all are answered.
    async fn ask(&self, mut wire: Wire, requests: &mut Requests) -> io::Result<()> {
        let mut in_flight: VecDeque<(Kind, Instant)> = VecDeque::with_capacity(self.plan.pipeline);
        let mut lines = Vec::new();
        let mut now = Instant::now();
        let mut free = self.plan.pipeline;
        let mut timetable = self.plan.interval.map(|interval| Timetable::new(interval, requests.rng.random(), now));
        loop {
            lines.clear();
            if let Some(timetable) = timetable.as_mut().filter(|_| in_flight.is_empty()) {
                now = timetable.wait_until_due(now, self.deadline).await;
            }
            for _ in 0..free {
                let due = timetable.as_mut().map_or(Some(now), |timetable| timetable.take_due(now));
                match due.filter(|_| now < self.deadline) {
                    Some(due) => in_flight.push_back((requests.write_next(&mut lines), due)),
                    None => break,
                }
            }
            if in_flight.is_empty() {
                return Ok(());
            }
            wire.send(&lines).await?;
            wire.receive().await?;
            now = Instant::now();
            self.take_replies(&mut wire, &mut in_flight, now)?;
            free = self.plan.pipeline - in_flight.len();
        }
    }

    /// Counts the replies that are there.
    fn take_replies(&self, wire: &mut Wire, in_flight: &mut VecDeque<(Kind, Instant)>, now: Instant) -> io::Result<()> {
        let mut stats = self.stats.borrow_mut();
        while let Some(reply) = wire.next_line() {
            let unasked = || io::Error::new(io::ErrorKind::InvalidData, "a reply without a request");
            let (kind, sent) = in_flight.pop_front().ok_or_else(unasked)?;
            match verdict(reply) {
                Ok(_) => stats.succeeded(kind, now - sent),
                Err(code) => stats.failed(code, 1),
            }
        }
        Ok(())
    }

    async fn upload_until_deadline(self, storage: StorageClient) {
        let mut uploader = None;
        let mut count = 0;
        while self.time_is_left() {
            let outcome = self.upload_one(&mut uploader, &storage, &mut count).await;
            if let Err(error) = outcome {
                self.stats.borrow_mut().failed(error.code(), 1);
                if matches!(error, UploadError::Wire(_)) {
                    uploader = None;
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
            }
        }
        self.stats.borrow_mut().uploads.insert(self.connection, count);
    }

    async fn upload_one<'a>(
        &'a self,
        uploader: &mut Option<Uploader<'a>>,
        storage: &StorageClient,
        count: &mut u64,
    ) -> Result<(), UploadError> {
        let uploader = match uploader {
            Some(uploader) => uploader,
            None => {
                let stats = self.stats.clone();
                uploader.insert(Uploader::connect(self.plan, self.connection, storage.clone(), stats).await?)
            }
        };
        let key = upload_key(self.connection, *count);
        *count += 1;
        uploader.upload(&key).await
    }
}

/// When the requests of a connection are due. One that could not be sent in time because an earlier reply was late is
/// measured from when it was due: else a slow tracker would be asked less often and look quick.
struct Timetable {
    interval: Duration,
    next: Instant,
    /// The timer that was waited for went off then.
    woken: Option<Instant>,
}

impl Timetable {
    /// `phase` (0 to 1) keeps the connections apart.
    fn new(interval: Duration, phase: f64, now: Instant) -> Self {
        Self { interval, next: now + interval.mul_f64(phase), woken: None }
    }

    /// Waits for the next request, or for the end; gives the time. What the timer is late does not count as latency.
    async fn wait_until_due(&mut self, now: Instant, deadline: Instant) -> Instant {
        if self.next <= now {
            return now;
        }
        tokio::time::sleep_until(self.next.min(deadline).into()).await;
        let now = Instant::now();
        self.woken = Some(now);
        now
    }

    /// When the next request was due, if it is.
    fn take_due(&mut self, now: Instant) -> Option<Instant> {
        let due = Some(self.next).filter(|&next| next <= now)?;
        self.next += self.interval;
        Some(self.woken.take().unwrap_or(due))
    }
}

/// Writes request lines: a prepared beginning and the number of a random key.
struct Requests {
    scenario: Scenario,
    files: u32,
    rng: SmallRng,
    get: Vec<u8>,
    info: Vec<u8>,
    list: Vec<u8>,
}

impl Requests {
    fn new(plan: &Plan, connection: u32) -> Self {
        let domain = escape(plan.domain.as_bytes());
        let begin = |text: String| text.into_bytes();
        Self {
            scenario: plan.scenario,
            files: plan.files,
            rng: SmallRng::seed_from_u64(plan.seed.wrapping_add(u64::from(connection) << 32)),
            get: begin(format!("get_paths domain={domain}&noverify=1&pathcount=2&key={KEY_PREFIX}")),
            info: begin(format!("file_info domain={domain}&key={KEY_PREFIX}")),
            list: begin(format!("list_keys domain={domain}&prefix={KEY_PREFIX}&limit=100&after={KEY_PREFIX}")),
        }
    }

    fn write_next(&mut self, out: &mut Vec<u8>) -> Kind {
        let kind = match self.scenario {
            Scenario::Get => Kind::Get,
            Scenario::Info => Kind::Info,
            Scenario::List => Kind::List,
            Scenario::Noop | Scenario::OpenClose => Kind::Noop,
            Scenario::Mixed => mixed_kind(self.rng.random_range(0..100)),
        };
        match kind {
            Kind::Info => write_numbered(&self.info, self.rng.random_range(0..self.files), out),
            // After the last key there is none.
            Kind::List => write_numbered(&self.list, self.rng.random_range(0..self.files - 1), out),
            Kind::Noop => out.extend_from_slice(b"noop\r\n"),
            _ => write_numbered(&self.get, self.rng.random_range(0..self.files), out),
        }
        kind
    }
}

fn mixed_kind(percent: u32) -> Kind {
    match percent {
        0..90 => Kind::Get,
        90..99 => Kind::Info,
        _ => Kind::List,
    }
}

/// The beginning, the number in eight digits, the line end.
fn write_numbered(beginning: &[u8], number: u32, out: &mut Vec<u8>) {
    let mut digits = *b"00000000\r\n";
    let mut rest = number;
    for digit in digits[..8].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(beginning);
    out.extend_from_slice(&digits);
}

#[cfg(test)]
mod tests {
    use super::super::files::file_key;
    use super::*;

    #[test]
    fn lines_name_the_prepared_keys() {
        for number in [0, 7, 1234, 99_999_999] {
            let mut line = Vec::new();
            write_numbered(b"file_info key=bench/", number, &mut line);
            assert_eq!(line, format!("file_info key={}\r\n", file_key(number)).into_bytes());
        }
    }

    #[test]
    fn late_requests_are_measured_from_when_they_were_due() {
        let begun = Instant::now();
        let ms = Duration::from_millis;
        let mut timetable = Timetable::new(ms(10), 0.5, begun);
        assert_eq!(timetable.take_due(begun + ms(4)), None);
        let late = begun + ms(27);
        let due: Vec<_> = std::iter::from_fn(|| timetable.take_due(late)).collect();
        assert_eq!(due, [begun + ms(5), begun + ms(15), begun + ms(25)]);
    }

    #[test]
    fn mixed_has_the_documented_shares() {
        let count = |kind| (0..100).filter(|percent| mixed_kind(*percent) == kind).count();
        assert_eq!((count(Kind::Get), count(Kind::Info), count(Kind::List)), (90, 9, 1));
    }
}
