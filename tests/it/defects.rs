//! The defects of the reference that are fixed here, by their numbers: protocol.md section 12 (P…) and
//! config-and-startup.md section 14 (S…). What is tested elsewhere:
//!
//! | defect | where |
//! | --- | --- |
//! | P3: hanging requests, dying workers | `traffic.rs`, `actors.rs` |
//! | P8: foreign `callid` | `traffic.rs` |
//! | P19: order on a watching connection | `watching.rs` |
//! | P6, P13: hosts of destinations, `class=default` | `conformance.rs` (statements 135, 132) |
//! | P7: stale views after administrative commands | `actors.rs` and every administrative step of `conformance.rs` |
//! | P10, P11: stale and injected memcached keys | `memcached.rs` |
//! | P17: utilization with decimals | unit test in `cluster::placement` |
//! | S1–S4, S12: the old configuration file and its options | not read by this version |
//! | S5: two time limits with odd reach | one setting, `storage.node_timeout_ms`, for both |
//! | S11: claims without workers | `replication.rs` |
//! | S13: a stop in the middle of requests | `recovery.rs` |

use crate::support::cluster::{Cluster, http_put};
use crate::support::database::{Database, Kind, on_each_database};
use crate::support::process::Process;
use crate::support::session::Session;
use std::net::TcpListener;
use std::process::Command;

/// A cluster, and one connection to its tracker.
struct World<'a> {
    database: &'a Database,
    cluster: Cluster,
    session: Session,
}

#[test]
fn of_the_protocol() {
    on_each_database(|database| {
        let cluster = Cluster::start_with(database, &["tracker.job_master=false"]);
        let session = cluster.session();
        let mut world = World { database, cluster, session };
        world.p1_one_reply_to_a_refused_rename();
        world.p2_line_ends_in_values();
        world.p4_copies_on_unknown_devices();
        world.p5_prefixes_are_literal();
        world.p9_the_error_is_of_this_request();
        world.p12_values_are_checked();
        world.p14_size_0_is_not_compared();
        world.p15_negative_limits();
        world.p16_edit_file_without_memcached();
        world.p18_refused_fids_leave_nothing();
        world.p21_what_clients_may_rely_on();
        world.p22_paging_by_next_after();
        world.p23_half_made_hosts();
        world.p20_settings_without_a_row();
    });
}

impl World<'_> {
    fn ask(&mut self, request: &str) -> String {
        self.session.ask(request)
    }

    fn p1_one_reply_to_a_refused_rename(&mut self) {
        self.cluster.put("p1a", "one", b"a");
        self.cluster.put("p1b", "one", b"b");
        let mut others: Vec<_> = (0..20).map(|_| self.cluster.session()).collect();
        for (n, other) in others.iter_mut().enumerate() {
            self.session.send(b"rename domain=d&from_key=p1a&to_key=p1b\r\n");
            assert_eq!(other.ask(&format!("noop callid={n}")), format!("OK callid={n}"), "P1: nobody is disconnected");
            let reply = self.session.line();
            assert_eq!(reply, "ERR key_exists Target+key+name+already+exists%3B+can%27t+overwrite.", "P1");
        }
        assert_eq!(self.ask("noop callid=next"), "OK callid=next", "P1: no second reply");
    }

    fn p2_line_ends_in_values(&mut self) {
        let reply = self.ask("list_keys domain=d&prefix=%0A(&after=x");
        assert_eq!(reply, "ERR after_mismatch Pattern+does+not+match+the+after-value%3F", "P2");
        let reply = self.ask("create_class domain=d&class=p2&mindevcount=1&replpolicy=A%0D%0AB()");
        assert!(reply.starts_with("ERR invalid_replpolicy "), "P2: {reply}");
        assert_eq!(self.ask("noop callid=%0D%0A"), "OK callid=%0D%0A", "P2");
    }

    fn p4_copies_on_unknown_devices(&mut self) {
        self.cluster.put("p4", "one", b"bytes");
        let fid = self.cluster.fid("p4");
        self.database.execute(&format!("INSERT INTO file_on (fid, devid) VALUES ({fid}, 4711)"));
        for noverify in [0, 1] {
            let paths = self.session.ok(&format!("get_paths domain=d&key=p4&noverify={noverify}"));
            assert_eq!(paths["paths"], "1", "P4");
        }
        let edited = self.session.ok("edit_file domain=d&key=p4");
        assert_ne!(edited["devid"], "4711", "P4");
    }

    fn p5_prefixes_are_literal(&mut self) {
        for key in ["a%2Bb1", "a%2Bb2", "aab", "a.c1", "abc1"] {
            self.cluster.put(&format!("p5{key}"), "one", b"x");
        }
        let mut keys = |request: &str| self.session.ask(request);
        assert_eq!(
            keys("list_keys domain=d&prefix=p5a%2Bb&after=p5a%2Bb1"),
            "OK key_count=1&next_after=p5a%2Bb2&key_1=p5a%2Bb2"
        );
        assert!(keys("list_keys domain=d&prefix=p5a.c&after=p5abc0").starts_with("ERR after_mismatch"), "P5");
        assert!(keys("list_keys domain=d&prefix=(&after=(x").starts_with("ERR none_match"), "P5");
    }

    /// Uploads whose closes fail in their own way each time.
    fn p9_the_error_is_of_this_request(&mut self) {
        let taken = TcpListener::bind("127.0.0.9:0").expect("bind");
        let port = taken.local_addr().expect("bound").port();
        drop(taken);
        self.session.ok(&format!("create_host host=p9&ip=127.0.0.9&port={port}&status=alive"));
        self.session.ok("create_device devid=99&hostname=p9&state=");
        assert_eq!(self.session.ok("get_devices devid=99")["dev1_status"], "alive");
        for _ in 0..5 {
            let open = self.session.ok("create_open domain=d&key=p9");
            let fid = &open["fid"];
            let away = format!("http://127.0.0.9:{port}/dev99/0/000/000/{:0>10}.fid", fid);
            self.database.execute(&format!("UPDATE tempfile SET devids = '99' WHERE fid = {fid}"));
            let unreachable = self.ask(&format!("create_close domain=d&key=p9&fid={fid}&devid=99&path={away}"));
            assert!(unreachable.contains("%28cantreach%29"), "P9: {unreachable}");
            let earlier = unreachable.split("error:+").nth(1).expect("an error").to_owned();
            let open = self.session.ok("create_open domain=d&key=p9");
            let (fid, devid, path) = (&open["fid"], &open["devid"], &open["path"]);
            let missing = self.ask(&format!("create_close domain=d&key=p9&fid={fid}&devid={devid}&path={path}"));
            assert!(
                missing.starts_with("ERR size_verify_error Expected:+-1%3B+actual:+0+%28missing%29"),
                "P9: {missing}"
            );
            assert!(missing.contains(&format!("path:+{path}%3B+error:+")), "P9: {missing}");
            assert!(!missing.contains(&earlier), "P9: {missing} has {earlier}");
        }
    }

    fn p12_values_are_checked(&mut self) {
        let host = "host=h1";
        for (request, code) in [
            (format!("update_host {host}&status="), "unknown_state"),
            (format!("update_host {host}&port=70000"), "bad_args"),
            (format!("update_host {host}&port=x"), "bad_args"),
            ("create_class domain=d&class=p12&mindevcount=0.5".to_owned(), "invalid_mindevcount"),
            ("create_class domain=d&class=p12&mindevcount=2.5".to_owned(), "invalid_mindevcount"),
            ("create_host host=p12&ip=&hostip=127.0.0.70&port=1".to_owned(), "no_ip"),
            (
                "create_class domain=d&class=p12&mindevcount=1&replpolicy=MultipleHosts(3)xyz".to_owned(),
                "invalid_replpolicy",
            ),
        ] {
            assert_eq!(self.session.refused(&request), code, "P12: {request}");
        }
        assert_eq!(self.session.ok("get_hosts hostid=1")["host1_status"], "alive", "P12");
        // A Python client sends the word for "no get port".
        self.session.ok("update_host host=h1&getport=None");
        assert_eq!(self.session.ok("get_hosts hostid=1")["host1_http_get_port"], "0");
    }

    fn p14_size_0_is_not_compared(&mut self) {
        let open = self.session.ok("create_open domain=d&key=p14&class=one");
        http_put(&open["path"], b"three");
        let (fid, devid, path) = (&open["fid"], &open["devid"], &open["path"]);
        let closed = self.ask(&format!("create_close domain=d&key=p14&fid={fid}&devid={devid}&path={path}&size=0"));
        assert_eq!(closed, "OK ", "P14: older clients send 0 for unknown");
    }

    fn p15_negative_limits(&mut self) {
        let all = self.session.ok("list_keys domain=d");
        assert_eq!(self.session.ok("list_keys domain=d&limit=-1"), all, "P15");
    }

    fn p16_edit_file_without_memcached(&mut self) {
        self.cluster.put("p16", "one", b"bytes");
        let fid = self.cluster.fid("p16");
        self.database.execute(&format!("DELETE FROM file_to_replicate WHERE fid = {fid}"));
        let edited = self.session.ok("edit_file domain=d&key=p16");
        assert!(edited["oldpath"].ends_with(".fid") && edited["newpath"] != edited["oldpath"], "P16");
        // The file has a copy less, and is looked at for that.
        assert_eq!(self.database.count("file", &format!("fid = {fid} AND devcount = 0")), 1);
        assert_eq!(self.database.count("file_to_replicate", &format!("fid = {fid}")), 1);
    }

    fn p18_refused_fids_leave_nothing(&mut self) {
        self.cluster.put("p18", "one", b"bytes");
        let taken = self.cluster.fid("p18");
        let before = self.database.count("tempfile", "1 = 1");
        assert_eq!(self.session.refused("create_open domain=d&key=x&fid=abc"), "db", "P18");
        assert_eq!(self.session.refused("create_open domain=d&key=x&fid=-3"), "fid_in_use", "P18");
        assert_eq!(self.session.refused(&format!("create_open domain=d&key=x&fid={taken}")), "fid_in_use", "P18");
        assert_eq!(self.database.count("tempfile", "1 = 1"), before, "P18");
    }

    fn p20_settings_without_a_row(&mut self) {
        self.database.execute("DELETE FROM server_settings");
        assert_eq!(self.ask("server_settings"), "OK key_count=0", "P20");
    }

    fn p21_what_clients_may_rely_on(&mut self) {
        assert_eq!(self.session.refused("delete_class domain=d"), "class_not_found", "P21");
        assert_eq!(self.ask("file_debug fid=99999999"), "OK checksum=NONE", "P21");
        self.session.ok("create_domain domain=p21");
        self.session.ok("create_class domain=p21&class=c&mindevcount=1");
        assert_eq!(self.ask("delete_domain domain=p21"), "ERR domain_has_classes domain_has_classes", "P21");
    }

    /// With a collation that mixes cases, too, every key comes exactly once.
    fn p22_paging_by_next_after(&mut self) {
        let mut stored: Vec<_> = ["a", "B", "c", "D", "e", "_f", "Z", "z1"].map(|key| format!("p22{key}")).into();
        for key in &stored {
            self.cluster.put(key, "one", b"x");
        }
        let (mut listed, mut after) = (Vec::new(), String::new());
        loop {
            let reply = self.ask(&format!("list_keys domain=d&prefix=p22&limit=2&after={after}"));
            let Some(page) = reply.strip_prefix("OK ").map(crate::support::session::pairs) else { break };
            let count: usize = page["key_count"].parse().expect("a number");
            listed.extend((1..=count).map(|n| page[&format!("key_{n}")].clone()));
            after.clone_from(&page["next_after"]);
        }
        stored.sort();
        listed.sort();
        assert_eq!(listed, stored, "P22");
    }

    fn p23_half_made_hosts(&mut self) {
        self.session.ok("create_host host=p23&ip=127.0.0.77&port=1&altip=127.0.0.78&altmask=127.0.0.0/8");
        let before = self.database.count("host", "1 = 1");
        let twin = "create_host host=p23b&ip=127.0.0.79&port=1&altip=127.0.0.78";
        assert_eq!(self.session.refused(twin), "dup", "P23");
        assert_eq!(self.database.count("host", "1 = 1"), before, "P23");
        self.session.ok("delete_host host=p23");
    }
}

/// Starts a tracker that cannot run; its exit code and what it said.
fn fails_to_start(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_mogilefs")).arg("tracker").args(args).output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn s7_passwords_are_not_printed() {
    for url in ["mysql://mogile:hunter2@127.0.0.1:1/mogilefs", "postgres://mogile:hunter2@127.0.0.1:1/mogilefs"] {
        let (code, said) = fails_to_start(&["--db", url, "--set", "log.level=trace"]);
        assert_ne!(code, Some(0), "S10: a database that is away at the start is fatal");
        assert!(!said.is_empty() && !said.contains("hunter2"), "S7: {said}");
    }
}

#[test]
fn s8_ipv6_addresses() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("not tested: this machine has no IPv6");
        return;
    }
    let database = Database::create(Kind::Sqlite);
    let process = Process::start(&["tracker", "--db", &database.url, "--listen", "[::1]:0"]);
    let address = process.logged_address("listening", "address");
    assert!(address.is_ipv6(), "S8");
    assert_eq!(Session::connect(address).ask("noop callid=six"), "OK callid=six", "S8");
}

#[test]
fn s9_no_pidfile_after_a_failed_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let database = Database::create(Kind::Sqlite);
    let directory = tempfile::tempdir().expect("a directory");
    let pidfile = directory.path().join("tracker.pid");
    let setting = format!("service.pidfile={}", pidfile.display());
    let listen = taken.local_addr().expect("bound").to_string();
    let (code, said) = fails_to_start(&["--db", &database.url, "--listen", &listen, "--set", &setting]);
    assert_ne!(code, Some(0), "S9");
    assert!(said.contains(&listen), "S9: {said}");
    assert!(!pidfile.exists(), "S9");
}

/// 2.73 logs everything as debug messages.
#[test]
fn s6_errors_are_logged_as_errors() {
    let database = Database::create(Kind::Sqlite);
    let cluster = Cluster::start_without_nodes(&database, &["limits.request_timeout_ms=100"]);
    assert_eq!(cluster.session().refused("sleep duration=5"), "failure", "P3, S6");
    cluster.tracker.process.wait_for_log("Error running command 'sleep': not done within 100 ms", "level", "ERRO");
}
