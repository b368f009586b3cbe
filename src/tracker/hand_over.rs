//! From a connection to a query worker and back: chooses the worker, hands the lines over, and receives the replies.
//!
//! A request that a worker has begun is never given to another one, since what it did is not known (protocol.md 12,
//! defect 3); one that no worker has begun is.

use super::batch::{ExecuteBatch, Lines, Progress, Replies};
use super::listener::Shared;
use super::pool::Handle;
use super::query_worker::QueryWorker;
use super::recent::Answered;
use crate::jobs::joint_look_up::LookUpLanes;
use crate::jobs::query::together;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::request::Request;
use crate::protocol::response::write_reply;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Pause before another try when a worker's mailbox is full or the worker is gone.
const FULL_PAUSE: Duration = Duration::from_millis(2);
/// A worker answers within the limit of each request; so much longer, and it counts as lost.
const WORKER_GRACE: Duration = Duration::from_secs(5);

/// What a connection waits for; read by the console.
pub struct Current {
    pub peer: SocketAddr,
    lines: RefCell<Arc<Lines>>,
    /// Lines that are answered.
    done: Cell<usize>,
    progress: RefCell<Progress>,
    /// When these lines came, among those of all connections.
    arrival: Cell<u64>,
}

impl Current {
    pub fn new(peer: SocketAddr) -> Self {
        let (lines, done) = (RefCell::default(), Cell::default());
        Self { peer, lines, done, progress: RefCell::default(), arrival: Cell::default() }
    }

    /// Grows with the time at which the lines came.
    pub fn arrival(&self) -> u64 {
        self.arrival.get()
    }

    /// The first request that no worker has begun.
    fn first_waiting(&self) -> usize {
        self.progress.borrow().begun().max(self.done.get())
    }

    /// How many requests no worker has begun.
    pub fn waiting_count(&self) -> usize {
        self.lines.borrow().len().saturating_sub(self.first_waiting())
    }

    /// Shows the requests that no worker has begun.
    pub fn for_each_waiting(&self, show: impl FnMut(&[u8])) {
        self.lines.borrow().iter_from(self.first_waiting()).for_each(show);
    }

    /// Is a request being carried out?
    pub fn is_processing(&self) -> bool {
        self.progress.borrow().begun() > self.done.get()
    }

    fn begin(&self, lines: &Arc<Lines>, arrival: u64) {
        self.progress.borrow().reset();
        self.done.set(0);
        self.arrival.set(arrival);
        self.lines.replace(lines.clone());
    }

    fn end(&self) {
        self.lines.replace(Arc::default());
        self.done.set(0);
        self.progress.borrow().reset();
    }
}

/// A worker has something under way for us.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn with(worker: &Handle<QueryWorker>) -> Self {
        worker.load.fetch_add(1, Ordering::Relaxed);
        Self(worker.load.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Replies on their way here.
struct Coming {
    replies: oneshot::Receiver<Replies>,
    since: Instant,
    _under_way: UnderWay,
}

/// A run of lines that is being carried out. Dropping it drops the lines that no worker has begun.
pub struct Run {
    current: Rc<Current>,
    shared: Rc<Shared>,
    lines: Arc<Lines>,
    done: usize,
    coming: Option<Coming>,
}

/// Replies of some lines, and what `!recent` wants to know of them once they are delivered.
pub struct Part {
    pub bytes: Vec<u8>,
    pub answered: Answered,
}

impl Run {
    pub fn new(lines: Arc<Lines>, current: Rc<Current>, shared: Rc<Shared>) -> Self {
        current.begin(&lines, shared.next_arrival());
        Self { current, shared, lines, done: 0, coming: None }
    }

    /// The next replies; `None` when all lines are answered.
    pub async fn next(&mut self) -> Option<Part> {
        while self.done < self.lines.len() {
            let Coming { replies, since, _under_way } = match self.coming.take() {
                Some(coming) => coming,
                None => self.hand_over().await,
            };
            let begun = || self.current.progress.borrow().begun();
            match timeout(self.limit(), replies).await {
                Ok(Ok(Replies { bytes, times_us, is_prompt, rest })) => {
                    let now = Instant::now();
                    if is_prompt {
                        self.shared.pace.note_request(now - since);
                    }
                    self.coming = rest.map(|replies| Coming { replies, since: now, _under_way });
                    return Some(self.part(bytes, times_us, now - since));
                }
                // The worker is gone. What it has not begun, another one can do.
                Ok(Err(_dropped)) if begun() <= self.done => tokio::time::sleep(FULL_PAUSE).await,
                Ok(Err(_dropped)) => return Some(self.failed(begun() - self.done, since)),
                // It may live and go on with any line.
                Err(_elapsed) => {
                    self.current.progress.replace(Progress::default());
                    return Some(self.failed(self.lines.len() - self.done, since));
                }
            }
        }
        None
    }

    fn part(&mut self, bytes: Vec<u8>, times_us: Vec<u32>, elapsed: Duration) -> Part {
        let (peer, lines, from) = (self.current.peer.ip(), self.lines.clone(), self.done);
        self.done += times_us.len();
        self.current.done.set(self.done);
        Part { bytes, answered: Answered { peer, lines, from, times_us, elapsed } }
    }

    /// One `failure` per line.
    fn failed(&mut self, count: usize, since: Instant) -> Part {
        let mut bytes = Vec::new();
        for line in self.lines.iter_from(self.done).take(count) {
            write_reply(&Err(ErrorCode::Failure.into()), Request::parse(line).callid(), &mut bytes);
        }
        self.part(bytes, vec![0; count], since.elapsed())
    }

    /// How long the next replies can take at most: a worker delivers what it has before a request that waits, and after
    /// one that took long.
    fn limit(&self) -> Duration {
        Duration::from_millis(self.shared.limits.borrow().request_timeout_ms) + WORKER_GRACE
    }

    async fn hand_over(&self) -> Coming {
        let mut is_first_look = true;
        loop {
            let worker = self.idle_worker(&mut is_first_look).await;
            let (reply, replies) = oneshot::channel();
            let batch = ExecuteBatch {
                lines: self.lines.clone(),
                from: self.done,
                peer: self.current.peer.ip(),
                progress: self.current.progress.borrow().clone(),
                reply,
            };
            let under_way = UnderWay::with(&worker);
            let since = Instant::now();
            if worker.addr.try_send(batch).is_ok() {
                return Coming { replies, since, _under_way: under_way };
            }
            tokio::time::sleep(FULL_PAUSE).await;
        }
    }

    /// Look-ups on a database server come together at a few workers, and those are the last that anything else is given to.
    fn choose_worker(&self, workers: &[Handle<QueryWorker>]) -> (Option<Handle<QueryWorker>>, bool) {
        let lanes = self.shared.look_up_lanes.as_ref().map_or(usize::MAX, LookUpLanes::workers);
        if lanes >= workers.len() {
            return least_busy(workers.iter());
        }
        if self.lines.iter_from(self.done).next().is_some_and(together::is_look_up) {
            let (worker, is_idle) = least_busy(workers[..lanes].iter());
            return (worker, is_idle || least_busy(workers[lanes..].iter()).1);
        }
        least_busy(workers.iter().rev())
    }

    /// An idle worker, else the least busy one; waits while there is none (before the first monitor round).
    async fn idle_worker(&self, is_first_look: &mut bool) -> Handle<QueryWorker> {
        let mut workers = self.shared.workers.clone();
        loop {
            let (worker, is_idle) = self.choose_worker(&workers.borrow_and_update());
            if std::mem::take(is_first_look) && !is_idle {
                self.shared.metrics.times_out_of_qworkers.add(1);
            }
            if let Some(worker) = worker {
                return worker;
            }
            if workers.changed().await.is_err() {
                // The pool is gone: the tracker stops, and with it this connection.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.current.end();
    }
}

/// The least busy worker, and whether it has nothing to do.
fn least_busy<'a>(workers: impl Iterator<Item = &'a Handle<QueryWorker>>) -> (Option<Handle<QueryWorker>>, bool) {
    let mut best: Option<(&Handle<QueryWorker>, usize)> = None;
    for worker in workers {
        let load = worker.load.load(Ordering::Relaxed);
        if best.is_none_or(|(_, least)| load < least) {
            best = Some((worker, load));
        }
        if load == 0 {
            break;
        }
    }
    (best.map(|(worker, _)| worker.clone()), best.is_some_and(|(_, load)| load == 0))
}
