//! What the protocol has beyond 2.73: waiting for copies, many keys at once, reports of copies that cannot be read.

use crate::support::cluster::{Cluster, http_put};
use crate::support::database::{Database, Kind, on_each_database};
use crate::support::session::Session;
use std::collections::BTreeMap;

/// Opens an upload of class `class` and writes the bytes: the arguments of its close.
fn upload(session: &mut Session, key: &str, class: &str, bytes: &[u8]) -> String {
    let open = session.ok(&format!("create_open domain=d&key={key}&class={class}"));
    http_put(&open["path"], bytes);
    format!("create_close domain=d&key={key}&fid={}&devid={}&path={}", open["fid"], open["devid"], open["path"])
}

#[test]
fn create_close_waits_for_copies() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let mut session = cluster.session();
        let close = upload(&mut session, "two", "", b"bytes");
        let reply = session.ok(&format!("{close}&wait_copies=2&wait_ms=20000"));
        assert_eq!((&*reply["copies"], &*reply["wait_ended_by"]), ("2", "copies"));
        assert_eq!(cluster.devids("two").len(), 2);

        let close = upload(&mut session, "one", "one", b"bytes");
        let reply = session.ok(&format!("{close}&wait_copies=2&wait_ms=50"));
        assert_eq!((&*reply["copies"], &*reply["wait_ended_by"]), ("1", "time"), "its class wants one copy only");
        assert_eq!(cluster.get("one"), b"bytes", "stored all the same");

        let close = upload(&mut session, "old", "one", b"bytes");
        assert_eq!(session.ask(&close), "OK ", "who does not ask gets the old reply");
        let close = upload(&mut session, "zero", "one", b"bytes");
        assert_eq!(session.ask(&format!("{close}&wait_copies=0&wait_ms=10")), "OK ");
    });
}

/// Another tracker makes the copies: nobody tells the waiting one, it has to look.
#[test]
fn create_close_sees_copies_that_another_tracker_makes() {
    use crate::support::cluster::Tracker;
    let database = &Database::create(Kind::Sqlite);
    let cluster = Cluster::start(database);
    let front = Tracker::start_with(database, &["tracker.job_master=false"]);
    let mut session = front.session();
    let close = upload(&mut session, "key", "", b"bytes");
    let reply = session.ok(&format!("{close}&wait_copies=2&wait_ms=20000"));
    assert_eq!((&*reply["copies"], &*reply["wait_ended_by"]), ("2", "copies"));
    drop(cluster);
}

/// The wait never makes the request as a whole time out.
#[test]
fn a_wait_ends_before_the_request_would() {
    let database = &Database::create(Kind::Sqlite);
    let cluster = Cluster::start_with(database, &["limits.request_timeout_ms=1500"]);
    let mut session = cluster.session();
    let close = upload(&mut session, "key", "one", b"bytes");
    let reply = session.ok(&format!("{close}&wait_copies=3&wait_ms=3600000"));
    assert_eq!(reply["wait_ended_by"], "time");
}

#[test]
fn many_keys_in_one_request() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let mut session = cluster.session();
        for key in ["a", "b%26%3D", "B"] {
            cluster.put(key, "one", key.as_bytes());
        }
        let keys = "keys=5&key_1=a&key_2=missing&key_3=b%26%3D&key_4=&key_5=a";
        let paths = session.ok(&format!("get_paths domain=d&{keys}"));
        assert_eq!(paths["keys"], "5");
        for n in [1, 3, 5] {
            assert_eq!(paths[&format!("paths_{n}")], "1");
        }
        let of = |key: &str| session_path(&mut cluster.session(), key);
        assert_eq!(paths["path_1_1"], of("a"));
        assert_eq!(paths["path_3_1"], of("b%26%3D"));
        assert_eq!(paths["path_5_1"], of("a"), "a key may be asked for twice");
        assert_eq!((&*paths["error_2"], &*paths["error_4"]), ("unknown_key", "no_key"));

        let info = session.ok(&format!("file_info domain=d&devices=1&{keys}"));
        assert_eq!((&*info["key_1"], &*info["length_1"], &*info["class_1"]), ("a", "1", "one"));
        assert_eq!((&*info["key_3"], &*info["length_3"], &*info["devcount_3"]), ("b&=", "7", "1"));
        assert_eq!(info["error_2"], "unknown_key");
        assert_eq!(info["devids_1"], cluster.devids("a")[0].to_string());

        for count in ["-1", "1001", "x"] {
            assert_eq!(session.refused(&format!("get_paths domain=d&keys={count}&key_1=a")), "bad_args");
        }
        let answered_as_before = session.ok("get_paths domain=d&key=a&keys=0");
        assert_eq!(answered_as_before["paths"], "1");
    });
}

/// What was given out before is not given out again: no number up to the highest one at the start (C19).
#[test]
fn explicit_fids_are_above_those_of_before() {
    use crate::support::cluster::Tracker;
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let mut session = cluster.session();
        cluster.put("key", "one", b"bytes");
        let highest = cluster.fid("key");
        let tracker = Tracker::start_with(database, &["tracker.job_master=false"]);
        let mut later = tracker.session();
        session.ok("delete domain=d&key=key");
        let open = |fid: i64| format!("create_open domain=d&key=x&fid={fid}");
        assert_eq!(later.refused(&open(highest)), "fid_in_use");
        crate::support::eventually("devices are seen", || {
            later.ask(&open(highest + 100)).starts_with("OK ").then_some(())
        });
    });
}

/// Another tracker deleted the class: no OK for a change that was not made.
#[test]
fn updateclass_to_a_class_that_is_gone() {
    on_each_database(|database| {
        let cluster = Cluster::start_with(database, &["monitor.db_interval_ms=60000"]);
        let mut session = cluster.session();
        cluster.put("key", "one", b"bytes");
        database.execute("DELETE FROM class WHERE classname = 'three'");
        assert_eq!(session.refused("updateclass domain=d&key=key&class=three"), "class_not_found");
        assert_eq!(session.ok("file_info domain=d&key=key")["class"], "one");
    });
}

/// A key that the database knows in another spelling is found as a single one is.
#[test]
fn many_keys_are_found_as_single_ones_are() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let mut session = cluster.session();
        cluster.put("Key", "one", b"1");
        let single = session.ask("file_info domain=d&key=kEY");
        let many = session.ok("file_info domain=d&keys=1&key_1=kEY");
        assert_eq!(single.starts_with("OK"), many.contains_key("fid_1"), "{single}");
        assert_eq!(single == "ERR unknown_key unknown_key", many.contains_key("error_1"), "{single}");
    });
}

fn session_path(session: &mut Session, key: &str) -> String {
    session.ok(&format!("get_paths domain=d&key={key}")).remove("path1").expect("a path")
}

#[test]
fn a_reported_copy_is_offered_last() {
    on_each_database(|database| {
        // Nobody takes the row out of the queue of fsck.
        let cluster = Cluster::start_with(database, &["tracker.fsck_workers=0"]);
        let mut session = cluster.session();
        cluster.put("key", "three", b"bytes");
        cluster.wait_for_copies("key", 3);
        let first = session_path(&mut session, "key");
        let reply = session.ok(&format!("bad_path domain=d&key=key&path={}", escaped(&first)));
        assert_eq!((&*reply["demoted_secs"], &*reply["other_copies"]), ("600", "2"));
        let fid = cluster.fid("key");
        assert_eq!(database.count("file_to_queue", &format!("fid = {fid} AND type = 1 AND nexttry = 0")), 1);
        for _ in 0..20 {
            let paths: BTreeMap<_, _> = session.ok("get_paths domain=d&key=key&noverify=1&pathcount=3");
            assert_eq!(paths["path3"], first);
        }
        assert_eq!(cluster.devids("key").len(), 3, "nothing is removed on a client's word");

        session.ok(&format!("bad_path domain=d&key=key&devid={}", reply["devid"]));
        assert_eq!(database.count("file_to_queue", &format!("fid = {fid}")), 1, "one row, however often it is said");
        for (request, code) in [
            ("bad_path domain=d&key=key", "no_path"),
            ("bad_path domain=d&key=key&path=http://10.0.0.1/dev1/x", "bogus_args"),
            ("bad_path domain=d&key=key&devid=77", "bogus_args"),
            ("bad_path domain=d&key=nothing&devid=1", "unknown_key"),
            ("bad_path domain=d&devid=1", "no_key"),
            ("bad_path domain=x&key=key&devid=1", "unreg_domain"),
        ] {
            assert_eq!(session.refused(request), code, "{request}");
        }
    });
}

fn escaped(url: &str) -> String {
    url.replace(':', "%3A").replace('/', "%2F")
}
