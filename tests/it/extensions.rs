//! Extensions (docs/EXTENSIONS.md): what sites used plugins for.

use crate::support::cluster::{Cluster, Node, Tracker, http_put};
use crate::support::database::{Database, Kind, on_each_database};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::session::Session;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

const FILE_PATHS: &str = "extensions.enabled=FilePaths";

fn sqlite() -> Database {
    Database::create(Kind::Sqlite)
}

/// `mogilefs db setup` with further settings.
fn setup(database: &Database, settings: &[&str]) -> Option<i32> {
    let mut args = vec!["db", "setup", "--db", &database.url];
    for setting in settings {
        args.extend(["--set", setting]);
    }
    Process::start(&args).wait()
}

/// One node with two devices, domain `d` with paths.
fn cluster_with_paths(database: &Database) -> Cluster {
    assert_eq!(setup(database, &[FILE_PATHS]), Some(0));
    let cluster = Cluster::start_without_nodes(database, &[FILE_PATHS]).with_nodes(&[&[1, 2]]);
    cluster.wait_until_writeable(2);
    cluster.session().ok("plugin_filepaths_enable domain=d");
    cluster
}

/// Opens and uploads; gives the rest of the close request.
fn upload(session: &mut Session, key: &str, bytes: &[u8]) -> (i64, String) {
    let open = session.ok(&format!("create_open domain=d&key={key}&class=one"));
    http_put(&open["path"], bytes);
    let (fid, devid, path) = (&open["fid"], &open["devid"], &open["path"]);
    (fid.parse().expect("a fid"), format!("domain=d&fid={fid}&devid={devid}&path={path}&size={}", bytes.len()))
}

/// Stores a file with further arguments of the close; its fid.
fn put(session: &mut Session, key: &str, bytes: &[u8], more: &str) -> i64 {
    let (fid, close) = upload(session, key, bytes);
    session.ok(&format!("create_close key={key}&{close}{more}"));
    fid
}

fn list(session: &mut Session, directory: &str) -> BTreeMap<String, String> {
    session.ok(&format!("plugin_filepaths_list_directory domain=d&argcount=1&arg1={directory}"))
}

fn rename_request(from: &str, to: &str) -> String {
    format!("plugin_filepaths_rename domain=d&argcount=2&arg1={from}&arg2={to}")
}

/// No path leads to nothing, and no file of the domain is without a path or key of its own.
fn assert_whole(database: &Database) {
    let paths = "plugin_filepaths_paths p";
    assert_eq!(database.count(paths, "p.fid IS NOT NULL AND p.fid NOT IN (SELECT fid FROM file)"), 0, "orphan paths");
    let unreachable = "f.fid NOT IN (SELECT p.fid FROM plugin_filepaths_paths p WHERE p.fid IS NOT NULL)";
    assert_eq!(database.count("file f", unreachable), 0, "files without a path");
    let parents = "p.parentnodeid <> 0 AND p.parentnodeid NOT IN (SELECT nodeid FROM plugin_filepaths_paths)";
    assert_eq!(database.count(paths, parents), 0, "nodes without a parent");
}

#[test]
fn paths_are_keys() {
    on_each_database(|database| {
        let cluster = cluster_with_paths(database);
        let mut session = cluster.session();
        for key in ["cat.jpg", "/a/", "/a//b", "/a+b", "/", "/a/%C3%A4"] {
            let reply = session.ask(&format!("create_open domain=d&key={key}&class=one"));
            assert_eq!(reply, "ERR plugin_aborted Filename+is+not+a+valid+absolute+path.", "{key}");
        }
        let fid = put(&mut session, "/photos/2026/cat.jpg", b"meow", "");
        // The upload's key is not kept (the row is gone, but so the plugin wants it while it is there).
        let open = session.ok("create_open domain=d&key=/x&class=one");
        assert_eq!(database.count("tempfile", &format!("fid = {} AND dkey = ''", open["fid"])), 1);

        assert_eq!(cluster.get("/photos/2026/cat.jpg"), b"meow");
        let info = session.ok("file_info domain=d&key=/photos/2026/cat.jpg&devices=1");
        assert_eq!((info["fid"].as_str(), info["length"].as_str()), (fid.to_string().as_str(), "4"));
        assert_eq!(info["key"], format!("fid:{fid}"));
        let debug = session.ok("file_debug domain=d&key=/photos/2026/cat.jpg");
        assert_eq!(debug["fid_dkey"], format!("fid:{fid}"));
        assert_eq!(session.ok(&format!("file_debug fid={fid}"))["fid_fid"], fid.to_string());
        session.ok("updateclass domain=d&key=/photos/2026/cat.jpg&class=default");
        assert_eq!(session.ok("file_info domain=d&key=/photos/2026/cat.jpg")["class"], "default");
        assert_eq!(session.ok("list_keys domain=d")["key_1"], format!("fid:{fid}"));

        // Upper and lower case are different, directories are no files, and the keys themselves are hidden.
        for key in ["/photos/2026/Cat.jpg", "/photos/2026", "/photos", "/nothing/x", &format!("fid:{fid}"), "cat"] {
            for command in ["get_paths", "file_info", "file_debug", "delete", "edit_file"] {
                assert_eq!(
                    session.refused(&format!("{command} domain=d&key={key}")),
                    "plugin_aborted",
                    "{command} {key}"
                );
            }
        }
        assert_eq!(session.refused("get_paths domain=d"), "no_key");
        assert_eq!(session.refused("get_paths domain=nope&key=/a"), "unreg_domain");

        let many = session.ok("file_info domain=d&keys=3&key_1=/nothing&key_2=/photos/2026/cat.jpg&key_3=bad");
        assert_eq!((many["error_1"].as_str(), many["error_3"].as_str()), ("unknown_key", "unknown_key"));
        assert_eq!(many["fid_2"], fid.to_string());

        // Only in the domains that take part.
        session.ok("create_domain domain=plain");
        assert_eq!(session.refused("get_paths domain=plain&key=/photos/2026/cat.jpg"), "unknown_key");
        assert_whole(database);
    });
}

#[test]
fn directories_are_listed_by_name() {
    on_each_database(|database| {
        let cluster = cluster_with_paths(database);
        let mut session = cluster.session();
        let meta = "&plugin.meta.keys=2&plugin.meta.key0=mtime&plugin.meta.value0=1234&plugin.meta.key1=Color&plugin.meta.value1=red";
        put(&mut session, "/b", b"12345", meta);
        put(&mut session, "/a/0/x", b"1", "");
        put(&mut session, "/a/0/w", b"", "");
        let root = list(&mut session, "/");
        assert_eq!(root["files"], "2");
        assert_eq!((root["file0"].as_str(), root["file0.type"].as_str()), ("a", "D"));
        assert_eq!((root["file1"].as_str(), root["file1.type"].as_str()), ("b", "F"));
        assert_eq!((root["file1.size"].as_str(), root["file1.mtime"].as_str()), ("5", "1234"));
        assert!(!root.contains_key("file0.size"));
        let deep = list(&mut session, "/a/0/");
        assert_eq!((deep["files"].as_str(), deep["file0"].as_str(), deep["file1"].as_str()), ("2", "w", "x"));
        assert!(!deep.contains_key("file0.mtime"));

        let list = "plugin_filepaths_list_directory";
        for (arguments, code) in [
            ("argcount=1&arg1=/", "no_domain"),
            ("domain=nope&argcount=1&arg1=/", "unreg_domain"),
            ("domain=d&arg1=/", "bad_params"),
            ("domain=d&argcount=1", "bad_params"),
            ("domain=d&argcount=1&arg1=a", "bad_params"),
            ("domain=d&argcount=1&arg1=/c", "path_not_found"),
            ("domain=d&argcount=1&arg1=/b", "path_not_found"),
            ("domain=d&argcount=1&arg1=/%FF", "path_not_found"),
        ] {
            assert_eq!(session.refused(&format!("{list} {arguments}")), code, "{arguments}");
        }
        session.ok("create_domain domain=plain");
        assert_eq!(session.refused(&format!("{list} domain=plain&argcount=1&arg1=/")), "plugin_not_active_for_domain");
        // Switched off, the keys are keys again; switched on, the paths are there again.
        session.ok("plugin_filepaths_disable domain=d");
        assert_eq!(session.refused("get_paths domain=d&key=/b"), "unknown_key");
        session.ok("plugin_filepaths_enable domain=d");
        session.ok("plugin_filepaths_enable domain=d");
        assert_eq!(cluster.get("/b"), b"12345");
    });
}

/// The file that a path led to before is queued for deletion, and its metadata goes.
#[test]
fn a_new_file_at_a_path_replaces_the_old_one() {
    on_each_database(|database| {
        let cluster = cluster_with_paths(database);
        let mut session = cluster.session();
        let old = put(&mut session, "/a/f", b"old", "&plugin.meta.keys=1&plugin.meta.key0=k&plugin.meta.value0=v");
        assert_eq!(database.count("plugin_metadata_data", &format!("fid = {old}")), 1);
        let new = put(&mut session, "/a/f", b"new", "");
        assert_eq!(cluster.get("/a/f"), b"new");
        assert_eq!(session.ok("file_info domain=d&key=/a/f")["fid"], new.to_string());
        assert_eq!(database.count("file", &format!("fid = {old}")), 0);
        assert_eq!(database.count("plugin_metadata_data", &format!("fid = {old}")), 0);
        // Its body goes, and nothing of it is left.
        eventually("the old body is removed", || {
            (database.count("file_on", &format!("fid = {old}")) == 0 && cluster.nodes[0].stored_files().len() == 1)
                .then_some(())
        });
        session.ok("delete domain=d&key=/a/f");
        assert_eq!(session.refused("get_paths domain=d&key=/a/f"), "plugin_aborted");
        assert_eq!(list(&mut session, "/a")["files"], "0");
        assert_eq!(database.count("file", "1 = 1"), 0);
        put(&mut session, "/a/f", b"again", "");
        assert_eq!(cluster.get("/a/f"), b"again");
        assert_whole(database);
    });
}

/// An argument that means something to other commands changes nothing; and a path that was left behind by a file of the
/// same number is no reason to delete the new one.
#[test]
fn paths_are_paths_whatever_else_is_sent() {
    on_each_database(|database| {
        let cluster = cluster_with_paths(database);
        let mut session = cluster.session();
        let fid = put(&mut session, "/a/f", b"bytes", "&keys=1");
        assert_eq!(cluster.get("/a/f"), b"bytes");
        let left_behind = fid + 1000;
        let sql = format!("UPDATE plugin_filepaths_paths SET fid = {left_behind} WHERE fid = {fid}");
        database.execute(&sql);
        let open = session.ok(&format!("create_open domain=d&key=/a/f&fid={left_behind}"));
        http_put(&open["path"], b"new");
        let (devid, path) = (&open["devid"], &open["path"]);
        session.ok(&format!("create_close domain=d&key=/a/f&fid={left_behind}&devid={devid}&path={path}"));
        assert_eq!(cluster.get("/a/f"), b"new");
        session.ok("delete domain=d&key=/a/f&keys=1");
        assert_eq!(session.refused("get_paths domain=d&key=/a/f"), "plugin_aborted");
    });
}

#[test]
fn a_deleted_file_comes_back_to_a_path() {
    on_each_database(|database| {
        let cluster = cluster_with_paths(database);
        let mut session = cluster.session();
        session.ok("set_server_setting key=undelete_window_secs&value=3600");
        let fid = put(&mut session, "/a/f", b"back", "");
        put(&mut session, "/a/other", b"other", "");
        assert_eq!(session.ok("explain domain=d&key=/a/f")["fid"], fid.to_string());
        assert_eq!(session.ok(&format!("explain fid={fid}"))["key"], format!("fid:{fid}"));
        session.ok("delete domain=d&key=/a/f");
        let undelete = format!("undelete domain=d&key=fid:{fid}");
        for target in ["", "&to_key=f", "&to_key=/a/other", "&to_key=/a"] {
            assert_eq!(session.refused(&format!("{undelete}{target}")), "plugin_aborted", "{target}");
        }
        assert_eq!(session.refused("undelete domain=d&key=fid:99&to_key=/b"), "unknown_key");
        session.ok(&format!("{undelete}&to_key=/new/g"));
        assert_eq!(cluster.get("/new/g"), b"back");
        assert_eq!(cluster.get("/a/other"), b"other");
        assert_whole(database);
    });
}

/// What cannot be stored leaves everything as it was, and no upload behind.
#[test]
fn a_refused_close_changes_nothing() {
    on_each_database(|database| {
        let cluster = cluster_with_paths(database);
        let mut session = cluster.session();
        let kept = put(&mut session, "/dir/file", b"kept", "");
        let long = "x".repeat(256);
        let too_long = format!("&plugin.meta.keys=1&plugin.meta.key0=k&plugin.meta.value0={long}");
        let mut cases = vec![("/dir", ""), ("/dir/file/below", ""), ("no-path", ""), ("/dir/", "")];
        if database.kind != Kind::Sqlite {
            cases.push(("/dir/file", too_long.as_str()));
        }
        for (key, more) in cases {
            let (fid, close) = upload(&mut session, "/ok", b"lost");
            assert_eq!(session.refused(&format!("create_close key={key}&{close}{more}")), "plugin_aborted", "{key}");
            assert_eq!(session.refused(&format!("create_close key=/ok&{close}")), "no_temp_file");
            assert_eq!(database.count("file", &format!("fid = {fid}")), 0);
        }
        let (_, close) = upload(&mut session, "/ok", b"given up");
        session.ok(&format!("create_close {close}"));
        assert_eq!(session.ok("file_info domain=d&key=/dir/file")["fid"], kept.to_string());
        assert_eq!(list(&mut session, "/")["files"], "1");
        // A client cannot name the path by the inner argument.
        session.ok("create_domain domain=plain");
        let open = session.ok("create_open domain=plain&key=k");
        http_put(&open["path"], b"x");
        let (fid, devid, path) = (&open["fid"], &open["devid"], &open["path"]);
        session.ok(&format!(
            "create_close domain=plain&key=k&fid={fid}&devid={devid}&path={path}&logical_path=/dir/stolen"
        ));
        assert_eq!(database.count("plugin_filepaths_paths", "nodename = 'stolen'"), 0);
        // What is kept: one copy of the path, two of the key.
        eventually("the bodies of refused uploads are removed", || {
            (cluster.nodes[0].stored_files().len() == 3).then_some(())
        });
    });
}

#[test]
fn renames_move_files_and_directories() {
    on_each_database(|database| {
        let cluster = cluster_with_paths(database);
        let mut session = cluster.session();
        put(&mut session, "/a/f", b"f", "");
        put(&mut session, "/b", b"b", "");
        session.ok(&rename_request("/a/f", "/c/d/g"));
        assert_eq!(cluster.get("/c/d/g"), b"f");
        assert_eq!(session.refused("get_paths domain=d&key=/a/f"), "plugin_aborted");
        session.ok(&rename_request("/c", "/a/c"));
        assert_eq!(cluster.get("/a/c/d/g"), b"f");
        session.ok(&rename_request("/b", "/b"));
        for (from, to, code) in [
            ("/b", "/a", "rename_failed"),
            ("/b", "/a/c/d/g", "rename_failed"),
            ("/a", "/b", "rename_failed"),
            ("/a", "/a/c/a", "rename_failed"),
            ("/a/c", "/b/c", "rename_failed"),
            ("/none", "/x", "path_not_found"),
            ("/none/none", "/x", "path_not_found"),
            ("b", "/x", "badly_formed_orig"),
            ("/b", "/x/", "badly_formed_new"),
            ("/b", "x", "badly_formed_new"),
        ] {
            assert_eq!(session.refused(&rename_request(from, to)), code, "{from} {to}");
        }
        assert_eq!(session.refused("plugin_filepaths_rename domain=d&arg1=/b&arg2=/x"), "bad_argcount");
        let entries = list(&mut session, "/");
        assert_eq!((entries["files"].as_str(), entries["file0"].as_str(), entries["file1"].as_str()), ("2", "a", "b"));
        assert_whole(database);
    });
}

/// Closes, deletes and renames at the same time: no file is lost, none is left without a path.
#[test]
fn changes_at_the_same_time_leave_a_whole_tree() {
    const WRITERS: usize = 6;
    const ROUNDS: usize = 8;
    on_each_database(|database| {
        let cluster = cluster_with_paths(database);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let cluster = &cluster;
                scope.spawn(move || {
                    let mut session = cluster.session();
                    for round in 0..ROUNDS {
                        // The same path for all, in directories that all of them make.
                        let shared = format!("/shared{round}/deep/file");
                        put(&mut session, &shared, format!("{writer} {round}").as_bytes(), "");
                        put(&mut session, &format!("/shared{round}/deep/own{writer}"), b"own", "");
                        match writer {
                            0 => drop(session.ask(&format!("delete domain=d&key={shared}"))),
                            1 => drop(session.ask(&rename_request(&shared, &format!("/moved{round}")))),
                            2 => drop(session.ask(&rename_request(&format!("/shared{round}"), "/shared/x"))),
                            3 => drop(session.ask(&rename_request("/shared", &format!("/shared{round}/y")))),
                            _ => {}
                        }
                    }
                });
            }
        });
        assert_whole(database);
        let own = database.count("plugin_filepaths_paths", "nodename LIKE 'own%' AND fid IS NOT NULL");
        assert!(own >= (WRITERS * ROUNDS) as i64, "only {own} of the files that nobody touched are there");
        // Every node can be reached from the root: directories were not moved into themselves.
        let mut session = cluster.session();
        let (mut reached, mut directories) = (0, vec![String::new()]);
        while let Some(directory) = directories.pop() {
            let entries = list(&mut session, &format!("{directory}/"));
            for n in 0..entries["files"].parse::<i64>().expect("a number") {
                reached += 1;
                if entries[&format!("file{n}.type")] == "D" {
                    directories.push(format!("{directory}/{}", entries[&format!("file{n}")]));
                }
            }
        }
        assert_eq!(reached, database.count("plugin_filepaths_paths", "1 = 1"));
    });
}

/// A number that comes again must not bring the paths of the domain that had it before.
#[test]
fn paths_go_with_their_domain() {
    on_each_database(|database| {
        let cluster = cluster_with_paths(database);
        let mut session = cluster.session();
        session.ok("create_domain domain=brief");
        session.ok("plugin_filepaths_enable domain=brief");
        assert_eq!(database.count("plugin_filepaths_domains", "dmid = 2"), 1);
        database.execute("INSERT INTO plugin_filepaths_paths (dmid, parentnodeid, nodename) VALUES (2, 0, 'empty')");
        session.ok("delete_domain domain=brief");
        assert_eq!(database.count("plugin_filepaths_domains", "dmid = 2"), 0);
        assert_eq!(database.count("plugin_filepaths_paths", "dmid = 2"), 0);
    });
}

/// Tables as the Perl plugins make them on MySQL, with what they leave in them (database.md 1.8).
#[cfg(feature = "mysql")]
#[test]
fn tables_of_the_perl_plugins_are_used_as_they_are() {
    let Some(&kind) = crate::support::database::kinds().iter().find(|&&kind| kind == Kind::Mysql) else { return };
    let database = Database::create(kind);
    database.execute(
        "CREATE TABLE plugin_filepaths_paths (nodeid BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, dmid SMALLINT UNSIGNED NOT \
         NULL, parentnodeid BIGINT UNSIGNED NOT NULL, nodename VARCHAR(255) BINARY NOT NULL, fid BIGINT UNSIGNED, PRIMARY \
         KEY (nodeid), UNIQUE KEY (dmid, parentnodeid, nodename));
         CREATE TABLE plugin_filepaths_domains (dmid SMALLINT UNSIGNED NOT NULL, PRIMARY KEY (dmid));
         CREATE TABLE plugin_metadata_names (nameid BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, name VARCHAR(255) NOT NULL, \
         PRIMARY KEY (nameid));
         CREATE TABLE plugin_metadata_data (fid BIGINT UNSIGNED NOT NULL, nameid BIGINT UNSIGNED NOT NULL, data VARCHAR(255) \
         NOT NULL, PRIMARY KEY (fid, nameid));",
    );
    let cluster = cluster_with_paths(&database);
    let mut session = cluster.session();
    // Two rows of one name; a file at the path of a directory; a path whose file is gone.
    database.execute("INSERT INTO plugin_metadata_names (nameid, name) VALUES (7, 'mtime'), (8, 'mtime')");
    let below =
        put(&mut session, "/dir/below", b"below", "&plugin.meta.keys=1&plugin.meta.key0=mtime&plugin.meta.value0=1");
    let both = put(&mut session, "/both", b"both", "");
    database.execute(&format!("UPDATE plugin_metadata_data SET nameid = 8 WHERE fid = {below}"));
    database.execute("DELETE FROM plugin_filepaths_paths WHERE nodename = 'both'");
    database.execute(&format!("UPDATE plugin_filepaths_paths SET fid = {both} WHERE nodename = 'dir'"));
    database.execute(
        "INSERT INTO plugin_filepaths_paths (dmid, parentnodeid, nodename, fid) VALUES (1, 0, 'gone', 999999)",
    );
    assert_eq!((cluster.get("/dir"), cluster.get("/dir/below")), (b"both".to_vec(), b"below".to_vec()));
    let root = list(&mut session, "/");
    assert_eq!((root["files"].as_str(), root["file0"].as_str()), ("1", "dir"));
    assert_eq!(list(&mut session, "/dir")["file0.mtime"], "1");
    session.ok("delete domain=d&key=/dir");
    assert_eq!(cluster.get("/dir/below"), b"below");
    assert_eq!(session.refused("get_paths domain=d&key=/gone"), "unknown_key");
    put(&mut session, "/gone", b"found", "");
    assert_eq!(cluster.get("/gone"), b"found");
    assert_whole(&database);
}

/// Every domain may have metadata; the plugin stores it with FilePaths only.
#[test]
fn metadata_comes_and_goes_with_its_file() {
    on_each_database(|database| {
        let settings = ["extensions.enabled=MetaData"];
        assert_eq!(setup(database, &settings), Some(0));
        let cluster = Cluster::start_without_nodes(database, &settings).with_nodes(&[&[1]]);
        cluster.wait_until_writeable(1);
        let mut session = cluster.session();
        let meta = "&plugin.meta.keys=3&plugin.meta.key0=Owner&plugin.meta.value0=me&plugin.meta.key1=a&plugin.meta.value1=1\
                    &plugin.meta.key2=a&plugin.meta.value2=2";
        let first = put(&mut session, "k", b"1", meta);
        let value = |fid: i64, name: &str, value: &str| {
            database.count(
                "plugin_metadata_data d, plugin_metadata_names n",
                &format!("d.nameid = n.nameid AND d.fid = {fid} AND n.name = '{name}' AND d.data = '{value}'"),
            )
        };
        assert_eq!((value(first, "Owner", "me"), value(first, "a", "2")), (1, 1));
        assert_eq!(database.count("plugin_metadata_data", &format!("fid = {first}")), 2);
        let second = put(&mut session, "k", b"2", meta);
        assert_eq!(database.count("plugin_metadata_data", &format!("fid = {first}")), 0);
        assert_eq!(database.count("plugin_metadata_data", &format!("fid = {second}")), 2);
        assert_eq!(database.count("plugin_metadata_names", "1 = 1"), 2);
        session.ok("delete domain=d&key=k");
        assert_eq!(database.count("plugin_metadata_data", "1 = 1"), 0);
        assert_eq!(session.refused("plugin_filepaths_enable domain=d"), "unknown_command");
    });
}

/// A database server whose tables are missing: the program says what to run. SQLite gets them by itself.
#[test]
fn missing_tables_are_told_at_start() {
    on_each_database(|database| {
        if database.kind == Kind::Sqlite {
            let tracker = Tracker::start_with(database, &[FILE_PATHS]);
            tracker.session().ok("create_domain domain=d");
            tracker.session().ok("plugin_filepaths_enable domain=d");
            return;
        }
        let mut process =
            Process::start_plain(&["tracker", "--db", &database.url, "--listen", "127.0.0.1:0", "--set", FILE_PATHS]);
        let told =
            eventually("the reason is told", || process.line_with("lacks the tables of the extension FilePaths"));
        assert!(told.contains("mogilefs db setup"), "{told}");
        assert_ne!(process.wait(), Some(0));
        assert_eq!(setup(database, &[FILE_PATHS]), Some(0));
        assert_eq!(setup(database, &[FILE_PATHS]), Some(0));
        Tracker::start_with(database, &[FILE_PATHS]).session().ok("noop");
    });
}

#[test]
fn what_cannot_be_enabled_is_told_at_start() {
    let database = sqlite();
    for (settings, reason) in [
        (vec!["extensions.enabled=RandomWrites,NoSuch"], "there is no extension \"NoSuch\""),
        (vec!["extensions.enabled=ZoneLocal", "extensions.local_network=here"], "neither an address nor a netmask"),
    ] {
        for role in [vec!["tracker", "--listen", "127.0.0.1:0"], vec!["db", "setup"]] {
            let mut args = [role, vec!["--db", &database.url]].concat();
            for setting in &settings {
                args.extend(["--set", setting]);
            }
            let mut process = Process::start_plain(&args);
            eventually("the reason is told", || process.line_with(reason));
            assert_ne!(process.wait(), Some(0));
        }
    }
}

/// Nodes on loopback addresses: 127.0.0.1 and 127.0.0.2 are zone `near`, where the client is, too.
fn zoned(database: &Database, settings: &[&str]) -> Cluster {
    let cluster = Cluster::start_without_nodes(database, settings);
    let mut session = cluster.session();
    session.ok("set_server_setting key=network_zones&value=near,far");
    session.ok("set_server_setting key=zone_near&value=127.0.0.0/30");
    session.ok("set_server_setting key=zone_far&value=127.0.0.4/30");
    let mut cluster = cluster;
    for (number, devid) in [(2, 2), (5, 5), (6, 6)] {
        let node = Node::start(number, &[devid]);
        cluster.add_host(&format!("h{number}"), &node.ip, node.port, &[devid]);
        cluster.nodes.push(node);
    }
    cluster.wait_until_writeable(3);
    cluster
}

#[test]
fn zone_local_puts_the_clients_zone_first() {
    let database = sqlite();
    let cluster = zoned(&database, &["extensions.enabled=ZoneLocal"]);
    let mut session = cluster.session();
    for n in 0..10 {
        let open = session.ok("create_open domain=d&key=k&multi_dest=1");
        assert_eq!((open["dev_count"].as_str(), open["devid_1"].as_str()), ("3", "2"), "try {n}");
    }
    cluster.put("k", "three", b"bytes");
    cluster.wait_for_copies("k", 3);
    for n in 0..10 {
        let paths = session.ok("get_paths domain=d&key=k&noverify=1&pathcount=3");
        assert!(paths["path1"].contains("/dev2/"), "try {n}: {paths:?}");
    }
    // Another zone of the settings counts at once.
    session.ok("set_server_setting key=zone_near&value=127.0.0.1,127.0.0.5");
    eventually("the settings are known", || {
        let paths = session.ok("get_paths domain=d&key=k&noverify=1&pathcount=3");
        paths["path1"].contains("/dev5/").then_some(())
    });
}

/// Replication reads in the zone of the tracker: of two copies it never takes the far one.
#[test]
fn zone_local_copies_from_its_own_zone() {
    let database = sqlite();
    let cluster = zoned(
        &database,
        &["extensions.enabled=ZoneLocal", "extensions.local_network=127.0.0.4/30", "jobs.poll_interval_ms=50"],
    );
    let mut session = cluster.session();
    session.ok("create_class domain=d&class=all&mindevcount=3");
    for n in 0..12 {
        // A copy in each zone; that in the other zone has another content, which a copy of it would show.
        let key = format!("k{n}");
        cluster.put(&key, "one", b"bytes");
        let fid = cluster.fid(&key);
        let settled = || (database.count("file_to_replicate", &format!("fid = {fid}")) == 0).then_some(());
        eventually("nobody is looking at the file", settled);
        let (near, far) = (2, 5);
        let [near_copy, far_copy] =
            [(0, near), (1, far)].map(|(node, devid)| cluster.nodes[node].file(&fid_path(devid, fid)));
        for file in [&near_copy, &far_copy] {
            std::fs::create_dir_all(file.parent().expect("a directory")).expect("directories");
            std::fs::write(file, b"bytes").expect("a copy");
        }
        std::fs::write(&near_copy, b"other").expect("another content, of the same length");
        database.execute(&format!("DELETE FROM file_on WHERE fid = {fid}"));
        database.execute(&format!("INSERT INTO file_on (fid, devid) VALUES ({fid}, {near}), ({fid}, {far})"));
        session.ok(&format!("updateclass domain=d&key={key}&class=all"));
        cluster.wait_for_copies(&key, 3);
        let copy = cluster.nodes[2].file(&fid_path(6, fid));
        assert_eq!(std::fs::read(copy).expect("the copy"), b"bytes", "copied from the far zone");
    }
}

fn fid_path(devid: i64, fid: i64) -> String {
    let digits = format!("{fid:010}");
    format!("/dev{devid}/{}/{}/{}/{digits}.fid", &digits[0..1], &digits[1..4], &digits[4..7])
}

/// Every device is as likely as any other.
#[test]
fn random_writes_does_not_look_at_free_space() {
    let database = sqlite();
    let cluster = Cluster::start_with(&database, &["extensions.enabled=RandomWrites", "storage.min_free_space_mb=0"]);
    let mut session = cluster.session();
    let available = session.ok("plugin_list_available_devices");
    assert_eq!(available.keys().filter(|name| name.starts_with("device_")).count(), 6);
    assert!(available["mb_free_0"].parse::<i64>().is_ok());
    let mut chosen = BTreeMap::new();
    for _ in 0..300 {
        let open = session.ok("create_open domain=d&key=k");
        *chosen.entry(open["devid"].clone()).or_insert(0) += 1;
    }
    // 50 expected for each; 4 standard deviations are 26.
    assert!(chosen.len() == 6 && chosen.values().all(|times| (20..85).contains(times)), "{chosen:?}");
}

/// Passes bytes on; what the node says comes late.
fn slow_front(node: &Node) -> std::net::SocketAddr {
    let listener = TcpListener::bind((node.ip.as_str(), 0)).expect("bind");
    let (address, target) = (listener.local_addr().expect("bound"), (node.ip.clone(), node.port));
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(node) = TcpStream::connect(&target) else { return };
            let (mut to_node, mut from_client) = (node.try_clone().expect("clone"), client.try_clone().expect("clone"));
            std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_node));
            std::thread::spawn(move || pass_late(node, client));
        }
    });
    address
}

fn pass_late(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = vec![0; 65536];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        std::thread::sleep(Duration::from_millis(40));
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // The other direction has this socket, too. It may be gone already.
    let _gone = to.shutdown(Shutdown::Both);
}

/// The slow device comes last, although chance would put it first every other time.
#[test]
fn sort_by_wait_puts_slow_devices_last() {
    let database = sqlite();
    let settings = ["extensions.enabled=SortByWait", "monitor.round_interval_ms=100"];
    let cluster = Cluster::start_without_nodes(&database, &settings).with_nodes(&[&[1]]);
    let slow = Node::start(2, &[2]);
    cluster.add_host("slow", &slow.ip, slow_front(&slow).port(), &[2]);
    cluster.wait_until_writeable(2);
    cluster.put("k", "", b"bytes");
    cluster.wait_for_copies("k", 2);
    let mut session = cluster.session();
    eventually("the fast device is always first", || {
        let first_is_fast = |_| session.ok("get_paths domain=d&key=k&noverify=1")["path1"].contains("/dev1/");
        (0..20).all(first_is_fast).then_some(())
    });
}

/// Policies of plugins are known without a switch (replication-policies.md 11.2, 11.3).
#[test]
fn policies_of_plugins_are_always_known() {
    let database = sqlite();
    let cluster = Cluster::start(&database);
    let mut session = cluster.session();
    session.ok("create_class domain=d&class=on&mindevcount=1&replpolicy=OnHosts(h3)");
    session.ok("create_class domain=d&class=off&mindevcount=2&replpolicy=NotOnHosts(h3)");
    session.ok("create_class domain=d&class=random&mindevcount=3&replpolicy=MultipleHostsRandom()");
    for policy in ["OnHosts", "OnHosts()", "NotOnHosts(", "MultipleHostsRandom(x)", "OnHosts(h1)x"] {
        let request = format!("create_class domain=d&class=bad&mindevcount=1&replpolicy={policy}");
        assert_eq!(session.refused(&request), "invalid_replpolicy", "{policy}");
    }
    for n in 0..6 {
        for class in ["on", "off", "random"] {
            cluster.put(&format!("{class}{n}"), class, b"bytes");
        }
    }
    let on_third = |devids: &[i64]| devids.iter().filter(|&&devid| devid >= 5).count();
    for n in 0..6 {
        let key = |class: &str| format!("{class}{n}");
        cluster.wait_for_copies(&key("on"), 2);
        assert_eq!(on_third(&cluster.devids(&key("on"))), 1);
        eventually("two copies off h3", || {
            let devids = cluster.devids(&key("off"));
            (devids.len() - on_third(&devids) == 2).then_some(())
        });
        cluster.wait_for_copies(&key("random"), 3);
    }
}
