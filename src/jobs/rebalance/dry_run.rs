//! What a run would move, without moving it: the files are taken as a run would take them, so that every limit counts.
//!
//! Reads only. How many files it looks at is bounded; what lies beyond is estimated from the used space of the source.

use super::plan::Run;
use super::policy::Amount;
use super::state::Remaining;
use crate::cluster::ClusterSnapshot;
use crate::ids::DevId;
use crate::jobs::context::JobContext;
use crate::store::{StoreResult, file_on};
use std::collections::BTreeMap;

/// Files that one dry run looks at, of all sources together.
const FILES_MAX: usize = 100_000;
/// Files that are read at a time; other requests of the worker come between two pages.
const PAGE_FILES: usize = 2_000;

/// What would be moved away from one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceTotals {
    pub devid: DevId,
    pub files: u64,
    pub bytes: u64,
    /// Not all of its files were looked at.
    pub is_estimate: bool,
}

/// Goes through the sources of a run that has not begun. Whether the policy of a file's class lets it go is not asked.
///
/// # Errors
/// The database failed.
pub async fn dry_run(ctx: &JobContext, cluster: &ClusterSnapshot, mut run: Run) -> StoreResult<Vec<SourceTotals>> {
    let mut totals = Vec::new();
    let mut files_left = FILES_MAX;
    while let Some(devid) = run.source(cluster) {
        run.state.time_latest_run = run.state.time_started.max(1);
        let share = files_left / (run.state.source_devs.len() + 1);
        let mut source = SourceTotals { devid, files: 0, bytes: 0, is_estimate: false };
        let seen = look_at_files(ctx, &mut run, &mut source, share).await?;
        files_left -= seen;
        if source.is_estimate {
            let used_mb = cluster.devices.get(&devid).and_then(|device| device.mb_used);
            add_estimate(&mut run, &mut source, used_mb.unwrap_or(0));
        }
        totals.push(source);
        run.finish_source();
    }
    Ok(totals)
}

/// Takes files of the source until there are no more, the limit is used up, or `files_max` were looked at; how many were.
async fn look_at_files(
    ctx: &JobContext,
    run: &mut Run,
    source: &mut SourceTotals,
    files_max: usize,
) -> StoreResult<usize> {
    let mut seen = 0;
    while !run.is_used_up() {
        let wanted = PAGE_FILES.min(files_max - seen);
        if wanted == 0 {
            source.is_estimate = true;
            break;
        }
        let files = ctx.session.read(|conn| file_on::of_device(conn, source.devid, run.page(), wanted as i64))?;
        if files.is_empty() {
            break;
        }
        seen += files.len();
        let taken = run.take(&files, &BTreeMap::new(), &[], &mut ctx.chance.borrow_mut());
        source.files += taken.moves.len() as u64;
        source.bytes = source.bytes.saturating_add(taken.bytes);
        tokio::task::yield_now().await;
    }
    Ok(seen)
}

/// The rest of a source: as many bytes as it uses and were not seen, in files like those that were seen, within the limit.
fn add_estimate(run: &mut Run, source: &mut SourceTotals, used_mb: i64) {
    let used_bytes = u64::try_from(used_mb).unwrap_or(0) << 20;
    let mean_bytes = (source.bytes / source.files.max(1)).max(1);
    let mut rest_bytes = used_bytes.saturating_sub(source.bytes);
    let mut rest_files = rest_bytes / mean_bytes;
    if let Some((amount, Remaining::Left(left))) = run.limit_left() {
        let limited_files = match amount {
            Amount::Files(_) => *left,
            Amount::Bytes(_) | Amount::Percent(_) => *left / mean_bytes,
        };
        if limited_files < rest_files {
            rest_files = limited_files;
            rest_bytes = limited_files.saturating_mul(mean_bytes);
        }
        let spent = match amount {
            Amount::Files(_) => rest_files,
            Amount::Bytes(_) | Amount::Percent(_) => rest_bytes,
        };
        *left = left.saturating_sub(spent);
    }
    source.files += rest_files;
    source.bytes = source.bytes.saturating_add(rest_bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::rebalance::state::RebalanceState;

    /// A source of which ten files of 1 MiB were seen.
    fn estimated(policy: &str, used_mb: i64) -> (u64, u64) {
        let state = RebalanceState::begin(vec![DevId(1)], 5);
        let mut run = Run::new(policy.parse().expect("a policy"), state).expect("a limit");
        run.source(&ClusterSnapshot::default());
        let mut source = SourceTotals { devid: DevId(1), files: 10, bytes: 10 << 20, is_estimate: true };
        add_estimate(&mut run, &mut source, used_mb);
        (source.files, source.bytes >> 20)
    }

    #[test]
    fn the_rest_is_like_what_was_seen() {
        assert_eq!(estimated("", 500), (500, 500));
        assert_eq!(estimated("", 5), (10, 10), "no less than what was seen");
        assert_eq!(estimated("limit_by=count limit=20", 500), (30, 30), "so much is left of the limit");
        assert_eq!(estimated("limit_by=size limit=90m", 500), (100, 100));
        assert_eq!(estimated("limit_type=global limit_by=count limit=20", 500), (30, 30));
    }
}
