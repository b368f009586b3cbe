//! The arguments of a request and the pairs of a reply: `name=value&name=value`, percent-encoded.
//! Source: protocol.md 1 (present, nonempty, true, num, int), 3.1 (decoding), 3.2 (encoding).

use bstr::{BStr, BString, ByteSlice};
use std::collections::HashMap;

/// Up to here names are looked for one by one, which is faster.
const NAMES_FEW: usize = 16;

/// Decoded arguments in the order of their first appearance; each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    pairs: Vec<(BString, BString)>,
}

impl Args {
    /// Decodes an argument string. Never fails: every string means something.
    pub fn decode(text: &[u8]) -> Self {
        let (mut args, mut places) = (Args::default(), HashMap::new());
        for piece in text.split(|&byte| byte == b'&').filter(|piece| !piece.is_empty() && *piece != b"0") {
            let mut parts = piece.split(|&byte| byte == b'=');
            let name = unescape(parts.next().unwrap_or_default());
            let value = unescape(parts.next().unwrap_or_default());
            args.collect(name, value, &mut places);
        }
        args
    }

    /// All pairs, in order.
    pub fn pairs(&self) -> &[(BString, BString)] {
        &self.pairs
    }

    /// The value if the name is present, also when it is empty.
    pub fn get(&self, name: &str) -> Option<&BStr> {
        self.pairs.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value.as_bstr())
    }

    /// The value if it is at least one byte long.
    pub fn nonempty(&self, name: &str) -> Option<&BStr> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// The value if it is "true": present, not empty and not exactly `0`.
    pub fn truthy(&self, name: &str) -> Option<&BStr> {
        self.get(name).filter(|value| is_true(value))
    }

    /// Is the value "true"?
    pub fn flag(&self, name: &str) -> bool {
        self.truthy(name).is_some()
    }

    /// The longest numeric prefix, 0 for anything else or a missing value.
    pub fn num(&self, name: &str) -> f64 {
        self.get(name).map_or(0.0, |value| num(value))
    }

    /// [`Args::num`] truncated towards zero.
    pub fn int(&self, name: &str) -> i64 {
        self.num(name) as i64
    }

    /// Sets a value, replacing an earlier one of the name.
    pub fn set(&mut self, name: &str, value: impl Into<BString>) {
        let value = value.into();
        match self.pairs.iter_mut().find(|(candidate, _)| candidate == name) {
            Some((_, old)) => *old = value,
            None => self.pairs.push((BString::from(name), value)),
        }
    }

    /// A repeated name is appended to what was collected, after a NUL byte if that is "true".
    /// Of many names the places are kept: a line can have hundreds of thousands.
    fn collect(&mut self, name: BString, value: BString, places: &mut HashMap<BString, usize>) {
        let place = match self.pairs.len() < NAMES_FEW {
            true => self.pairs.iter().position(|(candidate, _)| *candidate == name),
            false => {
                if places.is_empty() {
                    places.extend(self.pairs.iter().enumerate().map(|(place, (name, _))| (name.clone(), place)));
                }
                places.get(&name).copied()
            }
        };
        if let Some(place) = place {
            let collected = &mut self.pairs[place].1;
            if is_true(collected) {
                collected.push(0);
            }
            collected.extend_from_slice(&value);
            return;
        }
        if !places.is_empty() {
            places.insert(name.clone(), self.pairs.len());
        }
        self.pairs.push((name, value));
    }
}

/// Not empty and not exactly `0`.
pub fn is_true(value: &[u8]) -> bool {
    !value.is_empty() && value != b"0"
}

/// Number from the longest numeric prefix: blanks, sign, digits, fraction, exponent. Anything else is 0.
pub fn num(value: &[u8]) -> f64 {
    let text = value.trim_ascii_start();
    let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let sign = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let whole = digits(sign);
    let mut end = sign + whole;
    let mut fraction = 0;
    if text.get(end) == Some(&b'.') {
        fraction = digits(end + 1);
        end += 1 + fraction;
    }
    if whole + fraction == 0 {
        return 0.0;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let exponent_sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + exponent_sign);
        if exponent > 0 {
            end += 1 + exponent_sign + exponent;
        }
    }
    text[..end].to_str().ok().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// `+` becomes a space, `%` with two hex digits becomes that byte; a `%` without them stays.
pub fn unescape(text: &[u8]) -> BString {
    if !text.iter().any(|&byte| byte == b'+' || byte == b'%') {
        return BString::from(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match (first, tail) {
            (b'+', tail) => (b' ', tail),
            (b'%', [high, low, tail @ ..]) => match (hex_digit(*high), hex_digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, tail),
                _ => (b'%', &rest[1..]),
            },
            (byte, tail) => (*byte, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    BString::from(bytes)
}

/// Appends the escaped form of a reply: letters, digits and `_ , - . / \ :` as they are, space as `+`, the rest as
/// `%` and two upper-case hex digits.
pub fn escape_into(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.reserve(bytes.len());
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b',' | b'-' | b'.' | b'/' | b'\\' | b':' => out.push(byte),
            b' ' => out.push(b'+'),
            _ => out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

/// The escaped form of [`escape_into`] as a value of its own.
pub fn escape(bytes: &[u8]) -> BString {
    let mut out = Vec::new();
    escape_into(bytes, &mut out);
    BString::from(out)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(text: &str) -> Vec<(String, String)> {
        Args::decode(text.as_bytes())
            .pairs()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    fn pair(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    /// Conformance 24–31.
    #[test]
    fn decodes_the_odd_forms() {
        assert_eq!(decoded("a=b=c"), pair("a", "b"));
        assert_eq!(decoded("a==b"), pair("a", ""));
        assert_eq!(decoded("a"), pair("a", ""));
        assert_eq!(decoded("=b"), pair("", "b"));
        assert_eq!(decoded("a=1&a=2"), pair("a", "1\u{0}2"));
        assert_eq!(decoded("a=0&a=5"), pair("a", "05"));
        assert_eq!(decoded("a=&a=5"), pair("a", "5"));
        assert_eq!(decoded("&&0&x=1"), pair("x", "1"));
        assert_eq!(decoded("a=%41%2b+%zz%4"), pair("a", "A+ %zz%4"));
    }

    #[test]
    fn escapes_as_the_reference() {
        assert_eq!(escape(b" ~~!*()$@#/.,:-_\\"), "+%7E%7E%21%2A%28%29%24%40%23/.,:-_\\");
        assert_eq!(escape(&[0xe9]), "%E9");
    }

    #[test]
    fn reads_numbers_from_prefixes() {
        for (text, number) in [
            ("3abc", 3.0),
            ("1e3", 1000.0),
            ("0x10", 0.0),
            ("abc", 0.0),
            ("0.5", 0.5),
            (" -7", -7.0),
            ("", 0.0),
            ("1e", 1.0),
            (".5", 0.5),
            ("-", 0.0),
        ] {
            assert_eq!(num(text.as_bytes()), number, "{text}");
        }
    }

    proptest! {
        #[test]
        fn unescape_undoes_escape(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(unescape(&escape(&bytes)), BString::from(bytes));
        }
    }
}
