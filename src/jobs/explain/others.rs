//! The devices without a copy: could one go there now, and if not, what is the first reason?

use super::copies::{Place, obstacle_text};
use super::{Asked, Facts};
use crate::clock::Chance;
use crate::cluster::device::{DeviceView, Obstacle};
use crate::ids::DevId;
use crate::policy::Verdict;
use std::collections::{BTreeMap, HashMap};

/// Devices that are explained one by one; the rest is counted.
pub const OTHERS_MAX: usize = 100;
const BYTES_PER_MIB: i64 = 1 << 20;

/// What keeps a copy from a device, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OtherState {
    /// The policy wants the next copy on this or an equal one.
    Wanted,
    /// The policy takes it if it must.
    SecondChoice,
    /// It could take a copy, but no further one is wanted.
    Possible,
    /// The policy would not take it now.
    Excluded,
    /// Its free space is unknown, so it is never chosen.
    NoUsage,
    /// The file is larger than what is free.
    NoRoom,
    /// Less is free than must stay free.
    TooFull,
    /// Host or device do not answer, or cannot be written to.
    Unreachable,
    /// By the status of its host.
    HostStatus,
    /// By its own status.
    DeviceStatus,
    Dead,
}

impl OtherState {
    pub fn code(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::SecondChoice => "second_choice",
            Self::Possible => "possible",
            Self::Excluded => "excluded",
            Self::NoUsage => "no_usage",
            Self::NoRoom => "no_room",
            Self::TooFull => "too_full",
            Self::Unreachable => "unreachable",
            Self::HostStatus => "host_status",
            Self::DeviceStatus => "device_status",
            Self::Dead => "dead",
        }
    }
}

/// A device without a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherDevice {
    pub devid: DevId,
    pub place: Place,
    pub state: OtherState,
    pub mb_free: Option<i64>,
    pub reason: String,
}

/// The devices without a copy, best first, and how many more there are of each state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    pub shown: Vec<OtherDevice>,
    pub left_out: BTreeMap<OtherState, usize>,
}

pub(super) fn explain(facts: &Facts<'_>, asked: Option<&Asked<'_>>, chance: &mut Chance) -> Others {
    let Some(asked) = asked else { return Others::default() };
    let mut views: Vec<_> = facts.cluster.devices().filter(|view| !facts.devids.contains(&view.device.devid)).collect();
    let choices = policy_choices(facts, asked, chance);
    let mut states: HashMap<DevId, OtherState> = HashMap::with_capacity(views.len());
    for view in &views {
        states.insert(view.device.devid, state(facts, asked, &choices, view));
    }
    // Free space in whole MiB, as it is shown.
    views.sort_by_key(|view| {
        let devid = view.device.devid;
        (states.get(&devid).copied(), std::cmp::Reverse(view.device.mb_free()), devid)
    });
    let mut others = Others::default();
    for view in views {
        let Some(&state) = states.get(&view.device.devid) else { continue };
        if others.shown.len() < OTHERS_MAX {
            others.shown.push(OtherDevice {
                devid: view.device.devid,
                place: Place::of(&view),
                state,
                mb_free: view.device.mb_free(),
                reason: reason(facts, asked, &view, state),
            });
        } else {
            *others.left_out.entry(state).or_default() += 1;
        }
    }
    others
}

/// What the policy says of each device that can take a copy. `None` stands for devices beyond what is shown.
struct Choices {
    by_device: HashMap<DevId, OtherState>,
    rest: OtherState,
}

/// The policy names its best candidates only. Asked again as if those had failed, it names the next ones, as it would for
/// the replication job.
fn policy_choices(facts: &Facts<'_>, asked: &Asked<'_>, chance: &mut Chance) -> Choices {
    let mut by_device = HashMap::new();
    let Ok(answer) = &asked.answer else { return Choices { by_device, rest: OtherState::Excluded } };
    let mut failed = asked.whereabouts.failed_targets().to_vec();
    let mut verdict = answer.verdict.clone();
    while let Verdict::CopyTo { ideal, desperate } = verdict {
        let named = ideal.len() + desperate.len();
        for (devids, state) in [(ideal, OtherState::Wanted), (desperate, OtherState::SecondChoice)] {
            for devid in devids {
                by_device.entry(devid).or_insert(state);
                failed.push(devid);
            }
        }
        if named == 0 {
            break;
        }
        if by_device.len() > OTHERS_MAX {
            return Choices { by_device, rest: OtherState::Possible };
        }
        let mut question = asked.whereabouts.question(facts.cluster, answer.class, facts.min_free_space_mb);
        question.failed = &failed;
        verdict = answer.policy.ask(&question, chance);
    }
    let rest = match answer.verdict {
        Verdict::AllGood | Verdict::TooGood => OtherState::Possible,
        Verdict::CopyTo { .. } | Verdict::TemporaryFailure => OtherState::Excluded,
    };
    Choices { by_device, rest }
}

fn state(facts: &Facts<'_>, asked: &Asked<'_>, choices: &Choices, view: &DeviceView<'_>) -> OtherState {
    let device = view.device;
    match view.placing_obstacle(facts.min_free_space_mb) {
        _ if device.is_dead() => OtherState::Dead,
        Some(Obstacle::DeviceStatus) => OtherState::DeviceStatus,
        Some(Obstacle::HostStatus) => OtherState::HostStatus,
        Some(Obstacle::HostUnreachable | Obstacle::DeviceUnreachable | Obstacle::DeviceReadOnly) => {
            OtherState::Unreachable
        }
        Some(Obstacle::TooFull) => OtherState::TooFull,
        None if asked.whereabouts.failed_targets().contains(&device.devid) => OtherState::NoRoom,
        None => match choices.by_device.get(&device.devid) {
            Some(&state) => state,
            None if device.free_fraction() <= 0.0 => OtherState::NoUsage,
            None => choices.rest,
        },
    }
}

fn reason(facts: &Facts<'_>, asked: &Asked<'_>, view: &DeviceView<'_>, state: OtherState) -> String {
    let free = view.device.mb_free().unwrap_or(0);
    let shares_host = facts.devids.iter().any(|&devid| {
        facts
            .cluster
            .device(devid)
            .is_some_and(|other| other.host.hostid == view.host.hostid && !other.device.is_dead())
    });
    let on_same_host = if shares_host { ": its host has a copy already" } else { "" };
    let network = asked.answer.as_ref().ok().and_then(|answer| answer.policy.network_of(facts.cluster, view.host));
    let in_network = network.map(|network| format!(" (in {network})")).unwrap_or_default();
    match state {
        OtherState::Wanted => format!("the next copy may go here{in_network}; {free} MiB free"),
        OtherState::SecondChoice => {
            format!("only if nothing better is left{in_network}{on_same_host}; {free} MiB free")
        }
        OtherState::Possible => match asked.answer.as_ref().map(|answer| &answer.verdict) {
            Ok(Verdict::CopyTo { .. }) => format!("could take a copy; {free} MiB free"),
            _ => format!("could take a copy, but none is wanted; {free} MiB free"),
        },
        OtherState::Excluded if asked.answer.is_err() => "the policy cannot be asked".to_owned(),
        OtherState::Excluded => format!("the policy does not take it{in_network}{on_same_host}"),
        OtherState::NoUsage => "nothing is known to be free on it".to_owned(),
        OtherState::NoRoom => {
            let length = facts.file.map_or(0, |file| file.length);
            format!("the file does not fit: {free} MiB free, {} MiB needed", length / BYTES_PER_MIB + 1)
        }
        OtherState::TooFull => {
            format!("too full: {free} MiB free, {} MiB must stay free", facts.min_free_space_mb)
        }
        OtherState::Dead => "the device is dead".to_owned(),
        OtherState::Unreachable | OtherState::HostStatus | OtherState::DeviceStatus => {
            let obstacle = view.placing_obstacle(facts.min_free_space_mb);
            obstacle.map(|obstacle| obstacle_text(view, obstacle)).unwrap_or_default()
        }
    }
}
