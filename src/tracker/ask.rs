//! Questions from within the process, as a client would ask them: the same road to a query worker, without a socket.
//!
//! The Supervisor passes them to the `ClientListener`, which knows the workers and what clients do.

use super::batch::Lines;
use super::hand_over::{Current, Run};
use super::listener::{ClientListener, Shared};
use super::slowest::AnsweredRequest;
use super::supervisor::Supervisor;
use actix::{Handler, Message, ResponseFuture};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Slow requests that are told.
const SLOW_SHOWN: usize = 20;

/// Carry out this request line (without a line end); the answer is the reply line. Empty if the tracker cannot answer,
/// as when it stops.
#[derive(Message, Clone, Debug)]
#[rtype(result = "Vec<u8>")]
pub struct Ask {
    pub line: Vec<u8>,
    /// On whose behalf.
    pub peer: SocketAddr,
}

/// What clients do and have done.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Traffic")]
pub struct GetTraffic;

/// The answer to [`GetTraffic`].
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    pub uptime_secs: u64,
    pub connections: usize,
    /// Requests that no worker has begun.
    pub waiting: usize,
    pub processing: usize,
    pub idle_query_workers: usize,
    /// The last requests, the latest first.
    pub recent: Vec<AnsweredRequest>,
    /// The slowest of the last minutes, the slowest first.
    pub slowest: Vec<AnsweredRequest>,
}

impl Handler<Ask> for ClientListener {
    type Result = ResponseFuture<Vec<u8>>;

    fn handle(&mut self, Ask { line, peer }: Ask, _ctx: &mut Self::Context) -> Self::Result {
        let shared = self.shared();
        Box::pin(async move {
            let mut lines = Lines::default();
            lines.push(&line);
            let mut run = Run::new(Arc::new(lines), Rc::new(Current::new(peer)), shared);
            let mut reply = Vec::new();
            while let Some(part) = run.next().await {
                reply.extend_from_slice(&part.bytes);
            }
            reply
        })
    }
}

impl Handler<GetTraffic> for ClientListener {
    type Result = actix::MessageResult<GetTraffic>;

    fn handle(&mut self, _: GetTraffic, _ctx: &mut Self::Context) -> Self::Result {
        actix::MessageResult(traffic(&self.shared()))
    }
}

fn traffic(shared: &Shared) -> Traffic {
    let connections = shared.connections.borrow();
    Traffic {
        uptime_secs: shared.started.elapsed().as_secs(),
        connections: connections.len(),
        waiting: connections.values().map(|current| current.waiting_count()).sum(),
        processing: connections.values().filter(|current| current.is_processing()).count(),
        idle_query_workers: shared
            .workers
            .borrow()
            .iter()
            .filter(|worker| worker.load.load(Ordering::Relaxed) == 0)
            .count(),
        recent: shared.recent.borrow().list(),
        slowest: shared.slowest.borrow().list(Instant::now(), SLOW_SHOWN),
    }
}

impl Handler<Ask> for Supervisor {
    type Result = ResponseFuture<Vec<u8>>;

    fn handle(&mut self, ask: Ask, _ctx: &mut Self::Context) -> Self::Result {
        let answer = self.listener().map(|listener| listener.send(ask));
        Box::pin(async move {
            match answer {
                Some(answer) => answer.await.unwrap_or_default(),
                None => Vec::new(),
            }
        })
    }
}

impl Handler<GetTraffic> for Supervisor {
    type Result = ResponseFuture<Traffic>;

    fn handle(&mut self, ask: GetTraffic, _ctx: &mut Self::Context) -> Self::Result {
        let answer = self.listener().map(|listener| listener.send(ask));
        Box::pin(async move {
            match answer {
                Some(answer) => answer.await.unwrap_or_default(),
                None => Traffic::default(),
            }
        })
    }
}
