//! Fsck: every file is looked at, what is wrong is logged, and what can be repaired is (jobs.md 10).
//!
//! Here is its state as the settings that all trackers share describe it (10.1): their names, a run begun anew, and the
//! sums of what was found. It is read from the database and written to it, never taken from the view of the cluster:
//! trackers of the reference change the same rows. [`inject`] fills the queue, [`run`] checks what is in it.

mod checksum_verdict;
mod event;
mod inject;
mod look;
mod options;
mod progress;
mod quick;
mod repair;
mod run;
pub mod scope;
mod shared;
mod subject;

pub use event::Evcode;
pub use inject::inject;
pub use progress::Progress;
pub use run::{BATCH_ROWS_MAX, run};
pub use shared::FsckShared;

use crate::ids::Fid;
use crate::jobs::context::JobContext;
use crate::store::fsck_run::{self, FsckRun};
use crate::store::{StoreConnection, StoreResult, files, fsck_log, server_settings};
use std::collections::BTreeMap;
use std::time::Duration;

/// Names of the settings.
pub mod field {
    /// The tracker that injects; absent while fsck does not run.
    pub const HOST: &str = "fsck_host";
    /// Up to which fid files were given to the workers.
    pub const POSITION: &str = "fsck_highest_fid_checked";
    /// The last fid of the run.
    pub const END: &str = "fsck_fid_at_end";
    /// The position when it was started.
    pub const START: &str = "fsck_start_fid";
    pub const START_TIME: &str = "fsck_start_time";
    pub const STOP_TIME: &str = "fsck_stop_time";
    /// `1`: no look at the nodes.
    pub const POLICY_ONLY: &str = "fsck_opt_policy_only";
    /// Files checked since the start; trackers of the reference write 0 and never count.
    pub const FIDS_CHECKED: &str = "fsck_fids_checked";
    /// The last `logid` when the run began.
    pub const START_MAXLOGID: &str = "fsck_start_maxlogid";
    /// Ours: when files were checked last.
    pub const CHECKED_TIME: &str = "fsck_checked_time";
    /// Ours: which run it is. Changes when one begins anew.
    pub const RUN: &str = "fsck_run";
    /// Ours: what the run is limited to.
    pub const SCOPE_DOMAIN: &str = "fsck_scope_dmid";
    pub const SCOPE_CLASS: &str = "fsck_scope_classid";
    pub const SCOPE_DEVICE: &str = "fsck_scope_devid";
    /// Percent-encoded: keys are bytes.
    pub const SCOPE_PREFIX: &str = "fsck_scope_key_prefix";
}

/// How long a reader waits for another one to finish summing.
const SUM_LOCK_WAIT: Duration = Duration::from_secs(10);

/// A setting that is a number; 0 if it is absent or none.
pub fn number(settings: &BTreeMap<String, String>, field: &str) -> i64 {
    settings.get(field).and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// Begins a run anew: its end is the highest fid there is, and the sums are cleared. The position stays.
pub fn reset_run(conn: &mut StoreConnection) -> StoreResult<()> {
    let end = files::max_fid(conn)?.map(|fid| fid.to_string());
    let last_logid = fsck_log::max_logid(conn)?.to_string();
    server_settings::remove_prefix(conn, fsck_log::SUM_PREFIX)?;
    server_settings::increment(conn, field::RUN, 1)?;
    server_settings::set_all(
        conn,
        &[
            (field::START_TIME, None),
            (field::STOP_TIME, None),
            (field::FIDS_CHECKED, Some("0")),
            (field::END, end.as_deref()),
            (field::START_MAXLOGID, Some(&last_logid)),
            (fsck_log::MARK_FIELD, Some(&last_logid)),
        ],
    )
}

/// Keeps for the history that a run begins at this position; one that goes on is known already.
pub fn record_run(conn: &mut StoreConnection, position: i64, now: i64) -> StoreResult<()> {
    let settings = server_settings::all(conn)?;
    let run = FsckRun {
        runid: number(&settings, field::RUN),
        started: now,
        ended: None,
        first_fid: Fid(position),
        last_fid: Fid(number(&settings, field::END)),
        first_logid: number(&settings, field::START_MAXLOGID),
        options: scope::describe(&settings),
    };
    fsck_run::begin(conn, &run)
}

/// Adds new events to the sums. Skipped when somebody else is summing for too long.
///
/// # Errors
/// Those of the database.
pub async fn sum_events(ctx: &JobContext) -> StoreResult<()> {
    let has_news = |conn: &mut StoreConnection| Ok(fsck_log::max_logid(conn)? != fsck_log::mark(conn)?);
    if !ctx.session.read(has_news)? {
        return Ok(());
    }
    let Some(lock) = ctx.session.try_lock(fsck_log::SUM_LOCK, SUM_LOCK_WAIT).await? else { return Ok(()) };
    let summed = ctx.session.write(fsck_log::fold).await;
    lock.release().await;
    summed
}

/// Empties the log. The sums stay, and have every event of it unless somebody else is summing for too long.
///
/// # Errors
/// Those of the database.
pub async fn clear_log(ctx: &JobContext) -> StoreResult<()> {
    let Some(lock) = ctx.session.try_lock(fsck_log::SUM_LOCK, SUM_LOCK_WAIT).await? else {
        return ctx.session.write(fsck_log::clear_unsummed).await;
    };
    let cleared = ctx.session.write(fsck_log::clear).await;
    lock.release().await;
    cleared
}
