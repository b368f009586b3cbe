//! Replication policies: given where a file is, is that fine, and if not, where should the next copy go?
//!
//! Pure apart from the order of candidates, whose chance is passed in. A policy never asks a node or a database.
//! Source: replication-policies.md.

mod candidates;
mod hosts_per_network;
mod multiple_devices;
mod multiple_hosts;
mod multiple_networks;
mod on_hosts;
mod parse;
mod surplus;
mod union;
#[cfg(test)]
mod vectors;

pub use parse::{PolicyParseError, parse, parse_stored};

use crate::clock::Chance;
use crate::cluster::ClusterSnapshot;
use crate::cluster::host::Host;
use crate::cluster::placement::{order_at_random, order_by_free_space};
use crate::cluster::zones::Zones;
use crate::ids::DevId;
use hosts_per_network::HostsOfZones;

/// A parsed policy. The number of copies is that of the class unless the text names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicationPolicy {
    /// Copies on as many different hosts.
    MultipleHosts(Option<i64>),
    /// Copies on as many different devices, whatever their hosts.
    MultipleDevices(Option<i64>),
    /// As [`Self::MultipleHosts`], on any of the devices alike.
    MultipleHostsRandom(Option<i64>),
    /// The class' number of copies on the hosts of these names, and as many on others.
    OnHosts(Vec<String>),
    /// Copies on as many hosts, of which none has one of these names.
    NotOnHosts(Vec<String>),
    /// Copies on as many networks as possible, then on as many hosts.
    MultipleNetworks(Option<i64>),
    /// So many hosts in each network zone, whatever the class says.
    HostsPerNetwork(HostsOfZones),
    /// All of these; never empty.
    Union(Vec<ReplicationPolicy>),
}

/// What a policy is told.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Devices that hold the file and count: known and not dead.
    pub told: &'a [DevId],
    pub world: &'a ClusterSnapshot,
    /// Targets that failed already.
    pub failed: &'a [DevId],
    /// `mindevcount` of the class.
    pub mindevcount: i64,
    pub min_free_space_mb: i64,
}

/// A policy's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    AllGood,
    /// More copies than wanted.
    TooGood,
    /// Nowhere to go now.
    TemporaryFailure,
    /// The next copy: ideal devices in order, then those that are better than nothing. Both may be empty.
    CopyTo {
        ideal: Vec<DevId>,
        desperate: Vec<DevId>,
    },
}

impl ReplicationPolicy {
    /// How many copies it wants of a file whose class says `mindevcount`.
    pub fn copies_wanted(&self, mindevcount: i64) -> i64 {
        match self {
            Self::MultipleHosts(count)
            | Self::MultipleHostsRandom(count)
            | Self::MultipleDevices(count)
            | Self::MultipleNetworks(count) => count.unwrap_or(mindevcount),
            Self::OnHosts(_) => 2 * mindevcount,
            Self::NotOnHosts(_) => mindevcount,
            Self::HostsPerNetwork(hosts) => hosts.values().copied().map(i64::from).sum(),
            Self::Union(parts) => parts.iter().map(|part| part.copies_wanted(mindevcount)).max().unwrap_or(mindevcount),
        }
    }

    /// The network zones that it names.
    pub fn zones_named(&self) -> Vec<&str> {
        match self {
            Self::HostsPerNetwork(hosts) => hosts.keys().map(String::as_str).collect(),
            Self::Union(parts) => parts.iter().flat_map(Self::zones_named).collect(),
            _ => Vec::new(),
        }
    }

    /// The network of a host, in words, if the policy looks at networks.
    pub fn network_of(&self, world: &ClusterSnapshot, host: &Host) -> Option<String> {
        match self {
            Self::HostsPerNetwork(_) | Self::MultipleNetworks(_) => {
                Some(Zones::from_settings(&world.server_settings).network_of(host).to_string())
            }
            Self::Union(parts) => parts.iter().find_map(|part| part.network_of(world, host)),
            _ => None,
        }
    }

    /// Asks the policy.
    pub fn ask(&self, question: &Question<'_>, chance: &mut Chance) -> Verdict {
        match self {
            Self::MultipleHosts(count) => {
                multiple_hosts::ask(count.unwrap_or(question.mindevcount), question, order_by_free_space, chance)
            }
            Self::MultipleHostsRandom(count) => {
                multiple_hosts::ask(count.unwrap_or(question.mindevcount), question, order_at_random, chance)
            }
            Self::OnHosts(names) => on_hosts::ask_on(names, question, chance),
            Self::NotOnHosts(names) => on_hosts::ask_not_on(names, question, chance),
            Self::MultipleNetworks(count) => {
                multiple_networks::ask(count.unwrap_or(question.mindevcount), question, chance)
            }
            Self::HostsPerNetwork(hosts) => hosts_per_network::ask(hosts, question, chance),
            Self::Union(parts) => union::ask(parts, question, chance),
            Self::MultipleDevices(count) => {
                multiple_devices::ask(count.unwrap_or(question.mindevcount), question, chance)
            }
        }
    }
}
