//! The logs of the system, each record one datagram: syslog as in RFC 3164, and journald with a field for each value.
//!
//! A record that the system does not take is lost: logging must never hold up the service.

use slog::{Drain, KV as _, Key, Level, Never, OwnedKVList, Record, Serializer};
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

pub(super) const SYSLOG_SOCKET: &str = "/dev/log";
pub(super) const JOURNALD_SOCKET: &str = "/run/systemd/journal/socket";

/// Facility `daemon`.
const FACILITY: u8 = 3;
/// RFC 3164 asks for 1024; every syslog of today takes more.
const SYSLOG_BYTES_MAX: usize = 8 * 1024;
/// Longer values are cut: journald takes some 200 KB in a datagram.
const FIELD_BYTES_MAX: usize = 32 * 1024;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SystemLog {
    Syslog,
    Journald,
}

/// The way to one of them.
pub(super) struct SystemLogDrain {
    kind: SystemLog,
    socket: UnixDatagram,
    path: PathBuf,
    /// The program's name.
    ident: String,
}

impl SystemLogDrain {
    /// # Errors
    /// No socket can be made. That nobody listens is no error: the system's log may start later.
    pub(super) fn open(kind: SystemLog, path: PathBuf, ident: String) -> std::io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { kind, socket, path, ident })
    }
}

impl Drain for SystemLogDrain {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record, values: &OwnedKVList) -> Result<(), Never> {
        let datagram = match self.kind {
            SystemLog::Syslog => syslog_datagram(record, values, &self.ident, std::process::id()),
            SystemLog::Journald => journald_datagram(record, values, &self.ident),
        };
        // Nobody is left to be told.
        let _lost = self.socket.send_to(&datagram, &self.path);
        Ok(())
    }
}

/// The system's priorities, 0 to 7.
fn severity(level: Level) -> u8 {
    match level {
        Level::Critical => 2,
        Level::Error => 3,
        Level::Warning => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// `<priority>ident[pid]: message: key=value, …`. Without a time: the receiver puts its own, which knows the time zone.
fn syslog_datagram(record: &Record, values: &OwnedKVList, ident: &str, pid: u32) -> Vec<u8> {
    let mut text = format!("<{}>{ident}[{pid}]: {}", FACILITY * 8 + severity(record.level()), record.msg());
    let pairs = fields(record, values);
    for (number, (key, value)) in pairs.iter().enumerate() {
        // Writing to a String does not fail.
        let _infallible = write!(text, "{} {key}={value}", if number == 0 { ':' } else { ',' });
    }
    let mut text = text.replace(['\r', '\n', '\0'], " ");
    text.truncate(cut_at(&text, SYSLOG_BYTES_MAX));
    text.into_bytes()
}

/// journald's own form: lines `KEY=value`; values with line ends are preceded by their length.
fn journald_datagram(record: &Record, values: &OwnedKVList, ident: &str) -> Vec<u8> {
    let mut datagram = Vec::new();
    add_field(&mut datagram, "MESSAGE", &record.msg().to_string());
    add_field(&mut datagram, "PRIORITY", &severity(record.level()).to_string());
    add_field(&mut datagram, "SYSLOG_IDENTIFIER", ident);
    add_field(&mut datagram, "CODE_MODULE", record.module());
    add_field(&mut datagram, "CODE_FILE", record.file());
    add_field(&mut datagram, "CODE_LINE", &record.line().to_string());
    for (key, value) in fields(record, values) {
        add_field(&mut datagram, &journald_name(&key), &value);
    }
    datagram
}

/// The end of as many whole characters as fit.
fn cut_at(text: &str, bytes_max: usize) -> usize {
    (0..=bytes_max.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0)
}

fn add_field(datagram: &mut Vec<u8>, name: &str, value: &str) {
    let value = &value[..cut_at(value, FIELD_BYTES_MAX)];
    datagram.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        datagram.push(b'\n');
        // Writing to a Vec does not fail.
        let _infallible = datagram.write_all(&(value.len() as u64).to_le_bytes());
    } else {
        datagram.push(b'=');
    }
    datagram.extend_from_slice(value.as_bytes());
    datagram.push(b'\n');
}

/// Capitals, digits and underscores, with ours in front so that they meet none of journald's own.
fn journald_name(key: &str) -> String {
    let shown = key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    "MOGILEFS_".chars().chain(shown).collect()
}

/// All values: those of the record in their order, then those of the logger.
fn fields(record: &Record, values: &OwnedKVList) -> Vec<(String, String)> {
    let (mut own, mut context) = (Fields::default(), Fields::default());
    // This serializer does not fail.
    let _infallible = record.kv().serialize(record, &mut own);
    let _infallible = values.serialize(record, &mut context);
    // slog gives them from the last to the first.
    own.0.into_iter().rev().chain(context.0.into_iter().rev()).collect()
}

#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl Serializer for Fields {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        self.0.push((key.to_string(), value.to_string()));
        Ok(())
    }

    fn emit_none(&mut self, _key: Key) -> slog::Result {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slog::{Logger, o};
    use std::sync::Mutex;

    /// What a system's log would get of two records.
    fn received(kind: SystemLog) -> Vec<String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let socket = UnixDatagram::bind(&path).expect("bound");
        let drain = SystemLogDrain::open(kind, path, "mogilefs".to_owned()).expect("open");
        let log = Logger::root(Mutex::new(drain).fuse(), o!("job" => "fsck"));
        slog::warn!(log, "copy is gone"; "fid" => 7, "reason" => "two\nlines");
        slog::debug!(log, "quiet");
        let mut buffer = [0; 1000];
        (0..2)
            .map(|_| {
                let length = socket.recv(&mut buffer).expect("a datagram");
                String::from_utf8(buffer[..length].to_vec()).expect("UTF-8")
            })
            .collect()
    }

    #[test]
    fn syslog_gets_one_line_with_all_values() {
        let pid = std::process::id();
        assert_eq!(
            received(SystemLog::Syslog),
            [
                format!("<28>mogilefs[{pid}]: copy is gone: fid=7, reason=two lines, job=fsck"),
                format!("<31>mogilefs[{pid}]: quiet: job=fsck"),
            ]
        );
    }

    #[test]
    fn journald_gets_a_field_for_each_value() {
        let records = received(SystemLog::Journald);
        assert!(records[0].starts_with("MESSAGE=copy is gone\nPRIORITY=4\nSYSLOG_IDENTIFIER=mogilefs\nCODE_MODULE="));
        assert!(
            records[0]
                .contains("\nMOGILEFS_FID=7\nMOGILEFS_REASON\n\u{9}\0\0\0\0\0\0\0two\nlines\nMOGILEFS_JOB=fsck\n")
        );
        assert!(records[1].contains("PRIORITY=7\n"));
    }
}
