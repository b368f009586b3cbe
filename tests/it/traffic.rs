//! How connections share a tracker: order, turns, what is dropped, and what is held in memory (protocol.md 5, 12).

use crate::support::cluster::Tracker;
use crate::support::database::{Database, Kind};
use crate::support::session::Session;
use crate::support::{PATIENCE, eventually};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn tracker(settings: &[&str]) -> (Database, Tracker, Session) {
    let database = Database::create(Kind::Sqlite);
    let tracker = Tracker::start_with(&database, settings);
    let mut session = tracker.session();
    assert_eq!(session.ask("noop"), "OK ");
    (database, tracker, session)
}

fn has_line(console: &mut Session, command: &str, line: &str) -> Option<()> {
    console.console(command).contains(&format!("{line}\r\n")).then_some(())
}

/// Sends a request again and again until the tracker hangs up or does not take any more for a while.
fn flood(tracker: &Tracker, request: &str, bytes_max: usize) -> TcpStream {
    let mut stream = TcpStream::connect(tracker.address).expect("tracker accepts");
    stream.set_write_timeout(Some(Duration::from_secs(2))).expect("socket option");
    let block = request.repeat((64 * 1024 / request.len()).max(1));
    let mut sent = 0;
    while sent < bytes_max && stream.write_all(block.as_bytes()).is_ok() {
        sent += block.len();
    }
    stream
}

/// A thousand keys whose listing is long.
fn fill(database: &Database, session: &mut Session) {
    session.ok("create_domain domain=d");
    database.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
         INSERT INTO file (fid, dmid, dkey, length, classid, devcount)
         SELECT i, (SELECT dmid FROM domain), printf('%04d', i) || replace(hex(zeroblob(110)), '0', '~'), 1, 0, 1 FROM n",
    );
}

/// Conformance 35: whatever takes long, replies keep the order of requests.
#[test]
fn slow_requests_keep_their_place() {
    let (_database, _tracker, mut session) = tracker(&["tracker.query_workers=4"]);
    let mut requests = String::new();
    for n in 0..300 {
        match n % 60 {
            7 => requests.push_str(&format!("sleep duration=0.05&callid={n}\r\n")),
            31 => requests.push_str(&format!("create_domain domain=d{n}&callid={n}\r\n")),
            40 => requests.push_str(&format!("clear_cache callid={n}\r\n")),
            _ => requests.push_str(&format!("noop callid={n}\r\n")),
        }
    }
    session.send(requests.as_bytes());
    for n in 0..300 {
        let reply = session.line();
        assert!(reply.ends_with(&format!("callid={n}")), "reply {n} is {reply}");
    }
}

/// What is done is answered, also when the next request of the pipeline takes long.
#[test]
fn a_reply_does_not_wait_for_the_next_request() {
    let (_database, _tracker, mut session) = tracker(&[]);
    session.send(b"noop callid=1\r\nsleep duration=3&callid=2\r\nnoop callid=3\r\nsleep duration=3&callid=4\r\n");
    let begun = Instant::now();
    assert_eq!(session.line(), "OK callid=1");
    assert!(begun.elapsed() < Duration::from_secs(3), "at once");
    assert_eq!(session.line(), "OK callid=2");
    let begun = Instant::now();
    assert_eq!(session.line(), "OK callid=3");
    assert!(begun.elapsed() < Duration::from_secs(3), "at once");
    assert_eq!(session.line(), "OK callid=4");
}

/// One client with 100,000 requests in its pipeline does not keep another one waiting.
#[test]
fn a_deep_pipeline_leaves_turns_to_others() {
    const REQUESTS: usize = 100_000;
    let (_database, tracker, mut other) = tracker(&["tracker.query_workers=1"]);
    let mut sender = TcpStream::connect(tracker.address).expect("tracker accepts");
    let mut reader = sender.try_clone().expect("a socket");
    reader.set_read_timeout(Some(PATIENCE)).expect("socket option");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(move || sender.write_all("noop\r\n".repeat(REQUESTS).as_bytes()).expect("sent"));
        let answered = scope.spawn(|| {
            let mut replies = vec![0; REQUESTS * "OK \r\n".len()];
            let read = reader.read_exact(&mut replies);
            is_over.store(true, Ordering::Relaxed);
            read.expect("all replies");
        });
        let (mut turns, mut longest) = (0, Duration::ZERO);
        while !is_over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            assert_eq!(other.ask("noop"), "OK ");
            longest = longest.max(begun.elapsed());
            turns += 1;
        }
        answered.join().expect("the flood is answered");
        assert!(turns > 20, "the other client had {turns} turns");
        assert!(longest < Duration::from_millis(1500), "and waited {longest:?}");
    });
}

/// The same when each request is expensive: a batch ends when its turn is over.
#[test]
fn expensive_requests_leave_turns_to_others() {
    let (database, tracker, mut other) = tracker(&["tracker.query_workers=1"]);
    fill(&database, &mut other);
    let mut sender = TcpStream::connect(tracker.address).expect("tracker accepts");
    let mut reader = sender.try_clone().expect("a socket");
    reader.set_read_timeout(Some(PATIENCE)).expect("socket option");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        sender.write_all("list_keys domain=d&limit=1000\r\n".repeat(300).as_bytes()).expect("sent");
        sender.shutdown(std::net::Shutdown::Write).expect("half close");
        scope.spawn(|| {
            let read = std::io::copy(&mut reader, &mut std::io::sink());
            is_over.store(true, Ordering::Relaxed);
            assert!(read.expect("all replies") > 300 * 600_000);
        });
        let mut turns = 0;
        while !is_over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            assert_eq!(other.ask("noop"), "OK ");
            assert!(begun.elapsed() < Duration::from_secs(1), "waited {:?}", begun.elapsed());
            turns += 1;
        }
        assert!(turns > 50, "the other client had {turns} turns");
    });
}

/// Conformance 39, with requests that are still under way.
#[test]
fn a_half_close_waits_for_slow_requests() {
    let (_database, _tracker, mut session) = tracker(&[]);
    session.send(b"sleep duration=0.5&callid=1\r\nnoop callid=2\r\nsleep duration=0.2&callid=3\r\n");
    session.half_close();
    for callid in 1..=3 {
        assert_eq!(session.line(), format!("OK callid={callid}"));
    }
    assert!(session.is_closed());
}

/// A client that resets its connection wants nothing any more: what no worker has begun is dropped.
#[test]
fn a_reset_drops_the_request_that_waits() {
    let (_database, tracker, mut console) = tracker(&[]);
    console.console("!want 0 queryworker");
    eventually("no query worker", || has_line(&mut console, "!jobs", "queryworker count 0"));
    let mut client = tracker.session();
    client.send(b"!version\r\ncreate_domain domain=ghost\r\n");
    eventually("it waits", || has_line(&mut console, "!queue", "127.0.0.1 create_domain domain=ghost"));
    client.reset();
    eventually("it is dropped", || console.console("!queue").is_empty().then_some(()));
    console.console("!want 1 queryworker");
    assert_eq!(console.ask("get_domains"), "OK domains=0");
}

/// The request in hand is finished, those behind it are not begun.
#[test]
fn a_reset_drops_what_follows_in_the_pipeline() {
    let (_database, tracker, mut console) = tracker(&["tracker.query_workers=1"]);
    let mut client = tracker.session();
    client.send(b"!version\r\nsleep duration=1\r\ncreate_domain domain=ghost\r\n");
    eventually("it runs", || has_line(&mut console, "!stats", "processing_queries 1"));
    client.reset();
    eventually("it is noticed", || has_line(&mut console, "!stats", "processing_queries 0"));
    // The worker leaves when it has nothing in hand.
    console.console("!want 0 queryworker");
    eventually("it is done", || has_line(&mut console, "!jobs", "queryworker count 0"));
    console.console("!want 1 queryworker");
    assert_eq!(console.ask("get_domains"), "OK domains=0");
    assert!(!console.console("!recent").iter().any(|line| line.contains("sleep")), "nobody got that reply");
}

/// Conformance 309: replies are not hoarded for a client that reads none, however large they are.
#[test]
fn large_replies_to_an_endless_pipeline_are_not_hoarded() {
    let (database, tracker, mut session) = tracker(&["tracker.query_workers=1"]);
    fill(&database, &mut session);
    let request = "list_keys domain=d&limit=1000";
    assert!(session.ask(request).len() > 600_000);
    let before_kib = tracker.process.resident_kib();
    let _deaf = flood(&tracker, &format!("{request}\r\n"), 64 << 20);
    assert_eq!(session.ask("noop"), "OK ");
    let grown_kib = tracker.process.resident_kib().saturating_sub(before_kib);
    // 64 replies are more than 40 MiB.
    assert!(grown_kib < 12 * 1024, "grown by {grown_kib} KiB");
}

#[test]
fn an_endless_line_is_not_hoarded() {
    let (_database, tracker, mut session) = tracker(&[]);
    let before_kib = tracker.process.resident_kib();
    let _endless = flood(&tracker, &"x".repeat(64 * 1024), 256 << 20);
    assert_eq!(session.ask("noop"), "OK ");
    let grown_kib = tracker.process.resident_kib().saturating_sub(before_kib);
    assert!(grown_kib < 12 * 1024, "grown by {grown_kib} KiB");
}

/// Defect 3, conformance 312: a request that takes too long fails once; it is not begun again.
#[test]
fn a_request_that_takes_too_long_fails_once() {
    let (_database, tracker, mut session) = tracker(&["limits.request_timeout_ms=300"]);
    let before = session.console("!jobs");
    session.send(b"sleep duration=45&callid=9\r\nnoop callid=10\r\n");
    assert_eq!(session.line(), "ERR failure Operation+failed 9");
    assert_eq!(session.line(), "OK callid=10");
    assert_eq!(tracker.process.count_logged("Error running command 'sleep': not done within 300 ms"), 1);
    assert_eq!(session.console("!jobs"), before, "no worker was killed");
}

/// Defect 8: a line without a command name has no callid, least of all that of another request.
#[test]
fn a_line_without_a_command_is_answered_without_callid() {
    let (_database, tracker, mut session) = tracker(&["tracker.query_workers=1"]);
    let unknown = "ERR unknown_command Unknown+server+command";
    assert_eq!(session.ask("test callid=secret"), "OK callid=secret");
    for line in ["   ", "!", "=callid=7", "&callid=7"] {
        assert_eq!(session.ask(line), unknown, "{line:?}");
        assert_eq!(tracker.session().ask(line), unknown, "{line:?}");
    }
}
