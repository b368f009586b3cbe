//! `mogilefs db`: the tracker's database, from the operator's side.

use super::db_copy::CopyArgs;
use super::mogdbsetup::ServerArgs;
use super::output::{Failure, Output};
use super::roles::{SettingsArgs, prepare};
use crate::jobs::extensions::Extensions;
use crate::settings::Settings;
use crate::store::{Finding, SCHEMA_VERSION, SchemaReport, SetupOptions, SetupOutcome, Severity, Store, StoreError};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// The tracker's database
#[derive(Subcommand, Clone, Debug)]
pub enum DbCommand {
    /// Create the tables, or bring those of an older version up to date (schema version 17); also the tables of the
    /// extensions that are switched on. Data stays; what is right already is not touched
    Setup(SetupArgs),
    /// Hold the tables against what is expected of them: what is missing or different, and whether it matters
    ///
    /// Ends with 1 if something that trackers do would fail.
    Check(DatabaseArgs),
    Copy(CopyArgs),
}

/// Which database.
#[derive(Args, Clone, Debug)]
pub struct DatabaseArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Database: sqlite:PATH, mysql://USER:PASSWORD@HOST/DB, postgres://USER:PASSWORD@HOST/DB, or a DBI string
    #[arg(long, value_name = "URL")]
    db: Option<String>,
}

#[derive(Args, Clone, Debug)]
pub struct SetupArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// New tables get eight-byte fids also where the tables that are there have four (also: MOG_FIDSIZE=big)
    #[arg(long)]
    wide_fids: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl DbCommand {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Setup(args) if args.server.is_given() => args.server.run(output),
            Self::Setup(args) if args.server.is_half_given() => {
                Err(Failure::Usage("--dbhost and its like need --type".to_owned()))
            }
            Self::Setup(args) => {
                let options = SetupOptions { wide_fids: args.wide_fids || wants_big_fids(), keep_version: false };
                let (settings, _log) = prepare(&args.database.settings, [("database.url", args.database.db)])?;
                setup(&settings, options, output)
            }
            Self::Check(args) => {
                let (settings, _log) = prepare(&args.settings, [("database.url", args.db)])?;
                check(&settings, output)
            }
            Self::Copy(args) => args.run(output),
        }
    }
}

/// As the reference's setup is told.
pub(super) fn wants_big_fids() -> bool {
    std::env::var("MOG_FIDSIZE").is_ok_and(|size| size == "big")
}

pub(super) fn failure(error: StoreError) -> Failure {
    match error {
        StoreError::Schema(text) => Failure::Schema(text),
        error => Failure::Local(error.to_string()),
    }
}

/// Sets the database up and says what was done.
pub(super) fn setup(settings: &Settings, options: SetupOptions, output: &Output) -> Result<(), Failure> {
    let extensions =
        Extensions::enable(&settings.extensions).map_err(|error| Failure::Usage(format!("setting {error}")))?;
    let report = Store::setup_with(&settings.database, options).map_err(failure)?;
    let made = Store::setup_extensions(&settings.database, &extensions.tables()).map_err(failure)?;
    let extensions: Vec<&str> = made.iter().map(|tables| tables.name()).collect();
    let value = json!({
        "outcome": outcome_name(report.outcome),
        "version": SCHEMA_VERSION,
        "steps": report.steps,
        "extensions": extensions,
    });
    output.result(&value, || {
        let mut text = format!("{}\n", outcome_text(report.outcome));
        if !matches!(report.outcome, SetupOutcome::Created) {
            text.extend(report.steps.iter().map(|step| format!("  {step}\n")));
        }
        text.extend(extensions.iter().map(|name| format!("created the tables of the extension {name}\n")));
        text
    })
}

fn outcome_name(outcome: SetupOutcome) -> &'static str {
    match outcome {
        SetupOutcome::Created => "created",
        SetupOutcome::Upgraded { .. } => "upgraded",
        SetupOutcome::Completed => "completed",
        SetupOutcome::Extended => "extended",
        SetupOutcome::AlreadyCurrent => "already_current",
    }
}

fn outcome_text(outcome: SetupOutcome) -> String {
    match outcome {
        SetupOutcome::Created => format!("created the tables (schema version {SCHEMA_VERSION})"),
        SetupOutcome::Upgraded { from } => format!("upgraded from schema version {from} to {SCHEMA_VERSION}:"),
        SetupOutcome::Completed => format!("schema version {SCHEMA_VERSION} was there, but not complete:"),
        SetupOutcome::Extended => {
            format!("schema version {SCHEMA_VERSION} was there; added the tables that only mogilefs uses")
        }
        SetupOutcome::AlreadyCurrent => {
            format!("already up to date (schema version {SCHEMA_VERSION}); nothing was changed")
        }
    }
}

/// Says what differs; fails if something matters.
fn check(settings: &Settings, output: &Output) -> Result<(), Failure> {
    let report = Store::check(&settings.database).map_err(failure)?;
    output.result(&report_value(&report), || report_text(&report))?;
    match report.count(Severity::Error) {
        0 => Ok(()),
        errors => Err(Failure::Findings(format!("the schema is not what is needed in {errors} places"))),
    }
}

fn report_value(report: &SchemaReport) -> Value {
    let finding = |finding: &Finding| json!({ "severity": finding.severity.name(), "place": finding.place, "text": finding.text });
    json!({
        "database": report.backend.name(),
        "version": report.version,
        "errors": report.count(Severity::Error),
        "warnings": report.count(Severity::Warning),
        "notes": report.count(Severity::Note),
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn report_text(report: &SchemaReport) -> String {
    let mut text: String = report.findings.iter().map(|finding| format!("{}\n", line(finding))).collect();
    text += &format!(
        "schema version {} on {}: {} errors, {} warnings, {} notes\n",
        report.version,
        report.backend.name(),
        report.count(Severity::Error),
        report.count(Severity::Warning),
        report.count(Severity::Note)
    );
    text
}

/// `warning  file.length is of the type …`
fn line(finding: &Finding) -> String {
    let place = if finding.place.is_empty() { "the database" } else { finding.place.as_str() };
    format!("{:<7}  {place} {}", finding.severity.name(), finding.text)
}
