//! What a command costs the database: `!stats` counts statements by command and job, and the hot ones stay few.

use crate::support::cluster::{Cluster, http_put};
use crate::support::database::{Database, Kind, on_each_database};
use crate::support::eventually;
use crate::support::session::Session;
use std::collections::BTreeMap;

/// The counters of the console.
fn stats(session: &mut Session) -> BTreeMap<String, u64> {
    let lines = session.console("!stats");
    let pairs = lines.iter().filter_map(|line| {
        let (name, value) = line.trim_end().split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    pairs.collect()
}

/// By how much a counter grows meanwhile.
fn growth(session: &mut Session, counter: &str, work: impl FnOnce(&mut Session)) -> u64 {
    let before = stats(session).get(counter).copied().unwrap_or(0);
    work(session);
    stats(session).get(counter).copied().unwrap_or(0) - before
}

fn upload(session: &mut Session, key: &str) -> String {
    let open = session.ok(&format!("create_open domain=d&key={key}&class=one"));
    http_put(&open["path"], key.as_bytes());
    format!("create_close domain=d&key={key}&fid={}&devid={}&path={}", open["fid"], open["devid"], open["path"])
}

fn store(session: &mut Session, key: &str) {
    let close = upload(session, key);
    assert_eq!(session.ask(&close), "OK ");
}

/// C103: one statement, from the first time on, and nothing like a ping.
#[test]
fn get_paths_is_one_statement() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let mut session = cluster.session();
        store(&mut session, "key");
        let fid = session.ok("file_info domain=d&key=key").remove("fid").expect("a fid");
        for devid in 1..=3 {
            if database.count("file_on", &format!("fid = {fid} AND devid = {devid}")) == 0 {
                database.execute(&format!("INSERT INTO file_on (fid, devid) VALUES ({fid}, {devid})"));
            }
        }
        for counter in ["db_statements_get_paths", "db_calls_get_paths"] {
            let grown = growth(&mut session, counter, |session| {
                for _ in 0..10 {
                    session.ok("get_paths domain=d&key=key&noverify=1");
                }
                assert_eq!(session.refused("get_paths domain=d&key=nope"), "unknown_key");
            });
            assert_eq!(grown, 11, "{counter}");
        }
    });
}

/// Jobs are told apart, also where they run side by side, and where a writer thread writes for all.
#[test]
fn jobs_have_counters_of_their_own() {
    let cluster = Cluster::start(&Database::create(Kind::Sqlite));
    let mut session = cluster.session();
    store(&mut session, "key");
    session.ok("delete domain=d&key=key");
    for name in ["create_open", "create_close", "delete", "job_delete", "job_replicate", "job_master", "monitor"] {
        let counters = [format!("db_calls_{name}"), format!("db_statements_{name}")];
        eventually(name, || counters.iter().all(|counter| stats(&mut session).contains_key(counter)).then_some(()));
    }
    let stats = stats(&mut session);
    assert!(stats["db_statements"] >= stats["db_calls"] && stats["db_connects"] > 2, "{stats:?}");
}

/// What the hot commands cost: on servers every statement is a round trip (database.md 6.3). On SQLite two of a change
/// are its savepoint.
#[test]
fn hot_commands_cost_few_statements() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let mut session = cluster.session();
        // PostgreSQL, MySQL and MariaDB, SQLite.
        let of = |costs: [u64; 3]| match database.url.split_once(':') {
            Some(("postgres", _)) => costs[0],
            Some(("mysql", _)) => costs[1],
            _ => costs[2],
        };
        let mut close = String::new();
        let opening = growth(&mut session, "db_statements_create_open", |session| close = upload(session, "key"));
        assert_eq!(opening, of([1, 2, 3]), "create_open");
        let cost_of = |session: &mut Session, command: &str, request: &str| {
            growth(session, &format!("db_statements_{command}"), |session| assert_eq!(session.ask(request), "OK "))
        };
        // Reading the upload is one.
        assert_eq!(cost_of(&mut session, "create_close", &close), of([2, 8, 8]), "create_close");
        assert_eq!(cost_of(&mut session, "rename", "rename domain=d&from_key=key&to_key=new"), of([1, 5, 5]), "rename");
        let close = upload(&mut session, "new");
        assert_eq!(cost_of(&mut session, "create_close", &close), of([2, 13, 13]), "create_close over another file");
        assert_eq!(cost_of(&mut session, "delete", "delete domain=d&key=new"), of([1, 6, 6]), "delete");
    });
}
