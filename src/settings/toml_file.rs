//! TOML with the lines of its keys.

use super::file::FileEntry;
use super::keys::KnownKeys;
use config::{Map, Value, ValueKind};
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

/// The settings of a file in the order of its lines, and what is no TOML: line, reason.
pub(super) fn entries(text: &str, keys: &KnownKeys) -> (Vec<FileEntry>, Vec<(usize, String)>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let line_of = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let mut entries = Vec::new();
    let is_section = |name: &str| keys.is_section(name);
    flatten(document.get_ref(), "", &is_section, &mut |key, at, value| {
        entries.push(FileEntry { key, line: line_of(at), value: value_of(value) });
    });
    entries.sort_by_key(|entry| entry.line);
    // The library's own text would show the line, which may have a password in it.
    let errors =
        errors.iter().map(|error| (error.span().map_or(0, |span| line_of(span.start)), error.message().to_owned()));
    let mut errors: Vec<(usize, String)> = errors.collect();
    // What follows the first error of a line, and what was made of the line, is mostly nonsense.
    errors.sort_by_key(|(line, _)| *line);
    errors.dedup_by_key(|(line, _)| *line);
    entries.retain(|entry| errors.iter().all(|(line, _)| *line != entry.line));
    (entries, errors)
}

/// All keys of a text that is known to be good.
pub(super) fn flattened(text: &str) -> BTreeMap<String, Value> {
    let (document, _) = DeTable::parse_recoverable(text);
    let mut values = BTreeMap::new();
    let has_more = |name: &str| section_of(document.get_ref(), name).is_some_and(|section| !section.is_empty());
    flatten(document.get_ref(), "", &has_more, &mut |key, _, value| _ = values.insert(key, value_of(value)));
    values
}

fn section_of<'a>(document: &'a DeTable<'a>, name: &str) -> Option<&'a DeTable<'a>> {
    name.split('.').try_fold(document, |table, part| table.get(part)?.get_ref().as_table())
}

/// Goes down into sections; a table that is none is a value.
fn flatten(
    table: &DeTable<'_>,
    prefix: &str,
    is_section: &dyn Fn(&str) -> bool,
    found: &mut dyn FnMut(String, usize, &DeValue<'_>),
) {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) if is_section(&key) => flatten(inner, &format!("{key}."), is_section, found),
            value => found(key, name.span().start, value),
        }
    }
}

fn value_of(value: &DeValue<'_>) -> Value {
    let kind = match value {
        DeValue::String(text) => ValueKind::String(text.clone().into_owned()),
        DeValue::Boolean(value) => ValueKind::Boolean(*value),
        // What is too large for a number stays a text, which is then refused as one.
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| ValueKind::String(number.as_str().to_owned()), ValueKind::I64),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| ValueKind::String(number.as_str().to_owned()), ValueKind::Float)
        }
        DeValue::Datetime(value) => ValueKind::String(value.to_string()),
        DeValue::Array(items) => ValueKind::Array(items.iter().map(|item| value_of(item.get_ref())).collect()),
        DeValue::Table(table) => {
            let pairs =
                table.iter().map(|(key, value)| (key.get_ref().clone().into_owned(), value_of(value.get_ref())));
            ValueKind::Table(pairs.collect::<Map<String, Value>>())
        }
    };
    Value::new(None, kind)
}
