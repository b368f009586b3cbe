//! Short answers, and which status an error of the disk means.

use super::body::NodeBody;
use crate::node_client::copy_order;
use bytes::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, SERVER};
use hyper::{Response, StatusCode};
use std::io;

const SERVER_NAME: HeaderValue = HeaderValue::from_static("mogilefs");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain");

/// An answer to an HTTP request.
pub(crate) type Answer = Response<NodeBody>;

/// An answer with this body.
pub(crate) fn with_body(status: StatusCode, body: NodeBody) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(SERVER, SERVER_NAME);
    answer.headers_mut().insert(copy_order::CAPABILITY, copy_order::CAPABLE);
    answer
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    with_body(status, NodeBody::Empty)
}

/// One line for people.
pub(crate) fn text(status: StatusCode, line: &str) -> Answer {
    let mut answer = with_body(status, NodeBody::Full(Some(Bytes::from(format!("{line}\n")))));
    answer.headers_mut().insert(CONTENT_TYPE, TEXT);
    answer
}

/// The same answer, after which the connection is closed.
pub(crate) fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// What the failure of a write means for the client.
pub(crate) fn write_failure(error: &io::Error) -> (StatusCode, &'static str) {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => (StatusCode::INSUFFICIENT_STORAGE, "no space left on device"),
        Kind::ReadOnlyFilesystem => (StatusCode::FORBIDDEN, "the device is read-only"),
        Kind::NotADirectory => (StatusCode::BAD_REQUEST, "a leading part of the path is a file"),
        Kind::IsADirectory => (StatusCode::BAD_REQUEST, "the path is a directory"),
        Kind::InvalidFilename => (StatusCode::BAD_REQUEST, "name too long"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "disk error"),
    }
}

/// Nothing is there: no such file, or a leading part of the path is a file.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N1.
    #[test]
    fn a_full_disk_has_a_status_of_its_own() {
        assert_eq!(write_failure(&io::ErrorKind::StorageFull.into()).0, StatusCode::INSUFFICIENT_STORAGE);
        assert_eq!(write_failure(&io::ErrorKind::ReadOnlyFilesystem.into()).0, StatusCode::FORBIDDEN);
        assert_eq!(write_failure(&io::Error::other("bad sector")).0, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
