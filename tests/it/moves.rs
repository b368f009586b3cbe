//! Moves of copies (rebalance), step by step: the job's function on a real database and real nodes.

use crate::support::cluster::http_put;
use crate::support::world::{CONTENT, FID, World, path};
use mogilefs::ids::{DevId, Fid};
use mogilefs::jobs::replicate::{MoveOutcome, move_away};
use mogilefs::store::queues::todo::RebalanceTodo;

fn is_queued(world: &World) -> bool {
    world.database.count("file_to_replicate", &format!("fid = {FID}")) == 1
}

fn move_from(world: &World, devid: i64, targets: &str) -> MoveOutcome {
    let todo = RebalanceTodo { fid: Fid(FID), nexttry: 0, devid: Some(DevId(devid)), arg: Some(targets.to_owned()) };
    actix::System::new().block_on(async {
        let ctx = world.context();
        move_away(&ctx, &todo).await.expect("the database works")
    })
}

fn both(devids: &[i64]) -> (Vec<i64>, Vec<i64>) {
    (devids.to_vec(), devids.to_vec())
}

const ALL_ALIVE: &str = "h1[d1=_ d2=_] h2[d3=_ d4=_] h3[d5=_ d6=_]";

fn reason(outcome: MoveOutcome) -> String {
    match outcome {
        MoveOutcome::Failed { reason, .. } => reason,
        other => panic!("it should have failed: {other:?}"),
    }
}

/// J147: the copy is on the target afterwards and not on the source; there are as many as before.
#[test]
fn a_copy_moves_to_a_target() {
    let world = World::new(ALL_ALIVE, 2, &[1, 3]);
    assert_eq!(move_from(&world, 1, "5"), MoveOutcome::Moved { copies: 1 });
    assert_eq!(world.copies(), both(&[3, 5]));
    assert_eq!(world.database.count("file", "devcount = 2"), 1);
    // A device that is emptied is no place to go to.
    let world = World::new("h1[d1=_,drain d2=_] h2[d3=_ d4=_] h3[d5=_ d6=_]", 2, &[1, 3]);
    assert_eq!(move_from(&world, 1, ""), MoveOutcome::Moved { copies: 1 });
    let (on_disk, recorded) = world.copies();
    assert!(on_disk == recorded && recorded.len() == 2 && recorded.contains(&3) && !recorded.contains(&4));
    assert!(!is_queued(&world));
}

/// J148 (replacement): three copies are wanted, and both targets have one: there is nowhere to go, and nothing goes.
#[test]
fn a_move_never_leaves_fewer_copies_than_wanted() {
    let world = World::new(ALL_ALIVE, 3, &[1, 3, 5]);
    assert_eq!(reason(move_from(&world, 1, "3,5")), "no suitable destination devices");
    assert_eq!(world.copies(), both(&[1, 3, 5]));
    assert!(!is_queued(&world), "nothing was copied");
    // The host that loses it may have it elsewhere.
    assert_eq!(move_from(&world, 1, "2,3"), MoveOutcome::Moved { copies: 1 });
    assert_eq!(world.copies(), both(&[2, 3, 5]));
}

/// J149 (replacement): the only target is on the host of the other copy.
#[test]
fn a_move_never_puts_both_copies_on_one_host() {
    let world = World::new(ALL_ALIVE, 2, &[1, 3]);
    assert_eq!(reason(move_from(&world, 1, "4")), "no suitable destination devices");
    assert_eq!(world.copies(), both(&[1, 3]));
    assert!(!is_queued(&world));
}

/// A file that lacks copies elsewhere gets the one that a target can take, keeps its old one, and is queued (W29).
#[test]
fn what_was_copied_in_vain_is_queued() {
    let world = World::new(ALL_ALIVE, 3, &[1]);
    assert_eq!(
        move_from(&world, 1, "3,4"),
        MoveOutcome::Failed { copies: 1, reason: "no suitable destination devices".to_owned() }
    );
    let (on_disk, recorded) = world.copies();
    assert!(on_disk == recorded && recorded.len() == 2 && recorded.contains(&1), "{recorded:?}");
    assert!(is_queued(&world));
}

/// A surplus copy needs no new one, but the others must be there.
#[test]
fn a_surplus_copy_moves_without_a_copy_if_the_others_are_there() {
    let world = World::new(ALL_ALIVE, 2, &[1, 3, 5]);
    std::fs::remove_file(world.node(5).file(&path(5))).expect("there");
    assert_eq!(
        reason(move_from(&world, 1, "")),
        "of the copies beside that on device 1, nodes show only those on device 3"
    );
    assert_eq!(world.copies(), (vec![1, 3], vec![1, 3, 5]));
    http_put(&world.url(5), CONTENT);
    assert_eq!(move_from(&world, 1, ""), MoveOutcome::Moved { copies: 0 });
    assert_eq!(world.copies(), both(&[3, 5]));
}

/// J150: a copy that its node does not have stays recorded, unless the setting says otherwise; what was copied for it
/// is queued.
#[test]
fn a_missing_copy_stays_recorded_unless_told_otherwise() {
    let mut world = World::new(ALL_ALIVE, 2, &[1, 3]);
    std::fs::remove_file(world.node(1).file(&path(1))).expect("there");
    assert!(reason(move_from(&world, 1, "5")).contains("does not have the copy"));
    assert_eq!(world.copies(), (vec![3, 5], vec![1, 3, 5]));
    assert!(is_queued(&world));
    assert_eq!(world.database.count("file_to_queue", &format!("fid = {FID} AND type = 1")), 1, "fsck is to look");
    world.settings.jobs.rebalance_ignore_missing = true;
    assert_eq!(move_from(&world, 1, "5"), MoveOutcome::Moved { copies: 0 });
    assert_eq!(world.copies(), both(&[3, 5]));
}

/// J155, as far as it is of the move: what cannot be moved stays as it was.
#[test]
fn what_cannot_be_moved_stays() {
    let world = World::new("h1[d1=_,readonly d2=_] h2[d3=_ d4=_] h3[d5=_ d6=_]", 2, &[1, 3]);
    assert!(reason(move_from(&world, 1, "5")).contains("nothing can be deleted"));
    assert!(reason(move_from(&world, 3, "5,everywhere")).contains("targets that are no devices"));
    assert_eq!(move_from(&world, 2, "5"), MoveOutcome::NotThere);
    assert_eq!(world.copies(), both(&[1, 3]));
    world.database.execute("DELETE FROM file");
    assert_eq!(move_from(&world, 3, "5"), MoveOutcome::Gone);
    assert_eq!(world.copies(), both(&[1, 3]));
}

/// While a copy is made for the move, another one loses its row: what the move began with does not suffice any more.
#[test]
fn a_removal_is_decided_by_what_is_recorded_now() {
    let world = World::new(ALL_ALIVE, 2, &[1, 3]);
    world.database.execute(&format!(
        "CREATE TRIGGER lost_meanwhile AFTER INSERT ON file_on BEGIN
         DELETE FROM file_on WHERE fid = {FID} AND devid = 3; END"
    ));
    assert!(reason(move_from(&world, 1, "5")).contains("nodes show only those on device 5"));
    assert_eq!(world.copies(), (vec![1, 3, 5], vec![1, 5]));
    assert!(is_queued(&world));
}
