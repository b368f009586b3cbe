//! Configuration of 2.73: files of `mogilefsd` and `mogstored`, their command lines, and what both mean here
//! (config-and-startup.md 1–4 and 14, storage-node.md 8).
//!
//! One table ([`table`]) says of every key and option what becomes of it. Nothing is dropped silently: what has no
//! meaning here is warned of, with what to do instead.

mod command_line;
mod convert;
mod read;
mod table;
mod translate;

pub use command_line::{OldCommandLine, Wanted};
pub use convert::convert;
pub(super) use read::{is_key, program_of, read};
pub use table::usage;
pub(super) use translate::{Said, Setting, translate};

use super::origin::Origin;
use std::fmt;
use table::OldKey;

/// The programs whose place this one can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The tracker.
    Mogilefsd,
    /// The storage node.
    Mogstored,
}

impl Program {
    pub fn name(self) -> &'static str {
        match self {
            Self::Mogilefsd => "mogilefsd",
            Self::Mogstored => "mogstored",
        }
    }

    /// The file that is read if it is there and none is named.
    pub fn usual_file(self) -> &'static str {
        match self {
            Self::Mogilefsd => "/etc/mogilefs/mogilefsd.conf",
            Self::Mogstored => "/etc/mogilefs/mogstored.conf",
        }
    }

    fn keys(self) -> &'static [OldKey] {
        match self {
            Self::Mogilefsd => table::MOGILEFSD,
            Self::Mogstored => table::MOGSTORED,
        }
    }

    /// The key of this name in a file.
    fn key(self, name: &str) -> Option<&'static OldKey> {
        self.keys().iter().find(|key| key.name == name && !name.is_empty())
    }
}

/// The setting of ours that has the meaning of an old key.
pub(super) fn successor_of(name: &str) -> Option<&'static str> {
    let key = Program::Mogilefsd.key(name).or_else(|| Program::Mogstored.key(name))?;
    key.becomes.setting()
}

/// A value that was given to a key, in a file or on a command line.
#[derive(Clone)]
pub struct OldEntry {
    key: &'static OldKey,
    value: String,
    origin: Origin,
}

/// The value may be a password.
impl fmt::Debug for OldEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OldEntry").field("key", &self.key.shown()).field("origin", &self.origin).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
