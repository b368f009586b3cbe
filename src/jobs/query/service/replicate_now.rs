//! `replicate_now`: what replication has put off is due at once.

use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin, pair};
use crate::protocol::response::Pairs;
use crate::store::queues;

pub const SPEC: CommandSpec = CommandSpec {
    name: "replicate_now",
    group: Group::Service,
    summary: "Makes all files due that replication has put off, also those that wait for a person.",
    arguments: &[],
    reply: &[pair("count", "How many files there were.")],
    errors: &[],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let count = query.ctx.session.write(queues::replicate::wake_all).await?;
    query.ctx.wake_jobs();
    let mut pairs = Pairs::new();
    pairs.push_display("count", count);
    Ok(pairs)
}
