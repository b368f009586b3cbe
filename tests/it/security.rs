//! Who may do what, by the address that a client comes from or goes to.

use crate::support::cluster::{Cluster, Node, Tracker, http};
use crate::support::database::{Database, Kind};
use crate::support::eventually;
use crate::support::session::Session;
use std::io::Read as _;
use std::net::TcpStream;

fn tracker(settings: &[&str]) -> (Database, Tracker) {
    let database = Database::create(Kind::Sqlite);
    let tracker = Tracker::start_with(&database, settings);
    (database, tracker)
}

const DENIED: &str = "ERR access_denied Not+allowed+from+this+address";

#[test]
fn who_is_no_administrator_works_with_files_only() {
    let (_database, tracker) = tracker(&["security.admin_from=10.9.9.9", "security.console_from=10.9.9.9"]);
    let mut session = tracker.session();
    assert_eq!(session.ask("create_domain domain=d"), DENIED);
    assert_eq!(session.ask("Set_Server_Setting key=memcache_servers&value=x&callid=7"), format!("{DENIED} 7"));
    assert_eq!(session.ask("get_domains"), "OK domains=0");
    // In a pipeline, replies stay in order, and nothing gets past.
    session.send(b"noop\r\ncreate_host host=h&ip=127.0.0.1&port=7500\r\nget_hosts\r\n!shutdown\r\nfsck_status\r\n");
    let replies: Vec<String> = (0..6).map(|_| session.line()).collect();
    assert_eq!(replies[..3], ["OK ", DENIED, "OK hosts=0"]);
    assert_eq!(replies[3..5], ["ERROR: the console is not for this address", "."]);
    assert!(replies[5].starts_with("OK "), "{replies:?}");
}

#[test]
fn who_is_no_client_is_turned_away_and_takes_no_place() {
    let (_database, tracker) = tracker(&["security.clients_from=10.9.9.9", "limits.connections_max=2"]);
    for _ in 0..5 {
        let mut stream = TcpStream::connect(tracker.address).expect("the listen queue");
        let mut byte = [0];
        assert!(matches!(stream.read(&mut byte), Ok(0) | Err(_)), "closed without a word");
    }
}

#[test]
fn administration_has_an_address_of_its_own() {
    let (_database, tracker) = tracker(&["tracker.admin_listen=127.0.0.1:0"]);
    let mut everybody = tracker.session();
    assert_eq!(everybody.ask("create_domain domain=d"), DENIED);
    everybody.send(b"!version\r\n");
    assert_eq!(everybody.line(), "ERROR: the console is not for this address");
    let address = tracker.process.logged_address("listening for administration", "address");
    let mut administrator = Session::connect(address);
    administrator.ok("create_domain domain=d");
    administrator.send(b"!version\r\n");
    assert!(!administrator.line().starts_with("ERROR"));
}

#[test]
fn wrong_lists_are_refused_by_name() {
    let database = Database::create(Kind::Sqlite);
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_mogilefs"))
        .args(["tracker", "--db", &database.url, "--set", "security.admin_from=10.0.0.1/8"])
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&program.stderr);
    assert!(!program.status.success() && said.contains("security.admin_from"), "{said}");
}

/// A key for storage nodes, in a file.
fn key_file() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("key");
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").expect("written");
    let path = file.to_str().expect("UTF-8").to_owned();
    (directory, path)
}

/// Uploads by tools, copies from node to node and by way of the tracker, checks and deletions are signed; nothing else is taken.
#[test]
fn nodes_take_what_is_signed() {
    for copies_by_nodes in [true, false] {
        let (_directory, key) = key_file();
        let database = Database::create(Kind::Sqlite);
        let (signs, copies) =
            (format!("node_client.signing_key_file={key}"), format!("jobs.node_to_node_copy={copies_by_nodes}"));
        let mut cluster = Cluster::start_without_nodes(&database, &[&signs, &copies]);
        let wants = format!("node.signing_key_file={key}");
        for (number, devids) in [(1, [1, 2]), (2, [3, 4])] {
            let node = Node::start_with(number, &devids, &[&wants]);
            cluster.add_host(&format!("h{number}"), &node.ip, node.port, &devids);
            cluster.nodes.push(node);
        }
        cluster.wait_until_writeable(4);
        let node = &cluster.nodes[0];
        let url = format!("http://{}:{}/dev1/0/000/000/0000009999.fid", node.ip, node.port);
        assert_eq!(http("PUT", &url, b"content").0, 403);
        assert_eq!(http("GET", &url, b"").0, 404);

        let tool = |args: &[&str], key: Option<&str>| {
            let address = cluster.tracker.address.to_string();
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mogilefs"));
            command.args(["--trackers", &address, "-d", "d"]).args(args).env_remove("MOGILEFS_NODE_KEY_FILE");
            if let Some(key) = key {
                command.env("MOGILEFS_NODE_KEY_FILE", key);
            }
            command.output().expect("started")
        };
        let source = env!("CARGO_MANIFEST_DIR").to_owned() + "/LICENSE-MIT";
        assert!(!tool(&["put", "a", &source], None).status.success());
        let stored = tool(&["put", "a", &source], Some(&key));
        assert!(stored.status.success(), "{}", String::from_utf8_lossy(&stored.stderr));
        cluster.wait_for_copies("a", 2);
        assert!(cluster.get_all("a").iter().all(|bytes| *bytes == std::fs::read(&source).expect("read")));
        cluster.session().ok("delete domain=d&key=a");
        eventually("the copies are gone", || {
            cluster.nodes.iter().all(|node| node.stored_files().is_empty()).then_some(())
        });
    }
}

/// Old trackers and clients cannot sign: their addresses are listed.
#[test]
fn who_is_listed_need_not_sign() {
    let (_directory, key) = key_file();
    let wants = format!("node.signing_key_file={key}");
    let node = Node::start_with(1, &[1], &[&wants, "node.writes_from=127.0.0.1"]);
    let url = format!("http://{}:{}/dev1/0/000/000/0000000001.fid", node.ip, node.port);
    assert_eq!(http("PUT", &url, b"content").0, 201);
    let other = Node::start_with(2, &[2], &[&wants, "node.writes_from=10.9.9.9"]);
    let url = format!("http://{}:{}/dev2/0/000/000/0000000001.fid", other.ip, other.port);
    assert_eq!(http("PUT", &url, b"content").0, 403);
}
