//! The cache of paths: what it saves, that nobody sees what was, and what a cache server that is away costs.
//! config-and-startup.md 12, protocol.md 8.8, and the defects 10, 11 and 16 of protocol.md 12.

use crate::support::cluster::{Cluster, Tracker};
use crate::support::database::{Database, Kind, on_each_database};
use crate::support::eventually;
use crate::support::memcached::{FakeMemcached, Manners, RealMemcached};
use crate::support::session::Session;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// No test of ordinary behaviour meets a time-out, however busy the machine is.
const PATIENT: [&str; 2] = ["memcached.connect_timeout_ms=20000", "memcached.reply_timeout_ms=20000"];

fn sqlite() -> Database {
    Database::create(Kind::Sqlite)
}

/// A cluster that uses this memcached.
fn cluster_on(database: &Database, memcached: SocketAddr, settings: &[&str]) -> Cluster {
    let cluster = Cluster::start_with(database, settings);
    switch_on(&mut cluster.session(), memcached);
    cluster
}

/// The list has an entry without a port, which is ignored.
fn switch_on(session: &mut Session, memcached: SocketAddr) {
    session.ok(&format!("set_server_setting key=memcache_servers&value=nowhere,{memcached}"));
    session.ok("clear_cache");
}

/// `get_paths` with noverify: the paths, or the refusal.
fn paths(session: &mut Session, key: &str) -> Result<Vec<String>, String> {
    let request = format!("get_paths domain=d&key={key}&noverify=1&pathcount=9");
    let reply = session.ask(&request);
    let Some(pairs) = reply.strip_prefix("OK ") else { return Err(reply) };
    let pairs = crate::support::session::pairs(pairs);
    let mut paths: Vec<_> = pairs.into_iter().filter(|(name, _)| name != "paths").map(|(_, path)| path).collect();
    paths.sort();
    Ok(paths)
}

const UNKNOWN: &str = "ERR unknown_key unknown_key";

fn counter(session: &mut Session, name: &str) -> u64 {
    let lines = session.console("!stats");
    let line = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |number| number.trim().parse().expect("a number"))
}

fn fid_of(path: &str) -> i64 {
    let name = path.rsplit('/').next().expect("a name").strip_suffix(".fid").expect("a fid");
    name.parse().expect("a number")
}

/// What `get_paths` reads and stores with and without noverify, and who makes the entry go.
fn walk(database: &Database, memcached: SocketAddr) {
    let cluster = cluster_on(database, memcached, &PATIENT);
    let mut session = cluster.session();
    cluster.put("a", "one", b"first");
    let first = paths(&mut session, "a").expect("a file");
    let hits = counter(&mut session, "memcache_hits");
    eventually("the entry is there", || {
        assert_eq!(paths(&mut session, "a"), Ok(first.clone()));
        (counter(&mut session, "memcache_hits") > hits).then_some(())
    });

    // Behind the tracker's back: a reader with noverify sees what was, one without does not, and sets the entry right.
    let fid = cluster.fid("a");
    let devid = cluster.devids("a")[0];
    database.execute(&format!("DELETE FROM file_on WHERE fid = {fid}"));
    assert_eq!(paths(&mut session, "a"), Ok(first.clone()), "from the cache");
    assert_eq!(session.ok("get_paths domain=d&key=a")["paths"], "0", "from the database");
    eventually("the entry was set", || (paths(&mut session, "a") == Ok(vec![])).then_some(()));
    database.execute(&format!("INSERT INTO file_on (fid, devid) VALUES ({fid}, {devid})"));
    session.ok("get_paths domain=d&key=a");
    eventually("the entry was set", || (paths(&mut session, "a") == Ok(first.clone())).then_some(()));

    // J87: copies are recorded.
    session.ok("updateclass domain=d&key=a&class=three");
    cluster.wait_for_copies("a", 3);
    assert_eq!(paths(&mut session, "a").expect("a file").len(), 3);

    // Overwritten.
    cluster.put("a", "one", b"second");
    let second = paths(&mut session, "a").expect("a file");
    assert_eq!(fid_of(&second[0]), cluster.fid("a"));
    assert_ne!(fid_of(&second[0]), fid);

    // Defect 10: renamed, there and back, with the other name looked up in between.
    session.ok("rename domain=d&from_key=a&to_key=b");
    assert_eq!(paths(&mut session, "a"), Err(UNKNOWN.to_owned()));
    assert_eq!(paths(&mut session, "b"), Ok(second.clone()));
    assert_eq!(paths(&mut session, "b"), Ok(second.clone()));
    session.ok("rename domain=d&from_key=b&to_key=a");
    assert_eq!(paths(&mut session, "b"), Err(UNKNOWN.to_owned()));
    assert_eq!(paths(&mut session, "a"), Ok(second.clone()));
    session.ok("rename domain=d&from_key=a&to_key=b");
    session.ok("delete domain=d&key=b");
    for key in ["a", "b"] {
        assert_eq!(paths(&mut session, key), Err(UNKNOWN.to_owned()), "{key}");
    }

    // Defect 16, and the copy that leaves.
    cluster.put("e", "three", b"third");
    cluster.wait_for_copies("e", 3);
    let before = paths(&mut session, "e").expect("a file");
    assert_eq!(paths(&mut session, "e"), Ok(before.clone()));
    let edited = session.ok("edit_file domain=d&key=e");
    let after: Vec<_> = before.iter().filter(|path| **path != edited["oldpath"]).cloned().collect();
    assert_eq!((paths(&mut session, "e"), after.len()), (Ok(after), 2));
    assert_eq!(counter(&mut session, "memcache_errors"), 0);
}

#[test]
fn readers_see_every_change() {
    on_each_database(|database| walk(database, FakeMemcached::start().address));
}

#[test]
fn readers_see_every_change_with_the_real_memcached() {
    let Some(memcached) = RealMemcached::start() else { return };
    walk(&sqlite(), memcached.address);
}

/// The database decides whether two spellings are one key (C37); the cache must not have another opinion.
#[test]
fn other_spellings_of_a_key_are_heeded() {
    on_each_database(|database| {
        let memcached = FakeMemcached::start();
        let cluster = cluster_on(database, memcached.address, &PATIENT);
        let mut session = cluster.session();
        for request in ["delete domain=d&key=FOO", "rename domain=d&from_key=FOO&to_key=bar"] {
            cluster.put("foo", "one", b"first");
            let first = paths(&mut session, "foo");
            // Twice, so that the entry is there; the second spelling is found or not as the database says.
            let other = paths(&mut session, "FOO");
            assert_eq!((paths(&mut session, "foo"), paths(&mut session, "FOO")), (first, other.clone()));
            let is_one_key = other.is_ok();
            assert_eq!(session.ask(request) == "OK ", is_one_key, "{request}");
            assert_eq!(paths(&mut session, "foo").is_err(), is_one_key, "{request}");
            assert_eq!(paths(&mut session, "FOO"), Err(UNKNOWN.to_owned()), "{request}");
        }
        cluster.put("foo", "one", b"second");
        let mut first = paths(&mut session, "foo").expect("a file");
        assert_eq!(paths(&mut session, "foo").as_ref(), Ok(&first));
        cluster.put("FOO", "one", b"third");
        let mut last = paths(&mut session, "FOO").expect("a file");
        let found = paths(&mut session, "foo").expect("a file").remove(0);
        assert_eq!(fid_of(&found), cluster.fid("foo"));
        assert!([first.remove(0), last.remove(0)].contains(&found));
    });
}

/// Defect 11: whatever a key is made of, commands stay commands.
#[test]
fn no_key_reaches_the_wire() {
    let memcached = FakeMemcached::start();
    let cluster = cluster_on(&sqlite(), memcached.address, &PATIENT);
    let mut session = cluster.session();
    let keys = ["a%20b", "a%0D%0Aset+mgfs1:x+0+0+1%0D%0Ay", "%00", "%FF%FE", "%7F%09", &"k".repeat(255), "-"];
    for key in keys {
        cluster.put(key, "one", key.as_bytes());
        let fid = cluster.fid(key);
        for _ in 0..3 {
            let found = paths(&mut session, key).expect("a file");
            assert_eq!(fid_of(&found[0]), fid, "{key}");
        }
        session.ok(&format!("delete domain=d&key={key}"));
        assert_eq!(paths(&mut session, key), Err(UNKNOWN.to_owned()), "{key}");
    }
    assert!(memcached.count("gets") >= 4 * keys.len() && memcached.count("set") >= 2 * keys.len());
    for line in memcached.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(["gets", "add", "cas", "set"].contains(&words[0]), "{line}");
        let digest = words[1].strip_prefix("mgfs1:").unwrap_or_else(|| panic!("our prefix: {line}"));
        assert!(digest.len() == 40 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
        assert!(words[2..].iter().all(|word| word.parse::<u64>().is_ok()), "{line}");
    }
}

/// Values that are not ours, or about something else, are misses.
#[test]
fn unreadable_values_are_misses() {
    let memcached = FakeMemcached::start();
    let cluster = cluster_on(&sqlite(), memcached.address, &PATIENT);
    let mut session = cluster.session();
    cluster.put("k", "one", b"bytes");
    let expected = paths(&mut session, "k");
    assert!(expected.is_ok());
    for value in [b"".as_slice(), b"1", b"\x05\x0b\x02", b"1 1 999999 1\nother", b"9 1 1 1\nk", &[b'x'; 60_000]] {
        memcached.overwrite_all(value);
        assert_eq!(paths(&mut session, "k"), expected);
    }
    eventually("the entry is set right", || {
        memcached.values().iter().any(|value| value.ends_with(b"\nk")).then_some(())
    });
}

/// A reader that asked the database before a change must not store its answer after the change: neither where nothing was
/// (`add`) nor in place of something (`cas`).
#[test]
fn a_late_fill_does_not_bring_back_what_was() {
    let (database, memcached) = (sqlite(), FakeMemcached::start());
    let cluster = cluster_on(&database, memcached.address, &PATIENT);
    // One worker, so that its next question comes after what was held.
    let reader = Tracker::start_with(&database, &[PATIENT[0], PATIENT[1], "tracker.query_workers=1"]);
    let mut session = cluster.session();
    let (mut late, mut other) = (reader.session(), reader.session());
    late.ok("clear_cache");
    // The second file has a marker from its own close; the first is made as if that had gone long ago.
    switch_off(&mut session);
    cluster.put("added", "one", b"bytes");
    switch_on(&mut session, memcached.address);
    cluster.put("swapped", "one", b"bytes");
    late.ok("clear_cache");
    for (key, command, held) in [("added", "add", 1), ("swapped", "cas", 2)] {
        let filled = memcached.count(command);
        memcached.set_manners(Manners::Holds(command));
        assert!(paths(&mut late, key).is_ok(), "the answer does not wait for the fill");
        memcached.wait_until_held(held);
        session.ok(&format!("delete domain=d&key={key}"));
        memcached.set_manners(Manners::Good);
        assert_eq!(memcached.count(command), filled + 1);
        assert_eq!(paths(&mut other, key), Err(UNKNOWN.to_owned()), "{key}");
        assert_eq!(paths(&mut late, key), Err(UNKNOWN.to_owned()), "{key}");
        assert!(!memcached.values().iter().any(|value| value.ends_with(format!("\n{key}").as_bytes())), "{key}");
    }
}

fn switch_off(session: &mut Session) {
    session.ok("set_server_setting key=memcache_servers&value=");
    session.ok("clear_cache");
}

/// Without the setting nobody is asked, and what was stored before it was removed is never met again.
#[test]
fn the_setting_switches_the_cache() {
    let memcached = FakeMemcached::start();
    let cluster = cluster_on(&sqlite(), memcached.address, &PATIENT);
    let mut session = cluster.session();
    cluster.put("k", "one", b"bytes");
    assert!(paths(&mut session, "k").is_ok());
    eventually("an entry", || memcached.values().iter().any(|value| value.ends_with(b"\nk")).then_some(()));
    switch_off(&mut session);
    let asked = memcached.lines().len();
    assert!(paths(&mut session, "k").is_ok());
    session.ok("rename domain=d&from_key=k&to_key=new");
    assert_eq!(memcached.lines().len(), asked);
    switch_on(&mut session, memcached.address);
    assert_eq!(paths(&mut session, "k"), Err(UNKNOWN.to_owned()));
    assert!(memcached.lines().len() > asked);
}

/// A server that hangs costs one time-out; then it is left alone, and its late answers are nobody's.
#[test]
fn a_server_that_hangs_costs_one_timeout() {
    let memcached = FakeMemcached::start();
    let settings = ["memcached.reply_timeout_ms=1000", "memcached.pause_after_failure_ms=3000"];
    let cluster = cluster_on(&sqlite(), memcached.address, &settings);
    let mut session = cluster.session();
    for key in ["a", "b"] {
        cluster.put(key, "one", key.as_bytes());
    }
    let (a, b) = (paths(&mut session, "a"), paths(&mut session, "b"));
    assert!(a.is_ok() && b.is_ok() && a != b);
    memcached.set_manners(Manners::Hangs);
    let begun = Instant::now();
    assert_eq!(paths(&mut session, "a"), a);
    let first = begun.elapsed();
    assert!(first >= Duration::from_millis(900), "{first:?}: the server was asked");
    let (asked, begun) = (memcached.lines().len(), Instant::now());
    for _ in 0..20 {
        assert_eq!((paths(&mut session, "a"), paths(&mut session, "b")), (a.clone(), b.clone()));
    }
    let rest = begun.elapsed();
    assert!(rest < Duration::from_millis(900), "{rest:?}: the server was left alone");
    assert_eq!(memcached.lines().len(), asked);
    assert_eq!(counter(&mut session, "memcache_errors"), 1);
    // What was held is answered now, on connections that are closed.
    memcached.set_manners(Manners::Good);
    eventually("it is used again", || {
        assert_eq!((paths(&mut session, "b"), paths(&mut session, "a")), (b.clone(), a.clone()));
        (memcached.lines().len() > asked && cluster.tracker.process.count_logged("memcached answers again") > 0)
            .then_some(())
    });
    let warning = "memcached does not answer; paths come from the database meanwhile";
    assert_eq!(cluster.tracker.process.count_logged(warning), 1);
}

/// Connections that break, errors, nobody there: never more than a miss.
#[test]
fn faults_are_misses() {
    let memcached = FakeMemcached::start();
    let settings = ["memcached.pause_after_failure_ms=1"];
    let cluster = cluster_on(&sqlite(), memcached.address, &settings);
    let mut session = cluster.session();
    for manners in [Manners::Drops, Manners::Fails] {
        memcached.set_manners(manners);
        let asked = memcached.lines().len();
        for round in 0..5 {
            let key = format!("k{round}");
            cluster.put(&key, "one", key.as_bytes());
            assert_eq!(fid_of(&paths(&mut session, &key).expect("a file")[0]), cluster.fid(&key));
            session.ok(&format!("delete domain=d&key={key}"));
            assert_eq!(paths(&mut session, &key), Err(UNKNOWN.to_owned()));
        }
        assert!(memcached.lines().len() > asked, "{manners:?}");
    }
    assert!(memcached.connections() > 2);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    switch_on(&mut session, nobody);
    cluster.put("k", "one", b"bytes");
    assert!(paths(&mut session, "k").is_ok() && session.ok("get_paths domain=d&key=k")["paths"] == "1");
}

/// A change that could not be made known is not forgotten: this tracker does not read the entry, and covers it when the
/// server is back.
#[test]
fn a_change_during_an_outage_is_made_up_for() {
    let (database, memcached) = (sqlite(), FakeMemcached::start());
    let settings = ["memcached.reply_timeout_ms=300", "memcached.pause_after_failure_ms=500"];
    let cluster = cluster_on(&database, memcached.address, &settings);
    let mut session = cluster.session();
    cluster.put("k", "one", b"bytes");
    eventually("an entry", || {
        assert!(paths(&mut session, "k").is_ok());
        memcached.values().iter().any(|value| value.ends_with(b"\nk")).then_some(())
    });
    memcached.set_manners(Manners::Drops);
    session.ok("delete domain=d&key=k");
    memcached.set_manners(Manners::Good);
    // Also while the entry is still there.
    assert_eq!(paths(&mut session, "k"), Err(UNKNOWN.to_owned()));
    eventually("the entry is covered", || {
        assert_eq!(paths(&mut session, "k"), Err(UNKNOWN.to_owned()));
        (!memcached.values().iter().any(|value| value.ends_with(b"\nk"))).then_some(())
    });
}
