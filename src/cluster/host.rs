//! A host: a machine with devices, its addresses and ports.

use super::device_state::{HostStatus, ObservedHost};
use super::netmask::Netmask;
use crate::ids::HostId;
use std::net::IpAddr;

/// Which of a host's two addresses a request sees (protocol.md 8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The request said `zone=alt`.
    pub asked_alt: bool,
    /// Where the client connects from.
    pub peer: Option<IpAddr>,
}

impl Zone {
    /// The zone of the tracker's own work.
    pub const NONE: Zone = Zone { asked_alt: false, peer: None };
}

/// One row of `host`, with what the monitor saw.
#[derive(Clone, Debug)]
pub struct Host {
    pub hostid: HostId,
    pub name: String,
    /// `None` for a text outside the known four: nothing is allowed then.
    pub status: Option<HostStatus>,
    pub ip: String,
    pub http_port: u16,
    pub http_get_port: Option<u16>,
    pub altip: Option<String>,
    /// As stored; [`Host::altmask`] is its parsed form.
    pub altmask_text: Option<String>,
    /// `None` when absent or not a netmask: `altip` then has no effect.
    pub altmask: Option<Netmask>,
    pub observed: Option<ObservedHost>,
}

impl Host {
    /// The address that a request of this zone is told.
    pub fn address(&self, zone: Zone) -> &str {
        match (&self.altip, &self.altmask) {
            (Some(altip), Some(mask))
                if !altip.is_empty() && (zone.asked_alt || zone.peer.is_some_and(|peer| mask.contains(peer))) =>
            {
                altip
            }
            _ => &self.ip,
        }
    }

    /// The port for reading.
    pub fn get_port(&self) -> u16 {
        self.http_get_port.filter(|&port| port != 0).unwrap_or(self.http_port)
    }

    /// Is the host, by its status, one whose devices may be read?
    pub fn may_be_read(&self) -> bool {
        matches!(self.status, Some(HostStatus::Alive | HostStatus::Readonly))
    }

    pub fn is_alive(&self) -> bool {
        self.status == Some(HostStatus::Alive)
    }

    pub fn is_reachable(&self) -> bool {
        self.observed == Some(ObservedHost::Reachable)
    }
}
