//! `RandomWrites`: new files go to any device that can take them, all alike, instead of following the free space
//! (replication-policies.md 11.4); and the command `plugin_list_available_devices`.

use super::Extension;
use crate::ids::DevId;
use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin, pair};
use crate::protocol::response::Pairs;
use futures::future::LocalBoxFuture;
use rand::seq::SliceRandom;

/// The extension.
pub struct RandomWrites;

const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "plugin_list_available_devices",
    group: Group::Extensions,
    summary: "The devices that can take new files now.",
    arguments: &[],
    reply: &[
        pair("device_<n>", "Device id; n counts from 0."),
        pair("mb_free_<n>", "Its free space in MiB, empty if unknown."),
    ],
    errors: &[],
    notes: "Of the extension `RandomWrites`.",
    origin: Origin::Plugin,
    is_intercepted: false,
}];

impl Extension for RandomWrites {
    fn commands(&self) -> &'static [CommandSpec] {
        COMMANDS
    }

    fn run<'q>(&'q self, query: &'q Query<'q>) -> LocalBoxFuture<'q, CommandResult> {
        Box::pin(std::future::ready(Ok(available_devices(query))))
    }

    fn order_for_new_file(&self, query: &Query<'_>, eligible: &[DevId], ordered: &mut Vec<DevId>) {
        ordered.clear();
        ordered.extend_from_slice(eligible);
        ordered.shuffle(&mut *query.ctx.chance.borrow_mut());
    }
}

fn available_devices(query: &Query<'_>) -> Pairs {
    let min_free_space_mb = query.ctx.min_free_space_mb();
    let available = query.cluster.devices().filter(|view| view.may_get_files(min_free_space_mb));
    let mut pairs = Pairs::new();
    for (n, view) in available.enumerate() {
        pairs.push_display(format!("device_{n}"), view.device.devid);
        pairs.push_option(format!("mb_free_{n}"), view.device.mb_free());
    }
    pairs
}
