//! `file_info`: what is known of a file without asking a node.

use super::many;
use crate::cluster::checksum::{Checksum, HashType};
use crate::ids::{DevId, Dmid};
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, DOMAIN, Group, Origin, flag, pair};
use crate::jobs::query::{Query, comma_list};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::files::FileRow;
use bstr::BStr;

pub const SPEC: CommandSpec = CommandSpec {
    name: "file_info",
    group: Group::Files,
    summary: "What is known of a file, without asking a storage node.",
    arguments: &[DOMAIN, many::KEY, many::KEYS, many::KEY_N, flag("devices", "Add the devices that have it.")],
    reply: &[
        pair("fid", "Number of the file."),
        pair("domain", "Domain."),
        pair("class", "Class."),
        pair("key", "Key as asked for."),
        pair("length", "Bytes."),
        pair("devcount", "Number of copies."),
        pair("checksum", "`NAME:hex`, or `MISSING`; only if the class has a hashtype."),
        pair("devids", "Device ids, separated by commas; only with `devices`."),
        pair(
            "keys",
            "Number of the keys asked for; only with `keys`. The pairs above then end in `_<n>` for the n-th key.",
        ),
        pair("error_<n>", "Why there is nothing about the n-th key: `unknown_key` or `no_key`."),
        pair("fid_<n>", "As `fid`; and so on."),
        pair("domain_<n>", "As `domain`."),
        pair("class_<n>", "As `class`."),
        pair("key_<n>", "As `key`."),
        pair("length_<n>", "As `length`."),
        pair("devcount_<n>", "As `devcount`."),
        pair("checksum_<n>", "As `checksum`."),
        pair("devids_<n>", "As `devids`."),
    ],
    errors: &[ErrorCode::NoDomain, ErrorCode::UnregDomain, ErrorCode::BadArgs, ErrorCode::NoKey, ErrorCode::UnknownKey],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: true,
};

pub fn handle(query: &Query<'_>) -> CommandResult {
    let dmid = query.domain()?.dmid;
    if many::is_asked(query) {
        return handle_many(query, dmid);
    }
    let key = query.key()?;
    let found = query.ctx.session.locate(dmid, key)?.0;
    let (file, devids) = found.ok_or(ErrorCode::UnknownKey)?;
    let mut pairs = Pairs::new();
    push_file(query, &mut pairs, "", key, &file, &devids)?;
    Ok(pairs)
}

/// The same for each of many keys; pairs are named by the number of the key.
fn handle_many(query: &Query<'_>, dmid: Dmid) -> CommandResult {
    let found = many::look_up(query, dmid)?;
    let mut pairs = Pairs::new();
    pairs.push_display("keys", found.len());
    for found in found {
        let suffix = format!("_{}", found.n);
        match found.outcome {
            Err(code) => pairs.push(format!("error{suffix}"), code.code()),
            Ok((file, devids)) => push_file(query, &mut pairs, &suffix, found.key.as_ref(), &file, &devids)?,
        }
    }
    Ok(pairs)
}

fn push_file(
    query: &Query<'_>,
    pairs: &mut Pairs,
    suffix: &str,
    key: &BStr,
    file: &FileRow,
    devids: &[DevId],
) -> Result<(), CommandError> {
    let (domain, class) = query.domain_and_class(file.dmid, file.classid)?;
    let name = |name: &str| format!("{name}{suffix}");
    pairs.push_display(name("fid"), file.fid);
    pairs.push(name("domain"), &domain.name);
    pairs.push(name("class"), &class.name);
    pairs.push(name("key"), key);
    pairs.push_display(name("length"), file.length);
    pairs.push_display(name("devcount"), file.devcount);
    if class.hashtype.is_some() {
        let row = query.ctx.session.checksum(file.fid)?;
        let checksum = row.map_or_else(|| "MISSING".to_owned(), |(number, digest)| wire_form(number, digest));
        pairs.push(name("checksum"), checksum);
    }
    if query.args.flag("devices") {
        pairs.push(name("devids"), comma_list(devids));
    }
    Ok(())
}

/// `NAME:hex`; an algorithm outside the schema is named by its number.
pub(super) fn wire_form(number: i64, digest: Vec<u8>) -> String {
    match HashType::from_number(number) {
        Some(hashtype) => Checksum { hashtype, digest }.to_string(),
        None => format!("{number}:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}
