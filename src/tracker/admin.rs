//! Answers to the console (admin-console.md A.2): lines ended by CR LF, then a full stop.

use super::listener::Shared;
use super::recent;
use super::supervisor::{GetJobs, JobReport, Want};
use crate::logging;
use crate::metrics::{JobMetrics, Metrics};
use crate::protocol::admin::AdminCommand;
use crate::store::{AskerLoad, DatabaseLoad, ReplicaReport};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

/// The whole reply. `!shutdown` has none and `!watch` concerns the connection: they do not come here.
pub async fn answer(shared: &Shared, command: &AdminCommand) -> Vec<u8> {
    let mut reply = match command {
        AdminCommand::Version => format!("{}\r\n", super::VERSION).into_bytes(),
        AdminCommand::Stats => stats(shared).into_bytes(),
        AdminCommand::Queue => queue(shared),
        AdminCommand::Recent => last_requests(shared),
        AdminCommand::Jobs => jobs(shared).await.into_bytes(),
        AdminCommand::Want(arguments) => want(shared, arguments).await.into_bytes(),
        AdminCommand::To(arguments) => to(shared, arguments).await.into_bytes(),
        AdminCommand::Log(arguments) => log_levels(arguments).into_bytes(),
        AdminCommand::Help | AdminCommand::Watch | AdminCommand::Shutdown => HELP.as_bytes().to_vec(),
    };
    reply.extend_from_slice(b".\r\n");
    reply
}

/// These lines end in LF only, as in the reference.
const HELP: &str = "Mogilefsd admin commands:\n
  !version            version of the tracker
  !stats              counters
  !jobs               workers by job
  !want <count> <job> change the number of workers
  !queue, !pending    requests that wait for a worker
  !recent             the last 50 requests, with the seconds until the reply came and those within the worker
  !to <job> <message> number of workers of a job; the message goes nowhere
  !watch              show the log on this connection; again to end it
  !log [<level> [<module>]]  which records are logged, until SIGHUP; as in !log debug jobs::replicate
  !shutdown           stop the tracker
\n";

fn stats(shared: &Shared) -> String {
    let connections = shared.connections.borrow();
    let waiting: usize = connections.values().map(|current| current.waiting_count()).sum();
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
    for (name, value) in database(&shared.store.load()).into_iter().chain(counters(&shared.metrics)) {
        line(&name, value);
    }
    let (replicas, master_instead) = shared.store.replica_reports();
    for (name, value) in replica_lines(&replicas, master_instead) {
        line(&name, value);
    }
    lines
}

/// Nothing where there are no replicas; the lag of each only as far as it is known.
fn replica_lines(replicas: &[ReplicaReport], master_instead: u64) -> Vec<(String, u64)> {
    let mut lines = Vec::new();
    for ReplicaReport { key, is_asked, lag, reads, failures } in replicas {
        lines.push((format!("replica_{key}_asked"), u64::from(*is_asked)));
        lines.push((format!("replica_{key}_failures"), u64::from(*failures)));
        if let Some(lag) = lag {
            lines.push((format!("replica_{key}_lag_ms"), u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)));
        }
        lines.push((format!("replica_{key}_reads"), *reads));
    }
    if !replicas.is_empty() {
        lines.push(("replica_reads_by_master".to_owned(), master_instead));
    }
    lines
}

/// What the database was asked, in all and by command and job; sorted by name.
fn database(load: &DatabaseLoad) -> Vec<(String, u64)> {
    let askers = load.askers();
    let sum = |count: fn(&AskerLoad) -> u64| askers.iter().map(|(_, asked)| count(asked)).sum();
    let mut counters = vec![
        ("db_calls".to_owned(), sum(|asked| asked.calls.get())),
        ("db_connects".to_owned(), load.connects.get()),
        ("db_deadlocks_retried".to_owned(), load.deadlocks_retried.get()),
        ("db_errors".to_owned(), sum(|asked| asked.errors.get())),
        ("db_prepared".to_owned(), sum(|asked| asked.prepared.get())),
        ("db_reconnects".to_owned(), load.reconnects.get()),
        ("db_statements".to_owned(), sum(|asked| asked.statements.get())),
    ];
    for (name, asked) in &askers {
        counters.push((format!("db_calls_{name}"), asked.calls.get()));
        counters.push((format!("db_statements_{name}"), asked.statements.get()));
    }
    counters.retain(|(_, value)| *value > 0);
    counters.sort();
    counters
}

/// Sorted by name; a counter appears once it has counted.
fn counters(metrics: &Metrics) -> Vec<(String, u64)> {
    let mut counters = vec![
        ("island_answers".to_owned(), metrics.island_answers.get()),
        ("memcache_errors".to_owned(), metrics.memcache_errors.get()),
        ("memcache_hits".to_owned(), metrics.memcache_hits.get()),
        ("memcache_misses".to_owned(), metrics.memcache_misses.get()),
        ("queries".to_owned(), metrics.queries.get()),
        ("times_out_of_qworkers".to_owned(), metrics.times_out_of_qworkers.get()),
    ];
    counters.retain(|(_, value)| *value > 0);
    for (queue, JobMetrics { waiting, sent }) in metrics.queues() {
        if sent.get() > 0 || waiting.get() > 0 {
            counters.push((format!("work_queue_for_{queue}"), waiting.get()));
        }
        if sent.get() > 0 {
            counters.push((format!("work_sent_to_{queue}"), sent.get()));
        }
    }
    counters.sort();
    counters
}

/// `<client ip> <request line>`, oldest first.
fn queue(shared: &Shared) -> Vec<u8> {
    let connections = shared.connections.borrow();
    let mut waiting: Vec<_> = connections.values().filter(|current| current.waiting_count() > 0).collect();
    waiting.sort_by_key(|current| current.arrival());
    let mut lines = Vec::new();
    for current in waiting {
        let address = current.peer.ip().to_string();
        current.for_each_waiting(|line| {
            for part in [address.as_bytes(), b" ", recent::shown(line), b"\r\n"] {
                lines.extend_from_slice(part);
            }
        });
    }
    lines
}

fn last_requests(shared: &Shared) -> Vec<u8> {
    let mut lines = Vec::new();
    shared.recent.borrow().write_lines(&mut lines);
    lines
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

/// Digits, blanks, a word; what comes after is not looked at.
fn want_arguments(arguments: &str) -> Option<(usize, &str)> {
    let mut words = arguments.split_whitespace();
    let (count, job) = (words.next()?, words.next()?);
    let is_number = count.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| (count.parse().unwrap_or(usize::MAX), job))
}

/// Says how many workers would have got the message. There is nothing that a worker could be told.
async fn to(shared: &Shared, arguments: &str) -> String {
    let Some(job) = to_arguments(arguments) else {
        return "ERROR: usage: !to <jobclass> <message>\r\n".to_owned();
    };
    match shared.supervisor.send(GetJobs).await {
        Ok(reports) => {
            let report = reports.iter().find(|report| report.kind.name() == job);
            format!("Message sent to {} children.\r\n", report.map_or(0, |report| report.workers.len()))
        }
        Err(error) => format!("ERROR: {error}\r\n"),
    }
}

/// Shows the levels, after changing them if the arguments say so.
fn log_levels(arguments: &str) -> String {
    let Some(control) = logging::control() else { return "ERROR: there is no log\r\n".to_owned() };
    let mut words = arguments.split_whitespace();
    if let Some(name) = words.next() {
        match logging::levels::level_of(name) {
            Ok(level) => {
                let mut levels = control.levels();
                levels.set(words.next(), level);
                control.set_levels(levels);
            }
            Err(why) => return format!("ERROR: {why}\r\n"),
        }
    }
    format!("Now logging: {}\r\n", control.levels())
}

/// A word, blanks, a message: the word.
fn to_arguments(arguments: &str) -> Option<&str> {
    let (job, message) = arguments.split_once(char::is_whitespace)?;
    (!message.trim_start().is_empty()).then_some(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Conformance 293–295.
    #[test]
    fn want_needs_a_number_and_a_word() {
        assert_eq!(want_arguments("2 queryworker"), Some((2, "queryworker")));
        assert_eq!(want_arguments("2   queryworker "), Some((2, "queryworker")));
        assert_eq!(want_arguments("1 foo-bar x"), Some((1, "foo-bar")));
        for wrong in ["", "2", "x queryworker", "-1 delete"] {
            assert_eq!(want_arguments(wrong), None, "{wrong:?}");
        }
    }

    /// Conformance 300, 301.
    #[test]
    fn to_needs_a_word_and_a_message() {
        assert_eq!(to_arguments("nope hi"), Some("nope"));
        assert_eq!(to_arguments("fsck  hi there"), Some("fsck"));
        for wrong in ["", "fsck", "fsck  "] {
            assert_eq!(to_arguments(wrong), None, "{wrong:?}");
        }
    }

    /// Conformance 298.
    #[test]
    fn counters_appear_once_they_have_counted() {
        let metrics = Metrics::default();
        assert_eq!(counters(&metrics), []);
        metrics.replicate.waiting.set(2);
        metrics.queries.add(3);
        let shown = |metrics: &Metrics| {
            counters(metrics).into_iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>()
        };
        assert_eq!(shown(&metrics), ["queries 3", "work_queue_for_replicate 2"]);
        metrics.replicate.waiting.set(0);
        metrics.replicate.sent.add(2);
        metrics.delete.sent.add(1);
        metrics.times_out_of_qworkers.add(4);
        let all = [
            "queries 3",
            "times_out_of_qworkers 4",
            "work_queue_for_delete 0",
            "work_queue_for_replicate 0",
            "work_sent_to_delete 1",
            "work_sent_to_replicate 2",
        ];
        assert_eq!(shown(&metrics), all);
    }
}
