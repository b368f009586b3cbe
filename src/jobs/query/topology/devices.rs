//! `create_device`, `set_state`, `set_weight`, `get_devices`.

use crate::cluster::device::{Device, DeviceView};
use crate::cluster::device_state::{DeviceStatus, ObservedDevice, ObservedHost};
use crate::ids::{DevId, HostId};
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, Group, Origin, number, pair, text};
use crate::jobs::query::{Glance, Query};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::{StoreError, devices, hosts};
use bstr::{BStr, ByteSlice};

pub const CREATE_DEVICE: CommandSpec = CommandSpec {
    name: "create_device",
    group: Group::Topology,
    summary: "Makes a device.",
    arguments: &[
        number("devid", "Its number: digits only, never used before.").required(),
        number("hostid", "Its host by number."),
        text("hostname", "Its host by name, if `hostid` is not given."),
        text("state", "`alive` (the default), `down`, `dead`, `readonly` or `drain`."),
    ],
    reply: &[],
    errors: &[
        ErrorCode::InvalidState,
        ErrorCode::InvalidDevid,
        ErrorCode::UnknownHostid,
        ErrorCode::UnknownHost,
        ErrorCode::BadArgs,
        ErrorCode::ExistingDevid,
    ],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub const SET_STATE: CommandSpec = CommandSpec {
    name: "set_state",
    group: Group::Topology,
    summary: "Changes the state of a device.",
    arguments: &[
        text("host", "Name of its host.").required(),
        number("device", "Device id.").required(),
        text("state", "`alive`, `down`, `dead`, `readonly` or `drain`; from `dead` to `alive` by way of `down`.")
            .required(),
    ],
    reply: &[],
    errors: &[ErrorCode::BadParams, ErrorCode::NoDevice, ErrorCode::HostMismatch, ErrorCode::StateTooHigh],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub const SET_WEIGHT: CommandSpec = CommandSpec {
    name: "set_weight",
    group: Group::Topology,
    summary: "Changes the weight of a device.",
    arguments: &[
        text("host", "Name of its host.").required(),
        number("device", "Device id.").required(),
        number("weight", "0 or more; missing: 0."),
    ],
    reply: &[],
    errors: &[ErrorCode::BadParams, ErrorCode::NoDevice, ErrorCode::HostMismatch],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub const GET_DEVICES: CommandSpec = CommandSpec {
    name: "get_devices",
    group: Group::Topology,
    summary: "All devices, or one.",
    arguments: &[number("devid", "Only this one.")],
    reply: &[
        pair("devices", "Number of devices."),
        pair("dev<n>_devid", "Device id."),
        pair("dev<n>_hostid", "Its host."),
        pair("dev<n>_status", "Stored state."),
        pair("dev<n>_weight", "Weight."),
        pair("dev<n>_mb_total", "Size in MiB."),
        pair("dev<n>_mb_used", "Used MiB."),
        pair("dev<n>_mb_free", "Free MiB."),
        pair("dev<n>_mb_asof", "Always empty."),
        pair("dev<n>_observed_state", "`writeable`, `readable`, `unreachable`, or empty before the first look."),
        pair("dev<n>_utilization", "Percent busy, as the storage node reports it."),
        pair("dev<n>_reject_bad_md5", "1 if the storage node checks `Content-MD5`."),
    ],
    errors: &[],
    notes: "Unknown values are empty.",
    origin: Origin::Reference,
    is_intercepted: false,
};

/// The argument of the state is `state`, not `status`.
pub async fn create(query: &Query<'_>) -> CommandResult {
    let status = match query.args.truthy("state") {
        None => DeviceStatus::Alive,
        Some(name) => DeviceStatus::from_name(&name.to_str_lossy()).ok_or(ErrorCode::InvalidState)?,
    };
    let devid =
        query.args.truthy("devid").and_then(digits).filter(|&devid| devid != 0).ok_or(ErrorCode::InvalidDevid)?;
    let hostid = host_of_new_device(query)?;
    match query.ctx.session.write(move |conn| devices::create(conn, DevId(devid), hostid, status)).await {
        Ok(()) => {}
        Err(StoreError::Duplicate) => return Err(ErrorCode::ExistingDevid.into()),
        Err(error) => return Err(error.into()),
    }
    query.refresh().await;
    Ok(Pairs::new())
}

pub async fn set_state(query: &Query<'_>) -> CommandResult {
    let state = query.args.get("state").and_then(|name| DeviceStatus::from_name(&name.to_str_lossy()));
    let (Some(_), true, Some(state)) = (query.args.truthy("host"), query.args.num("device") != 0.0, state) else {
        return Err(ErrorCode::BadParams.into());
    };
    let device = device_on_host(query)?.device;
    if device.is_dead() && state == DeviceStatus::Alive {
        return Err(ErrorCode::StateTooHigh.into());
    }
    let devid = device.devid;
    query.ctx.session.write(move |conn| devices::set_status(conn, devid, state)).await?;
    query.refresh().await;
    Ok(Pairs::new())
}

/// A missing weight stores 0.
pub async fn set_weight(query: &Query<'_>) -> CommandResult {
    let weight = query.args.int("weight");
    if query.args.truthy("host").is_none() || query.args.num("device") == 0.0 || query.args.num("weight") < 0.0 {
        return Err(ErrorCode::BadParams.into());
    }
    let devid = device_on_host(query)?.device.devid;
    query.ctx.session.write(move |conn| devices::set_weight(conn, devid, weight)).await?;
    query.refresh().await;
    Ok(Pairs::new())
}

/// `devid`, when given, must be equal as a number; an empty one matches nothing.
pub fn get(query: &Glance<'_>) -> CommandResult {
    let wanted = query.args.get("devid").map(|devid| (!devid.is_empty()).then(|| query.args.num("devid")));
    let shown: Vec<_> = query
        .cluster
        .devices
        .values()
        .filter(|device| wanted.is_none_or(|wanted| wanted == Some(device.devid.0 as f64)))
        .collect();
    let mut pairs = Pairs::new();
    pairs.push_display("devices", shown.len());
    for (n, device) in (1..).zip(shown) {
        let host_is_silent =
            query.cluster.host(device.hostid).is_some_and(|host| host.observed == Some(ObservedHost::Unreachable));
        push_device(&mut pairs, n, device, host_is_silent);
    }
    Ok(pairs)
}

/// `mb_asof` is always empty, as in the reference.
fn push_device(pairs: &mut Pairs, n: usize, device: &Device, host_is_silent: bool) {
    // What was seen of it before its host fell silent counts again only when the host is back (jobs.md 2.2).
    let observed = if host_is_silent { Some(ObservedDevice::Unreachable) } else { device.observed };
    let name = |field: &str| format!("dev{n}_{field}");
    pairs.push_display(name("devid"), device.devid);
    pairs.push_display(name("hostid"), device.hostid);
    pairs.push(name("status"), device.status.name());
    pairs.push_option(name("weight"), device.weight);
    pairs.push_option(name("mb_total"), device.mb_total);
    pairs.push_option(name("mb_used"), device.mb_used);
    pairs.push_option(name("mb_free"), device.mb_free());
    pairs.push(name("mb_asof"), "");
    pairs.push(name("observed_state"), observed.map_or("", |observed| observed.name()));
    pairs.push_option(name("utilization"), device.utilization.as_ref());
    pairs.push_option(name("reject_bad_md5"), device.reject_bad_md5.map(u8::from));
}

fn host_of_new_device(query: &Query<'_>) -> Result<HostId, CommandError> {
    if let Some(hostid) = query.args.truthy("hostid").and_then(digits) {
        let known = query.ctx.session.read(hosts::all)?.iter().any(|host| host.hostid.0 == hostid);
        return if known { Ok(HostId(hostid)) } else { Err(ErrorCode::UnknownHostid.into()) };
    }
    let Some(name) = query.args.truthy("hostname") else {
        return Err(CommandError::with_text(ErrorCode::BadArgs, "No hostid/hostname parameter"));
    };
    let found = query.ctx.session.read(|conn| hosts::find(conn, &name.to_str_lossy()))?;
    found.ok_or_else(|| ErrorCode::UnknownHost.into())
}

fn device_on_host<'q>(query: &'q Query<'_>) -> Result<DeviceView<'q>, CommandError> {
    let view = query.cluster.device(DevId(query.args.int("device"))).ok_or(ErrorCode::NoDevice)?;
    match query.args.get("host").is_some_and(|host| host == view.host.name.as_bytes()) {
        true => Ok(view),
        false => Err(ErrorCode::HostMismatch.into()),
    }
}

/// The number if the text is digits only.
fn digits(text: &BStr) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.to_str().ok()?.parse().ok()).flatten()
}
