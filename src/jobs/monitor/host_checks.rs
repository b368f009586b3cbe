//! The checks of one host's devices in one round (jobs.md 4.3).
//!
//! A host that is silent is given up after its first time limit and costs nobody else their turn.

use super::check_device::{CheckTarget, DeviceCheck, check_device};
use crate::clock::Chance;
use crate::cluster::device_state::ObservedHost;
use crate::ids::{DevId, HostId};
use crate::node_client::NodeClient;
use futures::StreamExt as _;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use std::cell::Cell;
use std::rc::Rc;
use tokio::sync::Semaphore;

/// What is to be checked of one host.
#[derive(Debug)]
pub struct HostTargets {
    pub hostid: HostId,
    /// It did not answer when it was looked at last: one device is tried before the others are.
    pub was_silent: bool,
    pub targets: Vec<CheckTarget>,
}

/// What was seen of one host.
#[derive(Debug)]
pub struct HostReport {
    pub hostid: HostId,
    /// Some device answered, whatever it said (true), or those that were asked were silent (false). `None`: connections
    /// were refused, which tells nothing of the host.
    pub answered: Option<bool>,
    pub checks: Vec<(DevId, DeviceCheck)>,
}

/// How many checks may run at the same time.
#[derive(Clone, Debug)]
pub struct Permits {
    /// Of all hosts.
    pub all: Rc<Semaphore>,
    pub per_host: usize,
}

/// Checks the devices of one host. Never fails: what goes wrong is what was seen.
pub async fn check_host(nodes: NodeClient, mut host: HostTargets, permits: Permits, mut chance: Chance) -> HostReport {
    let progress = Progress::default();
    let mut checks = Vec::with_capacity(host.targets.len());
    if host.was_silent && !host.targets.is_empty() {
        // Not always the same one: it may be the one disk that hangs.
        let probe = host.targets.swap_remove(chance.random_range(0..host.targets.len()));
        checks.extend(check_one(&nodes, probe, &permits, &progress, chance.next_u64()).await);
    }
    let rest: Vec<_> = host
        .targets
        .into_iter()
        .map(|target| check_one(&nodes, target, &permits, &progress, chance.next_u64()))
        .collect();
    let rest = futures::stream::iter(rest).buffer_unordered(permits.per_host);
    checks.extend(rest.filter_map(std::future::ready).collect::<Vec<_>>().await);
    HostReport { hostid: host.hostid, answered: progress.answered(), checks }
}

/// What the checks of a host know of each other.
#[derive(Default)]
struct Progress {
    any_answer: Cell<bool>,
    any_silence: Cell<bool>,
}

impl Progress {
    fn is_given_up(&self) -> bool {
        self.answered() == Some(false)
    }

    fn answered(&self) -> Option<bool> {
        match (self.any_answer.get(), self.any_silence.get()) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }

    fn note(&self, check: &DeviceCheck) {
        match check.host {
            Some(ObservedHost::Reachable) => self.any_answer.set(true),
            Some(ObservedHost::Unreachable) => self.any_silence.set(true),
            None => {}
        }
    }
}

/// `None` if the host was given up before the turn came.
async fn check_one(
    nodes: &NodeClient,
    target: CheckTarget,
    permits: &Permits,
    progress: &Progress,
    seed: u64,
) -> Option<(DevId, DeviceCheck)> {
    if progress.is_given_up() {
        return None;
    }
    // Nobody closes it.
    let _permit = permits.all.acquire().await.ok()?;
    if progress.is_given_up() {
        return None;
    }
    let check = check_device(nodes, &target, &mut Chance::seed_from_u64(seed)).await;
    progress.note(&check);
    Some((target.devid, check))
}
