//! Island mode: paths from memory while the database is away.

use crate::support::cluster::{Cluster, Tracker, http};
use crate::support::database::{Database, Kind, kinds};
use crate::support::database_proxy::DatabaseProxy;
use crate::support::eventually;
use crate::support::session::Session;
use std::collections::BTreeMap;

/// A cluster in island mode on each database server, with a way to the server that can be cut.
fn on_each_server(test: impl Fn(Kind, &Cluster, &DatabaseProxy)) {
    for kind in kinds().into_iter().filter(|&kind| kind != Kind::Sqlite) {
        eprintln!("--- on {kind:?}");
        let database = Database::create(kind);
        let proxy = DatabaseProxy::start(&database);
        let tracker = Tracker::start_at(&proxy.url, &["database.island_mode=true"]);
        tracker.session().ok("create_domain domain=d");
        let cluster = Cluster { nodes: Vec::new(), tracker }.with_nodes(&[&[1], &[2]]);
        cluster.wait_until_writeable(2);
        test(kind, &cluster, &proxy);
    }
}

fn cut(proxy: &DatabaseProxy, session: &mut Session) {
    proxy.cut();
    eventually("the tracker has noticed", || {
        session.ask("get_paths domain=d&key=none").starts_with("ERR db ").then_some(())
    });
}

fn mend(proxy: &DatabaseProxy, session: &mut Session) {
    proxy.mend();
    eventually("the database is back", || {
        session.ask("get_paths domain=d&key=none").starts_with("ERR unknown_key ").then_some(())
    });
}

fn paths(session: &mut Session, key: &str) -> BTreeMap<String, String> {
    session.ok(&format!("get_paths domain=d&key={key}"))
}

#[test]
fn what_was_asked_for_is_answered_and_marked_while_the_database_is_away() {
    on_each_server(|_, cluster, proxy| {
        let mut session = cluster.session();
        for key in ["asked", "never-asked"] {
            cluster.put(key, "", b"bytes");
            cluster.wait_for_copies(key, 2);
        }
        let before = paths(&mut session, "asked");
        assert_eq!((before["paths"].as_str(), before.get("stale")), ("2", None));
        cut(proxy, &mut session);
        let away = paths(&mut session, "asked");
        assert_eq!((away["paths"].as_str(), away["stale"].as_str()), ("2", "1"));
        assert!(away["stale_secs"].parse::<u64>().is_ok());
        assert_eq!(http("GET", &away["path1"], b"").1, b"bytes");
        let refused = [
            "get_paths domain=d&key=never-asked",
            "get_paths domain=d&keys=1&key_1=asked",
            "file_info domain=d&key=asked",
            "create_open domain=d&key=new",
            "delete domain=d&key=asked",
            "rename domain=d&from_key=asked&to_key=new",
        ];
        for request in refused {
            assert_eq!(session.refused(request), "db", "{request}");
        }
        assert_eq!(session.refused("get_paths domain=other&key=asked"), "unreg_domain");
        // Nothing came of those changes.
        assert_eq!(paths(&mut session, "asked")["stale"], "1");
        let stats = session.console("!stats");
        assert!(stats.iter().any(|line| line.trim() == "island_answers 2"), "{stats:?}");
        mend(proxy, &mut session);
        assert_eq!(paths(&mut session, "asked").get("stale"), None);
    });
}

#[test]
fn what_this_tracker_changed_is_not_told_as_it_was() {
    on_each_server(|kind, cluster, proxy| {
        let mut session = cluster.session();
        let keys = ["overwritten", "deleted", "renamed", "untouched"];
        for key in keys {
            cluster.put(key, "", b"bytes");
            cluster.wait_for_copies(key, 2);
            paths(&mut session, key);
        }
        // MySQL and MariaDB take another spelling for the same key.
        let folds = format!("{kind:?}") == "Mysql";
        if folds {
            keys.iter().for_each(|key| drop(paths(&mut session, &key.to_uppercase())));
        }
        cluster.put("overwritten", "", b"other bytes");
        session.ok("delete domain=d&key=deleted");
        session.ok("rename domain=d&from_key=renamed&to_key=new");
        cut(proxy, &mut session);
        for key in ["overwritten", "deleted", "renamed", "new"] {
            for spelling in [key.to_owned(), key.to_uppercase()] {
                assert_eq!(session.refused(&format!("get_paths domain=d&key={spelling}")), "db", "{spelling}");
            }
        }
        assert_eq!(paths(&mut session, "untouched")["stale"], "1");
        assert_eq!(session.ask("get_paths domain=d&key=UNTOUCHED").starts_with("OK "), folds);
        mend(proxy, &mut session);
        assert_eq!(cluster.get("overwritten"), b"other bytes");
    });
}

/// What other trackers delete is forgotten as soon as somebody asks.
#[test]
fn a_key_that_is_gone_is_forgotten() {
    on_each_server(|_, cluster, proxy| {
        let mut session = cluster.session();
        cluster.put("k", "", b"bytes");
        paths(&mut session, "k");
        let other = Tracker::start_at(&proxy.url, &[]);
        other.session().ok("delete domain=d&key=k");
        assert_eq!(session.refused("get_paths domain=d&key=k"), "unknown_key");
        cut(proxy, &mut session);
        assert_eq!(session.refused("get_paths domain=d&key=k"), "db");
    });
}
