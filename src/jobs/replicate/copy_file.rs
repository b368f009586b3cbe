//! One copy of a file: made, checked, recorded (jobs.md 7.5, 7.6).
//!
//! The order is what keeps files safe: a copy is recorded only when it is whole on its node.

use super::replication::Replication;
use crate::cluster::checksum::{Checksum, HashType};
use crate::cluster::devfid::DevFid;
use crate::cluster::device::DeviceView;
use crate::cluster::host::Zone;
use crate::ids::DevId;
use crate::node_client::{Copy, CopyError, NodeError};
use crate::store::{StoreResult, checksums, file_on};

impl Replication<'_> {
    /// Copies the file and, where its class wants checksums, verifies what arrived. Gives the checksum if computed.
    pub(super) async fn copy(&self, source: DevId, target: DevId) -> Result<Option<Checksum>, CopyError> {
        let unknown = || NodeError::Unreachable("device is unknown".to_owned());
        let source = self.cluster.device(source).ok_or_else(|| CopyError::Source(unknown()))?;
        let target = self.cluster.device(target).ok_or_else(|| CopyError::Target(unknown()))?;
        self.make_directories(&target).await;
        let hashtype = self.known_checksum.as_ref().map(|checksum| checksum.hashtype).or(self.class.hashtype);
        let target_url = target.upload_url(self.file.fid, Zone::NONE);
        let known_md5 = self.known_checksum.as_ref().filter(|checksum| checksum.hashtype == HashType::Md5);
        let copied = self
            .ctx
            .nodes
            .copy(Copy {
                source_url: &source.upload_url(self.file.fid, Zone::NONE),
                target_url: &target_url,
                length: u64::try_from(self.file.length).unwrap_or(0),
                content_md5: known_md5,
                hashtype,
            })
            .await;
        let checked = match copied {
            Ok(report) => self.check(&target, &target_url, known_md5.is_some(), report.checksum).await,
            Err(error) => Err(error),
        };
        if checked.is_err() {
            self.remove_leftover(&target_url).await;
        }
        checked
    }

    /// The bytes read must have the known checksum; the bytes stored must have the same one, unless the node itself
    /// has verified them by Content-MD5 (W10).
    async fn check(
        &self,
        target: &DeviceView<'_>,
        target_url: &str,
        md5_was_sent: bool,
        read: Option<Checksum>,
    ) -> Result<Option<Checksum>, CopyError> {
        let Some(read) = read else { return Ok(None) };
        if self.known_checksum.as_ref().is_some_and(|known| *known != read) {
            return Err(CopyError::Source(NodeError::ChecksumDiffers { actual: read.to_string() }));
        }
        if md5_was_sent && target.device.reject_bad_md5 == Some(true) {
            return Ok(Some(read));
        }
        match self.ctx.nodes.digest(target_url, read.hashtype).await {
            Ok(stored) if stored == read => Ok(Some(read)),
            Ok(stored) => Err(CopyError::Target(NodeError::ChecksumDiffers { actual: stored.to_string() })),
            Err(error) => Err(CopyError::Target(error)),
        }
    }

    async fn make_directories(&self, target: &DeviceView<'_>) {
        if self.cluster.server_flag("skip_mkcol") {
            return;
        }
        let base = format!("http://{}:{}", target.host.address(Zone::NONE), target.host.http_port);
        let directories = DevFid { devid: target.device.devid, fid: self.file.fid }.directories();
        self.ctx.nodes.make_directories(&base, &directories).await;
    }

    /// What a failed copy may have left on the target. No row says that the file is there, and the lock is held, so
    /// nobody else can have put it there meanwhile (W9).
    async fn remove_leftover(&self, target_url: &str) {
        if let Err(error) = self.ctx.nodes.delete(target_url).await {
            slog::debug!(self.ctx.log, "could not remove the leftover of a failed copy";
                "url" => target_url, "error" => %error);
        }
    }

    /// The copy is there: record it. Only now, so that a crash in between costs a copy nobody knows, never a row
    /// without a copy.
    pub(super) async fn record(&mut self, target: DevId, checksum: Option<Checksum>) -> StoreResult<()> {
        let fid = self.file.fid;
        let recount = !self.cluster.server_flag("skip_devcount");
        let new_checksum = checksum.filter(|_| self.known_checksum.is_none());
        let row = new_checksum.as_ref().map(|checksum| (checksum.hashtype.number(), checksum.digest.clone()));
        let change = self.ctx.path_change(self.file.dmid, &[self.file.dkey.as_ref()]);
        let recorded = self
            .ctx
            .session
            .write(move |conn| {
                file_on::add(conn, fid, target)?;
                if recount {
                    file_on::recount(conn, fid)?;
                }
                match &row {
                    Some((number, digest)) => checksums::set(conn, fid, *number, digest),
                    None => Ok(()),
                }
            })
            .await;
        change.announce().await;
        recorded?;
        if new_checksum.is_some() {
            self.known_checksum = new_checksum;
        }
        self.ctx.copy_notices.tell(fid);
        self.ctx.metrics.files_replicated.add(1);
        Ok(())
    }
}
