//! Every key of the old files and every option of the old command lines, and what each becomes.

use super::Program;

/// What an option of the command line takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// There is no such option.
    NoOption,
    Flag,
    /// `--x`, `--nox`, `--no-x`.
    Switch,
    /// Counts how often it stands there.
    Count,
    Number,
    Text,
    /// The value may be left out.
    TextOrNothing,
    /// Again and again, and each with commas.
    Texts,
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    /// The same text under this key of ours.
    Text(&'static str),
    /// True unless it is `0`.
    Truth(&'static str),
    Number(&'static str),
    /// Seconds, here milliseconds; 0 counts as 2 s.
    Millis(&'static str),
    Verbosity,
    Port,
    Listen,
    QueryJobs,
    ListenerJobs,
    Plugins,
    /// The file to read; only on a command line.
    ConfigFile,
    SkipConfig,
    /// Nothing: what to say, and if so of the value 2.73 has anyway.
    Nothing {
        advice: &'static str,
        usual: &'static str,
    },
}

impl Becomes {
    /// The setting of ours that it becomes, alone or with others.
    pub(super) fn setting(self) -> Option<&'static str> {
        match self {
            Self::Text(ours) | Self::Truth(ours) | Self::Number(ours) | Self::Millis(ours) => Some(ours),
            Self::Verbosity => Some("log.level"),
            Self::Port | Self::Listen => Some("tracker.listen"),
            Self::QueryJobs | Self::ListenerJobs => Some("tracker.query_workers"),
            Self::Plugins => Some("extensions.enabled"),
            Self::ConfigFile | Self::SkipConfig | Self::Nothing { .. } => None,
        }
    }
}

/// A key of a file, an option, or both.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OldKey {
    /// In the file; empty if only the command line has it.
    pub(super) name: &'static str,
    /// Without the dashes; empty if only the file has it.
    pub(super) option: &'static str,
    pub(super) short: Option<char>,
    pub(super) takes: Takes,
    pub(super) becomes: Becomes,
}

impl OldKey {
    /// What it is called in messages.
    pub(super) fn shown(&self) -> String {
        if self.name.is_empty() { format!("--{}", self.option) } else { self.name.to_owned() }
    }
}

const fn key(name: &'static str, option: &'static str, short: Option<char>, takes: Takes, becomes: Becomes) -> OldKey {
    OldKey { name, option, short, takes, becomes }
}

const fn nothing(advice: &'static str) -> Becomes {
    Becomes::Nothing { advice, usual: "" }
}

use Becomes::{
    ConfigFile, Listen, ListenerJobs, Millis, Number, Plugins, Port, QueryJobs, SkipConfig, Text, Truth, Verbosity,
};

/// config-and-startup.md 3.
pub(super) const MOGILEFSD: &[OldKey] = &[
    key("", "config", Some('c'), Takes::Text, ConfigFile),
    key("", "skipconfig", Some('s'), Takes::Flag, SkipConfig),
    key("daemonize", "daemonize", Some('D'), Takes::Flag, Truth("service.daemonize")),
    key("debug", "debug", Some('d'), Takes::Count, Verbosity),
    key("pidfile", "pidfile", None, Takes::Text, Text("service.pidfile")),
    key("user", "user", None, Takes::Text, Text("service.user")),
    key("db_dsn", "dsn", None, Takes::Text, Text("database.url")),
    key("db_user", "dbuser", None, Takes::Text, Text("database.user")),
    key("db_pass", "dbpass", None, Takes::TextOrNothing, Text("database.password")),
    key("max_handles", "max_handles", None, Takes::Number, Number("database.max_handles")),
    key("no_schema_check", "no_schema_check", None, Takes::Flag, Truth("database.skip_schema_check")),
    key("conf_port", "confport", Some('p'), Takes::Number, Port),
    key("listen", "listen", Some('l'), Takes::Texts, Listen),
    key("query_jobs", "workers", Some('w'), Takes::Number, QueryJobs),
    key("listener_jobs", "", None, Takes::NoOption, ListenerJobs),
    key("delete_jobs", "", None, Takes::NoOption, Number("tracker.delete_workers")),
    key("replicate_jobs", "", None, Takes::NoOption, Number("tracker.replicate_workers")),
    key("fsck_jobs", "", None, Takes::NoOption, Number("tracker.fsck_workers")),
    key("reaper_jobs", "", None, Takes::NoOption, Number("tracker.reaper_workers")),
    key("monitor_jobs", "", None, Takes::NoOption, nothing("there is always one monitor; leave it out")),
    key("job_master", "job_master", None, Takes::Switch, Truth("tracker.job_master")),
    key("min_free_space", "min_free_space", None, Takes::Number, Number("storage.min_free_space_mb")),
    key("max_disk_age", "max_disk_age", None, Takes::Number, nothing("2.73 did not use it either; leave it out")),
    key("default_mindevcount", "default_mindevcount", None, Takes::Number, Number("tracker.default_mindevcount")),
    key("node_timeout", "node_timeout", None, Takes::Number, Millis("storage.node_timeout_ms")),
    key(
        "conn_timeout",
        "conn_timeout",
        None,
        Takes::Number,
        nothing("the monitor waits for nodes as long as all others do: node_timeout (storage.node_timeout_ms)"),
    ),
    key("conn_pool_size", "conn_pool_size", None, Takes::Number, Number("storage.idle_connections_per_node")),
    key("mogstored_stream_port", "mogstored_stream_port", None, Takes::Number, Number("storage.side_channel_port")),
    key("repl_use_get_port", "repl_use_get_port", None, Takes::Number, Truth("jobs.replicate_use_get_port")),
    key("rebalance_ignore_missing", "", None, Takes::NoOption, Truth("jobs.rebalance_ignore_missing")),
    key("local_network", "local_network", None, Takes::Text, Text("extensions.local_network")),
    key("plugins", "plugins", None, Takes::Texts, Plugins),
    key("", "no_http", None, Takes::Flag, nothing("2.73 did not use it either; leave it out")),
    key("", "workerport", None, Takes::Number, nothing("workers need no port; leave it out")),
];

/// storage-node.md 8.1.
pub(super) const MOGSTORED: &[OldKey] = &[
    key("", "config", None, Takes::Text, ConfigFile),
    key("config", "", None, Takes::NoOption, nothing("one file does not lead to another; leave it out")),
    key("", "skipconfig", Some('s'), Takes::Flag, SkipConfig),
    key("daemonize", "daemonize", Some('d'), Takes::Flag, Truth("service.daemonize")),
    key("httplisten", "httplisten", None, Takes::Text, Text("node.http_listen")),
    key("mgmtlisten", "mgmtlisten", None, Takes::Text, Text("node.side_channel_listen")),
    key("docroot", "docroot", None, Takes::Text, Text("node.docroot")),
    key("maxconns", "maxconns", None, Takes::Number, Number("node.connections_max")),
    key(
        "server",
        "server",
        None,
        Takes::Text,
        Becomes::Nothing {
            advice: "this program serves HTTP itself and starts no other server; with `none`, see to it that the other \
                     server has another port",
            usual: "perlbal",
        },
    ),
    key(
        "serverbin",
        "serverbin",
        None,
        Takes::Text,
        nothing("this program serves HTTP itself and starts no other server; leave it out"),
    ),
    key("pidfile", "pidfile", None, Takes::Text, Text("service.pidfile")),
    key(
        "iostat",
        "iostat",
        None,
        Takes::Flag,
        Becomes::Nothing { advice: "utilisation is always measured, without the program iostat", usual: "1" },
    ),
];

/// The options of a program, for `--help`.
pub fn usage(program: Program) -> String {
    let mut text = format!(
        "Usage: {} [OPTION]...\n\nThe options of MogileFS 2.73 and what they set. `mogilefs config show` explains where\n\
         values come from, `mogilefs {} --help` has the options of today.\n\n",
        program.name(),
        if program == Program::Mogilefsd { "tracker" } else { "node" },
    );
    for key in program.keys().iter().filter(|key| !key.option.is_empty()) {
        let short = key.short.map_or_else(String::new, |short| format!("-{short}, "));
        let value = match key.takes {
            Takes::NoOption | Takes::Flag | Takes::Count | Takes::Switch => "",
            Takes::Number => "=N",
            Takes::Text | Takes::Texts => "=TEXT",
            Takes::TextOrNothing => "[=TEXT]",
        };
        let left = format!("  {short:>4}--{}{value}", key.option);
        text += &format!("{left:<36} {}\n", meaning(key, program));
    }
    text + "      --help, --version\n"
}

fn meaning(key: &OldKey, program: Program) -> String {
    match key.becomes {
        Millis(ours) => format!("{ours}, in seconds"),
        Port => "port for --listen addresses without one".to_owned(),
        ConfigFile => format!("settings file, old or new [default: {}]", program.usual_file()),
        SkipConfig => "read no settings file".to_owned(),
        becomes => becomes.setting().unwrap_or("without effect").to_owned(),
    }
}
