//! The cluster as the monitor of this tracker sees it.

use super::text::{Exposition, Kind};
use crate::cluster::ClusterSnapshot;
use crate::cluster::device::DeviceView;
use crate::cluster::device_state::ObservedDevice;

const MIB: i64 = 1024 * 1024;

/// Appends hosts and devices.
pub fn write(text: &mut Exposition, cluster: &ClusterSnapshot, min_free_space_mb: i64) {
    let mut family = text.family(Kind::Gauge, "host_reachable", "1 if the monitor reaches the host, else 0.");
    for host in cluster.hosts.values() {
        let status = host.status.map_or("unknown", |status| status.name());
        family.sample(&[("host", &host.name), ("status", status)], u8::from(host.is_reachable()));
    }
    let devices: Vec<Labelled<'_>> = cluster.devices().map(Labelled::new).collect();
    type Figure = fn(&DeviceView<'_>) -> Option<f64>;
    let figures: [(&str, &str, Figure); 5] = [
        ("device_readable", "1 if clients may read from the device, else 0.", |device| {
            Some(f64::from(u8::from(device.may_be_read())))
        }),
        ("device_writable", "1 if the monitor could write to the device, else 0.", |device| {
            Some(f64::from(u8::from(device.device.observed == Some(ObservedDevice::Writeable))))
        }),
        ("device_size_bytes", "Space of the device.", |device| bytes(device.device.mb_total)),
        ("device_used_bytes", "Space of the device that is used.", |device| bytes(device.device.mb_used)),
        ("device_utilization_ratio", "Share of the time in which the disk was busy, as its node said.", |device| {
            device.device.utilization.as_deref()?.parse::<f64>().ok().map(|percent| percent / 100.0)
        }),
    ];
    for (name, help, figure) in figures {
        let mut family = text.family(Kind::Gauge, name, help);
        for device in &devices {
            if let Some(value) = figure(&device.view) {
                family.sample(&device.labels(), value);
            }
        }
    }
    let mut family = text.family(Kind::Gauge, "device_status", "1 for the status that the device has.");
    for device in &devices {
        let [devid, host] = device.labels();
        family.sample(&[devid, host, ("status", device.view.device.status.name())], 1);
    }
    let mut family = text.family(Kind::Gauge, "device_takes_files", "1 if new files may be put on the device, else 0.");
    for device in &devices {
        family.sample(&device.labels(), u8::from(device.view.may_get_files(min_free_space_mb)));
    }
    let guarded = cluster.guard_failures.len();
    text.one(Kind::Gauge, "devices_wrong_disk", "Devices whose disk is not the one that it should be.", guarded);
}

fn bytes(mb: Option<i64>) -> Option<f64> {
    mb.map(|mb| (mb * MIB) as f64)
}

struct Labelled<'a> {
    view: DeviceView<'a>,
    devid: String,
}

impl<'a> Labelled<'a> {
    fn new(view: DeviceView<'a>) -> Self {
        Self { view, devid: view.device.devid.to_string() }
    }

    fn labels(&self) -> [(&str, &str); 2] {
        [("devid", &self.devid), ("host", &self.view.host.name)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fixture::Fixture;

    #[test]
    fn every_device_has_its_state() {
        let cluster = Fixture::parse("h1[d1=_,used:250 d2=_,drain] h2!unreachable[d3=_,down]").snapshot;
        let mut text = Exposition::default();
        write(&mut text, &cluster, 100);
        let text = text.into_text();
        for line in [
            "mogilefs_host_reachable{host=\"h2\",status=\"alive\"} 0",
            "mogilefs_device_status{devid=\"2\",host=\"h1\",status=\"drain\"} 1",
            "mogilefs_device_takes_files{devid=\"1\",host=\"h1\"} 1",
            "mogilefs_device_takes_files{devid=\"2\",host=\"h1\"} 0",
            "mogilefs_device_readable{devid=\"3\",host=\"h2\"} 0",
            "mogilefs_device_used_bytes{devid=\"1\",host=\"h1\"} 262144000",
            "mogilefs_devices_wrong_disk 0",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }
}
