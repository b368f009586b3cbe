//! How thoroughly the present run looks, as the settings that all trackers share say it (jobs.md 10.3).

use super::{field, number};
use crate::cluster::checksum::HashType;
use crate::store::{StoreConnection, StoreResult, server_settings};
use std::collections::BTreeMap;

/// Setting: whose digests are taken.
const CHECKSUM_FIELD: &str = "fsck_checksum";

/// Whose digests are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumMode {
    /// None at all (W23).
    Off,
    /// Those of files whose class has a hash type.
    Class,
    /// Those of all files; by this algorithm where the class has none.
    Given(HashType),
}

impl ChecksumMode {
    fn parse(text: &str) -> Self {
        match text {
            "off" => Self::Off,
            name => HashType::from_name(name.as_bytes()).map_or(Self::Class, Self::Given),
        }
    }

    /// The algorithm for a file whose class has this hash type; `None` for no digests.
    pub fn algorithm(self, class_hashtype: Option<HashType>) -> Option<HashType> {
        match self {
            Self::Off => None,
            Self::Class => class_hashtype,
            Self::Given(hashtype) => class_hashtype.or(Some(hashtype)),
        }
    }
}

/// The options of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// Which run it is, of those that this program's trackers began.
    pub run: i64,
    /// Look at the nodes only where something is wrong already.
    pub policy_only: bool,
    pub mode: ChecksumMode,
    /// Copies are not counted (`skip_devcount`).
    pub skips_devcount: bool,
}

impl RunOptions {
    /// Reads them from the database, so that a reset counts at once.
    pub fn read(conn: &mut StoreConnection) -> StoreResult<Self> {
        Ok(Self::of(&server_settings::all(conn)?))
    }

    fn of(settings: &BTreeMap<String, String>) -> Self {
        Self {
            run: number(settings, field::RUN),
            policy_only: server_settings::says(settings, field::POLICY_ONLY),
            mode: ChecksumMode::parse(settings.get(CHECKSUM_FIELD).map(String::as_str).unwrap_or_default()),
            skips_devcount: server_settings::says(settings, "skip_devcount"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> RunOptions {
        RunOptions::of(&pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn settings_become_options() {
        let usual = options(&[]);
        assert_eq!((usual.policy_only, usual.mode, usual.skips_devcount), (false, ChecksumMode::Class, false));
        assert!(options(&[("fsck_opt_policy_only", "1")]).policy_only);
        for (text, mode) in [
            ("off", ChecksumMode::Off),
            ("MD5", ChecksumMode::Given(HashType::Md5)),
            ("SHA-1", ChecksumMode::Given(HashType::Sha1)),
            ("class", ChecksumMode::Class),
            ("nonsense", ChecksumMode::Class),
        ] {
            assert_eq!(options(&[(CHECKSUM_FIELD, text)]).mode, mode, "{text}");
        }
    }

    /// 10.6: the class overrules the given algorithm. J158, as replaced: nothing overrules `off`.
    #[test]
    fn whose_algorithm_it_is() {
        use HashType::{Md5, Sha1};
        for (mode, class, expected) in [
            (ChecksumMode::Off, Some(Md5), None),
            (ChecksumMode::Off, None, None),
            (ChecksumMode::Class, Some(Md5), Some(Md5)),
            (ChecksumMode::Class, None, None),
            (ChecksumMode::Given(Sha1), Some(Md5), Some(Md5)),
            (ChecksumMode::Given(Sha1), None, Some(Sha1)),
        ] {
            assert_eq!(mode.algorithm(class), expected, "{mode:?} {class:?}");
        }
    }
}
