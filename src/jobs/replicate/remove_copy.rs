//! Taking a copy of a file away from a device (jobs.md 7.7, 7.8), and what has to be sure before.

use super::replication::Replication;
use super::whereabouts::Whereabouts;
use crate::cluster::device::DeviceView;
use crate::cluster::host::Zone;
use crate::ids::DevId;
use crate::jobs::context::JobContext;
use crate::node_client::{Deleted, NodeError};
use crate::store::files::FileRow;
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
/// copies on other devices that their nodes show with the right length ([`Replication::is_safe_without`]). Nothing of
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
            return Ok(Removal::Kept(format!("device {devid} does not have the copy that it is to lose")));
        }
        Ok(Deleted::Removed | Deleted::WasMissing) => {}
        Err(error) => return Ok(Removal::Kept(format!("device {devid} did not delete its copy: {error}"))),
    }
    let (fid, recount) = (file.fid, !cluster.server_flag("skip_devcount"));
    let change = ctx.path_change(file.dmid, &[file.dkey.as_ref()]);
    let recorded = ctx
        .session
        .write(move |conn| {
            file_on::remove(conn, fid, devid)?;
            if recount { file_on::recount(conn, fid) } else { Ok(()) }
        })
        .await;
    change.announce().await;
    recorded?;
    ctx.metrics.copies_deleted.add(1);
    Ok(Removal::Removed)
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

    /// Would the policy be content without this copy, with nothing but what the nodes have shown?
    pub(super) fn is_safe_without(&self, devid: DevId, seen: &SeenCopies, whereabouts: &Whereabouts) -> bool {
        let left: Vec<DevId> =
            whereabouts.told().iter().copied().filter(|&told| told != devid && seen.whole.contains(&told)).collect();
        !left.is_empty() && self.is_content_with(&left, whereabouts)
    }
}
