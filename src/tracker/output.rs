//! What goes out to one client: replies, and between them the lines of the log for those who watch.
//!
//! Bytes leave in the order in which they were given; a watch line is never cut in two by a reply. Nothing is hoarded:
//! a client that takes nothing for the whole write timeout is cut off (protocol.md 5).

use crate::logging::watch::{WatchLine, lost_line};
use slog::Logger;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::tcp::WriteHalf;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::Instant;

/// Watch lines that are collected for one write.
const WATCH_BYTES_MAX: usize = 16 * 1024;

/// The way to one client.
pub struct Output<'a> {
    writer: WriteHalf<'a>,
    /// Watch lines that are on their way.
    watched: RefCell<Watched>,
    /// Since when the client takes nothing; `None` after every progress.
    stalled_since: Cell<Option<Instant>>,
    write_timeout: Duration,
    peer: SocketAddr,
    log: Logger,
}

#[derive(Default)]
struct Watched {
    bytes: Vec<u8>,
    sent: usize,
}

impl<'a> Output<'a> {
    pub fn new(writer: WriteHalf<'a>, write_timeout: Duration, peer: SocketAddr, log: Logger) -> Self {
        let (watched, stalled_since) = (RefCell::default(), Cell::new(None));
        Self { writer, watched, stalled_since, write_timeout, peer, log }
    }

    /// Hands all bytes to the kernel, after the watch lines that are on their way.
    pub async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        self.finish_watch_lines().await?;
        while !bytes.is_empty() {
            match self.writer.try_write(bytes) {
                Ok(count) => {
                    self.stalled_since.set(None);
                    bytes = &bytes[count..];
                }
                Err(error) => self.wait_after(error).await?,
            }
        }
        Ok(())
    }

    /// Passes watch lines on; ends only with an error. Can be dropped at any time: what was begun is finished by the
    /// next call of this or of [`Output::write`].
    pub async fn pass_on(&self, watch: &mut Option<broadcast::Receiver<WatchLine>>) -> io::Error {
        loop {
            if let Err(error) = self.finish_watch_lines().await {
                return error;
            }
            let Some(lines) = watch else { return std::future::pending().await };
            match lines.recv().await {
                Ok(line) => self.add_watch_line(&line),
                Err(RecvError::Lagged(count)) => self.add_watch_line(&lost_line(count)),
                // The bus lives as long as the tracker.
                Err(RecvError::Closed) => *watch = None,
            }
            self.add_more(watch);
        }
    }

    /// Lines that wait already share one write.
    fn add_more(&self, watch: &mut Option<broadcast::Receiver<WatchLine>>) {
        let Some(lines) = watch else { return };
        while self.watched.borrow().bytes.len() < WATCH_BYTES_MAX {
            match lines.try_recv() {
                Ok(line) => self.add_watch_line(&line),
                Err(TryRecvError::Lagged(count)) => self.add_watch_line(&lost_line(count)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn add_watch_line(&self, line: &[u8]) {
        self.watched.borrow_mut().bytes.extend_from_slice(line);
    }

    async fn finish_watch_lines(&self) -> io::Result<()> {
        loop {
            let written = {
                let mut watched = self.watched.borrow_mut();
                if watched.sent == watched.bytes.len() {
                    if watched.sent > 0 {
                        *watched = Watched::default();
                    }
                    return Ok(());
                }
                let written = self.writer.try_write(&watched.bytes[watched.sent..]);
                watched.sent += written.as_ref().map_or(0, |&count| count);
                written
            };
            match written {
                Ok(_count) => self.stalled_since.set(None),
                Err(error) => self.wait_after(error).await?,
            }
        }
    }

    /// Waits until the client takes bytes again, at most until the write timeout since the last progress.
    async fn wait_after(&self, error: io::Error) -> io::Result<()> {
        if error.kind() != io::ErrorKind::WouldBlock {
            return Err(error);
        }
        let since = self.stalled_since.get().unwrap_or_else(Instant::now);
        self.stalled_since.set(Some(since));
        match tokio::time::timeout_at(since + self.write_timeout, self.writer.writable()).await {
            Ok(ready) => ready,
            Err(_elapsed) => {
                slog::warn!(self.log, "write timeout expired: {}", self.peer);
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }
}
