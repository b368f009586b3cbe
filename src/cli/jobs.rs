//! `mogilefs jobs`: the workers of a tracker, and the queues they work on.

use super::output::{Failure, table};
use super::session::Session;
use super::watch::{WatchArgs, watch};
use crate::client::ClientError;
use crate::protocol::args::Args as Reply;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

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
                let mut before = None;
                watch(&self.watch, session, async |session: &mut Session<'_>| {
                    before = Some(list(session, before.take()).await?);
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

/// Shows workers and queues; with rates since the reading before, if there was one. Gives this reading.
async fn list(session: &mut Session<'_>, before: Option<Reading>) -> Result<Reading, Failure> {
    let workers = read_workers(&session.tracker.console("!jobs").await?);
    let uptime_secs = read_uptime_secs(&session.tracker.console("!stats").await?);
    let mut queues = read_queues(&session.tracker.request("jobs_status", &[]).await?);
    let reading = Reading::now(&queues);
    for queue in &mut queues {
        queue.per_sec = uptime_secs.and_then(|secs| per_sec(queue.sent, secs));
        queue.per_sec_now = before.as_ref().and_then(|before| before.per_sec_since(queue, reading.at));
    }
    session.output.result(&as_json(&workers, &queues), || as_text(&workers, &queues))?;
    Ok(reading)
}

/// What was sent from each queue, and when that was read.
struct Reading {
    at: Instant,
    sent: BTreeMap<String, i64>,
}

impl Reading {
    fn now(queues: &[Queue]) -> Self {
        Self { at: Instant::now(), sent: queues.iter().map(|queue| (queue.name.clone(), queue.sent)).collect() }
    }

    /// `None` if the tracker has begun anew since.
    fn per_sec_since(&self, queue: &Queue, now: Instant) -> Option<f64> {
        let sent = queue.sent - self.sent.get(&queue.name)?;
        per_sec(sent, now.duration_since(self.at).as_secs_f64()).filter(|_| sent >= 0)
    }
}

fn per_sec(count: i64, secs: f64) -> Option<f64> {
    (secs > 0.0).then(|| (count as f64 / secs * 1000.0).round() / 1000.0)
}

/// From the line `uptime <seconds>`.
fn read_uptime_secs(lines: &[String]) -> Option<f64> {
    lines.iter().find_map(|line| line.strip_prefix("uptime ")?.trim().parse().ok())
}

/// Workers of one kind.
#[derive(Debug, Default, PartialEq)]
struct Workers {
    wanted: i64,
    running: i64,
}

/// A queue in the database, and what this tracker does with it.
#[derive(Debug, Default, PartialEq)]
struct Queue {
    name: String,
    due: i64,
    deferred: i64,
    parked: i64,
    claimed: i64,
    sent: i64,
    /// Sent per second, since the tracker began.
    per_sec: Option<f64>,
    /// Sent per second, since the last showing.
    per_sec_now: Option<f64>,
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
            ..Queue::default()
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
            "claimed": queue.claimed, "sent": queue.sent, "sent_per_sec": queue.per_sec,
            "sent_per_sec_now": queue.per_sec_now,
        })
    });
    json!({ "workers": workers.collect::<Vec<_>>(), "queues": queues.collect::<Vec<_>>() })
}

fn as_text(workers: &BTreeMap<String, Workers>, queues: &[Queue]) -> String {
    let workers: Vec<Vec<String>> = workers
        .iter()
        .map(|(kind, workers)| vec![kind.clone(), workers.wanted.to_string(), workers.running.to_string()])
        .collect();
    let is_watched = queues.iter().any(|queue| queue.per_sec_now.is_some());
    let mut head = vec!["queue", "due", "deferred", "parked", "claimed", "sent", "per second"];
    head.extend(is_watched.then_some("now"));
    let rate = |rate: Option<f64>| rate.map(|rate| format!("{rate:.1}")).unwrap_or_default();
    let queues: Vec<Vec<String>> = queues
        .iter()
        .map(|queue| {
            let figures = [queue.due, queue.deferred, queue.parked, queue.claimed, queue.sent];
            let mut row: Vec<String> = [queue.name.clone()].into();
            row.extend(figures.map(|figure| figure.to_string()));
            row.push(rate(queue.per_sec));
            row.extend(is_watched.then(|| rate(queue.per_sec_now)));
            row
        })
        .collect();
    format!("{}\n{}", table(&["workers", "wanted", "running"], &workers), table(&head, &queues))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn workers_and_queues_are_shown() {
        let lines =
            ["delete count 1", "delete desired 2", "delete pids 5", "fsck count 0", "fsck desired 0", "fsck pids"];
        let workers = read_workers(&lines.map(str::to_owned));
        assert_eq!(workers["delete"], Workers { wanted: 2, running: 1 });
        let reply = Reply::decode(
            b"queues=1&queue_1_name=delete&queue_1_due=3&queue_1_deferred=4&queue_1_parked=5&queue_1_claimed=6&queue_1_sent=70",
        );
        let mut queues = read_queues(&reply);
        queues[0].per_sec = per_sec(70, read_uptime_secs(&["uptime 100".to_owned()]).expect("a number"));
        let text = as_text(&workers, &queues);
        assert!(text.starts_with("WORKERS  WANTED  RUNNING\ndelete   2       1\nfsck     0       0\n"), "{text}");
        assert!(text.ends_with("delete  3    4         5       6        70    0.7\n"), "{text}");
    }

    #[test]
    fn rates_are_between_two_readings() {
        let queue = |sent| Queue { name: "delete".to_owned(), sent, ..Queue::default() };
        let before = Reading::now(&[queue(70)]);
        let now = before.at + Duration::from_secs(4);
        assert_eq!(before.per_sec_since(&queue(90), now), Some(5.0));
        assert_eq!(before.per_sec_since(&queue(3), now), None, "the tracker was started again");
        assert_eq!(before.per_sec_since(&queue(90), before.at), None);
        let shown = Queue { per_sec: Some(0.5), per_sec_now: Some(5.0), ..queue(90) };
        let text = as_text(&BTreeMap::new(), &[shown]);
        assert!(text.contains("PER SECOND  NOW") && text.ends_with("0.5         5.0\n"), "{text}");
    }
}
