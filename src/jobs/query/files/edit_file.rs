//! `edit_file` (experimental in the reference): turns the best copy of a file into an open upload with a new fid.

use crate::cluster::placement;
use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, DOMAIN, Group, KEY, Origin, pair};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::tempfiles::NewTempfile;
use crate::store::{StoreError, file_on, files, queues, tempfiles};

pub const SPEC: CommandSpec = CommandSpec {
    name: "edit_file",
    group: Group::Files,
    summary: "Turns the best copy of a file into an open upload with a new fid (experimental since ever).",
    arguments: &[DOMAIN, KEY],
    reply: &[
        pair("oldpath", "URL of the copy."),
        pair("newpath", "URL to move it to (`MOVE`)."),
        pair("fid", "Number of the new upload."),
        pair("devid", "Device of both."),
        pair("class", "Class id."),
    ],
    errors: &[
        ErrorCode::NoDomain,
        ErrorCode::UnregDomain,
        ErrorCode::NoKey,
        ErrorCode::UnknownKey,
        ErrorCode::NoDevices,
        ErrorCode::FidInUse,
        ErrorCode::Db,
    ],
    notes: "Needs storage nodes with `MOVE` and partial `PUT`.",
    origin: Origin::Reference,
    is_intercepted: true,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let dmid = query.domain()?.dmid;
    let key = query.key()?;
    let found = query.ctx.session.read(|conn| files::locate(conn, dmid, key))?;
    let (file, devids) = found.ok_or(ErrorCode::UnknownKey)?;
    let mut ordered = placement::order_for_reading(&query.cluster, &devids, &mut query.ctx.chance.borrow_mut());
    query.ctx.extensions.order_for_reading(query, &mut ordered);
    let device = ordered
        .iter()
        .filter_map(|&devid| query.cluster.device(devid))
        .find(|device| device.may_be_read())
        .ok_or(ErrorCode::NoDevices)?;
    let (old_fid, classid, devid) = (file.fid, file.classid, device.device.devid);
    let new = NewTempfile { fid: None, dmid, dkey: key.to_owned(), classid, devids: vec![devid] };
    let recount = !query.cluster.server_flag("skip_devcount");
    let mut change = query.ctx.path_change(dmid, &[key, file.dkey.as_ref()]);
    let moved = query
        .ctx
        .session
        .write(move |conn| {
            let new_fid = tempfiles::register(conn, &new)?;
            file_on::remove(conn, old_fid, devid)?;
            if recount {
                file_on::recount(conn, old_fid)?;
            }
            // What is left may be too little, or be counted on by a worker that has the file right now.
            queues::replicate::enqueue(conn, old_fid, 1)?;
            file_on::add(conn, new_fid, devid)?;
            Ok(new_fid)
        })
        .await;
    change.covers_files(dmid, moved.as_ref().map(|_| std::slice::from_ref(&old_fid)));
    change.announce().await;
    let new_fid = match moved {
        Ok(new_fid) => new_fid,
        Err(StoreError::Duplicate) => return Err(ErrorCode::FidInUse.into()),
        Err(error) => {
            slog::error!(query.ctx.log, "could not open a file for editing"; "fid" => old_fid, "error" => %error);
            return Err(ErrorCode::Db.into());
        }
    };
    let mut pairs = Pairs::new();
    pairs.push("oldpath", device.read_url(old_fid, query.zone));
    pairs.push("newpath", device.read_url(new_fid, query.zone));
    pairs.push_display("fid", new_fid);
    pairs.push_display("devid", devid);
    pairs.push_display("class", classid);
    Ok(pairs)
}
