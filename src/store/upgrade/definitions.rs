//! Tables and indexes that are missing, from the texts that make new databases.

use super::Step;
use crate::store::check_catalog::Catalog;
use crate::store::connection::Backend;
use crate::store::expected_types::largest_number;

/// Tables that may be too large to be given an index in passing.
const LARGE: [&str; 2] = ["file", "file_on"];

fn text(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => include_str!("../../../migrations/sqlite/2020-01-01-000017_schema_17/up.sql"),
        Backend::Mysql => include_str!("../../../migrations/mysql/2020-01-01-000017_schema_17/up.sql"),
        Backend::Postgres => include_str!("../../../migrations/postgres/2020-01-01-000017_schema_17/up.sql"),
    }
}

/// What makes the missing tables, in the order of the text, and the missing indexes.
pub(super) fn missing(backend: Backend, catalog: &Catalog, version: i64, wants_wide_fids: bool) -> Vec<Step> {
    let is_narrow = has_narrow_fids(backend, catalog) && !wants_wide_fids;
    let mut steps = Vec::new();
    for statement in statements(text(backend)) {
        let Some(what) = described(&statement) else { continue };
        let step = match what {
            Statement::Table(table) if catalog.table(table).is_none() => {
                let sql = if is_narrow { with_narrow_fids(backend, &statement) } else { statement.clone() };
                Step::new(format!("makes the table {table}"), sql)
            }
            Statement::Index { table, columns } if is_wanted(catalog, version, table, &columns) => {
                Step::new(format!("makes an index of {table} on ({})", columns.join(", ")), statement.clone())
            }
            Statement::Table(_) | Statement::Index { .. } => continue,
        };
        steps.push(step);
    }
    steps
}

/// A setup that broke off may have left any table without its index.
fn is_wanted(catalog: &Catalog, version: i64, table: &str, columns: &[&str]) -> bool {
    match catalog.table(table) {
        None => true,
        Some(_) if version > 0 && LARGE.contains(&table) => false,
        Some(there) => !there.has_index(columns),
    }
}

fn has_narrow_fids(backend: Backend, catalog: &Catalog) -> bool {
    let fid = catalog.column("file", "fid").and_then(|column| largest_number(backend, &column.sql_type));
    fid.is_some_and(|largest| largest < i64::MAX)
}

fn with_narrow_fids(backend: Backend, statement: &str) -> String {
    match backend {
        Backend::Sqlite => statement.to_owned(),
        Backend::Mysql => statement.replace("fid BIGINT UNSIGNED", "fid INT UNSIGNED"),
        Backend::Postgres => statement.replace("fid BIGINT", "fid INTEGER"),
    }
}

/// The texts are ours: one statement ends with `;` at the end of a line, comments have lines of their own.
fn statements(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("--")).collect();
    let statements = lines.join("\n");
    statements.split(";\n").map(|statement| statement.trim().trim_end_matches(';').to_owned()).collect()
}

enum Statement<'a> {
    Table(&'a str),
    Index { table: &'a str, columns: Vec<&'a str> },
}

fn described(statement: &str) -> Option<Statement<'_>> {
    if let Some(rest) = statement.strip_prefix("CREATE TABLE IF NOT EXISTS ") {
        return rest.split([' ', '(']).next().map(Statement::Table);
    }
    let (_, rest) = statement.strip_prefix("CREATE INDEX IF NOT EXISTS ")?.split_once(" ON ")?;
    let (table, columns) = rest.trim_end_matches(')').split_once(" (")?;
    Some(Statement::Index { table, columns: columns.split(", ").collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_is_understood() {
        for backend in [Backend::Sqlite, Backend::Mysql, Backend::Postgres] {
            for statement in statements(text(backend)).iter().filter(|statement| !statement.is_empty()) {
                assert!(described(statement).is_some(), "{}: {statement}", backend.name());
            }
        }
    }
}
