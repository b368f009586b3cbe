//! A device: a disk of a host, its space and what the monitor observed. The questions that jobs ask of it need its
//! host too and are answered by [`DeviceView`].
//! Source: jobs.md 2.3.

use super::devfid::DevFid;
use super::device_state::{DeviceStatus, ObservedDevice};
use super::host::{Host, Zone};
use crate::ids::{DevId, Fid, HostId};
use std::time::Duration;

/// One row of `device`, with what the monitor saw.
#[derive(Clone, Debug)]
pub struct Device {
    pub devid: DevId,
    pub hostid: HostId,
    /// A text outside the known five counts as down.
    pub status: DeviceStatus,
    pub weight: Option<i64>,
    pub mb_total: Option<i64>,
    pub mb_used: Option<i64>,
    /// Unix time of the usage figures.
    pub mb_asof: Option<i64>,
    pub observed: Option<ObservedDevice>,
    /// As the node reported it: percent, perhaps with decimals, or `-`.
    pub utilization: Option<String>,
    /// Does the node refuse a body whose Content-MD5 is wrong?
    pub reject_bad_md5: Option<bool>,
    /// How long the monitor waits for an answer about it, on average.
    pub wait: Option<Duration>,
}

impl Device {
    /// Free space in MiB, if known.
    pub fn mb_free(&self) -> Option<i64> {
        Some(self.mb_total? - self.mb_used?)
    }

    /// Free share of the space, 0 when unknown (such a device is never chosen by weight).
    pub fn free_fraction(&self) -> f64 {
        match (self.mb_total, self.mb_used) {
            (Some(total), Some(used)) if total > 0 => (1.0 - used as f64 / total as f64).max(0.0),
            _ => 0.0,
        }
    }

    pub fn is_dead(&self) -> bool {
        self.status == DeviceStatus::Dead
    }
}

/// What keeps readers or new files from a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The status of the device.
    DeviceStatus,
    /// The status of its host.
    HostStatus,
    /// The monitor did not reach the host, or has not tried yet.
    HostUnreachable,
    /// The monitor did not reach the device, or has not tried yet.
    DeviceUnreachable,
    /// The monitor could read but not write.
    DeviceReadOnly,
    /// Less is free than must stay free.
    TooFull,
}

/// A device together with its host: what can be asked about reading, writing and placing.
#[derive(Clone, Copy, Debug)]
pub struct DeviceView<'a> {
    pub device: &'a Device,
    pub host: &'a Host,
}

impl<'a> DeviceView<'a> {
    /// Does the monitor check it ("can read")?
    pub fn is_monitored(&self) -> bool {
        self.host.may_be_read() && self.device.status.may_be_read()
    }

    /// May clients and workers read from it ("should read")?
    pub fn may_be_read(&self) -> bool {
        self.reading_obstacle().is_none()
    }

    /// The first reason why it may not be read.
    pub fn reading_obstacle(&self) -> Option<Obstacle> {
        if !self.device.status.may_be_read() {
            Some(Obstacle::DeviceStatus)
        } else if !self.host.may_be_read() {
            Some(Obstacle::HostStatus)
        } else if !self.host.is_reachable() {
            Some(Obstacle::HostUnreachable)
        } else if !matches!(self.device.observed, Some(ObservedDevice::Readable | ObservedDevice::Writeable)) {
            Some(Obstacle::DeviceUnreachable)
        } else {
            None
        }
    }

    /// May copies on it be deleted, by its status?
    pub fn may_be_deleted_from(&self) -> bool {
        self.host.is_alive() && self.device.status.may_be_written()
    }

    pub fn is_observed_writeable(&self) -> bool {
        self.host.is_reachable() && self.device.observed == Some(ObservedDevice::Writeable)
    }

    /// May it get new files and replicas? Exactly `min_free_space_mb` free passes.
    pub fn may_get_files(&self, min_free_space_mb: i64) -> bool {
        self.placing_obstacle(min_free_space_mb).is_none()
    }

    /// The first reason why it may not get new files and replicas.
    pub fn placing_obstacle(&self, min_free_space_mb: i64) -> Option<Obstacle> {
        if !self.device.status.may_get_new_files() {
            Some(Obstacle::DeviceStatus)
        } else if !self.host.is_alive() {
            Some(Obstacle::HostStatus)
        } else if !self.host.is_reachable() {
            Some(Obstacle::HostUnreachable)
        } else if self.device.observed == Some(ObservedDevice::Readable) {
            Some(Obstacle::DeviceReadOnly)
        } else if !self.is_observed_writeable() {
            Some(Obstacle::DeviceUnreachable)
        } else if self.device.mb_total.is_some_and(|total| total != 0)
            && self.device.mb_free().is_some_and(|free| free < min_free_space_mb)
        {
            Some(Obstacle::TooFull)
        } else {
            None
        }
    }

    /// URL for writing, deleting and directories.
    pub fn upload_url(&self, fid: Fid, zone: Zone) -> String {
        self.url(self.host.http_port, fid, zone)
    }

    /// URL for reading.
    pub fn read_url(&self, fid: Fid, zone: Zone) -> String {
        self.url(self.host.get_port(), fid, zone)
    }

    fn url(&self, port: u16, fid: Fid, zone: Zone) -> String {
        let path = DevFid { devid: self.device.devid, fid }.path();
        format!("http://{}:{port}{path}", self.host.address(zone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fixture::Fixture;

    /// What may be done with device 1 of this cluster: `m`onitored, `r`ead, `d`eleted from, gets `f`iles.
    fn allowed(cluster: &str) -> String {
        let snapshot = Fixture::parse(cluster).snapshot;
        let view = snapshot.device(DevId(1)).expect("known");
        let answers = [
            ('m', view.is_monitored()),
            ('r', view.may_be_read()),
            ('d', view.may_be_deleted_from()),
            ('f', view.may_get_files(100)),
        ];
        answers.iter().filter(|(_, answer)| *answer).map(|(letter, _)| letter).collect()
    }

    /// J2–J6 and the table of jobs.md 2.4.
    #[test]
    fn the_state_table() {
        for (cluster, expected) in [
            ("h1[d1=_]", "mrdf"),
            ("h1[d1=_,readable]", "mrd"),
            ("h1[d1=_,unreachable]", "md"),
            ("h1[d1=_,unobserved]", "md"),
            ("h1[d1=_,drain]", "mrd"),
            ("h1[d1=_,drain,readable]", "mrd"),
            ("h1[d1=_,readonly,readable]", "mr"),
            ("h1[d1=_,readonly]", "mr"),
            ("h1[d1=_,down]", ""),
            ("h1[d1=_,dead]", ""),
            ("h1=readonly[d1=_]", "mr"),
            ("h1=down[d1=_]", ""),
            ("h1=dead[d1=_]", ""),
            ("h1!unreachable[d1=_]", "md"),
            ("h1=readonly!unreachable[d1=_]", "m"),
        ] {
            assert_eq!(allowed(cluster), expected, "{cluster}");
        }
    }

    /// J1: a host of an unknown status allows nothing. (A device's unknown status is read as down.)
    #[test]
    fn an_unknown_host_status_allows_nothing() {
        let mut snapshot = Fixture::parse("h1[d1=_]").snapshot;
        crate::cluster::fixture::host_mut(&mut snapshot, 1).status = None;
        let view = snapshot.device(DevId(1)).expect("known");
        assert!(!view.is_monitored() && !view.may_be_read() && !view.may_be_deleted_from() && !view.may_get_files(0));
    }

    /// J7, and that only figures that are known can be too small.
    #[test]
    fn exactly_the_minimum_free_space_passes() {
        for (usage, fits) in [("used:900", true), ("used:901", false), ("nousage", true), ("total:0,used:0", true)] {
            let snapshot = Fixture::parse(&format!("h1[d1=_,{usage}]")).snapshot;
            assert_eq!(snapshot.device(DevId(1)).expect("known").may_get_files(100), fits, "{usage}");
        }
    }
}
