//! GET and HEAD: which file, whole or one range, or why not; and the greeting at `/`.
//!
//! Decides and opens; sends nothing. Must never promise bytes that the file does not have at that moment.

use super::NodeShared;
use super::byte_range::{self, Selection};
use super::path::{DevicePath, PathRefusal};
use super::preconditions::{Outcome, Preconditions, Version};
use crate::node_client::copy_order;
use hyper::StatusCode;
use slog::warn;
use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is asked for.
pub(crate) struct Asked<'a> {
    pub is_head: bool,
    pub path: &'a str,
    pub range: Option<&'a str>,
    pub preconditions: Preconditions<'a>,
}

/// The answer.
pub(crate) struct Found {
    pub status: StatusCode,
    /// Of a file, also one that is not sent.
    version: Option<(Version, &'static str)>,
    content_range: Option<String>,
    pub body: FoundBody,
}

/// What follows the head. For HEAD it is described all the same, and not sent.
pub(crate) enum FoundBody {
    Nothing,
    /// For people.
    Text(Cow<'static, str>),
    File {
        file: File,
        first: u64,
        count: u64,
    },
}

impl Found {
    fn line(status: StatusCode, line: &'static str) -> Self {
        Self::text(status, Cow::Borrowed(line))
    }

    /// An answer for people.
    pub fn text(status: StatusCode, text: Cow<'static, str>) -> Self {
        Self { status, version: None, content_range: None, body: FoundBody::Text(text) }
    }

    /// The answer to an upload.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, version: None, content_range: None, body: FoundBody::Nothing }
    }

    /// Length of the body in bytes, where one must be told.
    pub fn length(&self) -> Option<u64> {
        match &self.body {
            FoundBody::Nothing => (self.status == StatusCode::CREATED).then_some(0),
            FoundBody::Text(text) => Some(text.len() as u64),
            FoundBody::File { count, .. } => Some(*count),
        }
    }

    /// Tells each header but that of the date and those of the connection.
    pub fn headers(&self, mut tell: impl FnMut(&str, std::fmt::Arguments<'_>)) {
        tell("Server", format_args!("mogilefs"));
        tell(copy_order::CAPABILITY.as_str(), format_args!("{}", copy_order::CAPABLE.to_str().unwrap_or_default()));
        if let Some(length) = self.length() {
            tell("Content-Length", format_args!("{length}"));
        }
        match &self.version {
            Some((version, content_type)) => {
                tell("Last-Modified", format_args!("{}", httpdate::HttpDate::from(version.modified)));
                tell("ETag", format_args!("{version}"));
                tell("Accept-Ranges", format_args!("bytes"));
                tell("Content-Type", format_args!("{content_type}"));
            }
            None if matches!(self.body, FoundBody::Nothing) => {}
            None => tell("Content-Type", format_args!("text/plain")),
        }
        if let Some(content_range) = &self.content_range {
            tell("Content-Range", format_args!("{content_range}"));
        }
    }
}

/// Answers a GET or HEAD.
pub(crate) fn fetch(shared: &NodeShared, asked: &Asked<'_>) -> Found {
    if asked.path == "/" {
        return Found::line(StatusCode::OK, "mogilefs storage node\n");
    }
    let path = match DevicePath::parse(asked.path) {
        Ok(path) => path,
        Err(PathRefusal::DotDot) => return Found::line(StatusCode::FORBIDDEN, "path contains ..\n"),
        Err(_) => return Found::line(StatusCode::NOT_FOUND, "not found\n"),
    };
    let file = shared.on_disk(&path);
    if path.name() == "usage"
        && let Some(text) = shared.read_only_usage.of(&file)
    {
        let body = FoundBody::Text(Cow::Owned(text));
        return Found { status: StatusCode::OK, version: None, content_range: None, body };
    }
    match File::open(&file).and_then(|file| of_file(file, &path, asked)) {
        Ok(found) => found,
        Err(error) if super::answer::is_missing(&error) => Found::line(StatusCode::NOT_FOUND, "not found\n"),
        Err(error) => {
            warn!(shared.log, "cannot read"; "path" => %file.display(), "error" => %error);
            Found::line(StatusCode::INTERNAL_SERVER_ERROR, "disk error\n")
        }
    }
}

fn of_file(file: File, path: &DevicePath, asked: &Asked<'_>) -> io::Result<Found> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Found::line(StatusCode::FORBIDDEN, "not a file\n"));
    }
    let (version, length) = (version(&metadata)?, metadata.len());
    let described = |status, content_range, body| Found {
        status,
        version: Some((version, content_type(path.name()))),
        content_range,
        body,
    };
    let range = match asked.preconditions.decide(&version) {
        Outcome::Failed => return Ok(Found::line(StatusCode::PRECONDITION_FAILED, "precondition failed\n")),
        Outcome::Unmodified => return Ok(described(StatusCode::NOT_MODIFIED, None, FoundBody::Nothing)),
        Outcome::Send { range_counts } => asked.range.filter(|_| range_counts && !asked.is_head),
    };
    Ok(match range.map_or(Selection::Whole, |range| byte_range::select(range, length)) {
        Selection::Whole => described(StatusCode::OK, None, FoundBody::File { file, first: 0, count: length }),
        Selection::Part { first, last } => {
            let body = FoundBody::File { file, first, count: last - first + 1 };
            described(StatusCode::PARTIAL_CONTENT, Some(format!("bytes {first}-{last}/{length}")), body)
        }
        Selection::Unsatisfiable => Found {
            content_range: Some(format!("bytes */{length}")),
            ..Found::line(StatusCode::RANGE_NOT_SATISFIABLE, "range not satisfiable\n")
        },
    })
}

/// Stored files carry no type: what they are is known to the application alone.
fn content_type(name: &str) -> &'static str {
    match name {
        "usage" => "text/plain",
        _ => "application/octet-stream",
    }
}

/// HTTP dates have whole seconds. Times before 1970 or beyond year 9999 cannot be written and become 1970.
fn version(metadata: &Metadata) -> io::Result<Version> {
    const YEAR_10000_SECS: u64 = 253_402_300_800;
    let age = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let secs = if age.as_secs() < YEAR_10000_SECS { age.as_secs() } else { 0 };
    let modified: SystemTime = UNIX_EPOCH + Duration::from_secs(secs);
    Ok(Version { modified, modified_nanos: age.as_nanos(), length: metadata.len() })
}
