//! Union(p1, p2, ...): content when every part is (replication-policies.md 7).

use super::{Question, ReplicationPolicy, Verdict};
use crate::clock::Chance;
use crate::ids::DevId;

/// The answer of the first part that wants a copy and knows where to; what serves the others that want one too comes
/// first in it. Too good only if every part says so.
pub fn ask(parts: &[ReplicationPolicy], question: &Question<'_>, chance: &mut Chance) -> Verdict {
    let verdicts: Vec<_> = parts.iter().map(|part| part.ask(question, chance)).collect();
    let unhappy = verdicts.iter().filter(|verdict| !matches!(verdict, Verdict::AllGood | Verdict::TooGood));
    let mut wishes = Vec::new();
    for verdict in unhappy.clone() {
        if let Verdict::CopyTo { ideal, desperate } = verdict {
            wishes.push((ideal, desperate));
        }
    }
    // One that asks for a copy and names no place has nothing to say either, unless nobody has.
    let first = wishes.iter().position(|(ideal, desperate)| !ideal.is_empty() || !desperate.is_empty()).unwrap_or(0);
    if let Some(&(ideal, desperate)) = wishes.get(first) {
        wishes.remove(first);
        let serves_all = |devid: &DevId| wishes.iter().all(|(ideal, _)| ideal.contains(devid));
        let (mut ideal, mut desperate) = (ideal.clone(), desperate.clone());
        // Stable sorts: false, "does not fall short", comes first.
        ideal.sort_by_key(|devid| !serves_all(devid));
        desperate.sort_by_key(|devid| !serves_all(devid));
        return Verdict::CopyTo { ideal, desperate };
    }
    if unhappy.count() > 0 {
        Verdict::TemporaryFailure
    } else if verdicts.contains(&Verdict::AllGood) {
        Verdict::AllGood
    } else {
        Verdict::TooGood
    }
}
