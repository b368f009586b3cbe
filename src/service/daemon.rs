//! Into the background without `fork`, which no safe program with threads can do: the program starts itself twice. The
//! first start leads a session of its own and starts the second, which therefore never gets a terminal; that one serves.
//!
//! The caller waits for the service's word, so its exit status says whether the service runs (2.73 says yes before it
//! knows).

use rustix::fs::Mode;
use rustix::process::{setsid, umask};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};

/// Tells a start of ours which one it is.
const MARKER: &str = "MOGILEFS_BACKGROUND";
const SESSION_LEADER: &str = "session";
const SERVICE: &str = "service";
/// What the service says over its standard output when it serves.
const READY: &str = "ready";
/// Files are not for everybody to write.
const UMASK: u32 = 0o022;

/// What this process is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Serve where it is.
    Foreground,
    /// Serve, in the background: [`go_down`] when ready.
    Service,
    /// Nothing more: the service runs, or not.
    Done { runs: bool },
}

/// Goes to the background if that is wanted. In the process that was called it returns when the service runs or has failed.
///
/// # Errors
/// This program cannot be started again.
pub fn enter(wanted: bool) -> io::Result<Part> {
    if !wanted {
        return Ok(Part::Foreground);
    }
    match std::env::var(MARKER).as_deref() {
        Ok(SERVICE) => Ok(Part::Service),
        Ok(SESSION_LEADER) => {
            setsid()?;
            start_again(SERVICE).stdout(Stdio::inherit()).spawn()?;
            Ok(Part::Done { runs: true })
        }
        _ => {
            let mut leader = start_again(SESSION_LEADER).stdout(Stdio::piped()).spawn()?;
            let word = leader.stdout.take().map(first_line).transpose()?;
            let _status: ExitStatus = leader.wait()?;
            Ok(Part::Done { runs: word.as_deref() == Some(READY) })
        }
    }
}

/// Is this one of the starts that only lead to the service? The service itself says what there is to say.
pub fn only_leads(wanted: bool) -> bool {
    wanted && std::env::var(MARKER).as_deref() != Ok(SERVICE)
}

/// Tells the caller that the service runs and lets go of its directory and its terminal.
///
/// # Errors
/// There is no `/dev/null`.
pub fn go_down() -> io::Result<()> {
    std::env::set_current_dir("/")?;
    umask(Mode::from_raw_mode(UMASK));
    let nothing: File = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    // A caller that was killed does not hear it; the service goes on.
    let _unheard = writeln!(io::stdout(), "{READY}").and_then(|()| io::stdout().flush());
    dup2_stdin(&nothing)?;
    dup2_stdout(&nothing)?;
    dup2_stderr(&nothing)?;
    Ok(())
}

fn start_again(part: &str) -> Command {
    let mut command = same_program();
    command.env(MARKER, part).stdin(Stdio::null());
    command
}

/// This program with the same command line, called by the same name.
pub fn same_program() -> Command {
    let place = super::start_place();
    let mut command = Command::new(&place.program);
    let mut args = std::env::args_os();
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    command.args(args).current_dir(&place.directory);
    command
}

/// Without its line end; empty if there is none.
fn first_line(pipe: impl io::Read) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(pipe).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}
