//! One more copy of a file where somebody wants it, whatever the policy of its class says (`httpcopy`).

use super::lock_file;
use super::replication::{Replication, class_and_policy};
use crate::ids::{DevId, Fid};
use crate::jobs::context::JobContext;
use crate::node_client::CopyError;
use crate::store::{LockGuard, StoreResult, files};

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyOne {
    /// The copy is there and recorded.
    Copied,
    /// No key leads to such a file.
    NoFile,
    /// The target is recorded to have the file. Writing over it could spoil the copy that is there.
    AlreadyThere,
    /// Another worker is changing the copies of the file.
    LockHeld,
    /// The class of the file is unknown, or its policy: nobody can say how it is to be copied.
    NoPolicy(String),
    /// The source is unknown, or does not give exactly the file.
    SourceFailed,
    /// The target is unknown, may not be written to, or did not take the file.
    TargetFailed,
    /// The copy is there, but the database failed. Nobody knows of the copy.
    NotRecorded,
}

/// Copies a file to a device and records the copy, under the lock of the file.
///
/// # Errors
/// The database cannot be asked.
pub async fn copy_one(ctx: &JobContext, fid: Fid, source: DevId, target: DevId) -> StoreResult<CopyOne> {
    let Some(lock) = lock_file(ctx, fid).await? else { return Ok(CopyOne::LockHeld) };
    let outcome = copy_locked(ctx, &lock, fid, source, target).await;
    lock.release().await;
    outcome
}

async fn copy_locked(
    ctx: &JobContext,
    lock: &LockGuard,
    fid: Fid,
    source: DevId,
    target: DevId,
) -> StoreResult<CopyOne> {
    let cluster = ctx.view.load_full();
    let Some((file, devids)) = ctx.session.read(|conn| files::with_devids_by_fid(conn, fid))? else {
        return Ok(CopyOne::NoFile);
    };
    if cluster.device(source).is_none() {
        return Ok(CopyOne::SourceFailed);
    }
    if !cluster.device(target).is_some_and(|device| device.may_be_deleted_from()) {
        return Ok(CopyOne::TargetFailed);
    }
    // The source may be one that nobody has recorded; it is not to be written over while it is read.
    if source == target || devids.contains(&target) {
        return Ok(CopyOne::AlreadyThere);
    }
    let (class, policy) = match class_and_policy(&cluster, &file) {
        Ok(found) => found,
        Err(reason) => return Ok(CopyOne::NoPolicy(reason)),
    };
    let mut replication = Replication::of(ctx, lock, &cluster, class, policy, &file, &devids)?;
    let checksum = match replication.copy(source, target).await {
        Ok(checksum) => checksum,
        Err(error) => return Ok(failed(ctx, fid, &error)),
    };
    if let Err(error) = replication.record(target, checksum, None).await {
        slog::error!(ctx.log, "a copy was made but not recorded"; "fid" => fid, "devid" => target, "error" => %error);
        return Ok(CopyOne::NotRecorded);
    }
    Ok(CopyOne::Copied)
}

fn failed(ctx: &JobContext, fid: Fid, error: &CopyError) -> CopyOne {
    slog::warn!(ctx.log, "could not copy a file"; "fid" => fid, "error" => %error);
    match error {
        CopyError::Source(_) => CopyOne::SourceFailed,
        CopyError::Target(_) => CopyOne::TargetFailed,
    }
}
