//! What old files and command lines come to, in settings of ours.

use super::*;
use crate::settings::{self, Sources};
use std::path::{Path, PathBuf};

/// Every key of mogilefsd's file, each with another value than the default.
const MOGILEFSD_CONF: &str = "\
# made by hand
daemonize = 1
debug = 2
pidfile = /run/mogilefsd.pid

user = root
db_dsn = DBI:mysql:mogilefs:host=10.0.1.5
db_user = moggy
db_pass = secret # not a comment
max_handles = 7
no_schema_check = 1
conf_port = 7002
listen = 10.0.0.1, [::], 10.0.0.2:7003
query_jobs = 30
delete_jobs = 2
replicate_jobs 5
fsck_jobs=3
reaper_jobs = 4
monitor_jobs = 1
job_master = 0
min_free_space = 2048
max_disk_age = 5
default_mindevcount = 3
node_timeout = 4
conn_timeout = 3
conn_pool_size = 21
mogstored_stream_port = 7601
repl_use_get_port = 1
rebalance_ignore_missing = 1
local_network = 10.0.0.0/8
plugins = ZoneLocal, RandomWrites
some_plugins_own = 1
";

const CONVERTED: &str = "\
# Made from mogilefsd.conf, a file of mogilefsd 2.73.

[database]
# db_dsn, line 7
url = \"DBI:mysql:mogilefs:host=10.0.1.5\"
# db_user, line 8
user = \"moggy\"
# db_pass, line 9
# It is not shown. Put it alone into a file that only this program may read, and name that:
# password_file = \"/etc/mogilefs/password\"
# max_handles, line 10
max_handles = 7
# no_schema_check, line 11
skip_schema_check = true

[extensions]
# local_network, line 30
local_network = \"10.0.0.0/8\"
# plugins, line 31
enabled = [\"ZoneLocal\", \"RandomWrites\"]

[jobs]
# repl_use_get_port, line 28
replicate_use_get_port = true
# rebalance_ignore_missing, line 29
rebalance_ignore_missing = true

[log]
# debug, line 3
level = \"debug\"

[service]
# daemonize, line 2
daemonize = true
# pidfile, line 4
pidfile = \"/run/mogilefsd.pid\"
# user, line 6
user = \"root\"

[storage]
# min_free_space, line 21
min_free_space_mb = 2048
# node_timeout, line 24
node_timeout_ms = 4000
# conn_pool_size, line 26
idle_connections_per_node = 21
# mogstored_stream_port, line 27
side_channel_port = 7601

[tracker]
# listen, line 13
listen = [\"10.0.0.1:7002\", \"[::]:7002\", \"10.0.0.2:7003\"]
# query_jobs, line 14
query_workers = 30
# delete_jobs, line 15
delete_workers = 2
# replicate_jobs, line 16
replicate_workers = 5
# fsck_jobs, line 17
fsck_workers = 3
# reaper_jobs, line 18
reaper_workers = 4
# job_master, line 20
job_master = false
# default_mindevcount, line 23
default_mindevcount = 3

# What has no effect here:
# monitor_jobs (line 19): without effect: there is always one monitor; leave it out
# max_disk_age (line 22): without effect: 2.73 did not use it either; leave it out
# conn_timeout (line 25): without effect: the monitor waits for nodes as long as all others do: node_timeout (storage.node_timeout_ms)
# some_plugins_own (line 32): unknown key, without effect
";

/// A file of its own directory.
fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("any.name");
    std::fs::write(&path, text).expect("written");
    (directory, path)
}

/// What changes when a program is called so on a file with this text: `key=value`, where from.
fn changes(program: Option<Program>, text: &str, words: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let (_directory, path) = written(text);
    let old = program.map(|program| OldCommandLine::parse(program, words.split_whitespace().map(str::to_owned)));
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let file = if text.is_empty() { None } else { Some(path.clone()) };
    let sources = Sources { file, environment, old, overrides: Vec::new() };
    let loaded = settings::load(&sources).expect("usable");
    let changed = loaded.shown().iter().filter(|setting| setting.is_changed);
    let origin = |origin: &Origin| origin.to_string().replace(&path.display().to_string(), "file");
    changed.map(|setting| format!("{}={} ({})", setting.key, setting.text, origin(&setting.origin))).collect()
}

#[test]
fn a_file_is_converted() {
    let convert = |with_secrets| {
        convert(Program::Mogilefsd, Path::new("mogilefsd.conf"), MOGILEFSD_CONF, with_secrets).expect("good")
    };
    assert_eq!(convert(false), CONVERTED);
    assert!(convert(true).contains("# db_pass, line 9\npassword = \"secret # not a comment\"\n"));

    let text = "db_dsn = DBI:mysql:m;password=hush\n";
    let converted = super::convert(Program::Mogilefsd, Path::new("f"), text, false).expect("good");
    assert!(
        !converted.contains("hush") && converted.contains("# url = \"DBI:mysql:m;password=(hidden)\""),
        "{converted}"
    );
}

#[test]
fn a_converted_file_sets_the_same() {
    let converted = convert(Program::Mogilefsd, Path::new("f"), MOGILEFSD_CONF, true).expect("good");
    let values = |text: &str| {
        let changes = changes(None, text, "", &[]).into_iter();
        changes.map(|change| change.split(" (file").next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values(&converted), values(MOGILEFSD_CONF));
    assert_eq!(values(&converted).len(), 25);
}

#[test]
fn a_file_of_mogstored_is_converted() {
    let text = "maxconns = 10000\nhttplisten = 10.0.0.1:7500 # here\nmgmtlisten = 10.0.0.1:7501\ndocroot = /srv\n\
                server = perlbal\niostat = 0\n";
    let expected = "\
# Made from mogstored.conf, a file of mogstored 2.73.

[node]
# maxconns, line 1
connections_max = 10000
# httplisten, line 2
http_listen = \"10.0.0.1:7500\"
# mgmtlisten, line 3
side_channel_listen = \"10.0.0.1:7501\"
# docroot, line 4
docroot = \"/srv\"

# What has no effect here:
# iostat (line 6): without effect: utilisation is always measured, without the program iostat
";
    assert_eq!(convert(Program::Mogstored, Path::new("mogstored.conf"), text, false).expect("good"), expected);
}

#[test]
fn the_command_line_wins_over_environment_and_file() {
    let file = "query_jobs = 3\ndelete_jobs = 4\nfsck_jobs = 5\ndb_dsn = DBI:SQLite:/m\nlisten = a,b:1\n";
    let environment =
        [("MOGILEFS__TRACKER__QUERY_WORKERS", "6"), ("MOGILEFS__TRACKER__FSCK_WORKERS", "7"), ("DEBUG", "1")];
    assert_eq!(
        changes(Some(Program::Mogilefsd), file, "--workers 9 --confport 7009", &environment),
        [
            "database.url=\"DBI:SQLite:/m\" (file:4)",
            "log.level=\"debug\" (environment variable DEBUG)",
            "tracker.delete_workers=4 (file:2)",
            "tracker.fsck_workers=7 (environment variable MOGILEFS__TRACKER__FSCK_WORKERS)",
            "tracker.listen=[\"a:7009\", \"b:1\"] (file:5)",
            "tracker.query_workers=9 (command line, --workers)",
        ]
    );
    // DEBUG is only for those who call the program by its old name.
    assert_eq!(changes(None, "db_dsn = DBI:SQLite:/m\n", "", &[("DEBUG", "1")]).len(), 1);
}

#[test]
fn quirks_of_the_reference_are_kept() {
    let listener_jobs = changes(Some(Program::Mogilefsd), "listener_jobs = 8\nquery_jobs = 3\n", "--workers 9", &[]);
    assert_eq!(listener_jobs[1], "tracker.query_workers=8 (file:1)");
    let off = changes(Some(Program::Mogilefsd), "listener_jobs = 0\n", "--workers 9", &[]);
    assert_eq!(off[1], "tracker.query_workers=9 (command line, --workers)");
    let plugins = changes(Some(Program::Mogilefsd), "plugins = SortByWait\n", "--plugins=RandomWrites", &[]);
    assert_eq!(plugins[1], "extensions.enabled=[\"SortByWait\", \"RandomWrites\"] (command line, --plugins)");
    // Presence decides, also of an empty value.
    let password = changes(Some(Program::Mogilefsd), "db_pass = x\n", "--dbpass=", &[]);
    assert_eq!(password, ["database.url=\"DBI:mysql:mogilefs\" (default of 2.73)"]);
    // A relative path of a daemon's.
    let pidfile = changes(None, "daemonize = 1\npidfile = m.pid\ndb_dsn = DBI:SQLite:/m\n", "", &[]);
    assert_eq!(pidfile[2], "service.pidfile=\"/m.pid\" (file:2)");
    // mogstored reads its file last.
    let docroot = changes(Some(Program::Mogstored), "docroot = /a\n", "--docroot=/b --httplisten=c:1", &[]);
    assert_eq!(docroot, ["node.docroot=\"/a\" (file:1)", "node.http_listen=\"c:1\" (command line, --httplisten)"]);
}

#[test]
fn without_a_file_the_database_is_that_of_the_reference() {
    assert_eq!(
        changes(Some(Program::Mogilefsd), "", "", &[]),
        ["database.url=\"DBI:mysql:mogilefs\" (default of 2.73)"]
    );
    assert_eq!(changes(Some(Program::Mogilefsd), "[log]\nlevel = \"debug\"\n", "", &[]).len(), 1);
    assert_eq!(changes(Some(Program::Mogstored), "", "", &[]), [""; 0]);
}

#[test]
fn numbers_and_truth_are_as_perl_has_them() {
    let (_directory, path) = written("query_jobs = 20 # twenty\ndaemonize = no\nnode_timeout = 0\n");
    let loaded = settings::load(&Sources { file: Some(path), ..Sources::default() }).expect("usable");
    let settings = &loaded.settings;
    assert_eq!((settings.tracker.query_workers, settings.service.daemonize), (20, true));
    assert_eq!(settings.storage.node_timeout_ms, 2000);
    let warnings: Vec<_> =
        loaded.warnings.iter().map(|warning| (warning.key.as_str(), warning.text.as_str())).collect();
    assert_eq!(
        warnings,
        [("query_jobs", "only the number counts: 20"), ("daemonize", "counts as yes, as in 2.73: only 0 is no")]
    );
    let (_directory, path) = written("query_jobs = many\nlisten =\nfsck_jobs = x\n");
    let error = settings::load(&Sources { file: Some(path), ..Sources::default() }).expect_err("wrong");
    let lines: Vec<_> =
        error.complaints.iter().map(|complaint| (complaint.origin.line(), complaint.key.as_str())).collect();
    assert_eq!(lines, [(Some(1), "query_jobs"), (Some(2), "listen"), (Some(3), "fsck_jobs")]);
}

#[test]
fn every_option_stands_in_the_help() {
    let usage = usage(Program::Mogilefsd);
    assert!(usage.contains("-w, --workers=N") && usage.contains("tracker.query_workers"), "{usage}");
    for key in Program::Mogilefsd.keys().iter().filter(|key| !key.option.is_empty()) {
        assert!(usage.contains(&format!("--{}", key.option)), "{}", key.option);
    }
}

#[test]
fn every_key_of_ours_in_the_table_is_one() {
    let known = settings::load(&Sources::default()).expect("defaults");
    for key in Program::Mogilefsd.keys().iter().chain(Program::Mogstored.keys()) {
        if let Some(ours) = key.becomes.setting() {
            assert!(known.shown().iter().any(|setting| setting.key == ours), "{ours}");
        }
    }
}

#[test]
fn the_handbook_has_every_key_and_option() {
    const HANDBOOK: &str = include_str!("../../../docs/OPERATING.md");
    for key in Program::Mogilefsd.keys().iter().chain(Program::Mogstored.keys()) {
        let (name, option) = (format!("`{}`", key.name), format!("`--{}`", key.option));
        assert!(key.name.is_empty() || HANDBOOK.contains(&name), "{name}");
        assert!(key.option.is_empty() || HANDBOOK.contains(&option), "{option}");
    }
}
