//! Read replicas (database.md 4.4; C104, D32): which look-ups go where. The replica is a database of its own, into which
//! nothing flows but the tracker's heartbeat, so that what it says is told apart from what the master says.

use crate::support::cluster::{Cluster, Tracker};
use crate::support::database::{Database, Kind, kinds, on_each_database};
use crate::support::database_proxy::DatabaseProxy;
use crate::support::eventually;
use crate::support::session::Session;
use futures::executor::block_on;
use mogilefs::logging;
use mogilefs::settings::Settings;
use mogilefs::store::{Store, server_settings};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const HEARTBEAT: &str = "replica_heartbeat";
const QUICK: [&str; 2] = ["database.replica_check_interval_ms=50", "monitor.db_interval_ms=200"];

/// Carries the heartbeat over, as replication does, until it is stopped.
struct Replication {
    runs: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Replication {
    fn start(from: &Database, to: &Database) -> Self {
        let (from, to) = (open(from), open(to));
        let runs = Arc::new(AtomicBool::new(true));
        let is_running = Arc::clone(&runs);
        let carry_over = move || {
            let (reader, writer) = (from.session().expect("a session"), to.session().expect("a session"));
            while is_running.load(Ordering::SeqCst) {
                let value = reader.read(|conn| server_settings::get(conn, HEARTBEAT)).expect("read");
                block_on(writer.write(move |conn| server_settings::set(conn, HEARTBEAT, value.as_deref())))
                    .expect("written");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        Self { runs, thread: Some(std::thread::spawn(carry_over)) }
    }
}

impl Drop for Replication {
    fn drop(&mut self) {
        self.runs.store(false, Ordering::SeqCst);
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

fn open(database: &Database) -> Store {
    let mut settings = Settings::defaults().database;
    settings.url.clone_from(&database.url);
    Store::open(&settings, logging::discard()).expect("open")
}

/// A file whose length says which database it was found in.
fn add_file(database: &Database, fid: i64, key: &str, length: i64, devids: &[i64]) {
    database.execute(&format!(
        "INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES ({fid}, 1, '{key}', {length}, 0, {})",
        devids.len()
    ));
    for devid in devids {
        database.execute(&format!("INSERT INTO file_on (fid, devid) VALUES ({fid}, {devid})"));
    }
}

const BY_MASTER: &str = "1";
const BY_REPLICA: &str = "2";

fn add_to_both(master: &Database, replica: &Database, fid: i64, key: &str) {
    add_file(master, fid, key, 1, &[1, 3]);
    add_file(replica, fid, key, 2, &[1]);
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn use_replica(session: &mut Session, url: &str) {
    session.ok("set_server_setting key=slave_dead_retry_timeout&value=0.2");
    session.ok(&format!("set_server_setting key=slave_r&value={}", percent(&format!("{url}||"))));
    session.ok("set_server_setting key=slave_keys&value=r%3D2");
    session.ok("clear_cache");
}

/// Who answers about a file: its length.
fn answered_by(session: &mut Session, key: &str) -> String {
    session.ok(&format!("file_info domain=d&key={key}"))["length"].clone()
}

fn wait_for(session: &mut Session, key: &str, by: &str) {
    eventually(&format!("{key} is answered by {by}"), || (answered_by(session, key) == by).then_some(()));
}

fn stat(session: &mut Session, name: &str) -> Option<u64> {
    let lines = session.console("!stats");
    let line = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(line.trim().parse().expect("a number"))
}

fn paths(session: &mut Session, key: &str) -> String {
    session.ok(&format!("get_paths domain=d&key={key}&noverify=1&pathcount=9"))["paths"].clone()
}

#[test]
fn what_a_replica_knows_it_answers_and_for_the_rest_there_is_the_master() {
    on_each_database(|master| {
        let replica = Database::create(master.kind);
        let _replication = Replication::start(master, &replica);
        let cluster = Cluster::start_with(master, &QUICK);
        let mut session = cluster.session();
        add_to_both(master, &replica, 1001, "both");
        add_file(master, 1002, "late", 1, &[1, 3]);
        assert_eq!(answered_by(&mut session, "both"), BY_MASTER);
        assert_eq!(stat(&mut session, "replica_r_asked"), None);
        use_replica(&mut session, &replica.url);
        wait_for(&mut session, "both", BY_REPLICA);
        assert_eq!((paths(&mut session, "both"), paths(&mut session, "late")), ("1".to_owned(), "2".to_owned()));
        // C104.
        assert_eq!(answered_by(&mut session, "late"), BY_MASTER);
        assert_eq!(session.refused("file_info domain=d&key=none"), "unknown_key");
        assert_eq!(session.refused("get_paths domain=d&key=none"), "unknown_key");
        let many = session.ok("file_info domain=d&keys=4&key_1=late&key_2=both&key_3=none&key_4=both");
        let lengths = ["length_1", "length_2", "length_4"].map(|name| many[name].as_str());
        assert_eq!((lengths, many["error_3"].as_str()), ([BY_MASTER, BY_REPLICA, BY_REPLICA], "unknown_key"));
        assert_eq!(session.ok("get_paths domain=d&keys=2&key_1=late&key_2=both&noverify=1")["paths_1"], "2");
        assert_eq!(stat(&mut session, "replica_r_asked"), Some(1));
        assert!(stat(&mut session, "replica_r_reads") >= Some(6));
        assert!(stat(&mut session, "replica_reads_by_master") >= Some(6));
        assert!(stat(&mut session, "replica_r_lag_ms").is_some());
        session.ok("set_server_setting key=slave_keys&value=");
        session.ok("clear_cache");
        assert_eq!(answered_by(&mut session, "both"), BY_MASTER);
        assert_eq!(stat(&mut session, "replica_r_asked"), None);
    });
}

/// D32. Our replica never gets what is changed; it is believed again as soon as it seems to have it.
#[test]
fn what_this_tracker_changed_is_not_read_from_a_replica_that_may_lack_it() {
    on_each_database(|master| {
        let replica = Database::create(master.kind);
        let replication = Replication::start(master, &replica);
        let cluster = Cluster::start_with(master, &QUICK);
        let mut session = cluster.session();
        let keys = ["overwritten", "deleted", "renamed", "reclassed", "untouched"];
        for (fid, key) in (1001..).zip(keys) {
            add_to_both(master, &replica, fid, key);
        }
        use_replica(&mut session, &replica.url);
        for key in keys {
            wait_for(&mut session, key, BY_REPLICA);
        }
        drop(replication);
        // The replica may be behind by five seconds; it stays in use for so long.
        cluster.put("overwritten", "", b"four");
        assert_eq!(answered_by(&mut session, "overwritten"), "4");
        session.ok("delete domain=d&key=deleted");
        assert_eq!(session.refused("file_info domain=d&key=deleted"), "unknown_key");
        assert_eq!(session.refused("get_paths domain=d&key=deleted&noverify=1"), "unknown_key");
        session.ok("rename domain=d&from_key=renamed&to_key=new");
        assert_eq!(session.refused("file_info domain=d&key=renamed"), "unknown_key");
        assert_eq!(answered_by(&mut session, "new"), BY_MASTER);
        session.ok("updateclass domain=d&key=reclassed&class=one");
        assert_eq!(session.ok("file_info domain=d&key=reclassed")["class"], "one");
        let many = session.ok("file_info domain=d&keys=3&key_1=overwritten&key_2=deleted&key_3=untouched");
        assert_eq!((many["length_1"].as_str(), many["error_2"].as_str()), ("4", "unknown_key"));
        assert_eq!(many["length_3"], BY_REPLICA);
        let _replication = Replication::start(master, &replica);
        wait_for(&mut session, "overwritten", BY_REPLICA);
        wait_for(&mut session, "deleted", BY_REPLICA);
    });
}

/// Equality of keys is the database's: here `KEY` and `key` are one.
#[cfg(feature = "mysql")]
#[test]
fn changes_through_another_spelling_are_seen() {
    if !kinds().contains(&Kind::Mysql) {
        return;
    }
    let (master, replica) = (Database::create(Kind::Mysql), Database::create(Kind::Mysql));
    let replication = Replication::start(&master, &replica);
    let cluster = Cluster::start_with(&master, &QUICK);
    let mut session = cluster.session();
    for (fid, key) in (1001..).zip(["overwritten", "deleted", "renamed"]) {
        add_to_both(&master, &replica, fid, key);
    }
    use_replica(&mut session, &replica.url);
    wait_for(&mut session, "Overwritten", BY_REPLICA);
    wait_for(&mut session, "Renamed", BY_REPLICA);
    drop(replication);
    cluster.put("OVERWRITTEN", "", b"four");
    session.ok("delete domain=d&key=DELETED");
    session.ok("rename domain=d&from_key=RENAMED&to_key=new");
    for (spelling, length) in [("Overwritten", "4"), ("overwritten", "4")] {
        assert_eq!(answered_by(&mut session, spelling), length, "{spelling}");
    }
    for spelling in ["Deleted", "deleted", "Renamed", "renamed"] {
        assert_eq!(session.refused(&format!("file_info domain=d&key={spelling}")), "unknown_key", "{spelling}");
    }
}

#[test]
fn a_replica_that_is_too_far_behind_or_of_another_database_is_not_asked() {
    on_each_database(|master| {
        let (replica, other) = (Database::create(master.kind), Database::create(master.kind));
        let mut settings = QUICK.to_vec();
        settings.push("database.replica_lag_max_ms=300");
        let cluster = Cluster::start_without_nodes(master, &settings);
        let mut session = cluster.session();
        add_to_both(master, &replica, 1001, "k");
        let replication = Replication::start(master, &replica);
        use_replica(&mut session, &replica.url);
        wait_for(&mut session, "k", BY_REPLICA);
        drop(replication);
        wait_for(&mut session, "k", BY_MASTER);
        cluster.tracker.process.wait_for_log("a read replica is not asked any more", "reason", "it is too far behind");
        assert_eq!(stat(&mut session, "replica_r_asked"), Some(0));
        let _replication = Replication::start(master, &replica);
        wait_for(&mut session, "k", BY_REPLICA);
        add_file(&other, 1001, "k", 3, &[1]);
        other.execute(
            "INSERT INTO server_settings (field, value) VALUES ('replica_heartbeat', '0123456789abcdef-9999999')",
        );
        use_replica(&mut session, &other.url);
        cluster.tracker.process.wait_for_log(
            "a read replica is not asked any more",
            "reason",
            "it follows another database",
        );
        assert_eq!(answered_by(&mut session, "k"), BY_MASTER);
    });
}

/// The setting says whether a replica without the heartbeat is asked.
#[test]
fn a_replica_whose_lag_is_not_known_is_asked_if_the_setting_says_so() {
    let (master, replica) = (Database::create(Kind::Sqlite), Database::create(Kind::Sqlite));
    let mut settings = QUICK.to_vec();
    settings.extend(["database.replica_unmeasured=true", "database.replica_lag_max_ms=60000"]);
    let cluster = Cluster::start_without_nodes(&master, &settings);
    let strict = Tracker::start_with(&master, &QUICK);
    let mut session = cluster.session();
    add_to_both(&master, &replica, 1001, "k");
    add_to_both(&master, &replica, 1002, "changed");
    use_replica(&mut session, &replica.url);
    wait_for(&mut session, "k", BY_REPLICA);
    session.ok("updateclass domain=d&key=changed&class=one");
    assert_eq!(session.ok("file_info domain=d&key=changed")["class"], "one");
    let mut strict = strict.session();
    eventually("the other tracker knows the replica", || {
        (stat(&mut strict, "replica_r_asked") == Some(0)).then_some(())
    });
    assert_eq!(answered_by(&mut strict, "k"), BY_MASTER);
}

#[test]
fn replicas_answer_while_the_master_is_away_and_the_other_way_round() {
    for kind in kinds().into_iter().filter(|&kind| kind != Kind::Sqlite) {
        eprintln!("--- on {kind:?}");
        let (master, replica) = (Database::create(kind), Database::create(kind));
        let replication = Replication::start(&master, &replica);
        let (to_master, to_replica) = (DatabaseProxy::start(&master), DatabaseProxy::start(&replica));
        let tracker = Tracker::start_at(&to_master.url, &QUICK);
        tracker.session().ok("create_domain domain=d");
        tracker.session().ok("create_class domain=d&class=one&mindevcount=1");
        let cluster = Cluster { nodes: Vec::new(), tracker }.with_nodes(&[&[1], &[3]]);
        cluster.wait_until_writeable(2);
        let mut session = cluster.session();
        for (fid, key) in [(1001, "k"), (1002, "changed")] {
            add_to_both(&master, &replica, fid, key);
        }
        use_replica(&mut session, &to_replica.url);
        wait_for(&mut session, "k", BY_REPLICA);
        to_replica.cut();
        wait_for(&mut session, "k", BY_MASTER);
        eventually("it is seen", || (stat(&mut session, "replica_r_failures")? > 0).then_some(()));
        to_replica.mend();
        wait_for(&mut session, "k", BY_REPLICA);
        // Nobody knows whether the replica got this, however long the master stays away.
        drop(replication);
        session.ok("updateclass domain=d&key=changed&class=one");
        to_master.cut();
        eventually("the tracker has noticed", || {
            session.ask("file_info domain=d&key=none").starts_with("ERR db ").then_some(())
        });
        assert_eq!(session.refused("updateclass domain=d&key=k&class=one"), "db");
        // Longer than a replica may be behind: it will not get further.
        let until = Instant::now() + Duration::from_secs(6);
        while Instant::now() < until {
            assert_eq!((answered_by(&mut session, "k"), paths(&mut session, "k")), (BY_REPLICA.into(), "1".into()));
            assert_eq!(session.refused("file_info domain=d&key=changed"), "db");
            // Nothing comes of these, so they take nothing away from the replica.
            assert_eq!(session.refused("delete domain=d&key=k"), "db");
            std::thread::sleep(Duration::from_millis(100));
        }
        to_replica.cut();
        eventually("nobody is left", || {
            session.ask("get_paths domain=d&key=k&noverify=1").starts_with("ERR db ").then_some(())
        });
        to_master.mend();
        let reply = eventually("the master is back", || {
            let reply = session.ask("file_info domain=d&key=k");
            reply.starts_with("OK ").then_some(reply)
        });
        assert!(reply.contains(&format!("length={BY_MASTER}")), "{reply}");
        assert_eq!(session.ok("file_info domain=d&key=changed")["class"], "one");
    }
}

#[test]
fn entries_that_cannot_be_used_are_named_and_passed_over() {
    let (master, replica) = (Database::create(Kind::Sqlite), Database::create(Kind::Sqlite));
    let _replication = Replication::start(&master, &replica);
    let cluster = Cluster::start_without_nodes(&master, &QUICK);
    let mut session = cluster.session();
    add_to_both(&master, &replica, 1001, "k");
    session.ok("set_server_setting key=slave_bad&value=DBI%3ASQLite%3A%2Fx.db");
    session.ok("set_server_setting key=slave_gone&value=DBI%3ASQLite%3A%2Fno%2Fsuch.db%7C%7C");
    use_replica(&mut session, &replica.url);
    session.ok("set_server_setting key=slave_keys&value=bad,gone,r,missing");
    session.ok("clear_cache");
    let process = &cluster.tracker.process;
    for reason in [
        "slave_bad is not of the form DSN|user|password",
        "slave_keys names missing, and there is no setting slave_missing",
    ] {
        process.wait_for_log("a read replica is passed over", "reason", reason);
    }
    process.wait_for_log("a read replica is not asked any more", "replica", "gone");
    wait_for(&mut session, "k", BY_REPLICA);
    assert_eq!(process.count_logged("a read replica is passed over"), 2);
}
