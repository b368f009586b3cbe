//! `rebalance_stop`: asks the tracker that carries out the rebalance to stop.

use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin};
use crate::jobs::rebalance::{SIGNAL_STOP, field};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::server_settings;

pub const SPEC: CommandSpec = CommandSpec {
    name: "rebalance_stop",
    group: Group::Rebalance,
    summary: "Asks the tracker that carries out the rebalance to stop; it does so soon after.",
    arguments: &[],
    reply: &[],
    errors: &[ErrorCode::RebalNotStarted],
    notes: "The state is kept: `rebalance_start` goes on with it.",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let was_running = query
        .ctx
        .session
        .write(|conn| {
            server_settings::hold(conn)?;
            let is_running = server_settings::get_true(conn, field::HOST)?.is_some();
            if is_running {
                server_settings::set(conn, field::SIGNAL, Some(SIGNAL_STOP))?;
            }
            Ok(is_running)
        })
        .await?;
    if !was_running {
        return Err(ErrorCode::RebalNotStarted.into());
    }
    query.ctx.wake_jobs();
    Ok(Pairs::new())
}
