//! `explain` on a live tracker: one file through its life.

use crate::support::cluster::{Cluster, http_put};
use crate::support::database::{Database, Kind};
use crate::support::eventually;
use std::collections::BTreeMap;
use std::process::Command;

type Pairs = BTreeMap<String, String>;

/// The pairs of the numbered group that has this device.
fn of_device(pairs: &Pairs, kind: &str, devid: &str) -> Pairs {
    let number = (1..200).find(|n| pairs.get(&format!("{kind}_{n}_devid")).is_some_and(|found| found == devid));
    let prefix = format!("{kind}_{}_", number.unwrap_or_else(|| panic!("no {kind} on {devid}: {pairs:?}")));
    let fields = pairs.iter().filter_map(|(name, value)| Some((name.strip_prefix(&prefix)?.to_owned(), value.clone())));
    fields.collect()
}

/// Runs the program against the cluster's tracker.
fn mogilefs(cluster: &Cluster, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mogilefs"))
        .args(args)
        .env("MOGILEFS_TRACKERS", cluster.tracker.address.to_string())
        .env("MOGILEFS_DOMAIN", "d")
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Upload, one copy, two copies, device drained, down and dead, deleted, gone.
#[test]
fn a_file_is_explained_through_its_life() {
    let database = &Database::create(Kind::Sqlite);
    let cluster = Cluster::start_with(database, &["tracker.job_master=false"]);
    let mut session = cluster.session();
    session.ok("set_server_setting key=undelete_window_secs&value=3600");
    let open = session.ok("create_open domain=d&key=k");
    let (fid, devid) = (open["fid"].clone(), open["devid"].clone());
    assert_eq!(session.refused("explain domain=d&key=k"), "unknown_key");
    let explained = session.ok(&format!("explain fid={fid}"));
    assert_eq!((&*explained["verdict"], &*explained["copies"]), ("uploading", "0"));
    assert!(!explained.contains_key("key"));

    http_put(&open["path"], b"bytes");
    session.ok(&format!("create_close domain=d&key=k&fid={fid}&devid={devid}&path={}", open["path"]));
    let explained = session.ok("explain domain=d&key=k");
    assert_eq!(explained, {
        let by_fid = session.ok(&format!("explain fid={fid}"));
        // The target is drawn by lot.
        let drawn = ["next_text", "queue_1_text"].map(|name| (name.to_owned(), explained[name].clone()));
        by_fid.into_iter().chain(drawn).collect()
    });
    println!("{}", mogilefs(&cluster, &["explain", "k"]));
    assert_eq!((&*explained["verdict"], &*explained["wanted"], &*explained["counted"]), ("too_few", "2", "1"));
    assert_eq!((&*explained["class"], &*explained["policy"]), ("default", "MultipleHosts()"));
    assert_eq!((&*explained["length"], &*explained["devcount"], &*explained["copies"]), ("5", "1", "1"));
    assert_eq!((&*explained["next"], &*explained["next_in_secs"], &*explained["queues"]), ("replicate", "0", "1"));
    assert!(explained["next_text"].contains(&format!("copies from dev {devid} on h")), "{}", explained["next_text"]);
    let copy = of_device(&explained, "copy", &devid);
    assert_eq!((&*copy["state"], &*copy["offered"], &*copy["counts"]), ("readable", "normal", "1"));
    assert_eq!((&*copy["status"], &*copy["observed"], &*copy["host_observed"]), ("alive", "writeable", "reachable"));
    assert_eq!((&*explained["others"], &*explained["left_out"]), ("5", "0"));
    let states: Vec<_> = (1..=5).map(|n| explained[&format!("other_{n}_state")].as_str()).collect();
    assert_eq!(states, ["wanted", "wanted", "wanted", "wanted", "second_choice"], "one is on the same host");

    // A second copy, as the replication job would record it.
    let second = explained["other_1_devid"].clone();
    database.execute(&format!("INSERT INTO file_on (fid, devid) VALUES ({fid}, {second})"));
    database.execute(&format!("DELETE FROM file_to_replicate WHERE fid = {fid}"));
    let explained = session.ok("explain domain=d&key=k");
    assert_eq!((&*explained["verdict"], &*explained["next"], &*explained["queues"]), ("satisfied", "none", "0"));
    assert!(!explained.contains_key("next_in_secs"));
    assert_eq!((&*explained["devcount"], &*explained["copies"]), ("1", "2"));

    let host = of_device(&explained, "copy", &second)["host"].clone();
    for (status, state, offered, verdict) in [
        ("drain", "draining", "last", "satisfied"),
        ("down", "down", "fallback", "satisfied"),
        ("dead", "dead", "fallback", "too_few"),
    ] {
        session.ok(&format!("set_state host={host}&device={second}&state={status}"));
        let explained = session.ok("explain domain=d&key=k");
        let copy = of_device(&explained, "copy", &second);
        assert_eq!((&*copy["status"], &*copy["state"], &*copy["offered"]), (status, state, offered));
        assert_eq!(explained["verdict"], verdict, "{status}");
        println!("{}", mogilefs(&cluster, &["explain", "k"]));
    }
    let first_host = of_device(&explained, "copy", &devid)["host"].clone();
    session.ok(&format!("set_state host={first_host}&device={devid}&state=down"));
    let explained = session.ok("explain domain=d&key=k");
    assert_eq!((&*explained["verdict"], &*explained["next"]), ("lost", "none"));
    println!("{}", mogilefs(&cluster, &["explain", "k"]));

    session.ok("delete domain=d&key=k");
    assert_eq!(session.refused("explain domain=d&key=k"), "unknown_key");
    let explained = session.ok(&format!("explain fid={fid}"));
    assert_eq!((&*explained["verdict"], &*explained["next"], &*explained["others"]), ("deleted", "delete", "0"));
    assert!(explained["verdict_text"].contains("undelete"), "{}", explained["verdict_text"]);
    println!("{}", mogilefs(&cluster, &["explain", "--fid", &fid]));
    assert_eq!(session.refused("explain fid=999"), "unknown_key");
    assert_eq!(session.refused("explain"), "no_domain");
    assert_eq!(session.refused("explain domain=x&key=k"), "unreg_domain");
    assert_eq!(session.refused("explain domain=d"), "no_key");
}

/// A node that is gone: the monitor's view is in the explanation.
#[test]
fn an_unreachable_host_is_named() {
    let database = &Database::create(Kind::Sqlite);
    let mut cluster = Cluster::start(database);
    cluster.put("k", "", b"bytes");
    cluster.wait_for_copies("k", 2);
    let devid = cluster.devids("k")[0];
    let host = (devid - 1) / 2;
    cluster.nodes[usize::try_from(host).expect("a place")].process.kill();
    let mut session = cluster.session();
    eventually("the monitor misses the host", || {
        let explained = session.ok("explain domain=d&key=k");
        let copy = of_device(&explained, "copy", &devid.to_string());
        (copy["state"] == "unreachable" && copy["reason"].contains("does not answer")).then_some(())
    });
    let explained = session.ok("explain domain=d&key=k");
    assert_eq!(explained["verdict"], "satisfied");
    assert!(explained["verdict_text"].contains("cannot be read now"), "{}", explained["verdict_text"]);
    println!("{}", mogilefs(&cluster, &["explain", "k"]));
    let json: serde_json::Value = serde_json::from_str(&mogilefs(&cluster, &["--json", "explain", "k"])).expect("JSON");
    assert_eq!((json["verdict"].as_str(), json["copies"].as_array().map(Vec::len)), (Some("satisfied"), Some(2)));
    assert_eq!(json["next"]["what"], "none");
}

/// What the command line does with deleted files, against a real tracker.
#[test]
fn the_command_line_lists_and_restores_deleted_files() {
    let database = &Database::create(Kind::Sqlite);
    let cluster = Cluster::start(database);
    cluster.session().ok("set_server_setting key=undelete_window_secs&value=3600");
    assert_eq!(mogilefs(&cluster, &["--json", "list", "--deleted"]), "[]\n");
    for (key, bytes) in [("a", "one"), ("a", "second"), ("b", "x")] {
        cluster.put(key, "one", bytes.as_bytes());
    }
    mogilefs(&cluster, &["rm", "a", "b"]);
    let listed: serde_json::Value =
        serde_json::from_str(&mogilefs(&cluster, &["--json", "list", "--deleted", "a"])).expect("JSON");
    let files = listed.as_array().expect("files");
    assert_eq!(files.len(), 2);
    assert_eq!((files[0]["key"].as_str(), files[0]["length"].as_i64()), (Some("a"), Some(3)));
    let text = mogilefs(&cluster, &["list", "--deleted", "--limit", "2"]);
    println!("{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.starts_with("FID  LENGTH  DELETED "), "{text}");
    let fid = files[0]["fid"].to_string();
    mogilefs(&cluster, &["undelete", "a", "--fid", &fid, "--to", "old"]);
    let back: serde_json::Value =
        serde_json::from_str(&mogilefs(&cluster, &["--json", "undelete", "a"])).expect("JSON");
    assert_eq!(
        (back["key"].as_str(), back["length"].as_i64(), back["devcount"].as_i64()),
        (Some("a"), Some(6), Some(1))
    );
    assert_eq!((cluster.get("old"), cluster.get("a")), (b"one".to_vec(), b"second".to_vec()));
}
