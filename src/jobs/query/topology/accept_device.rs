//! `accept_device`: the disk that is mounted now is the device's disk from now on.

use crate::ids::DevId;
use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, Group, Origin, number, pair};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::device_guard;

pub const SPEC: CommandSpec = CommandSpec {
    name: "accept_device",
    group: Group::Topology,
    summary: "Says that the disk which is mounted for a device now is the right one.",
    arguments: &[number("device", "Device id.").required()],
    reply: &[
        pair("accepted", "`0` if the disk was the right one already; nothing is changed then."),
        pair("uuid", "The mark of the disk that was accepted; empty if it shows none."),
    ],
    errors: &[ErrorCode::NoDevice],
    notes: "For a device whose mount guard has failed (`check_cluster`): its node shows another mark than the trackers remember, or none. Files that were on the old disk are not on the new one: mark the device `dead` first if the old disk will not come back. Needs a table that `mogilefs db setup` makes.",
    origin: Origin::Here,
    is_intercepted: false,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let devid = DevId(query.args.int("device"));
    if !query.cluster.devices.contains_key(&devid) {
        return Err(CommandError::with_text(ErrorCode::NoDevice, "no such device"));
    }
    let mut pairs = Pairs::new();
    let Some(failure) = query.cluster.guard_failures.get(&devid) else {
        pairs.push("accepted", "0");
        return Ok(pairs);
    };
    let uuid = failure.seen.clone();
    query.ctx.session.write(move |conn| device_guard::accept(conn, devid, uuid.as_deref())).await?;
    query.refresh().await;
    pairs.push("accepted", "1");
    pairs.push_option("uuid", failure.seen.as_ref());
    Ok(pairs)
}
