//! `undelete` and `list_deleted` on live trackers: the window, the way back, and what happens when it is over.

use crate::support::cluster::{Cluster, Tracker};
use crate::support::database::{Database, Kind, on_each_database};
use crate::support::eventually;

fn stored_copies(cluster: &Cluster, fid: i64) -> usize {
    let name = format!("{fid:010}.fid");
    cluster.nodes.iter().flat_map(|node| node.stored_files()).filter(|path| path.ends_with(&name)).count()
}

fn wait_for_row(database: &Database, table: &str, condition: &str, rows: i64) {
    eventually(&format!("{rows} rows of {table} where {condition}"), || {
        (database.count(table, condition) == rows).then_some(())
    });
}

#[test]
fn deleted_and_overwritten_files_come_back() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let mut session = cluster.session();
        session.ok("set_server_setting key=undelete_window_secs&value=3600");
        cluster.put("k", "", b"first");
        cluster.wait_for_copies("k", 2);
        let first = cluster.fid("k");
        cluster.put("k", "", b"second");
        cluster.wait_for_copies("k", 2);
        let second = cluster.fid("k");
        session.ok("delete domain=d&key=k");
        assert_eq!(session.refused("get_paths domain=d&key=k"), "unknown_key");

        let listed = session.ok("list_deleted domain=d");
        assert_eq!((&*listed["count"], &*listed["fid_1"], &*listed["key_2"]), ("2", &*first.to_string(), "k"));
        let time = |name: &str| listed[name].parse::<i64>().expect("a time");
        assert_eq!(time("due_at_1") - time("deleted_at_1"), 3600);
        assert_eq!(
            session.ok(&format!("list_deleted domain=d&after_fid={first}&limit=1"))["fid_1"],
            second.to_string()
        );
        assert_eq!(session.ok("list_deleted domain=d&prefix=x")["count"], "0");

        let back = session.ok("undelete domain=d&key=k");
        assert_eq!((&*back["fid"], &*back["key"], &*back["length"]), (&*second.to_string(), "k", "6"));
        assert_eq!(back["devcount"], "2");
        assert_eq!(cluster.get_all("k"), vec![b"second".to_vec(); 2]);
        assert_eq!(session.refused("undelete domain=d&key=k"), "key_exists");
        let back = session.ok(&format!("undelete domain=d&key=k&fid={first}&to_key=old"));
        assert_eq!((&*back["fid"], &*back["key"]), (&*first.to_string(), "old"));
        assert_eq!(cluster.get("old"), b"first");
        assert_eq!(session.refused("undelete domain=d&key=old"), "unknown_key");
        assert_eq!(session.refused("undelete domain=d"), "no_key");
        assert_eq!(session.refused("undelete domain=x&key=k"), "unreg_domain");
        assert_eq!(session.refused("undelete key=k"), "no_domain");
        for table in ["file_to_delete2", "mogilefs_deleted_file"] {
            assert_eq!(database.count(table, "1 = 1"), 0);
        }
    });
}

/// The window is over: copies, rows and the way back go.
#[test]
fn what_is_due_is_deleted_for_good() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let mut session = cluster.session();
        session.ok("set_server_setting key=undelete_window_secs&value=1");
        cluster.put("k", "one", b"bytes");
        let fid = cluster.fid("k");
        wait_for_row(database, "file_to_replicate", "1 = 1", 0);
        session.ok("delete domain=d&key=k");
        wait_for_row(database, "mogilefs_deleted_file", "1 = 1", 0);
        wait_for_row(database, "file_to_delete2", "1 = 1", 0);
        assert_eq!(stored_copies(&cluster, fid), 0);
        assert_eq!(session.refused("undelete domain=d&key=k"), "unknown_key");
        // Without the window it is as ever.
        session.ok("set_server_setting key=undelete_window_secs&value=0");
        cluster.put("k", "one", b"bytes");
        session.ok("delete domain=d&key=k");
        assert_eq!(session.ok("list_deleted domain=d")["count"], "0");
        assert_eq!(session.refused("set_server_setting key=undelete_window_secs&value=soon"), "invalid_format");
    });
}

/// A database that 2.73 has set up.
#[test]
fn without_the_table_deletes_work_and_the_log_says_once_what_is_missing() {
    let database = &Database::create(Kind::Sqlite);
    database.execute("DROP TABLE mogilefs_deleted_file");
    let cluster = Cluster::start(database);
    let mut session = cluster.session();
    session.ok("set_server_setting key=undelete_window_secs&value=3600");
    cluster.put("k", "one", b"bytes");
    let fid = cluster.fid("k");
    session.ok("delete domain=d&key=k");
    eventually("the copies are gone", || (stored_copies(&cluster, fid) == 0).then_some(()));
    let reply = session.ask("undelete domain=d&key=k");
    assert!(reply.starts_with("ERR failure ") && reply.contains("mogilefs+db+setup"), "{reply}");
    assert_eq!(session.refused("list_deleted domain=d"), "failure");
    let warning = "deleted files are not kept: the database has no table for them";
    cluster.tracker.process.wait_for_log(warning, "remedy", "mogilefs db setup");
    session.ok("create_domain domain=refreshes");
    assert_eq!(cluster.tracker.process.count_logged(warning), 1);
    // `db setup` makes it, also under a running tracker.
    let mut settings = mogilefs::settings::Settings::defaults().database;
    settings.url.clone_from(&database.url);
    mogilefs::store::Store::setup(&settings).expect("setup");
    cluster.put("k", "one", b"bytes");
    session.ok("delete domain=d&key=k");
    session.ok("undelete domain=d&key=k");
    assert_eq!(cluster.get("k"), b"bytes");
}

/// Around the end of the window the delete workers of two trackers and an undelete want the same file: either it is back
/// with its bytes, or it is gone from the disks.
#[test]
fn at_the_end_of_the_window_the_file_is_back_whole_or_gone() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let other = Tracker::start(database);
        cluster.session().ok("set_server_setting key=undelete_window_secs&value=1");
        let mut session = other.session();
        for round in 0..6 {
            let key = format!("k{round}");
            cluster.put(&key, "one", b"bytes");
            let fid = cluster.fid(&key);
            cluster.session().ok(&format!("delete domain=d&key={key}"));
            let listed = session.ok(&format!("list_deleted domain=d&prefix={key}"));
            // On a busy machine the moment may have gone by.
            let Some(due_at) = listed.get("due_at_1") else { continue };
            let due_ms = due_at.parse::<u128>().expect("a time") * 1000 + round * 200;
            eventually("the moment has come", || (unix_now_ms() >= due_ms).then_some(()));
            let reply = session.ask(&format!("undelete domain=d&key={key}"));
            if reply.starts_with("OK ") {
                assert_eq!(database.count("file_to_delete2", &format!("fid = {fid}")), 0);
                assert_eq!(cluster.get(&key), b"bytes");
            } else {
                assert!(reply.starts_with("ERR unknown_key "), "{reply}");
                wait_for_row(database, "file_to_delete2", &format!("fid = {fid}"), 0);
                assert_eq!(stored_copies(&cluster, fid), 0);
            }
        }
        wait_for_row(database, "file_to_delete2", "1 = 1", 0);
        for round in 0..6 {
            let key = format!("k{round}");
            if cluster.session().ask(&format!("file_info domain=d&key={key}")).starts_with("OK ") {
                assert_eq!(cluster.get(&key), b"bytes", "{key} is still there when all deletions are done");
            }
        }
    });
}

fn unix_now_ms() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis()
}
