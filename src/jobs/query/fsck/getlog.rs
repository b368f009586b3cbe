//! `fsck_getlog`: what a fsck found, a page at a time.

use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin, number, pair};
use crate::protocol::response::Pairs;
use crate::store::fsck_log::{self, FsckLogRow};

pub const SPEC: CommandSpec = CommandSpec {
    name: "fsck_getlog",
    group: Group::Fsck,
    summary: "What a check found: up to 100 rows of its log.",
    arguments: &[number("after_logid", "Only rows with higher numbers.")],
    reply: &[
        pair("row_count", "Number of rows."),
        pair("row_<n>_logid", "Number of the row; they ascend."),
        pair("row_<n>_utime", "Unix time of the database."),
        pair("row_<n>_fid", "The file."),
        pair("row_<n>_evcode", "What was found."),
        pair("row_<n>_devid", "The device it was found on; absent where it is about none."),
    ],
    errors: &[],
    notes: "\
| evcode | meaning |
| --- | --- |
| `NOPA` | no place of the file is known |
| `POVI` | the policy of its class is violated: too few, too many or misplaced copies |
| `MISS` | a recorded copy does not exist |
| `BLEN` | a recorded copy has the wrong length |
| `SRCH` | a search over all devices began |
| `FOND` | the search found a copy |
| `GONE` | nothing usable was found anywhere |
| `REPL` | replication was requested |
| `BCNT` | the recorded number of copies was wrong |
| `BSUM` | the recorded checksum is that of no copy, or copies differ |
| `NSUM` | no checksum was recorded; now one is |
| `MSUM` | copies differ, and no checksum is known |
| `BALG` | the recorded checksum is not of the algorithm that the class wants |",
    origin: Origin::Reference,
    is_intercepted: false,
};

/// Rows of a page.
const ROWS_MAX: i64 = 100;

pub fn handle(query: &Query<'_>) -> CommandResult {
    let after = query.args.int("after_logid");
    let rows = query.ctx.session.read(|conn| fsck_log::list_after(conn, after, ROWS_MAX))?;
    let mut pairs = Pairs::new();
    pairs.push_display("row_count", rows.len());
    for (n, row) in (1..).zip(&rows) {
        push_row(&mut pairs, n, row);
    }
    Ok(pairs)
}

/// Here NULL is no pair, not an empty one.
fn push_row(pairs: &mut Pairs, n: usize, row: &FsckLogRow) {
    pairs.push_display(format!("row_{n}_logid"), row.logid);
    pairs.push_display(format!("row_{n}_utime"), row.utime);
    if let Some(fid) = row.fid {
        pairs.push_display(format!("row_{n}_fid"), fid);
    }
    if let Some(evcode) = &row.evcode {
        pairs.push(format!("row_{n}_evcode"), evcode);
    }
    if let Some(devid) = row.devid {
        pairs.push_display(format!("row_{n}_devid"), devid);
    }
}
