//! The file commands of the protocol with their arguments and replies as types (protocol.md 9).

use super::{ClientError, TrackerClient};
use crate::ids::{DevId, Fid};
use crate::protocol::args::{Args, unescape};
use bstr::{BString, ByteSlice as _};

/// A place where the tracker lets a new file be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub devid: DevId,
    /// The URL to PUT to; `create_close` wants it back byte for byte.
    pub path: String,
}

/// An upload that was opened and not closed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedFile {
    pub fid: Fid,
    /// At least one, best first.
    pub destinations: Vec<Destination>,
}

/// What the tracker knows of a stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    pub fid: Fid,
    pub domain: BString,
    pub class: BString,
    pub key: BString,
    pub length_bytes: u64,
    pub devcount: i64,
    /// `NAME:hex`, or `MISSING`; `None` if the class asks for no checksum.
    pub checksum: Option<BString>,
    pub devids: Vec<DevId>,
}

/// One page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPage {
    pub keys: Vec<BString>,
    /// What to send as `after` for the next page.
    pub next_after: Option<BString>,
}

impl TrackerClient {
    /// Opens an upload with several destinations. `size_bytes` helps the tracker to choose devices with room.
    pub async fn create_open(
        &mut self,
        domain: &[u8],
        key: &[u8],
        class: Option<&[u8]>,
        size_bytes: Option<u64>,
    ) -> Result<OpenedFile, ClientError> {
        let size = size_bytes.unwrap_or(0).to_string();
        let mut args: Vec<(&str, &[u8])> = vec![("domain", domain), ("key", key), ("multi_dest", b"1")];
        // The reference takes the name of the default class for an unknown one (protocol.md 12, defect 13).
        if let Some(class) = class.filter(|class| *class != b"default") {
            args.push(("class", class));
        }
        if size_bytes.is_some() {
            args.push(("size", size.as_bytes()));
        }
        let reply = self.request("create_open", &args).await?;
        read_create_open(&reply).ok_or_else(|| self.protocol_error("create_open gave no destination"))
    }

    /// Closes an upload: the file appears under its key.
    pub async fn create_close(
        &mut self,
        domain: &[u8],
        key: &[u8],
        fid: Fid,
        destination: &Destination,
        size_bytes: u64,
        checksum: Option<&str>,
    ) -> Result<(), ClientError> {
        let (fid, devid, size) = (fid.to_string(), destination.devid.to_string(), size_bytes.to_string());
        let mut args: Vec<(&str, &[u8])> = vec![
            ("domain", domain),
            ("key", key),
            ("fid", fid.as_bytes()),
            ("devid", devid.as_bytes()),
            ("path", destination.path.as_bytes()),
            ("size", size.as_bytes()),
        ];
        if let Some(checksum) = checksum {
            args.push(("checksum", checksum.as_bytes()));
        }
        self.request("create_close", &args).await.map(drop)
    }

    /// URLs of the copies of a file, best first; none if no copy can be read now.
    pub async fn get_paths(
        &mut self,
        domain: &[u8],
        key: &[u8],
        noverify: bool,
        pathcount: u32,
    ) -> Result<Vec<String>, ClientError> {
        let pathcount = pathcount.to_string();
        let noverify: &[u8] = if noverify { b"1" } else { b"0" };
        let args: [(&str, &[u8]); 4] =
            [("domain", domain), ("key", key), ("noverify", noverify), ("pathcount", pathcount.as_bytes())];
        let reply = self.request("get_paths", &args).await?;
        Ok((1..=reply.int("paths")).filter_map(|number| text(&reply, &format!("path{number}"))).collect())
    }

    /// Length, class, copies and checksum of a file.
    pub async fn file_info(&mut self, domain: &[u8], key: &[u8], devices: bool) -> Result<FileInfo, ClientError> {
        let devices: &[u8] = if devices { b"1" } else { b"0" };
        let reply = self.request("file_info", &[("domain", domain), ("key", key), ("devices", devices)]).await?;
        let length_bytes = text(&reply, "length").and_then(|length| length.parse().ok());
        let Some(length_bytes) = length_bytes else {
            return Err(self.protocol_error("file_info gave no length"));
        };
        Ok(FileInfo {
            fid: Fid(reply.int("fid")),
            domain: bytes(&reply, "domain"),
            class: bytes(&reply, "class"),
            key: bytes(&reply, "key"),
            length_bytes,
            devcount: reply.int("devcount"),
            checksum: reply.nonempty("checksum").map(|checksum| checksum.to_owned()),
            devids: devids(&bytes(&reply, "devids")),
        })
    }

    /// One page of keys with the prefix that come after a key; empty when there are none.
    pub async fn list_keys(
        &mut self,
        domain: &[u8],
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<KeyPage, ClientError> {
        let limit = limit.to_string();
        let mut args: Vec<(&str, &[u8])> = vec![("domain", domain), ("prefix", prefix), ("limit", limit.as_bytes())];
        if let Some(after) = after {
            args.push(("after", after));
        }
        match self.request_encoded("list_keys", &args).await {
            Ok(pairs) => Ok(read_key_page(&pairs)),
            Err(error) if error.code() == Some("none_match") => Ok(KeyPage::default()),
            Err(error) => Err(error),
        }
    }

    /// Gives a file another key.
    pub async fn rename(&mut self, domain: &[u8], from_key: &[u8], to_key: &[u8]) -> Result<(), ClientError> {
        self.request("rename", &[("domain", domain), ("from_key", from_key), ("to_key", to_key)]).await.map(drop)
    }

    /// Deletes a file.
    pub async fn delete(&mut self, domain: &[u8], key: &[u8]) -> Result<(), ClientError> {
        self.request("delete", &[("domain", domain), ("key", key)]).await.map(drop)
    }
}

/// Reads a reply of `create_open`, with or without several destinations.
pub fn read_create_open(reply: &Args) -> Option<OpenedFile> {
    let fid = Fid(reply.int("fid"));
    let several = (1..=reply.int("dev_count"))
        .filter_map(|number| destination(reply, &format!("devid_{number}"), &format!("path_{number}")));
    let destinations: Vec<_> = several.chain(destination(reply, "devid", "path")).collect();
    (!destinations.is_empty() && fid.0 > 0).then_some(OpenedFile { fid, destinations })
}

fn destination(reply: &Args, devid: &str, path: &str) -> Option<Destination> {
    Some(Destination { devid: DevId(reply.int(devid)), path: text(reply, path)? })
}

/// Walks the encoded pairs once: a page has a thousand keys, too many to look up each by name.
fn read_key_page(pairs: &[u8]) -> KeyPage {
    let mut numbered = Vec::new();
    let mut next_after = None;
    for pair in pairs.split(|&byte| byte == b'&') {
        let Some((name, value)) = pair.split_once_str("=") else { continue };
        let number = || name.strip_prefix(b"key_")?.to_str().ok()?.parse::<u32>().ok();
        if name == b"next_after" {
            next_after = Some(unescape(value));
        } else if let Some(number) = number() {
            numbered.push((number, unescape(value)));
        }
    }
    // Replies of the reference have their pairs in any order.
    numbered.sort_unstable_by_key(|(number, _)| *number);
    KeyPage { keys: numbered.into_iter().map(|(_, key)| key).collect(), next_after }
}

fn text(reply: &Args, name: &str) -> Option<String> {
    reply.nonempty(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn bytes(reply: &Args, name: &str) -> BString {
    reply.get(name).map(|value| value.to_owned()).unwrap_or_default()
}

fn devids(list: &[u8]) -> Vec<DevId> {
    let numbers = list.split(|&byte| byte == b',').filter_map(|number| number.to_str().ok()?.parse().ok());
    numbers.map(DevId).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_of_create_open() {
        let several = Args::decode(b"fid=7&dev_count=2&devid_1=3&path_1=http://a/1&devid_2=4&path_2=http://b/2");
        let opened = read_create_open(&several).expect("complete");
        assert_eq!((opened.fid, opened.destinations.len()), (Fid(7), 2));
        assert_eq!(opened.destinations[1], Destination { devid: DevId(4), path: "http://b/2".to_owned() });
        let single = read_create_open(&Args::decode(b"fid=7&devid=3&path=http://a/1")).expect("complete");
        assert_eq!(single.destinations.len(), 1);
        assert_eq!(read_create_open(&Args::decode(b"fid=7&dev_count=0")), None);
    }

    #[test]
    fn keys_stand_in_the_order_of_their_numbers() {
        let page = read_key_page(b"key_2=b+b&next_after=b+b&key_count=2&key_1=%FF");
        assert_eq!(page.keys, [BString::from(&b"\xff"[..]), BString::from("b b")]);
        assert_eq!(page.next_after, Some(BString::from("b b")));
    }
}
