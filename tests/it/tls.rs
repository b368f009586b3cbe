//! TLS with real certificates: who is let in, who is believed, what happens to those who do it wrong.

use crate::support::authority::{Authority, Identity, TlsSession};
use crate::support::cluster::{Cluster, Node, Tracker};
use crate::support::database::{Database, Kind};
use crate::support::eventually;
use crate::support::process::Process;
use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A tracker that listens in the clear, too.
struct World {
    tracker: Tracker,
    address: SocketAddr,
    _database: Database,
}

fn tracker(identity: &Identity, further: &[&str]) -> World {
    let database = Database::create(Kind::Sqlite);
    let files = identity.settings();
    let mut settings = vec!["tracker.tls_listen=127.0.0.1:0", files[0].as_str(), files[1].as_str()];
    settings.extend(further);
    let tracker = Tracker::start_with(&database, &settings);
    let address = tracker.process.logged_address("listening with TLS", "address");
    World { tracker, address, _database: database }
}

#[test]
fn requests_and_the_console_work_in_tls_as_in_the_clear() {
    let authority = Authority::new();
    let world = tracker(&authority.identity("tracker", &["127.0.0.1"]), &[]);
    let mut session = TlsSession::connect(world.address, &authority.file(), None);
    assert_eq!(session.ask("create_domain domain=d").expect("answered"), "OK domain=d\r\n");
    assert_eq!(session.ask("get_domains").expect("answered").trim_end(), world.tracker.session().ask("get_domains"));
    session.send(b"!watch\r\nnoop\r\n").expect("sent");
    let mut lines = Vec::new();
    while !lines.iter().any(|line: &String| line == "OK \r\n") {
        lines.push(session.line().expect("a line"));
    }
    assert_eq!(lines[0], "Added you to watcher list.\r\n");
}

/// More than a session and the sockets hold, both ways, in order.
#[test]
fn long_pipelines_and_long_replies_are_whole() {
    let authority = Authority::new();
    let world = tracker(&authority.identity("tracker", &["127.0.0.1"]), &[]);
    let mut session = TlsSession::connect(world.address, &authority.file(), None);
    let domains: String = (0..200).map(|at| format!("create_domain domain=d{at}{}\r\n", "x".repeat(200))).collect();
    session.send(domains.as_bytes()).expect("taken");
    for at in 0..200 {
        let line = session.line().expect("a reply");
        assert!(line.starts_with(&format!("OK domain=d{at}x")), "{line}");
    }
    let whole = world.tracker.session().ask("get_domains");
    assert!(whole.len() > 50_000);
    session.send("get_domains\r\n".repeat(200).as_bytes()).expect("taken");
    for _ in 0..200 {
        assert_eq!(session.line().expect("a reply").trim_end(), whole);
    }
}

#[test]
fn who_must_show_a_certificate_is_let_in_with_a_right_one_only() {
    let (authority, other) = (Authority::new(), Authority::new());
    let clients = format!("tls.client_ca_file={}", authority.file().display());
    let world = tracker(&authority.identity("tracker", &["127.0.0.1"]), &[&clients]);
    let ask = |identity: Option<Identity>| {
        TlsSession::connect(world.address, &authority.file(), identity.as_ref()).ask("noop")
    };
    assert_eq!(ask(Some(authority.identity("client", &["client"]))).expect("let in"), "OK \r\n");
    let error = ask(None).expect_err("no certificate").to_string();
    assert!(error.contains("CertificateRequired"), "{error}");
    for wrong in [other.identity("client", &["client"]), authority.expired_identity("old", &["client"])] {
        assert!(ask(Some(wrong)).is_err());
    }
}

#[test]
fn who_talks_plain_text_or_nothing_is_closed_and_holds_up_nobody() {
    let authority = Authority::new();
    let identity = authority.identity("tracker", &["127.0.0.1"]);
    let world = tracker(&identity, &["tls.handshake_timeout_ms=300"]);
    let mut rest = Vec::new();
    let mut plain = TcpStream::connect(world.address).expect("accepted");
    plain.write_all(b"get_domains\r\n").expect("taken");
    // An alert at most, never an answer.
    let _ended = plain.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"OK"), "{rest:?}");
    let mut half: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(world.address).expect("accepted")).collect();
    for stream in &mut half {
        // The beginning of a handshake.
        stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).expect("taken");
    }
    let begun = Instant::now();
    assert_eq!(TlsSession::connect(world.address, &authority.file(), None).ask("noop").expect("answered"), "OK \r\n");
    for stream in &mut half {
        stream.set_read_timeout(Some(crate::support::PATIENCE)).expect("socket option");
        assert!(matches!(stream.read(&mut [0; 8]), Ok(0) | Err(_)));
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "by the limit, not by patience");
}

#[test]
fn certificates_are_read_anew_at_hangup_and_bad_files_change_nothing() {
    let authority = Authority::new();
    let identity = authority.identity("tracker", &["127.0.0.1"]);
    let world = tracker(&identity, &[]);
    let connect = || {
        let mut session = TlsSession::connect(world.address, &authority.file(), None);
        assert_eq!(session.ask("noop").expect("answered"), "OK \r\n");
        session
    };
    let mut first = connect();
    assert_eq!(world.tracker.process.logged("certificate", "ends"), "Tue, 01 Jan 2999 00:00:00 GMT");
    authority.identity("tracker", &["127.0.0.1"]);
    assert_eq!(connect().shown(), first.shown(), "not before it is told");
    world.tracker.process.signal(Signal::HUP);
    eventually("the new certificate is shown", || (connect().shown() != first.shown()).then_some(()));
    let second = connect();
    std::fs::write(&identity.key_file, "no key").expect("written");
    world.tracker.process.signal(Signal::HUP);
    let why = world.tracker.process.logged("certificates cannot be used; those of before stay", "error");
    assert!(why.contains(identity.key_file.to_str().expect("UTF-8")) && why.contains("tls.key_file"), "{why}");
    assert_eq!(connect().shown(), second.shown());
    assert_eq!(first.ask("noop").expect("goes on"), "OK \r\n");
}

#[test]
fn files_that_cannot_be_used_are_named_at_the_start() {
    let (authority, database) = (Authority::new(), Database::create(Kind::Sqlite));
    let identity = authority.identity("tracker", &["127.0.0.1"]);
    let other = authority.identity("other", &["127.0.0.1"]);
    let said = |certificate: &str, key: &str| {
        let settings = [
            "tracker.tls_listen=127.0.0.1:0".to_owned(),
            format!("tls.certificate_file={certificate}"),
            format!("tls.key_file={key}"),
        ];
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_mogilefs"));
        let program = program.args(["tracker", "--db", &database.url, "--listen", "127.0.0.1:0"]).args(settings);
        let output = program.output().expect("started");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let (certificate, key) = (identity.certificate_file.display().to_string(), identity.key_file.display().to_string());
    for (certificate, key, expected) in [
        ("", "", "tls.certificate_file: must name a file"),
        (
            "/nowhere.pem",
            &key,
            "/nowhere.pem: cannot be read: No such file or directory (os error 2) (tls.certificate_file)",
        ),
        (&certificate, &certificate, "has no private key (PEM, without a password) (tls.key_file)"),
        (&key, &key, "has no certificate (PEM) (tls.certificate_file)"),
        (&certificate, other.key_file.to_str().expect("UTF-8"), "is not the key of the certificate"),
    ] {
        let said = said(certificate, key);
        assert!(said.contains(expected), "{said}\n{expected}");
    }
}

#[test]
fn a_check_of_the_settings_finds_files_that_cannot_be_used() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("m.toml");
    std::fs::write(&file, "[tls]\ncertificate_file = \"/nowhere.pem\"\nkey_file = \"/nowhere.key\"\n")
        .expect("written");
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_mogilefs"));
    let output = program.args(["config", "check"]).arg(&file).output().expect("started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("m.toml:2: ") && said.contains("/nowhere.pem: cannot be read"), "{said}");
}

#[test]
fn a_tracker_may_listen_with_tls_alone() {
    let (authority, database) = (Authority::new(), Database::create(Kind::Sqlite));
    let files = authority.identity("tracker", &["127.0.0.1"]).settings();
    let settings = ["tracker.listen=", "web.listen=", "tracker.tls_listen=127.0.0.1:0", &files[0], &files[1]];
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let args: Vec<&str> = ["tracker", "--db", &database.url].into_iter().chain(settings).collect();
    let mut process = Process::start(&args);
    let address = process.logged_address("listening with TLS", "address");
    let mut session = TlsSession::connect(address, &authority.file(), None);
    assert_eq!(session.ask("noop").expect("answered"), "OK \r\n");
    assert_eq!(process.count_logged("listening"), 0);
    assert_eq!(process.terminate(), Some(0));
    assert_eq!(session.line().expect("ended in order"), "");
}

/// A session belongs to its process: at an upgrade clients with TLS are closed between two requests, others go on.
#[test]
fn an_upgrade_closes_conversations_in_order() {
    let authority = Authority::new();
    let world = tracker(&authority.identity("tracker", &["127.0.0.1"]), &[]);
    let mut old = TlsSession::connect(world.address, &authority.file(), None);
    let mut plain = world.tracker.session();
    assert_eq!(old.ask("noop").expect("answered"), "OK \r\n");
    assert_eq!(plain.ask("noop"), "OK ");
    world.tracker.process.signal(Signal::USR2);
    assert_eq!(old.line().expect("ended in order"), "");
    let mut new = TlsSession::connect(world.address, &authority.file(), None);
    assert_eq!(new.ask("noop").expect("answered by the successor"), "OK \r\n");
    assert_eq!(plain.ask("noop"), "OK ");
    assert!(world.tracker.process.count_logged("the predecessor has left") <= 1);
    plain.send(b"!shutdown\r\n");
}

/// A tool of ours: whether it succeeded, and all that it said.
fn tool(trackers: &str, options: &[&str], command: &[&str]) -> (bool, String) {
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_mogilefs"));
    let output = program.args(["--trackers", trackers]).args(options).args(command).output().expect("started");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn tools_reach_trackers_by_tls_and_say_why_not() {
    let (authority, other) = (Authority::new(), Authority::new());
    let world = tracker(&authority.identity("tracker", &["127.0.0.1", "localhost"]), &[]);
    let port = world.address.port();
    let (right, wrong) = (authority.file().display().to_string(), other.file().display().to_string());
    let ask = |trackers: String, ca: &str| tool(&trackers, &["--tls-ca", ca], &["domain", "list"]);
    for host in ["127.0.0.1", "localhost"] {
        let (is_done, said) = ask(format!("tls://{host}:{port}"), &right);
        assert!(is_done, "{said}");
    }
    let plain = world.tracker.address.port();
    let wrong_authority = format!("its certificate is of no authority in {wrong} (--tls-ca)");
    for (trackers, ca, expected) in [
        (format!("tls://127.0.0.1:{port}"), wrong.as_str(), wrong_authority.as_str()),
        (format!("tls://127.0.0.1:{port}"), "/nowhere.pem", "/nowhere.pem: cannot be read: "),
        (format!("tls://127.0.0.1:{plain}"), &right, "it does not talk TLS there"),
        (format!("127.0.0.1:{port}"), &right, "it talks TLS there: its address wants tls:// before it"),
    ] {
        let (is_done, said) = ask(trackers, ca);
        assert!(!is_done && said.contains(expected), "{said}\n{expected}");
    }
    let (is_done, said) = tool(&format!("tls://127.0.0.1:{port}"), &[], &["domain", "list"]);
    assert!(!is_done && said.contains("of no authority that this system believes"), "{said}");
}

#[test]
fn tools_refuse_trackers_with_wrong_certificates() {
    let authority = Authority::new();
    let ca = authority.file().display().to_string();
    for (identity, expected) in [
        (authority.identity("elsewhere", &["tracker.example"]), "its certificate is not for 127.0.0.1, but for "),
        (authority.expired_identity("old", &["127.0.0.1"]), "its certificate has expired"),
    ] {
        let world = tracker(&identity, &[]);
        let (is_done, said) = tool(&format!("tls://{}", world.address), &["--tls-ca", &ca], &["domain", "list"]);
        assert!(!is_done && said.contains(expected), "{said}\n{expected}");
    }
}

#[test]
fn tools_show_certificates() {
    let (authority, other) = (Authority::new(), Authority::new());
    let clients = format!("tls.client_ca_file={}", authority.file().display());
    let world = tracker(&authority.identity("tracker", &["127.0.0.1"]), &[&clients]);
    let ca = authority.file().display().to_string();
    let ask = |identity: Option<Identity>| {
        let files = identity.map(|it| [it.certificate_file, it.key_file].map(|file| file.display().to_string()));
        let mut options = vec!["--tls-ca", &ca];
        if let Some([certificate, key]) = &files {
            options.extend(["--tls-certificate", certificate, "--tls-key", key]);
        }
        tool(&format!("tls://{}", world.address), &options, &["domain", "add", "d"])
    };
    let (is_done, said) = ask(None);
    assert!(!is_done && said.contains("it lets nobody in without a certificate"), "{said}");
    let (is_done, said) = ask(Some(other.identity("client", &["client"])));
    assert!(!is_done && said.contains("it does not believe our certificate"), "{said}");
    let (is_done, said) = ask(Some(authority.identity("client", &["client"])));
    assert!(is_done, "{said}");
}

/// The address where a node talks TLS.
fn tls_address(node: &Node) -> SocketAddr {
    node.process.logged_address("storage node started", "tls")
}

#[test]
fn a_node_stores_and_gives_files_by_tls() {
    let authority = Authority::new();
    let files = authority.identity("node", &["127.0.0.1"]).settings();
    let node = Node::start_with(1, &[1], &["node.tls_listen=127.0.0.1:0", &files[0], &files[1]]);
    let address = tls_address(&node);
    let mut session = TlsSession::connect(address, &authority.file(), None);
    let large: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
    for (path, bytes) in [("/dev1/0/000/000/0000000001.fid", &b"small"[..]), ("/dev1/0/000/000/0000000002.fid", &large)]
    {
        assert_eq!(session.http("PUT", path, bytes).0, 201);
        assert_eq!(std::fs::read(node.file(path)).expect("stored"), bytes);
        let (status, got) = session.http("GET", path, b"");
        assert!(status == 200 && got == bytes, "the same bytes");
        assert_eq!(session.http("HEAD", path, b"").0, 200);
        assert_eq!(session.http("DELETE", path, b"").0, 204);
        assert_eq!(session.http("GET", path, b"").0, 404);
    }
}

#[test]
fn a_node_lets_in_by_certificate_and_within_its_limit_and_reads_files_anew() {
    let authority = Authority::new();
    let identity = authority.identity("node", &["127.0.0.1"]);
    let files = identity.settings();
    let clients = format!("tls.client_ca_file={}", authority.file().display());
    let limit = "tls.handshake_timeout_ms=300";
    let settings = ["node.tls_listen=127.0.0.1:0", &files[0], &files[1], &clients, limit, "node.connections_max=3"];
    let node = Node::start_with(1, &[1], &settings);
    let address = tls_address(&node);
    // They take all places, but not for long.
    let half: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).expect("accepted")).collect();
    let client = authority.identity("client", &["client"]);
    let connect = || {
        let mut session = TlsSession::connect(address, &authority.file(), Some(&client));
        assert_eq!(session.http("GET", "/dev1/usage", b"").0, 200);
        session.shown()
    };
    let first = connect();
    drop(half);
    let mut stranger = TlsSession::connect(address, &authority.file(), None);
    let refused = stranger.send(b"GET /dev1/usage HTTP/1.1\r\nHost: n\r\n\r\n").and_then(|()| stranger.line());
    assert!(refused.is_err(), "{refused:?}");
    authority.identity("node", &["127.0.0.1"]);
    node.process.signal(Signal::HUP);
    eventually("the new certificate is shown", || (connect() != first).then_some(()));
}

/// Nodes that are known to the tracker by a port where nobody listens: whatever comes through comes by TLS.
#[test]
fn a_cluster_whose_nodes_are_reached_by_tls_alone() {
    let (authority, other) = (Authority::new(), Authority::new());
    let tls_port = 20_000 + u16::try_from(std::process::id() % 10_000).expect("small");
    let (ca, wrong_ca) = (authority.file().display().to_string(), other.file().display().to_string());
    let node_identity = authority.identity("node", &["nodes.example"]);
    let client = authority.identity("client", &["client"]);
    let [certificate, key] = [&client.certificate_file, &client.key_file].map(|file| file.display().to_string());
    let calling = [
        "node_client.tls_nodes=127.0.0.0/8".to_owned(),
        format!("node_client.tls_port={tls_port}"),
        "node_client.tls_name=nodes.example".to_owned(),
        format!("node_client.certificate_file={certificate}"),
        format!("node_client.key_file={key}"),
    ];
    let calling: Vec<&str> = calling.iter().map(String::as_str).collect();
    let believing = format!("node_client.ca_file={ca}");
    let files = node_identity.settings();
    let clients = format!("tls.client_ca_file={ca}");
    let nodes: Vec<Node> = [1, 2]
        .map(|number| {
            let listen = format!("node.tls_listen=127.0.0.{number}:{tls_port}");
            let settings = [&calling[..], &[&believing, &listen, &files[0], &files[1], &clients]].concat();
            Node::start_with(number, &[i64::from(number)], &settings)
        })
        .into();
    let database = Database::create(Kind::Sqlite);
    let tracker = Tracker::start_with(&database, &[&calling[..], &[&believing]].concat());
    let cluster = Cluster { nodes, tracker };
    cluster.session().ok("create_domain domain=d");
    for number in 1..=2 {
        cluster.add_host(&format!("h{number}"), &format!("127.0.0.{number}"), 9, &[number]);
    }
    cluster.wait_until_writeable(2);

    let trackers = cluster.tracker.address.to_string();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    std::fs::write(&file, vec![b'x'; 3_000_000]).expect("written");
    let file = file.to_str().expect("UTF-8");
    let port = tls_port.to_string();
    let own = ["--tls-certificate", &certificate, "--tls-key", &key, "--tls-nodes", &port];
    let named = [&own[..], &["-d", "d", "--tls-nodes-name", "nodes.example"]].concat();
    let (is_done, said) = tool(&trackers, &[&named[..], &["--tls-ca", &ca]].concat(), &["put", "key", file]);
    assert!(is_done, "{said}");
    cluster.wait_for_copies("key", 2);
    for node in &cluster.nodes {
        assert_eq!(node.stored_files().len(), 1);
    }
    let (is_done, said) = tool(&trackers, &[&named[..], &["--tls-ca", &ca]].concat(), &["cat", "key"]);
    assert!(is_done && said.len() == 3_000_000);
    let (is_done, said) = tool(&trackers, &[&named[..], &["--tls-ca", &wrong_ca]].concat(), &["cat", "key"]);
    assert!(!is_done && said.contains("its certificate is of no authority in "), "{said}");
    let (is_done, said) = tool(&trackers, &[&own[..], &["-d", "d", "--tls-ca", &ca]].concat(), &["cat", "key"]);
    assert!(!is_done && said.contains("its certificate is not for 127.0.0."), "{said}");

    // Nobody turns back to plain HTTP: neither to the port that is known nor where the nodes have it.
    let wrong = format!("node_client.ca_file={wrong_ca}");
    let stranger = Tracker::start_with(&database, &[&calling[..], &[&wrong]].concat());
    let why = stranger.process.logged("device state seen", "problem");
    assert!(why.contains("its certificate is of no authority in "), "{why}");

    std::fs::copy(&ca, &wrong_ca).expect("written");
    stranger.process.signal(Signal::HUP);
    stranger.process.wait_for_log("device state seen", "device", "writeable");
}

/// Whoever needs a certificate to come in is not everybody.
#[test]
fn an_address_beyond_this_machine_is_warned_of_unless_it_wants_certificates() {
    let authority = Authority::new();
    let files = authority.identity("tracker", &["127.0.0.1"]).settings();
    let clients = format!("tls.client_ca_file={}", authority.file().display());
    let warnings = |further: &[&str]| {
        let database = Database::create(Kind::Sqlite);
        let settings = [&["tracker.tls_listen=0.0.0.0:0", files[0].as_str(), files[1].as_str()], further].concat();
        let tracker = Tracker::start_with(&database, &settings);
        tracker.process.logged("serving: the pools are started", "msg");
        tracker.process.line_with("whoever reaches this tracker may administer it").is_some()
    };
    assert!(warnings(&[]));
    assert!(!warnings(&[&clients]));
}

/// The tools of old are told by the environment.
#[test]
fn tools_called_by_old_names_reach_trackers_by_tls() {
    let authority = Authority::new();
    let world = tracker(&authority.identity("tracker", &["127.0.0.1"]), &[]);
    world.tracker.session().ok("create_domain domain=d");
    let directory = tempfile::tempdir().expect("a directory");
    let mogadm = directory.path().join("mogadm");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mogilefs"), &mogadm).expect("a link");
    let mut program = std::process::Command::new(mogadm);
    let program = program.arg(format!("--trackers=tls://{}", world.address)).args(["domain", "list"]);
    let output = program.env("MOGILEFS_TLS_CA", authority.file()).output().expect("started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains('d'), "{said}");
}
