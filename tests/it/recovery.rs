//! Sudden ends: of the tracker, of nodes, of uploads. What was acknowledged is there afterwards, whole.

use crate::support::cluster::{Cluster, Node, Tracker, http, http_put};
use crate::support::database::{Database, Kind, on_each_database};
use crate::support::fake_node::{FakeNode, Manners};
use crate::support::process::Process;
use crate::support::session::{Session, pairs};
use crate::support::{PATIENCE, eventually};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

fn sqlite() -> Database {
    Database::create(Kind::Sqlite)
}

/// SIGKILL, then another tracker on the same database.
fn kill_and_replace_tracker(cluster: &mut Cluster, database: &Database) {
    cluster.tracker.process.kill();
    cluster.tracker = Tracker::start(database);
    cluster.wait_until_writeable(cluster.nodes.len() * 2);
}

/// A row that the dead tracker had claimed comes back after 1000 s; here at once.
fn end_claims(database: &Database) {
    database.execute("UPDATE file_to_replicate SET nexttry = 0");
}

fn close_request(key: &str, open: &BTreeMap<String, String>, size: usize) -> String {
    let (fid, devid, path) = (&open["fid"], &open["devid"], &open["path"]);
    format!("create_close domain=d&key={key}&fid={fid}&devid={devid}&path={path}&size={size}")
}

/// Killed between any two steps of an upload, the tracker's successor goes on with the next step.
#[test]
fn an_upload_survives_a_tracker_killed_between_its_steps() {
    on_each_database(|database| {
        let mut cluster = Cluster::start(database);
        for killed_after in ["create_open", "PUT", "create_close"] {
            let (key, content) = (format!("after-{killed_after}"), format!("content of {killed_after}").into_bytes());
            let open = cluster.session().ok(&format!("create_open domain=d&key={key}"));
            if killed_after == "create_open" {
                kill_and_replace_tracker(&mut cluster, database);
            }
            http_put(&open["path"], &content);
            if killed_after == "PUT" {
                kill_and_replace_tracker(&mut cluster, database);
                assert_eq!(cluster.session().refused(&format!("get_paths domain=d&key={key}")), "unknown_key");
            }
            cluster.session().ok(&close_request(&key, &open, content.len()));
            if killed_after == "create_close" {
                kill_and_replace_tracker(&mut cluster, database);
            }
            assert_eq!(cluster.get(&key), content);
            end_claims(database);
            cluster.wait_for_copies(&key, 2);
            assert_eq!(cluster.get_all(&key), vec![content; 2]);
        }
    });
}

/// J56: killed in the middle of a copy, which the source holds there.
#[test]
fn a_copy_survives_a_tracker_killed_in_the_middle_of_it() {
    let database = sqlite();
    let content: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
    let cluster = Cluster::start_without_nodes(&database, &[]);
    let fake = FakeNode::start(9, Manners::HoldsDownload);
    cluster.add_host("fake", "127.0.0.9", fake.address.port(), &[91]);
    cluster.wait_until_writeable(1);
    cluster.put("k", "", &content);
    let fid = cluster.fid("k");
    eventually("there is no place yet", || (database.count("file_to_replicate", "failcount = 1") == 1).then_some(()));
    let mut cluster = cluster.with_nodes(&[&[1]]);
    cluster.wait_until_writeable(2);
    end_claims(&database);
    eventually("the copy is under way", || {
        (fake.held() == 1 && !cluster.nodes[0].temporary_files().is_empty()).then_some(())
    });
    cluster.tracker.process.kill();
    // Not lost, and not anybody else's before the claim ends.
    let claimed = format!("fid = {fid} AND nexttry > {}", unix_now() + 900);
    assert_eq!(database.count("file_to_replicate", &claimed), 1);
    assert_eq!(database.count("file_on", &format!("fid = {fid}")), 1);
    fake.set_manners(Manners::Good);
    eventually("the node drops the half file", || cluster.nodes[0].temporary_files().is_empty().then_some(()));
    assert!(cluster.nodes[0].stored_files().is_empty());
    cluster.tracker = Tracker::start(&database);
    cluster.wait_until_writeable(2);
    end_claims(&database);
    cluster.wait_for_copies("k", 2);
    assert_eq!(cluster.get_all("k"), vec![content; 2]);
}

fn unix_now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

/// Keys that one uploader writes in turn, so that keys are overwritten too.
const KEYS_PER_UPLOADER: usize = 7;
const UPLOADERS: usize = 8;

/// What one uploader knows of a key.
#[derive(Default)]
struct Expected {
    /// The last content whose close was acknowledged.
    acknowledged: Option<Vec<u8>>,
    /// Content whose close was asked for and not answered.
    uncertain: Option<Vec<u8>>,
}

/// A content that no other upload has, of differing lengths.
fn content(key: &str, turn: usize) -> Vec<u8> {
    let line = format!("{key} turn {turn}\n");
    line.repeat(1 + (turn * 37) % 400).into_bytes()
}

/// A tracker connection that may die at any moment.
struct Fragile(BufReader<TcpStream>);

impl Fragile {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The pairs of an OK; everything else is an error. A refusal fails the test: nothing here may be refused.
    fn ask(&mut self, request: &str) -> io::Result<BTreeMap<String, String>> {
        self.0.get_mut().write_all(format!("{request}\r\n").as_bytes())?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let Some(line) = line.strip_suffix("\r\n") else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        Ok(pairs(line.strip_prefix("OK ").unwrap_or_else(|| panic!("{request} answered {line}"))))
    }
}

/// Uploads until the tracker is gone.
fn upload_until_the_end(
    uploader: usize,
    address: SocketAddr,
    acknowledged: &AtomicUsize,
) -> BTreeMap<String, Expected> {
    let mut expected: BTreeMap<String, Expected> = BTreeMap::new();
    let Ok(mut session) = Fragile::connect(address) else { return expected };
    for turn in 0.. {
        let key = format!("u{uploader}-k{}", turn % KEYS_PER_UPLOADER);
        let content = content(&key, turn);
        let Ok(open) = session.ask(&format!("create_open domain=d&key={key}")) else { break };
        http_put(&open["path"], &content);
        let known = expected.entry(key.clone()).or_default();
        if session.ask(&close_request(&key, &open, content.len())).is_err() {
            known.uncertain = Some(content);
            break;
        }
        known.acknowledged = Some(content);
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    expected
}

/// An orderly stop leaves no row claimed: nobody would work on it for 1000 s.
fn assert_nothing_claimed(database: &Database) {
    let claimed = format!("nexttry > {} AND nexttry < 2147483647", unix_now() + 100);
    assert_eq!(database.count("file_to_replicate", &claimed), 0, "rows are still claimed");
    assert_eq!(database.count("file_to_delete2", &claimed), 0, "rows are still claimed");
}

/// Uploads with many connections, ends the tracker when so many are acknowledged, and gives what must be there.
fn storm(
    cluster: &mut Cluster,
    until_acknowledged: usize,
    end: impl FnOnce(&mut Process),
) -> BTreeMap<String, Expected> {
    let acknowledged = AtomicUsize::new(0);
    let address = cluster.tracker.address;
    std::thread::scope(|scope| {
        let uploaders: Vec<_> = (0..UPLOADERS)
            .map(|uploader| {
                let acknowledged = &acknowledged;
                scope.spawn(move || upload_until_the_end(uploader, address, acknowledged))
            })
            .collect();
        eventually("enough uploads", || (acknowledged.load(Ordering::SeqCst) >= until_acknowledged).then_some(()));
        end(&mut cluster.tracker.process);
        uploaders.into_iter().flat_map(|uploader| uploader.join().expect("no refusal")).collect()
    })
}

/// Every acknowledged file is there, whole, and finally twice; an unacknowledged one is there whole or not at all.
fn check_all(cluster: &Cluster, database: &Database, expected: &BTreeMap<String, Expected>) {
    let mut session = cluster.session();
    for (key, known) in expected {
        let reply = session.ask(&format!("get_paths domain=d&key={key}"));
        let Some(paths) = reply.strip_prefix("OK ").map(pairs) else {
            assert!(known.acknowledged.is_none(), "{key} was acknowledged and is gone: {reply}");
            continue;
        };
        let (status, found) = http("GET", &paths["path1"], b"");
        assert_eq!(status, 200, "{key}");
        let is_known = [&known.acknowledged, &known.uncertain].into_iter().flatten().any(|content| *content == found);
        assert!(is_known, "{key} has {} bytes that nobody stored", found.len());
    }
    end_claims(database);
    eventually("every file has two copies", || {
        (database.count("file", "devcount <> 2") == 0 && database.count("file_to_replicate", "1 = 1") == 0)
            .then_some(())
    });
    for key in expected.iter().filter(|(_, known)| known.acknowledged.is_some()).map(|(key, _)| key) {
        let copies = cluster.get_all(key);
        assert_eq!(copies.len(), 2, "{key}");
        assert_eq!(copies[0], copies[1], "{key}");
    }
}

/// kill -9 of the tracker under load, several times, early and late (C58).
#[test]
fn acknowledged_uploads_survive_kills_of_the_tracker_under_load() {
    on_each_database(|database| {
        let mut cluster = Cluster::start(database);
        for until_acknowledged in [3, 40, 150] {
            let expected = storm(&mut cluster, until_acknowledged, Process::kill);
            assert!(!expected.is_empty());
            cluster.tracker = Tracker::start(database);
            cluster.wait_until_writeable(6);
            check_all(&cluster, database, &expected);
        }
    });
}

/// SIGTERM under load: exit code 0, what was acknowledged is there, and no row stays claimed.
#[test]
fn a_tracker_told_to_end_under_load_ends_in_order() {
    let database = sqlite();
    let mut cluster = Cluster::start(&database);
    let expected = storm(&mut cluster, 50, |tracker| assert_eq!(tracker.terminate(), Some(0)));
    assert_nothing_claimed(&database);
    cluster.tracker = Tracker::start(&database);
    cluster.wait_until_writeable(6);
    check_all(&cluster, &database, &expected);
}

/// The tracker dies while a close is on its way: the file is there whole, or the close can be repeated.
#[test]
fn a_close_without_an_answer_can_be_repeated() {
    let database = sqlite();
    let mut cluster = Cluster::start(&database);
    for turn in 0..4 {
        let (key, content) = (format!("k{turn}"), content("x", turn));
        let mut session = cluster.session();
        let open = session.ok(&format!("create_open domain=d&key={key}"));
        http_put(&open["path"], &content);
        let close = close_request(&key, &open, content.len());
        session.send(format!("{close}\r\n").as_bytes());
        // 0 to 6 ms: before, in and after the close, on most machines.
        std::thread::sleep(std::time::Duration::from_millis(2 * turn as u64));
        kill_and_replace_tracker(&mut cluster, &database);
        let reply = cluster.session().ask(&close);
        assert!(reply.starts_with("OK") || reply.starts_with("ERR no_temp_file"), "{reply}");
        assert_eq!(cluster.get(&key), content);
        assert_eq!(database.count("file", &format!("fid = {}", open["fid"])), 1);
        assert_eq!(database.count("tempfile", &format!("fid = {}", open["fid"])), 0);
    }
}

/// N1, N2: a node killed in the middle of an upload over an old file serves the old file, and nothing else stays.
#[test]
fn a_node_killed_in_the_middle_of_an_upload_keeps_the_old_file() {
    let mut node = Node::start(1, &[1]);
    let path = "/dev1/0/000/000/0000000001.fid";
    let url = format!("http://{}:{}{path}", node.ip, node.port);
    http_put(&url, b"old content");
    let mut upload = TcpStream::connect((node.ip.as_str(), node.port)).expect("connect");
    let length = 4 << 20;
    write!(upload, "PUT {path} HTTP/1.1\r\nHost: n\r\nContent-Length: {length}\r\n\r\n").expect("node reads");
    upload.write_all(&vec![b'n'; length / 2]).expect("node reads");
    eventually("half of the upload is on disk", || {
        let half = |path: &std::path::PathBuf| path.metadata().is_ok_and(|metadata| metadata.len() >= 1 << 20);
        node.temporary_files().iter().any(half).then_some(())
    });
    assert_eq!(http("GET", &url, b"").1, b"old content");
    node.process.kill();
    node.restart();
    assert_eq!(http("GET", &url, b""), (200, b"old content".to_vec()));
    eventually("no temporary file stays", || node.temporary_files().is_empty().then_some(()));
    assert_eq!(http("GET", &url, b"").1, b"old content");
    assert_eq!(node.stored_files(), [node.file(path)]);
}

/// A client that goes away in the middle of an upload over an old file.
#[test]
fn an_upload_that_breaks_off_keeps_the_old_file() {
    let node = Node::start(1, &[1]);
    let path = "/dev1/0/000/000/0000000001.fid";
    let url = format!("http://{}:{}{path}", node.ip, node.port);
    http_put(&url, b"old content");
    let mut upload = TcpStream::connect((node.ip.as_str(), node.port)).expect("connect");
    write!(upload, "PUT {path} HTTP/1.1\r\nHost: n\r\nContent-Length: 4000000\r\n\r\n").expect("node reads");
    upload.write_all(&vec![b'n'; 2_000_000]).expect("node reads");
    eventually("the upload is under way", || (!node.temporary_files().is_empty()).then_some(()));
    drop(upload);
    eventually("no temporary file stays", || node.temporary_files().is_empty().then_some(()));
    assert_eq!(http("GET", &url, b"").1, b"old content");
}

/// A node that is down when the tracker starts is used once it comes up.
#[test]
fn a_node_that_comes_up_after_the_tracker_is_used() {
    let database = sqlite();
    let mut cluster = Cluster::start(&database);
    cluster.nodes[2].process.kill();
    cluster.tracker.process.kill();
    cluster.tracker = Tracker::start(&database);
    cluster.wait_until_writeable(4);
    cluster.put("k", "three", b"bytes");
    cluster.wait_for_copies("k", 3);
    cluster.nodes[2].restart();
    cluster.wait_until_writeable(6);
    end_claims(&database);
    eventually("the third host has a copy", || {
        cluster.devids("k").iter().any(|devid| [5, 6].contains(devid)).then_some(())
    });
}

/// Three ports for the demo's nodes and one for their side channels, free on all its addresses a moment ago.
fn free_port_block() -> u16 {
    let is_free = |port: u16| (1..=3).all(|n| TcpListener::bind((format!("127.0.0.{n}"), port)).is_ok());
    let first = 20_000 + (std::process::id() % 2_000) as u16 * 5;
    (0..200).map(|n| first + n * 4).find(|&block| (block..block + 4).all(is_free)).expect("free ports")
}

/// The demo's process; its greeting is on standard output, so the tracker's port is chosen here.
struct Demo {
    process: Process,
    address: SocketAddr,
}

impl Demo {
    fn start(data_dir: &std::path::Path) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let node_port = free_port_block().to_string();
        let listen = address.to_string();
        let data_dir = data_dir.to_str().expect("UTF-8");
        let process =
            Process::start_plain(&["demo", "--data-dir", data_dir, "--listen", &listen, "--node-port", &node_port]);
        eventually("the demo listens", || TcpStream::connect(address).ok());
        Self { process, address }
    }

    fn ask(&self, request: &str) -> String {
        Session::connect(self.address).ask(request)
    }
}

/// The demo's files are there at its next start, on other ports too.
#[test]
fn the_demo_keeps_its_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let data_dir = directory.path().join("data");
    let mut demo = Demo::start(&data_dir);
    let open = eventually("devices are writeable", || {
        demo.ask("create_open domain=demo&key=k").strip_prefix("OK ").map(pairs)
    });
    http_put(&open["path"], b"kept");
    let closed = demo.ask(&close_request("k", &open, 4).replace("domain=d&", "domain=demo&"));
    assert!(closed.starts_with("OK"), "{closed}");
    eventually("a second copy is made", || {
        demo.ask("file_info domain=demo&key=k").contains("devcount=2").then_some(())
    });
    assert_eq!(demo.process.terminate(), Some(0));

    let mut demo = Demo::start(&data_dir);
    let paths = eventually("both copies are seen", || {
        let reply = demo.ask("get_paths domain=demo&key=k");
        reply.strip_prefix("OK ").map(pairs).filter(|paths| paths["paths"] == "2")
    });
    for path in ["path1", "path2"] {
        assert_eq!(http("GET", &paths[path], b""), (200, b"kept".to_vec()));
    }
    assert_eq!(demo.process.terminate(), Some(0));
}
