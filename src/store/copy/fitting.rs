//! What a column of the target takes, and in which form; and why a value does not fit. Pure.

use super::rows::Value;
use crate::store::check_catalog::Column;
use crate::store::connection::Backend;
use crate::store::expected::{ExpectedColumn, ExpectedTable, Kind};
use crate::store::expected_types::{enum_words, largest_number, longest_text, most_bytes};
use crate::store::key_form::{KeyForm, cp1252_of};
use std::borrow::Cow;

/// A column of the target.
#[derive(Debug)]
pub(super) struct Room {
    backend: Backend,
    form: KeyForm,
    is_key: bool,
    takes_null: bool,
    /// Numbers from and to.
    smallest: i64,
    largest: i64,
    characters_max: u64,
    /// Of a text whose type is limited so.
    bytes_max: u64,
    charset: Charset,
    words: Option<Vec<String>>,
}

/// Which characters a column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charset {
    Any,
    ThreeBytes,
    Cp1252,
    Ascii,
    /// None: bytes.
    Bytes,
}

impl Charset {
    fn of(collation: Option<&str>) -> Self {
        match collation.map(|name| name.split('_').next().unwrap_or_default()) {
            None | Some("utf8mb4") => Self::Any,
            Some("utf8" | "utf8mb3") => Self::ThreeBytes,
            Some("latin1") => Self::Cp1252,
            Some("binary") => Self::Bytes,
            // What others have is not known here.
            Some(_) => Self::Ascii,
        }
    }

    fn has(self, character: char) -> bool {
        match self {
            Self::Any | Self::Bytes => true,
            Self::ThreeBytes => u32::from(character) <= 0xFFFF,
            Self::Cp1252 => cp1252_of(character).is_some(),
            Self::Ascii => character.is_ascii(),
        }
    }
}

impl Room {
    /// The room of a column; as setup makes it if it is not there yet.
    pub(super) fn of(
        backend: Backend,
        form: KeyForm,
        table: &ExpectedTable,
        expected: &ExpectedColumn,
        column: Option<&Column>,
    ) -> Self {
        let made = sql_type_of(backend, expected.kind);
        let sql_type = column.map_or(made.as_str(), |column| column.sql_type.as_str());
        let is_signed = expected.name == "weight" || backend == Backend::Sqlite;
        let is_port = expected.name.starts_with("http_") && backend == Backend::Postgres;
        Self {
            backend,
            form,
            is_key: matches!(expected.kind, Kind::Key(_)),
            takes_null: expected.is_null || backend == Backend::Sqlite && table.name == "server_settings",
            smallest: if is_signed { i64::MIN } else { 0 },
            // The reference has a check there.
            largest: if is_port { 65_535 } else { largest_number(backend, sql_type).unwrap_or(i64::MAX) },
            characters_max: longest_text(backend, sql_type).unwrap_or(u64::MAX),
            bytes_max: match (expected.kind, backend) {
                (Kind::LongText, Backend::Mysql) => longest_text(backend, sql_type).unwrap_or(u64::MAX),
                (Kind::Bytes(_), _) => most_bytes(backend, sql_type).unwrap_or(u64::MAX),
                _ => u64::MAX,
            },
            charset: match backend {
                Backend::Mysql => Charset::of(column.and_then(|column| column.collation.as_deref())),
                Backend::Sqlite => Charset::Bytes,
                Backend::Postgres => Charset::Any,
            },
            words: match (expected.kind, backend) {
                (Kind::Words(_), Backend::Sqlite) => None,
                (Kind::Words(words), _) => Some(
                    enum_words(sql_type).unwrap_or_else(|| words.to_vec()).into_iter().map(str::to_owned).collect(),
                ),
                _ => None,
            },
        }
    }

    /// The largest number.
    pub(super) fn largest(&self) -> i64 {
        self.largest
    }

    /// The value in the form of the target.
    ///
    /// # Errors
    /// Why it does not fit.
    pub(super) fn fit(&self, value: &Value) -> Result<Value, Cow<'static, str>> {
        match value {
            Value::Null if self.takes_null => Ok(Value::Null),
            Value::Null => Err("no value, where there must be one".into()),
            Value::Int(number) if *number > self.largest => Err(format!("larger than {}", self.largest).into()),
            Value::Int(number) if *number < self.smallest => Err("below zero".into()),
            Value::Int(number) => Ok(Value::Int(*number)),
            Value::Bytes(bytes) if bytes.len() as u64 > self.bytes_max => {
                Err(format!("longer than {} bytes", self.bytes_max).into())
            }
            Value::Bytes(bytes) => Ok(Value::Bytes(bytes.clone())),
            Value::Text(bytes) => self.fit_text(bytes).map(Value::Text),
            Value::Foreign(_) => Err("stored in another form than database.postgres_keys of the source says".into()),
        }
    }

    fn fit_text(&self, bytes: &[u8]) -> Result<Vec<u8>, Cow<'static, str>> {
        if self.words.as_ref().is_some_and(|words| !words.iter().any(|word| word.as_bytes() == bytes)) {
            return Err("a word that the column does not take".into());
        }
        let text = self.characters(bytes)?;
        if text.chars().count() as u64 > self.characters_max {
            return Err(format!("longer than {} characters", self.characters_max).into());
        }
        let is_utf8_column = self.backend == Backend::Mysql && self.charset != Charset::Cp1252;
        if is_utf8_column && text.len() as u64 > self.bytes_max {
            return Err(format!("longer than {} bytes", self.bytes_max).into());
        }
        if !text.chars().all(|character| self.charset.has(character)) {
            return Err("characters that the column's character set does not have".into());
        }
        match self.backend {
            Backend::Postgres => Ok(text.into_owned().into_bytes()),
            Backend::Sqlite | Backend::Mysql => Ok(bytes.to_vec()),
        }
    }

    /// The characters that the column will have.
    fn characters<'a>(&self, bytes: &'a [u8]) -> Result<Cow<'a, str>, Cow<'static, str>> {
        let of_bytes = || Cow::Owned(bytes.iter().map(|&byte| char::from(byte)).collect());
        let utf8 = || std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Cow::Borrowed("not UTF-8"));
        match self.form {
            KeyForm::Raw => Ok(of_bytes()),
            KeyForm::Binary if self.charset == Charset::Bytes || self.charset == Charset::Cp1252 => Ok(of_bytes()),
            KeyForm::Utf8 | KeyForm::Binary => utf8(),
            KeyForm::Utf8OfThreeBytes if bytes.iter().any(|&byte| byte >= 0xF0) => {
                Err("characters that the connection's character set does not have".into())
            }
            KeyForm::Utf8OfThreeBytes => utf8(),
            KeyForm::Cp1252 if self.charset == Charset::Ascii => Ok(of_bytes()),
            // Of all of them the column has one, whichever.
            KeyForm::Cp1252 => Ok(Cow::Owned(bytes.iter().map(|&byte| char::from(byte & 0x7F)).collect())),
            KeyForm::Latin1 | KeyForm::Plain if bytes.contains(&0) => Err("a zero byte".into()),
            KeyForm::Latin1 if self.is_key => Ok(of_bytes()),
            KeyForm::Latin1 | KeyForm::Plain => utf8(),
        }
    }
}

/// The type that setup gives to a column.
fn sql_type_of(backend: Backend, kind: Kind) -> String {
    match (kind, backend) {
        (Kind::Number(mysql, _), Backend::Mysql) => mysql.to_owned(),
        (Kind::Number(_, postgres), Backend::Postgres) => postgres.to_owned(),
        (Kind::Fid, Backend::Mysql) => "bigint unsigned".to_owned(),
        (Kind::Fid, Backend::Postgres) => "bigint".to_owned(),
        (Kind::Fid | Kind::Number(..), Backend::Sqlite) => "int".to_owned(),
        (Kind::Text(length) | Kind::Key(length), Backend::Postgres) => format!("character varying({length})"),
        (Kind::Text(length) | Kind::Key(length), _) => format!("varchar({length})"),
        (Kind::LongText | Kind::Words(_), _) => "text".to_owned(),
        (Kind::Bytes(length), Backend::Mysql) => format!("varbinary({length})"),
        (Kind::Bytes(_), _) => "bytea".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::expected::TABLES;

    fn room(backend: Backend, form: KeyForm, table: &str, column: &str, collation: Option<&str>) -> Room {
        let table = TABLES.iter().find(|known| known.name == table).expect("a table");
        let expected = table.columns.iter().find(|known| known.name == column).expect("a column");
        let column = collation.map(|collation| Column {
            name: expected.name.to_owned(),
            sql_type: sql_type_of(backend, expected.kind),
            is_null: true,
            default: None,
            collation: Some(collation.to_owned()),
            is_counted: false,
        });
        Room::of(backend, form, table, expected, column.as_ref())
    }

    fn fits(room: &Room, value: impl Into<Vec<u8>>) -> Result<(), String> {
        room.fit(&Value::Text(value.into())).map(drop).map_err(|reason| reason.into_owned())
    }

    #[test]
    fn keys_fit_or_say_why_not() {
        let mysql = room(Backend::Mysql, KeyForm::Utf8, "file", "dkey", Some("utf8mb4_general_ci"));
        assert_eq!(fits(&mysql, "é🦀"), Ok(()));
        assert_eq!(fits(&mysql, *b"\xFF"), Err("not UTF-8".to_owned()));
        assert_eq!(fits(&mysql, "é".repeat(255)), Ok(()));
        assert_eq!(fits(&mysql, "é".repeat(256)), Err("longer than 255 characters".to_owned()));

        let latin1 = room(Backend::Mysql, KeyForm::Utf8, "file", "dkey", Some("latin1_swedish_ci"));
        assert!(fits(&latin1, "é€").is_ok() && fits(&latin1, "中").is_err());
        let single = room(Backend::Mysql, KeyForm::Cp1252, "file", "dkey", Some("latin1_swedish_ci"));
        assert!(fits(&single, *b"\xFF\x00").is_ok() && fits(&single, "é".repeat(128)).is_err());

        let postgres = room(Backend::Postgres, KeyForm::Latin1, "file", "dkey", None);
        assert_eq!(postgres.fit(&Value::Text("é".into())), Ok(Value::Text("Ã©".into())));
        assert_eq!(fits(&postgres, *b"a\0"), Err("a zero byte".to_owned()));
        assert!(fits(&postgres, "é".repeat(128)).is_err(), "256 characters there");

        let sqlite = room(Backend::Sqlite, KeyForm::Raw, "file", "dkey", None);
        assert_eq!(fits(&sqlite, vec![0xFF; 1000]), Ok(()));
    }

    #[test]
    fn numbers_words_and_nothing() {
        let devid = room(Backend::Postgres, KeyForm::Latin1, "file_on", "devid", None);
        assert_eq!(devid.fit(&Value::Int(40_000)), Err("larger than 32767".into()));
        assert_eq!(devid.fit(&Value::Int(-1)), Err("below zero".into()));
        assert!(devid.fit(&Value::Null).is_err());
        let status = room(Backend::Mysql, KeyForm::Utf8, "host", "status", None);
        assert!(fits(&status, "alive").is_ok() && fits(&status, "Alive").is_err() && fits(&status, "").is_err());
        let port = room(Backend::Postgres, KeyForm::Latin1, "host", "http_port", None);
        assert!(port.fit(&Value::Int(65_536)).is_err() && port.fit(&Value::Null).is_ok());
        let digest = room(Backend::Mysql, KeyForm::Utf8, "checksum", "checksum", None);
        assert!(digest.fit(&Value::Bytes(Vec::new())).is_ok() && digest.fit(&Value::Bytes(vec![0; 65])).is_err());
    }
}
