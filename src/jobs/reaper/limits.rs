//! How much one step of the reaper may do, and when the next one comes (jobs.md 9, J106, J107). Pure.

use crate::cluster::ClusterSnapshot;
use crate::settings::JobSettings;
use std::time::Duration;

/// Between two steps at a rate that the operator set, and before the next look at a queue that is full.
pub(super) const STEP_PAUSE: Duration = Duration::from_secs(5);
/// Rows of a step that our own limit on the queue never takes away: files with a copy too few must be looked for, however
/// slowly replication goes. With the pause between steps this is the rate of 2.73.
const ROWS_MIN: i64 = 1000;

/// What the settings allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Server setting `queue_rate_for_reaper`: rows of one step; without it, steps follow each other at once.
    rate: Option<i64>,
    /// Untried rows that may wait in the queue of replication: server setting `queue_size_for_reaper`, or our own.
    deferred_max: i64,
    /// What a full queue leaves: nothing where the operator set its size.
    rows_min: i64,
}

/// What one step may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    pub rows: i64,
    /// The pause until the next step.
    pub pause: Duration,
    /// Is it less than it would be if the queue were empty?
    pub is_held_back: bool,
}

impl Limits {
    pub fn of(cluster: &ClusterSnapshot, settings: &JobSettings) -> Self {
        let positive = |field: &str| Some(cluster.server_number(field, 0)).filter(|&number| number > 0);
        let size = positive("queue_size_for_reaper");
        Self {
            rate: positive("queue_rate_for_reaper"),
            deferred_max: size.unwrap_or(settings.reaper_deferred_rows_max),
            rows_min: if size.is_some() { 0 } else { ROWS_MIN },
        }
    }

    /// What this step may do, with so many untried rows waiting in the queue now.
    pub fn allowance(&self, deferred: i64) -> Allowance {
        let room = self.deferred_max.saturating_sub(deferred).max(0);
        let is_full = room <= self.rows_min;
        let rows = room.max(self.rows_min);
        Allowance {
            rows: self.rate.map_or(rows, |rate| rate.min(rows)),
            pause: if self.rate.is_some() || is_full { STEP_PAUSE } else { Duration::ZERO },
            is_held_back: is_full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn limits(fields: &[(&str, &str)]) -> Limits {
        let server_settings = fields.iter().map(|&(field, value)| (field.to_owned(), value.to_owned())).collect();
        let cluster = ClusterSnapshot { server_settings, ..ClusterSnapshot::default() };
        Limits::of(&cluster, &Settings::defaults().jobs)
    }

    /// J106.
    #[test]
    fn a_rate_limits_each_step_and_spaces_them() {
        let limits = limits(&[("queue_rate_for_reaper", "123")]);
        let expected = Allowance { rows: 123, pause: Duration::from_secs(5), is_held_back: false };
        assert_eq!(limits.allowance(0), expected);
    }

    /// J107.
    #[test]
    fn a_full_queue_leaves_nothing_to_do() {
        let limits = limits(&[("queue_size_for_reaper", "10"), ("queue_rate_for_reaper", "4")]);
        let allowances = [0, 7, 10, 999].map(|deferred| limits.allowance(deferred));
        assert_eq!(allowances.map(|allowance| allowance.rows), [4, 3, 0, 0]);
        assert_eq!(allowances.map(|allowance| allowance.is_held_back), [false, false, true, true]);
    }

    /// Our own limit slows the reaper down to the rate of 2.73, or that of the operator, and never stops it.
    #[test]
    fn our_own_limit_leaves_a_batch() {
        let deferred_max = Settings::defaults().jobs.reaper_deferred_rows_max;
        let held_back = |rows| Allowance { rows, pause: Duration::from_secs(5), is_held_back: true };
        for deferred in [deferred_max - 1, deferred_max, deferred_max * 100] {
            assert_eq!(limits(&[]).allowance(deferred), held_back(1000));
            assert_eq!(limits(&[("queue_rate_for_reaper", "5")]).allowance(deferred), held_back(5));
        }
    }

    #[test]
    fn without_settings_only_our_own_limit_counts() {
        for fields in [
            &[][..],
            &[("queue_rate_for_reaper", "0"), ("queue_size_for_reaper", "")],
            &[("queue_rate_for_reaper", "-5")],
        ] {
            let limits = limits(fields);
            let deferred_max = Settings::defaults().jobs.reaper_deferred_rows_max;
            let expected = Allowance { rows: deferred_max, pause: Duration::ZERO, is_held_back: false };
            assert_eq!(limits.allowance(0), expected, "{fields:?}");
        }
    }
}
