//! What the system knows of this process. What cannot be read is left out.

use super::text::{Exposition, Kind};
use std::fs;

/// Clock ticks a second in what Linux tells programs, on every architecture.
const TICKS_PER_SEC: f64 = 100.0;

/// Appends memory, processor time and open files.
pub fn write(text: &mut Exposition) {
    if let Some(bytes) = resident_bytes() {
        text.one(Kind::Gauge, "process_resident_memory_bytes", "Memory of the process.", bytes);
    }
    if let Some(secs) = cpu_secs() {
        text.one(Kind::Counter, "process_cpu_seconds_total", "Processor time of the process.", secs);
    }
    if let Some(count) = fs::read_dir("/proc/self/fd").ok().map(Iterator::count) {
        text.one(Kind::Gauge, "process_open_fds", "Open files and sockets of the process.", count);
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn cpu_secs() -> Option<f64> {
    cpu_ticks(&fs::read_to_string("/proc/self/stat").ok()?).map(|ticks| ticks as f64 / TICKS_PER_SEC)
}

/// In user and kernel mode. The name of the process, in parentheses, may contain anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 123 45 0 0 20 0 5 0 1 2 3";
        assert_eq!(cpu_ticks(stat), Some(168));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let mut text = Exposition::default();
        write(&mut text);
        let text = text.into_text();
        for name in ["resident_memory_bytes", "cpu_seconds_total", "open_fds"] {
            assert!(text.contains(&format!("\nmogilefs_process_{name} ")), "{text}");
        }
    }
}
