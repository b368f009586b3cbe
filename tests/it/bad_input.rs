//! What clients and operators get wrong: the answer is clear, the connection goes on, and the database stays as it was.

use crate::support::cluster::{Node, Tracker, http_put};
use crate::support::database::{Database, Kind, on_each_database};
use crate::support::session::Session;
use crate::support::{PATIENCE, eventually};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Tables that requests write to.
const TABLES: [&str; 13] = [
    "domain",
    "class",
    "host",
    "device",
    "file",
    "file_on",
    "tempfile",
    "checksum",
    "file_to_replicate",
    "file_to_delete2",
    "file_to_queue",
    "unreachable_fids",
    "server_settings",
];

fn rows(database: &Database) -> BTreeMap<&'static str, i64> {
    TABLES.iter().map(|table| (*table, database.count(table, "1 = 1"))).collect()
}

/// A node with one device, and a tracker without jobs that knows it and the domain `d` with the class `c`.
struct World {
    session: Session,
    _tracker: Tracker,
    _node: Node,
}

impl World {
    fn start(database: &Database) -> Self {
        let node = Node::start(1, &[1]);
        let tracker = Tracker::start_with(database, &["tracker.job_master=false"]);
        let mut session = tracker.session();
        session.ok(&format!("create_host host=h&ip={}&port={}&status=alive", node.ip, node.port));
        session.ok("create_device devid=1&hostname=h");
        session.ok("create_domain domain=d");
        session.ok("create_class domain=d&class=c&mindevcount=1");
        eventually("the device is writeable", || {
            let device = session.ok("get_devices devid=1");
            (device["dev1_observed_state"] == "writeable" && !device["dev1_mb_total"].is_empty()).then_some(())
        });
        Self { session, _tracker: tracker, _node: node }
    }

    /// An open upload with its bytes on the node: the arguments `fid=…&devid=…&path=…`.
    fn upload(&mut self, key: &str, bytes: &[u8]) -> String {
        let open = self.session.ok(&format!("create_open domain=d&key={key}&class=c"));
        http_put(&open["path"], bytes);
        format!("fid={}&devid={}&path={}", open["fid"], open["devid"], open["path"])
    }
}

/// Each is refused with a code, changes nothing, and the next request on the connection is answered.
#[test]
fn refused_requests_change_nothing() {
    on_each_database(|database| {
        let mut world = World::start(database);
        let stored = world.upload("stored", b"1234");
        world.session.ok(&format!("create_close domain=d&key=stored&{stored}"));
        let open = world.upload("open", b"1234");
        let before = rows(database);
        let mut refuse = |request: &str, code: &str| {
            assert_eq!(world.session.refused(request), code, "{request:?}");
            assert_eq!(world.session.ask("noop callid=still-here"), "OK callid=still-here", "after {request:?}");
        };
        for (request, code) in [
            ("frobnicate domain=d", "unknown_command"),
            ("=&=&=", "unknown_command"),
            ("\u{1}\u{2}\u{7f}", "unknown_command"),
            ("create_open", "no_domain"),
            ("create_open domain=nope&key=k", "unreg_domain"),
            ("create_open domain=%00&key=k", "unreg_domain"),
            ("create_open domain=d&key=k&class=nope", "unreg_class"),
            ("create_open domain=d&key=k&fid=1x", "db"),
            ("create_open domain=d&key=k&fid=99999999999999999999", "db"),
            ("create_open domain=d&key=k&fid=-1", "fid_in_use"),
            ("create_open domain=d&key=k&size=99999999999999999999", "no_devices"),
            ("file_info domain=d", "no_key"),
            ("file_info domain=d&key=nope", "unknown_key"),
            ("file_info domain=d&key=%27;+DROP+TABLE+file;--", "unknown_key"),
            ("get_paths domain=d&key=nope", "unknown_key"),
            ("delete domain=d&key=nope", "unknown_key"),
            ("rename domain=d&from_key=nope&to_key=k", "unknown_key"),
            ("updateclass domain=d&key=stored&class=nope", "class_not_found"),
            ("updateclass domain=d&key=nope&class=c", "invalid_key"),
            ("edit_file domain=d&key=nope", "unknown_key"),
            ("list_keys domain=nope", "unreg_domain"),
            ("create_domain domain=d", "domain_exists"),
            ("create_class domain=d&class=c&mindevcount=1", "class_exists"),
            ("create_class domain=d&class=e&mindevcount=-3", "invalid_mindevcount"),
            ("create_class domain=d&class=e&mindevcount=1&replpolicy=Nope()", "invalid_replpolicy"),
            ("update_class domain=d&class=nope&mindevcount=1", "class_not_found"),
            ("delete_class domain=d&class=nope", "class_not_found"),
            ("delete_class domain=d&class=c", "class_has_files"),
            ("delete_domain domain=d", "domain_has_files"),
            ("create_host host=h&ip=127.0.0.9&port=1", "host_exists"),
            ("create_host host=i&ip=127.0.0.9&port=70000", "bad_args"),
            ("create_host host=i&ip=127.0.0.9&port=x", "bad_args"),
            ("update_host host=h&status=", "unknown_state"),
            ("delete_host host=h", "host_not_empty"),
            ("create_device devid=1&hostname=h", "existing_devid"),
            ("create_device devid=2&hostname=nope", "unknown_host"),
            ("set_state host=h&device=7&state=down", "no_device"),
            ("set_state host=h&device=1&state=asleep", "bad_params"),
            ("set_weight host=nope&device=1&weight=1", "host_mismatch"),
            ("set_server_setting key=schema_version&value=1", "not_writable"),
            ("set_server_setting key=memcache_ttl&value=soon", "invalid_format"),
        ] {
            refuse(request, code);
        }
        // A file is closed once; and only where it was opened.
        refuse(&format!("create_close domain=d&key=stored&{stored}"), "no_temp_file");
        refuse(&format!("create_close domain=d&key=other&{stored}"), "no_temp_file");
        refuse(
            "create_close domain=d&key=k&fid=1&devid=1&path=http://192.0.2.1/dev1/0/000/000/0000000001.fid",
            "bogus_args",
        );
        refuse(&format!("create_close domain=d&key=open&{open}.bak"), "bogus_args");
        refuse(&format!("create_close domain=d&key=open&{open}&checksum=MD5:12"), "invalid_checksum_format");
        refuse(&format!("create_close domain=nope&key=open&{open}"), "unreg_domain");
        assert_eq!(rows(database), before);
        // After all this the open upload can still be closed.
        world.session.ok(&format!("create_close domain=d&key=open&{open}&size=4"));
        assert_eq!(world.session.ok("file_info domain=d&key=open")["length"], "4");
    });
}

/// A tempfile row that names a live file (a restored table, a number given out twice): the close is refused, and the
/// file stays as it is.
#[test]
fn a_close_of_a_fid_that_is_a_file_is_refused() {
    on_each_database(|database| {
        let mut world = World::start(database);
        let stored = world.upload("stored", b"1234");
        world.session.ok(&format!("create_close domain=d&key=stored&{stored}"));
        let fid = world.session.ok("file_info domain=d&key=stored")["fid"].clone();
        database.execute(&format!(
            "INSERT INTO tempfile (fid, createtime, classid, dmid, dkey, devids) VALUES ({fid}, 2000000000, 0, 1, 'x', '1')"
        ));
        assert_eq!(world.session.refused(&format!("create_close domain=d&key=stored&{stored}")), "fid_exists");
        assert_eq!(world.session.refused(&format!("create_close domain=d&key=other&{stored}")), "fid_exists");
        assert_eq!(world.session.ok("file_info domain=d&key=stored")["fid"], fid);
        assert_eq!(database.count("file_to_delete2", &format!("fid = {fid}")), 0);
    });
}

/// A file of another size than announced is no file: its upload is handed to the delete workers.
#[test]
fn an_upload_of_the_wrong_size_is_thrown_away() {
    on_each_database(|database| {
        let mut world = World::start(database);
        let upload = world.upload("k", b"1234");
        let before = rows(database);
        assert_eq!(world.session.refused(&format!("create_close domain=d&key=k&{upload}&size=5")), "size_mismatch");
        let mut expected = before.clone();
        expected.insert("tempfile", before["tempfile"] - 1);
        expected.insert("file_to_delete2", before["file_to_delete2"] + 1);
        // Where its copy lies, for the delete workers.
        expected.insert("file_on", before["file_on"] + 1);
        assert_eq!(rows(database), expected);
        assert_eq!(world.session.refused("file_info domain=d&key=k"), "unknown_key");
        assert_eq!(world.session.refused(&format!("create_close domain=d&key=k&{upload}&size=4")), "no_temp_file");
    });
}

/// Keys are bytes. PostgreSQL keeps them as text, which has no NUL.
#[test]
fn keys_with_nul_bytes() {
    on_each_database(|database| {
        let mut world = World::start(database);
        let before = rows(database);
        if holds_nul(database.kind) {
            let upload = world.upload("a%00b", b"1234");
            world.session.ok(&format!("create_close domain=d&key=a%00b&{upload}"));
            assert_eq!(world.session.ok("file_info domain=d&key=a%00b")["key"], "a\0b");
            assert_eq!(world.session.ok("list_keys domain=d&prefix=a%00")["key_1"], "a\0b");
            assert_eq!(world.session.refused("file_info domain=d&key=a"), "unknown_key");
            assert_eq!(world.session.refused("file_info domain=d&key=a%00c"), "unknown_key");
        } else {
            assert_eq!(world.session.refused("file_info domain=d&key=a%00b"), "failure");
            let upload = world.upload("", b"1234");
            let close = format!("create_close domain=d&key=a%00b&{upload}");
            assert_eq!(world.session.refused(&close), "failure");
            let mut expected = before.clone();
            expected.insert("tempfile", before["tempfile"] + 1);
            assert_eq!(rows(database), expected, "the upload stays open");
        }
        assert_eq!(world.session.ask("noop callid=1"), "OK callid=1");
    });
}

/// MariaDB keeps keys as UTF-8; the others take any bytes (database.md 1.6).
#[test]
fn keys_that_are_not_utf8() {
    on_each_database(|database| {
        let mut world = World::start(database);
        let before = rows(database);
        if holds_any_bytes(database.kind) {
            let upload = world.upload("%ff%e9", b"1234");
            world.session.ok(&format!("create_close domain=d&key=%ff%e9&{upload}"));
            let reply = world.session.ask("file_info domain=d&key=%ff%e9");
            assert!(reply.contains("&key=%FF%E9&"), "{reply}");
            assert_eq!(world.session.refused("get_paths domain=d&key=%ff%fe"), "unknown_key");
        } else {
            assert_eq!(world.session.refused("get_paths domain=d&key=%ff%fe"), "failure");
            assert_eq!(world.session.refused("create_open domain=d&key=%ff%fe"), "db");
            assert_eq!(rows(database), before);
        }
        assert_eq!(world.session.ask("noop callid=1"), "OK callid=1");
    });
}

/// The column has 255 characters; what does not fit is refused and never cut. SQLite does not count.
#[test]
fn keys_as_long_as_the_column_and_longer() {
    on_each_database(|database| {
        let mut world = World::start(database);
        let longest = "k".repeat(255);
        let upload = world.upload(&longest, b"1234");
        world.session.ok(&format!("create_close domain=d&key={longest}&{upload}"));
        assert_eq!(world.session.ok(&format!("file_info domain=d&key={longest}"))["key"], longest);
        let too_long = "k".repeat(256);
        if database.kind != Kind::Sqlite {
            let before = rows(database);
            assert_eq!(world.session.refused(&format!("create_open domain=d&key={too_long}")), "db");
            assert_eq!(rows(database), before);
            let rename = format!("rename domain=d&from_key={longest}&to_key={too_long}");
            assert_eq!(world.session.refused(&rename), "failure");
            assert_eq!(world.session.refused(&format!("file_info domain=d&key={too_long}")), "failure");
        } else {
            assert_eq!(world.session.refused(&format!("file_info domain=d&key={too_long}")), "unknown_key");
        }
        assert_eq!(world.session.ok(&format!("file_info domain=d&key={longest}"))["length"], "4");
    });
}

fn holds_any_bytes(kind: Kind) -> bool {
    match kind {
        Kind::Sqlite => true,
        #[cfg(feature = "mysql")]
        Kind::Mysql => false,
        #[cfg(feature = "postgres")]
        Kind::Postgres => true,
    }
}

fn holds_nul(kind: Kind) -> bool {
    match kind {
        Kind::Sqlite => true,
        #[cfg(feature = "mysql")]
        Kind::Mysql => true,
        #[cfg(feature = "postgres")]
        Kind::Postgres => false,
    }
}

/// Lines of random bytes: one reply each, in order, and nothing is stored.
#[test]
fn noise_is_answered_line_by_line() {
    let database = Database::create(Kind::Sqlite);
    let mut world = World::start(&database);
    let before = rows(&database);
    // A fixed sequence (Knuth's MMIX generator), so that a failure can be repeated.
    let mut state: u64 = 42;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    for round in 0..300 {
        let mut bytes: Vec<u8> = (0..next()).map(|_| next()).filter(|byte| !b"\r\n".contains(byte)).collect();
        // Not empty, and not for the console.
        bytes.insert(0, b'~');
        bytes.extend(b"\r\n");
        world.session.send(&bytes);
        world.session.send(format!("noop callid={round}\r\n").as_bytes());
        let reply = world.session.line();
        assert!(reply.starts_with("ERR unknown_command "), "{bytes:?} answered {reply:?}");
        assert_eq!(world.session.line(), format!("OK callid={round}"), "after {bytes:?}");
    }
    assert_eq!(rows(&database), before);
}

fn tracker(settings: &[&str]) -> (Database, Tracker) {
    let database = Database::create(Kind::Sqlite);
    let tracker = Tracker::start_with(&database, settings);
    (database, tracker)
}

/// `noop` filled up to so many bytes.
fn noop_of(bytes: usize) -> String {
    format!("noop a={}", "x".repeat(bytes - "noop a=".len()))
}

/// Conformance 37 and its limit (docs/DIFFERENCES.md).
#[test]
fn a_line_beyond_the_limit_is_refused_and_ends_the_connection() {
    let (_database, tracker) = tracker(&["limits.line_bytes_max=200"]);
    let refusal = "ERR bad_args Request+line+is+longer+than+200+bytes";
    let mut session = tracker.session();
    assert_eq!(session.ask(&noop_of(200)), "OK ", "at the limit");
    session.send(format!("noop callid=1\r\n{}\r\nnoop callid=2\r\n", noop_of(201)).as_bytes());
    assert_eq!(session.line(), "OK callid=1", "what came before it is answered");
    assert_eq!(session.line(), refusal);
    assert!(session.is_closed());

    let mut endless = tracker.session();
    endless.send("x".repeat(300).as_bytes());
    assert_eq!(endless.line(), refusal, "without waiting for its end");
    assert!(endless.is_closed());
    assert_eq!(tracker.session().ask("noop"), "OK ");
}

/// Also a client that is still sending gets to read why it is cut off.
#[test]
fn a_client_that_sends_too_much_reads_the_refusal() {
    let (_database, tracker) = tracker(&[]);
    let mut session = tracker.session();
    assert_eq!(session.ask(&noop_of(300_000)), "OK ", "conformance 37");
    assert_eq!(session.ask(&noop_of(1 << 20)), "OK ", "at the limit");
    // The tracker hangs up in the middle, or has taken it all by then.
    let _sent_or_not = session.try_send(noop_of(8 << 20).as_bytes());
    assert_eq!(session.line(), "ERR bad_args Request+line+is+longer+than+1048576+bytes");
    assert!(session.is_closed());
}

#[test]
fn a_thousand_requests_in_one_write_get_a_thousand_replies_in_order() {
    let (_database, tracker) = tracker(&[]);
    let mut session = tracker.session();
    let requests: String = (0..1000).map(|n| format!("noop callid={n}\r\n")).collect();
    session.send(requests.as_bytes());
    for n in 0..1000 {
        assert_eq!(session.line(), format!("OK callid={n}"));
    }
}

/// Conformance 39.
#[test]
fn after_a_half_close_all_replies_arrive() {
    let (_database, tracker) = tracker(&[]);
    let mut session = tracker.session();
    let requests: String = (0..200).map(|n| format!("noop callid={n}\r\n")).collect();
    session.send(requests.as_bytes());
    // A line that never ends gets no reply.
    session.send(b"noop callid=unfinished");
    session.half_close();
    for n in 0..200 {
        assert_eq!(session.line(), format!("OK callid={n}"));
    }
    assert!(session.is_closed());
}

/// Conformance 309: a client that never reads is cut off; nobody else waits for it, and its replies are not hoarded.
#[test]
fn a_client_that_never_reads_is_cut_off() {
    let (_database, tracker) = tracker(&["limits.write_timeout_ms=500"]);
    let mut other = tracker.session();
    assert_eq!(other.ask("noop"), "OK ");
    let before_kib = tracker.process.resident_kib();
    let mut deaf = TcpStream::connect(tracker.address).expect("tracker accepts");
    deaf.set_write_timeout(Some(PATIENCE)).expect("socket option");
    let request = format!("noop callid={}\r\n", "x".repeat(100_000));
    // Until the buffers of both sides are full this goes on; then the tracker stops reading, and then it hangs up.
    let writer = std::thread::spawn(move || {
        let begun = Instant::now();
        loop {
            match deaf.write_all(request.as_bytes()) {
                Ok(()) => assert!(begun.elapsed() < PATIENCE, "the tracker takes requests without end"),
                Err(error) => return error.kind(),
            }
        }
    });
    while !writer.is_finished() {
        let begun = Instant::now();
        assert_eq!(other.ask("noop"), "OK ");
        assert!(begun.elapsed() < Duration::from_secs(5), "nobody else waits");
    }
    let ended = writer.join().expect("the writer ends");
    assert!(
        matches!(ended, std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe),
        "hung up, not given up: {ended:?}"
    );
    tracker.process.wait_for_log_beginning("write timeout expired: 127.0.0.1:");
    let grown_kib = tracker.process.resident_kib().saturating_sub(before_kib);
    // A batch of requests and its replies, with room to spare.
    assert!(grown_kib < 64 * 1024, "grown by {grown_kib} KiB");
}

/// A reader that is slow but takes something now and then keeps its connection.
#[test]
fn a_slow_reader_gets_all_its_replies() {
    let (_database, tracker) = tracker(&["limits.write_timeout_ms=2000"]);
    let stream = TcpStream::connect(tracker.address).expect("tracker accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("socket option");
    let mut sender = stream.try_clone().expect("a socket");
    let filler = "x".repeat(100_000);
    let request = format!("noop callid={filler}\r\n");
    let writer = std::thread::spawn(move || (0..100).try_for_each(|_| sender.write_all(request.as_bytes())));
    let mut reader = BufReader::with_capacity(1 << 20, stream);
    for n in 0..100 {
        if n % 10 == 0 {
            // The slowness under test.
            std::thread::sleep(Duration::from_millis(100));
        }
        let mut line = String::new();
        reader.read_line(&mut line).expect("the connection stays");
        assert_eq!(line.len(), "OK callid=\r\n".len() + filler.len(), "reply {n}");
    }
    writer.join().expect("the writer ends").expect("all was sent");
}

/// Starts a tracker that must not start: its exit code and what it says on standard error.
fn failed_start(url: &str) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mogilefs"))
        .args(["tracker", "--db", url, "--listen", "127.0.0.1:0"])
        .args(["--set", "database.lock_wait_ms=200", "--set", "database.connect_timeout_ms=5000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("our program starts");
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("our child") {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill().expect("kill");
            child.wait().expect("wait");
            panic!("{url}: the tracker runs");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut stderr = String::new();
    child.stderr.take().expect("stderr is piped").read_to_string(&mut stderr).expect("UTF-8");
    (status.code(), stderr)
}

/// Exit code 5 and one line that says what is wrong.
fn expect_failed_start(url: &str, says: &[&str]) {
    let (code, stderr) = failed_start(url);
    assert_eq!(code, Some(5), "{url}: {stderr}");
    let error = stderr.lines().find(|line| line.starts_with("error: "));
    let error = error.unwrap_or_else(|| panic!("{url}: no error line in {stderr:?}"));
    for text in says {
        assert!(error.contains(text), "{url}: {error:?} does not say {text:?}");
    }
    assert!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{stderr}");
}

#[test]
fn a_tracker_does_not_start_on_a_database_that_it_cannot_use() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing.db");
    expect_failed_start(&format!("sqlite:{}", missing.display()), &["no database", "missing.db", "db setup"]);
    assert!(!missing.exists(), "looking for it does not make it");

    let text = directory.path().join("text.db");
    std::fs::write(&text, "This is a letter to my aunt. ".repeat(100)).expect("write");
    expect_failed_start(&format!("sqlite:{}", text.display()), &["not a database"]);

    let empty = directory.path().join("empty.db");
    std::fs::write(&empty, "").expect("write");
    expect_failed_start(&format!("sqlite:{}", empty.display()), &["schema version 0", "db setup"]);

    expect_failed_start(&format!("sqlite:{}", directory.path().display()), &["cannot open"]);
    expect_failed_start("oracle://scott:tiger@127.0.0.1/x", &["oracle"]);
}

#[test]
fn a_tracker_does_not_start_on_another_schema_version() {
    on_each_database(|database| {
        for version in ["16", "18"] {
            database.execute(&format!("UPDATE server_settings SET value = '{version}' WHERE field = 'schema_version'"));
            expect_failed_start(&database.url, &[&format!("schema version {version}"), "17"]);
        }
    });
}

#[test]
fn a_tracker_does_not_start_on_a_locked_database() {
    let database = Database::create(Kind::Sqlite);
    let lock = database.lock_exclusively();
    expect_failed_start(&database.url, &["locked"]);
    drop(lock);
    assert_eq!(Tracker::start(&database).session().ask("noop"), "OK ");
}

/// The password is not for the log.
#[cfg(any(feature = "mysql", feature = "postgres"))]
#[test]
fn a_tracker_does_not_start_without_its_database_server() {
    // A port that nobody listens on: it was free a moment ago.
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    for scheme in ["mysql", "postgres"] {
        let url = format!("{scheme}://moggy:sesame-open@127.0.0.1:{port}/mog");
        expect_failed_start(&url, &[]);
        let (_, stderr) = failed_start(&url);
        assert!(!stderr.contains("sesame-open"), "{stderr}");
    }
}
