//! The words of the side channel (storage-node.md 6). Pure.

use super::digest::{DigestResult, Reason};
use super::path::device_number;
use crate::cluster::checksum::HashType;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One line of a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SideCommand<'a> {
    Size(&'a [u8]),
    Digest(HashType, &'a [u8], Reason),
    /// From now on the client only listens.
    Watch,
    Empty,
    DotDot,
    /// With the word that is not known.
    Unknown(&'a [u8]),
}

impl<'a> SideCommand<'a> {
    /// Reads a line without its end.
    pub fn parse(line: &'a [u8]) -> Self {
        if line.is_empty() {
            return Self::Empty;
        }
        if line.eq_ignore_ascii_case(b"watch") {
            return Self::Watch;
        }
        let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let command = match words[..] {
            [b"size", uri] if is_uri(uri) => Self::Size(uri),
            [name, uri] if is_uri(uri) => digest(name, uri, b"other").unwrap_or(Self::unknown(line)),
            [name, uri, reason] if is_uri(uri) && is_reason(reason) => {
                digest(name, uri, reason).unwrap_or(Self::unknown(line))
            }
            _ => Self::unknown(line),
        };
        match command {
            Self::Size(uri) | Self::Digest(_, uri, _) if uri.windows(2).any(|pair| pair == b"..") => Self::DotDot,
            command => command,
        }
    }

    fn unknown(line: &'a [u8]) -> Self {
        let word = line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty());
        word.map_or(Self::Empty, Self::Unknown)
    }
}

fn digest<'a>(name: &[u8], uri: &'a [u8], reason: &[u8]) -> Option<SideCommand<'a>> {
    let reason = if reason == b"fsck" { Reason::Fsck } else { Reason::Other };
    HashType::from_name(name).map(|hashtype| SideCommand::Digest(hashtype, uri, reason))
}

fn is_uri(word: &[u8]) -> bool {
    !word.is_empty() && !word.iter().any(u8::is_ascii_whitespace)
}

fn is_reason(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Where a URI lies on disk; `None` if it is not in a device directory. It must hold no `..`.
pub(crate) fn on_disk<'a>(docroot_of: impl Fn(&str) -> &'a Path, uri: &[u8]) -> Option<PathBuf> {
    let below = uri.strip_prefix(b"/")?;
    let device = std::str::from_utf8(below.split(|&byte| byte == b'/').next()?).ok()?;
    device_number(device)?;
    Some(docroot_of(device).join(OsStr::from_bytes(below)))
}

/// The answer to `size`; `None` for a missing file.
pub(crate) fn size_answer(uri: &[u8], size_bytes: Option<u64>) -> Vec<u8> {
    let size = size_bytes.map_or_else(|| "-1".to_owned(), |size| size.to_string());
    line(&[uri, b" ", size.as_bytes()])
}

/// The answer to `MD5`, `SHA-1` and those of the SHA-2 family, which other nodes do not know.
pub(crate) fn digest_answer(hashtype: HashType, uri: &[u8], result: &DigestResult) -> Vec<u8> {
    let value = match result {
        DigestResult::Made(checksum) => checksum.hex(),
        DigestResult::Missing => "-1".to_owned(),
        DigestResult::ReadFailed { offset } => {
            return line(&[b"ERR read ", uri, format!(" at {offset} failed").as_bytes()]);
        }
    };
    line(&[uri, b" ", hashtype.name().as_bytes(), b"=", value.as_bytes()])
}

/// The answer to a URI with `..`.
pub(crate) fn dot_dot_answer() -> Vec<u8> {
    line(&[b"ERROR: uri invalid (contains ..)"])
}

/// The answer to anything else.
pub(crate) fn unknown_answer(word: &[u8]) -> Vec<u8> {
    line(&[b"ERROR: unknown command: ", &word.to_ascii_lowercase()])
}

/// The answer to an empty line.
pub(crate) fn empty_answer() -> Vec<u8> {
    line(&[])
}

/// The answer to a line without end, before the connection is closed.
pub(crate) fn too_long_answer() -> Vec<u8> {
    line(&[b"ERROR: line too long"])
}

fn line(parts: &[&[u8]]) -> Vec<u8> {
    let mut line = parts.concat();
    line.extend_from_slice(b"\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S18, S19.
    #[test]
    fn exact_forms_are_known() {
        assert_eq!(SideCommand::parse(b"size /dev1/x"), SideCommand::Size(b"/dev1/x"));
        let digest = |hashtype, reason| SideCommand::Digest(hashtype, b"/dev1/x", reason);
        assert_eq!(SideCommand::parse(b"MD5 /dev1/x"), digest(HashType::Md5, Reason::Other));
        assert_eq!(SideCommand::parse(b"MD5 /dev1/x fsck"), digest(HashType::Md5, Reason::Fsck));
        assert_eq!(SideCommand::parse(b"SHA-1 /dev1/x FSCK_2"), digest(HashType::Sha1, Reason::Other));
        assert_eq!(SideCommand::parse(b"SHA-256 /dev1/x"), digest(HashType::Sha256, Reason::Other));
        assert_eq!(SideCommand::parse(b"WatCh"), SideCommand::Watch);
        assert_eq!(SideCommand::parse(b""), SideCommand::Empty);
    }

    /// S20, S21.
    #[test]
    fn other_forms_are_unknown() {
        for (line, word) in [
            ("md5 /dev1/x", "md5"),
            ("SHA1 /dev1/x", "SHA1"),
            ("SHA256 /dev1/x", "SHA256"),
            ("SIZE /dev1/x", "SIZE"),
            ("size", "size"),
            ("size ", "size"),
            ("size /dev1/x y", "size"),
            ("MD5 /dev1/x a-b", "MD5"),
            ("MD5 /dev1/x fsck fsck", "MD5"),
            ("MD5  /dev1/x", "MD5"),
            ("watch now", "watch"),
        ] {
            assert_eq!(SideCommand::parse(line.as_bytes()), SideCommand::Unknown(word.as_bytes()), "{line}");
        }
        assert_eq!(SideCommand::parse(b"size /dev11/../x"), SideCommand::DotDot);
        assert_eq!(SideCommand::parse(b"MD5 /dev11/../x fsck"), SideCommand::DotDot);
    }

    #[test]
    fn only_device_directories_are_looked_at() {
        let docroot = |_: &str| Path::new("/data");
        assert_eq!(on_disk(docroot, b"/dev1/a"), Some(PathBuf::from("/data/dev1/a")));
        assert_eq!(on_disk(docroot, b"/dev1"), Some(PathBuf::from("/data/dev1")));
        for outside in ["dev1/a", "/x", "//dev1/a", "/dev/a", "/"] {
            assert_eq!(on_disk(docroot, outside.as_bytes()), None, "{outside}");
        }
    }

    #[test]
    fn answers_end_with_cr_lf() {
        assert_eq!(size_answer(b"/dev1/x", None), b"/dev1/x -1\r\n");
        assert_eq!(digest_answer(HashType::Sha1, b"/dev1/x", &DigestResult::Missing), b"/dev1/x SHA-1=-1\r\n");
        let failed = DigestResult::ReadFailed { offset: 7 };
        assert_eq!(digest_answer(HashType::Md5, b"/dev1/x", &failed), b"ERR read /dev1/x at 7 failed\r\n");
        assert_eq!(unknown_answer(b"BoGus"), b"ERROR: unknown command: bogus\r\n");
    }
}
