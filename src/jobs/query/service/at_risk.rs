//! `at_risk`: files at one copy, and when they will be safe.

use crate::jobs::at_risk::safe_in_secs;
use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin, pair};
use crate::protocol::response::Pairs;
use crate::store::queues;

/// Counting stops here: the reply is for people, and the queue may be very long.
const FILES_MAX: i64 = 100_000;

pub const SPEC: CommandSpec = CommandSpec {
    name: "at_risk",
    group: Group::Service,
    summary: "Files at one copy that wait for another one, and when they will have it.",
    arguments: &[],
    reply: &[
        pair("files", "Rows of the replication queue whose file has at most one copy (`devcount`). At most 100000."),
        pair("is_more", "`1` if there are more than that."),
        pair("copied_last_minute", "Copies that this tracker made within the last minute."),
        pair("safe_in_secs", "How long the files take at that pace; empty while nothing is copied."),
    ],
    errors: &[],
    notes: "Other trackers copy, too, so it may be sooner. Files that are in no queue are not counted: what is lost unnoticed is found by fsck.",
    origin: Origin::Here,
    is_intercepted: false,
};

pub fn handle(query: &Query<'_>) -> CommandResult {
    let counted = query.ctx.session.read(|conn| queues::replicate::count_at_risk(conn, FILES_MAX + 1))?;
    let files = u64::try_from(counted.min(FILES_MAX)).unwrap_or(0);
    let copied = query.ctx.metrics.copied_last_minute.get();
    let mut pairs = Pairs::new();
    pairs.push_display("files", files);
    pairs.push("is_more", if counted > FILES_MAX { "1" } else { "0" });
    pairs.push_display("copied_last_minute", copied);
    pairs.push_option("safe_in_secs", safe_in_secs(files, copied));
    Ok(pairs)
}
