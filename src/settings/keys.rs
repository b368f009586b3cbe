//! The keys there are and the kinds of their values, both taken from `settings/default.toml`; values as text.

use super::{old, toml_file};
use config::{Map, Value, ValueKind};
use std::collections::BTreeMap;

/// Below this likeness (0 to 1) another key is no help.
const LIKENESS_MIN: f64 = 0.72;

/// Every key with its default, whose kind all values must have.
#[derive(Default)]
pub(super) struct KnownKeys(BTreeMap<String, Value>);

impl KnownKeys {
    pub(super) fn built_in() -> Self {
        Self(toml_file::flattened(super::DEFAULT_TOML))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.iter()
    }

    pub(super) fn default_of(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Is this a section, or a part of one?
    pub(super) fn is_section(&self, name: &str) -> bool {
        self.0.keys().any(|key| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
    }

    /// Is the key's part before the last dot a table that takes any names?
    pub(super) fn is_in_open_table(&self, key: &str) -> bool {
        let parent = key.rsplit_once('.').and_then(|(parent, _)| self.0.get(parent));
        parent.is_some_and(|default| matches!(default.kind, ValueKind::Table(_)))
    }

    /// What to say of a key that there is not.
    pub(super) fn unknown(&self, key: &str) -> String {
        if self.is_section(key) {
            return format!("is a section; its settings stand below [{key}]");
        }
        let of_reference = old::successor_of(last_part(key))
            .filter(|_| !self.0.keys().any(|known| last_part(known) == last_part(key)));
        match of_reference.or_else(|| self.nearest(key)) {
            Some(known) => format!("unknown key; did you mean {known}?"),
            None => "unknown key; `mogilefs config show` lists all".to_owned(),
        }
    }

    /// The key that was probably meant: one of the same name in another section, else the one most alike.
    fn nearest(&self, key: &str) -> Option<&str> {
        let name = last_part(key);
        let namesake = self.0.keys().find(|known| last_part(known) == name);
        let sections = self.0.keys().filter_map(|known| known.split_once('.').map(|(section, _)| section));
        let likeness = |known: &str| {
            let whole = strsim::normalized_damerau_levenshtein(known, key);
            // A wrong section must not hide a name that is nearly right.
            let name =
                if key.contains('.') { 0.0 } else { strsim::normalized_damerau_levenshtein(last_part(known), key) };
            whole.max(name)
        };
        let alike = self.0.keys().map(String::as_str).chain(sections.filter(|_| !key.contains('.')));
        let alike = alike.map(|known| (likeness(known), known)).filter(|(likeness, _)| *likeness >= LIKENESS_MIN);
        namesake.map(String::as_str).or_else(|| alike.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known))
    }
}

fn last_part(key: &str) -> &str {
    key.rsplit_once('.').map_or(key, |(_, name)| name)
}

/// Is the value of this key not for showing?
pub(super) fn is_secret(key: &str) -> bool {
    ["password", "token", "secret"].iter().any(|word| last_part(key).ends_with(word))
}

/// The value in the kind of the key's default.
///
/// # Errors
/// What it must be, and what it is unless that is secret.
pub(super) fn fitted(key: &str, default: &Value, value: Value) -> Result<Value, String> {
    use ValueKind::{Array, Boolean, Float, I64, String, Table};
    let kind = match (&default.kind, value.kind) {
        (String(_), String(text)) => String(text),
        (wanted, String(text)) => return from_text(key, wanted, &text),
        (Boolean(_), kind @ Boolean(_)) | (I64(_), kind @ I64(_)) | (Float(_), kind @ (Float(_) | I64(_))) => kind,
        (Array(_), kind @ Array(_)) | (Table(_), kind @ Table(_)) => kind,
        (String(_), Array(_) | Table(_)) => return Err("must be a text".to_owned()),
        (String(_), _) => return Err("must be a text; put it in quotes".to_owned()),
        (wanted, found) => {
            let wanted = name_of(wanted);
            return Err(match found {
                _ if is_secret(key) => format!("must be {wanted}"),
                Array(_) | Table(_) => format!("must be {wanted}, not {}", name_of(&found)),
                found => format!("must be {wanted}, not {found}"),
            });
        }
    };
    Ok(Value::new(None, kind))
}

/// Reads a text of the environment, a command line or an old file.
pub(super) fn from_text(key: &str, wanted: &ValueKind, text: &str) -> Result<Value, String> {
    let word = text.trim();
    let kind = match wanted {
        ValueKind::Boolean(_) => match word.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(ValueKind::Boolean(true)),
            "false" | "no" | "off" | "0" => Some(ValueKind::Boolean(false)),
            _ => None,
        },
        ValueKind::I64(_) => word.parse().ok().map(ValueKind::I64),
        ValueKind::Float(_) => word.parse().ok().map(ValueKind::Float),
        ValueKind::Array(_) => Some(ValueKind::Array(list(text).map(|item| Value::new(None, item)).collect())),
        ValueKind::Table(_) => return Err(format!("is a table; name one of its keys, as in {key}.NAME=…")),
        _ => Some(ValueKind::String(text.to_owned())),
    };
    let refused = || match is_secret(key) {
        true => format!("must be {}", name_of(wanted)),
        false => format!("must be {}, not {text:?}", name_of(wanted)),
    };
    kind.map(|kind| Value::new(None, kind)).ok_or_else(refused)
}

/// `a,b`; nothing is an empty list.
fn list(text: &str) -> impl Iterator<Item = String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned)
}

fn name_of(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Boolean(_) => "true or false",
        ValueKind::I64(_) => "a whole number",
        ValueKind::Float(_) => "a number",
        ValueKind::Array(_) => "a list",
        ValueKind::Table(_) => "a table",
        _ => "a text",
    }
}

/// As TOML has it, in one line.
pub(super) fn toml_text(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => quoted(text),
        ValueKind::Array(items) => format!("[{}]", items.iter().map(toml_text).collect::<Vec<_>>().join(", ")),
        ValueKind::Table(table) => {
            let pairs = sorted(table).into_iter().map(|(key, value)| format!("{} = {}", quoted(key), toml_text(value)));
            match pairs.collect::<Vec<_>>() {
                pairs if pairs.is_empty() => "{}".to_owned(),
                pairs => format!("{{ {} }}", pairs.join(", ")),
            }
        }
        other => other.to_string(),
    }
}

fn sorted(table: &Map<String, Value>) -> BTreeMap<&String, &Value> {
    table.iter().collect()
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// The same as JSON.
pub(super) fn json(value: &Value) -> serde_json::Value {
    match &value.kind {
        ValueKind::Boolean(value) => (*value).into(),
        ValueKind::I64(value) => (*value).into(),
        ValueKind::U64(value) => (*value).into(),
        ValueKind::Float(value) => (*value).into(),
        ValueKind::Array(items) => items.iter().map(json).collect(),
        ValueKind::Table(table) => {
            serde_json::Value::Object(table.iter().map(|(key, value)| (key.clone(), json(value))).collect())
        }
        other => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found() {
        let keys = KnownKeys::built_in();
        for (said, meant) in [
            ("tracker.query_worker", "tracker.query_workers"),
            ("query_workers", "tracker.query_workers"),
            ("traker", "tracker"),
            ("storage.query_workers", "tracker.query_workers"),
            ("databse.url", "database.url"),
        ] {
            assert_eq!(keys.nearest(said), Some(meant), "{said}");
        }
        assert_eq!(keys.nearest("tracker.colour_of_the_sky"), None);
        assert_eq!(keys.unknown("tracker.query_jobs"), "unknown key; did you mean tracker.query_workers?");
        assert!(keys.unknown("tracker").contains("[tracker]"));
    }

    #[test]
    fn values_have_the_kind_of_the_default() {
        let fit = |default: ValueKind, value: ValueKind| {
            fitted("k", &Value::new(None, default), Value::new(None, value)).map(|value| toml_text(&value))
        };
        let text = |text: &str| ValueKind::String(text.to_owned());
        assert_eq!(fit(ValueKind::I64(1), text(" 8 ")), Ok("8".to_owned()));
        assert_eq!(fit(ValueKind::Boolean(true), text("Off")), Ok("false".to_owned()));
        assert_eq!(fit(ValueKind::Array(vec![]), text("a, \"b")), Ok(r#"["a", "\"b"]"#.to_owned()));
        assert_eq!(fit(ValueKind::I64(1), text("many")), Err("must be a whole number, not \"many\"".to_owned()));
        assert_eq!(fit(ValueKind::I64(1), ValueKind::Float(1.5)), Err("must be a whole number, not 1.5".to_owned()));
        assert_eq!(fit(text(""), ValueKind::I64(7)), Err("must be a text; put it in quotes".to_owned()));
        assert_eq!(
            fit(ValueKind::I64(1), ValueKind::Array(vec![])),
            Err("must be a whole number, not a list".to_owned())
        );
        assert_eq!(from_text("web.token", &ValueKind::I64(1), "hush").err().as_deref(), Some("must be a whole number"));
    }
}
