//! What fsck writes into its log: four letters, and the device that an event is about (jobs.md 10.7).

use crate::ids::DevId;

/// One row of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    pub evcode: Evcode,
    pub devid: Option<DevId>,
}

/// The codes that trackers of the reference know too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evcode {
    NoPlaces,
    PolicyViolated,
    Missing,
    WrongLength,
    SearchBegan,
    Found,
    Gone,
    ReplicationRequested,
    WrongDevcount,
    WrongChecksum,
    ChecksumStored,
    CopiesDiffer,
    OtherAlgorithm,
}

impl Evcode {
    /// As in the column.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoPlaces => "NOPA",
            Self::PolicyViolated => "POVI",
            Self::Missing => "MISS",
            Self::WrongLength => "BLEN",
            Self::SearchBegan => "SRCH",
            Self::Found => "FOND",
            Self::Gone => "GONE",
            Self::ReplicationRequested => "REPL",
            Self::WrongDevcount => "BCNT",
            Self::WrongChecksum => "BSUM",
            Self::ChecksumStored => "NSUM",
            Self::CopiesDiffer => "MSUM",
            Self::OtherAlgorithm => "BALG",
        }
    }

    /// An event about the file as a whole.
    pub fn of_file(self) -> Event {
        Event { evcode: self, devid: None }
    }

    /// An event about a copy.
    pub fn of_copy(self, devid: DevId) -> Event {
        Event { evcode: self, devid: Some(devid) }
    }
}
