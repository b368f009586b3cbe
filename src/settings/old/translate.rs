//! What old keys and options mean in settings of ours.

use super::table::{Becomes, OldKey};
use super::{OldEntry, Program};
use crate::settings::origin::{Complaint, Origin};
use std::path::Path;

/// All that was said, in a file and to a program.
pub(in crate::settings) struct Said<'a> {
    pub(in crate::settings) program: Program,
    pub(in crate::settings) in_file: Vec<OldEntry>,
    /// On its command line.
    pub(in crate::settings) given: &'a [OldEntry],
    /// Of its environment; empty for a file alone.
    pub(in crate::settings) variables: &'a [(String, String)],
    /// Do defaults of 2.73 count where they are others than ours?
    pub(in crate::settings) with_defaults: bool,
}

/// One setting of ours.
#[derive(Clone)]
pub(in crate::settings) struct Setting {
    pub(in crate::settings) key: &'static str,
    pub(in crate::settings) value: String,
    pub(in crate::settings) origin: Origin,
    /// The old key that it comes from.
    pub(super) old: String,
}

/// What became of it.
#[derive(Default)]
pub(in crate::settings) struct Translated {
    pub(in crate::settings) settings: Vec<Setting>,
    pub(in crate::settings) complaints: Vec<Complaint>,
    pub(in crate::settings) warnings: Vec<Complaint>,
}

const DEFAULT_DSN: &str = "DBI:mysql:mogilefs";
const DEFAULT_PORT: &str = "7001";
const DEFAULT_ADDRESS: &str = "0.0.0.0";
/// What 2.73 waits when it is told to wait 0 s.
const DEFAULT_TIMEOUT_SECS: u64 = 2;

/// Translates all that was said.
pub(in crate::settings) fn translate(said: &Said<'_>) -> Translated {
    let mut translation = Translation { said, result: Translated::default() };
    for key in said.program.keys() {
        translation.take(key);
    }
    translation.take_variables();
    let mut result = translation.result;
    let is_daemon = result.settings.iter().any(|setting| setting.key == "service.daemonize" && setting.value == "true");
    for setting in result.settings.iter_mut().filter(|setting| is_daemon && setting.key == "service.pidfile") {
        // Programs of 2.73 write it after they went to the root directory.
        setting.value = Path::new("/").join(&setting.value).display().to_string();
    }
    let has_database = result.settings.iter().any(|setting| setting.key == "database.url");
    if said.with_defaults && said.program == Program::Mogilefsd && !has_database {
        let (key, value) = ("database.url", DEFAULT_DSN.to_owned());
        result.settings.push(Setting { key, value, origin: Origin::Reference, old: "db_dsn".to_owned() });
    }
    result
}

struct Translation<'a> {
    said: &'a Said<'a>,
    result: Translated,
}

impl Translation<'_> {
    /// The value that counts.
    fn winner(&self, is_it: impl Fn(&OldKey) -> bool) -> Option<OldEntry> {
        let in_file = self.said.in_file.iter().rfind(|entry| is_it(entry.key));
        let given = self.said.given.iter().rfind(|entry| is_it(entry.key));
        let winner = match self.said.program {
            Program::Mogilefsd => given.or(in_file),
            // mogstored reads its file after its command line.
            Program::Mogstored => in_file.or(given),
        };
        winner.cloned()
    }

    fn winner_becoming(&self, becomes: Becomes) -> Option<OldEntry> {
        self.winner(|key| key.becomes == becomes)
    }

    fn set(&mut self, key: &'static str, value: impl Into<String>, from: &OldEntry) {
        let (value, origin, old) = (value.into(), from.origin.clone(), from.key.shown());
        self.result.settings.push(Setting { key, value, origin, old });
    }

    fn warn(&mut self, entry: &OldEntry, text: impl Into<String>) {
        self.result.warnings.push(Complaint::new(entry.origin.clone(), entry.key.shown(), text));
    }

    fn take(&mut self, key: &'static OldKey) {
        // Each of these two belongs to another, too.
        match key.becomes {
            Becomes::Listen => return self.take_listen(),
            Becomes::QueryJobs => return self.take_query_jobs(),
            Becomes::Plugins => return self.take_plugins(),
            _ => {}
        }
        let Some(entry) = self.winner(|other| other == key) else { return };
        match key.becomes {
            Becomes::Text(ours) => self.set(ours, entry.value.as_str(), &entry),
            Becomes::Truth(ours) => {
                let truth = self.truth_of(&entry);
                self.set(ours, truth.to_string(), &entry);
            }
            Becomes::Number(ours) => {
                if let Some(number) = self.number_of(&entry) {
                    self.set(ours, number.to_string(), &entry);
                }
            }
            Becomes::Millis(ours) => {
                if let Some(number) = self.number_of(&entry) {
                    let secs = if number == 0 { DEFAULT_TIMEOUT_SECS } else { number };
                    self.set(ours, secs.saturating_mul(1000).to_string(), &entry);
                }
            }
            Becomes::Verbosity => {
                let is_more = self.number_of(&entry).is_some_and(|level| level > 0);
                is_more.then(|| self.set("log.level", "debug", &entry));
            }
            Becomes::Nothing { advice, usual } if usual.is_empty() || entry.value != usual => {
                self.warn(&entry, format!("without effect: {advice}"));
            }
            _ => {}
        }
    }

    /// As Perl sees it.
    fn truth_of(&mut self, entry: &OldEntry) -> bool {
        let truth = !matches!(entry.value.as_str(), "" | "0");
        if truth && matches!(entry.value.to_ascii_lowercase().as_str(), "no" | "off" | "false" | "n") {
            self.warn(entry, "counts as yes, as in 2.73: only 0 is no");
        }
        truth
    }

    /// The digits that the value begins with: 2.73 took no more.
    fn number_of(&mut self, entry: &OldEntry) -> Option<u64> {
        let digits = entry.value.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = entry.value.split_at(digits);
        match digits.parse() {
            Ok(number) => {
                if !rest.is_empty() {
                    self.warn(entry, format!("only the number counts: {digits}"));
                }
                Some(number)
            }
            Err(_) => {
                let why = format!("must be a whole number, not {:?}", entry.value);
                self.result.complaints.push(Complaint::new(entry.origin.clone(), entry.key.shown(), why));
                None
            }
        }
    }

    fn take_listen(&mut self) {
        let (listen, port) = (self.winner_becoming(Becomes::Listen), self.winner_becoming(Becomes::Port));
        let Some(from) = listen.clone().or(port.clone()) else { return };
        let port = match port.map(|entry| self.number_of(&entry)) {
            None => DEFAULT_PORT.to_owned(),
            Some(Some(port)) => port.to_string(),
            Some(None) => return,
        };
        let addresses = listen.map_or(DEFAULT_ADDRESS.to_owned(), |entry| entry.value);
        let addresses = addresses.split(',').map(str::trim).filter(|address| !address.is_empty());
        let addresses: Vec<String> = addresses.map(|address| with_port(address, &port)).collect();
        self.set("tracker.listen", addresses.join(","), &from);
    }

    /// `listener_jobs` of the file wins over everything, if it is true.
    fn take_query_jobs(&mut self) {
        let old_name = self.said.in_file.iter().rfind(|entry| entry.key.becomes == Becomes::ListenerJobs).cloned();
        let old_name = old_name.filter(|entry| entry.value != "0");
        let Some(entry) = old_name.or_else(|| self.winner_becoming(Becomes::QueryJobs)) else { return };
        match self.number_of(&entry) {
            Some(0) => self.warn(&entry, "without effect: a tracker without query workers would answer nobody"),
            Some(number) => self.set("tracker.query_workers", number.to_string(), &entry),
            None => {}
        }
    }

    /// Those of file and command line, in this order.
    fn take_plugins(&mut self) {
        let all: Vec<OldEntry> = {
            let said = self.said.in_file.iter().chain(self.said.given);
            said.filter(|entry| entry.key.becomes == Becomes::Plugins).cloned().collect()
        };
        let names: Vec<&str> = all.iter().map(|entry| entry.value.as_str()).collect();
        if let Some(last) = all.last() {
            self.set("extensions.enabled", names.join(","), last);
        }
    }

    fn take_variables(&mut self) {
        let debug_is_said = self.winner_becoming(Becomes::Verbosity).is_some();
        for (variable, value) in self.said.variables {
            let origin = || Origin::Environment(variable.clone());
            match (self.said.program, variable.as_str()) {
                (Program::Mogilefsd, "DEBUG")
                    if !debug_is_said && value.parse::<u64>().is_ok_and(|level| level > 0) =>
                {
                    let (key, value) = ("log.level", "debug".to_owned());
                    self.result.settings.push(Setting { key, value, origin: origin(), old: "DEBUG".to_owned() });
                }
                (Program::Mogstored, "MOGSTORED_SERVER_TYPE") if value != "perlbal" => {
                    let why = "without effect: this program serves HTTP itself and starts no other server";
                    self.result.warnings.push(Complaint::new(origin(), "", why));
                }
                _ => {}
            }
        }
    }
}

/// An entry with a colon has its port, unless it is an IPv6 address.
fn with_port(address: &str, port: &str) -> String {
    match address {
        address if address.starts_with('[') && address.ends_with(']') => format!("{address}:{port}"),
        address if !address.starts_with('[') && address.matches(':').count() > 1 => format!("[{address}]:{port}"),
        address if address.contains(':') => address.to_owned(),
        address => format!("{address}:{port}"),
    }
}
