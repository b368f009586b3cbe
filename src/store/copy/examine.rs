//! What could not be copied as it is, found by looking at every row before anything is written.

use super::fitting::Room;
use super::folding::Folding;
use super::rows::{Row, Statement, Value, is_text, name_of, quoted};
use super::side::{Side, first_text, is_last_page};
use super::{Obstacle, Watch, counters};
use crate::store::check_catalog::Catalog;
use crate::store::connection::{Backend, StoreConnection};
use crate::store::error::StoreResult;
use crate::store::expected::{ExpectedColumn, ExpectedTable};
use crate::store::key_form::KeyForm;
use std::collections::{BTreeMap, BTreeSet};

/// Examples that are shown of each kind.
pub(super) const EXAMPLES_MAX: usize = 5;

/// Obstacles by place and reason.
#[derive(Default)]
pub(super) struct Obstacles {
    found: BTreeMap<(String, String), (u64, Vec<String>)>,
}

impl Obstacles {
    pub(super) fn add(&mut self, place: String, reason: String, example: impl FnOnce() -> String) {
        self.add_many(place, reason, 1, |_| vec![example()]);
    }

    pub(super) fn add_many(
        &mut self,
        place: String,
        reason: String,
        count: u64,
        examples: impl FnOnce(usize) -> Vec<String>,
    ) {
        let entry = self.found.entry((place, reason)).or_default();
        entry.0 += count;
        let room = EXAMPLES_MAX - entry.1.len().min(EXAMPLES_MAX);
        if room > 0 {
            entry.1.extend(examples(room).into_iter().take(room));
        }
    }

    pub(super) fn into_list(self) -> Vec<Obstacle> {
        let obstacle = |((place, reason), (count, examples))| Obstacle { place, reason, count, examples };
        self.found.into_iter().map(obstacle).collect()
    }
}

/// The target, as far as it is there.
pub(super) struct Destination<'a> {
    pub(super) backend: Backend,
    pub(super) form: KeyForm,
    pub(super) catalog: &'a Catalog,
    pub(super) conn: Option<&'a mut StoreConnection>,
}

impl Destination<'_> {
    /// The room of each column of a table.
    pub(super) fn rooms(&self, table: &ExpectedTable) -> Vec<Room> {
        rooms(self.backend, self.form, self.catalog, table)
    }
}

pub(super) fn rooms(backend: Backend, form: KeyForm, catalog: &Catalog, table: &ExpectedTable) -> Vec<Room> {
    let room =
        |expected: &ExpectedColumn| Room::of(backend, form, table, expected, catalog.column(table.name, expected.name));
    table.columns.iter().map(room).collect()
}

/// The row in the form of the target, or the first column that does not fit, and why.
pub(super) fn fit(rooms: &[Room], row: &Row) -> Result<Row, (usize, String)> {
    let values = rooms.iter().zip(row).enumerate();
    values.map(|(place, (room, value))| room.fit(value).map_err(|reason| (place, reason.into_owned()))).collect()
}

/// Looks at every row of the source.
pub(super) fn examine(
    source: &mut Side,
    target: &mut Destination<'_>,
    left_out: &BTreeSet<String>,
    watch: &mut Watch<'_>,
) -> StoreResult<Vec<Obstacle>> {
    let mut obstacles = Obstacles::default();
    for table in source.tables() {
        further_columns(source, table, left_out, &mut obstacles)?;
        unreadable(source, table, &mut obstacles)?;
        numbers_left(source, target, table, &mut obstacles)?;
        rows(source, target, table, &mut obstacles, watch)?;
    }
    Ok(obstacles.into_list())
}

fn rows(
    source: &mut Side,
    target: &mut Destination<'_>,
    table: &'static ExpectedTable,
    obstacles: &mut Obstacles,
    watch: &mut Watch<'_>,
) -> StoreResult<()> {
    let rooms = target.rooms(table);
    let mut foldings = Folding::of(target, table)?;
    let mut after = None;
    watch.table(table.name, source.count(table)?);
    loop {
        let page = source.page(table, after.as_deref())?;
        let is_last = is_last_page(table, &page);
        after = page.last().map(|row| super::rows::key_of(table, row));
        watch.rows(page.len())?;
        let mut fitting = Vec::with_capacity(page.len());
        for row in &page {
            match fit(&rooms, row) {
                Ok(fitted) => fitting.push((name_of(table, row), fitted)),
                Err((place, reason)) => {
                    let column = table.columns[place].name;
                    let example = || format!("{}: {}", name_of(table, row), shortened(&row[place]));
                    obstacles.add(format!("{}.{column}", table.name), reason, example);
                }
            }
        }
        for folding in &mut foldings {
            folding.feed(target, &fitting)?;
        }
        if is_last {
            break;
        }
    }
    foldings.into_iter().try_for_each(|folding| folding.finish(target, obstacles))
}

pub(super) fn shortened(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.chars().count()),
    }
}

/// Columns that no version of the schema has: what they hold would be lost.
fn further_columns(
    source: &mut Side,
    table: &ExpectedTable,
    left_out: &BTreeSet<String>,
    obstacles: &mut Obstacles,
) -> StoreResult<()> {
    let Some(there) = source.catalog.table(table.name) else { return Ok(()) };
    let is_further = |name: &str| !table.columns.iter().any(|column| column.name == name);
    let further: Vec<String> =
        there.columns.iter().filter(|column| is_further(&column.name)).map(|column| column.name.clone()).collect();
    for column in further {
        let place = format!("{}.{column}", table.name);
        if left_out.contains(&place) {
            continue;
        }
        let backend = source.backend();
        let (from, name) = (quoted(backend, table.name), quoted(backend, &column));
        let count = format!("SELECT COUNT(*) AS i FROM {from} WHERE {name} IS NOT NULL");
        let count = Statement::new(count).number(&mut source.conn)?.unwrap_or(0);
        if let Some(count) = u64::try_from(count).ok().filter(|&count| count > 0) {
            let reason = format!("a further column, which has no place in the target (--leave-out {place})");
            obstacles.add_many(place, reason, count, |_| Vec::new());
        }
    }
    Ok(())
}

/// What the connection to the source cannot show as it is.
fn unreadable(source: &mut Side, table: &ExpectedTable, obstacles: &mut Obstacles) -> StoreResult<()> {
    for column in table.columns {
        let Some((condition, reason)) = unreadable_if(source, column) else { continue };
        let backend = source.backend();
        let from = quoted(backend, table.name);
        let count = Statement::new(format!("SELECT COUNT(*) AS i FROM {from} WHERE {condition}"));
        let count = u64::try_from(count.number(&mut source.conn)?.unwrap_or(0)).unwrap_or(0);
        if count == 0 {
            continue;
        }
        let shown = format!("SELECT {} AS t FROM {from} WHERE {condition} LIMIT 1", as_text(source, column));
        let example = first_text(Statement::new(shown).rows(&mut source.conn)?);
        obstacles.add_many(format!("{}.{}", table.name, column.name), reason, count, |_| example.into_iter().collect());
    }
    Ok(())
}

fn as_text(source: &Side, column: &ExpectedColumn) -> String {
    let name = quoted(source.backend(), column.name);
    match source.backend() {
        Backend::Mysql => format!("HEX({name})"),
        Backend::Sqlite | Backend::Postgres => format!("CAST({name} AS TEXT)"),
    }
}

fn unreadable_if(source: &Side, column: &ExpectedColumn) -> Option<(String, String)> {
    let name = quoted(source.backend(), column.name);
    match source.backend() {
        // A type is a hint there, and any value is taken.
        Backend::Sqlite if !is_text(column.kind) && !matches!(column.kind, crate::store::expected::Kind::Bytes(_)) => {
            Some((
                format!("typeof({name}) NOT IN ('integer', 'null')"),
                "no whole number, in a column of numbers".to_owned(),
            ))
        }
        Backend::Mysql if is_text(column.kind) => {
            let charset = match source.form {
                KeyForm::Cp1252 => "latin1",
                KeyForm::Utf8OfThreeBytes => "utf8",
                _ => return None,
            };
            // The server shows a question mark in the place of what the connection does not have.
            Some((
                format!(
                    "HEX(CONVERT({name} USING utf8mb4)) <> HEX(CONVERT(CONVERT({name} USING {charset}) USING utf8mb4))"
                ),
                format!("characters that a connection with the character set {charset} does not show"),
            ))
        }
        // Numbers from 2^63 on.
        Backend::Mysql if !matches!(column.kind, crate::store::expected::Kind::Bytes(_)) => {
            Some((format!("{name} > 9223372036854775807"), "a number that this program does not have".to_owned()))
        }
        _ => None,
    }
}

/// Counters that go on in the target, where the next number must fit, too.
fn numbers_left(
    source: &mut Side,
    target: &Destination<'_>,
    table: &'static ExpectedTable,
    obstacles: &mut Obstacles,
) -> StoreResult<()> {
    let rooms = target.rooms(table);
    for (column, room) in table.columns.iter().zip(&rooms).filter(|(column, _)| column.is_counted) {
        let last = counters::last_number(source, table, column.name)?;
        if last >= room.largest() {
            let reason =
                format!("no number is left: {last} is in use, and the target's column ends at {}", room.largest());
            obstacles.add(format!("{}.{}", table.name, column.name), reason, || format!("{last}"));
        }
    }
    Ok(())
}
