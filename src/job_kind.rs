//! The kinds of workers a tracker runs, under the names that operators know from `!jobs` and `!want`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A kind of worker. The order is the alphabetical one of `!jobs` (admin-console.md A.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobKind {
    Delete,
    Fsck,
    JobMaster,
    Monitor,
    QueryWorker,
    Reaper,
    Replicate,
}

impl JobKind {
    /// All kinds, in the order of `!jobs`.
    pub const ALL: [JobKind; 7] = [
        JobKind::Delete,
        JobKind::Fsck,
        JobKind::JobMaster,
        JobKind::Monitor,
        JobKind::QueryWorker,
        JobKind::Reaper,
        JobKind::Replicate,
    ];

    /// The name on the console and in settings.
    pub fn name(self) -> &'static str {
        match self {
            JobKind::Delete => "delete",
            JobKind::Fsck => "fsck",
            JobKind::JobMaster => "job_master",
            JobKind::Monitor => "monitor",
            JobKind::QueryWorker => "queryworker",
            JobKind::Reaper => "reaper",
            JobKind::Replicate => "replicate",
        }
    }

    /// A worker of this kind that shows no life for so long is given up (config-and-startup.md 6).
    pub fn silence_max(self) -> Duration {
        Duration::from_secs(match self {
            JobKind::Monitor | JobKind::QueryWorker => 30,
            JobKind::Replicate => 90,
            JobKind::Delete | JobKind::Fsck | JobKind::JobMaster => 120,
            JobKind::Reaper => 240,
        })
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for JobKind {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        JobKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or(())
    }
}
