//! From inner errors to the words of the wire: the one place where a [`StoreError`] becomes an [`ErrorReply`].

use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::{ErrorReply, Pairs};
use crate::store::StoreError;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum CommandError {
    /// An answer for the client, as the protocol foresees it.
    Refused(ErrorReply),
    /// The database failed; the client sees `dup`, `db` (it is away) or `failure`, the log the details.
    Store(StoreError),
}

/// What a command's handler returns.
pub type CommandResult = Result<Pairs, CommandError>;

impl From<ErrorCode> for CommandError {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code.into())
    }
}

impl From<ErrorReply> for CommandError {
    fn from(reply: ErrorReply) -> Self {
        Self::Refused(reply)
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl CommandError {
    /// A refusal with a text of its own.
    pub fn with_text(code: ErrorCode, text: impl Into<String>) -> Self {
        Self::Refused(ErrorReply::with_text(code, text))
    }

    /// The reply for the client (protocol.md 6.1).
    pub fn into_reply(self) -> ErrorReply {
        match self {
            CommandError::Refused(reply) => reply,
            CommandError::Store(StoreError::Duplicate) => ErrorCode::Dup.into(),
            CommandError::Store(StoreError::Refused(reason)) => ErrorReply::with_text(ErrorCode::PluginAborted, reason),
            CommandError::Store(StoreError::Unavailable(_)) => ErrorCode::Db.into(),
            CommandError::Store(_) => ErrorCode::Failure.into(),
        }
    }
}
