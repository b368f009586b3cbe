//! `create_close`: the upload is complete; from now on the key leads to it.
//!
//! The file is looked at on its node first; then everything changes in one transaction (database.md 6.4), so that a
//! crash at any point leaves the key with its old file or with its new one, and the upload open or closed.

use super::wait_copies::WaitCopies;
use crate::cluster::checksum::Checksum;
use crate::ids::{DevId, Fid};
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, DOMAIN, Group, Origin, flag, number, pair, text};
use crate::jobs::query::{Query, comma_list};
use crate::node_client::NodeError;
use crate::protocol::args::num;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::Backend;
use crate::store::files::{self, CloseOutcome, CloseUpload};
use crate::store::tempfiles::{self, TempfileRow};
use crate::store::{StoreError, StoreResult};
use bstr::BString;

pub const SPEC: CommandSpec = CommandSpec {
    name: "create_close",
    group: Group::Files,
    summary: "The upload is complete: from now on the key leads to it.",
    arguments: &[
        DOMAIN,
        text("key", "The file's key; missing or empty: the upload is thrown away."),
        number("fid", "From `create_open`.").required(),
        number("devid", "The device that was written.").required(),
        text("path", "The URL that was written, as `create_open` gave it.").required(),
        number("size", "Expected size in bytes; missing, empty, `0` or negative: not compared."),
        text(
            "checksum",
            "Name of an algorithm (`MD5`, `SHA-1`, `SHA-224`, `SHA-256`, `SHA-384`, `SHA-512`), a colon and hex digits; stored if the class wants this algorithm.",
        ),
        flag("checksumverify", "Read the file back and compare its checksum."),
        number("plugin.meta.keys", "Number of names and values to store with the file; for the extension `MetaData`.")
            .of_plugin(),
        text("plugin.meta.key<n>", "Name; n counts from 0.").of_plugin(),
        text("plugin.meta.value<n>", "Value.").of_plugin(),
        number("wait_copies", "Answer when the file has so many copies, or when `wait_ms` are over.").here(),
        number(
            "wait_ms",
            "How long to wait for the copies; 5000 if missing, and always less than `limits.request_timeout_ms`.",
        )
        .here(),
    ],
    reply: &[
        pair("copies", "Copies there are; with `wait_copies` only."),
        pair(
            "wait_ended_by",
            "`copies`: they are there; `time`: they are not all there yet; `failure`: they could not be counted. With `wait_copies` only.",
        ),
    ],
    errors: &[
        ErrorCode::NoDomain,
        ErrorCode::UnregDomain,
        ErrorCode::NoFid,
        ErrorCode::NoDevid,
        ErrorCode::NoPath,
        ErrorCode::InvalidChecksumFormat,
        ErrorCode::BogusArgs,
        ErrorCode::NoTempFile,
        ErrorCode::InvalidDestdev,
        ErrorCode::SizeVerifyError,
        ErrorCode::SizeMismatch,
        ErrorCode::ChecksumMismatch,
        ErrorCode::FidExists,
    ],
    notes: "A file that the key led to before is replaced. After `size_mismatch`, `size_verify_error`, `checksum_mismatch` and `invalid_destdev` the upload is gone; after `failure` it can be repeated, unless the class was removed meanwhile; `no_temp_file` then may mean that it had been stored. The request must come from the same zone as its `create_open`.",
    origin: Origin::Reference,
    is_intercepted: true,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let dmid = query.domain()?.dmid;
    let upload = Upload::from_args(query)?;
    let wait = WaitCopies::from_args(query);
    let tempfile = query.ctx.session.look_up(|conn| tempfiles::find(conn, upload.fid))?.ok_or(ErrorCode::NoTempFile)?;
    if let Err(refusal) = upload.verify(query, &tempfile).await {
        discard(query, &upload).await?;
        return Err(refusal);
    }
    let Some(dkey) = query.args.nonempty("key").map(BString::from) else {
        discard(query, &upload).await?;
        return Ok(Pairs::new());
    };
    let length = match upload.check_on_node(query).await {
        Ok(length) => length,
        Err(refusal) => {
            discard(query, &upload).await?;
            return Err(refusal);
        }
    };
    let close = CloseUpload {
        fid: upload.fid,
        dmid,
        dkey,
        classid: tempfile.classid,
        length,
        devid: upload.devid,
        checksum: checksum_to_store(query, &tempfile, &upload),
    };
    // From before the file is stored, so that not even the first notice is missed.
    let copies = wait.as_ref().map(|_| query.ctx.copy_notices.listen(upload.fid));
    match store(query, close).await {
        Ok(CloseOutcome::Stored) => {}
        Err(StoreError::Refused(reason)) => {
            discard(query, &upload).await?;
            return Err(CommandError::with_text(ErrorCode::PluginAborted, reason));
        }
        Err(error) => return Err(error.into()),
        Ok(refused) => return Err(not_stored(query, &upload, refused).await?),
    }
    query.ctx.wake_jobs();
    match (&wait, &copies) {
        (Some(wait), Some(copies)) => wait.answer(query, upload.fid, copies).await,
        _ => Ok(Pairs::new()),
    }
}

/// The file and what extensions store with it, as one change.
async fn store(query: &Query<'_>, close: CloseUpload) -> StoreResult<CloseOutcome> {
    let extensions = &query.ctx.extensions;
    let (mut close_steps, mut delete_steps) = (extensions.with_close(query), extensions.with_delete(query));
    let dmid = close.dmid;
    let mut change = query.ctx.path_change(dmid, &[close.dkey.as_ref()]);
    // Where keys differ by a byte, what goes has the spelling of what comes: nobody needs its number.
    if query.ctx.session.backend() == Backend::Postgres && close_steps.is_empty() && delete_steps.is_empty() {
        let stored = query.ctx.session.close_upload(close).await;
        change.covers_files(dmid, stored.as_ref().map(|_| &[][..]));
        change.announce().await;
        return stored;
    }
    let stored = query.ctx.session.write(move |conn| {
        let mut replaced = Vec::new();
        let outcome = files::close_upload_replacing(conn, &close, &mut replaced)?;
        if outcome == CloseOutcome::Stored {
            for step in &mut close_steps {
                let further = step(conn, &close, &replaced)?;
                replaced.extend(further);
            }
            for &fid in &replaced {
                delete_steps.iter_mut().try_for_each(|step| step(conn, fid))?;
            }
        }
        Ok((outcome, replaced))
    });
    let stored = stored.await;
    change.covers_files(dmid, stored.as_ref().map(|(_, replaced)| replaced.as_slice()));
    change.announce().await;
    stored.map(|(outcome, _)| outcome)
}

/// What the client is told when nothing was stored.
async fn not_stored(query: &Query<'_>, upload: &Upload, outcome: CloseOutcome) -> Result<CommandError, CommandError> {
    Ok(match outcome {
        CloseOutcome::Stored => ErrorCode::Failure.into(),
        CloseOutcome::NoTempfile => ErrorCode::NoTempFile.into(),
        CloseOutcome::FidExists => ErrorCode::FidExists.into(),
        CloseOutcome::ClassGone => {
            discard(query, upload).await?;
            CommandError::with_text(ErrorCode::Failure, "The domain or class of the upload was removed")
        }
    })
}

/// What the client says it uploaded.
struct Upload {
    fid: Fid,
    devid: DevId,
    /// The URL it was written to, as given by `create_open`.
    path: String,
    checksum: Option<Checksum>,
}

impl Upload {
    /// Steps 2–4 of protocol.md, "create_close".
    fn from_args(query: &Query<'_>) -> Result<Self, CommandError> {
        let fid = query.args.truthy("fid").ok_or(ErrorCode::NoFid)?;
        let devid = query.args.truthy("devid").ok_or(ErrorCode::NoDevid)?;
        let path = query.args.truthy("path").ok_or(ErrorCode::NoPath)?;
        let checksum = match query.args.truthy("checksum") {
            None => None,
            Some(text) => Some(Checksum::parse(text).ok_or(ErrorCode::InvalidChecksumFormat)?),
        };
        let (fid, devid) = (Fid(num(fid) as i64), DevId(num(devid) as i64));
        let expected = query.cluster.device(devid).map(|device| device.upload_url(fid, query.zone));
        match expected {
            Some(url) if path == url.as_bytes() => Ok(Self { fid, devid, path: url, checksum }),
            _ => Err(ErrorCode::BogusArgs.into()),
        }
    }

    /// Was the file written where `create_open` said?
    async fn verify(&self, _query: &Query<'_>, tempfile: &TempfileRow) -> Result<(), CommandError> {
        if tempfile.devids.contains(&self.devid) {
            return Ok(());
        }
        Err(CommandError::with_text(
            ErrorCode::InvalidDestdev,
            format!(
                "File uploaded to invalid dest {}. Valid devices were: {}",
                self.devid,
                comma_list(&tempfile.devids)
            ),
        ))
    }

    /// Is it there, of the expected size and checksum? Gives its length in bytes.
    async fn check_on_node(&self, query: &Query<'_>) -> Result<i64, CommandError> {
        let expected = query.args.truthy("size").map(|size| num(size) as i64).filter(|&size| size > -1);
        let length = match query.ctx.nodes.head_size(&self.path).await {
            Ok(length) => i64::try_from(length).unwrap_or(i64::MAX),
            Err(error) => return Err(self.size_verify_error(expected, &error)),
        };
        if let Some(expected) = expected.filter(|&expected| expected != length) {
            let text = format!("Expected: {expected}; actual: {length}; path: {}", self.path);
            return Err(CommandError::with_text(ErrorCode::SizeMismatch, text));
        }
        if query.args.flag("checksumverify")
            && let Some(checksum) = &self.checksum
        {
            self.check_checksum(query, checksum).await?;
        }
        Ok(length)
    }

    fn size_verify_error(&self, expected: Option<i64>, error: &NodeError) -> CommandError {
        let found = if matches!(error, NodeError::Missing) { "missing" } else { "cantreach" };
        let expected = expected.unwrap_or(-1);
        let text = format!("Expected: {expected}; actual: 0 ({found}); path: {}; error: {error}", self.path);
        CommandError::with_text(ErrorCode::SizeVerifyError, text)
    }

    async fn check_checksum(&self, query: &Query<'_>, expected: &Checksum) -> Result<(), CommandError> {
        let actual = match query.ctx.nodes.digest(&self.path, expected.hashtype).await {
            Ok(actual) if actual == *expected => return Ok(()),
            Ok(actual) => actual.to_string(),
            Err(NodeError::Missing) => format!("{}:missing", expected.hashtype.name()),
            Err(_) => format!("{}:unreachable", expected.hashtype.name()),
        };
        let text = format!(
            "Expected: Checksum[f={};{}={}]; actual: {actual}; path: {}",
            self.fid,
            expected.hashtype.name(),
            expected.hex(),
            self.path
        );
        Err(CommandError::with_text(ErrorCode::ChecksumMismatch, text))
    }
}

/// A checksum is kept only if the class of the upload wants this algorithm.
fn checksum_to_store(query: &Query<'_>, tempfile: &TempfileRow, upload: &Upload) -> Option<(i64, Vec<u8>)> {
    let class = query.cluster.domain(tempfile.dmid)?.class(tempfile.classid)?;
    let checksum = upload.checksum.as_ref().filter(|checksum| class.hashtype == Some(checksum.hashtype))?;
    Some((checksum.hashtype.number(), checksum.digest.clone()))
}

/// The upload is thrown away: the delete workers remove it from its node.
async fn discard(query: &Query<'_>, upload: &Upload) -> Result<(), CommandError> {
    let (fid, devid) = (upload.fid, upload.devid);
    let was_open = query.ctx.session.write(move |conn| files::discard_upload(conn, fid, devid)).await?;
    query.ctx.wake_jobs();
    if was_open { Ok(()) } else { Err(ErrorCode::NoTempFile.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_reason_of_an_unverifiable_size() {
        let upload = Upload { fid: Fid(1), devid: DevId(2), path: "http://n/1".to_owned(), checksum: None };
        let reply = upload.size_verify_error(Some(4), &NodeError::Missing).into_reply();
        assert_eq!(reply.code, ErrorCode::SizeVerifyError);
        let text = reply.text.unwrap_or_default();
        assert!(text.starts_with("Expected: 4; actual: 0 (missing); path: http://n/1; error: "), "{text}");
    }
}
