//! `mogilefs stats`: sums over the database, as mogstats made them.

use super::output::{Failure, Output, short_size, table};
use super::roles::{SettingsArgs, prepare};
use crate::store::statistics::{self, FileSum, Statistics, Wanted};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

/// Count files, bytes, copies and queues in the database itself
///
/// Reads whole tables: on a large installation give it the address of a replica. No tracker is asked.
#[derive(Args, Clone, Debug)]
pub struct StatsArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Database: sqlite:PATH, mysql://USER:PASSWORD@HOST/DB, postgres://USER:PASSWORD@HOST/DB, or a DBI string
    #[arg(long, value_name = "URL")]
    db: Option<String>,
    /// Only these sums
    #[arg(value_name = "SUM")]
    sums: Vec<Sum>,
}

/// What can be summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sum {
    /// Files and bytes by domain and class
    Files,
    /// Files by number of copies
    Copies,
    /// Copies by device
    Devices,
    /// The greatest number of a file
    Fids,
    /// Rows of the queues
    Queues,
}

impl StatsArgs {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let (settings, _log) = prepare(&self.settings, [("database.url", self.db)])?;
        let has = |sum: Sum| self.sums.is_empty() || self.sums.contains(&sum);
        let wanted = Wanted {
            files: has(Sum::Files) || has(Sum::Copies),
            devices: has(Sum::Devices),
            fids: has(Sum::Fids),
            queues: has(Sum::Queues),
        };
        let bar = output.working("counting", None);
        let statistics = statistics::read(&settings.database, wanted).map_err(super::db::failure)?;
        bar.finish_and_clear();
        let parts: Vec<(Sum, &str, Value, String)> = [
            (Sum::Files, "files", files_json(&statistics), files_text(&statistics)),
            (Sum::Copies, "copies", copies_json(&statistics), copies_text(&statistics)),
            (Sum::Devices, "devices", devices_json(&statistics), devices_text(&statistics)),
            (Sum::Fids, "highest_fid", json!(statistics.highest_fid), fids_text(&statistics)),
            (Sum::Queues, "queues", queues_json(&statistics), queues_text(&statistics)),
        ]
        .into_iter()
        .filter(|(sum, ..)| has(*sum))
        .collect();
        let value = parts.iter().map(|(_, name, value, _)| ((*name).to_owned(), value.clone())).collect();
        let texts: Vec<String> = parts.into_iter().map(|(.., text)| text).collect();
        output.result(&Value::Object(value), || texts.join("\n"))
    }
}

/// Files by class, whatever their copies: number, bytes once, bytes of all copies.
pub fn by_class(sums: &[FileSum]) -> Vec<(&str, &str, i64, i64, i64)> {
    let mut classes: Vec<(&str, &str, i64, i64, i64)> = Vec::new();
    for sum in sums {
        let stored = sum.bytes.saturating_mul(sum.devcount);
        match classes.last_mut() {
            Some(last) if (last.0, last.1) == (sum.domain.as_str(), sum.class.as_str()) => {
                last.2 += sum.files;
                last.3 += sum.bytes;
                last.4 += stored;
            }
            _ => classes.push((&sum.domain, &sum.class, sum.files, sum.bytes, stored)),
        }
    }
    classes
}

/// The queues with their rows: due, later, given up.
pub fn queues(statistics: &Statistics) -> Vec<(&'static str, [i64; 3])> {
    let Some(counts) = &statistics.queues else { return Vec::new() };
    let queues = [
        ("replicate", &counts.replicate),
        ("delete", &counts.delete),
        ("fsck", &counts.fsck),
        ("rebalance", &counts.rebalance),
    ];
    queues.into_iter().map(|(name, count)| (name, [count.due, count.deferred, count.parked])).collect()
}

fn bytes(bytes: i64) -> String {
    short_size(u64::try_from(bytes).unwrap_or(0))
}

fn files_json(statistics: &Statistics) -> Value {
    let rows = by_class(&statistics.files).into_iter().map(|(domain, class, files, length, stored)| {
        json!({ "domain": domain, "class": class, "files": files, "length": length, "stored": stored })
    });
    rows.collect()
}

fn files_text(statistics: &Statistics) -> String {
    let classes = by_class(&statistics.files);
    let row = |&(domain, class, files, length, stored): &(&str, &str, i64, i64, i64)| {
        vec![domain.to_owned(), class.to_owned(), files.to_string(), bytes(length), bytes(stored)]
    };
    let mut rows: Vec<Vec<String>> = classes.iter().map(row).collect();
    if rows.len() > 1 {
        let sum = classes.iter().fold((0, 0, 0), |sum, row| (sum.0 + row.2, sum.1 + row.3, sum.2 + row.4));
        rows.push(row(&("all", "", sum.0, sum.1, sum.2)));
    }
    table(&["domain", "class", "files", "size", "with copies"], &rows)
}

fn copies_json(statistics: &Statistics) -> Value {
    let rows = statistics
        .files
        .iter()
        .map(|sum| json!({ "domain": sum.domain, "class": sum.class, "devcount": sum.devcount, "files": sum.files }));
    rows.collect()
}

fn copies_text(statistics: &Statistics) -> String {
    let rows = statistics.files.iter();
    let rows =
        rows.map(|sum| vec![sum.domain.clone(), sum.class.clone(), sum.devcount.to_string(), sum.files.to_string()]);
    table(&["domain", "class", "copies", "files"], &rows.collect::<Vec<_>>())
}

fn devices_json(statistics: &Statistics) -> Value {
    let rows = statistics
        .devices
        .iter()
        .map(|sum| json!({ "devid": sum.devid.0, "hostname": sum.host, "status": sum.status, "files": sum.files }));
    rows.collect()
}

fn devices_text(statistics: &Statistics) -> String {
    let rows = statistics.devices.iter();
    let rows = rows.map(|sum| vec![sum.devid.to_string(), sum.host.clone(), sum.status.clone(), sum.files.to_string()]);
    table(&["dev", "host", "status", "files"], &rows.collect::<Vec<_>>())
}

fn fids_text(statistics: &Statistics) -> String {
    match statistics.highest_fid {
        Some(fid) => format!("greatest file number: {fid}\n"),
        None => "no file yet\n".to_owned(),
    }
}

fn queues_json(statistics: &Statistics) -> Value {
    let queues = queues(statistics).into_iter();
    let queues = queues.map(|(name, [due, deferred, parked])| {
        (name.to_owned(), json!({ "due": due, "deferred": deferred, "parked": parked }))
    });
    Value::Object(queues.collect())
}

fn queues_text(statistics: &Statistics) -> String {
    let rows = queues(statistics).into_iter();
    let rows =
        rows.map(|(name, counts)| [vec![name.to_owned()], counts.map(|count| count.to_string()).to_vec()].concat());
    table(&["queue", "due", "deferred", "parked"], &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_summed_over_their_copies() {
        let sum = |class: &str, devcount, files, bytes| FileSum {
            domain: "d".to_owned(),
            class: class.to_owned(),
            devcount,
            files,
            bytes,
        };
        let sums = [sum("a", 1, 2, 10), sum("a", 3, 1, 5), sum("b", 2, 1, 7)];
        assert_eq!(by_class(&sums), [("d", "a", 3, 15, 25), ("d", "b", 1, 7, 14)]);
    }
}
