//! This program's own configuration: `settings/default.toml` < a file < environment `MOGILEFS__…` < command line.
//!
//! What all trackers of a cluster share is not here but in the table `server_settings`. The meaning of each key stands in
//! `settings/default.toml`, which is built in. Every value is known with its origin; unknown keys and bad values are errors
//! that name place and key, all at once. Files and command lines of 2.73 are taken too ([`old`]).

mod file;
mod keys;
mod load;
pub mod old;
mod origin;
mod toml_file;
mod yaml_file;

pub use file::{Form, read};
pub use load::{Loaded, Override, ShownSetting, Sources, load, shown_address};
pub use origin::{Complaint, Origin, SettingsError};

use crate::service::access::AddressList;
use crate::service::tokens::Role;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

/// The defaults, as text; also the reference of all keys.
pub const DEFAULT_TOML: &str = include_str!("../../settings/default.toml");

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub service: ServiceSettings,
    pub tracker: TrackerSettings,
    pub database: DatabaseSettings,
    pub limits: LimitSettings,
    pub security: SecuritySettings,
    pub tls: TlsSettings,
    pub storage: StorageSettings,
    pub node_client: NodeClientSettings,
    pub memcached: MemcachedSettings,
    pub monitor: MonitorSettings,
    pub jobs: JobSettings,
    pub extensions: ExtensionSettings,
    pub node: NodeSettings,
    pub web: WebSettings,
    pub log: LogSettings,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSettings {
    pub daemonize: bool,
    pub pidfile: PathBuf,
    pub user: String,
    pub upgrade_linger_ms: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TrackerSettings {
    pub listen: Vec<String>,
    pub admin_listen: Vec<String>,
    pub tls_listen: Vec<String>,
    pub query_workers: usize,
    pub replicate_workers: usize,
    pub delete_workers: usize,
    pub fsck_workers: usize,
    pub reaper_workers: usize,
    pub job_master: bool,
    pub default_mindevcount: i64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    pub url: String,
    pub user: String,
    #[serde(skip_serializing)]
    pub password: Secret,
    pub password_file: PathBuf,
    pub skip_schema_check: bool,
    pub lock_wait_ms: u64,
    pub connect_timeout_ms: u64,
    pub write_group_max: usize,
    pub locks: LockKeeping,
    pub client_reads_wait: bool,
    pub silence_max_ms: u64,
    pub max_handles: u64,
    pub replica_lag_max_ms: u64,
    pub replica_check_interval_ms: u64,
    pub replica_unmeasured: bool,
    pub island_mode: bool,
    pub island_entries_max: usize,
    pub island_bytes_max: usize,
    pub mysql_charset: MysqlCharset,
    pub postgres_keys: PostgresKeys,
}

/// Where locks between trackers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LockKeeping {
    /// By the server: what trackers of 2.73 use too.
    Server,
    /// In a table of ours.
    Table,
}

/// Character set of connections to MySQL: how the bytes of keys become characters of the columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MysqlCharset {
    #[default]
    Utf8mb4,
    Utf8,
    Latin1,
    Binary,
}

impl MysqlCharset {
    /// The server's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8mb4 => "utf8mb4",
            Self::Utf8 => "utf8",
            Self::Latin1 => "latin1",
            Self::Binary => "binary",
        }
    }
}

/// How the bytes of keys become characters on PostgreSQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PostgresKeys {
    /// Each byte is the character of the same number.
    #[default]
    Latin1,
    /// The bytes are UTF-8 and stored as they are.
    Utf8,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SecuritySettings {
    pub clients_from: Vec<String>,
    pub admin_from: Vec<String>,
    pub console_from: Vec<String>,
    pub tokens_file: PathBuf,
    pub anonymous_role: Role,
}

/// Of the listening side, tracker and storage node.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    pub client_ca_file: PathBuf,
    pub handshake_timeout_ms: u64,
}

impl TlsSettings {
    /// Are only clients let in that have a certificate?
    pub fn asks_for_certificates(&self) -> bool {
        !self.client_ca_file.as_os_str().is_empty()
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    pub line_bytes_max: usize,
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    pub idle_timeout_ms: u64,
    pub pipeline_batch_max: usize,
    pub reply_buffer_bytes: usize,
    pub write_timeout_ms: u64,
    pub request_timeout_ms: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StorageSettings {
    pub node_timeout_ms: u64,
    pub min_free_space_mb: i64,
    pub copy_stall_timeout_ms: u64,
    pub idle_connections_per_node: usize,
    pub side_channel_port: u16,
    pub bad_path_demotion_secs: u64,
}

/// How trackers, and nodes that fetch copies, reach storage nodes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodeClientSettings {
    pub tls: bool,
    pub tls_nodes: Vec<String>,
    pub tls_port: u16,
    pub tls_name: String,
    pub ca_file: PathBuf,
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    pub signing_key_file: PathBuf,
}

impl NodeClientSettings {
    /// Is any node reached by TLS?
    pub fn uses_tls(&self) -> bool {
        self.tls || !self.tls_nodes.is_empty()
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MemcachedSettings {
    pub connect_timeout_ms: u64,
    pub reply_timeout_ms: u64,
    pub pause_after_failure_ms: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorSettings {
    pub db_interval_ms: u64,
    pub round_interval_ms: u64,
    pub write_test_interval_ms: u64,
    pub usage_store_interval_secs: i64,
    pub checks_in_flight_max: usize,
    pub checks_per_host_max: usize,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct JobSettings {
    pub poll_interval_ms: u64,
    pub copies_in_flight_per_worker: usize,
    pub copies_in_flight_per_device: usize,
    pub copies_in_flight_per_host: usize,
    pub moves_in_flight_per_worker: usize,
    pub deletes_in_flight_per_worker: usize,
    pub node_to_node_copy: bool,
    pub replicate_use_get_port: bool,
    pub rebalance_ignore_missing: bool,
    pub checks_in_flight_per_worker: usize,
    pub fsck_requests_per_host: usize,
    pub tempfile_max_age_secs: i64,
    pub tempfile_interval_ms: u64,
    pub give_way_to_clients: bool,
    pub give_way_floor_percent: u32,
    pub worker_nice: i32,
    pub old_delete_queue_pause_max_ms: u64,
    pub reaper_grace_ms: u64,
    pub reaper_keep_last_copies: bool,
    pub reaper_deferred_rows_max: i64,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExtensionSettings {
    pub enabled: Vec<String>,
    pub local_network: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSettings {
    pub http_listen: String,
    pub writes_from: Vec<String>,
    pub signing_key_file: PathBuf,
    pub side_channel_listen: String,
    pub get_listen: String,
    pub tls_listen: String,
    pub docroot: PathBuf,
    pub extra_docroots: Vec<PathBuf>,
    pub usage_interval_ms: u64,
    pub sync: SyncPolicy,
    pub threads: usize,
    pub connections_max: usize,
    pub idle_timeout_ms: u64,
    pub header_timeout_ms: u64,
    pub rate_min_bytes_per_sec: u64,
    pub connection_bandwidth_bytes_per_sec: u64,
    pub bandwidth_bytes_per_sec: u64,
    pub background_bandwidth_bytes_per_sec: u64,
}

/// What of an upload is on disk when it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase", from = "SyncWord")]
pub enum SyncPolicy {
    /// The file and its name.
    Always,
    /// The file; its name follows when the file system writes its journal.
    File,
    /// Nothing that can be relied on.
    Never,
}

/// As written: `true` and `false` were the words of old.
#[derive(Deserialize)]
#[serde(untagged)]
enum SyncWord {
    Switch(bool),
    Word(SyncName),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum SyncName {
    #[serde(alias = "true")]
    Always,
    File,
    #[serde(alias = "false")]
    Never,
}

impl From<SyncWord> for SyncPolicy {
    fn from(word: SyncWord) -> Self {
        match word {
            SyncWord::Switch(true) | SyncWord::Word(SyncName::Always) => Self::Always,
            SyncWord::Word(SyncName::File) => Self::File,
            SyncWord::Switch(false) | SyncWord::Word(SyncName::Never) => Self::Never,
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WebSettings {
    pub listen: Vec<String>,
    pub names: Vec<String>,
    #[serde(skip_serializing)]
    pub token: Secret,
    pub token_file: PathBuf,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    pub level: String,
    pub levels: String,
    pub format: LogFormat,
    pub to: LogTo,
    pub file: PathBuf,
    pub socket: PathBuf,
}

/// A text that is not for showing: `{:?}` hides it, and it is never written out.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "\"…\"" })
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people on a terminal, else for machines.
    Auto,
    Terminal,
    Json,
}

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogTo {
    Stderr,
    File,
    Syslog,
    Journald,
}

impl Settings {
    /// Loads the defaults, then the file if one is named, then the environment, then the overrides (`key`, `value`).
    /// What [`load`] warns of is not told.
    ///
    /// # Errors
    /// A file that cannot be read or parsed, an unknown key, a value of the wrong type or out of range.
    pub fn load(file: Option<&Path>, overrides: &[(String, String)]) -> Result<Self, SettingsError> {
        let overrides = overrides.iter().map(|(key, value)| Override::new(key, value, "--set"));
        let sources = Sources::of_process(file.map(Path::to_owned), overrides.collect());
        load(&sources).map(|loaded| loaded.settings)
    }

    /// The built-in defaults.
    ///
    /// # Panics
    /// Never in a tested build: the defaults are part of the program.
    #[expect(clippy::expect_used, reason = "the defaults are built in and tested")]
    pub fn defaults() -> Self {
        load(&Sources::default()).expect("settings/default.toml is valid").settings
    }

    /// What types alone cannot say.
    fn check(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        let mut refuse = |key, why: &str| wrong.push((key, why.to_owned()));
        let at_least_one = [
            ("limits.line_bytes_max", self.limits.line_bytes_max),
            ("limits.connections_max", self.limits.connections_max),
            ("limits.pipeline_batch_max", self.limits.pipeline_batch_max),
            ("limits.reply_buffer_bytes", self.limits.reply_buffer_bytes),
            ("database.write_group_max", self.database.write_group_max),
            ("monitor.checks_in_flight_max", self.monitor.checks_in_flight_max),
            ("monitor.checks_per_host_max", self.monitor.checks_per_host_max),
            ("jobs.copies_in_flight_per_worker", self.jobs.copies_in_flight_per_worker),
            ("jobs.copies_in_flight_per_device", self.jobs.copies_in_flight_per_device),
            ("jobs.copies_in_flight_per_host", self.jobs.copies_in_flight_per_host),
            ("jobs.moves_in_flight_per_worker", self.jobs.moves_in_flight_per_worker),
            ("jobs.deletes_in_flight_per_worker", self.jobs.deletes_in_flight_per_worker),
            ("jobs.checks_in_flight_per_worker", self.jobs.checks_in_flight_per_worker),
            ("jobs.fsck_requests_per_host", self.jobs.fsck_requests_per_host),
            ("tracker.listen", self.tracker.listen.len() + self.tracker.tls_listen.len()),
        ];
        for (key, value) in at_least_one {
            if value == 0 {
                refuse(key, "must be at least 1");
            }
        }
        for (key, value) in [
            ("memcached.connect_timeout_ms", self.memcached.connect_timeout_ms),
            ("memcached.reply_timeout_ms", self.memcached.reply_timeout_ms),
            ("memcached.pause_after_failure_ms", self.memcached.pause_after_failure_ms),
            ("monitor.db_interval_ms", self.monitor.db_interval_ms),
            ("monitor.round_interval_ms", self.monitor.round_interval_ms),
            ("jobs.poll_interval_ms", self.jobs.poll_interval_ms),
            ("jobs.old_delete_queue_pause_max_ms", self.jobs.old_delete_queue_pause_max_ms),
            ("node.usage_interval_ms", self.node.usage_interval_ms),
            ("node.connections_max", self.node.connections_max as u64),
            ("node.idle_timeout_ms", self.node.idle_timeout_ms),
            ("node.header_timeout_ms", self.node.header_timeout_ms),
            ("tls.handshake_timeout_ms", self.tls.handshake_timeout_ms),
        ] {
            if value == 0 {
                refuse(key, "must be at least 1");
            }
        }
        let database = &self.database;
        if !database.password.reveal().is_empty() && !database.password_file.as_os_str().is_empty() {
            refuse("database.password_file", "only one of database.password and database.password_file may be set");
        }
        let web = &self.web;
        if !web.token.reveal().is_empty() && !web.token_file.as_os_str().is_empty() {
            refuse("web.token_file", "only one of web.token and web.token_file may be set");
        }
        for address in &web.listen {
            if let Some(why) = wrong_address(address) {
                refuse("web.listen", &why);
            }
        }
        if self.jobs.reaper_deferred_rows_max < 1 {
            refuse("jobs.reaper_deferred_rows_max", "must be at least 1");
        }
        if !(1..=255).contains(&self.tracker.default_mindevcount) {
            refuse("tracker.default_mindevcount", "must be between 1 and 255");
        }
        if self.jobs.give_way_floor_percent > 100 {
            refuse("jobs.give_way_floor_percent", "must not be more than 100");
        }
        if self.storage.min_free_space_mb < 0 {
            refuse("storage.min_free_space_mb", "must not be negative");
        }
        if slog::Level::from_str(&self.log.level).is_err() {
            refuse("log.level", "must be critical, error, warning, info, debug or trace");
        }
        let service = &self.service;
        let has_relative_pidfile = !service.pidfile.as_os_str().is_empty() && service.pidfile.is_relative();
        if service.daemonize && has_relative_pidfile {
            refuse("service.pidfile", "must be an absolute path, as service.daemonize is on");
        }
        let security = &self.security;
        for (key, texts) in [
            ("security.clients_from", &security.clients_from),
            ("security.admin_from", &security.admin_from),
            ("security.console_from", &security.console_from),
            ("node.writes_from", &self.node.writes_from),
            ("node_client.tls_nodes", &self.node_client.tls_nodes),
        ] {
            if let Err(why) = AddressList::parse(texts) {
                refuse(key, &why);
            }
        }
        for address in &self.tracker.admin_listen {
            if let Some(why) = wrong_address(address) {
                refuse("tracker.admin_listen", &why);
            } else if !address.ends_with(":0") && self.tracker.listen.contains(address) {
                refuse("tracker.admin_listen", &format!("{address:?} is one of tracker.listen"));
            }
        }
        for address in &self.tracker.tls_listen {
            let others = self.tracker.listen.iter().chain(&self.tracker.admin_listen);
            if let Some(why) = wrong_address(address) {
                refuse("tracker.tls_listen", &why);
            } else if !address.ends_with(":0") && others.into_iter().any(|other| other == address) {
                refuse("tracker.tls_listen", &format!("{address:?} is one of tracker.listen or tracker.admin_listen"));
            }
        }
        let tls = &self.tls;
        if !self.tracker.tls_listen.is_empty() || !self.node.tls_listen.is_empty() {
            for (key, file) in [("tls.certificate_file", &tls.certificate_file), ("tls.key_file", &tls.key_file)] {
                if file.as_os_str().is_empty() {
                    refuse(key, "must name a file, as TLS is listened for");
                }
            }
        }
        for (at, address) in self.tracker.listen.iter().enumerate() {
            if let Some(why) = wrong_address(address) {
                refuse("tracker.listen", &why);
            } else if !address.ends_with(":0") && self.tracker.listen[..at].contains(address) {
                refuse("tracker.listen", &format!("{address:?} stands there twice"));
            }
        }
        for (key, address) in
            [("node.http_listen", &self.node.http_listen), ("node.side_channel_listen", &self.node.side_channel_listen)]
        {
            if let Some(why) = wrong_address(address) {
                refuse(key, &why);
            }
        }
        if let Some(why) = wrong_address(&self.node.tls_listen).filter(|_| !self.node.tls_listen.is_empty()) {
            refuse("node.tls_listen", &why);
        }
        if let Some(why) = wrong_address(&self.node.get_listen).filter(|_| !self.node.get_listen.is_empty()) {
            refuse("node.get_listen", &why);
        }
        if self.node.http_listen == self.node.side_channel_listen && !self.node.http_listen.ends_with(":0") {
            refuse("node.side_channel_listen", "must be another address than node.http_listen");
        }
        wrong
    }
}

/// Why this is no `HOST:PORT`.
fn wrong_address(address: &str) -> Option<String> {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let is_v6 = host.starts_with('[') && host.ends_with(']');
    match port.parse::<u16>() {
        Err(_) => Some(format!("must be ADDRESS:PORT, not {address:?}")),
        Ok(_) if host.is_empty() => Some(format!("needs an address before the port, as in \"0.0.0.0:{port}\"")),
        Ok(_) if host.contains(':') && !is_v6 => {
            Some(format!("needs brackets around an IPv6 address, as in \"[{host}]:{port}\""))
        }
        Ok(_) => None,
    }
}

impl StorageSettings {
    pub fn node_timeout(&self) -> Duration {
        Duration::from_millis(self.node_timeout_ms)
    }

    pub fn copy_stall_timeout(&self) -> Duration {
        Duration::from_millis(self.copy_stall_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: &str) -> Result<Settings, String> {
        Settings::load(None, &[(key.to_owned(), value.to_owned())]).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_valid() {
        let settings = Settings::defaults();
        assert_eq!(settings.tracker.listen, ["0.0.0.0:7001"]);
        assert_eq!(settings.check(), []);
    }

    #[test]
    fn overrides_win() {
        let settings = with("tracker.listen", "127.0.0.1:1,127.0.0.1:2").expect("valid");
        assert_eq!(settings.tracker.listen, ["127.0.0.1:1", "127.0.0.1:2"]);
        assert_eq!(with("tracker.query_workers", "3").expect("valid").tracker.query_workers, 3);
    }

    #[test]
    fn passwords_are_hidden_and_stand_in_one_place() {
        let settings = with("database.password", "sesame").expect("valid");
        assert_eq!(settings.database.password.reveal(), "sesame");
        assert!(!format!("{settings:?}").contains("sesame"));
        let both = [("database.password", "sesame"), ("database.password_file", "/x")];
        let both = both.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let error = Settings::load(None, &both).expect_err("two places").to_string();
        assert!(error.contains("password_file") && !error.contains("sesame"), "{error}");
    }

    fn complaints(sources: &Sources) -> Vec<String> {
        let error = load(sources).expect_err("something is wrong");
        error.complaints.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_sync_policy_has_words_of_today_and_of_old() {
        for (word, policy) in [
            ("always", SyncPolicy::Always),
            ("true", SyncPolicy::Always),
            ("file", SyncPolicy::File),
            ("never", SyncPolicy::Never),
            ("false", SyncPolicy::Never),
        ] {
            assert_eq!(with("node.sync", word).expect("valid").node.sync, policy, "{word}");
        }
        assert!(with("node.sync", "sometimes").is_err());
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("tracker.query_worker", "1", "unknown key; did you mean tracker.query_workers?"),
            ("tracker.query_workers", "many", "must be a whole number, not \"many\""),
            ("jobs.poll_interval_ms", "0", "must be at least 1"),
            ("log.format", "loud", "must be one of `auto`, `terminal`, `json`, not `loud`"),
            ("tracker.query_workers", "-1", "must not be negative"),
            ("storage.side_channel_port", "70000", "is too large"),
            ("jobs.worker_nice", "-9999999999", "is too small"),
            ("tracker.listen", "7001", "must be ADDRESS:PORT, not \"7001\""),
            ("tracker.listen", "::1:7001", "needs brackets around an IPv6 address, as in \"[::1]:7001\""),
            ("tracker.listen", "a:1,a:1", "\"a:1\" stands there twice"),
            ("node.side_channel_listen", "0.0.0.0:7500", "must be another address than node.http_listen"),
            ("log.level", "loud", "must be critical, error, warning, info, debug or trace"),
        ];
        for (key, value, why) in cases {
            assert_eq!(with(key, value).expect_err(key), format!("command line, --set: {key}: {why}"));
        }
    }

    #[test]
    fn all_mistakes_of_all_places_are_told_with_their_lines() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("m.toml");
        let text = "[tracker]\nquery_worker = 3\nfsck_workers = \"few\"\n\n[storage]\nside_channel_port = 99999\n";
        std::fs::write(&file, text).expect("written");
        let environment = vec![("MOGILEFS__JOBS__WORKER_NICENESS".to_owned(), "1".to_owned())];
        let overrides = vec![Override::new("log.level", "trace", "--set"), Override::new("traker", "1", "--set")];
        let sources = Sources { file: Some(file.clone()), environment, overrides, ..Sources::default() };
        let file = file.display();
        let found = complaints(&sources);
        assert_eq!(
            [&found[..2], &found[3..]].concat(),
            [
                format!("{file}:2: tracker.query_worker: unknown key; did you mean tracker.query_workers?"),
                format!("{file}:3: tracker.fsck_workers: must be a whole number, not \"few\""),
                "environment variable MOGILEFS__JOBS__WORKER_NICENESS: jobs.worker_niceness: unknown key; \
                 did you mean jobs.worker_nice?"
                    .to_owned(),
                "command line, --set: traker: unknown key; did you mean tracker?".to_owned(),
            ]
        );
        assert!(found[2].starts_with(&format!("{file}:6: storage.side_channel_port: ")), "{found:?}");
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn every_value_has_its_origin() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("m.yaml");
        std::fs::write(&file, "tracker:\n  query_workers: 3\n  fsck_workers: 4\ndatabase:\n  password: hush\n")
            .expect("written");
        let environment = vec![("MOGILEFS__TRACKER__FSCK_WORKERS".to_owned(), "5".to_owned())];
        let overrides = vec![Override::new("tracker.listen", "a:1", "--listen")];
        let sources = Sources { file: Some(file.clone()), environment, overrides, ..Sources::default() };
        let loaded = load(&sources).expect("valid");
        assert_eq!((loaded.settings.tracker.query_workers, loaded.settings.tracker.fsck_workers), (3, 5));
        let changed = loaded.shown().iter().filter(|setting| setting.is_changed);
        let changed: Vec<_> = changed.map(|it| (it.key.as_str(), it.text.as_str(), it.origin.to_string())).collect();
        assert_eq!(
            changed,
            [
                ("database.password", "\"(hidden)\"", format!("{}:5", file.display())),
                ("tracker.fsck_workers", "5", "environment variable MOGILEFS__TRACKER__FSCK_WORKERS".to_owned()),
                ("tracker.listen", "[\"a:1\"]", "command line, --listen".to_owned()),
                ("tracker.query_workers", "3", format!("{}:2", file.display())),
            ]
        );
        assert!(!format!("{loaded:?}").contains("hush"));
    }
}
