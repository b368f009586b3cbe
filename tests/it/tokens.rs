//! Tokens with roles, and limits for each client.

use crate::support::cluster::Tracker;
use crate::support::database::{Database, Kind};
use crate::support::session::Session;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

fn tool(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mogilefs"));
    command.args(args).env_remove("MOGILEFS_TOKEN").env_remove("MOGILEFS_TOKEN_FILE");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Makes a token as an administrator does, and gives the secret.
fn make_token(file: &Path, name: &str, role: &str) -> String {
    let file = file.to_str().expect("UTF-8");
    let output = tool(&["token", name, role, "--add-to", file]).output().expect("started");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

/// A tracker at which nobody may do anything without a token.
struct Guarded {
    tracker: Tracker,
    _database: Database,
    directory: tempfile::TempDir,
    tokens: [String; 3],
}

impl Guarded {
    fn start(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("tokens");
        let tokens = ["read", "write", "admin"].map(|role| make_token(&file, &format!("of_{role}"), role));
        let database = Database::create(Kind::Sqlite);
        let file_setting = format!("security.tokens_file={}", file.display());
        let settings = [&[file_setting.as_str(), "security.anonymous_role=none"], settings].concat();
        let tracker = Tracker::start_with(&database, &settings);
        Self { tracker, _database: database, directory, tokens }
    }

    /// A session with the token of this place.
    fn session(&self, token: usize) -> Session {
        let mut session = self.tracker.session();
        session.ok(&format!("authenticate token={}", self.tokens[token]));
        session
    }

    fn run(&self, args: &[&str], token: &str) -> Output {
        let address = self.tracker.address.to_string();
        let mut command = tool(&[&["--trackers", &address, "-d", "d"], args].concat());
        command.env("MOGILEFS_TOKEN", token).output().expect("started")
    }

    fn secret_file(&self, token: usize) -> PathBuf {
        let path = self.directory.path().join("secret");
        std::fs::write(&path, format!("{}\n", self.tokens[token])).expect("written");
        path
    }
}

fn needs(role: &str) -> String {
    format!("ERR access_denied This+needs+the+role+{role}")
}

#[test]
fn roles_say_what_a_client_may() {
    let guarded = Guarded::start(&[]);
    let mut nobody = guarded.tracker.session();
    assert_eq!(nobody.ask("get_domains"), needs("read"));
    assert_eq!(nobody.ask("noop callid=3"), format!("{} 3", needs("read")));
    nobody.send(b"!version\r\n");
    assert_eq!([nobody.line(), nobody.line()], ["ERROR: the console needs the role admin", "."]);

    let mut admin = guarded.session(2);
    admin.ok("create_domain domain=d");
    assert!(!admin.console("!version").is_empty());

    let mut reader = guarded.session(0);
    assert_eq!(reader.refused("get_paths domain=d&key=k"), "unknown_key");
    assert_eq!(reader.ask("delete domain=d&key=k"), needs("write"));
    assert_eq!(reader.ask("create_domain domain=e"), needs("admin"));

    let mut writer = guarded.session(1);
    assert_eq!(writer.refused("delete domain=d&key=k"), "unknown_key");
    assert_eq!(writer.ask("create_domain domain=e"), needs("admin"));
    // The last word counts, in a pipeline too.
    let line =
        format!("get_domains\r\n AUTHENTICATE token={}&callid=9\r\ncreate_domain domain=e\r\n", guarded.tokens[2]);
    writer.send(line.as_bytes());
    assert!(writer.line().starts_with("OK domains=1"));
    assert_eq!(writer.line(), "OK name=of_admin&role=admin&callid=9");
    assert_eq!(writer.line(), "OK domain=e");
}

#[test]
fn tokens_are_shown_to_nobody() {
    let guarded = Guarded::start(&["log.level=debug"]);
    let mut admin = guarded.session(2);
    admin.ok("noop");
    let recent = admin.console("!recent").concat();
    assert!(recent.contains("noop") && !recent.contains("authenticate"), "{recent}");
    let wrong = "0123456789abcdef0123456789abcdef";
    assert_eq!(guarded.tracker.session().refused(&format!("authenticate token={wrong}")), "access_denied");
    guarded.tracker.process.logged("a client has shown a token that is not known", "peer");
    for secret in guarded.tokens.iter().map(String::as_str).chain([wrong]) {
        assert!(!guarded.tracker.process.has_said(secret), "the log has a token");
    }
}

#[test]
fn who_guesses_is_slow_and_soon_out() {
    let guarded = Guarded::start(&[]);
    let mut guesser = guarded.tracker.session();
    let begun = Instant::now();
    guesser.send("authenticate token=x\r\n".repeat(6).as_bytes());
    for _ in 0..5 {
        assert_eq!(guesser.line(), "ERR access_denied No+such+token");
    }
    assert!(begun.elapsed().as_secs() >= 5);
    assert!(guesser.is_closed());
}

#[test]
fn tools_show_their_token() {
    let guarded = Guarded::start(&[]);
    let done = guarded.run(&["domain", "add", "d"], &guarded.tokens[2]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let denied = guarded.run(&["domain", "add", "e"], &guarded.tokens[1]);
    assert!(text(&denied.stderr).contains("This needs the role admin"), "{}", text(&denied.stderr));
    let unknown = guarded.run(&["domain", "list"], "nonsense");
    let said = text(&unknown.stderr);
    assert!(said.contains("No such token") && !said.contains("is a tracker running"), "{said}");
    assert!(!said.contains("nonsense"));
    // From a file, which wins over the environment.
    let file = guarded.secret_file(0);
    let listed = guarded.run(&["--token-file", file.to_str().expect("UTF-8"), "domain", "list"], "nonsense");
    assert!(text(&listed.stdout).contains('d'), "{}", text(&listed.stderr));
    let measured = guarded.run(&["bench", "noop", "--seconds", "0.2", "-c", "2"], &guarded.tokens[0]);
    assert!(measured.status.success(), "{}", text(&measured.stderr));
}

#[test]
fn a_tracker_without_tokens_takes_whoever_shows_one_and_old_ones_too() {
    let database = Database::create(Kind::Sqlite);
    let tracker = Tracker::start(&database);
    let address = tracker.address.to_string();
    // Ours does not know the token: the tool says so rather than go on as somebody else.
    let done = tool(&["--trackers", &address, "domain", "list"]).env("MOGILEFS_TOKEN", "x").output().expect("started");
    assert!(text(&done.stderr).contains("No such token"), "{}", text(&done.stderr));
    // One of 2.73 does not know the command: everybody may do everything there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let old = listener.local_addr().expect("bound").to_string();
    let answers = std::thread::spawn(move || {
        use std::io::{BufRead as _, BufReader};
        let (stream, _) = listener.accept().expect("a client");
        let mut reader = BufReader::new(stream);
        for answer in ["ERR unknown_command Unknown+server+command\r\n", "OK domains=0\r\n"] {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            reader.get_mut().write_all(answer.as_bytes()).expect("written");
        }
    });
    let done = tool(&["--trackers", &old, "domain", "list"]).env("MOGILEFS_TOKEN", "x").output().expect("started");
    assert!(done.status.success(), "{}", text(&done.stderr));
    answers.join().expect("both lines came");
}

#[test]
fn wrong_files_of_tokens_are_refused_by_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tokens");
    make_token(&file, "shop", "write");
    let path = file.to_str().expect("UTF-8");
    let twice = tool(&["token", "shop", "read", "--add-to", path]).output().expect("started");
    assert!(!twice.status.success() && text(&twice.stderr).contains("has a token named shop already"));
    let mut lines = std::fs::read_to_string(&file).expect("read");
    lines.push_str("backup all\n");
    std::fs::write(&file, lines).expect("written");
    let database = Database::create(Kind::Sqlite);
    let setting = format!("security.tokens_file={path}");
    let started = tool(&["tracker", "--db", &database.url, "--set", &setting]).output().expect("started");
    let said = text(&started.stderr);
    assert!(!started.status.success() && said.contains(&format!("{path}:2: ")), "{said}");
}

#[test]
fn one_address_gets_no_more_than_its_connections() {
    let database = Database::create(Kind::Sqlite);
    let tracker = Tracker::start_with(&database, &["limits.connections_per_address_max=2"]);
    let mut first = tracker.session();
    first.ok("noop");
    let mut second = tracker.session();
    second.ok("noop");
    let mut third = TcpStream::connect(tracker.address).expect("the listen queue");
    assert!(matches!(third.read(&mut [0]), Ok(0) | Err(_)), "closed without a word");
    first.ok("noop");
    drop(second);
    crate::support::eventually("a place is free again", || {
        let mut client = TcpStream::connect(tracker.address).ok()?;
        client.write_all(b"noop\r\n").ok()?;
        client.read(&mut [0; 16]).ok().filter(|&bytes| bytes > 0)
    });
}

#[test]
fn the_silent_are_disconnected_and_watchers_are_not() {
    let database = Database::create(Kind::Sqlite);
    let tracker = Tracker::start_with(&database, &["limits.idle_timeout_ms=300"]);
    let mut watcher = tracker.session();
    watcher.console("!watch");
    let mut silent = tracker.session();
    silent.ok("noop");
    // One that waits for its reply is not silent.
    let mut patient = tracker.session();
    patient.ok("sleep duration=1");
    assert!(silent.is_closed());
    assert!(patient.is_closed());
    watcher.console("!watch");
}
