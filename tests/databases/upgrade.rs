//! Databases of older versions are brought to version 17, with what is in them (C07–C10); others are left alone.
//!
//! Old schemas are made from the definitions of database.md 1.4 by taking the steps of 1.2 back.

use crate::support::{Database, on_each};
use mogilefs::store::{Backend, SCHEMA_VERSION, SetupOutcome, Severity, Store, StoreError};

/// Takes a fresh schema back to how the reference had it at a version.
fn take_back(database: &Database, version: i64) {
    assert_eq!(Store::setup(&database.settings()), Ok(SetupOutcome::Created));
    for table in
        ["mogilefs_deleted_file", "mogilefs_fsck_run", "mogilefs_device_guard", "mogilefs_lock", "mogilefs_hold"]
    {
        database.execute(&format!("DROP TABLE {table}"));
    }
    let is_older_than = |step: i64| version < step;
    let mut statements: Vec<&str> = Vec::new();
    if is_older_than(17) {
        statements.extend(match database.backend {
            Backend::Mysql => &["ALTER TABLE host MODIFY status ENUM('alive','dead','down')"][..],
            Backend::Postgres => &[
                "ALTER TABLE host DROP CONSTRAINT status",
                "ALTER TABLE host ADD CHECK (status IN ('alive', 'dead', 'down'))",
            ],
            Backend::Sqlite => &[],
        });
    }
    if is_older_than(15) {
        statements.extend(["DROP TABLE checksum", "ALTER TABLE class DROP COLUMN hashtype"]);
    }
    if is_older_than(14) && database.backend == Backend::Mysql {
        statements.push("ALTER TABLE device MODIFY mb_total MEDIUMINT UNSIGNED, MODIFY mb_used MEDIUMINT UNSIGNED");
    }
    if is_older_than(13) {
        match database.backend {
            Backend::Mysql => statements.push("ALTER TABLE server_settings MODIFY value VARCHAR(255)"),
            Backend::Postgres => statements.push("ALTER TABLE server_settings ALTER value TYPE VARCHAR(255)"),
            Backend::Sqlite => {}
        }
        statements.push("ALTER TABLE file_to_queue DROP COLUMN arg");
    }
    if is_older_than(12) {
        statements.push("DROP TABLE file_to_delete2");
    }
    if is_older_than(11) {
        statements.push("DROP TABLE file_to_queue");
    }
    if is_older_than(10) {
        statements.push("ALTER TABLE class DROP COLUMN replpolicy");
    }
    if is_older_than(9) {
        statements.extend(match database.backend {
            Backend::Mysql => &["ALTER TABLE device MODIFY status ENUM('alive','dead','down','readonly')"][..],
            Backend::Postgres => &[
                "ALTER TABLE device DROP CONSTRAINT device_status_check",
                "ALTER TABLE device ADD CONSTRAINT odd CHECK (status IN ('alive', 'dead', 'down', 'readonly'))",
            ],
            Backend::Sqlite => &[],
        });
    }
    if is_older_than(8) {
        statements.push("DROP TABLE fsck_log");
    }
    if is_older_than(7) {
        statements.push("DROP TABLE file_to_delete_later");
    }
    if is_older_than(6) {
        statements.push("DROP TABLE file_to_replicate");
        match database.backend {
            Backend::Sqlite => statements.extend([
                "DROP TABLE host",
                "CREATE TABLE host (hostid MEDIUMINT UNSIGNED NOT NULL PRIMARY KEY, status TEXT, \
                 http_port MEDIUMINT UNSIGNED DEFAULT 7500, hostname VARCHAR(40), hostip VARCHAR(15), \
                 UNIQUE (hostname), UNIQUE (hostip))",
                "DROP TABLE device",
                "CREATE TABLE device (devid MEDIUMINT UNSIGNED NOT NULL PRIMARY KEY, hostid MEDIUMINT UNSIGNED NOT NULL, \
                 status TEXT, mb_total INT UNSIGNED, mb_used INT UNSIGNED)",
                "CREATE INDEX status ON device (status)",
            ]),
            Backend::Mysql | Backend::Postgres => {
                for column in ["host DROP COLUMN http_get_port", "host DROP COLUMN altip", "host DROP COLUMN altmask"] {
                    database.execute(&format!("ALTER TABLE {column}"));
                }
                statements.push("ALTER TABLE device DROP COLUMN mb_asof");
                statements.push("ALTER TABLE device DROP COLUMN weight");
            }
        }
    }
    for statement in statements {
        database.execute(statement);
    }
    if database.backend != Backend::Mysql {
        database.execute("DROP TABLE lock");
    }
    database.execute(&format!("UPDATE server_settings SET value = '{version}' WHERE field = 'schema_version'"));
}

/// Rows that every version has.
fn fill(database: &Database) {
    for statement in [
        "INSERT INTO domain (dmid, namespace) VALUES (1, 'd')",
        "INSERT INTO class (dmid, classid, classname, mindevcount) VALUES (1, 5, 'c', 2)",
        "INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES (7, 1, 'k', 10, 5, 1)",
        "INSERT INTO file_on (fid, devid) VALUES (7, 3)",
        "INSERT INTO host (hostid, status, hostname, hostip) VALUES (1, 'down', 'h', '10.0.0.1')",
        "INSERT INTO device (devid, hostid, status, mb_total, mb_used) VALUES (3, 1, 'dead', 100, 50)",
        "INSERT INTO tempfile (fid, createtime, classid, dmid, dkey, devids) VALUES (9, 1, 0, 1, 't', '3')",
        "INSERT INTO file_to_delete (fid) VALUES (5)",
        "INSERT INTO server_settings (field, value) VALUES ('s', 'v')",
    ] {
        database.execute(statement);
    }
}

/// As one text, so that a comparison shows what differs.
fn contents(database: &Database) -> Vec<String> {
    let text = match database.backend {
        Backend::Mysql => |columns: &str| format!("CONCAT_WS(' ', {columns})"),
        _ => |columns: &str| {
            let columns: Vec<String> = columns.split(", ").map(|name| format!("CAST({name} AS VARCHAR(50))")).collect();
            columns.join(" || ' ' || ")
        },
    };
    let tables = [
        ("domain", "dmid, namespace"),
        ("class", "dmid, classid, classname, mindevcount"),
        ("file", "fid, dmid, dkey, length, classid, devcount"),
        ("file_on", "fid, devid"),
        ("host", "hostid, status, http_port, hostname, hostip"),
        ("device", "devid, hostid, status, mb_total, mb_used"),
        ("tempfile", "fid, createtime, classid, dmid, dkey, devids"),
        ("file_to_delete", "fid"),
        ("server_settings WHERE field = 's'", "field, value"),
    ];
    let rows = tables.iter().map(|(table, columns)| {
        let rows = database.texts(&format!("SELECT {} AS t FROM {table}", text(columns)));
        format!("{table}: {}", rows.join("; "))
    });
    rows.collect()
}

/// What `db check` finds that matters, but for the server's collation.
fn complaints(database: &Database) -> Vec<String> {
    let report = Store::check(&database.settings()).expect("a report");
    let bad = report.findings.iter().filter(|finding| finding.severity < Severity::Note);
    let bad = bad.filter(|finding| !finding.text.contains("collation"));
    bad.map(|finding| format!("{} {} {}", finding.severity.name(), finding.place, finding.text)).collect()
}

fn upgrades(database: &Database, version: i64) {
    take_back(database, version);
    fill(database);
    let before = contents(database);
    assert!(!complaints(database).is_empty(), "version {version} is not told from {SCHEMA_VERSION}");
    assert_eq!(Store::setup(&database.settings()), Ok(SetupOutcome::Upgraded { from: version }), "version {version}");
    assert_eq!(complaints(database), [""; 0], "after version {version}");
    assert_eq!(contents(database), before);
    assert_eq!(database.number("SELECT COUNT(*) AS n FROM server_settings WHERE value = '17'"), 1);
    // What came new is usable.
    database.execute("UPDATE host SET status = 'readonly', altip = '10.1.0.1', http_get_port = 7501");
    database.execute("UPDATE device SET status = 'drain', mb_asof = 1, weight = 50, mb_total = 20000000");
    database.execute("UPDATE class SET hashtype = 1, replpolicy = 'MultipleHosts()'");
    let long = "x".repeat(1000);
    database.execute(&format!("UPDATE server_settings SET value = '{long}' WHERE field = 's'"));
    database.execute("INSERT INTO file_to_queue (fid, type, nexttry, arg) VALUES (7, 2, 0, 'a')");
    assert_eq!(Store::setup(&database.settings()), Ok(SetupOutcome::AlreadyCurrent));
}

#[test]
fn c07_version_5() {
    on_each(|database| upgrades(database, 5));
}

#[test]
fn c07_version_8() {
    on_each(|database| upgrades(database, 8));
}

#[test]
fn c07_version_9() {
    on_each(|database| upgrades(database, 9));
}

#[test]
fn c07_version_12() {
    on_each(|database| upgrades(database, 12));
}

#[test]
fn c07_version_14() {
    on_each(|database| upgrades(database, 14));
}

#[test]
fn c07_version_16() {
    on_each(|database| upgrades(database, 16));
}

/// A setup that broke off in the middle has left some steps undone; the next one does only those.
#[test]
fn c10_an_upgrade_that_broke_off_is_completed() {
    on_each(|database| {
        take_back(database, 8);
        fill(database);
        database.execute("ALTER TABLE class ADD COLUMN replpolicy VARCHAR(255)");
        database.execute(
            "CREATE TABLE file_to_delete2 (fid INT NOT NULL PRIMARY KEY, nexttry INT NOT NULL, \
            failcount SMALLINT NOT NULL DEFAULT 0)",
        );
        let before = contents(database);
        assert_eq!(Store::setup(&database.settings()), Ok(SetupOutcome::Upgraded { from: 8 }));
        assert_eq!(contents(database), before);
        assert!(
            !complaints(database).iter().any(|complaint| complaint.starts_with("error")),
            "{:?}",
            complaints(database)
        );
    });
}

/// The reference adds neither on SQLite when it upgrades, and says 17.
#[test]
fn version_17_that_lacks_something_is_completed() {
    on_each(|database| {
        take_back(database, 17);
        fill(database);
        database.execute("ALTER TABLE file_to_queue DROP COLUMN arg");
        assert_eq!(Store::setup(&database.settings()), Ok(SetupOutcome::Completed));
        assert_eq!(complaints(database), [""; 0]);
        assert_eq!(Store::setup(&database.settings()), Ok(SetupOutcome::AlreadyCurrent));
    });
}

/// New tables of an old installation have fids as its `file` has them, and all of it works (C08).
#[test]
fn c08_narrow_fids_and_further_columns() {
    on_each(|database| {
        take_back(database, 8);
        let (narrow, further) = match database.backend {
            Backend::Sqlite => return,
            Backend::Mysql => {
                ("MODIFY fid INT UNSIGNED NOT NULL", "ALTER TABLE host ADD COLUMN remoteroot VARCHAR(60)")
            }
            Backend::Postgres => ("ALTER fid TYPE INTEGER", "ALTER TABLE host ADD COLUMN remoteroot VARCHAR(60)"),
        };
        for table in ["file", "file_on", "file_to_replicate", "file_to_delete"] {
            database.execute(&format!("ALTER TABLE {table} {narrow}"));
        }
        database.execute(further);
        if database.backend == Backend::Mysql {
            database.execute("ALTER TABLE file ENGINE=MyISAM");
        }
        fill(database);
        assert_eq!(Store::setup(&database.settings()), Ok(SetupOutcome::Upgraded { from: 8 }));
        let is_narrow = "SELECT COUNT(*) AS n FROM information_schema.columns WHERE table_name = 'checksum' \
                         AND column_name = 'fid' AND data_type IN ('int', 'integer')";
        let here = match database.backend {
            Backend::Mysql => " AND table_schema = DATABASE()",
            _ => "",
        };
        assert_eq!(database.number(&format!("{is_narrow}{here}")), 1);
        let complaints = complaints(database);
        assert!(complaints.iter().all(|complaint| complaint.contains("MyISAM")), "{complaints:?}");
        let store = Store::open(&database.settings(), slog::Logger::root(slog::Discard, slog::o!())).expect("opens");
        store.close();
    });
}

#[test]
fn a_newer_version_is_left_alone() {
    on_each(|database| {
        take_back(database, 8);
        database.execute("UPDATE server_settings SET value = '18' WHERE field = 'schema_version'");
        match Store::setup(&database.settings()) {
            Err(StoreError::Schema(text)) => assert!(text.contains("18") && text.contains("17"), "{text}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(database.number("SELECT COUNT(*) AS n FROM server_settings WHERE value = '18'"), 1);
        assert!(complaints(database).iter().any(|complaint| complaint.contains("file_to_queue")));
    });
}

/// An empty table in the place of one that was lost would look like a cluster without files.
#[test]
fn a_database_that_lost_its_files_is_refused() {
    on_each(|database| {
        for version in [8, 17] {
            let database = &Database::create(database.backend);
            take_back(database, version);
            database.execute("DROP TABLE file");
            match Store::setup(&database.settings()) {
                Err(StoreError::Schema(text)) => assert!(text.contains("`file`"), "{text}"),
                other => panic!("{other:?}"),
            }
            assert!(Store::check(&database.settings()).expect("a report").count(Severity::Error) > 0);
        }
    });
}

/// Two setups at once take turns, and both end well.
#[test]
fn setups_take_turns() {
    on_each(|database| {
        take_back(database, 8);
        let settings = database.settings();
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let setups: Vec<_> = (0..3).map(|_| scope.spawn(|| Store::setup(&settings))).collect();
            setups.into_iter().map(|setup| setup.join().expect("no panic").expect("set up")).collect()
        });
        let upgraded = outcomes.iter().filter(|outcome| **outcome == SetupOutcome::Upgraded { from: 8 }).count();
        assert_eq!(upgraded, 1, "{outcomes:?}");
        assert_eq!(complaints(database), [""; 0]);
    });
}
