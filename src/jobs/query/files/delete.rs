//! `delete`: the key is gone at once, its copies soon (delete workers).

use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::files;

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let dmid = query.domain()?.dmid;
    let key = query.key()?.to_owned();
    let deleted = query.ctx.session.write(move |conn| files::delete_by_key(conn, dmid, key.as_ref())).await?;
    deleted.ok_or(ErrorCode::UnknownKey)?;
    query.ctx.wake_jobs();
    Ok(Pairs::new())
}
