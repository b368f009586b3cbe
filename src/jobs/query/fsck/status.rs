//! `fsck_status`: whether a fsck runs, how far it is, and what it found.

use crate::jobs::fsck::{self, Progress, field};
use crate::jobs::query::Query;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, Group, Origin, pair};
use crate::protocol::response::Pairs;
use crate::store::queues::todo;
use crate::store::{db_unixtime, fsck_log, server_settings};

pub const SPEC: CommandSpec = CommandSpec {
    name: "fsck_status",
    group: Group::Fsck,
    summary: "Whether a check runs, how far it is, and what it found.",
    arguments: &[],
    reply: &[
        pair("running", "1 while files are taken for checking, else 0."),
        pair("host", "The tracker that takes them, empty if none does."),
        pair("max_fid_checked", "The highest fid that was taken."),
        pair("policy_only", "1 if the nodes are not looked at, else 0."),
        pair("end_fid", "The highest fid that will be taken, 0 if there is none."),
        pair("start_time", "Unix time of the database, 0 if not set."),
        pair("stop_time", "Unix time of the database, 0 if not set."),
        pair("current_time", "Unix time of the database."),
        pair("max_logid", "Number of the latest row of the log, 0 if it is empty."),
        pair("checked", "Files checked since the start, by the workers of all trackers of this program."),
        pair("queued", "Files that wait to be checked, or are being checked."),
        pair("rate", "Files checked per second since the start, with one decimal."),
        pair("eta_secs", "Seconds until all files are checked, at this rate; absent while that cannot be told."),
        pair("num_<code>", "Events of this code since the counters were cleared."),
    ],
    errors: &[],
    notes: "`checked`, `queued`, `rate` and `eta_secs` are additions of this program.",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub async fn handle(query: &Query<'_>) -> CommandResult {
    fsck::sum_events(query.ctx).await?;
    let (settings, now, max_logid, queued) = query.ctx.session.read(|conn| {
        let queued = todo::count(conn, todo::FSCK)?;
        Ok((server_settings::all(conn)?, db_unixtime(conn)?, fsck_log::max_logid(conn)?, queued))
    })?;
    let number = |field: &str| fsck::number(&settings, field);
    let mut pairs = Pairs::new();
    pairs.push_display("running", u8::from(server_settings::says(&settings, field::HOST)));
    pairs.push_option("host", settings.get(field::HOST));
    pairs.push_display("max_fid_checked", number(field::POSITION));
    pairs.push_display("policy_only", u8::from(server_settings::says(&settings, field::POLICY_ONLY)));
    pairs.push_display("end_fid", number(field::END));
    pairs.push_display("start_time", number(field::START_TIME));
    pairs.push_display("stop_time", number(field::STOP_TIME));
    pairs.push_display("current_time", now);
    pairs.push_display("max_logid", max_logid);
    push_progress(&mut pairs, &Progress::of(&settings, queued, now));
    for (field, sum) in &settings {
        if let Some(evcode) = field.strip_prefix(fsck_log::SUM_PREFIX) {
            pairs.push(format!("num_{evcode}"), sum);
        }
    }
    Ok(pairs)
}

fn push_progress(pairs: &mut Pairs, progress: &Progress) {
    pairs.push_display("checked", progress.checked);
    pairs.push_display("queued", progress.queued);
    pairs.push("rate", format!("{:.1}", progress.rate()));
    if let Some(eta_secs) = progress.eta_secs() {
        pairs.push_display("eta_secs", eta_secs);
    }
}
