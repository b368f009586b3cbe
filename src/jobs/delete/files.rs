//! One item of the deletion queue (jobs.md 8.3, with the fixes W14–W16).

use crate::cluster::ClusterSnapshot;
use crate::cluster::device::DeviceView;
use crate::cluster::host::Zone;
use crate::ids::{DevId, Fid};
use crate::jobs::backoff::{self, DeleteObstacle};
use crate::jobs::context::JobContext;
use crate::store::queues::delete::DeleteTodo;
use crate::store::{LockGuard, StoreResult, checksums, deleted_files, file_on, queues, tempfiles};
use std::time::Duration;

/// How long to wait for the lock of a file.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// A device that this tracker does not know may be a new one; after so many failures it counts as gone (W15).
const UNKNOWN_DEVICE_FAILURES: i64 = 3;

/// What came of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// All copies are gone, and so is the row.
    Deleted { copies: usize },
    /// Some copies could not be deleted now; the row waits.
    Postponed { obstacle: DeleteObstacle, delay_secs: i64 },
    /// A key owns the file: nothing was deleted, the row is gone.
    Alive,
}

/// Carries out one item.
///
/// # Errors
/// The database failed; the row stays as claimed and comes back.
pub async fn run(ctx: &JobContext, todo: &DeleteTodo) -> StoreResult<DeleteOutcome> {
    let lock_name = format!("mgfs:fid:{}:replicate", todo.fid);
    let Some(lock) = ctx.session.try_lock(&lock_name, LOCK_WAIT).await? else {
        return postpone(ctx, todo, Vec::new(), DeleteObstacle::Locked).await;
    };
    let outcome = delete_copies(ctx, &lock, todo).await;
    match outcome {
        // The lock went with everything else that the database knew of the file.
        Ok(DeleteOutcome::Deleted { .. }) => lock.end().await,
        _ => drop(lock.release().await),
    }
    outcome
}

async fn delete_copies(ctx: &JobContext, lock: &LockGuard, todo: &DeleteTodo) -> StoreResult<DeleteOutcome> {
    let fid = todo.fid;
    let Some(devids) = doomed_copies(ctx, fid).await? else {
        slog::warn!(ctx.log, "a file that is to be deleted is alive; left alone"; "fid" => fid);
        ctx.session.write(move |conn| queues::delete::finish(conn, fid)).await?;
        return Ok(DeleteOutcome::Alive);
    };
    if !lock.is_held() {
        return postpone(ctx, todo, Vec::new(), DeleteObstacle::Locked).await;
    }
    let snapshot = ctx.view.load_full();
    let cluster = &*snapshot;
    let attempts = devids.iter().map(|&devid| async move { (devid, delete_copy(ctx, cluster, todo, devid).await) });
    let (mut settled, mut worst) = (Vec::new(), None);
    for (devid, attempt) in futures::future::join_all(attempts).await {
        match attempt {
            Ok(()) => settled.push(devid),
            Err(obstacle) => worst = worst.max(Some(obstacle)),
        }
    }
    match worst {
        Some(obstacle) => postpone(ctx, todo, settled, obstacle).await,
        None => finish(ctx, lock, fid, settled).await,
    }
}

/// The devices whose copies go; `None` if a key owns the file. An upload that is still open ends here and not after its
/// copies: else it could be closed meanwhile, and acknowledged, although its bytes are going.
async fn doomed_copies(ctx: &JobContext, fid: Fid) -> StoreResult<Option<Vec<DevId>>> {
    let Some(found) = ctx.session.read(|conn| file_on::find_unless_owned(conn, fid))? else { return Ok(None) };
    if found.is_open && !ctx.session.write(move |conn| tempfiles::end_for_deletion(conn, fid)).await? {
        return Ok(None);
    }
    Ok(Some(found.devids))
}

/// Deletes one copy from its node; `Ok` when it is gone or cannot matter any more.
async fn delete_copy(
    ctx: &JobContext,
    cluster: &ClusterSnapshot,
    todo: &DeleteTodo,
    devid: DevId,
) -> Result<(), DeleteObstacle> {
    let Some(device) = cluster.device(devid) else {
        let given_up = todo.failcount >= UNKNOWN_DEVICE_FAILURES;
        return if given_up { Ok(()) } else { Err(DeleteObstacle::NotWriteable) };
    };
    match obstacle_by_state(&device) {
        _ if device.device.is_dead() => Ok(()),
        Some(obstacle) => Err(obstacle),
        None => {
            let url = device.upload_url(todo.fid, Zone::NONE);
            match ctx.nodes.delete(&url).await {
                Ok(_deleted) => {
                    ctx.metrics.copies_deleted.add(1);
                    Ok(())
                }
                Err(error) => {
                    slog::warn!(ctx.log, "could not delete a copy"; "fid" => todo.fid, "devid" => devid,
                        "error" => %error, "failcount" => todo.failcount);
                    Err(DeleteObstacle::NodeRefused)
                }
            }
        }
    }
}

fn obstacle_by_state(device: &DeviceView<'_>) -> Option<DeleteObstacle> {
    if !device.is_monitored() {
        // Nobody looks at it, so nobody will see it come back before its status changes (J93).
        Some(DeleteObstacle::StateForbids)
    } else if !device.is_observed_writeable() {
        Some(DeleteObstacle::NotWriteable)
    } else if !device.may_be_deleted_from() {
        Some(DeleteObstacle::StateForbids)
    } else {
        None
    }
}

/// Everything that the database knows of the file goes in one change, and the lock with it.
async fn finish(ctx: &JobContext, lock: &LockGuard, fid: Fid, settled: Vec<DevId>) -> StoreResult<DeleteOutcome> {
    let copies = settled.len();
    lock.write_last(move |conn| {
        for &devid in &settled {
            file_on::remove(conn, fid, devid)?;
        }
        checksums::delete(conn, fid)?;
        deleted_files::forget(conn, fid)?;
        queues::delete::finish_without_copies(conn, fid)
    })
    .await?;
    slog::debug!(ctx.log, "deleted file"; "fid" => fid, "copies" => copies);
    Ok(DeleteOutcome::Deleted { copies })
}

/// What is gone is forgotten now, the rest is tried again later.
async fn postpone(
    ctx: &JobContext,
    todo: &DeleteTodo,
    settled: Vec<DevId>,
    obstacle: DeleteObstacle,
) -> StoreResult<DeleteOutcome> {
    let fid = todo.fid;
    let delay_secs = backoff::delete_delay_secs(obstacle, todo.failcount);
    ctx.session
        .write(move |conn| {
            for &devid in &settled {
                file_on::remove(conn, fid, devid)?;
            }
            match obstacle.is_failure() {
                true => queues::delete::reschedule_in(conn, fid, delay_secs),
                false => queues::delete::put_off(conn, fid, delay_secs),
            }
        })
        .await?;
    Ok(DeleteOutcome::Postponed { obstacle, delay_secs })
}
