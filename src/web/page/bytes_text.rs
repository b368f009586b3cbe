//! Keys are bytes: how they are shown, so that nothing in them looks like something else.

use bstr::ByteSlice as _;
use std::fmt::Write as _;

/// The text of these bytes: what cannot be seen, or could turn the line around, and what is no UTF-8 is written as an escape.
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if is_plain(c) => text.push(c),
                // Writing to a String does not fail.
                c => {
                    let _infallible = write!(text, "{}", c.escape_default());
                }
            }
        }
        for byte in chunk.invalid() {
            let _infallible = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The beginning of it, at most so many bytes.
pub fn shown_short(bytes: &[u8], bytes_max: usize) -> String {
    match bytes.len() > bytes_max {
        true => shown(bytes[..bytes_max].trim_end_with(|c| c == '\u{fffd}')) + "…",
        false => shown(bytes),
    }
}

fn is_plain(c: char) -> bool {
    // Control, format (direction marks among them), separators and private use.
    !(c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}'
            | '\u{e0000}'..='\u{10ffff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        assert_eq!(shown("bücher/ä 1.txt".as_bytes()), "bücher/ä 1.txt");
        assert_eq!(shown(b"a\xff\nb\\"), "a\\xff\\nb\\\\");
        assert_eq!(shown("a\u{202e}gpj.exe\u{200b}".as_bytes()), "a\\u{202e}gpj.exe\\u{200b}");
        assert_eq!(shown_short(b"abcdef", 3), "abc…");
        assert_eq!(shown_short(b"abc", 3), "abc");
    }
}
