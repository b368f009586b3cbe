//! `rebalance_reset`: forgets how far the last rebalance came.

use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, Group, Origin};
use crate::jobs::rebalance::{field, give_back_abandoned};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::{StoreConnection, StoreResult, server_settings};

pub const SPEC: CommandSpec = CommandSpec {
    name: "rebalance_reset",
    group: Group::Rebalance,
    summary: "Forgets how far the last rebalance came, so that the next one begins anew.",
    arguments: &[],
    reply: &[],
    errors: &[ErrorCode::RebalRunning],
    notes: "A device that an abandoned run has left in state `drain` is alive again, unless its policy wants it so.",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let Some(is_status_changed) = query.ctx.session.write(reset).await? else {
        return Err(CommandError::with_text(ErrorCode::RebalRunning, "rebalance is running"));
    };
    if is_status_changed {
        query.refresh().await;
    }
    Ok(Pairs::new())
}

/// Was the status of a device changed? `None` while a rebalance runs.
fn reset(conn: &mut StoreConnection) -> StoreResult<Option<bool>> {
    server_settings::hold(conn)?;
    if server_settings::get_true(conn, field::HOST)?.is_some() {
        return Ok(None);
    }
    let is_status_changed = give_back_abandoned(conn)?;
    server_settings::set_all(conn, &[(field::STATE, None), (field::PROBLEM, None)])?;
    Ok(Some(is_status_changed))
}
