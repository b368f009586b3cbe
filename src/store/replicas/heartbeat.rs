//! How far behind a replica is: the tracker counts in one row of the master, and looks which number a replica shows.
//!
//! Needs no privilege, works alike on all databases, and says more than they tell themselves: what was committed before a
//! number was written is on every replica that shows the number.

use super::super::connection::StoreConnection;
use super::super::error::StoreResult;
use super::super::schema::server_settings as table;
use super::super::server_settings;
use diesel::prelude::*;
use rand::RngExt as _;
use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

/// Server setting: the row.
pub(super) const BEAT_SETTING: &str = "replica_heartbeat";

/// Beats that are remembered.
const BEATS_MAX: usize = 10_000;

/// What the row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beat {
    /// Made up once for each database: another cluster's numbers mean nothing here.
    mark: u64,
    count: u64,
}

impl Beat {
    fn parse(text: &str) -> Option<Self> {
        let (mark, count) = text.trim().split_once('-')?;
        Some(Self { mark: u64::from_str_radix(mark, 16).ok()?, count: count.parse().ok()? })
    }

    /// Another mark if there is nothing to count on from.
    fn after(present: Option<Self>) -> Self {
        match present {
            Some(Self { mark, count }) if count < u64::MAX => Self { mark, count: count + 1 },
            _ => Self { mark: rand::rng().random(), count: 1 },
        }
    }
}

impl fmt::Display for Beat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}-{}", self.mark, self.count)
    }
}

/// The number that a database shows.
pub(super) fn read(conn: &mut StoreConnection) -> StoreResult<Option<Beat>> {
    Ok(server_settings::get(conn, BEAT_SETTING)?.as_deref().and_then(Beat::parse))
}

/// Counts on, or anew with another mark, within a transaction on the master. Trackers share the row.
pub(super) fn write(conn: &mut StoreConnection, anew: bool) -> StoreResult<Beat> {
    let row = table::table.filter(table::field.eq(BEAT_SETTING)).select(table::value);
    let rows = load_for_update!(&mut *conn, row, Option<String>)?;
    let present = rows.into_iter().next().flatten();
    let beat = Beat::after(present.as_deref().filter(|_| !anew).and_then(Beat::parse));
    server_settings::set(conn, BEAT_SETTING, Some(&beat.to_string()))?;
    Ok(beat)
}

/// What this tracker wrote, and when.
#[derive(Default)]
pub(super) struct Beats {
    /// With one mark, oldest first; the moment is that before the write.
    written: VecDeque<(Beat, Instant)>,
}

/// What the number that a replica shows says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has all that was committed until then, and is so far behind.
    Measured { has_all_until: Instant, lag: Duration },
    /// Its last number is from before this tracker began to count.
    Behind { lag: Duration },
    /// It shows no number, or none could be written.
    Unknown,
    /// Its numbers are those of another database.
    Foreign,
}

impl Beats {
    /// A beat that was begun at that moment is in the database. False if the database had gone back to an earlier count:
    /// it was restored, so that a higher number says nothing any more, and another mark is needed.
    pub(super) fn add(&mut self, beat: Beat, begun: Instant) -> bool {
        let last = self.written.back().map(|(last, _)| *last);
        let went_back = last.is_some_and(|last| last.mark == beat.mark && last.count >= beat.count);
        if went_back || last.is_some_and(|last| last.mark != beat.mark) {
            self.written.clear();
        }
        if !went_back {
            self.written.push_back((beat, begun));
        }
        if self.written.len() > BEATS_MAX {
            self.written.pop_front();
        }
        !went_back
    }

    /// When the last one was begun.
    pub(super) fn last_begun(&self) -> Option<Instant> {
        self.written.back().map(|(_, begun)| *begun)
    }

    /// Where a replica stands that shows this number now.
    pub(super) fn judge(&self, shown: Option<Beat>, now: Instant) -> Standing {
        let (Some(shown), Some((first, _))) = (shown, self.written.front()) else { return Standing::Unknown };
        if shown.mark != first.mark {
            return Standing::Foreign;
        }
        let shown_here = self.written.partition_point(|(beat, _)| beat.count <= shown.count);
        // As long as it does not show the next one it is behind by all the time since then.
        let lag =
            self.written.get(shown_here).map_or(Duration::ZERO, |(_, begun)| now.saturating_duration_since(*begun));
        match shown_here.checked_sub(1).and_then(|last| self.written.get(last)) {
            Some(&(_, has_all_until)) => Standing::Measured { has_all_until, lag },
            None => Standing::Behind { lag },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(mark: u64, count: u64) -> Beat {
        Beat { mark, count }
    }

    #[test]
    fn beats_are_text_and_count_on() {
        let beat = beat(0xbeef, 41);
        assert_eq!(beat.to_string(), "000000000000beef-41");
        assert_eq!(Beat::parse(&beat.to_string()), Some(beat));
        assert_eq!(Beat::after(Some(beat)), self::beat(0xbeef, 42));
        for unreadable in ["", "41", "x-41", "beef-", "beef--1"] {
            assert_eq!(Beat::parse(unreadable), None, "{unreadable}");
        }
        assert_eq!(Beat::after(None).count, 1);
        assert_eq!(Beat::after(Some(self::beat(1, u64::MAX))).count, 1);
    }

    #[test]
    fn a_replica_is_judged_by_the_number_it_shows() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut beats = Beats::default();
        assert_eq!(beats.judge(Some(beat(1, 5)), start), Standing::Unknown);
        // Between 5 and 7 another tracker counted.
        assert!(beats.add(beat(1, 5), at(0)) && beats.add(beat(1, 7), at(2)));
        assert_eq!(beats.judge(None, at(3)), Standing::Unknown);
        assert_eq!(beats.judge(Some(beat(2, 7)), at(3)), Standing::Foreign);
        assert_eq!(beats.judge(Some(beat(1, 4)), at(3)), Standing::Behind { lag: Duration::from_secs(3) });
        let measured = |until, lag| Standing::Measured { has_all_until: at(until), lag: Duration::from_secs(lag) };
        assert_eq!(beats.judge(Some(beat(1, 5)), at(3)), measured(0, 1));
        assert_eq!(beats.judge(Some(beat(1, 6)), at(9)), measured(0, 7));
        assert_eq!(beats.judge(Some(beat(1, 7)), at(9)), measured(2, 0));
        assert_eq!(beats.judge(Some(beat(1, 99)), at(9)), measured(2, 0));
    }

    /// A replica that was not restored along with its master shows a number that looks like a good one.
    #[test]
    fn a_restored_master_needs_another_mark() {
        let start = Instant::now();
        let mut beats = Beats::default();
        assert!(beats.add(beat(1, 50), start));
        assert!(!beats.add(beat(1, 20), start));
        assert_eq!(beats.judge(Some(beat(1, 50)), start), Standing::Unknown);
        assert!(beats.add(beat(2, 1), start));
        assert_eq!(beats.judge(Some(beat(1, 50)), start), Standing::Foreign);
        assert!(beats.add(beat(2, 2), start));
    }
}
