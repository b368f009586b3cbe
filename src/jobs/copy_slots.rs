//! Copies under way, counted by device and host over all workers of the tracker, so that neither a disk nor a network
//! link gets more of them than it can take.
//!
//! Memory of one tracker; other trackers count their own.

use crate::cluster::device::DeviceView;
use crate::ids::{DevId, HostId};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The shared handle. Clones are one.
#[derive(Clone, Debug)]
pub struct CopySlots {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    per_device_max: usize,
    per_host_max: usize,
    under_way: Mutex<UnderWay>,
    freed: Notify,
}

/// Copies that read from or write to each; what has none is not in the maps.
#[derive(Debug, Default)]
struct UnderWay {
    devices: HashMap<DevId, usize>,
    hosts: HashMap<HostId, usize>,
}

impl Shared {
    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CopySlots {
    /// With these limits, of at least one each.
    pub fn new(per_device_max: usize, per_host_max: usize) -> Self {
        let shared = Shared {
            per_device_max: per_device_max.max(1),
            per_host_max: per_host_max.max(1),
            under_way: Mutex::default(),
            freed: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Counts a copy from one device to the other until the slot is dropped; `None` if one of the devices or hosts has
    /// as many as it may.
    pub fn take(&self, source: &DeviceView<'_>, target: &DeviceView<'_>) -> Option<CopySlot> {
        let devices = [source, target].map(|view| view.device.devid);
        let hosts = [source, target].map(|view| view.host.hostid);
        // A copy within a host is one copy for it.
        let hosts = if hosts[0] == hosts[1] { vec![hosts[0]] } else { hosts.to_vec() };
        let mut under_way = self.shared.under_way();
        let is_free = devices.iter().all(|devid| count(&under_way.devices, devid) < self.shared.per_device_max)
            && hosts.iter().all(|hostid| count(&under_way.hosts, hostid) < self.shared.per_host_max);
        if !is_free {
            return None;
        }
        devices.iter().for_each(|&devid| *under_way.devices.entry(devid).or_default() += 1);
        hosts.iter().for_each(|&hostid| *under_way.hosts.entry(hostid).or_default() += 1);
        Some(CopySlot { shared: self.shared.clone(), devices, hosts })
    }

    /// Copies under way on this device, and on its host.
    pub fn load(&self, view: &DeviceView<'_>) -> (usize, usize) {
        let under_way = self.shared.under_way();
        (count(&under_way.devices, &view.device.devid), count(&under_way.hosts, &view.host.hostid))
    }

    /// Ends with the next slot that is given back after this call. Call it before [`CopySlots::take`], await it
    /// afterwards.
    pub fn freed(&self) -> Notified<'_> {
        self.shared.freed.notified()
    }
}

/// One copy under way.
#[must_use = "the copy counts until this is dropped"]
#[derive(Debug)]
pub struct CopySlot {
    shared: Arc<Shared>,
    devices: [DevId; 2],
    hosts: Vec<HostId>,
}

impl Drop for CopySlot {
    fn drop(&mut self) {
        let mut under_way = self.shared.under_way();
        self.devices.iter().for_each(|devid| give_back(&mut under_way.devices, devid));
        self.hosts.iter().for_each(|hostid| give_back(&mut under_way.hosts, hostid));
        drop(under_way);
        self.shared.freed.notify_waiters();
    }
}

fn count<K: Eq + Hash>(counts: &HashMap<K, usize>, key: &K) -> usize {
    counts.get(key).copied().unwrap_or(0)
}

fn give_back<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fixture::Fixture;
    use futures::FutureExt as _;

    #[test]
    fn devices_and_hosts_have_their_limits() {
        let world = Fixture::parse("h1[d1=_ d2=_ d3=_] h2[d4=_ d5=_] h3[d6=_]").snapshot;
        let view = |devid| world.device(DevId(devid)).expect("known");
        let slots = CopySlots::new(2, 3);
        let first = slots.take(&view(1), &view(4)).expect("free");
        let _second = slots.take(&view(1), &view(5)).expect("free");
        assert_eq!(slots.load(&view(1)), (2, 2));
        assert!(slots.take(&view(1), &view(6)).is_none(), "the device has two");
        let _within = slots.take(&view(2), &view(3)).expect("one copy for the host");
        assert!(slots.take(&view(6), &view(2)).is_none(), "the host has three");
        let mut freed = Box::pin(slots.freed());
        drop(first);
        assert!(freed.as_mut().now_or_never().is_some());
        assert!(slots.take(&view(1), &view(6)).is_some());
        assert_eq!(slots.load(&view(6)), (0, 0), "that one was dropped at once");
    }
}
