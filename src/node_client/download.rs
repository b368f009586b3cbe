//! A file that is read from a node: exactly as many bytes as expected, or an error.

use super::error::NodeError;
use super::http::{self, NodeClient};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;
use std::time::Duration;

/// What is still to come of a file.
pub struct Download {
    body: Incoming,
    missing_bytes: u64,
    /// Longest wait for the next bytes.
    stall_limit: Duration,
}

impl NodeClient {
    /// Begins to read a file that must have this length.
    ///
    /// # Errors
    /// Any answer but success with exactly this length.
    pub async fn download(&self, url: &str, length: u64) -> Result<Download, NodeError> {
        let body = self.open(url, length).await?;
        Ok(Download { body, missing_bytes: length, stall_limit: self.stall_limit() })
    }

    /// The body of an answer that announces exactly this length.
    pub(super) async fn open(&self, url: &str, length: u64) -> Result<Incoming, NodeError> {
        let response = self.simple(Method::GET, url).await?;
        http::success(&response)?;
        match http::content_length(&response) {
            Some(found) if found == length => Ok(response.into_body()),
            Some(actual) => Err(NodeError::WrongLength { expected: length, actual }),
            None => Err(NodeError::NoLength),
        }
    }
}

impl Download {
    /// The next bytes; `None` when all were given.
    ///
    /// # Errors
    /// The file ended early, or nothing came for too long.
    pub async fn next(&mut self) -> Result<Option<Bytes>, NodeError> {
        loop {
            let frame = match tokio::time::timeout(self.stall_limit, self.body.frame()).await {
                Err(_elapsed) => return Err(NodeError::Timeout(self.stall_limit)),
                Ok(None) if self.missing_bytes == 0 => return Ok(None),
                Ok(None) => {
                    return Err(NodeError::Unreachable(format!("{} bytes missing at the end", self.missing_bytes)));
                }
                Ok(Some(Err(error))) => return Err(NodeError::Unreachable(http::describe(&error))),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(bytes) = frame.into_data() else { continue };
            self.missing_bytes = self
                .missing_bytes
                .checked_sub(bytes.len() as u64)
                .ok_or_else(|| NodeError::Unreachable("more bytes than announced".to_owned()))?;
            return Ok(Some(bytes));
        }
    }
}
