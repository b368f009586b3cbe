//! `mogilefs config`: settings and where they come from, files that are checked, old files in today's form. Starts nothing.

use super::output::{Failure, Output, table};
use super::roles::SettingsArgs;
use crate::jobs::extensions::Extensions;
use crate::service::signature::SigningKey;
use crate::service::tokens::TokenList;
use crate::settings::old::convert;
use crate::settings::{self, Complaint, Form, Loaded, Origin, Settings, SettingsError, ShownSetting, Sources};
use crate::store::Store;
use crate::tls::{NodeAccess, ServerTls};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What can be done with settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    Show(ShowArgs),
    Check(CheckArgs),
    Convert(ConvertArgs),
}

/// Show every setting, its value and where that comes from; secrets are hidden
#[derive(Args, Debug)]
pub struct ShowArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Only those whose keys begin so, for example `tracker` or `jobs.reaper`
    #[arg(value_name = "PREFIX")]
    prefixes: Vec<String>,
    /// Only those that differ from the built-in default
    #[arg(long)]
    changed: bool,
}

/// Read files as a tracker or node would, and say all that is wrong with them or has no effect
///
/// Old files of mogilefsd and mogstored are taken too. The exit code is 2 if a file could not be used.
#[derive(Args, Debug)]
pub struct CheckArgs {
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// Print an old mogilefsd.conf or mogstored.conf as a settings file of today
#[derive(Args, Debug)]
pub struct ConvertArgs {
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print passwords too
    #[arg(long)]
    with_secrets: bool,
}

impl ConfigCommand {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Show(args) => show(&args, output),
            Self::Check(args) => check(&args.files, output),
            Self::Convert(args) => print_converted(&args, output),
        }
    }
}

// ---- show ----

fn show(args: &ShowArgs, output: &Output) -> Result<(), Failure> {
    let loaded = args.settings.load([])?;
    let is_wanted = |setting: &&ShownSetting| {
        let begins = |prefix: &String| setting.key.starts_with(prefix.as_str());
        (setting.is_changed || !args.changed) && (args.prefixes.is_empty() || args.prefixes.iter().any(begins))
    };
    let wanted: Vec<&ShownSetting> = loaded.shown().iter().filter(is_wanted).collect();
    loaded.warnings.iter().for_each(|warning| output.note(&format!("warning: {warning}")));
    let settings: Vec<Value> = wanted.iter().map(|setting| setting_as_json(setting)).collect();
    let warnings: Vec<Value> = loaded.warnings.iter().map(complaint_as_json).collect();
    output.result(&json!({ "settings": settings, "warnings": warnings }), || {
        let row = |setting: &&ShownSetting| vec![setting.key.clone(), setting.text.clone(), setting.origin.to_string()];
        table(&["setting", "value", "from"], &wanted.iter().map(row).collect::<Vec<_>>())
    })
}

fn setting_as_json(setting: &ShownSetting) -> Value {
    json!({ "key": setting.key, "value": setting.json, "changed": setting.is_changed, "from": origin_as_json(&setting.origin) })
}

fn origin_as_json(origin: &Origin) -> Value {
    let name = match origin {
        Origin::BuiltIn | Origin::Reference => None,
        Origin::File { path, .. } => Some(path.display().to_string()),
        Origin::Environment(name) | Origin::CommandLine(name) => Some(name.clone()),
    };
    json!({ "kind": origin.kind(), "name": name, "line": origin.line() })
}

fn complaint_as_json(complaint: &Complaint) -> Value {
    json!({ "key": complaint.key, "text": complaint.text, "from": origin_as_json(&complaint.origin) })
}

// ---- check ----

fn check(files: &[PathBuf], output: &Output) -> Result<(), Failure> {
    let (mut text, mut reports, mut wrong) = (String::new(), Vec::new(), 0);
    for file in files {
        let (complaints, warnings) = findings(file);
        wrong += usize::from(!complaints.is_empty());
        let lines = complaints.iter().map(|complaint| format!("{complaint}\n"));
        text.extend(lines.chain(warnings.iter().map(|warning| format!("warning: {warning}\n"))));
        if complaints.is_empty() && warnings.is_empty() {
            text += &format!("{}: right\n", file.display());
        }
        let as_json = |found: &[Complaint]| found.iter().map(complaint_as_json).collect::<Vec<_>>();
        reports.push(json!({
            "file": file.display().to_string(),
            "wrong": as_json(&complaints),
            "without_effect": as_json(&warnings),
        }));
    }
    output.result(&json!({ "files": reports }), || text)?;
    match wrong {
        0 => Ok(()),
        1 if files.len() == 1 => Err(Failure::Usage("the file cannot be used".to_owned())),
        wrong => Err(Failure::Usage(format!("{wrong} of {} files cannot be used", files.len()))),
    }
}

/// What is wrong with the file alone, whatever the environment says, and what has no effect.
fn findings(file: &Path) -> (Vec<Complaint>, Vec<Complaint>) {
    match settings::load(&Sources { file: Some(file.to_owned()), ..Sources::default() }) {
        Ok(loaded) => {
            let wrong = wrong_meanings(&loaded);
            let idle = settings_without_effect(&loaded);
            (wrong, loaded.warnings.into_iter().chain(idle).collect())
        }
        Err(SettingsError { complaints, warnings }) => (complaints, warnings),
    }
}

/// What only those who use the settings can judge.
fn wrong_meanings(loaded: &Loaded) -> Vec<Complaint> {
    let Settings { database, extensions, security, node, tls, node_client, .. } = &loaded.settings;
    let origin = |key: &str| {
        let setting = loaded.shown().iter().find(|setting| setting.key == key);
        setting.map_or(Origin::BuiltIn, |setting| setting.origin.clone())
    };
    let address = Store::check_address(database).err().map(|error| ("database.url", error.to_string()));
    let names = Extensions::enable(extensions).err().map(|error| ("extensions.enabled", error));
    let certificates = match tls.certificate_file.as_os_str().is_empty() {
        true => None,
        false => ServerTls::load(tls).err().map(|error| (error.named_by, error.to_string())),
    };
    let for_nodes = NodeAccess::of(node_client).err().map(|error| (error.named_by, error.to_string()));
    let tokens = TokenList::read(&security.tokens_file).err().map(|why| ("security.tokens_file", why));
    let key = SigningKey::read(&node.signing_key_file).err().map(|why| ("node.signing_key_file", why));
    let wrong = address.into_iter().chain(names).chain(certificates).chain(for_nodes).chain(tokens).chain(key);
    wrong.map(|(key, why)| Complaint::new(origin(key), "", why)).collect()
}

/// Settings of the file that mean nothing beside its others.
fn settings_without_effect(loaded: &Loaded) -> Vec<Complaint> {
    let Settings { database, extensions, tracker, node, node_client, .. } = &loaded.settings;
    let listens_with_tls = !tracker.tls_listen.is_empty() || !node.tls_listen.is_empty();
    let url = database.url.to_ascii_lowercase();
    let scheme = url.strip_prefix("dbi:").unwrap_or(&url);
    let (is_sqlite, is_mysql) = (scheme.starts_with("sqlite:"), scheme.starts_with("mysql:"));
    let has_zone_local = extensions.enabled.iter().any(|name| name == "ZoneLocal");
    let why_idle = |key: &str| match key {
        "database.user" | "database.password" | "database.password_file" | "database.max_handles" if is_sqlite => {
            Some("SQLite has no server that it could be for")
        }
        "database.mysql_charset" | "database.client_reads_wait" if !is_mysql => Some("the database is not MySQL"),
        "database.postgres_keys" | "database.silence_max_ms" if is_sqlite || is_mysql => {
            Some("the database is not PostgreSQL")
        }
        "database.write_group_max" if !is_sqlite => Some("the database is not SQLite"),
        "extensions.local_network" if !has_zone_local => Some("the extension ZoneLocal is not enabled"),
        "tracker.replicate_workers" | "tracker.delete_workers" | "tracker.fsck_workers" if !tracker.job_master => {
            Some("tracker.job_master is off")
        }
        key if key.starts_with("tls.") && !listens_with_tls => {
            Some("neither tracker.tls_listen nor node.tls_listen is set")
        }
        "node_client.signing_key_file" => None,
        key if key.starts_with("node_client.") && !node_client.uses_tls() => {
            Some("neither node_client.tls nor node_client.tls_nodes is set")
        }
        _ => None,
    };
    let said = loaded.shown().iter().filter(|setting| matches!(setting.origin, Origin::File { .. }));
    let idle = said.filter_map(|setting| Some((setting, why_idle(&setting.key)?)));
    idle.map(|(setting, why)| {
        Complaint::new(setting.origin.clone(), setting.key.as_str(), format!("without effect: {why}"))
    })
    .collect()
}

// ---- convert ----

fn print_converted(args: &ConvertArgs, output: &Output) -> Result<(), Failure> {
    let unreadable = |error| Failure::Local(format!("{}: cannot be read: {error}", args.file.display()));
    let text = settings::read(&args.file).map_err(unreadable)?;
    let Form::Old(program) = Form::of(&args.file, &text) else {
        return Err(Failure::Usage(format!(
            "{} is no file of 2.73, but one that is used as it is",
            args.file.display()
        )));
    };
    let converted = convert(program, &args.file, &text, args.with_secrets);
    let converted = converted.map_err(|error| Failure::Usage(error.to_string()))?;
    output.result(&json!({ "program": program.name(), "settings": converted }), || converted.clone())
}
