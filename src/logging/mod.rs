//! The root logger: lines for people on a terminal, JSON for machines, or the system's log. Records of libraries that use
//! `log` come in too.
//!
//! Lines are written by the thread that logs, through a lock and a buffer that is flushed with each record, so that none
//! is lost; a failure is logged once, where it is handled. Levels and outlet can be changed while records come.

pub mod levels;
mod system_log;
pub mod watch;

use crate::settings::{LogFormat, LogSettings, LogTo};
use arc_swap::{ArcSwap, ArcSwapOption};
use levels::{LevelTable, Levels};
use slog::{Drain, Level, Logger, Never, OwnedKVList, Record, o};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, LineWriter, Write};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use system_log::{JOURNALD_SOCKET, SYSLOG_SOCKET, SystemLog, SystemLogDrain};

/// What was built last: there is one log per process.
static CURRENT: ArcSwapOption<LogControl> = ArcSwapOption::const_empty();

/// Builds the root logger. [`control`] gives the handle that changes it.
///
/// # Errors
/// A level that slog does not know; a file that cannot be opened.
pub fn root(settings: &LogSettings) -> Result<Logger, String> {
    let control = Arc::new(LogControl {
        levels: Levels::new(LevelTable::read(&settings.level, &settings.levels)?),
        outlet: ArcSwap::from_pointee(open(settings)?),
        settings: Mutex::new(settings.clone()),
    });
    CURRENT.store(Some(control.clone()));
    Ok(Logger::root(Controlled(control), o!()))
}

/// The handle to this process's log; none before there is one.
pub fn control() -> Option<Arc<LogControl>> {
    CURRENT.load_full()
}

/// Changes the log while it is written.
pub struct LogControl {
    levels: Levels,
    outlet: ArcSwap<Outlet>,
    settings: Mutex<LogSettings>,
}

impl LogControl {
    /// Which records are written.
    pub fn levels(&self) -> LevelTable {
        self.levels.table()
    }

    /// From now on, until the settings are read again.
    pub fn set_levels(&self, table: LevelTable) {
        self.levels.replace(table);
    }

    /// Does what the settings say now.
    ///
    /// # Errors
    /// As for [`root`]; everything is as before then.
    pub fn apply(&self, settings: &LogSettings) -> Result<(), String> {
        let table = LevelTable::read(&settings.level, &settings.levels)?;
        let outlet = open(settings)?;
        self.levels.replace(table);
        self.outlet.store(outlet.into());
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings.clone();
        Ok(())
    }

    /// Opens the file anew, which somebody may have moved away.
    ///
    /// # Errors
    /// It cannot be opened; the one that is open stays.
    pub fn reopen(&self) -> Result<(), String> {
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.outlet.store(open(&settings)?.into());
        Ok(())
    }
}

/// Where records go.
struct Outlet(Box<dyn RecordSink>);

/// A drain that never fails and can be used from all threads.
trait RecordSink: Drain<Ok = (), Err = Never> + Send + Sync + UnwindSafe + RefUnwindSafe {}

impl<D> RecordSink for D where D: Drain<Ok = (), Err = Never> + Send + Sync + UnwindSafe + RefUnwindSafe {}

fn open(settings: &LogSettings) -> Result<Outlet, String> {
    let socket = |usual: &str| {
        if settings.socket.as_os_str().is_empty() { PathBuf::from(usual) } else { settings.socket.clone() }
    };
    let system = |kind, usual| {
        let drain = SystemLogDrain::open(kind, socket(usual), program_name());
        drain.map(|drain| Outlet(Box::new(drain))).map_err(|error| format!("log.to: {error}"))
    };
    match settings.to {
        LogTo::Stderr => Ok(to_stderr(settings.format)),
        LogTo::File => {
            let file = open_file(&crate::service::absolute(&settings.file))?;
            Ok(to_writer(LineWriter::new(file), settings.format == LogFormat::Terminal))
        }
        LogTo::Syslog => system(SystemLog::Syslog, SYSLOG_SOCKET),
        LogTo::Journald => system(SystemLog::Journald, JOURNALD_SOCKET),
    }
}

fn to_stderr(format: LogFormat) -> Outlet {
    let is_text = match format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Terminal => true,
        LogFormat::Json => false,
    };
    if is_text {
        let decorator = slog_term::TermDecorator::new().stderr().build();
        let drain = slog_term::FullFormat::new(decorator).use_utc_timestamp().build();
        Outlet(Box::new(Mutex::new(drain).ignore_res()))
    } else {
        to_writer(LineWriter::new(io::stderr()), false)
    }
}

fn to_writer(writer: impl Write + Send + 'static, is_text: bool) -> Outlet {
    if is_text {
        let decorator = slog_term::PlainDecorator::new(writer);
        let drain = slog_term::FullFormat::new(decorator).use_utc_timestamp().build();
        Outlet(Box::new(Mutex::new(drain).ignore_res()))
    } else {
        Outlet(Box::new(Mutex::new(slog_json::Json::default(writer)).ignore_res()))
    }
}

fn open_file(path: &Path) -> Result<File, String> {
    if path.as_os_str().is_empty() {
        return Err("log.file: needs a path, as log.to is \"file\"".to_owned());
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|error| format!("log.file: {}: {error}", path.display()))
}

/// As it was called.
fn program_name() -> String {
    let called = std::env::args_os().next().map(PathBuf::from);
    let name = called.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    name.unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned())
}

/// The root of all loggers.
struct Controlled(Arc<LogControl>);

impl Drain for Controlled {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record, values: &OwnedKVList) -> Result<(), Never> {
        if self.0.levels.passes(record.level(), record.module()) {
            self.0.outlet.load().0.log(record, values)
        } else {
            Ok(())
        }
    }

    fn is_enabled(&self, level: Level) -> bool {
        self.0.levels.may_pass(level)
    }
}

// What is swapped is whole at any time, also after a panic in another thread.
impl UnwindSafe for LogControl {}
impl RefUnwindSafe for LogControl {}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn settings(file: &Path) -> LogSettings {
        let defaults = Settings::defaults().log;
        LogSettings { to: LogTo::File, file: file.to_owned(), ..defaults }
    }

    #[test]
    fn unknown_levels_are_refused() {
        let with = |level: &str| LogSettings { level: level.to_owned(), ..Settings::defaults().log };
        assert!(root(&with("info")).is_ok());
        assert!(root(&with("loud")).expect_err("unknown").contains("loud"));
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew_and_levels_change_while_it_is_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, moved) = (directory.path().join("log"), directory.path().join("log.1"));
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let control = LogControl {
            levels: Levels::new(LevelTable::read("info", "").expect("right")),
            outlet: ArcSwap::from_pointee(open(&settings(&path)).expect("open")),
            settings: Mutex::new(settings(&path)),
        };
        let control = Arc::new(control);
        let log = Logger::root(Controlled(control.clone()), o!());
        slog::info!(log, "one");
        std::fs::rename(&path, &moved).expect("moved");
        slog::info!(log, "two");
        control.reopen().expect("opened");
        slog::info!(log, "three");
        slog::debug!(log, "four");
        let mut table = control.levels();
        table.set(Some("logging"), Level::Debug);
        control.set_levels(table);
        slog::debug!(log, "five");
        assert!(read(&moved).contains("\"two\"") && !read(&moved).contains("three"));
        assert!(read(&path).contains("three") && !read(&path).contains("four") && read(&path).contains("five"));
        let wrong = LogSettings { file: directory.path().join("none/log"), ..settings(&path) };
        assert!(control.apply(&wrong).expect_err("no directory").starts_with("log.file: "));
        let text = LogSettings { format: LogFormat::Terminal, level: "error".to_owned(), ..settings(&path) };
        control.apply(&text).expect("applied");
        slog::info!(log, "six");
        slog::error!(log, "seven"; "fid" => 8);
        let lines = read(&path);
        assert!(!lines.contains("six") && lines.trim_end().ends_with("seven, fid: 8"), "{lines}");
    }
}
