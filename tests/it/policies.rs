//! Policies that look at networks, and unions of policies, on real nodes: h1 and h2 are near, h3 is far.

use crate::support::cluster::Cluster;
use crate::support::database::{Database, Kind, on_each_database};

fn zoned(database: &Database) -> Cluster {
    let cluster = Cluster::start(database);
    let mut session = cluster.session();
    session.ok("set_server_setting key=network_zones&value=near,far");
    session.ok("set_server_setting key=zone_near&value=127.0.0.1,%20127.0.0.2");
    session.ok("set_server_setting key=zone_far&value=127.0.0.3");
    cluster
}

/// Copies on near and on far hosts, as the devices are numbered.
fn spread(devids: &[i64]) -> (usize, usize) {
    let near = devids.iter().filter(|&&devid| devid <= 4).count();
    (near, devids.len() - near)
}

/// An equals sign would end the name of an argument.
fn escaped(policy: &str) -> String {
    policy.replace('=', "%3D")
}

#[test]
fn copies_go_to_the_zones_that_the_class_names() {
    on_each_database(|database| {
        let cluster = zoned(database);
        let mut session = cluster.session();
        for (class, policy, near, far) in [
            ("zones", "HostsPerNetwork(near=1,far=2)", 1, 2),
            ("networks", "MultipleNetworks(2)", 1, 1),
            ("union", "Union(MultipleDevices(3), HostsPerNetwork(near=2,far=1))", 2, 1),
        ] {
            session.ok(&format!("create_class domain=d&class={class}&mindevcount=2&replpolicy={}", escaped(policy)));
            for n in 0..4 {
                let key = format!("{class}{n}");
                cluster.put(&key, class, b"bytes");
                cluster.wait_for_copies(&key, near + far);
                assert_eq!(spread(&cluster.devids(&key)), (near, far), "{policy}");
                assert_eq!(session.ok(&format!("explain domain=d&key={key}"))["verdict"], "satisfied", "{policy}");
            }
        }
    });
}

/// Q10: what can never be satisfied is refused, with the reason; nothing is stored.
#[test]
fn policies_that_cannot_work_are_refused() {
    let database = Database::create(Kind::Sqlite);
    let cluster = zoned(&database);
    let mut session = cluster.session();
    for (policy, reason) in [
        ("HostsPerNetwork(near=1,nowhere=1)", "There is no network zone nowhere"),
        ("Union(MultipleHosts(2),HostsPerNetwork(nowhere=1))", "There is no network zone nowhere"),
        ("HostsPerNetwork(near=few)", "HostsPerNetwork takes zones and numbers"),
        ("Union(MultipleHosts(2)", "The text ends"),
        ("MultipleNetworks(2,3)", "MultipleNetworks takes one number"),
    ] {
        let create = format!("create_class domain=d&class=c&mindevcount=2&replpolicy={}", escaped(policy));
        let reply = session.ask(&create);
        assert!(reply.starts_with(&format!("ERR invalid_replpolicy {}", reason.replace(' ', "+"))), "{reply}");
    }
    assert_eq!(database.count("class", "classname = 'c'"), 0);
    let update = "update_class domain=d&class=one&mindevcount=1&replpolicy=HostsPerNetwork(nowhere%3D1)";
    assert_eq!(session.refused(update), "invalid_replpolicy");
}
