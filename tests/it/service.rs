//! The process as an operator and systemd see it: pidfile, signals, background, words to the manager, given sockets, and the
//! hand-over to a successor under load.

use crate::support::cluster::{Cluster, Tracker, http, http_put};
use crate::support::database::{Database, Kind};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::session::Session;
use mogilefs::service::tokens::{Role, Token};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn sqlite() -> Database {
    Database::create(Kind::Sqlite)
}

fn pid_in(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn lives(pid: i32) -> bool {
    test_kill_process(Pid::from_raw(pid).expect("a process id")).is_ok()
}

fn send(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a process id"), signal).expect("signal");
}

/// Whoever is named there is ended with the test.
struct EndedWithTest<'a>(&'a Path);

impl Drop for EndedWithTest<'_> {
    fn drop(&mut self) {
        if let Some(pid) = pid_in(self.0).and_then(Pid::from_raw) {
            // It may have ended already.
            let _gone = kill_process(pid, Signal::KILL);
        }
    }
}

#[test]
fn a_live_pidfile_refuses_the_start_and_a_stale_one_does_not() {
    let database = sqlite();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pid");
    let setting = format!("service.pidfile={}", path.display());
    std::fs::write(&path, "1\n").expect("written");
    let mut first = Tracker::start_with(&database, &[&setting]);
    assert_eq!(first.process.logged("pidfile is written", "stale"), "true");
    assert_eq!(pid_in(&path), i32::try_from(first.process.id()).ok());

    let args = ["tracker", "--db", &database.url, "--listen", "127.0.0.1:0", "--set", &setting];
    let mut second = Process::start(&args);
    assert_eq!(second.wait(), Some(5));
    eventually("the reason is told", || second.line_with("already running as process"));
    assert_eq!(pid_in(&path), i32::try_from(first.process.id()).ok());

    assert_eq!(first.process.terminate(), Some(0));
    assert!(!path.exists());
}

#[test]
fn sighup_takes_over_what_it_can_and_says_what_it_cannot() {
    let database = sqlite();
    let directory = tempfile::tempdir().expect("a directory");
    let (file, log) = (directory.path().join("m.toml"), directory.path().join("log"));
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    let logged = |text: &str| {
        eventually(text, || std::fs::read_to_string(&log).ok().filter(|lines| lines.contains(text)));
    };
    let log_section = format!("[log]\nto = \"file\"\nfile = \"{}\"\n", log.display());
    write(&log_section);
    let args = ["tracker", "-c", file.to_str().expect("UTF-8"), "--db", &database.url, "--listen", "127.0.0.1:0"];
    let mut process = Process::start_plain(&args);
    logged("serving: the pools are started");
    let line = std::fs::read_to_string(&log).expect("a log");
    let line = line.lines().find(|line| line.contains("\"listening\"")).expect("an address").to_owned();
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON where there is no terminal");
    let mut session = Session::connect(line["address"].as_str().expect("text").parse().expect("an address"));

    write(&format!(
        "{log_section}level = \"warning\"\nlevels = \"cli=info\"\n[tracker]\nfsck_workers = 3\n[jobs]\nworker_nice = 5\n"
    ));
    process.signal(Signal::HUP);
    logged("settings are read again");
    logged("setting needs a restart");
    let text = std::fs::read_to_string(&log).expect("a log");
    assert!(text.contains("jobs.worker_nice") && text.contains("tracker.fsck_workers") && text.contains("log.level"));
    eventually("three workers", || session.console("!jobs").contains(&"fsck desired 3\r\n".to_owned()).then_some(()));
    assert_eq!(session.console("!log"), ["Now logging: warning, cli=info\r\n"]);
    assert_eq!(session.console("!log debug tracker"), ["Now logging: warning, tracker=debug, cli=info\r\n"]);
    assert!(session.console("!log loud")[0].starts_with("ERROR: unknown level"));

    write(&format!("{log_section}loud = 1\n"));
    process.signal(Signal::HUP);
    logged("settings are wrong; everything stays as it was");

    let moved = directory.path().join("log.1");
    std::fs::rename(&log, &moved).expect("moved");
    process.signal(Signal::USR1);
    logged("log is opened anew");
    assert_eq!(process.terminate(), Some(0));
}

#[test]
fn in_the_background_the_caller_learns_whether_it_runs() {
    let database = sqlite();
    let directory = tempfile::tempdir().expect("a directory");
    let (path, log) = (directory.path().join("pid"), directory.path().join("log"));
    let _ended = EndedWithTest(&path);
    let start = |listen: &str| {
        Command::new(env!("CARGO_BIN_EXE_mogilefs"))
            .args(["tracker", "--db", &database.url, "--listen", listen, "--set", "service.daemonize=true"])
            .args(["--set", &format!("service.pidfile={}", path.display())])
            .args(["--set", "log.to=file", "--set", &format!("log.file={}", log.display())])
            .stdin(Stdio::null())
            .output()
            .expect("our program starts")
    };
    // Taken, so it cannot run.
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let refused = start(&taken.local_addr().expect("bound").to_string());
    assert_eq!(refused.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("cannot listen on"), "{refused:?}");
    assert_eq!(pid_in(&path), None);

    let started = start("127.0.0.1:0");
    assert_eq!(started.status.code(), Some(0), "{started:?}");
    let pid = pid_in(&path).expect("a pidfile, before the caller has ended");
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).expect("lives"), Path::new("/"));
    for number in 0..3 {
        let leads_to = std::fs::read_link(format!("/proc/{pid}/fd/{number}")).expect("lives");
        assert_eq!(leads_to, Path::new("/dev/null"));
    }
    send(pid, Signal::TERM);
    eventually("it has ended", || (!path.exists()).then_some(()));
}

#[test]
fn systemd_hears_when_it_serves_reloads_and_stops_and_that_it_lives() {
    let database = sqlite();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("bound");
    manager.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let hear = |wanted: &str| loop {
        let mut buffer = [0; 500];
        let length = manager.recv(&mut buffer).unwrap_or_else(|error| panic!("not heard: {wanted}: {error}"));
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.lines().any(|line| line.starts_with(wanted)) {
            return text;
        }
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_mogilefs"));
    command.args(["tracker", "--db", &database.url, "--listen", "127.0.0.1:0", "--set", "log.format=json"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000").stdin(Stdio::null());
    let mut process = Process::start_command(command);
    hear("READY=1");
    hear("WATCHDOG=1");
    process.signal(Signal::HUP);
    assert!(hear("RELOADING=1").contains("\nMONOTONIC_USEC="));
    hear("READY=1");
    process.signal(Signal::TERM);
    hear("STOPPING=1");
    assert_eq!(process.wait(), Some(0));
}

/// Starts our program as systemd does for a socket: as file descriptor 3.
fn start_with_socket(listener: TcpListener, name: &str, args: &[&str]) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", "export LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0 0</dev/null"]);
    command.arg(env!("CARGO_BIN_EXE_mogilefs")).args(args).args(["--set", "log.format=json"]);
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name).stdin(Stdio::from(OwnedFd::from(listener)));
    Process::start_command(command)
}

#[test]
fn sockets_of_systemd_are_served() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound");
    // Before it runs: the client waits, and is served.
    let mut session = Session::connect(address);
    let database = sqlite();
    let process = start_with_socket(listener, "mogilefs-tracker.socket", &["tracker", "--db", &database.url]);
    session.ok("noop");
    assert_eq!(process.logged_address("listening", "address"), address);

    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound");
    let directory = tempfile::tempdir().expect("a directory");
    let docroot = directory.path().to_str().expect("UTF-8");
    let args = ["node", "--docroot", docroot, "--side-channel-listen", "127.0.0.1:0"];
    let process = start_with_socket(listener, "http", &args);
    assert_eq!(process.logged_address("storage node is ready", "http"), address);
    assert_eq!(http("GET", &format!("http://{address}/dev1/none"), b"").0, 404);
}

/// Hands over and waits until the predecessor is gone.
fn upgrade(pidfile: &Path) {
    let before = pid_in(pidfile).expect("a pidfile");
    send(before, Signal::USR2);
    let after = eventually("a successor", || pid_in(pidfile).filter(|&pid| pid != before));
    eventually("the predecessor has left", || (!lives(before) || is_zombie(before)).then_some(()));
    assert!(lives(after));
}

fn is_zombie(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

const CLIENTS: usize = 200;
const UPGRADES: usize = 10;

/// Asks until told to stop; every tenth client connects anew for every twentieth request. Gives what went wrong.
fn ask_until(stop: &AtomicBool, answered: &AtomicU64, address: SocketAddr, number: usize) -> Result<(), String> {
    let connect = || {
        let stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(|error| error.to_string())?;
        Ok::<_, String>(BufReader::new(stream))
    };
    let mut stream = connect()?;
    let requests = ["get_paths domain=d&key=known&noverify=1", "noop", "list_keys domain=d", "get_domains"];
    for turn in number.. {
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        if number.is_multiple_of(10) && turn.is_multiple_of(20) {
            stream = connect()?;
        }
        let request = requests[turn % requests.len()];
        // Some lines come in two pieces.
        let (begin, end) = request.split_at(if turn.is_multiple_of(3) { 2 } else { 0 });
        let mut write =
            |text: &str| stream.get_mut().write_all(text.as_bytes()).map_err(|error| format!("write: {error}"));
        write(begin)?;
        if turn.is_multiple_of(30) {
            std::thread::sleep(Duration::from_millis(20));
        }
        write(&format!("{end}\r\n"))?;
        let mut line = String::new();
        stream.read_line(&mut line).map_err(|error| format!("read: {error}"))?;
        if !line.starts_with("OK") {
            return Err(format!("{request}: {line:?}"));
        }
        answered.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[test]
fn ten_upgrades_under_load_fail_no_request() {
    let database = sqlite();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pid");
    let _ended = EndedWithTest(&path);
    let cluster = Cluster::start_with(&database, &[&format!("service.pidfile={}", path.display()), "log.level=info"]);
    cluster.put("known", "default", b"content");
    let open = cluster.session().ok("create_open domain=d&key=slow");
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut answered_during = Vec::new();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let (stop, answered, address) = (&stop, &answered, cluster.tracker.address);
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || ask_until(stop, answered, address, number))).collect();
        eventually("all ask", || (answered.load(Ordering::Relaxed) > 1000).then_some(()));
        for _ in 0..UPGRADES {
            let (begun, before) = (Instant::now(), answered.load(Ordering::Relaxed));
            upgrade(&path);
            answered_during.push((answered.load(Ordering::Relaxed) - before, begun.elapsed().as_millis()));
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().filter_map(|client| client.join().expect("no panic").err()).collect()
    });
    println!("answered and ms during each upgrade: {answered_during:?}; in all {answered:?}");
    assert!(
        failures.is_empty(),
        "{} of {CLIENTS} clients failed: {:?}",
        failures.len(),
        &failures[..failures.len().min(5)]
    );
    assert!(answered_during.iter().all(|(answers, _)| *answers > 0));
    // The upload that was open all the time goes on.
    http_put(&open["path"], b"slow content");
    let (fid, devid, url) = (&open["fid"], &open["devid"], &open["path"]);
    cluster.session().ok(&format!("create_close domain=d&key=slow&fid={fid}&devid={devid}&path={url}&size=12"));
    cluster.wait_for_copies("slow", 2);
}

/// Rules of who may do what change without a restart, and for those who are connected, too.
#[test]
fn access_follows_the_settings_at_hangup() {
    let database = sqlite();
    let directory = tempfile::tempdir().expect("a directory");
    let (file, tokens) = (directory.path().join("m.toml"), directory.path().join("tokens"));
    let write = |role: &str, admin_from: &str, url: &str| {
        let (tokens, web) = (tokens.display(), "[web]\nlisten = []");
        let text = format!(
            "{web}\n[database]\nurl = \"{url}\"\n[tracker]\nlisten = [\"127.0.0.1:0\"]\n[security]\n\
             anonymous_role = \"{role}\"\nadmin_from = [{admin_from}]\ntokens_file = \"{tokens}\"\n"
        );
        std::fs::write(&file, text).expect("written");
    };
    std::fs::write(&tokens, Token::new("ops", Role::Admin, "one").expect("a token").line()).expect("written");
    write("read", "", &database.url);
    let process = Process::start(&["tracker", "-c", file.to_str().expect("UTF-8")]);
    let address = process.logged_address("listening", "address");
    let (mut anonymous, mut ops) = (Session::connect(address), Session::connect(address));
    ops.ok("authenticate token=one");
    ops.ok("create_domain domain=a");
    assert_eq!(anonymous.refused("create_domain domain=b"), "access_denied");
    process.logged("serving: the pools are started", "level");

    let hang_up = |count: usize| {
        process.signal(Signal::HUP);
        eventually("read again", || (process.count_logged("settings are read again") == count).then_some(()));
    };
    // The token is withdrawn, and whoever comes from here may administer without one.
    std::fs::write(&tokens, "").expect("written");
    write("admin", "", &database.url);
    hang_up(1);
    eventually("the new rules", || anonymous.ask("create_domain domain=b").starts_with("OK").then_some(()));
    assert_eq!(ops.refused("authenticate token=one"), "access_denied");
    // Now from elsewhere only. The tokens are damaged; the database would be another one.
    std::fs::write(&tokens, "nonsense").expect("written");
    write("admin", "\"10.9.9.9\"", "mysql://mog:sesame@other/mogilefs");
    hang_up(2);
    eventually("the new rules", || {
        (anonymous.ask("create_domain domain=c") == "ERR access_denied Not+allowed+from+this+address").then_some(())
    });
    process.logged("tokens cannot be read; they stay as they were", "error");
    assert_eq!(process.logged("setting needs a restart", "key"), "database.url");
    assert!(process.has_said("mysql://(hidden)@other/mogilefs") && !process.has_said("sesame"));
}

#[test]
fn who_may_store_at_a_node_follows_the_settings_at_hangup() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join("dev1")).expect("a device");
    let file = directory.path().join("m.toml");
    let write = |list: &str| {
        let docroot = directory.path().display();
        let text = format!(
            "[node]\nhttp_listen = \"127.0.0.1:0\"\nside_channel_listen = \"127.0.0.1:0\"\ndocroot = \"{docroot}\"\n\
             writes_from = [{list}]\n"
        );
        std::fs::write(&file, text).expect("written");
    };
    write("\"10.9.9.9\"");
    let process = Process::start(&["node", "-c", file.to_str().expect("UTF-8")]);
    let address = process.logged_address("storage node is ready", "http");
    let put = || http("PUT", &format!("http://{address}/dev1/a"), b"content").0;
    assert_eq!(put(), 405);
    write("\"127.0.0.1\"");
    process.signal(Signal::HUP);
    eventually("it may", || (put() == 201).then_some(()));
}

/// Who has shown a token need not show it again, unless it was withdrawn.
#[test]
fn roles_outlive_an_upgrade() {
    let database = sqlite();
    let directory = tempfile::tempdir().expect("a directory");
    let (pidfile, tokens) = (directory.path().join("pid"), directory.path().join("tokens"));
    let _ended = EndedWithTest(&pidfile);
    let token = |name: &str| Token::new(name, Role::Admin, name).expect("a token").line();
    std::fs::write(&tokens, format!("{}\n{}\n", token("stays"), token("goes"))).expect("written");
    let settings = [
        format!("service.pidfile={}", pidfile.display()),
        format!("security.tokens_file={}", tokens.display()),
        "security.anonymous_role=read".to_owned(),
        "log.level=info".to_owned(),
    ];
    let tracker = Tracker::start_with(&database, &settings.iter().map(String::as_str).collect::<Vec<_>>());
    let [mut stays, mut goes] = ["stays", "goes"].map(|name| {
        let mut session = tracker.session();
        session.ok(&format!("authenticate token={name}"));
        session
    });
    std::fs::write(&tokens, token("stays")).expect("written");
    tracker.process.logged("serving: the pools are started", "level");
    upgrade(&pidfile);
    stays.ok("create_domain domain=d");
    assert_eq!(goes.refused("create_domain domain=e"), "access_denied");
    goes.ok("get_domains");
}

/// Whoever asks too early is not forgotten: it does not serve yet when its pidfile is there.
#[test]
fn an_upgrade_asked_for_at_the_start_is_done_once_it_serves() {
    let database = sqlite();
    let directory = tempfile::tempdir().expect("a directory");
    let pidfile = directory.path().join("pid");
    let _ended = EndedWithTest(&pidfile);
    let setting = format!("service.pidfile={}", pidfile.display());
    let process = Process::start(&[
        "tracker",
        "--db",
        &database.url,
        "--listen",
        "127.0.0.1:0",
        "--set",
        &setting,
        "--set",
        "log.level=info",
    ]);
    process.logged("pidfile is written", "pid");
    upgrade(&pidfile);
    Session::connect(process.logged_address("listening", "address")).ok("noop");
}

#[test]
fn a_successor_that_cannot_start_leaves_everything_as_it_was() {
    let database = sqlite();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("m.toml");
    std::fs::write(&file, "[tracker]\nfsck_workers = 1\n").expect("written");
    let config = file.to_str().expect("UTF-8");
    let process = Process::start(&["tracker", "-c", config, "--db", &database.url, "--listen", "127.0.0.1:0"]);
    let mut session = Session::connect(process.logged_address("listening", "address"));
    session.ok("noop");
    process.logged("serving: the pools are started", "level");
    std::fs::write(&file, "[tracker]\nnonsense = 1\n").expect("written");
    process.signal(Signal::USR2);
    process.logged("no hand-over: this process goes on", "error");
    session.ok("noop");
    eventually("it claims work", || {
        session.console("!jobs").contains(&"job_master count 1\r\n".to_owned()).then_some(())
    });
}

#[test]
fn a_node_hands_over_while_files_are_fetched() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pid");
    let _ended = EndedWithTest(&path);
    std::fs::create_dir(directory.path().join("dev1")).expect("a device");
    let docroot = directory.path().to_str().expect("UTF-8");
    let pidfile = format!("service.pidfile={}", path.display());
    let args = ["node", "--docroot", docroot, "--http-listen", "127.0.0.1:0", "--side-channel-listen", "127.0.0.1:0"];
    let process = Process::start(&[&args[..], &["--set", &pidfile]].concat());
    let address = process.logged_address("storage node is ready", "http");
    let url = format!("http://{address}/dev1/0/000/000/0000000001.fid");
    http_put(&url, b"content");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (stop, url) = (&stop, &url);
        for _ in 0..8 {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(http("GET", url, b""), (200, b"content".to_vec()));
                }
            });
        }
        for _ in 0..3 {
            upgrade(&path);
        }
        stop.store(true, Ordering::Relaxed);
    });
}
