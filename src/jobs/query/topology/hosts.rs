//! `create_host`, `update_host`, `delete_host`, `get_hosts`.

use crate::cluster::device_state::HostStatus;
use crate::cluster::host::Host;
use crate::ids::HostId;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, Group, Origin, flag, number, pair, text};
use crate::jobs::query::{Glance, Query};
use crate::protocol::args::num;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::DeleteOutcome;
use crate::store::hosts::{self, HostChanges};
use bstr::ByteSlice;

pub const CREATE_HOST: CommandSpec = CommandSpec {
    name: "create_host",
    group: Group::Topology,
    summary: "Makes a host.",
    arguments: &[
        text("host", "Its name.").required(),
        text("ip", "IP address.").required(),
        text("hostip", "Another name for `ip`."),
        number("port", "HTTP port of the storage node.").required(),
        number("http_port", "Another name for `port`."),
        number("getport", "HTTP port for reading; empty: `port`."),
        number("http_get_port", "Another name for `getport`."),
        text("altip", "Second address, for clients of the other zone."),
        text("altmask", "Netmask of the clients that get `altip`."),
        text("status", "`alive`, `down`, `dead` or `readonly`; default `down`."),
        flag("update", "Change the host, as `update_host`."),
    ],
    reply: &[pair("hostid", "Its number."), pair("hostname", "Its name.")],
    errors: &[
        ErrorCode::NoHost,
        ErrorCode::HostExists,
        ErrorCode::HostNotFound,
        ErrorCode::NoIp,
        ErrorCode::NoPort,
        ErrorCode::UnknownState,
        ErrorCode::BadArgs,
        ErrorCode::Dup,
    ],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub const UPDATE_HOST: CommandSpec = CommandSpec {
    name: "update_host",
    group: Group::Topology,
    summary: "Changes the given fields of a host.",
    arguments: &[
        text("host", "Its name.").required(),
        text("ip", "IP address."),
        text("hostip", "Another name for `ip`."),
        number("port", "HTTP port of the storage node."),
        number("http_port", "Another name for `port`."),
        number("getport", "HTTP port for reading; empty: `port`."),
        number("http_get_port", "Another name for `getport`."),
        text("altip", "Second address, for clients of the other zone."),
        text("altmask", "Netmask of the clients that get `altip`."),
        text("status", "`alive`, `down`, `dead` or `readonly`."),
        flag("update", "Change the host, as `update_host`."),
    ],
    reply: &[pair("hostid", "Its number."), pair("hostname", "Its name.")],
    errors: &[ErrorCode::NoHost, ErrorCode::HostNotFound, ErrorCode::UnknownState, ErrorCode::BadArgs, ErrorCode::Dup],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub const DELETE_HOST: CommandSpec = CommandSpec {
    name: "delete_host",
    group: Group::Topology,
    summary: "Removes a host that has no devices.",
    arguments: &[text("host", "Its name.").required()],
    reply: &[],
    errors: &[ErrorCode::UnknownHost, ErrorCode::HostNotEmpty],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub const GET_HOSTS: CommandSpec = CommandSpec {
    name: "get_hosts",
    group: Group::Topology,
    summary: "All hosts, or one.",
    arguments: &[number("hostid", "Only this one.")],
    reply: &[
        pair("hosts", "Number of hosts."),
        pair("host<n>_hostid", "Number."),
        pair("host<n>_status", "Stored state."),
        pair("host<n>_hostname", "Name."),
        pair("host<n>_hostip", "IP address."),
        pair("host<n>_http_port", "HTTP port."),
        pair("host<n>_http_get_port", "HTTP port for reading, empty if none."),
        pair("host<n>_altip", "Second address."),
        pair("host<n>_altmask", "Netmask of the clients that get it."),
    ],
    errors: &[],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

/// `update` is also an argument: `create_host update=1` behaves as `update_host`.
pub async fn create_or_update(query: &Query<'_>, update: bool) -> CommandResult {
    let update = update || query.args.flag("update");
    let name = query.args.truthy("host").ok_or(ErrorCode::NoHost)?.to_str_lossy().into_owned();
    let found = query.ctx.session.read(|conn| hosts::find(conn, &name))?;
    let hostid = match (update, found) {
        (true, Some(hostid)) => update_existing(query, hostid).await?,
        (true, None) => return Err(ErrorCode::HostNotFound.into()),
        (false, Some(_)) => return Err(ErrorCode::HostExists.into()),
        (false, None) => create(query, &name).await?,
    };
    query.refresh().await;
    let mut pairs = Pairs::new();
    pairs.push_display("hostid", hostid);
    pairs.push("hostname", &name);
    Ok(pairs)
}

pub async fn delete(query: &Query<'_>) -> CommandResult {
    let name = query.args.get("host").unwrap_or_default().to_str_lossy().into_owned();
    let outcome = query
        .ctx
        .session
        .write(move |conn| match hosts::find(conn, &name)? {
            Some(hostid) => hosts::delete(conn, hostid),
            None => Ok(DeleteOutcome::Missing),
        })
        .await?;
    match outcome {
        DeleteOutcome::Missing => return Err(ErrorCode::UnknownHost.into()),
        DeleteOutcome::NotEmpty => return Err(ErrorCode::HostNotEmpty.into()),
        DeleteOutcome::Deleted | DeleteOutcome::HasFiles | DeleteOutcome::HasClasses => {}
    }
    query.refresh().await;
    Ok(Pairs::new())
}

/// `hostid`, when given, must be equal as a number; an empty one matches nothing.
pub fn get(query: &Glance<'_>) -> CommandResult {
    let wanted = query.args.get("hostid").map(|hostid| (!hostid.is_empty()).then(|| query.args.num("hostid")));
    let shown: Vec<_> = query
        .cluster
        .hosts
        .values()
        .filter(|host| wanted.is_none_or(|wanted| wanted == Some(host.hostid.0 as f64)))
        .collect();
    let mut pairs = Pairs::new();
    pairs.push_display("hosts", shown.len());
    for (n, host) in (1..).zip(shown) {
        push_host(&mut pairs, n, host);
    }
    Ok(pairs)
}

fn push_host(pairs: &mut Pairs, n: usize, host: &Host) {
    pairs.push_display(format!("host{n}_hostid"), host.hostid);
    pairs.push(format!("host{n}_status"), host.status.map_or("", |status| status.name()));
    pairs.push(format!("host{n}_hostname"), &host.name);
    pairs.push(format!("host{n}_hostip"), &host.ip);
    pairs.push_display(format!("host{n}_http_port"), host.http_port);
    pairs.push_option(format!("host{n}_http_get_port"), host.http_get_port);
    pairs.push_option(format!("host{n}_altip"), host.altip.as_ref());
    pairs.push_option(format!("host{n}_altmask"), host.altmask_text.as_ref());
}

async fn create(query: &Query<'_>, name: &str) -> Result<HostId, CommandError> {
    either(query, "ip", "hostip").filter(|ip| ip != "0").ok_or(ErrorCode::NoIp)?;
    either(query, "port", "http_port").filter(|port| port != "0").ok_or(ErrorCode::NoPort)?;
    let mut changes = changes(query, true)?;
    changes.status.get_or_insert(HostStatus::Down);
    let name = name.to_owned();
    Ok(query.ctx.session.write(move |conn| hosts::create(conn, &name, &changes)).await?)
}

async fn update_existing(query: &Query<'_>, hostid: HostId) -> Result<HostId, CommandError> {
    let changes = changes(query, false)?;
    query.ctx.session.write(move |conn| hosts::update(conn, hostid, &changes)).await?;
    Ok(hostid)
}

/// The columns whose argument is present. An empty `altip`, `altmask` or get port clears the column.
fn changes(query: &Query<'_>, is_new: bool) -> Result<HostChanges, CommandError> {
    let text = |name: &str, column: &str| {
        query.args.get(name).or_else(|| query.args.get(column)).map(|value| value.to_str_lossy().into_owned())
    };
    // 2.73 would store an empty status in an update (defect 12); of a new host it is the default.
    let status = if is_new { query.args.truthy("status") } else { query.args.get("status") };
    let status = status.map(|name| HostStatus::from_name(&name.to_str_lossy()).ok_or(ErrorCode::UnknownState));
    Ok(HostChanges {
        ip: text("ip", "hostip"),
        http_port: text("port", "http_port").map(|port| port_number(&port)).transpose()?,
        // 0 is stored for "none", also for the word `None` that a Python client sends: reading then goes to the main port.
        http_get_port: text("getport", "http_get_port")
            .map(|port| if num(port.as_bytes()) == 0.0 { Ok(0) } else { port_number(&port) })
            .transpose()?,
        altip: text("altip", "altip"),
        altmask: text("altmask", "altmask"),
        status: status.transpose()?,
    })
}

fn port_number(text: &str) -> Result<u16, CommandError> {
    text.parse().map_err(|_| CommandError::with_text(ErrorCode::BadArgs, format!("Invalid port {text}")))
}

fn either(query: &Query<'_>, name: &str, column: &str) -> Option<String> {
    let given = query.args.get(name).or_else(|| query.args.get(column));
    given.filter(|value| !value.is_empty()).map(|value| value.to_str_lossy().into_owned())
}
