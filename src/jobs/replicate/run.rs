//! One item of the replication queue, from its lock to the fate of its row (jobs.md 7.3).

use super::outcome::{ReplicateOutcome, RowFate};
use super::replication::{Purpose, Replication, class_and_policy};
use super::whereabouts::Whereabouts;
use super::{lock_file, surplus};
use crate::ids::{ClassId, Fid};
use crate::jobs::backoff;
use crate::jobs::context::JobContext;
use crate::store::queues::replicate::{ReplicateTodo, WorkedTodo};
use crate::store::{LockGuard, StoreResult, files, queues};
use std::time::{Duration, Instant};

/// Carries out one item: makes copies until the policy is content, or removes one that is too much, then settles the
/// queue row.
///
/// # Errors
/// The database failed; the row stays as claimed and comes back.
pub async fn run(ctx: &JobContext, todo: &ReplicateTodo) -> StoreResult<ReplicateOutcome> {
    let begun = Instant::now();
    let Some(lock) = lock_file(ctx, todo.fid).await? else {
        log_outcome(ctx, todo, &ReplicateOutcome::LockHeld, begun.elapsed());
        let todo = *todo;
        ctx.session.write(move |conn| queues::replicate::leave(conn, &todo)).await?;
        return Ok(ReplicateOutcome::LockHeld);
    };
    // The lock is kept until the row was settled, so that no other worker sees the file in between.
    let outcome = match bring_in_line(ctx, &lock, todo).await {
        Ok(Work { outcome, is_settled: true, .. }) => {
            lock.end().await;
            outcome
        }
        work => {
            let settled = match &work {
                Ok(Work { outcome, classid, .. }) => {
                    settle(ctx, &lock, WorkedTodo { todo: *todo, classid: *classid }, outcome).await
                }
                Err(_) => Ok(()),
            };
            lock.release().await;
            settled?;
            work?.outcome
        }
    };
    log_outcome(ctx, todo, &outcome, begun.elapsed());
    Ok(outcome)
}

/// What was done for an item.
struct Work {
    outcome: ReplicateOutcome,
    /// The class that was gone by; `None` without a file.
    classid: Option<ClassId>,
    /// Queue row and lock went along with the last copy.
    is_settled: bool,
}

async fn bring_in_line(ctx: &JobContext, lock: &LockGuard, todo: &ReplicateTodo) -> StoreResult<Work> {
    let cluster = ctx.view.load_full();
    let Some((file, devids)) = ctx.session.read(|conn| files::with_devids_by_fid(conn, todo.fid))? else {
        return Ok(Work { outcome: ReplicateOutcome::Gone, classid: None, is_settled: false });
    };
    let classid = Some(file.classid);
    let (class, policy) = match class_and_policy(&cluster, &file) {
        Ok(found) => found,
        Err(reason) => {
            return Ok(Work { outcome: ReplicateOutcome::NoPolicy(reason), classid, is_settled: false });
        }
    };
    let mut replication = Replication::of(ctx, lock, &cluster, class, policy, &file, &devids)?;
    let mut whereabouts = Whereabouts::new(&cluster, devids, file.length);
    if let Some(devid) = todo.fromdevid.filter(|devid| !whereabouts.sources().contains(devid)) {
        slog::info!(ctx.log, "the preferred source cannot be read; another serves"; "fid" => todo.fid, "devid" => devid);
    }
    let outcome = match replication.until_content(&mut whereabouts, Purpose::Item { todo }).await? {
        ReplicateOutcome::TooHappy => surplus::remove_one(&mut replication, &mut whereabouts).await?,
        outcome => outcome,
    };
    Ok(Work { outcome, classid, is_settled: replication.is_settled })
}

async fn settle(ctx: &JobContext, lock: &LockGuard, worked: WorkedTodo, outcome: &ReplicateOutcome) -> StoreResult<()> {
    let todo = worked.todo;
    match outcome.row_fate() {
        RowFate::Leave => Ok(()),
        RowFate::PutBack => lock.write(move |conn| queues::replicate::put_back(conn, &todo)).await.map(drop),
        // A row that somebody changed meanwhile (a new class, W24; an undelete) stays and is looked at again.
        RowFate::Remove => lock.write(move |conn| queues::replicate::finish(conn, &worked)).await.map(drop),
        RowFate::Park => lock.write(move |conn| queues::replicate::park(conn, &todo)).await.map(drop),
        RowFate::LookAgain => reschedule(ctx, lock, worked, 0).await,
        RowFate::Retry => reschedule(ctx, lock, worked, todo.failcount).await,
    }
}

async fn reschedule(ctx: &JobContext, lock: &LockGuard, worked: WorkedTodo, failures: i64) -> StoreResult<()> {
    let delay_secs = backoff::replication_delay_secs(failures, &mut ctx.chance.borrow_mut());
    lock.write(move |conn| queues::replicate::reschedule(conn, &worked, delay_secs)).await.map(drop)
}

fn log_outcome(ctx: &JobContext, todo: &ReplicateTodo, outcome: &ReplicateOutcome, took: Duration) {
    let fid: Fid = todo.fid;
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match outcome {
        ReplicateOutcome::Replicated { copies } => {
            slog::debug!(ctx.log, "replicated file"; "fid" => fid, "copies" => copies, "duration_ms" => duration_ms);
        }
        ReplicateOutcome::AlreadyHappy
        | ReplicateOutcome::Gone
        | ReplicateOutcome::LockHeld
        | ReplicateOutcome::Busy => {
            slog::debug!(ctx.log, "nothing to replicate"; "fid" => fid, "outcome" => outcome.code());
        }
        ReplicateOutcome::SurplusRemoved { devid } => {
            slog::info!(ctx.log, "removed a surplus copy"; "fid" => fid, "devid" => devid);
        }
        ReplicateOutcome::SurplusKept(reason) => {
            slog::warn!(ctx.log, "file has more copies than its class wants, and keeps them for now"; "fid" => fid,
                "reason" => reason, "failcount" => todo.failcount);
        }
        ReplicateOutcome::NoSource => {
            slog::error!(ctx.log, "file has no known copy; its replication is parked"; "fid" => fid);
        }
        ReplicateOutcome::TooHappy | ReplicateOutcome::SourceDown | ReplicateOutcome::NoSuggestions => {
            slog::warn!(ctx.log, "cannot replicate file now"; "fid" => fid, "outcome" => outcome.code(),
                "failcount" => todo.failcount);
        }
        ReplicateOutcome::NoPolicy(reason) | ReplicateOutcome::CopyFailed { reason, .. } => {
            slog::warn!(ctx.log, "cannot replicate file now"; "fid" => fid, "outcome" => outcome.code(),
                "reason" => reason, "failcount" => todo.failcount);
        }
    }
}
