//! Storing a file: open at the tracker, PUT to a storage node, close at the tracker.
//!
//! A source that can be read again is sent to the next destination when one fails; a pipe only while nothing of it was
//! read. The file is never closed with another size than was sent.

use super::body::{Reader, SharedSource};
use super::error::all_failed;
use super::{ClientError, Destination, Progress, StorageClient, StorageError, TrackerClient};
use crate::cluster::checksum::{Checksum, HashType};
use crate::ids::{DevId, Fid};
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A pipe that ends within this many bytes is sent like a file: with its length, and again if need be.
const HELD_PIPE_BYTES: u64 = 1 << 20;

/// What to store.
#[derive(Clone, Copy, Debug)]
pub struct UploadRequest<'a> {
    pub domain: &'a [u8],
    pub key: &'a [u8],
    /// `None` for the default class.
    pub class: Option<&'a [u8]>,
    /// Compute the MD5 on the way and send it with the close.
    pub checksum: bool,
}

/// Where the bytes are.
pub enum UploadSource {
    Bytes(Bytes),
    /// Sent with its length if it is a regular file, else like a stream.
    File(PathBuf),
    /// Of unknown length, readable once.
    Stream(Box<dyn AsyncRead + Send + Unpin>),
}

/// A file that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    pub fid: Fid,
    pub devid: DevId,
    /// The URL that was written.
    pub path: String,
    pub bytes: u64,
    pub checksum: Option<Checksum>,
}

/// Stores a file under its key.
///
/// # Errors
/// The tracker's refusals, [`ClientError::Storage`] when no destination took the file, [`ClientError::Local`] when the
/// source could not be read.
pub async fn upload(
    tracker: &mut TrackerClient,
    storage: &StorageClient,
    request: &UploadRequest<'_>,
    source: UploadSource,
    progress: &Progress,
) -> Result<Uploaded, ClientError> {
    let mut supply = Supply::prepare(source).await?;
    let opened = tracker.create_open(request.domain, request.key, request.class, supply.length_bytes()).await?;
    let mut failures = Vec::new();
    for destination in &opened.destinations {
        let Some(source) = supply.next(request.checksum, progress).await? else { break };
        match put_watched(storage, &destination.path, &source).await {
            Ok(()) => return close(tracker, request, opened.fid, destination, &source).await,
            Err(failure) => failures.push(failure),
        }
        if let Some(error) = source.take_failure() {
            return Err(supply.local_error(error));
        }
    }
    Err(all_failed("storing the file failed", &failures))
}

async fn close(
    tracker: &mut TrackerClient,
    request: &UploadRequest<'_>,
    fid: Fid,
    destination: &Destination,
    source: &SharedSource,
) -> Result<Uploaded, ClientError> {
    let (bytes, checksum) = (source.sent_bytes(), source.take_checksum());
    let checksum_text = checksum.as_ref().map(ToString::to_string);
    tracker.create_close(request.domain, request.key, fid, destination, bytes, checksum_text.as_deref()).await?;
    Ok(Uploaded { fid, devid: destination.devid, path: destination.path.clone(), bytes, checksum })
}

/// PUT that gives up when the node takes nothing for too long; waiting for the source does not count.
async fn put_watched(storage: &StorageClient, url: &str, source: &SharedSource) -> Result<(), StorageError> {
    let stall = storage.timeouts().stall;
    tokio::select! {
        outcome = storage.put(url, source.body()) => outcome,
        () = stalled(source, stall) => Err(StorageError::new(url, format!("no progress within {stall:?}"))),
    }
}

/// Returns once nothing was sent for the time.
async fn stalled(source: &SharedSource, limit: Duration) {
    let mut seen_bytes = source.sent_bytes();
    loop {
        tokio::time::sleep(limit).await;
        let sent_bytes = source.sent_bytes();
        if sent_bytes == seen_bytes && !source.is_starved() {
            return;
        }
        seen_bytes = sent_bytes;
    }
}

/// Hands the source out once for each destination, as long as that is possible.
enum Supply {
    Bytes(Bytes),
    File {
        path: PathBuf,
        length_bytes: u64,
    },
    Once(Option<Reader>),
    /// Handed out before; may be used again while it was not read from.
    Lent(SharedSource),
}

impl Supply {
    async fn prepare(source: UploadSource) -> Result<Self, ClientError> {
        match source {
            UploadSource::Bytes(bytes) => Ok(Self::Bytes(bytes)),
            UploadSource::File(path) => Self::prepare_file(path).await,
            UploadSource::Stream(reader) => Self::prepare_stream(reader).await,
        }
    }

    async fn prepare_file(path: PathBuf) -> Result<Self, ClientError> {
        let metadata = tokio::fs::metadata(&path).await.map_err(|error| cannot_read(&path, error))?;
        if metadata.is_file() {
            return Ok(Self::File { path, length_bytes: metadata.len() });
        }
        let file = tokio::fs::File::open(&path).await.map_err(|error| cannot_read(&path, error))?;
        Self::prepare_stream(Box::new(file)).await
    }

    /// Reads ahead: most pipes are short, and nodes prefer to know the length.
    async fn prepare_stream(mut reader: Reader) -> Result<Self, ClientError> {
        let mut held = Vec::new();
        let outcome = (&mut reader).take(HELD_PIPE_BYTES + 1).read_to_end(&mut held).await;
        outcome.map_err(|source| ClientError::Local { what: "reading the input".to_owned(), source })?;
        Ok(match held.len() as u64 > HELD_PIPE_BYTES {
            false => Self::Bytes(Bytes::from(held)),
            true => Self::Once(Some(Box::new(io::Cursor::new(held).chain(reader)))),
        })
    }

    fn length_bytes(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File { length_bytes, .. } => Some(*length_bytes),
            Self::Once(_) | Self::Lent(_) => None,
        }
    }

    /// The source from its beginning; `None` if that is gone.
    async fn next(&mut self, checksum: bool, progress: &Progress) -> Result<Option<SharedSource>, ClientError> {
        let share = |reader: Reader, length_bytes: Option<u64>| {
            let hasher = checksum.then(|| HashType::Md5.hasher());
            SharedSource::new(reader, length_bytes, hasher, progress.clone())
        };
        Ok(match self {
            Self::Bytes(bytes) => Some(share(Box::new(io::Cursor::new(bytes.clone())), Some(bytes.len() as u64))),
            Self::File { path, length_bytes } => {
                let file = tokio::fs::File::open(&*path).await.map_err(|error| cannot_read(path, error))?;
                Some(share(Box::new(file), Some(*length_bytes)))
            }
            Self::Once(reader) => match reader.take() {
                None => None,
                Some(reader) => {
                    let source = share(reader, None);
                    *self = Self::Lent(source.clone());
                    Some(source)
                }
            },
            Self::Lent(source) => Some(source.clone()).filter(|source| source.sent_bytes() == 0),
        })
    }

    fn local_error(&self, source: io::Error) -> ClientError {
        match self {
            Self::File { path, .. } => cannot_read(path, source),
            _ => ClientError::Local { what: "reading the input".to_owned(), source },
        }
    }
}

fn cannot_read(path: &Path, source: io::Error) -> ClientError {
    ClientError::Local { what: format!("reading {}", path.display()), source }
}
