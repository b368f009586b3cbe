//! `mogilefs db copy`: everything that trackers know, from one database into another.

use super::db::failure;
use super::output::{Failure, Output, table};
use super::roles::{SettingsArgs, prepare};
use crate::settings::DatabaseSettings;
use crate::store::copy::{
    self, CopyOptions, CopyOutcome, CopyPhase, CopyProgress, CopyReport, Difference, Obstacle, TableCopy,
};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Copy everything that trackers know into another database, of whatever kind; the source is only read
///
/// Says first what the target could not hold as it is, and copies only if nothing would be lost. A copy that broke off goes on
/// where it was when it is begun again. In the end both are compared row by row; only then can a tracker start on the target.
/// Trackers must be stopped, or use --ahead. Ends with 1 if something is found. docs/DATABASES.md has it step by step.
#[derive(Args, Clone, Debug)]
pub struct CopyArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// The source: an address as for --db
    #[arg(long, value_name = "URL")]
    from: String,
    /// The target, which must be empty; tables are made
    #[arg(long, value_name = "URL")]
    to: String,
    /// Say what could not be copied, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// No tracker uses the source: signs that one does are those of others
    #[arg(long)]
    trackers_stopped: bool,
    /// Trackers still run: copy what is there. When they are stopped, copy once more, with --update
    #[arg(long, conflicts_with = "update")]
    ahead: bool,
    /// Bring rows that differ in the end up to the source
    #[arg(long)]
    update: bool,
    /// A column of the source that no schema has, and that is not wanted
    #[arg(long = "leave-out", value_name = "TABLE.COLUMN")]
    left_out: Vec<String>,
    /// A setting [database] for the source only, as in --from-set mysql_charset=latin1 or --from-set password_file=FILE
    #[arg(long, value_name = "KEY=VALUE")]
    from_set: Vec<String>,
    /// A setting [database] for the target only
    #[arg(long, value_name = "KEY=VALUE")]
    to_set: Vec<String>,
}

impl CopyArgs {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let from = self.database(&self.from, &self.from_set)?;
        let to = self.database(&self.to, &self.to_set)?;
        let options = CopyOptions {
            dry_run: self.dry_run,
            are_trackers_stopped: self.trackers_stopped,
            is_ahead: self.ahead,
            update: self.update,
            left_out: self.left_out.iter().cloned().collect(),
        };
        let mut progress = Progress::new(output);
        let report = copy::run(&from, &to, &options, &mut |now| progress.show(now)).map_err(failure)?;
        progress.end();
        for note in &report.notes {
            output.note(&format!("note: {note}"));
        }
        if report.is_resumed {
            output.note("an earlier copy was gone on with");
        }
        output.result(&value_of(&report), || text_of(&report))?;
        verdict(&report.outcome)
    }

    /// Account and password are those of the address, or of the side's own settings: there are two of each.
    fn database(&self, url: &str, set: &[String]) -> Result<DatabaseSettings, Failure> {
        let own = ["user=", "password=", "password_file="].into_iter().map(str::to_owned);
        let own = own.chain([format!("url={url}")]).chain(set.iter().cloned()).map(|pair| format!("database.{pair}"));
        let (settings, _log) = prepare(&self.settings.with(own), [])?;
        Ok(settings.database)
    }
}

/// A bar on a terminal; else a line now and then.
struct Progress {
    bar: Option<ProgressBar>,
    is_silent: bool,
    last: Option<(CopyPhase, &'static str, Instant)>,
}

const BETWEEN_LINES: Duration = Duration::from_secs(5);

impl Progress {
    fn new(output: &Output) -> Self {
        let bar = output.shows_progress().then(|| {
            let bar = ProgressBar::new(0);
            // A template that indicatif does not like costs the looks only.
            match ProgressStyle::with_template("{msg:36} {wide_bar} {human_pos}/{human_len} rows {per_sec} {eta}") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Self { bar, is_silent: output.is_json(), last: None }
    }

    fn show(&mut self, now: CopyProgress) -> ControlFlow<()> {
        let is_same = |(phase, table, _): &(CopyPhase, &str, Instant)| (*phase, *table) == (now.phase, now.table);
        let is_new = !self.last.as_ref().is_some_and(is_same);
        match &self.bar {
            Some(bar) => {
                if is_new {
                    bar.reset();
                    bar.set_message(format!("{} {}", now.phase.name(), now.table));
                    self.last = Some((now.phase, now.table, Instant::now()));
                }
                bar.set_length(now.rows_of_table);
                bar.set_position(now.rows);
            }
            None if self.is_silent => {}
            None => {
                let is_due = self.last.is_none_or(|(_, _, told)| told.elapsed() >= BETWEEN_LINES);
                let is_large_end = now.rows >= now.rows_of_table && now.rows_of_table >= 10_000;
                if is_due || is_large_end {
                    eprintln!("{} {}: {} of {} rows", now.phase.name(), now.table, now.rows, now.rows_of_table);
                    self.last = Some((now.phase, now.table, Instant::now()));
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn outcome_name(outcome: &CopyOutcome) -> &'static str {
    match outcome {
        CopyOutcome::Examined => "examined",
        CopyOutcome::Obstructed(_) => "obstructed",
        CopyOutcome::Busy(_) => "busy",
        CopyOutcome::Ahead => "ahead",
        CopyOutcome::Different(_) => "different",
        CopyOutcome::Copied(_) => "copied",
    }
}

fn value_of(report: &CopyReport) -> Value {
    let mut value = json!({
        "outcome": outcome_name(&report.outcome),
        "from": report.from.name(),
        "to": report.to.name(),
        "resumed": report.is_resumed,
        "notes": report.notes,
    });
    let further = match &report.outcome {
        CopyOutcome::Examined | CopyOutcome::Ahead => return value,
        CopyOutcome::Busy(signs) => ("signs", json!(signs)),
        CopyOutcome::Obstructed(obstacles) => ("obstacles", obstacles.iter().map(obstacle_value).collect()),
        CopyOutcome::Different(differences) => ("differences", differences.iter().map(difference_value).collect()),
        CopyOutcome::Copied(tables) => ("tables", tables.iter().map(table_value).collect()),
    };
    value[further.0] = further.1;
    value
}

fn obstacle_value(obstacle: &Obstacle) -> Value {
    let Obstacle { place, reason, count, examples } = obstacle;
    json!({ "place": place, "reason": reason, "count": count, "examples": examples })
}

fn difference_value(difference: &Difference) -> Value {
    let Difference { table, count, examples } = difference;
    json!({ "table": table, "count": count, "examples": examples })
}

fn table_value(copy: &TableCopy) -> Value {
    json!({ "table": copy.table, "rows": copy.rows, "checksum": copy.checksum })
}

fn text_of(report: &CopyReport) -> String {
    let (from, to) = (report.from.name(), report.to.name());
    match &report.outcome {
        CopyOutcome::Examined => format!("everything can be copied from {from} to {to} as it is\n"),
        CopyOutcome::Ahead => {
            "everything that was there is copied; stop the trackers, then copy once more with --update\n".to_owned()
        }
        CopyOutcome::Busy(signs) => signs.iter().map(|sign| format!("{sign}\n")).collect(),
        CopyOutcome::Obstructed(obstacles) => {
            let line = |obstacle: &Obstacle| {
                with_examples(
                    &format!("{}: {} rows: {}", obstacle.place, obstacle.count, obstacle.reason),
                    &obstacle.examples,
                )
            };
            obstacles.iter().map(line).collect()
        }
        CopyOutcome::Different(differences) => {
            let line = |found: &Difference| {
                with_examples(&format!("{}: {} rows differ", found.table, found.count), &found.examples)
            };
            differences.iter().map(line).collect()
        }
        CopyOutcome::Copied(tables) => {
            let row =
                |copy: &TableCopy| vec![copy.table.to_owned(), copy.rows.to_string(), copy.checksum[..16].to_owned()];
            let rows: Vec<_> = tables.iter().map(row).collect();
            format!("{}copied from {from} to {to}; both are the same\n", table(&["table", "rows", "checksum"], &rows))
        }
    }
}

fn with_examples(line: &str, examples: &[String]) -> String {
    let examples: String = examples.iter().map(|example| format!("  {example}\n")).collect();
    format!("{line}\n{examples}")
}

fn verdict(outcome: &CopyOutcome) -> Result<(), Failure> {
    let finding = match outcome {
        CopyOutcome::Examined | CopyOutcome::Ahead | CopyOutcome::Copied(_) => return Ok(()),
        CopyOutcome::Obstructed(_) => "nothing was copied: the target could not hold all of it as it is",
        CopyOutcome::Busy(_) => {
            "nothing was copied: trackers seem to use the source. Stop them all; --trackers-stopped says that they are, \
             and --ahead copies while they run"
        }
        CopyOutcome::Different(_) => {
            "the target is not the same as the source, and no tracker will start on it. If the source has changed meanwhile, \
             stop what changes it and copy once more, with --update"
        }
    };
    Err(Failure::Findings(finding.to_owned()))
}
