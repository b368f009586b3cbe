//! `rebalance_test`: which devices the policy selects now.

use super::unusable;
use crate::clock::unix_now_secs;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin, pair};
use crate::jobs::query::{Query, comma_list};
use crate::jobs::rebalance::policy::RebalancePolicy;
use crate::jobs::rebalance::state::RebalanceState;
use crate::jobs::rebalance::{field, selection};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::server_settings;

pub const SPEC: CommandSpec = CommandSpec {
    name: "rebalance_test",
    group: Group::Rebalance,
    summary: "Which devices the policy selects now; changes nothing.",
    arguments: &[],
    reply: &[
        pair("sdevs", "Ids of the sources, commas between them."),
        pair("ddevs", "Ids of the destinations, commas between them."),
    ],
    errors: &[ErrorCode::NoRebalPolicy],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub fn handle(query: &Query<'_>) -> CommandResult {
    let stored = query.ctx.session.read(|conn| server_settings::get_true(conn, field::POLICY))?;
    let text = stored.ok_or(ErrorCode::NoRebalPolicy)?;
    let policy: RebalancePolicy = text.parse().map_err(|invalid| unusable(&invalid))?;
    let sources = selection::sources(&policy, &query.cluster);
    let state = RebalanceState::begin(sources.clone(), unix_now_secs());
    let min_free_space_mb = query.ctx.min_free_space_mb();
    let destinations = selection::destinations(&policy, &state, &query.cluster, min_free_space_mb);
    let mut pairs = Pairs::new();
    pairs.push("sdevs", comma_list(&sources));
    pairs.push("ddevs", comma_list(&destinations));
    Ok(pairs)
}
