//! What can go wrong in the database, reduced to what callers decide on. The texts of the three databases are read here
//! and nowhere else (database.md 1.7, "Error kinds").

use diesel::result::{DatabaseErrorKind, Error};

/// The outcome of everything in the store.
pub type StoreResult<T> = Result<T, StoreError>;

/// Why a store operation failed. Nothing of a failed write stays in the database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A unique key (a name, an id, an address) is taken.
    #[error("already exists")]
    Duplicate,
    /// Another transaction was in the way, on every try. `Session::write` repeats before it reports this.
    #[error("deadlock with another transaction")]
    Deadlock,
    /// The database cannot be reached, the connection was lost, or a lock was not released in time. Trying again later
    /// makes sense; whether a write that got this error was stored is unknown only if the text says so.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// The database cannot hold this value: too long, out of range, of a wrong kind.
    #[error("invalid value: {0}")]
    InvalidValue(String),
    /// The database is not set up, or its schema is of another version.
    #[error("{0}")]
    Schema(String),
    /// A step that belongs to the transaction refused it, for this reason; nothing was changed.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Other(String),
}

/// In the text of an error after which a write may be stored all the same.
pub(super) const MAY_BE_STORED: &str = "whether the write was stored is unknown";

impl StoreError {
    /// Does the server answer without being of any use? Its connection is as good as lost.
    pub(super) fn is_of_node_cut_off(&self) -> bool {
        matches!(self, Self::Unavailable(reason) if reason.to_ascii_lowercase().contains(NODE_CUT_OFF))
    }

    /// May a write that got this error be stored all the same?
    pub fn may_be_stored(&self) -> bool {
        matches!(self, Self::Unavailable(text) if text.contains(MAY_BE_STORED))
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match error {
            Error::DatabaseError(kind, information) => from_database(&kind, information.message()),
            Error::RollbackErrorOnCommit { commit_error, .. } => Self::from(*commit_error),
            Error::BrokenTransactionManager => Self::Unavailable("the transaction was broken off".to_owned()),
            other => Self::Other(other.to_string()),
        }
    }
}

fn from_database(kind: &DatabaseErrorKind, message: &str) -> StoreError {
    match kind {
        DatabaseErrorKind::UniqueViolation => StoreError::Duplicate,
        DatabaseErrorKind::SerializationFailure => StoreError::Deadlock,
        DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => {
            StoreError::Unavailable(message.to_owned())
        }
        DatabaseErrorKind::CheckViolation | DatabaseErrorKind::NotNullViolation => {
            StoreError::InvalidValue(message.to_owned())
        }
        _ => from_text(message),
    }
}

/// Galera: the node has lost its cluster. It answers, but does nothing.
const NODE_CUT_OFF: &str = "wsrep has not yet prepared node";

/// The last one is MariaDB's, where `innodb_snapshot_isolation` is on.
const DEADLOCK: [&str; 3] = ["deadlock detected", "deadlock found", "record has changed since last read"];
const UNAVAILABLE: [&str; 16] = [
    "gone away",
    "lost connection",
    "can't connect",
    "connection was killed",
    "server shutdown",
    "lock wait timeout",
    "lock timeout",
    "is locked",
    "server closed the connection",
    "no connection to the server",
    "terminating connection",
    "could not receive data",
    "could not send data",
    "the database system is",
    NODE_CUT_OFF,
    "during commit",
];
const INVALID: [&str; 9] = [
    "data too long",
    "value too long",
    "out of range",
    "data truncated",
    "incorrect string value",
    "incorrect integer value",
    "invalid byte sequence",
    "illegal mix of collations",
    "cannot convert",
];

/// For errors that come without a kind.
fn from_text(message: &str) -> StoreError {
    let lower = message.to_ascii_lowercase();
    let has = |texts: &[&str]| texts.iter().any(|text| lower.contains(text));
    if has(&DEADLOCK) {
        StoreError::Deadlock
    } else if lower.contains("duplicate entry") {
        StoreError::Duplicate
    } else if has(&UNAVAILABLE) {
        StoreError::Unavailable(message.to_owned())
    } else if has(&INVALID) {
        StoreError::InvalidValue(message.to_owned())
    } else {
        StoreError::Other(message.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_databases_get_their_kind() {
        assert_eq!(from_text("Deadlock found when trying to get lock"), StoreError::Deadlock);
        assert_eq!(from_text("ERROR: deadlock detected"), StoreError::Deadlock);
        assert_eq!(from_text("Record has changed since last read in table 'file'"), StoreError::Deadlock);
        assert_eq!(from_text("Duplicate entry '1' for key 'PRIMARY'"), StoreError::Duplicate);
        for text in ["database is locked", "Server has gone away", "Lock wait timeout exceeded; try restarting"] {
            assert_eq!(from_text(text), StoreError::Unavailable(text.to_owned()));
        }
        let text = "WSREP has not yet prepared node for application use";
        assert!(from_text(text).is_of_node_cut_off());
        assert!(!from_text("Server has gone away").is_of_node_cut_off());
        let text = "Got error 6 \"No such device or address\" during COMMIT";
        assert_eq!(from_text(text), StoreError::Unavailable(text.to_owned()));
        let text = "Data too long for column 'dkey' at row 1";
        assert_eq!(from_text(text), StoreError::InvalidValue(text.to_owned()));
        assert_eq!(from_text("disk I/O error"), StoreError::Other("disk I/O error".to_owned()));
    }
}
