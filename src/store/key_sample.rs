//! Do the keys that are stored look as if they were stored in the form that the settings say? (database.md 1.6, D11, C33)
//!
//! A sample is looked at, and nothing is ever changed by what is found: it is a warning.

use super::check::{Finding, Severity, collations};
use super::check_catalog::Catalog;
use super::connection::{Backend, StoreConnection};
use super::error::StoreResult;
use super::key_form::{KeyForm, cp1252_of};
use super::types::{KeyText, WireText, bytes_of_latin1};
use crate::settings::DatabaseSettings;
use diesel::{QueryableByName, RunQueryDsl as _};
use slog::{Logger, warn};

/// How many keys are looked at: the newest.
const SAMPLE: &str = "SELECT dkey AS k FROM file WHERE dkey IS NOT NULL ORDER BY fid DESC LIMIT 1000";

#[derive(QueryableByName)]
struct KeyRow {
    #[diesel(sql_type = KeyText)]
    k: WireText,
}

/// What stored keys, and the collations that compare them, give cause to say.
pub(super) fn findings(
    conn: &mut StoreConnection,
    catalog: &Catalog,
    settings: &DatabaseSettings,
) -> StoreResult<Vec<Finding>> {
    let form = KeyForm::of(conn.backend(), settings);
    let mut findings = collations(conn.backend(), catalog, form);
    if conn.backend() == Backend::Sqlite || catalog.column("file", "dkey").is_none() {
        return Ok(findings);
    }
    let rows: Vec<KeyRow> = each!(conn, c => diesel::sql_query(SAMPLE).load(c))?;
    let keys: Vec<&[u8]> = rows.iter().map(|row| row.k.0.as_slice()).collect();
    findings.extend(doubt(form, &keys));
    Ok(findings)
}

/// Says at the start of a tracker what an operator should know; that it cannot be found out is no reason not to start.
pub(super) fn warn(conn: &mut StoreConnection, settings: &DatabaseSettings, log: &Logger) {
    if conn.backend() == Backend::Sqlite {
        return;
    }
    let found = Catalog::read(conn).and_then(|catalog| findings(conn, &catalog, settings));
    match found {
        Ok(findings) => {
            for Finding { place, text, .. } in findings.iter().filter(|finding| finding.severity <= Severity::Warning) {
                warn!(log, "{} {}", place, text);
            }
        }
        Err(error) => warn!(log, "stored keys could not be looked at"; "error" => %error),
    }
}

/// Were these keys stored in another form? ASCII is the same in all of them.
fn doubt(form: KeyForm, keys: &[&[u8]]) -> Option<Finding> {
    let is_odd: fn(&[u8]) -> bool = match form {
        KeyForm::Utf8 | KeyForm::Utf8OfThreeBytes => is_encoded_twice_by_cp1252,
        KeyForm::Cp1252 | KeyForm::Binary => |wire| std::str::from_utf8(wire).is_err(),
        KeyForm::Latin1 => is_plain,
        KeyForm::Plain => is_encoded_twice_by_latin1,
        KeyForm::Raw => return None,
    };
    let (setting, other) = match form {
        KeyForm::Utf8 | KeyForm::Utf8OfThreeBytes => ("mysql_charset", "latin1"),
        KeyForm::Cp1252 | KeyForm::Binary => ("mysql_charset", "utf8mb4"),
        KeyForm::Latin1 => ("postgres_keys", "utf8"),
        KeyForm::Plain | KeyForm::Raw => ("postgres_keys", "latin1"),
    };
    let odd: Vec<_> = keys.iter().filter(|key| is_odd(key)).collect();
    let example = bstr::BStr::new(odd.first()?);
    let others = keys.iter().filter(|key| !key.is_ascii() && !is_odd(key)).count();
    // Clients may send any bytes: some keys are odd anyway.
    if odd.len() <= others {
        return None;
    }
    let text = format!(
        "has keys that look as if they were stored with database.{setting} = {other} ({} of the newest, such as {example:?}; \
         {others} others with characters beyond ASCII do not): what is stored one way is not found the other way",
        odd.len()
    );
    Some(Finding { severity: Severity::Warning, place: "file.dkey".to_owned(), text })
}

/// Text whose characters, taken for bytes, are UTF-8 again.
fn is_encoded_twice_by_cp1252(wire: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(wire) else { return false };
    let bytes: Option<Vec<u8>> = text.chars().map(cp1252_of).collect();
    !text.is_ascii() && bytes.is_some_and(|bytes| std::str::from_utf8(&bytes).is_ok())
}

fn is_encoded_twice_by_latin1(wire: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(wire) else { return false };
    let is_bytes = text.chars().all(|character| u32::from(character) <= 0xFF);
    !text.is_ascii() && is_bytes && std::str::from_utf8(&bytes_of_latin1(text)).is_ok()
}

/// Text that is no bytes, or bytes that are no text.
fn is_plain(wire: &[u8]) -> bool {
    !wire.is_ascii() && !is_encoded_twice_by_latin1(wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_doubted(form: KeyForm, keys: &[&[u8]]) -> bool {
        doubt(form, keys).is_some()
    }

    #[test]
    fn each_form_doubts_the_others() {
        let (plain, twice) = ("Größe".as_bytes(), "GrÃ¶ÃŸe".as_bytes());
        assert!(!is_doubted(KeyForm::Utf8, &[b"abc", plain]));
        assert!(is_doubted(KeyForm::Utf8, &[b"abc", twice]));
        assert!(!is_doubted(KeyForm::Cp1252, &[plain]), "what a latin1 connection shows of such keys");
        assert!(is_doubted(KeyForm::Cp1252, &[b"Gr\xF6\xDFe"]));

        let by_bytes: String = plain.iter().map(|&byte| char::from(byte)).collect();
        assert!(!is_doubted(KeyForm::Latin1, &[by_bytes.as_bytes()]));
        assert!(is_doubted(KeyForm::Latin1, &[plain]));
        assert!(is_doubted(KeyForm::Latin1, &["中".as_bytes()]));
        assert!(is_doubted(KeyForm::Plain, &[by_bytes.as_bytes()]));
        assert!(!is_doubted(KeyForm::Plain, &[plain, "中".as_bytes()]));
        assert!(!is_doubted(KeyForm::Raw, &[b"\xFF"]));
        assert!(!is_doubted(KeyForm::Cp1252, &[plain, b"\xFF"]), "most are right");
    }
}
