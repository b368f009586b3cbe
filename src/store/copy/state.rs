//! How far a copy has come: a table of the target, which goes when the copy is whole.
//!
//! While it is there the target has no schema version, so that nothing takes it for a database that can be worked with.

use super::rows::{Statement, Value};
use super::side::first_text;
use crate::store::connection::{Backend, StoreConnection};
use crate::store::error::{StoreError, StoreResult};
use serde::{Deserialize, Serialize};

/// The table. Its name is known to `setup` and `check`, too.
pub const STATE_TABLE: &str = "mogilefs_copy";

/// Row of the table that says where the copy comes from; the others have the names of tables.
const SOURCE: &str = ":source";

/// How far one table is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The numbers of the last row that was copied.
    pub(super) last: Option<Vec<i64>>,
    pub(super) rows: u64,
    pub(super) is_whole: bool,
}

impl Progress {
    /// As a position in the table.
    pub(super) fn position(&self) -> Option<Vec<Value>> {
        self.last.as_ref().map(|last| last.iter().map(|&number| Value::Int(number)).collect())
    }

    pub(super) fn advance(&mut self, last: Option<Vec<Value>>, rows: usize, is_whole: bool) {
        if let Some(last) = last {
            let numbers = last.into_iter().map(|value| if let Value::Int(number) = value { number } else { 0 });
            self.last = Some(numbers.collect());
        }
        self.rows += rows as u64;
        self.is_whole = is_whole;
    }
}

pub(super) fn create(conn: &mut StoreConnection, source: &str) -> StoreResult<()> {
    let engine = if conn.backend() == Backend::Mysql { " ENGINE=InnoDB" } else { "" };
    let definition = format!(
        "CREATE TABLE IF NOT EXISTS {STATE_TABLE} (name VARCHAR(64) NOT NULL PRIMARY KEY, state TEXT NOT NULL){engine}"
    );
    Statement::new(definition).execute(conn)?;
    store_text(conn, SOURCE, source)
}

pub(super) fn drop_table(conn: &mut StoreConnection) -> StoreResult<()> {
    Statement::new(format!("DROP TABLE {STATE_TABLE}")).execute(conn).map(drop)
}

/// Which database is being copied into this one.
pub(super) fn source(conn: &mut StoreConnection) -> StoreResult<Option<String>> {
    load_text(conn, SOURCE)
}

pub(super) fn load(conn: &mut StoreConnection, table: &str) -> StoreResult<Progress> {
    match load_text(conn, table)? {
        None => Ok(Progress::default()),
        Some(text) => serde_json::from_str(&text)
            .map_err(|error| StoreError::Other(format!("the table {STATE_TABLE} cannot be read: {error}"))),
    }
}

pub(super) fn store(conn: &mut StoreConnection, table: &str, progress: &Progress) -> StoreResult<()> {
    let text = serde_json::to_string(progress).map_err(|error| StoreError::Other(error.to_string()))?;
    store_text(conn, table, &text)
}

fn load_text(conn: &mut StoreConnection, name: &str) -> StoreResult<Option<String>> {
    let mut statement = Statement::new(format!("SELECT state AS t FROM {STATE_TABLE} WHERE name = "));
    statement.text(conn.backend(), name.into());
    Ok(first_text(statement.rows(conn)?))
}

fn store_text(conn: &mut StoreConnection, name: &str, state: &str) -> StoreResult<()> {
    let backend = conn.backend();
    let mut statement = Statement::new(format!("DELETE FROM {STATE_TABLE} WHERE name = "));
    statement.text(backend, name.into());
    statement.execute(conn)?;
    let mut statement = Statement::new(format!("INSERT INTO {STATE_TABLE} (name, state) VALUES ("));
    statement.text(backend, name.into());
    statement.sql(", ");
    statement.text(backend, state.into());
    statement.sql(")");
    statement.execute(conn).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_kept_as_text() {
        let mut progress = Progress::default();
        assert_eq!(progress.position(), None);
        progress.advance(Some(vec![Value::Int(7), Value::Int(3)]), 2, false);
        progress.advance(None, 0, true);
        let text = serde_json::to_string(&progress).expect("written");
        assert_eq!(serde_json::from_str::<Progress>(&text).expect("read"), progress);
        assert_eq!(progress.position(), Some(vec![Value::Int(7), Value::Int(3)]));
        assert!(progress.is_whole && progress.rows == 2);
    }
}
