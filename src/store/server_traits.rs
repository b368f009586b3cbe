//! What a database server is like beyond its protocol, as far as trackers depend on it, and what the log says of it.

use super::connection::StoreConnection;
use super::error::StoreResult;
use diesel::connection::SimpleConnection as _;

/// What was found out when the database was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerTraits {
    /// A node of a Galera cluster.
    pub(super) is_galera: bool,
    /// A second named lock of a session ends its first one.
    pub(super) has_one_lock_per_session: bool,
}

impl ServerTraits {
    /// From now on what begins on this connection of a Galera node does so at once, or only when the node has everything that
    /// was acknowledged elsewhere.
    pub(super) fn set_waiting(&self, conn: &mut StoreConnection, waits: bool) -> StoreResult<()> {
        if self.is_galera {
            let waits = u8::from(waits);
            conn.batch_execute(&format!("SET SESSION wsrep_sync_wait = {waits}"))?;
        }
        Ok(())
    }

    /// Asks a MySQL server; the others have no traits.
    pub(super) fn ask(conn: &mut StoreConnection) -> StoreResult<Self> {
        match conn {
            #[cfg(feature = "mysql")]
            StoreConnection::Mysql(c) => ask_mysql(c),
            _ => Ok(Self::default()),
        }
    }
}

#[cfg(feature = "mysql")]
fn ask_mysql(conn: &mut diesel::MysqlConnection) -> StoreResult<ServerTraits> {
    use diesel::RunQueryDsl as _;
    use diesel::sql_types::Text;
    #[derive(diesel::QueryableByName)]
    struct Variable {
        #[diesel(sql_type = Text, column_name = "Variable_name")]
        name: String,
        #[diesel(sql_type = Text, column_name = "Value")]
        value: String,
    }
    let ask = "SHOW SESSION VARIABLES WHERE Variable_name IN ('version', 'wsrep_on')";
    let variables: Vec<Variable> = diesel::sql_query(ask).load(conn)?;
    let value = |name: &str| variables.iter().find(|variable| variable.name == name).map(|found| found.value.as_str());
    Ok(ServerTraits {
        is_galera: value("wsrep_on") == Some("ON"),
        has_one_lock_per_session: value("version").is_some_and(holds_one_lock_per_session),
    })
}

/// MySQL before 5.7.5 and MariaDB before 10.0.2 (database.md 2.3). What cannot be read is taken for new.
#[cfg(any(feature = "mysql", test))]
fn holds_one_lock_per_session(version: &str) -> bool {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse::<u32>().ok());
    let mut next = || numbers.next().flatten();
    let (Some(major), Some(minor)) = (next(), next()) else { return false };
    let found = (major, minor, next().unwrap_or(0));
    found < if version.to_ascii_lowercase().contains("mariadb") { (10, 0, 2) } else { (5, 7, 5) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_hold_one_lock() {
        for old in ["5.5.62-log", "5.7.4-m14", "5.6.51", "5.5.68-MariaDB", "10.0.1-MariaDB"] {
            assert!(holds_one_lock_per_session(old), "{old}");
        }
        for new in
            ["5.7.5", "8.0.36", "10.0.2-MariaDB", "10.11.19-MariaDB-0+deb12u1", "11.4.2-MariaDB", "8", "", "what"]
        {
            assert!(!holds_one_lock_per_session(new), "{new}");
        }
    }
}
