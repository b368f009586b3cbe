//! `mogilefs check`: what is not as it should be, and which files are at risk.

use super::output::Failure;
use super::session::Session;
use crate::protocol::args::Args as Reply;
use serde_json::{Value, json};

/// Asks one tracker; what it says of hosts and devices is what it sees.
pub async fn check(session: &mut Session<'_>) -> Result<(), Failure> {
    let problems = session.tracker.request("check_cluster", &[]).await?;
    let risk = session.tracker.request("at_risk", &[]).await?;
    let value = json!({ "problems": problem_values(&problems), "at_risk": risk_value(&risk) });
    session.output.result(&value, || text(&problems, &risk))
}

fn field(reply: &Reply, name: &str) -> String {
    reply.get(name).map(ToString::to_string).unwrap_or_default()
}

fn problem_values(reply: &Reply) -> Vec<Value> {
    let problem = |number: i64| {
        let field = |name: &str| field(reply, &format!("problem_{number}_{name}"));
        let devid = field("devid").parse::<i64>().ok();
        json!({ "kind": field("kind"), "devid": devid, "host": field("host"), "text": field("text") })
    };
    (1..=reply.int("problems")).map(problem).collect()
}

fn risk_value(reply: &Reply) -> Value {
    json!({
        "files": reply.int("files"),
        "is_more": reply.int("is_more") == 1,
        "copied_last_minute": reply.int("copied_last_minute"),
        "safe_in_secs": field(reply, "safe_in_secs").parse::<i64>().ok(),
    })
}

fn text(problems: &Reply, risk: &Reply) -> String {
    let mut lines: Vec<String> =
        (1..=problems.int("problems")).map(|number| field(problems, &format!("problem_{number}_text"))).collect();
    if lines.is_empty() {
        lines.push("hosts and devices: all in order".to_owned());
    }
    lines.push(risk_line(risk));
    lines.join("\n") + "\n"
}

/// `files at one copy: 12, safe in 1 min 5 s`
fn risk_line(risk: &Reply) -> String {
    let files = risk.int("files");
    let more = if risk.int("is_more") == 1 { " or more" } else { "" };
    let when = match field(risk, "safe_in_secs").parse::<i64>() {
        _ if files == 0 => String::new(),
        Ok(secs) if secs < 60 => format!(", safe in {secs} s"),
        Ok(secs) if secs < 3600 => format!(", safe in {} min {} s", secs / 60, secs % 60),
        Ok(secs) => format!(", safe in {} h {} min", secs / 3600, secs % 3600 / 60),
        Err(_) => ", nothing is being copied by this tracker".to_owned(),
    };
    format!("files at one copy: {files}{more}{when}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn risks_are_told_in_one_line() {
        let line = |reply: &str| risk_line(&Reply::decode(reply.as_bytes()));
        assert_eq!(line("files=0&is_more=0&safe_in_secs=0"), "files at one copy: 0");
        assert_eq!(line("files=12&is_more=0&safe_in_secs=65"), "files at one copy: 12, safe in 1 min 5 s");
        assert_eq!(
            line("files=100000&is_more=1&safe_in_secs=7300"),
            "files at one copy: 100000 or more, safe in 2 h 1 min"
        );
        assert_eq!(line("files=1&is_more=0"), "files at one copy: 1, nothing is being copied by this tracker");
    }
}
