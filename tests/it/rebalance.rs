//! Rebalance on real nodes: copies move, limits are kept to, and devices are as they were before.

use crate::support::cluster::{Cluster, Tracker};
use crate::support::database::{Database, Kind, on_each_database};
use crate::support::eventually;
use std::collections::BTreeMap;

/// No job carries anything out: what is queued stays queued.
const NO_REPLICATION: &[&str] = &["tracker.replicate_workers=0"];

fn sqlite() -> Database {
    Database::create(Kind::Sqlite)
}

fn encoded(policy: &str) -> String {
    policy.replace('=', "%3D").replace(' ', "+")
}

fn set_policy(cluster: &Cluster, policy: &str) {
    cluster.session().ok(&format!("rebalance_set_policy policy={}", encoded(policy)));
}

fn start(cluster: &Cluster, policy: &str) {
    set_policy(cluster, policy);
    cluster.session().ok("rebalance_start");
}

/// `rebalance_status` with the words of the state as pairs of their own.
fn status(cluster: &Cluster) -> BTreeMap<String, String> {
    let mut pairs = cluster.session().ok("rebalance_status");
    let state = pairs.remove("state").expect("a state");
    pairs.extend(
        state.split(' ').filter_map(|word| word.split_once('=')).map(|(name, value)| (name.into(), value.into())),
    );
    pairs
}

fn wait_until_over(cluster: &Cluster) -> BTreeMap<String, String> {
    eventually("the run is over", || {
        let status = status(cluster);
        (status["running"] == "0" && status["waiting"] == "0").then_some(status)
    })
}

/// Waits until no file is taken any more; what is queued may still wait.
fn wait_until_filled(cluster: &Cluster) -> BTreeMap<String, String> {
    eventually("all files are taken", || {
        let status = status(cluster);
        (status["running"] == "0").then_some(status)
    })
}

fn is_in_status(database: &Database, devid: i64, word: &str) -> bool {
    database.count("device", &format!("devid = {devid} AND status = '{word}'")) == 1
}

/// Rows of files that nobody has the bytes of.
fn add_files(database: &Database, devid: i64, fids: std::ops::RangeInclusive<i64>, length: i64) {
    for fid in fids {
        database.execute(&format!(
            "INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES ({fid}, 1, 'k{fid}', {length}, 0, 1)"
        ));
        database.execute(&format!("INSERT INTO file_on (fid, devid) VALUES ({fid}, {devid})"));
    }
}

fn queued(database: &Database, condition: &str) -> i64 {
    database.count("file_to_queue", &format!("type = 2 AND {condition}"))
}

/// The usual cluster with files of two copies on the devices 1 and 3.
fn cluster_with_files(database: &Database, count: usize) -> Cluster {
    let cluster = Cluster::start(database);
    let mut session = cluster.session();
    for devid in [2, 4, 5, 6] {
        session.ok(&format!("set_state host=h{}&device={devid}&state=readonly", (devid + 1) / 2));
    }
    for number in 0..count {
        cluster.put(&format!("k{number}"), "", &vec![number as u8; 1000 + number]);
    }
    for number in 0..count {
        cluster.wait_for_copies(&format!("k{number}"), 2);
    }
    for devid in [2, 4, 5, 6] {
        session.ok(&format!("set_state host=h{}&device={devid}&state=alive", (devid + 1) / 2));
    }
    // What was readonly has to be looked at again before it can be a target.
    cluster.wait_until_writeable(6);
    eventually("nothing is queued", || (database.count("file_to_replicate", "1 = 1") == 0).then_some(()));
    cluster
}

/// J143, J147: copies move to a target, the source has none left and is alive again; nothing is lost on the way.
#[test]
fn copies_move_from_the_source_to_the_targets() {
    on_each_database(|database| {
        let cluster = cluster_with_files(database, 12);
        set_policy(&cluster, "from_devices=1 to_devices=5,6");
        let test = cluster.session().ok("rebalance_test");
        assert_eq!((&*test["sdevs"], &*test["ddevs"]), ("1", "5,6"));
        assert_eq!((&*test["files"], &*test["bytes"], &*test["estimated"]), ("12", "12066", "0"));
        assert_eq!((&*test["sources"], &*test["source_1_devid"], &*test["source_1_files"]), ("1", "1", "12"));
        cluster.session().ok("rebalance_start");
        eventually("the source is drained, or done", || {
            (is_in_status(database, 1, "drain") || status(&cluster)["completed_devs"] == "1").then_some(())
        });
        let status = wait_until_over(&cluster);
        assert_eq!((&*status["completed_devs"], &*status["source_devs"], &*status["sdev_current"]), ("1", "", "0"));
        assert_eq!((&*status["fids_queued"], &*status["bytes_queued"]), ("12", "12066"));
        assert_ne!(status["time_finished"], "0");
        assert_eq!((&*status["percent_queued"], &*status["host"]), ("100.0", ""));
        assert!(!status.contains_key("problem"), "{status:?}");
        for number in 0..12 {
            let key = format!("k{number}");
            let devids = cluster.devids(&key);
            assert!(devids == [3, 5] || devids == [3, 6], "{key}: {devids:?}");
            assert_eq!(cluster.session().ok(&format!("file_info domain=d&key={key}"))["devcount"], "2");
            assert_eq!(cluster.get_all(&key), vec![vec![number as u8; 1000 + number]; 2]);
        }
        assert_eq!(database.count("file_on", "devid = 1"), 0);
        let left = cluster.nodes[0].stored_files();
        assert!(left.is_empty(), "{left:?}");
        assert!(is_in_status(database, 1, "alive"));
        assert_eq!(database.count("server_settings", "field IN ('rebal_host', 'rebal_signal', 'rebal_drained')"), 0);
    });
}

/// J143: with `leave_in_drain_mode` a finished source stays drained, and so does one that an operator has drained.
#[test]
fn sources_stay_drained_if_that_is_wanted() {
    let database = sqlite();
    let cluster = cluster_with_files(&database, 2);
    start(&cluster, "from_devices=1 to_devices=5,6 leave_in_drain_mode=1");
    wait_until_over(&cluster);
    assert!(is_in_status(&database, 1, "drain"));
    cluster.session().ok("set_state host=h2&device=3&state=drain");
    start(&cluster, "from_devices=3 to_devices=1,2,4 not_to_devices=1");
    wait_until_over(&cluster);
    assert!(is_in_status(&database, 3, "drain"), "it was drained before");
    assert_eq!(database.count("file_on", "devid = 3"), 0);
}

/// J144, J145: rows of type 2 with the source and its targets, in the order of the numbers.
#[test]
fn rows_name_the_source_and_the_targets() {
    on_each_database(|database| {
        let cluster = Cluster::start_with(database, NO_REPLICATION);
        add_files(database, 1, 101..=107, 10);
        database.execute("INSERT INTO file_on (fid, devid) VALUES (99, 1)");
        cluster.session().ok("set_server_setting key=queue_rate_for_rebal&value=2");
        // The queue is full after two passes: what is in it tells the order.
        cluster.session().ok("set_server_setting key=queue_size_for_rebal&value=3");
        start(&cluster, "from_devices=1 to_devices=3,5");
        eventually("the queue is full", || (queued(database, "1 = 1") >= 3).then_some(()));
        assert_eq!(queued(database, "devid = 1 AND arg = '3,5' AND fid BETWEEN 101 AND 103 AND failcount = 0"), 3);
        assert_eq!(queued(database, "1 = 1"), 3, "99 is no file");
        assert!(is_in_status(database, 1, "drain"));
        assert_eq!(status(&cluster)["sdev_lastfid"], "103");
        database.execute("DELETE FROM file_to_queue");
        cluster.session().ok("set_server_setting key=queue_size_for_rebal&value=");
        let over = wait_until_filled(&cluster);
        assert_eq!(queued(database, "fid BETWEEN 104 AND 107"), 4);
        assert_eq!(over["fids_queued"], "7");
        assert!(is_in_status(database, 1, "alive"));

        database.execute("DELETE FROM file_to_queue");
        start(&cluster, "from_devices=1 to_devices=3,5 use_dest_devs=1 fid_age=new limit_by=count limit=3");
        wait_until_filled(&cluster);
        assert_eq!(queued(database, "fid BETWEEN 105 AND 107 AND (arg = '3' OR arg = '5')"), 3);
        assert_eq!(queued(database, "1 = 1"), 3);
    });
}

/// J146, J153 (W4): limits by size and by count, for each source and for the run, in a run and in a test of it.
#[test]
fn limits_are_kept_to() {
    on_each_database(|database| {
        let cluster = Cluster::start_with(database, NO_REPLICATION);
        add_files(database, 1, 101..=131, 1500);
        add_files(database, 3, 201..=231, 1500);
        cluster.session().ok("set_server_setting key=queue_rate_for_rebal&value=3");
        for (limit, of_first, of_second) in [
            ("limit_by=count limit=5", 5, 5),
            ("limit_type=global limit_by=count limit=33", 31, 2),
            ("limit_by=size limit=3k", 2, 2),
            ("limit_type=global limit_by=size limit=48000", 31, 1),
            ("limit_by=none", 31, 31),
        ] {
            database.execute("DELETE FROM file_to_queue");
            set_policy(&cluster, &format!("from_devices=1,3 to_devices=5 {limit}"));
            let test = cluster.session().ok("rebalance_test");
            let files = (of_first + of_second).to_string();
            assert_eq!((&*test["files"], &*test["source_2_files"]), (&*files, &*of_second.to_string()), "{limit}");
            cluster.session().ok("rebalance_start");
            let over = wait_until_filled(&cluster);
            assert_eq!(
                (queued(database, "devid = 1"), queued(database, "devid = 3")),
                (of_first, of_second),
                "{limit}"
            );
            assert_eq!(over["fids_queued"], files, "{limit}");
            assert_ne!(over["time_finished"], "0", "{limit}");
            assert!(is_in_status(database, 1, "alive") && is_in_status(database, 3, "alive"), "{limit}");
        }
    });
}

/// W4: `percent` of the space that the source uses.
#[test]
fn a_percentage_of_the_used_space_moves() {
    let database = sqlite();
    let tracker = Cluster::start_with(&database, NO_REPLICATION);
    // The monitor writes what the nodes say; the row of a device without a node keeps what it is told.
    let mut session = tracker.session();
    session.ok("create_host host=h9&ip=127.0.0.9&port=1&status=alive");
    session.ok("create_device devid=91&hostname=h9");
    database.execute("UPDATE device SET mb_total = 1000, mb_used = 200 WHERE devid = 91");
    add_files(&database, 91, 101..=150, 1 << 20);
    set_policy(&tracker, "from_devices=91 to_devices=1 limit_by=percent limit=7");
    eventually("the use is known", || {
        let test = session.ok("rebalance_test");
        (test["files"] == "14").then_some(())
    });
    session.ok("create_device devid=92&hostname=h9");
    start(&tracker, "from_devices=92 to_devices=1 limit_type=global limit_by=percent limit=7");
    let over = wait_until_over(&tracker);
    assert!(over["problem"].contains("how much space is used on device 92"), "{over:?}");
    assert_eq!(over["fids_queued"], "0");
}

/// J151 (W5): a stop ends at once, gives the source back, and a later start goes on where it was.
#[test]
fn a_stopped_run_goes_on_later() {
    on_each_database(|database| {
        let cluster = Cluster::start_with(database, NO_REPLICATION);
        add_files(database, 1, 101..=120, 10);
        let mut session = cluster.session();
        session.ok("set_server_setting key=queue_rate_for_rebal&value=5");
        session.ok("set_server_setting key=queue_size_for_rebal&value=10");
        start(&cluster, "from_devices=1 to_devices=3");
        eventually("the queue is full", || (queued(database, "1 = 1") == 10).then_some(()));
        assert!(is_in_status(database, 1, "drain"));
        session.ok("rebalance_stop");
        let stopped = wait_until_filled(&cluster);
        assert_eq!((&*stopped["sdev_current"], &*stopped["sdev_lastfid"]), ("1", "110"));
        assert_ne!(stopped["time_stopped"], "0");
        assert_eq!(database.count("server_settings", "field IN ('rebal_host', 'rebal_signal')"), 0);
        assert!(is_in_status(database, 1, "alive"), "not left in drain");
        database.execute("DELETE FROM file_to_queue");
        session.ok("do_monitor_round");
        assert_eq!(queued(database, "1 = 1"), 0, "nothing is queued after a stop");
        session.ok("rebalance_start");
        eventually("the queue is full again", || (queued(database, "1 = 1") == 10).then_some(()));
        assert_eq!(queued(database, "fid > 110"), 10);
        database.execute("DELETE FROM file_to_queue");
        assert_eq!(wait_until_filled(&cluster)["fids_queued"], "20");
        assert!(is_in_status(database, 1, "alive"));
    });
}

/// J152 (W3): a source that somebody marks otherwise stays so, and the run goes on with the next one.
#[test]
fn a_status_that_somebody_sets_meanwhile_stays() {
    on_each_database(|database| {
        let cluster = Cluster::start_with(database, NO_REPLICATION);
        add_files(database, 1, 101..=120, 10);
        add_files(database, 3, 201..=203, 10);
        let mut session = cluster.session();
        session.ok("set_server_setting key=queue_rate_for_rebal&value=5");
        session.ok("set_server_setting key=queue_size_for_rebal&value=10");
        start(&cluster, "from_devices=1,3 to_devices=5");
        eventually("the queue is full", || (queued(database, "1 = 1") == 10).then_some(()));
        session.ok("set_state host=h1&device=1&state=dead");
        database.execute("DELETE FROM file_to_queue");
        let over = wait_until_filled(&cluster);
        assert_eq!(over["completed_devs"], "1,3");
        assert_eq!(queued(database, "devid = 1"), 0);
        assert_eq!(queued(database, "devid = 3"), 3);
        assert!(is_in_status(database, 1, "dead") && is_in_status(database, 3, "alive"));
    });
}

/// J154 (W6): without a target the run ends and says so; the source is not touched.
#[test]
fn a_run_without_targets_ends_and_says_why() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        add_files(database, 1, 101..=102, 10);
        for (policy, problem) in [
            ("from_devices=1 to_devices=77", "no device can take"),
            ("from_devices=1 to_devices=3 limit_by=foo", "limit_by=foo"),
            ("from_devices=1 to_devices=3 limit_by=percent limit=", "is not a limit"),
        ] {
            set_policy(&cluster, policy);
            let test = cluster.session().ok("rebalance_test");
            assert!(test["problem"].contains(problem) && !test.contains_key("files"), "{test:?}");
            cluster.session().ok("rebalance_start");
            let over = wait_until_filled(&cluster);
            assert!(over["problem"].contains(problem), "{over:?}");
            assert!(is_in_status(database, 1, "alive"), "{policy}");
            assert_eq!(queued(database, "1 = 1"), 0);
        }
        start(&cluster, "from_devices=2 to_devices=3");
        assert!(!wait_until_over(&cluster).contains_key("problem"), "it is not told of a later run");
    });
}

/// A tracker that dies in the middle goes on exactly where it was (J144, J157).
#[test]
fn a_run_survives_its_tracker() {
    on_each_database(|database| {
        let cluster = Cluster::start_with(database, NO_REPLICATION);
        add_files(database, 1, 101..=160, 10);
        let mut session = cluster.session();
        session.ok("set_server_setting key=queue_rate_for_rebal&value=7");
        session.ok("set_server_setting key=queue_size_for_rebal&value=20");
        start(&cluster, "from_devices=1 to_devices=3");
        eventually("the queue is full", || (queued(database, "1 = 1") >= 20).then_some(()));
        drop(session);
        let Cluster { nodes, tracker } = cluster;
        drop(tracker);
        database.execute("DELETE FROM server_settings WHERE field = 'queue_size_for_rebal'");
        let cluster = Cluster { nodes, tracker: Tracker::start_with(database, NO_REPLICATION) };
        let over = wait_until_filled(&cluster);
        assert_eq!((&*over["fids_queued"], &*over["completed_devs"]), ("60", "1"));
        assert!(!over.contains_key("problem"), "{over:?}");
        assert_eq!(queued(database, "devid = 1"), 60);
        assert!(is_in_status(database, 1, "alive"));
    });
}

/// J148 (W1): a file of three copies keeps three, though there are just two targets.
#[test]
fn three_copies_stay_three() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        for number in 0..6 {
            cluster.put(&format!("k{number}"), "three", &[number; 2000]);
        }
        for number in 0..6 {
            cluster.wait_for_copies(&format!("k{number}"), 3);
        }
        start(&cluster, "from_devices=1,2 to_devices=5,6");
        wait_until_over(&cluster);
        for number in 0..6 {
            let key = format!("k{number}");
            eventually("three copies on three hosts", || {
                let devids = cluster.devids(&key);
                let hosts: std::collections::BTreeSet<_> = devids.iter().map(|devid| (devid - 1) / 2).collect();
                (devids.len() == 3 && hosts.len() == 3).then_some(())
            });
            assert_eq!(cluster.get_all(&key), vec![vec![number; 2000]; 3]);
        }
    });
}

/// J149 (W2), J155: a move that would put both copies on one host is refused, logged, and its row is gone.
#[test]
fn host_separation_is_not_given_up() {
    on_each_database(|database| {
        let cluster = cluster_with_files(database, 3);
        // The other copies are on device 3 of the same host.
        start(&cluster, "from_devices=1 to_devices=4");
        wait_until_over(&cluster);
        for number in 0..3 {
            assert_eq!(cluster.devids(&format!("k{number}")), [1, 3]);
        }
        assert_eq!(queued(database, "1 = 1"), 0);
        cluster.tracker.process.wait_for_log("could not move a copy", "reason", "no suitable destination devices");
    });
}

/// J150: a copy that its node does not have stays recorded, unless the configuration says otherwise.
#[test]
fn a_missing_copy_stays_recorded_unless_told_otherwise() {
    let database = sqlite();
    let cluster = cluster_with_files(&database, 1);
    for path in cluster.nodes[0].stored_files() {
        std::fs::remove_file(path).expect("removed");
    }
    start(&cluster, "from_devices=1 to_devices=5");
    wait_until_over(&cluster);
    assert!(cluster.devids("k0").contains(&1), "{:?}", cluster.devids("k0"));

    let lenient = sqlite();
    let Cluster { nodes, tracker } = cluster_with_files(&lenient, 1);
    drop(tracker);
    for path in nodes[0].stored_files() {
        std::fs::remove_file(path).expect("removed");
    }
    let tracker = Tracker::start_with(&lenient, &["jobs.rebalance_ignore_missing=true"]);
    let cluster = Cluster { nodes, tracker };
    cluster.wait_until_writeable(6);
    start(&cluster, "from_devices=1 to_devices=5");
    wait_until_over(&cluster);
    assert_eq!(cluster.devids("k0"), [3, 5]);
}

/// A file that is queued for one source is not forgotten on another: its turn comes when the first move is over.
#[test]
fn a_file_on_two_sources_is_moved_away_from_both() {
    let database = sqlite();
    let cluster = cluster_with_files(&database, 5);
    start(&cluster, "from_devices=1,3 to_devices=2,4,5,6");
    let over = wait_until_over(&cluster);
    assert_eq!(over["fids_queued"], "10");
    assert_eq!(database.count("file_on", "devid IN (1, 3)"), 0);
    for number in 0..5 {
        assert_eq!(cluster.devids(&format!("k{number}")).len(), 2);
    }
}

/// A run whose tracker somebody has taken out of the settings: whoever forgets it gives back the device that it has
/// drained, unless its policy wants it drained, or somebody has decided otherwise.
#[test]
fn an_abandoned_run_gives_its_source_back() {
    on_each_database(|database| {
        let cluster = Cluster::start_without_nodes(database, &["tracker.job_master=false"]);
        cluster.add_host("h1", "127.0.0.1", 7500, &[1]);
        let mut session = cluster.session();
        let abandon = |policy: &str, status: &str| {
            set_policy(&cluster, policy);
            database.execute(&format!("UPDATE device SET status = '{status}' WHERE devid = 1"));
            database.execute(
                "INSERT INTO server_settings (field, value) VALUES ('rebal_drained', '1'), ('rebal_state', 'sdev_current=1')",
            );
        };
        for command in ["rebalance_reset", "rebalance_set_policy policy=to_devices%3D2"] {
            for (policy, before, after) in [
                ("from_devices=1", "drain", "alive"),
                ("leave_in_drain_mode=1", "drain", "drain"),
                ("from_devices=1", "readonly", "readonly"),
            ] {
                abandon(policy, before);
                session.ok(command);
                assert!(is_in_status(database, 1, after), "{command} after {policy}");
                assert_eq!(database.count("server_settings", "field IN ('rebal_drained', 'rebal_state')"), 0);
            }
        }
        abandon("from_devices=1", "drain");
        database.execute("DELETE FROM server_settings WHERE field = 'rebal_state'");
        session.ok("rebalance_start");
        assert!(is_in_status(database, 1, "alive"), "a new run");
    });
}

/// `jobs_status`: rows by queue and by when they are due.
#[test]
fn queues_are_counted() {
    on_each_database(|database| {
        let cluster = Cluster::start_without_nodes(database, &["tracker.job_master=false"]);
        const PARKED: i64 = 2_147_483_647;
        for (fid, nexttry) in [(1, 0), (2, 5), (3, PARKED - 1), (4, PARKED)] {
            database.execute(&format!("INSERT INTO file_to_replicate (fid, nexttry) VALUES ({fid}, {nexttry})"));
        }
        for (fid, kind) in [(1, 1), (1, 2), (2, 2)] {
            database.execute(&format!(
                "INSERT INTO file_to_queue (fid, type, nexttry, failcount, flags) VALUES ({fid}, {kind}, 0, 0, 0)"
            ));
        }
        database.execute("INSERT INTO file_to_delete (fid) VALUES (1), (2)");
        database.execute(
            "INSERT INTO file_to_delete_later (fid, delafter) VALUES (1, 5), (2, 2000000000), (3, 2000000000)",
        );
        let status = cluster.session().ok("jobs_status");
        let figures: Vec<String> = (1..=6)
            .map(|number| {
                ["name", "due", "deferred", "parked", "sent"]
                    .map(|field| &*status[&format!("queue_{number}_{field}")])
                    .join(" ")
            })
            .collect();
        let worked = ["delete 0 0 0 0", "fsck 1 0 0 0", "rebalance 2 0 0 0", "replicate 2 1 1 0"];
        assert_eq!(figures, [&worked[..], &["file_to_delete 2 0 0 0", "file_to_delete_later 1 2 0 0"]].concat());
    });
}

/// What a command of the program prints, as JSON.
fn tool(cluster: &Cluster, args: &[&str]) -> serde_json::Value {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_mogilefs"))
        .args(["--json", "--trackers", &cluster.tracker.address.to_string()])
        .args(args)
        .output()
        .expect("runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    // A watched report is one value per line: the last one counts.
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

/// `mogilefs rebalance` and `mogilefs jobs`: a whole run by the tools alone.
#[test]
fn the_tools_carry_a_run_through() {
    let database = sqlite();
    let cluster = cluster_with_files(&database, 3);
    tool(&cluster, &["rebalance", "policy", "from_devices=1", "to_devices=5,6"]);
    assert_eq!(tool(&cluster, &["rebalance", "policy"])["policy"], "from_devices=1 to_devices=5,6");
    let test = tool(&cluster, &["rebalance", "test"]);
    assert_eq!((&test["files"], &test["sources"][0], &test["estimated"]), (&3.into(), &1.into(), &false.into()));
    let over = tool(&cluster, &["rebalance", "start", "--watch"]);
    assert_eq!(
        (&over["running"], &over["waiting"], &over["state"]["fids_queued"]),
        (&false.into(), &0.into(), &"3".into())
    );
    assert_eq!(database.count("file_on", "devid = 1"), 0);
    let jobs = tool(&cluster, &["jobs"]);
    let queue =
        |name: &str| jobs["queues"].as_array().expect("a list").iter().find(|queue| queue["queue"] == name).cloned();
    assert_eq!(queue("rebalance").expect("there")["sent"], 3);
    assert!(queue("rebalance").expect("there")["sent_per_sec"].is_number());
    tool(&cluster, &["jobs", "want", "replicate", "2"]);
    eventually("two workers run", || {
        let jobs = tool(&cluster, &["jobs"]);
        let workers =
            jobs["workers"].as_array().expect("a list").iter().find(|one| one["kind"] == "replicate").cloned();
        (workers.expect("there")["running"] == 2).then_some(())
    });
    tool(&cluster, &["rebalance", "reset"]);
}
