//! `!watch`: the log on a client's connection, whole lines between whole replies.

use crate::support::cluster::Tracker;
use crate::support::database::{Database, Kind};
use crate::support::eventually;
use crate::support::session::Session;

const ADDED: [&str; 1] = ["Added you to watcher list.\r\n"];
const REMOVED: [&str; 1] = ["Removed you from watcher list.\r\n"];

fn tracker(settings: &[&str]) -> (Database, Tracker, Session) {
    let database = Database::create(Kind::Sqlite);
    let tracker = Tracker::start_with(&database, settings);
    let mut session = tracker.session();
    assert_eq!(session.ask("noop"), "OK ");
    (database, tracker, session)
}

fn query_worker(session: &mut Session) -> String {
    let jobs = session.console("!jobs");
    let pids = jobs.iter().find_map(|line| line.strip_prefix("queryworker pids ")).expect("query workers");
    pids.split_whitespace().next().expect("a worker").to_owned()
}

/// The next line of the log that passes; lines of other events are left out.
fn watched(watcher: &mut Session, mut passes: impl FnMut(&str) -> bool) -> String {
    loop {
        let line = watcher.line();
        assert!(line.starts_with(":: "), "{line:?}");
        if passes(&line) {
            return line;
        }
    }
}

/// Conformance 303–305.
#[test]
fn a_watcher_sees_what_fails_until_it_has_enough() {
    let (_database, tracker, mut session) = tracker(&["tracker.query_workers=1"]);
    let worker = query_worker(&mut session);
    let mut watcher = tracker.session();
    assert_eq!(watcher.console("!watch"), ADDED, "303.");
    assert_eq!(session.ask("test crash=1"), "ERR failure Operation+failed");
    let line = watched(&mut watcher, |line| line.contains("Error"));
    assert_eq!(line, format!(":: [queryworker({worker})] Error running command 'test': it failed"), "304.");

    // Messages of the parent.
    session.console("!want 3 queryworker");
    let line = watched(&mut watcher, |line| line.contains("Job "));
    assert_eq!(line, ":: Job queryworker has only 1, wants 3, making 2.");
    session.console("!want 2 queryworker");
    let line = watched(&mut watcher, |line| line.contains("Reducing"));
    assert_eq!(line, ":: Reducing queryworker headcount by 1.");
    watched(&mut watcher, |line| line.starts_with(":: Child ") && line.ends_with(" (queryworker) died: 0 (expected)"));

    // Lines that are on their way may come before the answer, none after it.
    watcher.send(b"!watch\r\n");
    while watcher.line() != REMOVED[0].trim_end() {}
    assert_eq!(watcher.line(), ".", "305.");
    session.ask("test crash=1");
    assert_eq!(watcher.ask("noop callid=quiet"), "OK callid=quiet", "305.");
}

/// Debug records come with a mark, and only if the log has them.
#[test]
fn debug_records_are_marked_and_follow_the_level() {
    for (level, is_shown) in [("debug", true), ("info", false)] {
        let (_database, tracker, mut session) = tracker(&[&format!("log.level={level}")]);
        let mut watcher = tracker.session();
        assert_eq!(watcher.console("!watch"), ADDED);
        // A client that hangs up in the middle of what it was to read is a matter for debugging.
        let mut rude = tracker.session();
        rude.send(b"!version\r\nsleep duration=60\r\n");
        reset(rude, &mut session);
        session.ask("test crash=1");
        let mut debug = 0;
        watched(&mut watcher, |line| {
            debug += u32::from(line.starts_with(":: [debug] client connection failed: peer=127.0.0.1"));
            line.contains("Error running command 'test'")
        });
        assert_eq!(debug > 0, is_shown, "{level}");
    }
}

fn reset(client: Session, console: &mut Session) {
    eventually("the request is under way", || {
        console.console("!stats").contains(&"processing_queries 1\r\n".to_owned()).then_some(())
    });
    client.reset();
    eventually("the tracker has noticed", || {
        console.console("!stats").contains(&"processing_queries 0\r\n".to_owned()).then_some(())
    });
}

/// Defect 19, conformance 311: log lines neither start a second request nor change the order of replies.
#[test]
fn a_watcher_gets_its_own_replies_in_order_whatever_is_logged() {
    let (_database, tracker, mut session) = tracker(&["tracker.query_workers=2"]);
    let mut watcher = tracker.session();
    assert_eq!(watcher.console("!watch"), ADDED);
    watcher.send(b"sleep duration=0.5&callid=1\r\nnoop callid=2\r\n");
    let processing = || session.console("!stats").contains(&"processing_queries 1\r\n".to_owned()).then_some(());
    eventually("the first request runs", processing);
    // Logged, and shown at once, while the watcher's request is running; so it would read on.
    let mut other = tracker.session();
    for _ in 0..20 {
        other.ask("test crash=1");
    }
    watcher.send(b"noop callid=3\r\n");
    other.send("test crash=1\r\n".repeat(2000).as_bytes());
    watcher.send("noop callid=4\r\ntest crash=1\r\n".repeat(200).as_bytes());
    let (mut replies, mut shown) = (Vec::new(), 0);
    while replies.len() < 403 {
        let line = watcher.line();
        match line.strip_prefix(":: ") {
            Some(text) => {
                let is_whole = text.ends_with("Error running command 'test': it failed");
                // The tracker may still be starting.
                let is_of_start = text.starts_with("Job ") || text.starts_with("serving");
                assert!(is_whole || is_of_start, "a whole line: {line:?}");
                if replies.is_empty() && is_whole {
                    shown += 1;
                }
            }
            None => replies.push(line),
        }
    }
    assert!(shown >= 20, "lines come while the request runs: {shown}");
    assert_eq!(replies[..3], ["OK callid=1", "OK callid=2", "OK callid=3"]);
    for pair in replies[3..].chunks(2) {
        assert_eq!(pair, ["OK callid=4", "ERR failure Operation+failed"]);
    }
    (0..2000).for_each(|_| assert_eq!(other.line(), "ERR failure Operation+failed"));
}

#[test]
fn watchers_come_and_go() {
    let (_database, tracker, mut session) = tracker(&[]);
    for _ in 0..50 {
        let mut watcher = tracker.session();
        assert_eq!(watcher.console("!watch"), ADDED);
        drop(watcher);
        assert_eq!(session.ask("test crash=1"), "ERR failure Operation+failed");
    }
    eventually("all are gone", || {
        session.ask("test crash=1");
        (session.console("!queue").is_empty() && session.ask("noop") == "OK ").then_some(())
    });
}
