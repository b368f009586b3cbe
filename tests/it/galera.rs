//! Trackers on different nodes of a Galera cluster, with `database.locks = "table"`: they keep each other out, and when nodes
//! die nothing that was acknowledged is lost.

use crate::database_away::{Ledger, check, work};
use crate::support::cluster::{Cluster, Tracker, http_put};
use crate::support::eventually;
use crate::support::galera::Galera;
use diesel::connection::SimpleConnection as _;
use mogilefs::ids::{ClassId, DevId, Dmid, Fid};
use mogilefs::logging;
use mogilefs::settings::{LockKeeping, Settings};
use mogilefs::store::files::{CloseOutcome, CloseUpload};
use mogilefs::store::tempfiles::NewTempfile;
use mogilefs::store::{
    DeleteOutcome, Session, Store, StoreConnection, StoreError, StoreResult, domains, file_on, files, queues,
    server_settings, tempfiles,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const DATABASE: &str = "mogilefs";

fn store(galera: &Galera, node: usize) -> Store {
    let mut settings = Settings::defaults().database;
    settings.url = galera.url(node, DATABASE);
    settings.locks = LockKeeping::Table;
    Store::open(&settings, logging::discard()).expect("the database opens")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
}

/// One cluster for all, because it takes its time to start.
#[test]
fn trackers_share_a_galera_cluster() {
    let Some(mut galera) = Galera::start() else { return };
    galera.execute(0, "", &format!("CREATE DATABASE {DATABASE}"));
    let mut settings = Settings::defaults().database;
    settings.url = galera.url(0, DATABASE);
    Store::setup(&settings).expect("setup");

    eprintln!("--- locks");
    let stores = [store(&galera, 0), store(&galera, 1)];
    let sessions = stores.each_ref().map(|store| store.session().expect("a session"));
    locks_exclude_across_nodes(&galera, &sessions);
    transactions_are_whole_or_repeated(&sessions);
    domains_stay_under_files(&sessions);
    claims_are_not_shared(&sessions);
    held_settings_are_held_everywhere(&stores);
    drop(sessions);
    galera.execute(
        0,
        DATABASE,
        "DELETE FROM file; DELETE FROM file_on; DELETE FROM domain; DELETE FROM file_to_replicate",
    );

    eprintln!("--- trackers");
    let warned = Tracker::start_at(&galera.url(0, DATABASE), &[]);
    warned.process.wait_for_log_beginning("the database is a Galera cluster");
    drop(warned);
    nothing_acknowledged_is_lost(&mut galera);
}

fn locks_exclude_across_nodes(galera: &Galera, [one, other]: &[Session; 2]) {
    block_on(async {
        let guard = one.try_lock("a", Duration::ZERO).await.expect("asked").expect("free");
        assert!(other.try_lock("a", Duration::from_millis(300)).await.expect("asked").is_none());
        assert_eq!(guard.write(|conn| file_on::add(conn, Fid(1), DevId(1))).await, Ok(true));
        // Somebody else thinks that the lease has run out: the holder is stopped at its next write.
        galera.execute(1, DATABASE, "UPDATE mogilefs_lock SET expires_at = 1");
        let stolen = other.try_lock("a", Duration::ZERO).await.expect("asked").expect("run out");
        let refused = guard.write(|conn| file_on::add(conn, Fid(2), DevId(1))).await;
        assert!(matches!(&refused, Err(StoreError::Refused(why)) if why.contains("lost")), "{refused:?}");
        assert_eq!(one.read(|conn| file_on::devids(conn, Fid(2))), Ok(vec![]));
        guard.release().await;
        assert!(
            one.try_lock("a", Duration::ZERO).await.expect("asked").is_none(),
            "it is not the loser's to give back"
        );
        assert!(stolen.release().await);
        assert!(one.try_lock("a", Duration::from_secs(5)).await.expect("asked").expect("free").release().await);
    });
}

/// A transaction that is rolled back by one of another node, whatever it was about to do, is repeated as a whole.
fn transactions_are_whole_or_repeated([one, other]: &[Session; 2]) {
    type Step = fn(&mut StoreConnection, i64) -> StoreResult<()>;
    let next_steps: [(&str, Step); 5] = [
        ("commit", |_, _| Ok(())),
        ("a statement that is prepared already", |conn, n| file_on::add(conn, Fid(n), DevId(2)).map(drop)),
        ("a statement that is prepared for once", |conn, n| {
            server_settings::set(conn, &format!("step {n}"), Some("1"))
        }),
        ("a reading", |conn, n| file_on::devids(conn, Fid(n)).map(drop)),
        ("a text", |conn, n| {
            conn.batch_execute(&format!("INSERT INTO file_on (fid, devid) VALUES ({n}, 3)")).map_err(StoreError::from)
        }),
    ];
    for (n, (name, next_step)) in (1000..).step_by(100).zip(next_steps) {
        for round in 0..10 {
            let n = n + round * 10;
            let fid = Fid(n);
            let (locked, wait_for_lock) = mpsc::channel();
            let (taken, wait_until_taken) = mpsc::channel();
            let winner = std::thread::spawn({
                let one = one.clone();
                move || {
                    wait_for_lock.recv().expect("locked");
                    block_on(one.write(move |conn| file_on::add(conn, fid, DevId(1)))).expect("stored");
                    taken.send(()).expect("somebody waits");
                }
            });
            let mut runs = 0;
            let stored = block_on(other.write(move |conn| {
                runs += 1;
                file_on::add(conn, Fid(n + 5), DevId(1))?;
                let is_new = file_on::add(conn, fid, DevId(1))?;
                if runs == 1 {
                    locked.send(()).expect("somebody waits");
                    wait_until_taken.recv().expect("taken");
                    // The other node's transaction arrives before the next step, or after it.
                    std::thread::sleep(Duration::from_millis(u64::from(round.unsigned_abs() as u32) * 5));
                }
                next_step(conn, n)?;
                Ok((runs, is_new))
            }));
            winner.join().expect("no panic");
            assert_eq!(stored, Ok((2, false)), "next was {name}, round {round}");
            assert_eq!(other.read(|conn| file_on::devids(conn, Fid(n + 5))), Ok(vec![DevId(1)]), "next was {name}");
        }
    }
}

/// Rows that two trackers claim at once go to one of them.
fn claims_are_not_shared([one, other]: &[Session; 2]) {
    const ROWS: i64 = 200;
    block_on(one.write(|conn| (1..=ROWS).try_for_each(|fid| queues::replicate::enqueue(conn, Fid(fid), 0))))
        .expect("stored");
    let claim = |session: Session| {
        std::thread::spawn(move || {
            let mut fids = Vec::new();
            let mut empty = 0;
            while empty < 5 {
                let rows = block_on(session.claim_replicate(7)).expect("claimed");
                empty = if rows.is_empty() { empty + 1 } else { 0 };
                fids.extend(rows.into_iter().map(|row| row.fid));
            }
            fids
        })
    };
    let claimers = [claim(one.clone()), claim(other.clone())];
    let mut fids: Vec<Fid> = claimers.into_iter().flat_map(|claimer| claimer.join().expect("no panic")).collect();
    fids.sort_unstable();
    assert_eq!(fids, (1..=ROWS).map(Fid).collect::<Vec<_>>());
}

/// D26: the transaction that deletes a domain has seen no file in it; one is stored on another node before it commits.
fn domains_stay_under_files([one, other]: &[Session; 2]) {
    block_on(async {
        let dmid = one.write(|conn| domains::create(conn, "d".into())).await.expect("created");
        let upload = NewTempfile { fid: None, dmid, dkey: "k".into(), classid: ClassId(0), devids: vec![DevId(1)] };
        let fid = one.write(move |conn| tempfiles::register(conn, &upload)).await.expect("opened");
        let (deleted, wait_for_deletion) = mpsc::channel();
        let (closed, wait_for_close) = mpsc::channel();
        let closer = std::thread::spawn({
            let other = other.clone();
            move || {
                wait_for_deletion.recv().expect("deleted, not committed");
                let outcome = block_on(other.write(move |conn| files::close_upload(conn, &closing(dmid, fid))));
                closed.send(()).expect("somebody waits");
                outcome
            }
        });
        let mut runs = 0;
        let outcome = one.write(move |conn| {
            let outcome = domains::delete(conn, dmid)?;
            runs += 1;
            if runs == 1 {
                deleted.send(()).expect("somebody waits");
                wait_for_close.recv().expect("closed");
            }
            Ok(outcome)
        });
        assert_eq!(outcome.await, Ok(DeleteOutcome::HasFiles));
        assert_eq!(closer.join().expect("no panic"), Ok(CloseOutcome::Stored));
        assert_eq!(one.read(domains::all).map(|all| all.len()), Ok(1));
    });
}

fn closing(dmid: Dmid, fid: Fid) -> CloseUpload {
    CloseUpload { fid, dmid, dkey: "k".into(), classid: ClassId(0), length: 1, devid: DevId(1), checksum: None }
}

/// Of many that set what nobody has set yet, one does.
fn held_settings_are_held_everywhere(stores: &[Store; 2]) {
    let contenders: Vec<_> = (0..6)
        .map(|number| {
            let session = stores[number % 2].session().expect("a session");
            std::thread::spawn(move || {
                block_on(session.write(move |conn| {
                    server_settings::hold(conn)?;
                    if server_settings::get_true(conn, "winner")?.is_some() {
                        return Ok(0);
                    }
                    // Another row for each, so that nothing but the hold is in the way.
                    server_settings::set(conn, &format!("contender {number}"), Some("1"))?;
                    server_settings::set(conn, "winner", Some(&format!("number {number}")))?;
                    Ok(1)
                }))
            })
        })
        .collect();
    let winners: i32 = contenders.into_iter().map(|one| one.join().expect("no panic").expect("stored")).sum();
    assert_eq!(winners, 1);
}

const TABLE_LOCKS: [&str; 1] = ["database.locks=table"];

/// A tracker with all jobs on each node, under load, while one node is killed and comes back. Then only one is left.
fn nothing_acknowledged_is_lost(galera: &mut Galera) {
    const CLIENTS: usize = 9;
    let trackers: Vec<Tracker> =
        (0..3).map(|node| Tracker::start_at(&galera.url(node, DATABASE), &TABLE_LOCKS)).collect();
    let mut trackers = trackers.into_iter();
    let tracker = trackers.next().expect("three");
    let others: Vec<Tracker> = trackers.collect();
    tracker.session().ok("create_domain domain=d");
    let cluster = Cluster { nodes: Vec::new(), tracker }.with_nodes(&[&[1, 2], &[3, 4], &[5, 6]]);
    cluster.wait_until_writeable(6);
    for other in &others {
        eventually("the other trackers see domain and devices", || {
            let mut session = other.session();
            let writeable = session.ok("get_devices").into_values().filter(|value| value == "writeable").count();
            (writeable == 6 && session.ok("get_domains")["domains"] == "1").then_some(())
        });
    }
    opened_here_closed_there(&cluster.tracker, &others[0]);
    others[0].session().ok("fsck_start");
    let acknowledged = AtomicUsize::new(0);
    let ledger: Ledger = std::thread::scope(|scope| {
        let acknowledged = &acknowledged;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let session = match n % 3 {
                    0 => cluster.session(),
                    other => others[other - 1].session(),
                };
                scope.spawn(move || work(session, n, acknowledged))
            })
            .collect();
        eventually("there is load", || (acknowledged.load(Ordering::SeqCst) >= 60).then_some(()));
        galera.kill(1);
        galera.restart(1, 3);
        clients.into_iter().flat_map(|client| client.join().expect("the client ends")).collect()
    });
    let certain = ledger.values().filter(|states| states.len() == 1).count();
    eprintln!("{certain} of {} keys are certain", ledger.len());
    assert!(certain > ledger.len() / 2, "most is known");
    let number = |sql: &str| number(galera, sql);
    eventually("the tracker of the node that died is back", || {
        others[0].session().ask("get_paths domain=d&key=none").starts_with("ERR unknown_key ").then_some(())
    });
    let waiting =
        || number("SELECT (SELECT COUNT(*) FROM file_to_replicate) + (SELECT COUNT(*) FROM file_to_delete2) AS n");
    // What a worker had claimed when its node died comes back after 1000 s; here sooner. A lock that nobody could give back runs
    // out after 60 s.
    let begun = Instant::now();
    while waiting() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(100), "the queues are empty");
        galera.execute(0, DATABASE, "UPDATE file_to_replicate SET nexttry = 0; UPDATE file_to_delete2 SET nexttry = 0");
        let reset = Instant::now();
        while waiting() > 0 && reset.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    eprintln!("the queues were empty after {:?}", begun.elapsed());
    check(&cluster, &ledger);
    let at_the_node_that_died = Cluster { nodes: Vec::new(), tracker: others.into_iter().next().expect("two") };
    check(&at_the_node_that_died, &ledger);
    assert_eq!(
        number("SELECT COUNT(*) AS n FROM file_on LEFT JOIN file ON file.fid = file_on.fid WHERE file.fid IS NULL"),
        0
    );
    eventually("locks of files are given back", || {
        (number("SELECT COUNT(*) AS n FROM mogilefs_lock WHERE name LIKE 'mgfs:fid:%'") == 0).then_some(())
    });
    drop(at_the_node_that_died);

    eprintln!("--- a node without a majority");
    galera.kill(1);
    galera.kill(2);
    galera.wait_until_cut_off(0);
    let mut client = cluster.session();
    eventually("its tracker has noticed", || {
        client.ask("get_paths domain=d&key=none").starts_with("ERR db ").then_some(())
    });
    assert_eq!(client.refused("create_open domain=d&key=none"), "db");
    galera.declare_primary(0);
    eventually("the same connection is served again", || {
        client.ask("get_paths domain=d&key=none").starts_with("ERR unknown_key ").then_some(())
    });
    cluster.put("after", "", b"bytes");
    cluster.wait_for_copies("after", 2);
    cluster.tracker.process.wait_for_log_beginning("the database is back");
}

/// What one tracker has acknowledged, the next one knows, though its node may be a little behind.
fn opened_here_closed_there(here: &Tracker, there: &Tracker) {
    let (mut here, mut there) = (here.session(), there.session());
    for n in 0..30 {
        let open = here.ok(&format!("create_open domain=d&key=two-trackers-{n}"));
        http_put(&open["path"], b"bytes");
        let (fid, devid, path) = (&open["fid"], &open["devid"], &open["path"]);
        there.ok(&format!("create_close domain=d&key=two-trackers-{n}&fid={fid}&devid={devid}&path={path}&size=5"));
        here.ok(&format!("rename domain=d&from_key=two-trackers-{n}&to_key=moved-{n}"));
        there.ok(&format!("delete domain=d&key=moved-{n}"));
    }
}

fn number(galera: &Galera, sql: &str) -> i64 {
    use diesel::{Connection as _, RunQueryDsl as _};
    #[derive(diesel::QueryableByName)]
    struct Number {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        n: i64,
    }
    let mut connection = diesel::MysqlConnection::establish(&galera.url(0, DATABASE)).expect("connect");
    let row: Number =
        diesel::sql_query(sql).get_result(&mut connection).unwrap_or_else(|error| panic!("{sql}: {error}"));
    row.n
}
