//! Which tables there are: those of ours are optional.

use super::connection::StoreConnection;
use super::error::StoreResult;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

/// Is there a table of this name?
pub(super) fn exists(conn: &mut StoreConnection, table: &str) -> StoreResult<bool> {
    let count: i64 = match conn {
        StoreConnection::Sqlite(c) => diesel::select(
            sql::<BigInt>("(SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = ")
                .bind::<Text, _>(table)
                .sql(")"),
        )
        .get_result(c)?,
        #[cfg(feature = "mysql")]
        StoreConnection::Mysql(c) => diesel::select(
            sql::<BigInt>(
                "(SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ",
            )
            .bind::<Text, _>(table)
            .sql(")"),
        )
        .get_result(c)?,
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(c) => diesel::select(
            sql::<BigInt>("(SELECT COUNT(*) FROM pg_catalog.pg_class WHERE oid = to_regclass(")
                .bind::<Text, _>(table)
                .sql("))"),
        )
        .get_result(c)?,
    };
    Ok(count > 0)
}
