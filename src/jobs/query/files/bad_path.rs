//! `bad_path`: a client could not read a copy. The copy is offered last from now on, and fsck is to look at the file first.

use crate::cluster::devfid::DevFid;
use crate::ids::{DevId, Fid};
use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, DOMAIN, Group, KEY, Origin, number, pair, text};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::files;
use crate::store::queues::todo;
use std::time::{Duration, Instant};

pub const SPEC: CommandSpec = CommandSpec {
    name: "bad_path",
    group: Group::Files,
    summary: "A client reports that a copy could not be read.",
    arguments: &[
        DOMAIN,
        KEY,
        text("path", "The URL that failed, as `get_paths` gave it."),
        number("devid", "The device of the copy, instead of `path`."),
    ],
    reply: &[
        pair("fid", "Number of the file."),
        pair("devid", "Device of the copy."),
        pair("demoted_secs", "For so long this tracker offers the copy last."),
        pair("other_copies", "Copies on other devices."),
    ],
    errors: &[
        ErrorCode::NoDomain,
        ErrorCode::UnregDomain,
        ErrorCode::NoKey,
        ErrorCode::NoPath,
        ErrorCode::UnknownKey,
        ErrorCode::BogusArgs,
    ],
    notes: "The file also gets a row in fsck's queue, due at once. Nothing is removed on a client's word. `bogus_args`: the file has no such copy.",
    origin: Origin::Here,
    is_intercepted: true,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let dmid = query.domain()?.dmid;
    let key = query.key()?;
    if !query.args.flag("path") && !query.args.flag("devid") {
        return Err(ErrorCode::NoPath.into());
    }
    let found = query.ctx.session.read(|conn| files::locate(conn, dmid, key))?;
    let (file, devids) = found.ok_or(ErrorCode::UnknownKey)?;
    let devid = reported_device(query, file.fid, &devids)?;
    let duration = Duration::from_secs(query.ctx.settings.storage.bad_path_demotion_secs);
    query.ctx.doubtful_copies.report(file.fid, devid, Instant::now(), duration);
    slog::warn!(query.ctx.log, "a client could not read a copy"; "fid" => file.fid, "devid" => devid,
        "client" => query.zone.peer.map(|peer| peer.to_string()));
    query.ctx.session.write(move |conn| todo::enqueue_now(conn, file.fid, todo::FSCK)).await?;
    query.ctx.wake_jobs();
    let mut pairs = Pairs::new();
    pairs.push_display("fid", file.fid);
    pairs.push_display("devid", devid);
    pairs.push_display("demoted_secs", duration.as_secs());
    pairs.push_display("other_copies", devids.iter().filter(|&&other| other != devid).count());
    Ok(pairs)
}

/// The copy that the client means. Of a URL only the path counts: the address may be that of another zone.
fn reported_device(query: &Query<'_>, fid: Fid, devids: &[DevId]) -> Result<DevId, CommandError> {
    let named = match query.args.truthy("path") {
        None => devids.iter().copied().find(|devid| devid.0 == query.args.int("devid")),
        Some(url) => devids.iter().copied().find(|&devid| url.ends_with(DevFid { devid, fid }.path().as_bytes())),
    };
    named.ok_or_else(|| ErrorCode::BogusArgs.into())
}
