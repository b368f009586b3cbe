//! Choosing among many devices: for a new file, and for reading a file with three copies.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mogilefs::clock::chance_from_seed;
use mogilefs::cluster::placement::{devices_for_new_file, order_for_reading, spread_over_hosts};
use mogilefs::cluster::{ClusterSnapshot, fixture};
use mogilefs::ids::{DevId, HostId};
use std::hint::black_box;
use std::sync::Arc;

/// Ten devices on each host, all writeable, of different fill.
fn cluster(devices: i64) -> ClusterSnapshot {
    let mut snapshot = ClusterSnapshot::default();
    for number in 1..=devices {
        let hostid = (number - 1) / 10 + 1;
        let mut device = fixture::device(number, hostid);
        (device.mb_total, device.mb_used) = (Some(4_000_000), Some(number * 37 % 3_500_000));
        snapshot.hosts.insert(HostId(hostid), Arc::new(fixture::host(hostid)));
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
