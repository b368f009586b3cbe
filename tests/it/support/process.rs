//! Our program as a process: its log is read, and it is killed with the test.

use super::PATIENCE;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A running process of ours.
pub struct Process {
    child: Child,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<serde_json::Value>>,
    grown: Condvar,
}

impl Process {
    /// Starts `mogilefs` with these arguments; logs as JSON, everything if they do not say otherwise.
    pub fn start(args: &[&str]) -> Self {
        let mut args = [args, &["--set", "log.format=json"]].concat();
        if !args.iter().any(|arg| arg.starts_with("log.level=")) {
            args.extend(["--set", "log.level=debug"]);
        }
        Self::start_plain(&args)
    }

    /// Starts `mogilefs` with these arguments and no others.
    pub fn start_plain(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mogilefs"));
        command.args(args).stdin(Stdio::null());
        Self::start_command(command)
    }

    /// Starts this command, which ends in our program.
    pub fn start_command(mut command: Command) -> Self {
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("our program starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log: Arc<Log> = Arc::default();
        let reader = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or_else(|_| serde_json::json!({ "msg": line }));
                reader.lines.lock().expect("lock").push(value);
                reader.grown.notify_all();
            }
        });
        Self { child, log }
    }

    /// Waits for a log line with this message and gives the value of one of its fields.
    pub fn logged(&self, message: &str, field: &str) -> String {
        text_of(&self.wait_for_line(message, |_| true)[field])
    }

    /// Waits for a log line with this message and this value of a field.
    pub fn wait_for_log(&self, message: &str, field: &str, value: &str) {
        self.wait_for_line(message, |line| text_of(&line[field]) == value);
    }

    /// Waits for a log line whose message begins so.
    pub fn wait_for_log_beginning(&self, message: &str) {
        super::eventually(&format!("logged: {message}…"), || {
            let begins = |line: &serde_json::Value| line["msg"].as_str().is_some_and(|text| text.starts_with(message));
            self.lines().iter().any(begins).then_some(())
        });
    }

    fn wait_for_line(&self, message: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let find = |lines: &[serde_json::Value]| {
            lines.iter().find(|line| line["msg"].as_str() == Some(message) && wanted(line)).cloned()
        };
        let lines = self.lines();
        let waited = self.log.grown.wait_timeout_while(lines, PATIENCE, |lines| find(lines).is_none());
        let found = find(&waited.unwrap_or_else(PoisonError::into_inner).0);
        // The log is shown when the process is dropped.
        found.unwrap_or_else(|| panic!("not logged: {message:?}"))
    }

    fn lines(&self) -> MutexGuard<'_, Vec<serde_json::Value>> {
        self.log.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line that contains this text, if there is one yet; for what is told without a logger.
    pub fn line_with(&self, text: &str) -> Option<String> {
        let lines = self.lines();
        lines.iter().filter_map(|line| line["msg"].as_str()).find(|line| line.contains(text)).map(str::to_owned)
    }

    /// Is this text anywhere in the log, in whichever field?
    pub fn has_said(&self, text: &str) -> bool {
        self.lines().iter().any(|line| line.to_string().contains(text))
    }

    /// How often a message was logged.
    pub fn count_logged(&self, message: &str) -> usize {
        self.lines().iter().filter(|line| line["msg"].as_str() == Some(message)).count()
    }

    /// An address that was logged.
    pub fn logged_address(&self, message: &str, field: &str) -> SocketAddr {
        self.logged(message, field).parse().expect("an address")
    }

    /// SIGKILL: no chance to tidy up.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("signal");
    }

    /// SIGTERM; gives the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().expect("wait").code()
    }

    /// The exit code, when it has ended by itself.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("wait").code()
    }

    /// Processor time used so far in ms, from /proc, where the clock ticks 100 times a second.
    pub fn cpu_ms(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("process lives");
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let ticks: f64 =
            fields.split_whitespace().skip(11).take(2).map(|text| text.parse::<f64>().expect("a number")).sum();
        ticks * 10.0
    }

    /// Resident memory in KiB, from /proc.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("process lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.child.kill();
        let _waited = self.child.wait();
        if std::thread::panicking() {
            let lines = self.lines();
            for line in lines.iter().rev().take(60).rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// The value of a field as it would be shown.
fn text_of(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
