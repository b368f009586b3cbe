//! Setting a database up from nothing, with the questions and options of the reference's `mogdbsetup`: as the program of
//! that name, and as options of `mogilefs db setup`.

use super::db;
use super::output::{Failure, Output};
use super::roles::{SettingsArgs, prepare};
use crate::settings::{DatabaseSettings, Secret, Settings};
use crate::store::provision::{self, NewDatabase};
use crate::store::{SCHEMA_VERSION, SetupOptions, StoreError};
use clap::{Args, Parser, ValueEnum};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

/// What the reference ends with when it is used wrongly, or told to stop.
const EXIT_USAGE: u8 = 255;

/// Set up a MogileFS database: make it and the trackers' account where they are missing, then make or upgrade the tables.
/// Data is never deleted.
#[derive(Debug, Parser)]
#[command(name = "mogdbsetup", infer_long_args = true, max_term_width = 100)]
struct Program {
    #[command(flatten)]
    server: ServerArgs,
}

/// Kinds of databases, as the reference calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum DatabaseType {
    #[value(name = "MySQL")]
    MySql,
    Postgres,
    #[value(name = "SQLite")]
    Sqlite,
}

/// A database by its parts, and what to do about it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "A database by its parts, which is made where it is missing")]
pub struct ServerArgs {
    /// Kind of database
    #[arg(long = "type", ignore_case = true, value_name = "TYPE")]
    kind: Option<DatabaseType>,
    /// Its server [default: localhost]
    #[arg(long, value_name = "HOST")]
    dbhost: Option<String>,
    /// The server's port
    #[arg(long, value_name = "PORT")]
    dbport: Option<u16>,
    /// Name of the database; of SQLite the path [default: mogilefs]
    #[arg(long, value_name = "NAME")]
    dbname: Option<String>,
    /// The account of the trackers [default: mogile]
    #[arg(long, value_name = "NAME")]
    dbuser: Option<String>,
    /// Its password
    #[arg(long, value_name = "PASSWORD", num_args = 0..=1, default_missing_value = "")]
    dbpassword: Option<String>,
    /// An account that may make databases and accounts; used only if the trackers' cannot connect [default: root on MySQL,
    /// postgres on Postgres]
    #[arg(long, value_name = "NAME")]
    dbrootuser: Option<String>,
    /// Its password
    #[arg(long, value_name = "PASSWORD", num_args = 0..=1, default_missing_value = "")]
    dbrootpassword: Option<String>,
    /// Answer every question with yes
    #[arg(long)]
    yes: bool,
    /// Say on standard error what is being done
    #[arg(long)]
    verbose: bool,
    /// Do everything, but do not write the schema version
    #[arg(long)]
    noschemabump: bool,
    /// Extensions whose tables are made too, comma-separated
    #[arg(long, value_name = "NAMES")]
    plugins: Option<String>,
}

/// The whole program.
pub fn main() -> ExitCode {
    let output = Output::new(false);
    let program = match Program::try_parse() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match program.server.run(&output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let exit = output.report(&failure);
            if matches!(failure, Failure::Usage(_)) { ExitCode::from(EXIT_USAGE) } else { exit }
        }
    }
}

impl ServerArgs {
    /// Is the database named by these options?
    pub fn is_given(&self) -> bool {
        self.kind.is_some()
    }

    /// An option that says nothing without the kind of database.
    pub fn is_half_given(&self) -> bool {
        let is_any =
            [&self.dbhost, &self.dbname, &self.dbuser, &self.dbpassword, &self.dbrootuser, &self.dbrootpassword];
        !self.is_given() && (is_any.iter().any(|option| option.is_some()) || self.dbport.is_some())
    }

    fn kind(&self) -> DatabaseType {
        self.kind.unwrap_or(DatabaseType::MySql)
    }

    fn name(&self) -> &str {
        self.dbname.as_deref().unwrap_or("mogilefs")
    }

    fn user(&self) -> &str {
        self.dbuser.as_deref().unwrap_or("mogile")
    }

    /// Asks, makes what is missing, sets up.
    pub fn run(&self, output: &Output) -> Result<(), Failure> {
        let (mut settings, _log) = prepare(&SettingsArgs::default(), [])?;
        settings.extensions.enabled.extend(self.plugins.iter().flat_map(|names| names.split(',')).map(str::to_owned));
        settings.database = self.account_settings(&settings);
        self.ask(
            "This sets up a MogileFS database, or brings an older one up to date. Nothing in it is deleted. Go on?",
            false,
        )?;
        let version = match provision::version(&settings.database) {
            Err(StoreError::Unavailable(reason)) if self.kind() != DatabaseType::Sqlite => {
                self.say(&format!("the account {} cannot connect: {reason}", self.user()));
                self.provide(&settings)?;
                provision::version(&settings.database).map_err(|error| still_not(self.user(), &error))?
            }
            other => other.map_err(db::failure)?,
        };
        if (1..SCHEMA_VERSION).contains(&version) {
            let question = format!("Upgrade the tables from schema version {version} to {SCHEMA_VERSION}?");
            self.ask(&question, true)?;
        }
        if self.noschemabump {
            eprintln!(
                "the schema version is not written: trackers will not start on another one than {SCHEMA_VERSION}"
            );
        }
        let options = SetupOptions { wide_fids: db::wants_big_fids(), keep_version: self.noschemabump };
        db::setup(&settings, options, output)?;
        self.say("Done.");
        Ok(())
    }

    /// Makes database and account by the account that may.
    fn provide(&self, settings: &Settings) -> Result<(), Failure> {
        let root = self.root_settings(settings);
        let wanted = NewDatabase {
            name: self.name().to_owned(),
            user: self.user().to_owned(),
            password: Secret::from(self.dbpassword.as_deref().unwrap_or_default()),
        };
        self.ask(&format!("Make the database `{}`, if it is not there?", wanted.name), true)?;
        provision::create_database(&root, &wanted).map_err(db::failure)?;
        let question = format!("Make the account `{}`, if it is not there, and give it the database?", wanted.user);
        self.ask(&question, true)?;
        provision::create_account(&root, &wanted).map_err(db::failure)
    }

    fn account_settings(&self, settings: &Settings) -> DatabaseSettings {
        self.settings_of(settings, self.name(), self.user(), self.dbpassword.as_deref())
    }

    fn root_settings(&self, settings: &Settings) -> DatabaseSettings {
        let (user, database) = match self.kind() {
            DatabaseType::Postgres => ("postgres", "postgres"),
            DatabaseType::MySql | DatabaseType::Sqlite => ("root", "mysql"),
        };
        let user = self.dbrootuser.as_deref().unwrap_or(user);
        self.settings_of(settings, database, user, self.dbrootpassword.as_deref())
    }

    fn settings_of(&self, settings: &Settings, name: &str, user: &str, password: Option<&str>) -> DatabaseSettings {
        let host = self.dbhost.as_deref().unwrap_or("localhost");
        let port = self.dbport.map(|port| format!(";port={port}")).unwrap_or_default();
        let url = match self.kind() {
            DatabaseType::MySql => format!("DBI:mysql:database={name};host={host}{port}"),
            DatabaseType::Postgres => format!("DBI:Pg:dbname={name};host={host}{port}"),
            DatabaseType::Sqlite => format!("sqlite:{name}"),
        };
        DatabaseSettings {
            url,
            user: user.to_owned(),
            password: Secret::from(password.unwrap_or_default()),
            password_file: std::path::PathBuf::new(),
            ..settings.database.clone()
        }
    }

    fn say(&self, text: &str) {
        if self.verbose {
            eprintln!("{text}");
        }
    }

    /// Goes on after a yes. An empty answer is the default that is shown.
    fn ask(&self, question: &str, default: bool) -> Result<(), Failure> {
        let stopped = |why: &str| Err(Failure::Usage(why.to_owned()));
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return stopped("there is nobody to ask: --yes answers every question");
        }
        eprint!("{question} [{}]: ", if default { "Y/n" } else { "y/N" });
        let mut answer = String::new();
        let read = io::stderr().flush().and_then(|()| io::stdin().lock().read_line(&mut answer));
        let read = read.map_err(|error| Failure::Local(format!("reading the answer: {error}")))?;
        match is_yes(&answer, default) && read > 0 {
            true => Ok(()),
            false => stopped("stopped"),
        }
    }
}

fn is_yes(answer: &str, default: bool) -> bool {
    match answer.trim().to_ascii_lowercase().as_str() {
        "" => default,
        answer => matches!(answer, "y" | "yes"),
    }
}

fn still_not(user: &str, error: &StoreError) -> Failure {
    Failure::Local(format!(
        "{error}. The account {user} is there; if it was before, it may have another password, which is not changed here"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Result<ServerArgs, String> {
        Program::try_parse_from(line.split(' ')).map(|program| program.server).map_err(|error| error.to_string())
    }

    #[test]
    fn the_references_command_lines_are_read() {
        let read = args("mogdbsetup --type=postgres --dbhost=h --dbport=5433 --dbname=m --dbuser=u --dbpass=p --yes");
        let settings = read.expect("read").account_settings(&Settings::defaults());
        assert_eq!(settings.url, "DBI:Pg:dbname=m;host=h;port=5433");
        assert_eq!((settings.user.as_str(), settings.password.reveal()), ("u", "p"));

        let read = args("mogdbsetup --dbrootp secret --noschema").expect("abbreviations");
        assert!(read.noschemabump && !read.yes);
        let root = read.root_settings(&Settings::defaults());
        assert_eq!(root.url, "DBI:mysql:database=mysql;host=localhost");
        assert_eq!((root.user.as_str(), root.password.reveal()), ("root", "secret"));
        assert_eq!(read.account_settings(&Settings::defaults()).user, "mogile");

        assert_eq!(args("mogdbsetup --dbpassword --yes").expect("no value").dbpassword.as_deref(), Some(""));
        assert!(args("mogdbsetup --type=Oracle").is_err());
    }

    #[test]
    fn enter_is_the_default() {
        assert!(is_yes("\n", true) && !is_yes("\n", false));
        assert!(is_yes("Y\n", false) && is_yes("yes\n", false) && !is_yes("n\n", true) && !is_yes("what\n", true));
    }
}
