//! One file in small clusters: every verdict, every state, every next step.

use super::*;
use crate::clock::chance_from_seed;
use crate::cluster::device::Device;
use crate::cluster::device_state::{DeviceStatus, HostStatus, ObservedDevice, ObservedHost};
use crate::cluster::domain::Domain;
use crate::cluster::fixture;
use crate::cluster::host::Host;
use crate::cluster::placement::ReadTurn;
use crate::ids::{ClassId, Dmid, HostId};
use crate::store::queues::PARKED;
use crate::store::queues::todo::{FSCK, REBALANCE};
use std::sync::Arc;

const NOW: i64 = 1_000_000;

/// A cluster with so many devices on each host, numbered from 1; a file of class `default` (2 copies) on some of them.
struct World {
    cluster: ClusterSnapshot,
    file: Option<FileRow>,
    devids: Vec<DevId>,
    doubted: Vec<DevId>,
    replicate: Option<ReplicateRow>,
    delete: Option<DeleteTodo>,
    todos: Vec<TodoRow>,
    tempfile: Option<TempfileRow>,
    restorable_until: Option<i64>,
}

impl World {
    fn new(devices_of_hosts: &[i64], devids: &[i64]) -> Self {
        let mut cluster = ClusterSnapshot::default();
        let classes = vec![Class::implied_default(2)];
        cluster.domains.insert(Dmid(1), Arc::new(Domain { dmid: Dmid(1), name: "d".into(), classes }));
        let mut devid = 0;
        for (hostid, &devices) in (1..).zip(devices_of_hosts) {
            cluster.hosts.insert(HostId(hostid), Arc::new(fixture::host(hostid)));
            for _ in 0..devices {
                devid += 1;
                let mut device = fixture::device(devid, hostid);
                device.mb_used = Some(500);
                cluster.devices.insert(DevId(devid), Arc::new(device));
            }
        }
        let file = FileRow {
            fid: Fid(7),
            dmid: Dmid(1),
            dkey: "k".into(),
            length: 5 << 20,
            classid: ClassId(0),
            devcount: devids.len() as i64,
        };
        Self {
            cluster,
            file: Some(file),
            devids: devids.iter().copied().map(DevId).collect(),
            doubted: Vec::new(),
            replicate: None,
            delete: None,
            todos: Vec::new(),
            tempfile: None,
            restorable_until: None,
        }
    }

    fn device(&mut self, devid: i64) -> &mut Device {
        fixture::device_mut(&mut self.cluster, devid)
    }

    fn host(&mut self, hostid: i64) -> &mut Host {
        fixture::host_mut(&mut self.cluster, hostid)
    }

    fn class(&mut self) -> &mut Class {
        let domain = self.cluster.domains.get_mut(&Dmid(1)).expect("known");
        &mut Arc::make_mut(domain).classes[0]
    }

    fn with_row(mut self, nexttry: i64, failcount: i64) -> Self {
        self.replicate = Some(ReplicateRow { fid: Fid(7), nexttry, failcount, fromdevid: None, flags: 0 });
        self
    }

    fn explain(&self) -> Explanation {
        let facts = Facts {
            fid: Fid(7),
            file: self.file.as_ref(),
            devids: &self.devids,
            cluster: &self.cluster,
            doubted: &self.doubted,
            replicate: self.replicate,
            delete: self.delete,
            todos: &self.todos,
            tempfile: self.tempfile.as_ref(),
            restorable_until: self.restorable_until,
            now: NOW,
            min_free_space_mb: 100,
        };
        explain(&facts, &mut chance_from_seed(1))
    }

    fn verdict(&self) -> (VerdictWord, String) {
        let explanation = self.explain();
        (explanation.verdict, explanation.verdict_text)
    }

    fn copy(&self, devid: i64) -> ExplainedCopy {
        self.explain().copies.into_iter().find(|copy| copy.devid == DevId(devid)).expect("a copy")
    }

    fn other(&self, devid: i64) -> (OtherState, String) {
        let shown = self.explain().others.shown;
        let other = shown.into_iter().find(|other| other.devid == DevId(devid)).expect("another device");
        (other.state, other.reason)
    }

    fn next(&self) -> String {
        self.explain().next.text().to_owned()
    }
}

#[test]
fn satisfied() {
    let world = World::new(&[1, 1, 1], &[1, 2]);
    let explanation = world.explain();
    assert_eq!(explanation.verdict, VerdictWord::Satisfied);
    assert_eq!(explanation.verdict_text, "2 copies of 2 wanted: MultipleHosts() is content.");
    assert_eq!(explanation.policy, Some(PolicyFacts { text: "MultipleHosts()".to_owned(), copies_wanted: 2 }));
    assert_eq!((explanation.counted, explanation.queued.len()), (2, 0));
    assert_eq!(explanation.next.code(), "none");
    assert_eq!(world.next(), "Nothing: the policy is content and no queue has the file.");
    assert_eq!(
        world.other(3),
        (OtherState::Possible, "could take a copy, but none is wanted; 500 MiB free".to_owned())
    );
}

/// Rule 5 of MultipleHosts: two copies on all the disks there are.
#[test]
fn satisfied_with_less_than_is_wanted() {
    let mut world = World::new(&[1, 1], &[1, 2]);
    world.class().mindevcount = 3;
    let (verdict, text) = world.verdict();
    assert_eq!(verdict, VerdictWord::Satisfied);
    assert!(text.contains("content with 2 copies although 3 are wanted"), "{text}");
}

#[test]
fn too_few() {
    let world = World::new(&[2, 1], &[1]).with_row(0, 0);
    assert_eq!(world.verdict(), (VerdictWord::TooFew, "1 copy, but MultipleHosts() wants 2.".to_owned()));
    assert_eq!(world.other(3).0, OtherState::Wanted);
    assert_eq!(
        world.other(2),
        (
            OtherState::SecondChoice,
            "only if nothing better is left: its host has a copy already; 500 MiB free".to_owned()
        )
    );
    assert_eq!(world.next(), "Due now: replicate copies from dev 1 on h1 to dev 3 on h2.");
    let world = World::new(&[1, 2], &[1]).with_row(0, 0);
    assert!(world.next().ends_with(", or to another of the 2 best: drawn anew by free space."), "{}", world.next());
    let world = World::new(&[1], &[1]);
    let (verdict, text) = world.verdict();
    assert_eq!(verdict, VerdictWord::TooFew);
    assert!(text.ends_with("No device can take one now."), "{text}");
    assert!(world.next().contains("A fsck"), "{}", world.next());
}

#[test]
fn too_many() {
    let world = World::new(&[1, 1, 1], &[1, 2, 3]).with_row(0, 0);
    assert_eq!(
        world.verdict(),
        (VerdictWord::TooMany, "3 copies, 2 wanted: more than MultipleHosts() needs.".to_owned())
    );
    assert!(world.next().contains("removes the copy that the policy misses least"), "{}", world.next());
    assert!(World::new(&[1, 1, 1], &[1, 2, 3]).next().contains("surplus copies stay"));
}

#[test]
fn misplaced() {
    let world = World::new(&[2, 1], &[1, 2]).with_row(NOW + 40, 2);
    let (verdict, text) = world.verdict();
    assert_eq!(verdict, VerdictWord::Misplaced);
    assert_eq!(text, "2 copies of 2 wanted, but not where MultipleHosts() wants them.");
    assert_eq!(
        world.next(),
        "Due in 40 s, after 2 failures: replicate copies from dev 1 on h1 or dev 2 on h1 to dev 3 on h2."
    );
}

#[test]
fn lost() {
    let world = World::new(&[1, 1], &[]).with_row(PARKED, 1);
    assert_eq!(world.verdict(), (VerdictWord::Lost, "No device is known to have a copy.".to_owned()));
    assert_eq!(world.explain().next.code(), "parked");
    let mut world = World::new(&[1, 1], &[1]).with_row(0, 0);
    world.device(1).status = DeviceStatus::Down;
    let (verdict, text) = world.verdict();
    assert_eq!(
        (verdict, &*text),
        (VerdictWord::Lost, "The one copy that is left cannot be read now. The file is back when its device is.")
    );
    assert!(world.next().contains("finds no copy that can be read and tries again later"), "{}", world.next());
    world.device(1).status = DeviceStatus::Dead;
    let (verdict, text) = world.verdict();
    assert_eq!(verdict, VerdictWord::Lost);
    assert!(text.contains("nothing is left to read"), "{text}");
    let world = World::new(&[1], &[9]).with_row(0, 0);
    assert_eq!(world.verdict().0, VerdictWord::Lost);
    assert!(world.next().contains("finds no copy that can be read and tries again later"), "{}", world.next());
}

#[test]
fn no_policy() {
    let mut world = World::new(&[1, 1], &[1]).with_row(0, 0);
    world.class().replpolicy = Some("Nonsense()".to_owned());
    let (verdict, text) = world.verdict();
    assert_eq!(verdict, VerdictWord::NoPolicy);
    assert!(text.contains("Unknown policy Nonsense"), "{text}");
    assert_eq!(world.other(2), (OtherState::Excluded, "the policy cannot be asked".to_owned()));
    assert_eq!(world.explain().policy, None);
    let mut world = World::new(&[1, 1], &[1]);
    world.file.as_mut().expect("a file").classid = ClassId(9);
    assert_eq!(world.verdict().0, VerdictWord::NoPolicy);
}

#[test]
fn deleted_and_uploading() {
    let mut world = World::new(&[1, 1], &[1, 2]);
    world.file = None;
    world.delete = Some(DeleteTodo { fid: Fid(7), nexttry: NOW + 3600, failcount: 0 });
    world.restorable_until = Some(NOW + 3600);
    let (verdict, text) = world.verdict();
    assert_eq!(verdict, VerdictWord::Deleted);
    assert!(text.contains("2 copies left") && text.ends_with("undelete for 3600 s."), "{text}");
    assert_eq!(
        world.next(),
        "Due in 3600 s: delete removes what is on dev 1 on h1 and dev 2 on h2, then forgets the file."
    );
    assert_eq!(world.explain().others, Others::default());
    (world.delete, world.restorable_until, world.devids) = (None, None, Vec::new());
    world.replicate = Some(ReplicateRow { fid: Fid(7), nexttry: 0, failcount: 0, fromdevid: None, flags: 0 });
    assert_eq!(world.next(), "Due now: replicate finds no file and removes its row.");
    world.replicate = None;
    world.tempfile = Some(TempfileRow {
        fid: Fid(7),
        createtime: NOW,
        classid: ClassId(0),
        dmid: Dmid(1),
        dkey: "k".into(),
        devids: vec![DevId(1)],
    });
    assert_eq!(world.verdict().0, VerdictWord::Uploading);
    assert_eq!(world.next(), "The client closes it, or after a while it is given up and deleted.");
}

#[test]
fn copies_have_a_state_a_turn_and_a_reason() {
    let mut world = World::new(&[1, 1, 1, 1, 1, 1, 1, 1], &[1, 2, 3, 4, 5, 6, 7, 8, 99]);
    world.device(2).status = DeviceStatus::Drain;
    world.device(3).status = DeviceStatus::Down;
    world.device(4).status = DeviceStatus::Dead;
    world.host(5).status = Some(HostStatus::Down);
    world.host(6).observed = Some(ObservedHost::Unreachable);
    world.device(7).observed = None;
    world.doubted = vec![DevId(8)];
    let all = "; it counts for the policy until it is marked dead";
    for (devid, state, counts, turn, reason) in [
        (
            1,
            CopyState::Readable,
            true,
            Some(ReadTurn::Normal),
            "readers get it in any place, by chance and load".into(),
        ),
        (
            2,
            CopyState::Draining,
            true,
            Some(ReadTurn::Last),
            "readers get it after all copies that are not drained".into(),
        ),
        (3, CopyState::Down, true, Some(ReadTurn::IfNoOther), format!("the device is marked down{all}")),
        (
            4,
            CopyState::Dead,
            false,
            Some(ReadTurn::IfNoOther),
            "the device is dead: the copy is lost and does not count".into(),
        ),
        (5, CopyState::Down, true, Some(ReadTurn::IfNoOther), format!("its host h5 is marked down{all}")),
        (6, CopyState::Unreachable, true, Some(ReadTurn::IfNoOther), format!("its host h6 does not answer{all}")),
        (
            7,
            CopyState::Unreachable,
            true,
            Some(ReadTurn::IfNoOther),
            format!("the device does not answer (the monitor has not looked yet){all}"),
        ),
        (
            8,
            CopyState::Doubted,
            true,
            Some(ReadTurn::Normal),
            "a client could not read it lately, so this tracker names it last".into(),
        ),
        (99, CopyState::UnknownDevice, false, None, "the tracker knows no such device, or not its host".to_owned()),
    ] {
        let copy = world.copy(devid);
        assert_eq!(
            (copy.state, copy.counts, copy.read_turn, copy.reason),
            (state, counts, turn, reason),
            "dev {devid}"
        );
    }
    assert_eq!(world.explain().counted, 7);
    let place = world.copy(6).place.expect("known");
    assert_eq!((&*place.host, place.device_status, place.host_observed), ("h6", "alive", "unreachable"));
}

#[test]
fn a_copy_that_cannot_be_read_still_counts() {
    let mut world = World::new(&[1, 1, 1], &[1, 2]);
    world.device(2).status = DeviceStatus::Down;
    let (verdict, text) = world.verdict();
    assert_eq!(verdict, VerdictWord::Satisfied);
    assert!(text.ends_with("1 of them cannot be read now; a copy counts until its device is marked dead."), "{text}");
    world.device(2).status = DeviceStatus::Dead;
    assert_eq!(world.verdict().0, VerdictWord::TooFew);
}

#[test]
fn other_devices_have_a_first_reason() {
    let mut world = World::new(&[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], &[1]);
    world.device(2).status = DeviceStatus::Dead;
    world.device(3).status = DeviceStatus::Readonly;
    world.host(4).status = Some(HostStatus::Readonly);
    world.host(5).observed = Some(ObservedHost::Unreachable);
    world.device(6).observed = Some(ObservedDevice::Unreachable);
    world.device(7).observed = Some(ObservedDevice::Readable);
    world.device(8).mb_used = Some(950);
    world.device(9).mb_used = None;
    world.device(10).mb_used = Some(800);
    world.file.as_mut().expect("a file").length = 300 << 20;
    for (devid, state, reason) in [
        (2, OtherState::Dead, "the device is dead"),
        (3, OtherState::DeviceStatus, "the device is marked readonly"),
        (4, OtherState::HostStatus, "its host h4 is marked readonly"),
        (5, OtherState::Unreachable, "its host h5 does not answer"),
        (6, OtherState::Unreachable, "the device does not answer"),
        (7, OtherState::Unreachable, "the monitor could not write to the device"),
        (8, OtherState::TooFull, "too full: 50 MiB free, 100 MiB must stay free"),
        (9, OtherState::NoUsage, "nothing is known to be free on it"),
        (10, OtherState::NoRoom, "the file does not fit: 200 MiB free, 301 MiB needed"),
        (11, OtherState::Wanted, "the next copy may go here; 500 MiB free"),
    ] {
        assert_eq!(world.other(devid), (state, reason.to_owned()), "dev {devid}");
    }
    let order: Vec<_> = world.explain().others.shown.iter().map(|other| other.state).collect();
    assert!(order.is_sorted(), "best first: {order:?}");
}

/// Enough copies, and the other hosts are full: the policy takes no device of a host that has one (rule 9).
#[test]
fn a_device_can_be_excluded_by_the_policy() {
    let mut world = World::new(&[3, 1], &[1, 2]);
    world.device(4).mb_used = Some(990);
    assert_eq!(world.verdict().0, VerdictWord::Misplaced);
    assert_eq!(
        world.other(3),
        (OtherState::Excluded, "the policy does not take it: its host has a copy already".to_owned())
    );
}

/// Policies that look at networks say which they saw.
#[test]
fn networks_are_named() {
    let mut world = World::new(&[1, 1, 1], &[1]);
    world.cluster.server_settings.insert("network_zones".to_owned(), "near,far".to_owned());
    world.cluster.server_settings.insert("zone_near".to_owned(), "10.0.0.0/24".to_owned());
    world.cluster.server_settings.insert("zone_far".to_owned(), "10.9.0.0/24".to_owned());
    world.host(3).ip = "10.9.0.3".to_owned();
    world.class().replpolicy = Some("HostsPerNetwork(near=1,far=1)".to_owned());
    let (verdict, text) = world.verdict();
    assert_eq!((verdict, &*text), (VerdictWord::TooFew, "1 copy, but HostsPerNetwork(near=1,far=1) wants 2."));
    assert_eq!(
        world.other(3),
        (OtherState::Wanted, "the next copy may go here (in zone far); 500 MiB free".to_owned())
    );
    assert_eq!(world.other(2), (OtherState::Excluded, "the policy does not take it (in zone near)".to_owned()));
    world.class().replpolicy = Some("Union(MultipleHosts(1), MultipleNetworks(2))".to_owned());
    assert_eq!(
        world.other(2),
        (OtherState::SecondChoice, "only if nothing better is left (in zone near); 500 MiB free".to_owned())
    );
    assert_eq!(world.other(3).0, OtherState::Wanted);
}

/// The policy names twenty at a time; it is asked until all that is shown has its answer.
#[test]
fn many_devices_are_shown_up_to_a_limit_and_counted_beyond() {
    let world = World::new(&[1, 60], &[1]);
    let others = world.explain().others;
    assert!(others.shown.iter().all(|other| other.state == OtherState::Wanted), "each of 60 would do");
    let mut world = World::new(&[1, 150], &[1]);
    for devid in 2..=41 {
        world.device(devid).status = DeviceStatus::Dead;
    }
    let others = world.explain().others;
    assert_eq!(others.shown.len(), 100);
    let left_out: Vec<_> = others.left_out.into_iter().collect();
    assert_eq!(left_out.iter().map(|(_, count)| count).sum::<usize>(), 50);
    assert_eq!(left_out.last(), Some(&(OtherState::Dead, 40)));
}

#[test]
fn the_soonest_row_is_next() {
    let mut world = World::new(&[1, 1], &[1, 2]).with_row(NOW + 500, 0);
    let todo = |kind, nexttry, devid: Option<i64>| TodoRow {
        fid: Fid(7),
        devid: devid.map(DevId),
        kind,
        nexttry,
        failcount: 0,
        flags: 0,
        arg: None,
    };
    world.todos = vec![todo(FSCK, NOW + 5000, None), todo(REBALANCE, NOW + 2000, Some(1))];
    world.delete = Some(DeleteTodo { fid: Fid(7), nexttry: NOW - 5, failcount: 1 });
    let explanation = world.explain();
    let order: Vec<_> = explanation.queued.iter().map(|work| (work.queue.code(), work.in_secs)).collect();
    assert_eq!(order, [("delete", Some(0)), ("replicate", Some(500)), ("rebalance", Some(2000)), ("fsck", Some(5000))]);
    assert_eq!(
        explanation.next.text(),
        "Due now, after 1 failure: delete finds that a key leads to the file, leaves it alone and removes its row."
    );
    world.delete = None;
    assert_eq!(
        world.next(),
        "In a worker's hands now, or due in 500 s: replicate finds the policy content and removes its row."
    );
    assert_eq!(explanation.queued[2].text, "moves the copy away from dev 1 on h1");
    // The source that the row names, while it can be read.
    let mut world = World::new(&[1, 1, 1], &[1, 2]).with_row(0, 0);
    world.class().mindevcount = 3;
    world.replicate.as_mut().expect("a row").fromdevid = Some(DevId(2));
    assert_eq!(world.next(), "Due now: replicate copies from dev 2 on h2 to dev 3 on h3.");
}
