//! `rename`: another key for a file, in the same domain.

use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, DOMAIN, Group, Origin, text};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::files::RenameOutcome;

pub const SPEC: CommandSpec = CommandSpec {
    name: "rename",
    group: Group::Files,
    summary: "Another key for a file, in the same domain.",
    arguments: &[
        DOMAIN,
        text("from_key", "The key it has.").required(),
        text("to_key", "The key it gets; onto itself is fine.").required(),
    ],
    reply: &[],
    errors: &[
        ErrorCode::NoDomain,
        ErrorCode::UnregDomain,
        ErrorCode::NoKey,
        ErrorCode::UnknownKey,
        ErrorCode::KeyExists,
    ],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let dmid = query.domain()?.dmid;
    let from_key = query.args.nonempty("from_key").ok_or(ErrorCode::NoKey)?.to_owned();
    let to_key = query.args.nonempty("to_key").ok_or(ErrorCode::NoKey)?.to_owned();
    let mut change = query.ctx.path_change(dmid, &[from_key.as_ref(), to_key.as_ref()]);
    let renamed = query.ctx.session.rename(dmid, from_key, to_key).await;
    change.covers_files(
        dmid,
        renamed.as_ref().map(|outcome| match outcome {
            RenameOutcome::Renamed(fid) => std::slice::from_ref(fid),
            RenameOutcome::UnknownKey | RenameOutcome::KeyExists => &[],
        }),
    );
    change.announce().await;
    match renamed? {
        RenameOutcome::Renamed(_) => Ok(Pairs::new()),
        RenameOutcome::UnknownKey => Err(ErrorCode::UnknownKey.into()),
        RenameOutcome::KeyExists => Err(ErrorCode::KeyExists.into()),
    }
}
