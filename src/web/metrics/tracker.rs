//! What this tracker does: requests, jobs, the database.

use super::text::{Exposition, Kind};
use crate::metrics::Metrics;
use crate::protocol::args::Args;
use crate::store::Store;
use crate::web::page::figures::{FigureSet, Told};
use std::time::Duration;

/// Appends what is counted in this process.
pub fn write_counters(text: &mut Exposition, metrics: &Metrics) {
    write_requests(text, metrics);
    let counters = [
        ("out_of_query_workers_total", "Requests that found no idle query worker.", &metrics.times_out_of_qworkers),
        ("copies_made_total", "Copies that this tracker made.", &metrics.files_replicated),
        ("copied_bytes_total", "Bytes of the copies that this tracker made.", &metrics.bytes_replicated),
        ("copies_failed_total", "Tries to make a copy that came to nothing.", &metrics.copies_failed),
        ("copies_deleted_total", "Copies removed from storage nodes.", &metrics.copies_deleted),
        ("locations_reaped_total", "Locations on dead devices that were taken out.", &metrics.locations_reaped),
        ("memcache_hits_total", "Paths found in memcached.", &metrics.memcache_hits),
        ("memcache_misses_total", "Paths not found in memcached.", &metrics.memcache_misses),
        ("memcache_errors_total", "Paths asked of memcached in vain.", &metrics.memcache_errors),
        ("island_answers_total", "Paths told from memory while the database was away.", &metrics.island_answers),
        ("clients_refused_total", "Clients turned away for their address.", &metrics.clients_refused),
        ("requests_denied_total", "Requests refused for the address they came from.", &metrics.requests_denied),
        ("tls_handshakes_failed_total", "Clients with whom no TLS came about.", &metrics.tls_handshakes_failed),
        ("workers_replaced_total", "Workers replaced after a panic or a hang.", &metrics.workers_replaced),
    ];
    for (name, help, counter) in counters {
        text.one(Kind::Counter, name, help, counter.get());
    }
    // Without TLS there is none.
    if let ends @ 1.. = metrics.tls_certificate_ends.get() {
        let help = "Until when the certificate shown to clients is valid, in seconds since 1970.";
        text.one(Kind::Gauge, "tls_certificate_end_timestamp_seconds", help, ends);
    }
    text.one(Kind::Gauge, "connections", "Clients connected now.", metrics.connections.get());
    let mut family = text.family(Kind::Gauge, "queue_claimed", "Rows claimed here that wait for a worker.");
    metrics.queues().iter().for_each(|(queue, job)| family.sample(&[("queue", queue)], job.waiting.get()));
    let mut family = text.family(Kind::Counter, "queue_sent_total", "Rows handed to workers.");
    metrics.queues().iter().for_each(|(queue, job)| family.sample(&[("queue", queue)], job.sent.get()));
}

fn write_requests(text: &mut Exposition, metrics: &Metrics) {
    let mut family = text.family(Kind::Counter, "requests_total", "Requests answered, by command and outcome.");
    for (command, asked) in metrics.requests.asked() {
        family.sample(&[("command", command), ("outcome", "ok")], asked.ok.get());
        for (code, count) in asked.errors() {
            family.sample(&[("command", command), ("outcome", &code)], count);
        }
    }
    let mut family = text.family(Kind::Histogram, "request_duration_seconds", "Time of requests within a worker.");
    for (command, asked) in metrics.requests.asked() {
        family.times(&[("command", command)], &asked.times.cumulated());
    }
}

/// Appends what the database was asked, and how its replicas are.
pub fn write_database(text: &mut Exposition, store: &Store) {
    let load = store.load();
    let askers = load.askers();
    text.one(Kind::Gauge, "database_up", "0 while the database server is away, else 1.", u8::from(!store.is_away()));
    let mut family = text.family(Kind::Counter, "database_calls_total", "Readings and changes, by who asked.");
    askers.iter().for_each(|(name, asked)| family.sample(&[("asker", name)], asked.calls.get()));
    let mut family = text.family(Kind::Counter, "database_statements_total", "Statements, by who asked.");
    askers.iter().for_each(|(name, asked)| family.sample(&[("asker", name)], asked.statements.get()));
    let mut family = text.family(
        Kind::Counter,
        "database_errors_total",
        "Readings and changes that failed because the database was away, busy or faulty, by who asked.",
    );
    askers.iter().for_each(|(name, asked)| family.sample(&[("asker", name)], asked.errors.get()));
    text.one(Kind::Counter, "database_connects_total", "Connections made.", load.connects.get());
    text.one(
        Kind::Counter,
        "database_reconnects_total",
        "Connections that replaced a lost one.",
        load.reconnects.get(),
    );
    let retried = load.deadlocks_retried.get();
    text.one(
        Kind::Counter,
        "database_retries_total",
        "Changes tried once more because others were in the way.",
        retried,
    );
    let (replicas, _) = store.replica_reports();
    let mut family = text.family(Kind::Gauge, "replica_used", "1 if the replica is asked, else 0.");
    replicas.iter().for_each(|replica| family.sample(&[("replica", &replica.key)], u8::from(replica.is_asked)));
    let mut family = text.family(Kind::Gauge, "replica_lag_seconds", "How far the replica is behind.");
    for replica in &replicas {
        if let Some(lag) = replica.lag {
            family.sample(&[("replica", &replica.key)], lag.as_secs_f64());
        }
    }
}

/// Appends what was asked of others, and may be some seconds old.
pub fn write_figures(text: &mut Exposition, figures: &FigureSet) {
    if figures.is_of_now {
        write_process(text, figures);
    }
    if let Some(pairs) = known(figures.queues.as_ref()) {
        write_queues(text, pairs);
    }
    if let Some(pairs) = known(figures.at_risk.as_ref()) {
        let help = "Files with fewer copies than they should have, counted up to a bound.";
        text.one(Kind::Gauge, "files_at_risk", help, pairs.int("files"));
    }
    write_run(text, "fsck", figures.fsck.as_ref(), &[("checked", "Files checked since the start.")]);
    write_run(text, "rebalance", figures.rebalance.as_ref(), &[("waiting", "Files that wait to be moved.")]);
    if let Some(pairs) = known(figures.fsck.as_ref()) {
        let mut family = text.family(Kind::Gauge, "fsck_events", "What the last check found, by code.");
        for (name, value) in pairs.pairs() {
            if let Some(code) = name.strip_prefix(b"num_") {
                family.sample(&[("code", &String::from_utf8_lossy(code))], value);
            }
        }
    }
}

fn write_process(text: &mut Exposition, figures: &FigureSet) {
    let traffic = &figures.traffic;
    text.one(Kind::Gauge, "uptime_seconds", "Since this tracker began.", traffic.uptime_secs);
    text.one(Kind::Gauge, "requests_waiting", "Requests that no worker has begun.", traffic.waiting);
    text.one(Kind::Gauge, "requests_processing", "Clients whose request is being carried out.", traffic.processing);
    text.one(Kind::Gauge, "query_workers_idle", "Query workers that have nothing to do.", traffic.idle_query_workers);
    let mut family = text.family(Kind::Gauge, "workers", "Workers by job: wanted, and living.");
    for workers in &figures.workers {
        family.sample(&[("job", workers.job), ("state", "wanted")], workers.wanted);
        family.sample(&[("job", workers.job), ("state", "living")], workers.living);
    }
}

fn write_queues(text: &mut Exposition, pairs: &Args) {
    let mut family = text.family(Kind::Gauge, "queue_rows", "Rows of a queue in the database, by what they wait for.");
    for number in 1..=pairs.int("queues") {
        let of = |field: &str| format!("queue_{number}_{field}");
        let name = pairs.get(&of("name")).map(ToString::to_string).unwrap_or_default();
        for state in ["due", "deferred", "parked"] {
            family.sample(&[("queue", &name), ("state", state)], pairs.int(&of(state)));
        }
    }
}

/// How far fsck or rebalance is; nothing while that is not known.
fn write_run(text: &mut Exposition, job: &str, told: Option<&Told>, fields: &[(&str, &str)]) {
    let Some(pairs) = known(told) else { return };
    text.one(Kind::Gauge, &format!("{job}_running"), "1 while it runs, else 0.", pairs.int("running"));
    for (field, help) in fields {
        text.one(Kind::Gauge, &format!("{job}_{field}"), help, pairs.int(field));
    }
    if pairs.get("eta_secs").is_some() {
        let help = "Until it is done, at this rate.";
        text.one(Kind::Gauge, &format!("{job}_eta_seconds"), help, pairs.int("eta_secs"));
    }
}

fn known(told: Option<&Told>) -> Option<&Args> {
    told.filter(|told| told.at.elapsed() < FIGURES_AGE_MAX)?.answer.as_ref().ok()
}

/// Older figures are not told: better none than one that looks like the present.
const FIGURES_AGE_MAX: Duration = Duration::from_secs(60);
