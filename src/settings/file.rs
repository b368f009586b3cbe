//! Files of settings: which form one has, and what it says. TOML and YAML of ours; those of 2.73 are in [`super::old`].

use super::keys::KnownKeys;
use super::old::{self, Program};
use super::{toml_file, yaml_file};
use config::Value;
use std::path::Path;

/// What to say of a line with [`char::REPLACEMENT_CHARACTER`].
pub(super) const NOT_UTF8: &str = "has bytes that are not UTF-8";

/// The text of a file. Bytes that are not UTF-8 become [`char::REPLACEMENT_CHARACTER`]: old files may have them, in comments.
pub fn read(path: &Path) -> std::io::Result<String> {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// One setting of a file.
pub(super) struct FileEntry {
    pub(super) key: String,
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Toml,
    Yaml,
    /// As the configuration of a program of 2.73.
    Old(Program),
}

impl Form {
    /// Judges by what stands in it, by its name only if that is not enough.
    pub fn of(path: &Path, text: &str) -> Self {
        Self::judged(&KnownKeys::built_in(), path, text)
    }

    fn judged(keys: &KnownKeys, path: &Path, text: &str) -> Self {
        let decisive = text.lines().map(str::trim).find_map(|line| Self::shown_by(keys, line));
        match decisive {
            Some(Self::Old(_)) => Self::Old(old::program_of(text)),
            Some(form) => form,
            None => match path.extension().and_then(|extension| extension.to_str()) {
                Some("yaml" | "yml") => Self::Yaml,
                Some("conf") => Self::Old(Program::Mogilefsd),
                _ => Self::Toml,
            },
        }
    }

    /// What one line gives away.
    fn shown_by(keys: &KnownKeys, line: &str) -> Option<Self> {
        if line.starts_with('[') {
            return Some(Self::Toml);
        }
        if line.starts_with("---") || line.starts_with('{') {
            return Some(Self::Yaml);
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let (word, rest) = line.split_at(line.find(|c| !is_word(c)).unwrap_or(line.len()));
        let is_assigned = rest.trim_start().starts_with('=');
        match word {
            "" => None,
            _ if rest.starts_with(':') => Some(Self::Yaml),
            _ if old::is_key(word) => Some(Self::Old(Program::Mogilefsd)),
            _ if is_assigned && (keys.default_of(word).is_some() || keys.is_section(word)) => Some(Self::Toml),
            _ => None,
        }
    }
}

/// What a file of ours says, and what in it cannot be read: line, reason.
pub(super) fn entries(form: Form, text: &str, keys: &KnownKeys) -> (Vec<FileEntry>, Vec<(usize, String)>) {
    match form {
        Form::Yaml => yaml_file::entries(text, keys),
        Form::Toml | Form::Old(_) => toml_file::entries(text, keys),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_seen_not_named() {
        let form = |name: &str, text: &str| Form::of(Path::new(name), text);
        let (mogilefsd, mogstored) = (Form::Old(Program::Mogilefsd), Form::Old(Program::Mogstored));
        for (name, text, expected) in [
            ("a.toml", "db_dsn DBI:mysql:m\n", mogilefsd),
            ("a", "# x\n\n  daemonize = 1\ndb_dsn=DBI:mysql:m\n", mogilefsd),
            ("a", "daemonize = 1\nhttplisten = 0.0.0.0:7500 # here\n", mogstored),
            ("a", "daemonize = 1\npidfile = /x\n", mogilefsd),
            ("a", "SERVER max_connections = 10\n", mogstored),
            ("a.conf", "[tracker]\nlisten = [\"a:1\"]\n", Form::Toml),
            ("a.conf", "tracker.query_workers = 3\n", Form::Toml),
            ("a.conf", "service = { daemonize = true }\n", Form::Toml),
            ("a.conf", "tracker:\n  listen: [a]\n", Form::Yaml),
            ("a.conf", "---\n", Form::Yaml),
            ("a.conf", "some_plugin = 1\n", mogilefsd),
            ("a.yml", "# nothing\n", Form::Yaml),
            ("a", "", Form::Toml),
        ] {
            assert_eq!(form(name, text), expected, "{text:?}");
        }
    }

    #[test]
    fn keys_have_the_lines_they_stand_in() {
        let keys = KnownKeys::built_in();
        let of = |form, text: &str| {
            let (entries, errors) = entries(form, text, &keys);
            assert_eq!(errors, []);
            entries.into_iter().map(|entry| (entry.line, entry.key)).collect::<Vec<_>>()
        };
        let expected = [(3, "tracker.listen"), (5, "tracker.query_workers"), (7, "log.level")];
        let expected = expected.map(|(line, key)| (line, key.to_owned()));
        assert_eq!(of(Form::Toml, "# a\n[tracker]\nlisten = [\n]\nquery_workers = 1\n[log]\nlevel = \"x\""), expected);
        assert_eq!(of(Form::Yaml, "# a\ntracker:\n  listen:\n  - a\n  query_workers: 1\nlog:\n  level: x\n"), expected);
    }

    #[test]
    fn syntax_errors_have_lines_and_show_no_values() {
        let keys = KnownKeys::built_in();
        let (_, errors) = entries(Form::Toml, "[database]\npassword = hush\n\nurl = = 3\n", &keys);
        assert_eq!(errors.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 4], "{errors:?}");
        assert!(!format!("{errors:?}").contains("hush"), "{errors:?}");
        let (_, errors) = entries(Form::Yaml, "tracker:\n  listen: [a\nlog: 1\n", &keys);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].0 >= 2, "{errors:?}");
    }
}
