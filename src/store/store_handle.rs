//! The handle to the database that everybody shares: how to open it, and where sessions come from.

use super::check::{self, SchemaReport};
use super::connection::{self, Backend, Location, Purpose, StoreConnection, begin, commit, connect};
use super::error::{MAY_BE_STORED, StoreError, StoreResult};
use super::extension_tables::{self, ExtensionTables};
use super::health::{Health, ProbePauses};
use super::key_form::KeyForm;
use super::key_sample;
use super::lease::{self, Leases};
use super::load::DatabaseLoad;
use super::lock::LockTable;
use super::recent_changes::RecentChanges;
use super::replicas::Replicas;
use super::server_traits::ServerTraits;
use super::session::Session;
use super::setup::{self, SetupOptions, SetupOutcome, SetupReport};
use super::writer::Writer;
use super::{fid_counter, files, tables, writer};
use crate::ids::Fid;
use crate::settings::{DatabaseSettings, LockKeeping};
use diesel::Connection as _;
use slog::{Logger, debug, error, info, warn};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A connection that failed sooner is tried once more before the database is taken to be away.
const SECOND_TRY_WITHIN: Duration = Duration::from_millis(500);

/// How often the counter of fids is tried to be raised when others are in the way.
const RAISE_TRIES: u32 = 5;

/// The open database. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Store {
    shared: Arc<StoreShared>,
}

/// What all sessions of a store have in common.
pub(super) struct StoreShared {
    pub(super) location: Location,
    pub(super) settings: DatabaseSettings,
    pub(super) locks: Arc<LockTable>,
    pub(super) log: Logger,
    /// SQLite only.
    pub(super) writer: Option<Writer>,
    /// When it was opened.
    pub(super) highest_fid: Fid,
    pub(super) closed: AtomicBool,
    pub(super) health: Health,
    pub(super) traits: ServerTraits,
    /// If locks are kept in our table.
    leases: Option<Arc<Leases>>,
    pub(super) replicas: Replicas,
    pub(super) changes: Arc<RecentChanges>,
    pub(super) load: DatabaseLoad,
}

impl StoreShared {
    /// A new connection for reading, or for everything on a database server. A server that is known to be away is not
    /// tried.
    pub(super) fn connect(self: &Arc<Self>) -> StoreResult<StoreConnection> {
        self.check_open()?;
        self.health.check()?;
        let connected = self.try_twice().map(|conn| counted(conn, &self.load));
        connected.inspect_err(|error| {
            let is_away = matches!(error, StoreError::Unavailable(_)) && self.location.backend() != Backend::Sqlite;
            if is_away && self.health.note_away(error) {
                error!(self.log, "the database is away; commands fail and jobs wait until it is back"; "error" => %error);
                self.begin_probing();
            }
        })
    }

    /// Are locks kept in our table?
    pub(super) fn keeps_leases(&self) -> bool {
        self.leases.is_some()
    }

    pub(super) fn leases(&self) -> StoreResult<&Arc<Leases>> {
        self.leases.as_ref().ok_or_else(|| StoreError::Other("no locks are kept in the table".to_owned()))
    }

    /// Must locks of rows be written to be seen by everybody?
    pub(super) fn writes_holds(&self) -> bool {
        self.keeps_leases() && self.location.backend() == Backend::Mysql
    }

    pub(super) fn check_open(&self) -> StoreResult<()> {
        if self.closed.load(Ordering::Acquire) { Err(writer::closed()) } else { Ok(()) }
    }

    fn start_lease_keeper(self: &Arc<Self>) -> StoreResult<()> {
        let Some(leases) = &self.leases else { return Ok(()) };
        let store = Arc::downgrade(self);
        let connect = move || Some(store.upgrade()?.connect());
        lease::start_keeper(leases, connect, self.log.clone())
    }

    /// One refusal may be an accident; who waited in vain once does not wait again.
    fn try_twice(&self) -> StoreResult<StoreConnection> {
        let begun = Instant::now();
        let connect = || connect(&self.location, &self.settings, Purpose::Read);
        match connect() {
            Err(StoreError::Unavailable(_)) if begun.elapsed() < SECOND_TRY_WITHIN => connect(),
            first => first,
        }
    }

    /// Starts the thread that waits for the server.
    fn begin_probing(self: &Arc<Self>) {
        let store = Arc::downgrade(self);
        let started = std::thread::Builder::new().name("db-probe".to_owned()).spawn(move || {
            for pause in ProbePauses::new() {
                std::thread::sleep(pause);
                let Some(store) = store.upgrade() else { return };
                if store.closed.load(Ordering::Acquire) || store.probe() {
                    return;
                }
            }
        });
        if let Err(error) = started {
            // Then everybody tries for himself.
            warn!(self.log, "cannot start the thread that waits for the database"; "error" => %error);
            self.health.note_back();
        }
    }

    /// Is the server there again? Then it may be one that has forgotten how far fids were given out.
    fn probe(&self) -> bool {
        let reached = connect(&self.location, &self.settings, Purpose::Write).and_then(|mut conn| {
            self.traits.set_waiting(&mut conn, true)?;
            begin(&mut conn)?;
            fid_counter::raise(&mut conn)?;
            commit(&mut conn)
        });
        match reached {
            Ok(()) => {
                let away_ms = u64::try_from(self.health.note_back().as_millis()).unwrap_or(u64::MAX);
                info!(self.log, "the database is back"; "away_ms" => away_ms);
                true
            }
            Err(error) => {
                debug!(self.log, "the database is still away"; "error" => %error);
                false
            }
        }
    }
}

impl Store {
    /// Is the address of the database one that this program can use? Nothing is opened but the password file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_address(settings: &DatabaseSettings) -> StoreResult<()> {
        connection::location(settings).map(|_| ())
    }

    /// Connects, checks the schema version, moves the counter of fids above all that are in use, and starts the writer
    /// of SQLite. Blocks as long as `connect_timeout_ms` allows.
    ///
    /// # Errors
    /// [`StoreError::InvalidValue`] for an address that cannot be used, [`StoreError::Schema`] for a database that is not
    /// set up or of another version, [`StoreError::Unavailable`] if it cannot be reached.
    pub fn open(settings: &DatabaseSettings, log: Logger) -> StoreResult<Self> {
        let location = connection::location(settings)?;
        KeyForm::declare(location.backend(), settings)?;
        let mut conn = connect(&location, settings, Purpose::Write)?;
        let traits = ServerTraits::ask(&mut conn)?;
        // The setup, and what other trackers gave out, may have been on another node.
        traits.set_waiting(&mut conn, true)?;
        if !settings.skip_schema_check {
            setup::check_version(&mut conn)?;
        }
        check_lock_keeping(&mut conn, settings)?;
        warn_of(&traits, settings, &log);
        let highest_fid = raise_counter(&mut conn)?;
        key_sample::warn(&mut conn, settings, &log);
        drop(conn);
        let load = DatabaseLoad::default();
        let writer = match location.backend() {
            Backend::Sqlite => Some(start_writer(&location, settings, &load, &log)?),
            Backend::Mysql | Backend::Postgres => None,
        };
        let locks = LockTable::of(&location);
        let shared = StoreShared {
            location,
            settings: settings.clone(),
            locks,
            log,
            writer,
            highest_fid,
            closed: AtomicBool::new(false),
            health: Health::new(),
            traits,
            leases: (settings.locks == LockKeeping::Table).then(Arc::default),
            replicas: Replicas::default(),
            changes: Arc::new(RecentChanges::new()),
            load,
        };
        let shared = Arc::new(shared);
        shared.start_lease_keeper()?;
        Ok(Self { shared })
    }

    /// Creates the schema in an empty database, with the SQLite file and its directory if need be, completes a setup that
    /// broke off, and upgrades a schema of an older version. One of the current version is left as it is, but gets what it
    /// lacks.
    ///
    /// # Errors
    /// [`StoreError::Schema`] if the database has a newer version, or is damaged: nothing is changed then.
    pub fn setup(settings: &DatabaseSettings) -> StoreResult<SetupOutcome> {
        Self::setup_with(settings, SetupOptions::default()).map(|report| report.outcome)
    }

    /// [`Self::setup`] as somebody wants it, and what was done.
    ///
    /// # Errors
    /// As there.
    pub fn setup_with(settings: &DatabaseSettings, options: SetupOptions) -> StoreResult<SetupReport> {
        setup::setup(settings, options)
    }

    /// Holds the schema against what is expected of it. Changes nothing.
    ///
    /// # Errors
    /// Those of connecting and reading; differences are none.
    pub fn check(settings: &DatabaseSettings) -> StoreResult<SchemaReport> {
        check::check(settings)
    }

    /// Makes the tables of extensions where they are missing; says which it made. The schema itself must be there.
    ///
    /// # Errors
    /// [`StoreError::Schema`] if the SQLite file does not exist, and those of the database.
    pub fn setup_extensions(
        settings: &DatabaseSettings,
        wanted: &BTreeSet<ExtensionTables>,
    ) -> StoreResult<Vec<ExtensionTables>> {
        extension_tables::setup(settings, wanted)
    }

    /// Sees to it that the tables of extensions are there: on SQLite it makes them.
    ///
    /// # Errors
    /// [`StoreError::Schema`] with what to do, if they are missing on a database server.
    pub fn require_extensions(&self, wanted: &BTreeSet<ExtensionTables>) -> StoreResult<()> {
        match self.backend() {
            Backend::Sqlite => extension_tables::setup(&self.shared.settings, wanted).map(drop),
            Backend::Mysql | Backend::Postgres => extension_tables::check(&mut self.shared.connect()?, wanted),
        }
    }

    pub(super) fn shared(&self) -> &Arc<StoreShared> {
        &self.shared
    }

    /// The greatest fid when the database was opened: new ones are above it.
    pub fn highest_fid(&self) -> Fid {
        self.shared.highest_fid
    }

    /// Which kind of database this is.
    pub fn backend(&self) -> Backend {
        self.shared.location.backend()
    }

    /// What it was asked since it was opened.
    pub fn load(&self) -> DatabaseLoad {
        self.shared.load.clone()
    }

    /// Is the database server away, as far as anybody noticed?
    pub fn is_away(&self) -> bool {
        self.shared.health.is_away()
    }

    /// A connection for one worker; to a server it is made when it is needed first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the file cannot be opened or the store is closed.
    pub fn session(&self) -> StoreResult<Session> {
        Session::open(Arc::clone(&self.shared))
    }

    /// Carries out the writes that wait, then refuses further ones. Blocks meanwhile; may be called more than once.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        if let Some(writer) = &self.shared.writer {
            writer.close();
        }
    }
}

/// Moves the counter of fids above all that are in use; the highest fid of a file. Two trackers that start on two nodes of a
/// Galera cluster are in each other's way.
fn raise_counter(conn: &mut StoreConnection) -> StoreResult<Fid> {
    let mut tries = 0;
    loop {
        tries += 1;
        match raise_once(conn) {
            Err(StoreError::Deadlock) if tries < RAISE_TRIES => {}
            raised => return raised,
        }
    }
}

fn raise_once(conn: &mut StoreConnection) -> StoreResult<Fid> {
    let raise = |conn: &mut StoreConnection| {
        fid_counter::raise(conn)?;
        Ok(files::max_fid(conn)?.unwrap_or(Fid(0)))
    };
    if conn.backend() != Backend::Sqlite {
        return conn.transaction(raise);
    }
    begin(conn)?;
    let highest_fid = raise(conn)?;
    commit(conn)?;
    Ok(highest_fid)
}

/// Refuses a setting that cannot be kept to.
fn check_lock_keeping(conn: &mut StoreConnection, settings: &DatabaseSettings) -> StoreResult<()> {
    if settings.locks == LockKeeping::Server {
        return Ok(());
    }
    if conn.backend() == Backend::Sqlite {
        return Err(StoreError::InvalidValue(
            "database.locks = \"table\" is for database servers; SQLite's locks are rows of a table anyway".to_owned(),
        ));
    }
    for table in ["mogilefs_lock", "mogilefs_hold"] {
        if !tables::exists(conn, table)? {
            return Err(StoreError::Schema(format!(
                "the database lacks the table {table}, which database.locks = \"table\" needs: run `mogilefs db setup`"
            )));
        }
    }
    Ok(())
}

/// Says what an operator has to know of the server.
fn warn_of(traits: &ServerTraits, settings: &DatabaseSettings, log: &Logger) {
    if settings.locks == LockKeeping::Table {
        return;
    }
    if traits.is_galera {
        warn!(
            log,
            "the database is a Galera cluster, whose nodes do not know each other's locks: trackers that use different \
            nodes may work on one file at the same time; set database.locks = \"table\""
        );
    }
    if traits.has_one_lock_per_session {
        warn!(
            log,
            "the database server holds one named lock per session, and a tracker needs several: jobs will lose locks; \
            it must be MySQL 5.7.5 or MariaDB 10.0.2 or newer, or database.locks = \"table\""
        );
    }
}

/// The connection, with its statements counted from now on.
fn counted(mut conn: StoreConnection, load: &DatabaseLoad) -> StoreConnection {
    conn.set_instrumentation(load.instrumentation());
    load.connects.add(1);
    conn
}

fn start_writer(
    location: &Location,
    settings: &DatabaseSettings,
    load: &DatabaseLoad,
    log: &Logger,
) -> StoreResult<Writer> {
    let (location, settings, load) = (location.clone(), settings.clone(), load.clone());
    let group_max = settings.write_group_max.max(1);
    let reconnect = Box::new(move || connect(&location, &settings, Purpose::Write).map(|conn| counted(conn, &load)));
    Writer::start(reconnect, group_max, log.clone())
}

/// The answer of a writer that ended without answering: its thread panicked.
pub(super) fn writer_vanished() -> StoreError {
    StoreError::Unavailable(format!("the writer ended; {MAY_BE_STORED}"))
}
