//! The side channel: sizes, checksums and the utilization stream, line by line (storage-node.md 6).
//!
//! Answers come in the order of the questions. There is no management interpreter (N5).

use super::utilization;
use super::{Node, paths};
use crate::cluster::checksum::HashType;
use crate::protocol::line::LineBuffer;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Longest line of a client.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Bytes read at a time for a checksum.
const READ_BYTES: usize = 1 << 20;
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until the task is ended.
pub async fn serve(node: Rc<Node>, socket: TcpListener) {
    loop {
        match socket.accept().await {
            Ok((stream, _peer)) => {
                let node = node.clone();
                actix_rt::spawn(async move {
                    if let Err(error) = converse(&node, stream).await {
                        slog::debug!(node.log, "side channel connection ended"; "error" => %error);
                    }
                });
            }
            Err(error) => {
                slog::warn!(node.log, "cannot accept on the side channel"; "error" => %error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(node: &Node, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = Lines { buffer: LineBuffer::keeping_empty_lines(LINE_BYTES_MAX) };
    while let Some(line) = lines.next(&mut stream).await? {
        if line.eq_ignore_ascii_case("watch") {
            return utilization::stream(&node.docroot, &mut stream).await;
        }
        let mut answer = answer(&node.docroot, &line).await;
        answer.push_str("\r\n");
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

struct Lines {
    buffer: LineBuffer,
}

impl Lines {
    async fn next(&mut self, stream: &mut TcpStream) -> io::Result<Option<String>> {
        let mut bytes = [0; 4096];
        loop {
            let too_long = |_| io::Error::new(io::ErrorKind::InvalidData, "line too long");
            if let Some(line) = self.buffer.next_line().map_err(too_long)? {
                return Ok(Some(String::from_utf8_lossy(line).into_owned()));
            }
            match stream.read(&mut bytes).await? {
                0 => return Ok(None),
                count => self.buffer.push(&bytes[..count]),
            }
        }
    }
}

/// A question that was understood.
#[derive(Debug, PartialEq, Eq)]
enum Question<'l> {
    Size { uri: &'l str },
    Digest { hashtype: HashType, uri: &'l str, for_fsck: bool },
}

async fn answer(docroot: &Path, line: &str) -> String {
    if line.is_empty() {
        return String::new();
    }
    let Some(question) = parse(line) else {
        let word = line.split_whitespace().next().unwrap_or_default().to_lowercase();
        return format!("ERROR: unknown command: {word}");
    };
    let (Question::Size { uri } | Question::Digest { uri, .. }) = question;
    if uri.contains("..") {
        return "ERROR: uri invalid (contains ..)".to_owned();
    }
    let file = paths::readable(docroot, uri).ok();
    match question {
        Question::Size { .. } => {
            let size = file.and_then(|file| std::fs::metadata(file).ok()).map_or(-1, |metadata| metadata.size() as i64);
            format!("{uri} {size}")
        }
        Question::Digest { hashtype, for_fsck, .. } => {
            let missing = format!("{uri} {}=-1", hashtype.name());
            match file.and_then(|file| File::open(file).ok()) {
                Some(file) => digest(file, hashtype, for_fsck, uri).await,
                None => missing,
            }
        }
    }
}

/// `size URI`, `MD5 URI [reason]`, `SHA-1 URI [reason]`; case matters, and so does every blank.
fn parse(line: &str) -> Option<Question<'_>> {
    let words: Vec<_> = line.split(' ').collect();
    let is_reason =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match words[..] {
        ["size", uri] if !uri.is_empty() => Some(Question::Size { uri }),
        [name, uri] if !uri.is_empty() => {
            Some(Question::Digest { hashtype: HashType::from_name(name.as_bytes())?, uri, for_fsck: false })
        }
        [name, uri, reason] if !uri.is_empty() && is_reason(reason) => {
            Some(Question::Digest { hashtype: HashType::from_name(name.as_bytes())?, uri, for_fsck: reason == "fsck" })
        }
        _ => None,
    }
}

async fn digest(file: File, hashtype: HashType, for_fsck: bool, uri: &str) -> String {
    let turn = if for_fsck { Some(fsck_turn(&file)) } else { None };
    let permit = match &turn {
        // The semaphore is never closed; without it the digest would merely not wait.
        Some(turn) => turn.clone().acquire_owned().await.ok(),
        None => None,
    };
    let read = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        read_digest(file, hashtype)
    })
    .await;
    match read {
        Ok(Ok(hex)) => format!("{uri} {}={hex}", hashtype.name()),
        Ok(Err(offset)) => format!("ERR read {uri} at {offset} failed"),
        Err(_panicked) => format!("ERR read {uri} at 0 failed"),
    }
}

/// The digest, or the offset where reading failed.
fn read_digest(mut file: File, hashtype: HashType) -> Result<String, u64> {
    let mut hasher = hashtype.hasher();
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish().hex()),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(offset),
        }
    }
}

/// Checks of fsck go one at a time on each file system.
fn fsck_turn(file: &File) -> Arc<Semaphore> {
    static TURNS: LazyLock<Mutex<HashMap<u64, Arc<Semaphore>>>> = LazyLock::new(Mutex::default);
    let device = file.metadata().map_or(0, |metadata| metadata.dev());
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    turns.entry(device).or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S18–S21.
    #[actix_rt::test]
    async fn answers_as_the_reference() {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(root.path().join("dev11")).expect("a device");
        std::fs::write(root.path().join("dev11/x"), b"abcdef").expect("a file");
        for (line, expected) in [
            ("size /dev11/x", "/dev11/x 6"),
            ("size /dev11/y", "/dev11/y -1"),
            ("MD5 /dev11/x", "/dev11/x MD5=e80b5017098950fc58aad83c8c14978e"),
            ("MD5 /dev11/x fsck", "/dev11/x MD5=e80b5017098950fc58aad83c8c14978e"),
            ("SHA-1 /dev11/x why", "/dev11/x SHA-1=1f8ac10f23c5b5bc1167bda84b833e5c057a77d2"),
            ("MD5 /dev11/y", "/dev11/y MD5=-1"),
            ("MD5 /dev11", "ERR read /dev11 at 0 failed"),
            ("md5 /dev11/x", "ERROR: unknown command: md5"),
            ("SHA1 /dev11/x", "ERROR: unknown command: sha1"),
            ("bogus", "ERROR: unknown command: bogus"),
            ("size", "ERROR: unknown command: size"),
            ("size /dev11/../x", "ERROR: uri invalid (contains ..)"),
            ("", ""),
        ] {
            assert_eq!(answer(root.path(), line).await, expected, "{line}");
        }
    }
}
