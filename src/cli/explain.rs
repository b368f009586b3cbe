//! `mogilefs explain`: the tracker's explanation of a file, as a tree for people and as JSON for scripts.

use super::output::size;
use crate::protocol::args::Args as Reply;
use bstr::ByteSlice as _;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Other devices that people are shown one by one; the rest is counted by state.
const OTHERS_SHOWN: usize = 12;

/// A section of the tree: its heading and its leaves, each a row of cells.
struct Branch {
    heading: String,
    leaves: Vec<Vec<String>>,
    /// A last leaf that is a sentence.
    remark: Option<String>,
}

/// The numbered pairs of one kind: `copy_<n>_…`.
struct Group<'r> {
    reply: &'r Reply,
    kind: &'static str,
    number: i64,
}

impl<'r> Group<'r> {
    fn all(reply: &'r Reply, count: &str, kind: &'static str) -> Vec<Self> {
        (1..=reply.int(count)).map(|number| Self { reply, kind, number }).collect()
    }

    fn text(&self, field: &str) -> String {
        text_of(self.reply, &format!("{}_{}_{field}", self.kind, self.number))
    }

    fn number(&self, field: &str) -> Value {
        number_of(self.reply, &format!("{}_{}_{field}", self.kind, self.number))
    }

    /// `dev 3 on h2`.
    fn device(&self) -> String {
        match (self.text("devid"), self.text("host")) {
            (devid, host) if host.is_empty() => format!("dev {devid}"),
            (devid, host) => format!("dev {devid} on {host}"),
        }
    }

    fn state(&self) -> String {
        in_words(&self.text("state"))
    }
}

fn text_of(reply: &Reply, name: &str) -> String {
    reply.get(name).map(|value| value.to_str_lossy().into_owned()).unwrap_or_default()
}

/// A number, or null where the pair is missing or empty.
fn number_of(reply: &Reply, name: &str) -> Value {
    text_of(reply, name).parse::<i64>().map_or(Value::Null, |number| json!(number))
}

fn in_words(code: &str) -> String {
    code.replace('_', " ")
}

/// The explanation as one JSON value.
pub fn json(reply: &Reply) -> Value {
    let text = |name: &str| reply.get(name).map(|value| json!(value.to_str_lossy())).unwrap_or(Value::Null);
    let copies = Group::all(reply, "copies", "copy").iter().map(copy_json).collect::<Vec<_>>();
    let others = Group::all(reply, "others", "other").iter().map(other_json).collect::<Vec<_>>();
    let queues = Group::all(reply, "queues", "queue").iter().map(queue_json).collect::<Vec<_>>();
    let left_out: Map<String, Value> =
        left_out(reply).into_iter().map(|(state, count)| (state, json!(count))).collect();
    json!({
        "fid": number_of(reply, "fid"),
        "domain": text("domain"),
        "key": text("key"),
        "class": text("class"),
        "length": number_of(reply, "length"),
        "devcount": number_of(reply, "devcount"),
        "policy": text("policy"),
        "wanted": number_of(reply, "wanted"),
        "counted": number_of(reply, "counted"),
        "verdict": text("verdict"),
        "verdict_text": text("verdict_text"),
        "next": { "what": text("next"), "in_secs": number_of(reply, "next_in_secs"), "text": text("next_text") },
        "queues": queues,
        "copies": copies,
        "others": others,
        "left_out": left_out,
    })
}

fn copy_json(copy: &Group<'_>) -> Value {
    json!({
        "devid": copy.number("devid"),
        "host": copy.text("host"),
        "status": copy.text("status"),
        "host_status": copy.text("host_status"),
        "observed": copy.text("observed"),
        "host_observed": copy.text("host_observed"),
        "state": copy.text("state"),
        "counts": copy.text("counts") == "1",
        "offered": copy.text("offered"),
        "reason": copy.text("reason"),
    })
}

fn other_json(other: &Group<'_>) -> Value {
    json!({
        "devid": other.number("devid"),
        "host": other.text("host"),
        "state": other.text("state"),
        "mb_free": other.number("mb_free"),
        "reason": other.text("reason"),
    })
}

fn queue_json(queue: &Group<'_>) -> Value {
    json!({
        "name": queue.text("name"),
        "in_secs": queue.number("in_secs"),
        "failcount": queue.number("failcount"),
        "text": queue.text("text"),
    })
}

/// `left_out_<state>` by state.
fn left_out(reply: &Reply) -> BTreeMap<String, i64> {
    let states = reply.pairs().iter().filter_map(|(name, _)| name.strip_prefix(b"left_out_"));
    let states: Vec<String> = states.map(|state| state.to_str_lossy().into_owned()).collect();
    states.into_iter().map(|state| (state.clone(), reply.int(&format!("left_out_{state}")))).collect()
}

/// The explanation as a tree: what, how it stands, what happens next; then the evidence.
pub fn text(reply: &Reply) -> String {
    let branches = [copies(reply), others(reply), queues(reply)];
    let mut text = format!("{}\n", title(reply));
    text.push_str(&format!(
        "├─ {}: {}\n",
        in_words(&text_of(reply, "verdict")).to_uppercase(),
        text_of(reply, "verdict_text")
    ));
    let branches: Vec<Branch> = branches.into_iter().flatten().collect();
    let mark = if branches.is_empty() { "└─" } else { "├─" };
    text.push_str(&format!("{mark} NEXT: {}\n", text_of(reply, "next_text")));
    for (place, branch) in branches.iter().enumerate() {
        push_branch(&mut text, branch, place + 1 == branches.len());
    }
    text
}

fn title(reply: &Reply) -> String {
    let fid = text_of(reply, "fid");
    if reply.get("key").is_none() {
        return format!("fid {fid}");
    }
    let length = u64::try_from(reply.int("length")).unwrap_or(0);
    let class = match text_of(reply, "class") {
        class if class.is_empty() => "an unknown class".to_owned(),
        class => format!("class {class}"),
    };
    format!("{} in domain {}: fid {fid}, {class}, {}", text_of(reply, "key"), text_of(reply, "domain"), size(length))
}

fn copies(reply: &Reply) -> Option<Branch> {
    let copies = Group::all(reply, "copies", "copy");
    let leaves = copies.iter().map(|copy| vec![copy.device(), copy.state(), copy.text("reason")]).collect();
    let counted = reply.int("counted");
    let mut heading = format!("Copies: {}", copies.len());
    if counted != copies.len() as i64 && reply.get("key").is_some() {
        heading.push_str(&format!(", {counted} counted"));
    }
    if let Some(wanted) = reply.get("wanted") {
        heading.push_str(&format!(", {wanted} wanted by {}", text_of(reply, "policy")));
    }
    let remark = reply
        .get("devcount")
        .filter(|_| reply.int("devcount") != copies.len() as i64)
        .map(|devcount| format!("the file's row says {devcount}, which is only a cached count"));
    Some(Branch { heading, leaves, remark })
}

fn others(reply: &Reply) -> Option<Branch> {
    let others = Group::all(reply, "others", "other");
    if others.is_empty() {
        return None;
    }
    let shown = others.iter().take(OTHERS_SHOWN);
    let leaves = shown.map(|other| vec![other.device(), other.state(), other.text("reason")]).collect();
    let mut rest = left_out(reply);
    for other in others.iter().skip(OTHERS_SHOWN) {
        *rest.entry(other.text("state")).or_default() += 1;
    }
    let counts: Vec<String> = rest.iter().map(|(state, count)| format!("{count} {}", in_words(state))).collect();
    let remark = (!rest.is_empty()).then(|| format!("and {} more: {}", rest.values().sum::<i64>(), counts.join(", ")));
    let all = others.len() as i64 + reply.int("left_out");
    Some(Branch { heading: format!("Devices without a copy: {all}"), leaves, remark })
}

/// A single row is told under NEXT already.
fn queues(reply: &Reply) -> Option<Branch> {
    let queues = Group::all(reply, "queues", "queue");
    if queues.len() < 2 {
        return None;
    }
    let due = |queue: &Group<'_>| match queue.number("in_secs").as_i64() {
        Some(0) => "due now".to_owned(),
        Some(secs) => format!("in {secs} s"),
        None => "parked".to_owned(),
    };
    let leaves = queues.iter().map(|queue| vec![queue.text("name"), due(queue), queue.text("text")]).collect();
    Some(Branch { heading: format!("Queues: {}", queues.len()), leaves, remark: None })
}

fn push_branch(text: &mut String, branch: &Branch, is_last: bool) {
    let (mark, stem) = if is_last { ("└─", "   ") } else { ("├─", "│  ") };
    text.push_str(&format!("{mark} {}\n", branch.heading));
    let columns = branch.leaves.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = branch.leaves.iter().filter_map(|leaf| leaf.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut lines: Vec<String> = branch.leaves.iter().map(|leaf| line(leaf, &widths)).collect();
    lines.extend(branch.remark.clone());
    for (place, line) in lines.iter().enumerate() {
        let mark = if place + 1 == lines.len() { "└─" } else { "├─" };
        text.push_str(&format!("{stem}{mark} {line}\n"));
    }
}

fn line(leaf: &[String], widths: &[usize]) -> String {
    let cells = leaf.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}", width = *width));
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}
