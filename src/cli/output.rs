//! How outcomes look: tables and sizes for people, JSON for scripts, exit codes for both.

use crate::client::ClientError;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use serde_json::{Value, json};
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

/// Why a command failed, by what the caller of the program can do about it.
#[derive(Debug)]
pub enum Failure {
    Client(ClientError),
    /// The command line asks for something that cannot be.
    Usage(String),
    /// The database is not one that this program can work with or set up.
    Schema(String),
    /// A check found something that matters.
    Findings(String),
    /// Reading or writing on this machine failed.
    Local(String),
    /// Whoever read our output has seen enough.
    BrokenPipe,
    /// The person said no.
    Declined,
    /// With what may help.
    Hinted(Box<Failure>, String),
}

impl Failure {
    /// See the long help.
    fn exit_code(&self) -> u8 {
        match self {
            Self::BrokenPipe => 0,
            Self::Client(ClientError::Tracker { .. }) | Self::Findings(_) => 1,
            Self::Usage(_) | Self::Schema(_) | Self::Declined => 2,
            Self::Hinted(failure, _) => failure.exit_code(),
            Self::Client(
                ClientError::Connect(_)
                | ClientError::Io { .. }
                | ClientError::Timeout { .. }
                | ClientError::Protocol { .. },
            ) => 3,
            Self::Client(ClientError::Storage(_)) => 4,
            Self::Client(ClientError::Local { .. }) | Self::Local(_) => 5,
        }
    }

    /// The tracker's code, or a word of ours for the kind of failure.
    fn code(&self) -> &str {
        match self {
            Self::Client(ClientError::Tracker { code, .. }) => code,
            Self::Schema(_) => "schema",
            Self::Findings(_) => "findings",
            Self::Declined => "declined",
            Self::Hinted(failure, _) => failure.code(),
            _ => match self.exit_code() {
                2 => "usage",
                3 => "tracker_unreachable",
                4 => "storage",
                _ => "local_io",
            },
        }
    }

    /// The sentence without the code.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Client(ClientError::Tracker { text, .. }) => text.clone(),
            Self::Client(error) => error.to_string(),
            Self::Usage(text) | Self::Schema(text) | Self::Findings(text) | Self::Local(text) => text.clone(),
            Self::BrokenPipe => "broken pipe".to_owned(),
            Self::Declined => "nothing was done".to_owned(),
            Self::Hinted(failure, _) => failure.text(),
        }
    }

    /// For an error of writing to standard output.
    pub fn stdout(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Local(format!("writing to standard output: {error}")),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// Prints results in the form that was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Are progress bars wanted, and is there somebody to see them?
    pub fn shows_progress(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// Says on a terminal what is being done, from the first second on, until it is finished or dropped.
    pub fn working(&self, what: &str, steps: Option<u64>) -> ProgressBar {
        if !self.shows_progress() {
            return ProgressBar::hidden();
        }
        let template = if steps.is_some() { "{msg} {wide_bar} {pos}/{len} {eta}" } else { "{spinner} {msg} {elapsed}" };
        let bar = steps.map_or_else(ProgressBar::no_length, ProgressBar::new);
        // A template that indicatif does not like costs the looks only.
        let bar = match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        let bar = bar.with_message(what.to_owned()).with_finish(ProgressFinish::AndClear);
        bar.enable_steady_tick(Duration::from_secs(1));
        bar
    }

    /// Prints the value as JSON, or the text for people (which brings its own line ends).
    pub fn result(&self, value: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let printed = if self.json { format!("{value}\n") } else { text() };
        self.raw(printed.as_bytes())
    }

    /// Writes bytes to standard output at once.
    pub fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Failure::stdout)
    }

    /// Tells people what is going on; scripts are not told.
    pub fn note(&self, text: &str) {
        if !self.json {
            eprintln!("{text}");
        }
    }

    /// Prints the failure and gives its exit code.
    pub fn report(&self, failure: &Failure) -> ExitCode {
        let (exit, code, text) = (failure.exit_code(), failure.code(), failure.text());
        let (inner, hint) = match failure {
            Failure::Hinted(inner, hint) => (&**inner, Some(hint)),
            failure => (failure, None),
        };
        let lines = match inner {
            Failure::BrokenPipe => String::new(),
            _ if self.json => {
                let mut value = json!({ "code": code, "text": text, "exit": exit });
                if let Some(hint) = hint {
                    value["hint"] = json!(hint);
                }
                format!("{}\n", json!({ "error": value }))
            }
            inner => {
                let code = if matches!(inner, Failure::Client(ClientError::Tracker { .. })) { code } else { "" };
                // Some refusals have no words of their own.
                let code = if code == text { "" } else { code };
                let colon = if code.is_empty() { "" } else { ": " };
                let hint = hint.map(|hint| format!("{}: {hint}\n", painted("hint", "36"))).unwrap_or_default();
                format!("{}: {code}{colon}{text}\n{hint}", painted("error", "1;31"))
            }
        };
        // Standard error may be gone as well; the exit code still tells.
        let _best_effort = io::stderr().write_all(lines.as_bytes());
        ExitCode::from(exit)
    }
}

/// A word in colour where somebody sees it and nobody has asked for none (NO_COLOR).
fn painted(word: &str, colour: &str) -> String {
    let refuses = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    match io::stderr().is_terminal() && !refuses && !is_dumb {
        true => format!("\x1b[{colour}m{word}\x1b[0m"),
        false => word.to_owned(),
    }
}

/// Rows of cells under a heading, each column as wide as its widest cell. Without rows only a dash.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = heading.iter().map(|name| name.to_uppercase()).collect();
    let width = |column: usize| {
        let cells = rows.iter().chain([&heading]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    [&heading].into_iter().chain(rows).map(|row| table_line(row, &widths)).collect()
}

fn table_line(row: &[String], widths: &[usize]) -> String {
    let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}", width = *width));
    let line = cells.collect::<Vec<_>>().join("  ");
    format!("{}\n", line.trim_end())
}

/// Names and values below each other; empty values are left out.
pub fn fields(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0) + 1;
    let shown = pairs.iter().filter(|(_, value)| !value.is_empty());
    shown.map(|(name, value)| format!("{:<width$} {value}\n", format!("{name}:"))).collect()
}

/// `4.0 KiB (4096 bytes)`; below 1024 only the bytes.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        _ => format!("{} ({bytes} bytes)", short_size(bytes)),
    }
}

/// `4.0 KiB`.
pub fn short_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be rounded up to four digits.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `Sun, 09 Sep 2001 01:46:40 GMT`.
pub fn utc(unixtime: i64) -> String {
    // The last second that has four digits for the year.
    const LAST_SECS: u64 = 253_402_300_799;
    let secs = u64::try_from(unixtime).unwrap_or(0).min(LAST_SECS);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(4096), "4.0 KiB (4096 bytes)");
        assert_eq!(short_size((1 << 20) - 1), "1.0 MiB");
        assert_eq!(short_size(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn tables_are_aligned() {
        let rows = vec![vec!["1".to_owned(), "alive".to_owned()], vec!["1000".to_owned(), String::new()]];
        assert_eq!(table(&["dev", "state"], &rows), "DEV   STATE\n1     alive\n1000\n");
    }

    #[test]
    fn exit_codes_tell_failures_apart() {
        let refused = ClientError::Tracker { code: "unknown_key".to_owned(), text: "gone".to_owned() };
        let cases: [(Failure, u8, &str); 7] = [
            (Failure::Client(refused), 1, "unknown_key"),
            (Failure::Findings(String::new()), 1, "findings"),
            (Failure::Usage(String::new()), 2, "usage"),
            (Failure::Schema(String::new()), 2, "schema"),
            (Failure::Client(ClientError::Connect(String::new())), 3, "tracker_unreachable"),
            (Failure::Client(ClientError::Storage(String::new())), 4, "storage"),
            (Failure::Local(String::new()), 5, "local_io"),
        ];
        for (failure, exit, code) in cases {
            assert_eq!((failure.exit_code(), failure.code()), (exit, code));
        }
    }
}
