//! Look-ups that wait together are one statement on a database server, and everybody gets the answer that a statement of
//! its own would have given.

use crate::support::cluster::{Cluster, http_put};
use crate::support::database::{Database, Kind, on_each_database};
use crate::support::session::Session;
use std::sync::atomic::{AtomicBool, Ordering};

fn store(session: &mut Session, key: &str) {
    let open = session.ok(&format!("create_open domain=d&key={key}&class=one"));
    http_put(&open["path"], key.as_bytes());
    let (fid, devid, path) = (&open["fid"], &open["devid"], &open["path"]);
    session.ok(&format!("create_close domain=d&key={key}&fid={fid}&devid={devid}&path={path}"));
}

/// Sends all lines in one write; their replies.
fn ask_all(session: &mut Session, requests: &[String]) -> Vec<String> {
    session.send(requests.iter().map(|request| format!("{request}\r\n")).collect::<String>().as_bytes());
    requests.iter().map(|_| session.line()).collect()
}

fn statements(session: &mut Session) -> u64 {
    let lines = session.console("!stats");
    let line = lines.iter().find_map(|line| line.trim_end().strip_prefix("db_statements_get_paths "));
    line.map_or(0, |count| count.parse().expect("a number"))
}

fn is_sqlite(database: &Database) -> bool {
    database.kind == Kind::Sqlite
}

fn request(key: &str) -> String {
    format!("get_paths domain=d&key={key}&noverify=1")
}

#[test]
fn many_keys_are_one_statement_and_each_gets_its_own_answer() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let mut session = cluster.session();
        let keys: Vec<_> = (0..9).map(|n| format!("key{n}")).collect();
        keys.iter().for_each(|key| store(&mut session, key));
        let by_itself: Vec<_> = keys.iter().map(|key| session.ask(&request(key))).collect();
        let before = statements(&mut session);
        let requests: Vec<_> = keys.iter().map(|key| request(key)).collect();
        let together = ask_all(&mut session, &requests);
        let asked = statements(&mut session) - before;
        let sorted = |replies: &[String]| {
            // The order of copies is by chance.
            let words = |reply: &String| {
                let mut words: Vec<_> = reply.rsplit(['=', '&', ' ']).map(str::to_owned).collect();
                words.sort();
                words
            };
            replies.iter().map(words).collect::<Vec<_>>()
        };
        assert_eq!(sorted(&together), sorted(&by_itself));
        // The lines may come in more than one piece.
        assert!(asked <= if is_sqlite(database) { 9 } else { 4 }, "{asked} statements");
    });
}

/// Unknown keys and domains, no key at all, keys in another spelling and keys that the database cannot hold, between others.
#[test]
fn odd_ones_among_them_are_answered_as_ever() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let mut session = cluster.session();
        store(&mut session, "key");
        store(&mut session, "other");
        let requests = [
            request("key"),
            request("nope"),
            request("KEY"),
            request("%FF%FE%00"),
            "get_paths domain=nowhere&key=key".to_owned(),
            "get_paths domain=d".to_owned(),
            "get_paths domain=d&keys=2&key_1=key&key_2=nope&noverify=1".to_owned(),
            request("key"),
            request("other"),
        ];
        let beginning = |reply: String| reply.split(['&', ' ']).take(2).collect::<Vec<_>>().join(" ");
        let by_itself: Vec<_> = requests.iter().map(|request| beginning(session.ask(request))).collect();
        let together: Vec<_> = ask_all(&mut session, &requests).into_iter().map(beginning).collect();
        assert_eq!(together, by_itself);
        assert_eq!(together[1], "ERR unknown_key");
        assert_eq!(together[4], "ERR unreg_domain");
    });
}

/// What a client did itself it sees at once, whoever else asks for the same.
#[test]
fn nobody_is_answered_from_before_its_own_change() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let mut session = cluster.session();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let mut other = cluster.session();
                let is_over = &is_over;
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        let reply = other.ask(&request("key"));
                        assert!(reply.starts_with("OK paths=") || reply.starts_with("ERR unknown_key"), "{reply}");
                    }
                });
            }
            for _ in 0..20 {
                store(&mut session, "key");
                let requests = [request("key"), "delete domain=d&key=key".to_owned(), request("key")];
                let replies = ask_all(&mut session, &requests);
                assert!(replies[0].starts_with("OK paths=1"), "{replies:?}");
                assert_eq!(replies[1], "OK ");
                assert!(replies[2].starts_with("ERR unknown_key"), "{replies:?}");
            }
            is_over.store(true, Ordering::Relaxed);
        });
    });
}
