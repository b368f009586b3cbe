//! An empty database of its own for each test.

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection};
use mogilefs::settings::{DatabaseSettings, Settings};
use mogilefs::store::Backend;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// The databases at hand.
pub fn backends() -> Vec<Backend> {
    let mut backends = vec![Backend::Sqlite];
    if cfg!(feature = "mysql") && server_url(Backend::Mysql).is_some() {
        backends.push(Backend::Mysql);
    }
    if cfg!(feature = "postgres") && server_url(Backend::Postgres).is_some() {
        backends.push(Backend::Postgres);
    }
    backends
}

fn server_url(backend: Backend) -> Option<String> {
    let variable = match backend {
        Backend::Sqlite => return None,
        Backend::Mysql => "MOGILEFS_TEST_MYSQL_URL",
        Backend::Postgres => "MOGILEFS_TEST_POSTGRES_URL",
    };
    std::env::var(variable).ok()
}

/// Runs a test on a new database of each kind.
pub fn on_each(test: impl Fn(&Database)) {
    for backend in backends() {
        eprintln!("--- on {}", backend.name());
        test(&Database::create(backend));
    }
}

/// An empty database, gone with the test.
pub struct Database {
    pub backend: Backend,
    pub url: String,
    name: String,
    _directory: TempDir,
}

#[derive(QueryableByName)]
struct TextRow {
    #[diesel(sql_type = Nullable<Text>)]
    t: Option<String>,
}

#[derive(QueryableByName)]
pub struct NumberRow {
    #[diesel(sql_type = BigInt)]
    pub n: i64,
}

impl Database {
    pub fn create(backend: Backend) -> Self {
        Self::create_with(backend, "")
    }

    /// With further words to the server, such as `COLLATE utf8mb4_bin`.
    pub fn create_with(backend: Backend, further: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("mogtest_db_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::tempdir().expect("a directory");
        let url = match server_url(backend) {
            None => format!("sqlite:{}", directory.path().join("tracker.db").display()),
            Some(server) => {
                execute(backend, &server, &format!("CREATE DATABASE {name} {further}"));
                let (base, _) = server.rsplit_once('/').expect("a URL with a database");
                format!("{base}/{name}")
            }
        };
        Self { backend, url, name, _directory: directory }
    }

    /// Is there a file? Of a server: always.
    pub fn exists(&self) -> bool {
        self.url.strip_prefix("sqlite:").is_none_or(|path| std::path::Path::new(path).exists())
    }

    pub fn settings(&self) -> DatabaseSettings {
        DatabaseSettings { url: self.url.clone(), ..Settings::defaults().database }
    }

    /// The parts of a server's URL: user, password, host, port, database.
    pub fn parts(&self) -> [String; 5] {
        let (_, rest) = self.url.split_once("://").expect("a server");
        let (userinfo, rest) = rest.rsplit_once('@').expect("an account");
        let (user, password) = userinfo.split_once(':').expect("a password");
        let (server, database) = rest.split_once('/').expect("a database");
        let (host, port) = server.split_once(':').expect("a port");
        [user, password, host, port, database].map(str::to_owned)
    }

    pub fn execute(&self, sql: &str) {
        execute(self.backend, &self.url, sql);
    }

    /// The number that a `SELECT … AS n` gives.
    pub fn number(&self, sql: &str) -> i64 {
        let rows: Vec<NumberRow> = self.load(sql);
        rows.first().unwrap_or_else(|| panic!("no row: {sql}")).n
    }

    /// The texts that a `SELECT … AS t` gives.
    pub fn texts(&self, sql: &str) -> Vec<String> {
        let rows: Vec<TextRow> = self.load(sql);
        rows.into_iter().map(|row| row.t.unwrap_or_else(|| "NULL".to_owned())).collect()
    }

    #[cfg(all(feature = "mysql", feature = "postgres"))]
    fn load<R>(&self, sql: &str) -> Vec<R>
    where
        R: QueryableByName<diesel::sqlite::Sqlite>
            + QueryableByName<diesel::mysql::Mysql>
            + QueryableByName<diesel::pg::Pg>
            + 'static,
    {
        match self.backend {
            Backend::Sqlite => diesel::sql_query(sql).load(&mut sqlite(&self.url)),
            Backend::Mysql => diesel::sql_query(sql).load(&mut mysql(&self.url)),
            Backend::Postgres => diesel::sql_query(sql).load(&mut postgres(&self.url)),
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Without both servers' features only SQLite is asked here.
    #[cfg(not(all(feature = "mysql", feature = "postgres")))]
    fn load<R: QueryableByName<diesel::sqlite::Sqlite> + 'static>(&self, sql: &str) -> Vec<R> {
        diesel::sql_query(sql).load(&mut sqlite(&self.url)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

fn sqlite(url: &str) -> SqliteConnection {
    let mut conn = SqliteConnection::establish(url.strip_prefix("sqlite:").expect("a SQLite URL")).expect("open");
    conn.batch_execute("PRAGMA busy_timeout = 10000").expect("set");
    conn
}

#[cfg(feature = "mysql")]
fn mysql(url: &str) -> diesel::MysqlConnection {
    diesel::MysqlConnection::establish(url).expect("connect")
}

#[cfg(feature = "postgres")]
fn postgres(url: &str) -> diesel::PgConnection {
    diesel::PgConnection::establish(url).expect("connect")
}

fn execute(backend: Backend, url: &str, sql: &str) {
    let done = match backend {
        Backend::Sqlite => sqlite(url).batch_execute(sql),
        #[cfg(feature = "mysql")]
        Backend::Mysql => mysql(url).batch_execute(sql),
        #[cfg(feature = "postgres")]
        Backend::Postgres => postgres(url).batch_execute(sql),
        #[allow(unreachable_patterns)]
        _ => panic!("{} is not built in", backend.name()),
    };
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some(server) = server_url(self.backend) else { return };
        let force = if self.backend == Backend::Postgres { " WITH (FORCE)" } else { "" };
        execute(self.backend, &server, &format!("DROP DATABASE {}{force}", self.name));
    }
}
