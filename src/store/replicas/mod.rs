//! Read replicas: databases that follow the master and answer look-ups of files in its place (database.md 4.4).
//!
//! Nobody is told less, or something older, than he may know (C104, D32): what a replica does not have the master is
//! asked for, and what this tracker changed is read from the master until the replica has the change. How far behind it
//! is says [`heartbeat`]; one that is further behind than `database.replica_lag_max_ms` is not asked. Nothing is ever
//! written to a replica.

mod config;
mod heartbeat;
mod read;
mod watch;

use super::connection::{self, Backend, Purpose, StoreConnection};
use super::error::{StoreError, StoreResult};
use super::store_handle::StoreShared;
use crate::settings::DatabaseSettings;
use arc_swap::ArcSwap;
use config::{Entry, ReplicaConfig};
use diesel::connection::SimpleConnection as _;
use heartbeat::{Beats, Standing};
use rand::RngExt as _;
use slog::{Logger, info, warn};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use read::FoundBy;
pub(super) use read::ReplicaConnections;

/// Failures in a row that make the pause longer.
const FAILURES_MAX: u32 = 21;
/// A check may come later than its interval says by twice that and so much.
const CHECK_GRACE: Duration = Duration::from_secs(1);

/// All replicas of a store.
#[derive(Default)]
pub(super) struct Replicas {
    set: ArcSwap<ReplicaSet>,
    beats: Mutex<Beats>,
    beat_runs: AtomicBool,
    master_instead: AtomicU64,
}

/// Those of one configuration.
#[derive(Default)]
struct ReplicaSet {
    config: ReplicaConfig,
    replicas: Vec<Arc<Replica>>,
}

/// One replica, as all workers see it.
pub(super) struct Replica {
    entry: Entry,
    retry_after: Duration,
    /// With the time limit for connecting.
    settings: DatabaseSettings,
    /// Not configured any more.
    is_retired: AtomicBool,
    reads: AtomicU64,
    state: Mutex<ReplicaState>,
    log: Logger,
}

struct ReplicaState {
    standing: Standing,
    checked_at: Option<Instant>,
    failures: u32,
    /// It failed and is left alone until then.
    rests_until: Option<Instant>,
    /// As it was said in the log; `None` while nothing was said.
    is_asked: Option<bool>,
}

/// What the console shows of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaReport {
    pub key: String,
    pub is_asked: bool,
    /// As far as it is known.
    pub lag: Option<Duration>,
    /// Look-ups that it answered.
    pub reads: u64,
    /// Failures in a row.
    pub failures: u32,
}

impl Replicas {
    /// Takes over what the server settings say; true if replicas are to be watched from now on that were not before.
    fn configure(&self, settings: &BTreeMap<String, String>, shared: &StoreShared) -> bool {
        let config = ReplicaConfig::read(settings, shared.location.backend());
        let present = self.set.load();
        if present.config == config {
            return false;
        }
        for complaint in config.complaints.iter().filter(|complaint| !present.config.complaints.contains(complaint)) {
            slog::error!(shared.log, "a read replica is passed over"; "reason" => complaint);
        }
        let mut settings = shared.settings.clone();
        settings.connect_timeout_ms = u64::try_from(config.connect_timeout.as_millis()).unwrap_or(u64::MAX);
        let open = |entry: &Entry| Arc::new(Replica::new(entry.clone(), config.retry_after, &settings, &shared.log));
        let replicas: Vec<_> = config.entries.iter().map(open).collect();
        let watches = !replicas.is_empty();
        let before = self.set.swap(Arc::new(ReplicaSet { config, replicas }));
        before.replicas.iter().for_each(|replica| replica.is_retired.store(true, Ordering::Release));
        watches
    }

    fn is_empty(&self) -> bool {
        self.set.load().replicas.is_empty()
    }

    /// Those that may be asked now, in the order in which they should be, each with the moment until which it surely has
    /// everything.
    fn to_ask(&self, settings: &DatabaseSettings, now: Instant) -> Vec<(Arc<Replica>, Instant)> {
        let set = self.set.load();
        let mut drawn: Vec<_> = set
            .replicas
            .iter()
            .filter_map(|replica| {
                let has_all_until = replica.state().has_all_until(settings, now).ok()?;
                // The smallest comes first, and each is the smallest as often as its weight says.
                let draw = -rand::rng().random_range(f64::MIN_POSITIVE..1.0).ln() / replica.entry.weight;
                Some((draw, (Arc::clone(replica), has_all_until)))
            })
            .collect();
        drawn.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        drawn.into_iter().map(|(_, found)| found).collect()
    }

    fn beats(&self) -> MutexGuard<'_, Beats> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reports(&self, settings: &DatabaseSettings) -> Vec<ReplicaReport> {
        let now = Instant::now();
        let report = |replica: &Arc<Replica>| {
            let state = replica.state();
            ReplicaReport {
                key: replica.entry.key.clone(),
                is_asked: state.has_all_until(settings, now).is_ok(),
                lag: state.standing.lag(),
                reads: replica.reads.load(Ordering::Relaxed),
                failures: state.failures,
            }
        };
        self.set.load().replicas.iter().map(report).collect()
    }

    /// Look-ups that the master had to answer although there are replicas.
    pub(super) fn master_instead(&self) -> u64 {
        self.master_instead.load(Ordering::Relaxed)
    }
}

impl Standing {
    fn lag(self) -> Option<Duration> {
        match self {
            Self::Measured { lag, .. } | Self::Behind { lag } => Some(lag),
            Self::Unknown | Self::Foreign => None,
        }
    }
}

impl Replica {
    fn new(entry: Entry, retry_after: Duration, settings: &DatabaseSettings, log: &Logger) -> Self {
        let state = ReplicaState {
            standing: Standing::Unknown,
            checked_at: None,
            failures: 0,
            rests_until: None,
            is_asked: None,
        };
        Self {
            log: log.new(slog::o!("replica" => entry.key.clone())),
            entry,
            retry_after,
            settings: settings.clone(),
            is_retired: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            state: Mutex::new(state),
        }
    }

    /// A connection that cannot write.
    fn connect(&self) -> StoreResult<StoreConnection> {
        let mut conn = connection::connect(&self.entry.location, &self.settings, Purpose::Read)?;
        match conn.backend() {
            // Read-only by its purpose.
            Backend::Sqlite => {}
            Backend::Mysql => conn.batch_execute("SET SESSION TRANSACTION READ ONLY")?,
            Backend::Postgres => conn.batch_execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")?,
        }
        Ok(conn)
    }

    fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }

    /// Until when it is left alone.
    fn rests_until(&self) -> Option<Instant> {
        self.state().rests_until
    }

    /// It shows this; says so when it is asked from now on, or is not any more.
    fn note_standing(&self, standing: Standing, now: Instant) {
        let mut state = self.state();
        (state.standing, state.checked_at) = (standing, Some(now));
        (state.failures, state.rests_until) = (0, None);
        match state.has_all_until(&self.settings, now) {
            Ok(_) if state.is_asked != Some(true) => {
                state.is_asked = Some(true);
                info!(self.log, "a read replica is asked"; "lag_ms" => standing.lag().map(millis));
            }
            // The first beats need their time.
            Err(reason)
                if state.is_asked == Some(true) || standing == Standing::Foreign && state.is_asked.is_none() =>
            {
                state.is_asked = Some(false);
                warn!(self.log, "a read replica is not asked any more"; "reason" => reason);
            }
            _ => {}
        }
    }

    /// It could not be asked. Those who fail at the same time count once.
    fn note_failure(&self, error: &StoreError) {
        let mut state = self.state();
        if state.rests_until.is_some_and(|until| until > Instant::now()) {
            return;
        }
        state.failures = state.failures.saturating_add(1).min(FAILURES_MAX);
        state.rests_until = Some(Instant::now() + self.retry_after * state.failures);
        if state.is_asked != Some(false) {
            state.is_asked = Some(false);
            warn!(self.log, "a read replica is not asked any more"; "reason" => %error);
        }
    }

    fn state(&self) -> MutexGuard<'_, ReplicaState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReplicaState {
    /// Until when it surely has everything, or why it is not asked.
    fn has_all_until(&self, settings: &DatabaseSettings, now: Instant) -> Result<Instant, &'static str> {
        let interval = Duration::from_millis(settings.replica_check_interval_ms);
        let lag_max = Duration::from_millis(settings.replica_lag_max_ms);
        if self.rests_until.is_some() {
            return Err("it failed");
        }
        if self.checked_at.is_none_or(|checked| now.duration_since(checked) > interval * 3 + CHECK_GRACE) {
            return Err("it does not answer");
        }
        match self.standing {
            Standing::Measured { has_all_until, lag } if lag <= lag_max => Ok(has_all_until),
            Standing::Measured { .. } | Standing::Behind { .. } => Err("it is too far behind"),
            // Taken to be as far behind as it may be.
            Standing::Unknown if settings.replica_unmeasured => now.checked_sub(lag_max).ok_or("the clock just began"),
            Standing::Unknown => Err("how far it is behind is not known"),
            Standing::Foreign => Err("it follows another database"),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn state(standing: Standing, checked_at: Instant) -> ReplicaState {
        ReplicaState { standing, checked_at: Some(checked_at), failures: 0, rests_until: None, is_asked: None }
    }

    #[test]
    fn a_replica_is_asked_if_it_answers_and_is_not_too_far_behind() {
        let mut settings = Settings::defaults().database;
        (settings.replica_lag_max_ms, settings.replica_check_interval_ms) = (5000, 1000);
        let now = Instant::now() + Duration::from_secs(3600);
        let before = |ms| now - Duration::from_millis(ms);
        let measured = |ms| Standing::Measured { has_all_until: before(1), lag: Duration::from_millis(ms) };
        let asked = |state: ReplicaState, settings: &DatabaseSettings| state.has_all_until(settings, now);
        assert_eq!(asked(state(measured(5000), before(4000)), &settings), Ok(before(1)));
        assert_eq!(asked(state(measured(5001), now), &settings), Err("it is too far behind"));
        assert_eq!(asked(state(measured(0), before(4001)), &settings), Err("it does not answer"));
        let rests = ReplicaState { rests_until: Some(before(1)), ..state(measured(0), now) };
        assert_eq!(asked(rests, &settings), Err("it failed"), "until it was checked");
        let lag = Duration::from_millis(1);
        assert!(asked(state(Standing::Behind { lag }, now), &settings).is_err());
        assert!(asked(state(Standing::Unknown, now), &settings).is_err());
        settings.replica_unmeasured = true;
        assert_eq!(asked(state(Standing::Unknown, now), &settings), Ok(before(5000)));
        assert!(asked(state(Standing::Foreign, now), &settings).is_err());
    }

    fn replica(key: &str, weight: f64, path: &str) -> Arc<Replica> {
        let location = connection::Location::Sqlite(path.into());
        let entry = Entry { key: key.to_owned(), weight, location };
        let settings = Settings::defaults().database;
        Arc::new(Replica::new(entry, Duration::from_secs(15), &settings, &Logger::root(slog::Discard, slog::o!())))
    }

    #[test]
    fn pauses_grow_with_the_failures_in_a_row() {
        let replica = replica("a", 1.0, "/nowhere/at.all");
        let error = replica.connect().map(drop).expect_err("no such file");
        let pause = |replica: &Replica| {
            replica.note_failure(&error);
            replica.note_failure(&error);
            let until = replica.rests_until().expect("it rests");
            let pause = until.duration_since(Instant::now()).as_secs() + 1;
            // As if the pause were over.
            replica.state().rests_until = Some(Instant::now());
            pause
        };
        assert_eq!([pause(&replica), pause(&replica), pause(&replica)], [15, 30, 45]);
        replica.state().failures = FAILURES_MAX;
        assert_eq!(pause(&replica), 15 * 21);
        replica.note_standing(Standing::Unknown, Instant::now());
        assert_eq!(pause(&replica), 15);
    }

    #[test]
    fn reads_are_shared_by_weight() {
        let replicas = Replicas::default();
        let (a, b) = (replica("a", 3.0, "a"), replica("b", 1.0, "b"));
        let now = Instant::now();
        for replica in [&a, &b] {
            replica.note_standing(Standing::Measured { has_all_until: now, lag: Duration::ZERO }, now);
        }
        replicas.set.store(Arc::new(ReplicaSet { replicas: vec![a, b], ..ReplicaSet::default() }));
        let settings = Settings::defaults().database;
        let firsts = (0..4000).filter(|_| {
            let order = replicas.to_ask(&settings, now);
            assert_eq!(order.len(), 2);
            order[0].0.entry.key == "a"
        });
        let share = firsts.count();
        assert!((2700..3300).contains(&share), "{share} of 4000");
    }
}
