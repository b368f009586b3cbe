//! `fsck_clearlog`: empties the log of fsck.

use crate::jobs::fsck;
use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin};
use crate::protocol::response::Pairs;

pub const SPEC: CommandSpec = CommandSpec {
    name: "fsck_clearlog",
    group: Group::Fsck,
    summary: "Empties the log; the counters of `fsck_status` stay.",
    arguments: &[],
    reply: &[],
    errors: &[],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    fsck::clear_log(query.ctx).await?;
    Ok(Pairs::new())
}
