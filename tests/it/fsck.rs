//! The job fsck: what it finds, what it repairs and what it leaves alone; files are damaged behind the tracker's back.

use crate::support::cluster::{Cluster, Node, Tracker, http_put};
use crate::support::database::{Database, Kind, on_each_database};
use crate::support::{PATIENCE, eventually};
use mogilefs::cluster::checksum::HashType;
use mogilefs::cluster::devfid::DevFid;
use mogilefs::ids::{DevId, Fid};
use mogilefs::node_client::{CopyOnNode, NodeClient, NodeError};
use mogilefs::settings::{Settings, StorageSettings};
use mogilefs::store::{LockGuard, Store};
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn sqlite() -> Database {
    Database::create(Kind::Sqlite)
}

/// Files of these numbers, of which nobody has a copy.
fn add_files(database: &Database, fids: impl IntoIterator<Item = i64>) {
    for fid in fids {
        database.execute(&format!(
            "INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES ({fid}, 1, 'k{fid}', 1, 0, 1)"
        ));
    }
}

fn queued(database: &Database) -> i64 {
    database.count("file_to_queue", "type = 1")
}

fn wait_until_injected(tracker: &Tracker) {
    let mut session = tracker.session();
    eventually("all files are queued", || (session.ok("fsck_status")["running"] == "0").then_some(()));
}

fn set(tracker: &Tracker, key: &str, value: &str) {
    tracker.session().ok(&format!("set_server_setting key={key}&value={value}"));
}

/// A whole run, from the first file; until nothing is queued.
fn run(cluster: &Cluster, database: &Database, reset: &str) {
    start(cluster, reset);
    wait_until_checked(cluster, database);
}

fn start(cluster: &Cluster, reset: &str) {
    let mut session = cluster.session();
    session.ok(&format!("fsck_reset {reset}"));
    session.ok("fsck_start");
}

fn wait_until_checked(cluster: &Cluster, database: &Database) {
    wait_until_injected(&cluster.tracker);
    // Locks of MySQL are those of the whole server, and other tests have files of the same numbers: a row whose file was
    // locked elsewhere comes back after 1000 s; here soon.
    let mut next_push = Instant::now() + Duration::from_secs(8);
    eventually("everything is checked", || {
        if Instant::now() >= next_push {
            database.execute("UPDATE file_to_queue SET nexttry = 0");
            next_push += Duration::from_secs(8);
        }
        (queued(database) == 0).then_some(())
    });
}

/// The events of a file in order: the code, and the device where there is one.
fn events(cluster: &Cluster, fid: i64) -> Vec<String> {
    let log = cluster.session().ok("fsck_getlog");
    let count: usize = log["row_count"].parse().expect("a number");
    (1..=count)
        .filter(|n| log[&format!("row_{n}_fid")] == fid.to_string())
        .map(|n| match log.get(&format!("row_{n}_devid")) {
            Some(devid) => format!("{} {devid}", log[&format!("row_{n}_evcode")]),
            None => log[&format!("row_{n}_evcode")].clone(),
        })
        .collect()
}

fn wait_for_event(cluster: &Cluster, fid: i64, event: &str) {
    eventually(&format!("{event} is logged"), || events(cluster, fid).iter().any(|one| one == event).then_some(()));
}

/// The file on disk of a copy, in the usual cluster of two devices per host.
fn on_disk(cluster: &Cluster, devid: i64, fid: i64) -> PathBuf {
    let node = usize::try_from((devid - 1) / 2).expect("a device of ours");
    cluster.nodes[node].file(&DevFid { devid: DevId(devid), fid: Fid(fid) }.path())
}

/// Stores a file, waits for its copies, and until nobody wants to replicate it any more.
fn stored(cluster: &Cluster, database: &Database, key: &str, class: &str, content: &[u8], copies: usize) -> i64 {
    cluster.put(key, class, content);
    cluster.wait_for_copies(key, copies);
    let fid = cluster.fid(key);
    wait_until_replicated(database, fid);
    fid
}

fn wait_until_replicated(database: &Database, fid: i64) {
    eventually("replication is done", || {
        (database.count("file_to_replicate", &format!("fid = {fid}")) == 0).then_some(())
    });
}

fn forget_copies(database: &Database, fid: i64) {
    database.execute(&format!("DELETE FROM file_on WHERE fid = {fid}"));
}

fn copies(database: &Database, fid: i64) -> i64 {
    database.count("file_on", &format!("fid = {fid}"))
}

/// The queue row of a file that could not be settled: it comes up when the claim runs out, and a failure is counted.
fn wait_until_stalled(database: &Database, fid: i64) {
    eventually("the row stays as claimed", || {
        let claimed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        let row = format!("fid = {fid} AND type = 1 AND failcount > 0 AND nexttry > {}", claimed + 900);
        (database.count("file_to_queue", &row) == 1).then_some(())
    });
}

fn make_due(database: &Database, fid: i64) {
    database.execute(&format!("UPDATE file_to_queue SET nexttry = 0 WHERE fid = {fid}"));
}

/// The lock of a file, held as another tracker would.
struct HeldLock {
    guard: Option<LockGuard>,
    runtime: tokio::runtime::Runtime,
    _store: Store,
}

impl HeldLock {
    fn take(database: &Database, fid: i64) -> Self {
        let mut settings = Settings::defaults().database;
        settings.url.clone_from(&database.url);
        let store = Store::open(&settings, slog::Logger::root(slog::Discard, slog::o!())).expect("open");
        let session = store.session().expect("a session");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let name = format!("mgfs:fid:{fid}:replicate");
        let lock = session.try_lock(&name, PATIENCE);
        let guard = Some(runtime.block_on(lock).expect("asked").expect("free"));
        Self { guard, runtime, _store: store }
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        if let Some(guard) = self.guard.take() {
            self.runtime.block_on(guard.release());
        }
    }
}

/// Nodes that come back are soon seen to do so.
const QUICK_MONITOR: &[&str] = &["monitor.round_interval_ms=200", "monitor.write_test_interval_ms=200"];

/// Nobody checks what is queued.
const NO_CHECKS: &[&str] = &["tracker.fsck_workers=0"];

/// J115, J117, J119: each file between start and end once, none above; a finished run is gone on with.
#[test]
fn every_file_up_to_the_end_is_queued_once() {
    on_each_database(|database| {
        let cluster = Cluster::start_without_nodes(database, NO_CHECKS);
        let mut session = cluster.session();
        add_files(database, [5, 10, 11, 15, 20]);
        database.execute("INSERT INTO file_to_queue (fid, type, nexttry) VALUES (11, 1, 5), (15, 2, 5)");
        session.ok("fsck_reset startpos=10");
        add_files(database, [21]);
        session.ok("fsck_start");
        wait_until_injected(&cluster.tracker);
        assert_eq!(database.count("file_to_queue", "type = 1 AND fid IN (11, 15, 20)"), 3);
        assert_eq!(queued(database), 3);
        assert_eq!(database.count("file_to_queue", "fid = 11 AND type = 1 AND nexttry = 5"), 1, "as it was");
        let status = session.ok("fsck_status");
        assert_eq!((&*status["max_fid_checked"], &*status["end_fid"], &*status["host"]), ("20", "20", ""));
        assert_ne!(status["stop_time"], "0", "it is over, though nothing was checked");
        assert_eq!(database.count("server_settings", "field = 'fsck_host'"), 0);

        database.execute("DELETE FROM file_to_queue");
        session.ok("fsck_start");
        wait_until_injected(&cluster.tracker);
        assert_eq!(database.count("file_to_queue", "fid = 21"), 1);
        assert_eq!(queued(database), 1);
        assert_eq!(session.ok("server_setting key=fsck_start_fid")["value"], "20");
    });
}

/// J116: what waits is limited, and so is a step.
#[test]
fn the_queue_and_its_steps_are_limited() {
    on_each_database(|database| {
        let cluster = Cluster::start_without_nodes(database, NO_CHECKS);
        set(&cluster.tracker, "queue_size_for_fsck", "1");
        set(&cluster.tracker, "queue_rate_for_fsck", "1");
        add_files(database, [7, 8, 9]);
        cluster.session().ok("fsck_reset");
        cluster.session().ok("fsck_start");
        for fid in [7, 8, 9] {
            eventually("one file is queued", || {
                (cluster.session().ok("fsck_status")["max_fid_checked"] == fid.to_string()).then_some(())
            });
            assert_eq!((queued(database), database.count("file_to_queue", &format!("fid = {fid}"))), (1, 1));
            database.execute("DELETE FROM file_to_queue");
        }
        wait_until_injected(&cluster.tracker);
    });
}

/// J118: after a stop, and after a crash, it goes on from the position, to which all rows below belong.
#[test]
fn a_run_goes_on_after_a_stop_and_a_crash() {
    on_each_database(|database| {
        let mut cluster = Cluster::start_without_nodes(database, NO_CHECKS);
        set(&cluster.tracker, "queue_rate_for_fsck", "2");
        set(&cluster.tracker, "queue_size_for_fsck", "11");
        add_files(database, 1..=40);
        cluster.session().ok("fsck_reset");
        cluster.session().ok("fsck_start");
        let wait_for = |tracker: &Tracker, position: i64| {
            eventually("the queue is full", || {
                (tracker.session().ok("fsck_status")["max_fid_checked"] == position.to_string()).then_some(())
            });
            assert_eq!(queued(database), position);
            assert_eq!(database.count("file_to_queue", &format!("type = 1 AND fid <= {position}")), position);
        };
        wait_for(&cluster.tracker, 12);
        cluster.session().ok("fsck_stop");
        set(&cluster.tracker, "queue_size_for_fsck", "21");
        assert_eq!(cluster.session().ok("fsck_status")["max_fid_checked"], "12", "a stop counts at once");
        cluster.session().ok("fsck_start");
        assert_eq!(cluster.session().ok("server_setting key=fsck_start_fid")["value"], "12");
        wait_for(&cluster.tracker, 22);
        set(&cluster.tracker, "queue_size_for_fsck", "1000");
        cluster.tracker.process.kill();
        cluster.tracker = Tracker::start_with(database, NO_CHECKS);
        wait_until_injected(&cluster.tracker);
        assert_eq!((queued(database), database.count("file_to_queue", "fid BETWEEN 1 AND 40")), (40, 40));
    });
}

/// J120, J121, J122, J123, J124, J125, J128 and a dead device (J129), in one run: each file has its own fate.
#[test]
fn what_is_wrong_is_found_and_repaired() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let content = b"some bytes".as_slice();
        let all: Vec<i64> = ["good", "lost", "few", "miscounted", "missing", "short", "gone", "many"]
            .iter()
            .map(|key| stored(&cluster, database, key, "", content, 2))
            .collect();
        let [good, lost, few, miscounted, missing, short, gone, many] = all[..] else { panic!("eight") };
        let devids = |key: &str| cluster.devids(key);
        let (missing_at, short_at, gone_at) = (devids("missing"), devids("short"), devids("gone"));
        // The queue row keeps replication from cleaning up, which is another job's.
        set(&cluster.tracker, "queue_size_for_fsck", "1000");
        forget_copies(database, lost);
        database.execute(&format!("DELETE FROM file_on WHERE fid = {few} AND devid = {}", devids("few")[0]));
        database.execute(&format!("UPDATE file SET devcount = 1 WHERE fid = {few}"));
        database.execute(&format!("UPDATE file SET devcount = 7 WHERE fid = {miscounted}"));
        std::fs::remove_file(on_disk(&cluster, missing_at[0], missing)).expect("removed");
        std::fs::write(on_disk(&cluster, short_at[1], short), b"some").expect("cut");
        for &devid in &gone_at {
            std::fs::remove_file(on_disk(&cluster, devid, gone)).expect("removed");
        }
        let third = (1..=6).find(|devid| devids("many").iter().all(|has| (has - 1) / 2 != (devid - 1) / 2));
        let third = third.expect("a device on the third host");
        let copy = on_disk(&cluster, third, many);
        std::fs::create_dir_all(copy.parent().expect("a directory")).expect("made");
        std::fs::write(copy, content).expect("written");
        database.execute(&format!("INSERT INTO file_on (fid, devid) VALUES ({many}, {third})"));
        database.execute(&format!("UPDATE file SET devcount = 3 WHERE fid = {many}"));

        run(&cluster, database, "");
        assert_eq!(events(&cluster, good), [""; 0]);
        let lost_events = events(&cluster, lost);
        assert_eq!(lost_events[..3], ["NOPA", "SRCH", "FOND"]);
        assert_eq!(lost_events[3..], ["REPL"], "the other copy is made again");
        assert_eq!(events(&cluster, few), ["POVI", "REPL"]);
        assert_eq!(events(&cluster, miscounted), ["BCNT"]);
        assert_eq!(database.count("file", &format!("fid = {miscounted} AND devcount = 2")), 1);
        assert_eq!(events(&cluster, missing), [format!("MISS {}", missing_at[0]), "REPL".to_owned()]);
        assert_eq!(events(&cluster, short), [format!("BLEN {}", short_at[1]), "REPL".to_owned()]);
        let mut gone_events: Vec<String> = gone_at.iter().map(|devid| format!("MISS {devid}")).collect();
        gone_events.extend(["SRCH".to_owned(), "GONE".to_owned()]);
        assert_eq!(events(&cluster, gone), gone_events);
        assert_eq!((copies(database, gone), database.count("file", &format!("fid = {gone} AND devcount = 0"))), (0, 1));
        assert_eq!(events(&cluster, many), ["POVI", "REPL"]);
        assert_eq!(database.count("file_to_replicate", &format!("fid = {many}")), 1);
        for key in ["good", "lost", "few", "miscounted", "missing", "short"] {
            cluster.wait_for_copies(key, 2);
            assert_eq!(cluster.get_all(key), [content, content], "{key}");
        }

        // J140: each event counts once.
        let status = cluster.session().ok("fsck_status");
        let sums = ["NOPA", "POVI", "MISS", "BLEN", "SRCH", "FOND", "GONE", "REPL", "BCNT"];
        assert_eq!(sums.map(|code| &*status[&format!("num_{code}")]), ["1", "2", "3", "1", "2", "1", "1", "5", "1"]);
        assert_eq!(status["checked"], "8");
    });
}

/// J129: of a dead device that was not reaped yet only the repair is told.
#[test]
fn copies_on_dead_devices_are_replaced() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let fid = stored(&cluster, database, "k", "", b"some bytes", 2);
        let dead = cluster.devids("k")[0];
        cluster.session().ok(&format!("set_state host=h{}&device={dead}&state=dead", (dead + 1) / 2));
        run(&cluster, database, "");
        assert_eq!(events(&cluster, fid), ["REPL"]);
        assert_eq!(database.count("file_on", &format!("fid = {fid} AND devid = {dead}")), 0);
        cluster.wait_for_copies("k", 2);
    });
}

/// What is nowhere else but on a dead device stays on record, unless the reaper may forget it too.
#[test]
fn the_last_location_on_a_dead_device_is_kept() {
    for (keep, kept) in [("true", 1), ("false", 0)] {
        let database = sqlite();
        let setting = format!("jobs.reaper_keep_last_copies={keep}");
        let cluster = Cluster::start_with(&database, &[&setting, "tracker.reaper_workers=0"]);
        let fid = stored(&cluster, &database, "k", "one", b"some bytes", 1);
        let dead = cluster.devids("k")[0];
        let set_state = |state: &str| {
            cluster.session().ok(&format!("set_state host=h{}&device={dead}&state={state}", (dead + 1) / 2))
        };
        set_state("dead");
        run(&cluster, &database, "policy_only=1");
        assert_eq!(copies(&database, fid), kept);
        run(&cluster, &database, "");
        assert_eq!((events(&cluster, fid).last().map(String::as_str), copies(&database, fid)), (Some("GONE"), kept));
        if kept == 1 {
            set_state("down");
            set_state("alive");
            cluster.wait_until_writeable(6);
            assert_eq!(cluster.get("k"), b"some bytes");
        }
    }
}

/// J122, second half.
#[test]
fn copies_are_not_counted_where_that_is_switched_off() {
    let database = sqlite();
    let cluster = Cluster::start(&database);
    let fid = stored(&cluster, &database, "k", "", b"some bytes", 2);
    set(&cluster.tracker, "skip_devcount", "1");
    database.execute("UPDATE file SET devcount = 7");
    run(&cluster, &database, "");
    assert_eq!((events(&cluster, fid).len(), database.count("file", "devcount = 7")), (0, 1));
}

/// J126: a node that does not answer is no reason to do anything; the file comes up again.
#[test]
fn a_node_that_is_down_stalls_its_files() {
    on_each_database(|database| {
        let mut cluster = Cluster::start_with(database, QUICK_MONITOR);
        let fid = stored(&cluster, database, "k", "", b"some bytes", 2);
        let other = stored(&cluster, database, "other", "one", b"some bytes", 1);
        let has = cluster.devids("k");
        let down = (1..=2).map(|n| has[n - 1]).find(|devid| (devid - 1) / 2 != (cluster.devids("other")[0] - 1) / 2);
        let down = down.expect("two hosts");
        let node = usize::try_from((down - 1) / 2).expect("a node");
        cluster.nodes[node].process.kill();
        // What waits for the node is not in the way of the others.
        set(&cluster.tracker, "queue_size_for_fsck", "1");
        set(&cluster.tracker, "queue_rate_for_fsck", "1");
        start(&cluster, "");
        wait_until_injected(&cluster.tracker);
        wait_until_stalled(database, fid);
        cluster.tracker.process.wait_for_log_beginning("connectivity problem");
        eventually("the other file is checked", || {
            (database.count("file_to_queue", &format!("fid = {other}")) == 0).then_some(())
        });
        assert_eq!((events(&cluster, fid).len(), copies(database, fid)), (0, 2));

        cluster.nodes[node].restart();
        cluster.wait_until_writeable(6);
        make_due(database, fid);
        wait_until_checked(&cluster, database);
        assert_eq!(events(&cluster, fid), [""; 0]);
    });
}

/// J127, W23: a lost file is found although some device is down; one that is not found is not given up before that device
/// was searched, and nothing is logged twice.
#[test]
fn a_search_is_not_over_while_a_device_is_down() {
    on_each_database(|database| {
        let mut cluster = Cluster::start_with(database, QUICK_MONITOR);
        let hidden = stored(&cluster, database, "hidden", "one", b"some bytes", 1);
        let found = stored(&cluster, database, "found", "three", b"some bytes", 3);
        let node = usize::try_from((cluster.devids("hidden")[0] - 1) / 2).expect("a node");
        cluster.nodes[node].process.kill();
        forget_copies(database, hidden);
        forget_copies(database, found);
        start(&cluster, "");
        wait_for_event(&cluster, found, "REPL");
        wait_until_stalled(database, hidden);
        assert_eq!(events(&cluster, found)[..3], ["NOPA", "SRCH", "FOND"]);
        wait_for_event(&cluster, hidden, "SRCH");
        make_due(database, hidden);
        wait_until_stalled(database, hidden);
        assert_eq!(events(&cluster, hidden), ["NOPA", "SRCH"], "once");

        cluster.nodes[node].restart();
        cluster.wait_until_writeable(6);
        make_due(database, hidden);
        wait_until_checked(&cluster, database);
        assert_eq!(events(&cluster, hidden), ["NOPA", "SRCH", "FOND"]);
        assert_eq!(cluster.get("hidden"), b"some bytes");
    });
}

/// W23: what is damaged stays known when there is nothing better.
#[test]
fn the_last_damaged_copy_is_kept() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let fid = stored(&cluster, database, "k", "", b"some bytes", 2);
        let devids = cluster.devids("k");
        std::fs::write(on_disk(&cluster, devids[0], fid), b"some").expect("cut");
        std::fs::remove_file(on_disk(&cluster, devids[1], fid)).expect("removed");
        run(&cluster, database, "");
        let expected = [format!("BLEN {}", devids[0]), format!("MISS {}", devids[1])];
        assert_eq!(events(&cluster, fid)[..2], expected);
        assert_eq!(events(&cluster, fid)[2..], ["SRCH", "GONE"]);
        assert_eq!(cluster.devids("k"), [devids[0]]);
        assert_eq!(database.count("file", &format!("fid = {fid} AND devcount = 1")), 1);
    });
}

/// A disk that is not there says "no such file" of every file.
#[test]
fn a_device_without_its_disk_loses_no_location() {
    let database = sqlite();
    let cluster = Cluster::start_with(&database, &["monitor.round_interval_ms=600000"]);
    let fid = stored(&cluster, &database, "k", "", b"some bytes", 2);
    let devid = cluster.devids("k")[0];
    let directory = cluster.nodes[usize::try_from((devid - 1) / 2).expect("a node")].file(&format!("dev{devid}"));
    std::fs::rename(&directory, directory.with_extension("away")).expect("moved away");
    start(&cluster, "");
    wait_until_injected(&cluster.tracker);
    wait_until_stalled(&database, fid);
    cluster.tracker.process.wait_for_log_beginning("connectivity problem");
    assert_eq!((events(&cluster, fid).len(), copies(&database, fid)), (0, 2));
}

/// The bare directory that a disk is mounted on has a usage file too, and so has another disk: what tells is the mark that
/// the table has at that moment, of which the monitor may not have heard yet.
#[test]
fn a_device_with_another_disk_loses_no_location() {
    let database = sqlite();
    let unaware = ["monitor.round_interval_ms=600000", "monitor.db_interval_ms=3600000"];
    let cluster = Cluster::start_with(&database, &unaware);
    let fid = stored(&cluster, &database, "k", "", b"some bytes", 2);
    let devid = cluster.devids("k")[0];
    let marked = format!("devid = {devid} AND uuid IS NOT NULL");
    eventually("the mark is remembered", || (database.count("mogilefs_device_guard", &marked) == 1).then_some(()));
    std::fs::remove_file(on_disk(&cluster, devid, fid)).expect("removed");
    let change_mark =
        |to: &str| database.execute(&format!("UPDATE mogilefs_device_guard SET uuid = {to} WHERE devid = {devid}"));
    change_mark("'x' || uuid");
    database.execute(&format!(
        "INSERT INTO file_to_queue (fid, type, nexttry, failcount, flags) VALUES ({fid}, 1, 0, 0, 0)"
    ));
    wait_until_stalled(&database, fid);
    assert_eq!((events(&cluster, fid).len(), copies(&database, fid)), (0, 2));
    let observed = cluster.session().ok(&format!("get_devices devid={devid}"))["dev1_observed_state"].clone();
    assert_eq!(observed, "writeable", "the monitor had no part in it");

    change_mark("substr(uuid, 2)");
    make_due(&database, fid);
    wait_for_event(&cluster, fid, &format!("MISS {devid}"));
}

/// W19, W20: unknown devices are passed over, and a class that makes no sense holds up only its own files.
#[test]
fn unknown_devices_and_policies_hold_up_nobody() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let (odd, good) = (
            stored(&cluster, database, "odd", "three", b"some bytes", 3),
            stored(&cluster, database, "good", "", b"some bytes", 2),
        );
        let far = stored(&cluster, database, "far", "", b"some bytes", 2);
        database.execute("UPDATE class SET replpolicy = 'NoSuchPolicy(2' WHERE mindevcount = 3");
        cluster.session().ok("clear_cache");
        database.execute(&format!("INSERT INTO file_on (fid, devid) VALUES ({far}, 999)"));
        std::fs::remove_file(on_disk(&cluster, cluster.devids("good")[0], good)).expect("removed");
        start(&cluster, "");
        wait_until_injected(&cluster.tracker);
        wait_for_event(&cluster, good, "REPL");
        wait_until_stalled(database, odd);
        eventually("only the odd one stays", || (queued(database) == 1).then_some(()));
        assert_eq!(events(&cluster, far), ["BCNT"]);
        assert_eq!(database.count("file_on", "devid = 999"), 1);
        assert_eq!((events(&cluster, odd).len(), copies(database, odd)), (0, 3));
    });
}

/// J130: a file whose policy is satisfied is not looked for.
#[test]
fn policy_only_runs_do_not_look_at_the_nodes() {
    let database = sqlite();
    let cluster = Cluster::start(&database);
    let fid = stored(&cluster, &database, "k", "", b"some bytes", 2);
    let few = stored(&cluster, &database, "few", "", b"some bytes", 2);
    for devid in cluster.devids("k") {
        std::fs::remove_file(on_disk(&cluster, devid, fid)).expect("removed");
    }
    database.execute(&format!("DELETE FROM file_on WHERE fid = {few} AND devid = {}", cluster.devids("few")[0]));
    run(&cluster, &database, "policy_only=1");
    assert_eq!(events(&cluster, fid), [""; 0]);
    assert_eq!(events(&cluster, few), ["POVI", "REPL"]);
    run(&cluster, &database, "");
    assert_eq!(events(&cluster, fid).last().map(String::as_str), Some("GONE"));
}

/// J131, J132, J133, J134, J137: checksums of a class that has them.
#[test]
fn checksums_of_classes_are_verified() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        cluster.session().ok("create_class domain=d&class=md5&mindevcount=2&hashtype=MD5");
        let keys = ["new", "corrupt", "all", "differ", "changed"];
        let fids = keys.map(|key| stored(&cluster, database, key, "md5", b"some bytes", 2));
        let [new, corrupt, all, differ, changed] = fids;
        let spoil = |key: &str, fid: i64, nth: usize, bytes: &[u8]| {
            std::fs::write(on_disk(&cluster, cluster.devids(key)[nth], fid), bytes).expect("written");
        };
        database.execute(&format!("DELETE FROM checksum WHERE fid IN ({new}, {differ})"));
        let corrupt_at = cluster.devids("corrupt");
        spoil("corrupt", corrupt, 0, b"Some bytes");
        spoil("all", all, 0, b"sOme bytes");
        spoil("all", all, 1, b"soMe bytes");
        spoil("differ", differ, 0, b"somE bytes");
        run(&cluster, database, "");
        assert_eq!(events(&cluster, new), ["NSUM"]);
        assert_eq!(database.count("checksum", &format!("fid = {new} AND hashtype = 1")), 1);
        assert_eq!(events(&cluster, corrupt), ["REPL"]);
        cluster.wait_for_copies("corrupt", 2);
        assert_eq!(cluster.get_all("corrupt"), [b"some bytes", b"some bytes"]);
        assert!(cluster.devids("corrupt").contains(&corrupt_at[1]), "the good one stays");
        assert_eq!(events(&cluster, all), ["BSUM"]);
        assert_eq!(events(&cluster, differ), ["BSUM"]);
        assert_eq!((copies(database, all), copies(database, differ)), (2, 2));
        assert_eq!(database.count("checksum", &format!("fid = {differ}")), 0);
        assert_eq!(events(&cluster, changed), [""; 0]);

        database.execute("DELETE FROM fsck_log");
        cluster.session().ok("update_class domain=d&class=md5&mindevcount=2&hashtype=SHA-1");
        run(&cluster, database, "");
        assert_eq!(events(&cluster, changed), ["BALG"]);
        assert_eq!(database.count("checksum", &format!("fid = {changed} AND hashtype = 1")), 1);
    });
}

/// J135, J136, J158: a given algorithm is for all files, `off` for none.
#[test]
fn checksums_may_be_given_or_switched_off() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        cluster.session().ok("create_class domain=d&class=md5&mindevcount=2&hashtype=MD5");
        let plain = stored(&cluster, database, "plain", "", b"some bytes", 2);
        let same = stored(&cluster, database, "same", "", b"some bytes", 2);
        let summed = stored(&cluster, database, "summed", "md5", b"some bytes", 2);
        let bare = stored(&cluster, database, "bare", "md5", b"some bytes", 2);
        database.execute(&format!("DELETE FROM checksum WHERE fid = {bare}"));
        for (key, fid) in [("plain", plain), ("summed", summed)] {
            std::fs::write(on_disk(&cluster, cluster.devids(key)[0], fid), b"Some bytes").expect("written");
        }
        set(&cluster.tracker, "fsck_checksum", "off");
        run(&cluster, database, "");
        assert_eq!(database.count("fsck_log", "1 = 1"), 0, "nobody has read the contents");
        assert_eq!(database.count("checksum", &format!("fid = {bare}")), 0);

        set(&cluster.tracker, "fsck_checksum", "MD5");
        run(&cluster, database, "");
        assert_eq!(events(&cluster, plain), ["MSUM"]);
        assert_eq!(events(&cluster, same), [""; 0]);
        assert_eq!(database.count("checksum", &format!("fid IN ({plain}, {same})")), 0);
        assert_eq!(events(&cluster, summed), ["REPL"]);
        assert_eq!(events(&cluster, bare), ["NSUM"]);
    });
}

/// J138: who cannot have the lock leaves the file alone.
#[test]
fn a_locked_file_comes_up_again() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let fid = stored(&cluster, database, "k", "", b"some bytes", 2);
        let devid = cluster.devids("k")[0];
        let lock = HeldLock::take(database, fid);
        std::fs::remove_file(on_disk(&cluster, devid, fid)).expect("removed");
        start(&cluster, "");
        wait_until_injected(&cluster.tracker);
        wait_until_stalled(database, fid);
        cluster.tracker.process.wait_for_log_beginning("connectivity problem");
        assert_eq!((events(&cluster, fid).len(), copies(database, fid)), (0, 2));
        drop(lock);
        make_due(database, fid);
        wait_until_checked(&cluster, database);
        assert_eq!(events(&cluster, fid), [format!("MISS {devid}"), "REPL".to_owned()]);
    });
}

/// J139, W18: what is right, or gone, by the time of the second look is not logged.
#[test]
fn what_is_repaired_meanwhile_is_not_logged() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let (lost, deleted) = (
            stored(&cluster, database, "lost", "", b"some bytes", 2),
            stored(&cluster, database, "deleted", "", b"some bytes", 2),
        );
        let devids = cluster.devids("lost");
        let locks = [HeldLock::take(database, lost), HeldLock::take(database, deleted)];
        forget_copies(database, lost);
        forget_copies(database, deleted);
        start(&cluster, "");
        // Claimed: now it waits for the locks, or will at once.
        wait_until_stalled(database, lost);
        for devid in devids {
            database.execute(&format!("INSERT INTO file_on (fid, devid) VALUES ({lost}, {devid})"));
        }
        database.execute(&format!("DELETE FROM file WHERE fid = {deleted}"));
        drop(locks);
        eventually("both are settled", || {
            // The wait for the lock may have been over before.
            database.execute("UPDATE file_to_queue SET nexttry = 0");
            std::thread::sleep(Duration::from_millis(50));
            (queued(database) == 0).then_some(())
        });
        assert_eq!(database.count("fsck_log", "1 = 1"), 0);
        assert_eq!((copies(database, lost), copies(database, deleted)), (2, 0));
    });
}

/// J140: several trackers check, and each event counts once.
#[test]
fn trackers_share_the_work() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let other = Tracker::start(database);
        let fids: Vec<i64> =
            (0..6).map(|n| stored(&cluster, database, &format!("k{n}"), "one", b"some bytes", 1)).collect();
        for fid in &fids {
            database.execute(&format!("UPDATE file SET devcount = 9 WHERE fid = {fid}"));
        }
        set(&cluster.tracker, "queue_rate_for_fsck", "2");
        run(&cluster, database, "");
        std::thread::scope(|scope| {
            for tracker in [&cluster.tracker, &other, &cluster.tracker, &other] {
                scope.spawn(move || tracker.session().ok("fsck_status"));
            }
        });
        for tracker in [&cluster.tracker, &other] {
            let status = tracker.session().ok("fsck_status");
            assert_eq!((&*status["num_BCNT"], &*status["checked"]), ("6", "6"));
        }
        assert_eq!(database.count("fsck_log", "evcode = 'BCNT'"), 6);
        assert_eq!(database.count("file", "devcount = 1"), 6);
    });
}

/// The files of a check may be limited: by domain, class, key, device and age.
#[test]
fn a_check_may_be_limited() {
    on_each_database(|database| {
        let cluster = Cluster::start_without_nodes(database, NO_CHECKS);
        let mut session = cluster.session();
        session.ok("create_domain domain=e");
        session.ok("create_host host=h&ip=127.0.0.9&port=7&status=alive");
        session.ok("create_device devid=3&hostname=h");
        let (one, other) =
            (1, database.number("SELECT MAX(dmid) + COUNT(*) - 1 AS n FROM domain WHERE namespace = 'e'"));
        let class = database.number("SELECT MAX(classid) + COUNT(*) - 1 AS n FROM class WHERE classname = 'one'");
        for (fid, dmid, key, classid) in [
            (1, one, "a/1", 0),
            (2, one, "a/2", class),
            (3, one, "A/3", class),
            (4, one, "a_4", 0),
            (5, other, "a/5", 0),
            (6, one, "a%2F6", 0),
        ] {
            database.execute(&format!(
                "INSERT INTO file (fid, dmid, dkey, length, classid, devcount) \
                 VALUES ({fid}, {dmid}, '{key}', 1, {classid}, 1)"
            ));
        }
        database.execute("INSERT INTO file_on (fid, devid) VALUES (2, 3), (5, 3)");
        let mut queued_by = |reset: &str| {
            session.ok(&format!("fsck_reset {reset}"));
            session.ok("fsck_start");
            wait_until_injected(&cluster.tracker);
            assert_eq!(session.ok("fsck_status")["max_fid_checked"], "6", "{reset}");
            let fids: Vec<i64> =
                (1..=6).filter(|fid| database.count("file_to_queue", &format!("fid = {fid}")) == 1).collect();
            database.execute("DELETE FROM file_to_queue");
            fids
        };
        assert_eq!(queued_by("domain=e"), [5]);
        assert_eq!(queued_by("domain=d"), [1, 2, 3, 4, 6]);
        assert_eq!(queued_by("domain=d&class=one"), [2, 3]);
        assert_eq!(queued_by("devid=3"), [2, 5]);
        assert_eq!(queued_by("devid=3&domain=d"), [2]);
        assert_eq!(queued_by("key_prefix=a_"), [4], "no placeholder");
        assert_eq!(queued_by("key_prefix=a%25"), [6]);
        // The database's idea of equal keys decides about the case.
        let slashed = queued_by("domain=d&key_prefix=a%2F");
        assert!(slashed == [1, 2] || slashed == [1, 2, 3], "{slashed:?}");
        assert_eq!(queued_by("startpos=4"), [5, 6]);
        assert_eq!(queued_by(""), [1, 2, 3, 4, 5, 6], "the limits are gone");

        // Runs are known by now; of one that began an hour ago it is known which files there were.
        let mut session = cluster.session();
        assert!(session.ask("fsck_reset older_than_secs=3600").starts_with("ERR bad_params "));
        database.execute("UPDATE mogilefs_fsck_run SET started = started - 4000, last_fid = 4");
        session.ok("fsck_reset older_than_secs=3600");
        assert_eq!(session.ok("fsck_status")["end_fid"], "4");
        session.ok("fsck_reset newer_than_secs=3600");
        let status = session.ok("fsck_status");
        assert_eq!((&*status["max_fid_checked"], &*status["end_fid"]), ("4", "6"));
        for (reset, code) in [
            ("domain=x", "unreg_domain"),
            ("class=one", "bad_params"),
            ("domain=d&class=x", "class_not_found"),
            ("devid=77", "no_device"),
        ] {
            assert_eq!(session.refused(&format!("fsck_reset {reset}")), code);
        }
    });
}

/// What was there in one run and gone in the next, per run and per file.
#[test]
fn the_history_tells_what_was_lost_between_two_runs() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let (lost, good) = (
            stored(&cluster, database, "lost", "one", b"some bytes", 1),
            stored(&cluster, database, "good", "one", b"some bytes", 1),
        );
        let devid = cluster.devids("lost")[0];
        run(&cluster, database, "");
        std::fs::remove_file(on_disk(&cluster, devid, lost)).expect("removed");
        run(&cluster, database, "policy_only=1");
        run(&cluster, database, "domain=d");
        run(&cluster, database, "");
        let mut session = cluster.session();
        let history = session.ok("fsck_history");
        let of = |what: &str| (1..=4).map(|n| history[&format!("run_{n}_{what}")].clone()).collect::<Vec<_>>();
        assert_eq!(history["runs"], "4");
        assert_eq!(of("lost_fids"), ["", "", &lost.to_string(), ""], "lost once, though it is still gone");
        assert_eq!(
            (&*history["run_3_lost"], &*history["run_3_num_GONE"], &*history["run_4_num_GONE"]),
            ("1", "1", "1")
        );
        assert_eq!(of("options"), ["", "policy_only=1", "dmid=1", ""]);
        assert!(of("ended").iter().all(|ended| ended != "0"));
        let of_file = session.ok("fsck_history domain=d&key=lost&runs=2");
        assert_eq!((&*of_file["runs"], of_file["fid"].clone()), ("2", lost.to_string()));
        assert_eq!(of_file["run_1_events"], format!("MISS:{devid},SRCH,GONE"));
        assert_eq!((&*of_file["run_2_events"], &*of_file["run_2_covered"]), ("NOPA,SRCH,GONE", "1"));
        assert_eq!(session.ok(&format!("fsck_history fid={good}"))["run_4_events"], "");
        assert_eq!(session.refused("fsck_history domain=d&key=nothing"), "unknown_key");
    });
}

/// On a database that 2.73 made, without our table.
#[test]
fn without_a_history_fsck_works_all_the_same() {
    on_each_database(|database| {
        database.execute("DROP TABLE mogilefs_fsck_run");
        let cluster = Cluster::start(database);
        let fid = stored(&cluster, database, "k", "one", b"some bytes", 1);
        forget_copies(database, fid);
        run(&cluster, database, "newer_than_secs=60");
        assert_eq!(events(&cluster, fid), ["NOPA", "SRCH", "FOND"]);
        assert_eq!(cluster.session().ok("fsck_history")["runs"], "0");
        assert_eq!(cluster.session().refused("fsck_reset older_than_secs=60"), "bad_params");
    });
}

/// The command line, against a tracker.
#[test]
fn the_command_line_runs_a_check() {
    let database = sqlite();
    let cluster = Cluster::start(&database);
    let fid = stored(&cluster, &database, "k", "one", b"some bytes", 1);
    forget_copies(&database, fid);
    let tracker = cluster.tracker.address.to_string();
    let mogilefs = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mogilefs"));
        let output = command.args(args).args(["--trackers", &tracker]).output().expect("the program starts");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let status: serde_json::Value =
        serde_json::from_str(&mogilefs(&["fsck", "start", "--all", "--watch", "--json"])).expect("JSON");
    assert_eq!((&status["checked"], &status["num_FOND"]), (&serde_json::json!(1), &serde_json::json!(1)));
    assert!(mogilefs(&["fsck", "status"]).contains("NOPA 1"));
    let log = mogilefs(&["fsck", "log"]);
    assert!(["NOPA", "SRCH", "FOND"].iter().all(|code| log.contains(code)), "{log}");
    assert!(mogilefs(&["fsck", "history", "k", "-d", "d"]).contains("NOPA,SRCH,FOND"));
    assert!(mogilefs(&["fsck", "history"]).contains("FOND 1, NOPA 1, SRCH 1"));
    mogilefs(&["fsck", "clearlog"]);
    assert_eq!(mogilefs(&["fsck", "log", "--json"]), "[]\n");
    mogilefs(&["fsck", "reset", "--of-domain", "d", "--class", "one", "--policy-only"]);
    assert_eq!(database.count("server_settings", "field LIKE 'fsck_scope%'"), 2);
    mogilefs(&["fsck", "stop"]);
}

/// storage-node.md 6: digests are made by the node where it has a side channel, else from the bytes.
#[test]
fn digests_come_from_the_side_channel_or_over_http() {
    let node = Node::start(1, &[1]);
    let path = "/dev1/0/000/000/0000000007.fid";
    let url = format!("http://{}:{}{path}", node.ip, node.port);
    http_put(&url, b"abc");
    let digest = |side_channel_port: u16, path: &str, url: &str| {
        let settings = StorageSettings { side_channel_port, ..Settings::defaults().storage };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let nodes = NodeClient::new(&settings, slog::Logger::root(slog::Discard, slog::o!()));
            let copy = CopyOnNode { host: &node.ip, path, url, length_bytes: 3 };
            let first = nodes.digest_for_fsck(copy, HashType::Md5).await;
            assert_eq!(nodes.digest_for_fsck(copy, HashType::Md5).await, first, "on the same connection");
            first.map(|checksum| checksum.hex())
        })
    };
    let abc = Ok("900150983cd24fb0d6963f7d28e17f72".to_owned());
    let side_channel = node.process.logged_address("storage node is ready", "side_channel").port();
    let nowhere = format!("http://{}:1{path}", node.ip);
    assert_eq!(digest(side_channel, path, &nowhere), abc, "nothing was asked over HTTP");
    assert_eq!(digest(1, path, &url), abc, "no side channel there");
    let missing = path.replace('7', "8");
    assert_eq!(digest(side_channel, &missing, &url.replace(path, &missing)), Err(NodeError::Missing));
}
