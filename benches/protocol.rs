//! What a request and its reply cost before and after the work: parsing and encoding.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mogilefs::protocol::line::LineBuffer;
use mogilefs::protocol::request::Request;
use mogilefs::protocol::response::{Pairs, write_reply};
use std::hint::black_box;

const GET_PATHS: &[u8] = b"get_paths domain=photos&key=2026%2F11%2Fcat%2Bdog.jpg&noverify=1&pathcount=2&zone=";

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("protocol");
    group.throughput(Throughput::Elements(1));
    group.bench_function("parse get_paths", |bencher| bencher.iter(|| Request::parse(black_box(GET_PATHS))));
    group.bench_function("encode reply with two paths", |bencher| {
        let path = "http://10.0.0.1:7500/dev7/0/001/234/0001234567.fid";
        let mut out = Vec::with_capacity(256);
        bencher.iter(|| {
            out.clear();
            let mut pairs = Pairs::new();
            pairs.push_display("paths", 2);
            pairs.push("path1", black_box(path));
            pairs.push("path2", black_box(path));
            write_reply(&Ok(pairs), None, &mut out);
            out.len()
        });
    });
    group.finish();
}

fn lines(criterion: &mut Criterion) {
    let mut bytes = Vec::new();
    for _ in 0..64 {
        bytes.extend_from_slice(GET_PATHS);
        bytes.extend_from_slice(b"\r\n");
    }
    let mut group = criterion.benchmark_group("lines");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("cut 64 pipelined lines", |bencher| {
        bencher.iter(|| {
            let mut buffer = LineBuffer::new(1 << 20);
            buffer.push(black_box(&bytes));
            let mut count = 0;
            while let Ok(Some(_)) = buffer.next_line() {
                count += 1;
            }
            count
        });
    });
    group.finish();
}

criterion_group!(benches, parse, lines);
criterion_main!(benches);
