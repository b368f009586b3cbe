//! mogstats: sums over the database that its options and files name.

use super::options::{OldOptions, utils_files};
use super::{Outcome, Refusal};
use crate::cli::output::{Failure, Output};
use crate::cli::roles::{SettingsArgs, prepare};
use crate::cli::stats::{by_class, queues};
use crate::store::statistics::{self, Statistics, Wanted};

const STATS: [&str; 9] = [
    "devices",
    "fids",
    "files",
    "domains",
    "replication",
    "replication-queue",
    "delete-queue",
    "general-queues",
    "all",
];
const MEGABYTE: i64 = 1 << 20;

pub fn run(words: Vec<String>, output: &Output) -> Outcome {
    let specs = ["config=s", "lib=s", "help", "verbose", "stats=s", "db_dsn=s", "db_user=s", "db_pass=s"];
    let mut options = OldOptions::parse(&specs, words).map_err(|problem| usage(&problem))?;
    let files = utils_files(options.get("config"));
    options.fill_from(&files).map_err(Failure::Local)?;
    if options.flag("help") {
        return Err(usage(""));
    }
    let asked = options.get("stats").filter(|stats| !stats.is_empty()).unwrap_or("all").to_owned();
    let asked: Vec<&str> = asked.split(',').collect();
    if let Some(wrong) = asked.iter().find(|stat| !STATS.contains(stat)) {
        let near = crate::cli::hints::nearest(wrong, STATS);
        let near = near.map(|near| format!(", did you mean {near}?")).unwrap_or_default();
        return Err(usage(&format!("Invalid stat {wrong}{near}")));
    }
    let text_of = |name: &str| options.get(name).map(str::to_owned);
    if text_of("db_dsn").is_none() {
        return Err(usage("--db_dsn is missing"));
    }
    let database = [
        ("database.url", text_of("db_dsn")),
        ("database.user", text_of("db_user")),
        ("database.password", text_of("db_pass")),
    ];
    let (settings, _log) = prepare(&SettingsArgs::default(), database)?;
    let has = |stat: &str| asked.iter().any(|asked| *asked == stat || *asked == "all");
    output.raw(format!("Fetching statistics... ({})\n", asked.join(",")).as_bytes())?;
    let wanted = Wanted {
        files: has("files") || has("domains") || has("replication"),
        devices: has("devices"),
        fids: has("fids"),
        queues: has("replication-queue") || has("delete-queue") || has("general-queues"),
    };
    let statistics = statistics::read(&settings.database, wanted).map_err(crate::cli::db::failure)?;
    let text = text(&statistics, has) + "\ndone\n";
    Ok(output.raw(text.as_bytes())?)
}

fn usage(problem: &str) -> Refusal {
    let problem = if problem.is_empty() { String::new() } else { format!("ERROR: {problem}\n\n") };
    let mut stats = STATS;
    stats.sort_unstable();
    Refusal::Usage(format!(
        "{problem}Usage:\n    mogstats --db_dsn=\"DBI:mysql:mfs:host=mfshost\" --db_user=\"mfs\" --db_pass=\"mfs\" --verbose \
         --stats=\"devices,files\"\n    mogstats --stats=\"all\"\n    mogstats [all options in ~/.mogilefs.conf]\n\
         valid stats: {}\n",
        stats.join(", ")
    ))
}

fn text(statistics: &Statistics, has: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    if has("devices") {
        const RULE: &str = "  ---------- ---------------- ------------ ----------\n";
        text += "\nStatistics for devices...\n";
        text += &format!("  {:<10} {:<15} {:>12} {:>10}\n{RULE}", "device", "host", "files", "status");
        for device in statistics.devices.iter().filter(|device| device.files > 0) {
            let name = format!("dev{}", device.devid);
            text += &format!("  {name:<10} {:<10} {:>10} {:>10}\n", device.host, device.files, device.status);
        }
        text += RULE;
    }
    if has("fids") {
        let highest = statistics.highest_fid.map_or("none".to_owned(), |fid| fid.to_string());
        text += &format!("\nStatistics for file ids...\n  Max file id: {highest}\n");
    }
    if has("files") {
        const RULE: &str = "  -------------------- ----------- ---------- ----------- -------------\n";
        text += "\nStatistics for files...\n";
        text += &format!(
            "  {:<20} {:<10} {:>10} {:>11} {:>13}\n{RULE}",
            "domain", "class", "files", "size (m)", "fullsize (m)"
        );
        for (domain, class, files, bytes, stored) in by_class(&statistics.files) {
            let (size, full) = (bytes / MEGABYTE, stored / MEGABYTE);
            text += &format!("  {domain:<20} {class:<10} {files:>10} {size:>11} {full:>13}\n");
        }
        text += RULE;
    } else if has("domains") {
        const RULE: &str = "  -------------------- ----------- ----------\n";
        text += &format!("\nStatistics for domains...\n  {:<20} {:<10} {:>10}\n{RULE}", "domain", "class", "files");
        for (domain, class, files, ..) in by_class(&statistics.files) {
            text += &format!("  {domain:<20} {class:<10} {files:>10}\n");
        }
        text += RULE;
    }
    if has("replication") {
        const RULE: &str = "  -------------------- ----------- ---------- ----------\n";
        text += "\nStatistics for replication...\n";
        text += &format!("  {:<20} {:<10} {:>10} {:>10}\n{RULE}", "domain", "class", "devcount", "files");
        for sum in &statistics.files {
            text += &format!("  {:<20} {:<10} {:>10} {:>10}\n", sum.domain, sum.class, sum.devcount, sum.files);
        }
        text += RULE;
    }
    for (stat, title, queue) in
        [("replication-queue", "replication queue", "replicate"), ("delete-queue", "delete queue", "delete")]
    {
        if has(stat) {
            const RULE: &str = "  -------------------- ------------\n";
            text += &format!("\nStatistics for {title}...\n  {:<20} {:>12}\n{RULE}", "status", "count");
            for (status, count) in states(statistics, queue) {
                text += &format!("  {status:<20} {count:>12}\n");
            }
            text += RULE;
        }
    }
    if has("general-queues") {
        const RULE: &str = "  --------------- -------------------- ------------\n";
        text += "\nStatistics for general queues...\n";
        text += &format!("  {:<15} {:<20} {:>12}\n{RULE}", "queue", "status", "count");
        for (name, queue) in [("FSCK_QUEUE", "fsck"), ("REBAL_QUEUE", "rebalance")] {
            for (status, count) in states(statistics, queue) {
                text += &format!("  {name:<15} {status:<20} {count:>12}\n");
            }
        }
        text += RULE;
    }
    text
}

/// What there is in a queue, in the original's words and order.
fn states(statistics: &Statistics, queue: &str) -> Vec<(&'static str, i64)> {
    let counts = queues(statistics).into_iter().find(|(name, _)| *name == queue).map_or([0; 3], |(_, counts)| counts);
    let [due, deferred, parked] = counts;
    let states = [("deferred", deferred), ("manual", parked), ("overdue", due)];
    states.into_iter().filter(|(_, count)| *count > 0).collect()
}
