//! `mogilefs db copy`: between all kinds of databases, with rows that are hard to copy; interrupted, resumed, refused.

use crate::support::{Database, backends, on_each};
use mogilefs::settings::{DatabaseSettings, PostgresKeys};
use mogilefs::store::copy::{self, CopyOptions, CopyOutcome, CopyPhase, CopyProgress, CopyReport};
use mogilefs::store::{Backend, ExtensionTables, SetupOutcome, Severity, Store, StoreError, StoreResult};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::process::Command;

/// A new database that trackers could work with.
fn set_up(backend: Backend) -> Database {
    let database = Database::create(backend);
    assert_eq!(Store::setup(&database.settings()), Ok(SetupOutcome::Created));
    database
}

fn copy_with(from: &Database, to: &Database, options: &CopyOptions) -> StoreResult<CopyReport> {
    copy::run(&from.settings(), &to.settings(), options, &mut |_| ControlFlow::Continue(()))
}

fn copy_all(from: &Database, to: &Database) -> CopyOutcome {
    copy_with(from, to, &CopyOptions::default()).expect("a report").outcome
}

fn assert_copied(outcome: &CopyOutcome, table: &str, rows: u64) {
    match outcome {
        CopyOutcome::Copied(tables) => {
            let copied = tables.iter().find(|copied| copied.table == table).expect("the table");
            assert_eq!(copied.rows, rows, "{table}");
            assert_eq!(copied.checksum.len(), 64);
        }
        other => panic!("{other:#?}"),
    }
}

/// A key as this database stores it: UTF-8 on MySQL, the bytes on SQLite, a character for each byte on PostgreSQL.
fn key_literal(backend: Backend, key: &str) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    match backend {
        Backend::Sqlite => format!("CAST(X'{}' AS TEXT)", hex(key.as_bytes())),
        Backend::Mysql => format!("CONVERT(X'{}' USING utf8mb4)", hex(key.as_bytes())),
        Backend::Postgres => {
            let text: String = key.bytes().map(char::from).collect();
            format!("convert_from('\\x{}', 'UTF8')", hex(text.as_bytes()))
        }
    }
}

fn digest_literal(backend: Backend, hex: &str) -> String {
    match backend {
        Backend::Postgres => format!("'\\x{hex}'"),
        Backend::Sqlite | Backend::Mysql => format!("X'{hex}'"),
    }
}

const FIDS: i64 = 2_000_000_000;

/// Rows of every table, and those that are easily lost: keys of any script, no keys, empty digests, large numbers.
fn fill(database: &Database) {
    let backend = database.backend;
    let key = |key: &str| key_literal(backend, key);
    let everything = [
        format!("INSERT INTO domain (dmid, namespace) VALUES (1, {}), (2, 'd2')", key("dömäin")),
        "INSERT INTO class (dmid, classid, classname, mindevcount, hashtype, replpolicy) \
         VALUES (1, 0, 'default', 2, NULL, NULL), (1, 5, 'c', 3, 1, 'MultipleHosts(3)'), (2, 5, 'c', 3, NULL, '')"
            .to_owned(),
        format!(
            "INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES \
             (7, 1, {}, 0, 5, 1), (8, 1, {}, 5000000000000, 0, 2), (9, 1, 'plain''s \"key\" |%_', 1, 0, 255), \
             (10, 1, NULL, NULL, 0, 0), (11, 1, NULL, 3, 0, 0), ({FIDS}, 2, {}, 1, 0, 0)",
            key("größe/中文/🦀.jpg"),
            key(&"é".repeat(127)),
            key("a\tb\u{1}")
        ),
        "INSERT INTO tempfile (fid, createtime, classid, dmid, dkey, devids) VALUES (100, 1700000000, 0, 1, 't', '3,4'), \
         (101, 1, 0, 1, NULL, NULL), (102, 1, 0, 1, '', '')"
            .to_owned(),
        "INSERT INTO file_on (fid, devid) VALUES (7, 3), (8, 3), (8, 4), (9, 30000), (5, 1)".to_owned(),
        "INSERT INTO host (hostid, status, http_port, hostname, hostip, altip, altmask) VALUES \
         (1, 'alive', 7500, 'h1', '10.0.0.1', '10.1.0.1', '10.1.0.0/16'), (2, 'readonly', NULL, 'h2', '10.0.0.2', NULL, '')"
            .to_owned(),
        "INSERT INTO device (devid, hostid, status, weight, mb_total, mb_used, mb_asof) VALUES \
         (3, 1, 'alive', -5, 2000000000, 5, 1700000000), (4, 2, 'drain', 100, NULL, NULL, NULL)"
            .to_owned(),
        "INSERT INTO server_settings (field, value) VALUES ('Zone', 'x'), ('a_setting', ''), ('nothing', NULL)".to_owned(),
        "INSERT INTO file_to_replicate (fid, nexttry, fromdevid, failcount, flags) \
         VALUES (7, 0, NULL, 0, 0), (8, 2147483647, 3, 255, 1)"
            .to_owned(),
        "INSERT INTO file_to_queue (fid, devid, type, nexttry, arg) VALUES (7, NULL, 1, 5, NULL), (7, 3, 2, 5, '4,5')".to_owned(),
        "INSERT INTO file_to_delete2 (fid, nexttry, failcount) VALUES (5, 1, 3)".to_owned(),
        "INSERT INTO file_to_delete (fid) VALUES (4)".to_owned(),
        "INSERT INTO file_to_delete_later (fid, delafter) VALUES (3, 1700000000)".to_owned(),
        "INSERT INTO unreachable_fids (fid, lastupdate) VALUES (2, 9)".to_owned(),
        "INSERT INTO fsck_log (logid, utime, fid, evcode, devid) VALUES (1, 5, 7, 'NOPA', NULL), (77, 6, NULL, 'X', 3)".to_owned(),
        format!(
            "INSERT INTO checksum (fid, hashtype, checksum) VALUES (7, 1, {}), (8, 2, {})",
            digest_literal(backend, "00FF0A27"),
            digest_literal(backend, "")
        ),
        format!(
            "INSERT INTO mogilefs_deleted_file (fid, dmid, dkey, length, classid, devcount, deleted_at, due_at) \
             VALUES (5, 1, {}, 9, 0, 1, 1700000000, 1700009999)",
            key("gelöscht")
        ),
        "INSERT INTO mogilefs_fsck_run (runid, started, ended, first_fid, last_fid, first_logid, options) \
         VALUES (1, 5, NULL, 1, 100, 1, 'policy_only')"
            .to_owned(),
        "INSERT INTO mogilefs_device_guard (devid, uuid, first_seen) VALUES (3, 'a-b', 5), (4, NULL, 6)".to_owned(),
        format!(
            "INSERT INTO plugin_filepaths_paths (nodeid, dmid, parentnodeid, nodename, fid) \
             VALUES (1, 1, 0, {}, NULL), (50, 1, 1, 'leaf', 7)",
            key("Größe")
        ),
        "INSERT INTO plugin_filepaths_domains (dmid) VALUES (1)".to_owned(),
        "INSERT INTO plugin_metadata_names (nameid, name) VALUES (1, 'mtime'), (3, 'mtime')".to_owned(),
        "INSERT INTO plugin_metadata_data (fid, nameid, data) VALUES (7, 1, '5'), (7, 3, '')".to_owned(),
    ];
    let extensions = BTreeSet::from([ExtensionTables::FilePaths, ExtensionTables::MetaData]);
    Store::setup_extensions(&database.settings(), &extensions).expect("tables of extensions");
    everything.iter().for_each(|statement| database.execute(statement));
    // What was given out and is gone.
    database.execute("INSERT INTO fsck_log (logid, utime) VALUES (500, 1)");
    match backend {
        Backend::Postgres => {
            database.execute("SELECT setval('fsck_log_logid_seq', 600)");
            database.execute(&format!("SELECT setval('tempfile_fid_seq', {})", FIDS + 50));
        }
        _ => {
            database.execute("INSERT INTO fsck_log (logid, utime) VALUES (600, 1)");
            database.execute("DELETE FROM fsck_log WHERE logid = 600");
            let gone = FIDS + 50;
            database
                .execute(&format!("INSERT INTO tempfile (fid, createtime, classid, dmid) VALUES ({gone}, 1, 0, 1)"));
            database.execute(&format!("DELETE FROM tempfile WHERE fid = {gone}"));
        }
    }
}

/// The next numbers that a tracker would get.
fn next_numbers(database: &Database) -> (i64, i64) {
    database.execute("INSERT INTO tempfile (createtime, classid, dmid, dkey) VALUES (1, 0, 1, 'next')");
    database.execute("INSERT INTO fsck_log (utime, evcode) VALUES (1, 'NEXT')");
    (
        database.number(
            "SELECT CAST(fid AS BIGINT) AS n FROM tempfile WHERE dkey = 'next'"
                .replace("AS BIGINT", signed(database))
                .as_str(),
        ),
        database.number(
            "SELECT CAST(logid AS BIGINT) AS n FROM fsck_log WHERE evcode = 'NEXT'"
                .replace("AS BIGINT", signed(database))
                .as_str(),
        ),
    )
}

fn signed(database: &Database) -> &'static str {
    if database.backend == Backend::Mysql { "AS SIGNED" } else { "AS BIGINT" }
}

fn errors(database: &Database) -> usize {
    Store::check(&database.settings()).expect("a report").count(Severity::Error)
}

fn between(from: Backend, to: Backend) {
    let backends = backends();
    if !backends.contains(&from) || !backends.contains(&to) {
        return;
    }
    let (source, target) = (set_up(from), Database::create(to));
    fill(&source);
    let outcome = copy_all(&source, &target);
    assert_copied(&outcome, "file", 6);
    assert_copied(&outcome, "server_settings", 3);
    assert_copied(&outcome, "plugin_filepaths_paths", 2);
    assert_eq!(
        target.number("SELECT COUNT(*) AS n FROM server_settings WHERE field = 'schema_version' AND value = '17'"),
        1
    );
    assert_eq!(errors(&target), 0);
    Store::open(&target.settings(), slog::Logger::root(slog::Discard, slog::o!())).expect("trackers can start").close();

    // And back, into another one: what a tracker sees is the same after both ways.
    let again = Database::create(from);
    assert_eq!(copy_all(&target, &again), outcome);
    assert_eq!(next_numbers(&target), (FIDS + 51, 601));
    assert_eq!(next_numbers(&again), (FIDS + 51, 601));
}

#[test]
fn sqlite_to_sqlite() {
    between(Backend::Sqlite, Backend::Sqlite);
}

#[test]
fn sqlite_to_mysql() {
    between(Backend::Sqlite, Backend::Mysql);
}

#[test]
fn sqlite_to_postgres() {
    between(Backend::Sqlite, Backend::Postgres);
}

#[test]
fn mysql_to_postgres() {
    between(Backend::Mysql, Backend::Postgres);
}

#[test]
fn mysql_to_mysql() {
    between(Backend::Mysql, Backend::Mysql);
}

#[test]
fn postgres_to_postgres() {
    between(Backend::Postgres, Backend::Postgres);
}

/// Enough for several pages.
fn fill_many(database: &Database, files: i64) {
    let mut rows: Vec<String> = Vec::new();
    for fid in 1..=files {
        rows.push(format!("({fid}, 1, 'key {fid}', {fid}, 0, 1)"));
        if rows.len() == 500 || fid == files {
            let rows = std::mem::take(&mut rows).join(", ");
            database.execute(&format!("INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES {rows}"));
        }
    }
    database.execute("INSERT INTO domain (dmid, namespace) VALUES (1, 'd')");
    database.execute("INSERT INTO file_on (fid, devid) SELECT fid, 1 FROM file");
    database.execute("INSERT INTO file_on (fid, devid) SELECT fid, 2 FROM file");
}

/// Stops a copy when so many rows of a table are over.
fn stop_at(from: &Database, to: &Database, table: &str, rows: u64) {
    let mut watcher = |now: CopyProgress| match now.phase == CopyPhase::Copy && now.table == table && now.rows >= rows {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let stopped = copy::run(&from.settings(), &to.settings(), &CopyOptions::default(), &mut watcher);
    assert!(matches!(stopped, Err(StoreError::Refused(_))), "{stopped:?}");
}

/// Every kind as target, from the next kind.
fn on_each_target(test: impl Fn(&Database, &Database)) {
    let backends = backends();
    for (n, &to) in backends.iter().enumerate() {
        let from = backends[(n + 1) % backends.len()];
        eprintln!("--- from {} to {}", from.name(), to.name());
        test(&set_up(from), &Database::create(to));
    }
}

/// A copy that broke off leaves nothing that could be taken for a database, and goes on where it was.
#[test]
fn an_interrupted_copy_goes_on() {
    on_each_target(|source, target| {
        fill_many(source, 5000);
        stop_at(source, target, "file", 4000);
        let copied = target.number("SELECT COUNT(*) AS n FROM file");
        assert!((4000..5000).contains(&copied), "{copied}");
        let refused = Store::open(&target.settings(), slog::Logger::root(slog::Discard, slog::o!()));
        assert!(matches!(refused, Err(StoreError::Schema(_))), "a tracker started on half a copy");
        assert!(matches!(Store::setup(&target.settings()), Err(StoreError::Schema(_))));
        assert!(errors(target) > 0);
        // Half a copy is no source.
        let onwards = copy_with(target, &Database::create(Backend::Sqlite), &CopyOptions::default());
        assert!(matches!(onwards, Err(StoreError::Schema(_))), "{onwards:?}");

        stop_at(source, target, "file_on", 6000);
        let mut copied_again = 0;
        let mut watcher = |now: CopyProgress| {
            if now.phase == CopyPhase::Copy && now.table == "file" && now.rows < 5000 {
                copied_again += 1;
            }
            ControlFlow::Continue(())
        };
        let report = copy::run(&source.settings(), &target.settings(), &CopyOptions::default(), &mut watcher);
        let report = report.expect("goes on");
        assert!(report.is_resumed);
        assert_copied(&report.outcome, "file", 5000);
        assert_copied(&report.outcome, "file_on", 10_000);
        assert_eq!(copied_again, 0, "files were copied twice");
        assert_eq!(errors(target), 0);
        // Once more: it is no empty database now.
        let again = copy_with(source, target, &CopyOptions::default());
        assert!(matches!(again, Err(StoreError::Schema(_))), "{again:?}");
    });
}

/// Another source must not go on with it.
#[test]
fn a_copy_goes_on_from_its_own_source_only() {
    on_each_target(|source, target| {
        fill_many(source, 3000);
        stop_at(source, target, "file", 1000);
        let other = set_up(source.backend);
        let refused = copy_with(&other, target, &CopyOptions::default());
        match refused {
            Err(StoreError::Schema(text)) => assert!(text.contains("another source"), "{text}"),
            other => panic!("{other:?}"),
        }
        let refused = copy_with(source, source, &CopyOptions::default());
        assert!(matches!(refused, Err(StoreError::InvalidValue(_))), "{refused:?}");
    });
}

/// What changes behind the copy's back is found, and brought up to date on demand: also a key that went to another file.
#[test]
fn changes_meanwhile_are_found() {
    on_each_target(|source, target| {
        fill_many(source, 5000);
        stop_at(source, target, "file_on", 2000);
        for statement in [
            "UPDATE file SET length = 77 WHERE fid = 10",
            "DELETE FROM file WHERE fid = 20",
            "INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES (5001, 1, 'new', 1, 0, 1)",
            "DELETE FROM file WHERE fid = 4000",
            "UPDATE file SET dkey = 'key 4000' WHERE fid = 5",
            "INSERT INTO domain (dmid, namespace) VALUES (2, 'late')",
        ] {
            source.execute(statement);
        }
        let report = copy_with(source, target, &CopyOptions::default()).expect("a report");
        let CopyOutcome::Different(differences) = report.outcome else { panic!("{report:?}") };
        let file = differences.iter().find(|difference| difference.table == "file").expect("files differ");
        assert_eq!(file.count, 5, "{file:?}");
        assert!(
            file.examples.iter().any(|text| text.contains("fid 10: length is 77 in the source and 10")),
            "{file:?}"
        );
        assert!(file.examples.iter().any(|text| text == "fid 20 is only in the target"), "{file:?}");
        assert!(differences.iter().any(|difference| difference.table == "domain"));
        assert!(errors(target) > 0, "no tracker may start on it");

        let update = CopyOptions { update: true, ..CopyOptions::default() };
        let outcome = copy_with(source, target, &update).expect("a report").outcome;
        assert_copied(&outcome, "file", 4999);
        assert_eq!(errors(target), 0);
    });
}

/// A change after a table was compared is found at the very end.
#[test]
fn a_change_during_the_comparison_is_found() {
    on_each_target(|source, target| {
        fill_many(source, 3000);
        let mut is_changed = false;
        let mut watcher = |now: CopyProgress| {
            if now.phase == CopyPhase::Compare && now.table == "file_on" && !is_changed {
                is_changed = true;
                // SQLite lets others write while it reads.
                source.execute("UPDATE file SET length = 77 WHERE fid = 10");
            }
            ControlFlow::Continue(())
        };
        let options = CopyOptions { are_trackers_stopped: true, ..CopyOptions::default() };
        if source.backend == Backend::Sqlite {
            source.execute("PRAGMA journal_mode = WAL");
        }
        let report = copy::run(&source.settings(), &target.settings(), &options, &mut watcher).expect("a report");
        match report.outcome {
            CopyOutcome::Different(differences) => assert_eq!(differences[0].table, "file"),
            other => panic!("{other:?}"),
        }
        assert!(errors(target) > 0);
    });
}

/// Trackers that run are seen: by their sessions, and by the usage of devices that they store.
#[test]
fn a_source_in_use_is_not_copied() {
    on_each_target(|source, target| {
        let store = Store::open(&source.settings(), slog::Logger::root(slog::Discard, slog::o!())).expect("opens");
        let session = store.session().expect("a session");
        session.read(mogilefs::store::db_unixtime).expect("connected");
        let busy = |options: &CopyOptions| match copy_with(source, target, options).expect("a report").outcome {
            CopyOutcome::Busy(signs) => signs,
            other => panic!("{other:?}"),
        };
        assert!(!busy(&CopyOptions::default()).is_empty());
        // Whoever wants to know may ask.
        let dry = CopyOptions { dry_run: true, ..CopyOptions::default() };
        let report = copy_with(source, target, &dry).expect("a report");
        assert_eq!(report.outcome, CopyOutcome::Examined);
        assert!(report.notes.iter().any(|note| note.contains("in use")), "{:?}", report.notes);
        drop(session);
        store.close();
        drop(store);

        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs();
        source.execute(&format!("INSERT INTO device (devid, hostid, status, mb_asof) VALUES (1, 1, 'alive', {now})"));
        let signs = busy(&CopyOptions::default());
        assert!(signs.iter().any(|sign| sign.contains("usage of a device")), "{signs:?}");

        let ahead = CopyOptions { is_ahead: true, ..CopyOptions::default() };
        assert_eq!(copy_with(source, target, &ahead).expect("a report").outcome, CopyOutcome::Ahead);
        source.execute("DELETE FROM device");
        let outcome = copy_with(source, target, &CopyOptions { update: true, ..CopyOptions::default() });
        assert_copied(&outcome.expect("a report").outcome, "device", 0);
    });
}

/// `place: count` of everything that cannot be copied.
fn obstacles(from: &Database, to: &Database) -> Vec<String> {
    match copy_all(from, to) {
        CopyOutcome::Obstructed(obstacles) => {
            assert_eq!(to_rows(to), 0, "something was written");
            obstacles
                .iter()
                .map(|obstacle| format!("{}: {} {}", obstacle.place, obstacle.count, obstacle.reason))
                .collect()
        }
        other => panic!("{other:?}"),
    }
}

fn to_rows(database: &Database) -> i64 {
    let report = Store::check(&database.settings()).map(|report| report.version);
    match report {
        Ok(17) => database.number("SELECT COUNT(*) AS n FROM file"),
        // Not even set up.
        _ => 0,
    }
}

fn assert_found(found: &[String], wanted: &[&str]) {
    for text in wanted {
        assert!(found.iter().any(|line| line.contains(text)), "{text}: {found:#?}");
    }
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
}

/// Everything that SQLite stores and the others cannot hold is said before anything is written.
#[test]
fn what_cannot_be_copied_is_said_first() {
    for to in backends() {
        let source = set_up(Backend::Sqlite);
        fill_many(&source, 10);
        for statement in [
            "UPDATE file SET dkey = CAST(X'FFFE' AS TEXT) WHERE fid = 1",
            "UPDATE file SET dkey = CAST(X'610062' AS TEXT) WHERE fid = 2",
            &format!("UPDATE file SET dkey = '{}' WHERE fid = 3", "x".repeat(256)),
            "UPDATE file SET dkey = 'Foo' WHERE fid = 4",
            "UPDATE file SET dkey = 'foo' WHERE fid = 5",
            "INSERT INTO file_on (fid, devid) VALUES (1, 40000)",
            "INSERT INTO host (hostid, status, hostname) VALUES (1, 'odd', 'h')",
            "INSERT INTO file_to_delete2 (fid, nexttry, failcount) VALUES (1, 3000000000, 300)",
            "INSERT INTO device (devid, hostid, weight) VALUES (1, 1, 'heavy')",
        ] {
            source.execute(statement);
        }
        match to {
            Backend::Sqlite => {
                let found = obstacles_of_dry_run(&source, &Database::create(to));
                assert_found(&found, &["device.weight: 1 no whole number"]);
                source.execute("DELETE FROM device");
                assert_copied(&copy_all(&source, &Database::create(to)), "file", 10);
            }
            Backend::Mysql => {
                source.execute("DELETE FROM device");
                let found = obstacles(&source, &Database::create(to));
                assert_found(
                    &found,
                    &[
                        "file.dkey: 1 not UTF-8",
                        "file.dkey: 1 longer than 255 characters",
                        "file.dkey: 1 one and the same in the target",
                        "host.status: 1 a word that the column does not take",
                        "file_to_delete2.failcount: 1 larger than 255",
                    ],
                );
            }
            Backend::Postgres => {
                source.execute("DELETE FROM device");
                let found = obstacles(&source, &Database::create(to));
                assert_found(
                    &found,
                    &[
                        "file.dkey: 1 a zero byte",
                        "file.dkey: 1 longer than 255 characters",
                        "file_on.devid: 1 larger than 32767",
                        "host.status: 1 a word that the column does not take",
                        "file_to_delete2.nexttry: 1 larger than 2147483647",
                    ],
                );
            }
        }
    }
}

/// A dry run says the same and leaves nothing behind.
fn obstacles_of_dry_run(from: &Database, to: &Database) -> Vec<String> {
    let report = copy_with(from, to, &CopyOptions { dry_run: true, ..CopyOptions::default() }).expect("a report");
    match report.outcome {
        CopyOutcome::Obstructed(obstacles) => obstacles
            .iter()
            .map(|obstacle| format!("{}: {} {}", obstacle.place, obstacle.count, obstacle.reason))
            .collect(),
        other => panic!("{other:?}"),
    }
}

/// Fids beyond what PostgreSQL's counter has would end uploads there.
#[test]
fn fids_that_leave_no_room_are_said_first() {
    if !backends().contains(&Backend::Postgres) {
        return;
    }
    let source = set_up(Backend::Sqlite);
    source
        .execute("INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES (5000000000, 1, 'k', 1, 0, 0)");
    assert_found(&obstacles(&source, &Database::create(Backend::Postgres)), &["tempfile.fid: 1 no number is left"]);
    if backends().contains(&Backend::Mysql) {
        assert_copied(&copy_all(&source, &Database::create(Backend::Mysql)), "file", 1);
    }
}

/// MySQL decides by its collations which keys are one; one that is exact takes all of them.
#[test]
fn collations_of_the_target_decide() {
    if !backends().contains(&Backend::Mysql) {
        return;
    }
    let source = set_up(Backend::Sqlite);
    for (fid, key) in [(1, "ete"), (2, "été"), (3, "trail"), (4, "trail  "), (5, "UP"), (6, "up")] {
        let key = key_literal(Backend::Sqlite, key);
        source.execute(&format!(
            "INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES ({fid}, 1, {key}, 1, 0, 0)"
        ));
    }
    let found = |target: &Database| obstacles_of_dry_run(&source, target);
    // As setup would make it there, by the server's collation.
    assert_found(&found(&Database::create(Backend::Mysql)), &["file.dkey: 3 one and the same"]);
    // A binary collation still passes over blanks at the end.
    let binary = Database::create_with(Backend::Mysql, "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
    assert_found(&found(&binary), &["file.dkey: 1 one and the same"]);
    let exact = set_up(Backend::Mysql);
    exact.execute("ALTER TABLE file MODIFY dkey VARBINARY(255)");
    assert_copied(&copy_all(&source, &exact), "file", 6);
    // Characters that a column does not have.
    source.execute(&format!("UPDATE file SET dkey = {} WHERE fid = 1", key_literal(Backend::Sqlite, "中")));
    source.execute("DELETE FROM file WHERE fid > 2");
    let latin1 = Database::create_with(Backend::Mysql, "CHARACTER SET latin1");
    Store::setup(&latin1.settings()).expect("set up");
    assert_found(&found(&latin1), &["file.dkey: 1 characters that the column's character set does not have"]);
}

/// The two ways of PostgreSQL, one into the other: the client's bytes are the same (C33).
#[test]
fn forms_of_keys_are_changed_on_the_way() {
    if !backends().contains(&Backend::Postgres) {
        return;
    }
    let (source, target) = (set_up(Backend::Postgres), Database::create(Backend::Postgres));
    let bytes = key_literal(Backend::Postgres, "größe");
    source.execute(&format!("INSERT INTO domain (dmid, namespace) VALUES (1, {bytes})"));
    let plain = DatabaseSettings { postgres_keys: PostgresKeys::Utf8, ..target.settings() };
    let report = copy::run(&source.settings(), &plain, &CopyOptions::default(), &mut |_| ControlFlow::Continue(()));
    assert_copied(&report.expect("a report").outcome, "domain", 1);
    assert_eq!(target.texts("SELECT namespace AS t FROM domain"), ["größe"]);
    // Said to be what they are not, they are found out.
    let misread = copy::run(
        &DatabaseSettings { postgres_keys: PostgresKeys::Latin1, ..target.settings() },
        &Database::create(Backend::Sqlite).settings(),
        &CopyOptions::default(),
        &mut |_| ControlFlow::Continue(()),
    );
    assert!(matches!(misread.expect("a report").outcome, CopyOutcome::Copied(_)), "é is a byte, too");
    target.execute("UPDATE domain SET namespace = '中'");
    let refused = obstacles_of_dry_run(&target, &Database::create(Backend::Sqlite));
    assert_found(&refused, &["domain.namespace: 1 stored in another form"]);
}

/// What no schema has is not lost silently.
#[test]
fn further_columns_must_be_left_out_by_name() {
    on_each(|source| {
        Store::setup(&source.settings()).expect("set up");
        source.execute("ALTER TABLE host ADD COLUMN remoteroot VARCHAR(60)");
        source.execute("CREATE TABLE somebody_elses (x INT)");
        let target = Database::create(Backend::Sqlite);
        let report =
            copy_with(source, &target, &CopyOptions { dry_run: true, ..CopyOptions::default() }).expect("a report");
        assert_eq!(report.outcome, CopyOutcome::Examined, "it is empty");
        assert!(report.notes.iter().any(|note| note.contains("somebody_elses")), "{:?}", report.notes);
        source.execute("INSERT INTO host (hostid, hostname, remoteroot) VALUES (1, 'h', '/mnt')");
        assert_found(&obstacles(source, &target), &["host.remoteroot: 1 a further column"]);
        let options =
            CopyOptions { left_out: BTreeSet::from(["host.remoteroot".to_owned()]), ..CopyOptions::default() };
        assert_copied(&copy_with(source, &target, &options).expect("a report").outcome, "host", 1);
    });
}

/// The program, killed in the middle and begun again.
#[test]
fn the_command_bears_a_kill() {
    on_each_target(|source, target| {
        fill_many(source, 20_000);
        let command = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_mogilefs"));
            command.args(["db", "copy", "--json", "--from", &source.url, "--to", &target.url]);
            command
        };
        let dry = command().arg("--dry-run").output().expect("runs");
        assert_eq!(dry.status.code(), Some(0), "{dry:?}");
        let mut killed = command().stdout(std::process::Stdio::null()).spawn().expect("runs");
        while to_files(target) == 0 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            assert!(killed.try_wait().expect("a status").is_none(), "it was over too soon");
        }
        killed.kill().expect("killed");
        killed.wait().expect("ended");
        let done = command().arg("--trackers-stopped").output().expect("runs");
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        let told: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
        assert_eq!((&told["outcome"], &told["resumed"]), (&"copied".into(), &true.into()));
        assert_eq!(to_files(target), 20_000);
    });
}

/// How many files the target has, which may not be set up yet.
fn to_files(target: &Database) -> i64 {
    if target.backend == Backend::Sqlite && !target.exists() {
        return 0;
    }
    let tables = match target.backend {
        Backend::Sqlite => "SELECT COUNT(*) AS n FROM sqlite_master WHERE name = 'mogilefs_copy'",
        Backend::Mysql => {
            "SELECT COUNT(*) AS n FROM information_schema.tables WHERE table_schema = DATABASE() \
             AND table_name = 'mogilefs_copy'"
        }
        Backend::Postgres => "SELECT COUNT(*) AS n FROM pg_catalog.pg_tables WHERE tablename = 'mogilefs_copy'",
    };
    let is_begun =
        target.number(tables) > 0 || Store::check(&target.settings()).is_ok_and(|report| report.version == 17);
    if is_begun { target.number("SELECT COUNT(*) AS n FROM file") } else { 0 }
}
