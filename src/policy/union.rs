//! Union(p1, p2, ...): content when every part is (replication-policies.md 7).

use super::{Question, ReplicationPolicy, Verdict};
use crate::clock::Chance;
use crate::ids::DevId;

/// The answer of the first part that wants a copy and knows where to; what serves the others that do comes first in it.
/// Too good only if every part says so.
pub fn ask(parts: &[ReplicationPolicy], question: &Question<'_>, chance: &mut Chance) -> Verdict {
    let verdicts: Vec<_> = parts.iter().map(|part| part.ask(question, chance)).collect();
    let mut wishes = verdicts.iter().filter_map(wish);
    if let Some((ideal, desperate)) = wishes.next() {
        let others: Vec<_> = wishes.map(|(ideal, _)| ideal).collect();
        let serves_others = |devid: &DevId| others.iter().all(|ideal| ideal.contains(devid));
        let (mut ideal, mut desperate) = (ideal.to_vec(), desperate.to_vec());
        // Stable sorts: false, "does not fall short", comes first.
        ideal.sort_by_key(|devid| !serves_others(devid));
        desperate.sort_by_key(|devid| !serves_others(devid));
        return Verdict::CopyTo { ideal, desperate };
    }
    if !verdicts.iter().all(|verdict| matches!(verdict, Verdict::AllGood | Verdict::TooGood)) {
        Verdict::TemporaryFailure
    } else if verdicts.contains(&Verdict::AllGood) {
        Verdict::AllGood
    } else {
        Verdict::TooGood
    }
}

/// Where a part wants a copy; one that names no place has nothing to say.
fn wish(verdict: &Verdict) -> Option<(&[DevId], &[DevId])> {
    match verdict {
        Verdict::CopyTo { ideal, desperate } if !ideal.is_empty() || !desperate.is_empty() => Some((ideal, desperate)),
        _ => None,
    }
}
