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
    #[cfg_attr(not(any(feature = "mysql", feature = "postgres")), expect(dead_code))]
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
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("mogtest_it_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::tempdir().expect("a directory");
        let url = match kind {
            Kind::Sqlite => format!("sqlite:{}", directory.path().join("tracker.db").display()),
            #[cfg(feature = "mysql")]
            Kind::Mysql => server_database("MOGILEFS_TEST_MYSQL_URL", &name),
            #[cfg(feature = "postgres")]
            Kind::Postgres => server_database("MOGILEFS_TEST_POSTGRES_URL", &name),
        };
        let mut settings = mogilefs::settings::Settings::defaults().database;
        settings.url.clone_from(&url);
        mogilefs::store::Store::setup(&settings).expect("setup");
        Self { kind, url, name, _directory: directory }
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

/// Makes a database on the server that the variable names; gives its URL.
#[cfg(any(feature = "mysql", feature = "postgres"))]
fn server_database(variable: &str, name: &str) -> String {
    let server = std::env::var(variable).expect("the variable is set");
    on_server(&server, &format!("CREATE DATABASE {name}"));
    let (base, _) = server.rsplit_once('/').expect("a URL with a database");
    format!("{base}/{name}")
}

#[cfg(any(feature = "mysql", feature = "postgres"))]
fn on_server(server: &str, sql: &str) {
    #[cfg(feature = "mysql")]
    if server.starts_with("mysql:") {
        diesel::MysqlConnection::establish(server).expect("connect").batch_execute(sql).expect(sql);
    }
    #[cfg(feature = "postgres")]
    if server.starts_with("postgres") {
        diesel::PgConnection::establish(server).expect("connect").batch_execute(sql).expect(sql);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        match self.kind {
            Kind::Sqlite => {}
            #[cfg(feature = "mysql")]
            Kind::Mysql => on_server(
                &std::env::var("MOGILEFS_TEST_MYSQL_URL").expect("set"),
                &format!("DROP DATABASE {}", self.name),
            ),
            #[cfg(feature = "postgres")]
            Kind::Postgres => on_server(
                &std::env::var("MOGILEFS_TEST_POSTGRES_URL").expect("set"),
                &format!("DROP DATABASE {} WITH (FORCE)", self.name),
            ),
        }
    }
}
