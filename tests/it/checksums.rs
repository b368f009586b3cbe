//! The SHA-2 family: verified at the close, computed by replication, stored under its reserved numbers.

use crate::support::cluster::{Cluster, http_put};
use crate::support::database::{Kind, on_each_database};

/// Name, number in the database, digest of `abc` (FIPS 180-4, examples).
const OF_ABC: [(&str, i64, &str); 4] = [
    ("SHA-224", 3, "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
    ("SHA-256", 4, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ("SHA-384", 5, "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"),
    (
        "SHA-512",
        6,
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
         2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    ),
];

#[test]
fn sha_2_is_verified_and_stored() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let mut session = cluster.session();
        for (name, number, hex) in OF_ABC {
            session.ok(&format!("create_class domain=d&class={name}&mindevcount=2&hashtype={name}"));
            let domains = session.ok("get_domains");
            assert!(domains.iter().any(|(key, value)| key.ends_with("hashtype") && value == name), "{domains:?}");
            let mut close = |key: &str, checksum: &str| {
                let open = session.ok(&format!("create_open domain=d&key={key}&class={name}"));
                http_put(&open["path"], b"abc");
                let (fid, devid, path) = (&open["fid"], &open["devid"], &open["path"]);
                let upload = format!("domain=d&key={key}&fid={fid}&devid={devid}&path={path}&size=3");
                session.ask(&format!("create_close {upload}&checksumverify=1&checksum={checksum}"))
            };
            // Given by the client, and as the first copy computes it.
            let (given, computed) = (format!("given-{name}"), format!("computed-{name}"));
            assert_eq!(close(&given, &format!("{name}:{hex}")), "OK ");
            let refused = close("wrong", &format!("{name}:0{}", &hex[1..]));
            assert!(refused.starts_with("ERR checksum_mismatch "), "{refused}");
            let too_short = close("short", &format!("{name}:{}", &hex[2..]));
            assert!(too_short.starts_with("ERR invalid_checksum_format "), "{too_short}");
            cluster.put(&computed, name, b"abc");
            for key in [given, computed] {
                cluster.wait_for_copies(&key, 2);
                let info = session.ok(&format!("file_info domain=d&key={key}"));
                assert_eq!(info["checksum"], format!("{name}:{hex}"));
                let row = format!("fid = {} AND hashtype = {number}", info["fid"]);
                assert_eq!(database.count("checksum", &row), 1, "{name}");
                if database.kind == Kind::Sqlite {
                    let digest = format!("{row} AND lower(hex(checksum)) = '{hex}'");
                    assert_eq!(database.count("checksum", &digest), 1, "raw bytes, not hex");
                }
            }
        }
    });
}
