//! `list_keys`: the keys of a domain, a page at a time.

use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, DOMAIN, Group, Origin, number, pair, text};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::files;
use bstr::BStr;

pub const SPEC: CommandSpec = CommandSpec {
    name: "list_keys",
    group: Group::Files,
    summary: "The keys of a domain, a page at a time.",
    arguments: &[
        DOMAIN,
        text("prefix", "Only keys that begin so; taken literally."),
        text("after", "Only keys behind this one, in the order of the database."),
        number("limit", "Keys wanted: at most 1000, which is also the default."),
    ],
    reply: &[
        pair("key_count", "Number of keys."),
        pair("next_after", "The last key of the page: `after` for the next page."),
        pair("key_<n>", "Key."),
    ],
    errors: &[ErrorCode::NoDomain, ErrorCode::UnregDomain, ErrorCode::AfterMismatch, ErrorCode::NoneMatch],
    notes: "Page with `after=next_after` until `none_match`. Upper and lower case are told apart in `prefix` as the database does, always with the server setting `case_sensitive_list_keys`.",
    origin: Origin::Reference,
    is_intercepted: false,
};

/// Keys in one reply.
const PAGE_MAX: i64 = 1000;

pub fn handle(query: &Query<'_>) -> CommandResult {
    let dmid = query.domain()?.dmid;
    let prefix = query.args.get("prefix").unwrap_or_default();
    let after = query.args.get("after").unwrap_or_default();
    // Compared literally (defect 5).
    if !prefix.is_empty() && query.args.flag("after") && !after.starts_with(prefix) {
        return Err(ErrorCode::AfterMismatch.into());
    }
    let limit = page_limit(query.args.get("limit"));
    let case_sensitive = query.cluster.server_flag("case_sensitive_list_keys");
    let keys = query.ctx.session.read(|conn| files::list_keys(conn, dmid, prefix, after, limit, case_sensitive))?;
    let last = keys.last().ok_or(ErrorCode::NoneMatch)?;
    let mut pairs = Pairs::new();
    pairs.push_display("key_count", keys.len());
    // The last key of the page in the database's order, so that paging neither skips nor repeats (defect 22).
    pairs.push("next_after", last);
    for (n, key) in (1..).zip(&keys) {
        pairs.push(format!("key_{n}"), key);
    }
    Ok(pairs)
}

/// 0, missing, empty, negative and too large mean a full page; a text that is no number means none.
fn page_limit(limit: Option<&BStr>) -> i64 {
    match limit {
        None => PAGE_MAX,
        Some(text) if text.is_empty() || text == "0" => PAGE_MAX,
        Some(text) => match crate::protocol::args::num(text) as i64 {
            0 => 0,
            limit if limit < 0 => PAGE_MAX,
            limit => limit.min(PAGE_MAX),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Conformance 197, 198; defect 15.
    #[test]
    fn limits_are_read_as_the_reference_reads_them() {
        let limit = |text: &str| page_limit(Some(BStr::new(text)));
        assert_eq!(page_limit(None), 1000);
        assert_eq!(
            (limit(""), limit("0"), limit("abc"), limit("2"), limit("-5"), limit("5000")),
            (1000, 1000, 0, 2, 1000, 1000)
        );
    }
}
