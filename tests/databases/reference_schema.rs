//! What our setup makes, held against a dump of what the reference's makes (database.md 1.4): its setup and its trackers find
//! what they look for, to the names of keys (C03). The reference itself cannot be run here.

use crate::support::{Database, on_each};
use mogilefs::store::{Backend, Store};
use std::collections::BTreeSet;

/// Three spellings of one schema; its first lines say how to read it.
const DUMP: &str = include_str!("schema_17.txt");

/// What the dump says of one kind of database: `table.column type NULL default`, `unique table (columns) name`,
/// `check table name`.
fn expected(backend: Backend) -> BTreeSet<String> {
    let lines = DUMP.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| expected_line(backend, line)).collect()
}

fn expected_line(backend: Backend, line: &str) -> Option<String> {
    let parts: Vec<&str> = line.split('|').map(str::trim).collect();
    let place = match backend {
        Backend::Mysql => 1,
        Backend::Postgres => 2,
        Backend::Sqlite => 3,
    };
    let what = parts[0];
    if what.starts_with("check ") {
        return (backend == Backend::Postgres).then(|| what.to_owned());
    }
    let ours = parts.get(place).copied().filter(|own| *own != "-")?;
    if what.starts_with("unique ") || what.starts_with("index ") {
        return Some(format!("{what} {ours}"));
    }
    // A primary key, which takes NULL there.
    let takes_null = backend == Backend::Sqlite && what == "server_settings.field";
    let null = if takes_null { "NULL" } else { parts[4] };
    Some(format!("{what} {ours} {null} {}", parts[5]))
}

/// The same of what is there.
fn found(database: &Database) -> BTreeSet<String> {
    let questions: &[&str] = match database.backend {
        Backend::Mysql => &[
            "SELECT CAST(CONCAT(table_name, '.', column_name, ' ', \
             REGEXP_REPLACE(column_type, '(int)\\\\([0-9]+\\\\)', '\\\\1'), IF(is_nullable = 'YES', ' NULL ', ' NOT NULL '), \
             IF(extra LIKE '%auto_increment%', 'counted', REPLACE(COALESCE(column_default, 'NULL'), 'NULL', ''))) AS CHAR) AS t \
             FROM information_schema.columns WHERE table_schema = DATABASE()",
            "SELECT CAST(CONCAT(IF(non_unique = 0, 'unique ', 'index '), table_name, ' (', \
             GROUP_CONCAT(column_name ORDER BY seq_in_index), ') ', index_name) AS CHAR) AS t \
             FROM information_schema.statistics WHERE table_schema = DATABASE() \
             GROUP BY table_name, index_name, non_unique",
        ],
        Backend::Postgres => &[
            "SELECT table_name || '.' || attname || ' ' || format_type(atttypid, atttypmod) || \
             CASE WHEN attnotnull THEN ' NOT NULL ' ELSE ' NULL ' END || \
             CASE WHEN pg_get_expr(adbin, adrelid) LIKE 'nextval(%' THEN 'counted' \
             ELSE COALESCE(pg_get_expr(adbin, adrelid), '') END AS t \
             FROM information_schema.tables JOIN pg_attribute ON attrelid = to_regclass('\"' || table_name || '\"') \
             LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum \
             WHERE table_schema = 'public' AND attnum > 0 AND NOT attisdropped",
            "SELECT CASE WHEN indisunique THEN 'unique ' ELSE 'index ' END || t.relname || ' (' || \
             (SELECT string_agg(attname, ',' ORDER BY place) FROM unnest(indkey) WITH ORDINALITY AS k (num, place) \
             JOIN pg_attribute ON attrelid = indrelid AND attnum = num) || ') ' || i.relname AS t \
             FROM pg_index JOIN pg_class t ON t.oid = indrelid JOIN pg_class i ON i.oid = indexrelid \
             JOIN pg_namespace n ON n.oid = t.relnamespace WHERE nspname = 'public'",
            "SELECT 'check ' || t.relname || ' ' || conname AS t FROM pg_constraint JOIN pg_class t ON t.oid = conrelid \
             JOIN pg_namespace n ON n.oid = t.relnamespace WHERE contype = 'c' AND nspname = 'public'",
        ],
        Backend::Sqlite => &[
            "SELECT m.name || '.' || p.name || ' ' || lower(p.type) || \
             CASE WHEN p.\"notnull\" THEN ' NOT NULL ' ELSE ' NULL ' END || \
             CASE WHEN p.pk = 1 AND m.sql LIKE '%AUTOINCREMENT%' THEN 'counted' ELSE COALESCE(p.dflt_value, '') END AS t \
             FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table'",
            "SELECT CASE WHEN l.\"unique\" THEN 'unique ' ELSE 'index ' END || m.name || ' (' || \
             (SELECT group_concat(i.name, ',') FROM pragma_index_info(l.name) i) || ') ' || \
             CASE WHEN l.name LIKE 'sqlite_autoindex%' THEN '*' ELSE l.name END AS t \
             FROM sqlite_master m JOIN pragma_index_list(m.name) l WHERE m.type = 'table'",
        ],
    };
    let lines = questions.iter().flat_map(|question| database.texts(question));
    // Tables of ours, and SQLite's own.
    let is_reference = |line: &String| !line.contains("mogilefs_") && !line.contains("sqlite_sequence");
    lines.filter(is_reference).collect()
}

#[test]
fn c03_our_schema_is_that_of_the_reference() {
    on_each(|database| {
        Store::setup(&database.settings()).expect("set up");
        let (expected, found) = (expected(database.backend), found(database));
        let missing: Vec<_> = expected.difference(&found).collect();
        let further: Vec<_> = found.difference(&expected).collect();
        assert!(missing.is_empty() && further.is_empty(), "missing: {missing:#?}\nfurther: {further:#?}");
        // What the reference's setup and trackers compare.
        let rows = database.texts("SELECT value AS t FROM server_settings WHERE field = 'schema_version'");
        assert_eq!(rows, ["17"]);
        assert_eq!(database.number("SELECT COUNT(*) AS n FROM server_settings"), 1);
    });
}
