//! The quick check (jobs.md 10.4): without the lock, and for most files the only one. It changes nothing; what is not as
//! it should be is looked into once more under the lock.

use super::look;
use super::options::{ChecksumMode, RunOptions};
use super::subject::Subject;
use crate::jobs::context::JobContext;

/// Why a file is looked into under the lock: what has to be wrong there too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// It has no known location.
    NoPlaces,
    /// Its policy is not content.
    Policy,
    /// Something that is only seen there.
    Other,
}

/// What the quick check comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuickVerdict {
    Fine,
    Suspicious(Suspicion),
    /// A node did not answer.
    Stalled,
}

/// What the database alone says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnPaper {
    Fine,
    Suspicious(Suspicion),
    /// Its nodes have to be asked.
    AskNodes,
}

/// Checks one file.
pub(super) async fn check(ctx: &JobContext, options: &RunOptions, subject: &Subject<'_>) -> QuickVerdict {
    match on_paper(ctx, options, subject) {
        OnPaper::Fine => QuickVerdict::Fine,
        OnPaper::Suspicious(suspicion) => QuickVerdict::Suspicious(suspicion),
        OnPaper::AskNodes => match look::are_there(ctx, subject.cluster, subject.file(), &subject.known).await {
            Some(true) => QuickVerdict::Fine,
            Some(false) => QuickVerdict::Suspicious(Suspicion::Other),
            None => QuickVerdict::Stalled,
        },
    }
}

/// In the order of 10.4.
fn on_paper(ctx: &JobContext, options: &RunOptions, subject: &Subject<'_>) -> OnPaper {
    let lacks_checksum = subject.recorded.checksum.is_none() && subject.class.hashtype.is_some();
    if subject.known.is_empty() {
        OnPaper::Suspicious(Suspicion::NoPlaces)
    } else if !subject.is_content_with(ctx, &subject.known) && (!subject.has_dead() || !subject.was_content(ctx)) {
        OnPaper::Suspicious(Suspicion::Policy)
    } else if subject.has_dead() {
        // A row that goes, and a copy that is replaced: no fault of the policy (J129).
        OnPaper::Suspicious(Suspicion::Other)
    } else if lacks_checksum && options.mode != ChecksumMode::Off {
        OnPaper::Suspicious(Suspicion::Other)
    } else if options.policy_only {
        OnPaper::Fine
    } else if options.algorithm(subject.class.hashtype).is_some() {
        // Digests are taken under the lock, and tell everything that lengths would.
        OnPaper::Suspicious(Suspicion::Other)
    } else {
        OnPaper::AskNodes
    }
}
