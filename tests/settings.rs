//! Settings through the real program: `mogilefs config`, the names and files of 2.73, and a start with them.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mogilefs");
/// How long a started program may take to say something.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with files, and links to the program by its old names.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self { directory: tempfile::tempdir().expect("a directory") };
        for (name, text) in files {
            std::fs::write(place.path(name), text).expect("written");
        }
        for name in ["mogilefsd", "mogstored"] {
            std::os::unix::fs::symlink(PROGRAM, place.path(name)).expect("a link");
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A program of this directory, or `mogilefs`, with nothing of ours in its environment.
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let program = if program == "mogilefs" { Path::new(PROGRAM).to_owned() } else { self.path(program) };
        let mut command = Command::new(program);
        command.args(args).current_dir(self.directory.path()).stdin(Stdio::null());
        let is_ours = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("MOGILEFS");
        std::env::vars_os().map(|(name, _)| name).filter(is_ours).for_each(|name| _ = command.env_remove(name));
        command.env_remove("DEBUG");
        command
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        self.command(program, args).output().expect("the program starts")
    }

    /// Standard output of a command that must succeed.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run("mogilefs", args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const OLD_FILE: &str = "db_dsn = DBI:SQLite:m.db\nlisten = 127.0.0.1:0\nquery_jobs 3\nuser=root\nmonitor_jobs = 1\n";

#[test]
fn show_says_where_every_value_comes_from() {
    let place = Place::new(&[
        ("m.toml", "[tracker]\nquery_workers = 3\n\n[database]\nurl = \"mysql://u:sesame@h/d\"\n"),
        ("old.conf", OLD_FILE),
    ]);
    let args = ["config", "show", "--changed", "-c", "m.toml", "--set", "jobs.worker_nice=3"];
    let output = place
        .command("mogilefs", &args)
        .env("MOGILEFS__DATABASE__PASSWORD", "open")
        .env("MOGILEFS__TRACKER__FSCK_WORKERS", "2")
        .output()
        .expect("the program starts");
    assert_eq!(
        text(&output.stdout),
        "SETTING                VALUE                   FROM\n\
         database.password      \"(hidden)\"              environment variable MOGILEFS__DATABASE__PASSWORD\n\
         database.url           \"mysql://(hidden)@h/d\"  m.toml:5\n\
         jobs.worker_nice       3                       command line, --set\n\
         tracker.fsck_workers   2                       environment variable MOGILEFS__TRACKER__FSCK_WORKERS\n\
         tracker.query_workers  3                       m.toml:2\n"
    );
    let shown: Value = serde_json::from_str(&place.ok(&["--json", "config", "show", "-c", "old.conf"])).expect("JSON");
    let settings = shown["settings"].as_array().expect("a list");
    let workers = settings.iter().find(|setting| setting["key"] == "tracker.query_workers").expect("there");
    let expected = serde_json::json!({
        "key": "tracker.query_workers", "value": 3, "changed": true,
        "from": { "kind": "file", "name": "old.conf", "line": 3 },
    });
    assert_eq!(*workers, expected);
    let untouched = settings.iter().find(|setting| setting["key"] == "node.sync").expect("there");
    assert_eq!((&untouched["value"], &untouched["from"]["kind"]), (&"always".into(), &"default".into()));
    assert_eq!(shown["warnings"][0]["key"], "monitor_jobs");
}

#[test]
fn check_lists_all_that_is_wrong_or_without_effect() {
    let place = Place::new(&[
        ("good.toml", "[tracker]\nquery_workers = 3\n"),
        ("idle.toml", "[database]\nuser = \"u\"\n"),
        ("bad.toml", "[tracker]\nquery_worker = 3\n\n[extensions]\nenabled = [1]\n[log]\nlevel = \"loud\"\n"),
        ("names.toml", "[database]\nurl = \"oracle://u:sesame@h/d\"\n[extensions]\nenabled = [\"Nonsense\"]\n"),
        ("old.conf", OLD_FILE),
        ("old-bad.conf", "db_dsn = DBI:SQLite:m.db\nlisten =\nquery_jobs = many\n"),
    ]);
    assert_eq!(place.ok(&["config", "check", "good.toml"]), "good.toml: right\n");
    assert_eq!(
        place.ok(&["config", "check", "idle.toml"]),
        "warning: idle.toml:2: database.user: without effect: SQLite has no server that it could be for\n"
    );
    assert_eq!(
        place.ok(&["config", "check", "old.conf"]),
        "warning: old.conf:5: monitor_jobs: without effect: there is always one monitor; leave it out\n"
    );
    let output =
        place.run("mogilefs", &["config", "check", "bad.toml", "names.toml", "old-bad.conf", "good.toml", "no"]);
    assert_eq!(output.status.code(), Some(2));
    let lines = text(&output.stdout);
    for line in [
        "bad.toml:2: tracker.query_worker: unknown key; did you mean tracker.query_workers?",
        "bad.toml:7: log.level: must be critical, error, warning, info, debug or trace",
        "old-bad.conf:2: listen: has no value; leave the line out",
        "old-bad.conf:3: query_jobs: must be a whole number, not \"many\"",
        "good.toml: right",
        "no: cannot be read: No such file or directory (os error 2)",
    ] {
        assert!(lines.lines().any(|found| found == line), "{line}\nin\n{lines}");
    }
    assert!(lines.contains("names.toml:2: ") && lines.contains("names.toml:4: "), "{lines}");
    assert!(!lines.contains("sesame"), "{lines}");
    assert_eq!(text(&output.stderr), "error: 4 of 5 files cannot be used\n");
}

#[test]
fn convert_prints_a_file_that_sets_the_same() {
    let place = Place::new(&[("old.conf", &format!("{OLD_FILE}db_pass = sesame\n"))]);
    let converted = place.ok(&["config", "convert", "old.conf"]);
    assert!(!converted.contains("sesame") && converted.contains("# password_file = "), "{converted}");
    std::fs::write(place.path("new.toml"), place.ok(&["config", "convert", "--with-secrets", "old.conf"]))
        .expect("written");
    assert!(place.run("mogilefs", &["config", "check", "new.toml"]).status.success());
    let values = |file: &str| {
        let shown: Value = serde_json::from_str(&place.ok(&["--json", "config", "show", "-c", file])).expect("JSON");
        let settings = shown["settings"].as_array().expect("a list").iter();
        settings.map(|setting| (setting["key"].to_string(), setting["value"].to_string())).collect::<Vec<_>>()
    };
    assert_eq!(values("new.toml"), values("old.conf"));
    assert_eq!(place.run("mogilefs", &["config", "convert", "new.toml"]).status.code(), Some(2));
}

/// A program that serves, stopped at the end.
struct Served {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Served {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .env("MOGILEFS__LOG__FORMAT", "json")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, log }
    }

    /// The lines of the log up to the one with this message, which is the last.
    fn log_until(&mut self, message: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            // A program that ends closes its log: no waiting for ever.
            assert_ne!(self.log.read_line(&mut line).expect("UTF-8"), 0, "no {message:?} in {lines:#?}");
            let is_last = line.contains(&format!("\"msg\":{message:?}"));
            lines.push(line);
            if is_last {
                return lines;
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn field(line: &str, name: &str) -> String {
    let line: Value = serde_json::from_str(line).expect("JSON");
    line[name].as_str().expect("a text").to_owned()
}

fn ask(address: &str, line: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream.write_all(format!("{line}\r\n").as_bytes()).expect("sent");
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).expect("a reply");
    reply
}

/// S4, S12.
#[test]
fn a_swapped_binary_serves_from_the_old_file() {
    let place = Place::new(&[("mogilefsd.conf", OLD_FILE)]);
    place.ok(&["db", "setup", "--db", "sqlite:m.db"]);
    let args = ["--config=mogilefsd.conf", "--workers", "2", "--no_http", "--from-older-times", "-d"];
    let mut tracker = Served::start(place.command("mogilefsd", &args));
    let log = tracker.log_until("listening");
    let told = log.concat();
    assert!(log[0].starts_with("Unknown option: from-older-times"), "{told}");
    assert!(told.contains("mogilefsd.conf:5: monitor_jobs: without effect"), "{told}");
    assert!(told.contains("command line, --no_http: --no_http: without effect"), "{told}");
    let address = field(&log[log.len() - 1], "address");
    assert_eq!(ask(&address, "create_domain domain=d"), "OK domain=d\r\n");
    let mut stream = TcpStream::connect(&address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream.write_all(b"!jobs\r\n!shutdown\r\n").expect("sent");
    let mut jobs = String::new();
    stream.read_to_string(&mut jobs).expect("the console's answer");
    assert!(jobs.contains("queryworker desired 2\r\n"), "{jobs}");
    assert!(tracker.child.wait().expect("it ends").success());
}

#[test]
fn an_old_file_serves_under_the_new_name_too() {
    let place = Place::new(&[("any-name", OLD_FILE)]);
    place.ok(&["db", "setup", "-c", "any-name"]);
    let mut tracker = Served::start(place.command("mogilefs", &["tracker", "-c", "any-name"]));
    let log = tracker.log_until("listening");
    assert_eq!(ask(&field(&log[log.len() - 1], "address"), "noop"), "OK \r\n");
}

#[test]
fn mogstored_serves_from_its_old_file() {
    let file = "maxconns = 10000\nhttplisten = 127.0.0.1:0\nmgmtlisten = 127.0.0.1:0\ndocroot = . # here\n";
    let place = Place::new(&[("mogstored.conf", file)]);
    std::fs::create_dir(place.path("dev1")).expect("a device");
    let mut node = Served::start(place.command("mogstored", &["--conf=mogstored.conf"]));
    let log = node.log_until("storage node is ready");
    assert_eq!(ask(&field(&log[log.len() - 1], "side_channel"), "size /nothing"), "/nothing -1\r\n");

    let output = place.run("mogstored", &["--nonsense"]);
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(2), "error: Unknown option: nonsense; see --help\n".into())
    );
}

#[test]
fn mogilefsd_does_not_run_as_root_unasked() {
    let place = Place::new(&[("f", "db_dsn = DBI:SQLite:m.db\nlisten = 127.0.0.1:0\n")]);
    let output = place.run("mogilefsd", &["-c", "f"]);
    // There is no database: it ends in either case.
    let refusal = text(&output.stderr).contains("mogilefsd cannot be run as root");
    assert_eq!(refusal, rustix::process::getuid().is_root(), "{}", text(&output.stderr));
    assert!(!output.status.success());
    let output = place.run("mogilefsd", &["-c", "f", "--user=root"]);
    assert!(!output.status.success() && !text(&output.stderr).contains("as root"), "{}", text(&output.stderr));
}

#[test]
fn old_names_explain_themselves() {
    let place = Place::new(&[]);
    for (program, word) in [("mogilefsd", "-w, --workers=N"), ("mogstored", "--docroot=TEXT")] {
        let output = place.run(program, &["--help"]);
        assert!(output.status.success() && text(&output.stdout).contains(word), "{}", text(&output.stdout));
        assert!(text(&place.run(program, &["--version"]).stdout).starts_with(program));
    }
}
