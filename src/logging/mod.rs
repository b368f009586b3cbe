//! The root logger: lines for people on a terminal, or JSON for machines. Records of libraries that use `log` come in too.
//!
//! Lines are written by the thread that logs, through a lock and a buffer that is flushed with each record, so that none
//! is lost; a failure is logged once, where it is handled.

pub mod watch;

use crate::settings::{LogFormat, LogSettings};
use slog::{Drain, Level, Logger, o};
use std::io;
use std::str::FromStr;
use std::sync::Mutex;

/// Builds the root logger, writing to standard error.
///
/// # Errors
/// The level is not one that slog knows.
pub fn root(settings: &LogSettings) -> Result<Logger, String> {
    let level =
        Level::from_str(&settings.level).map_err(|()| format!("log.level: unknown level {:?}", settings.level))?;
    Ok(match settings.format {
        LogFormat::Terminal => {
            let decorator = slog_term::TermDecorator::new().stderr().build();
            filtered(slog_term::FullFormat::new(decorator).use_utc_timestamp().build(), level)
        }
        LogFormat::Json => filtered(slog_json::Json::default(io::LineWriter::new(io::stderr())), level),
    })
}

/// A logger that drops everything.
pub fn discard() -> Logger {
    Logger::root(slog::Discard, o!())
}

/// Lets records of libraries that use the `log` crate flow into this logger, for the life of the guard.
pub fn adopt_library_logs(root: &Logger) -> slog_scope::GlobalLoggerGuard {
    let guard = slog_scope::set_global_logger(root.new(o!("from" => "library")));
    // Fails only when a logger was installed before, as in a second start within one process; that one then stays.
    if slog_stdlog::init_with_level(log::Level::Warn).is_err() {
        slog::debug!(root, "library log records already have a logger");
    }
    guard
}

fn filtered<D>(drain: D, level: Level) -> Logger
where
    D: Drain<Ok = (), Err: std::fmt::Debug> + Send + 'static,
{
    let drain = Mutex::new(drain).filter_level(level).ignore_res();
    Logger::root(drain, o!())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_levels_are_refused() {
        let settings = |level: &str| LogSettings { level: level.to_owned(), format: LogFormat::Json };
        assert!(root(&settings("info")).is_ok());
        assert!(root(&settings("loud")).expect_err("unknown").contains("loud"));
    }
}
