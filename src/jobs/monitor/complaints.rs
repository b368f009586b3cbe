//! What the configuration tables say that cannot be meant: it is passed over as 2.73 does, but not in silence.
//!
//! Pure; says nothing that is not wrong.

use super::refresh::Tables;
use crate::cluster::device_state::{DeviceStatus, HostStatus};
use crate::cluster::netmask::Netmask;
use std::collections::{BTreeMap, BTreeSet};

/// A sentence for each thing that is wrong.
pub fn of_tables(tables: &Tables) -> BTreeSet<String> {
    let devices = tables.devices.iter().filter_map(|row| {
        let text = row.status.as_deref().filter(|text| DeviceStatus::from_name(text).is_none())?;
        Some(format!("device {} has the unknown status `{text}` and counts as down", row.devid))
    });
    let hosts = tables.hosts.iter().filter_map(|row| {
        let text = row.status.as_deref().filter(|text| HostStatus::from_name(text).is_none())?;
        Some(format!("host {} has the unknown status `{text}`: nothing is read from it or written to it", row.hostid))
    });
    devices.chain(hosts).chain(of_zones(&tables.server_settings)).collect()
}

fn of_zones(settings: &BTreeMap<String, String>) -> Vec<String> {
    let names: Vec<&str> = settings.get("network_zones").map_or("", String::as_str).split(',').map(str::trim).collect();
    let mut zones_of_masks: BTreeMap<String, &str> = BTreeMap::new();
    let mut complaints = Vec::new();
    for (n, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        if names[..n].contains(name) {
            complaints.push(format!("network_zones names the zone `{name}` twice"));
            continue;
        }
        let texts = settings.get(&format!("zone_{name}")).map_or("", String::as_str);
        let texts: Vec<&str> = texts.split([',', ' ', '\t']).filter(|text| !text.is_empty()).collect();
        if texts.is_empty() {
            complaints.push(format!("the network zone `{name}` has no netmasks in zone_{name}: no host is in it"));
        }
        for text in texts {
            match Netmask::parse(text) {
                None => complaints.push(format!("zone_{name}: `{text}` is no netmask and is passed over")),
                Some(mask) => {
                    if let Some(other) = zones_of_masks.insert(format!("{mask:?}"), name).filter(|other| other != name)
                    {
                        complaints
                            .push(format!("`{text}` is in the zones `{other}` and `{name}`; the last one counts"));
                    }
                }
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(settings: &[(&str, &str)]) -> Vec<String> {
        of_zones(&settings.iter().map(|&(field, value)| (field.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn zones_that_cannot_be_meant_are_named() {
        assert_eq!(zones(&[]), [""; 0]);
        assert_eq!(
            zones(&[("network_zones", "a, b"), ("zone_a", "10.0.0.0/8"), ("zone_b", "10.1.0.0/16 10.2.0.0/16")]),
            [""; 0]
        );
        let wrong =
            zones(&[("network_zones", "a,b,a,c"), ("zone_a", "10.0.0.0/8,127.0.0.0/33"), ("zone_b", "10.0.0.0/8")]);
        let contains = |text: &str| wrong.iter().any(|complaint| complaint.contains(text));
        for text in ["`a` twice", "`127.0.0.0/33` is no netmask", "in the zones `a` and `b`", "`c` has no netmasks"] {
            assert!(contains(text), "{text}: {wrong:?}");
        }
        assert_eq!(wrong.len(), 4);
    }
}
