//! `undelete`: a deleted or overwritten file gets its key back, with its number and the copies that it has.

use crate::ids::Fid;
use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, DOMAIN, Group, KEY, Origin, number, pair, text};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::deleted_files::{self, Undelete, UndeleteOutcome};
use bstr::BString;

pub const SPEC: CommandSpec = CommandSpec {
    name: "undelete",
    group: Group::Files,
    summary: "Brings back a file that was deleted or overwritten, while its copies still exist.",
    arguments: &[
        DOMAIN,
        KEY,
        number("fid", "Which of the files that had the key; without it the one that was deleted last."),
        text("to_key", "The key that it gets; without it the one that it had."),
    ],
    reply: &[
        pair("fid", "Number of the file: the one that it had."),
        pair("key", "The key that leads to it now."),
        pair("length", "Length in bytes."),
        pair("devcount", "Copies that it has."),
    ],
    errors: &[
        ErrorCode::NoDomain,
        ErrorCode::UnregDomain,
        ErrorCode::NoKey,
        ErrorCode::UnknownKey,
        ErrorCode::KeyExists,
        ErrorCode::NoDevices,
    ],
    notes: "Works for the time that the server setting `undelete_window_secs` says, if it was set when the file was deleted: for so long the copies of deleted files stay on the devices (and take up space). It needs a table that `mogilefs db setup` makes; without it the answer is `failure`. `unknown_key`: no file of this key waits for its deletion any more. `no_devices`: it does, but no device has a copy. A file whose class is gone comes back in the class `default`; with its domain it is gone for good. Replication looks at the file at once. What a tracker of 2.73 deletes cannot be brought back; it does respect the window of what was deleted here.",
    origin: Origin::Here,
    is_intercepted: true,
};

pub const NOT_SET_UP: &str = "The database has no table for deleted files: run `mogilefs db setup`";

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let wanted = Undelete {
        dmid: query.domain()?.dmid,
        dkey: query.key()?.to_owned(),
        fid: query.args.flag("fid").then(|| Fid(query.args.int("fid"))),
        to_key: query.args.nonempty("to_key").map(BString::from),
    };
    let dmid = wanted.dmid;
    let target = wanted.to_key.as_ref().unwrap_or(&wanted.dkey);
    let mut change = query.ctx.path_change(wanted.dmid, &[target.as_ref()]);
    let mut steps = query.ctx.extensions.with_undelete(query);
    let restored = query.ctx.session.write(move |conn| {
        let outcome = deleted_files::undelete(conn, &wanted)?;
        if let UndeleteOutcome::Restored(file) = &outcome {
            steps.iter_mut().try_for_each(|step| step(conn, file))?;
        }
        Ok(outcome)
    });
    let outcome = restored.await;
    change.covers_files(dmid, outcome.as_ref().map(|_| &[][..]));
    change.announce().await;
    let file = match outcome? {
        UndeleteOutcome::Restored(file) => file,
        refused => return Err(refusal(&refused)),
    };
    query.ctx.wake_jobs();
    let mut pairs = Pairs::new();
    pairs.push_display("fid", file.fid);
    pairs.push("key", &file.dkey);
    pairs.push_display("length", file.length);
    pairs.push_display("devcount", file.devcount);
    Ok(pairs)
}

fn refusal(outcome: &UndeleteOutcome) -> CommandError {
    match outcome {
        UndeleteOutcome::Restored(_) => ErrorCode::Failure.into(),
        UndeleteOutcome::NotSetUp => CommandError::with_text(ErrorCode::Failure, NOT_SET_UP),
        UndeleteOutcome::NothingDeleted => {
            CommandError::with_text(ErrorCode::UnknownKey, "No deleted file of this key can be brought back")
        }
        UndeleteOutcome::KeyExists => ErrorCode::KeyExists.into(),
        UndeleteOutcome::NoCopies => CommandError::with_text(ErrorCode::NoDevices, "No device has a copy of the file"),
        UndeleteOutcome::DomainGone => ErrorCode::UnregDomain.into(),
    }
}
