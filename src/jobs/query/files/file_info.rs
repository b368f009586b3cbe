//! `file_info`: what is known of a file without asking a node.

use crate::cluster::checksum::{Checksum, HashType};
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, DOMAIN, Group, KEY, Origin, flag, pair};
use crate::jobs::query::{Query, comma_list};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::{checksums, files};

pub const SPEC: CommandSpec = CommandSpec {
    name: "file_info",
    group: Group::Files,
    summary: "What is known of a file, without asking a storage node.",
    arguments: &[DOMAIN, KEY, flag("devices", "Add the devices that have it.")],
    reply: &[
        pair("fid", "Number of the file."),
        pair("domain", "Domain."),
        pair("class", "Class."),
        pair("key", "Key as asked for."),
        pair("length", "Bytes."),
        pair("devcount", "Number of copies."),
        pair("checksum", "`NAME:hex`, or `MISSING`; only if the class has a hashtype."),
        pair("devids", "Device ids, separated by commas; only with `devices`."),
    ],
    errors: &[ErrorCode::NoDomain, ErrorCode::UnregDomain, ErrorCode::NoKey, ErrorCode::UnknownKey],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: true,
};

pub fn handle(query: &Query<'_>) -> CommandResult {
    let dmid = query.domain()?.dmid;
    let key = query.key()?;
    let found = query.ctx.session.read(|conn| files::locate(conn, dmid, key))?;
    let (file, devids) = found.ok_or(ErrorCode::UnknownKey)?;
    let (domain, class) = query.domain_and_class(file.dmid, file.classid)?;
    let mut pairs = Pairs::new();
    pairs.push_display("fid", file.fid);
    pairs.push("domain", &domain.name);
    pairs.push("class", &class.name);
    pairs.push("key", key);
    pairs.push_display("length", file.length);
    pairs.push_display("devcount", file.devcount);
    if class.hashtype.is_some() {
        let row = query.ctx.session.read(|conn| checksums::find(conn, file.fid))?;
        pairs.push("checksum", row.map_or_else(|| "MISSING".to_owned(), |(number, digest)| wire_form(number, digest)));
    }
    if query.args.flag("devices") {
        pairs.push("devids", comma_list(&devids));
    }
    Ok(pairs)
}

/// `NAME:hex`; an algorithm outside the schema is named by its number.
pub(super) fn wire_form(number: i64, digest: Vec<u8>) -> String {
    match HashType::from_number(number) {
        Some(hashtype) => Checksum { hashtype, digest }.to_string(),
        None => format!("{number}:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}
