//! YAML with the lines of its keys.

use super::file::FileEntry;
use super::keys::KnownKeys;
use config::{Map, Value, ValueKind};
use std::collections::BTreeMap;
use yaml_rust2::parser::{Event, MarkedEventReceiver, Parser};
use yaml_rust2::scanner::Marker;
use yaml_rust2::{Yaml, YamlLoader};

/// The settings of a file in the order of its lines, and what is no YAML: line, reason.
pub(super) fn entries(text: &str, keys: &KnownKeys) -> (Vec<FileEntry>, Vec<(usize, String)>) {
    let refused = |line: usize, why: &str| (Vec::new(), vec![(line, why.to_owned())]);
    let documents = match YamlLoader::load_from_str(text) {
        Ok(documents) => documents,
        Err(error) => return refused(error.marker().line(), error.info()),
    };
    let mut lines = KeyLines::default();
    if let Err(error) = Parser::new_from_str(text).load(&mut lines, true) {
        return refused(error.marker().line(), error.info());
    }
    let mut entries = Vec::new();
    match documents.as_slice() {
        [] | [Yaml::Null] => {}
        [document @ Yaml::Hash(_)] => flatten(document, "", keys, &lines, &mut entries),
        [_] => return refused(1, "must be sections with settings, not a single value or a list"),
        _ => return refused(1, "has several documents; there may be one"),
    }
    entries.sort_by_key(|entry| entry.line);
    (entries, Vec::new())
}

fn flatten(table: &Yaml, prefix: &str, keys: &KnownKeys, lines: &KeyLines, entries: &mut Vec<FileEntry>) {
    let Yaml::Hash(table) = table else { return };
    for (name, value) in table {
        let key = format!("{prefix}{}", text_of(name));
        match value {
            Yaml::Hash(_) if keys.is_section(&key) => flatten(value, &format!("{key}."), keys, lines, entries),
            // A section with nothing in it.
            Yaml::Null if keys.is_section(&key) => {}
            value => {
                let line = lines.by_key.get(&key).copied().unwrap_or_default();
                entries.push(FileEntry { key, line, value: value_of(value) });
            }
        }
    }
}

fn text_of(scalar: &Yaml) -> String {
    match scalar {
        Yaml::String(text) | Yaml::Real(text) => text.clone(),
        Yaml::Integer(number) => number.to_string(),
        Yaml::Boolean(value) => value.to_string(),
        _ => "…".to_owned(),
    }
}

fn value_of(value: &Yaml) -> Value {
    let kind = match value {
        Yaml::Integer(number) => ValueKind::I64(*number),
        Yaml::Boolean(value) => ValueKind::Boolean(*value),
        Yaml::Real(text) => text.parse().map_or_else(|_| ValueKind::String(text.clone()), ValueKind::Float),
        Yaml::String(text) => ValueKind::String(text.clone()),
        Yaml::Array(items) => ValueKind::Array(items.iter().map(value_of).collect()),
        Yaml::Hash(table) => {
            let pairs = table.iter().map(|(key, value)| (text_of(key), value_of(value)));
            ValueKind::Table(pairs.collect::<Map<String, Value>>())
        }
        _ => ValueKind::Nil,
    };
    Value::new(None, kind)
}

/// Where each key stands.
#[derive(Default)]
struct KeyLines {
    by_key: BTreeMap<String, usize>,
    open: Vec<Open>,
}

/// A mapping or sequence that has begun.
enum Open {
    /// With the key whose value is being read, if one is.
    Mapping(Option<String>),
    Sequence,
}

impl KeyLines {
    fn path_to(&self, name: &str) -> String {
        let outer = self.open.iter().filter_map(|open| match open {
            Open::Mapping(key) => key.as_deref(),
            Open::Sequence => Some("[]"),
        });
        outer.chain([name]).collect::<Vec<_>>().join(".")
    }

    /// A value, of whatever kind, is at its end.
    fn value_done(&mut self) {
        if let Some(Open::Mapping(key)) = self.open.last_mut() {
            *key = None;
        }
    }
}

impl MarkedEventReceiver for KeyLines {
    fn on_event(&mut self, event: Event, mark: Marker) {
        match event {
            Event::MappingStart(..) => self.open.push(Open::Mapping(None)),
            Event::SequenceStart(..) => self.open.push(Open::Sequence),
            Event::MappingEnd | Event::SequenceEnd => {
                self.open.pop();
                self.value_done();
            }
            Event::Scalar(text, ..) if matches!(self.open.last(), Some(Open::Mapping(None))) => {
                let path = self.path_to(&text);
                self.by_key.entry(path).or_insert(mark.line());
                if let Some(Open::Mapping(key)) = self.open.last_mut() {
                    *key = Some(text);
                }
            }
            Event::Scalar(..) | Event::Alias(_) => self.value_done(),
            _ => {}
        }
    }
}
