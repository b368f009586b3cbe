//! An old file as settings of ours, with a word on where each comes from.

use super::translate::{Said, Setting, translate};
use super::{Program, read};
use crate::settings::keys::{KnownKeys, from_text, is_secret, toml_text};
use crate::settings::load::shown_address;
use crate::settings::origin::{Complaint, Origin, SettingsError};
use std::path::Path;

/// The old file's settings as TOML. Passwords are left out, with a hint, unless they are asked for.
///
/// # Errors
/// All that is wrong with the file.
pub fn convert(program: Program, path: &Path, text: &str, with_secrets: bool) -> Result<String, SettingsError> {
    let read = read(program, path, text);
    let said = Said { program, in_file: read.entries, given: &[], variables: &[], with_defaults: true };
    let translated = translate(&said);
    let complaints: Vec<Complaint> = read.complaints.into_iter().chain(translated.complaints).collect();
    let mut warnings: Vec<Complaint> = read.warnings.into_iter().chain(translated.warnings).collect();
    warnings.sort_by_key(|complaint| complaint.origin.rank());
    if !complaints.is_empty() {
        return Err(SettingsError { complaints, warnings });
    }
    let keys = KnownKeys::built_in();
    let mut result = format!("# Made from {}, a file of {} 2.73.\n", path.display(), program.name());
    let mut settings = translated.settings;
    // Sections come once each; within one the order of the lines is kept.
    settings.sort_by_key(|setting| (section_of(setting.key), setting.origin.line()));
    let mut section = "";
    for setting in &settings {
        if section != section_of(setting.key) {
            section = section_of(setting.key);
            result += &format!("\n[{section}]\n");
        }
        result += &lines_for(setting, &keys, with_secrets)?;
    }
    if !warnings.is_empty() {
        result += "\n# What has no effect here:\n";
    }
    for warning in warnings {
        result +=
            &format!("# {} (line {}): {}\n", warning.key, warning.origin.line().unwrap_or_default(), warning.text);
    }
    Ok(result)
}

fn section_of(key: &str) -> &str {
    key.split('.').next().unwrap_or(key)
}

fn lines_for(setting: &Setting, keys: &KnownKeys, with_secrets: bool) -> Result<String, SettingsError> {
    let from = match (&setting.origin, setting.origin.line()) {
        (Origin::Reference, _) => format!("# {}, which is not in the file: the default of 2.73\n", setting.old),
        (_, line) => format!("# {}, line {}\n", setting.old, line.unwrap_or_default()),
    };
    let name = setting.key.rsplit_once('.').map_or(setting.key, |(_, name)| name);
    if !with_secrets && is_secret(setting.key) {
        return Ok(format!(
            "{from}# It is not shown. Put it alone into a file that only this program may read, and name that:\n\
             # {name}_file = \"/etc/mogilefs/{name}\"\n"
        ));
    }
    let kind = keys.default_of(setting.key).map(|default| &default.kind);
    let value = from_text(setting.key, kind.unwrap_or(&config::ValueKind::Nil), &setting.value)
        .map_err(|why| SettingsError::one(Complaint::new(setting.origin.clone(), setting.old.as_str(), why)))?;
    let shown = toml_text(&value);
    if !with_secrets && setting.key == "database.url" && shown_address(&setting.value) != setting.value {
        return Ok(format!(
            "{from}# It has a password, which is not shown. Leave that out of the address, and name a file that has it:\n\
             # {name} = {:?}\n# password_file = \"/etc/mogilefs/password\"\n",
            shown_address(&setting.value)
        ));
    }
    Ok(format!("{from}{name} = {shown}\n"))
}
