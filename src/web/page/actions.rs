//! What can be done from the page, as the request lines of administrators. Nothing else is known here, so nothing else
//! can be done.

use crate::cluster::device_state::DeviceStatus;
use crate::ids::DevId;
use crate::protocol::args::{Args, escape};
use bstr::ByteSlice as _;

/// An action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    SetState { devid: DevId, state: DeviceStatus },
    FsckStart,
    FsckStop,
    RebalanceStart,
    RebalanceStop,
}

impl Action {
    /// What a form asks for.
    pub fn of(form: &Args) -> Option<Self> {
        Some(match form.get("what")?.to_str().ok()? {
            "state" => {
                let state = DeviceStatus::from_name(form.get("state")?.to_str().ok()?)?;
                let devid = form.get("device")?.to_str().ok()?.parse().ok()?;
                Self::SetState { devid: DevId(devid), state }
            }
            "fsck_start" => Self::FsckStart,
            "fsck_stop" => Self::FsckStop,
            "rebalance_start" => Self::RebalanceStart,
            "rebalance_stop" => Self::RebalanceStop,
            _ => return None,
        })
    }

    /// A device that is dead never comes back, and its copies are made anew elsewhere.
    pub fn wants_confirmation(self) -> bool {
        matches!(self, Self::SetState { state: DeviceStatus::Dead, .. })
    }

    /// The request line of an action that concerns no device.
    pub fn line(self) -> Vec<u8> {
        self.name().as_bytes().to_vec()
    }

    fn name(self) -> &'static str {
        match self {
            Self::SetState { .. } => "set_state",
            Self::FsckStart => "fsck_start",
            Self::FsckStop => "fsck_stop",
            Self::RebalanceStart => "rebalance_start",
            Self::RebalanceStop => "rebalance_stop",
        }
    }

    /// Where the browser goes when it is done.
    pub fn see_then(self) -> String {
        match self {
            Self::SetState { devid, .. } => format!("/device?id={devid}&said=set_state"),
            other => format!("/?said={}", other.name()),
        }
    }

    /// What to say after it; only of these words, for the address of a page can be made by anybody.
    pub fn said(name: &[u8]) -> Option<&'static str> {
        Some(match name {
            b"set_state" => "The state of the device is set.",
            b"fsck_start" => "fsck is started.",
            b"fsck_stop" => "fsck is stopped.",
            b"rebalance_start" => "The rebalance is started.",
            b"rebalance_stop" => "The rebalance is stopped, or will be after its present round.",
            _ => return None,
        })
    }
}

/// The request line that sets a device's state.
pub fn set_state_line(host: &str, devid: DevId, state: DeviceStatus) -> Vec<u8> {
    format!("set_state host={}&device={devid}&state={}", escape(host.as_bytes()), state.name()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(form: &str) -> Option<Action> {
        Action::of(&Args::decode(form.as_bytes()))
    }

    #[test]
    fn forms_become_known_actions_only() {
        let dead = of("what=state&device=7&state=dead").expect("an action");
        assert_eq!(dead, Action::SetState { devid: DevId(7), state: DeviceStatus::Dead });
        assert!(dead.wants_confirmation() && !Action::FsckStart.wants_confirmation());
        for form in
            ["", "what=delete", "what=state&device=7&state=gone", "what=state&device=7%26x=1&state=alive", "what=state"]
        {
            assert_eq!(of(form), None, "{form}");
        }
        assert_eq!(of("what=fsck_stop").map(Action::line), Some(b"fsck_stop".to_vec()));
    }

    #[test]
    fn names_of_hosts_cannot_bring_arguments_along() {
        let line = set_state_line("a&state=dead\r\nfsck_start", DevId(1), DeviceStatus::Alive);
        assert_eq!(line, b"set_state host=a%26state%3Ddead%0D%0Afsck_start&device=1&state=alive");
    }
}
