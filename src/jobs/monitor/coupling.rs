//! Which round answers which request for a fresh view (jobs.md 4.1).
//!
//! Readings of the database and rounds of device checks are numbered: a request is released only by a round that began
//! after a reading that began after the request. Pure; it never says how long anything takes.

/// Requests that wait, and how far readings and rounds have come. `W` is whoever waits.
#[derive(Debug)]
pub struct Coupling<W> {
    readings_begun: u64,
    reading_runs: bool,
    /// The newest reading that came to its end.
    reading_ended: u64,
    /// The newest reading that the round under way began after.
    round: Option<u64>,
    requests: Vec<Request<W>>,
}

#[derive(Debug)]
struct Request<W> {
    /// The first reading that began after it.
    reading: u64,
    waiter: W,
}

/// What waiting requests need next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Reading,
    Round,
}

impl<W> Default for Coupling<W> {
    fn default() -> Self {
        Self { readings_begun: 0, reading_runs: false, reading_ended: 0, round: None, requests: Vec::new() }
    }
}

impl<W> Coupling<W> {
    /// Somebody wants to hear of what is there from now on.
    pub fn request(&mut self, waiter: W) {
        self.requests.push(Request { reading: self.readings_begun + 1, waiter });
    }

    /// False if a reading runs already: only one at a time.
    pub fn begin_reading(&mut self) -> bool {
        if self.reading_runs {
            return false;
        }
        self.reading_runs = true;
        self.readings_begun += 1;
        true
    }

    /// A reading ended, whatever came of it: who waits in an outage is answered with what is known.
    pub fn end_reading(&mut self) {
        self.reading_runs = false;
        self.reading_ended = self.readings_begun;
    }

    /// False if a round runs already: only one at a time.
    pub fn begin_round(&mut self) -> bool {
        if self.round.is_some() {
            return false;
        }
        self.round = Some(self.reading_ended);
        true
    }

    /// Ends the round: the number of the newest reading that it began after, and those whom it releases.
    pub fn end_round(&mut self) -> (u64, Vec<W>) {
        let includes = self.round.take().unwrap_or(0);
        let (released, waiting) =
            std::mem::take(&mut self.requests).into_iter().partition(|one| one.reading <= includes);
        self.requests = waiting;
        (includes, released.into_iter().map(|one: Request<W>| one.waiter).collect())
    }

    /// What is to be begun now for those who wait, if anything.
    pub fn need(&self) -> Option<Need> {
        let newest = self.requests.iter().map(|request| request.reading).max()?;
        if newest > self.reading_ended {
            return (!self.reading_runs).then_some(Need::Reading);
        }
        self.round.is_none().then_some(Need::Round)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_idle_monitor_reads_then_looks_then_answers() {
        let mut coupling = Coupling::default();
        assert_eq!(coupling.need(), None);
        coupling.request('a');
        assert_eq!(coupling.need(), Some(Need::Reading));
        assert!(coupling.begin_reading());
        assert_eq!(coupling.need(), None);
        coupling.end_reading();
        assert_eq!(coupling.need(), Some(Need::Round));
        assert!(coupling.begin_round());
        assert_eq!(coupling.end_round(), (1, vec!['a']));
        assert_eq!(coupling.need(), None);
    }

    /// J34.
    #[test]
    fn a_round_under_way_releases_nobody_who_came_after_it_began() {
        let mut coupling = Coupling::default();
        assert!(coupling.begin_reading());
        coupling.end_reading();
        assert!(coupling.begin_round());
        coupling.request('a');
        assert_eq!(coupling.need(), Some(Need::Reading));
        assert!(coupling.begin_reading());
        coupling.end_reading();
        assert_eq!(coupling.need(), None, "the round under way comes first");
        assert_eq!(coupling.end_round(), (1, vec![]));
        assert_eq!(coupling.need(), Some(Need::Round));
        assert!(coupling.begin_round() && !coupling.begin_round());
        assert_eq!(coupling.end_round(), (2, vec!['a']));
    }

    /// J34: the same for a reading under way.
    #[test]
    fn a_reading_under_way_is_too_old() {
        let mut coupling = Coupling::default();
        assert!(coupling.begin_reading());
        coupling.request('a');
        assert!(!coupling.begin_reading());
        coupling.end_reading();
        assert_eq!(coupling.need(), Some(Need::Reading));
    }

    #[derive(Clone, Debug)]
    enum Event {
        Request,
        BeginReading,
        EndReading,
        BeginRound,
        EndRound,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Request),
            Just(Event::BeginReading),
            Just(Event::EndReading),
            Just(Event::BeginRound),
            Just(Event::EndRound)
        ]
    }

    proptest! {
        /// Whatever the order of events: who is released waited for a reading and a round that began one after the other
        /// after the request; and who does what is needed releases all.
        #[test]
        fn nobody_is_released_early_or_never(events in proptest::collection::vec(event(), 0..60)) {
            let mut coupling = Coupling::default();
            let (mut reading_began, mut reading_done_from, mut round_reads_from) = (None, 0, None);
            for (now, event) in (1_usize..).zip(events) {
                match event {
                    Event::Request => coupling.request(now),
                    Event::BeginReading => if coupling.begin_reading() { reading_began = Some(now) },
                    Event::EndReading => if let Some(began) = reading_began.take() {
                        coupling.end_reading();
                        reading_done_from = began;
                    },
                    Event::BeginRound => if coupling.begin_round() { round_reads_from = Some(reading_done_from) },
                    Event::EndRound => if let Some(read_from) = round_reads_from.take() {
                        for requested in coupling.end_round().1 {
                            prop_assert!(requested < read_from, "asked at {requested}, read from {read_from}");
                        }
                    },
                }
            }
            if reading_began.is_some() {
                coupling.end_reading();
            }
            if round_reads_from.is_some() {
                coupling.end_round();
            }
            for _ in 0..2 {
                match coupling.need() {
                    Some(Need::Reading) => { coupling.begin_reading(); coupling.end_reading(); }
                    Some(Need::Round) => { coupling.begin_round(); coupling.end_round(); }
                    None => {}
                }
            }
            prop_assert_eq!(coupling.need(), None);
        }
    }
}
