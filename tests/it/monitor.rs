//! The monitor as nodes, databases and clients see it: when it asks what, what it stores, and what follows for clients.

use crate::support::cluster::{Cluster, Node, Tracker};
use crate::support::database::{Database, Kind, on_each_database};
use crate::support::eventually;
use crate::support::session::Session;
use crate::support::watched_node::{Answer, WatchedNode};
use mogilefs::cluster::device_state::{DeviceStatus, HostStatus};
use mogilefs::ids::DevId;
use mogilefs::logging;
use mogilefs::settings::Settings;
use mogilefs::store::{Store, devices, domains, hosts};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// No jobs: only the monitor asks nodes.
const NO_JOBS: &[&str] = &["tracker.job_master=false"];

fn sqlite() -> Database {
    Database::create(Kind::Sqlite)
}

/// A cluster of scripted nodes h1, h2, ... with these devices.
fn scripted(database: &Database, settings: &[&str], nodes: &[(&WatchedNode, &[i64])]) -> Cluster {
    let cluster = Cluster::start_without_nodes(database, settings);
    for (number, (node, devids)) in (1..).zip(nodes) {
        cluster.add_host(&format!("h{number}"), &node.address.ip().to_string(), node.address.port(), devids);
    }
    cluster
}

/// One field of one device, as `get_devices` tells it.
fn device_field(session: &mut Session, devid: i64, field: &str) -> String {
    let pairs = session.ok(&format!("get_devices devid={devid}"));
    pairs.get(&format!("dev1_{field}")).cloned().unwrap_or_default()
}

fn wait_for_state(cluster: &Cluster, devid: i64, state: &str) {
    let mut session = cluster.session();
    eventually(&format!("device {devid} is seen {state}"), || {
        (device_field(&mut session, devid, "observed_state") == state).then_some(())
    });
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("not that late")
}

/// The longest time between two of these.
fn longest_gap(times: &[Instant]) -> Duration {
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// J13, J14, J23, J27: how often which device is asked and written to.
#[test]
fn devices_are_asked_every_round_and_tested_rarely() {
    let (node, idle) = (WatchedNode::start(1), WatchedNode::start(2));
    let database = sqlite();
    let cluster = scripted(&database, NO_JOBS, &[(&node, &[1, 2, 3, 4]), (&idle, &[5])]);
    let mut session = cluster.session();
    session.ok("set_state host=h1&device=2&state=down");
    session.ok("set_state host=h1&device=3&state=dead");
    session.ok("set_state host=h1&device=4&state=readonly");
    session.ok("update_host host=h2&status=down");
    wait_for_state(&cluster, 1, "writeable");
    wait_for_state(&cluster, 4, "readable");
    let asked_before: Vec<_> = [2, 3, 5].map(|devid| node.count(&format!("GET /dev{devid}/")) + idle.count("")).into();
    let begun = node.count("GET /dev1/usage");
    eventually("some rounds", || (node.count("GET /dev1/usage") >= begun + 4).then_some(()));
    let times = &node.times("GET /dev1/usage")[begun..];
    let each = (times[times.len() - 1] - times[0]) / u32::try_from(times.len() - 1).expect("few");
    assert!((Duration::from_millis(2400)..Duration::from_millis(3500)).contains(&each), "{each:?}");
    let asked: Vec<_> = [2, 3, 5].map(|devid| node.count(&format!("GET /dev{devid}/")) + idle.count("")).into();
    assert_eq!(asked, asked_before, "nobody asks what is down or dead");
    let tests = node.times("PUT /dev1/test-write/test-write-");
    assert!(tests.windows(2).all(|pair| pair[1] - pair[0] > Duration::from_secs(14)), "{tests:?}");
    let of_readonly = node.times("PUT /dev4/").len();
    assert!(of_readonly <= 2, "only before it was marked readonly: {of_readonly}");
}

/// J16, J17: what is stored, and when it is stored anew.
#[test]
fn usage_figures_are_stored_when_they_are_old() {
    on_each_database(|database| {
        let node = WatchedNode::start(1);
        let cluster = scripted(database, NO_JOBS, &[(&node, &[1, 2])]);
        wait_for_state(&cluster, 1, "writeable");
        let stored = "mb_total = 976562 AND mb_used = 97656 AND mb_asof IS NOT NULL";
        eventually("figures are stored", || (database.count("device", stored) == 2).then_some(()));
        let asof = unix_now() - 10;
        database.execute(&format!("UPDATE device SET mb_used = 5, mb_asof = {asof} WHERE devid = 1"));
        let renewed = format!("devid = 1 AND {stored}");
        eventually("figures are stored anew", || (database.count("device", &renewed) == 1).then_some(()));
        assert_eq!(database.count("device", &format!("devid = 1 AND mb_asof > {}", asof + 15)), 1, "and no sooner");
    });
}

/// J18: another session holds the lock. States are seen all the same, and new devices are of use.
#[test]
fn who_holds_the_lock_stores_the_figures() {
    on_each_database(|database| {
        let mut settings = Settings::defaults().database;
        settings.url.clone_from(&database.url);
        let store = Store::open(&settings, logging::discard()).expect("open");
        let session = store.session().expect("session");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let lock = runtime.block_on(session.try_lock("mgfs:device_update", Duration::ZERO)).expect("asked");
        let lock = lock.expect("nobody else has it");
        let node = WatchedNode::start(1);
        let cluster = scripted(database, NO_JOBS, &[(&node, &[1])]);
        wait_for_state(&cluster, 1, "writeable");
        let rounds = node.count("GET /dev1/usage");
        eventually("two more rounds", || (node.count("GET /dev1/usage") >= rounds + 2).then_some(()));
        assert_eq!(database.count("device", "mb_asof IS NULL AND mb_total IS NULL"), 1);
        cluster.session().ok("create_open domain=d&key=k&class=one");
        runtime.block_on(lock.release());
        eventually("figures are stored", || (database.count("device", "mb_total = 976562") == 1).then_some(()));
    });
}

/// No `no_devices` at a cold start: the first request of all gets devices that nobody knew of when the tracker began.
#[test]
fn the_first_request_after_a_start_gets_devices() {
    on_each_database(|database| {
        let nodes = [WatchedNode::start(1), WatchedNode::start(2)];
        let silent = WatchedNode::start(3);
        silent.answer(|_| Some(Answer::Silence));
        store_topology(database, &[(&nodes[0], &[1, 2]), (&silent, &[5, 6, 7, 8]), (&nodes[1], &[3, 4])]);
        let tracker = Tracker::start_with(database, NO_JOBS);
        let begun = Instant::now();
        let open = tracker.session().ok("create_open domain=d&key=k&multi_dest=1");
        assert!(open["devid_1"].parse::<i64>().expect("a number") <= 4, "{open:?}");
        assert_eq!(open["dev_count"], "2", "one of each host that answers");
        let waited = begun.elapsed();
        assert!(waited < Duration::from_secs(10), "one host that is silent costs its time limit: {waited:?}");
    });
}

/// A domain `d`, hosts and devices, as an earlier tracker would have left them.
fn store_topology(database: &Database, nodes: &[(&WatchedNode, &[i64])]) {
    let mut settings = Settings::defaults().database;
    settings.url.clone_from(&database.url);
    let store = Store::open(&settings, logging::discard()).expect("open");
    let session = store.session().expect("session");
    let nodes: Vec<(SocketAddr, Vec<i64>)> =
        nodes.iter().map(|(node, devids)| (node.address, devids.to_vec())).collect();
    let stored = session.write(move |conn| {
        domains::create(conn, "d".into())?;
        for (address, devids) in &nodes {
            let values = hosts::HostChanges {
                ip: Some(address.ip().to_string()),
                http_port: Some(address.port()),
                status: Some(HostStatus::Alive),
                ..hosts::HostChanges::default()
            };
            let hostid = hosts::create(conn, &format!("h{}", address.ip()), &values)?;
            devids.iter().try_for_each(|devid| devices::create(conn, DevId(*devid), hostid, DeviceStatus::Alive))?;
        }
        Ok(())
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(stored).expect("stored");
}

/// A host of many devices that never answers: the others are asked as often as ever, and clients notice nothing.
#[test]
fn a_node_that_never_answers_holds_up_nobody() {
    let (silent, healthy) = (WatchedNode::start(1), WatchedNode::start(2));
    silent.answer(|_| Some(Answer::Silence));
    let many: Vec<i64> = (100..400).collect();
    let database = sqlite();
    store_topology(&database, &[(&silent, &many), (&healthy, &[1, 2])]);
    let tracker = Tracker::start_with(&database, &["tracker.job_master=false", "monitor.checks_in_flight_max=25"]);
    let mut session = tracker.session();
    for number in 0..5 {
        let path = session.ok(&format!("create_open domain=d&key=k{number}"))["path"].clone();
        assert!(path.contains("127.0.0.2"), "{path}");
    }
    eventually("some rounds", || (healthy.count("GET /dev2/usage") >= 5).then_some(()));
    let gap = longest_gap(&healthy.times("GET /dev2/usage"));
    assert!(gap < Duration::from_secs(5), "{gap:?}");
    assert_eq!(device_field(&mut session, 100, "observed_state"), "unreachable");
    let begun = Instant::now();
    session.ok("clear_cache");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

/// J30, J32, J35, J33: what somebody else changes is seen soon and costs no observation; an outage changes nothing.
#[test]
fn changes_of_others_are_seen_and_an_outage_is_borne() {
    on_each_database(|database| {
        let node = WatchedNode::start(1);
        let cluster = scripted(database, NO_JOBS, &[(&node, &[1, 2])]);
        wait_for_state(&cluster, 1, "writeable");
        let mut session = cluster.session();
        database.execute("UPDATE device SET weight = 77 WHERE devid = 1");
        database.execute("DELETE FROM device WHERE devid = 2");
        database.execute("INSERT INTO server_settings (field, value) VALUES ('memcache_ttl', '7')");
        let begun = Instant::now();
        eventually("the new weight", || (device_field(&mut session, 1, "weight") == "77").then_some(()));
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        assert_eq!(device_field(&mut session, 1, "observed_state"), "writeable");
        assert_eq!(session.ok("get_devices")["devices"], "1");

        database.execute("ALTER TABLE class RENAME TO class_away");
        cluster.tracker.process.wait_for_log_beginning("cannot read the configuration tables");
        let rounds = node.count("GET /dev1/usage");
        eventually("rounds go on", || (node.count("GET /dev1/usage") > rounds).then_some(()));
        assert_eq!(device_field(&mut session, 1, "observed_state"), "writeable");
        assert_eq!(session.ok("get_hosts")["hosts"], "1");
        database.execute("ALTER TABLE class_away RENAME TO class");
        cluster.tracker.process.wait_for_log_beginning("database answers again");
    });
}

/// A scripted side channel. Each connection must say `watch`; then it is handed to the test.
struct SideChannel {
    listener: TcpListener,
}

impl SideChannel {
    fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").expect("bind") }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("bound").port()
    }

    fn setting(&self) -> String {
        format!("storage.side_channel_port={}", self.port())
    }

    fn accept(&self) -> TcpStream {
        let (mut stream, _) = self.listener.accept().expect("somebody comes");
        let mut word = [0; 6];
        stream.read_exact(&mut word).expect("a line");
        assert_eq!(&word, b"watch\n");
        stream
    }
}

fn wait_for_utilization(session: &mut Session, devid: i64, value: &str) {
    eventually(&format!("device {devid} is {value} % busy"), || {
        (device_field(session, devid, "utilization") == value).then_some(())
    });
}

/// J36, J37, J38: the stream is shown, followed and opened anew; what it says of unknown devices is nothing.
#[test]
fn utilization_comes_from_the_side_channel() {
    let node = WatchedNode::start(1);
    let channel = SideChannel::start();
    let database = sqlite();
    let cluster = scripted(&database, &["tracker.job_master=false", &channel.setting()], &[(&node, &[41, 42])]);
    let mut session = cluster.session();
    let mut stream = channel.accept();
    stream.write_all(b"41\t37\n42\t4.40\n99\t50\n.\n").expect("read");
    wait_for_utilization(&mut session, 41, "37");
    wait_for_utilization(&mut session, 42, "4.40");
    assert_eq!(session.ok("get_devices")["devices"], "2");
    session.ok("set_weight host=h1&device=41&weight=50");
    assert_eq!(device_field(&mut session, 41, "utilization"), "37", "J35");
    drop(stream);
    let begun = Instant::now();
    let mut stream = channel.accept();
    assert!(begun.elapsed() < Duration::from_secs(5), "at once: {:?}", begun.elapsed());
    stream.write_all(b"41\t38\n.\n").expect("read");
    wait_for_utilization(&mut session, 41, "38");
    wait_for_utilization(&mut session, 42, "");

    // One that says nothing before it goes, or refuses: again with a good answer of the node, not after a minute.
    drop(stream);
    drop(channel.accept());
    let begun = Instant::now();
    channel.accept().write_all(b"ERR iostat unavailable\n").expect("read");
    let mut stream = channel.accept();
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    stream.write_all(b"41\t39\n.\n").expect("read");
    wait_for_utilization(&mut session, 41, "39");
}

/// A node's side channel that floods, or hangs with half a line, costs rounds and clients nothing.
#[test]
fn a_hostile_side_channel_stalls_nothing() {
    let node = WatchedNode::start(1);
    let channel = SideChannel::start();
    let database = sqlite();
    let cluster = scripted(&database, &["tracker.job_master=false", &channel.setting()], &[(&node, &[41])]);
    let mut flooding = channel.accept();
    std::thread::spawn(move || {
        let group = "41\t5\n.\n".repeat(10_000);
        for _ in 0..15 {
            flooding.write_all(group.as_bytes()).expect("read, however slowly");
        }
        drop(flooding);
        let mut hanging = channel.accept();
        hanging.write_all(b"41\t").expect("read");
        let _open_to_the_end = (channel.accept(), hanging);
    });
    wait_for_state(&cluster, 41, "writeable");
    wait_for_utilization(&mut cluster.session(), 41, "5");
    let begun = node.count("GET /dev41/usage");
    eventually("some rounds", || (node.count("GET /dev41/usage") >= begun + 3).then_some(()));
    let gap = longest_gap(&node.times("GET /dev41/usage")[begun..]);
    assert!(gap < Duration::from_secs(4), "{gap:?}");
    let begun = Instant::now();
    cluster.session().ok("clear_cache");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

/// J36 with our own node: what its stream says arrives.
#[test]
fn our_node_tells_our_tracker_how_busy_it_is() {
    let node = Node::start(1, &[1]);
    let port = node.process.logged_address("storage node is ready", "side_channel").port();
    let database = sqlite();
    let setting = format!("storage.side_channel_port={port}");
    let cluster = Cluster::start_without_nodes(&database, &["tracker.job_master=false", &setting]);
    cluster.add_host("h1", &node.ip, node.port, &[1]);
    let mut session = cluster.session();
    eventually("a value of device 1", || {
        let value = device_field(&mut session, 1, "utilization");
        // A file system without a disk of its own has no figure.
        (value == "-" || value.parse::<f64>().is_ok_and(|percent| (0.0..=100.0).contains(&percent))).then_some(())
    });
}

fn usage_with(mark: &str) -> String {
    format!("total: 1000000000\nused: 100000000\n{mark}")
}

/// Lets every device of the node show this line in its usage file.
fn show_mark(node: &WatchedNode, mark: &'static str) {
    node.answer(move |line| line.ends_with("/usage").then(|| Answer::Body(usage_with(mark))));
}

/// What `check_cluster` says of a device, as kind and sentence.
fn problem_of(session: &mut Session, devid: i64) -> Option<(String, String)> {
    let reply = session.ok("check_cluster");
    let count: usize = reply["problems"].parse().expect("a number");
    (1..=count)
        .find(|n| reply.get(&format!("problem_{n}_devid")) == Some(&devid.to_string()))
        .map(|n| (reply[&format!("problem_{n}_kind")].clone(), reply[&format!("problem_{n}_text")].clone()))
}

/// Another disk, or none, in the place of a device: it takes nothing until its disk is back or somebody accepts it.
#[test]
fn a_swapped_disk_takes_no_files() {
    on_each_database(|database| {
        let node = WatchedNode::start(1);
        show_mark(&node, "uuid: aaa\n");
        let cluster = scripted(database, NO_JOBS, &[(&node, &[1])]);
        let mut session = cluster.session();
        let remembered =
            |mark: &str| database.count("mogilefs_device_guard", &format!("devid = 1 AND uuid = '{mark}'"));
        eventually("the mark is remembered", || (remembered("aaa") == 1).then_some(()));
        wait_for_state(&cluster, 1, "writeable");
        assert_eq!(session.ok("accept_device device=1")["accepted"], "0");

        show_mark(&node, "uuid: bbb\n");
        wait_for_state(&cluster, 1, "unreachable");
        cluster.tracker.process.wait_for_log_beginning("mount guard failed");
        let puts = node.count("PUT");
        let (kind, text) = problem_of(&mut session, 1).expect("a problem");
        assert_eq!(kind, "mount_guard");
        assert!(text.contains("bbb, not aaa"), "{text}");
        assert!(session.ask("create_open domain=d&key=k&class=one").starts_with("ERR no_devices"));
        database.execute("INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES (7, 1, 'f', 1, 0, 1)");
        database.execute("INSERT INTO file_on (fid, devid) VALUES (7, 1)");
        let explained = session.ok("explain domain=d&key=f")["copy_1_reason"].clone();
        assert!(explained.contains("another disk is mounted"), "{explained}");

        show_mark(&node, "uuid: aaa\n");
        wait_for_state(&cluster, 1, "writeable");
        assert_eq!(problem_of(&mut session, 1), None);
        show_mark(&node, "");
        wait_for_state(&cluster, 1, "unreachable");
        assert!(node.count("PUT") <= puts + 4, "nothing is written to the wrong disk");
        let accepted = session.ok("accept_device device=1");
        assert_eq!((&*accepted["accepted"], &*accepted["uuid"]), ("1", ""));
        wait_for_state(&cluster, 1, "writeable");
        assert_eq!(database.count("mogilefs_device_guard", "uuid IS NULL"), 1);

        show_mark(&node, "uuid: ccc\n");
        eventually("the next mark is remembered", || (remembered("ccc") == 1).then_some(()));
        show_mark(&node, "uuid: ddd\n");
        wait_for_state(&cluster, 1, "unreachable");
        assert_eq!(session.ok("accept_device device=1")["uuid"], "ddd");
        wait_for_state(&cluster, 1, "writeable");
        assert_eq!(remembered("ddd"), 1);
        assert_eq!(session.refused("accept_device device=99"), "no_device");
    });
}

/// Without our table everything is as ever, and it is said once.
#[test]
fn without_the_table_marks_are_not_watched() {
    let database = sqlite();
    database.execute("DROP TABLE mogilefs_device_guard");
    let node = WatchedNode::start(1);
    show_mark(&node, "uuid: aaa\n");
    let cluster = scripted(&database, NO_JOBS, &[(&node, &[1])]);
    wait_for_state(&cluster, 1, "writeable");
    cluster.tracker.process.wait_for_log_beginning("marks of disks are not watched");
    show_mark(&node, "uuid: bbb\n");
    let rounds = node.count("GET /dev1/usage");
    eventually("two rounds", || (node.count("GET /dev1/usage") >= rounds + 2).then_some(()));
    assert_eq!(device_field(&mut cluster.session(), 1, "observed_state"), "writeable");
    assert_eq!(
        cluster.tracker.process.count_logged("marks of disks are not watched: the database has no table for them"),
        1
    );
}

/// Our own node marks its devices, and shows that in the usage file.
#[test]
fn our_node_marks_its_devices() {
    let database = sqlite();
    let cluster = Cluster::start_without_nodes(&database, NO_JOBS).with_nodes(&[&[1, 2]]);
    eventually("both marks are remembered", || {
        (database.count("mogilefs_device_guard", "uuid IS NOT NULL") == 2).then_some(())
    });
    let usage = std::fs::read_to_string(cluster.nodes[0].file("/dev1/usage")).expect("there");
    let mark = std::fs::read_to_string(cluster.nodes[0].file("/dev1/.mogilefs-device")).expect("there");
    assert!(usage.ends_with(&format!("uuid: {mark}")), "{usage}");
    assert_eq!(database.count("mogilefs_device_guard", &format!("devid = 1 AND uuid = '{}'", mark.trim())), 1);
}

fn status(session: &mut Session, devid: i64) -> String {
    device_field(session, devid, "status")
}

/// Devices that nobody reaches are drained, then marked dead, when that is wanted: never the last copy of a file.
#[test]
fn unreachable_devices_change_by_rule() {
    on_each_database(|database| {
        let nodes = [WatchedNode::start(1), WatchedNode::start(2), WatchedNode::start(3)];
        let devids: [&[i64]; 3] = [&[1, 2], &[3, 4], &[5, 6]];
        let cluster =
            scripted(database, NO_JOBS, &[(&nodes[0], devids[0]), (&nodes[1], devids[1]), (&nodes[2], devids[2])]);
        let mut session = cluster.session();
        cluster.wait_until_writeable(6);
        nodes[0].answer(|line| (line == "GET /dev1/usage").then_some(Answer::Status(404)));
        let lost = "devid = 1 AND unreachable_since > 0";
        eventually("it is noted", || (database.count("mogilefs_device_guard", lost) == 1).then_some(()));
        assert_eq!(database.count("mogilefs_device_guard", "unreachable_since IS NOT NULL"), 1);

        // A new tracker goes on counting.
        database
            .execute("UPDATE mogilefs_device_guard SET unreachable_since = unreachable_since - 500 WHERE devid = 1");
        let second = Tracker::start_with(database, NO_JOBS);
        second.process.wait_for_log_beginning("first monitor round is complete");
        let rounds = nodes[0].count("GET /dev1/usage");
        eventually("some rounds", || (nodes[0].count("GET /dev1/usage") >= rounds + 4).then_some(()));
        let since = unix_now() - 450;
        assert_eq!(database.count("mogilefs_device_guard", &format!("devid = 1 AND unreachable_since < {since}")), 1);
        assert_eq!(status(&mut session, 1), "alive", "no rule is on");
        drop(second);

        session.ok("set_server_setting key=auto_drain_unreachable_secs&value=3");
        eventually("it is drained", || (status(&mut session, 1) == "drain").then_some(()));
        assert_eq!(database.count("mogilefs_device_guard", "changed_at IS NOT NULL"), 1);
        cluster.tracker.process.wait_for_log_beginning("device status changed by rule");

        database.execute("INSERT INTO file_on (fid, devid) VALUES (7, 1)");
        session.ok("set_server_setting key=auto_dead_unreachable_secs&value=4");
        cluster.tracker.process.wait_for_log_beginning("device status is left alone by rule");
        assert_eq!(status(&mut session, 1), "drain");
        database.execute("INSERT INTO file_on (fid, devid) VALUES (7, 3)");
        eventually("it is dead", || (status(&mut session, 1) == "dead").then_some(()));
        for devid in 2..=6 {
            assert_eq!(status(&mut session, devid), "alive");
        }
    });
}

/// W30: devices of a dead host are told of, and count as dead when that is wanted.
#[test]
fn devices_of_a_dead_host_are_told_of() {
    let database = sqlite();
    let node = WatchedNode::start(1);
    let cluster = scripted(&database, NO_JOBS, &[(&node, &[1])]);
    let mut session = cluster.session();
    assert_eq!(problem_of(&mut session, 1), None);
    session.ok("update_host host=h1&status=dead");
    cluster.tracker.process.wait_for_log_beginning("devices of dead hosts are not marked dead");
    assert_eq!(problem_of(&mut session, 1).expect("a problem").0, "dead_host");
    session.ok("set_server_setting key=dead_host_devices_are_dead&value=1");
    session.ok("clear_cache");
    assert_eq!((status(&mut session, 1), problem_of(&mut session, 1)), ("dead".to_owned(), None));
    assert_eq!(database.count("device", "status = 'alive'"), 1, "the row is as it was");
}

/// Files at one copy are counted and told of.
#[test]
fn files_at_one_copy_are_counted() {
    on_each_database(|database| {
        let cluster = Cluster::start_without_nodes(database, NO_JOBS);
        let mut session = cluster.session();
        assert_eq!((&*session.ok("at_risk")["files"], &*session.ok("at_risk")["safe_in_secs"]), ("0", "0"));
        for (fid, devcount) in [(1, 1), (2, 2), (3, 0), (4, 1)] {
            database.execute(&format!(
                "INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES ({fid}, 1, 'k{fid}', 1, 0, {devcount})"
            ));
            if fid < 4 {
                let row =
                    format!("INSERT INTO file_to_replicate (fid, nexttry, flags, failcount) VALUES ({fid}, 9, 0, 0)");
                database.execute(&row);
            }
        }
        let risk = session.ok("at_risk");
        assert_eq!((&*risk["files"], &*risk["is_more"], &*risk["safe_in_secs"]), ("2", "0", ""));
        cluster.tracker.process.wait_for_log_beginning("files are at one copy");
        let shown = std::process::Command::new(env!("CARGO_BIN_EXE_mogilefs"))
            .args(["check", "--trackers", &cluster.tracker.address.to_string()])
            .output()
            .expect("it runs");
        let shown = String::from_utf8(shown.stdout).expect("text");
        assert!(shown.contains("all in order\nfiles at one copy: 2, nothing"), "{shown}");
        database.execute("DELETE FROM file_to_replicate");
        cluster.tracker.process.wait_for_log_beginning("no queued file is at one copy");
    });
}
