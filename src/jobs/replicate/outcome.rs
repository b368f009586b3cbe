//! What can come of replicating one file, and what becomes of its queue row (jobs.md 7.3).

use crate::ids::DevId;

/// The outcome of one item of the replication queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicateOutcome {
    /// Copies were made and the policy is content.
    Replicated { copies: usize },
    /// Nothing was to do.
    AlreadyHappy,
    /// There are more copies than wanted.
    TooHappy,
    /// One of too many copies was removed; there may be more.
    SurplusRemoved { devid: DevId },
    /// There are more copies than wanted, but none could be removed now.
    SurplusKept(String),
    /// The file was deleted.
    Gone,
    /// Another worker or tracker has the file.
    LockHeld,
    /// No copy is known at all.
    NoSource,
    /// Copies are known, but none can be read now.
    SourceDown,
    /// The policy names no place for the next copy.
    NoSuggestions,
    /// The class of the file or its policy is unknown or unreadable.
    NoPolicy(String),
    /// The devices that it could be copied from or to have as many copies under way as they may.
    Busy,
    /// Copying failed for every source or target.
    CopyFailed { target: Option<DevId>, reason: String },
}

/// What to do with the queue row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFate {
    /// Done: remove it.
    Remove,
    /// Give it back: it is due again in a moment, behind what is due now.
    PutBack,
    /// Leave it as claimed; it comes back when the claim runs out.
    Leave,
    /// Never try again by itself.
    Park,
    /// Look again after the first step of the backoff, however often this was tried before.
    LookAgain,
    /// Try again after the backoff.
    Retry,
}

impl ReplicateOutcome {
    pub fn row_fate(&self) -> RowFate {
        match self {
            Self::Replicated { .. } | Self::AlreadyHappy | Self::Gone => RowFate::Remove,
            Self::LockHeld => RowFate::Leave,
            Self::Busy => RowFate::PutBack,
            Self::NoSource => RowFate::Park,
            Self::SurplusRemoved { .. } => RowFate::LookAgain,
            Self::TooHappy
            | Self::SurplusKept(_)
            | Self::SourceDown
            | Self::NoSuggestions
            | Self::NoPolicy(_)
            | Self::CopyFailed { .. } => RowFate::Retry,
        }
    }

    /// The reference's word for it, as operators know it from the log.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Replicated { .. } => "replicated",
            Self::AlreadyHappy => "already_happy",
            Self::TooHappy | Self::SurplusRemoved { .. } | Self::SurplusKept(_) => "too_happy",
            Self::Gone => "no_such_file",
            Self::LockHeld => "failed_getting_lock",
            Self::NoSource => "no_source",
            Self::SourceDown => "source_down",
            Self::Busy => "devices_busy",
            Self::NoSuggestions => "policy_no_suggestions",
            Self::NoPolicy(_) => "no_policy",
            Self::CopyFailed { .. } => "copy_failed",
        }
    }
}
