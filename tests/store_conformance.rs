//! The store against the conformance statements of the reference (database.md section 7), on every database there is:
//! SQLite always; MySQL/MariaDB and PostgreSQL if this was built with their features and `MOGILEFS_TEST_MYSQL_URL` or
//! `MOGILEFS_TEST_POSTGRES_URL` names a database of a server on which test databases may be created.
//!
//! Locks of MySQL belong to the server, not to a database: each test uses names of its own.
//!
//! Each statement is a function that runs on a database of its own, as `<backend>::<statement>`.

use bstr::{BStr, BString};
use diesel::connection::SimpleConnection;
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, RunQueryDsl};
use mogilefs::cluster::device_state::{DeviceStatus, HostStatus};
use mogilefs::ids::{ClassId, DevId, Dmid, Fid, HostId};
use mogilefs::settings::{DatabaseSettings, LockKeeping, Settings};
use mogilefs::store::classes::ClassFields;
use mogilefs::store::deleted_files::{Undelete, UndeleteOutcome};
use mogilefs::store::devices::DeviceUsage;
use mogilefs::store::file_on::Unowned;
use mogilefs::store::files::{CloseOutcome, CloseUpload, RenameOutcome};
use mogilefs::store::hosts::HostChanges;
use mogilefs::store::queues::PARKED;
use mogilefs::store::queues::replicate::WorkedTodo;
use mogilefs::store::reaping::{Page, Position, Reaped};
use mogilefs::store::tempfiles::NewTempfile;
use mogilefs::store::{
    Backend, DeleteOutcome, Session, SetupOutcome, Store, StoreConnection, StoreError, StoreResult, checksums, classes,
    db_unixtime, deleted_files, devices, domains, file_on, files, fsck_log, hosts, queues, reaping, server_settings,
    tempfiles,
};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A database of its own for one test, gone with it.
struct TestDatabase {
    settings: DatabaseSettings,
    backend: Backend,
    /// SQLite: the directory; servers: how to drop the database.
    _directory: Option<tempfile::TempDir>,
    dropping: Option<(String, String)>,
}

fn discard_log() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

fn settings_for(url: String) -> DatabaseSettings {
    DatabaseSettings { url, connect_timeout_ms: 5000, lock_wait_ms: 5000, ..Settings::defaults().database }
}

fn server_url(backend: Backend) -> Option<String> {
    let variable = match backend {
        Backend::Sqlite => return None,
        Backend::Mysql => "MOGILEFS_TEST_MYSQL_URL",
        Backend::Postgres => "MOGILEFS_TEST_POSTGRES_URL",
    };
    std::env::var(variable).ok()
}

/// Runs a statement on the database that the test variable names.
fn on_server(backend: Backend, url: &str, statement: &str) {
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    use diesel::Connection as _;
    let _ = (url, statement);
    match backend {
        Backend::Sqlite => {}
        #[cfg(feature = "mysql")]
        Backend::Mysql => {
            diesel::MysqlConnection::establish(url).expect("test server").batch_execute(statement).expect(statement);
        }
        #[cfg(feature = "postgres")]
        Backend::Postgres => {
            diesel::PgConnection::establish(url).expect("test server").batch_execute(statement).expect(statement);
        }
        #[allow(unreachable_patterns)]
        _ => panic!("{} is not built in", backend.name()),
    }
}

impl TestDatabase {
    /// `None` if this kind of database is not there to be tested.
    fn new(backend: Backend) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if backend == Backend::Sqlite {
            let directory = tempfile::tempdir().expect("a directory");
            let settings = settings_for(format!("sqlite:{}", directory.path().join("new/test.db").display()));
            return Some(Self { settings, backend, _directory: Some(directory), dropping: None });
        }
        let server = server_url(backend)?;
        let name = format!("mogtest_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        on_server(backend, &server, &format!("CREATE DATABASE {name}"));
        let (address, options) = server.split_once('?').map_or((server.as_str(), ""), |(a, o)| (a, o));
        let (base, _) = address.rsplit_once('/').expect("a url with a database");
        let options = if options.is_empty() { String::new() } else { format!("?{options}") };
        let settings = settings_for(format!("{base}/{name}{options}"));
        Some(Self { settings, backend, _directory: None, dropping: Some((server, name)) })
    }

    fn open(&self) -> Store {
        Store::open(&self.settings, discard_log()).expect("the database opens")
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some((server, name)) = &self.dropping {
            let force = if self.backend == Backend::Postgres { " WITH (FORCE)" } else { "" };
            on_server(self.backend, server, &format!("DROP DATABASE {name}{force}"));
        }
    }
}

/// An open database with a session.
struct Fixture {
    session: Session,
    store: Store,
    database: TestDatabase,
    is_old_installation: bool,
    way: Way,
}

/// How the changes are made that clients wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By the transactions that know all cases.
    Transaction,
    /// As the commands do it: on servers a single statement first.
    #[cfg_attr(not(any(feature = "mysql", feature = "postgres")), expect(dead_code, reason = "SQLite has one way"))]
    AtOnce,
}

impl Way {
    async fn register(self, session: &Session, new: NewTempfile) -> StoreResult<Fid> {
        match self {
            Way::Transaction => session.write(move |conn| tempfiles::register(conn, &new)).await,
            Way::AtOnce => session.register_upload(new).await,
        }
    }

    async fn close(self, session: &Session, close: CloseUpload) -> StoreResult<CloseOutcome> {
        match self {
            Way::Transaction => session.write(move |conn| files::close_upload(conn, &close)).await,
            Way::AtOnce => session.close_upload(close).await,
        }
    }

    async fn delete(self, session: &Session, key: &'static str) -> StoreResult<Option<Fid>> {
        match self {
            Way::Transaction => session.write(move |conn| files::delete_by_key(conn, Dmid(1), BStr::new(key))).await,
            Way::AtOnce => session.delete_by_key(Dmid(1), key.into()).await,
        }
    }

    async fn rename(self, session: &Session, from: &'static str, to: &'static str) -> StoreResult<RenameOutcome> {
        let (from_key, to_key) = (BStr::new(from), BStr::new(to));
        match self {
            Way::Transaction => session.write(move |conn| files::rename(conn, Dmid(1), from_key, to_key)).await,
            Way::AtOnce => session.rename(Dmid(1), from.into(), to.into()).await,
        }
    }
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

impl Fixture {
    fn backend(&self) -> Backend {
        self.store.backend()
    }

    /// Does something as one change.
    async fn write<T: Send + 'static>(
        &self,
        body: impl FnMut(&mut StoreConnection) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.session.write(body).await
    }

    /// Does something that must work.
    async fn done<T: Send + 'static>(
        &self,
        body: impl FnMut(&mut StoreConnection) -> StoreResult<T> + Send + 'static,
    ) -> T {
        self.write(body).await.expect("the change is stored")
    }

    fn get<T>(&self, body: impl FnMut(&mut StoreConnection) -> StoreResult<T>) -> T {
        self.session.read(body).expect("the database answers")
    }

    /// Statements that every database understands.
    async fn sql(&self, statements: &str) {
        let text = statements.to_owned();
        self.done(move |conn| conn.batch_execute(&text).map_err(StoreError::from)).await;
    }

    /// How many rows: `count("file WHERE fid = 1")`.
    fn count(&self, of: &str) -> i64 {
        let text = format!("SELECT COUNT(*) AS n FROM {of}");
        self.get(|conn| Ok(diesel::sql_query(&text).get_result::<Count>(conn)?)).n
    }

    #[track_caller]
    fn has(&self, of: &str) {
        assert_eq!(self.count(of), 1, "rows of {of}");
    }

    #[track_caller]
    fn has_not(&self, of: &str) {
        assert_eq!(self.count(of), 0, "rows of {of}");
    }

    fn now(&self) -> i64 {
        self.get(db_unixtime)
    }

    async fn domain_with_class(&self) {
        self.sql(
            "INSERT INTO domain (dmid, namespace) VALUES (1, 'd'); \
             INSERT INTO class (dmid, classid, classname, mindevcount) VALUES (1, 5, 'c', 2)",
        )
        .await;
    }

    async fn file(&self, fid: i64, key: &str) {
        self.sql(&format!(
            "INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES ({fid}, 1, '{key}', 10, 0, 1)"
        ))
        .await;
    }

    async fn upload(&self, key: &str) -> Fid {
        self.way.register(&self.session, new_upload(None, key)).await.expect("an upload")
    }

    async fn close(&self, fid: Fid, key: &str) -> CloseOutcome {
        self.close_as(closing(fid, key)).await
    }

    async fn close_as(&self, close: CloseUpload) -> CloseOutcome {
        self.way.close(&self.session, close).await.expect("an outcome")
    }
}

fn new_upload(fid: Option<i64>, key: &str) -> NewTempfile {
    NewTempfile {
        fid: fid.map(Fid),
        dmid: Dmid(1),
        dkey: key.into(),
        classid: ClassId(0),
        devids: vec![DevId(1), DevId(2)],
    }
}

fn closing(fid: Fid, key: &str) -> CloseUpload {
    CloseUpload {
        fid,
        dmid: Dmid(1),
        dkey: key.into(),
        classid: ClassId(0),
        length: 10,
        devid: DevId(1),
        checksum: None,
    }
}

fn run<F: AsyncFnOnce(&Fixture)>(backend: Backend, way: Way, test: F) {
    run_in(backend, way, false, test);
}

/// The same in a database as old installations have it after all upgrades (C08).
#[cfg(any(feature = "mysql", feature = "postgres"))]
fn run_in_old_installation<F: AsyncFnOnce(&Fixture)>(backend: Backend, test: F) {
    run_in(backend, Way::Transaction, true, test);
}

fn run_in<F: AsyncFnOnce(&Fixture)>(backend: Backend, way: Way, is_old_installation: bool, test: F) {
    let Some(database) = TestDatabase::new(backend) else { return };
    assert_eq!(Store::setup(&database.settings), Ok(SetupOutcome::Created));
    if is_old_installation {
        for statement in old_installation(backend) {
            on_server(backend, &database.settings.url, &statement);
        }
    }
    let store = database.open();
    let session = store.session().expect("a session");
    let fixture = Fixture { session, store, database, is_old_installation, way };
    block_on(test(&fixture));
    let Fixture { session, store, database, .. } = fixture;
    drop(session);
    store.close();
    drop(database);
}

/// What makes a new schema one of before 2.36 that was upgraded: fids and lengths of four bytes, a further column, columns in
/// another order.
fn old_installation(backend: Backend) -> Vec<String> {
    let tables = [
        ("file", "NOT NULL"),
        ("file_on", "NOT NULL"),
        ("file_on_corrupt", "NOT NULL"),
        ("file_to_delete", "NOT NULL"),
        ("file_to_delete_later", "NOT NULL"),
        ("file_to_delete2", "NOT NULL"),
        ("file_to_replicate", "NOT NULL"),
        ("file_to_queue", "NOT NULL"),
        ("unreachable_fids", "NOT NULL"),
        ("checksum", "NOT NULL"),
        ("fsck_log", "NULL"),
        ("tempfile", "NOT NULL AUTO_INCREMENT"),
    ];
    let mut statements: Vec<String> = match backend {
        Backend::Sqlite => Vec::new(),
        Backend::Mysql => {
            let narrow =
                tables.iter().map(|(table, rest)| format!("ALTER TABLE {table} MODIFY fid INT UNSIGNED {rest}"));
            let others = [
                "ALTER TABLE file MODIFY length INT UNSIGNED, MODIFY devcount TINYINT UNSIGNED NOT NULL FIRST",
                "ALTER TABLE class MODIFY hashtype TINYINT UNSIGNED FIRST",
                "ALTER TABLE host MODIFY altip VARCHAR(15) AFTER hostid",
                "ALTER TABLE device MODIFY weight MEDIUMINT DEFAULT 100 FIRST",
                "ALTER TABLE file_to_queue MODIFY arg TEXT FIRST",
                "ALTER TABLE tempfile MODIFY devids VARCHAR(60) FIRST",
            ];
            narrow.chain(others.map(str::to_owned)).collect()
        }
        Backend::Postgres => {
            let narrow = tables.iter().map(|(table, _)| format!("ALTER TABLE {table} ALTER fid TYPE INTEGER"));
            narrow.chain(["ALTER TABLE file ALTER length TYPE INTEGER".to_owned()]).collect()
        }
    };
    statements.push("ALTER TABLE host ADD COLUMN remoteroot VARCHAR(60)".to_owned());
    statements
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
}

macro_rules! tests {
    ($backend:ident, $way:ident, $($statement:ident),*) => {
        $(#[test] fn $statement() {
            super::run(super::Backend::$backend, super::Way::$way, super::$statement);
        })*
    };
}

/// Every statement as a test of its own on every database.
macro_rules! on_every_database {
    ($($statement:ident),* $(,)?) => {
        mod sqlite {
            tests!(Sqlite, Transaction, $($statement),*);
        }
        #[cfg(feature = "mysql")]
        mod mysql {
            tests!(Mysql, Transaction, $($statement),*);
        }
        #[cfg(feature = "postgres")]
        mod postgres {
            tests!(Postgres, Transaction, $($statement),*);
        }
        #[cfg(feature = "mysql")]
        mod mysql_of_old {
            $(#[test] fn $statement() { super::run_in_old_installation(super::Backend::Mysql, super::$statement); })*
        }
        #[cfg(feature = "postgres")]
        mod postgres_of_old {
            $(#[test] fn $statement() { super::run_in_old_installation(super::Backend::Postgres, super::$statement); })*
        }
    };
}

/// The same for servers, with the changes made as commands make them.
macro_rules! at_once_on_servers {
    ($($statement:ident),* $(,)?) => {
        #[cfg(feature = "mysql")]
        mod mysql_at_once {
            tests!(Mysql, AtOnce, $($statement),*);
        }
        #[cfg(feature = "postgres")]
        mod postgres_at_once {
            tests!(Postgres, AtOnce, $($statement),*);
        }
    };
}

on_every_database!(
    c01_setup_makes_all_tables,
    c02_setup_again_changes_nothing,
    c04_c06_other_versions_are_refused,
    c05_missing_schema_is_version_0,
    c10_interrupted_setup_is_completed,
    c11_register,
    c12_c13_c14_explicit_fids,
    c15_c16_counter_behind_the_files,
    c18_counter_is_raised_at_start,
    c20_two_take_one_tempfile,
    c21_c22_expired_tempfiles,
    c23_c24_c25_c26_expire,
    c27_look_up,
    c29_c30_c57_close_over_another_file,
    c32_printable_and_longest_keys,
    c33_c34_c35_bytes_of_keys,
    c36_large_lengths,
    c37_c38_case_of_keys,
    c39_keys_that_are_too_long,
    c40_rename,
    c41_list_after,
    c43_prefixes_are_literal,
    c44_c47_pages_of_keys,
    c45_c46_order_and_case_of_keys,
    c48_null_keys,
    c49_c50_c53_locations,
    c52_recount,
    c56_c59_close,
    close_refuses_what_is_gone,
    c60_discard,
    c61_close_with_checksum,
    c62_concurrent_closers_of_one_key,
    c63_delete_by_key,
    c64_c78_failed_writes_leave_nothing,
    c66_enqueue_replication,
    c67_c68_claim,
    c69_two_claimers,
    claim_and_finish,
    a_new_class_keeps_its_row,
    parking,
    c73_c74_reschedule,
    c75_c76_wake_all,
    c77_enqueue_deletion,
    copies_of_fids_that_nobody_owns,
    old_rows_move_over,
    reaping_queues_and_removes,
    reaping_leaves_devices_that_are_not_dead,
    reaping_is_all_or_nothing,
    pages_of_a_device,
    todo_rows,
    a_move_ends_its_own_row,
    todo_claims_are_of_one_kind,
    set_class_enqueues,
    locate_finds_file_and_devices,
    c79_c80_c81_server_settings,
    c82_domains,
    c83_c85_classes,
    c84_delete_domain,
    c86_hosts,
    c87_c88_c89_devices,
    c90_c91_fsck_sums,
    c92_fsck_log,
    sums_after_the_reference_emptied_the_log,
    settings_by_prefix,
    held_settings_make_others_wait,
    c93_checksums,
    c94_locks_exclude,
    locks_of_one_session,
    locks_end_with_their_last_write,
    leases_exclude_and_run_out,
    leases_end_with_writes_and_by_dropping,
    c95_c98_lock_rows_of_others,
    c97_c101_lost_connection,
    a_panic_takes_nothing_with_it,
    concurrent_writers_lose_nothing,
    closed_store_refuses,
    setup_adds_the_table_of_deleted_files,
    deleted_files_are_kept_only_if_wanted,
    undelete_brings_a_file_back,
    undelete_refuses_what_cannot_be,
    undelete_yields_to_a_claim_and_a_claim_to_it,
    of_two_undeletes_one_wins,
    undelete_and_close_of_one_key,
    sweep_forgets_what_others_deleted,
);

at_once_on_servers!(
    c11_register,
    c12_c13_c14_explicit_fids,
    c15_c16_counter_behind_the_files,
    c29_c30_c57_close_over_another_file,
    c32_printable_and_longest_keys,
    c33_c34_c35_bytes_of_keys,
    c36_large_lengths,
    c37_c38_case_of_keys,
    c39_keys_that_are_too_long,
    c40_rename,
    c56_c59_close,
    close_refuses_what_is_gone,
    c61_close_with_checksum,
    c62_concurrent_closers_of_one_key,
    c63_delete_by_key,
    deleted_files_are_kept_only_if_wanted,
    undelete_brings_a_file_back,
    of_two_undeletes_one_wins,
    undelete_and_close_of_one_key,
);

async fn c01_setup_makes_all_tables(f: &Fixture) {
    for table in [
        "domain",
        "class",
        "file",
        "tempfile",
        "file_to_delete",
        "unreachable_fids",
        "file_on",
        "file_on_corrupt",
        "host",
        "device",
        "file_to_replicate",
        "file_to_delete_later",
        "fsck_log",
        "file_to_queue",
        "file_to_delete2",
        "checksum",
    ] {
        f.has_not(table);
    }
    if f.backend() != Backend::Mysql {
        f.has_not("lock");
    }
    f.has("server_settings");
    f.has("server_settings WHERE field = 'schema_version' AND value = '17'");
}

async fn c02_setup_again_changes_nothing(f: &Fixture) {
    f.domain_with_class().await;
    assert_eq!(Store::setup(&f.database.settings), Ok(SetupOutcome::AlreadyCurrent));
    f.has("domain");
    f.has("server_settings");
}

async fn c04_c06_other_versions_are_refused(f: &Fixture) {
    for version in ["16", "18"] {
        f.done(move |conn| server_settings::set(conn, "schema_version", Some(version))).await;
        let refused = Store::open(&f.database.settings, discard_log()).err();
        let Some(StoreError::Schema(message)) = refused else { panic!("version {version}: {refused:?}") };
        assert!(message.contains(version) && message.contains("17") && message.contains("db setup"), "{message}");
        let unchecked = DatabaseSettings { skip_schema_check: true, ..f.database.settings.clone() };
        assert!(Store::open(&unchecked, discard_log()).is_ok());
    }
    let Err(StoreError::Schema(message)) = Store::setup(&f.database.settings) else { panic!("setup ran") };
    assert!(message.contains("18") && message.contains("17"), "{message}");
    assert_eq!(f.get(|conn| server_settings::get(conn, "schema_version")).as_deref(), Some("18"));
}

async fn c05_missing_schema_is_version_0(f: &Fixture) {
    f.sql("DROP TABLE server_settings").await;
    let refused = Store::open(&f.database.settings, discard_log()).err();
    assert!(matches!(&refused, Some(StoreError::Schema(message)) if message.contains("version 0")), "{refused:?}");
}

async fn c10_interrupted_setup_is_completed(f: &Fixture) {
    f.sql("DELETE FROM server_settings; DROP TABLE checksum; DROP TABLE file_to_queue; DROP TABLE file_to_delete2")
        .await;
    f.domain_with_class().await;
    assert_eq!(Store::setup(&f.database.settings), Ok(SetupOutcome::Created));
    f.has_not("checksum");
    f.has_not("file_to_queue");
    f.has("domain");
    f.has("server_settings WHERE value = '17'");
}

async fn c11_register(f: &Fixture) {
    let fid = f.upload("k").await;
    assert_eq!(fid, Fid(1));
    let row = f.get(|conn| tempfiles::find(conn, fid)).expect("a row");
    assert_eq!((row.dmid, row.classid, row.dkey.as_slice()), (Dmid(1), ClassId(0), &b"k"[..]));
    assert_eq!(row.devids, [DevId(1), DevId(2)]);
    assert!((f.now() - row.createtime).abs() <= 1, "createtime {}", row.createtime);
    f.has("tempfile WHERE devids = '1,2'");
}

async fn c12_c13_c14_explicit_fids(f: &Fixture) {
    let register = |fid, key: &str| {
        let new = new_upload(Some(fid), key);
        f.way.register(&f.session, new)
    };
    assert_eq!(register(500, "k").await, Ok(Fid(500)));
    assert_eq!(register(500, "other").await, Err(StoreError::Duplicate));
    f.has("tempfile WHERE fid = 500 AND dkey = 'k'");
    f.file(700, "f").await;
    assert_eq!(register(700, "k").await, Err(StoreError::Duplicate));
    f.has_not("tempfile WHERE fid = 700");
    f.sql(
        "INSERT INTO file_to_delete2 (fid, nexttry) VALUES (800, 1); INSERT INTO file_on (fid, devid) VALUES (900, 1)",
    )
    .await;
    assert_eq!(register(800, "k").await, Err(StoreError::Duplicate));
    assert_eq!(register(900, "k").await, Err(StoreError::Duplicate));
    f.has("tempfile");
}

async fn c15_c16_counter_behind_the_files(f: &Fixture) {
    for fid in [3, 4, 5, 501, 700] {
        f.file(fid, &format!("k{fid}")).await;
    }
    f.sql("INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES (1, 1, 'k1', 1, 0, 1)").await;
    let first = f.upload("a").await;
    let second = f.upload("b").await;
    assert!(first > Fid(700) && second > first, "{first} {second}");
    assert_eq!(f.count("tempfile"), 2);
}

async fn c18_counter_is_raised_at_start(f: &Fixture) {
    f.file(99, "k").await;
    f.sql(
        "INSERT INTO file_to_delete2 (fid, nexttry) VALUES (100, 1); INSERT INTO file_on (fid, devid) VALUES (101, 1)",
    )
    .await;
    let reopened = f.database.open();
    f.has_not("tempfile");
    assert_eq!(f.upload("a").await, Fid(102));
    reopened.close();
}

async fn c20_two_take_one_tempfile(f: &Fixture) {
    let fid = f.upload("k").await;
    let row = f.get(|conn| tempfiles::find(conn, fid)).expect("a row");
    let again = row.clone();
    assert_eq!(f.write(move |conn| tempfiles::expire(conn, &row)).await, Ok(true));
    assert_eq!(f.write(move |conn| tempfiles::expire(conn, &again)).await, Ok(false));
}

async fn age_tempfile(f: &Fixture, fid: i64, secs: i64) {
    let created = f.now() - secs;
    f.sql(&format!("UPDATE tempfile SET createtime = {created} WHERE fid = {fid}")).await;
}

async fn c21_c22_expired_tempfiles(f: &Fixture) {
    let (old, young) = (f.upload("old").await, f.upload("young").await);
    age_tempfile(f, old.0, 3601).await;
    age_tempfile(f, young.0, 3590).await;
    let expired = f.get(|conn| tempfiles::expired(conn, 3600, 50));
    assert_eq!(expired.iter().map(|row| row.fid).collect::<Vec<_>>(), [old]);
    for number in 0..60 {
        let fid = f.upload(&format!("k{number}")).await;
        age_tempfile(f, fid.0, 4000).await;
    }
    assert_eq!(f.get(|conn| tempfiles::expired(conn, 3600, 50)).len(), 50);
}

async fn c23_c24_c25_c26_expire(f: &Fixture) {
    f.domain_with_class().await;
    let expire = async |fid: Fid| {
        let row = f.get(|conn| tempfiles::find(conn, fid)).expect("a row");
        f.done(move |conn| tempfiles::expire(conn, &row)).await
    };
    let abandoned = f.upload("abandoned").await;
    assert!(expire(abandoned).await);
    assert_eq!(f.get(|conn| file_on::devids(conn, abandoned)), [DevId(1), DevId(2)]);
    f.has(&format!("file_to_delete2 WHERE fid = {abandoned}"));
    f.has_not("tempfile");

    let live = f.upload("live").await;
    f.file(live.0, "live").await;
    assert!(expire(live).await);
    f.has_not("tempfile");
    f.has(&format!("file WHERE fid = {live}"));
    f.has_not(&format!("file_to_delete2 WHERE fid = {live}"));
    f.has_not(&format!("file_on WHERE fid = {live}"));

    let nowhere = f.upload("nowhere").await;
    f.sql(&format!("UPDATE tempfile SET devids = NULL WHERE fid = {nowhere}")).await;
    assert!(expire(nowhere).await);
    f.has(&format!("file_to_delete2 WHERE fid = {nowhere}"));
    f.has_not(&format!("file_on WHERE fid = {nowhere}"));

    let closed = f.upload("closed").await;
    let selected = f.get(|conn| tempfiles::find(conn, closed)).expect("a row");
    assert_eq!(f.close(closed, "closed").await, CloseOutcome::Stored);
    assert!(!f.done(move |conn| tempfiles::expire(conn, &selected)).await);
    f.has(&format!("file WHERE fid = {closed}"));
    f.has_not(&format!("file_to_delete2 WHERE fid = {closed}"));
}

async fn c27_look_up(f: &Fixture) {
    f.file(1, "a").await;
    let row = f.get(|conn| files::find_by_key(conn, Dmid(1), BStr::new("a"))).expect("a file");
    assert_eq!((row.fid, row.dmid, row.length, row.classid, row.devcount), (Fid(1), Dmid(1), 10, ClassId(0), 1));
    assert_eq!(f.get(|conn| files::find_by_key(conn, Dmid(2), BStr::new("a"))), None);
    assert_eq!(f.get(|conn| files::find_by_fid(conn, Fid(1))), Some(row));
    assert_eq!(f.get(|conn| files::find_by_fid(conn, Fid(2))), None);
    assert_eq!(f.get(files::max_fid), Some(Fid(1)));
}

async fn c29_c30_c57_close_over_another_file(f: &Fixture) {
    f.domain_with_class().await;
    let old = f.upload("k").await;
    assert_eq!(f.close(old, "k").await, CloseOutcome::Stored);
    let new = f.upload("k").await;
    assert_eq!(f.close(new, "k").await, CloseOutcome::Stored);
    f.has("file");
    f.has(&format!("file WHERE fid = {new} AND dkey = 'k'"));
    f.has(&format!("file_to_delete2 WHERE fid = {old} AND nexttry <= {}", f.now()));
    f.has(&format!("file_on WHERE fid = {old}"));
    f.has_not(&format!("file_to_delete2 WHERE fid = {new}"));
}

async fn c32_printable_and_longest_keys(f: &Fixture) {
    f.domain_with_class().await;
    let printable: String = (b' '..=b'~').map(char::from).collect();
    let longest = "x".repeat(255);
    for key in [printable, longest] {
        let fid = f.upload(&key).await;
        assert_eq!(f.close(fid, &key).await, CloseOutcome::Stored);
        let found = f.get(|conn| files::find_by_key(conn, Dmid(1), BStr::new(&key))).expect("found");
        assert_eq!((found.fid, found.dkey), (fid, BString::from(key.as_str())));
        let listed = f.get(|conn| files::list_keys(conn, Dmid(1), BStr::new(&key), BStr::new(""), 10, false));
        assert_eq!(listed, [BString::from(key)]);
    }
}

async fn c33_c34_c35_bytes_of_keys(f: &Fixture) {
    f.domain_with_class().await;
    let fid = f.upload("é").await;
    assert_eq!(f.close(fid, "é").await, CloseOutcome::Stored);
    let found = f.get(|conn| files::find_by_key(conn, Dmid(1), BStr::new("é"))).expect("found");
    assert_eq!((found.fid, found.dkey.as_slice()), (fid, "é".as_bytes()));
    match f.backend() {
        Backend::Postgres => f.has("file WHERE dkey = chr(195) || chr(169) AND length(dkey) = 2"),
        Backend::Mysql => f.has("file WHERE HEX(CONVERT(dkey USING utf8mb4)) = 'C3A9'"),
        Backend::Sqlite => f.has("file WHERE hex(dkey) = 'C3A9' AND typeof(dkey) = 'text'"),
    }
    let bytes = BString::from(&b"\xFF\xFE"[..]);
    let new = NewTempfile { dkey: bytes.clone(), ..new_upload(None, "") };
    let registered = f.way.register(&f.session, new).await;
    if f.backend() == Backend::Mysql {
        assert!(matches!(registered, Err(StoreError::InvalidValue(_))), "{registered:?}");
        return;
    }
    let close = CloseUpload { dkey: bytes.clone(), ..closing(registered.expect("stored"), "") };
    assert_eq!(f.close_as(close).await, CloseOutcome::Stored);
    let (found, devids) =
        f.get(|conn| files::locate(conn, Dmid(1), bytes.as_ref())).expect("found under the same bytes");
    assert_eq!((found.dkey, devids), (bytes.clone(), vec![DevId(1)]));
    for case_sensitive in [false, true] {
        let prefix = BStr::new(if case_sensitive { &b"\xFF"[..] } else { b"" });
        let listed = f.get(|conn| files::list_keys(conn, Dmid(1), prefix, BStr::new("é"), 10, case_sensitive));
        assert_eq!(listed, std::slice::from_ref(&bytes));
    }
}

/// An old installation may have no room for them.
async fn c36_large_lengths(f: &Fixture) {
    f.domain_with_class().await;
    let close = CloseUpload { length: 5_000_000_000_000, ..closing(f.upload("k").await, "k") };
    if f.is_old_installation {
        let refused = f.write(move |conn| files::close_upload(conn, &close)).await;
        assert!(matches!(refused, Err(StoreError::InvalidValue(_))), "{refused:?}");
        f.has_not("file");
        return;
    }
    f.close_as(close).await;
    let row = f.get(|conn| files::find_by_key(conn, Dmid(1), BStr::new("k"))).expect("a file");
    assert_eq!(row.length, 5_000_000_000_000);
}

async fn c37_c38_case_of_keys(f: &Fixture) {
    f.domain_with_class().await;
    let lower = f.upload("foo").await;
    f.close(lower, "foo").await;
    let found = f.get(|conn| files::find_by_key(conn, Dmid(1), BStr::new("FOO"))).map(|row| row.fid);
    let capital = f.upload("Foo").await;
    assert_eq!(f.close(capital, "Foo").await, CloseOutcome::Stored);
    if f.backend() == Backend::Mysql {
        assert_eq!(found, Some(lower));
        f.has(&format!("file WHERE fid = {capital}"));
        f.has("file");
        f.has(&format!("file_to_delete2 WHERE fid = {lower}"));
    } else {
        assert_eq!(found, None);
        assert_eq!(f.count("file"), 2);
    }
}

async fn c39_keys_that_are_too_long(f: &Fixture) {
    if f.backend() == Backend::Sqlite {
        return;
    }
    let new = new_upload(None, &"x".repeat(256));
    let registered = f.way.register(&f.session, new).await;
    assert!(matches!(registered, Err(StoreError::InvalidValue(_))), "{registered:?}");
    f.has_not("tempfile");
}

async fn c40_rename(f: &Fixture) {
    f.file(1, "a").await;
    f.file(2, "b").await;
    let rename =
        async |from: &'static str, to: &'static str| f.way.rename(&f.session, from, to).await.expect("an outcome");
    assert_eq!(rename("a", "b").await, RenameOutcome::KeyExists);
    f.has("file WHERE fid = 1 AND dkey = 'a'");
    assert_eq!(rename("a", "c").await, RenameOutcome::Renamed(Fid(1)));
    f.has("file WHERE fid = 1 AND dkey = 'c'");
    assert_eq!(rename("a", "d").await, RenameOutcome::UnknownKey);
    assert_eq!(rename("c", "c").await, RenameOutcome::Renamed(Fid(1)));
}

async fn c41_list_after(f: &Fixture) {
    for fid in [5, 3, 9, 1, 7, 2, 10, 4, 8, 6] {
        f.file(fid, &format!("k{fid}")).await;
    }
    let fids: Vec<i64> = f.get(|conn| files::list_after(conn, Fid(3), 4)).iter().map(|row| row.fid.0).collect();
    assert_eq!(fids, [4, 5, 6, 7]);
}

fn list(f: &Fixture, prefix: &str, after: &str, limit: i64, case_sensitive: bool) -> Vec<String> {
    f.get(|conn| files::list_keys(conn, Dmid(1), BStr::new(prefix), BStr::new(after), limit, case_sensitive))
        .iter()
        .map(BString::to_string)
        .collect()
}

async fn c43_prefixes_are_literal(f: &Fixture) {
    f.domain_with_class().await;
    for key in ["a", "a_b", "aXb", "a%b", "a\\b", "a|b"] {
        let fid = f.upload(key).await;
        f.close(fid, key).await;
    }
    for case_sensitive in [false, true] {
        for (prefix, key) in [("a_", "a_b"), ("a%", "a%b"), ("a\\", "a\\b"), ("a|", "a|b")] {
            assert_eq!(list(f, prefix, "", 10, case_sensitive), [key], "prefix {prefix}");
        }
    }
}

async fn c44_c47_pages_of_keys(f: &Fixture) {
    for (fid, key) in [(1, "a/1"), (2, "a/10"), (3, "a/2"), (4, "b")] {
        f.file(fid, key).await;
    }
    assert_eq!(list(f, "a/", "a/10", 10, false), ["a/2"]);
    let rows: Vec<String> = (0..1500).map(|n| format!("({}, 1, 'k{n:05}', 1, 0, 1)", n + 100)).collect();
    f.sql(&format!("INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES {}", rows.join(", "))).await;
    let mut keys = list(f, "k", "", 1000, false);
    assert_eq!(keys.len(), 1000);
    let last = keys.last().expect("a key").clone();
    let rest = list(f, "k", &last, 1000, false);
    assert_eq!(rest.len(), 500);
    keys.extend(rest);
    assert_eq!(keys, (0..1500).map(|n| format!("k{n:05}")).collect::<Vec<_>>());
}

async fn c45_c46_order_and_case_of_keys(f: &Fixture) {
    for (fid, key) in [(1, "a"), (2, "B"), (3, "c"), (4, "Case_X")] {
        f.file(fid, key).await;
    }
    let all = list(f, "", "", 10, false);
    match f.backend() {
        Backend::Mysql => assert_eq!(all, ["a", "B", "c", "Case_X"]),
        Backend::Sqlite => assert_eq!(all, ["B", "Case_X", "a", "c"]),
        // Another order is the choice of whoever made the server.
        Backend::Postgres => assert_eq!(all.len(), 4),
    }
    let found = list(f, "case", "", 10, false);
    assert_eq!(found.len(), usize::from(f.backend() != Backend::Postgres));
    assert!(list(f, "case", "", 10, true).is_empty());
    assert_eq!(list(f, "Case", "", 10, true), ["Case_X"]);
}

async fn c48_null_keys(f: &Fixture) {
    f.sql("INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES (1, 1, NULL, 1, 0, 1), (2, 1, NULL, 1, 0, 1)")
        .await;
    assert_eq!(f.get(|conn| files::list_after(conn, Fid(0), 10)).len(), 2);
}

async fn c49_c50_c53_locations(f: &Fixture) {
    assert!(f.done(|conn| file_on::add(conn, Fid(5), DevId(1))).await);
    assert!(!f.done(|conn| file_on::add(conn, Fid(5), DevId(1))).await);
    f.has("file_on");
    if f.backend() != Backend::Sqlite {
        let refused = f.write(|conn| file_on::add(conn, Fid(5), DevId(99_999_999))).await;
        assert!(matches!(refused, Err(StoreError::InvalidValue(_))), "{refused:?}");
        f.has("file_on");
    }
    assert_eq!(f.done(|conn| file_on::remove(conn, Fid(5), DevId(1))).await, 1);
    assert_eq!(f.done(|conn| file_on::remove(conn, Fid(5), DevId(1))).await, 0);
}

async fn c52_recount(f: &Fixture) {
    f.file(5, "k").await;
    f.sql("UPDATE file SET devcount = 9; INSERT INTO file_on (fid, devid) VALUES (5, 1), (5, 2), (6, 1)").await;
    f.done(|conn| file_on::recount(conn, Fid(5))).await;
    f.done(|conn| file_on::recount(conn, Fid(77))).await;
    f.has("file WHERE fid = 5 AND devcount = 2");
}

async fn c56_c59_close(f: &Fixture) {
    f.domain_with_class().await;
    let fid = f.upload("k").await;
    assert_eq!(f.close(fid, "k").await, CloseOutcome::Stored);
    let stored = |f: &Fixture| {
        f.has_not("tempfile");
        f.has(&format!("file WHERE fid = {fid} AND dkey = 'k' AND length = 10 AND classid = 0 AND devcount = 1"));
        f.has(&format!("file_on WHERE fid = {fid} AND devid = 1"));
        f.has("file_to_replicate WHERE fromdevid IS NULL AND nexttry = 0 AND failcount = 0");
        f.has_not("file_to_delete2");
    };
    stored(f);
    assert_eq!(f.close(fid, "k").await, CloseOutcome::NoTempfile);
    stored(f);
}

/// D26, D31: an upload is not closed into a domain or class that is gone, nor over a file of its own number.
async fn close_refuses_what_is_gone(f: &Fixture) {
    f.domain_with_class().await;
    let fid = f.upload("k").await;
    for close in [
        CloseUpload { classid: ClassId(6), ..closing(fid, "k") },
        CloseUpload { dmid: Dmid(2), ..closing(fid, "k") },
        CloseUpload { dmid: Dmid(2), classid: ClassId(5), ..closing(fid, "k") },
    ] {
        assert_eq!(f.close_as(close).await, CloseOutcome::ClassGone);
    }
    f.has("tempfile");
    let close = CloseUpload { classid: ClassId(5), ..closing(fid, "k") };
    assert_eq!(f.close_as(close).await, CloseOutcome::Stored);
    f.sql(&format!("INSERT INTO tempfile (fid, createtime, classid, dmid, dkey) VALUES ({fid}, 1, 0, 1, 'z')")).await;
    assert_eq!(f.close(fid, "z").await, CloseOutcome::FidExists);
    f.has("file WHERE dkey = 'k'");
}

async fn c60_discard(f: &Fixture) {
    let fid = f.upload("k").await;
    assert!(f.done(move |conn| files::discard_upload(conn, fid, DevId(3))).await);
    f.has_not("tempfile");
    f.has_not("file");
    f.has(&format!("file_on WHERE fid = {fid} AND devid = 3"));
    f.has(&format!("file_to_delete2 WHERE fid = {fid}"));
    assert!(!f.done(move |conn| files::discard_upload(conn, fid, DevId(3))).await);
}

async fn c61_close_with_checksum(f: &Fixture) {
    f.domain_with_class().await;
    let fid = f.upload("k").await;
    let close = CloseUpload { checksum: Some((1, vec![0xAB; 16])), ..closing(fid, "k") };
    f.close_as(close).await;
    assert_eq!(f.get(|conn| checksums::find(conn, fid)), Some((1, vec![0xAB; 16])));
}

/// Many threads close different uploads of one key at once.
async fn c62_concurrent_closers_of_one_key(f: &Fixture) {
    const THREADS: usize = 4;
    const ROUNDS: usize = 25;
    f.domain_with_class().await;
    let outcomes: Vec<(Fid, StoreResult<CloseOutcome>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (store, way) = (f.store.clone(), f.way);
                scope.spawn(move || {
                    let session = store.session().expect("a session");
                    block_on(async {
                        let mut outcomes = Vec::new();
                        for _ in 0..ROUNDS {
                            let new = new_upload(None, "k");
                            let fid = way.register(&session, new).await.expect("an upload");
                            outcomes.push((fid, way.close(&session, closing(fid, "k")).await));
                        }
                        outcomes
                    })
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
    });
    f.has("file");
    let owner = f.get(|conn| files::find_by_key(conn, Dmid(1), BStr::new("k"))).expect("an owner").fid;
    let mut stored = 0;
    for (fid, outcome) in outcomes {
        match outcome {
            Ok(CloseOutcome::Stored) => {
                stored += 1;
                let queued = f.count(&format!("file_to_delete2 WHERE fid = {fid}"));
                assert_eq!(queued, i64::from(fid != owner), "fid {fid}, owner {owner}");
            }
            Ok(other) => panic!("{fid}: {other:?}"),
            Err(error) => {
                assert_eq!(error, StoreError::Deadlock, "{fid}");
                f.has(&format!("tempfile WHERE fid = {fid}"));
            }
        }
    }
    assert_eq!(f.count("file_to_delete2"), stored - 1);
}

async fn c63_delete_by_key(f: &Fixture) {
    f.file(7, "k").await;
    f.sql("INSERT INTO file_on (fid, devid) VALUES (7, 1)").await;
    assert_eq!(f.delete("k").await, Some(Fid(7)));
    f.has_not("file");
    f.has(&format!("file_to_delete2 WHERE fid = 7 AND nexttry <= {}", f.now()));
    f.has("file_on");
    assert_eq!(f.delete("k").await, None);
}

/// C64, C78: a change that fails after its first statement leaves nothing, and a deadlock that does not end is an error.
async fn c64_c78_failed_writes_leave_nothing(f: &Fixture) {
    f.file(7, "k").await;
    let failed = f
        .write(|conn| {
            files::delete_by_key(conn, Dmid(1), BStr::new("k"))?;
            Err::<(), _>(StoreError::Other("broken".to_owned()))
        })
        .await;
    assert_eq!(failed, Err(StoreError::Other("broken".to_owned())));
    f.has("file");
    f.has_not("file_to_delete2");
    let failed = f
        .write(|conn| {
            queues::delete::enqueue(conn, Fid(1), 0)?;
            Err::<(), _>(StoreError::Deadlock)
        })
        .await;
    assert_eq!(failed, Err(StoreError::Deadlock));
    f.has_not("file_to_delete2");
}

/// C66, and as this program has it: a sooner time wins, failures are kept, a parked row starts anew.
async fn c66_enqueue_replication(f: &Fixture) {
    let now = f.now();
    f.sql(&format!(
        "INSERT INTO file_to_replicate (fid, nexttry, fromdevid, failcount) \
         VALUES (22, {}, 7, 3), (23, {PARKED}, NULL, 9), (24, 0, NULL, 1)",
        now + 300
    ))
    .await;
    let enqueue = |fid, secs| f.done(move |conn| queues::replicate::enqueue(conn, Fid(fid), secs));
    let find = |fid| f.get(|conn| queues::replicate::find(conn, Fid(fid))).expect("a row");
    enqueue(22, 500).await;
    assert_eq!((find(22).nexttry, find(22).failcount, find(22).fromdevid), (now + 300, 3, Some(DevId(7))));
    enqueue(22, 0).await;
    assert_eq!((find(22).nexttry, find(22).failcount), (0, 3));
    enqueue(24, 60).await;
    assert_eq!((find(24).nexttry, find(24).failcount), (0, 1));
    enqueue(23, 60).await;
    assert!((find(23).nexttry - now - 60).abs() <= 2, "{:?}", find(23));
    assert_eq!(find(23).failcount, 0);
    enqueue(25, 1).await;
    assert!((find(25).nexttry - now - 1).abs() <= 2);
}

/// J50: claimed rows come up again in 1000 s, with the failures they had. J52: rows of later times, and parked ones, stay.
/// J53: urgent rows come first.
async fn c67_c68_claim(f: &Fixture) {
    let now = f.now();
    f.sql(&format!(
        "INSERT INTO file_to_replicate (fid, nexttry, failcount) \
         VALUES (1, {}, 2), (2, 0, 0), (3, {}, 0), (4, {PARKED}, 0)",
        now - 5,
        now + 60
    ))
    .await;
    assert_eq!(f.get(queues::due), queues::Due { replicate: true, ..queues::Due::default() });
    let claimed = f.session.claim_replicate(10).await.expect("a claim");
    assert_eq!(claimed.iter().map(|todo| todo.fid.0).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(claimed[1].failcount, 2);
    for todo in &claimed {
        assert!((todo.nexttry - now - 1000).abs() <= 2, "{todo:?}");
        f.has(&format!("file_to_replicate WHERE fid = {} AND nexttry = {}", todo.fid, todo.nexttry));
    }
    assert_eq!(f.session.claim_replicate(10).await, Ok(vec![]));
    assert_eq!(f.get(queues::due), queues::Due::default());
}

/// J51.
async fn c69_two_claimers(f: &Fixture) {
    let rows: Vec<String> = (1..=100).map(|fid| format!("({fid}, 1)")).collect();
    f.sql(&format!("INSERT INTO file_to_delete2 (fid, nexttry) VALUES {}", rows.join(", "))).await;
    let mut fids: Vec<i64> = std::thread::scope(|scope| {
        let claimers: Vec<_> = (0..2)
            .map(|_| {
                // A store of its own: another tracker.
                let store = f.database.open();
                scope.spawn(move || {
                    let session = store.session().expect("a session");
                    let claimed = block_on(session.claim_delete(60)).expect("a claim");
                    claimed.into_iter().map(|todo| todo.fid.0).collect::<Vec<_>>()
                })
            })
            .collect();
        claimers.into_iter().flat_map(|claimer| claimer.join().expect("a thread")).collect()
    });
    fids.sort_unstable();
    assert_eq!(fids, (1..=100).collect::<Vec<_>>());
}

/// A row that somebody touched after the claim stays, and is due; so does that of a file that has come back.
async fn claim_and_finish(f: &Fixture) {
    f.file(3, "back").await;
    for fid in [1, 2, 3, 4] {
        f.done(move |conn| queues::replicate::enqueue(conn, Fid(fid), 0)).await;
    }
    let claimed = f.session.claim_replicate(10).await.expect("a claim");
    f.done(|conn| queues::replicate::enqueue(conn, Fid(2), 0)).await;
    f.sql("UPDATE file_to_replicate SET nexttry = nexttry + 1 WHERE fid = 4").await;
    let mut finished = Vec::new();
    for todo in claimed {
        let gone = WorkedTodo { todo, classid: None };
        finished.push((todo.fid.0, f.done(move |conn| queues::replicate::finish(conn, &gone)).await));
    }
    finished.sort_unstable();
    assert_eq!(finished, [(1, true), (2, false), (3, false), (4, false)]);
    f.has("file_to_replicate WHERE fid = 2 AND nexttry = 0");
    assert_eq!(f.count(&format!("file_to_replicate WHERE nexttry <= {}", f.now())), 3);
    assert_eq!(f.count("file_to_replicate"), 3);
}

/// A claimed row, as if it had been worked on by this class of the file.
async fn claimed_in_class(f: &Fixture, classid: i64) -> WorkedTodo {
    f.sql("DELETE FROM file_to_replicate").await;
    f.done(|conn| queues::replicate::enqueue(conn, Fid(1), 0)).await;
    let claimed = f.session.claim_replicate(1).await.expect("a claim");
    WorkedTodo { todo: claimed[0], classid: Some(ClassId(classid)) }
}

/// W24: a row that is as it was claimed is done with only by the class that the file has now. Of two claims of the same
/// second the second shows by leaving the row.
async fn a_new_class_keeps_its_row(f: &Fixture) {
    f.domain_with_class().await;
    f.file(1, "k").await;
    let due = |failcount| format!("file_to_replicate WHERE nexttry <= {} AND failcount = {failcount}", f.now());
    let outdated = claimed_in_class(f, 5).await;
    assert!(!f.done(move |conn| queues::replicate::finish(conn, &outdated)).await);
    f.has(&due(0));
    let outdated = claimed_in_class(f, 5).await;
    assert!(!f.done(move |conn| queues::replicate::reschedule(conn, &outdated, 500)).await);
    f.has(&due(0));
    for is_finish in [true, false] {
        let first = claimed_in_class(f, 0).await;
        assert!(f.done(move |conn| queues::replicate::leave(conn, &first.todo)).await);
        f.has(&format!("file_to_replicate WHERE nexttry = {}", first.todo.nexttry - 1));
        let is_done = match is_finish {
            true => f.done(move |conn| queues::replicate::finish(conn, &first)).await,
            false => f.done(move |conn| queues::replicate::reschedule(conn, &first, 500)).await,
        };
        assert!(!is_done);
        f.has(&due(0));
    }
    let put_off = claimed_in_class(f, 0).await;
    assert!(f.done(move |conn| queues::replicate::reschedule(conn, &put_off, 500)).await);
    f.has(&format!("file_to_replicate WHERE nexttry >= {} AND failcount = 1", f.now() + 490));
    let current = claimed_in_class(f, 0).await;
    assert!(f.done(move |conn| queues::replicate::finish(conn, &current)).await);
    f.has_not("file_to_replicate");
}

/// J61: only what nobody wants looked at again waits for a person.
async fn parking(f: &Fixture) {
    let claimed = claimed_in_class(f, 0).await.todo;
    f.done(|conn| queues::replicate::enqueue(conn, Fid(1), 0)).await;
    assert!(!f.done(move |conn| queues::replicate::park(conn, &claimed)).await);
    f.has("file_to_replicate WHERE nexttry = 0 AND failcount = 0");
    let claimed = claimed_in_class(f, 0).await.todo;
    assert!(f.done(move |conn| queues::replicate::park(conn, &claimed)).await);
    f.has(&format!("file_to_replicate WHERE nexttry = {PARKED} AND failcount = 1"));
}

async fn c73_c74_reschedule(f: &Fixture) {
    let now = f.now();
    f.sql("INSERT INTO file_to_replicate (fid, nexttry, failcount) VALUES (1, 0, 2), (2, 0, 255)").await;
    f.sql("INSERT INTO file_to_delete2 (fid, nexttry, failcount) VALUES (1, 0, 2), (2, 0, 255)").await;
    for todo in f.session.claim_replicate(10).await.expect("a claim") {
        let gone = WorkedTodo { todo, classid: None };
        assert!(f.done(move |conn| queues::replicate::reschedule(conn, &gone, 77)).await);
    }
    for (fid, failcount) in [(1, 3), (2, 255)] {
        let row = f.get(|conn| queues::replicate::find(conn, Fid(fid))).expect("a row");
        assert_eq!(row.failcount, failcount);
        assert!((row.nexttry - now - 77).abs() <= 2);
        assert!(f.done(move |conn| queues::delete::reschedule_in(conn, Fid(fid), 77)).await);
        let row = f.get(|conn| queues::delete::find(conn, Fid(fid))).expect("a row");
        assert_eq!(row.failcount, failcount);
        assert!((row.nexttry - now - 77).abs() <= 2);
        assert!(f.done(move |conn| queues::delete::put_off(conn, Fid(fid), 99)).await);
        let row = f.get(|conn| queues::delete::find(conn, Fid(fid))).expect("a row");
        assert_eq!(row.failcount, failcount);
        assert!((row.nexttry - now - 99).abs() <= 2);
    }
    assert!(!f.done(|conn| queues::delete::reschedule_in(conn, Fid(3), 1)).await);
    let row = f.get(|conn| queues::replicate::find(conn, Fid(1))).expect("a row");
    let todo = queues::replicate::ReplicateTodo {
        fid: row.fid,
        nexttry: row.nexttry,
        failcount: row.failcount,
        fromdevid: None,
        flags: 0,
    };
    let stale = queues::replicate::ReplicateTodo { nexttry: row.nexttry - 1, ..todo };
    assert!(!f.done(move |conn| queues::replicate::park(conn, &stale)).await, "somebody wants it looked at");
    assert!(f.done(move |conn| queues::replicate::park(conn, &todo)).await);
    f.has(&format!("file_to_replicate WHERE fid = 1 AND nexttry = {PARKED}"));
}

async fn c75_c76_wake_all(f: &Fixture) {
    let now = f.now();
    f.sql(&format!("INSERT INTO file_to_replicate (fid, nexttry) VALUES (1, {}), (2, {PARKED}), (3, 0)", now + 50))
        .await;
    assert_eq!(f.get(queues::replicate::untried_deferred_count), 1);
    // What failed may wait for hours: no work that comes to an end (J107, replacement).
    f.sql(&format!("INSERT INTO file_to_replicate (fid, nexttry, failcount) VALUES (4, {}, 1)", now + 50)).await;
    assert_eq!(f.get(queues::replicate::untried_deferred_count), 1);
    f.sql("DELETE FROM file_to_replicate WHERE fid = 4").await;
    assert_eq!(f.done(queues::replicate::wake_all).await, 2);
    assert_eq!(f.count(&format!("file_to_replicate WHERE nexttry >= {now} AND nexttry <= {}", now + 2)), 2);
}

async fn c77_enqueue_deletion(f: &Fixture) {
    f.sql("INSERT INTO file_to_delete2 (fid, nexttry, failcount) VALUES (31, 123, 4)").await;
    f.done(|conn| queues::delete::enqueue(conn, Fid(31), 0)).await;
    f.has("file_to_delete2 WHERE fid = 31 AND nexttry = 123 AND failcount = 4");
    assert!(f.done(|conn| queues::delete::finish(conn, Fid(31))).await);
    assert!(!f.done(|conn| queues::delete::finish(conn, Fid(31))).await);
    f.write(|conn| queues::delete::enqueue(conn, Fid(31), 0)).await.expect("enqueued");
    assert!(f.done(|conn| file_on::add(conn, Fid(31), DevId(1))).await);
    assert!(!f.done(|conn| queues::delete::finish_without_copies(conn, Fid(31))).await, "there is a copy to delete");
    assert_eq!(f.write(|conn| file_on::remove(conn, Fid(31), DevId(1))).await, Ok(1));
    assert!(f.done(|conn| queues::delete::finish_without_copies(conn, Fid(31))).await);
}

/// J102: due rows of the old queues move to the new one, where a row that is there stays.
async fn old_rows_move_over(f: &Fixture) {
    assert!(!f.get(queues::old_delete::is_due));
    let now = f.now();
    f.sql(&format!(
        "INSERT INTO file_to_delete_later (fid, delafter) VALUES (4, {}), (5, {}); \
         INSERT INTO file_to_delete2 (fid, nexttry, failcount) VALUES (2, {}, 7)",
        now - 1,
        now + 5000,
        now + 600
    ))
    .await;
    assert!(f.get(queues::old_delete::is_due));
    f.sql("INSERT INTO file_to_delete (fid) VALUES (1), (2), (3)").await;
    assert_eq!(f.done(|conn| queues::old_delete::move_over(conn, 2)).await, 3);
    assert!(f.get(queues::old_delete::is_due));
    assert_eq!(f.done(|conn| queues::old_delete::move_over(conn, 2)).await, 1);
    assert!(!f.get(queues::old_delete::is_due));
    f.has_not("file_to_delete");
    f.has("file_to_delete_later WHERE fid = 5");
    assert_eq!(f.count("file_to_delete_later"), 1);
    f.has(&format!("file_to_delete2 WHERE fid = 2 AND failcount = 7 AND nexttry = {}", now + 600));
    assert_eq!(
        f.count(&format!("file_to_delete2 WHERE fid IN (1, 3, 4) AND nexttry BETWEEN {now} AND {}", now + 5)),
        3
    );
}

/// W14: a fid with or without copies, owned by a key or not.
async fn copies_of_fids_that_nobody_owns(f: &Fixture) {
    f.file(1, "a").await;
    f.file(2, "b").await;
    f.sql("INSERT INTO file_on (fid, devid) VALUES (1, 7), (3, 9), (3, 7)").await;
    let found = |fid| f.get(|conn| file_on::find_unless_owned(conn, Fid(fid)));
    assert_eq!([1, 2].map(found), [None, None]);
    let unowned = |devids, is_open| Some(Unowned { devids, is_open });
    assert_eq!(found(3), unowned(vec![DevId(7), DevId(9)], false));
    assert_eq!(found(4), unowned(Vec::new(), false));
    let columns = "INSERT INTO tempfile (fid, createtime, classid, dmid, dkey)";
    f.sql(&format!("{columns} VALUES (1, 1, 0, 1, 'a'), (3, 1, 0, 1, 'c'), (4, 1, 0, 1, 'd')")).await;
    assert_eq!(found(3), unowned(vec![DevId(7), DevId(9)], true));
    assert_eq!(found(4), unowned(Vec::new(), true));
    assert_eq!(found(1), None);
    // W13: whoever deletes the row has the fid, and a file is left alone.
    let mut may_go = Vec::new();
    for fid in [1, 2, 3, 4, 5] {
        may_go.push(f.done(move |conn| tempfiles::end_for_deletion(conn, Fid(fid))).await);
    }
    assert_eq!(may_go, [false, false, true, true, true]);
    f.has_not("tempfile");
}

/// Devices 1 and 3 are dead, 2 is alive, 4 is down; 9 is unknown.
async fn some_dead_devices(f: &Fixture) {
    f.sql(
        "INSERT INTO device (devid, hostid, status) VALUES (1, 1, 'dead'), (2, 1, 'alive'), (3, 1, 'dead'), (4, 1, 'down'); \
         INSERT INTO file_on (fid, devid) VALUES \
         (10, 1), (10, 2), (11, 1), (12, 1), (12, 3), (13, 1), (13, 9), (14, 1), (14, 2), (15, 1), (15, 4), (16, 1), (16, 2)",
    )
    .await;
}

fn fids(fids: impl IntoIterator<Item = i64>) -> Vec<Fid> {
    fids.into_iter().map(Fid).collect()
}

/// J105, J109, J114: files are queued as `queues::replicate::enqueue` does it, their locations are gone, the count of
/// copies is not touched. Last known copies stay, if so wanted.
async fn reaping_queues_and_removes(f: &Fixture) {
    some_dead_devices(f).await;
    let now = f.now();
    f.file(10, "k").await;
    f.sql(&format!(
        "UPDATE file SET devcount = 2; INSERT INTO file_to_replicate (fid, nexttry, failcount) \
         VALUES (14, {PARKED}, 9), (15, {}, 3), (16, 0, 1)",
        now + 5000
    ))
    .await;
    let keeps_all = |these: &[i64]| f.get(|conn| reaping::keeps_all(conn, &fids(these.iter().copied())));
    assert_eq!([&[11, 12, 13][..], &[11, 10], &[15]].map(keeps_all), [true, false, false]);
    let reaped = f.done(|conn| reaping::reap(conn, DevId(1), &fids(10..=16), true)).await;
    assert_eq!(reaped, Reaped::Dead { removed: 4, kept: fids([11, 12, 13]) });
    assert_eq!(f.count("file_on WHERE devid = 1"), 3);
    assert_eq!(f.count("file_on"), 9, "nothing of other devices");
    f.has("file WHERE fid = 10 AND devcount = 2");
    let soon = format!("nexttry BETWEEN {} AND {}", now + 1, now + 4);
    f.has(&format!("file_to_replicate WHERE fid = 10 AND failcount = 0 AND {soon}"));
    f.has(&format!("file_to_replicate WHERE fid = 14 AND failcount = 0 AND {soon}"));
    f.has(&format!("file_to_replicate WHERE fid = 15 AND failcount = 3 AND {soon}"));
    f.has("file_to_replicate WHERE fid = 16 AND failcount = 1 AND nexttry = 0");
    assert_eq!(f.count("file_to_replicate"), 4, "what stays is not queued");
    // As the reference does it.
    let reaped = f.done(|conn| reaping::reap(conn, DevId(1), &fids([11, 12, 13]), false)).await;
    assert_eq!(reaped, Reaped::Dead { removed: 3, kept: Vec::new() });
    f.has_not("file_on WHERE devid = 1");
    assert_eq!(f.count("file_to_replicate"), 7);
}

/// J111, W19: what counts is the database. A device that is unknown, or of unknown status, is not dead.
async fn reaping_leaves_devices_that_are_not_dead(f: &Fixture) {
    some_dead_devices(f).await;
    f.sql("INSERT INTO device (devid, hostid, status) VALUES (5, 1, NULL); INSERT INTO file_on (fid, devid) VALUES (10, 5)")
        .await;
    for devid in [2, 4, 5, 9] {
        for keep_last_copies in [true, false] {
            let reap = move |conn: &mut StoreConnection| {
                reaping::reap(conn, DevId(devid), &fids([10, 13, 15]), keep_last_copies)
            };
            assert_eq!(f.done(reap).await, Reaped::NotDead, "{devid}");
        }
    }
    assert_eq!(f.count("file_on"), 14);
    f.has_not("file_to_replicate");
}

/// J109: a change that is broken off neither queues nor removes; a large one is as good as a small one.
async fn reaping_is_all_or_nothing(f: &Fixture) {
    f.sql("INSERT INTO device (devid, hostid, status) VALUES (1, 1, 'dead'), (2, 1, 'alive')").await;
    let rows: Vec<String> = (1..=2500).map(|fid| format!("({fid}, 1), ({fid}, 2)")).collect();
    f.sql(&format!("INSERT INTO file_on (fid, devid) VALUES {}", rows.join(", "))).await;
    let broken_off: StoreResult<Reaped> = f
        .write(|conn| {
            reaping::reap(conn, DevId(1), &fids(1..=2500), true)?;
            Err(StoreError::Other("broken off".to_owned()))
        })
        .await;
    assert!(broken_off.is_err());
    assert_eq!((f.count("file_on"), f.count("file_to_replicate")), (5000, 0));
    let reaped = f.done(|conn| reaping::reap(conn, DevId(1), &fids(1..=2500), true)).await;
    assert_eq!(reaped, Reaped::Dead { removed: 2500, kept: Vec::new() });
    assert_eq!((f.count("file_on"), f.count("file_on WHERE devid = 2")), (2500, 2500));
    assert_eq!(f.count("file_to_replicate"), 2500);
}

/// Every location of a device comes up once, whatever is removed on the way; others do not.
async fn pages_of_a_device(f: &Fixture) {
    f.sql("INSERT INTO file_on (fid, devid) VALUES (7, 1), (3, 1), (3, 2), (5, 1), (900000, 1), (1, 2), (4, 1)").await;
    let page = |after, limit| f.get(|conn| reaping::page(conn, DevId(1), after, limit));
    let (mut found, mut end) = (Vec::new(), Position::START);
    for rows in [2, 2, 1] {
        let Page { fids, end: next } = page(end, 2);
        assert_eq!(fids.len(), rows);
        assert!(next > end);
        let gone = fids[0];
        f.done(move |conn| file_on::remove(conn, gone, DevId(1))).await;
        found.extend(fids);
        end = next;
    }
    assert_eq!(page(end, 2), Page { fids: Vec::new(), end });
    found.sort_unstable();
    assert_eq!(found, fids([3, 4, 5, 7, 900_000]));
}

async fn todo_rows(f: &Fixture) {
    f.sql("INSERT INTO file_to_queue (fid, devid, type, nexttry, failcount, flags, arg) VALUES (11, 3, 2, 5, 1, 0, '4,5')")
        .await;
    let row = f.get(|conn| queues::todo::find(conn, Fid(11), queues::todo::REBALANCE)).expect("a row");
    assert_eq!((row.devid, row.nexttry, row.failcount, row.arg.as_deref()), (Some(DevId(3)), 5, 1, Some("4,5")));
    assert_eq!(f.get(|conn| queues::todo::find(conn, Fid(11), queues::todo::FSCK)), None);
}

/// A fid that is queued for fsck and for rebalance: a claim of the one leaves the other as it is (C70, W17).
async fn todo_claims_are_of_one_kind(f: &Fixture) {
    let now = f.now();
    f.sql(
        "INSERT INTO file_to_queue (fid, devid, type, nexttry, failcount, flags, arg) \
           VALUES (11, NULL, 1, 5, 2, 0, NULL), (11, 3, 2, 6, 0, 0, '4,5')",
    )
    .await;
    assert_eq!(f.get(queues::due), queues::Due { fsck: true, rebalance: true, ..queues::Due::default() });
    let fsck = f.session.claim_fsck(10).await.expect("a claim");
    assert_eq!(fsck.iter().map(|todo| (todo.fid, todo.failcount)).collect::<Vec<_>>(), [(Fid(11), 2)]);
    assert!((fsck[0].nexttry - now - 1000).abs() <= 2, "{fsck:?}");
    assert_eq!(f.get(queues::due), queues::Due { rebalance: true, ..queues::Due::default() });
    let moves = f.session.claim_rebalance(10).await.expect("a claim");
    assert_eq!(
        moves.iter().map(|todo| (todo.devid, todo.arg.as_deref())).collect::<Vec<_>>(),
        [(Some(DevId(3)), Some("4,5"))]
    );
    assert_eq!(f.get(queues::due), queues::Due::default());
    let claimed_nexttry = fsck[0].nexttry;
    assert!(f.done(move |conn| queues::todo::release(conn, Fid(11), queues::todo::FSCK, claimed_nexttry)).await);
    assert_eq!(f.get(queues::due), queues::Due { fsck: true, ..queues::Due::default() });
    assert_eq!(f.get(|conn| queues::todo::count(conn, queues::todo::REBALANCE)), 1);
    let claimed = moves[0].clone();
    assert!(f.done(move |conn| queues::todo::finish_move(conn, &claimed)).await);
    f.has("file_to_queue WHERE type = 1");
}

/// A move that took longer than its claim does not end what was queued since: not the same move, claimed by another
/// worker, nor one away from another source.
async fn a_move_ends_its_own_row(f: &Fixture) {
    f.sql("INSERT INTO file_to_queue (fid, devid, type, nexttry, failcount, flags) VALUES (11, 3, 2, 6, 0, 0)").await;
    let claimed = f.session.claim_rebalance(10).await.expect("a claim")[0].clone();
    for change in ["devid = 4", "devid = NULL", "devid = 3, nexttry = nexttry + 1"] {
        f.sql(&format!("UPDATE file_to_queue SET {change}")).await;
        let claimed = claimed.clone();
        assert!(!f.done(move |conn| queues::todo::finish_move(conn, &claimed)).await, "{change}");
    }
    f.sql("UPDATE file_to_queue SET nexttry = nexttry - 1").await;
    assert!(f.done(move |conn| queues::todo::finish_move(conn, &claimed)).await);
    f.sql("INSERT INTO file_to_queue (fid, type, nexttry, failcount, flags) VALUES (12, 2, 6, 0, 0)").await;
    let nowhere = f.session.claim_rebalance(10).await.expect("a claim")[0].clone();
    assert!(f.done(move |conn| queues::todo::finish_move(conn, &nowhere)).await);
    f.has_not("file_to_queue");
}

async fn set_class_enqueues(f: &Fixture) {
    f.domain_with_class().await;
    f.file(1, "k").await;
    assert!(f.done(|conn| files::set_class(conn, Fid(1), ClassId(5))).await);
    f.has("file WHERE classid = 5");
    f.has("file_to_replicate WHERE fid = 1 AND nexttry = 0");
    assert!(!f.done(|conn| files::set_class(conn, Fid(2), ClassId(5))).await);
    assert!(!f.done(|conn| files::set_class(conn, Fid(1), ClassId(6))).await);
    f.has("file WHERE classid = 5");
}

async fn locate_finds_file_and_devices(f: &Fixture) {
    f.file(1, "a").await;
    f.file(2, "b").await;
    f.sql("INSERT INTO file_on (fid, devid) VALUES (1, 3), (1, 1), (3, 9)").await;
    let (row, mut devids) = f.get(|conn| files::locate(conn, Dmid(1), BStr::new("a"))).expect("a file");
    devids.sort();
    assert_eq!((row.fid, row.dkey.as_slice(), devids), (Fid(1), &b"a"[..], vec![DevId(1), DevId(3)]));
    let (row, devids) = f.get(|conn| files::locate(conn, Dmid(1), BStr::new("b"))).expect("a file");
    assert_eq!((row.fid, devids), (Fid(2), vec![]));
    assert_eq!(f.get(|conn| files::locate(conn, Dmid(1), BStr::new("c"))), None);
    let (_, mut devids) = f.get(|conn| files::with_devids_by_fid(conn, Fid(1))).expect("a file");
    devids.sort();
    assert_eq!(devids, [DevId(1), DevId(3)]);
    assert_eq!(f.get(|conn| files::with_devids_by_fid(conn, Fid(3))), None);
}

async fn c79_c80_c81_server_settings(f: &Fixture) {
    f.done(|conn| server_settings::set(conn, "x", Some("1"))).await;
    f.done(|conn| server_settings::set(conn, "x", Some("2"))).await;
    assert_eq!(f.get(|conn| server_settings::get(conn, "x")).as_deref(), Some("2"));
    assert_eq!(f.get(server_settings::all).get("x").map(String::as_str), Some("2"));
    f.done(|conn| server_settings::set(conn, "x", None)).await;
    assert_eq!(f.get(|conn| server_settings::get(conn, "x")), None);
    for (by, sum) in [(3, 3), (4, 7), (0, 7), (1, 8)] {
        assert_eq!(f.done(move |conn| server_settings::increment(conn, "c", by)).await, sum);
    }
    f.done(|conn| server_settings::set(conn, "c", Some("123456789012345678"))).await;
    f.done(|conn| server_settings::increment(conn, "c", 1)).await;
    assert_eq!(f.get(|conn| server_settings::get(conn, "c")).as_deref(), Some("123456789012345679"));
    f.done(|conn| server_settings::set(conn, "c", Some("many"))).await;
    let refused = f.write(|conn| server_settings::increment(conn, "c", 1)).await;
    assert!(matches!(refused, Err(StoreError::InvalidValue(_))), "{refused:?}");
}

async fn c82_domains(f: &Fixture) {
    f.domain_with_class().await;
    let create = |name: &'static str| f.write(move |conn| domains::create(conn, BStr::new(name)));
    assert_eq!(create("new").await, Ok(Dmid(2)));
    assert_eq!(create("new").await, Err(StoreError::Duplicate));
    assert_eq!(f.get(|conn| domains::find(conn, BStr::new("new"))), Some(Dmid(2)));
    assert_eq!(f.get(|conn| domains::find(conn, BStr::new("other"))), None);
    let names: Vec<String> = f.get(domains::all).iter().map(|row| row.namespace.to_string()).collect();
    assert_eq!(names, ["d", "new"]);
}

fn fields(mindevcount: i64) -> ClassFields {
    ClassFields { mindevcount, replpolicy: None, hashtype: None }
}

async fn c83_c85_classes(f: &Fixture) {
    f.sql(
        "INSERT INTO domain (dmid, namespace) VALUES (1, 'd'); \
         INSERT INTO class (dmid, classid, classname, mindevcount) VALUES (1, 1, 'one', 2)",
    )
    .await;
    let create = |name: &'static str, fields: ClassFields| {
        f.write(move |conn| classes::create(conn, Dmid(1), BStr::new(name), &fields))
    };
    let full =
        ClassFields { mindevcount: 3, replpolicy: Some("HostsPerNetwork()".to_owned()), hashtype: Some(Some(1)) };
    assert_eq!(create("two", full).await, Ok(ClassId(2)));
    assert_eq!(create("two", fields(2)).await, Err(StoreError::Duplicate));
    assert_eq!(create("default", fields(2)).await, Ok(ClassId(0)));
    assert_eq!(create("default", fields(2)).await, Err(StoreError::Duplicate));
    assert_eq!(f.get(|conn| classes::find(conn, Dmid(1), BStr::new("default"))), Some(ClassId(0)));
    let row = f.get(classes::all).into_iter().find(|row| row.classid == ClassId(2)).expect("a class");
    assert_eq!((row.mindevcount, row.replpolicy.as_deref(), row.hashtype), (3, Some("HostsPerNetwork()"), Some(1)));

    let update = |fields: ClassFields| f.done(move |conn| classes::update(conn, Dmid(1), ClassId(2), &fields));
    assert!(update(fields(4)).await);
    f.has("class WHERE classid = 2 AND mindevcount = 4 AND hashtype = 1 AND replpolicy = 'HostsPerNetwork()'");
    assert!(update(ClassFields { mindevcount: 4, replpolicy: Some(String::new()), hashtype: Some(None) }).await);
    f.has("class WHERE classid = 2 AND hashtype IS NULL AND replpolicy = ''");

    f.sql("INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES (1, 1, 'k', 1, 2, 1)").await;
    let delete = |classid| f.done(move |conn| classes::delete(conn, Dmid(1), ClassId(classid)));
    assert_eq!(delete(2).await, DeleteOutcome::HasFiles);
    assert_eq!(delete(1).await, DeleteOutcome::Deleted);
    assert_eq!(delete(1).await, DeleteOutcome::Missing);

    // D18: a number that something still names is not given out again.
    f.sql(
        "INSERT INTO tempfile (fid, createtime, classid, dmid, dkey) VALUES (9, 1, 7, 1, 'open'), (10, 1, 20, 2, 'open')",
    )
    .await;
    assert_eq!(create("late", fields(2)).await, Ok(ClassId(8)));
    f.sql(
        "INSERT INTO mogilefs_deleted_file (fid, dmid, dkey, length, classid, devcount, deleted_at, due_at) \
         VALUES (11, 1, 'gone', 1, 12, 1, 1, 2)",
    )
    .await;
    assert_eq!(create("later", fields(2)).await, Ok(ClassId(13)));
}

async fn c84_delete_domain(f: &Fixture) {
    f.sql(
        "INSERT INTO domain (dmid, namespace) VALUES (1, 'files'), (2, 'classes'), (3, 'plain'); \
         INSERT INTO class (dmid, classid, classname, mindevcount) VALUES (2, 3, 'c', 2), (3, 0, 'default', 2)",
    )
    .await;
    f.file(1, "k").await;
    let delete = |dmid| f.done(move |conn| domains::delete(conn, Dmid(dmid)));
    assert_eq!(delete(1).await, DeleteOutcome::HasFiles);
    assert_eq!(delete(2).await, DeleteOutcome::HasClasses);
    assert_eq!(delete(3).await, DeleteOutcome::Deleted);
    assert_eq!(delete(3).await, DeleteOutcome::Missing);
    assert_eq!(f.count("domain"), 2);
    f.has_not("class WHERE dmid = 3");
}

async fn c86_hosts(f: &Fixture) {
    let create = |name: &'static str, changes: HostChanges| f.write(move |conn| hosts::create(conn, name, &changes));
    let ip = |ip: &str| HostChanges { ip: Some(ip.to_owned()), ..HostChanges::default() };
    assert_eq!(create("h1", ip("10.0.0.1")).await, Ok(HostId(1)));
    f.has("host WHERE hostid = 1 AND status = 'down' AND http_port = 7500 AND http_get_port IS NULL AND altip IS NULL");
    assert_eq!(create("h1", ip("10.0.0.2")).await, Err(StoreError::Duplicate));
    assert_eq!(create("h2", ip("10.0.0.1")).await, Err(StoreError::Duplicate));
    let full = HostChanges {
        ip: Some("10.0.0.2".to_owned()),
        http_port: Some(80),
        http_get_port: Some(81),
        altip: Some("192.168.0.2".to_owned()),
        altmask: Some("192.168.0.0/16".to_owned()),
        status: Some(HostStatus::Alive),
    };
    assert_eq!(create("h2", full).await, Ok(HostId(2)));
    f.has("host WHERE status = 'alive' AND http_port = 80 AND http_get_port = 81 AND altip = '192.168.0.2'");

    let update = |hostid, changes: HostChanges| f.write(move |conn| hosts::update(conn, HostId(hostid), &changes));
    assert_eq!(update(1, HostChanges { status: Some(HostStatus::Readonly), ..ip("10.0.0.9") }).await, Ok(true));
    f.has("host WHERE hostid = 1 AND status = 'readonly' AND hostip = '10.0.0.9' AND http_port = 7500");
    assert_eq!(update(1, ip("10.0.0.2")).await, Err(StoreError::Duplicate));
    assert_eq!(update(1, HostChanges::default()).await, Ok(true));
    assert_eq!(update(9, ip("10.0.0.3")).await, Ok(false));
    assert_eq!(f.get(|conn| hosts::find(conn, "h2")), Some(HostId(2)));
    assert_eq!(f.get(hosts::all).len(), 2);

    f.sql("INSERT INTO device (devid, hostid, status) VALUES (1, 1, 'alive')").await;
    let delete = |hostid| f.done(move |conn| hosts::delete(conn, HostId(hostid)));
    assert_eq!(delete(1).await, DeleteOutcome::NotEmpty);
    assert_eq!(delete(2).await, DeleteOutcome::Deleted);
    assert_eq!(delete(2).await, DeleteOutcome::Missing);
}

/// C88 holds by construction: only known statuses can be said.
async fn c87_c88_c89_devices(f: &Fixture) {
    let create = |devid| f.write(move |conn| devices::create(conn, DevId(devid), HostId(1), DeviceStatus::Alive));
    assert_eq!(create(1).await, Ok(()));
    assert_eq!(create(1).await, Err(StoreError::Duplicate));
    assert_eq!(create(2).await, Ok(()));
    f.has("device WHERE devid = 1 AND weight = 100 AND mb_total IS NULL");
    assert!(f.done(|conn| devices::set_status(conn, DevId(1), DeviceStatus::Drain)).await);
    assert!(f.done(|conn| devices::set_weight(conn, DevId(1), 50)).await);
    assert!(!f.done(|conn| devices::set_weight(conn, DevId(9), 50)).await);
    let usage = DeviceUsage { devid: DevId(1), mb_total: 1000, mb_used: 10, mb_asof: 1_700_000_000 };
    f.done(move |conn| devices::update_usage(conn, &[usage], 15)).await;
    let rows = f.get(devices::all);
    assert_eq!(rows[0].status.as_deref(), Some("drain"));
    assert_eq!(
        (rows[0].weight, rows[0].mb_total, rows[0].mb_used, rows[0].mb_asof),
        (Some(50), Some(1000), Some(10), Some(1_700_000_000))
    );
    assert_eq!((rows[1].mb_total, rows[1].mb_used, rows[1].mb_asof), (None, None, None));
    usage_figures_are_stored_in_batches(f).await;
}

/// J17: what the table says decides, device by device; others are left alone. 1201 devices need three statements.
async fn usage_figures_are_stored_in_batches(f: &Fixture) {
    f.done(|conn| {
        (1000..2200).try_for_each(|devid| devices::create(conn, DevId(devid), HostId(1), DeviceStatus::Alive))
    })
    .await;
    let usages = |mb_asof: i64| -> Vec<_> {
        let usage =
            move |devid: i64| DeviceUsage { devid: DevId(devid), mb_total: 9_000_000 + devid, mb_used: devid, mb_asof };
        (1000..2200).rev().chain([1]).map(usage).collect()
    };
    let store = async |mb_asof| f.done(move |conn| devices::update_usage(conn, &usages(mb_asof), 15)).await;
    store(1_700_000_015).await;
    f.has("device WHERE devid = 1 AND mb_total = 1000 AND mb_asof = 1700000000");
    for devid in [1000, 1499, 1500, 2199] {
        let total = 9_000_000 + devid;
        f.has(&format!(
            "device WHERE devid = {devid} AND mb_total = {total} AND mb_used = {devid} AND mb_asof = 1700000015"
        ));
    }
    store(1_700_000_016).await;
    f.has(
        "device WHERE devid = 1 AND mb_total = 9000001 AND mb_used = 1 AND mb_asof = 1700000016 AND status = 'drain'",
    );
    f.has("device WHERE devid = 1000 AND mb_asof = 1700000015");
    f.has("device WHERE devid = 2 AND mb_total IS NULL");
    f.sql("DELETE FROM device WHERE devid >= 1000").await;
}

/// Adds events with these codes to the log.
async fn log_events(f: &Fixture, evcodes: &[&str]) {
    for (fid, evcode) in (1..).zip(evcodes) {
        f.sql(&format!("INSERT INTO fsck_log (utime, fid, evcode) VALUES (1000, {fid}, '{evcode}')")).await;
    }
}

/// The sums, and up to which number they go.
fn sums(f: &Fixture) -> (Vec<(String, String)>, i64) {
    let settings = f.get(server_settings::all);
    let sums = settings
        .iter()
        .filter_map(|(field, sum)| Some((field.strip_prefix(fsck_log::SUM_PREFIX)?.to_owned(), sum.clone())))
        .collect();
    (sums, f.get(fsck_log::mark))
}

fn counts(counts: &[(&str, i64)]) -> Vec<(String, String)> {
    counts.iter().map(|(evcode, count)| ((*evcode).to_owned(), count.to_string())).collect()
}

async fn c90_c91_fsck_sums(f: &Fixture) {
    f.done(fsck_log::fold).await;
    assert_eq!(sums(f), (vec![], 0));
    log_events(f, &["NOPA", "MISS", "NOPA"]).await;
    f.sql("INSERT INTO fsck_log (utime) VALUES (1000)").await;
    let last = f.get(fsck_log::max_logid);
    for _ in 0..2 {
        f.done(fsck_log::fold).await;
        assert_eq!(sums(f), (counts(&[("MISS", 1), ("NOPA", 2)]), last));
    }
    log_events(f, &["GONE"]).await;
    f.done(fsck_log::clear).await;
    assert_eq!(f.get(fsck_log::max_logid), 0);
    assert_eq!(sums(f).0, counts(&[("GONE", 1), ("MISS", 1), ("NOPA", 2)]), "the row not yet summed is not lost");
    log_events(f, &["MISS"]).await;
    f.done(fsck_log::fold).await;
    assert_eq!(sums(f).0, counts(&[("GONE", 1), ("MISS", 2), ("NOPA", 2)]));
    f.done(fsck_log::clear_unsummed).await;
    assert_eq!(f.get(fsck_log::max_logid), 0);
}

async fn c92_fsck_log(f: &Fixture) {
    log_events(f, &["MISS"; 150]).await;
    let all = f.get(|conn| fsck_log::list_after(conn, 0, 1000));
    assert_eq!(all.len(), 150);
    let page = f.get(|conn| fsck_log::list_after(conn, all[19].logid, 100));
    assert_eq!(page, all[20..120]);
    assert_eq!((page[0].utime, page[0].fid, page[0].devid), (1000, Some(Fid(21)), None));
    assert_eq!(page[0].evcode.as_deref(), Some("MISS"));
    assert!(page.is_sorted_by_key(|row| row.logid));
    let (first, last) = (all[0].logid, all[149].logid);
    assert_eq!(f.get(|conn| fsck_log::counts_by_evcode(conn, first, last)), [("MISS".to_owned(), 149)]);
    assert_eq!(f.get(|conn| fsck_log::counts_by_evcode(conn, last, last)), []);
}

/// D17: emptied by `TRUNCATE`, MySQL numbers from 1 again, below the mark.
async fn sums_after_the_reference_emptied_the_log(f: &Fixture) {
    f.done(|conn| server_settings::set(conn, fsck_log::MARK_FIELD, Some("9000"))).await;
    log_events(f, &["MISS", "MISS"]).await;
    f.done(fsck_log::fold).await;
    let last = f.get(fsck_log::max_logid);
    assert_eq!(sums(f), (counts(&[("MISS", 2)]), last));
}

async fn settings_by_prefix(f: &Fixture) {
    let many = [("a_b1", Some("1")), ("a_b2", Some("0")), ("axb3", Some("3")), ("a_", Some(""))];
    f.done(move |conn| server_settings::set_all(conn, &many)).await;
    for (field, says) in [("a_b1", true), ("a_b2", false), ("a_", false), ("none", false)] {
        assert_eq!(f.get(|conn| server_settings::get_true(conn, field)).is_some(), says, "{field}");
        assert_eq!(server_settings::says(&f.get(server_settings::all), field), says, "{field}");
    }
    assert_eq!(f.done(|conn| server_settings::remove_prefix(conn, "a_b")).await, 2);
    assert_eq!(f.done(|conn| server_settings::remove_prefix(conn, "a_b")).await, 0);
    f.has("server_settings WHERE field = 'axb3'");
    f.has("server_settings WHERE field = 'a_'");
}

/// Of many that set what nobody has set yet, one does.
async fn held_settings_make_others_wait(f: &Fixture) {
    let contenders: Vec<_> = (0..8)
        .map(|number| {
            let session = f.store.session().expect("a session");
            std::thread::spawn(move || {
                block_on(session.write(move |conn| {
                    server_settings::hold(conn)?;
                    if server_settings::get_true(conn, "winner")?.is_some() {
                        return Ok(0);
                    }
                    server_settings::set(conn, "winner", Some(&format!("number {number}")))?;
                    Ok(1)
                }))
            })
        })
        .collect();
    let winners: i32 = contenders.into_iter().map(|one| one.join().expect("no panic").expect("stored")).sum();
    assert_eq!(winners, 1);
}

async fn c93_checksums(f: &Fixture) {
    f.done(|conn| checksums::set(conn, Fid(6), 1, &[1; 16])).await;
    let digest = [0x00, 0xFF, 0x80, 0x27, 0x5C];
    f.done(move |conn| checksums::set(conn, Fid(6), 2, &digest)).await;
    assert_eq!(f.get(|conn| checksums::find(conn, Fid(6))), Some((2, digest.to_vec())));
    assert_eq!(f.done(|conn| checksums::delete(conn, Fid(6))).await, 1);
    assert_eq!(f.done(|conn| checksums::delete(conn, Fid(6))).await, 0);
    assert_eq!(f.get(|conn| checksums::find(conn, Fid(6))), None);
}

async fn c94_locks_exclude(f: &Fixture) {
    // A store of its own: on servers another tracker.
    let other_store = f.database.open();
    let other = other_store.session().expect("a session");
    let guard = f.session.try_lock("test-lock", Duration::ZERO).await.expect("asked").expect("free");
    assert!(guard.is_held());
    assert!(other.try_lock("test-lock", Duration::ZERO).await.expect("asked").is_none());
    assert!(other.try_lock("another", Duration::ZERO).await.expect("asked").is_some());
    let started = Instant::now();
    assert!(other.try_lock("test-lock", Duration::from_millis(300)).await.expect("asked").is_none());
    assert!(started.elapsed() >= Duration::from_millis(300));
    let (released, granted) =
        futures::join!(async { guard.release().await }, other.try_lock("test-lock", Duration::from_secs(10)));
    assert!(released);
    let granted = granted.expect("asked").expect("free by now");
    drop(granted);
    let again = f.session.try_lock("test-lock", Duration::from_secs(5)).await.expect("asked").expect("dropped");
    assert!(again.release().await);
}

async fn locks_of_one_session(f: &Fixture) {
    let first = f.session.try_lock("first", Duration::ZERO).await.expect("asked").expect("free");
    let second = f.session.try_lock("second", Duration::ZERO).await.expect("asked").expect("free");
    assert!(f.session.try_lock("first", Duration::ZERO).await.expect("asked").is_none(), "not re-entrant");
    assert!(first.release().await);
    assert!(second.is_held());
    let waiting = f.session.clone();
    let (granted, ()) = futures::join!(waiting.try_lock("second", Duration::from_secs(10)), async {
        second.release().await;
    });
    assert!(granted.expect("asked").is_some());
}

/// With the write the lock goes, without it the lock stays; who has lost the lock writes nothing.
async fn locks_end_with_their_last_write(f: &Fixture) {
    let lock = async || f.session.try_lock("test-lock", Duration::ZERO).await.expect("asked");
    let guard = lock().await.expect("free");
    let failed: Result<(), _> = guard.write_last(|_conn| Err(StoreError::Refused("not now".to_owned()))).await;
    assert_eq!(failed, Err(StoreError::Refused("not now".to_owned())));
    assert_eq!(guard.write(|conn| file_on::add(conn, Fid(1), DevId(1))).await, Ok(true), "it is held still");
    assert_eq!(guard.write_last(|conn| file_on::add(conn, Fid(2), DevId(1))).await, Ok(true));
    guard.end().await;
    let guard = lock().await.expect("free again");
    if f.backend() == Backend::Sqlite {
        f.sql("UPDATE lock SET hostname = 'elsewhere'").await;
        let refused = guard.write_last(|conn| file_on::add(conn, Fid(3), DevId(1))).await;
        assert!(matches!(&refused, Err(StoreError::Refused(why)) if why.contains("lost")), "{refused:?}");
        f.has_not("file_on WHERE fid = 3");
        f.has("lock WHERE hostname = 'elsewhere'");
    }
}

/// A store that keeps its locks in the table; SQLite refuses that.
fn open_with_leases(f: &Fixture) -> Option<Store> {
    let mut settings = f.database.settings.clone();
    settings.locks = LockKeeping::Table;
    let opened = Store::open(&settings, discard_log());
    if f.backend() == Backend::Sqlite {
        let refused = opened.err();
        assert!(
            matches!(&refused, Some(StoreError::InvalidValue(why)) if why.contains("database.locks")),
            "{refused:?}"
        );
        return None;
    }
    Some(opened.expect("the database opens"))
}

/// C94, C97 for `database.locks = "table"`.
async fn leases_exclude_and_run_out(f: &Fixture) {
    let (Some(one_store), Some(other_store)) = (open_with_leases(f), open_with_leases(f)) else { return };
    let (one, other) = (one_store.session().expect("a session"), other_store.session().expect("a session"));
    let guard = one.try_lock("test-lock", Duration::ZERO).await.expect("asked").expect("free");
    assert!(guard.is_held());
    f.has("mogilefs_lock WHERE name = 'test-lock'");
    assert!(one.try_lock("test-lock", Duration::ZERO).await.expect("asked").is_none(), "not re-entrant");
    let started = Instant::now();
    assert!(other.try_lock("test-lock", Duration::from_millis(300)).await.expect("asked").is_none());
    assert!(started.elapsed() >= Duration::from_millis(300));
    let another = other.try_lock("another", Duration::ZERO).await.expect("asked").expect("free");
    let (released, granted) =
        futures::join!(async { guard.release().await }, other.try_lock("test-lock", Duration::from_secs(10)));
    assert!(released);
    let granted = granted.expect("asked").expect("free by now");
    assert_eq!(granted.write(|conn| file_on::add(conn, Fid(1), DevId(1))).await, Ok(true));

    f.sql("UPDATE mogilefs_lock SET expires_at = 1 WHERE name = 'test-lock'").await;
    let stolen = one.try_lock("test-lock", Duration::ZERO).await.expect("asked").expect("run out");
    let refused = granted.write(|conn| file_on::add(conn, Fid(2), DevId(1))).await;
    assert!(matches!(&refused, Err(StoreError::Refused(why)) if why.contains("lost")), "{refused:?}");
    f.has_not("file_on WHERE fid = 2");
    assert!(!granted.release().await);
    f.has("mogilefs_lock WHERE name = 'test-lock'");
    assert_eq!(stolen.write(|conn| file_on::add(conn, Fid(3), DevId(1))).await, Ok(true));
    assert!(stolen.release().await);
    assert!(another.release().await);
    f.has_not("mogilefs_lock");
}

/// Also where nobody waits for the release, and where the row goes with the last write.
async fn leases_end_with_writes_and_by_dropping(f: &Fixture) {
    let Some(store) = open_with_leases(f) else { return };
    let session = store.session().expect("a session");
    let guard = session.try_lock("test-lock", Duration::ZERO).await.expect("asked").expect("free");
    assert_eq!(guard.write_last(|conn| file_on::add(conn, Fid(1), DevId(1))).await, Ok(true));
    guard.end().await;
    f.has_not("mogilefs_lock");
    drop(session.try_lock("test-lock", Duration::ZERO).await.expect("asked").expect("free"));
    let again = session.try_lock("test-lock", Duration::from_secs(20)).await.expect("asked");
    assert!(again.expect("the row of the dropped one is removed").release().await);
}

/// SQLite: rows of other processes and hosts.
async fn c95_c98_lock_rows_of_others(f: &Fixture) {
    if f.backend() != Backend::Sqlite {
        return;
    }
    let here = gethostname::gethostname().to_string_lossy().into_owned();
    let hold = async |hostname: &str, pid: u32, age_secs: i64| {
        let acquired = f.now() - age_secs;
        f.sql(&format!(
            "DELETE FROM lock; INSERT INTO lock (lockid, hostname, pid, acquiredat) \
             VALUES (880850639, '{hostname}', {pid}, {acquired})"
        ))
        .await;
    };
    let ask = |wait_ms| f.session.try_lock("test-lock", Duration::from_millis(wait_ms));

    hold("elsewhere", 1, 10).await;
    let started = Instant::now();
    assert!(ask(300).await.expect("asked").is_none());
    assert!(started.elapsed() >= Duration::from_millis(300));
    hold("elsewhere", 1, 3602).await;
    assert!(ask(0).await.expect("asked").expect("stolen").release().await);
    f.has_not("lock");

    let mut process = std::process::Command::new("sleep").arg("60").spawn().expect("a process");
    hold(&here, process.id(), 1).await;
    assert!(ask(0).await.expect("asked").is_none());
    process.kill().expect("killed");
    process.wait().expect("ended");
    let guard = ask(2000).await.expect("asked").expect("its holder is gone");
    f.has(&format!("lock WHERE lockid = 880850639 AND pid = {} AND hostname = '{here}'", std::process::id()));
    drop(guard);

    hold(&here, std::process::id(), 1).await;
    assert!(ask(0).await.expect("asked").expect("left by an earlier process").release().await);
}

/// Servers: a cut connection is replaced, and its locks are known to be lost.
async fn c97_c101_lost_connection(f: &Fixture) {
    let (own_id, kill) = match f.backend() {
        Backend::Sqlite => return,
        Backend::Mysql => ("SELECT CONNECTION_ID() AS n", "KILL {id}"),
        Backend::Postgres => ("SELECT pg_backend_pid()::bigint AS n", "SELECT pg_terminate_backend({id})"),
    };
    let other = f.store.session().expect("a session");
    let cut = || {
        let id = f.get(|conn| Ok(diesel::sql_query(own_id).get_result::<Count>(conn)?)).n;
        let statement = kill.replace("{id}", &id.to_string());
        other.read(|conn| conn.batch_execute(&statement).map_err(StoreError::from)).expect("killed");
    };
    cut();
    f.has("server_settings");
    cut();
    assert_eq!(f.write(|conn| file_on::add(conn, Fid(1), DevId(1))).await, Ok(true));

    let guard = f.session.try_lock("cut-lock", Duration::ZERO).await.expect("asked").expect("free");
    cut();
    let refused = f.write(|conn| file_on::add(conn, Fid(2), DevId(1))).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains("1 locks")), "{refused:?}");
    assert!(!guard.is_held());
    let refused = guard.write(|conn| file_on::add(conn, Fid(2), DevId(1))).await;
    assert!(matches!(&refused, Err(StoreError::Refused(why)) if why.contains("lost")), "{refused:?}");
    assert!(!guard.release().await);
    assert_eq!(f.write(|conn| file_on::add(conn, Fid(2), DevId(1))).await, Ok(true));
    assert!(other.try_lock("cut-lock", Duration::from_secs(5)).await.expect("asked").is_some());
}

/// A write that panics is an error of its caller (on servers: the panic itself), and the next one works.
async fn a_panic_takes_nothing_with_it(f: &Fixture) {
    use futures::FutureExt as _;
    let panicking = f.write(|conn| -> StoreResult<()> {
        file_on::add(conn, Fid(1), DevId(1))?;
        panic!("on purpose")
    });
    let good = f.write(|conn| file_on::add(conn, Fid(2), DevId(1)));
    let (panicked, good) = futures::join!(std::panic::AssertUnwindSafe(panicking).catch_unwind(), good);
    assert!(!matches!(panicked, Ok(Ok(()))));
    assert_eq!(good, Ok(true));
    f.has_not("file_on WHERE fid = 1");
    f.has("file_on WHERE fid = 2");
}

/// Writes of many threads, some of which fail: what was answered is there after reopening, and nothing else.
async fn concurrent_writers_lose_nothing(f: &Fixture) {
    const THREADS: i64 = 8;
    const WRITES: i64 = 40;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = f.store.clone();
            scope.spawn(move || {
                let session = store.session().expect("a session");
                block_on(async {
                    for number in 0..WRITES {
                        let fid = Fid(thread * WRITES + number + 1);
                        let fails = number % 5 == 3;
                        let outcome = session
                            .write(move |conn| {
                                file_on::add(conn, fid, DevId(1))?;
                                if fails { Err(StoreError::Other("on purpose".to_owned())) } else { Ok(()) }
                            })
                            .await;
                        assert_eq!(outcome.is_err(), fails, "{outcome:?}");
                    }
                });
            });
        }
    });
    f.store.close();
    let reopened = f.database.open();
    let session = reopened.session().expect("a session");
    for fid in 1..=THREADS * WRITES {
        let stored = session.read(|conn| file_on::devids(conn, Fid(fid))).expect("asked");
        assert_eq!(stored.is_empty(), (fid - 1) % WRITES % 5 == 3, "fid {fid}");
    }
    reopened.close();
}

async fn closed_store_refuses(f: &Fixture) {
    f.store.close();
    f.store.close();
    if f.backend() == Backend::Sqlite {
        let refused = f.write(|conn| file_on::add(conn, Fid(1), DevId(1))).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    assert!(matches!(f.store.session(), Err(StoreError::Unavailable(_))));
}

// ---- deleted files ----

const WINDOW_SECS: i64 = 3600;

fn wanted(key: &str) -> Undelete {
    Undelete { dmid: Dmid(1), dkey: key.into(), fid: None, to_key: None }
}

fn restored(outcome: UndeleteOutcome) -> (i64, String) {
    match outcome {
        UndeleteOutcome::Restored(file) => (file.fid.0, file.dkey.to_string()),
        other => panic!("not restored: {other:?}"),
    }
}

impl Fixture {
    async fn keep_deleted_files(&self) {
        let window = Some(WINDOW_SECS.to_string());
        self.done(move |conn| server_settings::set(conn, "undelete_window_secs", window.as_deref())).await;
    }

    /// A file with copies on the devices 1 and 2.
    async fn file_with_copies(&self, fid: i64, key: &str) {
        self.file(fid, key).await;
        self.sql(&format!("INSERT INTO file_on (fid, devid) VALUES ({fid}, 1), ({fid}, 2)")).await;
    }

    async fn delete(&self, key: &'static str) -> Option<Fid> {
        self.way.delete(&self.session, key).await.expect("an outcome")
    }

    async fn undelete(&self, wanted: Undelete) -> UndeleteOutcome {
        self.done(move |conn| deleted_files::undelete(conn, &wanted)).await
    }

    fn restorable(&self, prefix: &str) -> Vec<i64> {
        let page = self.get(|conn| deleted_files::list(conn, Dmid(1), BStr::new(prefix), Fid(0), 100));
        page.into_iter().map(|file| file.fid.0).collect()
    }
}

/// A database that 2.73, or an earlier version of ours, has set up.
async fn setup_adds_the_table_of_deleted_files(f: &Fixture) {
    f.domain_with_class().await;
    f.keep_deleted_files().await;
    f.sql("DROP TABLE mogilefs_deleted_file").await;
    f.file_with_copies(1, "k").await;
    assert_eq!(f.delete("k").await, Some(Fid(1)), "deletes go on");
    f.has(&format!("file_to_delete2 WHERE fid = 1 AND nexttry <= {}", f.now()));
    assert_eq!(f.undelete(wanted("k")).await, UndeleteOutcome::NotSetUp);
    f.done(|conn| deleted_files::forget(conn, Fid(1))).await;
    assert_eq!(f.done(deleted_files::sweep).await, 0);

    assert_eq!(Store::setup(&f.database.settings), Ok(SetupOutcome::Extended));
    assert_eq!(Store::setup(&f.database.settings), Ok(SetupOutcome::AlreadyCurrent));
    f.has("server_settings WHERE field = 'schema_version' AND value = '17'");
    f.file_with_copies(2, "k").await;
    f.delete("k").await;
    assert_eq!(restored(f.undelete(wanted("k")).await), (2, "k".to_owned()));
}

async fn deleted_files_are_kept_only_if_wanted(f: &Fixture) {
    f.domain_with_class().await;
    for off in [None, Some("0"), Some("soon")] {
        f.done(move |conn| server_settings::set(conn, "undelete_window_secs", off)).await;
        f.file_with_copies(1, "k").await;
        f.delete("k").await;
        f.has(&format!("file_to_delete2 WHERE fid = 1 AND nexttry <= {}", f.now()));
        f.has_not("mogilefs_deleted_file");
        assert_eq!(f.undelete(wanted("k")).await, UndeleteOutcome::NothingDeleted);
        f.sql("DELETE FROM file_to_delete2; DELETE FROM file_on").await;
    }
    f.keep_deleted_files().await;
    f.file_with_copies(2, "k").await;
    let before = f.now();
    f.delete("k").await;
    let due = format!("due_at >= {} AND due_at <= {}", before + WINDOW_SECS, f.now() + WINDOW_SECS);
    f.has(&format!("mogilefs_deleted_file WHERE fid = 2 AND dmid = 1 AND length = 10 AND {due}"));
    f.has("file_to_delete2 q JOIN mogilefs_deleted_file d ON q.fid = d.fid AND q.nexttry = d.due_at AND failcount = 0");
    // A fid that somebody queued before is not ours to bring back.
    f.file_with_copies(3, "queued").await;
    f.sql("INSERT INTO file_to_delete2 (fid, nexttry) VALUES (3, 77)").await;
    f.delete("queued").await;
    f.has("file_to_delete2 WHERE fid = 3 AND nexttry = 77");
    f.has_not("mogilefs_deleted_file WHERE fid = 3");
    // The end of time is not reached.
    f.done(|conn| server_settings::set(conn, "undelete_window_secs", Some("999999999999"))).await;
    f.file_with_copies(4, "for ever").await;
    f.delete("for ever").await;
    f.has(&format!("file_to_delete2 WHERE fid = 4 AND nexttry = {}", PARKED - 1));
}

async fn undelete_brings_a_file_back(f: &Fixture) {
    f.domain_with_class().await;
    f.keep_deleted_files().await;
    let first = f.upload("k").await;
    f.close(first, "k").await;
    let second = f.upload("k").await;
    assert_eq!(f.close(second, "k").await, CloseOutcome::Stored, "overwrites the first");
    f.done(move |conn| file_on::add(conn, second, DevId(4))).await;
    f.delete("k").await;
    f.sql("DELETE FROM file_to_replicate").await;
    assert_eq!(f.restorable(""), [first.0, second.0]);
    assert_eq!((f.restorable("k"), f.restorable("%")), (vec![first.0, second.0], vec![]));

    assert_eq!(restored(f.undelete(wanted("k")).await), (second.0, "k".to_owned()), "the newest");
    f.has(&format!("file WHERE fid = {second} AND dmid = 1 AND length = 10 AND classid = 0 AND devcount = 2"));
    f.has(&format!("file_to_replicate WHERE fid = {second} AND nexttry = 0"));
    f.has_not(&format!("file_to_delete2 WHERE fid = {second}"));
    assert_eq!(f.restorable(""), [first.0]);
    let other = Undelete { fid: Some(first), to_key: Some("other".into()), ..wanted("k") };
    assert_eq!(restored(f.undelete(other).await), (first.0, "other".to_owned()));
    f.has_not("file_to_delete2");
    f.has_not("mogilefs_deleted_file");

    // Its class went meanwhile.
    f.sql(
        "INSERT INTO file (fid, dmid, dkey, length, classid, devcount) VALUES (90, 1, 'c', 10, 5, 1); \
           INSERT INTO file_on (fid, devid) VALUES (90, 1)",
    )
    .await;
    f.delete("c").await;
    f.sql("DELETE FROM class WHERE classid = 5").await;
    restored(f.undelete(wanted("c")).await);
    f.has("file WHERE fid = 90 AND classid = 0");
}

async fn undelete_refuses_what_cannot_be(f: &Fixture) {
    f.domain_with_class().await;
    f.keep_deleted_files().await;
    f.file_with_copies(1, "k").await;
    f.delete("k").await;
    let rows = "file_to_delete2 q JOIN mogilefs_deleted_file d ON q.fid = d.fid AND q.nexttry = d.due_at";

    assert_eq!(f.undelete(wanted("x")).await, UndeleteOutcome::NothingDeleted);
    assert_eq!(f.undelete(Undelete { fid: Some(Fid(2)), ..wanted("k") }).await, UndeleteOutcome::NothingDeleted);
    assert_eq!(f.undelete(Undelete { dmid: Dmid(2), ..wanted("k") }).await, UndeleteOutcome::NothingDeleted);
    f.file(5, "k").await;
    assert_eq!(f.undelete(wanted("k")).await, UndeleteOutcome::KeyExists);
    f.file(6, "taken").await;
    let taken = Undelete { to_key: Some("taken".into()), ..wanted("k") };
    assert_eq!(f.undelete(taken).await, UndeleteOutcome::KeyExists);
    f.sql("DELETE FROM file; DELETE FROM file_on").await;
    assert_eq!(f.undelete(wanted("k")).await, UndeleteOutcome::NoCopies);
    f.sql("INSERT INTO file_on (fid, devid) VALUES (1, 1); DELETE FROM domain").await;
    assert_eq!(f.undelete(wanted("k")).await, UndeleteOutcome::DomainGone);
    f.has(rows);

    f.sql("INSERT INTO domain (dmid, namespace) VALUES (1, 'd'); UPDATE file_to_delete2 SET failcount = 1").await;
    assert_eq!(f.undelete(wanted("k")).await, UndeleteOutcome::NothingDeleted, "tried already");
    f.sql("UPDATE file_to_delete2 SET failcount = 0, nexttry = 0").await;
    assert_eq!(f.session.claim_delete(10).await.expect("a claim").len(), 1);
    assert_eq!(f.undelete(wanted("k")).await, UndeleteOutcome::NothingDeleted, "claimed");
    assert_eq!(f.restorable(""), [0_i64; 0]);
    f.has_not("file");
    f.sql("DELETE FROM class").await;
    assert_eq!(f.done(|conn| domains::delete(conn, Dmid(1))).await, DeleteOutcome::Deleted);
    f.has_not("mogilefs_deleted_file");
}

/// The claim of 2.73 (database.md 3.2): the rows are locked by the reading, then changed, in one transaction.
async fn undelete_yields_to_a_claim_and_a_claim_to_it(f: &Fixture) {
    use std::sync::mpsc::channel;
    f.domain_with_class().await;
    f.keep_deleted_files().await;
    let locking = if f.backend() == Backend::Sqlite { "" } else { " FOR UPDATE" };
    // In an old installation it is narrower.
    let fid = if f.backend() == Backend::Postgres { "fid::bigint" } else { "fid" };
    let select = format!("SELECT {fid} AS n FROM file_to_delete2 WHERE fid = 1{locking}");
    f.file_with_copies(1, "k").await;
    f.delete("k").await;
    // First the claim.
    let (claims, claimed) = channel();
    let (go, may_go) = channel::<()>();
    let other = f.database.open();
    let outcome = std::thread::scope(|scope| {
        let select = select.clone();
        let claimer = scope.spawn(move || {
            let session = other.session().expect("a session");
            block_on(session.write(move |conn| {
                diesel::sql_query(&select).load::<Count>(conn)?;
                claims.send(()).expect("the test listens");
                may_go.recv().expect("the test goes on");
                conn.batch_execute("UPDATE file_to_delete2 SET nexttry = nexttry + 1000 WHERE fid = 1")?;
                Ok(())
            }))
        });
        claimed.recv().expect("the claim began");
        let undeleting = scope.spawn(|| {
            let session = f.store.session().expect("a session");
            let wanted = wanted("k");
            block_on(session.write(move |conn| deleted_files::undelete(conn, &wanted)))
        });
        go.send(()).expect("the claimer listens");
        claimer.join().expect("a thread").expect("the claim is stored");
        undeleting.join().expect("a thread")
    });
    assert_eq!(outcome, Ok(UndeleteOutcome::NothingDeleted));
    f.has_not("file");
    f.has("file_to_delete2");

    // First the undelete.
    f.sql("DELETE FROM file_to_delete2; DELETE FROM file_on; DELETE FROM mogilefs_deleted_file").await;
    f.file_with_copies(1, "k").await;
    f.delete("k").await;
    let (undeletes, undeleted) = channel();
    let (go, may_go) = channel::<()>();
    let other = f.database.open();
    let rows = std::thread::scope(|scope| {
        let undeleting = scope.spawn(|| {
            let session = f.store.session().expect("a session");
            let wanted = wanted("k");
            block_on(session.write(move |conn| {
                let outcome = deleted_files::undelete(conn, &wanted)?;
                undeletes.send(()).expect("the test listens");
                may_go.recv().expect("the test goes on");
                Ok(outcome)
            }))
        });
        undeleted.recv().expect("the undelete began");
        let claimer = scope.spawn(move || {
            let session = other.session().expect("a session");
            block_on(session.write(move |conn| Ok(diesel::sql_query(&select).load::<Count>(conn)?.len())))
        });
        go.send(()).expect("the undeleting one listens");
        restored(undeleting.join().expect("a thread").expect("the change is stored"));
        claimer.join().expect("a thread")
    });
    assert_eq!(rows, Ok(0));
    f.has("file");
}

/// Runs two bodies at once, each on a session of its own.
fn at_once<T: Send, U: Send>(
    f: &Fixture,
    one: impl FnOnce(&Session) -> T + Send,
    other: impl FnOnce(&Session) -> U + Send,
) -> (T, U) {
    let barrier = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let one = scope.spawn(|| {
            let session = f.store.session().expect("a session");
            barrier.wait();
            one(&session)
        });
        let other = scope.spawn(|| {
            let session = f.store.session().expect("a session");
            barrier.wait();
            other(&session)
        });
        (one.join().expect("a thread"), other.join().expect("a thread"))
    })
}

async fn of_two_undeletes_one_wins(f: &Fixture) {
    f.domain_with_class().await;
    f.keep_deleted_files().await;
    f.file_with_copies(1, "k").await;
    for _ in 0..10 {
        f.delete("k").await;
        let undelete = |to_key: &'static str| {
            move |session: &Session| {
                let wanted = Undelete { to_key: Some(to_key.into()), ..wanted("k") };
                block_on(session.write(move |conn| deleted_files::undelete(conn, &wanted))).expect("an outcome")
            }
        };
        let (one, other) = at_once(f, undelete("a"), undelete("b"));
        let winners = [&one, &other].iter().filter(|outcome| matches!(outcome, UndeleteOutcome::Restored(_))).count();
        assert_eq!(winners, 1, "{one:?} {other:?}");
        assert!([one, other].contains(&UndeleteOutcome::NothingDeleted));
        f.has("file WHERE fid = 1");
        f.has_not("file_to_delete2");
        f.sql("UPDATE file SET dkey = 'k'").await;
    }
}

/// Whoever is first: the key has one owner, and every other file with a copy is queued for deletion.
async fn undelete_and_close_of_one_key(f: &Fixture) {
    f.domain_with_class().await;
    f.keep_deleted_files().await;
    for _ in 0..10 {
        f.sql("DELETE FROM file; DELETE FROM file_on; DELETE FROM file_to_delete2; DELETE FROM mogilefs_deleted_file")
            .await;
        let old = f.upload("k").await;
        f.close(old, "k").await;
        f.delete("k").await;
        let new = f.upload("k").await;
        let (undeleted, closed) = at_once(
            f,
            |session| {
                let wanted = wanted("k");
                block_on(session.write(move |conn| deleted_files::undelete(conn, &wanted))).expect("an outcome")
            },
            |session| block_on(f.way.close(session, closing(new, "k"))).expect("an outcome"),
        );
        assert_eq!(closed, CloseOutcome::Stored);
        f.has(&format!("file WHERE fid = {new} AND dkey = 'k'"));
        f.has("file");
        f.has(&format!("file_to_delete2 WHERE fid = {old}"));
        f.has("file_to_delete2");
        match undeleted {
            // It was overwritten again, so it can be brought back again.
            UndeleteOutcome::Restored(_) | UndeleteOutcome::KeyExists => assert_eq!(f.restorable("k"), [old.0]),
            other => panic!("{other:?}"),
        }
    }
}

async fn sweep_forgets_what_others_deleted(f: &Fixture) {
    f.domain_with_class().await;
    f.keep_deleted_files().await;
    for (fid, key) in [(1, "gone"), (2, "waits"), (3, "early")] {
        f.file_with_copies(fid, key).await;
    }
    for key in ["gone", "waits", "early"] {
        f.delete(key).await;
    }
    f.sql("UPDATE mogilefs_deleted_file SET due_at = 5 WHERE fid < 3; DELETE FROM file_to_delete2 WHERE fid <> 2")
        .await;
    assert_eq!(f.done(deleted_files::sweep).await, 1);
    assert_eq!(f.count("mogilefs_deleted_file WHERE fid = 2 OR fid = 3"), 2);
}
