//! `rebalance_status`: how far the rebalance is.

use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin, pair};
use crate::jobs::rebalance::field;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::server_settings;

pub const SPEC: CommandSpec = CommandSpec {
    name: "rebalance_status",
    group: Group::Rebalance,
    summary: "How far the rebalance is, or how far the last one came.",
    arguments: &[],
    reply: &[pair(
        "state",
        "`name=value` words: `completed_devs`, `source_devs`, `sdev_current`, `sdev_lastfid`, `sdev_limit`, `limit`, \
         `fids_queued`, `bytes_queued`, `time_started`, `time_finished`, `time_stopped`, `time_latest_run`, \
         `time_latest_empty_run`, `empty_runs`, in any order; times are Unix times of the tracker.",
    )],
    errors: &[ErrorCode::NoRebalState],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub fn handle(query: &Query<'_>) -> CommandResult {
    let state = query.ctx.session.read(|conn| server_settings::get_true(conn, field::STATE))?;
    let mut pairs = Pairs::new();
    pairs.push("state", state.ok_or(ErrorCode::NoRebalState)?);
    Ok(pairs)
}
