//! `WorkerPool`: keeps as many workers of one kind as are wanted, each an actor on an arbiter of its own.
//!
//! The pool builds the road and is not on it: requests and work reach workers without passing here. A worker that is
//! gone (panic, database away at its start) or silent for too long is replaced by a new one from the factory; nothing
//! of its state survives. No back-off other than the tick: at most one replacement per missing worker and second.

use super::seat::{Heartbeat, Pulse, Retire, Seat, WorkerGone, WorkerId, next_worker_id};
use crate::job_kind::JobKind;
use crate::logging::watch::SAYS_ALL;
use crate::metrics::Metrics;
use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Arbiter, AsyncContext, Context, Handler, Message};
use slog::Logger;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Between two looks at the workers.
pub const TICK: Duration = Duration::from_secs(1);
/// Workers of one kind at most; `!want` cuts to this.
pub const WORKERS_MAX: usize = 500;

/// Exit codes 101 (a panic) and 1, as the system reports them of processes.
const STATUS_PANIC: u32 = 101 << 8;
const STATUS_FAILED: u32 = 1 << 8;

/// Makes a worker inside its own arbiter.
pub type Factory<W> = Arc<dyn Fn(Seat) -> W + Send + Sync>;

/// A living worker, as others reach it.
pub struct Handle<W: Actor> {
    pub id: WorkerId,
    pub addr: Addr<W>,
    pub pulse: Pulse,
    /// What senders have under way with it; counted by them, so that they can choose the least busy worker.
    pub load: Arc<AtomicUsize>,
}

impl<W: Actor> Clone for Handle<W> {
    fn clone(&self) -> Self {
        Self { id: self.id, addr: self.addr.clone(), pulse: self.pulse.clone(), load: self.load.clone() }
    }
}

/// The published list of living workers of a pool.
pub type Roster<W> = watch::Receiver<Vec<Handle<W>>>;

struct Member<W: Actor> {
    handle: Handle<W>,
    arbiter: Arbiter,
}

/// The actor that owns the workers of one kind.
pub struct WorkerPool<W: Actor> {
    kind: JobKind,
    desired: usize,
    silence_max: Duration,
    factory: Factory<W>,
    members: Vec<Member<W>>,
    /// Told to stop, not gone yet.
    retiring: Vec<Member<W>>,
    roster: watch::Sender<Vec<Handle<W>>>,
    drained: Vec<oneshot::Sender<()>>,
    metrics: Metrics,
    log: Logger,
}

/// How a pool is made.
pub struct PoolConfig<W> {
    pub kind: JobKind,
    /// A worker that shows no life for so long is given up and replaced (config-and-startup.md 6).
    pub silence_max: Duration,
    pub factory: Factory<W>,
    pub metrics: Metrics,
    pub log: Logger,
}

impl<W> WorkerPool<W>
where
    W: Actor<Context = Context<W>> + Handler<Heartbeat> + Handler<Retire>,
    Context<W>: ToEnvelope<W, Heartbeat> + ToEnvelope<W, Retire>,
{
    /// A pool that wants no workers yet, and its list of workers.
    pub fn new(config: PoolConfig<W>) -> (Self, Roster<W>) {
        let (roster, receiver) = watch::channel(Vec::new());
        let pool = Self {
            kind: config.kind,
            desired: 0,
            silence_max: config.silence_max,
            factory: config.factory,
            members: Vec::new(),
            retiring: Vec::new(),
            roster,
            drained: Vec::new(),
            metrics: config.metrics,
            log: config.log,
        };
        (pool, receiver)
    }

    fn adjust(&mut self, ctx: &mut Context<Self>) {
        let (job, has, wants) = (self.kind.name(), self.members.len(), self.desired);
        let missing = wants.saturating_sub(has);
        if missing > 0 {
            slog::info!(self.log, #SAYS_ALL, "Job {job} has only {has}, wants {wants}, making {missing}.";
                "job" => job, "has" => has, "wants" => wants);
        }
        for _ in 0..missing {
            let member = self.start_worker(ctx);
            self.members.push(member);
        }
        if has > wants && self.drained.is_empty() {
            let surplus = has - wants;
            slog::info!(self.log, #SAYS_ALL, "Reducing {job} headcount by {surplus}."; "job" => job);
        }
        while self.members.len() > self.desired
            && let Some(member) = self.members.pop()
        {
            member.handle.addr.do_send(Retire);
            self.retiring.push(member);
        }
        self.publish();
        self.tell_if_drained();
    }

    fn start_worker(&self, ctx: &mut Context<Self>) -> Member<W> {
        let (id, pulse) = (next_worker_id(), Pulse::new());
        let arbiter = Arbiter::new();
        let seat = Seat::new(id, self.kind, pulse.clone(), ctx.address().recipient());
        let factory = self.factory.clone();
        let addr = W::start_in_arbiter(&arbiter.handle(), move |_ctx| factory(seat));
        Member { handle: Handle { id, addr, pulse, load: Arc::default() }, arbiter }
    }

    fn publish(&self) {
        self.roster.send_replace(self.members.iter().map(|member| member.handle.clone()).collect());
    }

    /// Takes silent workers out of the list. Their thread cannot be stopped: it ends when what blocks it ends.
    fn give_up_silent(&mut self) {
        let silence_max_ms = u64::try_from(self.silence_max.as_millis()).unwrap_or(u64::MAX);
        let (living, silent): (Vec<_>, Vec<_>) =
            self.members.drain(..).partition(|member| member.handle.pulse.silence_ms() <= silence_max_ms);
        self.members = living;
        for member in silent {
            let (job, worker, silence_ms) = (self.kind.name(), member.handle.id, member.handle.pulse.silence_ms());
            slog::error!(self.log, #SAYS_ALL, "Watchdog killing worker {worker} ({job})";
                "job" => job, "worker" => worker, "silence_ms" => silence_ms);
            self.metrics.workers_replaced.add(1);
            member.handle.addr.do_send(Retire);
            member.arbiter.stop();
        }
    }

    /// The text that operators know; the status is what a process would have left behind.
    fn log_death(&self, gone: WorkerGone, expected: bool) {
        let (job, worker, panicked) = (self.kind.name(), gone.id, gone.panicked);
        let status = match (panicked, expected) {
            (true, _) => STATUS_PANIC,
            (false, true) => 0,
            (false, false) => STATUS_FAILED,
        };
        if !expected {
            slog::error!(self.log, #SAYS_ALL, "Child {worker} ({job}) died: {status} (UNEXPECTED)";
                "job" => job, "worker" => worker, "panicked" => panicked);
        } else if self.drained.is_empty() {
            slog::info!(self.log, #SAYS_ALL, "Child {worker} ({job}) died: {status} (expected)";
                "job" => job, "worker" => worker, "panicked" => panicked);
        }
    }

    fn tell_if_drained(&mut self) {
        if self.desired == 0 && self.members.is_empty() && self.retiring.is_empty() {
            for waiter in self.drained.drain(..) {
                // A waiter that gave up has passed its deadline already.
                let _gone = waiter.send(());
            }
        }
    }
}

impl<W> Actor for WorkerPool<W>
where
    W: Actor<Context = Context<W>> + Handler<Heartbeat> + Handler<Retire>,
    Context<W>: ToEnvelope<W, Heartbeat> + ToEnvelope<W, Retire>,
{
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, |pool, ctx| {
            pool.give_up_silent();
            pool.adjust(ctx);
            for member in &pool.members {
                member.handle.addr.do_send(Heartbeat);
            }
        });
    }
}

/// How many workers there shall be.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct SetDesired(pub usize);

impl<W> Handler<SetDesired> for WorkerPool<W>
where
    W: Actor<Context = Context<W>> + Handler<Heartbeat> + Handler<Retire>,
    Context<W>: ToEnvelope<W, Heartbeat> + ToEnvelope<W, Retire>,
{
    type Result = ();

    fn handle(&mut self, SetDesired(desired): SetDesired, ctx: &mut Self::Context) {
        self.desired = desired.min(WORKERS_MAX);
        self.adjust(ctx);
    }
}

impl<W> Handler<WorkerGone> for WorkerPool<W>
where
    W: Actor<Context = Context<W>> + Handler<Heartbeat> + Handler<Retire>,
    Context<W>: ToEnvelope<W, Heartbeat> + ToEnvelope<W, Retire>,
{
    type Result = ();

    fn handle(&mut self, gone: WorkerGone, ctx: &mut Self::Context) {
        if let Some(place) = self.retiring.iter().position(|member| member.handle.id == gone.id) {
            self.retiring.swap_remove(place).arbiter.stop();
            self.log_death(gone, true);
        } else if let Some(place) = self.members.iter().position(|member| member.handle.id == gone.id) {
            self.members.swap_remove(place).arbiter.stop();
            self.publish();
            self.metrics.workers_replaced.add(1);
            self.log_death(gone, false);
            // After a panic a new worker at once; one that could not start waits for the tick.
            if gone.panicked {
                self.adjust(ctx);
            }
        }
        self.tell_if_drained();
    }
}

/// What `!jobs` shows of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolReport {
    pub kind: JobKind,
    pub desired: usize,
    /// Registered workers, those told to stop included, ascending.
    pub workers: Vec<WorkerId>,
}

/// Ask a pool how it is.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "PoolReport")]
pub struct GetReport;

impl<W> Handler<GetReport> for WorkerPool<W>
where
    W: Actor<Context = Context<W>> + Handler<Heartbeat> + Handler<Retire>,
    Context<W>: ToEnvelope<W, Heartbeat> + ToEnvelope<W, Retire>,
{
    type Result = actix::MessageResult<GetReport>;

    fn handle(&mut self, _: GetReport, _ctx: &mut Self::Context) -> Self::Result {
        let mut workers: Vec<_> = self.members.iter().chain(&self.retiring).map(|member| member.handle.id).collect();
        workers.sort_unstable();
        actix::MessageResult(PoolReport { kind: self.kind, desired: self.desired, workers })
    }
}

/// Want no workers any more, and answer when the last one is gone.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Drain;

impl<W> Handler<Drain> for WorkerPool<W>
where
    W: Actor<Context = Context<W>> + Handler<Heartbeat> + Handler<Retire>,
    Context<W>: ToEnvelope<W, Heartbeat> + ToEnvelope<W, Retire>,
{
    type Result = actix::ResponseFuture<()>;

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) -> Self::Result {
        let (sender, drained) = oneshot::channel();
        self.desired = 0;
        self.drained.push(sender);
        self.adjust(ctx);
        Box::pin(async move {
            // A pool that is dropped has no workers either.
            let _drained = drained.await;
        })
    }
}
