//! `mogilefs bench`: puts load on trackers through the wire and says what came of it.
//!
//! The client is kept cheap, since it often shares the machine with the tracker: request lines are assembled from
//! prepared pieces, of replies only the first word is read. Its own CPU time is printed so that figures can be judged.
//! Deletes only keys that it made itself.

mod cpu;
mod files;
mod load;
mod report;
mod stats;
mod wire;

use super::GlobalArgs;
use super::output::{Failure, Output};
use crate::client::Identity;
use crate::client::Timeouts;
use crate::tls::NodeAccess;
use clap::{Args, ValueEnum};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// Deeper pipelines could fill the buffers of both sides with requests while neither reads.
const MAX_PIPELINE: u64 = 1024;

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to send
    scenario: Scenario,
    /// Connections, spread over the trackers in turn
    #[arg(long, short, default_value_t = 16, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// How long to measure
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    seconds: f64,
    /// Requests in flight on each connection
    #[arg(long, default_value_t = 1, value_name = "DEPTH", value_parser = clap::value_parser!(u64).range(1..=MAX_PIPELINE))]
    pipeline: u64,
    /// Requests per second, all connections together; as many as go when left out
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Threads that the connections are spread over
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// Files that are asked for; they are stored before and deleted after the measurement
    #[arg(long, default_value_t = 1000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(2..=100_000_000))]
    files: u32,
    /// The files are there from a run with --keep
    #[arg(long)]
    prepared: bool,
    /// Leave the files
    #[arg(long)]
    keep: bool,
    /// Length of each stored file
    #[arg(long, default_value_t = 4096, value_name = "BYTES")]
    size: u32,
    /// Seed of the choice of keys
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// get_paths with noverify=1 and pathcount=2, of random keys
    Get,
    /// file_info of random keys
    Info,
    /// list_keys with limit=100, from random keys on
    List,
    /// Whole uploads: create_open, PUT to the storage node, create_close
    OpenClose,
    /// noop: the way through the tracker and nothing else
    Noop,
    /// 90 % get, 9 % info, 1 % list
    Mixed,
}

/// What all parts of a run know.
#[derive(Debug)]
pub(super) struct Plan {
    trackers: Vec<String>,
    domain: String,
    scenario: Scenario,
    connections: u32,
    threads: u32,
    pipeline: usize,
    /// Between two requests of a connection; `None`: at once.
    interval: Option<Duration>,
    measured: Duration,
    files: u32,
    size_bytes: u32,
    seed: u64,
    timeouts: Timeouts,
    identity: Identity,
    node_access: NodeAccess,
}

/// Prepares, measures, cleans up, prints.
pub(super) fn run(args: &BenchArgs, global: &GlobalArgs, output: &Output) -> Result<(), Failure> {
    let plan = Arc::new(Plan::new(args, global)?);
    let needs_files = !matches!(plan.scenario, Scenario::Noop | Scenario::OpenClose);
    let makes_files = needs_files && !args.prepared;
    let mut made = files::Made::default();
    let prepared = match makes_files {
        false => Ok(()),
        true => {
            output.note(&format!("storing {} files of {} bytes", plan.files, plan.size_bytes));
            super::block_on(files::prepare(&plan, &mut made))
        }
    };
    let measured = prepared.and_then(|()| measure(&plan));
    if let Ok(outcome) = &measured {
        made.add_uploads(&outcome.stats);
    }
    let cleaned = if args.keep { Ok(()) } else { super::block_on(files::clean_up(&plan, &made)) };
    // The figures are worth having even if not all files could be deleted.
    let outcome = measured?;
    output.result(&report::json(&plan, &outcome), || report::text(&plan, &outcome))?;
    cleaned
}

impl Plan {
    fn new(args: &BenchArgs, global: &GlobalArgs) -> Result<Self, Failure> {
        let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
        let measured = match Duration::try_from_secs_f64(args.seconds) {
            Ok(measured) if !measured.is_zero() => measured,
            _ => return usage("--seconds must be more than 0"),
        };
        if args.scenario == Scenario::OpenClose && args.pipeline > 1 {
            return usage("open-close waits for each step: it cannot be pipelined");
        }
        if args.scenario == Scenario::OpenClose && args.rate.is_some() {
            return usage("open-close has no rate: give fewer connections");
        }
        let domain = match args.scenario {
            Scenario::Noop => String::new(),
            _ => global.required_domain()?.to_owned(),
        };
        Ok(Self {
            trackers: global.trackers.clone(),
            domain,
            scenario: args.scenario,
            connections: args.connections,
            threads: args.threads.min(args.connections),
            pipeline: usize::try_from(args.pipeline).unwrap_or(1),
            interval: args.rate.map(|rate| Duration::from_secs(1) * args.connections / rate),
            measured,
            files: args.files,
            size_bytes: args.size,
            seed: args.seed,
            timeouts: global.timeouts(),
            identity: global.identity(&global.trackers)?,
            node_access: global.node_access()?,
        })
    }

    /// The tracker of a connection.
    fn tracker(&self, connection: u32) -> &str {
        &self.trackers[connection as usize % self.trackers.len()]
    }
}

/// What a measurement gave.
pub(super) struct Outcome {
    stats: stats::Stats,
    /// From the first request to the last reply.
    elapsed: Duration,
    /// CPU time of this process within that; `None` where the system does not tell.
    client_cpu: Option<Duration>,
}

/// Runs the load in its threads. All connections stand before the first request is sent.
fn measure(plan: &Arc<Plan>) -> Result<Outcome, Failure> {
    let barrier = Arc::new(Barrier::new(plan.threads as usize + 1));
    let spawn = |thread: u32| {
        let (plan, barrier) = (plan.clone(), barrier.clone());
        std::thread::spawn(move || load::run_thread(&plan, thread, &barrier))
    };
    let threads: Vec<_> = (0..plan.threads).map(spawn).collect();
    barrier.wait();
    let (begun, cpu_before) = (Instant::now(), cpu::process_time());
    let mut stats = stats::Stats::new();
    let mut failure = None;
    for thread in threads {
        match thread.join() {
            Ok(Ok(part)) => stats.merge(&part),
            Ok(Err(error)) => failure = Some(error),
            Err(_panic) => failure = Some(Failure::Local("a load thread panicked".to_owned())),
        }
    }
    let (elapsed, cpu_after) = (begun.elapsed(), cpu::process_time());
    match failure {
        Some(failure) => Err(failure),
        None => {
            let client_cpu = cpu_after.zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
            Ok(Outcome { stats, elapsed, client_cpu })
        }
    }
}
