//! One connection to the database, whichever it is, and how it is opened.
//!
//! Every connection gets its limits and modes here and nowhere else.

use super::dsn::Account;
#[cfg(feature = "mysql")]
use super::dsn::MysqlAddress;
use super::error::{StoreError, StoreResult};
use super::key_form::KeyForm;
#[cfg(feature = "mysql")]
use super::one_statement::{Begin, Commit};
use super::types::Key;
use crate::settings::DatabaseSettings;
#[cfg(feature = "mysql")]
use crate::settings::MysqlCharset;
use bstr::BStr;
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
#[cfg(feature = "mysql")]
use diesel::connection::{TransactionDepthChange, TransactionManagerStatus};
use diesel::{Connection, MultiConnection, SqliteConnection};
use std::path::Path;

pub(super) use super::dsn::Location;

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
        KeyForm::of_trackers(self.backend()).key(bytes)
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

/// Makes everything the body does one change on a server, or nothing of it after an error.
pub(super) fn transaction<T>(
    conn: &mut StoreConnection,
    body: impl FnOnce(&mut StoreConnection) -> StoreResult<T>,
) -> StoreResult<T> {
    #[cfg(feature = "mysql")]
    if conn.backend() == Backend::Mysql {
        return mysql_transaction(conn, body);
    }
    conn.transaction(body)
}

/// diesel sends `BEGIN` and `COMMIT` as batches, which are three round trips each on MySQL; prepared they are one.
#[cfg(feature = "mysql")]
fn mysql_transaction<T>(
    conn: &mut StoreConnection,
    body: impl FnOnce(&mut StoreConnection) -> StoreResult<T>,
) -> StoreResult<T> {
    on_mysql(conn, begin_prepared)?;
    match body(conn) {
        Ok(done) => Ok(on_mysql(conn, commit_prepared).map(|()| done)?),
        Err(error) => match on_mysql(conn, AnsiTransactionManager::rollback_transaction) {
            Ok(()) | Err(diesel::result::Error::BrokenTransactionManager) => Err(error),
            Err(rollback_error) => Err(rollback_error.into()),
        },
    }
}

#[cfg(feature = "mysql")]
fn on_mysql(
    conn: &mut StoreConnection,
    step: impl FnOnce(&mut diesel::MysqlConnection) -> diesel::QueryResult<()>,
) -> diesel::QueryResult<()> {
    match conn {
        StoreConnection::Mysql(c) => step(c),
        _ => Err(diesel::result::Error::NotInTransaction),
    }
}

/// MySQL, and MariaDB before 10.6.2, prepare no `BEGIN`: then diesel's is taken, and this one not tried again. Should
/// another server of this process prepare it, that costs round trips and nothing else.
#[cfg(feature = "mysql")]
fn begin_prepared(conn: &mut diesel::MysqlConnection) -> diesel::QueryResult<()> {
    use diesel::RunQueryDsl as _;
    use std::sync::atomic::{AtomicBool, Ordering};
    static IS_REFUSED: AtomicBool = AtomicBool::new(false);
    if AnsiTransactionManager::transaction_manager_status_mut(conn).transaction_depth()?.is_some() {
        return Err(diesel::result::Error::AlreadyInTransaction);
    }
    if IS_REFUSED.load(Ordering::Relaxed) {
        return AnsiTransactionManager::begin_transaction(conn);
    }
    match Begin.execute(conn) {
        Ok(_) => change_depth(conn, TransactionDepthChange::IncreaseDepth),
        Err(diesel::result::Error::DatabaseError(_, why)) if why.message().contains("prepared statement protocol") => {
            IS_REFUSED.store(true, Ordering::Relaxed);
            AnsiTransactionManager::begin_transaction(conn)
        }
        Err(error) => Err(error),
    }
}

/// As diesel's own does it, but for the way `COMMIT` is sent.
#[cfg(feature = "mysql")]
fn commit_prepared(conn: &mut diesel::MysqlConnection) -> diesel::QueryResult<()> {
    use diesel::RunQueryDsl as _;
    let commit_error = match Commit.execute(conn) {
        Ok(_) => return change_depth(conn, TransactionDepthChange::DecreaseDepth),
        Err(error) => error,
    };
    match AnsiTransactionManager::rollback_transaction(conn) {
        Ok(()) => Err(commit_error),
        Err(rollback_error) => {
            AnsiTransactionManager::transaction_manager_status_mut(conn).set_in_error();
            Err(diesel::result::Error::RollbackErrorOnCommit {
                rollback_error: Box::new(rollback_error),
                commit_error: Box::new(commit_error),
            })
        }
    }
}

/// diesel knows of the transaction, and makes savepoints of those inside it.
#[cfg(feature = "mysql")]
fn change_depth(conn: &mut diesel::MysqlConnection, change: TransactionDepthChange) -> diesel::QueryResult<()> {
    match AnsiTransactionManager::transaction_manager_status_mut(conn) {
        TransactionManagerStatus::Valid(status) => status.change_transaction_depth(change),
        TransactionManagerStatus::InError => Err(diesel::result::Error::BrokenTransactionManager),
    }
}

/// Is the transaction of [`begin`] open, with nothing left open inside?
pub(super) fn is_at_outer_level(conn: &mut StoreConnection) -> bool {
    let depth = each!(conn, c => AnsiTransactionManager::transaction_manager_status_mut(c).transaction_depth());
    matches!(depth, Ok(Some(depth)) if depth.get() == 1)
}

/// What a connection is for; matters on SQLite only, where all writes go through one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Read,
    Write,
    /// Creating the schema: the file need not exist.
    Setup,
}

/// Where the settings say that the database is; reads the file of the password, if there is one.
///
/// # Errors
/// [`StoreError::InvalidValue`] for an address that cannot be used and a file that cannot be read.
pub(super) fn location(settings: &DatabaseSettings) -> StoreResult<Location> {
    let file = crate::service::absolute(&settings.password_file);
    let from_file = match file.as_os_str().is_empty() {
        true => String::new(),
        false => std::fs::read_to_string(&file).map_err(|error| {
            StoreError::InvalidValue(format!("cannot read database.password_file {}: {error}", file.display()))
        })?,
    };
    // Editors end a line; the password does not have that end.
    let from_file = from_file.strip_suffix('\n').unwrap_or(&from_file);
    let from_file = from_file.strip_suffix('\r').unwrap_or(from_file);
    let password = if from_file.is_empty() { settings.password.reveal() } else { from_file };
    let location = Location::parse(&settings.url, Account { user: &settings.user, password })?;
    // A process in the background leaves the directory in which it was started.
    Ok(match location {
        Location::Sqlite(path) => Location::Sqlite(crate::service::absolute(&path)),
        server => server,
    })
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
        Location::Mysql(address) => connect_mysql(address, settings),
        #[cfg(feature = "postgres")]
        Location::Postgres(address) => {
            let limit_ms = settings.connect_timeout_ms;
            let mut conn: diesel::PgConnection =
                connect_in_time(&address.conninfo_with(&silence_limits(settings)), limit_ms)?;
            conn.batch_execute(&postgres_session(settings))?;
            Ok(StoreConnection::Postgres(conn))
        }
        #[allow(unreachable_patterns)]
        other => other.check_built_in().and(Err(StoreError::Other("no such database".to_owned()))),
    }
}

#[cfg(feature = "mysql")]
fn connect_mysql(address: &MysqlAddress, settings: &DatabaseSettings) -> StoreResult<StoreConnection> {
    let limit_ms = address.connect_timeout_ms.unwrap_or(settings.connect_timeout_ms);
    let mut conn: diesel::MysqlConnection = connect_in_time(&address.url(), limit_ms)?;
    if address.requires_tls() {
        require_tls(&mut conn)?;
    }
    if !address.init_command.is_empty() {
        conn.batch_execute(&address.init_command)?;
    }
    conn.batch_execute(&mysql_session(settings))?;
    // A node of Galera that has lost its cluster lets in, and refuses only this.
    conn.batch_execute("BEGIN; ROLLBACK")?;
    Ok(StoreConnection::Mysql(conn))
}

/// MariaDB's client library passes over `ssl_mode`, so what was demanded is looked at.
#[cfg(feature = "mysql")]
fn require_tls(conn: &mut diesel::MysqlConnection) -> StoreResult<()> {
    use diesel::RunQueryDsl as _;
    #[derive(diesel::QueryableByName)]
    struct Status {
        #[diesel(sql_type = diesel::sql_types::Text, column_name = "Value")]
        cipher: String,
    }
    let status: Vec<Status> = diesel::sql_query("SHOW SESSION STATUS LIKE 'Ssl_cipher'").load(conn)?;
    if status.iter().any(|row| !row.cipher.is_empty()) {
        return Ok(());
    }
    Err(StoreError::Unavailable(
        "the connection to the database is not encrypted, though TLS is demanded, and was given up: the server has no TLS, \
         or the client library (MariaDB's) starts it only if the authority's certificate is named (ssl_ca in a URL, \
         mysql_ssl_ca_file in a DBI string)"
            .to_owned(),
    ))
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
    // diesel has set utf8mb4 already.
    let names = match settings.mysql_charset {
        MysqlCharset::Utf8mb4 => String::new(),
        charset => format!("SET NAMES {}; ", charset.name()),
    };
    format!(
        "{names}SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
         innodb_lock_wait_timeout = {wait_secs}, lock_wait_timeout = {wait_secs}"
    )
}

/// A server that does not even acknowledge what was sent, or answer a probe while an answer is waited for, is given up.
#[cfg(feature = "postgres")]
fn silence_limits(settings: &DatabaseSettings) -> [(&'static str, u64); 4] {
    let (silence_ms, secs) = (settings.silence_max_ms, settings.silence_max_ms.div_ceil(1000));
    [
        ("tcp_user_timeout", silence_ms),
        ("keepalives_idle", (secs / 3).max(1)),
        ("keepalives_interval", (secs / 6).max(1)),
        ("keepalives_count", 4),
    ]
}

#[cfg(feature = "postgres")]
fn postgres_session(settings: &DatabaseSettings) -> String {
    format!("SET lock_timeout = {}; SET client_min_messages = error", settings.lock_wait_ms)
}

/// Connects on a thread of its own, because the client libraries offer no dependable time limit.
#[cfg(any(feature = "mysql", feature = "postgres"))]
fn connect_in_time<C>(url: &str, limit_ms: u64) -> StoreResult<C>
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
    match receiver.recv_timeout(std::time::Duration::from_millis(limit_ms)) {
        Ok(Ok(conn)) => Ok(conn),
        Ok(Err(error)) => Err(StoreError::Unavailable(format!("cannot connect: {error}"))),
        Err(_) => Err(StoreError::Unavailable(format!("cannot connect: no answer within {limit_ms} ms"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn the_password_may_be_in_a_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("password");
        let mut settings = Settings::defaults().database;
        settings.url = "sqlite:x.db".to_owned();
        settings.password_file.clone_from(&file);
        let error = location(&settings).expect_err("no such file").to_string();
        assert!(error.contains("database.password_file"), "{error}");
        std::fs::write(&file, "sesame\n").expect("written");
        assert!(location(&settings).is_ok());
        settings.url = "DBI:mysql:mog".to_owned();
        #[cfg(feature = "mysql")]
        match location(&settings) {
            Ok(Location::Mysql(address)) => assert_eq!(address.url(), "mysql://mogile:sesame@localhost/mog"),
            other => panic!("{other:?}"),
        }
    }
}
