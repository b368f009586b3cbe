//! What becomes of files after they were stored: copies, their loss and deletion, on nodes that work and nodes that do not.

use crate::support::cluster::{Cluster, http_put};
use crate::support::database::{Database, Kind, on_each_database};
use crate::support::eventually;
use crate::support::fake_node::{FakeNode, Manners};
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

fn sqlite() -> Database {
    Database::create(Kind::Sqlite)
}

/// Bytes that differ from place to place, so that a part is never taken for the whole.
fn bytes(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    })
    .take(length)
    .collect()
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Hosts of devices in the usual cluster: two devices each, counted from 1.
fn hosts(devids: &[i64]) -> BTreeSet<i64> {
    devids.iter().map(|devid| (devid - 1) / 2).collect()
}

fn wait_until_gone(database: &Database, table: &str, fid: i64) {
    eventually(&format!("no row of {fid} in {table}"), || {
        (database.count(table, &format!("fid = {fid}")) == 0).then_some(())
    });
}

/// The row was tried once and waits for the first step of the backoff, 15 s give or take a fifth.
fn wait_until_backed_off(database: &Database, fid: i64) {
    let begun = unix_now();
    let row = format!("fid = {fid} AND failcount = 1 AND nexttry >= {} AND nexttry <= {}", begun + 5, begun + 60);
    eventually("the row waits with backoff", || (database.count("file_to_replicate", &row) == 1).then_some(()));
}

/// Makes a waiting row due, as the passing of time would.
fn make_due(database: &Database, fid: i64) {
    database.execute(&format!("UPDATE file_to_replicate SET nexttry = 0 WHERE fid = {fid}"));
}

fn stored_anywhere(cluster: &Cluster, fid: i64) -> usize {
    let name = format!("{fid:010}.fid");
    cluster.nodes.iter().flat_map(|node| node.stored_files()).filter(|path| path.ends_with(&name)).count()
}

/// J58, J59, J71: the class says how many copies there are, each on another host; then the queue row is gone.
#[test]
fn copies_follow_the_class() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        for (class, copies) in [("", 2), ("one", 1), ("three", 3)] {
            let (key, content) = (format!("in-{class}"), bytes(200_000, copies as u32));
            cluster.put(&key, class, &content);
            cluster.wait_for_copies(&key, copies);
            let fid = cluster.fid(&key);
            wait_until_gone(database, "file_to_replicate", fid);
            let devids = cluster.devids(&key);
            assert_eq!((devids.len(), hosts(&devids).len()), (copies, copies), "{class}: {devids:?}");
            assert_eq!(database.count("file_on", &format!("fid = {fid}")), copies as i64);
            assert_eq!(database.count("file", &format!("fid = {fid} AND devcount = {copies}")), 1);
            assert_eq!(cluster.get_all(&key), vec![content; copies]);
            assert_eq!(stored_anywhere(&cluster, fid), copies);
        }
    });
}

/// A greater class adds copies; a new name changes nothing else.
#[test]
fn updateclass_adds_copies_and_rename_keeps_them() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let content = bytes(70_000, 1);
        cluster.put("k", "one", &content);
        let fid = cluster.fid("k");
        wait_until_gone(database, "file_to_replicate", fid);
        cluster.session().ok("updateclass domain=d&key=k&class=three");
        cluster.wait_for_copies("k", 3);
        wait_until_gone(database, "file_to_replicate", fid);
        let devids = cluster.devids("k");
        cluster.session().ok("rename domain=d&from_key=k&to_key=new");
        assert_eq!(cluster.session().refused("get_paths domain=d&key=k"), "unknown_key");
        assert_eq!((cluster.fid("new"), cluster.devids("new")), (fid, devids));
        assert_eq!(cluster.get_all("new"), vec![content; 3]);
    });
}

fn wait_until_forgotten(cluster: &Cluster, database: &Database, fid: i64) {
    for table in ["file_to_delete2", "file_on", "checksum", "tempfile"] {
        wait_until_gone(database, table, fid);
    }
    eventually("the bytes left all disks", || (stored_anywhere(cluster, fid) == 0).then_some(()));
}

/// J88: the key is gone at once, the bytes and the rows soon. Overwriting a key does the same to the old file.
#[test]
fn deleted_and_overwritten_files_leave_the_disks() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        cluster.session().ok("create_class domain=d&class=md5&mindevcount=2&hashtype=MD5");
        cluster.put("k", "md5", &bytes(9_000, 1));
        cluster.wait_for_copies("k", 2);
        let fid = cluster.fid("k");
        assert_eq!(stored_anywhere(&cluster, fid), 2);
        cluster.session().ok("delete domain=d&key=k");
        assert_eq!(cluster.session().refused("get_paths domain=d&key=k"), "unknown_key");
        wait_until_forgotten(&cluster, database, fid);

        cluster.put("twice", "", &bytes(5_000, 2));
        cluster.wait_for_copies("twice", 2);
        let old = cluster.fid("twice");
        let content = bytes(6_000, 3);
        cluster.put("twice", "", &content);
        let new = cluster.fid("twice");
        assert_ne!(old, new);
        assert_eq!(cluster.get("twice"), content);
        wait_until_forgotten(&cluster, database, old);
        cluster.wait_for_copies("twice", 2);
        assert_eq!(cluster.get_all("twice"), vec![content; 2]);
    });
}

/// J97, J98, J99: an upload that nobody closes is removed, a file that has a stray tempfile row keeps everything else.
#[test]
fn uploads_never_closed_are_removed_and_live_files_are_not() {
    let database = sqlite();
    let cluster = Cluster::start_with(&database, &["jobs.tempfile_max_age_secs=1000", "jobs.tempfile_interval_ms=100"]);
    let mut session = cluster.session();
    let abandoned = session.ok("create_open domain=d&key=abandoned");
    http_put(&abandoned["path"], b"never closed");
    let fid: i64 = abandoned["fid"].parse().expect("a fid");
    let young = session.ok("create_open domain=d&key=young");
    http_put(&young["path"], b"closed in time");
    cluster.put("live", "", b"live bytes");
    cluster.wait_for_copies("live", 2);
    let live = cluster.fid("live");
    assert_eq!(stored_anywhere(&cluster, fid), 1);
    // Both rows are as old as if they had waited.
    database.execute(&format!(
        "UPDATE tempfile SET createtime = createtime - 1001 WHERE fid = {fid};
         INSERT INTO tempfile (fid, createtime, classid, dmid, dkey, devids) VALUES ({live}, 1, 0, 1, 'live', '1,3,5')"
    ));
    cluster.tracker.process.wait_for_log("gave up an upload that was never closed", "fid", &fid.to_string());
    wait_until_forgotten(&cluster, &database, fid);
    wait_until_gone(&database, "tempfile", live);
    assert_eq!(database.count("file_to_delete2", &format!("fid = {live}")), 0);
    assert_eq!(cluster.get_all("live"), vec![b"live bytes".to_vec(); 2]);
    // The young one can still be closed.
    session.ok(&format!(
        "create_close domain=d&key=young&fid={}&devid={}&path={}&size=14",
        young["fid"], young["devid"], young["path"]
    ));
    assert_eq!(cluster.get("young"), b"closed in time");
}

/// W14, C65: whoever put a live file into the deletion queue was wrong.
#[test]
fn a_live_file_in_the_deletion_queue_is_left_alone() {
    let database = sqlite();
    let cluster = Cluster::start(&database);
    cluster.put("k", "", b"alive");
    cluster.wait_for_copies("k", 2);
    let fid = cluster.fid("k");
    database.execute(&format!("INSERT INTO file_to_delete2 (fid, nexttry) VALUES ({fid}, 0)"));
    cluster.tracker.process.logged("a file that is to be deleted is alive; left alone", "fid");
    wait_until_gone(&database, "file_to_delete2", fid);
    assert_eq!(cluster.get_all("k"), vec![b"alive".to_vec(); 2]);
    assert_eq!(cluster.devids("k").len(), 2);
}

/// A host that is down gets nothing; the others get the copies.
#[test]
fn a_dead_node_is_passed_over() {
    let database = sqlite();
    let mut cluster = Cluster::start(&database);
    cluster.nodes[2].process.kill();
    cluster.wait_until_writeable(4);
    cluster.put("k", "", b"bytes");
    cluster.wait_for_copies("k", 2);
    wait_until_gone(&database, "file_to_replicate", cluster.fid("k"));
    assert_eq!(hosts(&cluster.devids("k")), BTreeSet::from([0, 1]));
}

/// J80, J64: with one host left the second copy goes to its other device, and the file waits for a better place; when
/// there is one, it gets a copy there, and loses one of those that share a host.
#[test]
fn a_copy_on_the_same_host_is_a_makeshift() {
    let database = sqlite();
    let mut cluster = Cluster::start(&database);
    cluster.nodes[1].process.kill();
    cluster.nodes[2].process.kill();
    cluster.wait_until_writeable(2);
    let content = bytes(3_000, 9);
    cluster.put("k", "", &content);
    cluster.wait_for_copies("k", 2);
    assert_eq!(cluster.devids("k"), [1, 2]);
    let fid = cluster.fid("k");
    wait_until_backed_off(&database, fid);
    cluster.tracker.process.wait_for_log("cannot replicate file now", "outcome", "policy_no_suggestions");
    cluster.nodes[1].restart();
    cluster.nodes[2].restart();
    cluster.wait_until_writeable(6);
    make_due(&database, fid);
    // The same pass that copies it there removes the makeshift.
    eventually("two copies on two hosts", || {
        let devids = cluster.devids("k");
        (devids.len() == 2 && hosts(&devids).len() == 2).then_some(())
    });
    cluster.tracker.process.logged("removed a surplus copy", "devid");
    assert_eq!(cluster.get_all("k"), vec![content; 2]);
    make_due(&database, fid);
    wait_until_gone(&database, "file_to_replicate", fid);
}

/// J62: the only copy is on a host that is down.
#[test]
fn a_source_that_is_down_is_waited_for() {
    let database = sqlite();
    let mut cluster = Cluster::start(&database);
    cluster.put("k", "one", b"bytes");
    let fid = cluster.fid("k");
    wait_until_gone(&database, "file_to_replicate", fid);
    let host = usize::try_from((cluster.devids("k")[0] - 1) / 2).expect("small");
    cluster.nodes[host].process.kill();
    cluster.wait_until_writeable(4);
    cluster.session().ok("updateclass domain=d&key=k&class=three");
    wait_until_backed_off(&database, fid);
    cluster.tracker.process.wait_for_log("cannot replicate file now", "outcome", "source_down");
    assert_eq!(cluster.devids("k").len(), 1);
    cluster.nodes[host].restart();
    cluster.wait_until_writeable(6);
    make_due(&database, fid);
    cluster.wait_for_copies("k", 3);
    assert_eq!(cluster.get_all("k"), vec![b"bytes".to_vec(); 3]);
}

/// J60, J61: a file without a known copy is parked for a person; a row without a file goes.
#[test]
fn a_file_without_any_copy_is_parked() {
    let database = sqlite();
    let cluster = Cluster::start(&database);
    cluster.put("k", "one", b"bytes");
    let fid = cluster.fid("k");
    wait_until_gone(&database, "file_to_replicate", fid);
    database.execute(&format!(
        "DELETE FROM file_on WHERE fid = {fid};
         INSERT INTO file_to_replicate (fid, nexttry) VALUES ({fid}, 0), (4711, 0)"
    ));
    let parked = format!("fid = {fid} AND nexttry = 2147483647 AND failcount = 1");
    eventually("the row is parked", || (database.count("file_to_replicate", &parked) == 1).then_some(()));
    cluster.tracker.process.logged("file has no known copy; its replication is parked", "fid");
    wait_until_gone(&database, "file_to_replicate", 4711);
}

/// J74: a class with a hash type gets the checksum of what was copied, and `file_info`-like commands tell it.
#[test]
fn a_checksum_class_stores_the_checksum_of_its_files() {
    let database = sqlite();
    let cluster = Cluster::start(&database);
    cluster.session().ok("create_class domain=d&class=md5&mindevcount=2&hashtype=MD5");
    cluster.put("k", "md5", b"hello world");
    cluster.wait_for_copies("k", 2);
    let fid = cluster.fid("k");
    wait_until_gone(&database, "file_to_replicate", fid);
    // MD5 of "hello world"; 1 is MD5's number.
    let row = format!("fid = {fid} AND hashtype = 1 AND lower(hex(checksum)) = '5eb63bbbe01eeed093cb22bb8f5acdc3'");
    assert_eq!(database.count("checksum", &row), 1);
    assert_eq!(cluster.get_all("k"), vec![b"hello world".to_vec(); 2]);
}

/// J77: bytes that do not have the known checksum are not spread; another source serves.
#[test]
fn corrupt_bytes_are_not_copied() {
    let database = sqlite();
    let cluster = Cluster::start(&database);
    cluster.session().ok("create_class domain=d&class=md5&mindevcount=1&hashtype=MD5");
    cluster.session().ok("create_class domain=d&class=md5_2&mindevcount=2&hashtype=MD5");
    let mut session = cluster.session();
    let open = session.ok("create_open domain=d&key=k&class=md5");
    http_put(&open["path"], b"hello world");
    session.ok(&format!(
        "create_close domain=d&key=k&fid={}&devid={}&path={}&size=11&checksumverify=1\
         &checksum=MD5:5eb63bbbe01eeed093cb22bb8f5acdc3",
        open["fid"], open["devid"], open["path"]
    ));
    let fid = cluster.fid("k");
    wait_until_gone(&database, "file_to_replicate", fid);
    let name = format!("{fid:010}.fid");
    let all_files = || cluster.nodes.iter().flat_map(|node| node.stored_files());
    let file = all_files().find(|path| path.ends_with(&name)).expect("one copy");
    std::fs::write(&file, b"hellO world").expect("write");
    session.ok("updateclass domain=d&key=k&class=md5_2");
    wait_until_backed_off(&database, fid);
    cluster.tracker.process.wait_for_log("cannot replicate file now", "outcome", "copy_failed");
    assert_eq!(cluster.devids("k").len(), 1);
    assert_eq!(stored_anywhere(&cluster, fid), 1, "nothing corrupt stays on a target");
    // Once the bytes are right again, they are copied.
    std::fs::write(&file, b"hello world").expect("write");
    make_due(&database, fid);
    cluster.wait_for_copies("k", 2);
    // Of a corrupt and a sound copy, the sound one is the source of the third, even where the corrupt one is preferred.
    std::fs::write(&file, b"hellO world").expect("write");
    let corrupt: i64 = open["devid"].parse().expect("a devid");
    wait_until_gone(&database, "file_to_replicate", fid);
    session.ok("update_class domain=d&class=md5_2&mindevcount=3");
    database.execute(&format!("INSERT INTO file_to_replicate (fid, nexttry, fromdevid) VALUES ({fid}, 0, {corrupt})"));
    cluster.wait_for_copies("k", 3);
    let sound =
        all_files().filter(|path| path.ends_with(&name) && std::fs::read(path).is_ok_and(|b| b == b"hello world"));
    assert_eq!(sound.count(), 2);
}

/// One real node with devices 1 and 2, a file of class default on device 1 that has no second host yet.
fn file_on_one_host(database: &Database, content: &[u8]) -> (Cluster, i64) {
    let cluster = Cluster::start_without_nodes(database, &[]).with_nodes(&[&[1]]);
    cluster.wait_until_writeable(1);
    cluster.put("k", "", content);
    let fid = cluster.fid("k");
    wait_until_backed_off(database, fid);
    database.execute(&format!("UPDATE file_to_replicate SET failcount = 0, nexttry = 2000000000 WHERE fid = {fid}"));
    (cluster, fid)
}

fn add_fake(cluster: &Cluster, fake: &FakeNode, devids: &[i64]) {
    cluster.add_host("fake", &fake.address.ip().to_string(), fake.address.port(), devids);
}

/// J79 (replacement), J64: a target that dies in mid-copy, or stores less than it says, is not recorded; the row waits.
/// When a good target comes, it is used in the same run.
#[test]
fn a_target_that_fails_in_the_middle_is_not_recorded() {
    for manners in [Manners::DiesInUpload, Manners::LosesBytes] {
        let database = sqlite();
        let content = bytes(32 << 20, 5);
        let (cluster, fid) = file_on_one_host(&database, &content);
        let fake = FakeNode::start(9, manners);
        add_fake(&cluster, &fake, &[91]);
        cluster.wait_until_writeable(2);
        make_due(&database, fid);
        wait_until_backed_off(&database, fid);
        cluster.tracker.process.wait_for_log("cannot replicate file now", "outcome", "copy_failed");
        assert_eq!(fake.uploads(), 1);
        assert_eq!(cluster.devids("k"), [1]);
        assert_eq!(database.count("file_on", &format!("fid = {fid}")), 1);
        assert!(fake.stored_files().is_empty(), "{manners:?}: a leftover stays on the target");
        assert_eq!(cluster.get("k"), content);
        // Well again, it gets the file.
        fake.set_manners(Manners::Good);
        make_due(&database, fid);
        cluster.wait_for_copies("k", 2);
        wait_until_gone(&database, "file_to_replicate", fid);
        assert!(fake.stored_files().into_values().eq([content]));
    }
}

/// J70: when the better target fails, the next one is tried in the same run. The fake is better because it is another
/// host, so it is always tried first.
#[test]
fn the_next_target_is_tried_in_the_same_run() {
    let database = sqlite();
    let content = bytes(1 << 20, 6);
    let cluster = Cluster::start_without_nodes(&database, &[]).with_nodes(&[&[1, 2]]);
    let fake = FakeNode::start(9, Manners::DiesInUpload);
    add_fake(&cluster, &fake, &[91]);
    cluster.wait_until_writeable(3);
    // Only the real devices take the upload.
    cluster.session().ok("set_state host=fake&device=91&state=readonly");
    cluster.put("k", "one", &content);
    cluster.session().ok("set_state host=fake&device=91&state=alive");
    cluster.wait_until_writeable(3);
    let fid = cluster.fid("k");
    wait_until_gone(&database, "file_to_replicate", fid);
    cluster.session().ok("updateclass domain=d&key=k&class=default");
    cluster.wait_for_copies("k", 2);
    wait_until_backed_off(&database, fid);
    assert_eq!((fake.uploads(), cluster.devids("k")), (1, vec![1, 2]));
    assert_eq!(cluster.get_all("k"), vec![content; 2]);
}

/// A file that is on the fake node only.
fn file_on_fake(database: &Database, content: &[u8]) -> (Cluster, FakeNode, i64) {
    let cluster = Cluster::start_without_nodes(database, &[]);
    let fake = FakeNode::start(9, Manners::Good);
    add_fake(&cluster, &fake, &[91]);
    cluster.wait_until_writeable(1);
    cluster.put("k", "", content);
    let fid = cluster.fid("k");
    wait_until_backed_off(database, fid);
    database.execute(&format!("UPDATE file_to_replicate SET failcount = 0, nexttry = 2000000000 WHERE fid = {fid}"));
    (cluster, fake, fid)
}

/// J69: a source that dies in the middle or gives another length makes no copy; the file stays where it was.
#[test]
fn a_source_that_fails_in_the_middle_makes_no_copy() {
    for manners in [Manners::DiesInDownload, Manners::LiesAboutLength] {
        let database = sqlite();
        let content = bytes(32 << 20, 7);
        let (cluster, fake, fid) = file_on_fake(&database, &content);
        let cluster = cluster.with_nodes(&[&[1, 2]]);
        cluster.wait_until_writeable(3);
        fake.set_manners(manners);
        make_due(&database, fid);
        wait_until_backed_off(&database, fid);
        cluster.tracker.process.wait_for_log("cannot replicate file now", "outcome", "copy_failed");
        assert_eq!(cluster.devids("k"), [91]);
        assert_eq!(stored_anywhere(&cluster, fid), 0, "{manners:?}");
        eventually("no temporary file stays", || cluster.nodes[0].temporary_files().is_empty().then_some(()));
        fake.set_manners(Manners::Good);
        make_due(&database, fid);
        cluster.wait_for_copies("k", 2);
        assert_eq!(cluster.get_all("k"), vec![content; 2]);
    }
}

/// J67, J68: the preferred source lies, the other one serves.
#[test]
fn another_source_is_tried_in_the_same_run() {
    for manners in [Manners::DiesInDownload, Manners::LiesAboutLength] {
        let database = sqlite();
        let content = bytes(1 << 20, 8);
        let (cluster, fake, fid) = file_on_fake(&database, &content);
        let cluster = cluster.with_nodes(&[&[1], &[2]]);
        cluster.wait_until_writeable(3);
        make_due(&database, fid);
        cluster.wait_for_copies("k", 2);
        wait_until_gone(&database, "file_to_replicate", fid);
        fake.set_manners(manners);
        cluster.session().ok("create_class domain=d&class=late&mindevcount=3");
        let classid = cluster.session().ok("update_class domain=d&class=late&mindevcount=3");
        assert_eq!(classid["mindevcount"], "3");
        // By hand, so that the row names the lying source.
        database.execute(&format!(
            "UPDATE file SET classid = (SELECT classid FROM class WHERE classname = 'late') WHERE fid = {fid};
             INSERT INTO file_to_replicate (fid, nexttry, fromdevid) VALUES ({fid}, 0, 91)"
        ));
        cluster.wait_for_copies("k", 3);
        wait_until_gone(&database, "file_to_replicate", fid);
        assert_eq!(stored_anywhere(&cluster, fid), 2);
        for node in &cluster.nodes {
            for file in node.stored_files() {
                assert!(std::fs::read(file).is_ok_and(|stored| stored == content));
            }
        }
    }
}

/// The target is killed while a copy comes in: deterministic, as the source stops in the middle until told otherwise.
#[test]
fn a_node_killed_in_mid_copy_keeps_nothing_of_it() {
    let database = sqlite();
    let content = bytes(8 << 20, 10);
    let (cluster, fake, fid) = file_on_fake(&database, &content);
    let mut cluster = cluster.with_nodes(&[&[1]]);
    cluster.wait_until_writeable(2);
    fake.set_manners(Manners::HoldsDownload);
    make_due(&database, fid);
    eventually("the copy is under way", || {
        let sizes = cluster.nodes[0].temporary_files().into_iter().filter_map(|path| path.metadata().ok());
        (fake.held() == 1 && sizes.map(|metadata| metadata.len()).any(|length| length > 1 << 20)).then_some(())
    });
    cluster.nodes[0].process.kill();
    wait_until_backed_off(&database, fid);
    assert_eq!(cluster.devids("k"), [91]);
    fake.set_manners(Manners::Good);
    cluster.nodes[0].restart();
    // A node tidies up behind its start.
    eventually("no temporary file stays", || cluster.nodes[0].temporary_files().is_empty().then_some(()));
    assert!(cluster.nodes[0].stored_files().is_empty());
    cluster.wait_until_writeable(2);
    make_due(&database, fid);
    cluster.wait_for_copies("k", 2);
    assert_eq!(cluster.get_all("k"), vec![content; 2]);
}
