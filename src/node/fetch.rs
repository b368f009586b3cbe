//! GET and HEAD: files, whole or one range, and the greeting at `/`.

use super::NodeShared;
use super::answer::{self, Answer};
use super::body::{FilePieces, NodeBody, read_exactly};
use super::byte_range::{self, Selection};
use super::path::{DevicePath, PathRefusal};
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
    IF_RANGE, LAST_MODIFIED, RANGE,
};
use hyper::{Method, StatusCode};
use slog::warn;
use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Files and ranges up to here are read at once, on the network thread: faster than a thread pool for small ones.
const INLINE_BYTES: u64 = 256 * 1024;

/// Answers a GET or HEAD.
pub(crate) fn fetch(shared: &NodeShared, method: &Method, path: &str, headers: &HeaderMap) -> Answer {
    if path == "/" {
        return answer::text(StatusCode::OK, "mogilefs storage node");
    }
    let path = match DevicePath::parse(path) {
        Ok(path) => path,
        Err(PathRefusal::DotDot) => return answer::text(StatusCode::FORBIDDEN, "path contains .."),
        Err(_) => return answer::text(StatusCode::NOT_FOUND, "not found"),
    };
    let file = path.on_disk(&shared.docroot);
    match File::open(&file).and_then(|file| serve_file(file, &path, method, headers)) {
        Ok(answer) => answer,
        Err(error) if answer::is_missing(&error) => answer::text(StatusCode::NOT_FOUND, "not found"),
        Err(error) => {
            warn!(shared.log, "cannot read"; "path" => %file.display(), "error" => %error);
            answer::text(StatusCode::INTERNAL_SERVER_ERROR, "disk error")
        }
    }
}

fn serve_file(file: File, path: &DevicePath, method: &Method, headers: &HeaderMap) -> io::Result<Answer> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(answer::text(StatusCode::FORBIDDEN, "not a file"));
    }
    let modified = modified_whole_secs(&metadata)?;
    if is_unmodified(headers, modified) {
        let mut answer = answer::empty(StatusCode::NOT_MODIFIED);
        describe(&mut answer, path, modified);
        return Ok(answer);
    }
    let length = metadata.len();
    let selection = match *method == Method::GET {
        true => selection(headers, length, modified),
        false => Selection::Whole,
    };
    let (status, first, count) = match selection {
        Selection::Whole => (StatusCode::OK, 0, length),
        Selection::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Selection::Unsatisfiable => {
            let mut answer = answer::text(StatusCode::RANGE_NOT_SATISFIABLE, "range not satisfiable");
            insert(&mut answer, CONTENT_RANGE, &format!("bytes */{length}"));
            return Ok(answer);
        }
    };
    let body = match *method == Method::HEAD {
        true => NodeBody::Empty,
        false => body_of(file, first, count)?,
    };
    let mut answer = answer::with_body(status, body);
    describe(&mut answer, path, modified);
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(count));
    if let Selection::Part { first, last } = selection {
        insert(&mut answer, CONTENT_RANGE, &format!("bytes {first}-{last}/{length}"));
    }
    Ok(answer)
}

fn body_of(mut file: File, first: u64, count: u64) -> io::Result<NodeBody> {
    if first > 0 {
        file.seek(SeekFrom::Start(first))?;
    }
    Ok(match count {
        0 => NodeBody::Empty,
        1..=INLINE_BYTES => NodeBody::Full(Some(read_exactly(&file, count)?)),
        _ => NodeBody::File(FilePieces::new(file, count)),
    })
}

fn describe(answer: &mut Answer, path: &DevicePath, modified: SystemTime) {
    insert(answer, LAST_MODIFIED, &httpdate::fmt_http_date(modified));
    let headers = answer.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(path.name())));
}

/// Stored files carry no type: what they are is known to the application alone.
fn content_type(name: &str) -> &'static str {
    match name {
        "usage" => "text/plain",
        _ => "application/octet-stream",
    }
}

fn insert(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// HTTP dates have whole seconds. Times before 1970 or beyond year 9999 cannot be written and become 1970.
fn modified_whole_secs(metadata: &Metadata) -> io::Result<SystemTime> {
    const YEAR_10000_SECS: u64 = 253_402_300_800;
    let secs = metadata.modified()?.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    Ok(UNIX_EPOCH + Duration::from_secs(if secs < YEAR_10000_SECS { secs } else { 0 }))
}

fn is_unmodified(headers: &HeaderMap, modified: SystemTime) -> bool {
    date(headers, IF_MODIFIED_SINCE).is_some_and(|since| modified <= since)
}

/// A range counts only if the file is still the one that the client has the other parts of.
fn selection(headers: &HeaderMap, length: u64, modified: SystemTime) -> Selection {
    let same_file = !headers.contains_key(IF_RANGE) || date(headers, IF_RANGE) == Some(modified);
    match headers.get(RANGE).and_then(|range| range.to_str().ok()) {
        Some(range) if same_file => byte_range::select(range, length),
        _ => Selection::Whole,
    }
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}
