//! GET, HEAD and small PUTs by hand: heads parsed in place, small files in one write with their head, large ones by sendfile.
//!
//! The HTTP library cannot send a file without copying it, and costs more than the file itself when that is small. Whatever
//! is not plainly one of these goes to the library, with the connection and all that was read of it: it stays the judge of
//! everything unusual. Disk work is done here only if the bytes are in memory already, else on another thread.

use super::NodeShared;
use super::blocking::blocking;
use super::direct_put::{self, Put};
use super::fetch::{Asked, Found, FoundBody, fetch};
use super::http::Access;
use super::preconditions::Preconditions;
use super::pulse::Pulse;
use super::upload::{Stored, UploadError};
use bytes::{Buf, BytesMut};
use rustix::fs::sendfile;
use rustix::io::{ReadWriteFlags, preadv2};
use rustix::net::{SendFlags, send};
use std::cell::RefCell;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::{self, IoSliceMut, Write as _};
use std::os::unix::fs::FileExt as _;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead as _, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A longer head is the library's to refuse.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// More headers are the library's.
const HEADERS_MAX: usize = 48;

/// Bodies up to here leave with their head in one write.
const COPIED_BYTES_MAX: u64 = 32 * 1024;

/// Bytes given to the kernel at once, and where a limit of bandwidth is kept.
const CHUNK_BYTES: u64 = 1024 * 1024;
const PACED_CHUNK_BYTES: u64 = 64 * 1024;

/// What is read from a socket at once.
const READ_BYTES: usize = 64 * 1024;

/// A connection that has nothing to do keeps so much room for what comes.
const KEPT_BYTES_MAX: usize = 8 * 1024;

/// What becomes of a connection after the requests that are answered here.
pub(crate) enum Then {
    Close,
    /// The next request is one for the library; these are its first bytes, or all of them.
    HandOver(TcpStream, BytesMut),
}

/// Answers requests until one comes that is not for here, the client goes, or `stopping` ends.
///
/// # Errors
/// The client is gone, is too slow, or a file was cut while it was sent.
pub(crate) async fn serve(
    stream: TcpStream,
    access: Access,
    shared: &NodeShared,
    pulse: &Rc<Pulse>,
    stopping: impl Future<Output = ()>,
) -> io::Result<Then> {
    let mut stopping = pin!(stopping);
    let mut connection = Direct { stream, shared, pulse, input: BytesMut::new(), output: Vec::new() };
    let mut head_begun = None;
    loop {
        let (wish, manners, head_bytes) = match parse(&connection.input, access, shared) {
            Parsed::Plain { wish, manners, head_bytes } => (wish, manners, head_bytes),
            Parsed::Partial if connection.input.len() < HEAD_BYTES_MAX => {
                if !connection.input.is_empty() {
                    head_begun.get_or_insert_with(Instant::now);
                }
                match connection.read_more(head_begun, stopping.as_mut()).await? {
                    true => continue,
                    false => return Ok(Then::Close),
                }
            }
            Parsed::Partial | Parsed::Other => return Ok(Then::HandOver(connection.stream, connection.input)),
        };
        head_begun = None;
        connection.input.advance(head_bytes);
        let (found, goes_on) = match wish {
            Wish::Read(found) => (found, true),
            Wish::Store(put) => direct_put::answer(connection.store(&put).await?),
        };
        let is_last = !goes_on || !manners.keep_alive || is_over(stopping.as_mut());
        connection.answer(found, Manners { keep_alive: !is_last, ..manners }).await?;
        if is_last {
            return Ok(Then::Close);
        }
    }
}

/// Has it ended already?
fn is_over(future: Pin<&mut impl Future<Output = ()>>) -> bool {
    futures::FutureExt::now_or_never(future).is_some()
}

enum Parsed {
    Partial,
    Plain { wish: Wish, manners: Manners, head_bytes: usize },
    Other,
}

enum Wish {
    Read(Found),
    /// The body is still to be read.
    Store(Put),
}

/// How a request wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manners {
    pub is_head: bool,
    /// HTTP/1.0.
    pub is_old: bool,
    pub keep_alive: bool,
}

fn parse(input: &[u8], access: Access, shared: &NodeShared) -> Parsed {
    if input.is_empty() {
        return Parsed::Partial;
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(input) {
        Ok(httparse::Status::Complete(head_bytes)) => match wish(&request, access, shared) {
            Some((wish, manners)) => Parsed::Plain { wish, manners, head_bytes },
            None => Parsed::Other,
        },
        Ok(httparse::Status::Partial) => Parsed::Partial,
        Err(_) => Parsed::Other,
    }
}

fn wish(request: &httparse::Request<'_, '_>, access: Access, shared: &NodeShared) -> Option<(Wish, Manners)> {
    if request.method == Some("PUT") {
        // Bodies that are to come at a certain rate are received by pieces.
        let (put, manners) =
            direct_put::plain(request).filter(|_| access == Access::Full && shared.bandwidth_is_free())?;
        return Some((Wish::Store(put), manners));
    }
    let (asked, manners) = plain(request)?;
    Some((Wish::Read(fetch(shared, &asked)), manners))
}

/// `None` for whatever is not a GET or HEAD without a body, said in the usual words.
fn plain<'a>(request: &httparse::Request<'_, 'a>) -> Option<(Asked<'a>, Manners)> {
    let is_head = match request.method? {
        "GET" => false,
        "HEAD" => true,
        _ => return None,
    };
    let target = request.path.filter(|target| target.starts_with('/'))?;
    let is_old = request.version? == 0;
    let mut asked = Asked {
        is_head,
        path: target.split_once('?').map_or(target, |(path, _)| path),
        range: None,
        preconditions: Preconditions::default(),
    };
    let mut keep_alive = !is_old;
    for header in request.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let field = match header.name.as_bytes().first()?.to_ascii_lowercase() {
            b'r' if is("range") => &mut asked.range,
            b'i' if is("if-match") => &mut asked.preconditions.if_match,
            b'i' if is("if-none-match") => &mut asked.preconditions.if_none_match,
            b'i' if is("if-modified-since") => &mut asked.preconditions.if_modified_since,
            b'i' if is("if-unmodified-since") => &mut asked.preconditions.if_unmodified_since,
            b'i' if is("if-range") => &mut asked.preconditions.if_range,
            b'c' if is("connection") => {
                keep_alive = keeps_alive(header.value, keep_alive)?;
                continue;
            }
            b'c' if is("content-length") && header.value != b"0" => return None,
            b't' if is("transfer-encoding") => return None,
            b'e' if is("expect") => return None,
            b'u' if is("upgrade") => return None,
            _ => continue,
        };
        // Repeated ones are the library's to understand.
        if field.replace(std::str::from_utf8(header.value).ok()?.trim()).is_some() {
            return None;
        }
    }
    Some((asked, Manners { is_head, is_old, keep_alive }))
}

/// What `Connection` says; `None` for what is neither of the two usual words.
pub(super) fn keeps_alive(value: &[u8], mut keep_alive: bool) -> Option<bool> {
    let mut is_closed = false;
    for word in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        match word {
            _ if word.eq_ignore_ascii_case(b"keep-alive") => keep_alive = true,
            _ if word.eq_ignore_ascii_case(b"close") => is_closed = true,
            b"" | b"TE" | b"te" => {}
            _ => return None,
        }
    }
    Some(keep_alive && !is_closed)
}

struct Direct<'a> {
    stream: TcpStream,
    shared: &'a NodeShared,
    pulse: &'a Rc<Pulse>,
    /// Read and not yet answered.
    input: BytesMut,
    /// What is about to be sent; kept for the next answer.
    output: Vec<u8>,
}

impl Direct<'_> {
    /// False if nothing more is to come: the client has gone, has no more time for the head that it began, or the node
    /// stops and no request has begun.
    async fn read_more(
        &mut self,
        head_begun: Option<Instant>,
        stopping: Pin<&mut impl Future<Output = ()>>,
    ) -> io::Result<bool> {
        let limit = self.shared.header_timeout;
        let read = match head_begun {
            None => tokio::select! {
                biased;
                read = self.read() => read?,
                () = stopping => return Ok(false),
            },
            Some(begun) => match tokio::time::timeout_at(begun + limit, self.read()).await {
                Ok(read) => read?,
                Err(_elapsed) => return Ok(false),
            },
        };
        Ok(read > 0)
    }

    /// Reads what comes; 0 if nothing more will.
    ///
    /// Asks the stream itself: after a read that did not fill the buffer the runtime knows that nothing is left, where
    /// trying again would cost one more system call.
    async fn read(&mut self) -> io::Result<usize> {
        let Self { stream, input, pulse, .. } = self;
        let mut read = |context: &mut Context<'_>, buffer: &mut Vec<u8>| {
            buffer.resize(READ_BYTES, 0);
            let mut filled = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut filled))?;
            input.extend_from_slice(filled.filled());
            pulse.beat();
            Poll::Ready(Ok(filled.filled().len()))
        };
        poll_fn(|context| READ_BUFFER.with_borrow_mut(|buffer| read(context, buffer))).await
    }

    /// Receives the body and stores it.
    async fn store(&mut self, put: &Put) -> io::Result<Result<Stored, UploadError>> {
        let mut pace = self.shared.pace();
        while self.input.len() < put.body_bytes {
            match pace.wait_for_client(self.read()).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count if pace.moved(count).await.is_err() => return Ok(Err(UploadError::TooSlow)),
                _ => {}
            }
        }
        let body = self.input.split_to(put.body_bytes);
        if self.input.is_empty() && body.len() > KEPT_BYTES_MAX {
            self.input = BytesMut::new();
        }
        Ok(put.store(self.shared, self.pulse, &body).await)
    }

    async fn answer(&mut self, found: Found, manners: Manners) -> io::Result<()> {
        write_head(&mut self.output, &found, manners);
        match found.body {
            FoundBody::File { .. } | FoundBody::Text(_) if manners.is_head => self.send_output(false).await,
            FoundBody::Nothing => self.send_output(false).await,
            FoundBody::Text(text) => {
                self.output.extend_from_slice(text.as_bytes());
                self.send_output(false).await
            }
            FoundBody::File { file, first, count } if count <= COPIED_BYTES_MAX && self.shared.bandwidth_is_free() => {
                self.append_small(file, first, count).await?;
                self.send_output(false).await
            }
            FoundBody::File { file, first, count } => {
                self.send_output(true).await?;
                self.send_file(file, first, count).await
            }
        }
    }

    /// Puts so many bytes of a file after the head.
    async fn append_small(&mut self, file: File, first: u64, count: u64) -> io::Result<()> {
        let head_bytes = self.output.len();
        self.output.resize(head_bytes + usize::try_from(count).unwrap_or_default(), 0);
        let room = &mut self.output[head_bytes..];
        let read = preadv2(&file, &mut [IoSliceMut::new(room)], first, ReadWriteFlags::NOWAIT);
        if read.is_ok_and(|read| read as u64 == count) {
            return Ok(());
        }
        let _waiting_for_disk = self.pulse.disk_work();
        let mut bytes = vec![0; room.len()];
        let bytes = blocking(move || file.read_exact_at(&mut bytes, first).map(|()| bytes)).await?;
        room.copy_from_slice(&bytes);
        Ok(())
    }

    /// Sends what is in the output. With `more` the kernel may keep the end of it until more comes.
    async fn send_output(&mut self, more: bool) -> io::Result<()> {
        let flags = SendFlags::NOSIGNAL | if more { SendFlags::MORE } else { SendFlags::empty() };
        let mut sent = 0;
        while sent < self.output.len() {
            let attempt = || Ok(send(&self.stream, &self.output[sent..], flags)?);
            sent += self.stream.async_io(Interest::WRITABLE, attempt).await?;
            self.pulse.beat();
        }
        Ok(())
    }

    async fn send_file(&mut self, mut file: File, first: u64, count: u64) -> io::Result<()> {
        let mut pace = self.shared.pace();
        let chunk_bytes = if pace.is_free() { CHUNK_BYTES } else { PACED_CHUNK_BYTES };
        let (mut at, end) = (first, first + count);
        while at < end {
            let chunk_end = (at + chunk_bytes).min(end);
            if !is_in_memory(&file, at, chunk_end) {
                let _waiting_for_disk = self.pulse.disk_work();
                file = blocking(move || read_ahead(&file, at, chunk_end).map(|()| file)).await?;
            }
            let begun = at;
            while at < chunk_end {
                let left = usize::try_from(chunk_end - at).unwrap_or(usize::MAX);
                let mut offset = at;
                let attempt = || Ok(sendfile(&self.stream, &file, Some(&mut offset), left)?);
                match pace.wait_for_client(self.stream.async_io(Interest::WRITABLE, attempt)).await? {
                    // It was cut while it was sent: the promised length cannot be kept.
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    sent => at += sent as u64,
                }
                self.pulse.beat();
            }
            let moved = usize::try_from(at - begun).unwrap_or(usize::MAX);
            pace.moved(moved).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
            // Others of this thread get their turn, however fast this client takes.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// Can the first and the last byte of this piece be had without the disk? What lies between came with them, mostly.
fn is_in_memory(file: &File, first: u64, end: u64) -> bool {
    let mut byte = [0];
    let mut has = |at| preadv2(file, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT) == Ok(1);
    has(end - 1) && has(first)
}

/// Brings a piece of a file into memory. Blocks.
fn read_ahead(file: &File, first: u64, end: u64) -> io::Result<()> {
    let mut scrap = vec![0; 128 * 1024];
    let mut at = first;
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(scrap.len());
        match file.read_at(&mut scrap[..wanted], at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => at += read as u64,
        }
    }
    Ok(())
}

fn write_head(output: &mut Vec<u8>, found: &Found, manners: Manners) {
    output.clear();
    // Writing to a vector cannot fail.
    let version = if manners.is_old { '0' } else { '1' };
    let reason = found.status.canonical_reason().unwrap_or_default();
    let _ = write!(output, "HTTP/1.{version} {} {reason}\r\n", found.status.as_str());
    found.headers(|name, value| {
        let _ = write!(output, "{name}: {value}\r\n");
    });
    DATE.with_borrow_mut(|date| output.extend_from_slice(date.now()));
    match manners {
        Manners { keep_alive: false, .. } => output.extend_from_slice(b"Connection: close\r\n"),
        Manners { is_old: true, .. } => output.extend_from_slice(b"Connection: keep-alive\r\n"),
        Manners { .. } => {}
    }
    output.extend_from_slice(b"\r\n");
}

thread_local! {
    static DATE: RefCell<DateLine> = RefCell::default();
    /// Where reads go first, so that an idle connection holds no room for them.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The header `Date`, written once a second.
#[derive(Default)]
struct DateLine {
    unix_secs: u64,
    line: Vec<u8>,
}

impl DateLine {
    fn now(&mut self) -> &[u8] {
        let unix_secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        if unix_secs != self.unix_secs || self.line.is_empty() {
            let date = httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(unix_secs));
            self.unix_secs = unix_secs;
            self.line = format!("Date: {date}\r\n").into_bytes();
        }
        &self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Option<(bool, Option<String>, Manners)> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        assert!(request.parse(head.as_bytes()).expect("a request").is_complete());
        let (asked, manners) = plain(&request)?;
        Some((asked.is_head, asked.range.map(str::to_owned), manners))
    }

    #[test]
    fn plain_requests_are_answered_here() {
        let new = Manners { is_head: false, is_old: false, keep_alive: true };
        let old = Manners { is_old: true, ..new };
        let close = Manners { keep_alive: false, ..new };
        assert_eq!(read("GET /a HTTP/1.1\r\nHost: x\r\n\r\n"), Some((false, None, new)));
        assert_eq!(read("GET /a?b HTTP/1.0\r\n\r\n").map(|read| read.2), Some(Manners { keep_alive: false, ..old }));
        assert_eq!(read("GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").map(|read| read.2), Some(old));
        // The reference's first request on a connection says it twice.
        let twice = "GET /a HTTP/1.0\r\nConnection: Keep-Alive, keep-alive\r\n\r\n";
        assert_eq!(read(twice).map(|read| read.2), Some(old));
        assert_eq!(read("GET /a HTTP/1.1\r\nconnection: close\r\n\r\n").map(|read| read.2), Some(close));
        let range = read("HEAD /a HTTP/1.1\r\nRANGE: bytes=1-2\r\nContent-Length: 0\r\n\r\n").expect("plain");
        assert_eq!((range.0, range.1.as_deref()), (true, Some("bytes=1-2")));
    }

    #[test]
    fn all_others_are_left_to_the_library() {
        for other in [
            "DELETE /a HTTP/1.1\r\n\r\n",
            "GET http://x/a HTTP/1.1\r\n\r\n",
            "GET /a HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
            "GET /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /a HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
            "GET /a HTTP/1.1\r\nConnection: upgrade\r\n\r\n",
            "GET /a HTTP/1.1\r\nIf-Match: \"a\"\r\nIf-Match: \"b\"\r\n\r\n",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
