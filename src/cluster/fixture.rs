//! Clusters for unit tests and benches, written as text or made of default hosts and devices.
//!
//! Not for the program itself: a text that is wrong, or an id that is not there, panics.

use super::ClusterSnapshot;
use super::device::Device;
use super::device_state::{DeviceStatus, HostStatus, ObservedDevice, ObservedHost};
use super::host::Host;
use crate::ids::{DevId, HostId};
use std::sync::Arc;

/// A cluster, and the devices in it that hold a file.
#[derive(Clone, Debug, Default)]
pub struct Fixture {
    pub snapshot: ClusterSnapshot,
    /// Holders of the file, without those that are dead: what a replication policy is told.
    pub told: Vec<DevId>,
}

impl Fixture {
    /// Reads the notation of replication-policies.md 12: `h2=down@10.0.0.1!unreachable[d3=X,drain d4=_,used:950]` is
    /// host 2 of that status, address and observed state with two devices, of which the first holds the file.
    ///
    /// What follows a device's mark, after commas: a status; `readable`, `unreachable` or `unobserved`; `used:` and
    /// `total:` in MiB; `nousage`. What is not said is as in [`host`] and [`device`].
    ///
    /// # Panics
    /// If the text is anything else.
    pub fn parse(text: &str) -> Self {
        let mut fixture = Self::default();
        for part in text.split_inclusive(']').filter(|part| !part.trim().is_empty()) {
            let Some((head, devices)) = part.trim().trim_end_matches(']').split_once('[') else {
                panic!("a host with devices: {part}")
            };
            let host = parse_host(head);
            for text in devices.split_whitespace() {
                let (device, holds_file) = parse_device(host.hostid, text);
                if holds_file && !device.is_dead() {
                    fixture.told.push(device.devid);
                }
                fixture.snapshot.devices.insert(device.devid, Arc::new(device));
            }
            fixture.snapshot.hosts.insert(host.hostid, Arc::new(host));
        }
        fixture
    }
}

/// Host `h<hostid>`, alive and reachable, at 10.0.0.`<hostid>`.
pub fn host(hostid: i64) -> Host {
    Host {
        hostid: HostId(hostid),
        name: format!("h{hostid}"),
        status: Some(HostStatus::Alive),
        ip: format!("10.0.0.{hostid}"),
        http_port: 7500,
        http_get_port: None,
        altip: None,
        altmask_text: None,
        altmask: None,
        observed: Some(ObservedHost::Reachable),
    }
}

/// A device that is alive and writeable, with 1000 MiB of which 100 are used.
pub fn device(devid: i64, hostid: i64) -> Device {
    Device {
        devid: DevId(devid),
        hostid: HostId(hostid),
        status: DeviceStatus::Alive,
        weight: Some(100),
        mb_total: Some(1000),
        mb_used: Some(100),
        mb_asof: None,
        observed: Some(ObservedDevice::Writeable),
        utilization: None,
        reject_bad_md5: None,
        wait: None,
    }
}

/// A host of the cluster, to change it.
///
/// # Panics
/// If it is unknown.
pub fn host_mut(snapshot: &mut ClusterSnapshot, hostid: i64) -> &mut Host {
    match snapshot.hosts.get_mut(&HostId(hostid)) {
        Some(host) => Arc::make_mut(host),
        None => panic!("no host {hostid}"),
    }
}

/// A device of the cluster, to change it.
///
/// # Panics
/// If it is unknown.
pub fn device_mut(snapshot: &mut ClusterSnapshot, devid: i64) -> &mut Device {
    match snapshot.devices.get_mut(&DevId(devid)) {
        Some(device) => Arc::make_mut(device),
        None => panic!("no device {devid}"),
    }
}

/// `h2=down@10.0.0.1!unreachable`
fn parse_host(text: &str) -> Host {
    let (text, observed) = match text.split_once('!') {
        Some((text, "unreachable")) => (text, ObservedHost::Unreachable),
        Some((_, other)) => panic!("unknown observation {other}"),
        None => (text, ObservedHost::Reachable),
    };
    let (text, address) = text.split_once('@').map_or((text, None), |(text, address)| (text, Some(address)));
    let (name, status) = text.split_once('=').unwrap_or((text, "alive"));
    let mut host = host(number(name, 'h'));
    host.status = Some(HostStatus::from_name(status).unwrap_or_else(|| panic!("unknown status {status}")));
    host.observed = Some(observed);
    if let Some(address) = address {
        address.clone_into(&mut host.ip);
    }
    host
}

/// `d3=X,drain,used:950`: the device, and does it hold the file?
fn parse_device(hostid: HostId, text: &str) -> (Device, bool) {
    let Some((name, rest)) = text.split_once('=') else { panic!("a device: {text}") };
    let mut device = device(number(name, 'd'), hostid.0);
    let mut words = rest.split(',');
    let holds_file = match words.next() {
        Some("X") => true,
        Some("_") => false,
        other => panic!("X or _, not {other:?}: {text}"),
    };
    for word in words {
        match (word, word.split_once(':')) {
            ("readable", _) => device.observed = Some(ObservedDevice::Readable),
            ("unreachable", _) => device.observed = Some(ObservedDevice::Unreachable),
            ("unobserved", _) => device.observed = None,
            ("nousage", _) => (device.mb_total, device.mb_used) = (None, None),
            (_, Some(("used", mib))) => device.mb_used = Some(number(mib, ' ')),
            (_, Some(("total", mib))) => device.mb_total = Some(number(mib, ' ')),
            _ => {
                device.status = DeviceStatus::from_name(word).unwrap_or_else(|| panic!("unknown word {word}: {text}"));
            }
        }
    }
    (device, holds_file)
}

fn number(text: &str, prefix: char) -> i64 {
    text.trim_start_matches(prefix).parse().unwrap_or_else(|_| panic!("a number: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_notation() {
        let text = "h2=down@10.1.0.1!unreachable[d3=X,drain d4=_,used:950 d5=X,dead]\n h7[d8=_,nousage,readable]";
        let Fixture { snapshot, told } = Fixture::parse(text);
        assert_eq!(told, [DevId(3)]);
        let view = snapshot.device(DevId(3)).expect("known");
        assert_eq!((&*view.host.name, &*view.host.ip, view.host.hostid), ("h2", "10.1.0.1", HostId(2)));
        assert_eq!((view.host.status, view.host.observed), (Some(HostStatus::Down), Some(ObservedHost::Unreachable)));
        assert_eq!((view.device.status, view.device.mb_free()), (DeviceStatus::Drain, Some(900)));
        assert_eq!(snapshot.device(DevId(4)).expect("known").device.mb_free(), Some(50));
        let view = snapshot.device(DevId(8)).expect("known");
        assert_eq!((view.host.is_alive(), view.device.mb_free()), (true, None));
        assert_eq!(view.device.observed, Some(ObservedDevice::Readable));
    }
}
