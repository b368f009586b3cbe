//! `SortByWait`: copies on devices that answer quickly are read first, as far as the monitor has measured it.

use super::Extension;
use crate::ids::DevId;
use crate::jobs::query::Query;
use std::time::Duration;

/// The extension.
pub struct SortByWait;

impl Extension for SortByWait {
    /// Whole milliseconds, so that what is as good as equal keeps its order, by utilization and chance.
    fn order_for_reading(&self, query: &Query<'_>, ordered: &mut Vec<DevId>) {
        let wait_ms = |devid: &DevId| {
            let wait = query.cluster.device(*devid).and_then(|view| view.device.wait);
            wait.as_ref().map_or(u128::MAX, Duration::as_millis)
        };
        ordered.sort_by_cached_key(wait_ms);
    }
}
