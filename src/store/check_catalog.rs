//! What tables, columns and keys a database really has, whoever made them. Reads only, and judges nothing.

use super::connection::{Backend, StoreConnection};
use super::error::StoreResult;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{QueryableByName, RunQueryDsl as _};
use std::collections::BTreeMap;

/// Everything in the database, by table.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    tables: BTreeMap<String, Table>,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    /// MySQL only.
    pub(super) engine: Option<String>,
    pub(super) columns: Vec<Column>,
    pub(super) keys: Vec<Key>,
    /// PostgreSQL only.
    pub(super) checks: Vec<Check>,
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// In the database's words, in small letters.
    pub(super) sql_type: String,
    pub(super) is_null: bool,
    pub(super) default: Option<String>,
    /// MySQL only, of texts.
    pub(super) collation: Option<String>,
    /// The database counts it up itself.
    pub(super) is_counted: bool,
}

/// A primary key, a unique key or an index. A column of which only the beginning counts is written `name(length)`.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) columns: Vec<String>,
    pub(super) is_unique: bool,
}

#[derive(Debug)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) definition: String,
    pub(super) columns: Vec<String>,
}

impl Catalog {
    /// Of the tables.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    pub(super) fn table(&self, name: &str) -> Option<&Table> {
        self.tables.get(name)
    }

    pub(super) fn column(&self, table: &str, column: &str) -> Option<&Column> {
        self.table(table)?.column(column)
    }

    /// Reads the catalogs of the database.
    pub(super) fn read(conn: &mut StoreConnection) -> StoreResult<Self> {
        let texts = texts(conn.backend());
        let mut catalog = Self::default();
        for row in each!(&mut *conn, c => diesel::sql_query(texts.tables).load::<TableRow>(c))? {
            catalog.tables.insert(row.tbl, Table { engine: row.engine, ..Table::default() });
        }
        for row in each!(&mut *conn, c => diesel::sql_query(texts.columns).load::<ColumnRow>(c))? {
            if let Some(table) = catalog.tables.get_mut(&row.tbl) {
                table.columns.push(row.into_column());
            }
        }
        let mut last = None;
        for row in each!(&mut *conn, c => diesel::sql_query(texts.keys).load::<KeyRow>(c))? {
            let Some(table) = catalog.tables.get_mut(&row.tbl) else { continue };
            let this = Some((row.tbl, row.key_name));
            if this != last {
                table.keys.push(Key { columns: Vec::new(), is_unique: row.is_unique != 0 });
                last = this;
            }
            if let Some(key) = table.keys.last_mut() {
                // An expression has no name, and is none of our columns.
                key.columns.push(row.col.unwrap_or_else(|| "(expression)".to_owned()));
            }
        }
        if let Some(text) = texts.checks {
            for row in each!(&mut *conn, c => diesel::sql_query(text).load::<CheckRow>(c))? {
                if let Some(table) = catalog.tables.get_mut(&row.tbl) {
                    let columns = row.cols.split(',').map(str::to_owned).collect();
                    table.checks.push(Check { name: row.name, definition: row.definition, columns });
                }
            }
        }
        Ok(catalog)
    }
}

impl Table {
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Is there a unique key of just these columns, in whatever order?
    pub(super) fn has_unique(&self, columns: &[&str]) -> bool {
        let is_same = |key: &&Key| {
            key.columns.len() == columns.len() && columns.iter().all(|name| key.columns.iter().any(|own| own == name))
        };
        self.keys.iter().filter(|key| key.is_unique).any(|key| is_same(&key))
    }

    /// Is there a key that begins with these columns, in this order?
    pub(super) fn has_index(&self, columns: &[&str]) -> bool {
        self.keys.iter().any(|key| {
            key.columns.len() >= columns.len() && key.columns.iter().zip(columns).all(|(own, name)| own == name)
        })
    }
}

#[derive(QueryableByName)]
struct TableRow {
    #[diesel(sql_type = Text)]
    tbl: String,
    #[diesel(sql_type = Nullable<Text>)]
    engine: Option<String>,
}

#[derive(QueryableByName)]
struct ColumnRow {
    #[diesel(sql_type = Text)]
    tbl: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    sql_type: String,
    #[diesel(sql_type = BigInt)]
    is_null: i64,
    #[diesel(sql_type = Nullable<Text>)]
    dflt: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    coll: Option<String>,
    #[diesel(sql_type = BigInt)]
    is_counted: i64,
}

impl ColumnRow {
    fn into_column(self) -> Column {
        Column {
            name: self.name,
            sql_type: self.sql_type.to_ascii_lowercase(),
            is_null: self.is_null != 0,
            default: self.dflt.as_deref().and_then(plain_default),
            collation: self.coll,
            is_counted: self.is_counted != 0,
        }
    }
}

/// `'100'`, `100` and `'100'::integer` are all 100; MariaDB says NULL where there is none.
fn plain_default(text: &str) -> Option<String> {
    let value = text.split("::").next().unwrap_or(text).trim().trim_matches(['(', ')']).trim_matches('\'');
    (!text.eq_ignore_ascii_case("null")).then(|| value.to_owned())
}

#[derive(QueryableByName)]
struct KeyRow {
    #[diesel(sql_type = Text)]
    tbl: String,
    #[diesel(sql_type = Text)]
    key_name: String,
    #[diesel(sql_type = BigInt)]
    is_unique: i64,
    #[diesel(sql_type = Nullable<Text>)]
    col: Option<String>,
}

#[derive(QueryableByName)]
struct CheckRow {
    #[diesel(sql_type = Text)]
    tbl: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    definition: String,
    #[diesel(sql_type = Text)]
    cols: String,
}

/// The questions, in the words of one kind of database.
struct Texts {
    tables: &'static str,
    columns: &'static str,
    keys: &'static str,
    checks: Option<&'static str>,
}

fn texts(backend: Backend) -> Texts {
    match backend {
        Backend::Sqlite => Texts {
            tables: "SELECT name AS tbl, NULL AS engine FROM sqlite_master \
                WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
            columns: "SELECT m.name AS tbl, p.name AS name, p.type AS sql_type, \
                CASE WHEN p.\"notnull\" = 0 AND p.pk = 0 THEN 1 ELSE 0 END AS is_null, p.dflt_value AS dflt, \
                NULL AS coll, CASE WHEN p.pk = 1 AND upper(p.type) = 'INTEGER' \
                AND upper(m.sql) LIKE '%AUTOINCREMENT%' THEN 1 ELSE 0 END AS is_counted \
                FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table' ORDER BY m.name, p.cid",
            // The key of a table whose rows are numbered by it has no index of its own.
            keys: "SELECT m.name AS tbl, l.name AS key_name, l.\"unique\" AS is_unique, i.name AS col, i.seqno AS place \
                FROM sqlite_master m JOIN pragma_index_list(m.name) l JOIN pragma_index_info(l.name) i \
                WHERE m.type = 'table' AND l.partial = 0 \
                UNION ALL SELECT m.name, ' of its rows', 1, p.name, 0 FROM sqlite_master m JOIN pragma_table_info(m.name) p \
                WHERE m.type = 'table' AND p.pk = 1 AND upper(p.type) = 'INTEGER' \
                AND (SELECT MAX(pk) FROM pragma_table_info(m.name)) = 1 ORDER BY 1, 2, 5",
            checks: None,
        },
        Backend::Mysql => Texts {
            tables: "SELECT CAST(table_name AS CHAR) AS tbl, CAST(engine AS CHAR) AS engine \
                FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'",
            columns: "SELECT CAST(table_name AS CHAR) AS tbl, CAST(column_name AS CHAR) AS name, \
                CAST(column_type AS CHAR) AS sql_type, IF(is_nullable = 'YES', 1, 0) AS is_null, \
                CAST(column_default AS CHAR) AS dflt, CAST(collation_name AS CHAR) AS coll, \
                IF(extra LIKE '%auto_increment%', 1, 0) AS is_counted \
                FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position",
            keys: "SELECT CAST(table_name AS CHAR) AS tbl, CAST(index_name AS CHAR) AS key_name, \
                IF(non_unique = 0, 1, 0) AS is_unique, \
                CAST(IF(sub_part IS NULL, column_name, CONCAT(column_name, '(', sub_part, ')')) AS CHAR) AS col \
                FROM information_schema.statistics WHERE table_schema = DATABASE() \
                ORDER BY table_name, index_name, seq_in_index",
            checks: None,
        },
        Backend::Postgres => Texts {
            tables: "SELECT c.relname::text AS tbl, NULL::text AS engine FROM pg_catalog.pg_class c \
                JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') \
                AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND pg_catalog.pg_table_is_visible(c.oid)",
            columns: "SELECT c.relname::text AS tbl, a.attname::text AS name, \
                pg_catalog.format_type(a.atttypid, a.atttypmod)::text AS sql_type, \
                (CASE WHEN a.attnotnull THEN 0 ELSE 1 END)::bigint AS is_null, \
                pg_catalog.pg_get_expr(d.adbin, d.adrelid)::text AS dflt, NULL::text AS coll, \
                (CASE WHEN a.attidentity <> '' OR pg_catalog.pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%' \
                THEN 1 ELSE 0 END)::bigint AS is_counted FROM pg_catalog.pg_class c \
                JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum \
                WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
                AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY c.relname, a.attnum",
            keys: "SELECT c.relname::text AS tbl, i.relname::text AS key_name, \
                (CASE WHEN x.indisunique THEN 1 ELSE 0 END)::bigint AS is_unique, a.attname::text AS col \
                FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class c ON c.oid = x.indrelid \
                JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid \
                JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                CROSS JOIN LATERAL unnest(x.indkey) WITH ORDINALITY AS k (attnum, place) \
                LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum \
                WHERE x.indpred IS NULL AND x.indisvalid AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
                AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY c.relname, i.relname, k.place",
            checks: Some(
                "SELECT c.relname::text AS tbl, o.conname::text AS name, \
                pg_catalog.pg_get_constraintdef(o.oid)::text AS definition, \
                COALESCE((SELECT string_agg(a.attname::text, ',' ORDER BY a.attnum) FROM pg_catalog.pg_attribute a \
                WHERE a.attrelid = c.oid AND a.attnum = ANY (o.conkey)), '')::text AS cols \
                FROM pg_catalog.pg_constraint o JOIN pg_catalog.pg_class c ON c.oid = o.conrelid \
                WHERE o.contype = 'c' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY c.relname, o.conname",
            ),
        },
    }
}

#[cfg(test)]
impl Catalog {
    /// For tests of what is decided by catalogs.
    pub(super) fn of(tables: impl IntoIterator<Item = (&'static str, Table)>) -> Self {
        Self { tables: tables.into_iter().map(|(name, table)| (name.to_owned(), table)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_plain() {
        for (text, value) in [
            ("100", Some("100")),
            ("'100'", Some("100")),
            ("'100'::integer", Some("100")),
            ("(0)", Some("0")),
            ("NULL", None),
        ] {
            assert_eq!(plain_default(text).as_deref(), value, "{text}");
        }
    }
}
