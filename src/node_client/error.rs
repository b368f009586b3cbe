//! What can go wrong with a storage node, by what the caller does about it.

use std::time::Duration;

/// A request to a storage node failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// The node says that the file is not there.
    #[error("no such file on the node")]
    Missing,
    /// Any other answer than success.
    #[error("the node answered {0}")]
    Status(u16),
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// No connection, or one that broke, or an answer that is no HTTP.
    #[error("{0}")]
    Unreachable(String),
    #[error("the node gives no length")]
    NoLength,
    #[error("expected {expected} bytes, found {actual}")]
    WrongLength { expected: u64, actual: u64 },
    #[error("the checksum differs: {actual}")]
    ChecksumDiffers { actual: String },
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
}

/// Which side of a copy failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    #[error("source: {0}")]
    Source(NodeError),
    #[error("target: {0}")]
    Target(NodeError),
}
