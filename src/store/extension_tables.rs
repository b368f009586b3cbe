//! Tables that only an extension uses: made by `mogilefs db setup` when the extension is switched on, never changed where
//! they are (docs/EXTENSIONS.md).

use super::connection::{self, Backend, Purpose, StoreConnection, connect};
use super::error::{StoreError, StoreResult};
use super::setup::names_missing_table;
use crate::settings::DatabaseSettings;
use diesel::RunQueryDsl as _;
use diesel::connection::SimpleConnection as _;
use std::collections::BTreeSet;

/// The tables of one extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExtensionTables {
    FilePaths,
    MetaData,
}

impl ExtensionTables {
    /// The extension's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::FilePaths => "FilePaths",
            Self::MetaData => "MetaData",
        }
    }

    fn definitions(self, backend: Backend) -> &'static str {
        match (self, backend) {
            (Self::FilePaths, Backend::Sqlite) => include_str!("../../migrations/extensions/file_paths/sqlite.sql"),
            (Self::FilePaths, Backend::Mysql) => include_str!("../../migrations/extensions/file_paths/mysql.sql"),
            (Self::FilePaths, Backend::Postgres) => include_str!("../../migrations/extensions/file_paths/postgres.sql"),
            (Self::MetaData, Backend::Sqlite) => include_str!("../../migrations/extensions/metadata/sqlite.sql"),
            (Self::MetaData, Backend::Mysql) => include_str!("../../migrations/extensions/metadata/mysql.sql"),
            (Self::MetaData, Backend::Postgres) => include_str!("../../migrations/extensions/metadata/postgres.sql"),
        }
    }

    /// Statements that fail unless tables and columns are there; they read nothing.
    fn probes(self) -> &'static [&'static str] {
        match self {
            Self::FilePaths => &[
                "SELECT nodeid, dmid, parentnodeid, nodename, fid FROM plugin_filepaths_paths WHERE 1 = 0",
                "SELECT dmid FROM plugin_filepaths_domains WHERE 1 = 0",
            ],
            Self::MetaData => &[
                "SELECT nameid, name FROM plugin_metadata_names WHERE 1 = 0",
                "SELECT fid, nameid, data FROM plugin_metadata_data WHERE 1 = 0",
            ],
        }
    }

    fn are_there(self, conn: &mut StoreConnection) -> StoreResult<bool> {
        for probe in self.probes() {
            let probed = each!(&mut *conn, c => diesel::sql_query(*probe).execute(c)).map_err(StoreError::from);
            match probed {
                Ok(_) => {}
                Err(StoreError::Other(message)) if names_missing_table(&message) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Makes the tables that are missing; see `Store::setup_extensions`.
pub(super) fn setup(
    settings: &DatabaseSettings,
    wanted: &BTreeSet<ExtensionTables>,
) -> StoreResult<Vec<ExtensionTables>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut conn = connect(&connection::location(settings)?, settings, Purpose::Setup)?;
    let mut made = Vec::new();
    for &tables in wanted {
        if !tables.are_there(&mut conn)? {
            conn.batch_execute(tables.definitions(conn.backend()))?;
            made.push(tables);
        }
    }
    Ok(made)
}

/// Refuses a database that lacks any; see `Store::require_extensions`.
pub(super) fn check(conn: &mut StoreConnection, wanted: &BTreeSet<ExtensionTables>) -> StoreResult<()> {
    for tables in wanted {
        if !tables.are_there(conn)? {
            return Err(StoreError::Schema(format!(
                "the database lacks the tables of the extension {}: run `mogilefs db setup` with the same settings \
                 (extensions.enabled)",
                tables.name()
            )));
        }
    }
    Ok(())
}
