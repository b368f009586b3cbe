//! `rebalance_reset`: forgets how far the last rebalance came.

use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, Group, Origin};
use crate::jobs::rebalance::field;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::server_settings;

pub const SPEC: CommandSpec = CommandSpec {
    name: "rebalance_reset",
    group: Group::Rebalance,
    summary: "Forgets how far the last rebalance came, so that the next one begins anew.",
    arguments: &[],
    reply: &[],
    errors: &[ErrorCode::RebalRunning],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let is_running = query
        .ctx
        .session
        .write(|conn| {
            server_settings::hold(conn)?;
            let is_running = server_settings::get_true(conn, field::HOST)?.is_some();
            if !is_running {
                server_settings::set_all(conn, &[(field::STATE, None), (field::PROBLEM, None)])?;
            }
            Ok(is_running)
        })
        .await?;
    if is_running {
        return Err(CommandError::with_text(ErrorCode::RebalRunning, "rebalance is running"));
    }
    Ok(Pairs::new())
}
