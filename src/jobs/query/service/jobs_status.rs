//! `jobs_status`: how long the queues are, and what this tracker has handed to its workers.

use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin, pair};
use crate::metrics::JobMetrics;
use crate::protocol::response::Pairs;
use crate::store::queues::counts::{self, AllCounts, QueueCounts};

pub const SPEC: CommandSpec = CommandSpec {
    name: "jobs_status",
    group: Group::Service,
    summary: "How long the queues are, and what this tracker has handed to its workers.",
    arguments: &[],
    reply: &[
        pair("queues", "Number of queues, as follows."),
        pair("queue_<n>_name", "`delete`, `fsck`, `rebalance` or `replicate`."),
        pair("queue_<n>_due", "Rows in the database that are due."),
        pair("queue_<n>_deferred", "Rows that are due later: claimed by a tracker, or put off after a failure."),
        pair("queue_<n>_parked", "Rows that wait for a person."),
        pair("queue_<n>_claimed", "Rows that this tracker has claimed and no worker has taken."),
        pair("queue_<n>_sent", "Rows that workers have taken since this tracker began."),
    ],
    errors: &[],
    notes: "The workers themselves are told by the console command `!jobs`. The rows are counted, which takes time when \
            there are millions.",
    origin: Origin::Here,
    is_intercepted: false,
};

pub fn handle(query: &Query<'_>) -> CommandResult {
    let counts = query.ctx.session.read(counts::all)?;
    let mut pairs = Pairs::new();
    let queues = query.ctx.metrics.queues();
    pairs.push_display("queues", queues.len());
    for (number, (name, metrics)) in (1..).zip(queues) {
        push_queue(&mut pairs, number, name, counts_of(&counts, name), metrics);
    }
    Ok(pairs)
}

fn counts_of(counts: &AllCounts, queue: &str) -> QueueCounts {
    match queue {
        "delete" => counts.delete,
        "fsck" => counts.fsck,
        "rebalance" => counts.rebalance,
        _ => counts.replicate,
    }
}

fn push_queue(pairs: &mut Pairs, number: usize, name: &str, counts: QueueCounts, metrics: &JobMetrics) {
    let prefix = format!("queue_{number}");
    pairs.push(format!("{prefix}_name"), name);
    pairs.push_display(format!("{prefix}_due"), counts.due);
    pairs.push_display(format!("{prefix}_deferred"), counts.deferred);
    pairs.push_display(format!("{prefix}_parked"), counts.parked);
    pairs.push_display(format!("{prefix}_claimed"), metrics.waiting.get());
    pairs.push_display(format!("{prefix}_sent"), metrics.sent.get());
}
