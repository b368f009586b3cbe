//! The side channel: one line in, one line out, in the order of the commands; or the utilisation stream.
//!
//! Speaks only about device directories; there is no way to command the node through it.

use super::NodeShared;
use super::blocking::blocking;
use super::digest::digest;
use super::serve::{accept_until_stopped, stopped};
use super::side_command::{self, SideCommand};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Longest line in bytes.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// Serves the side channel until the node stops.
pub(crate) async fn listen(listener: TcpListener, shared: Arc<NodeShared>, stop: watch::Receiver<bool>) {
    let serve = |stream| connection(stream, Arc::clone(&shared), stop.clone());
    accept_until_stopped(listener, stop.clone(), &shared, serve).await;
}

async fn connection(mut stream: TcpStream, shared: Arc<NodeShared>, mut stop: watch::Receiver<bool>) {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    // A read or write error means that the client is gone: nobody is left to tell.
    while let Some(next) = next_line(&mut reader, &mut line, &mut stop).await {
        let answer = match next {
            Line::TooLong => side_command::too_long_answer(),
            Line::Whole => match SideCommand::parse(trimmed(&line)) {
                SideCommand::Watch => return watch_utilisation(reader, writer, &shared, &mut stop).await,
                command => answer(command, &shared).await,
            },
        };
        if writer.write_all(&answer).await.is_err() || next == Line::TooLong {
            return;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Whole,
    TooLong,
}

/// `None` when the client is gone or the node stops.
async fn next_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    stop: &mut watch::Receiver<bool>,
) -> Option<Line> {
    line.clear();
    let mut limited = reader.take(LINE_BYTES_MAX);
    tokio::select! {
        biased;
        () = stopped(stop) => return None,
        read = limited.read_until(b'\n', line) => read.ok()?,
    };
    match line.last() {
        Some(b'\n') => Some(Line::Whole),
        _ if line.len() as u64 >= LINE_BYTES_MAX => Some(Line::TooLong),
        _ => None,
    }
}

fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

async fn answer(command: SideCommand<'_>, shared: &NodeShared) -> Vec<u8> {
    match command {
        SideCommand::Size(uri) => side_command::size_answer(uri, size_bytes(shared, uri).await),
        SideCommand::Digest(hashtype, uri, reason) => {
            let result = match side_command::on_disk(|device| shared.docroot_of(device), uri) {
                Some(path) => digest(path, hashtype, reason, &shared.digest_limits).await,
                None => super::digest::DigestResult::Missing,
            };
            side_command::digest_answer(hashtype, uri, &result)
        }
        SideCommand::DotDot => side_command::dot_dot_answer(),
        SideCommand::Unknown(word) => side_command::unknown_answer(word),
        SideCommand::Empty | SideCommand::Watch => side_command::empty_answer(),
    }
}

async fn size_bytes(shared: &NodeShared, uri: &[u8]) -> Option<u64> {
    let path = side_command::on_disk(|device| shared.docroot_of(device), uri)?;
    blocking(move || Ok(path.metadata()?.len())).await.ok()
}

/// Sends each new group until the client goes. A client that does not read misses groups, never parts of one.
async fn watch_utilisation(
    mut reader: impl AsyncBufRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    shared: &NodeShared,
    stop: &mut watch::Receiver<bool>,
) {
    let mut groups = shared.utilisation.subscribe();
    let stream = async {
        while groups.changed().await.is_ok() {
            let group = Arc::clone(&groups.borrow_and_update());
            writer.write_all(group.as_bytes()).await?;
        }
        io::Result::Ok(())
    };
    tokio::select! {
        _ = stream => {}
        () = client_gone(&mut reader) => {}
        () = stopped(stop) => {}
    }
}

/// Reads and drops what the client still says.
async fn client_gone(reader: &mut (impl AsyncBufRead + Unpin)) {
    let mut ignored = [0; 512];
    while matches!(reader.read(&mut ignored).await, Ok(1..)) {}
}
