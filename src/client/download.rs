//! Fetching a file: from the first copy that can be read, going on at another copy where one breaks off.
//!
//! Never gives success for fewer or more bytes than the tracker says the file has.

use super::error::all_failed;
use super::{ClientError, FileInfo, Progress, StorageClient, StorageError, TrackerClient};
use crate::cluster::checksum::{Checksum, Hasher};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::{Response, StatusCode, header};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// More copies than this are not asked for at a time.
const PATHCOUNT: u32 = 8;

/// What to fetch.
#[derive(Clone, Copy, Debug)]
pub struct DownloadRequest<'a> {
    pub domain: &'a [u8],
    pub key: &'a [u8],
    /// Compare the bytes with the checksum that the tracker has, if it has one.
    pub verify: bool,
}

/// A file that was fetched whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downloaded {
    pub info: FileInfo,
    /// The bytes were compared with a checksum.
    pub verified: bool,
}

/// Fetches a file into the sink and flushes it. `begin` is told the length before the first byte.
///
/// # Errors
/// The tracker's refusals, [`ClientError::Storage`] when the copies together did not give the whole file,
/// [`ClientError::Local`] when the sink failed.
pub async fn download<W: AsyncWrite + Unpin>(
    tracker: &mut TrackerClient,
    storage: &StorageClient,
    request: &DownloadRequest<'_>,
    sink: &mut W,
    begin: impl FnOnce(u64),
    progress: &Progress,
) -> Result<Downloaded, ClientError> {
    let info = tracker.file_info(request.domain, request.key, false).await?;
    let paths = tracker.get_paths(request.domain, request.key, true, PATHCOUNT).await?;
    let expected = info.checksum.as_ref().and_then(|text| Checksum::parse(text)).filter(|_| request.verify);
    begin(info.length_bytes);
    let hasher = expected.as_ref().map(|checksum| checksum.hashtype.hasher());
    let mut transfer = Transfer { storage, sink, length_bytes: info.length_bytes, done_bytes: 0, hasher, progress };
    transfer.run(&paths).await?;
    transfer.flush().await?;
    let actual = transfer.hasher.take().map(Hasher::finish);
    match (expected, actual) {
        (Some(expected), Some(actual)) if expected != actual => {
            Err(ClientError::Storage(format!("the copy is damaged: expected {expected}, read {actual}")))
        }
        (expected, _) => Ok(Downloaded { info, verified: expected.is_some() }),
    }
}

struct Transfer<'a, W> {
    storage: &'a StorageClient,
    sink: &'a mut W,
    length_bytes: u64,
    done_bytes: u64,
    hasher: Option<Hasher>,
    progress: &'a Progress,
}

/// Why one copy did not bring the file to its end.
enum Break {
    Node(StorageError),
    Local(ClientError),
}

impl From<StorageError> for Break {
    fn from(error: StorageError) -> Self {
        Self::Node(error)
    }
}

impl<W: AsyncWrite + Unpin> Transfer<'_, W> {
    /// Tries the copies in turn, and all of them again as long as a round brings bytes.
    async fn run(&mut self, paths: &[String]) -> Result<(), ClientError> {
        loop {
            let (before_bytes, mut failures) = (self.done_bytes, Vec::new());
            for url in paths {
                match self.fetch(url).await {
                    Ok(()) => return Ok(()),
                    Err(Break::Node(failure)) => failures.push(failure),
                    Err(Break::Local(error)) => return Err(error),
                }
            }
            if self.done_bytes == before_bytes {
                return Err(all_failed("fetching the file failed", &failures));
            }
        }
    }

    /// Fetches what is missing from one copy.
    async fn fetch(&mut self, url: &str) -> Result<(), Break> {
        let response = self.storage.get(url, self.done_bytes).await?;
        let mut skip_bytes = self.check_head(url, &response)?;
        let mut body = response.into_body();
        while let Some(piece) = self.next_piece(url, &mut body).await? {
            let piece = after_skipping(piece, &mut skip_bytes);
            if self.done_bytes + piece.len() as u64 > self.length_bytes {
                return Err(StorageError::new(url, "the node sent more than the file has").into());
            }
            self.take(&piece).await.map_err(Break::Local)?;
        }
        match self.length_bytes - self.done_bytes {
            0 => Ok(()),
            missing => Err(StorageError::new(url, format!("ended {missing} bytes too early")).into()),
        }
    }

    /// How many bytes of the body to skip, so that it goes on where the last copy ended; an error if copy and tracker
    /// do not agree on the length.
    fn check_head(&self, url: &str, response: &Response<Incoming>) -> Result<u64, StorageError> {
        let ranged = response.status() == StatusCode::PARTIAL_CONTENT;
        if ranged && range_start(response) != Some(self.done_bytes) {
            return Err(StorageError::new(url, "the node sent another range than was asked for"));
        }
        let skip_bytes = if ranged { 0 } else { self.done_bytes };
        match response.body().size_hint().exact() {
            Some(coming) if coming != self.length_bytes - self.done_bytes + skip_bytes => {
                let text = format!("the copy has another length than the {} bytes of the file", self.length_bytes);
                Err(StorageError::new(url, text))
            }
            _ => Ok(skip_bytes),
        }
    }

    async fn next_piece(&self, url: &str, body: &mut Incoming) -> Result<Option<Bytes>, StorageError> {
        let stall = self.storage.timeouts().stall;
        loop {
            let frame = tokio::time::timeout(stall, body.frame())
                .await
                .map_err(|_elapsed| StorageError::new(url, format!("no bytes within {stall:?}")))?;
            match frame.transpose().map_err(|error| StorageError::caused(url, &error))? {
                None => return Ok(None),
                // Trailers carry nothing for us.
                Some(frame) => match frame.into_data() {
                    Ok(piece) => return Ok(Some(piece)),
                    Err(_trailers) => continue,
                },
            }
        }
    }

    async fn take(&mut self, piece: &[u8]) -> Result<(), ClientError> {
        self.sink.write_all(piece).await.map_err(cannot_write)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(piece);
        }
        self.done_bytes += piece.len() as u64;
        (self.progress)(self.done_bytes);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ClientError> {
        self.sink.flush().await.map_err(cannot_write)
    }
}

/// The start of `Content-Range: bytes START-END/TOTAL`.
fn range_start(response: &Response<Incoming>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

fn after_skipping(mut piece: Bytes, skip_bytes: &mut u64) -> Bytes {
    let skipped = usize::try_from(*skip_bytes).unwrap_or(usize::MAX).min(piece.len());
    *skip_bytes -= skipped as u64;
    piece.split_off(skipped)
}

fn cannot_write(source: std::io::Error) -> ClientError {
    ClientError::Local { what: "writing the file".to_owned(), source }
}
