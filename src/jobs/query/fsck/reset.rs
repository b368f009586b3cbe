//! `fsck_reset`: where the next fsck begins, how thoroughly it looks, and at which files.

use crate::ids::{DevId, Fid};
use crate::jobs::fsck::{self, field, scope};
use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, Group, Origin, flag, number, text};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::fsck_inject::FsckScope;
use crate::store::{StoreConnection, StoreError, StoreResult, db_unixtime, fsck_run, server_settings};
use bstr::ByteSlice;

pub const SPEC: CommandSpec = CommandSpec {
    name: "fsck_reset",
    group: Group::Fsck,
    summary: "Lets the next check begin at the first file, or where it is told, and clears the counters.",
    arguments: &[
        flag("policy_only", "Look only at the recorded places of files, not at the nodes."),
        number("startpos", "Check the files with higher fids only."),
        text("domain", "Check the files of this domain only.").here(),
        text("class", "Check the files of this class of the domain only.").here(),
        text("key_prefix", "Check the files whose keys begin so only.").here(),
        number("devid", "Check the files that are recorded to have a copy on this device only.").here(),
        number("newer_than_secs", "Check all files that are not older than so many seconds.").here(),
        number("older_than_secs", "Check only files that are surely older than so many seconds.").here(),
    ],
    reply: &[],
    errors: &[
        ErrorCode::UnregDomain,
        ErrorCode::ClassNotFound,
        ErrorCode::NoDevice,
        ErrorCode::BadParams,
        ErrorCode::Db,
    ],
    notes: "Accepted at any time, also while a check runs. The end of the check is the highest fid there is now.\n\n\
            What is not named does not limit the check, whatever an earlier reset said; a tracker of 2.73 that takes the \
            files takes no notice of limits. The age of a file is that of its fid, told by the runs that are known \
            (`fsck_history`): of what came after the latest one that is old enough it is not known. So \
            `newer_than_secs` may check more files than asked for, and `older_than_secs` fewer (`bad_params` if none is \
            known to be so old).",
    origin: Origin::Reference,
    is_intercepted: false,
};

/// What the next run is to look at.
struct Plan {
    policy_only: bool,
    start_position: i64,
    scope: FsckScope,
    newer_than_secs: Option<i64>,
    older_than_secs: Option<i64>,
}

/// Nothing is known to be so old; nothing was changed.
struct AgeUnknown;

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let age = |name: &str| Some(query.args.int(name)).filter(|&secs| secs > 0);
    let plan = Plan {
        policy_only: query.args.flag("policy_only"),
        start_position: start_position(query),
        scope: scope_of(query)?,
        newer_than_secs: age("newer_than_secs"),
        older_than_secs: age("older_than_secs"),
    };
    let reset = query.ctx.session.write(move |conn| reset(conn, &plan)).await;
    match reset.map_err(|error| database_failed(query, SPEC.name, &error))? {
        Ok(()) => Ok(Pairs::new()),
        Err(AgeUnknown) => Err(CommandError::with_text(ErrorCode::BadParams, "no run is known that began so long ago")),
    }
}

fn reset(conn: &mut StoreConnection, plan: &Plan) -> StoreResult<Result<(), AgeUnknown>> {
    server_settings::hold(conn)?;
    let now = db_unixtime(conn)?;
    let newer_than = match plan.newer_than_secs {
        None => None,
        Some(secs) => fsck_run::highest_fid_at(conn, now - secs)?,
    };
    let end = match plan.older_than_secs {
        None => None,
        Some(secs) => match fsck_run::highest_fid_at(conn, now - secs)? {
            None => return Ok(Err(AgeUnknown)),
            known => known,
        },
    };
    let position = plan.start_position.max(newer_than.unwrap_or(Fid(0)).0).to_string();
    let policy_only = plan.policy_only.then_some("1");
    server_settings::set_all(conn, &[(field::POLICY_ONLY, policy_only), (field::POSITION, Some(&position))])?;
    scope::write(conn, &plan.scope)?;
    fsck::reset_run(conn)?;
    if let Some(end) = end {
        server_settings::set(conn, field::END, Some(&end.to_string()))?;
    }
    Ok(Ok(()))
}

fn scope_of(query: &Query<'_>) -> Result<FsckScope, CommandError> {
    let domain = query.args.nonempty("domain").map(|_| query.domain()).transpose()?;
    let class = match (query.args.nonempty("class"), domain) {
        (None, _) => None,
        (Some(_), None) => return Err(CommandError::with_text(ErrorCode::BadParams, "a class needs its domain")),
        (Some(name), Some(domain)) => Some(domain.class_by_name(name).ok_or(ErrorCode::ClassNotFound)?),
    };
    let devid = query.args.nonempty("devid").map(|_| DevId(query.args.int("devid")));
    if devid.is_some_and(|devid| query.cluster.device(devid).is_none()) {
        return Err(ErrorCode::NoDevice.into());
    }
    Ok(FsckScope {
        dmid: domain.map(|domain| domain.dmid),
        classid: class.map(|class| class.classid),
        key_prefix: query.args.nonempty("key_prefix").unwrap_or_default().to_owned(),
        devid,
    })
}

/// Exact for all numbers of 64 bits; a number below zero is of no file and means the first.
fn start_position(query: &Query<'_>) -> i64 {
    let exact = query.args.get("startpos").and_then(|text| text.to_str().ok()?.parse().ok());
    exact.unwrap_or_else(|| query.args.int("startpos")).max(0)
}

/// `fsck_start` and `fsck_reset` answer `db` where others answer `failure`.
pub(super) fn database_failed(query: &Query<'_>, command: &str, error: &StoreError) -> CommandError {
    slog::error!(query.ctx.log, "error running command"; "command" => command, "error" => %error);
    ErrorCode::Db.into()
}
