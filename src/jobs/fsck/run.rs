//! A batch of queued files: read together, their nodes asked side by side, their rows removed together (jobs.md 10.3).

use super::event::Evcode;
use super::field;
use super::options::RunOptions;
use super::quick::{self, QuickVerdict, Suspicion};
use super::repair::{self, Fate};
use super::subject::Subject;
use crate::ids::Fid;
use crate::jobs::context::JobContext;
use crate::store::fsck_batch::{self, RecordedFile};
use crate::store::queues::todo::{self, FsckTodo};
use crate::store::{StoreConnection, StoreResult, db_unixtime, fsck_log, server_settings};
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use std::collections::BTreeSet;

/// Rows that are checked together.
pub const BATCH_ROWS_MAX: usize = 100;
/// Files of a batch that are looked into at the same time, each under its lock.
const REPAIRS_AT_ONCE: usize = 16;

/// Checks a batch; rows of files that could not be settled stay as claimed, with one failure more.
///
/// # Errors
/// The database failed; the rows stay as claimed and come back.
pub async fn run(ctx: &JobContext, todos: &[FsckTodo]) -> StoreResult<()> {
    let fids: Vec<Fid> = todos.iter().map(|todo| todo.fid).collect();
    let (options, files) = ctx.session.read(|conn| Ok((RunOptions::read(conn)?, fsck_batch::load(conn, &fids)?)))?;
    let verdicts = join_all(files.iter().map(|file| quick_check(ctx, &options, file))).await;

    let mut stalled = BTreeSet::new();
    let mut suspicious: Vec<(Fid, Suspicion)> = Vec::new();
    for (file, verdict) in files.iter().zip(verdicts) {
        match verdict {
            QuickVerdict::Fine => {}
            QuickVerdict::Suspicious(suspicion) => suspicious.push((file.file.fid, suspicion)),
            QuickVerdict::Stalled => drop(stalled.insert(file.file.fid)),
        }
    }
    let miscounted = miscounted(&options, &files, &suspicious);
    let repairs = suspicious.into_iter().map(|(fid, suspicion)| repaired(ctx, &options, fid, suspicion));
    stalled.extend(
        stream::iter(repairs).buffer_unordered(REPAIRS_AT_ONCE).filter_map(async |fid| fid).collect::<Vec<_>>().await,
    );
    if let (Some(first), count) = (stalled.first(), stalled.len()) {
        slog::warn!(ctx.log, "connectivity problem: files could not be checked, they come up again later";
            "files" => count, "first_fid" => *first);
    }
    let (stalled, settled): (Vec<FsckTodo>, Vec<FsckTodo>) = todos.iter().partition(|todo| stalled.contains(&todo.fid));
    ctx.session.write(move |conn| finish(conn, &settled, &stalled, &miscounted)).await
}

async fn quick_check(ctx: &JobContext, options: &RunOptions, file: &RecordedFile) -> QuickVerdict {
    let cluster = ctx.view.load_full();
    match Subject::new(&cluster, file) {
        Ok(subject) => quick::check(ctx, options, &subject).await,
        Err(reason) => {
            slog::warn!(ctx.log, "cannot check file now"; "fid" => file.file.fid, "reason" => reason);
            QuickVerdict::Stalled
        }
    }
}

/// Files whose count of copies is wrong; not those in which more is wrong, which see to it themselves.
fn miscounted(options: &RunOptions, files: &[RecordedFile], suspicious: &[(Fid, Suspicion)]) -> Vec<Fid> {
    if options.skips_devcount {
        return Vec::new();
    }
    let is_suspicious = |fid: Fid| suspicious.iter().any(|&(other, _)| other == fid);
    files
        .iter()
        .filter(|file| file.has_wrong_devcount())
        .map(|file| file.file.fid)
        .filter(|&fid| !is_suspicious(fid))
        .collect()
}

/// The number of a file that stays unsettled.
async fn repaired(ctx: &JobContext, options: &RunOptions, fid: Fid, suspicion: Suspicion) -> Option<Fid> {
    match repair::check(ctx, options, fid, suspicion).await {
        Ok(Fate::Settled) => None,
        Ok(Fate::Stalled) => Some(fid),
        Err(error) => {
            slog::error!(ctx.log, "could not look into a file"; "fid" => fid, "error" => %error);
            Some(fid)
        }
    }
}

/// What the batch leaves behind, in one piece: corrected counts with their events, and no rows of what is settled.
fn finish(
    conn: &mut StoreConnection,
    settled: &[FsckTodo],
    stalled: &[FsckTodo],
    miscounted: &[Fid],
) -> StoreResult<()> {
    for &fid in miscounted {
        if fsck_batch::correct_devcount(conn, fid)? {
            fsck_log::append(conn, fid, &[(Evcode::WrongDevcount.code(), None)])?;
        }
    }
    if !stalled.is_empty() {
        todo::count_stall(conn, stalled)?;
    }
    let checked = todo::finish_fsck(conn, settled)?;
    let checked = i64::try_from(checked).unwrap_or(i64::MAX);
    if checked > 0 {
        server_settings::increment(conn, field::FIDS_CHECKED, checked)?;
        let now = db_unixtime(conn)?.to_string();
        server_settings::set(conn, field::CHECKED_TIME, Some(&now))?;
    }
    Ok(())
}
