//! How far a run is, and how long it will take (`rebalance_status`).
//!
//! Pure, and cheap: files are not counted. Files lie on a device evenly by their numbers, more or less, so the position on
//! the current source says how much of it is done; each source counts alike.

use super::policy::{Amount, FidAge, Limit, LimitScope, RebalancePolicy};
use super::state::{RebalanceState, Remaining};
use crate::ids::Fid;

/// An estimate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// How much of the run is in the queue or past it, from 0 to 100.
    pub percent_queued: f64,
    /// Moves that were tried, for each second since the run began, pauses included; `None` for a run that was stopped.
    pub files_per_sec: Option<f64>,
    /// Seconds until the last move; `None` while that cannot be told, as nobody can of a run that was stopped.
    pub eta_secs: Option<u64>,
}

/// Estimates from the state, the moves that wait in the queue and the highest number of a file. `is_running`: files are
/// taken for moving.
pub fn estimate(
    policy: &RebalancePolicy,
    state: &RebalanceState,
    is_running: bool,
    waiting: u64,
    max_fid: Fid,
    now_unix: i64,
) -> Progress {
    let done = fraction_queued(policy, state, max_fid);
    if !is_running && state.time_finished == 0 {
        return Progress { percent_queued: done * 100.0, files_per_sec: None, eta_secs: None };
    }
    let moved = state.fids_queued.saturating_sub(waiting) as f64;
    let until = if state.time_finished > state.time_started && waiting == 0 { state.time_finished } else { now_unix };
    let files_per_sec = moved / (until - state.time_started).max(1) as f64;
    let still_to_queue = if done > 0.0 { state.fids_queued as f64 * (1.0 - done) / done } else { f64::INFINITY };
    let eta_secs = (waiting as f64 + still_to_queue) / files_per_sec;
    Progress {
        percent_queued: done * 100.0,
        files_per_sec: Some(files_per_sec),
        eta_secs: Some(eta_secs).filter(|secs| secs.is_finite()).map(|secs| secs.ceil() as u64),
    }
}

fn fraction_queued(policy: &RebalancePolicy, state: &RebalanceState, max_fid: Fid) -> f64 {
    let (completed, pending) = (state.completed_devs.len() as f64, state.source_devs.len() as f64);
    let limit = policy.limit().ok().flatten();
    let current = if state.sdev_current.is_some() { 1.0 } else { 0.0 };
    if completed + pending + current == 0.0 {
        return 1.0;
    }
    let spent = |scope: LimitScope, remaining: Remaining| match (limit, remaining) {
        (Some(Limit { scope: of, amount: Amount::Files(all) | Amount::Bytes(all) }), Remaining::Left(left))
            if of == scope && all > 0 =>
        {
            1.0 - left.min(all) as f64 / all as f64
        }
        _ => 0.0,
    };
    let position =
        position(policy.fid_age, state.sdev_lastfid, max_fid).max(spent(LimitScope::Device, state.sdev_limit));
    let by_sources = (completed + current * position) / (completed + pending + current);
    let has_begun = state.time_latest_run != 0;
    let by_limit = if has_begun { spent(LimitScope::Global, state.limit) } else { 0.0 };
    by_sources.max(by_limit)
}

fn position(age: FidAge, lastfid: Fid, max_fid: Fid) -> f64 {
    if lastfid.0 <= 0 || max_fid.0 <= 0 {
        return 0.0;
    }
    let below = (lastfid.0 as f64 / max_fid.0 as f64).min(1.0);
    match age {
        FidAge::Old => below,
        FidAge::New => 1.0 - below,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(policy: &str, state: &str, waiting: u64) -> Progress {
        let (policy, state) = (policy.parse().expect("a policy"), state.parse().expect("a state"));
        estimate(&policy, &state, true, waiting, Fid(1000), 200)
    }

    #[test]
    fn each_source_counts_alike() {
        let state = "completed_devs=1 sdev_current=2 sdev_lastfid=500 source_devs=3,4 fids_queued=600 time_started=100 \
                     time_latest_run=150";
        let old = progress("", state, 100);
        assert_eq!((old.percent_queued, old.files_per_sec), (37.5, Some(5.0)));
        // A thousand more to queue, a hundred in the queue.
        assert_eq!(old.eta_secs, Some(220));
        assert_eq!(progress("fid_age=new", &state.replace("lastfid=500", "lastfid=750"), 0).percent_queued, 31.25);
    }

    #[test]
    fn limits_bring_the_end_nearer() {
        let state = "sdev_current=2 sdev_lastfid=100 sdev_limit=20 fids_queued=80 time_started=100 time_latest_run=150";
        assert_eq!(progress("limit_by=count limit=100", state, 0).percent_queued, 80.0);
        let global = state.replace("sdev_limit=20", "sdev_limit=none limit=30");
        assert_eq!(progress("limit_type=global limit_by=count limit=100", &global, 0).percent_queued, 70.0);
        assert_eq!(progress("", state, 0).percent_queued, 10.0);
    }

    #[test]
    fn nothing_is_told_before_anything_has_moved() {
        let begun = progress("", "source_devs=1 time_started=100", 0);
        assert_eq!((begun.percent_queued, begun.files_per_sec, begun.eta_secs), (0.0, Some(0.0), None));
        let queued = "sdev_current=1 sdev_lastfid=500 fids_queued=100 time_started=100 time_latest_run=120";
        assert_eq!(progress("", queued, 100).eta_secs, None);
    }

    /// Its rate would fall and its time left grow for as long as somebody looks.
    #[test]
    fn a_stopped_run_has_neither_rate_nor_end() {
        let state =
            "sdev_current=2 sdev_lastfid=500 fids_queued=600 time_started=100 time_stopped=150 time_latest_run=150";
        let stopped = |state: &str| {
            let (policy, state) = ("".parse().expect("a policy"), state.parse().expect("a state"));
            estimate(&policy, &state, false, 10, Fid(1000), 200)
        };
        assert_eq!(stopped(state), Progress { percent_queued: 50.0, files_per_sec: None, eta_secs: None });
        assert_eq!(progress("", state, 100).files_per_sec, Some(5.0), "it goes on");
        let filled = stopped("completed_devs=2 fids_queued=600 time_started=100 time_finished=150 time_latest_run=150");
        assert_eq!((filled.files_per_sec, filled.eta_secs), (Some(5.9), Some(2)), "its last moves are still under way");
    }

    #[test]
    fn a_finished_run_is_complete() {
        let state = "completed_devs=1,2 fids_queued=500 time_started=100 time_finished=150 time_latest_run=150";
        let done = progress("", state, 0);
        assert_eq!((done.percent_queued, done.files_per_sec, done.eta_secs), (100.0, Some(10.0), Some(0)));
        assert_eq!(progress("", "time_started=100", 0).percent_queued, 100.0, "no sources");
    }
}
