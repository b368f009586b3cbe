//! What can go wrong between a client and the cluster, told apart by who has to act on it.

use std::io;
use std::time::Duration;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// None of the trackers could be reached.
    #[error("no tracker reachable: {0}")]
    Connect(String),
    /// A tracker was connected but the exchange broke.
    #[error("tracker {tracker}: {source}")]
    Io { tracker: String, source: io::Error },
    /// A tracker did not answer in time. Whether it carried out the command is not known.
    #[error("tracker {tracker}: no reply within {waited:?}")]
    Timeout { tracker: String, waited: Duration },
    /// A tracker answered something that is not of the protocol, or left out what the reply must have.
    #[error("tracker {tracker}: {problem}")]
    Protocol { tracker: String, problem: String },
    /// The tracker refused; `code` is one of protocol.md 11, or of a plugin.
    #[error("{code}: {text}")]
    Tracker { code: String, text: String },
    /// No storage node took or gave the file; one line for each that was tried.
    #[error("{0}")]
    Storage(String),
    /// Reading the source or writing the target failed on this machine.
    #[error("{what}: {source}")]
    Local { what: String, source: io::Error },
}

impl ClientError {
    /// The code of a refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Tracker { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// What went wrong at one storage node.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {problem}")]
pub struct StorageError {
    pub url: String,
    pub problem: String,
}

impl StorageError {
    pub(super) fn new(url: &str, problem: impl Into<String>) -> Self {
        Self { url: url.to_owned(), problem: problem.into() }
    }

    /// Takes the innermost cause: the HTTP library's own sentences say only that something failed.
    pub(super) fn caused(url: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Self::new(url, cause.to_string())
    }
}

/// One error out of the failures of every node that was tried.
pub(super) fn all_failed(what: &str, failures: &[StorageError]) -> ClientError {
    if failures.is_empty() {
        return ClientError::Storage(format!("{what}: the tracker knows no reachable copy"));
    }
    let lines: Vec<String> = failures.iter().map(ToString::to_string).collect();
    ClientError::Storage(format!("{what}: {}", lines.join("; ")))
}
