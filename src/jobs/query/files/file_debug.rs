//! `file_debug`: every row that mentions a file, by fid or by key.

use super::file_info::wire_form;
use crate::cluster::host::Zone;
use crate::ids::Fid;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, Group, Origin, number, pair, text};
use crate::jobs::query::{Query, comma_list};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::files::FileRow;
use crate::store::queues::todo::{FSCK, REBALANCE, TodoRow};
use crate::store::{checksums, file_on, files, queues, tempfiles};

pub const SPEC: CommandSpec = CommandSpec {
    name: "file_debug",
    group: Group::Files,
    summary: "Every row of the database that mentions a file.",
    arguments: &[
        number("fid", "The file by number; then `domain` and `key` are not needed, and an unknown number is no error."),
        text("domain", "Name of the domain."),
        text("key", "The file's key."),
    ],
    reply: &[
        pair("fid_<code>", "Columns of the `file` row, and the names of its domain and class."),
        pair("tempfile_<code>", "Columns of the `tempfile` row."),
        pair("replqueue_<code>", "Columns of the `file_to_replicate` row."),
        pair("delqueue_<code>", "Columns of the `file_to_delete2` row."),
        pair("rebqueue_<code>", "Columns of the rebalance row of `file_to_queue`."),
        pair("fsckqueue_<code>", "Columns of the fsck row of `file_to_queue`."),
        pair("devids", "Devices of its copies, separated by commas."),
        pair("devpath_<devid>", "URL of the copy on this device; empty for an unknown device."),
        pair("checksum", "`NAME:hex` or `NONE`."),
    ],
    errors: &[ErrorCode::NoDomain, ErrorCode::UnregDomain, ErrorCode::NoKey, ErrorCode::UnknownKey],
    notes: "A group of pairs is there only if its row is.",
    origin: Origin::Reference,
    is_intercepted: true,
};

pub fn handle(query: &Query<'_>) -> CommandResult {
    let session = &query.ctx.session;
    let (fid, file) = subject(query)?;
    let mut pairs = Pairs::new();
    if let Some(file) = &file {
        push_file(query, &mut pairs, file)?;
    }
    if let Some(row) = session.read(|conn| tempfiles::find(conn, fid))? {
        pairs.push_display("tempfile_classid", row.classid);
        pairs.push_display("tempfile_dmid", row.dmid);
        pairs.push("tempfile_dkey", &row.dkey);
        pairs.push("tempfile_devids", comma_list(&row.devids));
    }
    if let Some(row) = session.read(|conn| queues::replicate::find(conn, fid))? {
        pairs.push_display("replqueue_fid", row.fid);
        pairs.push_display("replqueue_nexttry", row.nexttry);
        pairs.push_option("replqueue_fromdevid", row.fromdevid);
        pairs.push_display("replqueue_failcount", row.failcount);
        pairs.push_display("replqueue_flags", row.flags);
    }
    if let Some(row) = session.read(|conn| queues::delete::find(conn, fid))? {
        pairs.push_display("delqueue_fid", row.fid);
        pairs.push_display("delqueue_nexttry", row.nexttry);
        pairs.push_display("delqueue_failcount", row.failcount);
    }
    for (prefix, kind) in [("rebqueue", REBALANCE), ("fsckqueue", FSCK)] {
        if let Some(row) = session.read(|conn| queues::todo::find(conn, fid, kind))? {
            push_todo(&mut pairs, prefix, &row);
        }
    }
    push_copies(query, &mut pairs, fid)?;
    let checksum = session.read(|conn| checksums::find(conn, fid))?;
    pairs.push("checksum", checksum.map_or_else(|| "NONE".to_owned(), |(number, digest)| wire_form(number, digest)));
    Ok(pairs)
}

/// By `fid`, where a missing file is no error, or by domain and key.
fn subject(query: &Query<'_>) -> Result<(Fid, Option<FileRow>), CommandError> {
    if query.args.flag("fid") {
        let fid = Fid(query.args.int("fid"));
        return Ok((fid, query.ctx.session.read(|conn| files::find_by_fid(conn, fid))?));
    }
    let dmid = query.domain()?.dmid;
    let key = query.key()?;
    let file = query.ctx.session.read(|conn| files::find_by_key(conn, dmid, key))?.ok_or(ErrorCode::UnknownKey)?;
    Ok((file.fid, Some(file)))
}

fn push_file(query: &Query<'_>, pairs: &mut Pairs, file: &FileRow) -> Result<(), CommandError> {
    let (domain, class) = query.domain_and_class(file.dmid, file.classid)?;
    pairs.push_display("fid_fid", file.fid);
    pairs.push_display("fid_dmid", file.dmid);
    pairs.push("fid_dkey", &file.dkey);
    pairs.push_display("fid_length", file.length);
    pairs.push_display("fid_classid", file.classid);
    pairs.push_display("fid_devcount", file.devcount);
    pairs.push("fid_domain", &domain.name);
    pairs.push("fid_class", &class.name);
    Ok(())
}

fn push_todo(pairs: &mut Pairs, prefix: &str, row: &TodoRow) {
    pairs.push_display(format!("{prefix}_fid"), row.fid);
    pairs.push_option(format!("{prefix}_devid"), row.devid);
    pairs.push_display(format!("{prefix}_type"), row.kind);
    pairs.push_display(format!("{prefix}_nexttry"), row.nexttry);
    pairs.push_display(format!("{prefix}_failcount"), row.failcount);
    pairs.push_display(format!("{prefix}_flags"), row.flags);
    pairs.push_option(format!("{prefix}_arg"), row.arg.as_ref());
}

fn push_copies(query: &Query<'_>, pairs: &mut Pairs, fid: Fid) -> Result<(), CommandError> {
    let devids = query.ctx.session.read(|conn| file_on::devids(conn, fid))?;
    if devids.is_empty() {
        return Ok(());
    }
    let zone: Zone = query.zone;
    pairs.push("devids", comma_list(&devids));
    for devid in devids {
        let url = query.cluster.device(devid).map(|device| device.read_url(fid, zone)).unwrap_or_default();
        pairs.push(format!("devpath_{devid}"), url);
    }
    Ok(())
}
