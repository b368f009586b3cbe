//! The schema that this program works with, as data: the tables of version 17 (database.md 1.4), and those of ours.
//!
//! Says what a database is held against by `db check`; what makes tables are the texts in `migrations/`.

/// What a column holds, as far as the databases agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The number of a file; narrower in databases of old.
    Fid,
    /// A number, with the types it has on MySQL and on PostgreSQL.
    Number(&'static str, &'static str),
    /// At least so many characters.
    Text(u64),
    /// The same, of bytes that clients chose (database.md 1.6).
    Key(u64),
    /// More than any name: settings and arguments.
    LongText,
    /// One of some words.
    Words(&'static [&'static str]),
    /// At least so many bytes.
    Bytes(u64),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ExpectedColumn {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) is_null: bool,
    pub(super) default: Option<&'static str>,
    pub(super) is_counted: bool,
}

impl ExpectedColumn {
    const fn null(self) -> Self {
        Self { is_null: true, ..self }
    }

    const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    const fn counted(self) -> Self {
        Self { is_counted: true, ..self }
    }
}

const fn col(name: &'static str, kind: Kind) -> ExpectedColumn {
    ExpectedColumn { name, kind, is_null: false, default: None, is_counted: false }
}

/// What it means when a table is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Has been there in every version: without it the database is damaged.
    Root,
    /// Nothing works without it.
    Needed,
    /// In version 17, and never used.
    Unused,
    /// Rows of locks: only SQLite's are used, and MySQL has none.
    Locks,
    /// Ours, for something that 2.73 does not have.
    Ours,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ExpectedTable {
    pub(super) name: &'static str,
    pub(super) role: Role,
    pub(super) columns: &'static [ExpectedColumn],
    /// Primary and unique keys.
    pub(super) unique: &'static [&'static [&'static str]],
    pub(super) indexes: &'static [&'static [&'static str]],
    /// SQLite has none of the indexes.
    pub(super) is_unindexed_on_sqlite: bool,
}

pub(super) const HOST_STATUS: &[&str] = &["alive", "dead", "down", "readonly"];
pub(super) const DEVICE_STATUS: &[&str] = &["alive", "dead", "down", "readonly", "drain"];

const TINY: Kind = Kind::Number("tinyint unsigned", "smallint");
const SMALL: Kind = Kind::Number("smallint unsigned", "smallint");
/// Devices and hosts.
const MEDIUM: Kind = Kind::Number("mediumint unsigned", "smallint");
const PORT: Kind = Kind::Number("mediumint unsigned", "integer");
const WEIGHT: Kind = Kind::Number("mediumint", "integer");
const INT: Kind = Kind::Number("int unsigned", "integer");
const BIG: Kind = Kind::Number("bigint unsigned", "bigint");
/// Four bytes on PostgreSQL in new databases of the reference too (D30).
const COUNTED_FID: Kind = Kind::Number("bigint unsigned", "integer");
/// Times in tables of ours.
const TIME: Kind = Kind::Number("int unsigned", "bigint");

const NONE: &[&[&str]] = &[];

const fn table(name: &'static str, role: Role, columns: &'static [ExpectedColumn]) -> ExpectedTable {
    ExpectedTable { name, role, columns, unique: NONE, indexes: NONE, is_unindexed_on_sqlite: false }
}

/// All tables.
pub(super) static TABLES: &[ExpectedTable] = &[
    ExpectedTable { unique: &[&["dmid"], &["namespace"]], ..table("domain", Role::Root, DOMAIN) },
    ExpectedTable { unique: &[&["dmid", "classid"], &["dmid", "classname"]], ..table("class", Role::Root, CLASS) },
    ExpectedTable {
        unique: &[&["fid"], &["dmid", "dkey"]],
        indexes: &[&["dmid", "classid", "devcount"]],
        is_unindexed_on_sqlite: true,
        ..table("file", Role::Root, FILE)
    },
    ExpectedTable { unique: &[&["fid"]], ..table("tempfile", Role::Root, TEMPFILE) },
    ExpectedTable { unique: &[&["fid"]], ..table("file_to_delete", Role::Needed, FID_ONLY) },
    ExpectedTable {
        unique: &[&["fid"]],
        indexes: &[&["lastupdate"]],
        ..table("unreachable_fids", Role::Unused, UNREACHABLE)
    },
    ExpectedTable { unique: &[&["fid", "devid"]], indexes: &[&["devid"]], ..table("file_on", Role::Root, FILE_ON) },
    ExpectedTable { unique: &[&["fid", "devid"]], ..table("file_on_corrupt", Role::Unused, FILE_ON) },
    ExpectedTable { unique: &[&["hostid"], &["hostname"], &["hostip"], &["altip"]], ..table("host", Role::Root, HOST) },
    ExpectedTable { unique: &[&["devid"]], indexes: &[&["status"]], ..table("device", Role::Root, DEVICE) },
    ExpectedTable { unique: &[&["field"]], ..table("server_settings", Role::Root, SETTINGS) },
    ExpectedTable {
        unique: &[&["fid"]],
        indexes: &[&["nexttry"]],
        ..table("file_to_replicate", Role::Needed, TO_REPLICATE)
    },
    ExpectedTable {
        unique: &[&["fid"]],
        indexes: &[&["delafter"]],
        ..table("file_to_delete_later", Role::Needed, DELETE_LATER)
    },
    ExpectedTable { unique: &[&["logid"]], indexes: &[&["utime"]], ..table("fsck_log", Role::Needed, FSCK_LOG) },
    ExpectedTable {
        unique: &[&["fid", "type"]],
        indexes: &[&["type", "nexttry"]],
        ..table("file_to_queue", Role::Needed, TO_QUEUE)
    },
    ExpectedTable {
        unique: &[&["fid"]],
        indexes: &[&["nexttry"]],
        ..table("file_to_delete2", Role::Needed, TO_DELETE2)
    },
    ExpectedTable { unique: &[&["fid"]], ..table("checksum", Role::Needed, CHECKSUM) },
    ExpectedTable { unique: &[&["lockid"]], ..table("lock", Role::Locks, LOCK) },
    ExpectedTable {
        unique: &[&["fid"]],
        indexes: &[&["dmid", "dkey"], &["due_at"]],
        ..table("mogilefs_deleted_file", Role::Ours, DELETED_FILE)
    },
    ExpectedTable { unique: &[&["runid"]], ..table("mogilefs_fsck_run", Role::Ours, FSCK_RUN) },
    ExpectedTable { unique: &[&["devid"]], ..table("mogilefs_device_guard", Role::Ours, DEVICE_GUARD) },
    ExpectedTable { unique: &[&["name"]], ..table("mogilefs_lock", Role::Ours, LEASE) },
    ExpectedTable { unique: &[&["name"]], ..table("mogilefs_hold", Role::Ours, HOLD) },
];

/// Tables of extensions (docs/EXTENSIONS.md), which are there only where these are used.
pub(super) static EXTENSION_TABLES: &[ExpectedTable] = &[
    ExpectedTable {
        unique: &[&["nodeid"], &["dmid", "parentnodeid", "nodename"]],
        ..table("plugin_filepaths_paths", Role::Ours, PATHS)
    },
    ExpectedTable { unique: &[&["dmid"]], ..table("plugin_filepaths_domains", Role::Ours, PATH_DOMAINS) },
    ExpectedTable { unique: &[&["nameid"]], ..table("plugin_metadata_names", Role::Ours, METADATA_NAMES) },
    ExpectedTable { unique: &[&["fid", "nameid"]], ..table("plugin_metadata_data", Role::Ours, METADATA) },
];

static DOMAIN: &[ExpectedColumn] = &[col("dmid", SMALL), col("namespace", Kind::Key(255)).null()];
static CLASS: &[ExpectedColumn] = &[
    col("dmid", SMALL),
    col("classid", TINY),
    col("classname", Kind::Key(50)).null(),
    col("mindevcount", TINY),
    col("hashtype", TINY).null(),
    col("replpolicy", Kind::Text(255)).null(),
];
static FILE: &[ExpectedColumn] = &[
    col("fid", Kind::Fid),
    col("dmid", SMALL),
    col("dkey", Kind::Key(255)).null(),
    col("length", BIG).null(),
    col("classid", TINY),
    col("devcount", TINY),
];
static TEMPFILE: &[ExpectedColumn] = &[
    col("fid", COUNTED_FID).counted(),
    col("createtime", INT),
    col("classid", TINY),
    col("dmid", SMALL),
    col("dkey", Kind::Key(255)).null(),
    col("devids", Kind::Text(60)).null(),
];
static FID_ONLY: &[ExpectedColumn] = &[col("fid", Kind::Fid)];
static UNREACHABLE: &[ExpectedColumn] = &[col("fid", Kind::Fid), col("lastupdate", INT)];
static FILE_ON: &[ExpectedColumn] = &[col("fid", Kind::Fid), col("devid", MEDIUM)];
static HOST: &[ExpectedColumn] = &[
    col("hostid", MEDIUM),
    col("status", Kind::Words(HOST_STATUS)).null(),
    col("http_port", PORT).null().or("7500"),
    col("http_get_port", PORT).null(),
    col("hostname", Kind::Text(40)).null(),
    col("hostip", Kind::Text(15)).null(),
    col("altip", Kind::Text(15)).null(),
    col("altmask", Kind::Text(18)).null(),
];
static DEVICE: &[ExpectedColumn] = &[
    col("devid", MEDIUM),
    col("hostid", MEDIUM),
    col("status", Kind::Words(DEVICE_STATUS)).null(),
    col("weight", WEIGHT).null().or("100"),
    col("mb_total", INT).null(),
    col("mb_used", INT).null(),
    col("mb_asof", INT).null(),
];
static SETTINGS: &[ExpectedColumn] = &[col("field", Kind::Text(50)), col("value", Kind::LongText).null()];
static TO_REPLICATE: &[ExpectedColumn] = &[
    col("fid", Kind::Fid),
    col("nexttry", INT),
    col("fromdevid", INT).null(),
    col("failcount", TINY).or("0"),
    col("flags", SMALL).or("0"),
];
static DELETE_LATER: &[ExpectedColumn] = &[col("fid", Kind::Fid), col("delafter", INT)];
static FSCK_LOG: &[ExpectedColumn] = &[
    col("logid", INT).counted(),
    col("utime", INT),
    col("fid", Kind::Fid).null(),
    col("evcode", Kind::Text(4)).null(),
    col("devid", MEDIUM).null(),
];
static TO_QUEUE: &[ExpectedColumn] = &[
    col("fid", Kind::Fid),
    col("devid", INT).null(),
    col("type", TINY),
    col("nexttry", INT),
    col("failcount", TINY).or("0"),
    col("flags", SMALL).or("0"),
    col("arg", Kind::LongText).null(),
];
static TO_DELETE2: &[ExpectedColumn] = &[col("fid", Kind::Fid), col("nexttry", INT), col("failcount", TINY).or("0")];
static CHECKSUM: &[ExpectedColumn] = &[col("fid", Kind::Fid), col("hashtype", TINY), col("checksum", Kind::Bytes(64))];
static LOCK: &[ExpectedColumn] =
    &[col("lockid", INT), col("hostname", Kind::Text(255)), col("pid", INT), col("acquiredat", INT)];
static DELETED_FILE: &[ExpectedColumn] = &[
    col("fid", Kind::Fid),
    col("dmid", SMALL),
    col("dkey", Kind::Key(255)).null(),
    col("length", BIG).null(),
    col("classid", TINY),
    col("devcount", TINY),
    col("deleted_at", TIME),
    col("due_at", TIME),
];
static FSCK_RUN: &[ExpectedColumn] = &[
    col("runid", BIG),
    col("started", INT),
    col("ended", INT).null(),
    col("first_fid", Kind::Fid),
    col("last_fid", Kind::Fid),
    col("first_logid", INT),
    col("options", Kind::LongText),
];
static DEVICE_GUARD: &[ExpectedColumn] = &[
    col("devid", Kind::Number("mediumint unsigned", "integer")),
    col("uuid", Kind::Text(64)).null(),
    col("first_seen", TIME),
    col("unreachable_since", TIME).null(),
    col("unreachable_seen", TIME).null(),
    col("changed_at", TIME).null(),
];
static LEASE: &[ExpectedColumn] = &[
    col("name", Kind::Text(64)),
    col("owner", Kind::Text(64)),
    col("hostname", Kind::Text(255)),
    col("pid", Kind::Number("int unsigned", "bigint")),
    col("expires_at", TIME),
    col("writes", BIG),
];
static HOLD: &[ExpectedColumn] = &[col("name", Kind::Text(64)), col("writes", BIG)];
static PATHS: &[ExpectedColumn] = &[
    col("nodeid", BIG).counted(),
    col("dmid", SMALL),
    col("parentnodeid", BIG),
    col("nodename", Kind::Key(255)),
    col("fid", Kind::Fid).null(),
];
static PATH_DOMAINS: &[ExpectedColumn] = &[col("dmid", SMALL)];
static METADATA_NAMES: &[ExpectedColumn] = &[col("nameid", BIG).counted(), col("name", Kind::Key(255))];
static METADATA: &[ExpectedColumn] = &[col("fid", Kind::Fid), col("nameid", BIG), col("data", Kind::Key(255))];
