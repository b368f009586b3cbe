//! `rebalance_start`: begins a rebalance, or goes on with one that was stopped.

use super::unusable;
use crate::clock::unix_now_secs;
use crate::cluster::ClusterSnapshot;
use crate::jobs::fsck;
use crate::jobs::hostname::own_hostname;
use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, Group, Origin, pair};
use crate::jobs::rebalance::state::RebalanceState;
use crate::jobs::rebalance::{InvalidSetting, field, give_back_abandoned, selection};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::{StoreConnection, StoreResult, server_settings};

pub const SPEC: CommandSpec = CommandSpec {
    name: "rebalance_start",
    group: Group::Rebalance,
    summary: "Begins a rebalance by the policy, or goes on with one that was stopped.",
    arguments: &[],
    reply: &[pair("state", "How far it is: `name=value` words.")],
    errors: &[ErrorCode::RebalRunning, ErrorCode::FsckRunning, ErrorCode::NoRebalPolicy],
    notes: "The sources are chosen here, once; the destinations are chosen anew as long as it runs. The job master of \
            this tracker's host takes the files of one source after another; the replicate workers of all trackers move \
            the copies. A run that cannot go on ends by itself: `rebalance_status` says why.",
    origin: Origin::Reference,
    is_intercepted: false,
};

enum Outcome {
    /// With this state.
    Started(String),
    RebalanceRuns,
    FsckRuns,
    NoPolicy,
    Invalid(InvalidSetting),
}

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let (cluster, hostname) = (query.cluster.clone(), own_hostname());
    let state = match query.ctx.session.write(move |conn| start(conn, &cluster, &hostname)).await? {
        Outcome::Started(state) => state,
        Outcome::RebalanceRuns => {
            return Err(CommandError::with_text(ErrorCode::RebalRunning, "rebalance is already running"));
        }
        Outcome::FsckRuns => {
            let text = "fsck running; cannot run rebalance at same time";
            return Err(CommandError::with_text(ErrorCode::FsckRunning, text));
        }
        Outcome::NoPolicy => return Err(ErrorCode::NoRebalPolicy.into()),
        Outcome::Invalid(invalid) => return Err(unusable(&invalid)),
    };
    query.refresh().await;
    query.ctx.wake_jobs();
    let mut pairs = Pairs::new();
    pairs.push("state", state);
    Ok(pairs)
}

/// A state that is there is gone on with, whatever the policy says now.
fn start(conn: &mut StoreConnection, cluster: &ClusterSnapshot, hostname: &str) -> StoreResult<Outcome> {
    server_settings::hold(conn)?;
    if server_settings::get_true(conn, field::HOST)?.is_some() {
        return Ok(Outcome::RebalanceRuns);
    }
    if server_settings::get_true(conn, fsck::field::HOST)?.is_some() {
        return Ok(Outcome::FsckRuns);
    }
    let state = match server_settings::get_true(conn, field::STATE)? {
        Some(state) => state,
        None => {
            let Some(policy) = server_settings::get_true(conn, field::POLICY)? else { return Ok(Outcome::NoPolicy) };
            match policy.parse() {
                Ok(policy) => {
                    give_back_abandoned(conn)?;
                    RebalanceState::begin(selection::sources(&policy, cluster), unix_now_secs()).to_string()
                }
                Err(invalid) => return Ok(Outcome::Invalid(invalid)),
            }
        }
    };
    server_settings::set_all(
        conn,
        &[(field::STATE, Some(&state)), (field::HOST, Some(hostname)), (field::PROBLEM, None)],
    )?;
    Ok(Outcome::Started(state))
}
