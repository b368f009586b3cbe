//! Which devices new files go to and copies are read from, by the states of hosts and devices.

use crate::support::cluster::Cluster;
use crate::support::database::{Database, Kind};
use crate::support::eventually;
use std::collections::BTreeSet;

fn sqlite() -> Database {
    Database::create(Kind::Sqlite)
}

/// The devices that many uploads are offered.
fn offered(cluster: &Cluster) -> BTreeSet<String> {
    let mut session = cluster.session();
    (0..60).map(|_| session.ok("create_open domain=d&key=k")["devid"].clone()).collect()
}

/// J2, J3, J6: new files go to alive devices on alive hosts only.
#[test]
fn only_alive_devices_on_alive_hosts_get_new_files() {
    let database = sqlite();
    let cluster = Cluster::start(&database);
    let mut session = cluster.session();
    assert_eq!(offered(&cluster).len(), 6);
    session.ok("set_state host=h1&device=1&state=drain");
    session.ok("set_state host=h1&device=2&state=readonly");
    session.ok("set_state host=h2&device=3&state=down");
    session.ok("update_host host=h3&status=readonly");
    assert_eq!(offered(&cluster), BTreeSet::from(["4".to_owned()]));
    session.ok("set_state host=h2&device=4&state=dead");
    assert_eq!(session.refused("create_open domain=d&key=k"), "no_devices");
    session.ok("update_host host=h3&status=alive");
    // The monitor looks whether it can be written to, first.
    let mut is_offered = |devid: i64| session.ask("create_open domain=d&key=k").contains(&format!("devid={devid}"));
    eventually("host 3 is used again", || (is_offered(5) || is_offered(6)).then_some(()));
}

/// J1: a text that is no status counts as down, on reading and on writing, and is told once.
#[test]
fn an_unknown_status_counts_as_down() {
    let database = sqlite();
    let cluster = Cluster::start(&database);
    for devid in [1, 2, 3, 4, 5] {
        database.execute(&format!("UPDATE device SET status = 'asleep' WHERE devid = {devid}"));
    }
    // Any change of the cluster makes the tracker read it anew.
    cluster.session().ok("create_domain domain=e");
    assert_eq!(offered(&cluster), BTreeSet::from(["6".to_owned()]));
    let devices = cluster.session().ok("get_devices");
    let down = devices.iter().filter(|(name, value)| name.ends_with("status") && *value == "down").count();
    assert_eq!(down, 5, "{devices:?}");
    let process = &cluster.tracker.process;
    process.wait_for_log_beginning("the configuration in the database is passed over in part");
    cluster.session().ok("create_domain domain=f");
    cluster.session().ok("create_domain domain=g");
    assert_eq!(process.count_logged("the configuration in the database is passed over in part"), 5);
}

/// J41: sizes beyond all free space.
#[test]
fn files_that_fit_nowhere_are_refused() {
    let database = sqlite();
    let cluster = Cluster::start(&database);
    let mut session = cluster.session();
    assert_eq!(session.refused(&format!("create_open domain=d&key=k&size={}", i64::MAX)), "no_devices");
    session.ok("create_open domain=d&key=k&size=1000");
}

/// J42, W25: on different hosts, and fewer if there are fewer.
#[test]
fn destinations_are_on_different_hosts() {
    let database = sqlite();
    let cluster = Cluster::start(&database);
    let mut session = cluster.session();
    let mut hosts_of_request = || -> Vec<i64> {
        let open = session.ok("create_open domain=d&key=k&multi_dest=1");
        let count: usize = open["dev_count"].parse().expect("a number");
        (1..=count).map(|n| (open[&format!("devid_{n}")].parse::<i64>().expect("a devid") + 1) / 2).collect()
    };
    for _ in 0..30 {
        assert_eq!(hosts_of_request().into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 3]));
    }
    cluster.session().ok("update_host host=h2&status=down");
    for _ in 0..30 {
        let mut hosts = hosts_of_request();
        hosts.sort_unstable();
        assert_eq!(hosts, [1, 3]);
    }
}

/// J10, J11, J45: a drained copy counts and is read last; a dead one does neither.
#[test]
fn drained_copies_count_and_are_read_last() {
    let database = sqlite();
    let cluster = Cluster::start(&database);
    let mut session = cluster.session();
    cluster.put("k", "", b"bytes");
    cluster.wait_for_copies("k", 2);
    let fid = cluster.fid("k");
    eventually("the queue is empty", || (database.count("file_to_replicate", "1 = 1") == 0).then_some(()));
    let first = cluster.devids("k")[0];
    let host = (first + 1) / 2;
    session.ok(&format!("set_state host=h{host}&device={first}&state=drain"));
    for _ in 0..20 {
        let paths = session.ok("get_paths domain=d&key=k&noverify=1");
        assert_eq!(paths["paths"], "2");
        assert!(paths["path2"].contains(&format!("/dev{first}/")), "{paths:?}");
    }
    assert_eq!(session.ok("explain domain=d&key=k")["verdict"], "satisfied");
    session.ok(&format!("set_state host=h{host}&device={first}&state=dead"));
    assert_eq!(session.ok("explain domain=d&key=k")["verdict"], "too_few");
    database
        .execute(&format!("INSERT INTO file_to_replicate (fid, nexttry, failcount, flags) VALUES ({fid}, 0, 0, 0)"));
    let others = || cluster.devids("k").into_iter().filter(|&devid| devid != first).count();
    eventually("a copy replaces the dead one", || (others() == 2).then_some(()));
}
