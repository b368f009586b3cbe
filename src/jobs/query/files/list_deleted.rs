//! `list_deleted`: what `undelete` can bring back.

use super::undelete::NOT_SET_UP;
use crate::ids::Fid;
use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, DOMAIN, Group, Origin, number, pair, text};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::deleted_files;

pub const SPEC: CommandSpec = CommandSpec {
    name: "list_deleted",
    group: Group::Files,
    summary: "The deleted files of a domain that `undelete` can bring back, a page at a time, by number.",
    arguments: &[
        DOMAIN,
        text("prefix", "Only files whose keys began so; compared as in `list_keys`."),
        number("after_fid", "Only files with a number above this."),
        number("limit", "Files wanted: at most 1000, which is also the default."),
    ],
    reply: &[
        pair("count", "Number of files in this reply; `0` is a success."),
        pair("fid_<n>", "Number of the file."),
        pair("key_<n>", "The key that it had."),
        pair("length_<n>", "Length in bytes."),
        pair("deleted_at_<n>", "When it was deleted: Unix time of the database."),
        pair("due_at_<n>", "When its copies are to go: until then it can be brought back."),
    ],
    errors: &[ErrorCode::NoDomain, ErrorCode::UnregDomain],
    notes: "Page with `after_fid` set to the last number until `count=0`. A key may occur several times. Needs a table that `mogilefs db setup` makes; without it the answer is `failure`.",
    origin: Origin::Here,
    is_intercepted: false,
};

/// Files in one reply.
const PAGE_MAX: i64 = 1000;

pub fn handle(query: &Query<'_>) -> CommandResult {
    let dmid = query.domain()?.dmid;
    let prefix = query.args.get("prefix").unwrap_or_default();
    let after = Fid(query.args.int("after_fid"));
    let limit = match query.args.int("limit") {
        limit if limit > 0 => limit.min(PAGE_MAX),
        _ => PAGE_MAX,
    };
    let page = query.ctx.session.read(|conn| match deleted_files::is_set_up(conn)? {
        true => deleted_files::list(conn, dmid, prefix, after, limit).map(Some),
        false => Ok(None),
    })?;
    let files = page.ok_or_else(|| CommandError::with_text(ErrorCode::Failure, NOT_SET_UP))?;
    let mut pairs = Pairs::new();
    pairs.push_display("count", files.len());
    for (n, file) in (1..).zip(&files) {
        pairs.push_display(format!("fid_{n}"), file.fid);
        pairs.push(format!("key_{n}"), &file.dkey);
        pairs.push_display(format!("length_{n}"), file.length);
        pairs.push_display(format!("deleted_at_{n}"), file.deleted_at);
        pairs.push_display(format!("due_at_{n}"), file.due_at);
    }
    Ok(pairs)
}
