//! Choosing among many devices: for a new file, and for reading a file with three copies.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mogilefs::clock::chance_from_seed;
use mogilefs::cluster::ClusterSnapshot;
use mogilefs::cluster::device::Device;
use mogilefs::cluster::device_state::{DeviceStatus, HostStatus, ObservedDevice, ObservedHost};
use mogilefs::cluster::host::Host;
use mogilefs::cluster::placement::{devices_for_new_file, order_for_reading, spread_over_hosts};
use mogilefs::ids::{DevId, HostId};
use std::hint::black_box;
use std::sync::Arc;

/// Ten devices on each host, all writeable, of different fill.
fn cluster(devices: i64) -> ClusterSnapshot {
    let mut snapshot = ClusterSnapshot::default();
    for number in 1..=devices {
        let hostid = HostId((number - 1) / 10 + 1);
        let host = Host {
            hostid,
            name: format!("h{hostid}"),
            status: Some(HostStatus::Alive),
            ip: format!("10.0.0.{hostid}"),
            http_port: 7500,
            http_get_port: None,
            altip: None,
            altmask_text: None,
            altmask: None,
            observed: Some(ObservedHost::Reachable),
        };
        snapshot.hosts.insert(hostid, Arc::new(host));
        let device = Device {
            devid: DevId(number),
            hostid,
            status: DeviceStatus::Alive,
            weight: Some(100),
            mb_total: Some(4_000_000),
            mb_used: Some(number * 37 % 3_500_000),
            mb_asof: None,
            observed: Some(ObservedDevice::Writeable),
            utilization: None,
            reject_bad_md5: Some(true),
            wait: None,
        };
        snapshot.devices.insert(DevId(number), Arc::new(device));
    }
    snapshot
}

fn placement(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("placement");
    for devices in [6, 100, 3000] {
        let (snapshot, mut chance) = (cluster(devices), chance_from_seed(1));
        group.bench_function(BenchmarkId::new("new file, three destinations", devices), |bencher| {
            bencher.iter(|| {
                let ordered = devices_for_new_file(black_box(&snapshot), None, 100, &mut chance);
                spread_over_hosts(&snapshot, &ordered, 3)
            });
        });
        let copies = [DevId(1), DevId(devices / 2), DevId(devices)];
        group.bench_function(BenchmarkId::new("order three copies for reading", devices), |bencher| {
            bencher.iter(|| order_for_reading(black_box(&snapshot), &copies, &mut chance));
        });
    }
    group.finish();
}

criterion_group!(benches, placement);
criterion_main!(benches);
