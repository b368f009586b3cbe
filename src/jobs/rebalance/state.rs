//! The text of a rebalance's state: how far it came (jobs.md 11.2). A tracker of the reference may go on where we
//! stopped, and the other way round.

use super::{InvalidSetting, items, numbers};
use crate::ids::{DevId, Fid};
use crate::protocol::args::num;
use std::fmt;
use std::str::FromStr;

/// How far a rebalance came. Times are Unix times of the tracker, 0 for never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RebalanceState {
    pub completed_devs: Vec<DevId>,
    /// Still to do.
    pub source_devs: Vec<DevId>,
    /// The source that is worked on.
    pub sdev_current: Option<DevId>,
    /// The last file looked at on it.
    pub sdev_lastfid: Fid,
    /// What is left of its limit.
    pub sdev_limit: Remaining,
    /// What is left of the limit of the whole run.
    pub limit: Remaining,
    pub fids_queued: u64,
    pub bytes_queued: u64,
    pub time_started: i64,
    pub time_finished: i64,
    pub time_stopped: i64,
    pub time_latest_run: i64,
    pub time_latest_empty_run: i64,
    pub empty_runs: u64,
}

/// What is left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// `none`: there is no limit.
    Unlimited,
    /// Files or bytes, as the policy has it.
    Left(u64),
}

impl Default for Remaining {
    /// Nothing, as the reference writes it before a source is begun.
    fn default() -> Self {
        Self::Left(0)
    }
}

impl RebalanceState {
    /// The state of a run that begins now with these sources.
    pub fn begin(source_devs: Vec<DevId>, now_unix: i64) -> Self {
        Self { source_devs, time_started: now_unix, ..Self::default() }
    }

    /// Is, was or will this device be a source of the run?
    pub fn has_source(&self, devid: DevId) -> bool {
        self.sdev_current == Some(devid) || self.source_devs.contains(&devid) || self.completed_devs.contains(&devid)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidSetting> {
        let integer = || value.trim().parse().unwrap_or_else(|_| num(value.as_bytes()) as i64);
        let count = || u64::try_from(integer()).unwrap_or(0);
        match name {
            "completed_devs" => self.completed_devs = numbers(value).map(DevId).collect(),
            "source_devs" => self.source_devs = numbers(value).map(DevId).collect(),
            "sdev_current" => self.sdev_current = Some(DevId(integer())).filter(|devid| devid.0 != 0),
            "sdev_lastfid" => self.sdev_lastfid = Fid(integer()),
            "sdev_limit" => self.sdev_limit = remaining(value, count()),
            "limit" => self.limit = remaining(value, count()),
            "fids_queued" => self.fids_queued = count(),
            "bytes_queued" => self.bytes_queued = count(),
            "time_started" => self.time_started = integer(),
            "time_finished" => self.time_finished = integer(),
            "time_stopped" => self.time_stopped = integer(),
            "time_latest_run" => self.time_latest_run = integer(),
            "time_latest_empty_run" => self.time_latest_empty_run = integer(),
            "empty_runs" => self.empty_runs = count(),
            _ => return Err(InvalidSetting(name.to_owned())),
        }
        Ok(())
    }
}

fn remaining(value: &str, count: u64) -> Remaining {
    if value == "none" { Remaining::Unlimited } else { Remaining::Left(count) }
}

impl FromStr for RebalanceState {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        let mut state = Self::default();
        for (name, value) in items(text) {
            state.set(name, value)?;
        }
        Ok(state)
    }
}

impl fmt::Display for Remaining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("none"),
            Self::Left(count) => count.fmt(f),
        }
    }
}

/// The text, always in the same order.
impl fmt::Display for RebalanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |devids: &[DevId]| devids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        write!(f, "completed_devs={} source_devs={}", list(&self.completed_devs), list(&self.source_devs))?;
        write!(f, " sdev_current={} sdev_lastfid={}", self.sdev_current.unwrap_or_default(), self.sdev_lastfid)?;
        write!(f, " sdev_limit={} limit={}", self.sdev_limit, self.limit)?;
        write!(f, " fids_queued={} bytes_queued={}", self.fids_queued, self.bytes_queued)?;
        write!(f, " time_started={} time_finished={}", self.time_started, self.time_finished)?;
        write!(f, " time_stopped={} time_latest_run={}", self.time_stopped, self.time_latest_run)?;
        write!(f, " time_latest_empty_run={} empty_runs={}", self.time_latest_empty_run, self.empty_runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of jobs.md 11.2, and J157.
    #[test]
    fn reads_what_the_reference_wrote() {
        let text = "time_latest_run=1795368915 limit=0 empty_runs=0 completed_devs=,41 sdev_lastfid=0 \
                    time_finished=1795368919 time_started=1795368912 time_latest_empty_run=0 bytes_queued=39454 \
                    source_devs= time_stopped=0 sdev_limit=0 sdev_current=0 fids_queued=37";
        let expected = RebalanceState {
            completed_devs: vec![DevId(41)],
            fids_queued: 37,
            bytes_queued: 39454,
            time_started: 1_795_368_912,
            time_finished: 1_795_368_919,
            time_latest_run: 1_795_368_915,
            ..RebalanceState::default()
        };
        assert_eq!(text.parse(), Ok(expected));
    }

    #[test]
    fn writes_every_name_in_a_fixed_order() {
        let state = RebalanceState::begin(vec![DevId(1), DevId(2)], 77);
        let text = "completed_devs= source_devs=1,2 sdev_current=0 sdev_lastfid=0 sdev_limit=0 limit=0 fids_queued=0 \
                    bytes_queued=0 time_started=77 time_finished=0 time_stopped=0 time_latest_run=0 \
                    time_latest_empty_run=0 empty_runs=0";
        assert_eq!(state.to_string(), text);
    }

    #[test]
    fn an_unknown_name_is_refused() {
        assert_eq!("limit=0 foo=1".parse::<RebalanceState>(), Err(InvalidSetting("foo".to_owned())));
    }

    #[test]
    fn knows_its_sources() {
        let state: RebalanceState = "completed_devs=1 source_devs=3,4 sdev_current=2".parse().expect("a state");
        let sources: Vec<_> = (1..=5).map(DevId).filter(|&devid| state.has_source(devid)).collect();
        assert_eq!(sources, [1, 2, 3, 4].map(DevId));
    }

    fn remainings() -> impl Strategy<Value = Remaining> {
        prop_oneof![Just(Remaining::Unlimited), (0..i64::MAX as u64).prop_map(Remaining::Left)]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            completed in proptest::collection::vec(1..9999_i64, 0..5),
            sources in proptest::collection::vec(1..9999_i64, 0..5),
            current in 0..99_i64,
            lastfid in 0..i64::MAX,
            limits in (remainings(), remainings()),
            counts in proptest::array::uniform3(0..i64::MAX as u64),
            times in proptest::array::uniform5(0..i64::MAX),
        ) {
            let state = RebalanceState {
                completed_devs: completed.into_iter().map(DevId).collect(),
                source_devs: sources.into_iter().map(DevId).collect(),
                sdev_current: Some(DevId(current)).filter(|devid| devid.0 != 0),
                sdev_lastfid: Fid(lastfid),
                sdev_limit: limits.0,
                limit: limits.1,
                fids_queued: counts[0],
                bytes_queued: counts[1],
                time_started: times[0],
                time_finished: times[1],
                time_stopped: times[2],
                time_latest_run: times[3],
                time_latest_empty_run: times[4],
                empty_runs: counts[2],
            };
            prop_assert_eq!(state.to_string().parse(), Ok(state));
        }
    }
}
