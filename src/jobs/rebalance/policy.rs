//! The text of a rebalance policy: what to move from where to where, and how much of it (jobs.md 11.1).
//!
//! Reading it refuses unknown names only, as the reference does; what a run cannot do with its values is said when the
//! run asks for them ([`RebalancePolicy::limit`]).

use super::{InvalidSetting, items, numbers};
use crate::ids::{DevId, HostId};
use crate::protocol::args::num;
use std::collections::BTreeSet;
use std::str::FromStr;

/// A policy, with the defaults for what its text does not name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RebalancePolicy {
    pub from: Side,
    pub to: Side,
    pub not_to_devices: BTreeSet<DevId>,
    pub not_to_hosts: BTreeSet<HostId>,
    pub fid_age: FidAge,
    /// Destinations offered for each file, chosen by lot; `None` for all of them.
    pub dest_devs_max: Option<usize>,
    /// A source that is done keeps the state `drain`.
    pub leave_in_drain_mode: bool,
    limit_type: String,
    limit_by: String,
    limit: String,
}

/// Which devices a side may consist of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Side {
    /// `None` for any. A list without a usable number leaves none.
    pub devices: Option<BTreeSet<DevId>>,
    /// As `devices`.
    pub hosts: Option<BTreeSet<HostId>>,
    pub above: Thresholds,
}

/// A device must be above each of these; `None` is no condition.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Thresholds {
    pub percent_used: Option<f64>,
    pub percent_free: Option<f64>,
    pub mb_used: Option<f64>,
    pub mb_free: Option<f64>,
}

/// In which order the files of a source are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FidAge {
    #[default]
    Old,
    New,
}

/// How much is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub scope: LimitScope,
    pub amount: Amount,
}

/// What a limit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitScope {
    /// Each source.
    Device,
    /// The whole run.
    Global,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    Files(u64),
    Bytes(u64),
    /// So many bytes for each hundred that are used on the source when it is begun, or on all sources when the run is.
    Percent(u64),
}

/// Why a run cannot go by the limit of its policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("limit_by={0} is not supported")]
    By(String),
    #[error("limit_type={0} is not supported")]
    Type(String),
    #[error("limit={0} is not a limit")]
    Amount(String),
}

impl FromStr for RebalancePolicy {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        let mut policy = Self::default();
        for (name, value) in items(text) {
            policy.set(name, value)?;
        }
        Ok(policy)
    }
}

impl RebalancePolicy {
    fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidSetting> {
        match name {
            // Accepted, and without effect in the reference too: no list means all.
            "from_all_devs" | "to_all_devs" => {}
            "not_to_devices" => self.not_to_devices = ids(value, DevId).unwrap_or_default(),
            "not_to_hosts" => self.not_to_hosts = ids(value, HostId).unwrap_or_default(),
            "fid_age" => self.fid_age = if value == "new" { FidAge::New } else { FidAge::Old },
            "limit_type" => value.clone_into(&mut self.limit_type),
            "limit_by" => value.clone_into(&mut self.limit_by),
            "limit" => value.clone_into(&mut self.limit),
            "use_dest_devs" => self.dest_devs_max = value.parse().ok().filter(|&count| count > 0),
            "leave_in_drain_mode" => self.leave_in_drain_mode = !value.is_empty() && value != "0",
            _ => {
                let known = match name.split_once('_') {
                    Some(("from", condition)) => self.from.set(condition, value),
                    Some(("to", condition)) => self.to.set(condition, value),
                    _ => false,
                };
                if !known {
                    return Err(InvalidSetting(name.to_owned()));
                }
            }
        }
        Ok(())
    }

    /// How much is to be moved; `None` for everything.
    ///
    /// # Errors
    /// The policy asks for a limit that there is not; the run cannot be carried out.
    pub fn limit(&self) -> Result<Option<Limit>, LimitError> {
        let wrong_amount = || LimitError::Amount(self.limit.clone());
        let amount = match self.limit_by.as_str() {
            "" | "none" => return Ok(None),
            "count" => Amount::Files(self.limit.parse().map_err(|_| wrong_amount())?),
            "size" => Amount::Bytes(bytes(&self.limit).ok_or_else(wrong_amount)?),
            "percent" => Amount::Percent(percent(&self.limit).ok_or_else(wrong_amount)?),
            other => return Err(LimitError::By(other.to_owned())),
        };
        let scope = match self.limit_type.as_str() {
            "" | "device" => LimitScope::Device,
            "global" => LimitScope::Global,
            other => return Err(LimitError::Type(other.to_owned())),
        };
        Ok(Some(Limit { scope, amount }))
    }
}

impl Side {
    /// False if there is no such condition.
    fn set(&mut self, condition: &str, value: &str) -> bool {
        match condition {
            "devices" => self.devices = ids(value, DevId),
            "hosts" => self.hosts = ids(value, HostId),
            "percent_used" => self.above.percent_used = threshold(value),
            "percent_free" => self.above.percent_free = threshold(value),
            "space_used" => self.above.mb_used = threshold(value),
            "space_free" => self.above.mb_free = threshold(value),
            _ => return false,
        }
        true
    }
}

/// `None` for an empty text, which stands for no list.
fn ids<T: Ord>(text: &str, id: fn(i64) -> T) -> Option<BTreeSet<T>> {
    (!text.is_empty()).then(|| numbers(text).map(id).collect())
}

/// Zero is no condition.
fn threshold(text: &str) -> Option<f64> {
    Some(num(text.as_bytes())).filter(|&number| number != 0.0)
}

/// A whole number of hundredths, with an optional `%`.
fn percent(text: &str) -> Option<u64> {
    text.strip_suffix('%').unwrap_or(text).parse().ok().filter(|percent| (1..=100).contains(percent))
}

/// Digits with an optional `b k m g t p`, in powers of 1024; bytes if there is none.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let exponent = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse::<u64>().ok()?.checked_mul(1024_u64.pow(exponent))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> RebalancePolicy {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn devids(ids: &[i64]) -> Option<BTreeSet<DevId>> {
        Some(ids.iter().copied().map(DevId).collect())
    }

    #[test]
    fn every_name_of_the_reference_is_known() {
        let all = "from_all_devs=1 from_hosts=1,2 from_devices=3 from_percent_used=95 from_percent_free=0.5 \
                   from_space_used=1000 from_space_free=0 fid_age=new limit_type=global limit_by=size limit=10g \
                   to_all_devs=1 to_hosts=4 to_devices=5,6 not_to_hosts=7 not_to_devices=8,,9 to_percent_used=1 \
                   to_percent_free=2 to_space_used=3 to_space_free=4 use_dest_devs=2 leave_in_drain_mode=1";
        let policy = policy(all);
        assert_eq!(policy.from.hosts, Some([1, 2].map(HostId).into()));
        assert_eq!((policy.from.devices, policy.to.devices), (devids(&[3]), devids(&[5, 6])));
        let above =
            Thresholds { percent_used: Some(95.0), percent_free: Some(0.5), mb_used: Some(1000.0), mb_free: None };
        assert_eq!(policy.from.above, above);
        assert_eq!(policy.to.hosts, Some([HostId(4)].into()));
        let above =
            Thresholds { percent_used: Some(1.0), percent_free: Some(2.0), mb_used: Some(3.0), mb_free: Some(4.0) };
        assert_eq!(policy.to.above, above);
        assert_eq!(policy.not_to_devices, [8, 9].map(DevId).into());
        assert_eq!(policy.not_to_hosts, [HostId(7)].into());
        assert_eq!((policy.fid_age, policy.dest_devs_max), (FidAge::New, Some(2)));
        assert!(policy.leave_in_drain_mode);
    }

    #[test]
    fn an_empty_policy_is_all_defaults() {
        for text in ["", " ", "\n", "from_hosts= to_devices= limit= use_dest_devs=all leave_in_drain_mode=0"] {
            assert_eq!(policy(text), RebalancePolicy::default(), "{text:?}");
        }
        let empty = policy("");
        assert_eq!((empty.fid_age, empty.dest_devs_max, empty.limit()), (FidAge::Old, None, Ok(None)));
        assert!(!empty.leave_in_drain_mode);
    }

    #[test]
    fn unknown_and_empty_names_are_refused() {
        for (text, name) in [
            ("foo=1", "foo"),
            ("from_hosts=1  to_hosts=2", ""),
            (" from_hosts=1", ""),
            ("from_hosts=1 not_from_hosts=2", "not_from_hosts"),
            ("from_=1", "from_"),
            ("FROM_HOSTS=1", "FROM_HOSTS"),
        ] {
            let refused = text.parse::<RebalancePolicy>().expect_err(text);
            assert_eq!(refused.to_string(), format!("Invalid setting {name}"));
        }
    }

    /// Data is not to be moved from or to devices that nobody named.
    #[test]
    fn a_list_without_numbers_is_not_any_device() {
        assert_eq!(policy("from_devices=abc").from.devices, devids(&[]));
        assert_eq!(policy("to_devices=,").to.devices, devids(&[]));
    }

    #[test]
    fn limits_are_counts_and_sizes() {
        let device = |amount| Ok(Some(Limit { scope: LimitScope::Device, amount }));
        assert_eq!(policy("limit_by=none limit=5").limit(), Ok(None));
        assert_eq!(policy("limit_by=count limit=5").limit(), device(Amount::Files(5)));
        for (text, bytes) in
            [("0", 0), ("77", 77), ("77b", 77), ("3k", 3072), ("10G", 10 << 30), ("1t", 1 << 40), ("2p", 2 << 50)]
        {
            assert_eq!(policy(&format!("limit_by=size limit={text}")).limit(), device(Amount::Bytes(bytes)), "{text}");
        }
        assert_eq!(policy("limit_by=percent limit=5").limit(), device(Amount::Percent(5)));
        assert_eq!(policy("limit_by=percent limit=100%").limit(), device(Amount::Percent(100)));
        let global = Limit { scope: LimitScope::Global, amount: Amount::Files(7) };
        assert_eq!(policy("limit_type=global limit_by=count limit=7").limit(), Ok(Some(global)));
    }

    /// They are accepted when the policy is set, and refused when a run wants them.
    #[test]
    fn limits_that_there_are_not() {
        assert_eq!(policy("limit_by=foo").limit(), Err(LimitError::By("foo".to_owned())));
        for text in ["", "0", "101", "-5", "1.5", "5%%"] {
            let refused = policy(&format!("limit_by=percent limit={text}")).limit();
            assert_eq!(refused, Err(LimitError::Amount(text.to_owned())));
        }
        for text in ["", "x", "1.5g", "-1", "+1k", "1kb", "99999999999999999999", "99999999p"] {
            let refused = policy(&format!("limit_by=size limit={text}")).limit();
            assert_eq!(refused, Err(LimitError::Amount(text.to_owned())));
        }
        assert!(policy("limit_by=count limit=5k").limit().is_err());
        assert!(policy("limit_by=count limit=5 limit_type=foo").limit().is_err());
    }
}
