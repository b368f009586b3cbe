//! How much one step of the reaper may do, and when the next one comes (jobs.md 9, J106, J107). Pure.

use crate::cluster::ClusterSnapshot;
use crate::settings::JobSettings;
use std::time::Duration;

/// Between two steps at a rate that the operator set, and before the next look at a queue that is full.
pub(super) const STEP_PAUSE: Duration = Duration::from_secs(5);

/// What the settings allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Server setting `queue_rate_for_reaper`: rows of one step; without it, steps follow each other at once.
    rate: Option<i64>,
    /// Rows that may be deferred in the queue of replication: server setting `queue_size_for_reaper`, or our own.
    deferred_max: i64,
}

impl Limits {
    pub fn of(cluster: &ClusterSnapshot, settings: &JobSettings) -> Self {
        let positive = |field: &str| Some(cluster.server_number(field, 0)).filter(|&number| number > 0);
        Self {
            rate: positive("queue_rate_for_reaper"),
            deferred_max: positive("queue_size_for_reaper").unwrap_or(settings.reaper_deferred_rows_max),
        }
    }

    /// Rows that this step may take, with so many deferred in the queue now.
    pub fn rows_now(&self, deferred: i64) -> i64 {
        let room = self.deferred_max.saturating_sub(deferred).max(0);
        self.rate.map_or(room, |rate| rate.min(room))
    }

    pub fn pause_between_steps(&self) -> Duration {
        if self.rate.is_some() { STEP_PAUSE } else { Duration::ZERO }
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
        assert_eq!((limits.rows_now(0), limits.pause_between_steps()), (123, Duration::from_secs(5)));
    }

    /// J107.
    #[test]
    fn a_full_queue_leaves_nothing_to_do() {
        let limits = limits(&[("queue_size_for_reaper", "10"), ("queue_rate_for_reaper", "4")]);
        assert_eq!([0, 7, 10, 999].map(|deferred| limits.rows_now(deferred)), [4, 3, 0, 0]);
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
            assert_eq!((limits.rows_now(0), limits.rows_now(deferred_max + 1)), (deferred_max, 0), "{fields:?}");
            assert_eq!(limits.pause_between_steps(), Duration::ZERO, "{fields:?}");
        }
    }
}
