//! A database of its own for each test, on each database system that is at hand.
//!
//! SQLite always; MariaDB and PostgreSQL when `MOGILEFS_TEST_MYSQL_URL` / `MOGILEFS_TEST_POSTGRES_URL` name a server
//! (`scripts/test` sets them) and the program was built for it.

use diesel::connection::SimpleConnection;
use diesel::sql_types::BigInt;
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    #[cfg(feature = "mysql")]
    Mysql,
    #[cfg(feature = "postgres")]
    Postgres,
}

/// Every database system that the tests run on.
pub fn kinds() -> Vec<Kind> {
    #[cfg_attr(not(any(feature = "mysql", feature = "postgres")), expect(unused_mut, reason = "no other systems"))]
    let mut kinds = vec![Kind::Sqlite];
    #[cfg(feature = "mysql")]
    if std::env::var_os("MOGILEFS_TEST_MYSQL_URL").is_some() {
        kinds.push(Kind::Mysql);
    }
    #[cfg(feature = "postgres")]
    if std::env::var_os("MOGILEFS_TEST_POSTGRES_URL").is_some() {
        kinds.push(Kind::Postgres);
    }
    kinds
}

/// Runs a test once per database system.
pub fn on_each_database(test: impl Fn(&Database)) {
    for kind in kinds() {
        eprintln!("--- on {kind:?}");
        test(&Database::create(kind));
    }
}

/// An empty database with the schema in it; dropped with the test.
pub struct Database {
    pub kind: Kind,
    pub url: String,
    server: Option<String>,
    name: String,
    _directory: TempDir,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

impl Database {
    pub fn create(kind: Kind) -> Self {
        let server: Option<&str> = match kind {
            Kind::Sqlite => None,
            #[cfg(feature = "mysql")]
            Kind::Mysql => Some("MOGILEFS_TEST_MYSQL_URL"),
            #[cfg(feature = "postgres")]
            Kind::Postgres => Some("MOGILEFS_TEST_POSTGRES_URL"),
        };
        Self::create_at(kind, server.map(|variable| std::env::var(variable).expect("the variable is set")))
    }

    /// On the server of this URL, whose account may create databases; `None` for SQLite.
    pub fn create_at(kind: Kind, server: Option<String>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("mogtest_it_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::tempdir().expect("a directory");
        let url = match &server {
            None => format!("sqlite:{}", directory.path().join("tracker.db").display()),
            Some(server) => {
                on_server(server, &format!("CREATE DATABASE {name}"));
                let (base, _) = server.rsplit_once('/').expect("a URL with a database");
                format!("{base}/{name}")
            }
        };
        let mut settings = mogilefs::settings::Settings::defaults().database;
        settings.url.clone_from(&url);
        mogilefs::store::Store::setup(&settings).expect("setup");
        Self { kind, url, server, name, _directory: directory }
    }

    /// The number that a `SELECT … AS n` gives.
    pub fn number(&self, sql: &str) -> i64 {
        let rows: Vec<Number> = match self.kind {
            Kind::Sqlite => diesel::sql_query(sql).load(&mut self.sqlite()),
            #[cfg(feature = "mysql")]
            Kind::Mysql => {
                diesel::sql_query(sql).load(&mut diesel::MysqlConnection::establish(&self.url).expect("connect"))
            }
            #[cfg(feature = "postgres")]
            Kind::Postgres => {
                diesel::sql_query(sql).load(&mut diesel::PgConnection::establish(&self.url).expect("connect"))
            }
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.first().unwrap_or_else(|| panic!("no row: {sql}")).n
    }

    /// Rows of a table that satisfy a condition.
    pub fn count(&self, table: &str, condition: &str) -> i64 {
        self.number(&format!("SELECT COUNT(*) AS n FROM {table} WHERE {condition}"))
    }

    pub fn execute(&self, sql: &str) {
        let done = match self.kind {
            Kind::Sqlite => self.sqlite().batch_execute(sql),
            #[cfg(feature = "mysql")]
            Kind::Mysql => diesel::MysqlConnection::establish(&self.url).expect("connect").batch_execute(sql),
            #[cfg(feature = "postgres")]
            Kind::Postgres => diesel::PgConnection::establish(&self.url).expect("connect").batch_execute(sql),
        };
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// A connection that keeps everybody else out until it is dropped; SQLite only.
    pub fn lock_exclusively(&self) -> SqliteConnection {
        let mut connection = self.sqlite();
        connection.batch_execute("BEGIN EXCLUSIVE").expect("the lock");
        connection
    }

    fn sqlite(&self) -> SqliteConnection {
        let path = self.url.strip_prefix("sqlite:").expect("a SQLite URL");
        let mut connection = SqliteConnection::establish(path).expect("open");
        connection.batch_execute("PRAGMA busy_timeout = 20000").expect("pragma");
        connection
    }
}

/// Says this to a server; the features that the tests are built with decide which there are.
fn on_server(server: &str, sql: &str) {
    #[cfg(feature = "mysql")]
    if server.starts_with("mysql:") {
        diesel::MysqlConnection::establish(server).expect("connect").batch_execute(sql).expect(sql);
    }
    #[cfg(feature = "postgres")]
    if server.starts_with("postgres") {
        diesel::PgConnection::establish(server).expect("connect").batch_execute(sql).expect(sql);
    }
    #[cfg(not(any(feature = "mysql", feature = "postgres")))]
    unreachable!("no server: {server} {sql}");
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some(server) = &self.server else { return };
        let force = if server.starts_with("postgres") { " WITH (FORCE)" } else { "" };
        on_server(server, &format!("DROP DATABASE {}{force}", self.name));
    }
}
