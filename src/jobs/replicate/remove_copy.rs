//! Taking a copy of a file away from a device (jobs.md 7.7, 7.8), and what has to be sure before.

use super::replication::{Replication, class_and_policy};
use super::whereabouts::Whereabouts;
use crate::cluster::ClusterSnapshot;
use crate::cluster::device::DeviceView;
use crate::cluster::host::Zone;
use crate::ids::{DevId, Fid};
use crate::jobs::context::JobContext;
use crate::node_client::{Deleted, NodeError};
use crate::policy::{Question, Verdict};
use crate::store::files::{self, FileRow};
use crate::store::queues::todo;
use crate::store::{LockGuard, StoreResult, file_on};

/// What it means that the node does not have the copy that is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMissing {
    /// It is gone, as was wanted.
    CountsAsDeleted,
    /// Something is wrong: its row stays for fsck to look at.
    IsAFailure,
}

/// What became of the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Node and table have it no more.
    Removed,
    /// It is still recorded, for this reason.
    Kept(String),
}

/// Removes a copy of a file: from its node, then from the table.
///
/// The caller holds the lock of this file, and has just seen, under it, that the policy of the file is content with
/// copies on other devices that their nodes show with the right length ([`Replication::remove_if_safe`]). Nothing of
/// this is asked again here but whether the lock is still held.
///
/// # Errors
/// The database failed. The copy may be gone from its node then, and still be recorded: fsck finds that, and the next
/// removal takes this copy first.
pub async fn remove_copy(
    ctx: &JobContext,
    lock: &LockGuard,
    file: &FileRow,
    devid: DevId,
    if_missing: IfMissing,
) -> StoreResult<Removal> {
    let cluster = ctx.view.load_full();
    let Some(device) = cluster.device(devid).filter(|device| device.may_be_deleted_from()) else {
        return Ok(Removal::Kept(format!("nothing may be deleted from device {devid} now")));
    };
    if !lock.is_held() {
        return Ok(Removal::Kept("the lock of the file was lost".to_owned()));
    }
    match ctx.nodes.delete(&device.upload_url(file.fid, Zone::NONE)).await {
        Ok(Deleted::WasMissing) if if_missing == IfMissing::IsAFailure => {
            enqueue_fsck(ctx, file.fid).await?;
            return Ok(Removal::Kept(format!("device {devid} does not have the copy that it is to lose")));
        }
        Ok(Deleted::Removed | Deleted::WasMissing) => {}
        Err(error) => {
            // It may be gone all the same.
            enqueue_fsck(ctx, file.fid).await?;
            return Ok(Removal::Kept(format!("device {devid} did not delete its copy: {error}")));
        }
    }
    let (fid, recount) = (file.fid, !cluster.server_flag("skip_devcount"));
    let change = ctx.path_change(file.dmid, &[file.dkey.as_ref()]);
    let recorded = lock
        .write(move |conn| {
            file_on::remove(conn, fid, devid)?;
            if recount { file_on::recount(conn, fid).map(drop) } else { Ok(()) }
        })
        .await;
    change.announce().await;
    if recorded.is_err() {
        // The first error says more than one that comes of the attempt to make up for it.
        let _enqueued = enqueue_fsck(ctx, fid).await;
    }
    recorded?;
    ctx.metrics.copies_deleted.add(1);
    Ok(Removal::Removed)
}

/// The row may name a copy that is not there: fsck is to look.
async fn enqueue_fsck(ctx: &JobContext, fid: Fid) -> StoreResult<()> {
    ctx.session.write(move |conn| todo::enqueue_now(conn, fid, todo::FSCK)).await
}

/// What the nodes say of the copies of a file.
#[derive(Debug, Default)]
pub(super) struct SeenCopies {
    /// Shown with the right length.
    pub whole: Vec<DevId>,
    /// Surely not there, or of another length.
    pub damaged: Vec<DevId>,
}

impl Replication<'_> {
    /// Asks the nodes for the copies of the file on those of the devices that may be read, all at the same time.
    pub(super) async fn look_at(&self, devids: &[DevId]) -> SeenCopies {
        let readable = devids.iter().filter_map(|&devid| self.cluster.device(devid)).filter(DeviceView::may_be_read);
        let looks = readable.map(|device| async move {
            (device.device.devid, self.ctx.nodes.head_size(&device.upload_url(self.file.fid, Zone::NONE)).await)
        });
        let mut seen = SeenCopies::default();
        for (devid, found) in futures::future::join_all(looks).await {
            match found {
                Ok(length) if i64::try_from(length) == Ok(self.file.length) => seen.whole.push(devid),
                Ok(_) | Err(NodeError::Missing) => seen.damaged.push(devid),
                Err(_) => {}
            }
        }
        seen
    }

    /// Removes a copy if the others suffice, by what is read anew now: copying may have taken hours, and the view, the file
    /// and its locations may have changed meanwhile.
    pub(super) async fn remove_if_safe(
        &self,
        devid: DevId,
        seen: &SeenCopies,
        if_missing: IfMissing,
    ) -> StoreResult<Removal> {
        let cluster = self.ctx.view.load_full();
        let fid = self.file.fid;
        let Some((file, devids)) = self.ctx.session.read(|conn| files::with_devids_by_fid(conn, fid))? else {
            return Ok(Removal::Kept("the file was deleted".to_owned()));
        };
        match objection(self.ctx, &cluster, &file, devids, devid, seen) {
            Some(reason) => Ok(Removal::Kept(reason)),
            None => remove_copy(self.ctx, self.lock, &file, devid, if_missing).await,
        }
    }
}

/// Why this copy may not go. Would the policy be content without it, with nothing but what is recorded, on devices that
/// are not dead, and what the nodes have shown?
fn objection(
    ctx: &JobContext,
    cluster: &ClusterSnapshot,
    file: &FileRow,
    devids: Vec<DevId>,
    devid: DevId,
    seen: &SeenCopies,
) -> Option<String> {
    if !devids.contains(&devid) {
        return Some(format!("device {devid} is not recorded to have a copy any more"));
    }
    let (class, policy) = match class_and_policy(cluster, file) {
        Ok(found) => found,
        Err(reason) => return Some(reason),
    };
    let whereabouts = Whereabouts::new(cluster, devids, file.length);
    let is_left = |told: &DevId| *told != devid && seen.whole.contains(told);
    let left: Vec<DevId> = whereabouts.told().iter().copied().filter(is_left).collect();
    let question = whereabouts.question(cluster, class, ctx.min_free_space_mb());
    let verdict = policy.ask(&Question { told: &left, ..question }, &mut ctx.chance.borrow_mut());
    if !left.is_empty() && matches!(verdict, Verdict::AllGood | Verdict::TooGood) {
        return None;
    }
    let names: Vec<_> = left.iter().map(|devid| format!("device {devid}")).collect();
    let names = if names.is_empty() { "no device".to_owned() } else { names.join(", ") };
    Some(format!("of the copies beside that on device {devid}, nodes show only those on {names}"))
}
