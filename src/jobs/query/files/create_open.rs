//! `create_open`: where a new file may be written. Gives out a fid and one to three upload URLs.

use crate::cluster::devfid::DevFid;
use crate::cluster::placement;
use crate::ids::{ClassId, DevId, Fid};
use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, DOMAIN, Group, Origin, flag, number, pair, text};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::StoreError;
use crate::store::tempfiles::NewTempfile;
use bstr::{BStr, BString, ByteSlice};
use std::time::Instant;

pub const SPEC: CommandSpec = CommandSpec {
    name: "create_open",
    group: Group::Files,
    summary: "Where a new file may be written: gives out a fid and one to three upload URLs.",
    arguments: &[
        DOMAIN,
        text("key", "The key the file is to get; kept as a note only, the key of `create_close` counts."),
        text("class", "Name of the class; missing, empty or `0`: the default class."),
        number("fid", "A fid of the client's own choice; missing or `0`: the next free one."),
        flag("multi_dest", "Offer up to three destinations, on different hosts."),
        number("size", "Expected size in bytes: devices without room for it are not offered."),
        flag("debug_profile", "Add how long each step took."),
    ],
    reply: &[
        pair("fid", "Number of the new file."),
        pair("devid", "Device of the destination; without `multi_dest` only."),
        pair("path", "URL to `PUT` the file to; without `multi_dest` only."),
        pair("dev_count", "Number of destinations; with `multi_dest` only."),
        pair("devid_<n>", "Device of the n-th destination."),
        pair("path_<n>", "URL of the n-th destination."),
        pair("profpoints", "Number of the timing pairs; with `debug_profile` only."),
        pair("prof_<n>_name", "Step."),
        pair("prof_<n>_time", "Seconds since the request began."),
    ],
    errors: &[
        ErrorCode::NoDomain,
        ErrorCode::UnregDomain,
        ErrorCode::UnregClass,
        ErrorCode::FidInUse,
        ErrorCode::Db,
        ErrorCode::NoDevices,
    ],
    notes: "Upload the bytes with `PUT` to one of the URLs, then send `create_close`. An upload that is not closed within an hour is removed.",
    origin: Origin::Reference,
    is_intercepted: true,
};

/// Destinations that are offered with `multi_dest`.
const DESTINATIONS_MAX: usize = 3;

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let mut profile = Profile::begin();
    let dmid = query.domain()?.dmid;
    let classid = class(query)?;
    let explicit_fid = explicit_fid(query)?;
    profile.mark("wait_monitor");
    let destinations = destinations(query)?;
    profile.mark("find_deviceid");
    // A key of just `0` is stored empty, as in the reference; it is a record for people only.
    let dkey: BString = query.args.truthy("key").unwrap_or_default().to_owned();
    let new = NewTempfile { fid: explicit_fid, dmid, dkey, classid, devids: destinations.clone() };
    let registered = query.ctx.session.register_upload(new).await;
    let fid = registered.map_err(|error| register_error(query, &error))?;
    make_directories(query, fid, &destinations, &mut profile).await;
    Ok(reply(query, fid, &destinations, &profile))
}

fn class(query: &Query<'_>) -> Result<ClassId, CommandError> {
    match query.args.truthy("class") {
        None => Ok(ClassId::DEFAULT),
        Some(name) => {
            query.domain()?.class_by_name(name).map(|class| class.classid).ok_or_else(|| ErrorCode::UnregClass.into())
        }
    }
}

/// Refused before anything is written (defect 18).
fn explicit_fid(query: &Query<'_>) -> Result<Option<Fid>, CommandError> {
    let Some(text) = query.args.truthy("fid") else { return Ok(None) };
    let number: Option<i64> = text.to_str().ok().and_then(|text| text.parse().ok());
    match number {
        Some(0) => Ok(None),
        Some(fid) if fid > query.ctx.session.highest_fid_at_start().0 => Ok(Some(Fid(fid))),
        Some(_) => Err(ErrorCode::FidInUse.into()),
        None => Err(ErrorCode::Db.into()),
    }
}

fn destinations(query: &Query<'_>) -> Result<Vec<DevId>, CommandError> {
    let size_bytes = Some(query.args.int("size")).filter(|&size| size > 0);
    let count_max = if query.args.flag("multi_dest") { DESTINATIONS_MAX } else { 1 };
    let eligible = placement::eligible_for_new_file(&query.cluster, size_bytes, query.ctx.min_free_space_mb());
    let devids: Vec<_> = eligible.iter().map(|view| view.device.devid).collect();
    let mut ordered = placement::order_by_free_space(eligible.clone(), &mut query.ctx.chance.borrow_mut());
    query.ctx.extensions.order_for_new_file(query, &devids, &mut ordered);
    let chance = &mut query.ctx.chance.borrow_mut();
    let destinations = placement::destinations(&query.cluster, &ordered, &eligible, count_max, chance);
    if destinations.is_empty() { Err(ErrorCode::NoDevices.into()) } else { Ok(destinations) }
}

fn register_error(query: &Query<'_>, error: &StoreError) -> CommandError {
    match error {
        StoreError::Duplicate => ErrorCode::FidInUse.into(),
        StoreError::Unavailable(_) => error.clone().into(),
        _ => {
            slog::error!(query.ctx.log, "could not register an upload"; "error" => %error);
            ErrorCode::Db.into()
        }
    }
}

/// Asks all destinations at the same time; what comes of it does not influence the reply.
async fn make_directories(query: &Query<'_>, fid: Fid, destinations: &[DevId], profile: &mut Profile) {
    if query.cluster.server_flag("skip_mkcol") {
        return;
    }
    profile.mark("vivify_dir_on_all_devs");
    let calls = destinations.iter().filter_map(|&devid| {
        let host = query.cluster.device(devid)?.host;
        let base = format!("http://{}:{}", host.address(query.zone), host.http_port);
        Some(async move {
            query.ctx.nodes.make_directories(&base, &DevFid { devid, fid }.directories()).await;
            devid
        })
    });
    for devid in futures::future::join_all(calls).await {
        profile.mark(&format!("vivify_dir_on_dev{devid}"));
    }
}

fn reply(query: &Query<'_>, fid: Fid, destinations: &[DevId], profile: &Profile) -> Pairs {
    let url =
        |devid: DevId| query.cluster.device(devid).map(|device| device.upload_url(fid, query.zone)).unwrap_or_default();
    let mut pairs = Pairs::new();
    pairs.push_display("fid", fid);
    if query.args.flag("multi_dest") {
        pairs.push_display("dev_count", destinations.len());
        for (n, &devid) in (1..).zip(destinations) {
            pairs.push_display(format!("devid_{n}"), devid);
            pairs.push(format!("path_{n}"), url(devid));
        }
    } else if let Some(&devid) = destinations.first() {
        pairs.push_display("devid", devid);
        pairs.push("path", url(devid));
    }
    if query.args.flag("debug_profile") {
        profile.push(&mut pairs);
    }
    pairs
}

/// When each step was reached, for `debug_profile`.
struct Profile {
    begun: Instant,
    points: Vec<(String, f64)>,
}

impl Profile {
    fn begin() -> Self {
        Self { begun: Instant::now(), points: vec![("begin".to_owned(), 0.0)] }
    }

    fn mark(&mut self, name: &str) {
        self.points.push((name.to_owned(), self.begun.elapsed().as_secs_f64()));
    }

    fn push(&self, pairs: &mut Pairs) {
        pairs.push_display("profpoints", self.points.len());
        for (n, (name, seconds)) in (1..).zip(&self.points) {
            pairs.push(format!("prof_{n}_name"), BStr::new(name));
            pairs.push(format!("prof_{n}_time"), format!("{seconds:.3}"));
        }
    }
}
