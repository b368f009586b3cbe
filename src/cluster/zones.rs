//! Network zones: which part of the network an address is in, by the server settings `network_zones` and `zone_<name>`
//! (replication-policies.md 8).

use super::host::Host;
use super::netmask::Netmask;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The zones with their masks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zones {
    masks: Vec<(Netmask, String)>,
}

impl Zones {
    /// Those that the settings name. A text that is no netmask is skipped; the setting's check refuses it anyway.
    pub fn from_settings(server_settings: &BTreeMap<String, String>) -> Self {
        let setting = |field: &str| server_settings.get(field).map_or("", String::as_str);
        let names = setting("network_zones").split(',').map(str::trim);
        let masks = names.filter(|name| !name.is_empty()).flat_map(|name| {
            let texts = setting(&format!("zone_{name}"));
            let masks = texts.split([',', ' ', '\t']).filter_map(Netmask::parse);
            masks.map(|mask| (mask, name.to_owned())).collect::<Vec<_>>()
        });
        Self { masks: masks.collect() }
    }

    /// The zone with the longest mask that contains the address; of equal ones the one named last.
    pub fn of(&self, address: IpAddr) -> Option<&str> {
        let containing = self.masks.iter().filter(|(mask, _)| mask.contains(address));
        containing.max_by_key(|(mask, _)| mask.prefix_bits()).map(|(_, name)| name.as_str())
    }

    /// The zone of the host's `hostip`.
    pub fn of_host(&self, host: &Host) -> Option<&str> {
        self.of(host.ip.parse().ok()?)
    }

    /// The network of the host's `hostip`: its zone, else the block around it.
    pub fn network_of(&self, host: &Host) -> Network<'_> {
        let Ok(address) = host.ip.parse::<IpAddr>() else { return Network::Unknown };
        match (self.of(address), address.to_canonical()) {
            (Some(zone), _) => Network::Zone(zone),
            (None, IpAddr::V4(address)) => Network::Block4(Ipv4Addr::from(u32::from(address) & (u32::MAX << 16))),
            (None, IpAddr::V6(address)) => Network::Block6(Ipv6Addr::from(u128::from(address) & (u128::MAX << 80))),
        }
    }

    /// Is there a zone of this name with at least one mask?
    pub fn has(&self, name: &str) -> bool {
        self.masks.iter().any(|(_, zone)| zone == name)
    }
}

/// What counts as one network where copies are to be spread over several (replication-policies.md 9; Q7: two addresses
/// in one zone are in one network, however many masks it has).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network<'z> {
    /// All of one zone.
    Zone(&'z str),
    /// The /16 that starts here.
    Block4(Ipv4Addr),
    /// The /48 that starts here: what a site usually gets, as the reference knows no IPv6.
    Block6(Ipv6Addr),
    /// All hosts whose address is no IP address: nothing says that two of them are apart.
    Unknown,
}

impl fmt::Display for Network<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zone(name) => write!(f, "zone {name}"),
            Self::Block4(address) => write!(f, "network {address}/16"),
            Self::Block6(address) => write!(f, "network {address}/48"),
            Self::Unknown => f.write_str("an unknown network"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fixture;

    fn zones(settings: &[(&str, &str)]) -> Zones {
        let settings = settings.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned()));
        Zones::from_settings(&settings.collect())
    }

    fn of<'z>(zones: &'z Zones, address: &str) -> Option<&'z str> {
        zones.of(address.parse().expect("an address"))
    }

    /// The example of replication-policies.md 8.
    #[test]
    fn the_longest_mask_wins() {
        let zones = zones(&[
            ("network_zones", "one, two,three,empty"),
            ("zone_one", "127.0.0.0/16"),
            ("zone_two", "10.0.0.0/8, 192.168.0.0/24"),
            ("zone_three", "10.1.0.0/16 bad"),
            ("zone_other", "172.16.0.0/12"),
        ]);
        assert_eq!(of(&zones, "10.1.0.1"), Some("three"));
        assert_eq!(of(&zones, "10.2.0.1"), Some("two"));
        assert_eq!(of(&zones, "192.168.0.9"), Some("two"));
        assert_eq!(of(&zones, "127.0.1.1"), Some("one"));
        assert_eq!(of(&zones, "172.16.0.1"), None, "a zone that is not named does not count");
    }

    #[test]
    fn of_equal_masks_the_later_zone_wins() {
        let zones = zones(&[("network_zones", "a,b"), ("zone_a", "10.0.0.0/8"), ("zone_b", "10.0.0.0/8")]);
        assert_eq!(of(&zones, "10.0.0.1"), Some("b"));
    }

    /// Q7.
    #[test]
    fn a_network_is_a_zone_or_the_block_around_an_address() {
        let zones = zones(&[("network_zones", "a"), ("zone_a", "10.0.0.0/24, 10.0.9.0/24")]);
        let network = |ip: &str| {
            let mut host = fixture::host(1);
            ip.clone_into(&mut host.ip);
            zones.network_of(&host).to_string()
        };
        for (ip, expected) in [
            ("10.0.0.1", "zone a"),
            ("10.0.9.1", "zone a"),
            ("::ffff:10.0.9.1", "zone a"),
            ("10.0.1.1", "network 10.0.0.0/16"),
            ("192.168.3.4", "network 192.168.0.0/16"),
            ("2001:db8:1:2::3", "network 2001:db8:1::/48"),
            ("storage.example", "an unknown network"),
        ] {
            assert_eq!(network(ip), expected, "{ip}");
        }
        assert!(zones.has("a") && !zones.has("b"));
    }
}
