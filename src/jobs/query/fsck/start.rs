//! `fsck_start`: begins a fsck, or goes on with one that was stopped.

use super::reset::database_failed;
use crate::jobs::fsck::{self, field};
use crate::jobs::hostname::own_hostname;
use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, Group, Origin};
use crate::jobs::rebalance;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::{StoreConnection, StoreResult, db_unixtime, server_settings};

pub const SPEC: CommandSpec = CommandSpec {
    name: "fsck_start",
    group: Group::Fsck,
    summary: "Begins a check of the files, or goes on with one that was stopped.",
    arguments: &[],
    reply: &[],
    errors: &[ErrorCode::FsckRunning, ErrorCode::RebalRunning, ErrorCode::Db],
    notes: "This tracker takes the files, a step after the other; the workers of all trackers on the database check them. After \
            a finished check only files added since are checked; for all of them, send `fsck_reset` first.",
    origin: Origin::Reference,
    is_intercepted: false,
};

enum Outcome {
    Started,
    FsckRuns,
    RebalanceRuns,
}

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let hostname = own_hostname();
    let started = query.ctx.session.write(move |conn| start(conn, &hostname)).await;
    match started.map_err(|error| database_failed(query, "fsck_start", &error))? {
        Outcome::Started => {}
        Outcome::FsckRuns => {
            return Err(CommandError::with_text(ErrorCode::FsckRunning, "fsck is already running"));
        }
        Outcome::RebalanceRuns => {
            let text = "rebalance running; cannot run fsck at same time";
            return Err(CommandError::with_text(ErrorCode::RebalRunning, text));
        }
    }
    // The job master goes by the view of the cluster.
    query.refresh().await;
    query.ctx.wake_jobs();
    Ok(Pairs::new())
}

fn start(conn: &mut StoreConnection, hostname: &str) -> StoreResult<Outcome> {
    server_settings::hold(conn)?;
    let settings = server_settings::all(conn)?;
    if server_settings::says(&settings, field::HOST) {
        return Ok(Outcome::FsckRuns);
    }
    if server_settings::says(&settings, rebalance::field::HOST) {
        return Ok(Outcome::RebalanceRuns);
    }
    let (position, end) = (fsck::number(&settings, field::POSITION), fsck::number(&settings, field::END));
    let is_finished = position != 0 && end != 0 && position >= end;
    let is_first = position == 0 && end == 0;
    if is_finished || is_first {
        fsck::reset_run(conn)?;
    }
    let now = db_unixtime(conn)?;
    fsck::record_run(conn, position, now)?;
    let now = now.to_string();
    server_settings::set_all(
        conn,
        &[
            (field::START_TIME, Some(&now)),
            (field::STOP_TIME, None),
            (field::FIDS_CHECKED, Some("0")),
            (field::START, Some(&position.to_string())),
            (field::HOST, Some(hostname)),
        ],
    )?;
    Ok(Outcome::Started)
}
