//! `clear_cache`, `noop`, `test`, `sleep`.

use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin, flag, number, pair, text};
use crate::jobs::query::{Glance, Query};
use crate::protocol::args::is_true;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use std::time::Duration;

pub const CLEAR_CACHE: CommandSpec = CommandSpec {
    name: "clear_cache",
    group: Group::Service,
    summary: "Reads the cluster anew and echoes the arguments.",
    arguments: &[text("<any>", "Sent back.")],
    reply: &[pair("<any>", "The arguments.")],
    errors: &[],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub const NOOP: CommandSpec = CommandSpec {
    name: "noop",
    group: Group::Service,
    summary: "Does nothing.",
    arguments: &[],
    reply: &[],
    errors: &[],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub const TEST: CommandSpec = CommandSpec {
    name: "test",
    group: Group::Service,
    summary: "Succeeds, or fails if asked to.",
    arguments: &[flag("crash", "Answer `failure`.")],
    reply: &[],
    errors: &[],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub const SLEEP: CommandSpec = CommandSpec {
    name: "sleep",
    group: Group::Service,
    summary: "Answers after a while.",
    arguments: &[number(
        "duration",
        "Seconds, 10 if missing or 0; longer than the limit of a request gives `failure`.",
    )],
    reply: &[],
    errors: &[],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

/// Refreshes the view of the cluster and echoes the arguments.
pub async fn clear_cache(query: &Query<'_>) -> CommandResult {
    query.refresh().await;
    let mut pairs = Pairs::new();
    // `callid` is echoed by every reply already.
    for (name, value) in query.args.pairs().iter().filter(|(name, _)| name != "callid") {
        pairs.push(name, value);
    }
    Ok(pairs)
}

pub fn noop(_query: &Glance<'_>) -> CommandResult {
    Ok(Pairs::new())
}

/// `crash` makes it fail, as a handler with an error would.
pub fn test(query: &Query<'_>) -> CommandResult {
    match query.args.flag("crash") {
        true => Err(ErrorCode::Failure.into()),
        false => Ok(Pairs::new()),
    }
}

/// Answers after `duration` seconds (10 when missing or 0). Longer than `limits.request_timeout_ms` gives `failure`
/// (protocol.md 12, defect 3).
pub async fn sleep(query: &Query<'_>) -> CommandResult {
    let asked = query.args.get("duration").is_some_and(|duration| is_true(duration));
    let seconds = if asked { query.args.num("duration").clamp(0.0, 86_400.0) } else { 10.0 };
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    Ok(Pairs::new())
}
