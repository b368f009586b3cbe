//! What differs between the three databases, as macros: diesel's statements are typed by the connection, so one body is
//! expanded for each. Concrete connections are also the fastest and the only ones with upserts.

/// Runs one body on the connection, whichever it is.
macro_rules! each {
    ($conn:expr, $c:ident => $body:expr) => {
        match $conn {
            $crate::store::StoreConnection::Sqlite($c) => $body,
            #[cfg(feature = "mysql")]
            $crate::store::StoreConnection::Mysql($c) => $body,
            #[cfg(feature = "postgres")]
            $crate::store::StoreConnection::Postgres($c) => $body,
        }
    };
}

/// Inserts a row unless a unique key is taken; gives the number of rows inserted (0 or 1). The transaction goes on
/// either way. Any other fault is an error: `INSERT IGNORE` of MySQL would also hide bad values (D12), so a duplicate is
/// recognised by its error there.
macro_rules! insert_new {
    ($conn:expr, $table:expr, $values:expr) => {
        match $conn {
            $crate::store::StoreConnection::Sqlite(c) => {
                diesel::RunQueryDsl::execute(diesel::insert_or_ignore_into($table).values($values), c)
            }
            #[cfg(feature = "mysql")]
            $crate::store::StoreConnection::Mysql(c) => {
                match diesel::RunQueryDsl::execute(diesel::insert_into($table).values($values), c) {
                    Err(diesel::result::Error::DatabaseError(
                        diesel::result::DatabaseErrorKind::UniqueViolation,
                        _,
                    )) => Ok(0),
                    other => other,
                }
            }
            #[cfg(feature = "postgres")]
            $crate::store::StoreConnection::Postgres(c) => {
                diesel::RunQueryDsl::execute(diesel::insert_into($table).values($values).on_conflict_do_nothing(), c)
            }
        }
    };
}

/// Inserts a row, or changes the one that has the same key.
macro_rules! upsert {
    ($conn:expr, $table:expr, $values:expr, $key:expr, $changes:expr) => {
        match $conn {
            $crate::store::StoreConnection::Sqlite(c) => diesel::RunQueryDsl::execute(
                diesel::insert_into($table).values($values).on_conflict($key).do_update().set($changes),
                c,
            ),
            #[cfg(feature = "mysql")]
            $crate::store::StoreConnection::Mysql(c) => diesel::RunQueryDsl::execute(
                diesel::insert_into($table)
                    .values($values)
                    .on_conflict(diesel::dsl::DuplicatedKeys)
                    .do_update()
                    .set($changes),
                c,
            ),
            #[cfg(feature = "postgres")]
            $crate::store::StoreConnection::Postgres(c) => diesel::RunQueryDsl::execute(
                diesel::insert_into($table).values($values).on_conflict($key).do_update().set($changes),
                c,
            ),
        }
    };
}

/// Loads rows and locks them for this transaction; SQLite's writers are alone anyway.
macro_rules! load_for_update {
    ($conn:expr, $query:expr, $row:ty) => {
        match $conn {
            $crate::store::StoreConnection::Sqlite(c) => diesel::RunQueryDsl::load::<$row>($query, c),
            #[cfg(feature = "mysql")]
            $crate::store::StoreConnection::Mysql(c) => {
                diesel::RunQueryDsl::load::<$row>(diesel::QueryDsl::for_update($query), c)
            }
            #[cfg(feature = "postgres")]
            $crate::store::StoreConnection::Postgres(c) => {
                diesel::RunQueryDsl::load::<$row>(diesel::QueryDsl::for_update($query), c)
            }
        }
    };
}
