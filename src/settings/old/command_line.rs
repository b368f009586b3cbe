//! The command lines of 2.73 (config-and-startup.md 1): abbreviations, bundles of short options, and no word that is
//! fatal to `mogilefsd`.

use super::table::{Becomes, OldKey, Takes};
use super::{OldEntry, Program};
use crate::settings::origin::Origin;
use std::collections::VecDeque;
use std::path::PathBuf;

/// What a program was called with.
#[derive(Clone, Debug)]
pub struct OldCommandLine {
    pub program: Program,
    pub(in crate::settings) given: Vec<OldEntry>,
    /// The file that was named, unless none is to be read.
    pub config: Option<PathBuf>,
    /// No file is to be read, not even the usual one.
    pub skips_config: bool,
    /// Words that were not understood. `mogstored` does not start with such.
    pub misunderstood: Vec<String>,
    pub wanted: Wanted,
}

/// What the program is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Start,
    Help,
    Version,
}

impl OldCommandLine {
    /// Reads the words after the program's name.
    pub fn parse(program: Program, words: impl IntoIterator<Item = String>) -> Self {
        let line = Self {
            program,
            given: Vec::new(),
            config: None,
            skips_config: false,
            misunderstood: Vec::new(),
            wanted: Wanted::Start,
        };
        let mut parser = Parser { line, rest: words.into_iter().collect() };
        while let Some(word) = parser.rest.pop_front() {
            match word.as_str() {
                "--" => break,
                "--help" => parser.line.wanted = Wanted::Help,
                "--version" => parser.line.wanted = Wanted::Version,
                word => parser.take(word),
            }
        }
        let mut line = parser.line;
        line.config = line.config.filter(|_| !line.skips_config);
        line
    }
}

struct Parser {
    line: OldCommandLine,
    rest: VecDeque<String>,
}

/// How an option was found.
struct Match {
    key: &'static OldKey,
    /// `--nox`.
    is_negated: bool,
}

impl Parser {
    fn take(&mut self, word: &str) {
        if let Some(long) = word.strip_prefix("--") {
            self.take_long(long);
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            match self.line.program {
                Program::Mogilefsd => self.take_bundle(letters),
                // Here one dash is as good as two.
                Program::Mogstored => self.take_long(letters),
            }
        }
    }

    fn take_long(&mut self, text: &str) {
        let (name, inline) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value.to_owned())));
        match self.find(name) {
            Ok(found) if matches!(found.key.takes, Takes::Flag | Takes::Count | Takes::Switch) => match inline {
                Some(_) => self.misunderstood(format!("Option {name} does not take an argument")),
                None => self.give(found.key, name, if found.is_negated { "0" } else { "1" }),
            },
            Ok(found) => {
                if let Some(value) = inline.or_else(|| self.next_value(found.key)) {
                    self.give_checked(found.key, name, &value);
                } else {
                    self.misunderstood(format!("Option {name} requires an argument"));
                }
            }
            Err(why) => self.misunderstood(why),
        }
    }

    fn take_bundle(&mut self, letters: &str) {
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            let name = letter.to_string();
            let Some(key) = self.line.program.keys().iter().find(|key| key.short == Some(letter)) else {
                self.misunderstood(format!("Unknown option: {letter}"));
                continue;
            };
            if matches!(key.takes, Takes::Flag | Takes::Count) {
                self.give(key, &name, "1");
                continue;
            }
            let attached = letters.as_str();
            let attached = attached.strip_prefix('=').unwrap_or(attached);
            let value = if attached.is_empty() { self.next_value(key) } else { Some(attached.to_owned()) };
            match value {
                Some(value) => self.give_checked(key, &name, &value),
                None => self.misunderstood(format!("Option {name} requires an argument")),
            }
            break;
        }
    }

    /// The next word as a value.
    fn next_value(&mut self, key: &OldKey) -> Option<String> {
        let may_be_left_out = key.takes == Takes::TextOrNothing;
        match self.rest.front() {
            Some(word) if may_be_left_out && word.len() > 1 && word.starts_with('-') => Some(String::new()),
            None if may_be_left_out => Some(String::new()),
            _ => self.rest.pop_front(),
        }
    }

    /// By its name, or by the beginning of it if there is only one such.
    fn find(&self, name: &str) -> Result<Match, String> {
        let name = name.to_ascii_lowercase();
        let mut names: Vec<(String, Match)> = Vec::new();
        for key in self.line.program.keys().iter().filter(|key| !key.option.is_empty()) {
            names.push((key.option.to_owned(), Match { key, is_negated: false }));
            if key.takes == Takes::Switch {
                for prefix in ["no", "no-"] {
                    names.push((format!("{prefix}{}", key.option), Match { key, is_negated: true }));
                }
            }
        }
        if let Some(key) = self.line.program.keys().iter().find(|key| key.short.is_some_and(|c| name == c.to_string()))
        {
            return Ok(Match { key, is_negated: false });
        }
        if let Some(at) = names.iter().position(|(option, _)| *option == name) {
            return Ok(names.swap_remove(at).1);
        }
        let mut begun: Vec<(String, Match)> =
            names.into_iter().filter(|(option, _)| option.starts_with(&name)).collect();
        let is_one_option = begun.windows(2).all(|pair| pair[0].1.key == pair[1].1.key);
        match begun.pop() {
            Some((_, found)) if is_one_option && !name.is_empty() => Ok(found),
            Some(last) => {
                let all: Vec<&str> = begun.iter().chain([&last]).map(|(option, _)| option.as_str()).collect();
                Err(format!("Option {name} is ambiguous ({})", all.join(", ")))
            }
            None => Err(format!("Unknown option: {name}")),
        }
    }

    fn give_checked(&mut self, key: &'static OldKey, name: &str, value: &str) {
        if key.takes == Takes::Number && value.parse::<i64>().is_err() {
            return self.misunderstood(format!("Value {value:?} invalid for option {name} (number expected)"));
        }
        self.give(key, name, value);
    }

    fn give(&mut self, key: &'static OldKey, name: &str, value: &str) {
        match key.becomes {
            Becomes::ConfigFile => return self.line.config = Some(PathBuf::from(value)),
            Becomes::SkipConfig => return self.line.skips_config = true,
            _ => {}
        }
        // Written out, if it was abbreviated.
        let name = if name.len() == 1 { format!("-{name}") } else { format!("--{}", key.option) };
        let origin = Origin::CommandLine(name);
        let earlier = self.line.given.iter().position(|entry| entry.key == key);
        let earlier = earlier.map(|at| self.line.given.remove(at).value);
        let value = match (key.takes, earlier) {
            (Takes::Texts, Some(earlier)) => format!("{earlier},{value}"),
            (Takes::Count, Some(earlier)) => (1 + earlier.parse::<u64>().unwrap_or_default()).to_string(),
            _ => value.to_owned(),
        };
        self.line.given.push(OldEntry { key, value, origin });
    }

    fn misunderstood(&mut self, text: String) {
        self.line.misunderstood.push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was given, as `key=value`, and what was not understood.
    fn parse(program: Program, words: &str) -> (String, Vec<String>) {
        let line = OldCommandLine::parse(program, words.split_whitespace().map(str::to_owned));
        let mut given: Vec<String> =
            line.given.iter().map(|entry| format!("{}={}", entry.key.shown(), entry.value)).collect();
        given.extend(line.config.map(|path| format!("config={}", path.display())));
        given.extend(line.skips_config.then(|| "skipconfig".to_owned()));
        (given.join(" "), line.misunderstood)
    }

    /// S1, S8.
    #[test]
    fn command_lines_of_mogilefsd() {
        for (words, given) in [
            ("", ""),
            ("--workers=5", "query_jobs=5"),
            ("--workers 5", "query_jobs=5"),
            ("--pid /p --daem", "pidfile=/p daemonize=1"),
            ("--WORKERS=5", "query_jobs=5"),
            ("-w5 -p 7002", "query_jobs=5 conf_port=7002"),
            ("-dd", "debug=2"),
            ("-Dd --debug", "daemonize=1 debug=2"),
            ("-Dc /x/y", "daemonize=1 config=/x/y"),
            ("-c/x/y", "config=/x/y"),
            ("--config=/x -s", "skipconfig"),
            ("--nojob_master", "job_master=0"),
            ("--no-job_master", "job_master=0"),
            ("--job_master", "job_master=1"),
            ("--nojob", "job_master=0"),
            ("--no_schema_check", "no_schema_check=1"),
            ("-l 1.2.3.4 --listen=[::]:7001,a:2", "listen=1.2.3.4,[::]:7001,a:2"),
            ("--dbpass", "db_pass="),
            ("--dbpass -D", "db_pass= daemonize=1"),
            ("--dbpass secret", "db_pass=secret"),
            ("--dbpass= -D", "db_pass= daemonize=1"),
            ("--mogstored_stream_port=7601", "mogstored_stream_port=7601"),
            ("--plugins=A --plugins B,C", "plugins=A,B,C"),
            ("words are no options -w 3", "query_jobs=3"),
            ("-w 3 -- -w 4", "query_jobs=3"),
            ("-w 3 -w 4", "query_jobs=4"),
            ("--user=", "user="),
            ("--no_http --workerport 7", "--no_http=1 --workerport=7"),
        ] {
            assert_eq!(parse(Program::Mogilefsd, words), (given.to_owned(), Vec::new()), "{words}");
        }
    }

    /// S4.
    #[test]
    fn what_is_not_understood_is_left_out() {
        for (words, given, misunderstood) in [
            ("--colour=red -w 3", "query_jobs=3", "Unknown option: colour"),
            ("-x -w 3", "query_jobs=3", "Unknown option: x"),
            ("--workers=many", "", "Value \"many\" invalid for option workers (number expected)"),
            ("--workers", "", "Option workers requires an argument"),
            ("--daemonize=1", "", "Option daemonize does not take an argument"),
            ("--db=x", "", "Option db is ambiguous (dbuser, dbpass)"),
        ] {
            let expected = (given.to_owned(), vec![misunderstood.to_owned()]);
            assert_eq!(parse(Program::Mogilefsd, words), expected, "{words}");
        }
    }

    #[test]
    fn command_lines_of_mogstored() {
        for (words, given) in [
            ("-d --docroot=/a", "daemonize=1 docroot=/a"),
            ("-docroot /a -s", "docroot=/a skipconfig"),
            ("--http 1.2.3.4:7500 --mgmt=:7501", "httplisten=1.2.3.4:7500 mgmtlisten=:7501"),
            ("--config=/x --iostat", "iostat=1 config=/x"),
        ] {
            assert_eq!(parse(Program::Mogstored, words), (given.to_owned(), Vec::new()), "{words}");
        }
        assert_eq!(parse(Program::Mogstored, "-x").1, ["Unknown option: x"]);
    }
}
