//! One queued move: carried out, and its row removed (jobs.md 11.4). A move that failed is not tried again by itself;
//! another run of the rebalance finds the copy where it was.

use crate::jobs::context::JobContext;
use crate::jobs::replicate::{self, MoveOutcome};
use crate::store::StoreResult;
use crate::store::queues::todo::{self, RebalanceTodo};

/// Moves a copy, and removes the row whatever came of it (J155), unless it is of another claim by now. Failures are logged where they happen.
///
/// # Errors
/// The database failed: the row stays, and comes back when its claim runs out.
pub async fn run(ctx: &JobContext, todo: &RebalanceTodo) -> StoreResult<()> {
    if replicate::move_away(ctx, todo).await? == MoveOutcome::LockHeld {
        slog::warn!(ctx.log, "could not move a copy"; "fid" => todo.fid, "devid" => todo.devid.map(|devid| devid.0),
            "reason" => "somebody else is changing the copies of the file");
    }
    let todo = todo.clone();
    ctx.session.write(move |conn| todo::finish_move(conn, &todo)).await?;
    Ok(())
}
