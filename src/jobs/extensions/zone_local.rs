//! `ZoneLocal`: devices in the network zone of the client come first, when a file is read and when one is written
//! (replication-policies.md 11.1), and replication reads in the zone of this tracker if it can. Within and outside the
//! zone the usual order stays.

use super::Extension;
use crate::cluster::ClusterSnapshot;
use crate::cluster::netmask::Netmask;
use crate::cluster::zones::Zones;
use crate::ids::DevId;
use crate::jobs::query::Query;
use crate::settings::ExtensionSettings;
use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

/// The extension; keeps the zones of the snapshot that it last saw.
pub struct ZoneLocal {
    /// An address in the zone of this tracker.
    own_address: Option<IpAddr>,
    known: RefCell<Option<(Arc<ClusterSnapshot>, Zones)>>,
}

impl ZoneLocal {
    /// # Errors
    /// A `local_network` that is neither address nor mask.
    pub fn new(settings: &ExtensionSettings) -> Result<Self, String> {
        let text = settings.local_network.trim();
        let own_address = match Netmask::parse(text) {
            Some(mask) => Some(mask.network()),
            None if text.is_empty() => None,
            None => return Err(format!("extensions.local_network: {text:?} is neither an address nor a netmask")),
        };
        Ok(Self { own_address, known: RefCell::default() })
    }

    /// The devices in the zone of the address come first.
    fn local_first(&self, cluster: &Arc<ClusterSnapshot>, address: Option<IpAddr>, ordered: &mut [DevId]) {
        let mut known = self.known.borrow_mut();
        if !known.as_ref().is_some_and(|(snapshot, _)| Arc::ptr_eq(snapshot, cluster)) {
            *known = Some((cluster.clone(), Zones::from_settings(&cluster.server_settings)));
        }
        let Some((snapshot, zones)) = known.as_ref() else { return };
        let Some(local) = address.and_then(|address| zones.of(address)) else { return };
        let is_local = |devid: &DevId| zone_of_device(snapshot, zones, *devid) == Some(local);
        // A stable sort: false, "not elsewhere", comes first.
        ordered.sort_by_key(|devid| !is_local(devid));
    }
}

fn zone_of_device<'z>(snapshot: &ClusterSnapshot, zones: &'z Zones, devid: DevId) -> Option<&'z str> {
    zones.of_host(snapshot.device(devid)?.host)
}

impl Extension for ZoneLocal {
    fn order_for_new_file(&self, query: &Query<'_>, _eligible: &[DevId], ordered: &mut Vec<DevId>) {
        self.local_first(&query.cluster, query.zone.peer, ordered);
    }

    fn order_for_reading(&self, query: &Query<'_>, ordered: &mut Vec<DevId>) {
        self.local_first(&query.cluster, query.zone.peer, ordered);
    }

    fn order_sources(&self, cluster: &Arc<ClusterSnapshot>, ordered: &mut Vec<DevId>) {
        self.local_first(cluster, self.own_address, ordered);
    }
}
