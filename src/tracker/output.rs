//! What goes out to one client: replies, and between them the lines of the log for those who watch.
//!
//! Bytes leave in the order in which they were given; a watch line is never cut in two by a reply. Nothing is hoarded:
//! a client that takes nothing for the whole write timeout is cut off (protocol.md 5).

use super::client_stream::Writer;
use crate::logging::watch::{WatchLine, lost_line};
use slog::Logger;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::Instant;

/// Watch lines that are collected for one write.
const WATCH_BYTES_MAX: usize = 16 * 1024;

/// The way to one client.
pub struct Output<'a> {
    writer: Writer<'a>,
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
    pub fn new(writer: Writer<'a>, write_timeout: Duration, peer: SocketAddr, log: Logger) -> Self {
        let (watched, stalled_since) = (RefCell::default(), Cell::new(None));
        Self { writer, watched, stalled_since, write_timeout, peer, log }
    }

    /// Hands all bytes to the kernel, after the watch lines that are on their way.
    pub async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        self.finish_watch_lines().await?;
        while !bytes.is_empty() || self.writer.holds_bytes() {
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
                if watched.sent == watched.bytes.len() && !self.writer.holds_bytes() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging;
    use crate::logging::watch::WatchBus;
    use slog::Drain as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        (client, listener.accept().await.expect("accepted").0)
    }

    fn output(stream: &mut TcpStream) -> Output<'_> {
        let peer = stream.peer_addr().expect("connected");
        Output::new(Writer::Plain(stream.split().1), WRITE_TIMEOUT, peer, logging::discard())
    }

    /// A bus, and a logger that shows everything on it.
    fn bus() -> (WatchBus, Logger) {
        let bus = WatchBus::new();
        let sink = slog_term::FullFormat::new(slog_term::PlainSyncDecorator::new(io::sink())).build();
        let log = bus.attach(Logger::root(sink.ignore_res(), slog::o!()));
        (bus, log)
    }

    /// A watcher that falls behind loses the oldest lines and is told how many.
    #[tokio::test]
    async fn a_slow_watcher_is_told_what_it_lost() {
        let (mut client, mut server) = pair().await;
        let (bus, log) = bus();
        let mut watch = Some(bus.watch());
        for number in 0..3000 {
            slog::info!(log, "line {number}");
        }
        {
            let output = output(&mut server);
            let passed = tokio::time::timeout(Duration::from_millis(200), output.pass_on(&mut watch)).await;
            assert!(passed.is_err(), "it goes on");
            output.write(b"OK \r\n").await.expect("written");
        }
        server.shutdown().await.expect("closed");
        let mut text = String::new();
        client.read_to_string(&mut text).await.expect("read");
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        let lost: usize = lines[0]
            .strip_prefix(":: ")
            .and_then(|text| text.split(' ').next())
            .and_then(|count| count.parse().ok())
            .expect("a number");
        assert_eq!(lines[0], format!(":: {lost} lines lost: this watcher is too slow"));
        assert_eq!(lines[1], format!(":: line {lost}"), "then the next one in order");
        assert_eq!(lines.len(), 3000 - lost + 2);
        assert_eq!(lines[lines.len() - 1], "OK ");
    }

    /// Conformance 309: the clock starts with the last progress. A watcher is cut off as any other reader.
    #[tokio::test]
    async fn who_takes_nothing_is_cut_off_after_the_write_timeout() {
        for watches in [false, true] {
            let (_client, mut server) = pair().await;
            let (bus, log) = bus();
            let output = output(&mut server);
            let begun = Instant::now();
            tokio::time::pause();
            let error = if watches {
                let mut watch = Some(bus.watch());
                let chatter = async {
                    loop {
                        slog::info!(log, "{}", "x".repeat(4000));
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                tokio::select! {
                    error = output.pass_on(&mut watch) => error,
                    () = chatter => unreachable!("it talks on"),
                }
            } else {
                output.write(&vec![0; 64 << 20]).await.expect_err("nobody reads")
            };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "watches: {watches}");
            assert!(begun.elapsed() >= WRITE_TIMEOUT, "watches: {watches}");
            tokio::time::resume();
        }
    }
}
