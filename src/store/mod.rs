//! The database: every query of the tracker, over SQLite, MySQL/MariaDB and PostgreSQL, on schema version 17.
//!
//! A row function takes a [`StoreConnection`] and does one thing; [`Session::write`] makes everything that one closure
//! does a single change. What belongs together is never split over two changes: that is where the reference loses
//! files (database.md section 8). Nothing here knows a client, a node or an actor, and no key is compared in this
//! process: equality and order of keys are the database's (database.md 1.6).
//!
//! A look-up by a unique key ends in `get_result`, not in `first`: SQLite plans a statement with a `LIMIT ?` anew whenever
//! it gets its value, which costs more than the look-up.

#[macro_use]
mod dialect;

mod at_once;
mod check;
mod check_catalog;
mod connection;
mod dsn;
mod error;
mod expected;
mod expected_types;
mod extension_tables;
mod fid_counter;
mod health;
mod holds;
mod key_form;
mod key_sample;
mod lease;
mod load;
mod lock;
mod lock_row;
mod one_statement;
mod recent_changes;
mod replicas;
mod schema;
mod server_traits;
mod session;
mod setup;
mod store_handle;
mod types;
mod upgrade;
mod writer;

pub mod checksums;
pub mod classes;
pub mod copy;

pub mod deleted_files;
pub mod device_guard;
pub mod devices;
pub mod domains;
pub mod file_on;
pub mod file_paths;
pub mod files;
pub mod fsck_batch;
pub mod fsck_inject;
pub mod fsck_log;
pub mod fsck_run;
pub mod hosts;
pub mod metadata;
pub mod provision;
pub mod queues;
pub mod reaping;
pub mod server_settings;
pub mod statistics;
mod tables;
pub mod tempfiles;

pub use check::{Finding, SchemaReport, Severity};
pub use connection::{Backend, StoreConnection};
pub use error::{StoreError, StoreResult};
pub use extension_tables::ExtensionTables;
pub use load::{AskerLoad, DatabaseLoad};
pub use lock::LockGuard;
pub use recent_changes::ChangeNote;
pub use replicas::{FoundBy, ReplicaReport};
pub use session::Session;
pub use setup::{SCHEMA_VERSION, SetupOptions, SetupOutcome, SetupReport};
pub use store_handle::Store;

use types::NOW;

/// The database's own Unix time, in seconds (database.md 3.5).
///
/// # Errors
/// Only when the database cannot be asked.
pub fn db_unixtime(conn: &mut StoreConnection) -> StoreResult<i64> {
    use diesel::RunQueryDsl as _;
    Ok(each!(conn, c => diesel::select(NOW).get_result::<i64>(c))?)
}

/// What became of a request to delete something that others may depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    Deleted,
    /// There is no such row.
    Missing,
    /// Files are left in the domain or class.
    HasFiles,
    /// Classes besides `default` are left in the domain.
    HasClasses,
    /// Devices are left on the host.
    NotEmpty,
}
