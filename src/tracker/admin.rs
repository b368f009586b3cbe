//! Answers to the console (admin-console.md A.2): lines ended by CR LF, then a full stop.

use super::listener::Shared;
use super::supervisor::{GetJobs, JobReport, Want};
use crate::metrics::JobMetrics;
use crate::protocol::admin::AdminCommand;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

/// The whole reply. `!shutdown` has none and does not come here.
pub async fn answer(shared: &Shared, command: &AdminCommand) -> Vec<u8> {
    let mut lines = match command {
        AdminCommand::Version => format!("{}\r\n", super::VERSION),
        AdminCommand::Stats => stats(shared),
        AdminCommand::Queue => queue(shared),
        AdminCommand::Jobs => jobs(shared).await,
        AdminCommand::Want(arguments) => want(shared, arguments).await,
        AdminCommand::Help | AdminCommand::Shutdown => HELP.to_owned(),
    };
    lines.push_str(".\r\n");
    lines.into_bytes()
}

/// These lines end in LF only, as in the reference.
const HELP: &str = "Mogilefsd admin commands:\n
  !version            version of the tracker
  !stats              counters
  !jobs               workers by job
  !want <count> <job> change the number of workers
  !queue              requests that wait for a worker
  !shutdown           stop the tracker
\n";

fn stats(shared: &Shared) -> String {
    let connections = shared.connections.borrow();
    let waiting: usize = connections.values().map(|current| current.waiting().len()).sum();
    let processing = connections.values().filter(|current| current.is_processing()).count();
    let idle = shared.workers.borrow().iter().filter(|worker| worker.load.load(Ordering::Relaxed) == 0).count();
    let mut lines = String::new();
    let mut line = |name: &str, value: u64| {
        // Writing to a String does not fail.
        let _infallible = write!(lines, "{name} {value}\r\n");
    };
    line("uptime", shared.started.elapsed().as_secs());
    line("pending_queries", waiting as u64);
    line("processing_queries", processing as u64);
    line("bored_queryworkers", idle as u64);
    for (name, value) in counters(shared) {
        line(&name, value);
    }
    lines
}

/// Sorted by name; a counter appears once it has counted.
fn counters(shared: &Shared) -> Vec<(String, u64)> {
    let metrics = &shared.metrics;
    let mut counters = vec![
        ("memcache_errors".to_owned(), metrics.memcache_errors.get()),
        ("memcache_hits".to_owned(), metrics.memcache_hits.get()),
        ("memcache_misses".to_owned(), metrics.memcache_misses.get()),
        ("queries".to_owned(), metrics.queries.get()),
        ("times_out_of_qworkers".to_owned(), metrics.times_out_of_qworkers.get()),
    ];
    counters.retain(|(_, value)| *value > 0);
    for (job, JobMetrics { waiting, sent }) in [("delete", &metrics.delete), ("replicate", &metrics.replicate)] {
        if sent.get() > 0 || waiting.get() > 0 {
            counters.push((format!("work_queue_for_{job}"), waiting.get()));
            counters.push((format!("work_sent_to_{job}"), sent.get()));
        }
    }
    counters.sort();
    counters
}

fn queue(shared: &Shared) -> String {
    let connections = shared.connections.borrow();
    let mut by_age: Vec<_> = connections.iter().collect();
    by_age.sort_by_key(|(id, _)| **id);
    by_age
        .into_iter()
        .flat_map(|(_, current)| current.waiting().into_iter().map(|line| format!("{} {line}\r\n", current.peer)))
        .collect()
}

async fn jobs(shared: &Shared) -> String {
    match shared.supervisor.send(GetJobs).await {
        Ok(reports) => reports.iter().map(job_lines).collect(),
        Err(error) => format!("ERROR: {error}\r\n"),
    }
}

fn job_lines(report: &JobReport) -> String {
    let (job, desired) = (report.kind.name(), report.desired);
    let ids: Vec<_> = report.workers.iter().map(ToString::to_string).collect();
    format!("{job} count {}\r\n{job} desired {desired}\r\n{job} pids {}\r\n", ids.len(), ids.join(" "))
}

async fn want(shared: &Shared, arguments: &str) -> String {
    let Some((count, job)) = want_arguments(arguments) else {
        return "ERROR: usage: !want <count> <jobclass>\r\n".to_owned();
    };
    match shared.supervisor.send(Want { count, job: job.to_owned() }).await {
        Ok(line) => format!("{line}\r\n"),
        Err(error) => format!("ERROR: {error}\r\n"),
    }
}

/// Digits, blanks, a word.
fn want_arguments(arguments: &str) -> Option<(usize, &str)> {
    let (count, job) = arguments.trim_end().split_once(char::is_whitespace)?;
    let job = job.trim_start();
    let is_word = !job.is_empty() && job.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is_number = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    (is_word && is_number).then(|| (count.parse().unwrap_or(usize::MAX), job))
}

#[cfg(test)]
mod tests {
    use super::want_arguments;

    /// Conformance 293–295.
    #[test]
    fn want_needs_a_number_and_a_word() {
        assert_eq!(want_arguments("2 queryworker"), Some((2, "queryworker")));
        assert_eq!(want_arguments("2   queryworker "), Some((2, "queryworker")));
        for wrong in ["", "2", "x queryworker", "2 a b", "-1 delete"] {
            assert_eq!(want_arguments(wrong), None, "{wrong:?}");
        }
    }
}
