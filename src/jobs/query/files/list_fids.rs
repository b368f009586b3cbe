//! `list_fids`: files of all domains by number, for tools that walk through everything.

use crate::ids::Fid;
use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin, number, pair};
use crate::protocol::response::Pairs;
use crate::store::files;

pub const SPEC: CommandSpec = CommandSpec {
    name: "list_fids",
    group: Group::Files,
    summary: "Files of all domains by number, a page at a time.",
    arguments: &[
        number("from", "Only fids greater than this."),
        number("to", "How many (not: up to which fid); default 100, at most 500."),
    ],
    reply: &[
        pair("fid_count", "Number of files."),
        pair("fid_<n>_fid", "Number of the file."),
        pair("fid_<n>_domain", "Domain."),
        pair("fid_<n>_class", "Class."),
        pair("fid_<n>_key", "Key."),
        pair("fid_<n>_length", "Bytes."),
        pair("fid_<n>_devcount", "Number of copies."),
    ],
    errors: &[],
    notes: "Continue with `from` set to the last fid.",
    origin: Origin::Reference,
    is_intercepted: false,
};

/// Rows when none are asked for, and rows at most.
const ROWS_DEFAULT: i64 = 100;
const ROWS_MAX: i64 = 500;

/// `to` is a number of rows, not a fid.
pub fn handle(query: &Query<'_>) -> CommandResult {
    let after = Fid(query.args.int("from"));
    let limit = match query.args.int("to") {
        0 => ROWS_DEFAULT,
        count if count < 0 => ROWS_MAX,
        count => count.min(ROWS_MAX),
    };
    let rows = query.ctx.session.read(|conn| files::list_after(conn, after, limit))?;
    let mut pairs = Pairs::new();
    pairs.push_display("fid_count", rows.len());
    for (n, file) in (1..).zip(&rows) {
        let (domain, class) = query.domain_and_class(file.dmid, file.classid)?;
        pairs.push_display(format!("fid_{n}_fid"), file.fid);
        pairs.push(format!("fid_{n}_domain"), &domain.name);
        pairs.push(format!("fid_{n}_class"), &class.name);
        pairs.push(format!("fid_{n}_key"), &file.dkey);
        pairs.push_display(format!("fid_{n}_length"), file.length);
        pairs.push_display(format!("fid_{n}_devcount"), file.devcount);
    }
    Ok(pairs)
}
