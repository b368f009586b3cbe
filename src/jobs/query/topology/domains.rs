//! `create_domain`, `delete_domain`, `get_domains`.

use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, Group, Origin, pair, text};
use crate::jobs::query::{Glance, Query};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::{DeleteOutcome, StoreError, domains};
use bstr::BString;

pub const CREATE_DOMAIN: CommandSpec = CommandSpec {
    name: "create_domain",
    group: Group::Topology,
    summary: "Makes a domain.",
    arguments: &[text("domain", "Its name; `0` is none.").required()],
    reply: &[pair("domain", "Its name.")],
    errors: &[ErrorCode::NoDomain, ErrorCode::DomainExists],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub const DELETE_DOMAIN: CommandSpec = CommandSpec {
    name: "delete_domain",
    group: Group::Topology,
    summary: "Removes a domain that has no files and no classes but the default one.",
    arguments: &[text("domain", "Its name.").required()],
    reply: &[pair("domain", "Its name.")],
    errors: &[ErrorCode::NoDomain, ErrorCode::DomainNotFound, ErrorCode::DomainHasFiles, ErrorCode::DomainHasClasses],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub const GET_DOMAINS: CommandSpec = CommandSpec {
    name: "get_domains",
    group: Group::Topology,
    summary: "All domains with their classes.",
    arguments: &[],
    reply: &[
        pair("domains", "Number of domains."),
        pair("domain<n>", "Name."),
        pair("domain<n>classes", "Number of its classes."),
        pair("domain<n>class<m>name", "Name of the class; the default class is always listed."),
        pair("domain<n>class<m>replpolicy", "Replication policy."),
        pair("domain<n>class<m>hashtype", "Name of a checksum, or `NONE`."),
        pair("domain<n>class<m>mindevcount", "Copies wanted."),
    ],
    errors: &[],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub async fn create(query: &Query<'_>) -> CommandResult {
    let name: BString = query.args.truthy("domain").ok_or(ErrorCode::NoDomain)?.to_owned();
    let created = {
        let name = name.clone();
        query.ctx.session.write(move |conn| domains::create(conn, name.as_ref())).await
    };
    match created {
        Ok(_dmid) => {}
        Err(StoreError::Duplicate) => return Err(ErrorCode::DomainExists.into()),
        Err(error) => return Err(error.into()),
    }
    query.refresh().await;
    Ok(named(&name))
}

pub async fn delete(query: &Query<'_>) -> CommandResult {
    let name: BString = query.args.truthy("domain").ok_or(ErrorCode::NoDomain)?.to_owned();
    // Looked up before: on MySQL a plain reading in the transaction would fix what it sees from then on, and files that
    // are being closed would be missed.
    let dmid = find_in_database(query, &name).await?;
    let outcome = {
        let steps = query.ctx.extensions.with_delete_domain();
        let deleted = query.ctx.session.write(move |conn| {
            let outcome = domains::delete(conn, dmid)?;
            if outcome == DeleteOutcome::Deleted {
                for step in &steps {
                    step(conn, dmid)?;
                }
            }
            Ok(outcome)
        });
        deleted.await?
    };
    match outcome {
        DeleteOutcome::Missing => return Err(ErrorCode::DomainNotFound.into()),
        DeleteOutcome::HasFiles => return Err(ErrorCode::DomainHasFiles.into()),
        DeleteOutcome::HasClasses => return Err(ErrorCode::DomainHasClasses.into()),
        DeleteOutcome::Deleted | DeleteOutcome::NotEmpty => {}
    }
    query.refresh().await;
    Ok(named(&name))
}

/// `name` comes first and `mindevcount` last within each class: an old client takes them by position (protocol.md 4).
pub fn get(query: &Glance<'_>) -> CommandResult {
    let mut pairs = Pairs::new();
    pairs.push_display("domains", query.cluster.domains.len());
    for (n, domain) in (1..).zip(query.cluster.domains.values()) {
        pairs.push(format!("domain{n}"), &domain.name);
        pairs.push_display(format!("domain{n}classes"), domain.classes.len());
        for (m, class) in (1..).zip(&domain.classes) {
            let prefix = format!("domain{n}class{m}");
            pairs.push(format!("{prefix}name"), &class.name);
            pairs.push(format!("{prefix}replpolicy"), class.policy_text());
            pairs.push(format!("{prefix}hashtype"), class.hashtype.map_or("NONE", |hashtype| hashtype.name()));
            pairs.push_display(format!("{prefix}mindevcount"), class.mindevcount);
        }
    }
    Ok(pairs)
}

fn named(name: &BString) -> Pairs {
    let mut pairs = Pairs::new();
    pairs.push("domain", name);
    pairs
}

/// The dmid of a domain by the database's own equality, for commands that do not trust the cache.
pub(super) async fn find_in_database(query: &Query<'_>, name: &BString) -> Result<crate::ids::Dmid, CommandError> {
    let found = query.ctx.session.read(|conn| domains::find(conn, name.as_ref()))?;
    found.ok_or_else(|| ErrorCode::DomainNotFound.into())
}
