//! One of the two databases of a copy: who it is, what it has, and whether somebody is at work in it.

use super::rows::{Row, Statement, Value, count, key_of, page};
use crate::settings::DatabaseSettings;
use crate::store::check_catalog::Catalog;
use crate::store::connection::{self, Backend, Location, Purpose, StoreConnection, connect};
use crate::store::error::{StoreError, StoreResult};
use crate::store::expected::{EXTENSION_TABLES, ExpectedTable, TABLES};
use crate::store::key_form::KeyForm;
use crate::store::setup::version_in;
use diesel::connection::SimpleConnection as _;
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

/// Rows that are read, and written, at once.
pub(super) const PAGE_ROWS: usize = 2000;

/// A usage figure that is no older was stored by a tracker that is running: they store one every 15 s.
const FRESH_USAGE_SECS: i64 = 60;

/// Who holds which lock is of the moment.
pub(super) const LOCKS: [&str; 3] = ["lock", "mogilefs_lock", "mogilefs_hold"];

/// A session that has just ended is listed for a moment; one that is still there after so many looks is at work.
const LOOKS_AT_SESSIONS: u32 = 6;
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

pub(super) struct Side {
    pub(super) conn: StoreConnection,
    pub(super) form: KeyForm,
    pub(super) catalog: Catalog,
    pub(super) version: i64,
    /// SQLite: somebody had the file open before we had.
    was_open: bool,
}

impl Side {
    /// Connects and looks at what there is; `None` for a file of SQLite that does not exist.
    pub(super) fn open(settings: &DatabaseSettings, purpose: Purpose) -> StoreResult<Option<Self>> {
        let location = connection::location(settings)?;
        if matches!(&location, Location::Sqlite(path) if !path.exists()) {
            return Ok(None);
        }
        let was_open = matches!(&location, Location::Sqlite(path) if is_open(path));
        let mut conn = connect(&location, settings, purpose)?;
        prepare(&mut conn, purpose)?;
        let catalog = Catalog::read(&mut conn)?;
        let version = version_in(&mut conn, &catalog)?;
        let form = KeyForm::of(conn.backend(), settings);
        Ok(Some(Self { conn, form, catalog, version, was_open }))
    }

    pub(super) fn backend(&self) -> Backend {
        self.conn.backend()
    }

    /// Of the tables that a copy is made of, those that are there, in the order in which setup makes them.
    pub(super) fn tables(&self) -> Vec<&'static ExpectedTable> {
        let ours = TABLES.iter().filter(|table| !LOCKS.contains(&table.name)).chain(EXTENSION_TABLES);
        ours.filter(|table| self.catalog.table(table.name).is_some()).collect()
    }

    pub(super) fn page(&mut self, table: &ExpectedTable, after: Option<&[Value]>) -> StoreResult<Vec<Row>> {
        page(&mut self.conn, self.form, table, after, PAGE_ROWS)
    }

    pub(super) fn count(&mut self, table: &ExpectedTable) -> StoreResult<u64> {
        count(&mut self.conn, table)
    }

    /// What this database is, by its own account: an address may be written in many ways.
    pub(super) fn identity(&mut self, settings: &DatabaseSettings) -> StoreResult<String> {
        let text = match self.backend() {
            Backend::Sqlite => {
                let Location::Sqlite(path) = connection::location(settings)? else {
                    return Err(StoreError::Other("no path of a file".to_owned()));
                };
                let path = path.canonicalize().unwrap_or(path);
                return Ok(format!("sqlite {}", path.display()));
            }
            Backend::Mysql => "SELECT CONCAT(@@hostname, ':', @@port, '/', DATABASE()) AS t",
            Backend::Postgres => {
                "SELECT (current_setting('port') || '/' || datname || '/' || oid::text)::text AS t \
                 FROM pg_catalog.pg_database WHERE datname = current_database()"
            }
        };
        let name = first_text(Statement::new(text).rows(&mut self.conn)?);
        Ok(format!("{} {}", self.backend().name(), name.unwrap_or_default()))
    }

    /// Who seems to be at work here, in words.
    pub(super) fn activity(&mut self) -> StoreResult<Vec<String>> {
        let mut signs = self.sessions()?;
        for _ in 1..LOOKS_AT_SESSIONS {
            if signs.is_empty() {
                break;
            }
            std::thread::sleep(BETWEEN_LOOKS);
            signs = self.sessions()?;
        }
        if self.was_open {
            signs.push(
                "a tracker has the file open (or ended without closing it; then the next try finds it closed)"
                    .to_owned(),
            );
        }
        if self.catalog.column("device", "mb_asof").is_some() {
            let newest = Statement::new("SELECT MAX(mb_asof) AS i FROM device").number(&mut self.conn)?;
            let age_secs = newest.map(|newest| crate::clock::unix_now_secs() - newest);
            if let Some(age_secs) = age_secs.filter(|age_secs| age_secs.abs() <= FRESH_USAGE_SECS) {
                signs.push(format!("a tracker stored the usage of a device {age_secs} s ago"));
            }
        }
        Ok(signs)
    }

    fn sessions(&mut self) -> StoreResult<Vec<String>> {
        let question = match self.backend() {
            Backend::Sqlite => return Ok(Vec::new()),
            Backend::Mysql => {
                "SELECT CONCAT(user, ' from ', SUBSTRING_INDEX(host, ':', 1)) AS t, CAST(COUNT(*) AS SIGNED) AS i \
                 FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID() GROUP BY 1"
            }
            Backend::Postgres => {
                "SELECT (usename || ' from ' || COALESCE(host(client_addr), 'this machine'))::text AS t, COUNT(*) AS i \
                 FROM pg_catalog.pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
                 AND usename IS NOT NULL GROUP BY 1"
            }
        };
        let rows = Statement::new(question).rows(&mut self.conn)?;
        Ok(rows.into_iter().filter_map(|row| described(&row)).collect())
    }

    /// From now on everything is read as it is at this moment.
    pub(super) fn begin_snapshot(&mut self) -> StoreResult<()> {
        let begin = match self.backend() {
            Backend::Sqlite => "BEGIN",
            Backend::Mysql => {
                "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT"
            }
            Backend::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        Ok(self.conn.batch_execute(begin)?)
    }

    pub(super) fn end_snapshot(&mut self) -> StoreResult<()> {
        Ok(self.conn.batch_execute("COMMIT")?)
    }
}

/// Trackers of ours have a file beside it as long as they run.
fn is_open(path: &Path) -> bool {
    let mut shared = path.as_os_str().to_owned();
    shared.push("-shm");
    Path::new(&shared).exists()
}

/// `mogile from 10.0.0.7 has 20 sessions here`.
fn described(row: &Row) -> Option<String> {
    match row.as_slice() {
        [Value::Text(who), Value::Int(count)] => {
            let sessions = if *count == 1 { "session" } else { "sessions" };
            Some(format!("{} has {count} {sessions} here", String::from_utf8_lossy(who)))
        }
        _ => None,
    }
}

pub(super) fn first_text(rows: Vec<Row>) -> Option<String> {
    match rows.into_iter().flatten().next() {
        Some(Value::Text(text)) => Some(String::from_utf8_lossy(&text).into_owned()),
        _ => None,
    }
}

/// A number 0 is a number, and counters are asked for anew each time.
fn prepare(conn: &mut StoreConnection, purpose: Purpose) -> StoreResult<()> {
    if conn.backend() != Backend::Mysql {
        return Ok(());
    }
    if purpose == Purpose::Write {
        conn.batch_execute("SET SESSION sql_mode = CONCAT(@@sql_mode, ',NO_AUTO_VALUE_ON_ZERO')")?;
    }
    // MySQL 8 only.
    let _ = conn.batch_execute("SET SESSION information_schema_stats_expiry = 0");
    Ok(())
}

/// The rows of a table one after the other, by the columns that number them.
pub(super) struct Stream<'a> {
    side: &'a mut Side,
    table: &'static ExpectedTable,
    waiting: VecDeque<Row>,
    last: Option<Vec<Value>>,
    is_ended: bool,
}

impl<'a> Stream<'a> {
    pub(super) fn new(side: &'a mut Side, table: &'static ExpectedTable) -> Self {
        Self { side, table, waiting: VecDeque::new(), last: None, is_ended: false }
    }

    pub(super) fn next(&mut self) -> StoreResult<Option<Row>> {
        if self.waiting.is_empty() && !self.is_ended {
            let page = self.side.page(self.table, self.last.as_deref())?;
            self.is_ended = is_last_page(self.table, &page);
            self.last = page.last().map(|row| key_of(self.table, row));
            self.waiting = page.into();
        }
        Ok(self.waiting.pop_front())
    }
}

/// Does nothing come behind it?
pub(super) fn is_last_page(table: &ExpectedTable, page: &[Row]) -> bool {
    super::rows::is_keyed_by_text(table) || page.len() < PAGE_ROWS
}
