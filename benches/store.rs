//! The hot path of `get_paths` in the database, on SQLite: one key to its file and devices, among 100,000.

use bstr::BStr;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mogilefs::ids::{ClassId, DevId};
use mogilefs::logging;
use mogilefs::settings::Settings;
use mogilefs::store::files::{self, CloseUpload};
use mogilefs::store::tempfiles::{self, NewTempfile};
use mogilefs::store::{Session, Store, domains, file_on};
use std::hint::black_box;

const FILES: i64 = 100_000;
/// Files made in one transaction.
const GROUP: i64 = 10_000;

async fn fill(session: &Session) {
    for first in (0..FILES).step_by(GROUP as usize) {
        let filled = session.write(move |conn| {
            let dmid = match domains::find(conn, BStr::new("bench"))? {
                Some(dmid) => dmid,
                None => domains::create(conn, BStr::new("bench"))?,
            };
            for number in first..first + GROUP {
                let (dkey, devids) = (format!("key/{number}").into(), vec![DevId(1)]);
                let new = NewTempfile { fid: None, dmid, dkey, classid: ClassId::DEFAULT, devids };
                let fid = tempfiles::register(conn, &new)?;
                let (classid, devid) = (new.classid, DevId(1));
                let close = CloseUpload { fid, dmid, dkey: new.dkey, classid, length: 4096, devid, checksum: None };
                files::close_upload(conn, &close)?;
                file_on::add(conn, fid, DevId(2))?;
            }
            Ok(())
        });
        filled.await.expect("filled");
    }
}

fn locate(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = Settings::defaults().database;
    settings.url = format!("sqlite:{}", directory.path().join("tracker.db").display());
    Store::setup(&settings).expect("setup");
    let store = Store::open(&settings, logging::discard()).expect("open");
    let session = store.session().expect("session");
    actix_rt::System::new().block_on(fill(&session));
    let dmid = session.read(|conn| domains::find(conn, BStr::new("bench"))).expect("read").expect("the domain");
    let mut group = criterion.benchmark_group("store on SQLite");
    group.throughput(Throughput::Elements(1));
    let mut number = 0;
    group.bench_function("locate a key and its two devices", |bencher| {
        bencher.iter(|| {
            number = (number + 7919) % FILES;
            let key = format!("key/{number}");
            let found = session.read(|conn| files::locate(conn, dmid, BStr::new(black_box(&key))));
            found.expect("read").expect("found").1.len()
        });
    });
    group.finish();
    store.close();
}

criterion_group!(benches, locate);
criterion_main!(benches);
