//! Bringing a database to the schema that this program works with (`mogilefs db setup`), and checking its version
//! (database.md 1.1, 1.2 and section 5). Never deletes data.

use super::check_catalog::Catalog;
use super::connection::{self, Backend, Location, Purpose, StoreConnection, begin, commit, connect};
use super::copy::STATE_TABLE;
use super::error::{StoreError, StoreResult};
use super::expected::{Role, TABLES};
use super::server_settings;
use super::upgrade::{self, Step};
use crate::settings::DatabaseSettings;
use diesel::backend::Backend as DieselBackend;
use diesel::connection::SimpleConnection as _;
use diesel::migration::MigrationSource;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use std::path::Path;

/// The schema version that this program works with.
pub const SCHEMA_VERSION: i64 = 17;

/// Row of `server_settings` that holds the version.
pub(super) const VERSION_FIELD: &str = "schema_version";

/// The migration that makes the tables of the reference, which `upgrade` makes one by one; every other one makes tables of
/// ours and bears repetition.
const REFERENCE_SCHEMA: &str = "2020-01-01-000017_schema_17";

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
#[cfg(feature = "mysql")]
const MYSQL: EmbeddedMigrations = embed_migrations!("migrations/mysql");
#[cfg(feature = "postgres")]
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// What a setup is asked to do besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetupOptions {
    /// New tables get eight-byte fids also where those that are there have four.
    pub wide_fids: bool,
    /// Everything is done, but the version is not written.
    pub keep_version: bool,
}

/// What `db setup` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupOutcome {
    /// The tables were created (or a setup that had broken off was completed).
    Created,
    /// The schema was of this older version, and is current now.
    Upgraded { from: i64 },
    /// The schema said to be the current one, but lacked something that belongs to it; now it is there.
    Completed,
    /// The schema was the current one, but lacked tables of ours, which are optional; now they are there.
    Extended,
    /// The schema is the current one; nothing was changed.
    AlreadyCurrent,
}

/// What `db setup` did, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupReport {
    pub outcome: SetupOutcome,
    /// In words; without the tables of ours.
    pub steps: Vec<String>,
}

/// Creates, completes or upgrades the schema; see `Store::setup_with`.
pub(super) fn setup(settings: &DatabaseSettings, options: SetupOptions) -> StoreResult<SetupReport> {
    let location = connection::location(settings)?;
    if let Location::Sqlite(path) = &location {
        create_parent(path)?;
    }
    let mut conn = connect(&location, settings, Purpose::Setup)?;
    // MySQL commits at every change of a table, so there each step stands for itself.
    let is_atomic = conn.backend() != Backend::Mysql;
    if is_atomic {
        begin(&mut conn)?;
    }
    keep_others_out(&mut conn)?;
    let report = bring_up(&mut conn, options)?;
    if is_atomic {
        commit(&mut conn)?;
    }
    Ok(report)
}

fn create_parent(path: &Path) -> StoreResult<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(parent)
        .map_err(|error| StoreError::Other(format!("cannot create the directory {}: {error}", parent.display())))
}

/// Two setups of one database take turns. On SQLite the transaction sees to that.
fn keep_others_out(conn: &mut StoreConnection) -> StoreResult<()> {
    match conn {
        StoreConnection::Sqlite(_) => Ok(()),
        #[cfg(feature = "mysql")]
        StoreConnection::Mysql(c) => {
            use diesel::RunQueryDsl as _;
            #[derive(diesel::QueryableByName)]
            struct Taken {
                #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::BigInt>)]
                n: Option<i64>,
            }
            let ask = "SELECT GET_LOCK(CONCAT('mogilefs_setup_', CRC32(DATABASE())), 10) AS n";
            let taken: Taken = diesel::sql_query(ask).get_result(c)?;
            match taken.n {
                Some(1) => Ok(()),
                _ => Err(StoreError::Unavailable("another setup of this database is running".to_owned())),
            }
        }
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(c) => Ok(c.batch_execute("SELECT pg_advisory_xact_lock(7171943, 17)")?),
    }
}

fn bring_up(conn: &mut StoreConnection, options: SetupOptions) -> StoreResult<SetupReport> {
    let catalog = Catalog::read(conn)?;
    let version = version_in(conn, &catalog)?;
    if version > SCHEMA_VERSION {
        return Err(StoreError::Schema(format!(
            "the database has schema version {version}, this program knows {SCHEMA_VERSION}: a newer program is needed; \
             nothing was changed"
        )));
    }
    if version == 0 && catalog.table(STATE_TABLE).is_some() {
        return Err(StoreError::Schema(
            "a copy of another database into this one has not ended: go on with `mogilefs db copy`; nothing was changed"
                .to_owned(),
        ));
    }
    let steps = upgrade::plan(conn.backend(), &catalog, version, options.wide_fids)?;
    let lacks_ours = TABLES.iter().any(|table| table.role == Role::Ours && catalog.table(table.name).is_none());
    for step in &steps {
        carry_out(conn, step)?;
    }
    run(conn, |name| name != REFERENCE_SCHEMA)?;
    // Last of all: without it the next setup goes on where this one broke off.
    if version != SCHEMA_VERSION && !options.keep_version {
        server_settings::set(conn, VERSION_FIELD, Some(&SCHEMA_VERSION.to_string()))?;
    }
    let outcome = match version {
        0 => SetupOutcome::Created,
        SCHEMA_VERSION if !steps.is_empty() => SetupOutcome::Completed,
        SCHEMA_VERSION if lacks_ours => SetupOutcome::Extended,
        SCHEMA_VERSION => SetupOutcome::AlreadyCurrent,
        from => SetupOutcome::Upgraded { from },
    };
    Ok(SetupReport { outcome, steps: steps.into_iter().map(|step| step.what).collect() })
}

fn carry_out(conn: &mut StoreConnection, step: &Step) -> StoreResult<()> {
    conn.batch_execute(&step.sql).map_err(|error| {
        let error = StoreError::from(error);
        StoreError::Other(format!("the step that {} failed: {error}. It can be run again", step.what))
    })
}

/// Runs those of the migrations whose names are wanted.
fn run(conn: &mut StoreConnection, wanted: fn(&str) -> bool) -> StoreResult<()> {
    match conn {
        StoreConnection::Sqlite(c) => run_on(&SQLITE, wanted, c),
        #[cfg(feature = "mysql")]
        StoreConnection::Mysql(c) => run_on(&MYSQL, wanted, c),
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(c) => run_on(&POSTGRES, wanted, c),
    }
}

/// Runs the migrations as they are, without diesel's own table: the reference's setup would not know it.
fn run_on<DB, C>(migrations: &EmbeddedMigrations, wanted: fn(&str) -> bool, conn: &mut C) -> StoreResult<()>
where
    DB: DieselBackend,
    C: diesel::connection::BoxableConnection<DB> + 'static,
{
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| StoreError::Other(error.to_string());
    let mut migrations = MigrationSource::<DB>::migrations(migrations).map_err(failed)?;
    migrations.sort_by_key(|migration| migration.name().to_string());
    for migration in migrations.into_iter().filter(|migration| wanted(&migration.name().to_string())) {
        migration.run(conn).map_err(failed)?;
    }
    Ok(())
}

/// The version in the database; 0 if it is not set up.
pub(super) fn schema_version(conn: &mut StoreConnection) -> StoreResult<i64> {
    match server_settings::get(conn, VERSION_FIELD) {
        Ok(version) => Ok(version.and_then(|text| text.trim().parse().ok()).unwrap_or(0)),
        Err(StoreError::Other(message)) if names_missing_table(&message) => Ok(0),
        Err(error) => Err(error),
    }
}

/// The same, without a statement that fails: it would end the transaction on PostgreSQL.
pub(super) fn version_in(conn: &mut StoreConnection, catalog: &Catalog) -> StoreResult<i64> {
    match catalog.table("server_settings") {
        None => Ok(0),
        Some(_) => schema_version(conn),
    }
}

/// "no such table" of SQLite, "doesn't exist" of MySQL, "does not exist" of PostgreSQL.
pub(super) fn names_missing_table(message: &str) -> bool {
    ["no such table", "doesn't exist", "does not exist"].iter().any(|text| message.contains(text))
}

/// Refuses any other version than ours.
pub(super) fn check_version(conn: &mut StoreConnection) -> StoreResult<()> {
    match schema_version(conn)? {
        SCHEMA_VERSION => Ok(()),
        version => Err(StoreError::Schema(format!(
            "the database has schema version {version}, this program needs {SCHEMA_VERSION}: run `mogilefs db setup`"
        ))),
    }
}
