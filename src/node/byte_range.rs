//! Which bytes of a file a `Range` header asks for. Pure.

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// The whole file: no range, several ranges, or one that makes no sense.
    Whole,
    /// The bytes from `first` to `last`, both included.
    Part { first: u64, last: u64 },
    /// A sound range that has no byte in common with the file.
    Unsatisfiable,
}

/// Reads a `Range` header for a file of this length in bytes.
pub(crate) fn select(header: &str, length: u64) -> Selection {
    match parse(header) {
        None => Selection::Whole,
        Some(Asked::Suffix(count)) => part(length.saturating_sub(count), length, length.checked_sub(1)),
        Some(Asked::From(first)) => part(first, length, length.checked_sub(1)),
        Some(Asked::Between(first, last)) => part(first, length, length.checked_sub(1).map(|end| end.min(last))),
    }
}

enum Asked {
    Suffix(u64),
    From(u64),
    Between(u64, u64),
}

fn parse(header: &str) -> Option<Asked> {
    let (unit, range) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    match (first, last) {
        ("", count) => Some(Asked::Suffix(number(count)?)),
        (first, "") => Some(Asked::From(number(first)?)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Asked::Between(first, last))
        }
    }
}

/// Digits only; a number too large for 64 bits is beyond every file.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

fn part(first: u64, length: u64, last: Option<u64>) -> Selection {
    match last {
        Some(last) if first < length => Selection::Part { first, last },
        _ => Selection::Unsatisfiable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S4, S5.
    #[test]
    fn single_ranges() {
        assert_eq!(select("bytes=1-3", 6), Selection::Part { first: 1, last: 3 });
        assert_eq!(select("bytes=1-300", 6), Selection::Part { first: 1, last: 5 });
        assert_eq!(select("bytes=4-", 6), Selection::Part { first: 4, last: 5 });
        assert_eq!(select("bytes=-2", 6), Selection::Part { first: 4, last: 5 });
        assert_eq!(select("bytes=-20", 6), Selection::Part { first: 0, last: 5 });
        assert_eq!(select("bytes=0-99999999999999999999999", 6), Selection::Part { first: 0, last: 5 });
    }

    #[test]
    fn ranges_without_bytes() {
        for nothing in ["bytes=6-", "bytes=100-200", "bytes=-0"] {
            assert_eq!(select(nothing, 6), Selection::Unsatisfiable, "{nothing}");
        }
        assert_eq!(select("bytes=0-", 0), Selection::Unsatisfiable);
        assert_eq!(select("bytes=-1", 0), Selection::Unsatisfiable);
    }

    #[test]
    fn everything_else_is_the_whole() {
        for whole in ["bytes=0-1,3-4", "bytes=3-1", "bytes=a-b", "bytes=-", "lines=1-2", "1-2", "bytes=+1-2"] {
            assert_eq!(select(whole, 6), Selection::Whole, "{whole}");
        }
    }
}
