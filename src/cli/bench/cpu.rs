//! CPU time of this process, as the kernel counts it.

use std::time::Duration;

/// Linux tells user programs times in hundredths of a second on every architecture that Rust's standard library has.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time so far; `None` where there is no `/proc`.
pub(super) fn process_time() -> Option<Duration> {
    parse_stat(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Fields 14 and 15; the second field is a name in parentheses that may hold blanks and parentheses itself.
fn parse_stat(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_behind_odd_names() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 150 25 0 0 20 0 1 0 9 9 9";
        assert_eq!(parse_stat(stat), Some(Duration::from_millis(1750)));
        assert_eq!(parse_stat("nonsense"), None);
    }
}
