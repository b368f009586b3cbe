//! `do_monitor_round`: waits for the monitor.

use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, Group, Origin};
use crate::notices::AwaitMonitorRound;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;

pub const SPEC: CommandSpec = CommandSpec {
    name: "do_monitor_round",
    group: Group::Service,
    summary: "Waits until the monitor has completed a round that included a reading of the database.",
    arguments: &[],
    reply: &[],
    errors: &[],
    notes: "It waits for the monitor's own pace, normally a few seconds. To see a change at once, send `clear_cache`.",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    match query.ctx.await_monitor_round.send(AwaitMonitorRound).await {
        Ok(true) => Ok(Pairs::new()),
        Ok(false) | Err(_) => Err(CommandError::with_text(ErrorCode::Failure, "the monitor was stopped")),
    }
}
