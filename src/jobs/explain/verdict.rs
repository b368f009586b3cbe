//! How the file stands, in a word and a sentence.

use super::copies::ExplainedCopy;
use super::{Answer, Asked, Facts, count_of_copies};
use crate::cluster::placement::ReadTurn;
use crate::policy::Verdict;

/// How the file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictWord {
    /// The policy is content.
    Satisfied,
    TooFew,
    TooMany,
    /// Enough copies, in the wrong places.
    Misplaced,
    /// No copy can be read.
    Lost,
    /// The class or its policy is unknown.
    NoPolicy,
    /// No key leads to it.
    Deleted,
    /// No key leads to it yet.
    Uploading,
}

impl VerdictWord {
    pub fn code(self) -> &'static str {
        match self {
            Self::Satisfied => "satisfied",
            Self::TooFew => "too_few",
            Self::TooMany => "too_many",
            Self::Misplaced => "misplaced",
            Self::Lost => "lost",
            Self::NoPolicy => "no_policy",
            Self::Deleted => "deleted",
            Self::Uploading => "uploading",
        }
    }
}

pub(super) fn judge(facts: &Facts<'_>, asked: Option<&Asked<'_>>, copies: &[ExplainedCopy]) -> (VerdictWord, String) {
    let Some(asked) = asked else { return without_file(facts, copies) };
    let readable = copies.iter().any(|copy| copy.read_turn.is_some_and(|turn| turn != ReadTurn::IfNoOther));
    if !readable {
        return (VerdictWord::Lost, lost_text(copies));
    }
    match &asked.answer {
        Err(reason) => {
            (VerdictWord::NoPolicy, format!("Nobody can say how many copies are wanted, or where: {reason}."))
        }
        Ok(answer) => by_policy(answer, copies),
    }
}

fn by_policy(answer: &Answer<'_>, copies: &[ExplainedCopy]) -> (VerdictWord, String) {
    let counted = copies.iter().filter(|copy| copy.counts).count() as i64;
    let wanted = answer.copies_wanted();
    let policy = answer.class.policy_text();
    let (word, mut text) = match &answer.verdict {
        Verdict::AllGood if counted < wanted => (
            VerdictWord::Satisfied,
            format!(
                "{policy} is content with {} although {wanted} are wanted: the cluster has no further place.",
                count_of_copies(counted)
            ),
        ),
        Verdict::AllGood => {
            (VerdictWord::Satisfied, format!("{} of {wanted} wanted: {policy} is content.", count_of_copies(counted)))
        }
        Verdict::TooGood => {
            (VerdictWord::TooMany, format!("{}, {wanted} wanted: more than {policy} needs.", count_of_copies(counted)))
        }
        Verdict::CopyTo { .. } | Verdict::TemporaryFailure if counted >= wanted => (
            VerdictWord::Misplaced,
            format!("{} of {wanted} wanted, but not where {policy} wants them.", count_of_copies(counted)),
        ),
        Verdict::CopyTo { .. } | Verdict::TemporaryFailure => {
            (VerdictWord::TooFew, format!("{}, but {policy} wants {wanted}.", count_of_copies(counted)))
        }
    };
    if nowhere_to_go(&answer.verdict) {
        text.push_str(" No device can take one now.");
    }
    let unreadable =
        copies.iter().filter(|copy| copy.counts && copy.read_turn == Some(ReadTurn::IfNoOther)).count() as i64;
    if unreadable > 0 {
        text.push_str(&format!(
            " {unreadable} of them cannot be read now; a copy counts until its device is marked dead."
        ));
    }
    (word, text)
}

fn nowhere_to_go(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::TemporaryFailure => true,
        Verdict::CopyTo { ideal, desperate } => ideal.is_empty() && desperate.is_empty(),
        Verdict::AllGood | Verdict::TooGood => false,
    }
}

fn lost_text(copies: &[ExplainedCopy]) -> String {
    let counted = copies.iter().filter(|copy| copy.counts).count() as i64;
    match (copies.len() as i64, counted) {
        (0, _) => "No device is known to have a copy.".to_owned(),
        (all, 0) => {
            format!("{} known, on devices that are dead or unknown: nothing is left to read.", count_of_copies(all))
        }
        (_, 1) => "The one copy that is left cannot be read now. The file is back when its device is.".to_owned(),
        (_, counted) => {
            format!(
                "None of the {} can be read now. The file is back when one of their devices is.",
                count_of_copies(counted)
            )
        }
    }
}

fn without_file(facts: &Facts<'_>, copies: &[ExplainedCopy]) -> (VerdictWord, String) {
    if facts.tempfile.is_some() && facts.delete.is_none() {
        let text = "The upload was opened and not closed yet: no key leads to it.";
        return (VerdictWord::Uploading, text.to_owned());
    }
    let left = match copies.len() as i64 {
        0 => "no copy is left".to_owned(),
        left => format!("{} left", count_of_copies(left)),
    };
    let mut text = format!("No key leads to this file: it was deleted, replaced or given up; {left}.");
    if let Some(until) = facts.restorable_until.filter(|&until| until > facts.now) {
        text.push_str(&format!(" It can be brought back with undelete for {} s.", until - facts.now));
    }
    (VerdictWord::Deleted, text)
}
