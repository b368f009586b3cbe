//! Holding the target against the source, row by row, and bringing it up to the source where it differs.

use super::examine::{EXAMPLES_MAX, Obstacles, fit, rooms, shortened};
use super::fitting::Room;
use super::rows::{Row, insert, key_of, name_of, remove};
use super::side::{PAGE_ROWS, Side, Stream};
use super::{Difference, TableCopy, Watch};
use crate::store::connection::{begin, commit};
use crate::store::error::{StoreError, StoreResult};
use crate::store::expected::ExpectedTable;
use sha2::{Digest as _, Sha256};
use std::cmp::Ordering;

/// How a row of the source and one of the target stand to each other.
enum Pair {
    Same(Row),
    Changed { source: Row, target: Row },
    OnlySource(Row),
    OnlyTarget(Row),
}

/// Two streams of rows, side by side.
struct Pairs<'a> {
    table: &'static ExpectedTable,
    sources: Stream<'a>,
    targets: Stream<'a>,
    source: Option<Row>,
    target: Option<Row>,
}

impl<'a> Pairs<'a> {
    fn new(table: &'static ExpectedTable, source: &'a mut Side, target: &'a mut Side) -> StoreResult<Self> {
        let (mut sources, mut targets) = (Stream::new(source, table), Stream::new(target, table));
        let (source, target) = (sources.next()?, targets.next()?);
        Ok(Self { table, sources, targets, source, target })
    }

    fn next(&mut self) -> StoreResult<Option<Pair>> {
        let order = match (&self.source, &self.target) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(source), Some(target)) => key_of(self.table, source).cmp(&key_of(self.table, target)),
        };
        let source = if order.is_le() { self.source.take() } else { None };
        let target = if order.is_ge() { self.target.take() } else { None };
        if order.is_le() {
            self.source = self.sources.next()?;
        }
        if order.is_ge() {
            self.target = self.targets.next()?;
        }
        Ok(match (source, target) {
            (Some(source), Some(target)) if source == target => Some(Pair::Same(source)),
            (Some(source), Some(target)) => Some(Pair::Changed { source, target }),
            (Some(source), None) => Some(Pair::OnlySource(source)),
            (None, Some(target)) => Some(Pair::OnlyTarget(target)),
            (None, None) => None,
        })
    }
}

/// Compares one table; says what differs.
pub(super) fn compare(
    table: &'static ExpectedTable,
    source: &mut Side,
    target: &mut Side,
    watch: &mut Watch<'_>,
) -> StoreResult<(TableCopy, Option<Difference>)> {
    watch.table(table.name, source.count(table)?);
    let mut sums = (Sum::default(), Sum::default());
    let mut difference = Difference { table: table.name, count: 0, examples: Vec::new() };
    let mut last = None;
    let mut pairs = Pairs::new(table, source, target)?;
    while let Some(pair) = pairs.next()? {
        let text = match pair {
            Pair::Same(row) => {
                sums.0.add(&row);
                sums.1.add(&row);
                last = Some(key_of(table, &row));
                None
            }
            Pair::Changed { source, target } => {
                sums.0.add(&source);
                sums.1.add(&target);
                let text = changed(table, &source, &target);
                last = Some(key_of(table, &source));
                Some(text)
            }
            Pair::OnlySource(row) => {
                sums.0.add(&row);
                last = Some(key_of(table, &row));
                Some(format!("{} is only in the source", name_of(table, &row)))
            }
            Pair::OnlyTarget(row) => {
                sums.1.add(&row);
                Some(format!("{} is only in the target", name_of(table, &row)))
            }
        };
        watch.rows(1)?;
        if let Some(text) = text {
            difference.count += 1;
            if difference.examples.len() < EXAMPLES_MAX {
                difference.examples.push(text);
            }
        }
    }
    let (from, to) = (sums.0.finish(), sums.1.finish());
    if difference.count == 0 && from != to {
        return Err(StoreError::Other(format!("the checksums of {} differ, though no row does", table.name)));
    }
    let (rows, checksum) = from;
    let copied = TableCopy { table: table.name, rows, checksum, last };
    Ok((copied, Some(difference).filter(|difference| difference.count > 0)))
}

fn changed(table: &ExpectedTable, source: &Row, target: &Row) -> String {
    let columns = table.columns.iter().zip(source.iter().zip(target));
    let columns = columns.filter(|(_, (from, to))| from != to).map(|(column, (from, to))| {
        format!("{} is {} in the source and {} in the target", column.name, shortened(from), shortened(to))
    });
    format!("{}: {}", name_of(table, source), columns.collect::<Vec<_>>().join(", "))
}

/// The number of rows, and one checksum over all of them in their order.
#[derive(Default)]
struct Sum {
    rows: u64,
    digest: Sha256,
    buffer: Vec<u8>,
}

impl Sum {
    fn add(&mut self, row: &Row) {
        self.buffer.clear();
        row.iter().for_each(|value| value.canonical(&mut self.buffer));
        self.digest.update((row.len() as u64).to_be_bytes());
        self.digest.update(&self.buffer);
        self.rows += 1;
    }

    fn finish(self) -> (u64, String) {
        (self.rows, self.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// The number of rows of a table and their checksum.
fn sum(side: &mut Side, table: &'static ExpectedTable) -> StoreResult<(u64, String)> {
    let mut sum = Sum::default();
    let mut rows = Stream::new(side, table);
    while let Some(row) = rows.next()? {
        sum.add(&row);
    }
    Ok(sum.finish())
}

/// Tables of so many rows are read once more at the very end; of larger ones number and last row are looked at.
const SMALL_TABLE_ROWS: u64 = 20_000;

/// Has the source changed since it was compared? Names the tables that have.
pub(super) fn changed_since(source: &mut Side, compared: &[TableCopy]) -> StoreResult<Vec<&'static str>> {
    let mut changed = Vec::new();
    for table in source.tables() {
        let Some(before) = compared.iter().find(|copy| copy.table == table.name) else {
            changed.push(table.name);
            continue;
        };
        let is_same = if before.rows <= SMALL_TABLE_ROWS {
            sum(source, table)? == (before.rows, before.checksum.clone())
        } else {
            source.count(table)? == before.rows && source.page(table, before.last.as_deref())?.is_empty()
        };
        if !is_same {
            changed.push(table.name);
        }
    }
    Ok(changed)
}

/// Brings the target up to the source. What is to go goes first, from all tables: it may have the keys of what is to come.
pub(super) fn update(
    tables: &[&'static ExpectedTable],
    source: &mut Side,
    target: &mut Side,
    watch: &mut Watch<'_>,
) -> StoreResult<()> {
    for &table in tables {
        let mut stale: Vec<Row> = Vec::new();
        walk(table, source, target, watch, |pair| match pair {
            Pair::Changed { target, .. } | Pair::OnlyTarget(target) => stale.push(target),
            Pair::Same(_) | Pair::OnlySource(_) => {}
        })?;
        let rooms = rooms(target.backend(), target.form, &target.catalog, table);
        for rows in stale.chunks(PAGE_ROWS) {
            begin(&mut target.conn)?;
            for row in rows {
                let row = fitted(table, &rooms, row)?;
                remove(&mut target.conn, table, key_of(table, &row))?;
            }
            commit(&mut target.conn)?;
        }
    }
    for &table in tables {
        let mut missing: Vec<Row> = Vec::new();
        walk(table, source, target, watch, |pair| match pair {
            Pair::Changed { source, .. } | Pair::OnlySource(source) => missing.push(source),
            Pair::Same(_) | Pair::OnlyTarget(_) => {}
        })?;
        let rooms = rooms(target.backend(), target.form, &target.catalog, table);
        for rows in missing.chunks(PAGE_ROWS) {
            let rows = rows.iter().map(|row| fitted(table, &rooms, row)).collect::<StoreResult<Vec<Row>>>()?;
            begin(&mut target.conn)?;
            insert(&mut target.conn, table, rows)?;
            commit(&mut target.conn)?;
        }
    }
    Ok(())
}

fn walk(
    table: &'static ExpectedTable,
    source: &mut Side,
    target: &mut Side,
    watch: &mut Watch<'_>,
    mut note: impl FnMut(Pair),
) -> StoreResult<()> {
    watch.table(table.name, source.count(table)?);
    let mut pairs = Pairs::new(table, source, target)?;
    while let Some(pair) = pairs.next()? {
        watch.rows(1)?;
        note(pair);
    }
    Ok(())
}

/// A row in the form of the target.
///
/// # Errors
/// [`StoreError::InvalidValue`] for one that came after the source was examined, and does not fit.
pub(super) fn fitted(table: &ExpectedTable, rooms: &[Room], row: &Row) -> StoreResult<Row> {
    fit(rooms, row).map_err(|(place, reason)| {
        let (name, column, value) = (name_of(table, row), table.columns[place].name, shortened(&row[place]));
        StoreError::InvalidValue(format!("{}.{column}, {name}: {value}: {reason}", table.name))
    })
}

/// For rows of the target that were not expected.
pub(super) fn strangers(target: &mut Side) -> StoreResult<Obstacles> {
    let mut obstacles = Obstacles::default();
    for table in target.tables() {
        let rows = target.count(table)?;
        if rows > 0 {
            let reason = "the target has rows already: it must be empty".to_owned();
            obstacles.add_many(table.name.to_owned(), reason, rows, |_| Vec::new());
        }
    }
    Ok(obstacles)
}

#[cfg(test)]
mod tests {
    use super::super::rows::Value;
    use super::*;

    #[test]
    fn sums_are_of_rows_and_their_order() {
        let sum = |rows: &[Row]| {
            let mut sum = Sum::default();
            rows.iter().for_each(|row| sum.add(row));
            sum.finish()
        };
        let (a, b) = (vec![Value::Int(1), Value::Null], vec![Value::Int(2), Value::Text(b"x".to_vec())]);
        assert_eq!(sum(&[a.clone(), b.clone()]), sum(&[a.clone(), b.clone()]));
        assert_ne!(sum(&[a.clone(), b.clone()]), sum(&[b, a.clone()]));
        assert_ne!(sum(std::slice::from_ref(&a)), sum(&[vec![Value::Int(1)], vec![Value::Null]]));
        assert_eq!(sum(&[a]).0, 1);
    }
}
