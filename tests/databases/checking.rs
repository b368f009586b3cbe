//! `mogilefs db check`: what it says of schemas, and how it ends.

use crate::support::{Database, on_each};
use mogilefs::store::{Backend, Severity, Store};
use serde_json::Value;
use std::process::{Command, Output};

fn mogilefs(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mogilefs")).args(args).output().expect("the program runs")
}

fn set_up(database: &Database) {
    Store::setup(&database.settings()).expect("set up");
}

/// `severity place` of everything that is more than a note. The collation is the server's.
fn found(database: &Database) -> Vec<String> {
    let report = Store::check(&database.settings()).expect("a report");
    let found = report.findings.iter().filter(|finding| finding.severity < Severity::Note);
    let found = found.filter(|finding| !finding.text.contains("collation"));
    found.map(|finding| format!("{} {}", finding.severity.name(), finding.place)).collect()
}

/// All columns, types, keys and indexes of a new schema are those of the reference (C01).
#[test]
fn c01_a_new_schema_is_as_expected() {
    on_each(|database| {
        set_up(database);
        let report = Store::check(&database.settings()).expect("a report");
        // The collation is the server's.
        let notes = report.findings.iter().filter(|finding| !finding.text.contains("collation"));
        assert_eq!(notes.collect::<Vec<_>>().len(), 0, "{:?}", report.findings);
    });
}

/// Two sources say what a schema is: whoever adds a table to one must add it to the other.
#[test]
fn every_table_that_setup_makes_is_expected() {
    on_each(|database| {
        set_up(database);
        let tables = database.texts(match database.backend {
            Backend::Sqlite => "SELECT name AS t FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
            Backend::Mysql => {
                "SELECT CAST(table_name AS CHAR) AS t FROM information_schema.tables WHERE table_schema = DATABASE()"
            }
            Backend::Postgres => "SELECT tablename::text AS t FROM pg_catalog.pg_tables WHERE schemaname = 'public'",
        });
        assert!(tables.len() >= 20, "{tables:?}");
        for table in &tables {
            database.execute(&format!("DROP TABLE {table}"));
        }
        let report = Store::check(&database.settings()).expect("a report");
        for table in &tables {
            let is_missed = report.findings.iter().any(|finding| finding.place == *table);
            assert!(is_missed, "`db check` does not know the table {table}");
        }
    });
}

/// Each damage is seen, as what it is.
#[test]
fn damage_is_found() {
    let everywhere = [
        ("DROP TABLE checksum", "error checksum"),
        ("ALTER TABLE file_to_queue DROP COLUMN flags", "error file_to_queue.flags"),
        ("ALTER TABLE class RENAME COLUMN classname TO named", "error class.classname"),
    ];
    on_each(|database| {
        let of_this = match database.backend {
            Backend::Sqlite => [
                ("DROP INDEX devid", "warning file_on"),
                ("CREATE UNIQUE INDEX odd ON device (hostid)", "warning device"),
                (
                    "DROP TABLE tempfile; CREATE TABLE tempfile (fid INTEGER NOT NULL PRIMARY KEY, createtime INT NOT NULL, \
                     classid INT NOT NULL, dmid INT NOT NULL, dkey VARCHAR(255), devids VARCHAR(60))",
                    "error tempfile.fid",
                ),
                ("ALTER TABLE domain ADD COLUMN odd INT NOT NULL DEFAULT 1; DROP TABLE lock", "error lock"),
            ],
            Backend::Mysql => [
                ("ALTER TABLE file_on DROP KEY devid", "warning file_on"),
                ("ALTER TABLE file MODIFY length INT UNSIGNED", "warning file.length"),
                ("ALTER TABLE file DROP KEY dkey, ADD UNIQUE KEY dkey (dmid, dkey(10))", "error file"),
                ("ALTER TABLE file ENGINE=MyISAM", "warning file"),
            ],
            Backend::Postgres => [
                ("DROP INDEX file_on_devid", "warning file_on"),
                ("ALTER TABLE file ALTER length TYPE INT", "warning file.length"),
                ("ALTER TABLE tempfile ALTER fid DROP DEFAULT", "error tempfile.fid"),
                (
                    "ALTER TABLE device DROP CONSTRAINT device_status_check, ADD CHECK (status IN ('alive'))",
                    "error device.status",
                ),
            ],
        };
        for (damage, finding) in everywhere.iter().chain(&of_this) {
            let damaged = Database::create(database.backend);
            set_up(&damaged);
            damaged.execute(damage);
            let found = found(&damaged);
            assert!(found.iter().any(|seen| seen == finding), "{damage}: {found:?}");
        }
    });
}

/// What the reference leaves behind is right.
#[test]
fn other_names_and_orders_are_no_difference() {
    on_each(|database| {
        set_up(database);
        let changes = match database.backend {
            Backend::Sqlite => vec!["DROP INDEX devid", "CREATE INDEX odd ON file_on (devid, fid)"],
            Backend::Mysql => vec![
                "ALTER TABLE file_on DROP KEY devid, ADD KEY odd (devid)",
                "ALTER TABLE class MODIFY hashtype TINYINT UNSIGNED AFTER replpolicy",
                "ALTER TABLE file DROP KEY dkey, ADD UNIQUE KEY odd (dmid, dkey)",
                "ALTER TABLE checksum MODIFY fid INT UNSIGNED NOT NULL",
            ],
            Backend::Postgres => vec![
                "ALTER INDEX file_on_devid RENAME TO odd",
                "ALTER TABLE host RENAME CONSTRAINT status TO host_status_check",
                "ALTER TABLE checksum ALTER fid TYPE INT",
                "DROP TABLE lock",
            ],
        };
        for change in changes {
            database.execute(change);
        }
        database.execute("ALTER TABLE host ADD COLUMN remoteroot VARCHAR(60)");
        database.execute("CREATE TABLE somebody_elses (x INT)");
        assert_eq!(found(database), [""; 0]);
    });
}

/// The program: what it prints, and how it ends.
#[test]
fn the_command_says_what_it_did_and_found() {
    on_each(|database| {
        let url = database.url.as_str();
        let done = mogilefs(&["db", "setup", "--db", url, "--json"]);
        assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
        let told: Value = serde_json::from_slice(&done.stdout).expect("JSON");
        assert_eq!((&told["outcome"], &told["version"]), (&Value::from("created"), &Value::from(17)));

        let checked = mogilefs(&["db", "check", "--db", url]);
        assert_eq!(checked.status.code(), Some(0));
        let text = String::from_utf8_lossy(&checked.stdout).into_owned();
        // Of the server's collation, by which keys that differ may be one.
        let warnings = if database.backend == Backend::Mysql { 3 } else { 0 };
        let sums = format!("0 errors, {warnings} warnings");
        assert!(text.contains("schema version 17") && text.contains(&sums), "{text}");

        database.execute("DROP TABLE file_to_delete2");
        let checked = mogilefs(&["db", "check", "--db", url, "--json"]);
        assert_eq!(checked.status.code(), Some(1));
        let report: Value = serde_json::from_slice(&checked.stdout).expect("JSON");
        assert_eq!(report["errors"], 1);
        assert_eq!(report["findings"][0]["place"], "file_to_delete2");

        let repaired = mogilefs(&["db", "setup", "--db", url]);
        let text = String::from_utf8_lossy(&repaired.stdout).into_owned();
        assert!(text.contains("makes the table file_to_delete2"), "{text}");
        assert_eq!(mogilefs(&["db", "check", "--db", url]).status.code(), Some(0));

        database.execute("UPDATE server_settings SET value = '18' WHERE field = 'schema_version'");
        let refused = mogilefs(&["db", "setup", "--db", url]);
        assert_eq!(refused.status.code(), Some(2));
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(text.contains("18") && text.contains("17"), "{text}");
        assert_eq!(mogilefs(&["db", "check", "--db", url]).status.code(), Some(1));
    });
}
