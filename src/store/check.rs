//! Holding a database against the schema that this program works with (`mogilefs db check`). Changes nothing.
//!
//! Schemas that 2.73 legitimately leaves behind are right: other names of keys, other orders of columns, further columns and
//! tables, narrower fids, MyISAM. What of that has a price is said as a warning or a note.

use super::check_catalog::{Catalog, Column, Table};
use super::connection::{self, Backend, Purpose, StoreConnection, connect};
use super::copy::STATE_TABLE;
use super::error::StoreResult;
use super::expected::{ExpectedColumn, ExpectedTable, Kind, Role, TABLES};
use super::expected_types::{enum_words, largest_number, longest_text, most_bytes, quoted_words};
use super::key_form::KeyForm;
use super::setup::{SCHEMA_VERSION, version_in};
use super::{files, key_sample, tables};
use crate::ids::Fid;
use crate::settings::DatabaseSettings;

/// How much a difference matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something that trackers do will fail.
    Error,
    /// It works, with less than it could, or not for ever.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// A table, or `table.column`; empty for the whole database.
    pub place: String,
    /// What it is, and what it means.
    pub text: String,
}

/// What `db check` found.
#[derive(Clone, Debug)]
pub struct SchemaReport {
    pub backend: Backend,
    /// 0: not set up.
    pub version: i64,
    /// The worst first.
    pub findings: Vec<Finding>,
}

impl SchemaReport {
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// See `Store::check`.
pub(super) fn check(settings: &DatabaseSettings) -> StoreResult<SchemaReport> {
    let mut conn = connect(&connection::location(settings)?, settings, Purpose::Read)?;
    let catalog = Catalog::read(&mut conn)?;
    let version = version_in(&mut conn, &catalog)?;
    let backend = conn.backend();
    let mut findings = Vec::new();
    if version != SCHEMA_VERSION {
        let remedy = match version {
            0 if catalog.table(STATE_TABLE).is_some() => ": a copy into it has not ended, see `mogilefs db copy`",
            ..SCHEMA_VERSION => ": run `mogilefs db setup`",
            _ => ": a newer program is needed",
        };
        let text = format!("has schema version {version}, and {SCHEMA_VERSION} is needed{remedy}");
        findings.push(Finding { severity: Severity::Error, place: String::new(), text });
    }
    findings.extend(differences(backend, &catalog));
    findings.extend(key_sample::findings(&mut conn, &catalog, settings)?);
    findings.extend(headroom(&mut conn, &catalog)?);
    // Stable: within a severity in the order of the tables.
    findings.sort_by_key(|finding| finding.severity);
    Ok(SchemaReport { backend, version, findings })
}

/// Fids left to be given out: the narrowest column decides.
fn headroom(conn: &mut StoreConnection, catalog: &Catalog) -> StoreResult<Option<Finding>> {
    if catalog.column("file", "fid").is_none() || !tables::exists(conn, "file")? {
        return Ok(None);
    }
    let used = files::max_fid(conn)?.unwrap_or(Fid(0)).0;
    let limits = TABLES.iter().filter(|table| table.role != Role::Ours).filter_map(|table| {
        let column = catalog.column(table.name, "fid")?;
        Some((largest_number(conn.backend(), &column.sql_type)?, table.name))
    });
    Ok(limits.min().and_then(|(limit, table)| shortage(used, limit, table)))
}

fn shortage(used: i64, limit: i64, table: &str) -> Option<Finding> {
    let severity = match used {
        used if used >= limit => Severity::Error,
        used if used / 3 >= limit / 4 => Severity::Warning,
        _ => return None,
    };
    let text = format!("holds fids up to {limit}, and {used} is in use: new files need a wider column then");
    Some(Finding { severity, place: format!("{table}.fid"), text })
}

/// Everything that is not as expected.
fn differences(backend: Backend, catalog: &Catalog) -> Vec<Finding> {
    let mut findings = Vec::new();
    for expected in TABLES {
        match catalog.table(expected.name) {
            Some(table) => Comparison { backend, expected, table, findings: &mut findings }.run(),
            None => findings.extend(missing_table(backend, expected)),
        }
    }
    findings
}

fn missing_table(backend: Backend, expected: &ExpectedTable) -> Option<Finding> {
    let (severity, text) = match (expected.role, backend) {
        (Role::Root, _) => (Severity::Error, "is missing: this database is not set up, or damaged"),
        (Role::Needed, _) | (Role::Locks, Backend::Sqlite) => {
            (Severity::Error, "is missing: `mogilefs db setup` makes it")
        }
        (Role::Locks, Backend::Mysql) => return None,
        (Role::Unused, _) | (Role::Locks, Backend::Postgres) => (Severity::Note, "is missing; nobody uses it"),
        (Role::Ours, _) => (
            Severity::Note,
            "is missing: what 2.73 does not have and needs it is not there; `mogilefs db setup` makes it",
        ),
    };
    Some(Finding { severity, place: expected.name.to_owned(), text: text.to_owned() })
}

/// Names and keys are equal by the collation of their columns (D11), and may need characters that these do not have.
pub(super) fn collations(backend: Backend, catalog: &Catalog, form: KeyForm) -> Vec<Finding> {
    let mut findings = Vec::new();
    if backend != Backend::Mysql {
        return findings;
    }
    for (table, column) in [("domain", "namespace"), ("class", "classname"), ("file", "dkey")] {
        let Some(collation) = catalog.column(table, column).and_then(|column| column.collation.as_deref()) else {
            continue;
        };
        let mut add = |text| {
            let place = format!("{table}.{column}");
            findings.push(Finding { severity: Severity::Warning, place, text });
        };
        // A connection of single bytes has nothing that latin1 does not have.
        let holds_all = collation.starts_with("utf8")
            || collation.eq_ignore_ascii_case("binary")
            || collation.starts_with("latin1") && form == KeyForm::Cp1252;
        if !holds_all {
            add(format!("has the collation {collation}, whose character set does not hold all that clients may send"));
        }
        if !collation.ends_with("_bin") && !collation.eq_ignore_ascii_case("binary") {
            add(format!(
                "has the collation {collation}: what differs in case, accents or trailing blanks only may be one and the \
                 same, so that one file overwrites another, as with 2.73"
            ));
        }
    }
    findings
}

/// One table, held against what is expected of it.
struct Comparison<'a> {
    backend: Backend,
    expected: &'a ExpectedTable,
    table: &'a Table,
    findings: &'a mut Vec<Finding>,
}

impl Comparison<'_> {
    fn run(&mut self) {
        self.engine();
        for expected in self.expected.columns {
            match self.table.column(expected.name) {
                Some(column) => self.column(expected, column),
                None => self.add(Severity::Error, expected.name, "is missing: `mogilefs db setup` adds it"),
            }
        }
        self.further_columns();
        self.keys();
    }

    /// An empty column means the table.
    fn add(&mut self, severity: Severity, column: &str, text: impl Into<String>) {
        let table = self.expected.name;
        let place = if column.is_empty() { table.to_owned() } else { format!("{table}.{column}") };
        self.findings.push(Finding { severity, place, text: text.into() });
    }

    fn engine(&mut self) {
        let Some(engine) = self.table.engine.as_deref() else { return };
        if !engine.eq_ignore_ascii_case("innodb") {
            self.add(
                Severity::Warning,
                "",
                format!(
                    "is a {engine} table, which has no transactions: what a crash interrupts stays half done \
                     (ALTER TABLE {} ENGINE=InnoDB)",
                    self.expected.name
                ),
            );
        }
    }

    fn column(&mut self, expected: &ExpectedColumn, column: &Column) {
        self.kind(expected, column);
        if expected.is_null && !column.is_null {
            self.add(Severity::Error, expected.name, "must take NULL, and does not");
        } else if !expected.is_null && column.is_null {
            self.add(Severity::Note, expected.name, "takes NULL, which nobody stores there");
        }
        self.default(expected, column);
        if expected.is_counted && !column.is_counted {
            self.add(Severity::Error, expected.name, "does not count up by itself: nothing new can be numbered");
        }
    }

    fn default(&mut self, expected: &ExpectedColumn, column: &Column) {
        let Some(wanted) = expected.default else { return };
        match column.default.as_deref() {
            Some(default) if default == wanted => {}
            Some(default) => self.add(
                Severity::Warning,
                expected.name,
                format!("is {default} where nothing is said; {wanted} is expected"),
            ),
            None if expected.is_null => {
                self.add(Severity::Warning, expected.name, format!("has no default; {wanted} is expected"));
            }
            None => self.add(Severity::Error, expected.name, format!("has no default; {wanted} is needed")),
        }
    }

    fn kind(&mut self, expected: &ExpectedColumn, column: &Column) {
        match expected.kind {
            Kind::Fid => self.number(expected, column, "bigint", Severity::Note),
            Kind::Number(mysql, postgres) => {
                let wanted = if self.backend == Backend::Postgres { postgres } else { mysql };
                self.number(expected, column, wanted, Severity::Warning);
            }
            Kind::Text(length) | Kind::Key(length) => self.text(expected, column, length),
            Kind::LongText => self.text(expected, column, 65_535),
            Kind::Words(words) => self.words(expected, column, words),
            Kind::Bytes(length) => {
                let fits = most_bytes(self.backend, &column.sql_type).is_some_and(|most| most >= length);
                if !fits {
                    self.other_type(expected, column, &format!("{length} bytes"));
                }
            }
        }
    }

    fn other_type(&mut self, expected: &ExpectedColumn, column: &Column, wanted: &str) {
        let text = format!("is of the type {}, which does not hold {wanted}", column.sql_type);
        self.add(Severity::Error, expected.name, text);
    }

    fn number(&mut self, expected: &ExpectedColumn, column: &Column, wanted: &str, if_narrow: Severity) {
        let Some(largest) = largest_number(self.backend, &column.sql_type) else {
            self.other_type(expected, column, "whole numbers");
            return;
        };
        if self.backend == Backend::Sqlite {
            return;
        }
        if largest_number(self.backend, wanted).is_some_and(|wanted| largest < wanted) {
            let text = format!("is of the type {} instead of {wanted}: {largest} at most", column.sql_type);
            self.add(if_narrow, expected.name, text);
        }
    }

    fn text(&mut self, expected: &ExpectedColumn, column: &Column, length: u64) {
        match longest_text(self.backend, &column.sql_type) {
            Some(longest) if longest >= length => {}
            Some(longest) => {
                let text = format!("takes {longest} characters; {length} are expected");
                self.add(Severity::Error, expected.name, text);
            }
            None => self.other_type(expected, column, "text"),
        }
    }

    fn words(&mut self, expected: &ExpectedColumn, column: &Column, words: &[&str]) {
        let missing_in = |known: &[&str]| words.iter().copied().filter(|word| !known.contains(word)).collect();
        let missing: Vec<&str> = match enum_words(&column.sql_type) {
            Some(known) => missing_in(&known),
            None => {
                let longest = words.iter().map(|word| word.len() as u64).max().unwrap_or_default();
                self.text(expected, column, longest);
                let of_column = |columns: &[String]| columns == [expected.name];
                let checks = self.table.checks.iter().filter(|check| of_column(&check.columns));
                checks.flat_map(|check| missing_in(&quoted_words(&check.definition))).collect()
            }
        };
        if !missing.is_empty() {
            let text = format!("does not take the status {}: `mogilefs db setup` adds it", missing.join(", "));
            self.add(Severity::Error, expected.name, text);
        }
    }

    fn further_columns(&mut self) {
        let table = self.table;
        let is_known = |name: &str| self.expected.columns.iter().any(|expected| expected.name == name);
        let further: Vec<&Column> = table.columns.iter().filter(|column| !is_known(&column.name)).collect();
        for column in further {
            if column.is_null || column.default.is_some() || column.is_counted {
                self.add(Severity::Note, &column.name, "is a further column, which is left alone");
            } else {
                let text = "is a further column that must be given a value: no row can be added to this table";
                self.add(Severity::Error, &column.name, text);
            }
        }
    }

    fn keys(&mut self) {
        for columns in self.expected.unique {
            if !self.table.has_unique(columns) {
                let text =
                    format!("has no unique key on ({}): rows that must be one can be several", columns.join(", "));
                self.add(Severity::Error, "", text);
            }
        }
        for key in &self.table.keys {
            let is_expected = self.expected.unique.iter().any(|columns| {
                columns.len() <= key.columns.len()
                    && columns.iter().all(|name| key.columns.iter().any(|own| own == name))
            });
            if key.is_unique && !is_expected {
                let text = format!("has a unique key on ({}), which may refuse rows", key.columns.join(", "));
                self.findings.push(Finding { severity: Severity::Warning, place: self.expected.name.to_owned(), text });
            }
        }
        if self.backend == Backend::Sqlite && self.expected.is_unindexed_on_sqlite {
            return;
        }
        for columns in self.expected.indexes {
            if !self.table.has_index(columns) {
                let text = format!("has no index on ({}): what looks for it reads the whole table", columns.join(", "));
                self.add(Severity::Warning, "", text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fids_that_run_out() {
        assert_eq!(shortage(10, 2_147_483_647, "tempfile"), None);
        assert_eq!(shortage(1_700_000_000, 2_147_483_647, "tempfile").map(|f| f.severity), Some(Severity::Warning));
        assert_eq!(shortage(2_147_483_647, 2_147_483_647, "tempfile").map(|f| f.severity), Some(Severity::Error));
    }

    #[test]
    fn an_empty_database_lacks_what_is_needed() {
        let findings = differences(Backend::Mysql, &Catalog::default());
        let errors: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
        assert_eq!(errors.len(), 15, "{findings:?}");
        assert!(!findings.iter().any(|finding| finding.place == "lock"));
    }
}
