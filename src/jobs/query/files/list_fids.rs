//! `list_fids`: files of all domains by number, for tools that walk through everything.

use crate::ids::Fid;
use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::protocol::response::Pairs;
use crate::store::files;

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
