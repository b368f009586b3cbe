//! The log as watchers see it (admin-console.md A.3): each record is one line of text.
//!
//! Costs next to nothing while nobody watches. Never waits for a watcher: one that is slow loses the oldest lines and
//! learns how many.

use slog::{Drain, KV, Key, Level, Logger, Never, OwnedKVList, Record, Serializer, o};
use std::fmt::{self, Write as _};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Tag of a record whose message says all that its key-values say: watchers are shown the message alone.
pub const SAYS_ALL: &str = "says-all";
/// Lines that a slow watcher can be behind before it loses some.
const LINES_BEHIND_MAX: usize = 1024;
/// Longer lines are cut.
const LINE_BYTES_MAX: usize = 4096;

/// A whole line for watchers, with its line end.
pub type WatchLine = Arc<[u8]>;

/// Where the lines come from. Clones are one bus.
#[derive(Clone, Debug)]
pub struct WatchBus {
    lines: broadcast::Sender<WatchLine>,
}

impl WatchBus {
    pub fn new() -> Self {
        Self { lines: broadcast::Sender::new(LINES_BEHIND_MAX) }
    }

    /// Every line from now on, until the receiver is dropped.
    pub fn watch(&self) -> broadcast::Receiver<WatchLine> {
        self.lines.subscribe()
    }

    /// A logger that logs as `log` does, and shows its records to watchers: those for debugging only if they are logged.
    pub fn attach(&self, log: Logger) -> Logger {
        Logger::root(Tee { log, bus: AssertUnwindSafe(self.clone()) }, o!())
    }
}

impl Default for WatchBus {
    fn default() -> Self {
        Self::new()
    }
}

struct Tee {
    log: Logger,
    bus: AssertUnwindSafe<WatchBus>,
}

impl Drain for Tee {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record, values: &OwnedKVList) -> Result<(), Never> {
        let is_logged = self.log.is_enabled(record.level());
        // Watchers see all but what is for debugging, however little is written to the log.
        if (is_logged || record.level().is_at_least(Level::Info)) && self.bus.lines.receiver_count() > 0 {
            // The last watcher may have left meanwhile.
            let _unseen = self.bus.lines.send(line(record, values).into_bytes().into());
        }
        if is_logged { Drain::log(&self.log, record, values) } else { Ok(()) }
    }

    fn is_enabled(&self, level: Level) -> bool {
        Drain::is_enabled(&self.log, level)
    }
}

/// What a watcher is told that lost lines.
pub fn lost_line(count: u64) -> Vec<u8> {
    format!(":: {count} lines lost: this watcher is too slow\r\n").into_bytes()
}

fn line(record: &Record, values: &OwnedKVList) -> String {
    let mut text = String::from(":: ");
    if matches!(record.level(), Level::Debug | Level::Trace) {
        text.push_str("[debug] ");
    }
    let mut origin = Origin::default();
    // Neither these serializers nor writing to a String fails.
    let _infallible = values.serialize(record, &mut origin);
    if let Origin { job: Some(job), worker: Some(worker) } = origin {
        let _infallible = write!(text, "[{job}({worker})] ");
    }
    let _infallible = write!(text, "{}", record.msg());
    if record.tag() != SAYS_ALL {
        let mut pairs = Pairs::default();
        let _infallible = record.kv().serialize(record, &mut pairs);
        // slog gives them from the last to the first.
        for (number, pair) in pairs.0.iter().rev().enumerate() {
            text.push_str(if number == 0 { ": " } else { ", " });
            text.push_str(pair);
        }
    }
    if text.len() > LINE_BYTES_MAX {
        let end = (0..=LINE_BYTES_MAX).rev().find(|&end| text.is_char_boundary(end));
        text.truncate(end.unwrap_or(0));
    }
    let mut text = text.replace(['\r', '\n'], " ");
    text.push_str("\r\n");
    text
}

/// The worker that logs, from the context of its logger.
#[derive(Default)]
struct Origin {
    job: Option<String>,
    worker: Option<String>,
}

impl Serializer for Origin {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        let place = match key {
            "job" => &mut self.job,
            "worker" => &mut self.worker,
            _ => return Ok(()),
        };
        place.get_or_insert_with(|| value.to_string());
        Ok(())
    }
}

/// `key=value` of a record.
#[derive(Default)]
struct Pairs(Vec<String>);

impl Serializer for Pairs {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        self.0.push(format!("{key}={value}"));
        Ok(())
    }

    fn emit_none(&mut self, _key: Key) -> slog::Result {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent(Level);

    impl Drain for Silent {
        type Ok = ();
        type Err = Never;

        fn log(&self, _: &Record, _: &OwnedKVList) -> Result<(), Never> {
            Ok(())
        }

        fn is_enabled(&self, level: Level) -> bool {
            level.is_at_least(self.0)
        }
    }

    fn lines(level: Level, speak: impl Fn(&Logger)) -> Vec<String> {
        let bus = WatchBus::new();
        let log = bus.attach(Logger::root(Silent(level), o!()));
        speak(&log);
        let mut watcher = bus.watch();
        speak(&log);
        let mut lines = Vec::new();
        while let Ok(line) = watcher.try_recv() {
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
        lines
    }

    #[test]
    fn a_record_is_one_line_with_its_origin_and_its_values() {
        let seen = lines(Level::Debug, |log| {
            slog::info!(log, "first"; "devid" => 3, "none" => None::<u8>, "problem" => "a\r\nb");
            let worker = log.new(o!("job" => "fsck")).new(o!("worker" => 7));
            slog::error!(worker, "second"; "worker" => 9);
            slog::debug!(worker, #SAYS_ALL, "third {}", 1; "hidden" => 2);
            slog::debug!(log, "fourth");
        });
        let wanted = [
            ":: first: devid=3, problem=a  b\r\n",
            ":: [fsck(7)] second: worker=9\r\n",
            ":: [debug] [fsck(7)] third 1\r\n",
            ":: [debug] fourth\r\n",
        ];
        assert_eq!(seen, wanted);
    }

    #[test]
    fn records_for_debugging_are_shown_if_they_are_logged() {
        let seen = lines(Level::Warning, |log| {
            slog::debug!(log, "quiet");
            slog::info!(log, "loud");
        });
        assert_eq!(seen, [":: loud\r\n"]);
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let seen = lines(Level::Info, |log| slog::info!(log, "{}", "ä".repeat(LINE_BYTES_MAX)));
        assert!(seen[0].len() <= LINE_BYTES_MAX + 2 && seen[0].ends_with("ä\r\n"), "{}", seen[0].len());
    }
}
