//! The console (`!` commands on the client port), waiting before the first monitor round, and stopping in order.

use crate::support::cluster::Tracker;
use crate::support::database::{Database, Kind};
use crate::support::eventually;
use crate::support::session::Session;
use std::net::TcpListener;

fn database() -> Database {
    Database::create(Kind::Sqlite)
}

/// A tracker whose query workers are there.
fn ready(database: &Database, settings: &[&str]) -> (Tracker, Session) {
    let tracker = Tracker::start_with(database, settings);
    let mut session = tracker.session();
    assert_eq!(session.ask("noop"), "OK ");
    (tracker, session)
}

/// The number after a name in `!stats` or `!jobs`.
fn number(lines: &[String], name: &str) -> u64 {
    let line = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {lines:?}")).trim_end().parse().expect("a number")
}

/// Conformance 290–295, 306–308.
#[test]
fn console_words_are_recognised() {
    let database = database();
    let (_tracker, mut session) = ready(&database, &[]);
    let version = session.console("!version");
    assert_eq!(version.len(), 1, "{version:?}");
    // 2.73 says no more than `2.73`.
    assert!(version[0].starts_with("2.73") && version[0].ends_with("\r\n"), "290. {version:?}");
    assert_eq!(session.console("!versionfoo x"), version, "291.");
    assert_eq!(session.console("!queue"), [""; 0], "292.");
    assert_eq!(session.console("!want"), ["ERROR: usage: !want <count> <jobclass>\r\n"], "293.");
    let classes = "delete, fsck, job_master, monitor, queryworker, reaper, replicate";
    let invalid = format!("ERROR: Invalid class 'foo'.  Valid classes: {classes}\r\n");
    assert_eq!(session.console("!want 1 foo"), [invalid], "294.");
    let wanted = "Now desiring 2 children doing 'queryworker'.\r\n";
    assert_eq!(session.console("!want 2 queryworker"), [wanted], "295.");
    for (number, request) in [(306, " !version"), (307, "!version "), (308, "!")] {
        assert_eq!(session.ask(request), "ERR unknown_command Unknown+server+command", "{number}.");
    }
}

/// Conformance 302: lines of the help end in LF only, for any word that is not known.
#[test]
fn unknown_words_get_help() {
    let database = database();
    let (_tracker, mut session) = ready(&database, &[]);
    let help = session.console("!STATS");
    assert!(help.iter().all(|line| line.ends_with('\n') && !line.ends_with("\r\n")), "{help:?}");
    assert_eq!(help[..2], ["Mogilefsd admin commands:\n", "\n"]);
    assert_eq!(help.last().map(String::as_str), Some("\n"));
    let words = ["!version", "!stats", "!jobs", "!want", "!queue", "!recent", "!to", "!watch", "!shutdown"];
    for word in words {
        assert!(help.iter().any(|line| line.contains(word)), "help is about {word}: {help:?}");
    }
    assert_eq!(session.console("!nonsense with words"), help);
}

/// Conformance 296, 297.
#[test]
fn jobs_shows_three_lines_for_each() {
    let database = database();
    let (_tracker, mut session) = ready(&database, &["tracker.query_workers=3"]);
    assert_eq!(session.console("!want 2 monitor"), ["Now desiring 2 children doing 'monitor'.\r\n"], "296.");
    let jobs = session.console("!jobs");
    let words: Vec<Vec<&str>> = jobs.iter().map(|line| line.trim_end().split(' ').collect()).collect();
    let names: Vec<&str> = words.iter().step_by(3).map(|words| words[0]).collect();
    assert_eq!(
        names,
        ["delete", "fsck", "job_master", "monitor", "queryworker", "reaper", "replicate"],
        "297. {jobs:?}"
    );
    for lines in words.chunks(3) {
        let [count, desired, pids] = lines else { panic!("297. three lines each: {jobs:?}") };
        assert_eq!([count[1], desired[1], pids[1]], ["count", "desired", "pids"], "297. {jobs:?}");
        assert_eq!(count[2].parse(), Ok(pids.len() - 2), "297. as many ids as workers: {jobs:?}");
    }
    assert_eq!(number(&jobs, "monitor desired"), 1, "296.");
    assert_eq!((number(&jobs, "queryworker count"), number(&jobs, "queryworker desired")), (3, 3), "297.");
    assert!(jobs.iter().all(|line| line.ends_with("\r\n")), "297. {jobs:?}");

    session.console("!want 5 queryworker");
    eventually("five query workers", || (number(&session.console("!jobs"), "queryworker count") == 5).then_some(()));
    session.console("!want 1 queryworker");
    eventually("one query worker", || (number(&session.console("!jobs"), "queryworker count") == 1).then_some(()));
    assert_eq!(session.ask("noop callid=1"), "OK callid=1");
}

/// Conformance 298.
#[test]
fn stats_begins_with_the_queues_and_goes_on_with_counters_by_name() {
    let database = database();
    let (_tracker, mut session) = ready(&database, &["tracker.query_workers=2"]);
    let before = session.console("!stats");
    let names: Vec<&str> = before.iter().filter_map(|line| Some(line.split_once(' ')?.0)).collect();
    assert_eq!(names[..4], ["uptime", "pending_queries", "processing_queries", "bored_queryworkers"], "{before:?}");
    assert!(names[4..].is_sorted(), "{before:?}");
    assert!(before.iter().all(|line| line.ends_with("\r\n")), "{before:?}");
    let queues = ["pending_queries", "processing_queries", "bored_queryworkers"].map(|name| number(&before, name));
    assert_eq!(queues, [0, 0, 2]);

    session.send("noop\r\n".repeat(7).as_bytes());
    for _ in 0..7 {
        session.line();
    }
    let after = session.console("!stats");
    assert_eq!(number(&after, "queries"), number(&before, "queries") + 7);
}

/// Conformance 296: a second monitor or job master is promised and not made; more than 500 of any are cut.
#[test]
fn want_cuts_and_ignores_numbers_beyond_reason() {
    let database = database();
    let (_tracker, mut session) = ready(&database, &[]);
    for job in ["monitor", "job_master"] {
        let wanted = format!("Now desiring 500 children doing '{job}'.\r\n");
        assert_eq!(session.console(&format!("!want 99999999999999999999 {job}")), [wanted]);
        let jobs = session.console("!jobs");
        assert_eq!(number(&jobs, &format!("{job} desired")), 1, "{jobs:?}");
    }
    // A job that operators may ask for and that this version does not have.
    let answer = session.console("!want 1 fsck");
    assert!(answer[0].starts_with("Now desiring 1 ") || answer[0].contains("has no"), "{answer:?}");
}

/// Workers of every kind can be sent away and called back.
#[test]
fn want_nobody_and_somebody_again() {
    let database = database();
    let (_tracker, mut session) = ready(&database, &["tracker.query_workers=2"]);
    let count = |session: &mut Session, job: &str| number(&session.console("!jobs"), &format!("{job} count"));
    for job in ["delete", "monitor", "queryworker", "reaper", "replicate", "job_master"] {
        assert_eq!(session.console(&format!("!want 0 {job}")), [format!("Now desiring 0 children doing '{job}'.\r\n")]);
        eventually(&format!("no {job}"), || (count(&mut session, job) == 0).then_some(()));
        assert!(session.console("!jobs").contains(&format!("{job} pids \r\n")), "one blank after pids");
        if job == "monitor" {
            // 2.73 would not answer.
            assert_eq!(session.ask("clear_cache callid=0"), "OK callid=0");
        }
        session.console(&format!("!want 1 {job}"));
        eventually(&format!("a {job}"), || (count(&mut session, job) == 1).then_some(()));
    }
    assert_eq!(session.ask("clear_cache callid=1"), "OK callid=1");
}

/// J55: without a job master the workers that it feeds go as well; they are still desired and come back with it.
#[test]
fn workers_that_are_fed_by_the_job_master_go_and_come_with_it() {
    let database = database();
    let (_tracker, mut session) = ready(&database, &["tracker.replicate_workers=2"]);
    let present = |session: &mut Session, count: u64| {
        let jobs = session.console("!jobs");
        assert_eq!((number(&jobs, "replicate desired"), number(&jobs, "delete desired")), (2, 1), "{jobs:?}");
        (number(&jobs, "replicate count") == 2 * count && number(&jobs, "delete count") == count).then_some(())
    };
    session.console("!want 0 job_master");
    eventually("all have gone", || present(&mut session, 0));
    session.console("!want 1 job_master");
    eventually("all are back", || present(&mut session, 1));
}

/// Conformance 299.
#[test]
fn recent_shows_the_last_fifty_requests() {
    let database = database();
    let (tracker, mut session) = ready(&database, &[]);
    let times = |line: &str| {
        let mut words = line.trim_end().rsplitn(3, ' ');
        let (within, until, request) = (words.next(), words.next(), words.next());
        let seconds = |word: Option<&str>| {
            let word = word.expect("a time");
            assert_eq!(word.split_once('.').expect("decimals").1.len(), 4, "four decimals: {line:?}");
            word.parse::<f64>().expect("seconds")
        };
        (request.expect("a request").to_owned(), seconds(until), seconds(within))
    };
    session.ask("sleep duration=1");
    session.ask("noop callid=rr");
    let recent = session.console("!recent");
    let (request, until, within) = times(&recent[recent.len() - 1]);
    assert_eq!(request, "127.0.0.1 noop callid=rr");
    assert!(until < 1.0 && within <= until, "{recent:?}");
    let (request, until, within) = times(&recent[recent.len() - 2]);
    assert_eq!(request, "127.0.0.1 sleep duration=1");
    assert!(within >= 1.0 && until >= within, "{recent:?}");

    session.send((0..200).map(|n| format!("noop n={n}\r\n")).collect::<String>().as_bytes());
    (0..200).for_each(|_| assert_eq!(session.line(), "OK "));
    tracker.session().ask("noop last");
    let recent: Vec<String> = session.console("!recent").iter().map(|line| times(line).0).collect();
    let wanted: Vec<String> = (151..200).map(|n| format!("127.0.0.1 noop n={n}")).collect();
    assert_eq!(recent, [wanted, vec!["127.0.0.1 noop last".to_owned()]].concat());
}

/// Conformance 300, 301.
#[test]
fn to_says_how_many_would_hear_it() {
    let database = database();
    let (_tracker, mut session) = ready(&database, &["tracker.query_workers=3"]);
    assert_eq!(session.console("!to nope hi"), ["Message sent to 0 children.\r\n"], "300.");
    assert_eq!(session.console("!to queryworker :shutdown"), ["Message sent to 3 children.\r\n"]);
    for incomplete in ["!to", "!to queryworker", "!to queryworker  "] {
        assert_eq!(session.console(incomplete), ["ERROR: usage: !to <jobclass> <message>\r\n"], "301.");
    }
    assert_eq!(number(&session.console("!jobs"), "queryworker count"), 3, "nobody was told to stop");
}

#[test]
fn console_and_requests_keep_their_order_on_one_connection() {
    let database = database();
    let (_tracker, mut session) = ready(&database, &[]);
    session.send(b"noop callid=1\r\n!queue\r\nnoop callid=2\r\nnoop callid=3\r\n!want\r\nnoop callid=4\r\n");
    let replies: Vec<String> = (0..7).map(|_| session.line()).collect();
    let usage = "ERROR: usage: !want <count> <jobclass>";
    assert_eq!(replies, ["OK callid=1", ".", "OK callid=2", "OK callid=3", usage, ".", "OK callid=4"]);
}

#[test]
fn requests_wait_for_a_query_worker_and_queue_shows_them() {
    let database = database();
    let (tracker, mut console) = ready(&database, &[]);
    assert_eq!(console.console("!want 0 queryworker"), ["Now desiring 0 children doing 'queryworker'.\r\n"]);
    eventually("no query worker", || (number(&console.console("!jobs"), "queryworker count") == 0).then_some(()));
    let mut client = tracker.session();
    client.send(b"noop callid=a\r\nfile_info domain=d&key=k\r\n");
    let waiting = ["127.0.0.1 noop callid=a\r\n", "127.0.0.1 file_info domain=d&key=k\r\n"];
    eventually("both wait", || (console.console("!queue") == waiting).then_some(()));
    assert_eq!(number(&console.console("!stats"), "pending_queries"), 2);

    console.console("!want 1 queryworker");
    assert_eq!(client.line(), "OK callid=a");
    assert_eq!(client.line(), "ERR unreg_domain Domain+name+invalid/not+found");
    eventually("nothing waits", || console.console("!queue").is_empty().then_some(()));
}

/// Oldest first is by the time at which requests came, not by that of their connections.
#[test]
fn queue_shows_the_oldest_request_first() {
    let database = database();
    let (tracker, mut console) = ready(&database, &[]);
    let mut clients = [tracker.session(), tracker.session(), tracker.session()];
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("noop"), "OK "));
    let without_worker = |console: &mut Session| {
        let stats = console.console("!stats");
        if stats.iter().any(|line| line.starts_with("times_out")) { number(&stats, "times_out_of_qworkers") } else { 0 }
    };
    let before = without_worker(&mut console);
    console.console("!want 0 queryworker");
    eventually("no query worker", || (number(&console.console("!jobs"), "queryworker count") == 0).then_some(()));
    let mut waiting = Vec::new();
    for number in [2, 0, 1] {
        clients[number].send(format!("noop n={number}\r\n").as_bytes());
        waiting.push(format!("127.0.0.1 noop n={number}\r\n"));
        eventually("it waits", || (console.console("!pending") == waiting).then_some(()));
    }
    assert_eq!(number(&console.console("!stats"), "pending_queries"), 3);
    assert_eq!(without_worker(&mut console), before + 3, "none found a worker");
    console.console("!want 1 queryworker");
    clients.iter_mut().for_each(|client| assert_eq!(client.line(), "OK "));
}

/// Conformance 310. A host that takes connections and says nothing holds up the first round.
#[test]
fn requests_wait_for_the_first_monitor_round_and_the_console_does_not() {
    let database = database();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("bound").port();
    database.execute(&format!(
        "INSERT INTO host (hostid, status, http_port, hostname, hostip) VALUES (1, 'alive', {port}, 'h', '127.0.0.1');
         INSERT INTO device (devid, hostid, status, weight) VALUES (1, 1, 'alive', 100)"
    ));
    let tracker = Tracker::start_with(&database, &["storage.node_timeout_ms=60000"]);
    let mut client = tracker.session();
    client.send(b"noop callid=early\r\n");
    let mut console = tracker.session();
    eventually("the request waits", || {
        (console.console("!queue") == ["127.0.0.1 noop callid=early\r\n"]).then_some(())
    });
    assert!(console.console("!version")[0].starts_with("2.73"));
    assert_eq!(number(&console.console("!stats"), "pending_queries"), 1);
    // One line more than usual: LF CR LF.
    let refused = ["ERROR: Monitor has not completed initial run yet\n", "\r\n"];
    assert_eq!(console.console("!want 1 queryworker"), refused);
    assert_eq!(console.console("!want 1 foo"), refused, "the round is asked for before the job");
    assert_eq!(console.console("!want foo"), ["ERROR: usage: !want <count> <jobclass>\r\n"], "usage before the round");
    assert_eq!(console.console("!to queryworker x"), ["Message sent to 0 children.\r\n"]);
    assert_eq!(console.console("!recent"), [""; 0]);
    assert_eq!(tracker.process.count_logged("first monitor round is complete; starting workers"), 0);

    // The connections that wait to be accepted are reset: the round ends.
    drop(silent);
    assert_eq!(client.line(), "OK callid=early");
    assert_eq!(tracker.process.count_logged("first monitor round is complete; starting workers"), 1);
}

/// A request of a second is under way when this returns.
fn request_in_hand(tracker: &Tracker, console: &mut Session) -> Session {
    let mut client = tracker.session();
    client.send(b"sleep duration=1&callid=in-hand\r\n");
    eventually("the request is under way", || {
        (number(&console.console("!stats"), "processing_queries") == 1).then_some(())
    });
    client
}

/// Conformance 313; and other clients get the replies of what they have under way.
#[test]
fn shutdown_closes_the_connection_and_ends_the_process() {
    let database = database();
    let (mut tracker, mut console) = ready(&database, &[]);
    let mut client = request_in_hand(&tracker, &mut console);
    console.send(b"!shutdown\r\n");
    assert!(console.is_closed(), "no reply at all");
    assert_eq!(tracker.process.wait(), Some(0));
    assert_eq!(client.line(), "OK callid=in-hand");
    assert!(client.is_closed());
}

#[test]
fn sigterm_answers_the_request_in_hand_and_exits_with_success() {
    let database = database();
    let (mut tracker, mut console) = ready(&database, &[]);
    let mut client = request_in_hand(&tracker, &mut console);
    assert_eq!(tracker.process.terminate(), Some(0));
    assert_eq!(client.line(), "OK callid=in-hand");
    assert!(client.is_closed() && console.is_closed());
    // Nothing is left behind that would hold up the next one.
    let (_tracker, _session) = ready(&database, &[]);
}
