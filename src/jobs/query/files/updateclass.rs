//! `updateclass`: another class for a file; replication brings its copies in line.

use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, DOMAIN, Group, KEY, Origin, text};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::files;

pub const SPEC: CommandSpec = CommandSpec {
    name: "updateclass",
    group: Group::Files,
    summary: "Another class for a file; replication brings its copies in line.",
    arguments: &[DOMAIN, KEY, text("class", "Name of the class; `default` too.").required()],
    reply: &[],
    errors: &[
        ErrorCode::NoDomain,
        ErrorCode::UnregDomain,
        ErrorCode::NoKey,
        ErrorCode::NoClass,
        ErrorCode::ClassNotFound,
        ErrorCode::InvalidKey,
        ErrorCode::NoDevices,
    ],
    notes: "Not to be confused with `update_class`. An unknown key is `invalid_key` here.",
    origin: Origin::Reference,
    is_intercepted: true,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let domain = query.domain()?;
    let key = query.key()?;
    let class = query.args.truthy("class").ok_or(ErrorCode::NoClass)?;
    let classid = domain.class_by_name(class).ok_or(ErrorCode::ClassNotFound)?.classid;
    let found = query.ctx.session.look_up(|conn| files::locate(conn, domain.dmid, key))?;
    // Not `unknown_key`: the reference's word here.
    let (file, devids) = found.ok_or(ErrorCode::InvalidKey)?;
    if devids.is_empty() {
        return Err(ErrorCode::NoDevices.into());
    }
    if file.classid != classid {
        let mut change = query.ctx.path_change(domain.dmid, &[]);
        let is_changed = query.ctx.session.write(move |conn| files::set_class(conn, file.fid, classid)).await;
        change.covers_files(domain.dmid, is_changed.as_ref().map(|_| std::slice::from_ref(&file.fid)));
        change.announce().await;
        if !is_changed? {
            // Gone since: the file, or the class by way of another tracker.
            let is_there = query.ctx.session.read(|conn| files::find_by_fid(conn, file.fid))?.is_some();
            return Err(if is_there { ErrorCode::ClassNotFound } else { ErrorCode::InvalidKey }.into());
        }
        query.ctx.wake_jobs();
    }
    Ok(Pairs::new())
}
