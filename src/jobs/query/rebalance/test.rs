//! `rebalance_test`: which devices the policy selects now, and what a run would move.

use super::unusable;
use crate::clock::unix_now_secs;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin, pair};
use crate::jobs::query::{Query, comma_list};
use crate::jobs::rebalance::dry_run::{SourceTotals, dry_run};
use crate::jobs::rebalance::plan::Run;
use crate::jobs::rebalance::policy::RebalancePolicy;
use crate::jobs::rebalance::state::RebalanceState;
use crate::jobs::rebalance::{NO_DESTINATION, field, selection};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::server_settings;

pub const SPEC: CommandSpec = CommandSpec {
    name: "rebalance_test",
    group: Group::Rebalance,
    summary: "Which devices the policy selects now, and what a run that begins now would move; changes nothing.",
    arguments: &[],
    reply: &[
        pair("sdevs", "Ids of the sources, commas between them."),
        pair("ddevs", "Ids of the destinations, commas between them."),
        pair("files", "Copies that would be moved, within the limits of the policy."),
        pair("bytes", "Bytes of them."),
        pair("estimated", "1 if `files` and `bytes` are partly estimated, else 0."),
        pair("sources", "Number of sources from which something would be taken, as follows."),
        pair("source_<n>_devid", "Id of the source; `<n>` counts from 1 in the order of the run."),
        pair("source_<n>_files", "Copies that would be moved away from it."),
        pair("source_<n>_bytes", "Bytes of them."),
        pair("source_<n>_estimated", "1 if not all of its files were looked at, else 0."),
        pair("problem", "Why a run would end at once; then there are no totals."),
    ],
    errors: &[ErrorCode::NoRebalPolicy],
    notes: "2.73 answers `sdevs` and `ddevs` only. At most 100,000 files are looked at; what is beyond is estimated from \
            the used space of the sources. Whether the replication policy of a file lets its copy go is not asked.",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
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
    match Run::new(policy, state) {
        Err(error) => pairs.push("problem", error.to_string()),
        Ok(_) if destinations.is_empty() => pairs.push("problem", NO_DESTINATION),
        Ok(run) => push_totals(&mut pairs, &dry_run(query.ctx, &query.cluster, run).await?),
    }
    Ok(pairs)
}

fn push_totals(pairs: &mut Pairs, sources: &[SourceTotals]) {
    pairs.push_display("files", sources.iter().map(|source| source.files).sum::<u64>());
    pairs.push_display("bytes", sources.iter().map(|source| source.bytes).sum::<u64>());
    pairs.push_display("estimated", u8::from(sources.iter().any(|source| source.is_estimate)));
    pairs.push_display("sources", sources.len());
    for (number, source) in (1..).zip(sources) {
        let prefix = format!("source_{number}");
        pairs.push_display(format!("{prefix}_devid"), source.devid);
        pairs.push_display(format!("{prefix}_files"), source.files);
        pairs.push_display(format!("{prefix}_bytes"), source.bytes);
        pairs.push_display(format!("{prefix}_estimated"), u8::from(source.is_estimate));
    }
}
