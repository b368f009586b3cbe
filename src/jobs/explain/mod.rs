//! Why a file is where it is, why it is nowhere else, and what happens next: the rules of placement, policy and
//! replication, asked about one file and put into words.
//!
//! Pure: from facts to an [`Explanation`]. No rule is written down a second time here; everything is asked of
//! [`crate::policy`], [`crate::cluster`] and the replication job's own steps. Nothing is changed by asking.

mod copies;
mod next;
mod others;
#[cfg(test)]
mod tests;
mod verdict;

pub use copies::{CopyState, ExplainedCopy, Place};
pub use next::{NextStep, QueueName, QueuedWork};
pub use others::{OtherDevice, OtherState, Others};
pub use verdict::VerdictWord;

use super::replicate::{Whereabouts, class_and_policy};
use crate::clock::Chance;
use crate::cluster::ClusterSnapshot;
use crate::cluster::domain::Class;
use crate::ids::{DevId, Fid};
use crate::policy::{ReplicationPolicy, Verdict};
use crate::store::files::FileRow;
use crate::store::queues::delete::DeleteTodo;
use crate::store::queues::replicate::ReplicateRow;
use crate::store::queues::todo::TodoRow;
use crate::store::tempfiles::TempfileRow;

/// What is known about one file.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub fid: Fid,
    /// `None`: no key leads to it.
    pub file: Option<&'a FileRow>,
    /// Rows of `file_on`.
    pub devids: &'a [DevId],
    pub cluster: &'a ClusterSnapshot,
    /// Copies that clients reported to this tracker as unreadable.
    pub doubted: &'a [DevId],
    pub replicate: Option<ReplicateRow>,
    pub delete: Option<DeleteTodo>,
    /// Rows of `file_to_queue`.
    pub todos: &'a [TodoRow],
    pub tempfile: Option<&'a TempfileRow>,
    /// Deleted, and can be brought back until this Unix time.
    pub restorable_until: Option<i64>,
    /// Unix time of the database.
    pub now: i64,
    pub min_free_space_mb: i64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub verdict: VerdictWord,
    /// One or two sentences.
    pub verdict_text: String,
    /// What the class wants; `None` without a file, or if its class or policy is unknown.
    pub policy: Option<PolicyFacts>,
    /// Copies that count for the policy: on known devices that are not dead.
    pub counted: usize,
    pub copies: Vec<ExplainedCopy>,
    pub others: Others,
    /// What the queues have, the soonest first.
    pub queued: Vec<QueuedWork>,
    pub next: NextStep,
}

/// The rule that a file is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFacts {
    pub text: String,
    pub copies_wanted: i64,
}

/// Explains a file.
pub fn explain(facts: &Facts<'_>, chance: &mut Chance) -> Explanation {
    let asked = facts.file.map(|file| Asked::ask(facts, file, chance));
    let copies = copies::explain(facts);
    let others = others::explain(facts, asked.as_ref(), chance);
    let (verdict, verdict_text) = verdict::judge(facts, asked.as_ref(), &copies);
    let queued = next::queued(facts, asked.as_ref());
    let next = next::step(facts, verdict, &queued);
    Explanation {
        verdict,
        verdict_text,
        policy: asked.as_ref().and_then(Asked::policy_facts),
        counted: copies.iter().filter(|copy| copy.counts).count(),
        copies,
        others,
        queued,
        next,
    }
}

/// What the replication job would ask, and what it would be told.
struct Asked<'a> {
    whereabouts: Whereabouts,
    /// Class, policy and its answer, or why there is none.
    answer: Result<Answer<'a>, String>,
}

struct Answer<'a> {
    class: &'a Class,
    policy: ReplicationPolicy,
    verdict: Verdict,
}

impl<'a> Asked<'a> {
    fn ask(facts: &Facts<'a>, file: &FileRow, chance: &mut Chance) -> Self {
        let whereabouts = Whereabouts::new(facts.cluster, facts.devids.to_vec(), file.length);
        let answer = class_and_policy(facts.cluster, file).map(|(class, policy)| {
            let question = whereabouts.question(facts.cluster, class, facts.min_free_space_mb);
            let verdict = policy.ask(&question, chance);
            Answer { class, policy, verdict }
        });
        Self { whereabouts, answer }
    }

    fn policy_facts(&self) -> Option<PolicyFacts> {
        let answer = self.answer.as_ref().ok()?;
        Some(PolicyFacts { text: answer.class.policy_text().to_owned(), copies_wanted: answer.copies_wanted() })
    }
}

impl Answer<'_> {
    fn copies_wanted(&self) -> i64 {
        self.policy.copies_wanted(self.class.mindevcount)
    }
}

/// `dev 3 on h2`, or `dev 3` if it is unknown.
fn device_name(cluster: &ClusterSnapshot, devid: DevId) -> String {
    match cluster.device(devid) {
        Some(view) => format!("dev {devid} on {}", view.host.name),
        None => format!("dev {devid}"),
    }
}

/// `a, b or c`.
fn either(names: &[String], word: &str) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [rest @ .., last] => format!("{} {word} {last}", rest.join(", ")),
    }
}

/// `1 copy`, `2 copies`.
fn count_of_copies(count: i64) -> String {
    match count {
        1 => "1 copy".to_owned(),
        _ => format!("{count} copies"),
    }
}
