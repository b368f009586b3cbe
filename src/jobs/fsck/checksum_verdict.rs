//! What the digests of a file's copies mean (jobs.md 10.6.1). Pure: a table, and nothing else.
//!
//! Copies are only ever given up when another one has the recorded checksum.

use super::event::Evcode;
use super::options::ChecksumMode;
use crate::cluster::checksum::{Checksum, HashType};
use crate::ids::DevId;

/// What was found, and what it is held against.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The digest of every copy of the right length; at least one, all by the same algorithm.
    pub digests: &'a [(DevId, Checksum)],
    pub recorded: Recorded<'a>,
    pub class_hashtype: Option<HashType>,
    pub mode: ChecksumMode,
}

/// The row of the table `checksum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded<'a> {
    None,
    Known(&'a Checksum),
    /// Of an algorithm that this program does not have.
    UnknownAlgorithm,
}

impl Recorded<'_> {
    fn is(self, digest: &Checksum) -> bool {
        matches!(self, Self::Known(recorded) if recorded == digest)
    }

    fn has_algorithm(self, hashtype: HashType) -> bool {
        matches!(self, Self::Known(recorded) if recorded.hashtype == hashtype)
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChecksumVerdict {
    Nothing,
    /// Contents stay; somebody has to look.
    Log(Evcode),
    /// Nothing was recorded, and all copies agree.
    Store(Checksum),
    /// The copies on these devices are not what is recorded, others are.
    Drop(Vec<DevId>),
}

/// Decides.
pub fn judge(evidence: &Evidence<'_>) -> ChecksumVerdict {
    let Some((_, first)) = evidence.digests.first() else { return ChecksumVerdict::Nothing };
    match evidence.digests.iter().all(|(_, digest)| digest == first) {
        true => all_equal(first, evidence),
        false => different(first.hashtype, evidence),
    }
}

fn all_equal(digest: &Checksum, evidence: &Evidence<'_>) -> ChecksumVerdict {
    match evidence.recorded {
        recorded if recorded.is(digest) => ChecksumVerdict::Nothing,
        Recorded::None if evidence.class_hashtype.is_some() => ChecksumVerdict::Store(digest.clone()),
        Recorded::None => ChecksumVerdict::Nothing,
        recorded if recorded.has_algorithm(digest.hashtype) => ChecksumVerdict::Log(Evcode::WrongChecksum),
        Recorded::Known(_) | Recorded::UnknownAlgorithm => ChecksumVerdict::Log(Evcode::OtherAlgorithm),
    }
}

fn different(hashtype: HashType, evidence: &Evidence<'_>) -> ChecksumVerdict {
    let wrong: Vec<DevId> =
        evidence.digests.iter().filter(|(_, digest)| !evidence.recorded.is(digest)).map(|(devid, _)| *devid).collect();
    debug_assert!(evidence.digests.iter().all(|(_, digest)| digest.hashtype == hashtype), "one algorithm for all");
    if wrong.len() < evidence.digests.len() {
        return ChecksumVerdict::Drop(wrong);
    }
    match (evidence.recorded, evidence.mode) {
        (Recorded::None, ChecksumMode::Given(_) | ChecksumMode::Off) => ChecksumVerdict::Log(Evcode::CopiesDiffer),
        _ if evidence.class_hashtype.is_some() => ChecksumVerdict::Log(Evcode::WrongChecksum),
        _ => ChecksumVerdict::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ChecksumMode::{Class, Given};

    fn digest(hashtype: HashType, byte: u8) -> Checksum {
        Checksum { hashtype, digest: vec![byte; hashtype.digest_bytes()] }
    }

    /// jobs.md 10.6.1, every row (J131–J135, J137).
    #[test]
    fn every_row_of_the_table() {
        use HashType::{Md5, Sha1};
        let (one, other, sha) = (digest(Md5, 1), digest(Md5, 2), digest(Sha1, 1));
        let equal = [(DevId(1), one.clone()), (DevId(2), one.clone())];
        let alone = [(DevId(1), one.clone())];
        let mixed = [(DevId(1), one.clone()), (DevId(2), other.clone()), (DevId(3), other.clone())];
        let log = ChecksumVerdict::Log;
        type Row<'a> =
            (&'a str, &'a [(DevId, Checksum)], Recorded<'a>, Option<HashType>, ChecksumMode, ChecksumVerdict);
        let rows: [Row<'_>; 19] = [
            ("equal, as recorded", &equal, Recorded::Known(&one), Some(Md5), Class, ChecksumVerdict::Nothing),
            (
                "equal, as recorded, any class",
                &equal,
                Recorded::Known(&one),
                None,
                Given(Md5),
                ChecksumVerdict::Nothing,
            ),
            ("one copy, as recorded", &alone, Recorded::Known(&one), Some(Md5), Class, ChecksumVerdict::Nothing),
            ("equal, not as recorded", &equal, Recorded::Known(&other), Some(Md5), Class, log(Evcode::WrongChecksum)),
            ("so without a class", &equal, Recorded::Known(&other), None, Given(Md5), log(Evcode::WrongChecksum)),
            (
                "one copy, not as recorded",
                &alone,
                Recorded::Known(&other),
                None,
                Given(Md5),
                log(Evcode::WrongChecksum),
            ),
            ("equal, other algorithm", &equal, Recorded::Known(&sha), Some(Md5), Class, log(Evcode::OtherAlgorithm)),
            ("so without a class", &equal, Recorded::Known(&sha), None, Given(Md5), log(Evcode::OtherAlgorithm)),
            ("unknown algorithm", &equal, Recorded::UnknownAlgorithm, Some(Md5), Class, log(Evcode::OtherAlgorithm)),
            ("equal, none, class", &equal, Recorded::None, Some(Md5), Class, ChecksumVerdict::Store(one.clone())),
            ("so with a given one", &equal, Recorded::None, Some(Md5), Given(Md5), ChecksumVerdict::Store(one.clone())),
            ("equal, none, no class", &equal, Recorded::None, None, Given(Md5), ChecksumVerdict::Nothing),
            (
                "a group",
                &mixed,
                Recorded::Known(&one),
                Some(Md5),
                Class,
                ChecksumVerdict::Drop(vec![DevId(2), DevId(3)]),
            ),
            ("the other", &mixed, Recorded::Known(&other), None, Given(Md5), ChecksumVerdict::Drop(vec![DevId(1)])),
            ("no group, class", &mixed, Recorded::Known(&sha), Some(Md5), Class, log(Evcode::WrongChecksum)),
            ("no group, no class", &mixed, Recorded::Known(&sha), None, Given(Md5), ChecksumVerdict::Nothing),
            ("different, none, given", &mixed, Recorded::None, None, Given(Md5), log(Evcode::CopiesDiffer)),
            ("so with a class", &mixed, Recorded::None, Some(Md5), Given(Sha1), log(Evcode::CopiesDiffer)),
            ("different, none, class", &mixed, Recorded::None, Some(Md5), Class, log(Evcode::WrongChecksum)),
        ];
        for (what, digests, recorded, class_hashtype, mode, expected) in rows {
            let verdict = judge(&Evidence { digests, recorded, class_hashtype, mode });
            assert_eq!(verdict, expected, "{what}");
        }
        let off =
            Evidence { digests: &mixed, recorded: Recorded::None, class_hashtype: Some(Md5), mode: ChecksumMode::Off };
        assert_eq!(judge(&off), log(Evcode::CopiesDiffer));
        let gone = Evidence { digests: &[], ..off };
        assert_eq!(judge(&gone), ChecksumVerdict::Nothing);
    }

    proptest::proptest! {
        /// Whatever the digests are: a copy is only given up if one that has the recorded checksum stays.
        #[test]
        fn a_copy_as_recorded_stays(bytes in proptest::collection::vec(0_u8..4, 1..6), recorded in 0_u8..4) {
            let digests: Vec<(DevId, Checksum)> =
                (1..).map(DevId).zip(bytes.iter().map(|&byte| digest(HashType::Md5, byte))).collect();
            let recorded = digest(HashType::Md5, recorded);
            let verdict = judge(&Evidence {
                digests: &digests,
                recorded: Recorded::Known(&recorded),
                class_hashtype: Some(HashType::Md5),
                mode: ChecksumMode::Class,
            });
            if let ChecksumVerdict::Drop(dropped) = verdict {
                let (gone, kept): (Vec<_>, Vec<_>) =
                    digests.iter().partition(|(devid, _)| dropped.contains(devid));
                proptest::prop_assert!(gone.iter().all(|(_, digest)| *digest != recorded));
                proptest::prop_assert!(!kept.is_empty() && kept.iter().all(|(_, digest)| *digest == recorded));
            }
        }
    }
}
