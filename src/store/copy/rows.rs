//! Rows of any table, and the statements that read and write them, on any of the databases.
//!
//! A value is what clients and trackers see, the same on all databases: that is what is compared and summed.

use crate::store::connection::{Backend, StoreConnection};
use crate::store::error::StoreResult;
use crate::store::expected::{ExpectedColumn, ExpectedTable, Kind};
use crate::store::key_form::KeyForm;
use crate::store::types::{AnyInt, KeyText, WireText, bytes_of_latin1};
use diesel::RunQueryDsl;
use diesel::backend::Backend as DieselBackend;
use diesel::deserialize::{self, FromSql, QueryableByName};
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::row::{Field as _, NamedRow, Row as DieselRow};
use diesel::serialize::ToSql;
use diesel::sql_types::{Binary, HasSqlType, Untyped};
use std::fmt;

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Null,
    Int(i64),
    /// Of keys the client's bytes; other texts in UTF-8.
    Text(Vec<u8>),
    /// A digest.
    Bytes(Vec<u8>),
    /// A key that is not in the form that the settings of its database say; as it is stored.
    Foreign(Vec<u8>),
}

impl Value {
    /// For checksums: no two rows have the same form.
    pub(super) fn canonical(&self, out: &mut Vec<u8>) {
        let (tag, bytes) = match self {
            Self::Null => return out.push(b'N'),
            Self::Int(number) => {
                out.push(b'I');
                out.extend(number.to_be_bytes());
                return;
            }
            Self::Text(bytes) => (b'T', bytes),
            Self::Bytes(bytes) => (b'B', bytes),
            Self::Foreign(bytes) => (b'F', bytes),
        };
        out.push(tag);
        out.extend((bytes.len() as u64).to_be_bytes());
        out.extend(bytes);
    }
}

/// For people: `7`, `"a key"`, `0x00ff`, `NULL`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Text(bytes) | Self::Foreign(bytes) => write!(f, "{:?}", bstr::BStr::new(bytes)),
            Self::Bytes(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// The values of one row, in the order of the columns.
pub(super) type Row = Vec<Value>;

/// The columns that number the rows, in the order of the columns of the table.
pub(super) fn key_places(table: &ExpectedTable) -> Vec<usize> {
    let columns = table.unique.first().copied().unwrap_or_default();
    columns.iter().filter_map(|name| table.columns.iter().position(|column| column.name == *name)).collect()
}

/// The values that number a row.
pub(super) fn key_of(table: &ExpectedTable, row: &Row) -> Vec<Value> {
    key_places(table).into_iter().filter_map(|place| row.get(place).cloned()).collect()
}

/// `fid 7`, `dmid 1, classid 2`.
pub(super) fn name_of(table: &ExpectedTable, row: &Row) -> String {
    let parts = key_places(table).into_iter().map(|place| format!("{} {}", table.columns[place].name, row[place]));
    parts.collect::<Vec<_>>().join(", ")
}

/// Is the table numbered by a text? Its order is the database's own, and it is small: it is read at once.
pub(super) fn is_keyed_by_text(table: &ExpectedTable) -> bool {
    key_places(table).into_iter().any(|place| is_text(table.columns[place].kind))
}

pub(super) fn is_text(kind: Kind) -> bool {
    matches!(kind, Kind::Text(_) | Kind::Key(_) | Kind::LongText | Kind::Words(_))
}

/// A name in a statement.
pub(super) fn quoted(backend: Backend, name: &str) -> String {
    match backend {
        Backend::Mysql => format!("`{name}`"),
        Backend::Sqlite | Backend::Postgres => format!("\"{name}\""),
    }
}

/// A statement put together from text and values.
#[derive(Clone, Debug, Default)]
pub(super) struct Statement {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Sql(String),
    Int(i64),
    Text(WireText),
    Bytes(Vec<u8>),
}

impl Statement {
    pub(super) fn new(sql: impl Into<String>) -> Self {
        Self { parts: vec![Part::Sql(sql.into())] }
    }

    pub(super) fn sql(&mut self, sql: &str) {
        match self.parts.last_mut() {
            Some(Part::Sql(text)) => text.push_str(sql),
            _ => self.parts.push(Part::Sql(sql.to_owned())),
        }
    }

    pub(super) fn int(&mut self, number: i64) {
        self.parts.push(Part::Int(number));
    }

    /// Text in the form of the database. SQLite would store a parameter of bytes as such.
    pub(super) fn text(&mut self, backend: Backend, wire: Vec<u8>) {
        let (before, after) = if backend == Backend::Sqlite { ("CAST(", " AS TEXT)") } else { ("", "") };
        self.sql(before);
        self.parts.push(Part::Text(WireText(wire)));
        self.sql(after);
    }

    /// A value whose text is in the form of the database.
    pub(super) fn value(&mut self, backend: Backend, value: Value) {
        match value {
            Value::Null => self.sql("NULL"),
            Value::Int(number) => self.int(number),
            Value::Text(wire) | Value::Foreign(wire) => self.text(backend, wire),
            Value::Bytes(bytes) => self.parts.push(Part::Bytes(bytes)),
        }
    }

    pub(super) fn execute(self, conn: &mut StoreConnection) -> StoreResult<usize> {
        Ok(each!(conn, c => RunQueryDsl::execute(self, c))?)
    }

    fn load(self, conn: &mut StoreConnection) -> StoreResult<Vec<WireRow>> {
        Ok(each!(conn, c => RunQueryDsl::load::<WireRow>(self, c))?)
    }

    /// The rows of columns that are named `i…` (numbers), `t…` (texts) and `b…` (bytes), as they are on the wire.
    pub(super) fn rows(self, conn: &mut StoreConnection) -> StoreResult<Vec<Row>> {
        Ok(self.load(conn)?.into_iter().map(|row| row.0).collect())
    }

    /// The one number that is asked for, if there is one.
    pub(super) fn number(self, conn: &mut StoreConnection) -> StoreResult<Option<i64>> {
        let first = self.rows(conn)?.into_iter().flatten().next();
        Ok(match first {
            Some(Value::Int(number)) => Some(number),
            _ => None,
        })
    }
}

impl QueryId for Statement {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Statement {
    type SqlType = Untyped;
}

impl<Conn> RunQueryDsl<Conn> for Statement {}

impl<DB> QueryFragment<DB> for Statement
where
    DB: DieselBackend + HasSqlType<AnyInt> + HasSqlType<KeyText>,
    i64: ToSql<AnyInt, DB>,
    WireText: ToSql<KeyText, DB>,
    Vec<u8>: ToSql<Binary, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        for part in &self.parts {
            match part {
                Part::Sql(text) => out.push_sql(text),
                Part::Int(number) => out.push_bind_param::<AnyInt, _>(number)?,
                Part::Text(text) => out.push_bind_param::<KeyText, _>(text)?,
                Part::Bytes(bytes) => out.push_bind_param::<Binary, _>(bytes)?,
            }
        }
        Ok(())
    }
}

struct WireRow(Row);

impl<DB> QueryableByName<DB> for WireRow
where
    DB: DieselBackend,
    i64: FromSql<AnyInt, DB>,
    WireText: FromSql<KeyText, DB>,
    Vec<u8>: FromSql<Binary, DB>,
{
    fn build<'a>(row: &impl NamedRow<'a, DB>) -> deserialize::Result<Self> {
        let value = |place| {
            let field = DieselRow::get(row, place).ok_or("a column is missing")?;
            let kind = field.field_name().and_then(|name| name.bytes().next());
            let raw = field.value();
            Ok(match (raw, kind) {
                (None, _) => Value::Null,
                (Some(raw), Some(b'i')) => Value::Int(<i64 as FromSql<AnyInt, DB>>::from_sql(raw)?),
                (Some(raw), Some(b'b')) => Value::Bytes(<Vec<u8> as FromSql<Binary, DB>>::from_sql(raw)?),
                (Some(raw), _) => Value::Text(<WireText as FromSql<KeyText, DB>>::from_sql(raw)?.0),
            })
        };
        (0..row.field_count()).map(value).collect::<deserialize::Result<Row>>().map(Self)
    }
}

/// The next rows of a table, by the columns that number them; all of them if these are text.
pub(super) fn page(
    conn: &mut StoreConnection,
    form: KeyForm,
    table: &ExpectedTable,
    after: Option<&[Value]>,
    limit: usize,
) -> StoreResult<Vec<Row>> {
    let backend = conn.backend();
    let mut statement = Statement::new("SELECT ");
    for (n, column) in table.columns.iter().enumerate() {
        statement.sql(if n == 0 { "" } else { ", " });
        statement.sql(&selected(backend, column, n));
    }
    statement.sql(&format!(" FROM {}", quoted(backend, table.name)));
    let is_whole = is_keyed_by_text(table);
    let keys: Vec<String> =
        key_places(table).into_iter().map(|place| quoted(backend, table.columns[place].name)).collect();
    if let Some(after) = after.filter(|_| !is_whole) {
        statement.sql(" WHERE ");
        push_after(&mut statement, backend, &keys, after);
    }
    if !is_whole {
        statement.sql(&format!(" ORDER BY {} LIMIT {limit}", keys.join(", ")));
    }
    let mut rows = statement.rows(conn)?;
    for row in &mut rows {
        for (value, column) in row.iter_mut().zip(table.columns) {
            seen_by_clients(form, column, value);
        }
    }
    if is_whole {
        rows.sort_by_key(|row| key_of(table, row));
        // Says what the schema is, and is the last to be written.
        rows.retain(|row| !is_version(table, row));
    }
    Ok(rows)
}

fn is_version(table: &ExpectedTable, row: &Row) -> bool {
    table.name == "server_settings" && row.first() == Some(&Value::Text(b"schema_version".to_vec()))
}

fn selected(backend: Backend, column: &ExpectedColumn, n: usize) -> String {
    let name = quoted(backend, column.name);
    match column.kind {
        Kind::Fid | Kind::Number(..) => format!("{name} AS i{n}"),
        Kind::Bytes(_) => format!("{name} AS b{n}"),
        // Blanks that fill a CHAR up are none then.
        _ if backend == Backend::Postgres => format!("{name}::text AS t{n}"),
        _ => format!("{name} AS t{n}"),
    }
}

/// Rows behind these values. MySQL does not use an index for a comparison of rows, the others do not for the long form.
fn push_after(statement: &mut Statement, backend: Backend, keys: &[String], after: &[Value]) {
    match (backend, keys, after) {
        (Backend::Mysql, [first, second], [a, b]) => {
            statement.sql(&format!("({first} > "));
            statement.value(backend, a.clone());
            statement.sql(&format!(" OR ({first} = "));
            statement.value(backend, a.clone());
            statement.sql(&format!(" AND {second} > "));
            statement.value(backend, b.clone());
            statement.sql("))");
        }
        _ => {
            statement.sql(&format!("({}) > (", keys.join(", ")));
            for (n, value) in after.iter().enumerate() {
                statement.sql(if n == 0 { "" } else { ", " });
                statement.value(backend, value.clone());
            }
            statement.sql(")");
        }
    }
}

/// From the wire to what clients and trackers see.
fn seen_by_clients(form: KeyForm, column: &ExpectedColumn, value: &mut Value) {
    let Value::Text(bytes) = value else { return };
    if column.name == "evcode" {
        // A CHAR: blanks at its end are none.
        bytes.truncate(bytes.trim_ascii_end().len());
    }
    if form == KeyForm::Latin1 && matches!(column.kind, Kind::Key(_)) {
        let text = String::from_utf8_lossy(bytes);
        *value = match text.chars().all(|character| u32::from(character) <= 0xFF) {
            true => Value::Text(bytes_of_latin1(&text).into()),
            false => Value::Foreign(std::mem::take(bytes)),
        };
    }
}

/// Adds rows; one whose unique keys are taken is left out, as a comparison will show. Texts are in the form of the database.
pub(super) fn insert(conn: &mut StoreConnection, table: &ExpectedTable, rows: Vec<Row>) -> StoreResult<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let backend = conn.backend();
    let columns: Vec<String> = table.columns.iter().map(|column| quoted(backend, column.name)).collect();
    let name = quoted(backend, table.name);
    let mut statement = Statement::new(format!("INSERT INTO {name} ({}) VALUES ", columns.join(", ")));
    for (n, row) in rows.into_iter().enumerate() {
        statement.sql(if n == 0 { "(" } else { ", (" });
        for (n, value) in row.into_iter().enumerate() {
            statement.sql(if n == 0 { "" } else { ", " });
            statement.value(backend, value);
        }
        statement.sql(")");
    }
    match backend {
        // Not INSERT IGNORE, which hides bad values (D12).
        Backend::Mysql => statement.sql(&format!(" ON DUPLICATE KEY UPDATE {0} = {0}", columns[0])),
        Backend::Sqlite | Backend::Postgres => statement.sql(" ON CONFLICT DO NOTHING"),
    }
    statement.execute(conn)?;
    Ok(())
}

/// Removes one row.
pub(super) fn remove(conn: &mut StoreConnection, table: &ExpectedTable, key: Vec<Value>) -> StoreResult<()> {
    let backend = conn.backend();
    let mut statement = Statement::new(format!("DELETE FROM {} WHERE ", quoted(backend, table.name)));
    for (n, (place, value)) in key_places(table).into_iter().zip(key).enumerate() {
        statement.sql(if n == 0 { "" } else { " AND " });
        statement.sql(&format!("{} = ", quoted(backend, table.columns[place].name)));
        statement.value(backend, value);
    }
    statement.execute(conn)?;
    Ok(())
}

/// How many rows there are.
pub(super) fn count(conn: &mut StoreConnection, table: &ExpectedTable) -> StoreResult<u64> {
    let name = quoted(conn.backend(), table.name);
    let version = if table.name == "server_settings" { " WHERE field <> 'schema_version'" } else { "" };
    let count = Statement::new(format!("SELECT COUNT(*) AS i FROM {name}{version}")).number(conn)?;
    Ok(u64::try_from(count.unwrap_or(0)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(row: &[Value]) -> Vec<u8> {
        let mut out = Vec::new();
        row.iter().for_each(|value| value.canonical(&mut out));
        out
    }

    #[test]
    fn rows_that_differ_have_different_forms() {
        let text = |text: &str| Value::Text(text.into());
        let rows = [
            vec![Value::Null],
            vec![text("")],
            vec![Value::Bytes(Vec::new())],
            vec![text("ab"), text("")],
            vec![text("a"), text("b")],
            vec![Value::Int(0)],
            vec![Value::Int(-1)],
            vec![text("N")],
        ];
        for (n, row) in rows.iter().enumerate() {
            assert!(rows[n + 1..].iter().all(|other| canonical(other) != canonical(row)), "{row:?}");
        }
    }

    #[test]
    fn values_for_people() {
        assert_eq!(Value::Text(b"a\xFF".to_vec()).to_string(), "\"a\\xff\"");
        assert_eq!(Value::Bytes(vec![0, 255]).to_string(), "0x00ff");
    }
}
