//! Requests for different files that wait for the same worker, looked up in one go (see [`joint_look_up`]).
//!
//! Only where that pays: on a database server, and where no extension has a say in what a request asks for. Answers are the
//! same as if each had been carried out by itself.
//!
//! [`joint_look_up`]: crate::jobs::joint_look_up

use super::files::get_paths;
use crate::jobs::context::JobContext;
use crate::jobs::joint_look_up::KEYS_MAX;
use crate::protocol::request::Request;
use crate::store::Backend;
use std::net::IpAddr;
use std::time::Instant;

/// Are requests to be looked up together at all?
pub fn is_worth_while(ctx: &JobContext) -> bool {
    ctx.session.backend() != Backend::Sqlite && ctx.extensions.is_empty()
}

/// Is this line a request that looks a file up?
pub fn is_look_up(line: &[u8]) -> bool {
    Request::name_of(line).eq_ignore_ascii_case(get_paths::SPEC.name.as_bytes())
}

/// Looks up what these lines ask for. Whoever carries out any other line calls [`forget`] first.
pub fn look_up<'a>(ctx: &JobContext, lines: impl Iterator<Item = (&'a [u8], IpAddr)>) {
    let asked_for = lines.filter_map(|(line, peer)| get_paths::file_asked_for(ctx, line, peer));
    let wanted: Vec<_> = asked_for.take(KEYS_MAX).collect();
    if wanted.is_empty() {
        return;
    }
    let begun = Instant::now();
    ctx.session.on_behalf_of_at_once(get_paths::SPEC.name, || {
        ctx.path_cache.look_up_together(&ctx.view, &ctx.session, &wanted);
    });
    if wanted.len() == 1 {
        ctx.look_up_lanes.note(begun.elapsed());
    }
}

/// From now on every request asks the database itself.
pub fn forget(ctx: &JobContext) {
    ctx.path_cache.forget_together();
}
