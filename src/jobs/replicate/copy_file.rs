//! One copy of a file: made, checked, recorded (jobs.md 7.5, 7.6).
//!
//! The order is what keeps files safe: a copy is recorded only when it is whole on its node.

use super::replication::{Replication, Settlement};
use crate::cluster::checksum::{Checksum, HashType};
use crate::cluster::devfid::DevFid;
use crate::cluster::device::DeviceView;
use crate::cluster::host::Zone;
use crate::ids::DevId;
use crate::node_client::{Copy, CopyError, CopyReport, NodeError};
use crate::store::{StoreResult, checksums, file_on, queues};

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
        let source_url = self.source_url(&source);
        let copy = Copy {
            source_url: &source_url,
            target_url: &target_url,
            length: u64::try_from(self.file.length).unwrap_or(0),
            content_md5: known_md5,
            hashtype,
        };
        let copied = match self.copy_directly(&copy).await {
            Some(copied) => copied,
            None => self.ctx.nodes.copy(copy).await,
        };
        let checked = match copied {
            Ok(report) => self.check(&target, &target_url, known_md5.is_some(), report).await,
            Err(error) => Err(error),
        };
        if checked.is_err() {
            self.remove_leftover(&target_url).await;
        }
        checked
    }

    /// From node to node, if the target can do that and nothing forbids it.
    async fn copy_directly(&self, copy: &Copy<'_>) -> Option<Result<CopyReport, CopyError>> {
        match self.ctx.settings.jobs.node_to_node_copy {
            true => self.ctx.nodes.copy_directly(copy).await,
            false => None,
        }
    }

    fn source_url(&self, source: &DeviceView<'_>) -> String {
        match self.ctx.settings.jobs.replicate_use_get_port {
            true => source.read_url(self.file.fid, Zone::NONE),
            false => source.upload_url(self.file.fid, Zone::NONE),
        }
    }

    /// The bytes read must have the known checksum; the bytes stored must have the same one, unless the node itself
    /// has verified them by Content-MD5 (W10), or is where the checksum comes from.
    async fn check(
        &self,
        target: &DeviceView<'_>,
        target_url: &str,
        md5_was_sent: bool,
        report: CopyReport,
    ) -> Result<Option<Checksum>, CopyError> {
        let Some(read) = report.checksum else { return Ok(None) };
        if self.known_checksum.as_ref().is_some_and(|known| *known != read) {
            return Err(CopyError::Source(NodeError::ChecksumDiffers { actual: read.to_string() }));
        }
        if report.seen_by_target || md5_was_sent && target.device.reject_bad_md5 == Some(true) {
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
    ///
    /// If the file needs nothing more, its queue row and its lock go in the same change.
    pub(super) async fn record(
        &mut self,
        target: DevId,
        checksum: Option<Checksum>,
        done: Option<Settlement>,
    ) -> StoreResult<()> {
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
                if let Some((number, digest)) = &row {
                    checksums::set(conn, fid, *number, digest)?;
                }
                let Some(done) = &done else { return Ok(()) };
                // One that somebody changed meanwhile (a new class, W24) stays.
                queues::replicate::finish(conn, &done.todo)?;
                done.release.run(conn)
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
