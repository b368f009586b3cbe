//! Network zones: which part of the network an address is in, by the server settings `network_zones` and `zone_<name>`
//! (replication-policies.md 8).

use super::ClusterSnapshot;
use super::netmask::Netmask;
use std::net::IpAddr;

/// The zones with their masks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zones {
    masks: Vec<(Netmask, String)>,
}

impl Zones {
    /// Those that the settings name. A text that is no netmask is skipped; the setting's check refuses it anyway.
    pub fn from_settings(snapshot: &ClusterSnapshot) -> Self {
        let names = snapshot.server_setting("network_zones").unwrap_or_default().split(',').map(str::trim);
        let masks = names.filter(|name| !name.is_empty()).flat_map(|name| {
            let texts = snapshot.server_setting(&format!("zone_{name}")).unwrap_or_default();
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(settings: &[(&str, &str)]) -> Zones {
        let mut snapshot = ClusterSnapshot::default();
        for (field, value) in settings {
            snapshot.server_settings.insert((*field).to_owned(), (*value).to_owned());
        }
        Zones::from_settings(&snapshot)
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
}
