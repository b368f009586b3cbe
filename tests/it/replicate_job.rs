//! The replication job beyond plain copies: what is too much goes, one copy per pass, and only when the others are there.

use crate::support::cluster::Cluster;
use crate::support::database::{Database, Kind, on_each_database};
use crate::support::eventually;
use mogilefs::logging;
use mogilefs::settings::Settings;
use mogilefs::store::Store;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn wait_until_settled(database: &Database, fid: i64) {
    eventually("the queue row is gone", || {
        (database.count("file_to_replicate", &format!("fid = {fid}")) == 0).then_some(())
    });
}

/// The files on disk of this number.
fn stored(cluster: &Cluster, fid: i64) -> Vec<PathBuf> {
    let name = format!("{fid:010}.fid");
    cluster.nodes.iter().flat_map(|node| node.stored_files()).filter(|path| path.ends_with(&name)).collect()
}

/// The file on disk of a copy; the usual cluster has two devices per node.
fn copy_on(cluster: &Cluster, fid: i64, devid: i64) -> PathBuf {
    let on_device = |path: &PathBuf| path.components().any(|part| part.as_os_str() == format!("dev{devid}").as_str());
    stored(cluster, fid).into_iter().find(on_device).expect("a copy on this device")
}

/// A file with three copies, whose class wants three.
fn file_with_three_copies(cluster: &Cluster, database: &Database) -> i64 {
    cluster.put("k", "three", b"some bytes");
    cluster.wait_for_copies("k", 3);
    let fid = cluster.fid("k");
    wait_until_settled(database, fid);
    fid
}

fn due_again(database: &Database, fid: i64) {
    database.execute(&format!("UPDATE file_to_replicate SET nexttry = 0 WHERE fid = {fid}"));
}

/// The row waits for the first step of the backoff, having been put off so often.
fn wait_until_put_off(database: &Database, fid: i64, failcount: i64) {
    let begun = unix_now();
    let row =
        format!("fid = {fid} AND failcount = {failcount} AND nexttry >= {} AND nexttry <= {}", begun + 5, begun + 60);
    eventually("the row is put off by the first step", || {
        (database.count("file_to_replicate", &row) == 1).then_some(())
    });
}

/// J81: one copy less per pass, from node and table; the row comes back after about 15 s, and goes when nothing is left
/// to do.
#[test]
fn one_surplus_copy_goes_per_pass() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let fid = file_with_three_copies(&cluster, database);
        cluster.session().ok("updateclass domain=d&key=k&class=one");
        cluster.wait_for_copies("k", 2);
        wait_until_put_off(database, fid, 1);
        assert_eq!((stored(&cluster, fid).len(), cluster.devids("k").len()), (2, 2));
        // J81: the failures of a pass that did something do not add up to longer waits.
        due_again(database, fid);
        cluster.wait_for_copies("k", 1);
        wait_until_put_off(database, fid, 2);
        due_again(database, fid);
        wait_until_settled(database, fid);
        assert_eq!(stored(&cluster, fid).len(), 1);
        assert_eq!(cluster.get_all("k"), [b"some bytes"]);
        assert_eq!(database.count("file", &format!("fid = {fid} AND devcount = 1")), 1);
    });
}

/// J82: copies that their nodes do not show, or not with the right length, are no reason to remove one.
#[test]
fn nothing_is_removed_while_the_others_are_not_confirmed() {
    let database = Database::create(Kind::Sqlite);
    let cluster = Cluster::start(&database);
    let fid = file_with_three_copies(&cluster, &database);
    let devids = cluster.devids("k");
    std::fs::remove_file(copy_on(&cluster, fid, devids[0])).expect("there");
    std::fs::write(copy_on(&cluster, fid, devids[1]), b"some other length").expect("there");
    cluster.session().ok("updateclass domain=d&key=k&class=default");
    wait_until_put_off(&database, fid, 1);
    cluster.tracker.process.logged("file has more copies than its class wants, and keeps them for now", "reason");
    assert_eq!(cluster.devids("k"), devids);
    assert_eq!(std::fs::read(copy_on(&cluster, fid, devids[2])).expect("there"), b"some bytes");
    assert_eq!(stored(&cluster, fid).len(), 2);
}

/// What the node does not have is what goes first, whichever copy the policy would miss least.
#[test]
fn a_copy_that_is_not_there_goes_first() {
    let database = Database::create(Kind::Sqlite);
    let cluster = Cluster::start(&database);
    for round in 0..4 {
        let key = format!("k{round}");
        cluster.put(&key, "three", b"some bytes");
        cluster.wait_for_copies(&key, 3);
        let fid = cluster.fid(&key);
        wait_until_settled(&database, fid);
        let mut devids = cluster.devids(&key);
        let lost = devids.remove(round % 3);
        std::fs::remove_file(copy_on(&cluster, fid, lost)).expect("there");
        cluster.session().ok(&format!("updateclass domain=d&key={key}&class=default"));
        cluster.wait_for_copies(&key, 2);
        assert_eq!(cluster.devids(&key), devids);
        assert_eq!(cluster.get_all(&key), [b"some bytes", b"some bytes"]);
    }
}

/// J83: only a device that may be read and deleted from loses its copy.
#[test]
fn only_a_device_that_may_be_deleted_from_loses_a_copy() {
    let database = Database::create(Kind::Sqlite);
    let cluster = Cluster::start(&database);
    let fid = file_with_three_copies(&cluster, &database);
    let devids = cluster.devids("k");
    let set_state = |devid: i64, state: &str| {
        cluster.session().ok(&format!("set_state host=h{}&device={devid}&state={state}", (devid + 1) / 2));
    };
    devids.iter().for_each(|&devid| set_state(devid, "readonly"));
    cluster.session().ok("updateclass domain=d&key=k&class=default");
    wait_until_put_off(&database, fid, 1);
    assert_eq!((cluster.devids("k"), stored(&cluster, fid).len()), (devids.clone(), 3));
    set_state(devids[1], "alive");
    cluster.wait_until_writeable(4);
    database.execute(&format!("UPDATE file_to_replicate SET failcount = 0, nexttry = 0 WHERE fid = {fid}"));
    cluster.wait_for_copies("k", 2);
    assert_eq!(cluster.devids("k"), [devids[0], devids[2]]);
}

/// J86: what is enqueued again is looked at again, even if it was given up for good.
#[test]
fn a_parked_row_comes_back_when_the_file_is_enqueued() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        cluster.put("k", "one", b"bytes");
        let fid = cluster.fid("k");
        wait_until_settled(database, fid);
        database
            .execute(&format!("INSERT INTO file_to_replicate (fid, nexttry, failcount) VALUES ({fid}, 2147483647, 1)"));
        cluster.session().ok("updateclass domain=d&key=k&class=default");
        cluster.wait_for_copies("k", 2);
        wait_until_settled(database, fid);
    });
}

/// J85: everything that waits becomes due, the parked rows too.
#[test]
fn replicate_now_wakes_what_waits() {
    on_each_database(|database| {
        let cluster = Cluster::start_with(database, &["tracker.job_master=false"]);
        database
            .execute("INSERT INTO file_to_replicate (fid, nexttry) VALUES (1, 2147483647), (2, 2000000000), (3, 0)");
        assert_eq!(cluster.session().ok("replicate_now")["count"], "2");
        let due = format!("nexttry <= {}", unix_now() + 5);
        assert_eq!(database.count("file_to_replicate", &due), 3);
    });
}

/// J65: whoever else works on the file is not disturbed; the row stays as it was claimed.
#[test]
fn a_locked_file_is_left_to_its_holder() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        cluster.put("k", "one", b"bytes");
        let fid = cluster.fid("k");
        wait_until_settled(database, fid);
        actix::System::new().block_on(async {
            let mut settings = Settings::defaults().database;
            settings.url.clone_from(&database.url);
            let session = Store::open(&settings, logging::discard()).expect("open").session().expect("a session");
            let lock = session.try_lock(&format!("mgfs:fid:{fid}:replicate"), Duration::from_secs(10)).await;
            let lock = lock.expect("the database works").expect("nobody has it");
            cluster.session().ok("updateclass domain=d&key=k&class=default");
            cluster.tracker.process.wait_for_log("nothing to replicate", "outcome", "failed_getting_lock");
            let claimed = format!("fid = {fid} AND failcount = 0 AND nexttry >= {}", unix_now() + 900);
            assert_eq!(database.count("file_to_replicate", &claimed), 1);
            assert_eq!(cluster.devids("k").len(), 1);
            lock.release().await;
        });
        due_again(database, fid);
        cluster.wait_for_copies("k", 2);
    });
}
