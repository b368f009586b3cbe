//! The bytes on the wire: commands out, answers in. Pure.

use sha1::{Digest as _, Sha1};
use std::io::Write as _;

/// What all our keys begin with: no tracker of the Perl kind, and no other user of the same memcached, meets them.
const PREFIX: &[u8] = b"mgfs1:";
const DIGEST_HEX_LEN: usize = 40;
const KEY_LEN: usize = PREFIX.len() + DIGEST_HEX_LEN;
/// A line of an answer is never longer; ours are much shorter.
const LINE_BYTES_MAX: usize = 1024;
/// Nothing that we store is longer.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// More seconds than these would be taken for a date.
pub const LIFETIME_SECS_MAX: u32 = 30 * 24 * 3600;

/// A key as it goes over the wire. Whatever it is made from, it has one length and only letters, digits and a colon, so
/// that no name of a file can break the protocol (protocol.md 12, defect 11).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireKey([u8; KEY_LEN]);

impl WireKey {
    /// The key of these parts, in this order. Different parts may have the same key (though nobody has seen it), so the
    /// value has to say what it is about.
    pub fn of(parts: &[&[u8]]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut hash = Sha1::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut key = [0; KEY_LEN];
        key[..PREFIX.len()].copy_from_slice(PREFIX);
        for (place, byte) in key[PREFIX.len()..].chunks_exact_mut(2).zip(hash.finalize()) {
            place[0] = HEX[usize::from(byte >> 4)];
            place[1] = HEX[usize::from(byte & 15)];
        }
        Self(key)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// One of `count` places, the same for each client; `count` is not 0.
    pub(super) fn place(&self, count: usize) -> usize {
        let digest = self.0[PREFIX.len()..].iter().fold(0_u64, |sum, &byte| sum.wrapping_mul(31) + u64::from(byte));
        usize::try_from(digest % (count as u64)).unwrap_or(0)
    }
}

impl std::fmt::Debug for WireKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", bstr::BStr::new(&self.0))
    }
}

/// How a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Whatever is there.
    Set,
    /// If nothing is there.
    Add,
    /// If what is there is what this token was given for.
    Swap(u64),
}

/// Appends the question for a value and its token.
pub fn put_get(key: &WireKey, out: &mut Vec<u8>) {
    out.extend_from_slice(b"gets ");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a command that stores a value. The value is at most [`VALUE_BYTES_MAX`] long.
pub fn put_store(mode: Mode, key: &WireKey, value: &[u8], lifetime_secs: u32, out: &mut Vec<u8>) {
    let (name, token) = match mode {
        Mode::Set => ("set ", None),
        Mode::Add => ("add ", None),
        Mode::Swap(token) => ("cas ", Some(token)),
    };
    let lifetime_secs = lifetime_secs.clamp(1, LIFETIME_SECS_MAX);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(key.as_bytes());
    // Writing to a Vec does not fail.
    let _infallible = write!(out, " 0 {lifetime_secs} {}", value.len());
    if let Some(token) = token {
        let _infallible = write!(out, " {token}");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// What a command is answered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The value of this key, or nothing.
    Value(WireKey),
    /// Whether it was stored.
    Verdict,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Absent,
    Value { bytes: Vec<u8>, token: u64 },
    Stored,
    NotStored,
}

/// What came is not an answer to what was asked. Nothing that follows can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("answered {0:?}")]
pub struct WireError(String);

impl WireError {
    fn of(line: &[u8]) -> Self {
        Self(String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned())
    }
}

/// The answer at the start of the bytes and its length; `None` if more must come.
///
/// # Errors
/// It is none that this question can have; so is every error that the server states.
pub fn parse_answer(bytes: &[u8], expected: &Expected) -> Result<Option<(Answer, usize)>, WireError> {
    let Some((line, after)) = line_at(bytes, 0)? else { return Ok(None) };
    match (expected, line) {
        (Expected::Value(_), b"END") => Ok(Some((Answer::Absent, after))),
        (Expected::Value(key), line) => {
            let (length, token) = value_line(line, key).ok_or_else(|| WireError::of(line))?;
            value_at(bytes, after, length, token)
        }
        (Expected::Verdict, b"STORED") => Ok(Some((Answer::Stored, after))),
        (Expected::Verdict, b"NOT_STORED" | b"EXISTS" | b"NOT_FOUND") => Ok(Some((Answer::NotStored, after))),
        (Expected::Verdict, line) => Err(WireError::of(line)),
    }
}

/// The line that starts at `from`, without its CR LF, and where the next one starts.
fn line_at(bytes: &[u8], from: usize) -> Result<Option<(&[u8], usize)>, WireError> {
    let rest = &bytes[from..];
    match rest.iter().take(LINE_BYTES_MAX).position(|&byte| byte == b'\n') {
        Some(end) => {
            let line = rest[..end].strip_suffix(b"\r").ok_or_else(|| WireError::of(&rest[..end]))?;
            Ok(Some((line, from + end + 1)))
        }
        None if rest.len() >= LINE_BYTES_MAX => Err(WireError::of(rest)),
        None => Ok(None),
    }
}

/// Length and token of `VALUE <key> <flags> <length> <token>`, if it is about this key.
fn value_line(line: &[u8], key: &WireKey) -> Option<(usize, u64)> {
    let mut words = line.split(|&byte| byte == b' ');
    let is_ours = words.next() == Some(b"VALUE") && words.next() == Some(key.as_bytes());
    let mut number = || -> Option<u64> { std::str::from_utf8(words.next()?).ok()?.parse().ok() };
    let (_flags, length, token) = (number()?, number()?, number()?);
    let length = usize::try_from(length).ok().filter(|&length| length <= VALUE_BYTES_MAX)?;
    (is_ours && words.next().is_none()).then_some((length, token))
}

fn value_at(bytes: &[u8], from: usize, length: usize, token: u64) -> Result<Option<(Answer, usize)>, WireError> {
    const END: &[u8] = b"\r\nEND\r\n";
    let Some(value) = bytes.get(from..from + length) else { return Ok(None) };
    let rest = &bytes[from + length..];
    let seen = rest.len().min(END.len());
    if rest[..seen] != END[..seen] {
        return Err(WireError::of(&rest[..seen]));
    }
    let whole = (Answer::Value { bytes: value.to_vec(), token }, from + length + END.len());
    Ok((seen == END.len()).then_some(whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> WireKey {
        WireKey::of(&[b"k"])
    }

    fn value_answer(key: &WireKey, value: &[u8], token: u64) -> Vec<u8> {
        let mut bytes = format!("VALUE {key:?} 0 {} {token}\r\n", value.len()).into_bytes();
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\nEND\r\n");
        bytes
    }

    #[test]
    fn keys_tell_parts_apart() {
        assert_eq!(format!("{:?}", WireKey::of(&[])), "mgfs1:da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_ne!(WireKey::of(&[b"ab", b"c"]), WireKey::of(&[b"a", b"bc"]));
        assert_ne!(WireKey::of(&[b"ab"]), WireKey::of(&[b"ab", b""]));
    }

    #[test]
    fn commands_are_written() {
        let mut out = Vec::new();
        put_get(&key(), &mut out);
        put_store(Mode::Swap(7), &key(), b"\r\n", 60, &mut out);
        put_store(Mode::Add, &key(), b"", u32::MAX, &mut out);
        let expected = format!("gets {0:?}\r\ncas {0:?} 0 60 2 7\r\n\r\n\r\nadd {0:?} 0 2592000 0\r\n\r\n", key());
        assert_eq!(String::from_utf8(out).expect("ASCII"), expected);
    }

    #[test]
    fn answers_to_other_questions_are_errors() {
        let value = Expected::Value(key());
        let other = value_answer(&WireKey::of(&[b"other"]), b"x", 1);
        let long = format!("VALUE {:?} 0 {} 1\r\n", key(), VALUE_BYTES_MAX + 1);
        for (bytes, expected) in [
            (b"STORED\r\n".as_slice(), value),
            (b"SERVER_ERROR out of memory\r\n", value),
            (b"END\n", value),
            (&other, value),
            (long.as_bytes(), value),
            (&[b'x'; LINE_BYTES_MAX], value),
            (b"END\r\n", Expected::Verdict),
            (b"ERROR\r\n", Expected::Verdict),
            (b"SERVER_ERROR out of memory storing object\r\n", Expected::Verdict),
            (b"CLIENT_ERROR bad data chunk\r\n", Expected::Verdict),
        ] {
            assert!(parse_answer(bytes, &expected).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn verdicts_are_read() {
        for (line, answer) in [
            ("STORED", Answer::Stored),
            ("NOT_STORED", Answer::NotStored),
            ("EXISTS", Answer::NotStored),
            ("NOT_FOUND", Answer::NotStored),
        ] {
            let bytes = format!("{line}\r\nrest");
            assert_eq!(parse_answer(bytes.as_bytes(), &Expected::Verdict), Ok(Some((answer, line.len() + 2))));
        }
    }

    proptest! {
        /// Defect 11: no bytes of a key reach the wire, and every command is one line (and its data).
        #[test]
        fn no_key_breaks_the_protocol(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..4)) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let key = WireKey::of(&parts);
            prop_assert!(key.as_bytes().len() <= 250);
            prop_assert!(key.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b':'));
            let mut out = Vec::new();
            put_get(&key, &mut out);
            prop_assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert_eq!(out.iter().filter(|byte| **byte == b' ').count(), 1);
            out.clear();
            put_store(Mode::Set, &key, b"v", 1, &mut out);
            prop_assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 2);
            prop_assert!(key.place(3) < 3);
        }

        /// Any value comes back whole, however it is cut on the way, and what follows it is left alone.
        #[test]
        fn values_come_back(value in prop::collection::vec(any::<u8>(), 0..300), token: u64, rest in any::<[u8; 3]>()) {
            let mut bytes = value_answer(&key(), &value, token);
            let length = bytes.len();
            bytes.extend_from_slice(&rest);
            let expected = Expected::Value(key());
            for cut in 0..length {
                prop_assert_eq!(parse_answer(&bytes[..cut], &expected), Ok(None));
            }
            prop_assert_eq!(parse_answer(&bytes, &expected), Ok(Some((Answer::Value { bytes: value, token }, length))));
        }

        /// Nothing that a server sends is a panic.
        #[test]
        fn any_answer_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _any = parse_answer(&bytes, &Expected::Value(key()));
            let _any = parse_answer(&bytes, &Expected::Verdict);
        }
    }
}
