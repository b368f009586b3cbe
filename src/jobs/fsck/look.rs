//! What the nodes say of a file's copies. Only a clear answer counts as one: everything else is [`Seen::Unknown`], and
//! nothing is ever given up because of it.

use super::options::RunOptions;
use crate::cluster::ClusterSnapshot;
use crate::cluster::checksum::{Checksum, HashType};
use crate::cluster::devfid::DevFid;
use crate::cluster::device::DeviceView;
use crate::cluster::host::Zone;
use crate::ids::DevId;
use crate::jobs::context::JobContext;
use crate::jobs::monitor::check_device::parse_mark;
use crate::node_client::{CopyOnNode, NodeError};
use crate::store::device_guard;
use crate::store::files::FileRow;
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use rand::seq::SliceRandom;

/// Devices that are asked at the same time in a search for a lost file.
const SEARCH_AT_ONCE: usize = 8;
/// A usage file is a few lines.
const USAGE_BYTES_MAX: usize = 64 * 1024;

/// A copy, as its node shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Of the right length; with its digest, if one was asked for.
    Good(Option<Checksum>),
    /// The node, which has the right disk for the device, says that there is no such file.
    Missing,
    WrongLength,
    /// The device is dead: whatever was there is gone, unless the device comes back.
    Dead,
    /// No clear answer.
    Unknown,
}

/// Looks at each of these devices, all at the same time.
pub(super) async fn look_at_all(
    ctx: &JobContext,
    cluster: &ClusterSnapshot,
    file: &FileRow,
    devids: &[DevId],
    algorithm: Option<HashType>,
) -> Vec<(DevId, Seen)> {
    let looks = devids.iter().filter_map(|&devid| cluster.device(devid)).map(|device| async move {
        let seen = match device.device.is_dead() {
            true => Seen::Dead,
            false => look_at(ctx, &device, file, algorithm).await,
        };
        (device.device.devid, seen)
    });
    join_all(looks).await
}

/// Are all copies there, by their lengths? `None` if a node did not say.
pub(super) async fn are_there(
    ctx: &JobContext,
    cluster: &ClusterSnapshot,
    file: &FileRow,
    devids: &[DevId],
) -> Option<bool> {
    let looks = devids.iter().filter_map(|&devid| cluster.device(devid)).map(|device| async move {
        if !device.may_be_read() {
            return None;
        }
        let url = device.read_url(file.fid, Zone::NONE);
        let _turn = turn(ctx, &device).await;
        match ctx.nodes.head_size(&url).await {
            Ok(bytes) => Some(is_length(file, bytes)),
            Err(NodeError::Missing) => Some(false),
            Err(_) => None,
        }
    });
    let answers = join_all(looks).await;
    // What is surely wrong is looked into at once, whatever the others say.
    if answers.contains(&Some(false)) {
        return Some(false);
    }
    answers.into_iter().collect::<Option<Vec<bool>>>().map(|_| true)
}

fn is_length(file: &FileRow, bytes: u64) -> bool {
    u64::try_from(file.length) == Ok(bytes)
}

async fn turn(ctx: &JobContext, device: &DeviceView<'_>) -> Option<tokio::sync::OwnedSemaphorePermit> {
    ctx.fsck.turn(device.host.hostid, ctx.settings.jobs.fsck_requests_per_host).await
}

async fn look_at(ctx: &JobContext, device: &DeviceView<'_>, file: &FileRow, algorithm: Option<HashType>) -> Seen {
    if !device.may_be_read() {
        return Seen::Unknown;
    }
    let url = device.read_url(file.fid, Zone::NONE);
    let _turn = turn(ctx, device).await;
    let looked = match ctx.nodes.head_size(&url).await {
        Ok(bytes) if !is_length(file, bytes) => return Seen::WrongLength,
        Ok(bytes) => match algorithm {
            None => return Seen::Good(None),
            Some(hashtype) => {
                let path = DevFid { devid: device.device.devid, fid: file.fid }.path();
                let host = device.host.address(Zone::NONE);
                let copy = CopyOnNode { host, path: &path, url: &url, length_bytes: bytes };
                ctx.nodes.digest_for_fsck(copy, hashtype).await.map(|digest| Seen::Good(Some(digest)))
            }
        },
        Err(error) => Err(error),
    };
    match looked {
        Ok(seen) => seen,
        Err(NodeError::Missing) if is_mounted(ctx, device).await => Seen::Missing,
        Err(error) => {
            slog::debug!(ctx.log, "a node did not say whether it has a copy";
                "fid" => file.fid, "devid" => device.device.devid, "error" => %error);
            Seen::Unknown
        }
    }
}

/// Does the node have the disk of the device at this moment? Every file is missing on a disk that is not mounted, and on
/// another one. The directory that a disk is mounted on has a usage file too: what tells them apart is the mark.
async fn is_mounted(ctx: &JobContext, device: &DeviceView<'_>) -> bool {
    let devid = device.device.devid;
    let (host, port) = (device.host.address(Zone::NONE), device.host.get_port());
    let url = format!("http://{host}:{port}/dev{devid}/usage");
    let Ok(usage) = ctx.nodes.get_text(&url, USAGE_BYTES_MAX).await else { return false };
    match ctx.session.read(|conn| device_guard::expected_mark(conn, devid)) {
        Ok(expected) => expected.is_none_or(|expected| parse_mark(&usage) == Some(expected)),
        Err(error) => {
            slog::warn!(ctx.log, "cannot tell whether the disk of a device is the right one"; "devid" => devid,
                "error" => %error);
            false
        }
    }
}

/// What a search over all devices came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Search {
    Found(DevId, Option<Checksum>),
    /// No device has it.
    Nothing,
    /// Those that answered do not have it; others did not answer.
    Incomplete,
}

/// Searches a lost file on every device that is not dead and was not looked at, until a good copy is met. Devices that
/// cannot be read now are not in the way of those that can (W23).
pub(super) async fn search(
    ctx: &JobContext,
    cluster: &ClusterSnapshot,
    file: &FileRow,
    looked_at: &[DevId],
    algorithm: Option<HashType>,
) -> Search {
    let (mut readable, others): (Vec<_>, Vec<_>) = cluster
        .devices()
        .filter(|device| !device.device.is_dead() && !looked_at.contains(&device.device.devid))
        .partition(DeviceView::may_be_read);
    readable.shuffle(&mut *ctx.chance.borrow_mut());
    let looks = readable
        .into_iter()
        .map(|device| async move { (device.device.devid, look_at(ctx, &device, file, algorithm).await) });
    let mut answers = stream::iter(looks).buffer_unordered(SEARCH_AT_ONCE);
    let mut is_complete = others.is_empty();
    while let Some((devid, seen)) = answers.next().await {
        match seen {
            Seen::Good(digest) => return Search::Found(devid, digest),
            Seen::Unknown => is_complete = false,
            Seen::Missing | Seen::WrongLength | Seen::Dead => {}
        }
    }
    if is_complete { Search::Nothing } else { Search::Incomplete }
}

impl RunOptions {
    /// The algorithm by which digests of files of this class are taken in this run.
    pub(super) fn algorithm(&self, class_hashtype: Option<HashType>) -> Option<HashType> {
        self.mode.algorithm(class_hashtype)
    }
}
