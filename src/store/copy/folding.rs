//! Keys that are different in the source and one in the target, because its collation has them so: only MySQL does that, and
//! only MySQL knows which (database.md 1.6). So the keys go into a temporary table of the target, which goes with the session.

use super::examine::{Destination, Obstacles};
use super::rows::{Row, Statement, Value, is_text, quoted};
use super::side::PAGE_ROWS;
use crate::store::connection::Backend;
use crate::store::error::StoreResult;
use crate::store::expected::{ExpectedTable, Kind};

/// The unique keys of one table that have a text, each with a table of its own.
pub(super) struct Folding {
    table: &'static ExpectedTable,
    name: String,
    /// Places of the columns of the key.
    places: Vec<usize>,
}

impl Folding {
    /// What has to be looked at of a table; makes the temporary tables.
    pub(super) fn of(target: &mut Destination<'_>, table: &'static ExpectedTable) -> StoreResult<Vec<Self>> {
        let mut foldings = Vec::new();
        if target.backend != Backend::Mysql {
            return Ok(foldings);
        }
        for (n, columns) in table.unique.iter().enumerate() {
            let place = |name: &&str| table.columns.iter().position(|column| column.name == *name);
            let places: Vec<usize> = columns.iter().filter_map(place).collect();
            let may_fold = places.iter().any(|&place| {
                let column = &table.columns[place];
                is_text(column.kind) && !is_exact(target, table.name, column.name)
            });
            let Some(conn) = target.conn.as_deref_mut().filter(|_| may_fold) else { continue };
            let folding = Self { table, name: format!("mogilefs_copy_{}_{n}", table.name), places };
            let is_there = target.catalog.table(table.name).is_some();
            for statement in folding.definition(is_there) {
                Statement::new(statement).execute(conn)?;
            }
            foldings.push(folding);
        }
        Ok(foldings)
    }

    fn columns(&self) -> Vec<String> {
        self.places.iter().map(|&place| quoted(Backend::Mysql, self.table.columns[place].name)).collect()
    }

    /// The columns have the collation of the target's table, or that of its database.
    fn definition(&self, is_there: bool) -> Vec<String> {
        let columns = self.columns().join(", ");
        let made = match is_there {
            true => {
                format!("CREATE TEMPORARY TABLE {} AS SELECT {columns} FROM `{}` LIMIT 0", self.name, self.table.name)
            }
            false => {
                let column = |&place: &usize| {
                    let column = &self.table.columns[place];
                    let name = quoted(Backend::Mysql, column.name);
                    match column.kind {
                        Kind::Text(length) | Kind::Key(length) => format!("{name} VARCHAR({length})"),
                        _ => format!("{name} BIGINT"),
                    }
                };
                let columns: Vec<String> = self.places.iter().map(column).collect();
                format!("CREATE TEMPORARY TABLE {} ({})", self.name, columns.join(", "))
            }
        };
        // What it is called here, for people; then how the target compares.
        vec![made, format!("ALTER TABLE {} ADD COLUMN named VARCHAR(255), ADD KEY ({columns})", self.name)]
    }

    /// Takes rows in the form of the target, with their names. Without a value in the key nothing is one with another.
    pub(super) fn feed(&mut self, target: &mut Destination<'_>, rows: &[(String, Row)]) -> StoreResult<()> {
        let Some(conn) = target.conn.as_deref_mut() else { return Ok(()) };
        let is_whole = |row: &Row| !self.places.iter().any(|&place| row[place] == Value::Null);
        for rows in rows.chunks(PAGE_ROWS) {
            let rows: Vec<_> = rows.iter().filter(|(_, row)| is_whole(row)).collect();
            if rows.is_empty() {
                continue;
            }
            let mut statement =
                Statement::new(format!("INSERT INTO {} ({}, named) VALUES ", self.name, self.columns().join(", ")));
            for (n, (name, row)) in rows.into_iter().enumerate() {
                statement.sql(if n == 0 { "(" } else { ", (" });
                for &place in &self.places {
                    statement.value(Backend::Mysql, row[place].clone());
                    statement.sql(", ");
                }
                statement.text(Backend::Mysql, name.clone().into_bytes());
                statement.sql(")");
            }
            statement.execute(conn)?;
        }
        Ok(())
    }

    /// Says which are one, and puts the temporary table away.
    pub(super) fn finish(self, target: &mut Destination<'_>, obstacles: &mut Obstacles) -> StoreResult<()> {
        let Some(conn) = target.conn.as_deref_mut() else { return Ok(()) };
        let columns = self.columns().join(", ");
        let groups = format!("SELECT COUNT(*) AS n FROM {} GROUP BY {columns} HAVING COUNT(*) > 1", self.name);
        let folded =
            Statement::new(format!("SELECT CAST(COALESCE(SUM(n - 1), 0) AS SIGNED) AS i FROM ({groups}) AS g"));
        let folded = u64::try_from(folded.number(conn)?.unwrap_or(0)).unwrap_or(0);
        if folded > 0 {
            let texts: Vec<usize> =
                self.places.iter().copied().filter(|&place| is_text(self.table.columns[place].kind)).collect();
            let text = texts.first().map_or("", |&place| self.table.columns[place].name);
            let shown = format!(
                "SELECT CONCAT(MIN(named), ' and ', MAX(named), ': ', \
                 CAST(MIN({0}) AS CHAR), '; ', CAST(MAX(BINARY {0}) AS CHAR)) AS t \
                 FROM {1} GROUP BY {columns} HAVING COUNT(*) > 1 LIMIT 5",
                quoted(Backend::Mysql, text),
                self.name
            );
            let examples = Statement::new(shown).rows(conn)?;
            let reason = "one and the same in the target, by its collation, with another that is different here";
            obstacles.add_many(format!("{}.{text}", self.table.name), reason.to_owned(), folded, |_| {
                examples.iter().flatten().map(plain).collect()
            });
        }
        Statement::new(format!("DROP TEMPORARY TABLE {}", self.name)).execute(conn)?;
        Ok(())
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
        other => other.to_string(),
    }
}

/// Does the column compare bytes? (A collation that ends with `_bin` still passes over blanks at the end.)
fn is_exact(target: &Destination<'_>, table: &str, column: &str) -> bool {
    let Some(column) = target.catalog.column(table, column) else { return false };
    match column.collation.as_deref() {
        None => true,
        Some(collation) => collation.eq_ignore_ascii_case("binary"),
    }
}
