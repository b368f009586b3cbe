//! The monitor as nodes, databases and clients see it: when it asks what, what it stores, and what follows for clients.

use crate::support::cluster::{Cluster, Tracker};
use crate::support::database::{Database, Kind, on_each_database};
use crate::support::eventually;
use crate::support::session::Session;
use crate::support::watched_node::{Answer, WatchedNode};
use mogilefs::cluster::device_state::{DeviceStatus, HostStatus};
use mogilefs::ids::DevId;
use mogilefs::logging;
use mogilefs::settings::Settings;
use mogilefs::store::{Store, devices, domains, hosts};
use std::net::SocketAddr;
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
