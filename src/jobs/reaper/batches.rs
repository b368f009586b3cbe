//! The reaper at work: a step for the device whose turn it is, in batches with a rest after each.

use super::limits::{Allowance, Limits, STEP_PAUSE};
use super::schedule::{Pass, Schedule};
use crate::cluster::ClusterSnapshot;
use crate::ids::{DevId, Fid};
use crate::jobs::context::JobContext;
use crate::store::reaping::{self, Reaped};
use crate::store::{Backend, StoreResult, queues};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Excludes other reapers, those of 2.73 among them (J113).
const LOCK: &str = "mgfs:reaper";
/// Rows of one transaction at most: on SQLite, other writes wait for it.
const BATCH_ROWS: usize = 1000;
/// A step gives the lock back after so long, for other trackers and for an order to retire.
const STEP_MAX: Duration = Duration::from_secs(1);
/// How often the snapshot is looked at for devices that died: no query, so more often than the 5 s of jobs.md 9.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// How often a pass says in the log how far it is.
const TELL_PAUSE: Duration = Duration::from_secs(10);

/// What a reaper remembers of the dead devices.
pub struct Reaper {
    schedule: Schedule,
}

/// How a step ended.
enum StepEnd {
    /// There is more, after this pause.
    More(Duration),
    /// No locations are left beyond this point.
    PassDone,
    NotDead,
}

impl Reaper {
    pub fn new(ctx: &JobContext) -> Self {
        Self { schedule: Schedule::new(Duration::from_millis(ctx.settings.jobs.reaper_grace_ms)) }
    }

    /// Does a step for the device whose turn it is, if there is one; gives the pause until the next round.
    pub async fn round(&mut self, ctx: &JobContext) -> Duration {
        let now = Instant::now();
        self.schedule.observe(&dead_devices(&ctx.view.load()), now);
        if let Some(devid) = self.schedule.due(now) {
            self.turn(ctx, devid).await;
        }
        self.schedule.until_due(Instant::now()).map_or(LOOK_PAUSE, |until| until.min(LOOK_PAUSE))
    }

    async fn turn(&mut self, ctx: &JobContext, devid: DevId) {
        let mut pass = self.schedule.take_pass(devid, Instant::now());
        let ended = step(ctx, devid, &mut pass).await;
        let now = Instant::now();
        match ended {
            Ok(StepEnd::More(pause)) => {
                tell_progress(ctx, devid, &mut pass, now);
                self.schedule.go_on(devid, pass, pause, now);
            }
            Ok(StepEnd::PassDone) => {
                let kept_is_news = self.schedule.kept_is_news(devid, pass.kept);
                tell_end(ctx, devid, &pass, kept_is_news, now);
                let pause = self.schedule.end_pass(devid, pass.removed > 0, now);
                slog::debug!(ctx.log, "looked through a dead device"; "devid" => devid, "again_in_s" => pause.as_secs());
            }
            Ok(StepEnd::NotDead) => {
                slog::info!(ctx.log, "device is not dead any more; it keeps its locations"; "devid" => devid,
                    "removed" => pass.removed);
                self.schedule.forget(devid);
            }
            Err(error) => {
                slog::error!(ctx.log, "reaping failed; trying again"; "devid" => devid, "error" => %error);
                self.schedule.go_on(devid, pass, STEP_PAUSE, now);
            }
        }
    }
}

fn dead_devices(cluster: &ClusterSnapshot) -> BTreeSet<DevId> {
    cluster.devices.values().filter(|device| device.is_dead()).map(|device| device.devid).collect()
}

/// As many batches as the limits and the time of a step allow.
async fn step(ctx: &JobContext, devid: DevId, pass: &mut Pass) -> StoreResult<StepEnd> {
    let limits = Limits::of(&ctx.view.load(), &ctx.settings.jobs);
    let deferred = ctx.session.read(queues::replicate::untried_deferred_count)?;
    let allowance = limits.allowance(deferred);
    if allowance.rows == 0 {
        tell_held_back(ctx, devid, pass, allowance, deferred);
        return Ok(StepEnd::More(allowance.pause));
    }
    let Some(lock) = ctx.session.try_lock(LOCK, Duration::ZERO).await? else {
        slog::debug!(ctx.log, "another reaper is at work"; "devid" => devid);
        return Ok(StepEnd::More(STEP_PAUSE));
    };
    let ended = batches(ctx, devid, pass, allowance.rows).await;
    lock.release().await;
    let ended = ended?;
    if ended.is_none() {
        tell_held_back(ctx, devid, pass, allowance, deferred);
    }
    Ok(ended.unwrap_or(StepEnd::More(allowance.pause)))
}

/// `None` when there is more to do.
async fn batches(ctx: &JobContext, devid: DevId, pass: &mut Pass, rows_max: i64) -> StoreResult<Option<StepEnd>> {
    let begun = Instant::now();
    let mut rows_left = rows_max;
    while rows_left > 0 && begun.elapsed() < STEP_MAX {
        let batch_begun = Instant::now();
        // Fewer while clients are disturbed.
        let batch_rows = ctx.pace.side_by_side(BATCH_ROWS) as i64;
        let rows_wanted = rows_left.min(batch_rows);
        let page = ctx.session.read(|conn| reaping::page(conn, devid, pass.position, rows_wanted))?;
        if page.fids.is_empty() {
            return Ok(Some(StepEnd::PassDone));
        }
        let (rows, end) = (page.fids.len() as i64, page.end);
        let reaped = reap_page(ctx, devid, page.fids, pass.removed > 0).await?;
        let Reaped::Dead { removed, kept } = reaped else { return Ok(Some(StepEnd::NotDead)) };
        if pass.removed == 0 && removed > 0 {
            slog::info!(ctx.log, "reaping a dead device"; "devid" => devid);
        }
        pass.position = end;
        pass.count(removed, &kept);
        ctx.metrics.locations_reaped.add(removed as u64);
        if rows < rows_wanted {
            return Ok(Some(StepEnd::PassDone));
        }
        // What stays costs no place in the queue of replication.
        rows_left -= removed as i64;
        // Resting as long as working leaves half of a server to others, of whom this tracker knows nothing. SQLite has
        // no others.
        let worked = batch_begun.elapsed();
        let rest_min = if ctx.session.backend() == Backend::Sqlite { Duration::ZERO } else { worked };
        tokio::time::sleep(ctx.pace.rest_after(worked).max(rest_min)).await;
    }
    Ok(None)
}

/// Takes the locations of a page away, as far as they may go. A pass without finds is most likely one over what an earlier
/// one kept, and a look is enough: it is repeated for as long as the device is dead.
async fn reap_page(ctx: &JobContext, devid: DevId, fids: Vec<Fid>, has_finds: bool) -> StoreResult<Reaped> {
    let keep_last_copies = ctx.settings.jobs.reaper_keep_last_copies;
    if keep_last_copies && !has_finds && ctx.session.read(|conn| reaping::keeps_all(conn, &fids))? {
        return Ok(Reaped::Dead { removed: 0, kept: fids });
    }
    ctx.session.write(move |conn| reaping::reap(conn, devid, &fids, keep_last_copies)).await
}

/// Once in a pass: who waits for a device to be emptied should know why that is slow.
fn tell_held_back(ctx: &JobContext, devid: DevId, pass: &mut Pass, allowance: Allowance, deferred: i64) {
    if allowance.is_held_back && !pass.told_held_back {
        pass.told_held_back = true;
        slog::warn!(ctx.log, "reaping is held back: many files wait for replication already"; "devid" => devid,
            "waiting" => deferred, "rows_per_step" => allowance.rows);
    }
}

fn tell_progress(ctx: &JobContext, devid: DevId, pass: &mut Pass, now: Instant) {
    if now.duration_since(pass.told) >= TELL_PAUSE {
        pass.told = now;
        slog::info!(ctx.log, "reaping goes on"; "devid" => devid, "removed" => pass.removed, "kept" => pass.kept,
            "rows_per_s" => rows_per_s(pass, now));
    }
}

fn tell_end(ctx: &JobContext, devid: DevId, pass: &Pass, kept_is_news: bool, now: Instant) {
    if pass.removed > 0 {
        slog::info!(ctx.log, "reaped a dead device"; "devid" => devid, "removed" => pass.removed,
            "seconds" => now.duration_since(pass.begun).as_secs(), "rows_per_s" => rows_per_s(pass, now));
    }
    if pass.kept > 0 && kept_is_news {
        let examples = pass.kept_examples.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        slog::warn!(ctx.log, "last known copies are on a dead device; their locations are kept"; "devid" => devid,
            "count" => pass.kept, "example_fids" => examples);
    }
}

fn rows_per_s(pass: &Pass, now: Instant) -> u64 {
    (pass.removed as f64 / now.duration_since(pass.begun).as_secs_f64().max(0.001)) as u64
}
