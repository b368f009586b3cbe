//! The client's side of the cluster: asks trackers (protocol.md 2–4), and stores and fetches files at storage nodes.
//!
//! Everything here streams: memory does not grow with the size of a file. It must never print, never exit, and never
//! take the bytes of a key for text.

pub mod big;
mod body;
mod connection;
mod download;
mod error;
mod files;
mod storage;
mod upload;

pub use body::UploadBody;
pub use connection::{Identity, TrackerClient, encode_request, open_transport, talks_tls, with_port};
pub use download::{DownloadRequest, Downloaded, download};
pub use error::{ClientError, StorageError};
pub use files::{Destination, FileInfo, KeyPage, OpenedFile, read_create_open};
pub use storage::StorageClient;
pub use upload::{UploadRequest, UploadSource, Uploaded, upload};

use std::sync::Arc;
use std::time::Duration;

/// The port of a tracker when an address names none (protocol.md 2).
pub const DEFAULT_TRACKER_PORT: u16 = 7001;
/// The same when it names none and TLS is talked.
pub const DEFAULT_TRACKER_TLS_PORT: u16 = 7003;

/// How long to wait for others.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection to a tracker or storage node.
    pub connect: Duration,
    /// For the reply of a tracker to one request.
    pub reply: Duration,
    /// For a storage node to take or give the next piece of a file, or to answer after the last.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), reply: Duration::from_secs(30), stall: Duration::from_secs(60) }
    }
}

/// Is told how many bytes of the file have been moved so far. The number falls when an upload begins anew.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// Nobody looks.
pub fn no_progress() -> Progress {
    Arc::new(|_bytes| {})
}
