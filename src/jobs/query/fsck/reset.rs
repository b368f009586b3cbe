//! `fsck_reset`: where the next fsck begins, and how thoroughly it looks.

use crate::jobs::fsck::{self, field};
use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, Group, Origin, flag, number};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::{StoreError, server_settings};
use bstr::ByteSlice;

pub const SPEC: CommandSpec = CommandSpec {
    name: "fsck_reset",
    group: Group::Fsck,
    summary: "Lets the next check begin at the first file, or where it is told, and clears the counters.",
    arguments: &[
        flag("policy_only", "Look only at the recorded places of files, not at the nodes."),
        number("startpos", "Check the files with higher fids only."),
    ],
    reply: &[],
    errors: &[ErrorCode::Db],
    notes: "Accepted at any time, also while a check runs. The end of the check is the highest fid there is now.",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let policy_only = query.args.flag("policy_only").then_some("1");
    let start_position = start_position(query).to_string();
    query
        .ctx
        .session
        .write(move |conn| {
            server_settings::hold(conn)?;
            let options = [(field::POLICY_ONLY, policy_only), (field::POSITION, Some(start_position.as_str()))];
            server_settings::set_all(conn, &options)?;
            fsck::reset_run(conn)
        })
        .await
        .map_err(|error| database_failed(query, SPEC.name, &error))?;
    Ok(Pairs::new())
}

/// Exact for all numbers of 64 bits; a number below zero is of no file and means the first.
fn start_position(query: &Query<'_>) -> i64 {
    let exact = query.args.get("startpos").and_then(|text| text.to_str().ok()?.parse().ok());
    exact.unwrap_or_else(|| query.args.int("startpos")).max(0)
}

/// `fsck_start` and `fsck_reset` answer `db` where others answer `failure`.
pub(super) fn database_failed(query: &Query<'_>, command: &str, error: &StoreError) -> CommandError {
    slog::error!(query.ctx.log, "error running command"; "command" => command, "error" => %error);
    ErrorCode::Db.into()
}
