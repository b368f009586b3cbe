//! Which tables there are: those of ours are optional.

use super::connection::StoreConnection;
use super::error::StoreResult;
use diesel::backend::Backend as DieselBackend;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType, Text};

/// Is there a table of this name?
pub(super) fn exists(conn: &mut StoreConnection, table: &'static str) -> StoreResult<bool> {
    let count = match conn {
        StoreConnection::Sqlite(c) => TableCount { table, sql: SQLITE }.get_result::<i64>(c)?,
        #[cfg(feature = "mysql")]
        StoreConnection::Mysql(c) => TableCount { table, sql: MYSQL }.get_result::<i64>(c)?,
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(c) => TableCount { table, sql: POSTGRES }.get_result::<i64>(c)?,
    };
    Ok(count > 0)
}

/// The statement before and after the name.
type Sql = (&'static str, &'static str);

const SQLITE: Sql = ("SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = ", "");
#[cfg(feature = "mysql")]
const MYSQL: Sql =
    ("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ", "");
#[cfg(feature = "postgres")]
const POSTGRES: Sql = ("SELECT COUNT(*) FROM pg_catalog.pg_class WHERE oid = to_regclass(", ")");

/// One statement per database, prepared once: deletions ask it for every file. diesel prepares fragments of its own
/// `sql` anew each time.
#[derive(Clone, Copy, Debug, QueryId)]
struct TableCount {
    table: &'static str,
    sql: Sql,
}

impl Query for TableCount {
    type SqlType = BigInt;
}

impl<Conn> RunQueryDsl<Conn> for TableCount {}

impl<DB> QueryFragment<DB> for TableCount
where
    DB: DieselBackend + HasSqlType<Text>,
    str: ToSql<Text, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(self.sql.0);
        out.push_bind_param::<Text, _>(self.table)?;
        out.push_sql(self.sql.1);
        Ok(())
    }
}
