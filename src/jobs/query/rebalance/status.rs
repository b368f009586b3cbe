//! `rebalance_status`: how far the rebalance is.

use crate::clock::unix_now_secs;
use crate::ids::Fid;
use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin, pair};
use crate::jobs::rebalance::policy::RebalancePolicy;
use crate::jobs::rebalance::state::RebalanceState;
use crate::jobs::rebalance::{field, progress};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::queues::todo::{self, REBALANCE};
use crate::store::{files, server_settings};
use std::collections::BTreeMap;

pub const SPEC: CommandSpec = CommandSpec {
    name: "rebalance_status",
    group: Group::Rebalance,
    summary: "How far the rebalance is, or how far the last one came.",
    arguments: &[],
    reply: &[
        pair(
            "state",
            "`name=value` words: `completed_devs`, `source_devs`, `sdev_current`, `sdev_lastfid`, `sdev_limit`, `limit`, \
             `fids_queued`, `bytes_queued`, `time_started`, `time_finished`, `time_stopped`, `time_latest_run`, \
             `time_latest_empty_run`, `empty_runs`, in any order; times are Unix times of the tracker.",
        ),
        pair("running", "1 while files are taken for moving, else 0."),
        pair("host", "The tracker that takes them, empty if none does."),
        pair("waiting", "Moves in the queue, also when the run has ended."),
        pair("percent_queued", "Estimate of how much of the run is in the queue or past it, 0 to 100."),
        pair(
            "files_per_sec",
            "Moves that were tried, per second since the run began, pauses included; missing if it was stopped.",
        ),
        pair(
            "eta_secs",
            "Estimate of the seconds until the last move; missing while it cannot be told, or if it was stopped.",
        ),
        pair(
            "problem",
            "Why the run ended before it was done, what it waits for, or which sources a limit in percent cannot count; \
             missing if nothing is so.",
        ),
    ],
    errors: &[ErrorCode::NoRebalState],
    notes: "2.73 answers `state` only. The estimates take it that files lie on a source evenly by their numbers, and that \
            all sources hold equally many.",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub fn handle(query: &Query<'_>) -> CommandResult {
    let (settings, waiting, max_fid) = query
        .ctx
        .session
        .read(|conn| Ok((server_settings::all(conn)?, todo::count(conn, REBALANCE)?, files::max_fid(conn)?)))?;
    if !server_settings::says(&settings, field::STATE) {
        return Err(ErrorCode::NoRebalState.into());
    }
    let mut pairs = Pairs::new();
    pairs.push_option("state", settings.get(field::STATE));
    pairs.push_display("running", u8::from(server_settings::says(&settings, field::HOST)));
    pairs.push_option("host", settings.get(field::HOST));
    pairs.push_display("waiting", waiting);
    push_progress(&mut pairs, &settings, u64::try_from(waiting).unwrap_or(0), max_fid.unwrap_or_default());
    if let Some(problem) = settings.get(field::PROBLEM) {
        pairs.push("problem", problem);
    }
    Ok(pairs)
}

/// Nothing if somebody has written a policy or a state that cannot be read.
fn push_progress(pairs: &mut Pairs, settings: &BTreeMap<String, String>, waiting: u64, max_fid: Fid) {
    let text = |field: &str| settings.get(field).map(String::as_str).unwrap_or_default();
    let policy: Result<RebalancePolicy, _> = text(field::POLICY).parse();
    let state: Result<RebalanceState, _> = text(field::STATE).parse();
    let (Ok(policy), Ok(state)) = (policy, state) else { return };
    let is_running = server_settings::says(settings, field::HOST);
    let progress = progress::estimate(&policy, &state, is_running, waiting, max_fid, unix_now_secs());
    pairs.push_display("percent_queued", format_args!("{:.1}", progress.percent_queued));
    if let Some(files_per_sec) = progress.files_per_sec {
        pairs.push_display("files_per_sec", format_args!("{files_per_sec:.1}"));
    }
    if let Some(eta_secs) = progress.eta_secs {
        pairs.push_display("eta_secs", eta_secs);
    }
}
