//! `fsck_history`: the runs of fsck, and what each saw, of all files or of one.

use crate::ids::Fid;
use crate::jobs::fsck::Evcode;
use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin, number, pair, text};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::fsck_run::{self, FsckRun, LogRange};
use crate::store::{StoreConnection, StoreResult, files};
use std::collections::BTreeSet;

pub const SPEC: CommandSpec = CommandSpec {
    name: "fsck_history",
    group: Group::Fsck,
    summary: "The latest runs, the oldest of them first, and what each saw: of all files, or of one.",
    arguments: &[
        number("fid", "Only this file."),
        text("domain", "With `key`: only the file of this key."),
        text("key", "See `domain`."),
        number("runs", "Runs wanted: at most 100, 10 if not given."),
    ],
    reply: &[
        pair("fid", "The file, if one was named."),
        pair("runs", "Number of runs in this reply."),
        pair("run_<n>_id", "Number of the run."),
        pair("run_<n>_started", "Unix time of the database."),
        pair("run_<n>_ended", "When the last file was taken; 0 if it did not come so far."),
        pair("run_<n>_first_fid", "Files with higher numbers were looked at."),
        pair("run_<n>_last_fid", "The last number that was looked at."),
        pair("run_<n>_options", "What it was limited to, and how thorough it was; for people."),
        pair("run_<n>_num_<code>", "Events of this code. Not with a file."),
        pair("run_<n>_lost", "Files that were GONE and had not been in the run before: up to 1000. Not with a file."),
        pair("run_<n>_lost_fids", "The first 100 of them, with commas between. Not with a file."),
        pair("run_<n>_covered", "1 if the file's number is one of those looked at. Only with a file."),
        pair("run_<n>_events", "What was seen of the file, in order, as in `MISS:3,REPL`. Only with a file."),
    ],
    errors: &[ErrorCode::NoDomain, ErrorCode::UnregDomain, ErrorCode::UnknownKey],
    notes: "Only of events that are still in the log. Runs are known from databases that have our table \
            `mogilefs_fsck_run` (`mogilefs db setup` adds it); elsewhere there are none.",
    origin: Origin::Here,
    is_intercepted: false,
};

const RUNS_DEFAULT: i64 = 10;
const RUNS_MAX: i64 = 100;
/// Lost files that are counted, and those that are named.
const LOST_MAX: i64 = 1000;
const LOST_NAMED_MAX: usize = 100;
/// Events of a file in a run.
const EVENTS_MAX: i64 = 100;

pub fn handle(query: &Query<'_>) -> CommandResult {
    let fid = match (query.args.int("fid"), query.args.nonempty("key")) {
        (0, None) => None,
        (0, Some(key)) => {
            let dmid = query.domain()?.dmid;
            let file = query.ctx.session.read(|conn| files::find_by_key(conn, dmid, key))?;
            Some(file.ok_or(ErrorCode::UnknownKey)?.fid)
        }
        (fid, _) => Some(Fid(fid)),
    };
    let wanted = match query.args.int("runs") {
        ..=0 => RUNS_DEFAULT,
        runs => runs.min(RUNS_MAX),
    };
    let pairs = query.ctx.session.read(|conn| {
        // One more than wanted, to tell what the first of them saw anew.
        let runs = fsck_run::latest(conn, wanted + 1)?;
        let shown = runs.len().min(usize::try_from(wanted).unwrap_or(0));
        history(conn, &runs, runs.len() - shown, fid)
    })?;
    Ok(pairs)
}

/// The runs from this place on.
fn history(conn: &mut StoreConnection, runs: &[FsckRun], from: usize, fid: Option<Fid>) -> StoreResult<Pairs> {
    let mut pairs = Pairs::new();
    if let Some(fid) = fid {
        pairs.push_display("fid", fid);
    }
    pairs.push_display("runs", runs.len() - from);
    let mut lost_before = BTreeSet::new();
    for (place, run) in runs.iter().enumerate() {
        let range = LogRange::of(run, runs.get(place + 1));
        let name = |what: &str| format!("run_{}_{what}", place + 1 - from);
        if place >= from {
            push_run(&mut pairs, run, name);
        }
        match fid {
            Some(_) if place < from => {}
            Some(fid) => push_events(conn, &mut pairs, run, range, fid, name)?,
            None => {
                let gone = fsck_run::fids_with(conn, range, Evcode::Gone.code(), LOST_MAX)?;
                if place >= from {
                    push_sums(conn, &mut pairs, range, name)?;
                    let lost: Vec<Fid> = gone.iter().filter(|fid| !lost_before.contains(*fid)).copied().collect();
                    push_lost(&mut pairs, &lost, name);
                }
                lost_before = gone.into_iter().collect();
            }
        }
    }
    Ok(pairs)
}

fn push_run(pairs: &mut Pairs, run: &FsckRun, name: impl Fn(&str) -> String) {
    pairs.push_display(name("id"), run.runid);
    pairs.push_display(name("started"), run.started);
    pairs.push_display(name("ended"), run.ended.unwrap_or(0));
    pairs.push_display(name("first_fid"), run.first_fid);
    pairs.push_display(name("last_fid"), run.last_fid);
    pairs.push(name("options"), &run.options);
}

fn push_events(
    conn: &mut StoreConnection,
    pairs: &mut Pairs,
    run: &FsckRun,
    range: LogRange,
    fid: Fid,
    name: impl Fn(&str) -> String,
) -> StoreResult<()> {
    let events = fsck_run::events_of(conn, range, fid, EVENTS_MAX)?;
    let words: Vec<String> = events
        .into_iter()
        .map(|(evcode, devid)| devid.map_or_else(|| evcode.clone(), |devid| format!("{evcode}:{devid}")))
        .collect();
    pairs.push_display(name("covered"), u8::from(run.first_fid < fid && fid <= run.last_fid));
    pairs.push(name("events"), words.join(","));
    Ok(())
}

fn push_sums(
    conn: &mut StoreConnection,
    pairs: &mut Pairs,
    range: LogRange,
    name: impl Fn(&str) -> String,
) -> StoreResult<()> {
    for (evcode, count) in fsck_run::counts(conn, range)? {
        pairs.push_display(name(&format!("num_{evcode}")), count);
    }
    Ok(())
}

fn push_lost(pairs: &mut Pairs, lost: &[Fid], name: impl Fn(&str) -> String) {
    let named: Vec<String> = lost.iter().take(LOST_NAMED_MAX).map(ToString::to_string).collect();
    pairs.push_display(name("lost"), lost.len());
    pairs.push(name("lost_fids"), named.join(","));
}
