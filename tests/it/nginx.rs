//! The jobs on nodes that are not ours: nginx, as thousands of installations run it, alone and beside our own nodes.
//!
//! Where nginx is not installed these tests say so and do nothing; `scripts/install-test-tools` installs it.

use crate::support::cluster::{Cluster, http};
use crate::support::database::{Database, Kind};
use crate::support::eventually;
use crate::support::nginx::Nginx;

/// A cluster of nginx alone: three hosts with two devices each.
fn cluster_of_nginx(database: &Database) -> Option<(Cluster, Vec<Nginx>)> {
    let mut cluster = Cluster::start_without_nodes(database, &[]);
    let mut nodes = Vec::new();
    for (number, devids) in (1..).zip([[1, 2], [3, 4], [5, 6]]) {
        let Some(node) = Nginx::start(number, &devids) else {
            eprintln!("nginx is not installed: nothing is tested here");
            return None;
        };
        cluster.add_host(&format!("h{number}"), &node.ip, node.port, &devids);
        nodes.push(node);
    }
    cluster.nodes.clear();
    cluster.wait_until_writeable(6);
    Some((cluster, nodes))
}

fn on_disks(nodes: &[Nginx], devids: &[i64], fid: i64) -> usize {
    let path = |devid: &i64| format!("/dev{devid}/0/000/000/{fid:010}.fid");
    devids.iter().filter(|devid| nodes.iter().any(|node| node.file(&path(devid)).exists())).count()
}

/// Uploads, copies, reads and deletes; J58, J71, J88 where the node makes directories by itself and refuses MKCOL (S27).
#[test]
fn files_go_in_are_copied_and_leave() {
    let database = Database::create(Kind::Sqlite);
    let Some((cluster, nodes)) = cluster_of_nginx(&database) else { return };
    for size in [0, 1, 4096, 3_000_000] {
        let (key, content) = (format!("of-{size}"), vec![7; size]);
        cluster.put(&key, "three", &content);
        cluster.wait_for_copies(&key, 3);
        assert_eq!(cluster.get_all(&key), vec![content; 3], "{key}");
        let (fid, devids) = (cluster.fid(&key), cluster.devids(&key));
        assert_eq!(on_disks(&nodes, &devids, fid), 3);
        cluster.session().ok(&format!("delete domain=d&key={key}"));
        eventually("the bytes left all disks", || (on_disks(&nodes, &[1, 2, 3, 4, 5, 6], fid) == 0).then_some(()));
    }
}

/// Checksums of copies on nodes without a side channel are taken by GET; S31, J74.
#[test]
fn copies_in_a_class_with_checksums_are_verified() {
    let database = Database::create(Kind::Sqlite);
    let Some((cluster, _nodes)) = cluster_of_nginx(&database) else { return };
    cluster.session().ok("create_class domain=d&class=md5&mindevcount=2&hashtype=MD5");
    cluster.put("k", "md5", &[9; 50_000]);
    cluster.wait_for_copies("k", 2);
    assert_eq!(database.count("checksum", &format!("fid = {}", cluster.fid("k"))), 1);
}

/// A file moves between nginx and a node of ours in both directions, whatever a node of ours could do by itself.
#[test]
fn copies_go_between_nginx_and_a_node_of_ours() {
    let database = Database::create(Kind::Sqlite);
    let Some(nginx) = Nginx::start(9, &[91]) else { return };
    let cluster = Cluster::start_without_nodes(&database, &[]).with_nodes(&[&[1]]);
    cluster.add_host("h9", &nginx.ip, nginx.port, &[91]);
    cluster.wait_until_writeable(2);
    for (key, first) in [("from-ours", 1), ("from-nginx", 91)] {
        let mut session = cluster.session();
        // Uploaded where the test wants it: the other device takes no new files meanwhile.
        let other = 92 - first;
        session.ok(&format!("set_state host={}&device={other}&state=drain", if other == 91 { "h9" } else { "h1" }));
        cluster.put(key, "", &[3; 123_456]);
        assert_eq!(cluster.devids(key), [first]);
        session.ok(&format!("set_state host={}&device={other}&state=alive", if other == 91 { "h9" } else { "h1" }));
        session.ok("replicate_now");
        eventually("both have it", || {
            session.ok("replicate_now");
            (cluster.devids(key).len() == 2).then_some(())
        });
        assert_eq!(cluster.get_all(key), vec![vec![3; 123_456]; 2]);
    }
    let (status, _) = http("GET", &format!("http://{}:{}/dev91/usage", nginx.ip, nginx.port), b"");
    assert_eq!(status, 200);
}
