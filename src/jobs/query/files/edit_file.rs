//! `edit_file` (experimental in the reference): turns the best copy of a file into an open upload with a new fid.

use crate::cluster::placement;
use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::tempfiles::NewTempfile;
use crate::store::{StoreError, file_on, files, tempfiles};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let dmid = query.domain()?.dmid;
    let key = query.key()?;
    let found = query.ctx.session.read(|conn| files::locate(conn, dmid, key))?;
    let (file, devids) = found.ok_or(ErrorCode::UnknownKey)?;
    let ordered = placement::order_for_reading(&query.cluster, &devids, &mut query.ctx.chance.borrow_mut());
    let device = ordered
        .iter()
        .filter_map(|&devid| query.cluster.device(devid))
        .find(|device| device.may_be_read())
        .ok_or(ErrorCode::NoDevices)?;
    let (old_fid, classid, devid) = (file.fid, file.classid, device.device.devid);
    let new = NewTempfile { fid: None, dmid, dkey: key.to_owned(), classid, devids: vec![devid] };
    let moved = query
        .ctx
        .session
        .write(move |conn| {
            let new_fid = tempfiles::register(conn, &new)?;
            file_on::remove(conn, old_fid, devid)?;
            file_on::add(conn, new_fid, devid)?;
            Ok(new_fid)
        })
        .await;
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
