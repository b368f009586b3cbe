//! What a run takes next: a source, then files of it within the limits (jobs.md 11.4).
//!
//! Pure: it changes the state of the run in memory. Whoever calls it stores that state together with what it planned, or
//! neither.

use super::policy::{Amount, FidAge, Limit, LimitError, LimitScope, RebalancePolicy};
use super::state::{RebalanceState, Remaining};
use crate::clock::Chance;
use crate::cluster::ClusterSnapshot;
use crate::cluster::device_state::DeviceStatus;
use crate::ids::{DevId, Fid};
use crate::store::file_on::{DeviceFile, Page};
use crate::store::queues::todo::NewMove;
use rand::seq::IndexedRandom as _;
use std::collections::BTreeMap;

/// Less than this is nothing left of a limit in bytes: else a run would look through all that is left on a device for a
/// file that small (jobs.md 11.4, step 7).
const BYTES_LEFT_MIN: u64 = 1024;

/// A run: what it goes by, and how far it is.
#[derive(Clone, Debug)]
pub struct Run {
    pub policy: RebalancePolicy,
    pub state: RebalanceState,
    limit: Option<Limit>,
}

/// What is to be done with the current source, by its stored status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStep {
    /// It gets no more new files while copies are moved away: alive → drain.
    Drain,
    /// It is drained already.
    GoOn,
    /// Somebody has decided otherwise about it: its status is left alone.
    Skip,
}

/// Files of the source that were taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub moves: Vec<NewMove>,
    pub bytes: u64,
    /// The next file is still to be moved away from another source; until then it cannot be queued.
    pub is_held_up: bool,
}

/// W3: the status of a source is changed from alive to drain and back, and by nobody else meanwhile. `is_drained_by_us`:
/// this run has set it to drain.
pub fn source_step(status: Option<DeviceStatus>, is_drained_by_us: bool) -> SourceStep {
    match (status, is_drained_by_us) {
        (Some(DeviceStatus::Alive), false) => SourceStep::Drain,
        (Some(DeviceStatus::Drain), _) => SourceStep::GoOn,
        _ => SourceStep::Skip,
    }
}

impl Run {
    /// # Errors
    /// The policy has a limit that cannot be gone by.
    pub fn new(policy: RebalancePolicy, state: RebalanceState) -> Result<Self, LimitError> {
        let limit = policy.limit()?;
        Ok(Self { policy, state, limit })
    }

    /// The source to work on: the current one, or the next; `None` if the run has nothing left to do.
    pub fn source(&mut self, cluster: &ClusterSnapshot) -> Option<DevId> {
        if self.state.time_latest_run == 0 {
            self.begin_limit(cluster);
        }
        if self.limit.is_some_and(|limit| limit.scope == LimitScope::Global) && self.is_used_up() {
            return None;
        }
        if self.state.sdev_current.is_none() {
            if self.state.source_devs.is_empty() {
                return None;
            }
            let devid = self.state.source_devs.remove(0);
            self.state.sdev_current = Some(devid);
            self.state.sdev_lastfid = Fid(0);
            self.state.sdev_limit = match self.limit {
                Some(Limit { scope: LimitScope::Device, amount }) => {
                    Remaining::Left(allowance(amount, cluster, &[devid]))
                }
                _ => Remaining::Unlimited,
            };
        }
        self.state.sdev_current
    }

    fn begin_limit(&mut self, cluster: &ClusterSnapshot) {
        if let Some(Limit { scope: LimitScope::Global, amount }) = self.limit {
            self.state.limit = Remaining::Left(allowance(amount, cluster, &self.state.source_devs));
        }
    }

    /// The limit that counts now, and what is left of it.
    pub(super) fn limit_left(&mut self) -> Option<(Amount, &mut Remaining)> {
        let Limit { scope, amount } = self.limit?;
        let remaining = match scope {
            LimitScope::Device => &mut self.state.sdev_limit,
            LimitScope::Global => &mut self.state.limit,
        };
        Some((amount, remaining))
    }

    /// Has the limit that counts now nothing left?
    pub fn is_used_up(&self) -> bool {
        let Some(Limit { scope, amount }) = self.limit else { return false };
        let remaining = match scope {
            LimitScope::Device => self.state.sdev_limit,
            LimitScope::Global => self.state.limit,
        };
        match (amount, remaining) {
            (_, Remaining::Unlimited) => false,
            (Amount::Files(_), Remaining::Left(files)) => files == 0,
            (Amount::Bytes(_) | Amount::Percent(_), Remaining::Left(bytes)) => bytes < BYTES_LEFT_MIN,
        }
    }

    /// What a limit in percent cannot go by: sources of the run whose used space nobody knows.
    pub fn unmeasured(&self, cluster: &ClusterSnapshot) -> Option<String> {
        if !matches!(self.limit, Some(Limit { amount: Amount::Percent(_), .. })) {
            return None;
        }
        let sources = self.state.completed_devs.iter().chain(&self.state.sdev_current).chain(&self.state.source_devs);
        let unknown = sources.filter(|&&devid| used_mb(cluster, devid).is_none());
        let names: Vec<_> = unknown.map(|devid| format!("device {devid}")).collect();
        (!names.is_empty()).then(|| {
            format!("nobody knows how much space is used on {}: it counts as empty for the limit", names.join(", "))
        })
    }

    /// Where the next files of the current source are.
    pub fn page(&self) -> Page {
        match (self.policy.fid_age, self.state.sdev_lastfid) {
            (FidAge::Old, after) => Page::Above(after),
            (FidAge::New, Fid(0)) => Page::Below(Fid(i64::MAX)),
            (FidAge::New, before) => Page::Below(before),
        }
    }

    /// Takes files of the current source as far as the limits go. `queued` has those of them that are queued already.
    pub fn take(
        &mut self,
        files: &[DeviceFile],
        queued: &BTreeMap<Fid, Option<DevId>>,
        destinations: &[DevId],
        chance: &mut Chance,
    ) -> Taken {
        let mut taken = Taken::default();
        for &DeviceFile { fid, length } in files {
            if self.is_used_up() {
                break;
            }
            let queued_for = queued.get(&fid);
            if queued_for.is_some_and(|&devid| devid != self.state.sdev_current) {
                taken.is_held_up = true;
                break;
            }
            self.state.sdev_lastfid = fid;
            let Some(length) = length.filter(|_| queued_for.is_none()) else { continue };
            let bytes = u64::try_from(length).unwrap_or(0);
            if !self.spend(bytes) {
                continue;
            }
            self.state.fids_queued += 1;
            self.state.bytes_queued = self.state.bytes_queued.saturating_add(bytes);
            taken.bytes = taken.bytes.saturating_add(bytes);
            taken.moves.push(NewMove { fid, arg: self.offer(destinations, chance) });
        }
        taken
    }

    /// Takes a file of so many bytes off the limit; false if it is too large for what is left.
    fn spend(&mut self, bytes: u64) -> bool {
        let Some((amount, Remaining::Left(left))) = self.limit_left() else { return true };
        let cost = match amount {
            Amount::Files(_) => 1,
            Amount::Bytes(_) | Amount::Percent(_) => bytes,
        };
        let fits = cost <= *left;
        if fits {
            *left -= cost;
        }
        fits
    }

    /// The destinations that a file is offered (J145), by number.
    fn offer(&self, destinations: &[DevId], chance: &mut Chance) -> String {
        let count = self.policy.dest_devs_max.unwrap_or(destinations.len());
        let mut offered: Vec<DevId> = destinations.sample(chance, count).copied().collect();
        offered.sort_unstable();
        offered.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// The current source is done.
    pub fn finish_source(&mut self) {
        self.state.completed_devs.extend(self.state.sdev_current.take());
        self.state.sdev_lastfid = Fid(0);
        self.state.sdev_limit = Remaining::Left(0);
    }
}

/// Files or bytes that a limit allows for these sources together. A source whose use is unknown adds nothing to a
/// percentage.
fn allowance(amount: Amount, cluster: &ClusterSnapshot, sources: &[DevId]) -> u64 {
    match amount {
        Amount::Files(count) | Amount::Bytes(count) => count,
        Amount::Percent(percent) => {
            let used_mb = sources.iter().filter_map(|&devid| used_mb(cluster, devid));
            let used_bytes = u128::from(used_mb.sum::<u64>()) << 20;
            u64::try_from(used_bytes * u128::from(percent) / 100).unwrap_or(u64::MAX)
        }
    }
}

fn used_mb(cluster: &ClusterSnapshot, devid: DevId) -> Option<u64> {
    u64::try_from(cluster.devices.get(&devid)?.mb_used?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::chance_from_seed;
    use crate::cluster::fixture::Fixture;
    use proptest::prelude::*;

    /// Sources 11 and 12 use 100 MiB and 300 MiB.
    fn cluster() -> ClusterSnapshot {
        Fixture::parse("h1[d11=_,used:100 d12=_,used:300] h2[d21=_ d22=_ d23=_]").snapshot
    }

    fn run(policy: &str, sources: &[i64]) -> Run {
        let state = RebalanceState::begin(sources.iter().copied().map(DevId).collect(), 5);
        Run::new(policy.parse().expect("a policy"), state).expect("a limit")
    }

    fn files(lengths: &[i64]) -> Vec<DeviceFile> {
        (1..).zip(lengths).map(|(fid, &length)| DeviceFile { fid: Fid(fid), length: Some(length) }).collect()
    }

    const TARGETS: [DevId; 3] = [DevId(21), DevId(22), DevId(23)];

    fn take(run: &mut Run, files: &[DeviceFile]) -> Vec<i64> {
        let taken = run.take(files, &BTreeMap::new(), &TARGETS, &mut chance_from_seed(1));
        taken.moves.iter().map(|one| one.fid.0).collect()
    }

    /// Goes through all sources, each with the same files in pages of two; the numbers of files taken from each.
    fn go_through(run: &mut Run, all: &[DeviceFile]) -> Vec<(i64, usize)> {
        let mut taken = Vec::new();
        while let Some(devid) = run.source(&cluster()) {
            run.state.time_latest_run = 6;
            let after = run.state.sdev_lastfid;
            let page: Vec<_> = all.iter().copied().filter(|file| file.fid > after).take(2).collect();
            let count = take(run, &page).len();
            match taken.last_mut() {
                Some((last, sum)) if *last == devid.0 => *sum += count,
                _ => taken.push((devid.0, count)),
            }
            if page.is_empty() || run.is_used_up() {
                run.finish_source();
            }
        }
        taken
    }

    /// J153 (W4): exactly as many as the limit says, also in the middle of a page.
    #[test]
    fn a_count_is_for_each_source_or_for_the_run() {
        let all = files(&[1; 31]);
        assert_eq!(go_through(&mut run("limit_by=count limit=5", &[11, 12]), &all), [(11, 5), (12, 5)]);
        let mut global = run("limit_type=global limit_by=count limit=35", &[11, 12]);
        assert_eq!(go_through(&mut global, &all), [(11, 31), (12, 4)]);
        assert_eq!((global.state.limit, global.state.fids_queued), (Remaining::Left(0), 35));
        let mut short = run("limit_type=global limit_by=count limit=3", &[11, 12]);
        assert_eq!(go_through(&mut short, &all), [(11, 3)]);
        assert_eq!(short.state.source_devs, [DevId(12)], "what was not begun is still to do");
        assert_eq!(go_through(&mut run("limit_by=none limit=1", &[11, 12]), &all), [(11, 31), (12, 31)]);
    }

    /// J146; and a file that is too large is passed over, smaller ones may follow.
    #[test]
    fn sizes_are_kept_to() {
        let mut plain = run("limit_by=size limit=3k", &[11]);
        assert_eq!(go_through(&mut plain, &files(&[1500; 5])), [(11, 2)]);
        assert_eq!(plain.state.bytes_queued, 3000);
        let mut mixed = run("limit_by=size limit=10k", &[11]);
        mixed.source(&cluster());
        assert_eq!(take(&mut mixed, &files(&[5000, 9000, 4000, 3000, 1000])), [1, 3, 5]);
        assert_eq!(mixed.state.sdev_limit, Remaining::Left(240));
        assert_eq!(mixed.state.sdev_lastfid, Fid(5));
        let mut global = run("limit_type=global limit_by=size limit=4k", &[11, 12]);
        assert_eq!(go_through(&mut global, &files(&[1500; 1])), [(11, 1), (12, 1)]);
        assert_eq!(global.state.limit, Remaining::Left(1096));
    }

    /// W4: a part of what the source uses, or of what all sources use together.
    #[test]
    fn percentages_are_of_the_used_space() {
        let mut device = run("limit_by=percent limit=10", &[11, 12]);
        device.source(&cluster());
        assert_eq!(device.state.sdev_limit, Remaining::Left(10 << 20));
        device.finish_source();
        device.source(&cluster());
        assert_eq!(device.state.sdev_limit, Remaining::Left(30 << 20));
        let mut global = run("limit_type=global limit_by=percent limit=10", &[11, 12]);
        global.source(&cluster());
        assert_eq!((global.state.limit, global.state.sdev_limit), (Remaining::Left(40 << 20), Remaining::Unlimited));
        let mut unknown = run("limit_by=percent limit=10", &[99]);
        unknown.source(&cluster());
        assert!(unknown.is_used_up());
    }

    #[test]
    fn unknown_use_is_told_where_it_matters() {
        let told = |policy: &str| {
            let mut run = run(policy, &[98, 11, 99]);
            run.source(&cluster());
            run.finish_source();
            run.unmeasured(&cluster())
        };
        for scope in ["device", "global"] {
            let told = told(&format!("limit_type={scope} limit_by=percent limit=10")).expect("something is unknown");
            assert!(told.contains("device 98, device 99:"), "{told}");
        }
        assert_eq!(told("limit_by=count limit=10"), None);
        assert_eq!(run("limit_by=percent limit=10", &[11, 12]).unmeasured(&cluster()), None);
    }

    /// What is left of a limit is not what it was at the start, however often a run is gone on with.
    #[test]
    fn a_run_goes_on_with_what_is_left() {
        let mut begun = run("limit_type=global limit_by=count limit=7", &[11, 12]);
        begun.source(&cluster());
        take(&mut begun, &files(&[1; 4]));
        begun.state.time_latest_run = 9;
        let state = begun.state.to_string().parse().expect("a state");
        let mut again = Run::new(begun.policy.clone(), state).expect("a limit");
        assert_eq!(again.source(&cluster()), Some(DevId(11)));
        assert_eq!((again.state.limit, again.page()), (Remaining::Left(3), Page::Above(Fid(4))));
    }

    /// J144: `new` begins at the end.
    #[test]
    fn pages_follow_the_age() {
        let mut run = run("fid_age=new", &[11]);
        run.source(&cluster());
        assert_eq!(run.page(), Page::Below(Fid(i64::MAX)));
        take(&mut run, &files(&[1; 3]).into_iter().rev().collect::<Vec<_>>());
        assert_eq!(run.page(), Page::Below(Fid(1)));
    }

    /// J145: as many destinations as wanted, each of them now and then.
    #[test]
    fn destinations_are_offered_by_lot() {
        let args = |policy: &str| {
            let mut run = run(policy, &[11]);
            run.source(&cluster());
            let taken = run.take(&files(&[1; 50]), &BTreeMap::new(), &TARGETS, &mut chance_from_seed(7));
            taken.moves.into_iter().map(|one| one.arg).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(args("use_dest_devs=all"), ["21,22,23".to_owned()].into());
        assert_eq!(args("use_dest_devs=1"), ["21", "22", "23"].map(str::to_owned).into());
        assert_eq!(args("use_dest_devs=2"), ["21,22", "21,23", "22,23"].map(str::to_owned).into());
        assert_eq!(args("use_dest_devs=9"), ["21,22,23".to_owned()].into());
    }

    #[test]
    fn files_without_a_key_and_files_that_are_queued_are_not_counted() {
        let mut run = run("limit_by=count limit=2", &[11]);
        run.source(&cluster());
        let mut page = files(&[1; 5]);
        page[0].length = None;
        let queued = BTreeMap::from([(Fid(2), Some(DevId(11))), (Fid(4), Some(DevId(12)))]);
        let taken = run.take(&page, &queued, &TARGETS, &mut chance_from_seed(1));
        assert_eq!(taken.moves.iter().map(|one| one.fid).collect::<Vec<_>>(), [Fid(3)]);
        assert!(taken.is_held_up, "the move away from 12 comes first");
        assert_eq!(run.state.sdev_lastfid, Fid(3), "and the file is not passed over");
    }

    /// W3, J152: a status that somebody else has set is left alone.
    #[test]
    fn only_alive_sources_are_drained() {
        use DeviceStatus::{Alive, Dead, Down, Drain, Readonly};
        assert_eq!(source_step(Some(Alive), false), SourceStep::Drain);
        assert_eq!(source_step(Some(Alive), true), SourceStep::Skip, "somebody has set it back");
        for ours in [true, false] {
            assert_eq!(source_step(Some(Drain), ours), SourceStep::GoOn);
            for status in [Some(Dead), Some(Down), Some(Readonly), None] {
                assert_eq!(source_step(status, ours), SourceStep::Skip);
            }
        }
    }

    proptest! {
        /// However files are cut into pages, no more than the limit is taken, and nothing that fits is left out.
        #[test]
        fn limits_are_never_exceeded(
            lengths in proptest::collection::vec(0..5000_i64, 0..40),
            limit in 0..40_000_u64,
            page_len in 1..9_usize,
            is_size: bool,
        ) {
            let by = if is_size { "size" } else { "count" };
            let mut run = run(&format!("limit_by={by} limit={limit}"), &[11]);
            run.source(&cluster());
            let all = files(&lengths);
            let taken: Vec<i64> = all.chunks(page_len).flat_map(|page| take(&mut run, page)).collect();
            let bytes: i64 = taken.iter().map(|fid| lengths[*fid as usize - 1]).sum();
            prop_assert_eq!(run.state.fids_queued, taken.len() as u64);
            prop_assert_eq!(run.state.bytes_queued, bytes as u64);
            if is_size {
                prop_assert!(bytes as u64 <= limit);
                let left = limit as i64 - bytes;
                let is_left_out = |file: &DeviceFile| !taken.contains(&file.fid.0) && file.length <= Some(left);
                let is_complete = run.is_used_up() || !all.iter().any(is_left_out);
                prop_assert!(is_complete, "left {}", left);
            } else {
                prop_assert_eq!(taken.len() as u64, limit.min(lengths.len() as u64));
            }
        }
    }
}
