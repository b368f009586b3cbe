//! The figures of a run, for people and as one line of JSON.

use super::stats::Kind;
use super::{Outcome, Plan};
use crate::cli::output::{fields, table};
use clap::ValueEnum as _;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// Latencies are of requests that succeeded; `requests` counts all that were answered or lost.
pub(super) fn json(plan: &Plan, outcome: &Outcome) -> Value {
    let total = outcome.stats.total();
    let kinds: Map<String, Value> =
        outcome.stats.by_kind().map(|(kind, histogram)| (kind.name().to_owned(), latencies_json(histogram))).collect();
    let mut value = latencies_json(&total);
    value["scenario"] = json!(scenario_name(plan));
    value["connections"] = json!(plan.connections);
    value["threads"] = json!(plan.threads);
    value["pipeline"] = json!(plan.pipeline);
    value["requested_rate"] = json!(plan.interval.map(|interval| f64::from(plan.connections) / interval.as_secs_f64()));
    value["files"] = json!(plan.files);
    value["size_bytes"] = json!(plan.size_bytes);
    value["seconds"] = json!(rounded(outcome.elapsed.as_secs_f64()));
    value["requests"] = json!(requests(outcome));
    value["requests_per_second"] = json!(rounded(per_second(outcome)));
    value["errors"] = json!(outcome.stats.errors());
    value["kinds"] = Value::Object(kinds);
    value["client_cpu_seconds"] = json!(outcome.client_cpu.map(|cpu| cpu.as_secs_f64()));
    value["client_cpu_us_per_request"] = json!(cpu_us_per_request(outcome).map(rounded));
    value
}

pub(super) fn text(plan: &Plan, outcome: &Outcome) -> String {
    let mut lines = vec![
        ("scenario", format!("{} for {:.1} s", scenario_name(plan), outcome.elapsed.as_secs_f64())),
        ("load", format!("{} connections, pipeline {}, {} threads", plan.connections, plan.pipeline, plan.threads)),
        ("requests", format!("{} ({:.0}/s succeeded)", requests(outcome), per_second(outcome))),
        ("errors", errors_text(outcome)),
    ];
    if let (Some(cpu), Some(each_us)) = (outcome.client_cpu, cpu_us_per_request(outcome)) {
        let share = 100.0 * cpu.as_secs_f64() / outcome.elapsed.as_secs_f64();
        let text = format!("{:.2} s, {share:.0} % of a core, {each_us:.1} µs per request", cpu.as_secs_f64());
        lines.push(("client CPU", text));
    }
    let mut rows: Vec<Vec<String>> =
        outcome.stats.by_kind().map(|(kind, histogram)| latency_cells(kind.name(), histogram)).collect();
    let kinds: Vec<Kind> = outcome.stats.by_kind().map(|(kind, _)| kind).collect();
    if kinds.len() > 1 && !kinds.contains(&Kind::Upload) {
        rows.push(latency_cells("all", &outcome.stats.total()));
    }
    let heading = ["latency", "count", "p50", "p99", "p99.9", "max"];
    format!("{}\n{}", fields(&lines), table(&heading, &rows))
}

fn scenario_name(plan: &Plan) -> String {
    plan.scenario.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn errors_count(outcome: &Outcome) -> u64 {
    outcome.stats.errors().values().sum()
}

fn requests(outcome: &Outcome) -> u64 {
    outcome.stats.total().len() + errors_count(outcome)
}

/// Of those that succeeded.
fn per_second(outcome: &Outcome) -> f64 {
    outcome.stats.total().len() as f64 / outcome.elapsed.as_secs_f64()
}

fn cpu_us_per_request(outcome: &Outcome) -> Option<f64> {
    let requests = requests(outcome);
    outcome.client_cpu.filter(|_| requests > 0).map(|cpu| cpu.as_secs_f64() * 1e6 / requests as f64)
}

fn errors_text(outcome: &Outcome) -> String {
    let codes: Vec<String> = outcome.stats.errors().iter().map(|(code, count)| format!("{code} {count}")).collect();
    match codes.is_empty() {
        true => "none".to_owned(),
        false => codes.join(", "),
    }
}

fn latencies_json(histogram: &Histogram<u64>) -> Value {
    json!({
        "count": histogram.len(),
        "p50_us": histogram.value_at_quantile(0.5),
        "p99_us": histogram.value_at_quantile(0.99),
        "p999_us": histogram.value_at_quantile(0.999),
        "max_us": histogram.max(),
    })
}

fn latency_cells(name: &str, histogram: &Histogram<u64>) -> Vec<String> {
    let quantile = |quantile| duration(histogram.value_at_quantile(quantile));
    let count = histogram.len().to_string();
    vec![name.to_owned(), count, quantile(0.5), quantile(0.99), quantile(0.999), duration(histogram.max())]
}

fn duration(us: u64) -> String {
    match us {
        0..1000 => format!("{us} µs"),
        1000..1_000_000 => format!("{:.2} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_fitting_units() {
        assert_eq!(duration(999), "999 µs");
        assert_eq!(duration(1500), "1.50 ms");
        assert_eq!(duration(2_000_000), "2.00 s");
    }
}
