//! Creating the schema (`mogilefs db setup`) and checking its version (database.md 1.1 and section 5).
//!
//! Never deletes data, never changes a schema of another version.

use super::connection::{self, Location, Purpose, StoreConnection, connect};
use super::error::{StoreError, StoreResult};
use super::server_settings;
use super::{deleted_files, device_guard, fsck_run};
use crate::settings::DatabaseSettings;
use diesel::backend::Backend as DieselBackend;
use diesel::migration::MigrationSource;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use std::path::Path;

/// The schema version that this program works with.
pub const SCHEMA_VERSION: i64 = 17;

/// Row of `server_settings` that holds the version.
const VERSION_FIELD: &str = "schema_version";

/// The migration that makes the tables of the reference; every other one makes tables of ours and bears repetition.
const REFERENCE_SCHEMA: &str = "2020-01-01-000017_schema_17";

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
#[cfg(feature = "mysql")]
const MYSQL: EmbeddedMigrations = embed_migrations!("migrations/mysql");
#[cfg(feature = "postgres")]
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// What `db setup` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupOutcome {
    /// The tables were created (or a setup that had broken off was completed).
    Created,
    /// The schema was the current one, but lacked tables of ours, which are optional; now they are there.
    Extended,
    /// The schema is the current one; nothing was changed.
    AlreadyCurrent,
}

/// Creates the schema in an empty database; see `Store::setup`.
pub(super) fn setup(settings: &DatabaseSettings) -> StoreResult<SetupOutcome> {
    let location = connection::location(settings)?;
    if let Location::Sqlite(path) = &location {
        create_parent(path)?;
    }
    let mut conn = connect(&location, settings, Purpose::Setup)?;
    match schema_version(&mut conn)? {
        SCHEMA_VERSION => extend(&mut conn),
        0 => create(&mut conn),
        version if version > SCHEMA_VERSION => Err(StoreError::Schema(format!(
            "the database has schema version {version}, this program knows {SCHEMA_VERSION}: a newer program is needed; \
             nothing was changed"
        ))),
        version => Err(StoreError::Schema(format!(
            "the database has schema version {version}, {SCHEMA_VERSION} is needed, and this program does not upgrade \
             older schemas: let mogdbsetup do that; nothing was changed"
        ))),
    }
}

fn create_parent(path: &Path) -> StoreResult<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(parent)
        .map_err(|error| StoreError::Other(format!("cannot create the directory {}: {error}", parent.display())))
}

/// The version row comes last: without it the next setup goes on where this one broke off.
fn create(conn: &mut StoreConnection) -> StoreResult<SetupOutcome> {
    run(conn, |_| true)?;
    server_settings::set(conn, VERSION_FIELD, Some(&SCHEMA_VERSION.to_string()))?;
    Ok(SetupOutcome::Created)
}

/// Adds the tables of ours to a complete schema, whoever made it. The tables of the reference are not touched.
fn extend(conn: &mut StoreConnection) -> StoreResult<SetupOutcome> {
    let was_complete = deleted_files::is_set_up(conn)? && device_guard::is_set_up(conn)? && fsck_run::is_set_up(conn)?;
    run(conn, |name| name != REFERENCE_SCHEMA)?;
    Ok(if was_complete { SetupOutcome::AlreadyCurrent } else { SetupOutcome::Extended })
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
