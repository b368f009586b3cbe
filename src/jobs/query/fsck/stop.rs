//! `fsck_stop`: no further files are taken for checking.

use crate::jobs::fsck::field;
use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin};
use crate::protocol::response::Pairs;
use crate::store::{db_unixtime, server_settings};

pub const SPEC: CommandSpec = CommandSpec {
    name: "fsck_stop",
    group: Group::Fsck,
    summary: "Ends the check: files that are queued already are still checked, no further ones are.",
    arguments: &[],
    reply: &[],
    errors: &[],
    notes: "Succeeds also when nothing runs.",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    query
        .ctx
        .session
        .write(|conn| {
            server_settings::hold(conn)?;
            let now = db_unixtime(conn)?.to_string();
            server_settings::set_all(conn, &[(field::HOST, None), (field::STOP_TIME, Some(&now))])
        })
        .await?;
    Ok(Pairs::new())
}
