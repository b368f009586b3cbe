//! One connection to the database, whichever it is, and how it is opened.
//!
//! Every connection gets its limits and modes here and nowhere else.

use super::error::{StoreError, StoreResult};
use super::types::Key;
use crate::settings::DatabaseSettings;
use bstr::BStr;
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::{Connection, MultiConnection, SqliteConnection};
use std::path::{Path, PathBuf};

/// A connection to one of the databases that this program was built with.
#[derive(MultiConnection)]
pub enum StoreConnection {
    Sqlite(SqliteConnection),
    #[cfg(feature = "mysql")]
    Mysql(diesel::MysqlConnection),
    #[cfg(feature = "postgres")]
    Postgres(diesel::PgConnection),
}

/// The kinds of databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    Sqlite,
    Mysql,
    Postgres,
}

impl Backend {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Mysql => "mysql",
            Self::Postgres => "postgres",
        }
    }
}

impl StoreConnection {
    /// Which kind of database this is.
    pub fn backend(&self) -> Backend {
        match self {
            Self::Sqlite(_) => Backend::Sqlite,
            #[cfg(feature = "mysql")]
            Self::Mysql(_) => Backend::Mysql,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Backend::Postgres,
        }
    }

    /// A key that clients chose, in the form of this database (database.md 1.6).
    ///
    /// # Errors
    /// [`StoreError::InvalidValue`] if the database cannot hold it.
    pub(super) fn key(&self, bytes: &BStr) -> StoreResult<Key> {
        match self.backend() {
            Backend::Sqlite => Ok(Key::raw(bytes)),
            Backend::Mysql => Key::utf8(bytes),
            Backend::Postgres => Key::latin1(bytes),
        }
    }

    /// To be called after an error, before anything else is asked.
    ///
    /// MySQL reports a deadlock (and a killed query) in the place of rows, and its client library then counts the
    /// statement as one whose rows are still to come: executed once more it waits for them for ever. So no statement
    /// that was prepared before the error is used again.
    pub(super) fn forget_statements(&mut self) {
        #[cfg(feature = "mysql")]
        if let StoreConnection::Mysql(c) = self {
            use diesel::connection::CacheSize;
            c.set_prepared_statement_cache_size(CacheSize::Disabled);
            c.set_prepared_statement_cache_size(CacheSize::Unbounded);
        }
    }

    /// Does the server still answer? One round trip: for use after an error only.
    pub(super) fn is_alive(&mut self) -> bool {
        self.batch_execute("SELECT 1").is_ok()
    }
}

/// Begins a transaction that may write. On SQLite at once: one that begins with reading could not become a writer while
/// another process is writing (database.md 1.7).
pub(super) fn begin(conn: &mut StoreConnection) -> StoreResult<()> {
    match conn {
        StoreConnection::Sqlite(c) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE")?,
        #[cfg(feature = "mysql")]
        StoreConnection::Mysql(c) => AnsiTransactionManager::begin_transaction(c)?,
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(c) => AnsiTransactionManager::begin_transaction(c)?,
    }
    Ok(())
}

/// Ends what [`begin`] began. After an error the connection is to be given up, which rolls back.
pub(super) fn commit(conn: &mut StoreConnection) -> StoreResult<()> {
    Ok(each!(conn, c => AnsiTransactionManager::commit_transaction(c))?)
}

/// Is the transaction of [`begin`] open, with nothing left open inside?
pub(super) fn is_at_outer_level(conn: &mut StoreConnection) -> bool {
    let depth = each!(conn, c => AnsiTransactionManager::transaction_manager_status_mut(c).transaction_depth());
    matches!(depth, Ok(Some(depth)) if depth.get() == 1)
}

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    Sqlite(PathBuf),
    #[cfg_attr(not(feature = "mysql"), allow(dead_code))]
    Mysql(String),
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    Postgres(String),
}

impl Location {
    /// Reads `sqlite:PATH`, `mysql://…` and `postgres://…`.
    pub(super) fn parse(url: &str) -> StoreResult<Self> {
        let location = if let Some(path) = url.strip_prefix("sqlite:") {
            Self::Sqlite(sqlite_path(path)?)
        } else if url.starts_with("mysql://") {
            Self::Mysql(url.to_owned())
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Self::Postgres(url.to_owned())
        } else {
            let scheme = url.split(':').next().unwrap_or_default();
            return Err(StoreError::InvalidValue(format!(
                "database.url must start with sqlite:, mysql:// or postgres://, not `{scheme}:`"
            )));
        };
        location.check_built_in()?;
        Ok(location)
    }

    pub(super) fn backend(&self) -> Backend {
        match self {
            Self::Sqlite(_) => Backend::Sqlite,
            Self::Mysql(_) => Backend::Mysql,
            Self::Postgres(_) => Backend::Postgres,
        }
    }

    fn check_built_in(&self) -> StoreResult<()> {
        let built_in = match self.backend() {
            Backend::Sqlite => true,
            Backend::Mysql => cfg!(feature = "mysql"),
            Backend::Postgres => cfg!(feature = "postgres"),
        };
        if built_in {
            return Ok(());
        }
        let name = self.backend().name();
        Err(StoreError::InvalidValue(format!(
            "this program was built without support for {name} (cargo feature `{name}`)"
        )))
    }
}

fn sqlite_path(text: &str) -> StoreResult<PathBuf> {
    let path = text.strip_prefix("//").unwrap_or(text);
    if path.is_empty() || path == ":memory:" || path.starts_with("file:") {
        return Err(StoreError::InvalidValue("database.url needs the path of a file after `sqlite:`".to_owned()));
    }
    Ok(PathBuf::from(path))
}

/// What a connection is for; matters on SQLite only, where all writes go through one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Read,
    Write,
    /// Creating the schema: the file need not exist.
    Setup,
}

/// Opens a connection and sets its limits.
///
/// # Errors
/// [`StoreError::Schema`] if the SQLite file does not exist, else [`StoreError::Unavailable`].
pub(super) fn connect(
    location: &Location,
    settings: &DatabaseSettings,
    purpose: Purpose,
) -> StoreResult<StoreConnection> {
    match location {
        Location::Sqlite(path) => connect_sqlite(path, settings, purpose),
        #[cfg(feature = "mysql")]
        Location::Mysql(url) => {
            let mut conn: diesel::MysqlConnection = connect_in_time(url, settings)?;
            conn.batch_execute(&mysql_session(settings))?;
            Ok(StoreConnection::Mysql(conn))
        }
        #[cfg(feature = "postgres")]
        Location::Postgres(url) => {
            let mut conn: diesel::PgConnection = connect_in_time(url, settings)?;
            conn.batch_execute(&postgres_session(settings))?;
            Ok(StoreConnection::Postgres(conn))
        }
        #[allow(unreachable_patterns)]
        other => other.check_built_in().and(Err(StoreError::Other("no such database".to_owned()))),
    }
}

fn connect_sqlite(path: &Path, settings: &DatabaseSettings, purpose: Purpose) -> StoreResult<StoreConnection> {
    if purpose != Purpose::Setup && !path.exists() {
        return Err(StoreError::Schema(format!(
            "there is no database at {}: create it with `mogilefs db setup`",
            path.display()
        )));
    }
    let name =
        path.to_str().ok_or_else(|| StoreError::InvalidValue(format!("the path {} is not UTF-8", path.display())))?;
    let mut conn = SqliteConnection::establish(name)
        .map_err(|error| StoreError::Unavailable(format!("cannot open {}: {error}", path.display())))?;
    conn.batch_execute(&sqlite_session(settings, purpose))?;
    Ok(StoreConnection::Sqlite(conn))
}

/// The busy timeout comes first: the statements after it may have to wait already.
fn sqlite_session(settings: &DatabaseSettings, purpose: Purpose) -> String {
    let busy = format!("PRAGMA busy_timeout = {};", settings.lock_wait_ms);
    match purpose {
        Purpose::Read => format!("{busy} PRAGMA query_only = 1;"),
        Purpose::Write => format!("{busy} PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"),
        Purpose::Setup => busy,
    }
}

/// Strict: what does not fit is an error and never cut (D12).
#[cfg(feature = "mysql")]
fn mysql_session(settings: &DatabaseSettings) -> String {
    let wait_secs = settings.lock_wait_ms.div_ceil(1000).max(1);
    format!(
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
         innodb_lock_wait_timeout = {wait_secs}, lock_wait_timeout = {wait_secs}"
    )
}

#[cfg(feature = "postgres")]
fn postgres_session(settings: &DatabaseSettings) -> String {
    format!("SET lock_timeout = {}; SET client_min_messages = error", settings.lock_wait_ms)
}

/// Connects on a thread of its own, because the client libraries offer no dependable time limit.
#[cfg(any(feature = "mysql", feature = "postgres"))]
fn connect_in_time<C>(url: &str, settings: &DatabaseSettings) -> StoreResult<C>
where
    C: Connection + Send + 'static,
{
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let url = url.to_owned();
    let connecting = move || {
        // The receiver may have given up: then the connection is dropped with the result.
        let _ = sender.send(C::establish(&url));
    };
    std::thread::Builder::new()
        .name("db-connect".to_owned())
        .spawn(connecting)
        .map_err(|error| StoreError::Unavailable(format!("cannot start a thread: {error}")))?;
    match receiver.recv_timeout(std::time::Duration::from_millis(settings.connect_timeout_ms)) {
        Ok(Ok(conn)) => Ok(conn),
        Ok(Err(error)) => Err(StoreError::Unavailable(format!("cannot connect: {error}"))),
        Err(_) => {
            Err(StoreError::Unavailable(format!("cannot connect: no answer within {} ms", settings.connect_timeout_ms)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls() {
        assert_eq!(Location::parse("sqlite:/a/b.db"), Ok(Location::Sqlite("/a/b.db".into())));
        assert_eq!(Location::parse("sqlite:///a/b.db"), Ok(Location::Sqlite("/a/b.db".into())));
        assert_eq!(Location::parse("sqlite:b.db"), Ok(Location::Sqlite("b.db".into())));
        for wrong in ["sqlite:", "sqlite::memory:", "oracle://x", ""] {
            assert!(matches!(Location::parse(wrong), Err(StoreError::InvalidValue(_))), "{wrong}");
        }
        assert_eq!(Location::parse("mysql://u@h/d").is_ok(), cfg!(feature = "mysql"));
        assert_eq!(Location::parse("postgres://u@h/d").is_ok(), cfg!(feature = "postgres"));
    }
}
