//! MultipleDevices(n): so many devices; hosts do not matter (replication-policies.md 6).

use super::candidates::{candidates, disks_total};
use super::{Question, Verdict};
use crate::clock::Chance;
use crate::cluster::placement::order_by_free_space;

pub fn ask(min: i64, question: &Question<'_>, chance: &mut Chance) -> Verdict {
    let on = question.told.len();
    let min = usize::try_from(min).unwrap_or(0);
    if on == min {
        return Verdict::AllGood;
    }
    if on > min {
        return Verdict::TooGood;
    }
    if on >= 2 && on == disks_total(question) {
        return Verdict::AllGood;
    }
    let candidates = candidates(question);
    if candidates.is_empty() {
        return Verdict::TemporaryFailure;
    }
    Verdict::CopyTo { ideal: order_by_free_space(candidates, chance), desperate: Vec::new() }
}
