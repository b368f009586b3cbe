//! `jobs_status`: how long the queues are, and what this tracker has handed to its workers.

use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin, pair};
use crate::protocol::response::Pairs;
use crate::store::queues::counts::{self, AllCounts, QueueCounts};

pub const SPEC: CommandSpec = CommandSpec {
    name: "jobs_status",
    group: Group::Service,
    summary: "How long the queues are, and what this tracker has handed to its workers.",
    arguments: &[],
    reply: &[
        pair("queues", "Number of queues, as follows."),
        pair(
            "queue_<n>_name",
            "`delete`, `fsck`, `rebalance` or `replicate`; `file_to_delete` and `file_to_delete_later` for the old queues of \
             deletion, whose rows are moved to that of `delete`.",
        ),
        pair("queue_<n>_due", "Rows in the database that are due."),
        pair("queue_<n>_deferred", "Rows that are due later: claimed by a tracker, or put off after a failure."),
        pair("queue_<n>_parked", "Rows that wait for a person."),
        pair("queue_<n>_claimed", "Rows that this tracker has claimed and no worker has taken."),
        pair("queue_<n>_sent", "Rows that workers have taken since this tracker began."),
    ],
    errors: &[],
    notes: "The old queues have no workers of their own: nothing of them is ever claimed or sent. The workers themselves are told by the console command `!jobs`. The rows are counted, which takes time when \
            there are millions.",
    origin: Origin::Here,
    is_intercepted: false,
};

pub fn handle(query: &Query<'_>) -> CommandResult {
    let counts = query.ctx.session.read(counts::all)?;
    let worked = query.ctx.metrics.queues().map(|(name, metrics)| {
        let at_work = AtWork { claimed: metrics.waiting.get(), sent: metrics.sent.get() };
        (name, counts_of(&counts, name), at_work)
    });
    let old = [("file_to_delete", counts.old_delete), ("file_to_delete_later", counts.old_delete_later)];
    let old = old.map(|(name, counts)| (name, counts, AtWork::default()));
    let mut pairs = Pairs::new();
    pairs.push_display("queues", worked.len() + old.len());
    for (number, (name, counts, at_work)) in (1..).zip(worked.into_iter().chain(old)) {
        push_queue(&mut pairs, number, name, counts, at_work);
    }
    Ok(pairs)
}

/// What this tracker does with a queue.
#[derive(Clone, Copy, Default)]
struct AtWork {
    claimed: u64,
    sent: u64,
}

fn counts_of(counts: &AllCounts, queue: &str) -> QueueCounts {
    match queue {
        "delete" => counts.delete,
        "fsck" => counts.fsck,
        "rebalance" => counts.rebalance,
        _ => counts.replicate,
    }
}

fn push_queue(pairs: &mut Pairs, number: usize, name: &str, counts: QueueCounts, at_work: AtWork) {
    let prefix = format!("queue_{number}");
    pairs.push(format!("{prefix}_name"), name);
    pairs.push_display(format!("{prefix}_due"), counts.due);
    pairs.push_display(format!("{prefix}_deferred"), counts.deferred);
    pairs.push_display(format!("{prefix}_parked"), counts.parked);
    pairs.push_display(format!("{prefix}_claimed"), at_work.claimed);
    pairs.push_display(format!("{prefix}_sent"), at_work.sent);
}
