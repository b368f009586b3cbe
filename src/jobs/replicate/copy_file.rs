//! One copy of a file: made, checked, recorded (jobs.md 7.5, 7.6).
//!
//! The order is what keeps files safe: a copy is recorded only when it is whole on its node.
//!
//! What a failed copy leaves on its target is removed only if it is surely no copy: something of another length, or what
//! was stored as a whole and then found wrong. Bytes of the right length after an upload that failed are not ours, or
//! good: a node that replaces files in one step still has what was there before, which may be the last good copy (its row
//! went while its device was dead by mistake). They stay, as does all that somebody has recorded meanwhile. No look
//! comes before the upload: one that fails leaves what was there, and one that succeeds has put a whole file in its
//! place, checked against the known checksum if there is one. This must never delete a recorded copy.

use super::replication::Replication;
use crate::cluster::checksum::{Checksum, HashType};
use crate::cluster::devfid::DevFid;
use crate::cluster::device::DeviceView;
use crate::cluster::host::Zone;
use crate::ids::DevId;
use crate::node_client::{Copy, CopyError, CopyReport, NodeError};
use crate::store::queues::replicate::WorkedTodo;
use crate::store::{StoreConnection, StoreResult, checksums, file_on, files, queues};

impl Replication<'_> {
    /// Copies the file and, where its class wants checksums, verifies what arrived. Gives the checksum if it was computed
    /// and may be recorded as that of the file.
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
            None => {
                // Without a source nothing has reached the target, and nothing there is ours.
                let source = self.ctx.nodes.open_source(&copy).await?;
                self.ctx.nodes.copy_from(source, copy).await
            }
        };
        let was_stored = copied.is_ok();
        let checked = match copied {
            Ok(report) => self.check(&target, &target_url, known_md5.is_some(), report).await,
            Err(error) => Err(error),
        };
        if checked.is_err() {
            self.ctx.metrics.copies_failed.add(1);
        }
        if checked.is_err() && (was_stored || self.shows_another_length(&target_url).await) {
            self.remove_leftover(target.device.devid, &target_url).await;
        }
        checked.map(|checksum| checksum.filter(|_| self.may_define_checksum(source.device.devid)))
    }

    /// Is there surely a file, and surely not a whole one?
    async fn shows_another_length(&self, target_url: &str) -> bool {
        let shown = self.ctx.nodes.head_size(target_url).await;
        shown.is_ok_and(|length| i64::try_from(length) != Ok(self.file.length))
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

    /// What a failed copy has left on the target (W9). It stays unless, read anew, no row says that the file is there,
    /// and the lock is held still: else somebody else may have put it there meanwhile.
    async fn remove_leftover(&self, target: DevId, target_url: &str) {
        let fid = self.file.fid;
        let is_unrecorded =
            self.ctx.session.read(|conn| file_on::devids(conn, fid)).is_ok_and(|devids| !devids.contains(&target));
        if !is_unrecorded || !self.lock.is_held() {
            slog::warn!(self.ctx.log, "what a failed copy may have left stays: others may have written it";
                "fid" => fid, "url" => target_url);
            return;
        }
        if let Err(error) = self.ctx.nodes.delete(target_url).await {
            slog::debug!(self.ctx.log, "could not remove the leftover of a failed copy";
                "url" => target_url, "error" => %error);
        }
    }

    /// The copy is there: record it. Only now, so that a crash in between costs a copy nobody knows, never a row
    /// without a copy.
    ///
    /// A file that was deleted meanwhile is queued for deletion once more: its deletion may not have seen this copy. Nothing is
    /// recorded when the lock was lost: others may have worked on the file since.
    ///
    /// If the file needs nothing more, its queue row and its lock go in the same change.
    pub(super) async fn record(
        &mut self,
        target: DevId,
        checksum: Option<Checksum>,
        done: Option<WorkedTodo>,
    ) -> StoreResult<()> {
        let fid = self.file.fid;
        let recount = !self.cluster.server_flag("skip_devcount");
        let new_checksum = checksum.filter(|_| self.known_checksum.is_none());
        let row = new_checksum.as_ref().map(|checksum| (checksum.hashtype.number(), checksum.digest.clone()));
        let change = self.ctx.path_change(self.file.dmid, &[self.file.dkey.as_ref()]);
        let is_last = done.is_some();
        let body = move |conn: &mut StoreConnection| {
            file_on::add(conn, fid, target)?;
            let is_alive = if recount { file_on::recount(conn, fid)? } else { files::exists_until_commit(conn, fid)? };
            if !is_alive {
                queues::delete::enqueue(conn, fid, 0)?;
            }
            if let Some((number, digest)) = row.as_ref().filter(|_| is_alive) {
                checksums::set(conn, fid, *number, digest)?;
            }
            if let Some(done) = &done {
                // One that somebody changed meanwhile (a new class, W24) stays.
                queues::replicate::finish(conn, done)?;
            }
            Ok(())
        };
        let recorded = if is_last { self.lock.write_last(body).await } else { self.lock.write(body).await };
        change.announce().await;
        recorded?;
        if new_checksum.is_some() {
            self.known_checksum = new_checksum;
        }
        self.ctx.copy_notices.tell(fid);
        self.ctx.metrics.files_replicated.add(1);
        self.ctx.metrics.bytes_replicated.add(u64::try_from(self.file.length).unwrap_or_default());
        Ok(())
    }
}
