//! Moving everything that trackers know from one database into another, of whatever kind (`mogilefs db copy`).
//!
//! The source is only read. What the target could not hold as it is, is found before anything is written; then rows go over
//! page by page, a page and the note how far it is being one change, so that a copy that broke off goes on where it was.
//! In the end both are compared row by row, and only then gets the target a schema version: until that no tracker starts on
//! it. Rows are compared by their bytes here, which trackers never do (database.md 1.6): a copy is to be exact.

mod compare;
mod counters;
mod examine;
mod fitting;
mod folding;
mod rows;
mod side;
mod state;

use super::check_catalog::Catalog;
use super::connection::{self, Backend, Purpose, begin, commit};
use super::error::{StoreError, StoreResult};
use super::expected::{ExpectedTable, Role};
use super::extension_tables::{self, ExtensionTables};
use super::key_form::KeyForm;
use super::server_settings;
use super::setup::{SCHEMA_VERSION, SetupOptions, VERSION_FIELD, setup};
use crate::settings::DatabaseSettings;
use examine::{Destination, rooms};
use rows::{Value, insert, key_of};
use side::{Side, is_last_page};
use state::Progress;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

pub use state::STATE_TABLE;

/// What is wanted of a copy.
#[derive(Clone, Debug, Default)]
pub struct CopyOptions {
    /// Only say what could not be copied; nothing is written.
    pub dry_run: bool,
    /// Signs that trackers are at work in the source do not count.
    pub are_trackers_stopped: bool,
    /// Trackers are still at work: copy what is there, and leave the rest to the next copy.
    pub is_ahead: bool,
    /// Rows that differ in the end are brought up to the source.
    pub update: bool,
    /// Columns (`table.column`) of the source that no schema has, and that are not wanted.
    pub left_out: BTreeSet<String>,
}

/// What a copy is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyPhase {
    Examine,
    Copy,
    Update,
    Compare,
}

impl CopyPhase {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Examine => "examining",
            Self::Copy => "copying",
            Self::Update => "updating",
            Self::Compare => "comparing",
        }
    }
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyProgress {
    pub phase: CopyPhase,
    pub table: &'static str,
    pub rows: u64,
    /// All of the table, as counted at its beginning.
    pub rows_of_table: u64,
}

/// Something of the source that the target would not have as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// A table or `table.column`.
    pub place: String,
    pub reason: String,
    pub count: u64,
    /// Some of them.
    pub examples: Vec<String>,
}

/// Rows of a table that are not the same in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub table: &'static str,
    pub count: u64,
    /// Some of them.
    pub examples: Vec<String>,
}

/// A table that is the same in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableCopy {
    pub table: &'static str,
    pub rows: u64,
    /// SHA-256 over all values of all rows, in a form that is the same for all databases.
    pub checksum: String,
    /// The numbers of the last row.
    last: Option<Vec<Value>>,
}

/// How a copy ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyOutcome {
    /// It was not to be made; and nothing speaks against it.
    Examined,
    /// Nothing was written: something would be lost.
    Obstructed(Vec<Obstacle>),
    /// Nothing was written: these signs say that trackers are at work in the source.
    Busy(Vec<String>),
    /// Everything that was there is in the target; it may have changed meanwhile.
    Ahead,
    /// The target is not the source; it has no schema version.
    Different(Vec<Difference>),
    /// The target is the source.
    Copied(Vec<TableCopy>),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyReport {
    pub from: Backend,
    pub to: Backend,
    /// An earlier copy was gone on with.
    pub is_resumed: bool,
    /// Good to know.
    pub notes: Vec<String>,
    pub outcome: CopyOutcome,
}

/// Who is told how far it is, and may stop it.
pub type Watcher<'a> = dyn FnMut(CopyProgress) -> ControlFlow<()> + 'a;

struct Watch<'a> {
    watcher: &'a mut Watcher<'a>,
    now: CopyProgress,
}

/// Single rows are not worth a word.
const TELL_EVERY_ROWS: u64 = 1000;

impl Watch<'_> {
    fn phase(&mut self, phase: CopyPhase) {
        self.now.phase = phase;
    }

    fn table(&mut self, table: &'static str, rows_of_table: u64) {
        self.now = CopyProgress { table, rows: 0, rows_of_table, ..self.now };
    }

    fn rows(&mut self, rows: usize) -> StoreResult<()> {
        let before = self.now.rows;
        self.now.rows += rows as u64;
        if rows > 0
            && before / TELL_EVERY_ROWS == self.now.rows / TELL_EVERY_ROWS
            && self.now.rows < self.now.rows_of_table
        {
            return Ok(());
        }
        match (self.watcher)(self.now) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => {
                Err(StoreError::Refused("the copy was stopped; it can be gone on with".to_owned()))
            }
        }
    }
}

/// Copies everything of the source into the target.
///
/// # Errors
/// [`StoreError::Schema`] for databases of another version and a target that is neither empty nor a copy of this source that
/// broke off; [`StoreError::Refused`] when the watcher stops it; and those of the databases. A copy that ended so can be gone
/// on with, by calling this again.
pub fn run(
    from: &DatabaseSettings,
    to: &DatabaseSettings,
    options: &CopyOptions,
    watcher: &mut Watcher<'_>,
) -> StoreResult<CopyReport> {
    let now = CopyProgress { phase: CopyPhase::Examine, table: "", rows: 0, rows_of_table: 0 };
    // A closure of its own: the two lifetimes of a trait object would otherwise have to be the same.
    let mut tell = |progress: CopyProgress| watcher(progress);
    let mut watch = Watch { watcher: &mut tell, now };
    let mut source = open_source(from)?;
    let identity = source.identity(from)?;
    let target = Side::open(to, Purpose::Read)?;
    let to_backend = connection::location(to)?.backend();
    let mut report = CopyReport {
        from: source.backend(),
        to: to_backend,
        is_resumed: false,
        notes: strange_tables(&source),
        outcome: CopyOutcome::Examined,
    };
    let mut target = target;
    if let Some(there) = target.as_mut() {
        if there.identity(to)? == identity {
            return Err(StoreError::InvalidValue("source and target are the same database".to_owned()));
        }
        report.is_resumed = is_resumable(there, &identity)?;
        if !report.is_resumed {
            check_empty(there)?;
        }
    }

    let signs = if options.are_trackers_stopped || options.is_ahead { Vec::new() } else { source.activity()? };
    if !signs.is_empty() && !options.dry_run {
        report.outcome = CopyOutcome::Busy(signs);
        return Ok(report);
    }
    report.notes.extend(signs.into_iter().map(|sign| format!("the source is in use: {sign}")));

    let obstacles = examine_all(&mut source, target, to, to_backend, options, &mut watch)?;
    if !obstacles.is_empty() {
        report.outcome = CopyOutcome::Obstructed(obstacles);
    } else if !options.dry_run {
        report.outcome = copy(&mut source, to, &identity, options, &mut watch)?;
    }
    Ok(report)
}

fn open_source(from: &DatabaseSettings) -> StoreResult<Side> {
    let Some(mut source) = Side::open(from, Purpose::Read)? else {
        return Err(StoreError::Schema("there is no such database to copy from".to_owned()));
    };
    if source.version != SCHEMA_VERSION || is_target(&mut source)? {
        let hint = match is_target(&mut source)? {
            true => "a copy into it has not ended",
            false => "bring it up to date with `mogilefs db setup` first",
        };
        return Err(StoreError::Schema(format!(
            "the source has schema version {}, and {SCHEMA_VERSION} is needed: {hint}",
            source.version
        )));
    }
    for table in source.tables() {
        let there = source.catalog.table(table.name);
        let missing =
            table.columns.iter().find(|column| there.is_some_and(|there| there.column(column.name).is_none()));
        if let Some(column) = missing {
            return Err(StoreError::Schema(format!(
                "the source has no column {}.{}: see `mogilefs db check`",
                table.name, column.name
            )));
        }
    }
    let tables = source.tables();
    let needed = super::expected::TABLES.iter().filter(|table| matches!(table.role, Role::Root | Role::Needed));
    match needed.into_iter().find(|table| !tables.iter().any(|there| there.name == table.name)) {
        None => Ok(source),
        Some(table) => {
            Err(StoreError::Schema(format!("the source has no table {}: see `mogilefs db check`", table.name)))
        }
    }
}

fn is_target(side: &mut Side) -> StoreResult<bool> {
    Ok(side.version == 0 && side.catalog.table(STATE_TABLE).is_some())
}

/// Did a copy of this source into this target break off?
fn is_resumable(target: &mut Side, identity: &str) -> StoreResult<bool> {
    if target.catalog.table(STATE_TABLE).is_none() {
        return Ok(false);
    }
    if target.version == SCHEMA_VERSION {
        return Err(StoreError::Schema(format!(
            "the copy into the target is whole; only the table {STATE_TABLE} is left of it, and may be dropped"
        )));
    }
    match state::source(&mut target.conn)? {
        // It broke off before it began.
        None => Ok(false),
        Some(source) if source == identity => Ok(true),
        Some(source) => Err(StoreError::Schema(format!(
            "a copy of another source into the target has not ended: of {source}, and this is {identity}. Use an empty target"
        ))),
    }
}

fn check_empty(target: &mut Side) -> StoreResult<()> {
    if target.version != 0 && target.version != SCHEMA_VERSION {
        return Err(StoreError::Schema(format!(
            "the target has schema version {}; use an empty database",
            target.version
        )));
    }
    let strangers = compare::strangers(target)?.into_list();
    match strangers.first() {
        None => Ok(()),
        Some(Obstacle { place, count, .. }) => Err(StoreError::Schema(format!(
            "the target is not empty ({count} rows in {place}), and no copy into it has broken off; nothing was changed"
        ))),
    }
}

/// Tables that are nobody's, as far as this program knows.
fn strange_tables(source: &Side) -> Vec<String> {
    let known = source.tables();
    let is_known =
        |name: &str| known.iter().any(|table| table.name == name) || side::LOCKS.contains(&name) || name == STATE_TABLE;
    let strange: Vec<&str> = source.catalog.names().filter(|name| !is_known(name)).collect();
    match strange.is_empty() {
        true => Vec::new(),
        false => vec![format!("tables that are not of MogileFS are not copied: {}", strange.join(", "))],
    }
}

fn examine_all(
    source: &mut Side,
    target: Option<Side>,
    to: &DatabaseSettings,
    to_backend: Backend,
    options: &CopyOptions,
    watch: &mut Watch<'_>,
) -> StoreResult<Vec<Obstacle>> {
    watch.phase(CopyPhase::Examine);
    let form = KeyForm::of(to_backend, to);
    match target {
        None => {
            let mut target = Destination { backend: to_backend, form, catalog: &Catalog::default(), conn: None };
            examine::examine(source, &mut target, &options.left_out, watch)
        }
        Some(Side { mut conn, catalog, .. }) => {
            let mut target = Destination { backend: to_backend, form, catalog: &catalog, conn: Some(&mut conn) };
            examine::examine(source, &mut target, &options.left_out, watch)
        }
    }
}

fn copy(
    source: &mut Side,
    to: &DatabaseSettings,
    identity: &str,
    options: &CopyOptions,
    watch: &mut Watch<'_>,
) -> StoreResult<CopyOutcome> {
    let mut target = open_target(source, to, identity)?;
    let tables = source.tables();
    if let Some(table) = tables.iter().find(|table| target.catalog.table(table.name).is_none()) {
        return Err(StoreError::Schema(format!("the target has no table {}", table.name)));
    }
    watch.phase(CopyPhase::Copy);
    for &table in &tables {
        copy_table(table, source, &mut target, watch)?;
    }
    if options.is_ahead {
        return Ok(CopyOutcome::Ahead);
    }
    if options.update {
        watch.phase(CopyPhase::Update);
        compare::update(&tables, source, &mut target, watch)?;
    }
    watch.phase(CopyPhase::Compare);
    let (copied, differences) = compare_all(&tables, source, &mut target, watch)?;
    if !differences.is_empty() {
        return Ok(CopyOutcome::Different(differences));
    }
    finish(source, &mut target, &copied)
}

/// Makes the tables where they are missing, and takes the schema version away: from here on this is a copy under way.
fn open_target(source: &Side, to: &DatabaseSettings, identity: &str) -> StoreResult<Side> {
    let is_begun = match Side::open(to, Purpose::Read)? {
        None => false,
        Some(mut there) => is_target(&mut there)? && state::source(&mut there.conn)?.is_some(),
    };
    if !is_begun {
        setup(to, SetupOptions { wide_fids: false, keep_version: true })?;
        extension_tables::setup(to, &extensions_of(source))?;
    }
    let absent = || StoreError::Other("the target is gone".to_owned());
    if !is_begun {
        let mut target = Side::open(to, Purpose::Write)?.ok_or_else(absent)?;
        // In this order: with both, the target would be taken for one whose copy is whole.
        server_settings::set(&mut target.conn, VERSION_FIELD, None)?;
        state::create(&mut target.conn, identity)?;
    }
    Side::open(to, Purpose::Write)?.ok_or_else(absent)
}

fn extensions_of(source: &Side) -> BTreeSet<ExtensionTables> {
    let tables = source.tables();
    let has = |name: &str| tables.iter().any(|table| table.name == name);
    let all =
        [(ExtensionTables::FilePaths, "plugin_filepaths_paths"), (ExtensionTables::MetaData, "plugin_metadata_data")];
    all.into_iter().filter(|(_, name)| has(name)).map(|(tables, _)| tables).collect()
}

fn copy_table(
    table: &'static ExpectedTable,
    source: &mut Side,
    target: &mut Side,
    watch: &mut Watch<'_>,
) -> StoreResult<()> {
    let mut progress: Progress = state::load(&mut target.conn, table.name)?;
    let rooms = rooms(target.backend(), target.form, &target.catalog, table);
    watch.table(table.name, source.count(table)?);
    watch.now.rows = progress.rows;
    while !progress.is_whole {
        let page = source.page(table, progress.position().as_deref())?;
        // Texts have another order in the target: such tables are one page.
        let last = page.last().map(|row| key_of(table, row)).filter(|_| !rows::is_keyed_by_text(table));
        progress.advance(last, page.len(), is_last_page(table, &page));
        let fitted = page.iter().map(|row| compare::fitted(table, &rooms, row)).collect::<StoreResult<Vec<_>>>()?;
        begin(&mut target.conn)?;
        for rows in fitted.chunks(side::PAGE_ROWS) {
            insert(&mut target.conn, table, rows.to_vec())?;
        }
        state::store(&mut target.conn, table.name, &progress)?;
        commit(&mut target.conn)?;
        watch.rows(page.len())?;
    }
    Ok(())
}

fn compare_all(
    tables: &[&'static ExpectedTable],
    source: &mut Side,
    target: &mut Side,
    watch: &mut Watch<'_>,
) -> StoreResult<(Vec<TableCopy>, Vec<Difference>)> {
    let (mut copied, mut differences) = (Vec::new(), Vec::new());
    source.begin_snapshot()?;
    for &table in tables {
        let (copy, difference) = compare::compare(table, source, target, watch)?;
        copied.push(copy);
        differences.extend(difference);
    }
    source.end_snapshot()?;
    Ok((copied, differences))
}

/// Looks once more whether the source is as it was; then counters, and last of all the schema version.
fn finish(source: &mut Side, target: &mut Side, copied: &[TableCopy]) -> StoreResult<CopyOutcome> {
    let changed = compare::changed_since(source, copied)?;
    if !changed.is_empty() {
        let difference = |table| Difference {
            table,
            count: 0,
            examples: vec!["the source has changed while it was compared".to_owned()],
        };
        return Ok(CopyOutcome::Different(changed.into_iter().map(difference).collect()));
    }
    for table in source.tables() {
        for column in table.columns.iter().filter(|column| column.is_counted) {
            let last = counters::last_number(source, table, column.name)?;
            counters::raise(&mut target.conn, table.name, column.name, last)?;
        }
    }
    begin(&mut target.conn)?;
    super::fid_counter::raise(&mut target.conn)?;
    server_settings::set(&mut target.conn, VERSION_FIELD, Some(&SCHEMA_VERSION.to_string()))?;
    commit(&mut target.conn)?;
    state::drop_table(&mut target.conn)?;
    Ok(CopyOutcome::Copied(copied.to_vec()))
}
