//! Where a setting's value comes from, and complaints that say it.

use std::fmt;
use std::path::PathBuf;

/// Where a value was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `settings/default.toml`.
    BuiltIn,
    /// What 2.73 does where its file or command line says nothing.
    Reference,
    /// A line of a file, counted from 1; 0 if there is no saying which.
    File {
        /// As it was named.
        path: PathBuf,
        line: usize,
    },
    /// A variable of the environment.
    Environment(String),
    /// An option, such as `--set`.
    CommandLine(String),
}

impl Origin {
    /// For scripts: the kind of place.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::BuiltIn => "default",
            Self::Reference => "default of 2.73",
            Self::File { .. } => "file",
            Self::Environment(_) => "environment",
            Self::CommandLine(_) => "command line",
        }
    }

    /// For lists of complaints: files first, by lines.
    pub(super) fn rank(&self) -> (u8, usize) {
        match self {
            Self::File { line, .. } => (0, *line),
            Self::Environment(_) => (1, 0),
            Self::CommandLine(_) => (2, 0),
            Self::BuiltIn | Self::Reference => (3, 0),
        }
    }

    /// The line of a file.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::File { line, .. } if *line > 0 => Some(*line),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn | Self::Reference => f.write_str(self.kind()),
            Self::File { path, line: 0 } => write!(f, "{}", path.display()),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::CommandLine(option) => write!(f, "command line, {option}"),
        }
    }
}

/// What is wrong with one setting, or has no effect. Never shows a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub origin: Origin,
    /// As it was written there; empty if it is about the place as a whole.
    pub key: String,
    pub text: String,
}

impl Complaint {
    pub fn new(origin: Origin, key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { origin, key: key.into(), text: text.into() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin != Origin::BuiltIn {
            write!(f, "{}: ", self.origin)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

/// A configuration that cannot be used: all that is wrong with it, a line for each.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", complaints.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct SettingsError {
    /// Never empty.
    pub complaints: Vec<Complaint>,
    /// What would have been warned of besides.
    pub warnings: Vec<Complaint>,
}

impl SettingsError {
    pub(super) fn one(complaint: Complaint) -> Self {
        Self { complaints: vec![complaint], warnings: Vec::new() }
    }
}
