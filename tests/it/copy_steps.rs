//! What replication says to the nodes, step by step, and what comes of one item of its queue.

use crate::support::fake_node::{FakeNode, Manners};
use crate::support::world::{CONTENT, FID, World, path};
use mogilefs::cluster::checksum::HashType;
use mogilefs::cluster::fixture::{device_mut, host_mut};
use mogilefs::ids::{DevId, Fid};
use mogilefs::jobs::replicate::outcome::ReplicateOutcome;
use mogilefs::jobs::replicate::run;
use mogilefs::store::queues::replicate::ReplicateTodo;

/// Base64 and hex of the MD5 of the file.
const MD5: (&str, &str) = ("nQVoRp0gbBrt8bcfEvR0vA==", "9d0568469d206c1aedf1b71f12f474bc");

fn replicate(world: &World, fromdevid: Option<i64>) -> ReplicateOutcome {
    let todo = ReplicateTodo { fid: Fid(FID), nexttry: 0, failcount: 0, fromdevid: fromdevid.map(DevId), flags: 0 };
    actix::System::new().block_on(async { run(&world.context(), &todo).await.expect("the database works") })
}

/// A file on device 1 that wants a second copy; the only other host is a foreign node with device 5.
fn beside_a_foreign_node() -> (World, FakeNode) {
    let mut world = World::new("h1[d1=_] h2=down[d3=_] h3[d5=_]", 2, &[1]);
    let fake = FakeNode::start(9, Manners::Good);
    world.change(|snapshot| {
        let host = host_mut(snapshot, 3);
        (host.ip, host.http_port) = (fake.address.ip().to_string(), fake.address.port());
    });
    (world, fake)
}

fn set_class_hash(world: &mut World, hashtype: HashType) {
    world.change(|snapshot| {
        let domain = snapshot.domains.values_mut().next().expect("one domain");
        std::sync::Arc::make_mut(domain).classes[0].hashtype = Some(hashtype);
    });
}

fn remember_md5(world: &World) {
    world.database.execute(&format!("INSERT INTO checksum (fid, hashtype, checksum) VALUES ({FID}, 1, X'{}')", MD5.1));
}

const COPIED: ReplicateOutcome = ReplicateOutcome::Replicated { copies: 1 };

/// J72: the directories come before the first upload into them, and not at all where the operators say so.
#[test]
fn directories_are_made_before_the_upload() {
    let (world, fake) = beside_a_foreign_node();
    assert_eq!(replicate(&world, None), COPIED);
    let directories = ["/dev5/0/", "/dev5/0/000/", "/dev5/0/000/000/"].map(|directory| format!("MKCOL {directory}"));
    let mut expected = directories.to_vec();
    expected.extend([format!("PUT {}", path(5)), format!("HEAD {}", path(5))]);
    assert_eq!(fake.lines(), expected);
    let (mut world, fake) = beside_a_foreign_node();
    world.change(|snapshot| drop(snapshot.server_settings.insert("skip_mkcol".to_owned(), "1".to_owned())));
    assert_eq!(replicate(&world, None), COPIED);
    assert_eq!(fake.lines(), [format!("PUT {}", path(5)), format!("HEAD {}", path(5))]);
}

/// J74, J76 (replacement): without a known checksum, what was stored is read back, also from nodes that check
/// Content-MD5, because none was sent. J75: with a known one such a node is believed.
#[test]
fn what_was_stored_is_read_back_unless_the_node_has_checked_it() {
    for (known, rejects, read_back) in
        [(false, false, true), (false, true, true), (true, false, true), (true, true, false)]
    {
        let (mut world, fake) = beside_a_foreign_node();
        set_class_hash(&mut world, HashType::Md5);
        world.change(|snapshot| device_mut(snapshot, 5).reject_bad_md5 = Some(rejects));
        if known {
            remember_md5(&world);
        }
        assert_eq!(replicate(&world, None), COPIED);
        let lines = fake.lines();
        assert_eq!(lines.contains(&format!("GET {}", path(5))), read_back, "{known} {rejects}: {lines:?}");
        assert_eq!(lines.contains(&format!("PUT {} {}", path(5), MD5.0)), known, "{lines:?}");
        let row = format!("fid = {FID} AND hashtype = 1 AND lower(hex(checksum)) = '{}'", MD5.1);
        assert_eq!(world.database.count("checksum", &row), 1);
    }
}

/// J78: a checksum row counts whatever the class says. What differs from it is no copy, by stream or from node to node.
#[test]
fn a_known_checksum_is_checked_in_any_class() {
    let (world, fake) = beside_a_foreign_node();
    remember_md5(&world);
    assert_eq!(replicate(&world, None), COPIED);
    assert!(fake.lines().contains(&format!("GET {}", path(5))));
    for node_to_node in [false, true] {
        let mut world = World::new("h1[d1=_] h2[d3=_] h3=down[d5=_]", 2, &[1]);
        world.settings.jobs.node_to_node_copy = node_to_node;
        remember_md5(&world);
        std::fs::write(world.node(1).file(&path(1)), b"same bytes").expect("there");
        assert!(matches!(replicate(&world, None), ReplicateOutcome::CopyFailed { .. }));
        assert!(!world.node(3).file(&path(3)).exists());
        assert_eq!(world.database.count("file_on", &format!("fid = {FID}")), 1);
    }
}

/// A class with checksums gets that of the bytes that the target has stored, by stream or from node to node.
#[test]
fn the_checksum_is_that_of_what_was_stored() {
    for node_to_node in [false, true] {
        let mut world = World::new("h1[d1=_] h2[d3=_] h3=down[d5=_]", 2, &[1]);
        world.settings.jobs.node_to_node_copy = node_to_node;
        set_class_hash(&mut world, HashType::Md5);
        assert_eq!(replicate(&world, None), COPIED);
        assert_eq!(world.copies(), (vec![1, 3], vec![1, 3]));
        let row = format!("fid = {FID} AND hashtype = 1 AND lower(hex(checksum)) = '{}'", MD5.1);
        assert_eq!(world.database.count("checksum", &row), 1);
    }
}

/// W24: the file gets another class, and its row is claimed again in the same second, while a copy is made by the old
/// one. The row stays for whoever goes by the new class.
#[test]
fn a_class_that_changes_during_the_work_keeps_the_row() {
    for is_changed in [true, false] {
        let world = World::new("h1[d1=_] h2[d3=_] h3=down[d5=_]", 2, &[1]);
        if is_changed {
            let change = format!("UPDATE file SET classid = 9 WHERE fid = {FID}");
            world.database.execute(&format!("CREATE TRIGGER t AFTER INSERT ON file_on BEGIN {change}; END"));
        }
        world.database.execute(&format!("INSERT INTO file_to_replicate (fid, nexttry) VALUES ({FID}, 2000000000)"));
        let todo = ReplicateTodo { fid: Fid(FID), nexttry: 2_000_000_000, failcount: 0, fromdevid: None, flags: 0 };
        let run = async { run(&world.context(), &todo).await.expect("the database works") };
        assert_eq!(actix::System::new().block_on(run), COPIED);
        let due = "nexttry <= CAST(strftime('%s', 'now') AS INTEGER) AND failcount = 0";
        assert_eq!(world.database.count("file_to_replicate", due), i64::from(is_changed));
        assert_eq!(world.database.count("file_to_replicate", "1 = 1"), i64::from(is_changed));
    }
}

/// J66: a device whose usage nobody knows is no place to go.
#[test]
fn without_a_place_to_go_nothing_is_copied() {
    let world = World::new("h1[d1=_] h2[d3=_,nousage] h3=down[d5=_]", 2, &[1]);
    assert_eq!(replicate(&world, None), ReplicateOutcome::NoSuggestions);
    assert_eq!(world.copies(), (vec![1], vec![1]));
}

/// J67: the preferred source serves, and if it cannot be read another one does.
#[test]
fn the_preferred_source_serves_if_it_can() {
    for round in 0..4 {
        let (world, fake) = beside_a_foreign_node();
        // The foreign node's copy is too short: whoever reads it fails, and takes the other one.
        let prefers_fake = round % 2 == 0;
        let mut world = world;
        world
            .change(|snapshot| host_mut(snapshot, 2).status = Some(mogilefs::cluster::device_state::HostStatus::Alive));
        world.change(|snapshot| {
            let domain = snapshot.domains.values_mut().next().expect("one domain");
            std::sync::Arc::make_mut(domain).classes[0].mindevcount = 3;
        });
        crate::support::cluster::http_put(&format!("http://{}{}", fake.address, path(5)), b"other");
        world.database.execute(&format!("INSERT INTO file_on (fid, devid) VALUES ({FID}, 5)"));
        assert_eq!(replicate(&world, Some(if prefers_fake { 5 } else { 1 })), COPIED);
        assert_eq!(fake.lines().contains(&format!("GET {}", path(5))), prefers_fake);
    }
    let world = World::new("h1[d1=_,down d2=_] h2[d3=_] h3[d5=_]", 3, &[1, 3]);
    assert_eq!(replicate(&world, Some(1)), COPIED);
}

/// J84: the port for reading, if it is to be used.
#[test]
fn copies_are_read_from_the_port_for_reading() {
    for use_get_port in [false, true] {
        let (mut world, fake) = beside_a_foreign_node();
        world.change(|snapshot| {
            host_mut(snapshot, 1).http_get_port = Some(fake.address.port());
            host_mut(snapshot, 1).ip = "127.0.0.1".to_owned();
        });
        // Nobody listens there: the copy succeeds only by the other port.
        world.settings.jobs.replicate_use_get_port = use_get_port;
        assert_eq!(replicate(&world, None) == COPIED, !use_get_port);
    }
}

/// Unrecorded bytes on the target may be the last good ones (its row went while its device was dead by mistake): a copy
/// that fails on the side of the source, before or after the upload has begun, does not touch them.
#[test]
fn a_failed_copy_spares_whole_bytes_that_were_on_the_target() {
    for source_is_there in [false, true] {
        let (world, fake) = beside_a_foreign_node();
        crate::support::cluster::http_put(&format!("http://{}{}", fake.address, path(5)), CONTENT);
        match source_is_there {
            true => fake.set_manners(Manners::DiesInUpload),
            false => std::fs::remove_file(world.node(1).file(&path(1))).expect("there"),
        }
        assert!(matches!(replicate(&world, None), ReplicateOutcome::CopyFailed { .. }));
        assert!(fake.stored_files().into_values().eq([CONTENT.to_vec()]));
        assert!(!fake.lines().contains(&format!("DELETE {}", path(5))));
    }
}

/// Of several copies the one that was read may be the bad one: its checksum is not made that of the file.
#[test]
fn one_copy_of_several_does_not_define_the_checksum() {
    let mut world = World::new("h1[d1=_] h2[d3=_] h3[d5=_]", 3, &[1, 3]);
    set_class_hash(&mut world, HashType::Md5);
    assert_eq!(replicate(&world, None), COPIED);
    assert_eq!(world.copies(), (vec![1, 3, 5], vec![1, 3, 5]));
    assert_eq!(world.database.count("checksum", &format!("fid = {FID}")), 0);
}

/// A file that is deleted while it is copied: its deletion may have been done by then, so that it is queued again.
#[test]
fn a_copy_of_a_deleted_file_is_queued_for_deletion() {
    let world = World::new("h1[d1=_] h2[d3=_] h3=down[d5=_]", 2, &[1]);
    world.database.execute(
        "CREATE TRIGGER deleted_meanwhile AFTER INSERT ON file_on BEGIN DELETE FROM file WHERE fid = NEW.fid; END",
    );
    replicate(&world, None);
    assert_eq!(world.copies(), (vec![1, 3], vec![1, 3]), "what is there is known");
    assert_eq!(world.database.count("file_to_delete2", &format!("fid = {FID}")), 1);
}

/// Whoever has lost the lock of a file records nothing: another tracker may have worked on it since.
#[test]
fn without_its_lock_nothing_is_recorded() {
    let world = World::new("h1[d1=_] h2[d3=_] h3=down[d5=_]", 2, &[1]);
    world
        .database
        .execute("CREATE TRIGGER stolen AFTER INSERT ON lock BEGIN UPDATE lock SET hostname = 'elsewhere'; END");
    let todo = ReplicateTodo { fid: Fid(FID), nexttry: 0, failcount: 0, fromdevid: None, flags: 0 };
    let outcome = actix::System::new().block_on(async { run(&world.context(), &todo).await });
    assert!(matches!(outcome, Err(mogilefs::store::StoreError::Refused(_))), "{outcome:?}");
    assert_eq!(world.copies(), (vec![1, 3], vec![1]));
}
