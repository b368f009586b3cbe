//! What is to be done to bring a database to schema version 17, from nothing or from any older version.
//!
//! There is no chain by number, as in the reference: each step looks at what is there and is planned only if it is needed, so
//! that a setup that broke off is completed by the next (database.md 1.2). Nothing is ever dropped but checks that are at
//! once put back wider, and the large tables `file` and `file_on` are never altered. Pure: `setup` carries plans out.

mod columns;
mod definitions;

use super::check_catalog::Catalog;
use super::connection::Backend;
use super::error::{StoreError, StoreResult};
use super::expected::{Role, TABLES};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// What it does, for people: "adds the column …".
    pub(super) what: String,
    pub(super) sql: String,
}

impl Step {
    fn new(what: impl Into<String>, sql: impl Into<String>) -> Self {
        Self { what: what.into(), sql: sql.into() }
    }
}

/// Everything that is missing, in the order in which it is to be done.
///
/// # Errors
/// [`StoreError::Schema`] for a database that claims a version and lacks a table that every version has: making an empty
/// one in its place would hide that data was lost.
pub(super) fn plan(backend: Backend, catalog: &Catalog, version: i64, wants_wide_fids: bool) -> StoreResult<Vec<Step>> {
    if version > 0 {
        refuse_damaged(catalog, version)?;
    }
    let mut steps = definitions::missing(backend, catalog, version, wants_wide_fids);
    steps.extend(columns::steps(backend, catalog));
    Ok(steps)
}

fn refuse_damaged(catalog: &Catalog, version: i64) -> StoreResult<()> {
    let mut roots = TABLES.iter().filter(|table| table.role == Role::Root);
    match roots.find(|table| catalog.table(table.name).is_none()) {
        None => Ok(()),
        Some(table) => Err(StoreError::Schema(format!(
            "the database has schema version {version}, but no table `{}`, which every version has: it is damaged, or \
             restored in part; nothing was changed",
            table.name
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check_catalog::{Check, Column, Key, Table};
    use super::*;

    fn column(name: &str, sql_type: &str) -> Column {
        Column {
            name: name.to_owned(),
            sql_type: sql_type.to_owned(),
            is_null: true,
            default: None,
            collation: None,
            is_counted: false,
        }
    }

    fn table(columns: &[(&str, &str)]) -> Table {
        Table { columns: columns.iter().map(|(name, kind)| column(name, kind)).collect(), ..Table::default() }
    }

    fn whats(steps: &[Step]) -> Vec<&str> {
        steps.iter().map(|step| step.what.as_str()).collect()
    }

    #[test]
    fn nothing_yet_means_everything() {
        for (backend, tables) in [(Backend::Sqlite, 18), (Backend::Mysql, 17), (Backend::Postgres, 18)] {
            let steps = plan(backend, &Catalog::default(), 0, false).expect("a plan");
            let made = steps.iter().filter(|step| step.what.starts_with("makes the table")).count();
            assert_eq!(made, tables, "{}: {:?}", backend.name(), whats(&steps));
        }
    }

    #[test]
    fn a_database_that_lost_a_table_is_not_set_up_anew() {
        let error = plan(Backend::Mysql, &Catalog::default(), 12, false).expect_err("refused");
        assert!(error.to_string().contains("no table `domain`"), "{error}");
    }

    /// New tables follow the type that fids have.
    #[test]
    fn narrow_fids_stay_narrow() {
        let mysql = Catalog::of([("file", table(&[("fid", "int(10) unsigned")]))]);
        let sql = |catalog, wide| {
            let steps = definitions::missing(Backend::Mysql, catalog, 12, wide);
            steps.into_iter().find(|step| step.sql.contains("TABLE IF NOT EXISTS checksum")).expect("a step").sql
        };
        assert!(sql(&mysql, false).contains("fid INT UNSIGNED"));
        assert!(sql(&mysql, true).contains("fid BIGINT UNSIGNED"));
        let wide = Catalog::of([("file", table(&[("fid", "bigint(20) unsigned")]))]);
        assert!(sql(&wide, false).contains("fid BIGINT UNSIGNED"));

        let postgres = Catalog::of([("file", table(&[("fid", "integer")]))]);
        let steps = definitions::missing(Backend::Postgres, &postgres, 12, false);
        assert!(
            steps
                .iter()
                .any(|step| step.sql.contains("TABLE IF NOT EXISTS checksum") && step.sql.contains("fid INTEGER"))
        );
    }

    #[test]
    fn an_enum_keeps_the_words_it_has() {
        let catalog = Catalog::of([("device", table(&[("status", "enum('alive','dead','down','odd')")]))]);
        let steps = columns::steps(Backend::Mysql, &catalog);
        let step = steps.iter().find(|step| step.sql.contains("ENUM")).expect("a step");
        assert!(step.sql.contains("ENUM('alive','dead','down','odd','readonly','drain')"), "{}", step.sql);
    }

    #[test]
    fn postgres_checks_are_replaced_whatever_their_name() {
        let check = |name: &str, words: &str| Check {
            name: name.to_owned(),
            definition: format!("CHECK (((status)::text = ANY (ARRAY[{words}])))"),
            columns: vec!["status".to_owned()],
        };
        let host = |words| Table { checks: vec![check("host_status_check", words)], ..table(&[("status", "x")]) };
        let steps = columns::steps(Backend::Postgres, &Catalog::of([("host", host("'alive', 'dead', 'down'"))]));
        let step = steps.iter().find(|step| step.sql.contains("CHECK (status")).expect("a step");
        assert!(
            step.sql.contains("DROP CONSTRAINT \"host_status_check\"") && step.sql.contains("readonly"),
            "{}",
            step.sql
        );

        let complete = host("'alive', 'dead', 'down', 'readonly'");
        let steps = columns::steps(Backend::Postgres, &Catalog::of([("host", complete)]));
        assert!(!steps.iter().any(|step| step.sql.contains("CHECK (status")), "{:?}", whats(&steps));
    }

    #[test]
    fn a_unique_key_is_not_added_twice() {
        let keys = vec![Key { columns: vec!["altip".to_owned()], is_unique: true }];
        let host = Table { keys, ..table(&[("altip", "varchar(15)"), ("altmask", "x"), ("http_get_port", "x")]) };
        assert_eq!(whats(&columns::steps(Backend::Sqlite, &Catalog::of([("host", host)]))), [""; 0]);
    }
}
