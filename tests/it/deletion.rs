//! What becomes of rows in the queues of deletion, on nodes and devices in every state.

use crate::support::cluster::{Cluster, http_put};
use crate::support::database::{Database, Kind, on_each_database};
use crate::support::eventually;
use crate::support::fake_node::{FakeNode, Manners};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

fn sqlite() -> Database {
    Database::create(Kind::Sqlite)
}

fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64
}

/// One real node with devices 1 and 2, and the fake one with device 91.
fn cluster_with_fake(database: &Database) -> (Cluster, FakeNode) {
    let cluster = Cluster::start_without_nodes(database, &[]).with_nodes(&[&[1, 2]]);
    let fake = FakeNode::start(9, Manners::Good);
    cluster.add_host("fake", &fake.address.ip().to_string(), fake.address.port(), &[91]);
    cluster.wait_until_writeable(3);
    (cluster, fake)
}

/// Of the fake node's device.
fn observed_state(cluster: &Cluster) -> String {
    cluster.session().ok("get_devices devid=91")["dev1_observed_state"].clone()
}

fn fake_path(fid: i64) -> String {
    format!("/dev91/0/000/{:03}/{fid:010}.fid", fid / 1000)
}

/// A fid with a file on the fake node, which no key owns.
fn orphan_on_fake(database: &Database, fake: &FakeNode, fid: i64) {
    http_put(&format!("http://{}{}", fake.address, fake_path(fid)), b"bytes");
    database.execute(&format!("INSERT INTO file_on (fid, devid) VALUES ({fid}, 91)"));
}

fn enqueue(database: &Database, fid: i64, failcount: i64) {
    let columns = "INSERT INTO file_to_delete2 (fid, nexttry, failcount)";
    database.execute(&format!("{columns} VALUES ({fid}, 0, {failcount})"));
}

/// The row waits for so many seconds, and so many failures are counted.
fn wait_until_postponed(database: &Database, fid: i64, secs: i64, failcount: i64) {
    let begun = unix_now();
    eventually(&format!("{fid} waits for {secs} s"), || {
        let (from, to) = (begun + secs - 5, unix_now() + secs + 1);
        let row = format!("fid = {fid} AND failcount = {failcount} AND nexttry BETWEEN {from} AND {to}");
        (database.count("file_to_delete2", &row) == 1).then_some(())
    });
}

fn wait_until_done(database: &Database, fid: i64) {
    for table in ["file_to_delete2", "file_on"] {
        eventually(&format!("no row of {fid} in {table}"), || {
            (database.count(table, &format!("fid = {fid}")) == 0).then_some(())
        });
    }
}

/// J89, J90, J94: a node that refuses is asked again later; what could be deleted elsewhere is deleted now; a file that is
/// not there counts as deleted.
#[test]
fn a_node_that_refuses_is_asked_again() {
    let database = sqlite();
    let (_cluster, fake) = cluster_with_fake(&database);
    orphan_on_fake(&database, &fake, 5001);
    // Device 1 does not have the file.
    database.execute("INSERT INTO file_on (fid, devid) VALUES (5001, 1)");
    fake.set_manners(Manners::RefusesDeletes);
    enqueue(&database, 5001, 2);
    wait_until_postponed(&database, 5001, 1800 * 3, 3);
    assert_eq!(database.count("file_on", "fid = 5001 AND devid = 1"), 0);
    assert_eq!(database.count("file_on", "fid = 5001 AND devid = 91"), 1);
    fake.set_manners(Manners::Good);
    database.execute("UPDATE file_to_delete2 SET nexttry = 0");
    wait_until_done(&database, 5001);
    assert!(fake.stored_files().is_empty());
}

/// J91, J92, J93, W16: dead, readonly and down devices; the count of failures has an end.
#[test]
fn states_of_the_device() {
    let database = sqlite();
    let (cluster, fake) = cluster_with_fake(&database);
    let set_state = |state: &str| cluster.session().ok(&format!("set_state host=fake&device=91&state={state}"));
    for fid in [5002, 5003, 5004] {
        orphan_on_fake(&database, &fake, fid);
    }
    // Its last observation stands.
    set_state("down");
    enqueue(&database, 5003, 0);
    wait_until_postponed(&database, 5003, 3600, 1);
    set_state("readonly");
    eventually("only readable", || (observed_state(&cluster) == "readable").then_some(()));
    enqueue(&database, 5002, 0);
    wait_until_postponed(&database, 5002, 600, 1);
    enqueue(&database, 5004, 255);
    wait_until_postponed(&database, 5004, 60 * (10 + 255), 255);
    assert_eq!(fake.stored_files().len(), 3);
    set_state("dead");
    database.execute("UPDATE file_to_delete2 SET nexttry = 0");
    [5002, 5003, 5004].into_iter().for_each(|fid| wait_until_done(&database, fid));
    assert_eq!(fake.stored_files().len(), 3, "a dead device is not asked");
}

/// J96 (replacement, W15): an unknown device may be a new one; after some tries it is given up. Others lose their copy at
/// once.
#[test]
fn an_unknown_device_does_not_keep_a_row_for_ever() {
    let database = sqlite();
    let (_cluster, fake) = cluster_with_fake(&database);
    orphan_on_fake(&database, &fake, 5005);
    database.execute("INSERT INTO file_on (fid, devid) VALUES (5005, 77)");
    enqueue(&database, 5005, 0);
    for failcount in 1..=3 {
        wait_until_postponed(&database, 5005, 60 * (9 + failcount), failcount);
        assert!(fake.stored_files().is_empty());
        database.execute("UPDATE file_to_delete2 SET nexttry = 0");
    }
    wait_until_done(&database, 5005);
}

/// Takes a lock for this process, which lives on; SQLite only.
fn hold_lock(database: &Database, name: &str) {
    use md5::Digest as _;
    let digest = md5::Md5::digest(name.as_bytes());
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) & 0x7FFF_FFFF;
    let (hostname, pid) = (gethostname::gethostname(), std::process::id());
    let columns = "INSERT INTO lock (lockid, hostname, pid, acquiredat)";
    database.execute(&format!("{columns} VALUES ({number}, '{}', {pid}, 2000000000)", hostname.to_string_lossy()));
}

/// J95 (replacement): whoever works on the file is not disturbed, nor is that a failure.
#[test]
fn a_locked_file_is_left_alone() {
    let database = sqlite();
    let (_cluster, fake) = cluster_with_fake(&database);
    orphan_on_fake(&database, &fake, 5006);
    hold_lock(&database, "mgfs:fid:5006:replicate");
    enqueue(&database, 5006, 0);
    for _ in 0..3 {
        eventually("put off", || {
            let row = format!("nexttry BETWEEN 1 AND {}", unix_now() + 100);
            (database.count("file_to_delete2", &row) == 1).then_some(())
        });
        eventually("taken up again", || {
            let row = format!("nexttry > {}", unix_now() + 100);
            (database.count("file_to_delete2", &row) == 1).then_some(())
        });
    }
    assert_eq!((fake.stored_files().len(), database.count("file_to_delete2", "failcount = 0")), (1, 1));
    database.execute("DELETE FROM lock");
    wait_until_done(&database, 5006);
    assert!(fake.stored_files().is_empty());
}

/// W13: a tracker of 2.73 that gives an upload up queues it before its row is gone. The row goes before the bytes, so that
/// nobody is told that the upload is closed while they are going.
#[test]
fn an_upload_that_is_being_deleted_cannot_be_closed() {
    let database = sqlite();
    let cluster = Cluster::start_without_nodes(&database, &[]);
    let fake = FakeNode::start(9, Manners::Good);
    cluster.add_host("fake", &fake.address.ip().to_string(), fake.address.port(), &[91]);
    cluster.wait_until_writeable(1);
    let mut session = cluster.session();
    let open = session.ok("create_open domain=d&key=k&class=one");
    http_put(&open["path"], b"bytes");
    let fid: i64 = open["fid"].parse().expect("a number");
    fake.set_manners(Manners::RefusesDeletes);
    database.execute(&format!("INSERT INTO file_on (fid, devid) VALUES ({fid}, 91)"));
    enqueue(&database, fid, 0);
    wait_until_postponed(&database, fid, 1800, 1);
    let close = format!("create_close domain=d&key=k&fid={fid}&devid=91&path={}&size=5", open["path"]);
    assert_eq!(session.refused(&close), "no_temp_file");
    fake.set_manners(Manners::Good);
    database.execute("UPDATE file_to_delete2 SET nexttry = 0");
    wait_until_done(&database, fid);
}

/// J100: while another tracker gives up uploads, files are deleted all the same.
#[test]
fn expiry_under_way_elsewhere_holds_up_nothing() {
    let database = sqlite();
    hold_lock(&database, "mgfs:tempfiles");
    let settings = ["jobs.tempfile_max_age_secs=1", "jobs.tempfile_interval_ms=50"];
    let cluster = Cluster::start_with(&database, &settings);
    cluster.session().ok("create_open domain=d&key=abandoned");
    database.execute("UPDATE tempfile SET createtime = 1");
    cluster.put("k", "one", b"bytes");
    let fid = cluster.fid("k");
    cluster.session().ok("delete domain=d&key=k");
    wait_until_done(&database, fid);
    assert_eq!(database.count("tempfile", "createtime = 1"), 1);
    database.execute("DELETE FROM lock");
    eventually("given up", || (database.count("tempfile", "createtime = 1") == 0).then_some(()));
}

/// J101, J102, W14: rows of the old queues are worked off, those of live files without harm; what is not due waits.
/// J103 (replacement): what cannot be deleted waits in the new queue, with its times.
#[test]
fn the_old_queues_are_worked_off() {
    on_each_database(|database| {
        let cluster = Cluster::start_with(database, &["jobs.old_delete_queue_pause_max_ms=100"]);
        let keys = ["now", "later", "not-yet", "stuck"];
        keys.iter().for_each(|key| cluster.put(key, "one", b"bytes"));
        cluster.put("alive", "", b"alive");
        cluster.wait_for_copies("alive", 2);
        let [now, later, not_yet, stuck] = keys.map(|key| cluster.fid(key));
        let alive = cluster.fid("alive");
        for key in keys {
            eventually("nothing to replicate", || {
                (database.count("file_to_replicate", &format!("fid = {}", cluster.fid(key))) == 0).then_some(())
            });
        }
        // As a tracker of old left them.
        database.execute(&format!(
            "DELETE FROM file WHERE fid IN ({now}, {later}, {not_yet}, {stuck});
             INSERT INTO file_on (fid, devid) VALUES ({stuck}, 77);
             INSERT INTO file_to_delete (fid) VALUES ({now}), ({alive}), ({stuck});
             INSERT INTO file_to_delete_later (fid, delafter) VALUES ({later}, 1), ({not_yet}, 2000000000)"
        ));
        wait_until_done(database, now);
        wait_until_done(database, later);
        wait_until_postponed(database, stuck, 600, 1);
        eventually("the old queue is empty", || (database.count("file_to_delete", "1 = 1") == 0).then_some(()));
        eventually("the live file is off the queue", || {
            (database.count("file_to_delete2", &format!("fid = {alive}")) == 0).then_some(())
        });
        assert_eq!(cluster.get_all("alive"), vec![b"alive".to_vec(); 2]);
        assert_eq!(database.count("file_to_delete_later", &format!("fid = {not_yet}")), 1);
        assert_eq!(database.count("file_on", &format!("fid = {not_yet}")), 1);
    });
}

/// J104: the port for reading is never asked to delete.
#[test]
fn deletes_go_to_the_port_for_writing() {
    let database = sqlite();
    let (cluster, fake) = cluster_with_fake(&database);
    let reading = FakeNode::start(9, Manners::Good);
    cluster.session().ok(&format!("update_host host=fake&http_get_port={}", reading.address.port()));
    orphan_on_fake(&database, &fake, 5007);
    http_put(&format!("http://{}{}", reading.address, fake_path(5007)), b"bytes");
    eventually("the device is writeable", || (observed_state(&cluster) == "writeable").then_some(()));
    enqueue(&database, 5007, 0);
    wait_until_done(&database, 5007);
    assert!(fake.stored_files().is_empty());
    assert_eq!(reading.stored_files().len(), 1);
}

/// How fast it is: `cargo nextest run --release --test it --run-ignored all --no-capture -E 'test(deletes_per_second)'`.
#[test]
#[ignore = "a measurement"]
fn deletes_per_second() {
    const FILES: i64 = 10_000;
    let database = sqlite();
    let cluster = Cluster::start_with(&database, &["log.level=info"]);
    let mut rows = Vec::new();
    for fid in 100_001..=100_000 + FILES {
        for devid in [fid % 2 + 1, fid % 4 + 3] {
            let path = format!("dev{devid}/0/000/{:03}/{fid:010}.fid", fid / 1000);
            let file = cluster.nodes[usize::try_from((devid - 1) / 2).expect("small")].file(&path);
            std::fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
            std::fs::write(file, [0; 4096]).expect("written");
            rows.push(format!("({fid}, {devid})"));
        }
    }
    database.execute(&format!("INSERT INTO file_on (fid, devid) VALUES {}", rows.join(", ")));
    let begun = Instant::now();
    database.execute("INSERT INTO file_to_delete2 (fid, nexttry) SELECT DISTINCT fid, 0 FROM file_on");
    // More than the usual patience.
    while database.count("file_to_delete2", "1 = 1") > 0 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let secs = begun.elapsed().as_secs_f64();
    println!(
        "{:.0} files/s; tracker CPU {:.3} ms per file",
        FILES as f64 / secs,
        cluster.tracker.process.cpu_ms() / FILES as f64
    );
    assert_eq!(cluster.nodes.iter().map(|node| node.stored_files().len()).sum::<usize>(), 0);
}
