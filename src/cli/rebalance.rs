//! `mogilefs rebalance`: what to move from where to where, what that would be, and how far it is.

use super::output::{Failure, fields, size, table};
use super::session::Session;
use super::sure::SureArgs;
use super::watch::{WatchArgs, watch};
use crate::protocol::args::Args as Reply;
use clap::Subcommand;
use serde_json::{Map, Value, json};
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub enum RebalanceCommand {
    /// Show the policy, or set it
    Policy {
        /// As in `from_hosts=1 to_hosts=2,3 limit_by=percent limit=10`; all words together are the policy
        #[arg(value_name = "NAME=VALUE")]
        words: Vec<String>,
    },
    /// Show what a run by the policy would move; changes nothing
    Test,
    /// Begin a run, or go on with one that was stopped
    Start {
        #[command(flatten)]
        watch: WatchArgs,
        #[command(flatten)]
        sure: SureArgs,
    },
    /// Stop the run; `start` goes on with it
    Stop,
    /// Forget how far the last run came
    Reset,
    /// Show how far the run is
    Status {
        #[command(flatten)]
        watch: WatchArgs,
    },
}

impl RebalanceCommand {
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Policy { words } if words.is_empty() => show_policy(session).await,
            Self::Policy { words } => set_policy(&words.join(" "), session).await,
            Self::Test => test(session).await,
            Self::Start { sure, .. } if sure.is_dry_run() => test(session).await,
            Self::Start { watch: args, sure } => {
                if !sure.proceed("begin moving files by the policy (`rebalance test` shows which)", session.output)? {
                    return Ok(());
                }
                session.tracker.request("rebalance_start", &[]).await?;
                if args.is_wanted() { watch_status(&args, session).await } else { session.done(&json!({})) }
            }
            Self::Stop => plain("rebalance_stop", session).await,
            Self::Reset => plain("rebalance_reset", session).await,
            Self::Status { watch: args } => watch_status(&args, session).await,
        }
    }
}

async fn plain(command: &str, session: &mut Session<'_>) -> Result<(), Failure> {
    session.tracker.request(command, &[]).await?;
    session.done(&json!({}))
}

async fn show_policy(session: &mut Session<'_>) -> Result<(), Failure> {
    let reply = session.tracker.request("server_setting", &[("key", b"rebal_policy")]).await?;
    let policy = text(&reply, "value");
    session.output.result(&json!({ "policy": policy }), || format!("{policy}\n"))
}

async fn set_policy(policy: &str, session: &mut Session<'_>) -> Result<(), Failure> {
    session.tracker.request("rebalance_set_policy", &[("policy", policy.as_bytes())]).await?;
    session.done(&json!({ "policy": policy }))
}

async fn test(session: &mut Session<'_>) -> Result<(), Failure> {
    let reply = session.tracker.request("rebalance_test", &[]).await?;
    session.output.result(&test_json(&reply), || test_text(&reply))
}

fn test_json(reply: &Reply) -> Value {
    let sources = (1..=reply.int("sources")).map(|number| {
        let int = |field: &str| reply.int(&format!("source_{number}_{field}"));
        let is_estimate = int("estimated") != 0;
        json!({ "devid": int("devid"), "files": int("files"), "bytes": int("bytes"), "estimated": is_estimate })
    });
    json!({
        "sources": ids(reply, "sdevs"), "destinations": ids(reply, "ddevs"), "problem": problem(reply),
        "files": reply.int("files"), "bytes": reply.int("bytes"), "estimated": reply.int("estimated") != 0,
        "by_source": sources.collect::<Vec<_>>(),
    })
}

fn test_text(reply: &Reply) -> String {
    let lists = fields(&[
        ("sources", text(reply, "sdevs").replace(',', " ")),
        ("destinations", text(reply, "ddevs").replace(',', " ")),
        ("problem", problem(reply).unwrap_or_default()),
    ]);
    let about = |is_estimate: i64| if is_estimate == 0 { "" } else { "about " };
    let mut rows: Vec<Vec<String>> = (1..=reply.int("sources"))
        .map(|number| {
            let int = |field: &str| reply.int(&format!("source_{number}_{field}"));
            let about = about(int("estimated"));
            vec![
                int("devid").to_string(),
                format!("{about}{}", int("files")),
                format!("{about}{}", bytes(int("bytes"))),
            ]
        })
        .collect();
    if rows.is_empty() {
        return lists;
    }
    let about = about(reply.int("estimated"));
    let (files, all) = (reply.int("files"), bytes(reply.int("bytes")));
    rows.push(vec!["all".to_owned(), format!("{about}{files}"), format!("{about}{all}")]);
    format!("{lists}\n{}", table(&["source", "files", "size"], &rows))
}

/// The status once, or again and again until the run and its queue have come to an end.
async fn watch_status(args: &WatchArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    watch(args, session, async |session: &mut Session<'_>| {
        let reply = session.tracker.request("rebalance_status", &[]).await?;
        session.output.result(&status_json(&reply), || status_text(&reply))?;
        Ok(reply.int("running") != 0 || reply.int("waiting") != 0)
    })
    .await
}

/// The words of the state.
fn state(reply: &Reply) -> Vec<(String, String)> {
    let state = text(reply, "state");
    let words = state.split_ascii_whitespace().filter_map(|word| word.split_once('='));
    words.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn status_json(reply: &Reply) -> Value {
    let state: Map<String, Value> = state(reply).into_iter().map(|(name, value)| (name, json!(value))).collect();
    json!({
        "running": reply.int("running") != 0, "host": text(reply, "host"), "waiting": reply.int("waiting"),
        "percent_queued": number(reply, "percent_queued"), "files_per_sec": number(reply, "files_per_sec"),
        "eta_secs": number(reply, "eta_secs"), "problem": problem(reply), "state": state,
    })
}

fn status_text(reply: &Reply) -> String {
    let state = state(reply);
    let word = |name: &str| state.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value.as_str());
    let running = match reply.int("running") {
        0 => "no".to_owned(),
        _ => format!("on {}", text(reply, "host")),
    };
    let current = match word("sdev_current") {
        "0" => String::new(),
        devid => format!("device {devid}, up to file {}", word("sdev_lastfid")),
    };
    let eta = text(reply, "eta_secs").parse().map(Duration::from_secs).map(duration).unwrap_or_default();
    let rate = number(reply, "files_per_sec").map(|rate| format!("{rate:.1} files/s")).unwrap_or_default();
    fields(&[
        ("running", running),
        ("problem", problem(reply).unwrap_or_default()),
        ("done", word("completed_devs").trim_matches(',').replace(',', " ")),
        ("now", current),
        ("to do", word("source_devs").replace(',', " ")),
        ("queued", format!("{} files, {}", word("fids_queued"), bytes(word("bytes_queued").parse().unwrap_or(0)))),
        ("waiting", format!("{} moves", reply.int("waiting"))),
        ("progress", format!("about {} % queued", text(reply, "percent_queued"))),
        ("rate", rate),
        ("time left", eta),
    ])
}

/// `1 h 02 min`, `3 min 05 s`, `7 s`.
fn duration(duration: Duration) -> String {
    let secs = duration.as_secs();
    match (secs / 3600, secs / 60 % 60, secs % 60) {
        (0, 0, secs) => format!("{secs} s"),
        (0, minutes, secs) => format!("{minutes} min {secs:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

fn bytes(count: i64) -> String {
    size(u64::try_from(count).unwrap_or(0))
}

fn ids(reply: &Reply, name: &str) -> Vec<i64> {
    text(reply, name).split(',').filter_map(|devid| devid.parse().ok()).collect()
}

fn number(reply: &Reply, name: &str) -> Option<f64> {
    text(reply, name).parse().ok()
}

fn problem(reply: &Reply) -> Option<String> {
    reply.get("problem").map(ToString::to_string)
}

fn text(reply: &Reply, name: &str) -> String {
    reply.get(name).map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_shows_each_source_and_the_sum() {
        let reply = Reply::decode(
            b"sdevs=1,2&ddevs=5&files=30&bytes=3000&estimated=1&sources=2&source_1_devid=1&source_1_files=10\
              &source_1_bytes=1000&source_1_estimated=0&source_2_devid=2&source_2_files=20&source_2_bytes=2000\
              &source_2_estimated=1",
        );
        let text = test_text(&reply);
        assert!(text.contains("sources:      1 2\n"), "{text}");
        assert!(text.contains("\n1       10        1000 bytes\n"), "{text}");
        assert!(text.contains("\nall     about 30  about 2.9 KiB (3000 bytes)\n"), "{text}");
        assert_eq!(test_json(&reply)["by_source"][1]["estimated"], json!(true));
        let none = test_text(&Reply::decode(b"sdevs=1&ddevs=&problem=nothing+fits"));
        assert_eq!(none, "sources:      1\nproblem:      nothing fits\n");
    }

    #[test]
    fn a_status_shows_what_is_known() {
        let reply = Reply::decode(
            b"state=completed_devs%3D,41+source_devs%3D3,4+sdev_current%3D2+sdev_lastfid%3D77+fids_queued%3D9\
              +bytes_queued%3D5000&running=1&host=t1&waiting=4&percent_queued=37.5&files_per_sec=5.0&eta_secs=3725",
        );
        let text = status_text(&reply);
        for line in ["running:   on t1", "done:      41", "now:       device 2, up to file 77", "to do:     3 4"] {
            assert!(text.contains(&format!("{line}\n")), "{line} in {text}");
        }
        assert!(text.contains("9 files, 4.9 KiB") && text.contains("time left: 1 h 02 min\n"), "{text}");
        assert_eq!(status_json(&reply)["state"]["sdev_current"], json!("2"));
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
    }
}
