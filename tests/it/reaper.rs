//! The reaper: what becomes of the files of a device that is dead, and how fast.

use crate::support::cluster::{Cluster, Tracker};
use crate::support::database::{Database, Kind, on_each_database};
use crate::support::eventually;
use std::time::{Duration, Instant};

fn sqlite() -> Database {
    Database::create(Kind::Sqlite)
}

fn locations(database: &Database, devid: i64) -> i64 {
    database.count("file_on", &format!("devid = {devid}"))
}

fn wait_until_reaped(database: &Database, devid: i64) {
    eventually(&format!("no locations on {devid}"), || (locations(database, devid) == 0).then_some(()));
}

fn set_state(cluster: &Cluster, devid: i64, state: &str) {
    let host = (devid + 1) / 2;
    cluster.session().ok(&format!("set_state host=h{host}&device={devid}&state={state}"));
}

/// J105, J112 (replacement, W12): the files of a dead device are copied again, from the devices that are left; a device
/// that came to life and died again is no different. A file that is nowhere else stays on record, and is there again with
/// its device.
#[test]
fn files_of_a_dead_device_are_copied_again() {
    on_each_database(|database| {
        let cluster = Cluster::start_with(database, &["jobs.reaper_grace_ms=200"]);
        cluster.put("only", "one", b"nowhere else");
        let lost = cluster.devids("only")[0];
        for round in 0..2 {
            let keys: Vec<String> = (0..8).map(|number| format!("k{round}-{number}")).collect();
            for key in &keys {
                cluster.put(key, "three", key.as_bytes());
            }
            keys.iter().for_each(|key| cluster.wait_for_copies(key, 3));
            set_state(&cluster, lost, "dead");
            eventually("one location is left", || (locations(database, lost) == 1).then_some(()));
            for key in &keys {
                cluster.wait_for_copies(key, 3);
                assert!(!cluster.devids(key).contains(&lost));
                assert_eq!(cluster.get_all(key), vec![key.as_bytes().to_vec(); 3]);
            }
            assert_eq!(cluster.devids("only"), [lost]);
            let kept = "last known copies are on a dead device; their locations are kept";
            cluster.tracker.process.wait_for_log(kept, "count", "1");
            set_state(&cluster, lost, "down");
            set_state(&cluster, lost, "alive");
            cluster.wait_until_writeable(6);
            assert_eq!(cluster.get("only"), b"nowhere else");
        }
    });
}

/// J111: what counts is the database, not what the tracker has heard.
#[test]
fn a_device_that_is_alive_in_the_database_keeps_its_locations() {
    let database = sqlite();
    // The tracker hears of changes that it makes itself, of others never.
    let cluster = Cluster::start_with(&database, &["jobs.reaper_grace_ms=1500", "monitor.db_interval_ms=3600000"]);
    cluster.put("k", "", b"bytes");
    cluster.wait_for_copies("k", 2);
    let devid = cluster.devids("k")[0];
    set_state(&cluster, devid, "dead");
    database.execute(&format!("UPDATE device SET status = 'alive' WHERE devid = {devid}"));
    let left_alone = "device is not dead any more; it keeps its locations";
    cluster.tracker.process.wait_for_log(left_alone, "devid", &devid.to_string());
    assert_eq!(locations(&database, devid), 1);
    assert_eq!(cluster.tracker.process.count_logged("reaping a dead device"), 0);
}

/// No nodes and no job master, which the reaper does not need: device 1 is about to die with so many locations, all of
/// them known on device 2 too.
fn about_to_die(database: &Database, settings: &[&str], rows: i64) -> Cluster {
    let settings = [&["tracker.job_master=false", "jobs.reaper_grace_ms=0"], settings].concat();
    let cluster = Cluster::start_without_nodes(database, &settings);
    cluster.add_host("h1", "127.0.0.1", 1, &[1, 2]);
    database.execute(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO file_on (fid, devid) SELECT i, 1 FROM n UNION ALL SELECT i, 2 FROM n"
    ));
    cluster
}

/// J106: at most so many rows in each step, and 5 s between the steps.
#[test]
fn a_rate_is_kept() {
    let database = sqlite();
    let cluster = about_to_die(&database, &[], 300);
    cluster.session().ok("set_server_setting key=queue_rate_for_reaper&value=123");
    set_state(&cluster, 1, "dead");
    let mut reached = Vec::new();
    for left in [177, 54, 0] {
        eventually(&format!("{left} are left"), || match locations(&database, 1) {
            now if now == left => Some(()),
            now => {
                assert!([300, 177, 54].contains(&now), "{now} are left");
                None
            }
        });
        reached.push(Instant::now());
    }
    for pair in reached.windows(2) {
        assert!(pair[1] - pair[0] > Duration::from_millis(4500), "{:?}", pair[1] - pair[0]);
    }
    assert_eq!(database.count("file_to_replicate", "failcount = 0"), 300);
}

/// J107, J108: only rows that wait for a later time fill the queue; while it is full nothing is reaped.
#[test]
fn a_full_queue_is_waited_for() {
    let database = sqlite();
    let cluster = about_to_die(&database, &[], 300);
    cluster.session().ok("set_server_setting key=queue_size_for_reaper&value=10");
    let later: Vec<String> = (1001..=1009).map(|fid| format!("({fid}, 2000000000)")).collect();
    database.execute(&format!(
        "INSERT INTO file_to_replicate (fid, nexttry) VALUES (1010, 0), (1011, 2147483647), {}",
        later.join(", ")
    ));
    // What failed waits for hours, perhaps for something that never comes.
    database.execute("INSERT INTO file_to_replicate (fid, nexttry, failcount) VALUES (2001, 2000000000, 3)");
    set_state(&cluster, 1, "dead");
    // There is room for one, which then fills the queue.
    for (room, left) in [(0, 299), (5, 294), (2, 292)] {
        database.execute(&format!(
            "DELETE FROM file_to_replicate WHERE fid IN
             (SELECT fid FROM file_to_replicate WHERE nexttry > 0 AND nexttry < 2147483647 AND failcount = 0
              LIMIT {room})"
        ));
        eventually(&format!("{left} are left"), || {
            let now = locations(&database, 1);
            assert!(now >= left, "{now} are left");
            (now == left).then_some(())
        });
    }
}

/// Our own limit on the queue slows the reaper down, it never stops it; the log says so.
#[test]
fn a_queue_that_stays_full_does_not_stop_it() {
    let database = sqlite();
    let cluster = about_to_die(&database, &["jobs.reaper_deferred_rows_max=10"], 1200);
    let later: Vec<String> = (2001..=2020).map(|fid| format!("({fid}, 2000000000)")).collect();
    database.execute(&format!("INSERT INTO file_to_replicate (fid, nexttry) VALUES {}", later.join(", ")));
    set_state(&cluster, 1, "dead");
    cluster.tracker.process.wait_for_log_beginning("reaping is held back");
    wait_until_reaped(&database, 1);
    assert_eq!(database.count("file_to_replicate", "fid <= 1200"), 1200);
    assert_eq!(
        cluster.tracker.process.count_logged("reaping is held back: many files wait for replication already"),
        1
    );
}

/// J113: who does not have the lock waits.
#[test]
fn one_tracker_reaps_at_a_time() {
    let database = sqlite();
    let cluster = about_to_die(&database, &[], 10);
    let second = Tracker::start_with(&database, &["tracker.job_master=false", "jobs.reaper_grace_ms=0"]);
    let hostname = gethostname::gethostname();
    // This process is alive, so the lock is held.
    database.execute(&format!(
        "INSERT INTO lock (lockid, hostname, pid, acquiredat) VALUES (2048622148, '{}', {}, 2000000000)",
        hostname.to_string_lossy(),
        std::process::id()
    ));
    set_state(&cluster, 1, "dead");
    for tracker in [&cluster.tracker, &second] {
        tracker.process.wait_for_log("another reaper is at work", "devid", "1");
    }
    assert_eq!(locations(&database, 1), 10);
    database.execute("DELETE FROM lock");
    wait_until_reaped(&database, 1);
    assert_eq!(database.count("file_to_replicate", "1 = 1"), 10);
}

/// The way of the reference, if so wanted: the last known location goes as well, and the file is queued.
#[test]
fn last_copies_go_if_so_wanted() {
    let database = sqlite();
    let cluster = about_to_die(&database, &["jobs.reaper_keep_last_copies=false"], 10);
    database.execute("DELETE FROM file_on WHERE devid = 2 AND fid < 5");
    set_state(&cluster, 1, "dead");
    wait_until_reaped(&database, 1);
    assert_eq!(database.count("file_to_replicate", "1 = 1"), 10);
}

/// How fast it is: `cargo test --release --test it -- --ignored --nocapture rows_per_second`.
#[test]
#[ignore = "a measurement"]
fn rows_per_second() {
    const ROWS: i64 = 200_000;
    let database = sqlite();
    let cluster = about_to_die(&database, &["jobs.reaper_deferred_rows_max=1000000"], ROWS);
    set_state(&cluster, 1, "dead");
    // Perhaps more than the usual patience.
    while locations(&database, 1) > 0 {
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("{:.4} ms of the tracker's processor time per row", cluster.tracker.process.cpu_ms() / ROWS as f64);
    println!("{} rows/s", cluster.tracker.process.logged("reaped a dead device", "rows_per_s"));
    assert_eq!(database.count("file_to_replicate", "1 = 1"), ROWS);
    assert_eq!(locations(&database, 2), ROWS);
}
