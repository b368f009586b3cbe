//! `create_class`, `update_class`, `delete_class`.

use super::domains::find_in_database;
use crate::cluster::checksum::HashType;
use crate::cluster::zones::Zones;
use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{Argument, CommandSpec, Group, Origin, Pair, flag, number, pair, text};
use crate::policy;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::classes::{self, ClassFields};
use crate::store::{DeleteOutcome, StoreError, server_settings};
use bstr::{BString, ByteSlice};

/// Of `create_class` and `update_class`.
const ARGUMENTS: &[Argument] = &[
    text("domain", "Name of the domain.").required(),
    text("class", "Name of the class.").required(),
    number("mindevcount", "Copies wanted, 1 to 255.").required(),
    text("replpolicy", "Replication policy, for example `MultipleHosts(3)`; one that is set is never erased."),
    text(
        "hashtype",
        "Checksum that is kept of each file: `MD5`, `SHA-1`, `SHA-224`, `SHA-256`, `SHA-384`, `SHA-512` or `NONE`.",
    ),
    flag("update", "Change the class, as `update_class`."),
];
/// What `replpolicy` may be.
const POLICIES: &str = "Policies: `MultipleHosts(n)`, n copies on as many hosts; `MultipleDevices(n)`, on as many \
    devices; `MultipleNetworks(n)`, on as many networks as possible, then on n hosts; \
    `HostsPerNetwork(near=2,far=1)`, so many hosts in each of these network zones (settings `network_zones` and \
    `zone_<name>`); `Union(p1, p2)`, all of these. Without n, or with 0, the number is `mindevcount`. Also \
    `MultipleHostsRandom(n)`, `OnHosts(host1,host2)` and `NotOnHosts(host1,host2)`, see EXTENSIONS.md. A network is a \
    zone, or for an address outside all zones the /16 around it (IPv6: /48). A tracker of 2.73 knows the first two; \
    `MultipleNetworks` and `HostsPerNetwork` if the zones package is installed there; `Union` not (files of such a \
    class kill its workers). It knows the checksums `MD5` and `SHA-1` only: choose one of these while such trackers share \
    the database.";
const REPLY: &[Pair] = &[pair("domain", "Domain."), pair("class", "Class."), pair("mindevcount", "Copies wanted.")];

pub const CREATE_CLASS: CommandSpec = CommandSpec {
    name: "create_class",
    group: Group::Topology,
    summary: "Makes a class in a domain.",
    arguments: ARGUMENTS,
    reply: REPLY,
    errors: &[
        ErrorCode::NoDomain,
        ErrorCode::NoClass,
        ErrorCode::InvalidMindevcount,
        ErrorCode::InvalidReplpolicy,
        ErrorCode::InvalidHashtype,
        ErrorCode::DomainNotFound,
        ErrorCode::ClassExists,
        ErrorCode::ClassNotFound,
    ],
    notes: POLICIES,
    origin: Origin::Reference,
    is_intercepted: false,
};

pub const UPDATE_CLASS: CommandSpec = CommandSpec {
    name: "update_class",
    group: Group::Topology,
    summary: "Changes a class; makes the class `default` if it is not stored yet.",
    arguments: ARGUMENTS,
    reply: REPLY,
    errors: &[
        ErrorCode::NoDomain,
        ErrorCode::NoClass,
        ErrorCode::InvalidMindevcount,
        ErrorCode::InvalidReplpolicy,
        ErrorCode::InvalidHashtype,
        ErrorCode::DomainNotFound,
        ErrorCode::ClassNotFound,
        ErrorCode::ClassExists,
    ],
    notes: "Policies and checksums: see `create_class`.",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub const DELETE_CLASS: CommandSpec = CommandSpec {
    name: "delete_class",
    group: Group::Topology,
    summary: "Removes a class that has no files.",
    arguments: &[text("domain", "Name of the domain.").required(), text("class", "Name of the class.").required()],
    reply: &[pair("domain", "Domain."), pair("class", "Class.")],
    errors: &[
        ErrorCode::NoDomain,
        ErrorCode::NodelDefaultClass,
        ErrorCode::DomainNotFound,
        ErrorCode::ClassNotFound,
        ErrorCode::ClassHasFiles,
    ],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

/// `update` is also an argument: `create_class update=1` behaves as `update_class`.
pub async fn create_or_update(query: &Query<'_>, update: bool) -> CommandResult {
    let update = update || query.args.flag("update");
    let domain: BString = query.args.nonempty("domain").ok_or(ErrorCode::NoDomain)?.to_owned();
    let class: BString = query.args.nonempty("class").ok_or(ErrorCode::NoClass)?.to_owned();
    let fields = fields(query)?;
    let dmid = find_in_database(query, &domain).await?;
    let mindevcount = fields.mindevcount;
    let written = {
        let class = class.clone();
        query
            .ctx
            .session
            .write(move |conn| match (update, classes::find(conn, dmid, class.as_ref())?) {
                (true, Some(classid)) => classes::update(conn, dmid, classid, &fields),
                // A class `default` that is not stored yet is made by an update.
                (true, None) if class != "default" => Ok(false),
                (true, None) | (false, _) => classes::create(conn, dmid, class.as_ref(), &fields).map(|_classid| true),
            })
            .await
    };
    match written {
        Ok(true) => {}
        Ok(false) => return Err(ErrorCode::ClassNotFound.into()),
        Err(StoreError::Duplicate) => return Err(ErrorCode::ClassExists.into()),
        Err(error) => return Err(error.into()),
    }
    query.refresh().await;
    let mut pairs = named(&domain, &class);
    pairs.push_display("mindevcount", mindevcount);
    Ok(pairs)
}

pub async fn delete(query: &Query<'_>) -> CommandResult {
    let domain: BString = query.args.nonempty("domain").ok_or(ErrorCode::NoDomain)?.to_owned();
    let class: BString = query.args.get("class").unwrap_or_default().to_owned();
    if class == "default" {
        return Err(ErrorCode::NodelDefaultClass.into());
    }
    let dmid = find_in_database(query, &domain).await?;
    // Looked up before the transaction, as in `delete_domain`.
    let found = query.ctx.session.read(|conn| classes::find(conn, dmid, class.as_ref()))?;
    let classid = found.ok_or(ErrorCode::ClassNotFound)?;
    let outcome = query.ctx.session.write(move |conn| classes::delete(conn, dmid, classid)).await?;
    match outcome {
        DeleteOutcome::Missing => return Err(ErrorCode::ClassNotFound.into()),
        DeleteOutcome::HasFiles => return Err(ErrorCode::ClassHasFiles.into()),
        DeleteOutcome::Deleted | DeleteOutcome::HasClasses | DeleteOutcome::NotEmpty => {}
    }
    query.refresh().await;
    Ok(named(&domain, &class))
}

/// Checks mindevcount, policy and hash type, in this order. A fraction is no number of copies (defect 12).
fn fields(query: &Query<'_>) -> Result<ClassFields, CommandError> {
    let mindevcount = query.args.int("mindevcount");
    if !(1..=255).contains(&mindevcount) || query.args.num("mindevcount").fract() != 0.0 {
        return Err(ErrorCode::InvalidMindevcount.into());
    }
    let replpolicy = query.args.truthy("replpolicy").map(|text| text.to_str_lossy().into_owned());
    if let Some(text) = &replpolicy {
        check_policy(query, text)?;
    }
    let hashtype = match query.args.truthy("hashtype") {
        None => None,
        Some(name) if name == "NONE" => Some(None),
        Some(name) => Some(Some(HashType::from_name(name).ok_or(ErrorCode::InvalidHashtype)?.number())),
    };
    Ok(ClassFields { mindevcount, replpolicy, hashtype })
}

/// A policy that can be read, and whose zones there are (Q10). They are looked up in the database: they may have been
/// set just now.
fn check_policy(query: &Query<'_>, text: &str) -> Result<(), CommandError> {
    let refused = |message: String| CommandError::with_text(ErrorCode::InvalidReplpolicy, message);
    let policy = policy::parse(text).map_err(|error| refused(error.to_string()))?;
    let named = policy.zones_named();
    if named.is_empty() {
        return Ok(());
    }
    let settings = query.ctx.session.read(server_settings::all)?;
    let zones = Zones::from_settings(&settings.into_iter().collect());
    match named.into_iter().find(|zone| !zones.has(zone)) {
        None => Ok(()),
        Some(zone) => Err(refused(format!(
            "There is no network zone {zone}: name it in the setting network_zones and give its masks in zone_{zone}"
        ))),
    }
}

fn named(domain: &BString, class: &BString) -> Pairs {
    let mut pairs = Pairs::new();
    pairs.push("domain", domain);
    pairs.push("class", class);
    pairs
}
