//! The syntax of the old files (config-and-startup.md 2, storage-node.md 8.1).

use super::{OldEntry, Program};
use crate::settings::file::NOT_UTF8;
use crate::settings::origin::{Complaint, Origin};
use std::path::Path;

/// What an old file says.
#[derive(Debug, Default)]
pub(in crate::settings) struct OldFile {
    /// In the order of the lines.
    pub(in crate::settings) entries: Vec<OldEntry>,
    pub(in crate::settings) complaints: Vec<Complaint>,
    pub(in crate::settings) warnings: Vec<Complaint>,
}

/// Words that begin lines of the files before mogstored had its own, which were Perlbal's.
const PERLBAL_WORDS: [&str; 2] = ["SERVER", "SET"];

/// Does a line that begins so belong to an old file?
pub(in crate::settings) fn is_key(word: &str) -> bool {
    let has_key = |program: Program| program.key(word).is_some();
    has_key(Program::Mogilefsd) || has_key(Program::Mogstored) || PERLBAL_WORDS.contains(&word)
}

/// Whose file it is, by what only mogstored knows.
pub(in crate::settings) fn program_of(text: &str) -> Program {
    let is_mogstoreds = |line: &str| {
        let word = split_key(line).0;
        let is_only_there = Program::Mogstored.key(word).is_some() && Program::Mogilefsd.key(word).is_none();
        is_only_there || PERLBAL_WORDS.contains(&word)
    };
    let is_mogilefsds = |line: &str| {
        let word = split_key(line).0;
        Program::Mogilefsd.key(word).is_some() && Program::Mogstored.key(word).is_none()
    };
    let lines = || text.lines().map(str::trim);
    match lines().any(is_mogstoreds) && !lines().any(is_mogilefsds) {
        true => Program::Mogstored,
        false => Program::Mogilefsd,
    }
}

/// Reads a file. Its own mistakes are complaints; keys that nobody knows are only warned of for `mogilefsd`, as it never
/// minded them.
pub(in crate::settings) fn read(program: Program, path: &Path, text: &str) -> OldFile {
    let mut file = OldFile::default();
    for (line, content) in (1..).zip(text.lines()) {
        let origin = Origin::File { path: path.to_owned(), line };
        // In a file of mogstored a comment may begin anywhere.
        let content = match program {
            Program::Mogstored => content.split('#').next().unwrap_or_default(),
            Program::Mogilefsd => content,
        };
        let content = content.trim();
        if !content.is_empty() && !content.starts_with('#') {
            file.take_line(program, content, origin);
        }
    }
    file.warn_of_doubles();
    file
}

impl OldFile {
    fn take_line(&mut self, program: Program, content: &str, origin: Origin) {
        let mut complain = |key: &str, why: &str| self.complaints.push(Complaint::new(origin.clone(), key, why));
        let (name, rest) = split_key(content);
        if program == Program::Mogstored && PERLBAL_WORDS.contains(&name) {
            return complain("", "is a line for Perlbal, which mogstored has not read since 2.0; write `key = value`");
        }
        if content.contains(char::REPLACEMENT_CHARACTER) {
            return complain(name, NOT_UTF8);
        }
        let value = value_of(rest).filter(|_| !name.is_empty());
        match (program.key(name), value) {
            (_, None) => complain("", "malformed line; write `key = value`"),
            (_, Some("")) => complain(name, "has no value; leave the line out"),
            (Some(key), Some(value)) => self.entries.push(OldEntry { key, value: value.to_owned(), origin }),
            (None, Some(_)) if program == Program::Mogstored => complain(name, "unknown key"),
            (None, Some(_)) => {
                self.warnings.push(Complaint::new(origin, name, "unknown key, without effect"));
            }
        }
    }

    /// The last line wins.
    fn warn_of_doubles(&mut self) {
        for (at, entry) in self.entries.iter().enumerate() {
            let later = self.entries[at + 1..].iter().rfind(|later| later.key == entry.key);
            if let Some(line) = later.and_then(|later| later.origin.line()) {
                let why = format!("without effect, as line {line} says it again");
                self.warnings.push(Complaint::new(entry.origin.clone(), entry.key.name, why));
            }
        }
        let last_of = |entry: &OldEntry, later: &[OldEntry]| !later.iter().any(|later| later.key == entry.key);
        let kept = self.entries.iter().enumerate().filter(|(at, entry)| last_of(entry, &self.entries[at + 1..]));
        self.entries = kept.map(|(_, entry)| entry.clone()).collect();
    }
}

fn split_key(line: &str) -> (&str, &str) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    line.split_at(line.find(|c| !is_word(c)).unwrap_or(line.len()))
}

/// What follows the key: blanks, `=`, or both, then the value. None: neither, or nothing at all.
fn value_of(rest: &str) -> Option<&str> {
    let after_blanks = rest.trim_start();
    match after_blanks.strip_prefix('=') {
        Some(value) => Some(value.trim()),
        None if after_blanks.len() < rest.len() => Some(after_blanks),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(program: Program, text: &str) -> OldFile {
        read(program, Path::new("f"), text)
    }

    /// S2, S3.
    #[test]
    fn the_syntax_of_mogilefsd() {
        for (line, value) in [
            ("user = a b ", "a b"),
            ("  user =a", "a"),
            ("user a", "a"),
            ("user\ta # b", "a # b"),
            ("user=a", "a"),
            ("user = = a", "= a"),
        ] {
            let file = said(Program::Mogilefsd, &format!("# x\n\n{line}\n"));
            assert_eq!(file.complaints, [], "{line}");
            let entry = &file.entries[0];
            assert_eq!((entry.key.name, entry.value.as_str(), entry.origin.line()), ("user", value, Some(3)), "{line}");
        }
        for (line, complaint) in [
            ("user =", "f:1: user: has no value; leave the line out"),
            ("user", "f:1: malformed line; write `key = value`"),
            ("us-er = 1", "f:1: malformed line; write `key = value`"),
            ("= 1", "f:1: malformed line; write `key = value`"),
        ] {
            let complaints = said(Program::Mogilefsd, line).complaints;
            assert_eq!(complaints.iter().map(ToString::to_string).collect::<Vec<_>>(), [complaint], "{line}");
        }
    }

    #[test]
    fn the_last_line_wins_and_unknown_keys_are_told() {
        let file = said(Program::Mogilefsd, "user = a\nUser = b\nuser = c\n");
        assert_eq!(file.entries.iter().map(|entry| entry.value.as_str()).collect::<Vec<_>>(), ["c"]);
        let warnings: Vec<_> = file.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            ["f:2: User: unknown key, without effect", "f:1: user: without effect, as line 3 says it again"]
        );
    }

    #[test]
    fn other_encodings_may_stand_in_comments() {
        let file = said(Program::Mogilefsd, "# f\u{FFFD}r\nuser = a\u{FFFD}\n");
        assert_eq!(
            file.complaints.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["f:2: user: has bytes that are not UTF-8"]
        );
    }

    #[test]
    fn the_syntax_of_mogstored() {
        let file = said(Program::Mogstored, "docroot = /a # comment\n # x\nhttplisten=1.2.3.4:7500\n");
        assert_eq!(file.complaints, []);
        assert_eq!(file.entries.iter().map(|entry| entry.value.as_str()).collect::<Vec<_>>(), ["/a", "1.2.3.4:7500"]);
        let complaints = said(Program::Mogstored, "docroots = /a\nSERVER max_connections = 3\n").complaints;
        assert_eq!(complaints.len(), 2, "{complaints:?}");
    }
}
