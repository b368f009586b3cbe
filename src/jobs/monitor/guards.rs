//! What the table of device guards says, and what a round adds to it. Pure but for the reading.
//!
//! Without the table everything is as in 2.73: no device has a mark that must be there.

use super::round::RoundReport;
use crate::cluster::ClusterSnapshot;
use crate::cluster::device::DeviceView;
use crate::cluster::device_state::{ObservedDevice, ObservedHost};
use crate::ids::DevId;
use crate::store::device_guard::{self, GuardRow};
use crate::store::{StoreConnection, StoreResult, db_unixtime};
use std::collections::BTreeMap;

/// That a device is unreachable is confirmed so often.
const CONFIRM_SECS: i64 = 60;

/// Did this tracker look at a device, and not reach it? A disk that is not the right one was reached: its guard has its own
/// rule.
pub fn is_seen_unreachable(cluster: &ClusterSnapshot, view: &DeviceView<'_>) -> bool {
    view.is_monitored()
        && !cluster.guard_failures.contains_key(&view.device.devid)
        && (view.host.observed == Some(ObservedHost::Unreachable)
            || view.device.observed == Some(ObservedDevice::Unreachable))
}

/// The rows of the table as last read.
#[derive(Clone, Debug, Default)]
pub struct Guards {
    pub rows: BTreeMap<DevId, GuardRow>,
    /// Unix time of the database when they were read.
    pub now: i64,
    pub is_set_up: bool,
}

/// What is to be stored after a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardUpdate {
    /// Marks that were seen for the first time.
    pub marks: Vec<(DevId, String)>,
    pub unreachable: Vec<DevId>,
    /// Reached again, or looked at no more.
    pub reached: Vec<DevId>,
}

impl GuardUpdate {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Writes it, as part of one transaction.
    pub fn store(&self, conn: &mut StoreConnection) -> StoreResult<()> {
        device_guard::remember(conn, &self.marks)?;
        device_guard::note_unreachable(conn, &self.unreachable)?;
        device_guard::note_reached(conn, &self.reached)
    }
}

impl Guards {
    /// Reads the table, if it is there.
    pub fn read(conn: &mut StoreConnection) -> StoreResult<Self> {
        if !device_guard::is_set_up(conn)? {
            return Ok(Self::default());
        }
        let rows = device_guard::all(conn)?.into_iter().map(|row| (row.devid, row)).collect();
        Ok(Self { rows, now: db_unixtime(conn)?, is_set_up: true })
    }

    /// The mark that the disk of this device must bear.
    pub fn expected_mark(&self, devid: DevId) -> Option<&str> {
        self.rows.get(&devid)?.uuid.as_deref()
    }

    /// What a round adds, `cluster` being what was known after it.
    pub fn update(&self, report: &RoundReport, cluster: &ClusterSnapshot) -> GuardUpdate {
        let mut update = GuardUpdate::default();
        if !self.is_set_up {
            return update;
        }
        let unknown = report.checks().filter(|(devid, _)| self.expected_mark(*devid).is_none());
        update.marks = unknown.filter_map(|(devid, check)| Some((*devid, check.mark.clone()?))).collect();
        for view in cluster.devices() {
            let devid = view.device.devid;
            let row = self.rows.get(&devid);
            let is_settled = view.may_be_read() || !view.is_monitored() || cluster.guard_failures.contains_key(&devid);
            if is_seen_unreachable(cluster, &view) {
                let seen = row.and_then(|row| row.unreachable_since.and(row.unreachable_seen));
                if seen.is_none_or(|seen| self.now - seen >= CONFIRM_SECS) {
                    update.unreachable.push(devid);
                }
            } else if is_settled && row.is_some_and(|row| row.unreachable_since.is_some()) {
                update.reached.push(devid);
            }
        }
        update
    }

    /// Takes note of what is being stored, so that it is not stored again before the next reading.
    pub fn apply(&mut self, update: &GuardUpdate) {
        let now = self.now;
        let devids = update.marks.iter().map(|(devid, _)| *devid).chain(update.unreachable.iter().copied());
        for devid in devids {
            self.rows.entry(devid).or_insert(GuardRow {
                devid,
                uuid: None,
                unreachable_since: None,
                unreachable_seen: None,
                changed_at: None,
            });
        }
        for (devid, mark) in &update.marks {
            self.rows.entry(*devid).and_modify(|row| row.uuid = Some(mark.clone()));
        }
        for devid in &update.unreachable {
            self.rows.entry(*devid).and_modify(|row| {
                row.unreachable_since.get_or_insert(now);
                row.unreachable_seen = Some(now);
            });
        }
        for devid in &update.reached {
            self.rows.entry(*devid).and_modify(|row| row.unreachable_since = None);
        }
    }
}
