//! Commands of operators and tools: fsck and rebalance by their settings, copies by hand.

use crate::support::cluster::{Cluster, Tracker, http};
use crate::support::database::{Database, on_each_database};
use std::collections::BTreeMap;

/// No jobs: nobody but the test changes queues and settings.
const NO_JOBS: &[&str] = &["tracker.job_master=false"];

/// The settings of a kind, without its prefix.
fn settings(tracker: &Tracker, fields: &[&str]) -> BTreeMap<String, String> {
    let mut session = tracker.session();
    fields
        .iter()
        .map(|&field| (field.to_owned(), session.ok(&format!("server_setting key={field}"))["value"].clone()))
        .collect()
}

fn setting(tracker: &Tracker, field: &str) -> String {
    settings(tracker, &[field]).remove(field).expect("asked for")
}

/// Files of these numbers, which nobody looks at.
fn add_files(database: &Database, fids: &[i64]) {
    for fid in fids {
        database.execute(&format!(
            "INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES ({fid}, 1, 'k{fid}', 1, 0, 1)"
        ));
    }
}

/// jobs.md 10.1, J115, J117, J118: what a start does to position and end.
#[test]
fn a_fsck_begins_goes_on_and_begins_anew() {
    on_each_database(|database| {
        let tracker = Tracker::start_with(database, NO_JOBS);
        let mut session = tracker.session();
        add_files(database, &[10, 20]);
        session.ok("fsck_start");
        assert!(!setting(&tracker, "fsck_host").is_empty());
        assert_eq!(setting(&tracker, "fsck_fid_at_end"), "20", "a first run begins without a reset");
        assert_eq!(setting(&tracker, "fsck_start_fid"), "0");

        // Half of it is done; a stop and a start go on, and the end stays.
        session.ok("fsck_stop");
        add_files(database, &[30]);
        database.execute("INSERT INTO server_settings (field, value) VALUES ('fsck_highest_fid_checked', '10')");
        session.ok("fsck_start");
        assert_eq!((setting(&tracker, "fsck_fid_at_end"), setting(&tracker, "fsck_start_fid")), at("20", "10"));
        let status = session.ok("fsck_status");
        assert_eq!((&*status["running"], &*status["stop_time"]), ("1", "0"));
        assert!(status["start_time"].parse::<i64>().expect("a time") > 0);
        session.ok("fsck_stop");
        assert_ne!(session.ok("fsck_status")["stop_time"], "0");

        // All of it is done: the next run has what came since.
        database.execute("UPDATE server_settings SET value = '20' WHERE field = 'fsck_highest_fid_checked'");
        database.execute("INSERT INTO server_settings (field, value) VALUES ('fsck_sum_evcount_MISS', '7')");
        session.ok("fsck_start");
        assert_eq!((setting(&tracker, "fsck_fid_at_end"), setting(&tracker, "fsck_start_fid")), at("30", "20"));
        assert!(!session.ok("fsck_status").contains_key("num_MISS"), "the sums begin anew");

        // A reset is accepted while it runs.
        session.ok("fsck_reset startpos=9007199254740993");
        assert_eq!(session.ok("fsck_status")["max_fid_checked"], "9007199254740993");
        assert_eq!(session.ok("fsck_status")["running"], "1");
        session.ok("fsck_reset startpos=-3");
        assert_eq!(session.ok("fsck_status")["max_fid_checked"], "0");
        database.execute("DELETE FROM file");
        session.ok("fsck_reset");
        assert_eq!(database.count("server_settings", "field = 'fsck_fid_at_end'"), 0, "no file, no end");
    });
}

fn at(end: &str, start: &str) -> (String, String) {
    (end.to_owned(), start.to_owned())
}

/// J156: of a fsck and a rebalance that are started at the same time by many, one runs.
#[test]
fn fsck_and_rebalance_never_run_at_the_same_time() {
    on_each_database(|database| {
        let tracker = Tracker::start_with(database, NO_JOBS);
        tracker.session().ok("rebalance_set_policy policy=from_hosts%3D1");
        let started: Vec<bool> = std::thread::scope(|scope| {
            let contenders: Vec<_> = (0..8)
                .map(|number| {
                    let mut session = tracker.session();
                    let command = if number % 2 == 0 { "fsck_start" } else { "rebalance_start" };
                    scope.spawn(move || session.ask(command).starts_with("OK "))
                })
                .collect();
            contenders.into_iter().map(|one| one.join().expect("no panic")).collect()
        });
        assert_eq!(started.iter().filter(|&&started| started).count(), 1, "{started:?}");
    });
}

/// jobs.md 11.3: a stopped rebalance is gone on with; only another policy or a reset lets it begin anew.
#[test]
fn a_rebalance_goes_on_where_it_stopped() {
    on_each_database(|database| {
        let tracker = Tracker::start_with(database, NO_JOBS);
        let mut session = tracker.session();
        session.ok("rebalance_set_policy policy=from_devices%3D41+limit_by%3Dpercent%0Alimit%3D");
        assert_eq!(setting(&tracker, "rebal_policy"), "from_devices=41 limit_by=percent\nlimit=");
        let state = "completed_devs=,41 source_devs=42 sdev_current=0 time_stopped=5";
        database.execute(&format!("INSERT INTO server_settings (field, value) VALUES ('rebal_state', '{state}')"));
        assert_eq!(session.ok("rebalance_start")["state"], state, "as it was, word for word");
        database.execute("DELETE FROM server_settings WHERE field = 'rebal_host'");
        session.ok("rebalance_reset");
        assert!(session.ask("rebalance_status").starts_with("ERR no_rebal_state "));
        let fresh = session.ok("rebalance_start")["state"].clone();
        assert!(fresh.contains("source_devs= ") && fresh.contains("completed_devs= "), "{fresh}");

        // Blanks too many make an empty name.
        database.execute("DELETE FROM server_settings WHERE field = 'rebal_host'");
        let refused = session.ask("rebalance_set_policy policy=from_hosts%3D1++to_hosts%3D2");
        assert_eq!(refused, "ERR bad_rebal_pol Invalid+setting+");
        assert_eq!(session.ok("rebalance_status")["state"], fresh, "a refused policy changes nothing");
        session.ok("rebalance_set_policy");
        assert_eq!(database.count("server_settings", "field IN ('rebal_policy', 'rebal_state')"), 0);
        assert!(session.ask("rebalance_start").starts_with("ERR no_rebal_policy "));
        session.ok("rebalance_set_policy policy=");
        assert!(session.ask("rebalance_test").starts_with("ERR no_rebal_policy "));
    });
}

/// protocol.md 9, `fsck_getlog`: pages of 100 rows.
#[test]
fn the_log_of_fsck_comes_in_pages() {
    on_each_database(|database| {
        let tracker = Tracker::start_with(database, NO_JOBS);
        let mut session = tracker.session();
        for fid in 1..=130 {
            database.execute(&format!("INSERT INTO fsck_log (utime, fid, evcode) VALUES (1, {fid}, 'POVI')"));
        }
        let first = session.ok("fsck_getlog");
        assert_eq!((&*first["row_count"], &*first["row_100_fid"]), ("100", "100"));
        let second = session.ok(&format!("fsck_getlog after_logid={}", first["row_100_logid"]));
        assert_eq!((&*second["row_count"], &*second["row_1_fid"], &*second["row_30_fid"]), ("30", "101", "130"));
        assert!(!second.contains_key("row_1_devid"), "NULL is no pair");
        session.ok("fsck_clearlog");
        assert_eq!(session.ok("fsck_status")["num_POVI"], "130", "emptied before anybody had counted");
    });
}

/// A device without a copy of the key, on another host than the one with the copy.
fn another_device(has: i64) -> i64 {
    if has <= 2 { 5 } else { 1 }
}

#[test]
fn httpcopy_makes_and_records_a_copy() {
    on_each_database(|database| {
        let cluster = Cluster::start_with(database, NO_JOBS);
        let mut session = cluster.session();
        cluster.put("k", "one", b"some bytes");
        let (fid, has) = (cluster.fid("k"), cluster.devids("k")[0]);
        let target = another_device(has);
        assert_eq!(session.ask(&format!("httpcopy sdevid={has}&ddevid={target}&fid={fid}")), "OK ");
        let mut both = vec![has, target];
        both.sort_unstable();
        assert_eq!(cluster.devids("k"), both);
        assert_eq!(session.ok("file_info domain=d&key=k")["devcount"], "2");
        assert_eq!(cluster.get_all("k"), [b"some bytes", b"some bytes"]);

        let again = session.ask(&format!("httpcopy sdevid={has}&ddevid={target}&fid={fid}"));
        assert!(again.starts_with("ERR copy_err "), "{again}");
        let onto_itself = session.ask(&format!("httpcopy sdevid={has}&ddevid={has}&fid={fid}"));
        assert!(onto_itself.starts_with("ERR copy_err "), "{onto_itself}");
        assert_eq!(cluster.get_all("k"), [b"some bytes", b"some bytes"]);
    });
}

#[test]
fn httpcopy_that_fails_leaves_nothing() {
    on_each_database(|database| {
        let cluster = Cluster::start_with(database, NO_JOBS);
        let mut session = cluster.session();
        cluster.put("k", "one", b"some bytes");
        let (fid, has) = (cluster.fid("k"), cluster.devids("k")[0]);
        let target = another_device(has);
        let mut copy =
            |from: i64, to: i64, fid: i64| session.ask(&format!("httpcopy sdevid={from}&ddevid={to}&fid={fid}"));
        assert_eq!(copy(has, target, 999_999), "ERR failure Operation+failed");
        assert_eq!(copy(99, target, fid), "ERR copy_err src_error");
        assert_eq!(copy(has, 99, fid), "ERR copy_err dest_error");
        assert_eq!(copy(target, has - 1 + 2 * (has % 2), fid), "ERR copy_err src_error", "the source does not have it");
        // The file is longer than its row says.
        let path = cluster.session().ok("get_paths domain=d&key=k")["path1"].clone();
        assert!((200..300).contains(&http("PUT", &path, b"some more bytes").0));
        assert_eq!(copy(has, target, fid), "ERR copy_err src_error");
        cluster.session().ok(&format!("set_state host=h{}&device={target}&state=dead", (target + 1) / 2));
        assert_eq!(copy(has, target, fid), "ERR copy_err dest_error", "dead devices get nothing");
        assert_eq!(cluster.devids("k"), [has]);
        let stored: usize = cluster.nodes.iter().map(|node| node.stored_files().len()).sum();
        assert_eq!(stored, 1, "nothing is left behind");
    });
}
