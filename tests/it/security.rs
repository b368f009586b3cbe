//! Who may do what, by the address that a client comes from or goes to.

use crate::support::cluster::Tracker;
use crate::support::database::{Database, Kind};
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
