//! PUT: the body goes to a temporary file beside the target, is checked and synced, and then takes the target's name.
//! Until then the old content stays, whatever breaks (storage-node.md N1, N2).

use crate::cluster::checksum::{HashType, Hasher};
use base64::Engine as _;
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::Incoming;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Bodies up to this size are written by the thread that serves; larger ones by a thread that may block.
const INLINE_BYTES_MAX: u64 = 256 * 1024;
/// How temporary names begin and end; no stored file is named so, and no request can name one.
const TEMPORARY_PREFIX: &str = ".upload-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// Why an upload was not stored. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error("Content-MD5 is not the base64 of 16 bytes")]
    Md5Malformed,
    #[error("Content-MD5 does not match the body")]
    Md5Differs,
    #[error("the body broke off: {0}")]
    Body(String),
    #[error("the body stood still for too long")]
    Stalled,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Stores the body of a request. hyper sees to it that a body with a Content-Length has exactly that length.
pub async fn store(
    request: Request<Incoming>,
    target: &Path,
    sync: bool,
    stall_max: Duration,
) -> Result<(), UploadError> {
    let expected_md5 = expected_md5(&request)?;
    if target.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
    }
    let announced = hyper::body::Body::size_hint(request.body()).exact();
    let mut temporary = Temporary::create(target)?;
    let mut hasher = expected_md5.is_some().then(|| HashType::Md5.hasher());
    let small = announced.is_some_and(|length| length <= INLINE_BYTES_MAX);
    receive(request.into_body(), &mut temporary, hasher.as_mut(), small, stall_max).await?;
    let md5 = hasher.map(Hasher::finish);
    if md5.is_some_and(|md5| Some(md5.digest) != expected_md5) {
        return Err(UploadError::Md5Differs);
    }
    let target = target.to_owned();
    if sync {
        blocking(move || temporary.complete(&target, true)).await
    } else {
        temporary.complete(&target, false)?;
        Ok(())
    }
}

async fn receive(
    mut body: Incoming,
    temporary: &mut Temporary,
    mut hasher: Option<&mut Hasher>,
    small: bool,
    stall_max: Duration,
) -> Result<(), UploadError> {
    loop {
        let frame = tokio::time::timeout(stall_max, body.frame()).await.map_err(|_elapsed| UploadError::Stalled)?;
        let Some(frame) = frame else { return Ok(()) };
        let frame = frame.map_err(|error| UploadError::Body(error.to_string()))?;
        let Ok(bytes) = frame.into_data() else { continue };
        if let Some(hasher) = hasher.as_deref_mut() {
            hasher.update(&bytes);
        }
        if small {
            temporary.file()?.write_all(&bytes)?;
        } else {
            let mut file = temporary.file()?.try_clone()?;
            blocking(move || file.write_all(&bytes)).await?;
        }
    }
}

/// Runs what may wait for the disk on a thread that may block.
async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), UploadError> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
    Ok(())
}

fn expected_md5(request: &Request<Incoming>) -> Result<Option<Vec<u8>>, UploadError> {
    let Some(header) = request.headers().get("content-md5") else { return Ok(None) };
    let decoded = base64::engine::general_purpose::STANDARD.decode(header.as_bytes().trim_ascii());
    match decoded {
        Ok(digest) if digest.len() == HashType::Md5.digest_bytes() => Ok(Some(digest)),
        _ => Err(UploadError::Md5Malformed),
    }
}

/// A file in the target's directory that is removed unless it was completed.
struct Temporary {
    path: PathBuf,
    file: Option<File>,
}

impl Temporary {
    /// Makes the directories above the target below its device, which is there.
    fn create(target: &Path) -> io::Result<Self> {
        let directory = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let path = directory.join(temporary_name());
        let mut options = File::options();
        options.write(true).create_new(true);
        let file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(directory)?;
                options.open(&path)?
            }
            opened => opened?,
        };
        Ok(Self { path, file: Some(file) })
    }

    fn file(&mut self) -> io::Result<&mut File> {
        self.file.as_mut().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// Gives the file its name; with `sync` both content and name are on the disk before this returns.
    fn complete(mut self, target: &Path, sync: bool) -> io::Result<()> {
        let file = self.file.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let renamed = (|| {
            if sync {
                file.sync_data()?;
            }
            std::fs::rename(&self.path, target)?;
            match target.parent() {
                Some(directory) if sync => File::open(directory)?.sync_all(),
                _ => Ok(()),
            }
        })();
        if renamed.is_err() {
            self.file = Some(file);
        }
        renamed
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // What cannot be removed now is removed at the next start.
            let _removed = std::fs::remove_file(&self.path);
        }
    }
}

fn temporary_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}{number}{TEMPORARY_SUFFIX}", own_prefix())
}

/// How the names of this process begin. Process ids come again, in containers at every start; the time does not.
fn own_prefix() -> &'static str {
    static PREFIX: OnceLock<String> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        format!("{TEMPORARY_PREFIX}{}-{}-", std::process::id(), since_1970.as_nanos())
    })
}

/// Removes what uploads left behind that were cut by a crash: temporary files older than this start. Never one of this
/// process, which serves already: an upload that pauses may look old, as file times are coarser than the clock.
pub fn remove_stale(docroot: &Path) {
    let started = SystemTime::now();
    let mut directories: Vec<PathBuf> = super::paths::devices(docroot).into_iter().map(|(_, path)| path).collect();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() && is_stale(&entry, started) {
                // Gone already is as good.
                let _removed = std::fs::remove_file(entry.path());
            }
        }
    }
}

fn is_stale(entry: &std::fs::DirEntry, started: SystemTime) -> bool {
    let name = entry.file_name();
    let is_ours =
        name.to_str().is_some_and(|name| name.starts_with(TEMPORARY_PREFIX) && name.ends_with(TEMPORARY_SUFFIX));
    let is_of_this_process = name.to_str().is_some_and(|name| name.starts_with(own_prefix()));
    is_ours
        && !is_of_this_process
        && entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|modified| modified < started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_temporary_files_are_stale() {
        let root = tempfile::tempdir().expect("a directory");
        let device = root.path().join("dev1/0");
        std::fs::create_dir_all(&device).expect("directories");
        for name in [".upload-1-1.tmp", "0000000001.fid", "x.tmp"] {
            std::fs::write(device.join(name), b"x").expect("a file");
        }
        let under_way = Temporary::create(&device.join("0000000002.fid")).expect("a file");
        remove_stale(root.path());
        assert!(under_way.path.exists(), "an upload of this process is not stale");
        drop(under_way);
        let mut left: Vec<_> =
            std::fs::read_dir(&device).expect("readable").flatten().map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, ["0000000001.fid", "x.tmp"]);
    }
}
