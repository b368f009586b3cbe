//! From the places where settings are said to [`Settings`], with the origin of every value.
//!
//! The places are read into one list, the later entry winning; `config` lays them over each other and makes the structs.
//! Nothing stops at the first mistake: whoever corrects a file wants to know them all.

use super::file::{self, Form};
use super::keys::{self, KnownKeys, is_secret};
use super::old::{self, OldCommandLine, Program};
use super::origin::{Complaint, Origin, SettingsError};
use super::{DEFAULT_TOML, Settings};
use config::{Config, ConfigError, Map, Source, Value, ValueKind};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// What variables of the environment begin with.
const ENVIRONMENT_PREFIX: &str = "mogilefs__";

/// Shown in the place of a secret.
const HIDDEN: &str = "(hidden)";

/// The places where settings are said, the later winning.
#[derive(Clone, Default)]
pub struct Sources {
    pub file: Option<PathBuf>,
    /// Name and value.
    pub environment: Vec<(String, String)>,
    /// Of a program called by an old name. Its file is [`Sources::file`].
    pub old: Option<OldCommandLine>,
    pub overrides: Vec<Override>,
}

impl Sources {
    /// With this process's environment.
    pub fn of_process(file: Option<PathBuf>, overrides: Vec<Override>) -> Self {
        let variables = std::env::vars_os();
        let texts = variables.map(|(name, value)| (name.to_string_lossy().into(), value.to_string_lossy().into()));
        Self { file, environment: texts.collect(), old: None, overrides }
    }
}

/// One setting of a command line.
#[derive(Clone)]
pub struct Override {
    key: String,
    value: String,
    option: String,
}

impl Override {
    /// The option is for messages, such as `--set`.
    pub fn new(key: impl Into<String>, value: impl Into<String>, option: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into(), option: option.into() }
    }
}

/// Settings that can be used.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// What was said and has no effect.
    pub warnings: Vec<Complaint>,
    values: Vec<ShownSetting>,
}

/// A setting for people and scripts; secrets are hidden.
#[derive(Clone, Debug)]
pub struct ShownSetting {
    pub key: String,
    /// As TOML has it.
    pub text: String,
    pub json: serde_json::Value,
    pub origin: Origin,
    /// Is it another than the built-in one?
    pub is_changed: bool,
}

impl Loaded {
    /// Every setting, in the order of the keys.
    pub fn shown(&self) -> &[ShownSetting] {
        &self.values
    }
}

/// A value with its place.
#[derive(Clone)]
struct Entry {
    key: String,
    value: Value,
    origin: Origin,
}

/// Reads all places.
///
/// # Errors
/// All that is wrong in any of them.
pub fn load(sources: &Sources) -> Result<Loaded, SettingsError> {
    let mut gathered = Gathered { keys: KnownKeys::built_in(), ..Gathered::default() };
    gathered.take_file_and_old_command_line(sources);
    gathered.take_environment(&sources.environment);
    let late = std::mem::take(&mut gathered.late);
    late.into_iter().for_each(|setting| gathered.take_old(setting));
    for said in &sources.overrides {
        gathered.take_text(&said.key, &said.value, Origin::CommandLine(said.option.clone()));
    }
    gathered.finish()
}

#[derive(Default)]
struct Gathered {
    keys: KnownKeys,
    entries: Vec<Entry>,
    /// Of an old command line: they win over the environment.
    late: Vec<old::Setting>,
    complaints: Vec<Complaint>,
    warnings: Vec<Complaint>,
}

impl Gathered {
    fn take_file_and_old_command_line(&mut self, sources: &Sources) {
        let file = sources.file.as_deref().and_then(|path| Some((path, self.read(path)?)));
        let called = sources.old.as_ref().map(|line| line.program);
        match file {
            None if sources.file.is_some() => {}
            None => {
                if let Some(program) = called {
                    self.take_old_entries(program, Vec::new(), true, sources);
                }
            }
            Some((path, text)) => match Form::of(path, &text) {
                Form::Old(program) => {
                    let program = called.unwrap_or(program);
                    let read = old::read(program, path, &text);
                    self.complaints.extend(read.complaints);
                    self.warnings.extend(read.warnings);
                    self.take_old_entries(program, read.entries, true, sources);
                }
                form => {
                    self.take_file(form, path, &text);
                    if let Some(program) = called {
                        self.take_old_entries(program, Vec::new(), false, sources);
                    }
                }
            },
        }
    }

    fn read(&mut self, path: &Path) -> Option<String> {
        let complain = |error| {
            let origin = Origin::File { path: path.to_owned(), line: 0 };
            self.complaints.push(Complaint::new(origin, "", format!("cannot be read: {error}")));
        };
        file::read(path).map_err(complain).ok()
    }

    fn take_file(&mut self, form: Form, path: &Path, text: &str) {
        let origin = |line| Origin::File { path: path.to_owned(), line };
        let (entries, errors) = file::entries(form, text, &self.keys);
        let not_utf8 = text.lines().position(|line| line.contains(char::REPLACEMENT_CHARACTER));
        self.complaints.extend(not_utf8.map(|at| Complaint::new(origin(at + 1), "", file::NOT_UTF8)));
        self.complaints.extend(errors.into_iter().map(|(line, why)| Complaint::new(origin(line), "", why)));
        for entry in entries {
            self.take(entry.key, entry.value, origin(entry.line));
        }
    }

    fn take_old_entries(
        &mut self,
        program: Program,
        in_file: Vec<old::OldEntry>,
        with_defaults: bool,
        sources: &Sources,
    ) {
        let given = sources.old.as_ref().map(|line| line.given.as_slice()).unwrap_or_default();
        let variables = if sources.old.is_some() { sources.environment.as_slice() } else { &[] };
        let translated = old::translate(&old::Said { program, in_file, given, variables, with_defaults });
        self.complaints.extend(translated.complaints);
        self.warnings.extend(translated.warnings);
        for setting in translated.settings {
            match setting.origin {
                Origin::CommandLine(_) => self.late.push(setting),
                _ => self.take_old(setting),
            }
        }
    }

    fn take_old(&mut self, setting: old::Setting) {
        self.take_text(setting.key, &setting.value, setting.origin);
    }

    fn take_environment(&mut self, variables: &[(String, String)]) {
        for (variable, text) in variables {
            let name = variable.to_ascii_lowercase();
            if let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) {
                self.take_text(&key.replace("__", "."), text, Origin::Environment(variable.clone()));
            }
        }
    }

    fn take_text(&mut self, key: &str, text: &str, origin: Origin) {
        self.take(key.to_owned(), Value::new(None, text), origin);
    }

    fn take(&mut self, key: String, value: Value, origin: Origin) {
        let fitted = match self.keys.default_of(&key) {
            Some(default) => keys::fitted(&key, default, value),
            None if self.keys.is_in_open_table(&key) => Ok(value),
            None => Err(self.keys.unknown(&key)),
        };
        match fitted {
            Ok(value) => self.entries.push(Entry { key, value, origin }),
            Err(why) => self.complaints.push(Complaint::new(origin, key, why)),
        }
    }

    fn finish(mut self) -> Result<Loaded, SettingsError> {
        let settings = match made(&self.entries) {
            Ok(settings) => Some(settings),
            Err(error) => {
                self.complain_of_values(&error);
                None
            }
        };
        for (key, why) in settings.iter().flat_map(Settings::check) {
            self.complaints.push(Complaint::new(self.origin_of(key), key, why));
        }
        self.complaints.sort_by_key(|complaint| complaint.origin.rank());
        self.warnings.sort_by_key(|complaint| complaint.origin.rank());
        match settings {
            Some(settings) if self.complaints.is_empty() => {
                Ok(Loaded { settings, values: self.values(), warnings: self.warnings })
            }
            _ => Err(SettingsError { complaints: self.complaints, warnings: self.warnings }),
        }
    }

    /// Which of the values cannot be used; each is tried alone.
    fn complain_of_values(&mut self, error: &ConfigError) {
        let found = self.complaints.len();
        for entry in &self.entries {
            if made(std::slice::from_ref(entry)).is_err() {
                let why = self.why_not(entry);
                self.complaints.push(Complaint::new(entry.origin.clone(), entry.key.as_str(), why));
            }
        }
        if self.complaints.len() == found {
            self.complaints.push(Complaint::new(Origin::BuiltIn, "", error.to_string()));
        }
    }

    /// Words for a value that is of the right kind and yet cannot be used: outside a range, or no word of a list.
    fn why_not(&self, entry: &Entry) -> String {
        let mut tree = serde_json::Value::Object(serde_json::Map::new());
        for (key, value) in self.keys.iter().chain([(&entry.key, &entry.value)]) {
            // `a.b` is `/a/b`, the sections coming into being on the way.
            let mut place = &mut tree;
            for part in key.split('.') {
                place = &mut place[part];
            }
            *place = keys::json(value);
        }
        // `config` says less than serde's own error.
        let error = serde_json::from_value::<Settings>(tree).err().map(|error| error.to_string()).unwrap_or_default();
        match (
            &entry.value.kind,
            error.strip_prefix("unknown variant ").and_then(|rest| rest.split_once(", expected ")),
        ) {
            _ if is_secret(&entry.key) => "cannot be used".to_owned(),
            (ValueKind::I64(..0), _) if error.contains("expected u") => "must not be negative".to_owned(),
            (ValueKind::I64(number), _) => format!("is too {}", if *number < 0 { "small" } else { "large" }),
            (_, Some((said, words))) => format!("must be {words}, not {said}"),
            _ => format!("cannot be used: {error}"),
        }
    }

    fn origin_of(&self, key: &str) -> Origin {
        self.entries.iter().rfind(|entry| entry.key == key).map_or(Origin::BuiltIn, |entry| entry.origin.clone())
    }

    fn values(&self) -> Vec<ShownSetting> {
        let mut last: BTreeMap<&str, (&Value, &Origin)> = BTreeMap::new();
        last.extend(self.keys.iter().map(|(key, value)| (key.as_str(), (value, &Origin::BuiltIn))));
        last.extend(self.entries.iter().map(|entry| (entry.key.as_str(), (&entry.value, &entry.origin))));
        let shown = last.into_iter().map(|(key, (value, origin))| {
            let is_changed = self.keys.default_of(key).is_none_or(|default| default.kind != value.kind);
            let value = without_secrets(key, value);
            let (text, json) = (keys::toml_text(&value), keys::json(&value));
            ShownSetting { key: key.to_owned(), text, json, origin: origin.clone(), is_changed }
        });
        shown.collect()
    }
}

/// The structs, from the defaults and what is laid over them.
fn made(entries: &[Entry]) -> Result<Settings, ConfigError> {
    let defaults = config::File::from_str(DEFAULT_TOML, config::FileFormat::Toml);
    let layers = entries
        .iter()
        .fold(Config::builder().add_source(defaults), |builder, entry| builder.add_source(Layer(entry.clone())));
    layers.build()?.try_deserialize()
}

/// One value as a layer of its own, so that the order of the entries is kept.
#[derive(Clone)]
struct Layer(Entry);

/// The value may be a password.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Layer").field(&self.0.key).finish()
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(Map::from_iter([(self.0.key.clone(), self.0.value.clone())]))
    }
}

fn without_secrets(key: &str, value: &Value) -> Value {
    let text = match &value.kind {
        ValueKind::String(text) => text.as_str(),
        _ => return value.clone(),
    };
    match key {
        "database.url" => Value::new(None, shown_address(text)),
        key if is_secret(key) && !text.is_empty() => Value::new(None, HIDDEN),
        _ => value.clone(),
    }
}

/// The address of a database without account and password.
pub fn shown_address(url: &str) -> String {
    // All up to the last `@`: a password may have one, or a slash, though it should not.
    let shown = match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, server))) => format!("{scheme}://{HIDDEN}@{server}"),
        _ => url.to_owned(),
    };
    let is_end = |c: char| matches!(c, ';' | '&');
    let (mut rest, mut result) = (shown.as_str(), String::new());
    while let Some(at) = rest.to_ascii_lowercase().find("pass") {
        let Some(value) = rest[at..].find(['=', ';', '&', ':']).filter(|end| rest[at + end..].starts_with('=')) else {
            let (before, after) = rest.split_at(at + "pass".len());
            result += before;
            rest = after;
            continue;
        };
        let value = at + value + 1;
        let end = rest[value..].find(is_end).map_or(rest.len(), |end| value + end);
        result += &format!("{}{HIDDEN}", &rest[..value]);
        rest = &rest[end..];
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_passwords() {
        for (url, shown) in [
            ("sqlite:/var/lib/m.db", "sqlite:/var/lib/m.db"),
            ("mysql://u:p@h/d", "mysql://(hidden)@h/d"),
            ("mysql://u:p/@x@h/d?ssl_mode=required", "mysql://(hidden)@h/d?ssl_mode=required"),
            ("postgres://h/d?password=p&sslmode=x", "postgres://h/d?password=(hidden)&sslmode=x"),
            ("DBI:mysql:m;host=h;password=p;port=1", "DBI:mysql:m;host=h;password=(hidden);port=1"),
            ("DBI:Pg:dbname=passes;pass=p", "DBI:Pg:dbname=passes;pass=(hidden)"),
            ("DBI:mysql:passengers:host=h", "DBI:mysql:passengers:host=h"),
        ] {
            assert_eq!(shown_address(url), shown);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_password_is_shown(password in "[X-Z@/:?#%]{1,12}") {
            for url in [format!("mysql://u:{password}@h/d"), format!("postgres://u:{password}@h/d?sslmode=require")] {
                let shown = shown_address(&url);
                proptest::prop_assert!(!shown.contains(['X', 'Y', 'Z']), "{shown}");
            }
        }

        #[test]
        fn any_file_is_read_or_refused(
            words in proptest::collection::vec("[\\[\\]{}:=#\"' \t\n.-]|tracker|listen|db_dsn|daemonize|docroot|[a-z\u{e4}]{1,3}|[0-9]", 0..40)
        ) {
            let text = words.concat();
            for form in [Form::of(Path::new("f"), &text), Form::Toml, Form::Yaml] {
                let mut gathered = Gathered { keys: KnownKeys::built_in(), ..Gathered::default() };
                match form {
                    Form::Old(program) => {
                        let read = old::read(program, Path::new("f"), &text);
                        gathered.take_old_entries(program, read.entries, true, &Sources::default());
                    }
                    form => gathered.take_file(form, Path::new("f"), &text),
                }
                let last_line = text.lines().count().max(1) + 1;
                for complaint in gathered.complaints {
                    proptest::prop_assert!(complaint.origin.line().is_none_or(|line| line <= last_line), "{complaint}");
                }
            }
        }
    }
}
