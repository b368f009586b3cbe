//! `mogilefs jobs`: the workers of a tracker, and the queues they work on.

use super::output::{Failure, table};
use super::session::Session;
use super::watch::{WatchArgs, watch};
use crate::client::ClientError;
use crate::protocol::args::Args as Reply;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct JobsArgs {
    #[command(subcommand)]
    command: Option<JobsCommand>,
    #[command(flatten)]
    watch: WatchArgs,
}

#[derive(Debug, Subcommand)]
enum JobsCommand {
    /// Say how many workers of a kind this tracker is to have, until it is restarted
    Want {
        /// As in the list: replicate, delete, …
        kind: String,
        count: u32,
    },
}

impl JobsArgs {
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self.command {
            Some(JobsCommand::Want { kind, count }) => want(&kind, count, session).await,
            None => {
                let is_watched = self.watch.is_wanted();
                watch(&self.watch, session, async |session: &mut Session<'_>| {
                    list(session).await?;
                    Ok(is_watched)
                })
                .await
            }
        }
    }
}

async fn want(kind: &str, count: u32, session: &mut Session<'_>) -> Result<(), Failure> {
    if kind.contains(char::is_whitespace) || kind.is_empty() {
        return Err(Failure::Usage(format!("{kind:?} is no kind of workers")));
    }
    let answer = session.tracker.console(&format!("!want {count} {kind}")).await?.join(" ");
    match answer.strip_prefix("ERROR: ") {
        Some(text) => Err(ClientError::Tracker { code: "want".to_owned(), text: text.to_owned() }.into()),
        None => session.output.result(&json!({ "answer": answer }), || format!("{answer}\n")),
    }
}

async fn list(session: &mut Session<'_>) -> Result<(), Failure> {
    let workers = read_workers(&session.tracker.console("!jobs").await?);
    let queues = read_queues(&session.tracker.request("jobs_status", &[]).await?);
    session.output.result(&as_json(&workers, &queues), || as_text(&workers, &queues))
}

/// Workers of one kind.
#[derive(Debug, Default, PartialEq)]
struct Workers {
    wanted: i64,
    running: i64,
}

/// A queue in the database, and what this tracker does with it.
#[derive(Debug, PartialEq)]
struct Queue {
    name: String,
    due: i64,
    deferred: i64,
    parked: i64,
    claimed: i64,
    sent: i64,
}

/// From the lines `<kind> count <n>` and `<kind> desired <n>`.
fn read_workers(lines: &[String]) -> BTreeMap<String, Workers> {
    let mut workers: BTreeMap<String, Workers> = BTreeMap::new();
    for line in lines {
        let mut words = line.split_ascii_whitespace();
        let (Some(kind), Some(what), Some(Ok(number))) = (words.next(), words.next(), words.next().map(str::parse))
        else {
            continue;
        };
        let of_kind = workers.entry(kind.to_owned()).or_default();
        match what {
            "count" => of_kind.running = number,
            "desired" => of_kind.wanted = number,
            _ => {}
        }
    }
    workers
}

fn read_queues(reply: &Reply) -> Vec<Queue> {
    let queue = |number: i64| {
        let int = |field: &str| reply.int(&format!("queue_{number}_{field}"));
        Queue {
            name: reply.get(&format!("queue_{number}_name")).map(ToString::to_string).unwrap_or_default(),
            due: int("due"),
            deferred: int("deferred"),
            parked: int("parked"),
            claimed: int("claimed"),
            sent: int("sent"),
        }
    };
    (1..=reply.int("queues")).map(queue).collect()
}

fn as_json(workers: &BTreeMap<String, Workers>, queues: &[Queue]) -> Value {
    let workers = workers
        .iter()
        .map(|(kind, workers)| json!({ "kind": kind, "wanted": workers.wanted, "running": workers.running }));
    let queues = queues.iter().map(|queue| {
        json!({
            "queue": queue.name, "due": queue.due, "deferred": queue.deferred, "parked": queue.parked,
            "claimed": queue.claimed, "sent": queue.sent,
        })
    });
    json!({ "workers": workers.collect::<Vec<_>>(), "queues": queues.collect::<Vec<_>>() })
}

fn as_text(workers: &BTreeMap<String, Workers>, queues: &[Queue]) -> String {
    let workers: Vec<Vec<String>> = workers
        .iter()
        .map(|(kind, workers)| vec![kind.clone(), workers.wanted.to_string(), workers.running.to_string()])
        .collect();
    let queues: Vec<Vec<String>> = queues
        .iter()
        .map(|queue| {
            let figures = [queue.due, queue.deferred, queue.parked, queue.claimed, queue.sent];
            [queue.name.clone()].into_iter().chain(figures.map(|figure| figure.to_string())).collect()
        })
        .collect();
    format!(
        "{}\n{}",
        table(&["workers", "wanted", "running"], &workers),
        table(&["queue", "due", "deferred", "parked", "claimed", "sent"], &queues)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_and_queues_are_shown() {
        let lines =
            ["delete count 1", "delete desired 2", "delete pids 5", "fsck count 0", "fsck desired 0", "fsck pids"];
        let workers = read_workers(&lines.map(str::to_owned));
        assert_eq!(workers["delete"], Workers { wanted: 2, running: 1 });
        let reply = Reply::decode(
            b"queues=1&queue_1_name=delete&queue_1_due=3&queue_1_deferred=4&queue_1_parked=5&queue_1_claimed=6&queue_1_sent=70",
        );
        let text = as_text(&workers, &read_queues(&reply));
        assert!(text.starts_with("WORKERS  WANTED  RUNNING\ndelete   2       1\nfsck     0       0\n"), "{text}");
        assert!(text.ends_with("delete  3    4         5       6        70\n"), "{text}");
    }
}
