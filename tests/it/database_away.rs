//! The database server goes away and comes back: clients keep their connections, nothing that was acknowledged is lost.

use crate::support::cluster::{Cluster, Tracker, http_put};
use crate::support::database::{Database, Kind, kinds};
use crate::support::database_proxy::DatabaseProxy;
#[cfg(any(feature = "mysql", feature = "postgres"))]
use crate::support::mortal_server::MortalServer;
use crate::support::session::{Session, pairs};
use crate::support::{PATIENCE, eventually};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Runs a test on each database server, with a way to it that can be cut.
fn on_each_server(test: impl Fn(&Database, &DatabaseProxy)) {
    for kind in kinds().into_iter().filter(|&kind| kind != Kind::Sqlite) {
        eprintln!("--- on {kind:?}");
        let database = Database::create(kind);
        let proxy = DatabaseProxy::start(&database);
        test(&database, &proxy);
    }
}

fn cluster_behind(proxy: &DatabaseProxy, settings: &[&str]) -> Cluster {
    let tracker = Tracker::start_at(&proxy.url, settings);
    tracker.session().ok("create_domain domain=d");
    let cluster = Cluster { nodes: Vec::new(), tracker }.with_nodes(&[&[1, 2], &[3, 4], &[5, 6]]);
    cluster.wait_until_writeable(6);
    cluster
}

/// C102.
#[test]
fn while_the_database_is_away_commands_fail_at_once_and_clients_stay() {
    on_each_server(|_, proxy| {
        let cluster = cluster_behind(proxy, &[]);
        cluster.put("before", "", b"bytes");
        cluster.wait_for_copies("before", 2);
        let mut client = cluster.session();
        client.ok("get_paths domain=d&key=before");
        proxy.cut();
        eventually("the tracker has noticed", || {
            client.ask("get_paths domain=d&key=before").starts_with("ERR db ").then_some(())
        });
        let begun = Instant::now();
        for request in ["get_paths domain=d&key=before", "create_open domain=d&key=new", "delete domain=d&key=before"] {
            for _ in 0..20 {
                assert_eq!(client.refused(request), "db", "{request}");
            }
        }
        // Sixty attempts to connect, each with its time-out, would take far longer.
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        proxy.mend();
        eventually("the same connection is served again", || {
            client.ask("get_paths domain=d&key=before").starts_with("OK ").then_some(())
        });
        cluster.put("after", "", b"bytes");
        cluster.wait_for_copies("after", 2);
        let process = &cluster.tracker.process;
        process.wait_for_log_beginning("the database is back");
        assert_eq!(process.count_logged("job panicked; its rows come back when their claim runs out"), 0);
    });
}

/// Workers that are born meanwhile do not die of it, and a worker is not needed for the server to be found again.
#[test]
fn workers_may_start_while_the_database_is_away() {
    on_each_server(|_, proxy| {
        let cluster = cluster_behind(proxy, &[]);
        let mut client = cluster.session();
        proxy.cut();
        eventually("the tracker has noticed", || {
            client.ask("file_info domain=d&key=none").starts_with("ERR db ").then_some(())
        });
        client.console("!want 4 replicate");
        client.console("!want 3 delete");
        proxy.mend();
        cluster.tracker.process.wait_for_log_beginning("the database is back");
        assert_eq!(cluster.tracker.process.count_logged("worker cannot start"), 0);
        cluster.put("k", "", b"bytes");
        cluster.wait_for_copies("k", 2);
    });
}

/// Locks and transactions go on all the same.
#[test]
fn connections_are_opened_anew_after_so_many_uses() {
    on_each_server(|_, proxy| {
        let cluster = cluster_behind(proxy, &["database.max_handles=1"]);
        let before = proxy.connections();
        for n in 0..10 {
            cluster.put(&format!("k{n}"), "", b"bytes");
        }
        for n in 0..10 {
            cluster.wait_for_copies(&format!("k{n}"), 2);
        }
        assert!(proxy.connections() >= before + 20, "{before}, then {}", proxy.connections());
        assert_eq!(cluster.tracker.process.count_logged("connection to the database lost"), 0);
    });
}

/// What a key may hold when all is over: more than one answer where nobody was told how a request ended.
pub type Ledger = BTreeMap<String, Vec<Option<Vec<u8>>>>;

/// One client: uploads, overwrites and deletes keys of its own until it has done so many things. Keys of which it does
/// not know how they ended it leaves alone.
pub fn work(mut session: Session, name: usize, acknowledged: &AtomicUsize) -> Ledger {
    const ACTIONS: usize = 60;
    let mut ledger = Ledger::new();
    let mut known: Vec<String> = Vec::new();
    for n in 0..ACTIONS {
        // In turns: a new key, one that is deleted if it is there, one that is overwritten.
        let key = match n % 3 {
            0 => None,
            _ => (!known.is_empty()).then(|| known.remove((n * 7) % known.len())),
        };
        let key = key.unwrap_or_else(|| format!("key-{name}-{n}"));
        let before = ledger.get(&key).and_then(|states| states[0].clone());
        let (wanted, done) = if before.is_some() && n % 3 == 1 {
            (None, delete(&mut session, &key))
        } else {
            let content = format!("{key} written in action {n}").into_bytes();
            let done = upload(&mut session, &key, &content);
            (Some(content), done)
        };
        let states = match done {
            Done::Yes => vec![wanted],
            Done::No => vec![before],
            Done::Unknown => vec![before, wanted],
        };
        if states.len() == 1 {
            known.push(key.clone());
            acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        ledger.insert(key, states);
    }
    ledger
}

enum Done {
    Yes,
    No,
    Unknown,
}

fn done(reply: &str) -> Done {
    if reply.starts_with("OK") { Done::Yes } else { Done::Unknown }
}

fn delete(session: &mut Session, key: &str) -> Done {
    done(&session.ask(&format!("delete domain=d&key={key}")))
}

fn upload(session: &mut Session, key: &str, content: &[u8]) -> Done {
    let mut reply = session.ask(&format!("create_open domain=d&key={key}"));
    let begun = Instant::now();
    // As clients do: while the database is away there is no use in going on.
    while reply.starts_with("ERR db ") {
        assert!(begun.elapsed() < PATIENCE, "the tracker does not find its database again: {reply}");
        std::thread::sleep(Duration::from_millis(10));
        reply = session.ask(&format!("create_open domain=d&key={key}"));
    }
    let Some(open) = reply.strip_prefix("OK ").map(pairs) else { return Done::No };
    http_put(&open["path"], content);
    let (fid, devid, path, size) = (&open["fid"], &open["devid"], &open["path"], content.len());
    done(&session.ask(&format!("create_close domain=d&key={key}&fid={fid}&devid={devid}&path={path}&size={size}")))
}

/// Two trackers with all jobs on one database, under load, while connections are killed and the server cannot be reached for
/// a while: at the end every acknowledged change is there, with as many whole copies as its class wants.
#[test]
fn nothing_acknowledged_is_lost_when_connections_die_under_load() {
    on_each_server(|database, proxy| {
        keeps_its_word(database, proxy, |step| match step {
            8 => {
                proxy.cut();
                // So that all sorts of work meet the outage.
                std::thread::sleep(Duration::from_millis(500));
                proxy.mend();
            }
            _ => proxy.kill_connections(),
        });
    });
}

/// The same, and the server itself is killed twice and started again.
#[cfg(any(feature = "mysql", feature = "postgres"))]
#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed_under_load() {
    for kind in kinds().into_iter().filter(|&kind| kind != Kind::Sqlite) {
        eprintln!("--- on {kind:?}");
        let mut server = MortalServer::start(kind);
        let database = Database::create_at(kind, Some(server.url.clone()));
        let proxy = DatabaseProxy::start(&database);
        let mut times_killed = 0;
        keeps_its_word(&database, &proxy, |step| match step {
            4 | 12 => {
                server.kill();
                server.start_again();
                times_killed += 1;
            }
            _ => proxy.kill_connections(),
        });
        assert_eq!(times_killed, 2);
    }
}

/// Disturbs two trackers whose clients work, step by step as more is acknowledged, and holds the outcome against what the
/// clients were told.
fn keeps_its_word(database: &Database, proxy: &DatabaseProxy, disturb: impl FnMut(usize)) {
    const CLIENTS: usize = 6;
    let cluster = cluster_behind(proxy, &[]);
    let second = Tracker::start_at(&proxy.url, &[]);
    let trackers = [&cluster.tracker, &second];
    eventually("the second tracker sees the devices", || {
        let writeable = second.session().ok("get_devices").into_values().filter(|value| value == "writeable").count();
        (writeable == 6).then_some(())
    });
    second.session().ok("fsck_start");
    let acknowledged = AtomicUsize::new(0);
    let ledger: Ledger = std::thread::scope(|scope| {
        let acknowledged = &acknowledged;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let session = trackers[n % 2].session();
                scope.spawn(move || work(session, n, acknowledged))
            })
            .collect();
        step_by_step(acknowledged, disturb, || clients.iter().all(std::thread::ScopedJoinHandle::is_finished));
        clients.into_iter().flat_map(|client| client.join().expect("the client ends")).collect()
    });
    assert!(ledger.values().filter(|states| states.len() == 1).count() > ledger.len() / 2, "most is known");
    // What a worker had claimed when its connection died, or could not lock because the server had not noticed yet that the
    // connection with the lock was dead, comes back after 1000 s; here soon.
    let mut next_push = Instant::now();
    eventually("the queues are empty", || {
        if Instant::now() >= next_push {
            database.execute("UPDATE file_to_replicate SET nexttry = 0");
            database.execute("UPDATE file_to_delete2 SET nexttry = 0");
            next_push += Duration::from_secs(3);
        }
        let rows = database.count("file_to_replicate", "1=1") + database.count("file_to_delete2", "1=1");
        (rows == 0).then_some(())
    });
    check(&cluster, &ledger);
    assert_eq!(
        database.number(
            "SELECT COUNT(*) AS n FROM file_on LEFT JOIN file ON file.fid = file_on.fid WHERE file.fid IS NULL"
        ),
        0
    );
}

/// Calls for the next disturbance, numbered from 1, whenever so much more is acknowledged.
fn step_by_step(acknowledged: &AtomicUsize, mut disturb: impl FnMut(usize), is_over: impl Fn() -> bool) {
    const STEP: usize = 15;
    let mut steps = 0;
    while !is_over() {
        if acknowledged.load(Ordering::SeqCst) >= (steps + 1) * STEP {
            steps += 1;
            disturb(steps);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Every key leads to what the ledger says, in two whole copies.
pub fn check(cluster: &Cluster, ledger: &Ledger) {
    let mut session = cluster.session();
    for (key, states) in ledger {
        let reply = eventually("the database is back", || {
            let reply = session.ask(&format!("get_paths domain=d&key={key}&noverify=1"));
            (!reply.starts_with("ERR db ")).then_some(reply)
        });
        let found = reply.starts_with("OK ").then(|| cluster.get(key));
        assert!(found.is_some() || reply.starts_with("ERR unknown_key "), "{key}: {reply}");
        assert!(states.contains(&found), "{key} holds {found:?}, not one of {states:?}");
        if let Some(content) = found {
            assert_eq!(cluster.get_all(key), vec![content; 2], "{key}");
        }
    }
}
