//! Each copy that the database knows: where it is, whether it counts, whether readers are sent there.

use super::Facts;
use crate::cluster::device::{DeviceView, Obstacle};
use crate::cluster::device_state::{DeviceStatus, ObservedDevice, ObservedHost};
use crate::cluster::placement::{ReadTurn, read_turn};
use crate::ids::DevId;

/// Device and host of a copy, with what was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub host: String,
    pub device_status: &'static str,
    /// Empty for a status that is none.
    pub host_status: &'static str,
    /// Empty if not observed yet.
    pub device_observed: &'static str,
    pub host_observed: &'static str,
}

impl Place {
    pub(super) fn of(view: &DeviceView<'_>) -> Self {
        Self {
            host: view.host.name.clone(),
            device_status: view.device.status.name(),
            host_status: view.host.status.map(|status| status.name()).unwrap_or_default(),
            device_observed: view.device.observed.map(ObservedDevice::name).unwrap_or_default(),
            host_observed: view.host.observed.map(ObservedHost::name).unwrap_or_default(),
        }
    }
}

/// What a copy is good for, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyState {
    Readable,
    /// Can be read; its device is drained.
    Draining,
    /// A client could not read it lately.
    Doubted,
    Unreachable,
    /// By the status of device or host.
    Down,
    Dead,
    UnknownDevice,
}

impl CopyState {
    pub fn code(self) -> &'static str {
        match self {
            Self::Readable => "readable",
            Self::Draining => "draining",
            Self::Doubted => "doubted",
            Self::Unreachable => "unreachable",
            Self::Down => "down",
            Self::Dead => "dead",
            Self::UnknownDevice => "unknown_device",
        }
    }
}

/// One copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedCopy {
    pub devid: DevId,
    /// `None` for a device that the tracker does not know.
    pub place: Option<Place>,
    pub state: CopyState,
    /// Does the policy count it?
    pub counts: bool,
    /// When readers are sent there; `None` for never.
    pub read_turn: Option<ReadTurn>,
    pub reason: String,
}

/// Of a copy that nobody can read now.
const COUNTS: &str = "it counts for the policy until it is marked dead";

/// By device number.
pub(super) fn explain(facts: &Facts<'_>) -> Vec<ExplainedCopy> {
    let mut devids = facts.devids.to_vec();
    devids.sort_unstable();
    devids.into_iter().map(|devid| explain_one(facts, devid)).collect()
}

fn explain_one(facts: &Facts<'_>, devid: DevId) -> ExplainedCopy {
    let Some(view) = facts.cluster.device(devid) else {
        return ExplainedCopy {
            devid,
            place: None,
            state: CopyState::UnknownDevice,
            counts: false,
            read_turn: None,
            reason: "the tracker knows no such device, or not its host".to_owned(),
        };
    };
    let state = state(&view, facts.doubted.contains(&devid));
    let counts = !view.device.is_dead();
    ExplainedCopy {
        devid,
        place: Some(Place::of(&view)),
        state,
        counts,
        read_turn: Some(read_turn(&view)),
        reason: match facts.cluster.guard_failures.get(&devid) {
            Some(failure) => format!("{}; {COUNTS}", failure.text()),
            None => reason(&view, state),
        },
    }
}

fn state(view: &DeviceView<'_>, doubted: bool) -> CopyState {
    match view.reading_obstacle() {
        _ if view.device.is_dead() => CopyState::Dead,
        Some(Obstacle::HostUnreachable | Obstacle::DeviceUnreachable | Obstacle::DeviceReadOnly) => {
            CopyState::Unreachable
        }
        Some(Obstacle::HostStatus | Obstacle::DeviceStatus | Obstacle::TooFull) => CopyState::Down,
        None if doubted => CopyState::Doubted,
        None if view.device.status == DeviceStatus::Drain => CopyState::Draining,
        None => CopyState::Readable,
    }
}

fn reason(view: &DeviceView<'_>, state: CopyState) -> String {
    match (state, view.reading_obstacle()) {
        (CopyState::Readable, _) => "readers get it in any place, by chance and load".to_owned(),
        (CopyState::Draining, _) => "readers get it after all copies that are not drained".to_owned(),
        (CopyState::Doubted, _) => "a client could not read it lately, so this tracker names it last".to_owned(),
        (CopyState::Dead, _) => "the device is dead: the copy is lost and does not count".to_owned(),
        (_, Some(obstacle)) => format!("{}; {COUNTS}", obstacle_text(view, obstacle)),
        (_, None) => String::new(),
    }
}

/// The obstacle as a clause.
pub(super) fn obstacle_text(view: &DeviceView<'_>, obstacle: Obstacle) -> String {
    let host = &view.host.name;
    let unseen = |observed: bool| if observed { "" } else { " (the monitor has not looked yet)" };
    match obstacle {
        Obstacle::DeviceStatus => format!("the device is marked {}", view.device.status.name()),
        Obstacle::HostStatus => match view.host.status {
            Some(status) => format!("its host {host} is marked {}", status.name()),
            None => format!("its host {host} has no valid status"),
        },
        Obstacle::HostUnreachable => {
            format!("its host {host} does not answer{}", unseen(view.host.observed.is_some()))
        }
        Obstacle::DeviceUnreachable => {
            format!("the device does not answer{}", unseen(view.device.observed.is_some()))
        }
        Obstacle::DeviceReadOnly => "the monitor could not write to the device".to_owned(),
        Obstacle::TooFull => "the device is too full".to_owned(),
    }
}
