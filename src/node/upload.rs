//! PUT: a body becomes a file, whole or not at all; with `Content-Range` it becomes a part of one.
//!
//! A whole body goes to a temporary file beside the target; only when every byte is there, written without an error and of
//! the announced checksum, it gets its name. Until then the old content is served, whatever happens. A part is written in
//! its place at once, as clients want who upload a large file piece by piece: whoever sends it must send it again if it
//! was not acknowledged.

use super::NodeShared;
use super::answer::{self, Answer};
use super::blocking::blocking;
use super::content_range::ContentRange;
use super::directory_sync::sync_directory;
use super::mount_guard::is_mark_name;
use super::pace::Pace;
use super::path::{DevicePath, PathRefusal};
use super::pulse::Pulse;
use super::temp_file::{Placed, TempFile, is_temp_name};
use crate::cluster::checksum::{Checksum, HashType, Hasher};
use crate::node_client::NodeError;
use crate::settings::SyncPolicy;
use base64::Engine;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, EXPECT, HeaderMap};
use hyper::{Request, StatusCode};
use slog::{debug, warn};
use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Bodies up to here are written on the network thread: faster than a thread pool for small ones.
const INLINE_BYTES: usize = 256 * 1024;

/// Larger bodies are written in pieces of at least so many bytes.
const PIECE_BYTES: usize = 512 * 1024;

/// What a refused client may still send before it is answered. Closing while it sends could cost it the answer.
const DRAIN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The MD5 that the client announced.
pub(super) type Announced = [u8; 16];

/// Why an upload did not become a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("{0}")]
    Path(#[from] PathRefusal),
    #[error("name is reserved for unfinished uploads and the marks of disks")]
    ReservedName,
    #[error("Content-Range is malformed, or not as long as the body")]
    ContentRange,
    #[error("Content-MD5 is malformed")]
    MalformedMd5,
    #[error("Content-MD5 does not match the body")]
    WrongMd5,
    #[error("device directory does not exist")]
    NoDevice,
    #[error("the body ended early: {0}")]
    Broken(hyper::Error),
    #[error("the client is too slow")]
    TooSlow,
    #[error("{0}")]
    Source(#[from] NodeError),
    #[error("{0}")]
    Disk(#[from] io::Error),
}

/// Answers a PUT: 201 for a new file, 204 for one that was replaced.
pub(crate) async fn upload(shared: &NodeShared, pulse: &Rc<Pulse>, request: Request<Incoming>) -> Answer {
    let (head, mut body) = request.into_parts();
    match store(shared, pulse, head.uri.path(), &head.headers, &mut body).await {
        Ok(Stored { replaced: true }) => answer::empty(StatusCode::NO_CONTENT),
        Ok(Stored { replaced: false }) => answer::empty(StatusCode::CREATED),
        Err(error) => {
            note(shared, head.uri.path(), &error);
            if !head.headers.contains_key(EXPECT) && !matches!(error, UploadError::TooSlow) {
                drain(&mut body).await;
            }
            refusal(&error)
        }
    }
}

/// Stores a body that is here already, for [`super::direct_put`].
pub(super) async fn store_small(
    shared: &NodeShared,
    pulse: &Rc<Pulse>,
    path: &str,
    announced: Option<Announced>,
    body: &[u8],
) -> Result<Stored, UploadError> {
    let target = target(shared, path)?;
    let sink = Sink::open(&target, None, announced.map(|_| HashType::Md5))?;
    let sink = sink.write(&[body])?;
    finish_upload(sink, announced, target, pulse, shared.sync).await
}

async fn finish_upload(
    sink: Sink,
    announced: Option<Announced>,
    target: Target,
    pulse: &Rc<Pulse>,
    sync: SyncPolicy,
) -> Result<Stored, UploadError> {
    let (sink, digest) = sink.digested();
    if announced.is_some_and(|announced| digest.is_none_or(|read| read.digest != announced)) {
        return Err(UploadError::WrongMd5);
    }
    Ok(sink.place(target, pulse, sync).await?)
}

#[derive(Debug)]
pub(super) struct Stored {
    pub replaced: bool,
}

/// Where an upload goes.
pub(super) struct Target {
    device_dir: PathBuf,
    pub(super) file: PathBuf,
}

async fn store(
    shared: &NodeShared,
    pulse: &Rc<Pulse>,
    path: &str,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Result<Stored, UploadError> {
    let announced = announced_md5(headers)?;
    let part = part(headers)?;
    let target = target(shared, path)?;
    target.check()?;
    let sink = Sink::open(&target, part, announced.map(|_| HashType::Md5))?;
    let mut pace = shared.pace();
    let sink = receive(async || next_piece(body, &mut pace).await, pulse, sink).await?;
    finish_upload(sink, announced, target, pulse, shared.sync).await
}

/// The part of a file that the body is; `None` if it is all of it.
fn part(headers: &HeaderMap) -> Result<Option<ContentRange>, UploadError> {
    let Some(value) = headers.get(CONTENT_RANGE) else { return Ok(None) };
    let range = value.to_str().ok().and_then(ContentRange::parse).ok_or(UploadError::ContentRange)?;
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match length == Some(range.length()) {
        true => Ok((!range.is_whole()).then_some(range)),
        false => Err(UploadError::ContentRange),
    }
}

fn announced_md5(headers: &HeaderMap) -> Result<Option<Announced>, UploadError> {
    headers.get("content-md5").map(|value| decode_md5(value.as_bytes()).ok_or(UploadError::MalformedMd5)).transpose()
}

pub(super) fn decode_md5(text: &[u8]) -> Option<Announced> {
    base64::engine::general_purpose::STANDARD.decode(text.trim_ascii()).ok()?.try_into().ok()
}

/// Where the file of this path goes.
pub(super) fn target(shared: &NodeShared, path: &str) -> Result<Target, UploadError> {
    let path = DevicePath::parse(path)?;
    if is_temp_name(path.name()) || is_mark_name(path.name()) {
        return Err(UploadError::ReservedName);
    }
    Ok(Target { device_dir: shared.device_dir(&path), file: shared.on_disk(&path) })
}

impl Target {
    /// Would an upload fail at once? Spares the client to send what cannot be stored; an upload notices all the same.
    ///
    /// # Errors
    /// There is no such device, or the path is a directory.
    pub(super) fn check(&self) -> Result<(), UploadError> {
        if !self.device_dir.is_dir() {
            return Err(UploadError::NoDevice);
        }
        match self.file.is_dir() {
            true => Err(io::Error::from(io::ErrorKind::IsADirectory).into()),
            false => Ok(()),
        }
    }
}

/// What to write to, and the directories that had to be made for it, uppermost first.
fn create(target: &Target, part: Option<ContentRange>) -> Result<(SinkFile, Vec<PathBuf>), UploadError> {
    match SinkFile::open(target, part) {
        Ok(file) => Ok((file, Vec::new())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A disk may have gone since the last upload.
            if !target.device_dir.is_dir() {
                return Err(UploadError::NoDevice);
            }
            let made = make_directories(target)?;
            Ok((SinkFile::open(target, part)?, made))
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes what is missing between the device directory, which must exist, and the file.
fn make_directories(target: &Target) -> io::Result<Vec<PathBuf>> {
    let between: Vec<&Path> =
        target.file.ancestors().skip(1).take_while(|directory| *directory != target.device_dir).collect();
    let mut made = Vec::new();
    for directory in between.into_iter().rev() {
        match std::fs::create_dir(directory) {
            Ok(()) => made.push(directory.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(made)
}

/// Where the bytes of an upload go.
enum SinkFile {
    Whole(TempFile),
    /// The file itself, at the place of the part.
    Part(File),
}

impl SinkFile {
    fn open(target: &Target, part: Option<ContentRange>) -> io::Result<Self> {
        let Some(part) = part else { return Ok(Self::Whole(TempFile::for_new(&target.file)?)) };
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&target.file)?;
        file.seek(SeekFrom::Start(part.first))?;
        Ok(Self::Part(file))
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Whole(temp) => temp.write_all(bytes),
            Self::Part(file) => file.write_all(bytes),
        }
    }
}

/// Takes the bytes of an upload.
pub(super) struct Sink {
    file: SinkFile,
    /// Above the device directory, uppermost first.
    made_directories: Vec<PathBuf>,
    /// Of a part: the file, or some of it, was there before.
    replaces: bool,
    /// Only if a checksum is wanted.
    hasher: Option<Hasher>,
}

impl Sink {
    pub fn open(target: &Target, part: Option<ContentRange>, hashtype: Option<HashType>) -> Result<Self, UploadError> {
        let replaces = part.is_some() && target.file.symlink_metadata().is_ok();
        let (file, made_directories) = create(target, part)?;
        Ok(Self { file, made_directories, replaces, hasher: hashtype.map(HashType::hasher) })
    }

    fn write(mut self, pieces: &[impl AsRef<[u8]>]) -> io::Result<Self> {
        for piece in pieces.iter().map(AsRef::as_ref) {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(piece);
            }
            self.file.write_all(piece)?;
        }
        Ok(self)
    }

    /// The checksum of all that was written, if it was wanted.
    pub fn digested(mut self) -> (Self, Option<Checksum>) {
        let digest = self.hasher.take().map(Hasher::finish);
        (self, digest)
    }

    /// Gives the file its place. When this returns, so much of it is on disk as the policy says.
    pub async fn place(self, target: Target, pulse: &Rc<Pulse>, sync: SyncPolicy) -> io::Result<Stored> {
        let _waiting_for_disk = pulse.disk_work();
        let finish = move || self.finish(&target, sync);
        // Without sync it is one rename.
        if sync == SyncPolicy::Never { finish() } else { blocking(finish).await }
    }

    fn finish(self, target: &Target, sync: SyncPolicy) -> io::Result<Stored> {
        let with_name = sync == SyncPolicy::Always;
        let mut replaced = self.replaces;
        match self.file {
            SinkFile::Whole(temp) => {
                if sync == SyncPolicy::File {
                    temp.sync()?;
                }
                replaced = temp.place(&target.file, with_name)? == Placed::Replaced;
            }
            SinkFile::Part(_) if sync == SyncPolicy::Never => {}
            SinkFile::Part(file) => {
                file.sync_all()?;
                if with_name && !self.replaces {
                    target.file.parent().map_or(Ok(()), sync_directory)?;
                }
            }
        }
        if with_name {
            self.made_directories.iter().filter_map(|made| made.parent()).try_for_each(sync_directory)?;
        }
        Ok(Stored { replaced })
    }
}

/// The next bytes of a body. Its length is checked by the HTTP layer: a body that ends early is an error.
async fn next_piece(body: &mut Incoming, pace: &mut Pace) -> Result<Option<Bytes>, UploadError> {
    while let Some(frame) = pace.wait_for_client(body.frame()).await {
        if let Ok(piece) = frame.map_err(UploadError::Broken)?.into_data() {
            pace.moved(piece.len()).await.map_err(|_| UploadError::TooSlow)?;
            return Ok(Some(piece));
        }
    }
    Ok(None)
}

/// Pieces that are written at once.
struct Batch {
    pieces: Vec<Bytes>,
    bytes: usize,
    is_last: bool,
}

async fn gather(next: &mut impl AsyncFnMut() -> Result<Option<Bytes>, UploadError>) -> Result<Batch, UploadError> {
    let (mut pieces, mut bytes) = (Vec::new(), 0);
    while bytes < PIECE_BYTES {
        let Some(piece) = next().await? else { return Ok(Batch { pieces, bytes, is_last: true }) };
        bytes += piece.len();
        pieces.push(piece);
    }
    Ok(Batch { pieces, bytes, is_last: false })
}

/// Writes all pieces that come until there is none. While one batch is written the next one comes in.
pub(super) async fn receive(
    mut next: impl AsyncFnMut() -> Result<Option<Bytes>, UploadError>,
    pulse: &Rc<Pulse>,
    mut sink: Sink,
) -> Result<Sink, UploadError> {
    let mut batch = gather(&mut next).await?;
    while !batch.is_last {
        let write = async { Ok::<_, UploadError>(write_elsewhere(pulse, sink, batch.pieces).await?) };
        (sink, batch) = futures::try_join!(write, gather(&mut next))?;
    }
    match batch.bytes > INLINE_BYTES {
        true => Ok(write_elsewhere(pulse, sink, batch.pieces).await?),
        false => Ok(sink.write(&batch.pieces)?),
    }
}

async fn write_elsewhere(pulse: &Rc<Pulse>, sink: Sink, pieces: Vec<Bytes>) -> io::Result<Sink> {
    let _waiting_for_disk = pulse.disk_work();
    blocking(move || sink.write(&pieces)).await
}

async fn drain(body: &mut Incoming) {
    let mut drained_bytes = 0;
    while drained_bytes < DRAIN_BYTES_MAX {
        match body.frame().await {
            Some(Ok(frame)) => drained_bytes += frame.data_ref().map_or(0, Bytes::len),
            _ => return,
        }
    }
}

pub(super) fn note(shared: &NodeShared, path: &str, error: &UploadError) {
    match error {
        UploadError::Disk(error) => warn!(shared.log, "cannot store an upload"; "path" => path, "error" => %error),
        error => debug!(shared.log, "upload refused"; "path" => path, "reason" => %error),
    }
}

/// What a client is told whose upload failed.
pub(super) struct Refusal {
    pub status: StatusCode,
    pub line: Cow<'static, str>,
    /// What follows on the connection cannot be understood.
    pub closes: bool,
}

impl Refusal {
    pub fn of(error: &UploadError) -> Self {
        let (status, line) = match error {
            UploadError::Disk(error) => {
                let (status, line) = answer::write_failure(error);
                (status, Cow::Borrowed(line))
            }
            UploadError::NoDevice => (StatusCode::NOT_FOUND, error.to_string().into()),
            UploadError::Source(_) => (StatusCode::BAD_GATEWAY, error.to_string().into()),
            UploadError::TooSlow => (StatusCode::REQUEST_TIMEOUT, error.to_string().into()),
            UploadError::Broken(_) => (StatusCode::BAD_REQUEST, "the body ended early".into()),
            _ => (StatusCode::BAD_REQUEST, error.to_string().into()),
        };
        Self { status, line, closes: matches!(error, UploadError::TooSlow | UploadError::Broken(_)) }
    }
}

pub(super) fn refusal(error: &UploadError) -> Answer {
    let Refusal { status, line, closes } = Refusal::of(error);
    let answer = answer::text(status, &line);
    if closes { answer::closing(answer) } else { answer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_checksums_have_sixteen_bytes() {
        assert!(decode_md5(b"kDPg4wXyR8DDyA0MeEjIsw==").is_some());
        for malformed in ["", "kDPg4wXyR8DDyA0MeEjIsw", "AAAA", "9336ebf25087d91c818ee6e9ec29f8c1", "???"] {
            assert_eq!(decode_md5(malformed.as_bytes()), None, "{malformed}");
        }
    }
}
