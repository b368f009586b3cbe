//! GET and HEAD: whole files, single ranges, conditions. Small answers are read at once, large ones streamed.

use super::http::{self, Answer, Body, io_answer};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, IF_MODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use hyper::{Method, Request, Response, StatusCode};
use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;
use tokio::task::JoinHandle;

/// Answers up to this size are read by the thread that serves.
const INLINE_BYTES_MAX: u64 = 256 * 1024;
/// Bytes read at a time from larger files.
const CHUNK_BYTES: u64 = 512 * 1024;

/// Answers a GET or HEAD for a file.
pub async fn answer(request: &Request<Incoming>, path: &Path) -> Answer {
    let (mut file, metadata) = match open(path) {
        Ok(opened) => opened,
        Err(error) => return io_answer(&error),
    };
    if metadata.is_dir() {
        return http::text(StatusCode::OK, "directories are not listed\n");
    }
    let modified = metadata.modified().ok();
    if is_unmodified(request, modified) {
        return with_headers(http::empty(StatusCode::NOT_MODIFIED), modified);
    }
    let length = metadata.len();
    let (status, first, count) = match range(request, length) {
        Range::Whole => (StatusCode::OK, 0, length),
        Range::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Range::Unsatisfiable => return unsatisfiable(length),
    };
    let body =
        if request.method() == Method::HEAD { Ok(http::full(Bytes::new())) } else { body(&mut file, first, count) };
    let body = match body {
        Ok(body) => body,
        Err(error) => return io_answer(&error),
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(count));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {first}-{}/{length}", first + count - 1);
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(CONTENT_RANGE, value);
        }
    }
    with_headers(answer, modified)
}

fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

fn with_headers(mut answer: Answer, modified: Option<SystemTime>) -> Answer {
    let headers = answer.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(value) = modified.and_then(|time| HeaderValue::try_from(httpdate::fmt_http_date(time)).ok()) {
        headers.insert(LAST_MODIFIED, value);
    }
    answer
}

fn unsatisfiable(length: u64) -> Answer {
    let mut answer = http::empty(StatusCode::RANGE_NOT_SATISFIABLE);
    if let Ok(value) = HeaderValue::try_from(format!("bytes */{length}")) {
        answer.headers_mut().insert(CONTENT_RANGE, value);
    }
    answer
}

fn is_unmodified(request: &Request<Incoming>, modified: Option<SystemTime>) -> bool {
    let since = request.headers().get(IF_MODIFIED_SINCE).and_then(|value| value.to_str().ok());
    let since = since.and_then(|text| httpdate::parse_http_date(text).ok());
    // The header has whole seconds.
    let whole_secs = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    matches!((since, modified), (Some(since), Some(modified)) if whole_secs(modified) <= whole_secs(since))
}

/// What a Range header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    Part { first: u64, last: u64 },
    Unsatisfiable,
}

fn range(request: &Request<Incoming>, length: u64) -> Range {
    let header = request.headers().get(RANGE).and_then(|value| value.to_str().ok());
    header.map_or(Range::Whole, |text| parse_range(text, length))
}

/// `bytes=a-b`, `bytes=a-`, `bytes=-n`; anything else, several ranges too, means the whole file.
fn parse_range(text: &str, length: u64) -> Range {
    let Some((first, last)) = text.trim().strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Range::Whole;
    };
    match (first.trim(), last.trim()) {
        ("", suffix) => match suffix.parse::<u64>() {
            Ok(0) => Range::Unsatisfiable,
            Ok(_) if length == 0 => Range::Unsatisfiable,
            Ok(count) => Range::Part { first: length.saturating_sub(count), last: length - 1 },
            Err(_) => Range::Whole,
        },
        (first, last) => {
            let last_number = if last.is_empty() { Ok(u64::MAX) } else { last.parse() };
            match (first.parse::<u64>(), last_number) {
                (Ok(first), Ok(last)) if first > last => Range::Whole,
                (Ok(first), Ok(_)) if first >= length => Range::Unsatisfiable,
                (Ok(first), Ok(last)) => Range::Part { first, last: last.min(length - 1) },
                _ => Range::Whole,
            }
        }
    }
}

fn body(file: &mut File, first: u64, count: u64) -> io::Result<Body> {
    if first > 0 {
        file.seek(SeekFrom::Start(first))?;
    }
    if count <= INLINE_BYTES_MAX {
        return Ok(http::full(read_exactly(file, count)?));
    }
    Ok(FileBody { file: file.try_clone()?, remaining: count, reading: None }.boxed_unsync())
}

fn read_exactly(file: &mut File, count: u64) -> io::Result<Bytes> {
    let count = usize::try_from(count).map_err(io::Error::other)?;
    let mut bytes = BytesMut::zeroed(count);
    file.read_exact(&mut bytes)?;
    Ok(bytes.freeze())
}

/// A large file, one chunk in memory at a time, read by threads that may block.
struct FileBody {
    file: File,
    remaining: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl HttpBody for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.remaining == 0 && self.reading.is_none() {
            return Poll::Ready(None);
        }
        if self.reading.is_none() {
            let count = self.remaining.min(CHUNK_BYTES);
            let mut file = self.file.try_clone()?;
            self.reading = Some(tokio::task::spawn_blocking(move || read_exactly(&mut file, count)));
        }
        let Some(reading) = self.reading.as_mut() else { return Poll::Ready(None) };
        let read = std::task::ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let bytes = read.map_err(io::Error::other)??;
        self.remaining -= bytes.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S4, S5.
    #[test]
    fn ranges_are_read_as_http_says() {
        assert_eq!(parse_range("bytes=1-3", 6), Range::Part { first: 1, last: 3 });
        assert_eq!(parse_range("bytes=4-", 6), Range::Part { first: 4, last: 5 });
        assert_eq!(parse_range("bytes=-2", 6), Range::Part { first: 4, last: 5 });
        assert_eq!(parse_range("bytes=-20", 6), Range::Part { first: 0, last: 5 });
        assert_eq!(parse_range("bytes=0-99", 6), Range::Part { first: 0, last: 5 });
        for unsatisfiable in ["bytes=100-200", "bytes=6-", "bytes=-0"] {
            assert_eq!(parse_range(unsatisfiable, 6), Range::Unsatisfiable, "{unsatisfiable}");
        }
        for whole in ["bytes=0-1,3-4", "bytes=x-", "lines=1-2", "bytes=3-1"] {
            assert_eq!(parse_range(whole, 6), Range::Whole, "{whole}");
        }
        assert_eq!(parse_range("bytes=-1", 0), Range::Unsatisfiable);
    }
}
