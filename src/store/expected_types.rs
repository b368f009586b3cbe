//! How much fits into a column, by what the database calls its type. Pure.

use super::connection::Backend;

/// The largest number that a column of this type holds; `None` if it holds no whole numbers. On SQLite a type is a hint,
/// and numbers of any size fit.
pub(super) fn largest_number(backend: Backend, sql_type: &str) -> Option<i64> {
    let base = sql_type.split([' ', '(']).next().unwrap_or_default();
    if backend == Backend::Sqlite {
        return sql_type.contains("int").then_some(i64::MAX);
    }
    let bits = match base {
        "tinyint" => 8,
        "smallint" => 16,
        "mediumint" => 24,
        "int" | "integer" => 32,
        "bigint" => return Some(i64::MAX),
        _ => return None,
    };
    let value_bits = if sql_type.contains("unsigned") { bits } else { bits - 1 };
    Some((1 << value_bits) - 1)
}

/// The longest text, in characters; `None` if it holds no text. On SQLite any fits.
pub(super) fn longest_text(backend: Backend, sql_type: &str) -> Option<u64> {
    if backend == Backend::Sqlite {
        let is_text = ["char", "text", "clob"].iter().any(|word| sql_type.contains(word));
        return is_text.then_some(u64::MAX);
    }
    let (base, size) = base_and_size(sql_type);
    match (base, backend) {
        ("text" | "character varying", Backend::Postgres) => Some(size.unwrap_or(u64::MAX)),
        ("varchar" | "char" | "character" | "varbinary", _) => Some(size.unwrap_or(1)),
        ("tinytext" | "tinyblob", _) => Some(255),
        ("text" | "blob", _) => Some(65_535),
        ("mediumtext" | "mediumblob", _) => Some(16_777_215),
        ("longtext" | "longblob", _) => Some(u64::from(u32::MAX)),
        _ => None,
    }
}

/// How many bytes; `None` if it is not for bytes. On SQLite any type takes any.
pub(super) fn most_bytes(backend: Backend, sql_type: &str) -> Option<u64> {
    let (base, size) = base_and_size(sql_type);
    match (backend, base) {
        (Backend::Sqlite, _) | (Backend::Postgres, "bytea") => Some(u64::MAX),
        (Backend::Mysql, "varbinary") => size,
        (Backend::Mysql, "tinyblob") => Some(255),
        (Backend::Mysql, "blob" | "mediumblob" | "longblob") => Some(65_535),
        _ => None,
    }
}

/// The words of an ENUM of MySQL; `None` if it is none.
pub(super) fn enum_words(sql_type: &str) -> Option<Vec<&str>> {
    sql_type.starts_with("enum(").then(|| quoted_words(sql_type))
}

/// Everything between two single quotes.
pub(super) fn quoted_words(text: &str) -> Vec<&str> {
    text.split('\'').skip(1).step_by(2).collect()
}

fn base_and_size(sql_type: &str) -> (&str, Option<u64>) {
    match sql_type.split_once('(') {
        Some((base, rest)) => (base.trim(), rest.split(')').next().and_then(|size| size.trim().parse().ok())),
        None => (sql_type.trim(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (backend, sql_type, largest) in [
            (Backend::Mysql, "int(10) unsigned", Some(4_294_967_295)),
            (Backend::Mysql, "int unsigned", Some(4_294_967_295)),
            (Backend::Mysql, "mediumint(8)", Some(8_388_607)),
            (Backend::Mysql, "tinyint(3) unsigned", Some(255)),
            (Backend::Mysql, "bigint(20) unsigned", Some(i64::MAX)),
            (Backend::Mysql, "varchar(20)", None),
            (Backend::Postgres, "integer", Some(2_147_483_647)),
            (Backend::Postgres, "smallint", Some(32_767)),
            (Backend::Sqlite, "int unsigned", Some(i64::MAX)),
            (Backend::Sqlite, "text", None),
        ] {
            assert_eq!(largest_number(backend, sql_type), largest, "{sql_type}");
        }
    }

    #[test]
    fn texts_and_bytes() {
        assert_eq!(longest_text(Backend::Mysql, "varchar(255)"), Some(255));
        assert_eq!(longest_text(Backend::Mysql, "text"), Some(65_535));
        assert_eq!(longest_text(Backend::Postgres, "text"), Some(u64::MAX));
        assert_eq!(longest_text(Backend::Postgres, "character varying(60)"), Some(60));
        assert_eq!(longest_text(Backend::Postgres, "character(4)"), Some(4));
        assert_eq!(longest_text(Backend::Postgres, "bytea"), None);
        assert_eq!(longest_text(Backend::Sqlite, "varchar(255)"), Some(u64::MAX));
        assert_eq!(longest_text(Backend::Sqlite, "int"), None);
        assert_eq!(most_bytes(Backend::Mysql, "varbinary(64)"), Some(64));
        assert_eq!(most_bytes(Backend::Mysql, "varchar(64)"), None);
        assert_eq!(most_bytes(Backend::Postgres, "bytea"), Some(u64::MAX));
    }

    #[test]
    fn words() {
        assert_eq!(enum_words("enum('alive','dead')"), Some(vec!["alive", "dead"]));
        assert_eq!(enum_words("varchar(8)"), None);
        let check =
            "CHECK (((status)::text = ANY ((ARRAY['alive'::character varying, 'dead'::character varying])::text[])))";
        assert_eq!(quoted_words(check), ["alive", "dead"]);
    }
}
