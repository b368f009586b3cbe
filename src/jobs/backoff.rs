//! Retry times: failure count in, delay out. Pure. Source: jobs.md 7.3 (replication), 8.3 (deletion).

use crate::clock::Chance;
use rand::RngExt;

/// Seconds until a failed replication is tried again: 15 s, 1 min, 5 min, 30 min, 1 h, 2 h, 4 h, 8 h, then a day, times
/// a random 0.8 to 1.2.
pub fn replication_delay_secs(failcount: i64, chance: &mut Chance) -> i64 {
    const BASE_SECS: [i64; 9] = [15, 60, 300, 1800, 3600, 7200, 14_400, 28_800, 86_400];
    let index = usize::try_from(failcount).unwrap_or(0).min(BASE_SECS.len() - 1);
    let factor = chance.random_range(0.8..1.2);
    (BASE_SECS[index] as f64 * factor) as i64
}

/// Why a copy could not be deleted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeleteObstacle {
    /// Somebody else works on the file.
    Locked,
    /// The device is not observed writeable.
    NotWriteable,
    /// The node refused or could not be reached.
    NodeRefused,
    /// The state of the device or its host forbids it.
    StateForbids,
}

impl DeleteObstacle {
    /// Does it count? Not that somebody is at work on the file: one that takes its time over a long copy would make the
    /// file wait for days, and its unknown devices be given up at once.
    pub fn is_failure(self) -> bool {
        self != Self::Locked
    }
}

/// Seconds until a deletion is tried again.
pub fn delete_delay_secs(obstacle: DeleteObstacle, failcount: i64) -> i64 {
    match obstacle {
        DeleteObstacle::Locked => 1,
        DeleteObstacle::NotWriteable => 60 * (10 + failcount),
        DeleteObstacle::NodeRefused => 1800 * (1 + failcount),
        DeleteObstacle::StateForbids => 3600 * (1 + failcount),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::chance_from_seed;

    /// J63.
    #[test]
    fn replication_backs_off_to_a_day() {
        let mut chance = chance_from_seed(1);
        for (failcount, base) in [15, 60, 300, 1800, 3600, 7200, 14_400, 28_800, 86_400, 86_400].into_iter().enumerate()
        {
            for _ in 0..50 {
                let delay = replication_delay_secs(failcount as i64, &mut chance) as f64;
                assert!((0.8 * f64::from(base) - 1.0..1.2 * f64::from(base)).contains(&delay), "{failcount}: {delay}");
            }
        }
    }

    /// J90, J92, J93, J95.
    #[test]
    fn deletion_waits_by_obstacle() {
        let delays = |failcount| {
            [
                DeleteObstacle::Locked,
                DeleteObstacle::NotWriteable,
                DeleteObstacle::NodeRefused,
                DeleteObstacle::StateForbids,
            ]
            .map(|obstacle| delete_delay_secs(obstacle, failcount))
        };
        assert_eq!(delays(0), [1, 600, 1800, 3600]);
        assert!(!DeleteObstacle::Locked.is_failure() && DeleteObstacle::NotWriteable.is_failure());
        assert_eq!(delays(2), [1, 720, 5400, 10_800]);
    }
}
