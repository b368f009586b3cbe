//! The counters of numbered tables: what was given out by the source is never given out by the target, also when nothing
//! names it any more (database.md 3.1, D4, D30).

use super::rows::{Statement, quoted};
use super::side::Side;
use crate::store::connection::{Backend, StoreConnection};
use crate::store::error::StoreResult;
use crate::store::expected::ExpectedTable;

/// The last number that was given out, or is in use.
pub(super) fn last_number(side: &mut Side, table: &ExpectedTable, column: &str) -> StoreResult<i64> {
    let backend = side.backend();
    let used = format!("SELECT MAX({}) AS i FROM {}", quoted(backend, column), quoted(backend, table.name));
    let used = Statement::new(used).number(&mut side.conn)?.unwrap_or(0);
    // New fids come from there, whatever names them.
    let in_files = match table.name {
        "tempfile" => Statement::new(format!("SELECT MAX(fid) AS i FROM {}", quoted(backend, "file")))
            .number(&mut side.conn)?
            .unwrap_or(0),
        _ => 0,
    };
    Ok(given_out(&mut side.conn, table.name, column)?.max(used).max(in_files))
}

fn given_out(conn: &mut StoreConnection, table: &str, column: &str) -> StoreResult<i64> {
    let question = match conn.backend() {
        Backend::Sqlite => format!("SELECT seq AS i FROM sqlite_sequence WHERE name = '{table}'"),
        Backend::Mysql => format!(
            "SELECT CAST(auto_increment AS SIGNED) - 1 AS i FROM information_schema.tables \
             WHERE table_schema = DATABASE() AND table_name = '{table}'"
        ),
        Backend::Postgres => {
            let sequence = format!("SELECT pg_get_serial_sequence('\"{table}\"', '{column}')::text AS t");
            match super::side::first_text(Statement::new(sequence).rows(conn)?) {
                Some(sequence) => {
                    format!(
                        "SELECT (CASE WHEN is_called THEN last_value ELSE last_value - 1 END)::bigint AS i FROM {sequence}"
                    )
                }
                None => return Ok(0),
            }
        }
    };
    Ok(Statement::new(question).number(conn)?.unwrap_or(0))
}

/// Moves a counter so that this number and those below are not given out.
pub(super) fn raise(conn: &mut StoreConnection, table: &str, column: &str, last: i64) -> StoreResult<()> {
    if last <= given_out(conn, table, column)? {
        return Ok(());
    }
    let statements = match conn.backend() {
        Backend::Sqlite => vec![
            format!(
                "INSERT INTO sqlite_sequence (name, seq) SELECT '{table}', 0 WHERE NOT EXISTS \
                     (SELECT 1 FROM sqlite_sequence WHERE name = '{table}')"
            ),
            format!("UPDATE sqlite_sequence SET seq = {last} WHERE name = '{table}'"),
        ],
        Backend::Mysql => vec![format!("ALTER TABLE `{table}` AUTO_INCREMENT = {}", last.saturating_add(1))],
        Backend::Postgres => {
            vec![format!("SELECT setval(pg_get_serial_sequence('\"{table}\"', '{column}'), {last}, true)")]
        }
    };
    statements.into_iter().try_for_each(|statement| Statement::new(statement).execute(conn).map(drop))
}
