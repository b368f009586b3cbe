//! Uploads that were opened and never closed are handed to deletion (jobs.md 8.2, with the order of W13).

use crate::jobs::context::JobContext;
use crate::store::{StoreResult, deleted_files, tempfiles};
use std::time::Duration;

/// Rows looked at in one pass.
const ROWS_MAX: i64 = 50;

/// One pass. Gives the number of uploads that were given up; 0 also when another tracker is at it.
pub async fn expire(ctx: &JobContext) -> StoreResult<usize> {
    let Some(lock) = ctx.session.try_lock("mgfs:tempfiles", Duration::ZERO).await? else {
        return Ok(0);
    };
    let expired = expire_locked(ctx).await;
    lock.release().await;
    expired
}

async fn expire_locked(ctx: &JobContext) -> StoreResult<usize> {
    let max_age_secs = ctx.settings.jobs.tempfile_max_age_secs;
    let rows = ctx.session.read(|conn| tempfiles::expired(conn, max_age_secs, ROWS_MAX))?;
    let mut given_up = 0;
    for row in rows {
        let fid = row.fid;
        // One change per upload: the row goes first and its deletion decides who owns the upload, we or its closer.
        if ctx.session.write(move |conn| tempfiles::expire(conn, &row)).await? {
            slog::info!(ctx.log, "gave up an upload that was never closed"; "fid" => fid);
            given_up += 1;
        }
    }
    ctx.session.write(deleted_files::sweep).await?;
    Ok(given_up)
}
