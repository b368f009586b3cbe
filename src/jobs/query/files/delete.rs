//! `delete`: the key is gone at once, its copies soon (delete workers).

use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, DOMAIN, Group, KEY, Origin};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::files;

pub const SPEC: CommandSpec = CommandSpec {
    name: "delete",
    group: Group::Files,
    summary: "The key is gone at once, its copies soon after.",
    arguments: &[DOMAIN, KEY],
    reply: &[],
    errors: &[ErrorCode::NoDomain, ErrorCode::UnregDomain, ErrorCode::NoKey, ErrorCode::UnknownKey],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: true,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let dmid = query.domain()?.dmid;
    let key = query.key()?.to_owned();
    let mut change = query.ctx.path_change(dmid, &[key.as_ref()]);
    let mut steps = query.ctx.extensions.with_delete(query);
    let deleted = if steps.is_empty() {
        query.ctx.session.delete_by_key(dmid, key).await
    } else {
        let with_steps = query.ctx.session.write(move |conn| {
            let deleted = files::delete_by_key(conn, dmid, key.as_ref())?;
            if let Some(fid) = deleted {
                for step in &mut steps {
                    step(conn, fid)?;
                }
            }
            Ok(deleted)
        });
        with_steps.await
    };
    change.covers_files(dmid, deleted.as_ref().map(|fid| fid.as_slice()));
    change.announce().await;
    deleted?.ok_or(ErrorCode::UnknownKey)?;
    query.ctx.wake_jobs();
    Ok(Pairs::new())
}
