//! `mogilefs fsck`: begins, ends and watches checks of the files, and shows what they found.

use super::output::{Failure, fields, table, utc};
use super::session::Session;
use super::sure::SureArgs;
use crate::protocol::args::Args as Reply;
use bstr::ByteSlice as _;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

/// Between two looks at a check that is watched.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Before the events of a code, in the reply of `fsck_status`.
const SUM_PREFIX: &str = "num_";

#[derive(Debug, Subcommand)]
pub enum FsckCommand {
    /// Begin a check, or go on with a stopped one; after a finished one only newer files are checked
    Start {
        /// Begin at the first file
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        scope: ScopeOptions,
        /// Show the progress until everything is checked
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        sure: SureArgs,
    },
    /// Take no further files; those queued already are still checked
    Stop,
    /// Show how far the check is and what it found
    Status {
        /// Until everything is checked
        #[arg(long)]
        watch: bool,
    },
    /// Let the next check begin at the first file, with these limits or none
    Reset {
        #[command(flatten)]
        scope: ScopeOptions,
    },
    /// Empty the log
    Clearlog {
        #[command(flatten)]
        sure: SureArgs,
    },
    /// Show the log
    Log {
        /// Only rows with higher numbers
        #[arg(long, value_name = "LOGID", default_value_t = 0)]
        after: i64,
    },
    /// Show the latest runs and what each saw: of all files, or of one
    History {
        /// The file's key; needs --domain
        key: Option<OsString>,
        /// The file's number
        #[arg(long, conflicts_with = "key")]
        fid: Option<i64>,
        /// Runs to show
        #[arg(long, value_name = "COUNT", default_value_t = 10)]
        runs: u32,
    },
}

/// What a check is limited to. Any of them lets it begin anew.
#[derive(Debug, Args)]
pub struct ScopeOptions {
    /// Look only at the recorded places of files, not at the nodes
    #[arg(long)]
    policy_only: bool,
    /// Only files of this domain
    #[arg(long, value_name = "DOMAIN")]
    of_domain: Option<String>,
    /// Only files of this class of the domain
    #[arg(long, value_name = "CLASS", requires = "of_domain")]
    class: Option<String>,
    /// Only files whose keys begin so
    #[arg(long, value_name = "KEY")]
    prefix: Option<OsString>,
    /// Only files with a copy on this device
    #[arg(long, value_name = "DEVID")]
    devid: Option<i64>,
    /// Only files with higher numbers
    #[arg(long, value_name = "FID")]
    after_fid: Option<i64>,
    /// All files that are not older than so many seconds
    #[arg(long, value_name = "SECONDS")]
    newer_than: Option<u64>,
    /// Only files that are surely older than so many seconds
    #[arg(long, value_name = "SECONDS")]
    older_than: Option<u64>,
}

impl ScopeOptions {
    /// As arguments of `fsck_reset`.
    fn arguments(&self) -> Vec<(&'static str, Vec<u8>)> {
        let text = |number: Option<String>| number.map(String::into_bytes);
        [
            ("policy_only", self.policy_only.then(|| b"1".to_vec())),
            ("domain", text(self.of_domain.clone())),
            ("class", text(self.class.clone())),
            ("key_prefix", self.prefix.as_ref().map(|prefix| prefix.as_bytes().to_vec())),
            ("devid", text(self.devid.map(|devid| devid.to_string()))),
            ("startpos", text(self.after_fid.map(|fid| fid.to_string()))),
            ("newer_than_secs", text(self.newer_than.map(|secs| secs.to_string()))),
            ("older_than_secs", text(self.older_than.map(|secs| secs.to_string()))),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

impl FsckCommand {
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Start { all, scope, watch, sure } => {
                if !sure.proceed(&what_is_checked(all, &scope), session.output)? {
                    return Ok(());
                }
                if all || !scope.arguments().is_empty() {
                    ask(session, "fsck_reset", &scope.arguments()).await?;
                }
                ask(session, "fsck_start", &[]).await?;
                if watch { status(session, true).await } else { session.done(&json!({ "started": true })) }
            }
            Self::Stop => done(session, "fsck_stop", &[], "stopped").await,
            Self::Status { watch } => status(session, watch).await,
            Self::Reset { scope } => done(session, "fsck_reset", &scope.arguments(), "reset").await,
            Self::Clearlog { sure } => match sure.proceed("empty the log of all checks", session.output)? {
                true => done(session, "fsck_clearlog", &[], "cleared").await,
                false => Ok(()),
            },
            Self::Log { after } => log(session, after).await,
            Self::History { key, fid, runs } => history(session, key, fid, runs).await,
        }
    }
}

fn what_is_checked(all: bool, scope: &ScopeOptions) -> String {
    let limits = scope.arguments();
    let limits: Vec<String> = limits.iter().map(|(name, value)| format!("{name}={}", value.to_str_lossy())).collect();
    match (all, limits.is_empty()) {
        (_, false) => format!("begin a check of the files with {}", limits.join(" ")),
        (true, true) => "begin a check of all files".to_owned(),
        (false, true) => "begin a check, or go on with one that was stopped".to_owned(),
    }
}

async fn ask(session: &mut Session<'_>, command: &str, arguments: &[(&str, Vec<u8>)]) -> Result<Reply, Failure> {
    let arguments: Vec<(&str, &[u8])> = arguments.iter().map(|(name, value)| (*name, value.as_slice())).collect();
    Ok(session.tracker.request(command, &arguments).await?)
}

async fn done(
    session: &mut Session<'_>,
    command: &str,
    arguments: &[(&str, Vec<u8>)],
    what: &str,
) -> Result<(), Failure> {
    ask(session, command, arguments).await?;
    session.done(&json!({ what: true }))
}

fn text(reply: &Reply, name: &str) -> String {
    reply.get(name).map(|value| value.to_str_lossy().into_owned()).unwrap_or_default()
}

/// The pairs of a reply whose names begin so, by the rest of the name.
fn beginning_with(reply: &Reply, prefix: &str) -> Vec<(String, String)> {
    let pairs = reply.pairs().iter().filter_map(|(name, value)| {
        let rest = name.strip_prefix(prefix.as_bytes())?;
        Some((rest.to_str_lossy().into_owned(), value.to_string()))
    });
    pairs.collect()
}

fn object(pairs: &[(String, String)]) -> Value {
    let value = |text: &String| text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number));
    Value::Object(pairs.iter().map(|(name, text)| (name.clone(), value(text))).collect::<Map<_, _>>())
}

async fn status(session: &mut Session<'_>, watch: bool) -> Result<(), Failure> {
    let mut reply = ask(session, "fsck_status", &[]).await?;
    if watch {
        let bar = bar(session);
        while reply.flag("running") || reply.int("queued") > 0 {
            show(&bar, &reply);
            tokio::time::sleep(WATCH_INTERVAL).await;
            reply = ask(session, "fsck_status", &[]).await?;
        }
        bar.finish_and_clear();
    }
    session.output.result(&object(&beginning_with(&reply, "")), || status_text(&reply))
}

/// A bar where somebody looks, else nothing.
fn bar(session: &Session<'_>) -> ProgressBar {
    if !session.output.shows_progress() {
        return ProgressBar::hidden();
    }
    // A template that indicatif does not like costs the looks only.
    match ProgressStyle::with_template("{wide_bar} {pos}/{len} files  {msg}") {
        Ok(style) => ProgressBar::new(0).with_style(style),
        Err(_) => ProgressBar::new(0),
    }
}

fn show(bar: &ProgressBar, reply: &Reply) {
    let checked = u64::try_from(reply.int("checked")).unwrap_or(0);
    let left = match reply.get("eta_secs") {
        // What the tracker has estimated.
        Some(_) => (reply.num("eta_secs") * reply.num("rate")) as u64,
        None => u64::try_from(reply.int("queued")).unwrap_or(0),
    };
    bar.set_length(checked + left);
    bar.set_position(checked);
    bar.set_message(format!("{}/s, {}{}", text(reply, "rate"), eta(reply), sums(reply)));
}

fn eta(reply: &Reply) -> String {
    match reply.get("eta_secs") {
        None => "no estimate yet".to_owned(),
        Some(_) => format!("{} left", for_people(reply.int("eta_secs"))),
    }
}

/// `1 h 2 min`, `3 min 4 s`, `5 s`.
fn for_people(secs: i64) -> String {
    match secs {
        3600.. => format!("{} h {} min", secs / 3600, secs % 3600 / 60),
        60.. => format!("{} min {} s", secs / 60, secs % 60),
        _ => format!("{secs} s"),
    }
}

/// `, MISS 3, REPL 3`.
fn sums(reply: &Reply) -> String {
    beginning_with(reply, SUM_PREFIX).into_iter().map(|(code, sum)| format!(", {code} {sum}")).collect()
}

fn status_text(reply: &Reply) -> String {
    let runs = reply.flag("running");
    let state = match (runs, reply.int("queued")) {
        (true, _) => format!("running, files are taken by {}", text(reply, "host")),
        (false, 0) => "not running".to_owned(),
        (false, _) => "all files are taken, not all are checked".to_owned(),
    };
    let is_busy = runs || reply.int("queued") > 0;
    fields(&[
        ("state", state),
        ("position", format!("{} of {}", text(reply, "max_fid_checked"), text(reply, "end_fid"))),
        ("checked", format!("{} files, {}/s", text(reply, "checked"), text(reply, "rate"))),
        ("queued", format!("{} files", text(reply, "queued"))),
        ("estimate", if is_busy { eta(reply) } else { String::new() }),
        ("policy only", if reply.flag("policy_only") { "yes".to_owned() } else { String::new() }),
        ("found", sums(reply).trim_start_matches(", ").to_owned()),
    ])
}

async fn log(session: &mut Session<'_>, after: i64) -> Result<(), Failure> {
    const FIELDS: [&str; 5] = ["logid", "utime", "fid", "evcode", "devid"];
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut after = after.to_string();
    loop {
        let reply = ask(session, "fsck_getlog", &[("after_logid", after.into_bytes())]).await?;
        let count = reply.int("row_count");
        let row = |n: i64| FIELDS.iter().map(|field| text(&reply, &format!("row_{n}_{field}"))).collect();
        rows.extend((1..=count).map(row));
        match rows.last() {
            Some(last) if count > 0 => after = last[0].clone(),
            _ => break,
        }
    }
    let value: Vec<Value> = rows
        .iter()
        .map(|row| {
            let pairs = FIELDS.iter().zip(row).filter(|(_, value)| !value.is_empty());
            object(&pairs.map(|(field, value)| ((*field).to_owned(), value.clone())).collect::<Vec<_>>())
        })
        .collect();
    session.output.result(&json!(value), || table(&["row", "time", "fid", "event", "dev"], &rows))
}

async fn history(session: &mut Session<'_>, key: Option<OsString>, fid: Option<i64>, runs: u32) -> Result<(), Failure> {
    let mut arguments = vec![("runs", runs.to_string().into_bytes())];
    if let Some(key) = &key {
        arguments.extend([("domain", session.domain()?.to_vec()), ("key", key.as_bytes().to_vec())]);
    }
    arguments.extend(fid.map(|fid| ("fid", fid.to_string().into_bytes())));
    let reply = ask(session, "fsck_history", &arguments).await?;
    let runs: Vec<Vec<(String, String)>> =
        (1..=reply.int("runs")).map(|n| beginning_with(&reply, &format!("run_{n}_"))).collect();
    let value: Vec<Value> = runs.iter().map(|run| object(run)).collect();
    let is_of_file = key.is_some() || fid.is_some();
    session.output.result(&json!(value), || {
        let rows: Vec<Vec<String>> = runs.iter().map(|run| history_row(run, is_of_file)).collect();
        table(&["run", "started", "files", "saw", "newly lost", "options"], &rows)
    })
}

fn history_row(run: &[(String, String)], is_of_file: bool) -> Vec<String> {
    let of = |name: &str| run.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone());
    let get = |name: &str| of(name).unwrap_or_default();
    let saw = match (is_of_file, get("covered").as_str()) {
        (true, "0") if get("events").is_empty() => "not looked at".to_owned(),
        (true, _) if get("events").is_empty() => "nothing wrong".to_owned(),
        (true, _) => get("events"),
        (false, _) => {
            let sums = run.iter().filter_map(|(name, sum)| Some((name.strip_prefix(SUM_PREFIX)?, sum)));
            sums.map(|(code, sum)| format!("{code} {sum}")).collect::<Vec<_>>().join(", ")
        }
    };
    let started = get("started").parse().map_or_else(|_| get("started"), utc);
    let files = format!("{}-{}", get("first_fid").parse::<i64>().map_or(1, |fid| fid + 1), get("last_fid"));
    vec![get("id"), started, files, saw, get("lost_fids"), get("options")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_for_people() {
        assert_eq!([5, 64, 3725].map(for_people), ["5 s", "1 min 4 s", "1 h 2 min"]);
    }

    #[test]
    fn a_status_for_people() {
        let reply = Reply::decode(
            b"running=1&host=t1&max_fid_checked=50&end_fid=100&checked=40&queued=10&rate=20.0&eta_secs=3&num_MISS=2",
        );
        let shown = status_text(&reply);
        for line in ["50 of 100", "40 files, 20.0/s", "3 s left", "MISS 2", "taken by t1"] {
            assert!(shown.contains(line), "{shown}");
        }
        assert!(status_text(&Reply::decode(b"running=0&queued=0")).contains("not running"));
    }
}
