//! What waits in the queues for the file, and what its next turn would do.

use super::{Asked, Facts, VerdictWord, device_name, either};
use crate::jobs::replicate::outcome::{ReplicateOutcome, RowFate};
use crate::policy::Verdict;
use crate::store::queues::todo::{FSCK, REBALANCE, TodoRow};
use crate::store::queues::{CLAIM_SECS, PARKED};

/// A queue of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueName {
    Replicate,
    Delete,
    Fsck,
    Rebalance,
}

impl QueueName {
    pub fn code(self) -> &'static str {
        match self {
            Self::Replicate => "replicate",
            Self::Delete => "delete",
            Self::Fsck => "fsck",
            Self::Rebalance => "rebalance",
        }
    }
}

/// A row of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedWork {
    pub queue: QueueName,
    /// Until the row is due: 0 or less means now. `None`: parked, it waits for a person.
    pub in_secs: Option<i64>,
    pub failcount: i64,
    /// What the next try does.
    pub text: String,
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// A row is or becomes due; the text says what and when.
    Queued { queue: QueueName, in_secs: i64, text: String },
    /// All that waits is parked.
    Parked { text: String },
    /// No queue has the file.
    Nothing { text: String },
}

impl NextStep {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Queued { queue, .. } => queue.code(),
            Self::Parked { .. } => "parked",
            Self::Nothing { .. } => "none",
        }
    }

    pub fn in_secs(&self) -> Option<i64> {
        match self {
            Self::Queued { in_secs, .. } => Some(*in_secs),
            Self::Parked { .. } | Self::Nothing { .. } => None,
        }
    }

    pub fn text(&self) -> &str {
        match self {
            Self::Queued { text, .. } | Self::Parked { text } | Self::Nothing { text } => text,
        }
    }
}

/// The rows that name the file, the soonest first, parked ones last.
pub(super) fn queued(facts: &Facts<'_>, asked: Option<&Asked<'_>>) -> Vec<QueuedWork> {
    let mut queued = Vec::new();
    let in_secs = |nexttry: i64| (nexttry < PARKED).then(|| (nexttry - facts.now).max(0));
    if let Some(row) = &facts.replicate {
        queued.push(QueuedWork {
            queue: QueueName::Replicate,
            in_secs: in_secs(row.nexttry),
            failcount: row.failcount,
            text: replication_text(facts, asked),
        });
    }
    if let Some(row) = &facts.delete {
        queued.push(QueuedWork {
            queue: QueueName::Delete,
            in_secs: in_secs(row.nexttry),
            failcount: row.failcount,
            text: deletion_text(facts),
        });
    }
    for row in facts.todos {
        let (queue, text) = match row.kind {
            FSCK => (QueueName::Fsck, "looks at every copy and mends what it can".to_owned()),
            REBALANCE => (QueueName::Rebalance, rebalance_text(facts, row)),
            _ => continue,
        };
        queued.push(QueuedWork { queue, in_secs: in_secs(row.nexttry), failcount: row.failcount, text });
    }
    queued.sort_by_key(|work| work.in_secs.unwrap_or(i64::MAX));
    queued
}

pub(super) fn step(facts: &Facts<'_>, verdict: VerdictWord, queued: &[QueuedWork]) -> NextStep {
    match queued.first() {
        Some(work) => match work.in_secs {
            Some(in_secs) => NextStep::Queued { queue: work.queue, in_secs, text: when_and_what(work, in_secs) },
            None => NextStep::Parked {
                text: format!(
                    "The row of the queue {} is parked: nothing happens until somebody or a fsck wakes it.",
                    work.queue.code()
                ),
            },
        },
        None => NextStep::Nothing { text: why_nothing(facts, verdict).to_owned() },
    }
}

fn when_and_what(work: &QueuedWork, in_secs: i64) -> String {
    let when = match in_secs {
        0 => "Due now".to_owned(),
        // A claim pushes the row so far ahead; who has claimed it cannot be told.
        1..=CLAIM_SECS if work.failcount == 0 => format!("In a worker's hands now, or due in {in_secs} s"),
        _ => format!("Due in {in_secs} s"),
    };
    let failed = match work.failcount {
        0 => String::new(),
        1 => ", after 1 failure".to_owned(),
        count => format!(", after {count} failures"),
    };
    format!("{when}{failed}: {} {}.", work.queue.code(), work.text)
}

fn why_nothing(facts: &Facts<'_>, verdict: VerdictWord) -> &'static str {
    match verdict {
        VerdictWord::Satisfied => "Nothing: the policy is content and no queue has the file.",
        VerdictWord::TooMany => "Nothing: no queue has the file, so its surplus copies stay.",
        VerdictWord::TooFew | VerdictWord::Misplaced => {
            "Nothing: no queue has the file. A fsck, or another class by updateclass, would queue it."
        }
        VerdictWord::Lost if facts.devids.is_empty() => "Nothing: there is nothing to copy from.",
        VerdictWord::Lost => "Nothing: no queue has the file. Bring a device of its copies back first.",
        VerdictWord::NoPolicy => "Nothing: no queue has the file. Its class or policy needs to be mended first.",
        VerdictWord::Deleted => "Nothing: no queue has the file any more.",
        VerdictWord::Uploading => "The client closes it, or after a while it is given up and deleted.",
    }
}

/// The first step of the replication job, in its order.
fn replication_text(facts: &Facts<'_>, asked: Option<&Asked<'_>>) -> String {
    let Some(asked) = asked else { return gives_up(&ReplicateOutcome::Gone, "finds no file") };
    let answer = match &asked.answer {
        Ok(answer) => answer,
        Err(reason) => {
            return gives_up(&ReplicateOutcome::NoPolicy(reason.clone()), "cannot tell what the class wants");
        }
    };
    if let Some(obstacle) = asked.whereabouts.obstacle() {
        let finds = match obstacle {
            ReplicateOutcome::NoSource => "finds no recorded copy",
            _ => "finds no copy that can be read",
        };
        return gives_up(&obstacle, finds);
    }
    match &answer.verdict {
        Verdict::AllGood => gives_up(&ReplicateOutcome::AlreadyHappy, "finds the policy content"),
        Verdict::TooGood => {
            "removes the copy that the policy misses least, if the nodes show the others, and looks again".to_owned()
        }
        Verdict::TemporaryFailure => nowhere(),
        Verdict::CopyTo { ideal, desperate } => match ideal.iter().chain(desperate).next() {
            Some(&target) => {
                let sources = sources(facts, asked);
                let target_name = device_name(facts.cluster, target);
                let choice = match if ideal.is_empty() { desperate.len() } else { ideal.len() } {
                    1 => String::new(),
                    count => format!(", or to another of the {count} best: drawn anew by free space"),
                };
                format!("copies from {sources} to {target_name}{choice}")
            }
            None => nowhere(),
        },
    }
}

fn nowhere() -> String {
    gives_up(&ReplicateOutcome::NoSuggestions, "finds no device that could take the copy")
}

/// What was found, and what becomes of the row then.
fn gives_up(outcome: &ReplicateOutcome, finds: &str) -> String {
    let fate = match outcome.row_fate() {
        RowFate::Remove => "and removes its row",
        RowFate::PutBack => "and gives its row back",
        RowFate::Leave => "and leaves its row",
        RowFate::Park => "and parks its row",
        RowFate::LookAgain => "and looks again soon",
        RowFate::Retry => "and tries again later, ever more rarely",
    };
    format!("{finds} {fate}")
}

fn sources(facts: &Facts<'_>, asked: &Asked<'_>) -> String {
    let sources = asked.whereabouts.sources();
    let preferred = facts.replicate.and_then(|row| row.fromdevid).filter(|devid| sources.contains(devid));
    let names: Vec<String> = match preferred {
        Some(devid) => vec![device_name(facts.cluster, devid)],
        None => sources.iter().map(|&devid| device_name(facts.cluster, devid)).collect(),
    };
    either(&names, "or")
}

fn deletion_text(facts: &Facts<'_>) -> String {
    if facts.file.is_some() {
        return "finds that a key leads to the file, leaves it alone and removes its row".to_owned();
    }
    let names: Vec<String> = facts.devids.iter().map(|&devid| device_name(facts.cluster, devid)).collect();
    match names.is_empty() {
        true => "finds no copy and forgets the file".to_owned(),
        false => format!("removes what is on {}, then forgets the file", either(&names, "and")),
    }
}

fn rebalance_text(facts: &Facts<'_>, row: &TodoRow) -> String {
    match row.devid {
        Some(devid) => format!("moves the copy away from {}", device_name(facts.cluster, devid)),
        None => "moves a copy".to_owned(),
    }
}
