//! A pass of the job master: the next files of the current source into the queue (jobs.md 11.4).
//!
//! Everything that one pass reads and writes (rows, state, status of the source) is one transaction: a tracker that dies
//! goes on exactly where it was. Who carries the run out, and whether it is to stop, is read in it too, because the view
//! of the cluster may be some seconds old (W5).

use super::drained::{drained, give_back};
use super::plan::{Run, SourceStep, source_step};
use super::state::RebalanceState;
use super::{SIGNAL_STOP, field, selection};
use crate::clock::{Chance, chance_from_seed, unix_now_secs};
use crate::cluster::ClusterSnapshot;
use crate::cluster::device_state::DeviceStatus;
use crate::ids::{DevId, Fid};
use crate::jobs::context::JobContext;
use crate::jobs::hostname::own_hostname;
use crate::notices::RefreshCluster;
use crate::store::queues::todo::{self, REBALANCE};
use crate::store::{StoreConnection, StoreResult, devices, file_on, server_settings};
use rand::RngExt as _;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The usual values of the settings `queue_size_for_rebal` and `queue_rate_for_rebal`.
const QUEUE_SIZE_DEFAULT: i64 = 10_000;
const QUEUE_RATE_DEFAULT: i64 = 500;

/// Why a run does not begin, or does not go on (W6).
pub const NO_DESTINATION: &str = "no device can take the copies that the policy wants moved";

/// Queues the next files, if this tracker carries out a rebalance. True if there may be more to do at once.
///
/// # Errors
/// The database failed; nothing was changed.
pub async fn pass(ctx: &JobContext) -> StoreResult<bool> {
    let (hostname, cluster) = (own_hostname(), ctx.view.load_full());
    if cluster.server_setting(field::HOST) != Some(hostname.as_str()) {
        return Ok(false);
    }
    let queue_max = positive(&cluster, "queue_size_for_rebal", QUEUE_SIZE_DEFAULT);
    let (is_full, is_stopping) = ctx.session.read(|conn| {
        let is_full = todo::count(conn, REBALANCE)? >= queue_max;
        Ok((is_full, is_full && server_settings::get(conn, field::SIGNAL)?.is_some()))
    })?;
    if is_full && !is_stopping {
        return Ok(false);
    }
    let pass = Pass {
        hostname,
        files_max: positive(&cluster, "queue_rate_for_rebal", QUEUE_RATE_DEFAULT),
        min_free_space_mb: ctx.min_free_space_mb(),
        cluster,
        now_unix: unix_now_secs(),
        chance: chance_from_seed(ctx.chance.borrow_mut().random()),
    };
    let report = ctx.session.write(move |conn| pass.carry_out(conn)).await?;
    if report.is_status_changed || report.is_over {
        ctx.refresh_cluster.do_send(RefreshCluster);
    }
    for note in &report.notes {
        slog::info!(ctx.log, "rebalance: {note}");
    }
    if let Some(problem) = &report.problem {
        slog::warn!(ctx.log, "rebalance: {problem}");
    }
    Ok(report.is_more)
}

fn positive(cluster: &ClusterSnapshot, field: &str, default: i64) -> i64 {
    Some(cluster.server_number(field, default)).filter(|&number| number > 0).unwrap_or(default)
}

/// What a pass needs besides the database.
struct Pass {
    hostname: String,
    cluster: Arc<ClusterSnapshot>,
    files_max: i64,
    min_free_space_mb: i64,
    now_unix: i64,
    chance: Chance,
}

/// What a pass did.
#[derive(Default)]
struct Report {
    /// The next pass has something to do.
    is_more: bool,
    /// The run has ended, well or not.
    is_over: bool,
    is_status_changed: bool,
    notes: Vec<String>,
    problem: Option<String>,
}

/// How a run ends.
enum End {
    Stopped,
    Finished,
    /// It cannot go on, for this reason (W6).
    Failed(String),
}

type Settings = BTreeMap<String, String>;

impl Pass {
    fn carry_out(&self, conn: &mut StoreConnection) -> StoreResult<Report> {
        server_settings::hold(conn)?;
        let settings = server_settings::all(conn)?;
        if settings.get(field::HOST) != Some(&self.hostname) {
            return Ok(Report::default());
        }
        let run = match self.read_run(&settings) {
            Ok(run) => run,
            Err(reason) => return self.end(conn, &settings, None, End::Failed(reason)),
        };
        if settings.get(field::SIGNAL).is_some_and(|signal| signal == SIGNAL_STOP) {
            return self.end(conn, &settings, Some(run), End::Stopped);
        }
        let mut begun = run.clone();
        let Some(source) = begun.source(&self.cluster) else {
            return self.end(conn, &settings, Some(begun), End::Finished);
        };
        // Known before the source is touched.
        let destinations = selection::destinations(&begun.policy, &begun.state, &self.cluster, self.min_free_space_mb);
        if destinations.is_empty() {
            if selection::has_unseen_destination(&begun.policy, &begun.state, &self.cluster) {
                let reason = "the devices that could take the copies have not been looked at yet".to_owned();
                return wait(conn, &settings, reason);
            }
            return self.end(conn, &settings, Some(run), End::Failed(NO_DESTINATION.to_owned()));
        }
        self.work_on(conn, &settings, begun, source, &destinations)
    }

    /// Policy and state as they are stored; without a state the run begins now.
    fn read_run(&self, settings: &Settings) -> Result<Run, String> {
        let text = |field: &str| settings.get(field).map(String::as_str).unwrap_or_default();
        if text(field::POLICY).is_empty() {
            return Err("there is no policy".to_owned());
        }
        let policy = text(field::POLICY).parse().map_err(|invalid| format!("the policy cannot be read: {invalid}"))?;
        let state = match text(field::STATE) {
            "" => RebalanceState::begin(selection::sources(&policy, &self.cluster), self.now_unix),
            state => state.parse().map_err(|invalid| format!("the state cannot be read: {invalid}"))?,
        };
        Run::new(policy, state).map_err(|error| format!("the policy cannot be carried out: {error}"))
    }

    fn work_on(
        &self,
        conn: &mut StoreConnection,
        settings: &Settings,
        mut run: Run,
        source: DevId,
        destinations: &[DevId],
    ) -> StoreResult<Report> {
        let mut report = Report { is_more: true, ..Report::default() };
        let is_ours = drained(settings) == Some(source);
        match source_step(devices::status(conn, source)?, is_ours) {
            SourceStep::Skip => {
                report.problem = Some(format!("device {source} is passed over: its state was changed"));
                run.finish_source();
                server_settings::set(conn, field::DRAINED, None)?;
                self.save(conn, settings, &mut run, &mut report)?;
                return Ok(report);
            }
            _ if !self.may_lose_copies(source) => {
                return wait(conn, settings, format!("device {source} cannot be written to now; waiting for it"));
            }
            SourceStep::GoOn => {}
            SourceStep::Drain => {
                if !devices::change_status(conn, source, DeviceStatus::Alive, DeviceStatus::Drain)? {
                    // Changed since it was read; the next pass sees to what.
                    return Ok(report);
                }
                server_settings::set(conn, field::DRAINED, Some(&source.to_string()))?;
                report.is_status_changed = true;
                report.notes.push(format!("device {source} is drained"));
            }
        }
        self.queue_files(conn, &mut run, source, destinations, &mut report)?;
        self.save(conn, settings, &mut run, &mut report)?;
        Ok(report)
    }

    /// Can its node delete copies now? Else each move would fail; the run waits until it can.
    fn may_lose_copies(&self, source: DevId) -> bool {
        self.cluster.device(source).is_some_and(|view| view.host.is_alive() && view.is_observed_writeable())
    }

    /// The next files of the source; without any, or without anything left of the limit, the source is done.
    fn queue_files(
        &self,
        conn: &mut StoreConnection,
        run: &mut Run,
        source: DevId,
        destinations: &[DevId],
        report: &mut Report,
    ) -> StoreResult<()> {
        let files = file_on::of_device(conn, source, run.page(), self.files_max)?;
        let fids: Vec<Fid> = files.iter().map(|file| file.fid).collect();
        let queued = todo::queued_moves(conn, &fids)?;
        let taken = run.take(&files, &queued, destinations, &mut self.chance.clone());
        todo::enqueue_moves(conn, source, &taken.moves)?;
        if taken.is_held_up {
            report.is_more = !taken.moves.is_empty();
        }
        if taken.moves.is_empty() && !files.is_empty() {
            run.state.empty_runs += 1;
            run.state.time_latest_empty_run = self.now_unix;
        }
        if files.is_empty() || run.is_used_up() {
            let settings = server_settings::all(conn)?;
            report.is_status_changed |= give_back(conn, &settings, run.policy.leave_in_drain_mode)?;
            run.finish_source();
            report.notes.push(format!("device {source} is done"));
        }
        Ok(())
    }

    /// Ends the run. What it has drained is alive again, unless somebody has decided otherwise or the policy wants it.
    fn end(&self, conn: &mut StoreConnection, settings: &Settings, run: Option<Run>, end: End) -> StoreResult<Report> {
        let leave_in_drain_mode = run.as_ref().is_some_and(|run| run.policy.leave_in_drain_mode);
        let is_status_changed = give_back(conn, settings, leave_in_drain_mode)?;
        let mut report = Report { is_over: true, is_status_changed, ..Report::default() };
        let problem = match &end {
            End::Failed(reason) => Some(reason.clone()),
            End::Stopped => None,
            End::Finished => run.as_ref().and_then(|run| run.unmeasured(&self.cluster)),
        };
        tell_once(settings, problem.as_deref().filter(|_| matches!(end, End::Finished)), &mut report);
        let changes = [(field::HOST, None), (field::SIGNAL, None), (field::PROBLEM, problem.as_deref())];
        server_settings::set_all(conn, &changes)?;
        if let Some(mut run) = run {
            match end {
                End::Finished => run.state.time_finished = self.now_unix,
                End::Stopped | End::Failed(_) => run.state.time_stopped = self.now_unix,
            }
            server_settings::set(conn, field::STATE, Some(&run.state.to_string()))?;
        }
        match end {
            End::Stopped => report.notes.push("stopped".to_owned()),
            End::Finished => report.notes.push("all sources are done".to_owned()),
            End::Failed(reason) => report.problem = Some(format!("ended: {reason}")),
        }
        Ok(report)
    }

    fn save(
        &self,
        conn: &mut StoreConnection,
        settings: &Settings,
        run: &mut Run,
        report: &mut Report,
    ) -> StoreResult<()> {
        run.state.time_latest_run = self.now_unix;
        let unmeasured = run.unmeasured(&self.cluster);
        tell_once(settings, unmeasured.as_deref(), report);
        let changes = [(field::STATE, Some(&*run.state.to_string())), (field::PROBLEM, unmeasured.as_deref())];
        server_settings::set_all(conn, &changes)
    }
}

/// What status says already was logged when it began to.
fn tell_once(settings: &Settings, problem: Option<&str>, report: &mut Report) {
    if report.problem.is_none() && settings.get(field::PROBLEM).map(String::as_str) != problem {
        report.problem = problem.map(str::to_owned);
    }
}

/// Leaves everything as it is until the next pass, and says why; once.
fn wait(conn: &mut StoreConnection, settings: &Settings, reason: String) -> StoreResult<Report> {
    if settings.get(field::PROBLEM) == Some(&reason) {
        return Ok(Report::default());
    }
    server_settings::set(conn, field::PROBLEM, Some(&reason))?;
    Ok(Report { problem: Some(reason), ..Report::default() })
}
