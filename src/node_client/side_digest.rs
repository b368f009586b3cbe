//! Digests that nodes make themselves, asked for over their side channel (storage-node.md 6): the bytes stay where they
//! are. Whatever does not come to a digest so is asked for over HTTP; nothing is concluded from the side channel alone.

use super::error::NodeError;
use super::http::NodeClient;
use crate::cluster::checksum::{Checksum, HashType};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// A node that did not take a connection is not asked again for so long.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(300);
/// Digests for fsck take turns on the node: so long it may take beyond the reading itself.
const TURN_WAIT_MAX: Duration = Duration::from_secs(3600);
/// What a disk reads at least, in bytes per second.
const READ_RATE_MIN: u64 = 2 << 20;
/// Longest answer in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;
/// Idle connections kept per node.
const IDLE_MAX: usize = 4;

type Connection = BufReader<TcpStream>;

/// The side channels that one thread uses, by address of the node.
#[derive(Default)]
pub(super) struct SideChannels {
    idle: RefCell<HashMap<String, Vec<Connection>>>,
    refused_at: RefCell<HashMap<String, Instant>>,
}

impl SideChannels {
    fn is_refusing(&self, address: &str) -> bool {
        self.refused_at.borrow().get(address).is_some_and(|at| at.elapsed() < PAUSE_AFTER_REFUSAL)
    }

    fn take_idle(&self, address: &str) -> Option<Connection> {
        self.idle.borrow_mut().get_mut(address)?.pop()
    }

    fn keep(&self, address: &str, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.entry(address.to_owned()).or_default();
        if connections.len() < IDLE_MAX {
            connections.push(connection);
        }
    }
}

/// A copy whose digest is wanted.
#[derive(Clone, Copy, Debug)]
pub struct CopyOnNode<'a> {
    /// The host, without a port.
    pub host: &'a str,
    /// Below the node's document root, with a leading slash.
    pub path: &'a str,
    /// For reading it over HTTP.
    pub url: &'a str,
    pub length_bytes: u64,
}

impl NodeClient {
    /// Digest of a copy for fsck: made by the node, or here from the bytes where the node does not make it.
    ///
    /// # Errors
    /// [`NodeError::Missing`] only when the node says so over HTTP.
    pub async fn digest_for_fsck(&self, copy: CopyOnNode<'_>, hashtype: HashType) -> Result<Checksum, NodeError> {
        let limit = TURN_WAIT_MAX + Duration::from_secs(copy.length_bytes / READ_RATE_MIN) + self.node_timeout();
        match tokio::time::timeout(limit, self.digest_on_side_channel(copy, hashtype)).await {
            Ok(Some(checksum)) => Ok(checksum),
            Ok(None) => self.digest(copy.url, hashtype).await,
            Err(_elapsed) => Err(NodeError::Timeout(limit)),
        }
    }

    /// `None` if the node has no side channel, or answers anything but a digest.
    async fn digest_on_side_channel(&self, copy: CopyOnNode<'_>, hashtype: HashType) -> Option<Checksum> {
        let (channels, port) = (self.side_channels(), self.side_channel_port()?);
        let address = match copy.host.contains(':') {
            true => format!("[{}]:{port}", copy.host),
            false => format!("{}:{port}", copy.host),
        };
        if channels.is_refusing(&address) {
            return None;
        }
        let command = format!("{} {} fsck\r\n", hashtype.name(), copy.path);
        // The node may have closed a kept connection meanwhile; a fresh one is asked once.
        let kept = match channels.take_idle(&address) {
            Some(mut connection) => ask(&mut connection, &command).await.ok().map(|answer| (connection, answer)),
            None => None,
        };
        let (connection, answer) = match kept {
            Some(answered) => answered,
            None => self.ask_anew(&address, &command).await?,
        };
        channels.keep(&address, connection);
        digest_in(&answer, copy.path, hashtype)
    }

    async fn ask_anew(&self, address: &str, command: &str) -> Option<(Connection, Vec<u8>)> {
        let connected = tokio::time::timeout(self.node_timeout(), TcpStream::connect(address)).await;
        let Ok(Ok(stream)) = connected else {
            slog::debug!(self.log(), "a node has no side channel; its copies are read over HTTP"; "address" => address);
            self.side_channels().refused_at.borrow_mut().insert(address.to_owned(), Instant::now());
            return None;
        };
        let mut connection = BufReader::new(stream);
        let answer = ask(&mut connection, command).await.ok()?;
        Some((connection, answer))
    }
}

async fn ask(connection: &mut Connection, command: &str) -> io::Result<Vec<u8>> {
    connection.get_mut().write_all(command.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.take(ANSWER_BYTES_MAX).read_until(b'\n', &mut answer).await?;
    match answer.pop() {
        Some(b'\n') => Ok(answer),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// `<path> <ALG>=<hex>`, exactly.
fn digest_in(answer: &[u8], path: &str, hashtype: HashType) -> Option<Checksum> {
    let answer = answer.strip_suffix(b"\r").unwrap_or(answer);
    let hex = answer.strip_prefix(format!("{path} {}=", hashtype.name()).as_bytes())?;
    Checksum::parse(&[hashtype.name().as_bytes(), b":", hex].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S32: whatever is no digest of the copy leads to GET, also what older nodes say of a word that they do not know.
    #[test]
    fn only_digests_of_this_copy_are_taken() {
        let digest = "900150983cd24fb0d6963f7d28e17f72";
        let read = |answer: String| digest_in(answer.as_bytes(), "/dev1/a.fid", HashType::Md5);
        let found = read(format!("/dev1/a.fid MD5={digest}\r")).expect("a digest");
        assert_eq!((found.hashtype, found.hex()), (HashType::Md5, digest.to_owned()));
        for other in [
            format!("/dev1/b.fid MD5={digest}"),
            format!("/dev1/a.fid SHA-1={digest}"),
            format!("/dev1/a.fid MD5={digest}00"),
            "/dev1/a.fid MD5=-1".to_owned(),
            "ERROR: unknown command: md5".to_owned(),
            "ERR read /dev1/a.fid at 0 failed".to_owned(),
            String::new(),
        ] {
            assert_eq!(read(other.clone()), None, "{other}");
        }
    }
}
