//! How a node is told to fetch a file from another node by itself, and what it answers (decision 0011).
//!
//! A request of a method of its own, so that a node that does not know it stores nothing. Both sides use this module:
//! the tracker writes orders and reads results, our node the other way round.

use crate::cluster::checksum::{Checksum, HashType};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;

/// The method.
pub const METHOD: &str = "COPYFROM";

/// Header of every answer of a node that carries out such orders.
pub const CAPABILITY: HeaderName = HeaderName::from_static("x-mogilefs-copyfrom");
/// Its value.
pub const CAPABLE: HeaderValue = HeaderValue::from_static("1");

const SOURCE: HeaderName = HeaderName::from_static("x-mogilefs-source");
const LENGTH: HeaderName = HeaderName::from_static("x-mogilefs-length");
const HASH: HeaderName = HeaderName::from_static("x-mogilefs-hash");

/// What to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOrder {
    /// Where the file is: a URL that [`is_file_url`] accepts.
    pub source_url: String,
    /// Bytes that it must have.
    pub length: u64,
    /// Tell this digest of the bytes that were stored.
    pub hashtype: Option<HashType>,
}

impl CopyOrder {
    /// The headers that say so; `None` if the URL cannot be written.
    pub fn write(&self, headers: &mut HeaderMap) -> Option<()> {
        headers.insert(SOURCE, HeaderValue::from_str(&self.source_url).ok()?);
        headers.insert(LENGTH, HeaderValue::from(self.length));
        if let Some(hashtype) = self.hashtype {
            headers.insert(HASH, HeaderValue::from_static(hashtype.name()));
        }
        Some(())
    }

    /// What the headers say; `None` if that is no order that may be carried out.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name: HeaderName| headers.get(name)?.to_str().ok();
        let source_url = text(SOURCE).filter(|url| is_file_url(url))?.to_owned();
        let hashtype = match headers.get(HASH) {
            Some(name) => Some(HashType::from_name(name.as_bytes())?),
            None => None,
        };
        Some(Self { source_url, length: text(LENGTH)?.parse().ok()?, hashtype })
    }
}

/// Is this the URL of a stored file on some node, `http://<host>/dev<N>/<d>/<ddd>/<ddd>/<ten or more digits>.fid`, and
/// nothing else? A node fetches nothing but such.
pub fn is_file_url(url: &str) -> bool {
    let Some((authority, path)) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let is_authority =
        !authority.is_empty() && authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = path.split('/').collect();
    let [device, b, mmm, ttt, name] = parts[..] else { return false };
    let Some(nfid) = name.strip_suffix(".fid") else { return false };
    is_authority
        && device.strip_prefix("dev").is_some_and(is_number)
        && is_number(nfid)
        && nfid.len() >= 10
        && (b, mmm, ttt) == (&nfid[0..1], &nfid[1..4], &nfid[4..7])
}

/// How it ended: the last line of the node's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyResult {
    /// The file is in its place: so many bytes, and their digest if it was asked for.
    Stored { length: u64, checksum: Option<Checksum> },
    /// The source did not give the file; nothing was stored.
    SourceFailed(String),
    /// The file could not be stored.
    TargetFailed(String),
}

impl CopyResult {
    /// Reads the line; `None` if it is none of ours.
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.trim().split_once(' ')?;
        Some(match word {
            "stored" => {
                let (length, checksum) = match rest.split_once(' ') {
                    Some((length, checksum)) => (length, Some(Checksum::parse(checksum.as_bytes())?)),
                    None => (rest, None),
                };
                Self::Stored { length: length.parse().ok()?, checksum }
            }
            "source" => Self::SourceFailed(rest.to_owned()),
            "target" => Self::TargetFailed(rest.to_owned()),
            _ => return None,
        })
    }
}

impl fmt::Display for CopyResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one_line = |text: &str| text.replace(['\r', '\n'], " ");
        match self {
            Self::Stored { length, checksum: None } => write!(f, "stored {length}"),
            Self::Stored { length, checksum: Some(checksum) } => write!(f, "stored {length} {checksum}"),
            Self::SourceFailed(text) => write!(f, "source {}", one_line(text)),
            Self::TargetFailed(text) => write!(f, "target {}", one_line(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_stored_files_is_fetched() {
        for url in
            ["http://10.0.0.1:7500/dev7/0/001/234/0001234567.fid", "http://[::1]:80/dev1/5/204/870/52048709162.fid"]
        {
            assert!(is_file_url(url), "{url}");
        }
        for url in [
            "https://10.0.0.1/dev7/0/001/234/0001234567.fid",
            "http:///dev7/0/001/234/0001234567.fid",
            "http://user@10.0.0.1/dev7/0/001/234/0001234567.fid",
            "http://10.0.0.1/dev7/usage",
            "http://10.0.0.1/dev7/0/001/234/0001234567.fid?x",
            "http://10.0.0.1/dev7/0/001/234/../0001234567.fid",
            "http://10.0.0.1/dev7/0/001/235/0001234567.fid",
            "http://10.0.0.1/dev/0/001/234/0001234567.fid",
            "http://10.0.0.1/x/dev7/0/001/234/0001234567.fid",
            "http://10.0.0.1/dev7/0/001/234/234567.fid",
            "http://10.0.0.1/",
            "",
        ] {
            assert!(!is_file_url(url), "{url}");
        }
    }

    #[test]
    fn orders_are_read_as_they_were_written() {
        for hashtype in [None, Some(HashType::Md5)] {
            let source_url = "http://10.0.0.1:7500/dev7/0/001/234/0001234567.fid".to_owned();
            let order = CopyOrder { source_url, length: 1 << 40, hashtype };
            let mut headers = HeaderMap::new();
            order.write(&mut headers).expect("written");
            assert_eq!(CopyOrder::read(&headers), Some(order));
            headers.remove(LENGTH);
            assert_eq!(CopyOrder::read(&headers), None);
        }
    }

    #[test]
    fn results_are_read_as_they_were_written() {
        let checksum = HashType::Md5.hasher().finish();
        for result in [
            CopyResult::Stored { length: 0, checksum: None },
            CopyResult::Stored { length: 4096, checksum: Some(checksum) },
            CopyResult::SourceFailed("the node answered 404".to_owned()),
            CopyResult::TargetFailed("no space".to_owned()),
        ] {
            assert_eq!(CopyResult::parse(&result.to_string()), Some(result));
        }
        for other in ["", "stored", "stored x", "stored 1 MD5:zz", "OK 1", "<html> "] {
            assert_eq!(CopyResult::parse(other), None, "{other}");
        }
        assert_eq!(CopyResult::SourceFailed("a\r\nb".to_owned()).to_string(), "source a  b");
    }
}
