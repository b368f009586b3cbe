//! Columns that older versions lack, or have narrower. Only small tables are altered.

use super::Step;
use crate::store::check_catalog::{Catalog, Table};
use crate::store::connection::Backend;
use crate::store::expected::{DEVICE_STATUS, HOST_STATUS};
use crate::store::expected_types::{enum_words, largest_number, longest_text, quoted_words};

/// A column that came with a later version, with its definition on MySQL, PostgreSQL and SQLite.
struct Added {
    table: &'static str,
    column: &'static str,
    mysql: &'static str,
    postgres: &'static str,
    sqlite: &'static str,
}

const fn added(
    table: &'static str,
    column: &'static str,
    mysql: &'static str,
    postgres: &'static str,
    sqlite: &'static str,
) -> Added {
    Added { table, column, mysql, postgres, sqlite }
}

/// By the version that brought them.
const ADDED: [Added; 8] = [
    added(
        "host",
        "http_get_port",
        "MEDIUMINT UNSIGNED AFTER http_port",
        "INT CHECK (http_get_port >= 0) CHECK (http_get_port < 65536)",
        "MEDIUMINT UNSIGNED",
    ),
    added("host", "altip", "VARCHAR(15)", "VARCHAR(15)", "VARCHAR(15)"),
    added("host", "altmask", "VARCHAR(18)", "VARCHAR(18)", "VARCHAR(18)"),
    added("device", "mb_asof", "INT UNSIGNED", "INT CHECK (mb_asof >= 0)", "INT UNSIGNED"),
    added("device", "weight", "MEDIUMINT DEFAULT 100", "INT DEFAULT 100", "MEDIUMINT DEFAULT 100"),
    added("class", "replpolicy", "VARCHAR(255)", "VARCHAR(255)", "VARCHAR(255)"),
    // The reference never adds it on SQLite.
    added("file_to_queue", "arg", "TEXT", "TEXT", "TEXT"),
    added("class", "hashtype", "TINYINT UNSIGNED", "SMALLINT", "TINYINT UNSIGNED"),
];

/// All steps that tables which are there need. Tables that are not there are made complete.
pub(super) fn steps(backend: Backend, catalog: &Catalog) -> Vec<Step> {
    let mut steps: Vec<Step> = ADDED.iter().filter_map(|added| add_column(backend, catalog, added)).collect();
    steps.extend(catalog.table("host").and_then(|host| unique_altip(backend, host)));
    for (table, words, check) in [("device", DEVICE_STATUS, "device_status_check"), ("host", HOST_STATUS, "status")] {
        steps.extend(catalog.table(table).and_then(|there| more_words(backend, table, there, words, check)));
    }
    steps.extend(longer_settings(backend, catalog));
    for column in ["mb_total", "mb_used"] {
        steps.extend(wider_megabytes(backend, catalog, column));
    }
    steps
}

fn add_column(backend: Backend, catalog: &Catalog, added: &Added) -> Option<Step> {
    let (table, column) = (added.table, added.column);
    if catalog.table(table)?.column(column).is_some() {
        return None;
    }
    let definition = match backend {
        Backend::Mysql => added.mysql,
        Backend::Postgres => added.postgres,
        Backend::Sqlite => added.sqlite,
    };
    Some(Step::new(
        format!("adds the column {table}.{column}"),
        format!("ALTER TABLE {table} ADD COLUMN {column} {definition}"),
    ))
}

fn unique_altip(backend: Backend, host: &Table) -> Option<Step> {
    if host.has_unique(&["altip"]) {
        return None;
    }
    let sql = match backend {
        Backend::Mysql => "ALTER TABLE host ADD UNIQUE KEY altip (altip)",
        Backend::Postgres => "ALTER TABLE host ADD UNIQUE (altip)",
        // A column that is added there cannot be unique by itself.
        Backend::Sqlite => "CREATE UNIQUE INDEX host_altip ON host (altip)",
    };
    Some(Step::new("makes host.altip unique", sql))
}

/// Sees to it that a status may be any of these words.
fn more_words(backend: Backend, table: &str, there: &Table, words: &[&str], check: &str) -> Option<Step> {
    let what = format!("lets {table}.status be any of {}", words.join(", "));
    match backend {
        Backend::Sqlite => None,
        Backend::Mysql => {
            let known = enum_words(&there.column("status")?.sql_type)?;
            let missing: Vec<&str> = words.iter().copied().filter(|word| !known.contains(word)).collect();
            if missing.is_empty() {
                return None;
            }
            // At the end: so rows need not be written anew, and keep their words.
            let all: Vec<String> = known.iter().chain(&missing).map(|word| format!("'{word}'")).collect();
            Some(Step::new(what, format!("ALTER TABLE {table} MODIFY COLUMN status ENUM({})", all.join(","))))
        }
        Backend::Postgres => {
            let checks: Vec<_> = there.checks.iter().filter(|check| check.columns == ["status"]).collect();
            let takes = |definition: &str| {
                let known = quoted_words(definition);
                words.iter().all(|word| known.contains(word))
            };
            if checks.iter().all(|check| takes(&check.definition)) {
                return None;
            }
            let drops = checks.iter().map(|check| format!("DROP CONSTRAINT \"{}\"", check.name.replace('"', "\"\"")));
            let list: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
            let add = format!("ADD CONSTRAINT {check} CHECK (status IN ({}))", list.join(", "));
            let changes: Vec<String> = drops.chain([add]).collect();
            Some(Step::new(what, format!("ALTER TABLE {table} {}", changes.join(", "))))
        }
    }
}

/// The state of a rebalance is longer than 255 characters.
fn longer_settings(backend: Backend, catalog: &Catalog) -> Option<Step> {
    let value = catalog.column("server_settings", "value")?;
    let is_long = longest_text(backend, &value.sql_type).is_some_and(|longest| longest >= 65_535);
    let sql = match backend {
        _ if is_long => return None,
        Backend::Sqlite => return None,
        Backend::Mysql => "ALTER TABLE server_settings MODIFY COLUMN value TEXT",
        Backend::Postgres => "ALTER TABLE server_settings ALTER COLUMN value TYPE TEXT",
    };
    Some(Step::new("lets server_settings.value be longer", sql))
}

/// 16 TiB is all that MEDIUMINT counts.
fn wider_megabytes(backend: Backend, catalog: &Catalog, column: &str) -> Option<Step> {
    let there = catalog.column("device", column)?;
    if backend != Backend::Mysql || largest_number(backend, &there.sql_type)? >= i64::from(u32::MAX) {
        return None;
    }
    Some(Step::new(
        format!("widens device.{column}"),
        format!("ALTER TABLE device MODIFY COLUMN {column} INT UNSIGNED"),
    ))
}
