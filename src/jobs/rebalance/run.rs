//! One queued move: carried out, and its row removed (jobs.md 11.4). A move that failed is not tried again by itself;
//! another run of the rebalance finds the copy where it was.

use crate::jobs::context::JobContext;
use crate::jobs::replicate::{self, MoveOutcome};
use crate::store::StoreResult;
use crate::store::queues::todo::{self, REBALANCE, RebalanceTodo};

/// Moves a copy, and removes the row whatever came of it (J155). Failures are logged where they happen.
///
/// # Errors
/// The database failed: the row stays, and comes back when its claim runs out.
pub async fn run(ctx: &JobContext, todo: &RebalanceTodo) -> StoreResult<()> {
    let fid = todo.fid;
    if replicate::move_away(ctx, todo).await? == MoveOutcome::LockHeld {
        slog::warn!(ctx.log, "could not move a copy"; "fid" => fid, "devid" => todo.devid.map(|devid| devid.0),
            "reason" => "somebody else is changing the copies of the file");
    }
    ctx.session.write(move |conn| todo::finish(conn, &[fid], REBALANCE)).await?;
    Ok(())
}
