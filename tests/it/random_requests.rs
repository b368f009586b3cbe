//! A live tracker under random bytes and random requests: it answers every line, in order, and goes on.

use crate::support::cluster::{Node, Tracker};
use crate::support::database::{Database, Kind};
use crate::support::session::Session;
use mogilefs::jobs::query::manual;
use mogilefs::jobs::query::spec::{Argument, CommandSpec, Kind as ValueKind};
use mogilefs::protocol::admin;
use mogilefs::protocol::args::escape;
use mogilefs::protocol::line::LineBuffer;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};

/// A tracker with one node, one device and a domain. The watchdog of a hang is [`Session`]'s patience.
struct World {
    tracker: Tracker,
    _node: Node,
    _database: Database,
}

impl World {
    fn start() -> Self {
        let database = Database::create(Kind::Sqlite);
        let node = Node::start(1, &[1]);
        // `do_monitor_round` waits for the monitor's own pace.
        let extensions = "extensions.enabled=RandomWrites,ZoneLocal,SortByWait,MetaData,FilePaths";
        let settings = [extensions, "monitor.db_interval_ms=300", "monitor.round_interval_ms=200"];
        let tracker = Tracker::start_with(&database, &settings);
        let mut session = tracker.session();
        session.ok(&format!("create_host host=h&ip={}&port={}&status=alive", node.ip, node.port));
        session.ok("create_device devid=1&hostname=h");
        session.ok("create_domain domain=d");
        Self { tracker, _node: node, _database: database }
    }

    fn session(&self) -> Session {
        self.tracker.session()
    }

    /// Nothing broke inside, whatever was answered.
    fn nothing_panicked(&self) {
        assert_eq!(self.tracker.process.count_logged("request panicked"), 0);
    }
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() })
}

/// Bytes with the ends of lines, blanks and the characters of the protocol much more often than by chance.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let special = select(b"\n\n\r \t!=&%+0\0".to_vec());
    let words = select(vec!["noop", "get_paths", "!stats", "!want 1", "domain=d", "callid=", "%0A", "!", "list_keys "]);
    let piece = prop_oneof![
        3 => special.prop_map(|byte| vec![byte]),
        3 => any::<u8>().prop_map(|byte| vec![byte]),
        2 => words.prop_map(|word| word.as_bytes().to_vec()),
    ];
    vec(piece, 0..200).prop_map(|pieces| pieces.concat())
}

/// How many lines of reply the bytes get from commands, and how many from the console, whose replies end in a full stop.
fn expected_replies(bytes: &[u8]) -> (usize, usize) {
    let mut buffer = LineBuffer::new(1 << 20);
    buffer.push(bytes);
    let (mut commands, mut console) = (0, 0);
    while let Ok(Some(line)) = buffer.next_line() {
        match admin::parse(line) {
            Some(_) => console += 1,
            None => commands += 1,
        }
    }
    (commands, console)
}

#[test]
fn random_bytes_get_one_reply_a_line() {
    let world = World::start();
    let tested = runner(150).run(&noise(), |mut bytes| {
        // A console word that ends the tracker, or that makes it talk without being asked, is not chance's to find.
        prop_assume!(
            ![&b"!shutdown"[..], b"!watch"].iter().any(|word| bytes.windows(word.len()).any(|at| at == *word))
        );
        bytes.extend_from_slice(b"\nnoop callid=the-end\n");
        let (commands, console) = expected_replies(&bytes);
        let mut session = world.session();
        session.send(&bytes);
        let (mut replies, mut stops, mut others) = (0, 0, 0);
        loop {
            let line = session.line_of_any_end();
            match &*line {
                "OK callid=the-end" => break,
                "." => stops += 1,
                _ if line.starts_with("OK ") || line.starts_with("ERR ") => replies += 1,
                _ => others += 1,
            }
        }
        prop_assert_eq!(replies + 1, commands);
        prop_assert_eq!(stops, console);
        prop_assert!(others == 0 || console > 0, "lines that belong to no reply");
        Ok(())
    });
    tested.expect("every line is answered");
    world.nothing_panicked();
}

/// Addresses stay on this machine, waits short.
fn value_of(argument: &Argument) -> BoxedStrategy<Vec<u8>> {
    let texts = |texts: &[&'static str]| select(texts.to_vec()).prop_map(|text| text.as_bytes().to_vec()).boxed();
    match argument.name {
        "domain" => texts(&["d", "d", "d", "other", "", "0"]),
        "key" | "from_key" | "to_key" | "key_<n>" | "prefix" | "after" => {
            texts(&["a", "b", "", "0", "/x/y", "\u{e9}", "%_\\"])
        }
        "host" | "hostname" => texts(&["h", "h", "h2", ""]),
        "ip" | "hostip" | "altip" => texts(&["127.0.0.8", "127.0.0.9", ""]),
        "port" | "http_port" | "getport" | "http_get_port" => texts(&["1", "2", "x", ""]),
        "altmask" => texts(&["127.0.0.0/8", "x", ""]),
        "duration" => texts(&["0.01", "0.05"]),
        "wait_ms" => texts(&["1", "20"]),
        "memcache_servers" => texts(&[""]),
        _ => match argument.kind {
            ValueKind::Flag => texts(&["1", "0", ""]),
            ValueKind::Number => texts(&["1", "2", "0", "", "-1", "1e3", "x", "99999999999999999999", "0.5"]),
            ValueKind::Text => {
                let words =
                    texts(&["alive", "dead", "default", "MD5", "NONE", "MultipleHosts(2)", "skip_mkcol", "1", ""]);
                prop_oneof![3 => words, 1 => vec(any::<u8>(), 0..20)].boxed()
            }
        },
    }
}

/// A request of the command with some of its arguments and a `callid` to know its reply by.
fn request_of(spec: &'static CommandSpec) -> impl Strategy<Value = Vec<u8>> {
    let pairs: Vec<_> = spec
        .arguments
        .iter()
        .map(|argument| {
            let name = argument.name.replace("<n>", "1").replace("<any>", "x");
            (prop::bool::weighted(0.8), value_of(argument)).prop_map(move |(is_sent, value)| {
                is_sent.then(|| format!("&{}={}", escape(name.as_bytes()), escape(&value)))
            })
        })
        .collect();
    pairs.prop_map(move |pairs| {
        let pairs: String = pairs.into_iter().flatten().collect();
        format!("{} callid=@{pairs}\r\n", spec.name).into_bytes()
    })
}

/// A setting that changes what the rest of the test means, or leaves this machine, is not chance's to find; and whoever
/// guesses at tokens is made to wait, and then disconnected.
fn is_harmless(spec: &CommandSpec) -> bool {
    !["set_server_setting", "authenticate"].contains(&spec.name)
}

fn conversation() -> impl Strategy<Value = (Vec<Vec<u8>>, usize)> {
    let commands: Vec<_> = manual::all_commands().filter(|spec| is_harmless(spec)).collect();
    let request = select(commands).prop_flat_map(request_of);
    (vec(request, 1..40), 1..2000_usize)
}

/// Requests of every command with every argument, pipelined in pieces of any length.
#[test]
fn random_requests_are_answered_in_order() {
    let world = World::start();
    let tested = runner(10).run(&conversation(), |(requests, piece_bytes)| {
        let mut bytes = Vec::new();
        for (n, request) in requests.iter().enumerate() {
            let request = String::from_utf8_lossy(request).replacen('@', &format!("r{n}x"), 1);
            bytes.extend_from_slice(request.as_bytes());
        }
        let mut session = world.session();
        for piece in bytes.chunks(piece_bytes) {
            session.send(piece);
        }
        for (n, request) in requests.iter().enumerate() {
            let (reply, id) = (session.line(), format!("r{n}x"));
            let is_its_own = reply.ends_with(&format!("callid={id}")) || reply.ends_with(&format!(" {id}"));
            prop_assert!(is_its_own, "{} got {reply:?}", String::from_utf8_lossy(request));
        }
        Ok(())
    });
    tested.expect("replies in order");
    assert_eq!(world.session().ask("noop callid=still-here"), "OK callid=still-here");
    world.nothing_panicked();
}

/// Each command at least some times: what a handler reads and answers is what its specification says, or it would panic.
#[test]
fn every_command_keeps_to_its_specification() {
    let world = World::start();
    let mut runner = TestRunner::deterministic();
    let mut session = world.session();
    for spec in manual::all_commands().filter(|spec| is_harmless(spec)) {
        let requests = request_of(spec);
        for _ in 0..6 {
            let request = requests.new_tree(&mut runner).expect("a request").current();
            session.send(&request);
            let reply = session.line();
            assert!(reply.ends_with("callid=%40") || reply.ends_with(" %40"), "{reply:?}");
        }
    }
    world.nothing_panicked();
}
