//! `check_cluster`: what is not as it should be, as this tracker sees it.

use crate::jobs::cluster_check::problems;
use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin, pair};
use crate::protocol::response::Pairs;

pub const SPEC: CommandSpec = CommandSpec {
    name: "check_cluster",
    group: Group::Service,
    summary: "What is not as it should be with hosts and devices, as this tracker sees it.",
    arguments: &[],
    reply: &[
        pair("problems", "How many there are."),
        pair(
            "problem_<n>_kind",
            "`host_unreachable`, `device_unreachable`, `not_writeable`, `full`, `mount_guard` (another disk or none is mounted) or `dead_host` (the host is dead, its device is not).",
        ),
        pair("problem_<n>_devid", "The device; empty if it is about a host."),
        pair("problem_<n>_host", "Name of the host."),
        pair("problem_<n>_text", "A sentence."),
    ],
    errors: &[],
    notes: "What is marked `down` is as it should be.",
    origin: Origin::Here,
    is_intercepted: false,
};

pub fn handle(query: &Query<'_>) -> CommandResult {
    let problems = problems(&query.cluster, query.ctx.min_free_space_mb());
    let mut pairs = Pairs::new();
    pairs.push_display("problems", problems.len());
    for (n, problem) in (1..).zip(&problems) {
        pairs.push(format!("problem_{n}_kind"), problem.kind);
        pairs.push_option(format!("problem_{n}_devid"), problem.devid);
        pairs.push(format!("problem_{n}_host"), &problem.host);
        pairs.push(format!("problem_{n}_text"), &problem.text);
    }
    Ok(pairs)
}
