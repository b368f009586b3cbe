//! `explain`: why a file is where it is, why it is nowhere else, and what happens next, as pairs.

use crate::cluster::placement::ReadTurn;
use crate::ids::Fid;
use crate::jobs::explain::{Explanation, Facts, Place, explain};
use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, Group, Origin, number, pair, text};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::files::FileRow;
use crate::store::queues::delete::DeleteTodo;
use crate::store::queues::replicate::ReplicateRow;
use crate::store::queues::todo::{FSCK, REBALANCE, TodoRow};
use crate::store::tempfiles::TempfileRow;
use crate::store::{StoreConnection, StoreResult, db_unixtime, deleted_files, file_on, files, queues, tempfiles};

pub const SPEC: CommandSpec = CommandSpec {
    name: "explain",
    group: Group::Files,
    summary: "Why a file is where it is, why it is nowhere else, and what happens next.",
    arguments: &[
        number("fid", "The file by number; then `domain` and `key` are not needed."),
        text("domain", "Name of the domain."),
        text("key", "The file's key."),
    ],
    reply: &[
        pair("fid", "Number of the file."),
        pair("domain", "Name of its domain; like all that follows up to `devcount` only if a key leads to it."),
        pair("key", "Its key."),
        pair("class", "Name of its class; empty if that is unknown."),
        pair("length", "Length in bytes."),
        pair("devcount", "Copies as the `file` row counts them."),
        pair("policy", "The policy of the class; only if it is known."),
        pair("wanted", "Copies that the policy wants; only if it is known."),
        pair("counted", "Copies that count for the policy: on known devices that are not dead."),
        pair(
            "verdict",
            "`satisfied`, `too_few`, `too_many`, `misplaced`, `lost` (no copy can be read), `no_policy`, `deleted` or `uploading`.",
        ),
        pair("verdict_text", "The verdict in a sentence or two."),
        pair(
            "next",
            "The queue whose row is due next: `replicate`, `delete`, `fsck`, `rebalance`; or `parked`, `none`.",
        ),
        pair("next_in_secs", "Seconds until then, `0` if it is due; not with `parked` and `none`."),
        pair("next_text", "What happens next, or why nothing does, in a sentence."),
        pair("queues", "Number of queue rows that name the file."),
        pair("queue_<n>_name", "Queue, the soonest first."),
        pair("queue_<n>_in_secs", "Seconds until the row is due; empty if it is parked."),
        pair("queue_<n>_failcount", "Tries that failed."),
        pair("queue_<n>_text", "What the next try would do, as things are now."),
        pair("copies", "Number of copies that the database knows."),
        pair("copy_<n>_devid", "Device of the copy."),
        pair("copy_<n>_host", "Name of its host; empty if the device is unknown, like the next four."),
        pair("copy_<n>_status", "Status of the device."),
        pair("copy_<n>_host_status", "Status of the host."),
        pair("copy_<n>_observed", "What the monitor saw of the device; empty if nothing yet."),
        pair("copy_<n>_host_observed", "What the monitor saw of the host; empty if nothing yet."),
        pair(
            "copy_<n>_state",
            "`readable`, `draining`, `doubted` (see `bad_path`), `unreachable`, `down`, `dead` or `unknown_device`.",
        ),
        pair("copy_<n>_counts", "Does the policy count it: `1` or `0`."),
        pair(
            "copy_<n>_offered",
            "When `get_paths` names it: `normal` (in any place), `last`, `fallback` (only if there is nothing else), `never`.",
        ),
        pair("copy_<n>_reason", "The state in words."),
        pair("others", "Number of the devices without a copy that follow, best first; at most 100."),
        pair("other_<n>_devid", "Device."),
        pair("other_<n>_host", "Name of its host."),
        pair(
            "other_<n>_state",
            "`wanted` (the policy's choice), `second_choice`, `possible`, `excluded` (by the policy), or what forbids it: `no_usage`, `no_room`, `too_full`, `unreachable`, `host_status`, `device_status`, `dead`.",
        ),
        pair("other_<n>_mb_free", "Free space in MiB; empty if unknown."),
        pair("other_<n>_reason", "The state in words."),
        pair("left_out", "Number of further devices."),
        pair("left_out_<code>", "How many of them have this state."),
    ],
    errors: &[ErrorCode::NoDomain, ErrorCode::UnregDomain, ErrorCode::NoKey, ErrorCode::UnknownKey],
    notes: "Judged by what this tracker knows and observed, with the same rules that its jobs use; nothing is changed. The texts are for people and may change. `unknown_key` by `fid`: no row of the database names it. Which jobs run where is not known here.",
    origin: Origin::Here,
    is_intercepted: true,
};

/// The rows about one file.
struct Rows {
    file: Option<FileRow>,
    devids: Vec<crate::ids::DevId>,
    replicate: Option<ReplicateRow>,
    delete: Option<DeleteTodo>,
    todos: Vec<TodoRow>,
    tempfile: Option<TempfileRow>,
    restorable_until: Option<i64>,
    now: i64,
}

impl Rows {
    fn read(conn: &mut StoreConnection, fid: Fid) -> StoreResult<Self> {
        let mut todos = Vec::new();
        for kind in [FSCK, REBALANCE] {
            todos.extend(queues::todo::find(conn, fid, kind)?);
        }
        Ok(Self {
            file: files::find_by_fid(conn, fid)?,
            devids: file_on::devids(conn, fid)?,
            replicate: queues::replicate::find(conn, fid)?,
            delete: queues::delete::find(conn, fid)?,
            todos,
            tempfile: tempfiles::find(conn, fid)?,
            restorable_until: deleted_files::find_by_fid(conn, fid)?.map(|file| file.due_at),
            now: db_unixtime(conn)?,
        })
    }

    fn is_empty(&self) -> bool {
        self.file.is_none()
            && self.devids.is_empty()
            && self.replicate.is_none()
            && self.delete.is_none()
            && self.todos.is_empty()
            && self.tempfile.is_none()
    }
}

pub fn handle(query: &Query<'_>) -> CommandResult {
    let fid = subject(query)?;
    let rows = query.ctx.session.read(|conn| Rows::read(conn, fid))?;
    if rows.is_empty() {
        return Err(CommandError::with_text(ErrorCode::UnknownKey, "Nothing is known of this file"));
    }
    let facts = Facts {
        fid,
        file: rows.file.as_ref(),
        devids: &rows.devids,
        cluster: &query.cluster,
        doubted: &query.ctx.doubtful_copies.among(fid, &rows.devids),
        replicate: rows.replicate,
        delete: rows.delete,
        todos: &rows.todos,
        tempfile: rows.tempfile.as_ref(),
        restorable_until: rows.restorable_until,
        now: rows.now,
        min_free_space_mb: query.ctx.min_free_space_mb(),
    };
    let explanation = explain(&facts, &mut query.ctx.chance.borrow_mut());
    let mut pairs = Pairs::new();
    pairs.push_display("fid", fid);
    if let Some(file) = &rows.file {
        push_file(query, &mut pairs, file);
    }
    push_verdict(&mut pairs, &explanation);
    push_queues(&mut pairs, &explanation);
    push_copies(&mut pairs, &explanation);
    push_others(&mut pairs, &explanation);
    Ok(pairs)
}

fn subject(query: &Query<'_>) -> Result<Fid, CommandError> {
    if query.args.flag("fid") {
        return Ok(Fid(query.args.int("fid")));
    }
    let dmid = query.domain()?.dmid;
    let key = query.key()?;
    let file = query.ctx.session.read(|conn| files::find_by_key(conn, dmid, key))?.ok_or(ErrorCode::UnknownKey)?;
    Ok(file.fid)
}

/// A file whose domain or class is unknown is explained all the same.
fn push_file(query: &Query<'_>, pairs: &mut Pairs, file: &FileRow) {
    let domain = query.cluster.domain(file.dmid);
    let class = domain.and_then(|domain| domain.class(file.classid));
    pairs.push("domain", domain.map(|domain| domain.name.as_slice()).unwrap_or_default());
    pairs.push("key", &file.dkey);
    pairs.push("class", class.map(|class| class.name.as_slice()).unwrap_or_default());
    pairs.push_display("length", file.length);
    pairs.push_display("devcount", file.devcount);
}

fn push_verdict(pairs: &mut Pairs, explanation: &Explanation) {
    if let Some(policy) = &explanation.policy {
        pairs.push("policy", &policy.text);
        pairs.push_display("wanted", policy.copies_wanted);
    }
    pairs.push_display("counted", explanation.counted);
    pairs.push("verdict", explanation.verdict.code());
    pairs.push("verdict_text", &explanation.verdict_text);
    pairs.push("next", explanation.next.code());
    if let Some(in_secs) = explanation.next.in_secs() {
        pairs.push_display("next_in_secs", in_secs);
    }
    pairs.push("next_text", explanation.next.text());
}

fn push_queues(pairs: &mut Pairs, explanation: &Explanation) {
    pairs.push_display("queues", explanation.queued.len());
    for (n, work) in (1..).zip(&explanation.queued) {
        pairs.push(format!("queue_{n}_name"), work.queue.code());
        pairs.push_option(format!("queue_{n}_in_secs"), work.in_secs);
        pairs.push_display(format!("queue_{n}_failcount"), work.failcount);
        pairs.push(format!("queue_{n}_text"), &work.text);
    }
}

fn push_copies(pairs: &mut Pairs, explanation: &Explanation) {
    pairs.push_display("copies", explanation.copies.len());
    for (n, copy) in (1..).zip(&explanation.copies) {
        let text = |of: fn(&Place) -> &str| copy.place.as_ref().map(of).unwrap_or_default();
        pairs.push_display(format!("copy_{n}_devid"), copy.devid);
        pairs.push(format!("copy_{n}_host"), text(|place| &place.host));
        pairs.push(format!("copy_{n}_status"), text(|place| place.device_status));
        pairs.push(format!("copy_{n}_host_status"), text(|place| place.host_status));
        pairs.push(format!("copy_{n}_observed"), text(|place| place.device_observed));
        pairs.push(format!("copy_{n}_host_observed"), text(|place| place.host_observed));
        pairs.push(format!("copy_{n}_state"), copy.state.code());
        pairs.push_display(format!("copy_{n}_counts"), i32::from(copy.counts));
        pairs.push(format!("copy_{n}_offered"), offered(copy.read_turn));
        pairs.push(format!("copy_{n}_reason"), &copy.reason);
    }
}

fn offered(turn: Option<ReadTurn>) -> &'static str {
    match turn {
        Some(ReadTurn::Normal) => "normal",
        Some(ReadTurn::Last) => "last",
        Some(ReadTurn::IfNoOther) => "fallback",
        None => "never",
    }
}

fn push_others(pairs: &mut Pairs, explanation: &Explanation) {
    pairs.push_display("others", explanation.others.shown.len());
    for (n, other) in (1..).zip(&explanation.others.shown) {
        pairs.push_display(format!("other_{n}_devid"), other.devid);
        pairs.push(format!("other_{n}_host"), &other.place.host);
        pairs.push(format!("other_{n}_state"), other.state.code());
        pairs.push_option(format!("other_{n}_mb_free"), other.mb_free);
        pairs.push(format!("other_{n}_reason"), &other.reason);
    }
    pairs.push_display("left_out", explanation.others.left_out.values().sum::<usize>());
    for (state, count) in &explanation.others.left_out {
        pairs.push_display(format!("left_out_{}", state.code()), count);
    }
}
