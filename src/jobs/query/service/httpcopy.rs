//! `httpcopy`: one more copy of a file, on a device of the caller's choice.

use crate::ids::{DevId, Fid};
use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, Group, Origin, number};
use crate::jobs::replicate::{CopyOne, copy_one};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;

pub const SPEC: CommandSpec = CommandSpec {
    name: "httpcopy",
    group: Group::Service,
    summary: "Copies a file from one device to another and records the copy; for tools.",
    arguments: &[
        number("sdevid", "The device to copy from.").required(),
        number("ddevid", "The device to copy to; it must not have the file.").required(),
        number("fid", "The file.").required(),
    ],
    reply: &[],
    errors: &[ErrorCode::CopyErr],
    notes: "`failure` if there is no such file. The copy has the file's length, and its checksum if that is known.",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let (source, target) = (DevId(query.args.int("sdevid")), DevId(query.args.int("ddevid")));
    let fid = Fid(query.args.int("fid"));
    let refused = |text: &str| Err(CommandError::with_text(ErrorCode::CopyErr, text));
    match copy_one(query.ctx, fid, source, target).await? {
        CopyOne::Copied => Ok(Pairs::new()),
        CopyOne::NoFile => Err(ErrorCode::Failure.into()),
        CopyOne::SourceFailed => refused("src_error"),
        CopyOne::TargetFailed => refused("dest_error"),
        CopyOne::NotRecorded => refused("failed to add link to database"),
        CopyOne::AlreadyThere => refused("the destination has the file already"),
        CopyOne::LockHeld => refused("somebody else is changing the copies of the file"),
        CopyOne::NoPolicy(reason) => refused(&reason),
    }
}
