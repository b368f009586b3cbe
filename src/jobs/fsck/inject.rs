//! Filling the queue of fsck (jobs.md 10.2): the tracker whose host name stands in `fsck_host` walks over all files by
//! number, as fast as they are checked.
//!
//! The rows and the position that they belong to are one change: a crash neither skips a file nor queues it twice.

use super::{field, number, scope};
use crate::ids::Fid;
use crate::jobs::context::JobContext;
use crate::jobs::hostname::own_hostname;
use crate::store::queues::todo::{self, FSCK};
use crate::store::{StoreConnection, StoreResult, db_unixtime, fsck_inject, fsck_run, server_settings};
use std::time::{Duration, Instant};

/// Rows that may be queued, and rows of one step (jobs.md 13).
const QUEUE_SIZE_DEFAULT: i64 = 20_000;
const QUEUE_RATE_DEFAULT: i64 = 1_000;
/// Files that one step walks over in search of some of its scope.
const SCAN_ROWS_MAX: i64 = 10_000;
/// The sums of `fsck_status` are brought up to date so often.
const SUM_INTERVAL: Duration = Duration::from_secs(5);

/// One step, if this tracker is the one that fills the queue and there is room. True if there may be more to do at once.
///
/// # Errors
/// The database failed; nothing was changed.
pub async fn inject(ctx: &JobContext) -> StoreResult<bool> {
    let (hostname, cluster) = (own_hostname(), ctx.view.load_full());
    if cluster.server_setting(field::HOST) != Some(hostname.as_str()) {
        return Ok(false);
    }
    if ctx.fsck.sum_is_due(Instant::now(), SUM_INTERVAL) {
        super::sum_events(ctx).await?;
    }
    let limit = |field: &str, default: i64| match cluster.server_number(field, default) {
        ..=0 => default,
        limit => limit,
    };
    let rows_max = limit("queue_rate_for_fsck", QUEUE_RATE_DEFAULT);
    let queue_max = limit("queue_size_for_fsck", QUEUE_SIZE_DEFAULT);
    // Files that could not be checked wait for a device, perhaps for days: the others do not wait with them.
    if ctx.session.read(|conn| todo::count_untried(conn, FSCK))? >= queue_max {
        return Ok(false);
    }
    ctx.session.write(move |conn| step(conn, &hostname, rows_max)).await
}

/// The next files. The view of the cluster may be some seconds old, so who is to do it is asked again (jobs.md 10.2).
fn step(conn: &mut StoreConnection, hostname: &str, rows_max: i64) -> StoreResult<bool> {
    server_settings::hold(conn)?;
    let settings = server_settings::all(conn)?;
    if settings.get(field::HOST).map(String::as_str) != Some(hostname) {
        return Ok(false);
    }
    let scope = scope::read(&settings);
    let (after, end) = (Fid(number(&settings, field::POSITION)), Fid(number(&settings, field::END)));
    let everything = fsck_inject::FsckScope::default();
    let scanned_max = if scope.is_everything() { rows_max } else { SCAN_ROWS_MAX.max(rows_max) };
    let scanned_upto = fsck_inject::nth_after(conn, &everything, after, end, scanned_max)?;
    let mut upto = scanned_upto.unwrap_or(end);
    if !scope.is_everything()
        && let Some(last) = fsck_inject::nth_after(conn, &scope, after, upto, rows_max)?
    {
        upto = last;
    }
    // Never backwards, also when the position was set beyond the end.
    let upto = upto.max(after);
    fsck_inject::enqueue_between(conn, &scope, after, upto)?;
    server_settings::set(conn, field::POSITION, Some(&upto.to_string()))?;
    if upto < end {
        return Ok(true);
    }
    let now = db_unixtime(conn)?;
    server_settings::set_all(conn, &[(field::HOST, None), (field::STOP_TIME, Some(&now.to_string()))])?;
    fsck_run::end(conn, number(&settings, field::RUN), now)?;
    Ok(false)
}
