//! The slow check and the repair (jobs.md 10.5, 10.6): under the lock of the file, with its rows as they are then.
//!
//! What is to be done is decided first and then stored in one piece, the events of the log included. A location is only
//! dropped if its node clearly said that the copy is not there, or if a good copy is known; one that is damaged stays when
//! nothing better is known, and so does one on a dead device, which may come back. Only after the location of a damaged
//! copy is gone, and a good copy is known, its bytes go too: nobody would ever know of them again (W9).

use super::checksum_verdict::{ChecksumVerdict, Evidence, judge};
use super::event::{Evcode, Event};
use super::look::{self, Search, Seen};
use super::options::RunOptions;
use super::quick::Suspicion;
use super::subject::Subject;
use crate::cluster::ClusterSnapshot;
use crate::cluster::checksum::{Checksum, HashType};
use crate::cluster::host::Zone;
use crate::ids::{DevId, Fid};
use crate::jobs::context::JobContext;
use crate::store::fsck_batch::{self, Repair};
use crate::store::{LockGuard, StoreResult};
use std::time::Duration;

/// How long to wait for the lock of a file.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// What becomes of the queue row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Done: it goes.
    Settled,
    /// It comes back when its claim runs out.
    Stalled,
}

/// Looks into one file.
///
/// # Errors
/// The database failed; nothing was changed.
pub(super) async fn check(ctx: &JobContext, options: &RunOptions, fid: Fid, suspicion: Suspicion) -> StoreResult<Fate> {
    let lock_name = format!("mgfs:fid:{fid}:replicate");
    let Some(lock) = ctx.session.try_lock(&lock_name, LOCK_WAIT).await? else { return Ok(Fate::Stalled) };
    let checked = check_locked(ctx, options, fid, suspicion, &lock).await;
    lock.release().await;
    checked
}

async fn check_locked(
    ctx: &JobContext,
    options: &RunOptions,
    fid: Fid,
    suspicion: Suspicion,
    lock: &LockGuard,
) -> StoreResult<Fate> {
    // Read anew: it may have been deleted, or repaired, since (W18).
    let Some(recorded) = ctx.session.read(|conn| fsck_batch::load(conn, &[fid]))?.pop() else {
        return Ok(Fate::Settled);
    };
    let cluster = ctx.view.load_full();
    let subject = match Subject::new(&cluster, &recorded) {
        Ok(subject) => subject,
        Err(reason) => {
            slog::warn!(ctx.log, "cannot check file now"; "fid" => fid, "reason" => reason);
            return Ok(Fate::Stalled);
        }
    };
    let mut findings = Findings::default();
    match suspicion {
        Suspicion::NoPlaces if !subject.known.is_empty() => return Ok(Fate::Settled),
        Suspicion::Policy if subject.is_content_with(ctx, &subject.known) => return Ok(Fate::Settled),
        Suspicion::NoPlaces => findings.events.push(Evcode::NoPlaces.of_file()),
        Suspicion::Policy => findings.events.push(Evcode::PolicyViolated.of_file()),
        Suspicion::Other => {}
    }
    let algorithm = options.algorithm(subject.class.hashtype);
    let looked = look::look_at_all(ctx, &cluster, subject.file(), &subject.known, algorithm).await;
    findings.take_in(looked);
    if findings.is_lost() {
        findings.events.push(Evcode::SearchBegan.of_file());
        let searched = look::search(ctx, &cluster, subject.file(), &subject.known, algorithm).await;
        findings.take_in_search(searched);
    }
    let decision = decide(ctx, options, &subject, findings, algorithm);
    if !lock.is_held() {
        return Ok(Fate::Stalled);
    }
    let superseded = decision.superseded.clone();
    let fate = carry_out(ctx, options, &subject, decision).await?;
    for devid in superseded {
        if lock.is_held() {
            remove_superseded(ctx, &cluster, fid, devid).await;
        }
    }
    Ok(fate)
}

/// Removes the bytes of a damaged copy whose location was dropped because there is a good one.
async fn remove_superseded(ctx: &JobContext, cluster: &ClusterSnapshot, fid: Fid, devid: DevId) {
    let Some(device) = cluster.device(devid).filter(|device| device.may_be_deleted_from()) else { return };
    if let Err(error) = ctx.nodes.delete(&device.upload_url(fid, Zone::NONE)).await {
        slog::info!(ctx.log, "could not remove the bytes of a damaged copy; no row knows of them any more";
            "fid" => fid, "devid" => devid, "error" => %error);
    }
}

/// What the nodes said so far.
#[derive(Debug, Default)]
struct Findings {
    events: Vec<Event>,
    good: Vec<(DevId, Option<Checksum>)>,
    /// Surely not there any more.
    gone: Vec<DevId>,
    /// On devices that are dead.
    dead: Vec<DevId>,
    damaged: Vec<DevId>,
    unknown: Vec<DevId>,
    /// Met in a search: there is no row of it.
    found: Option<DevId>,
    /// A search that not all devices answered.
    incomplete: bool,
}

impl Findings {
    fn take_in(&mut self, looked: Vec<(DevId, Seen)>) {
        for (devid, seen) in looked {
            match seen {
                Seen::Good(digest) => self.good.push((devid, digest)),
                Seen::Missing => {
                    self.events.push(Evcode::Missing.of_copy(devid));
                    self.gone.push(devid);
                }
                Seen::WrongLength => {
                    self.events.push(Evcode::WrongLength.of_copy(devid));
                    self.damaged.push(devid);
                }
                Seen::Dead => self.dead.push(devid),
                Seen::Unknown => self.unknown.push(devid),
            }
        }
    }

    fn take_in_search(&mut self, searched: Search) {
        match searched {
            Search::Found(devid, digest) => {
                self.events.push(Evcode::Found.of_file());
                self.found = Some(devid);
                self.good.push((devid, digest));
            }
            Search::Nothing => self.events.push(Evcode::Gone.of_file()),
            Search::Incomplete => self.incomplete = true,
        }
    }

    /// Is there surely no good copy where one is recorded? A copy whose node does not answer is not lost.
    fn is_lost(&self) -> bool {
        self.good.is_empty() && self.unknown.is_empty()
    }

    /// Will another look see more?
    fn is_unsettled(&self) -> bool {
        !self.unknown.is_empty() || self.incomplete
    }
}

struct Decision {
    repair: Repair,
    events: Vec<Event>,
    /// Damaged copies whose locations are dropped while a good copy is known.
    superseded: Vec<DevId>,
    fate: Fate,
}

/// What is to be stored, from all that is known.
fn decide(
    ctx: &JobContext,
    options: &RunOptions,
    subject: &Subject<'_>,
    findings: Findings,
    algorithm: Option<HashType>,
) -> Decision {
    let fate = if findings.is_unsettled() { Fate::Stalled } else { Fate::Settled };
    let is_gone = findings.good.is_empty();
    let (mut events, mut repair) = (findings.events, Repair { add: findings.found, ..Repair::default() });
    let mut superseded = Vec::new();
    if !is_gone {
        superseded = findings.damaged;
        // From some of the copies nothing is concluded about all of them.
        if let Some(hashtype) = algorithm.filter(|_| findings.unknown.is_empty()) {
            superseded.extend(judge_digests(subject, options, findings.good, hashtype, &mut repair, &mut events));
        }
        repair.drop = [findings.gone.as_slice(), &findings.dead, &superseded].concat();
        let mut remaining = subject.known.clone();
        remaining.extend(repair.add);
        remaining.retain(|devid| !repair.drop.contains(devid));
        if !subject.is_content_with(ctx, &remaining) {
            repair.replicate = true;
            events.push(Evcode::ReplicationRequested.of_file());
        } else if !options.skips_devcount && subject.has_wrong_devcount() && !subject.will_have_right_devcount(&repair)
        {
            events.push(Evcode::WrongDevcount.of_file());
        }
    } else if fate == Fate::Settled {
        repair.drop = findings.gone;
        // As the reaper does it: what is nowhere else is back when its device is.
        if !ctx.settings.jobs.reaper_keep_last_copies {
            repair.drop.extend(findings.dead);
        }
    }
    repair.recount = !options.skips_devcount && !subject.will_have_right_devcount(&repair);
    Decision { repair, events, superseded, fate }
}

/// Gives the copies whose contents are wrong.
fn judge_digests(
    subject: &Subject<'_>,
    options: &RunOptions,
    good: Vec<(DevId, Option<Checksum>)>,
    hashtype: HashType,
    repair: &mut Repair,
    events: &mut Vec<Event>,
) -> Vec<DevId> {
    let digests: Vec<(DevId, Checksum)> = good
        .into_iter()
        .filter_map(|(devid, digest)| Some((devid, digest.filter(|digest| digest.hashtype == hashtype)?)))
        .collect();
    let evidence = Evidence {
        digests: &digests,
        recorded: subject.stored_checksum(),
        class_hashtype: subject.class.hashtype,
        mode: options.mode,
    };
    match judge(&evidence) {
        ChecksumVerdict::Nothing => {}
        ChecksumVerdict::Log(evcode) => events.push(evcode.of_file()),
        ChecksumVerdict::Store(checksum) => {
            repair.checksum = Some((checksum.hashtype.number(), checksum.digest));
            events.push(Evcode::ChecksumStored.of_file());
        }
        // Never a copy that was found in a search: then there is no other.
        ChecksumVerdict::Drop(wrong) => return wrong,
    }
    Vec::new()
}

async fn carry_out(
    ctx: &JobContext,
    options: &RunOptions,
    subject: &Subject<'_>,
    decision: Decision,
) -> StoreResult<Fate> {
    let Decision { mut repair, events, fate, .. } = decision;
    let file = subject.file();
    let fid = file.fid;
    let unlogged = ctx.fsck.unlogged(options.run, fid, &events);
    repair.events = unlogged.iter().map(|event| (event.evcode.code(), event.devid)).collect();
    if !repair.is_empty() {
        slog::info!(ctx.log, "fsck repairs a file"; "fid" => fid, "events" => ?repair.events, "found" => ?repair.add,
            "dropped" => ?repair.drop);
        store(ctx, subject, repair).await?;
    }
    match fate {
        Fate::Settled => ctx.fsck.forget(fid),
        Fate::Stalled => ctx.fsck.remember(options.run, fid, unlogged),
    }
    Ok(fate)
}

async fn store(ctx: &JobContext, subject: &Subject<'_>, repair: Repair) -> StoreResult<()> {
    let (file, fid) = (subject.file(), subject.file().fid);
    let (replicates, found) = (repair.replicate, repair.add.is_some());
    let change = repair.changes_copies().then(|| ctx.path_change(file.dmid, &[file.dkey.as_ref()]));
    let stored = ctx.session.write(move |conn| fsck_batch::apply(conn, fid, &repair)).await;
    if let Some(change) = change {
        change.announce().await;
    }
    stored?;
    if found {
        ctx.copy_notices.tell(fid);
    }
    if replicates {
        ctx.wake_jobs();
    }
    Ok(())
}
