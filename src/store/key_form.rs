//! How the bytes that clients chose stand in a column of text (database.md 1.6). What connection and driver of the reference
//! make of them decides, so on two of the databases it is a setting.

use super::connection::Backend;
use super::error::{StoreError, StoreResult};
use super::types::Key;
use crate::settings::{DatabaseSettings, MysqlCharset, PostgresKeys};
use bstr::BStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// The forms there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// SQLite: the bytes, whatever they are.
    Raw,
    /// MySQL: the bytes are UTF-8, and the column has these characters.
    Utf8,
    /// MySQL's `utf8`: the same, without characters of four bytes.
    Utf8OfThreeBytes,
    /// MySQL's `latin1`: each byte is a character of cp1252, and the column has these characters.
    Cp1252,
    /// MySQL's `binary`: the column has the bytes, if they are of its character set.
    Binary,
    /// PostgreSQL: each byte is the character of the same number.
    Latin1,
    /// PostgreSQL: the bytes are UTF-8.
    Plain,
}

/// What trackers of this process have: [`KeyForm::number`], 0 while no store was opened. Rows are read where no settings
/// are at hand.
static OF_MYSQL: AtomicU8 = AtomicU8::new(0);
static OF_POSTGRES: AtomicU8 = AtomicU8::new(0);

impl KeyForm {
    const ALL: [Self; 7] =
        [Self::Raw, Self::Utf8, Self::Utf8OfThreeBytes, Self::Cp1252, Self::Binary, Self::Latin1, Self::Plain];

    /// The form that the settings ask for.
    pub(super) fn of(backend: Backend, settings: &DatabaseSettings) -> Self {
        match (backend, settings.mysql_charset, settings.postgres_keys) {
            (Backend::Sqlite, ..) => Self::Raw,
            (Backend::Mysql, MysqlCharset::Utf8mb4, _) => Self::Utf8,
            (Backend::Mysql, MysqlCharset::Utf8, _) => Self::Utf8OfThreeBytes,
            (Backend::Mysql, MysqlCharset::Latin1, _) => Self::Cp1252,
            (Backend::Mysql, MysqlCharset::Binary, _) => Self::Binary,
            (Backend::Postgres, _, PostgresKeys::Latin1) => Self::Latin1,
            (Backend::Postgres, _, PostgresKeys::Utf8) => Self::Plain,
        }
    }

    /// Says what stores of this process have from now on.
    ///
    /// # Errors
    /// [`StoreError::InvalidValue`] if another store of this process has said something else.
    pub(super) fn declare(backend: Backend, settings: &DatabaseSettings) -> StoreResult<()> {
        let Some(slot) = slot(backend) else { return Ok(()) };
        let form = Self::of(backend, settings);
        match slot.compare_exchange(0, form.number(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(before) if before == form.number() => Ok(()),
            Err(_) => Err(StoreError::InvalidValue(
                "database.mysql_charset and database.postgres_keys are the same for all stores of a process".to_owned(),
            )),
        }
    }

    /// The form in use, or the usual one.
    pub(super) fn of_trackers(backend: Backend) -> Self {
        let declared = slot(backend).map_or(0, |slot| slot.load(Ordering::Acquire));
        let declared = Self::ALL.into_iter().find(|form| form.number() == declared);
        declared.unwrap_or(match backend {
            Backend::Sqlite => Self::Raw,
            Backend::Mysql => Self::Utf8,
            Backend::Postgres => Self::Latin1,
        })
    }

    /// A key as a parameter.
    ///
    /// # Errors
    /// [`StoreError::InvalidValue`] for bytes that have no such form.
    pub(super) fn key(self, bytes: &BStr) -> StoreResult<Key> {
        match self {
            Self::Raw => Ok(Key::raw(bytes)),
            Self::Utf8 => Key::of_utf8(bytes),
            Self::Utf8OfThreeBytes => Key::of_utf8_of_three_bytes(bytes),
            Self::Cp1252 | Self::Binary => Key::of_single_bytes(bytes),
            Self::Latin1 => Key::of_bytes(bytes),
            Self::Plain => Key::of_utf8_without_zero(bytes),
        }
    }

    /// Never 0.
    fn number(self) -> u8 {
        match self {
            Self::Raw => 1,
            Self::Utf8 => 2,
            Self::Utf8OfThreeBytes => 3,
            Self::Cp1252 => 4,
            Self::Binary => 5,
            Self::Latin1 => 6,
            Self::Plain => 7,
        }
    }
}

fn slot(backend: Backend) -> Option<&'static AtomicU8> {
    match backend {
        Backend::Sqlite => None,
        Backend::Mysql => Some(&OF_MYSQL),
        Backend::Postgres => Some(&OF_POSTGRES),
    }
}

/// The characters of cp1252 that Latin-1 does not have, from 0x80 on; where cp1252 has none, MySQL has the control
/// character of the same number.
const CP1252_FROM_80: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// MySQL's `latin1` of a character, if it has one.
pub(super) fn cp1252_of(character: char) -> Option<u8> {
    match u32::from(character) {
        code @ (0..=0x7F | 0xA0..=0xFF) => u8::try_from(code).ok(),
        _ => (0x80..=0x9F_u8).zip(CP1252_FROM_80).find(|&(_, own)| own == character).map(|(byte, _)| byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_known_by_its_number() {
        for form in KeyForm::ALL {
            assert_eq!(KeyForm::ALL.into_iter().filter(|other| other.number() == form.number()).count(), 1);
            assert_ne!(form.number(), 0);
        }
    }

    /// C33: what a key is, by the settings of the site.
    #[test]
    fn keys_by_settings() {
        let key = BStr::new("é");
        let text = |form: KeyForm| match form.key(key) {
            Ok(Key::Text(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(KeyForm::Utf8), "é");
        assert_eq!(text(KeyForm::Latin1), "Ã©");
        assert_eq!(text(KeyForm::Plain), "é");
        assert!(matches!(KeyForm::Cp1252.key(key), Ok(Key::Raw(_))));
        for (form, bad) in [
            (KeyForm::Utf8, &b"\xFF"[..]),
            (KeyForm::Plain, b"\xFF"),
            (KeyForm::Plain, b"a\0"),
            (KeyForm::Utf8OfThreeBytes, "🦀".as_bytes()),
            (KeyForm::Binary, &[b'a'; 256]),
        ] {
            assert!(form.key(BStr::new(bad)).is_err(), "{form:?}");
        }
    }

    #[test]
    fn cp1252_is_one_to_one() {
        let all: Vec<char> = (0..=0xFF_u8)
            .map(|byte| match byte {
                0x80..=0x9F => CP1252_FROM_80[usize::from(byte - 0x80)],
                _ => char::from(byte),
            })
            .collect();
        for (byte, character) in (0..=0xFF_u8).zip(all) {
            assert_eq!(cp1252_of(character), Some(byte));
        }
        assert_eq!(cp1252_of('ž'), Some(0x9E));
        assert_eq!(cp1252_of('中'), None);
    }
}
