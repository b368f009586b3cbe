//! `ZoneLocal`: devices in the network zone of the client come first, when a file is read and when one is written
//! (replication-policies.md 11.1). Within and outside the zone the usual order stays.

use super::Extension;
use crate::cluster::ClusterSnapshot;
use crate::cluster::zones::Zones;
use crate::ids::DevId;
use crate::jobs::query::Query;
use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

/// The extension; keeps the zones of the snapshot that it last saw.
#[derive(Default)]
pub struct ZoneLocal {
    known: RefCell<Option<(Arc<ClusterSnapshot>, Zones)>>,
}

impl ZoneLocal {
    fn local_first(&self, query: &Query<'_>, ordered: &mut [DevId]) {
        let mut known = self.known.borrow_mut();
        if !known.as_ref().is_some_and(|(snapshot, _)| Arc::ptr_eq(snapshot, &query.cluster)) {
            *known = Some((query.cluster.clone(), Zones::from_settings(&query.cluster)));
        }
        let Some((snapshot, zones)) = known.as_ref() else { return };
        let Some(local) = query.zone.peer.and_then(|peer| zones.of(peer)) else { return };
        let is_local = |devid: &DevId| zone_of_device(snapshot, zones, *devid) == Some(local);
        // A stable sort: false, "not elsewhere", comes first.
        ordered.sort_by_key(|devid| !is_local(devid));
    }
}

fn zone_of_device<'z>(snapshot: &ClusterSnapshot, zones: &'z Zones, devid: DevId) -> Option<&'z str> {
    let address: IpAddr = snapshot.device(devid)?.host.ip.parse().ok()?;
    zones.of(address)
}

impl Extension for ZoneLocal {
    fn name(&self) -> &'static str {
        "ZoneLocal"
    }

    fn order_for_new_file(&self, query: &Query<'_>, _eligible: &[DevId], ordered: &mut Vec<DevId>) {
        self.local_first(query, ordered);
    }

    fn order_for_reading(&self, query: &Query<'_>, ordered: &mut Vec<DevId>) {
        self.local_first(query, ordered);
    }
}
