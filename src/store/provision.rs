//! Making a database and the account that trackers use, by an account that may do that (`mogdbsetup`).
//!
//! What is there already is left as it is: nothing is dropped, and no password is changed.

use super::check_catalog::Catalog;
use super::connection::{self, Location, Purpose, StoreConnection, connect};
#[cfg(any(feature = "mysql", feature = "postgres"))]
use super::error::StoreError;
use super::error::StoreResult;
use super::setup::version_in;
use crate::settings::{DatabaseSettings, Secret};
#[cfg(any(feature = "mysql", feature = "postgres"))]
use diesel::connection::SimpleConnection as _;

/// The database that is wanted, and whose it is to be.
#[derive(Clone, Debug)]
pub struct NewDatabase {
    pub name: String,
    pub user: String,
    pub password: Secret,
}

/// The schema version of the database at this address; 0 if it is not set up.
///
/// # Errors
/// [`StoreError::Unavailable`] if it cannot be connected to.
pub fn version(settings: &DatabaseSettings) -> StoreResult<i64> {
    let location = connection::location(settings)?;
    if matches!(&location, Location::Sqlite(path) if !path.exists()) {
        return Ok(0);
    }
    let mut conn = connect(&location, settings, Purpose::Read)?;
    let catalog = Catalog::read(&mut conn)?;
    version_in(&mut conn, &catalog)
}

/// Makes the database if it is not there.
///
/// # Errors
/// Those of the server: it may not be allowed.
#[cfg_attr(not(any(feature = "mysql", feature = "postgres")), expect(unused_variables))]
pub fn create_database(root: &DatabaseSettings, wanted: &NewDatabase) -> StoreResult<()> {
    let mut conn = connect(&connection::location(root)?, root, Purpose::Read)?;
    match &mut conn {
        StoreConnection::Sqlite(_) => Ok(()),
        #[cfg(feature = "mysql")]
        StoreConnection::Mysql(c) => c
            .batch_execute(&format!("CREATE DATABASE IF NOT EXISTS {}", quoted(&wanted.name, '`')))
            .map_err(StoreError::from),
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(c) => {
            if postgres_has(c, "SELECT COUNT(*) AS n FROM pg_catalog.pg_database WHERE datname = $1", &wanted.name)? {
                return Ok(());
            }
            let name = quoted(&wanted.name, '"');
            c.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"))
                .map_err(StoreError::from)
        }
    }
}

/// Makes the account if it is not there, and gives it the database.
///
/// # Errors
/// Those of the server: it may not be allowed.
#[cfg_attr(not(any(feature = "mysql", feature = "postgres")), expect(unused_variables))]
pub fn create_account(root: &DatabaseSettings, wanted: &NewDatabase) -> StoreResult<()> {
    let mut conn = connect(&connection::location(root)?, root, Purpose::Read)?;
    match &mut conn {
        StoreConnection::Sqlite(_) => Ok(()),
        #[cfg(feature = "mysql")]
        StoreConnection::Mysql(c) => {
            let password = mysql_literal(wanted.password.reveal());
            for host in ["%", "localhost"] {
                let account = format!("{}@'{host}'", mysql_literal(&wanted.user));
                c.batch_execute(&format!("CREATE USER IF NOT EXISTS {account} IDENTIFIED BY {password}"))
                    .map_err(|error| without_password(error, wanted.password.reveal()))?;
                c.batch_execute(&format!("GRANT ALL PRIVILEGES ON {}.* TO {account}", mysql_pattern(&wanted.name)))?;
            }
            Ok(())
        }
        #[cfg(feature = "postgres")]
        StoreConnection::Postgres(c) => {
            let user = quoted(&wanted.user, '"');
            if !postgres_has(c, "SELECT COUNT(*) AS n FROM pg_catalog.pg_roles WHERE rolname = $1", &wanted.user)? {
                let password = quoted(wanted.password.reveal(), '\'');
                c.batch_execute(&format!("CREATE ROLE {user} LOGIN PASSWORD {password}"))
                    .map_err(|error| without_password(error, wanted.password.reveal()))?;
            }
            let name = quoted(&wanted.name, '"');
            c.batch_execute(&format!("ALTER DATABASE {name} OWNER TO {user}")).map_err(StoreError::from)
        }
    }
}

/// The server's complaint about a statement with a password in it may cite it, or a part of it, in whatever language.
#[cfg(any(feature = "mysql", feature = "postgres"))]
fn without_password(error: diesel::result::Error, password: &str) -> StoreError {
    let error = StoreError::from(error);
    if cites(&error.to_string(), password) {
        return StoreError::Other("the server does not take this name or password of an account".to_owned());
    }
    error
}

/// Pieces of a password so long are not shown.
#[cfg(any(feature = "mysql", feature = "postgres"))]
const CITED_CHARS_MIN: usize = 4;

/// Is a piece of the password in the text?
#[cfg(any(feature = "mysql", feature = "postgres"))]
fn cites(text: &str, password: &str) -> bool {
    let password: Vec<char> = password.chars().collect();
    let length = password.len().min(CITED_CHARS_MIN);
    length > 0 && password.windows(length).any(|piece| text.contains(&piece.iter().collect::<String>()))
}

#[cfg(feature = "postgres")]
fn postgres_has(conn: &mut diesel::PgConnection, question: &str, name: &str) -> StoreResult<bool> {
    use diesel::RunQueryDsl as _;
    #[derive(diesel::QueryableByName)]
    struct Count {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        n: i64,
    }
    let count: Count = diesel::sql_query(question).bind::<diesel::sql_types::Text, _>(name).get_result(conn)?;
    Ok(count.n > 0)
}

/// Between two marks, where a mark inside is written twice.
#[cfg(any(feature = "mysql", feature = "postgres"))]
fn quoted(text: &str, mark: char) -> String {
    format!("{mark}{}{mark}", text.replace(mark, &format!("{mark}{mark}")))
}

#[cfg(feature = "mysql")]
fn mysql_literal(text: &str) -> String {
    quoted(&text.replace('\\', "\\\\"), '\'')
}

/// The name in a GRANT is a pattern: there `_` would be any character, and other databases given away too.
#[cfg(feature = "mysql")]
fn mysql_pattern(name: &str) -> String {
    quoted(&name.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%"), '`')
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "mysql")]
    #[test]
    fn names_and_passwords_end_where_they_end() {
        use super::*;
        assert_eq!(quoted("a`b", '`'), "`a``b`");
        assert_eq!(mysql_literal("it's \\"), "'it''s \\\\'");
        assert_eq!(mysql_pattern("mog_1"), "`mog\\_1`");
    }

    #[cfg(any(feature = "mysql", feature = "postgres"))]
    #[test]
    fn passwords_are_not_cited() {
        use super::*;
        let failure = |text: &str| {
            let kind = diesel::result::DatabaseErrorKind::Unknown;
            diesel::result::Error::DatabaseError(kind, Box::new(text.to_owned()))
        };
        let said = |text: &str| without_password(failure(text), "sesame-öffne").to_string();
        for text in ["Syntaxfehler bei »sesame-öffne«", "syntax error near '-öffne' at line 1", "doublon: SESAME sesa"]
        {
            assert!(said(text).contains("does not take"), "{text}");
        }
        assert_eq!(said("permission denied to create role"), "permission denied to create role");
        assert!(!cites("anything", ""));
    }
}
