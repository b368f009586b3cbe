//! The old queues of deletion: their rows go where all others are (jobs.md 8.4, J101–J103).

use crate::jobs::context::JobContext;
use crate::store::{StoreResult, queues};

/// Rows moved in one pass, of each of the two queues.
const ROWS_MAX: i64 = 500;

/// One pass; how many rows were moved.
pub async fn move_old_queue(ctx: &JobContext) -> StoreResult<usize> {
    if !ctx.session.read(queues::old_delete::is_due)? {
        return Ok(0);
    }
    let moved = ctx.session.write(|conn| queues::old_delete::move_over(conn, ROWS_MAX)).await?;
    slog::info!(ctx.log, "moved rows of the old queue of deletion"; "rows" => moved);
    ctx.wake_jobs();
    Ok(moved)
}
