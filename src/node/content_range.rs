//! `Content-Range` of a PUT: which part of a file the body is. Pure.

/// `bytes <first>-<last>/<total or *>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    /// Place of the first byte.
    pub first: u64,
    last: u64,
    /// Length of the whole file, if the client knows it.
    total: Option<u64>,
}

impl ContentRange {
    /// `None` if it is malformed or contradicts itself.
    pub fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.trim().split_once('-')?;
        let total = match total.trim() {
            "*" => None,
            total => Some(number(total)?),
        };
        let (first, last) = (number(first)?, number(last)?);
        let is_sound = first <= last && last < i64::MAX as u64 && total.is_none_or(|total| last < total);
        is_sound.then_some(Self { first, last, total })
    }

    /// Bytes of the part.
    pub fn length(self) -> u64 {
        self.last - self.first + 1
    }

    /// Is the part all of the file?
    pub fn is_whole(self) -> bool {
        self.total == Some(self.length())
    }
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read() {
        let part = ContentRange::parse("bytes 100-199/*").expect("sound");
        assert_eq!((part.first, part.length(), part.is_whole()), (100, 100, false));
        assert!(!ContentRange::parse("bytes 0-99/*").expect("sound").is_whole(), "more may come");
        assert!(ContentRange::parse("bytes 0-99/100").expect("sound").is_whole());
        assert!(!ContentRange::parse("bytes 0-98/100").expect("sound").is_whole());
        for bad in [
            "",
            "bytes",
            "bytes 1-0/*",
            "bytes 0-9/9",
            "bytes -9/10",
            "bytes 0-/10",
            "items 0-9/10",
            "bytes 0-9",
            "bytes +0-9/10",
            "bytes 0-18446744073709551615/*",
        ] {
            assert_eq!(ContentRange::parse(bad), None, "{bad:?}");
        }
    }
}
