//! What a command is, as data: name, arguments, reply pairs and error codes.
//!
//! Each command's file has its [`CommandSpec`]. From them comes the manual (`docs/PROTOCOL.md`, `mogilefs protocol`), and
//! in debug builds every request is held against them: an argument that a handler reads, a pair that it answers or an
//! error that it returns without having declared it is a panic. So the manual cannot drift from the code.

use crate::protocol::error_code::ErrorCode;
use crate::service::tokens::Role;

/// A command of the protocol, described for its users.
#[derive(Debug)]
pub struct CommandSpec {
    /// As on the wire, in lower case.
    pub name: &'static str,
    pub group: Group,
    /// One sentence.
    pub summary: &'static str,
    /// Besides those that every command takes ([`COMMON_ARGUMENTS`]).
    pub arguments: &'static [Argument],
    pub reply: &'static [Pair],
    /// In the order in which they are checked; besides `failure` and `db`, which any command can answer.
    pub errors: &'static [ErrorCode],
    /// What else its users should know: Markdown, possibly empty.
    pub notes: &'static str,
    /// Known to 2.73, or an addition that other trackers answer with `unknown_command`.
    pub origin: Origin,
    /// May extensions change its arguments or refuse it (`plugin_aborted`)?
    pub is_intercepted: bool,
}

/// The chapters of the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    Files,
    Topology,
    Settings,
    Fsck,
    Rebalance,
    Service,
    Extensions,
}

impl Group {
    pub const ALL: [Self; 7] =
        [Self::Files, Self::Topology, Self::Settings, Self::Fsck, Self::Rebalance, Self::Service, Self::Extensions];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Files => "Files",
            Self::Topology => "Domains, classes, hosts, devices",
            Self::Settings => "Server settings",
            Self::Fsck => "Fsck",
            Self::Rebalance => "Rebalance",
            Self::Service => "The service itself",
            Self::Extensions => "Extensions",
        }
    }
}

/// Where a command or an argument comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// MogileFS 2.73 has it.
    Reference,
    /// A public plugin of 2.73 has it.
    Plugin,
    /// Only this program has it.
    Here,
}

/// An argument of a command.
#[derive(Debug)]
pub struct Argument {
    /// `<n>` stands for a number that counts from 1 (or 0, where the meaning says so).
    pub name: &'static str,
    pub kind: Kind,
    pub is_required: bool,
    pub meaning: &'static str,
    pub origin: Origin,
}

/// How an argument's value is read (protocol.md 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// The longest numeric prefix.
    Number,
    /// On unless missing, empty or `0`.
    Flag,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Flag => "flag",
        }
    }
}

impl Argument {
    /// Without it the command is refused.
    pub const fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    /// A public plugin of 2.73 knows it.
    pub const fn of_plugin(self) -> Self {
        Self { origin: Origin::Plugin, ..self }
    }

    /// 2.73 does not know it.
    pub const fn here(self) -> Self {
        Self { origin: Origin::Here, ..self }
    }
}

pub const fn text(name: &'static str, meaning: &'static str) -> Argument {
    Argument { name, kind: Kind::Text, is_required: false, meaning, origin: Origin::Reference }
}

pub const fn number(name: &'static str, meaning: &'static str) -> Argument {
    Argument { name, kind: Kind::Number, is_required: false, meaning, origin: Origin::Reference }
}

pub const fn flag(name: &'static str, meaning: &'static str) -> Argument {
    Argument { name, kind: Kind::Flag, is_required: false, meaning, origin: Origin::Reference }
}

/// A pair of a reply.
#[derive(Debug)]
pub struct Pair {
    /// `<n>`, `<m>`, `<devid>` stand for numbers, `<code>` for a word, `<any>` for anything.
    pub name: &'static str,
    pub meaning: &'static str,
}

pub const fn pair(name: &'static str, meaning: &'static str) -> Pair {
    Pair { name, meaning }
}

/// Taken by every command.
pub const COMMON_ARGUMENTS: &[Argument] = &[
    text("callid", "Sent back with the reply: as the pair `callid`, or as a third word after an error."),
    text("zone", "`alt`: URLs name the hosts' `altip`, where they have one with an `altmask`."),
];

/// The domain of a file.
pub const DOMAIN: Argument = text("domain", "Name of the domain.").required();
/// The key of a file.
pub const KEY: Argument =
    text("key", "The file's key in its domain: any bytes, compared as the database does.").required();

/// Commands of the administrative chapters that only tell something.
const TELLING: &[&str] = &[
    "at_risk",
    "check_cluster",
    "explain",
    "fsck_getlog",
    "fsck_history",
    "fsck_status",
    "get_devices",
    "get_domains",
    "get_hosts",
    "jobs_status",
    "noop",
    "rebalance_status",
    "rebalance_test",
    "server_setting",
    "server_settings",
    "sleep",
    "test",
];

/// Commands about files that change none. Who reads may also say that a copy cannot be read.
const READING: &[&str] = &[
    "bad_path",
    "explain",
    "file_debug",
    "file_info",
    "get_paths",
    "list_deleted",
    "list_fids",
    "list_keys",
    "plugin_filepaths_list_directory",
    "plugin_list_available_devices",
];

impl CommandSpec {
    /// Does it change the cluster, its settings or the course of its jobs? What a new command does is decided by its
    /// chapter, unless [`TELLING`] says otherwise: who forgets it has refused too much rather than too little.
    pub fn is_administrative(&self) -> bool {
        self.role() == Role::Admin
    }

    /// What its users must be allowed.
    pub fn role(&self) -> Role {
        let may_change_cluster = match self.group {
            Group::Files => false,
            // These change what a domain is.
            Group::Extensions => self.name.ends_with("_enable") || self.name.ends_with("_disable"),
            _ => true,
        };
        match self.name {
            // Says who somebody is.
            "authenticate" => Role::None,
            name if TELLING.contains(&name) || READING.contains(&name) => Role::Read,
            _ if may_change_cluster => Role::Admin,
            _ => Role::Write,
        }
    }

    /// May a handler read this argument?
    pub fn declares_argument(&self, name: &str) -> bool {
        COMMON_ARGUMENTS.iter().chain(self.arguments).any(|argument| is_like(argument.name, name.as_bytes()))
    }

    /// May a reply have this pair?
    pub fn declares_pair(&self, name: &[u8]) -> bool {
        self.reply.iter().any(|pair| is_like(pair.name, name))
    }

    /// May a handler answer this error?
    pub fn declares_error(&self, code: ErrorCode) -> bool {
        matches!(code, ErrorCode::Failure | ErrorCode::Db)
            || (self.is_intercepted && code == ErrorCode::PluginAborted)
            || self.errors.contains(&code)
    }
}

/// Does the name have the form of the pattern?
fn is_like(pattern: &str, name: &[u8]) -> bool {
    let Some((before, rest)) = pattern.split_once('<') else { return pattern.as_bytes() == name };
    let Some((what, after)) = rest.split_once('>') else { return false };
    let Some(name) = name.strip_prefix(before.as_bytes()) else { return false };
    let fits = |byte: &u8| match what {
        "any" => true,
        "code" => byte.is_ascii_alphanumeric() || *byte == b'_',
        _ => byte.is_ascii_digit(),
    };
    let longest = name.iter().take_while(|byte| fits(byte)).count();
    let least = usize::from(what != "any");
    (least..=longest).rev().any(|length| is_like(after, &name[length..]))
}

#[cfg(test)]
mod tests {
    use super::is_like;

    #[test]
    fn names_are_compared_with_patterns() {
        for (pattern, name, expected) in [
            ("path", "path", true),
            ("path", "paths", false),
            ("path<n>", "path12", true),
            ("path<n>", "path", false),
            ("path<n>", "pathx", false),
            ("domain<n>class<m>name", "domain1class22name", true),
            ("domain<n>class<m>name", "domain1classname", false),
            ("num_<code>", "num_MISS", true),
            ("<any>", "", true),
            ("<any>", "=&", true),
        ] {
            assert_eq!(is_like(pattern, name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
