//! Where a big file comes from and goes to: files, standard streams, block devices, directories through tar; compressed and
//! uncompressed on the way. Blocks while it reads and writes; one command runs, and waits for nothing else.

use super::output::Failure;
use crate::client::StorageClient;
use crate::cluster::checksum::{HashType, Hasher};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzEncoder;
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use http_body_util::BodyExt as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Room for a piece is taken as it comes, not all at once.
const FIRST_ROOM_BYTES: u64 = 1 << 20;

/// What a big file is made from.
pub struct Source {
    reader: Box<dyn Read + Send>,
    tar: Option<Child>,
    pub kind: &'static str,
    pub name: String,
    /// The bytes that are stored are compressed.
    pub is_compressed: bool,
    /// By us.
    pub is_packed: bool,
    /// Of a file that is stored as it is.
    pub length_bytes: Option<u64>,
}

impl Source {
    /// Opens a file, a directory, a block device or, for `-`, standard input.
    pub fn open(path: &Path, gzip: bool) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::Local(format!("reading {}: {error}", path.display()));
        let (mut tar, mut length_bytes) = (None, None);
        let (reader, kind): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
            (Box::new(io::stdin()), "file")
        } else {
            let metadata = std::fs::metadata(path).map_err(failed)?;
            if metadata.is_dir() {
                let mut child = tar_of(path)?;
                let stdout = child.stdout.take();
                tar = Some(child);
                (Box::new(stdout.ok_or_else(|| Failure::Local("tar has no output".to_owned()))?), "tarball")
            } else {
                length_bytes = (metadata.is_file() && !gzip).then_some(metadata.len());
                let kind = if metadata.file_type().is_block_device() { "partition" } else { "file" };
                (Box::new(File::open(path).map_err(failed)?), kind)
            }
        };
        let mut source = Self {
            reader,
            tar,
            kind,
            name: path.display().to_string(),
            is_compressed: false,
            is_packed: false,
            length_bytes,
        };
        source.compress(gzip).map_err(failed)?;
        Ok(source)
    }

    /// Looks at the beginning: what is compressed is not compressed again.
    fn compress(&mut self, gzip: bool) -> io::Result<()> {
        let mut head = Vec::new();
        (&mut self.reader).take(GZIP_MAGIC.len() as u64).read_to_end(&mut head)?;
        let is_compressed = head == GZIP_MAGIC;
        let rest = std::mem::replace(&mut self.reader, Box::new(io::empty()));
        let whole = io::Cursor::new(head).chain(rest);
        (self.is_packed, self.is_compressed) = (gzip && !is_compressed, gzip || is_compressed);
        self.reader = match self.is_packed {
            true => Box::new(GzEncoder::new(whole, Compression::default())),
            false => Box::new(whole),
        };
        Ok(())
    }

    /// The next bytes, fewer only at the end; none after it. Gives itself back.
    pub async fn next_chunk(mut self, bytes: u64) -> Result<(Self, Bytes), Failure> {
        let name = self.name.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = Vec::with_capacity(bytes.min(FIRST_ROOM_BYTES) as usize);
            (&mut self.reader).take(bytes).read_to_end(&mut chunk).map(|_| (self, Bytes::from(chunk)))
        });
        let failed = |error: String| Failure::Local(format!("reading {name}: {error}"));
        read.await.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }

    /// At the end: did tar read everything?
    pub fn close(mut self) -> Result<Self, Failure> {
        if let Some(mut tar) = self.tar.take() {
            ended_well(&mut tar)?;
        }
        Ok(self)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // Only one that was broken off is still there.
        if let Some(tar) = &mut self.tar {
            let _best_effort = tar.kill().and_then(|()| tar.wait());
        }
    }
}

/// Paths in the stream are those that were given, as with mogtool.
fn tar_of(path: &Path) -> Result<Child, Failure> {
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg("-").arg("--").arg(path).stdin(Stdio::null()).stdout(Stdio::piped());
    tar.spawn().map_err(|error| Failure::Local(format!("starting tar: {error}")))
}

fn ended_well(tar: &mut Child) -> Result<(), Failure> {
    let status = tar.wait().map_err(|error| Failure::Local(format!("waiting for tar: {error}")))?;
    if status.success() { Ok(()) } else { Err(Failure::Local(format!("tar failed: {status}"))) }
}

/// Whether bytes are uncompressed on their way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpack {
    Never,
    /// By the form that they turn out to have: gzip, or zlib as mogtool makes it.
    Always,
}

/// Where a big file goes to.
pub struct Target {
    writer: Writer,
    tar: Option<Child>,
    /// The file that appears when all is there: its name until then, and after it.
    file: Option<(PathBuf, PathBuf)>,
    part_bytes: u64,
    hasher: Hasher,
}

type Out = Box<dyn Write + Send>;

enum Writer {
    Plain(Out),
    /// The first bytes, as long as they do not tell the form.
    Unknown(Vec<u8>, Out),
    Gzip(MultiGzDecoder<Out>),
    Zlib(ZlibDecoder<Out>),
    Closed,
}

impl Target {
    fn new(out: Out, unpack: Unpack) -> Self {
        let writer = match unpack {
            Unpack::Never => Writer::Plain(out),
            Unpack::Always => Writer::Unknown(Vec::new(), out),
        };
        Self { writer, tar: None, file: None, part_bytes: 0, hasher: HashType::Md5.hasher() }
    }

    /// Only looked at.
    pub fn nowhere() -> Self {
        Self::new(Box::new(io::sink()), Unpack::Never)
    }

    pub fn stdout(unpack: Unpack) -> Self {
        Self::new(Box::new(io::stdout()), unpack)
    }

    /// A file; in a directory that there is it gets the name that it had. Devices are written to as they are.
    pub fn file(path: &Path, stored_name: &str, unpack: Unpack) -> Result<Self, Failure> {
        let path = match (path.is_dir(), Path::new(stored_name).file_name()) {
            (true, Some(name)) => path.join(name),
            _ => path.to_owned(),
        };
        let is_special = std::fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file());
        let partial = if is_special { path.clone() } else { super::files::partial_name(&path) };
        let mut open = File::options();
        open.write(true).create(!is_special).truncate(!is_special);
        let file =
            open.open(&partial).map_err(|error| Failure::Local(format!("writing {}: {error}", partial.display())))?;
        let mut target = Self::new(Box::new(file), unpack);
        target.file = (!is_special).then_some((partial, path));
        Ok(target)
    }

    /// A directory, in which tar unpacks.
    pub fn directory(path: &Path, unpack: Unpack) -> Result<Self, Failure> {
        std::fs::create_dir_all(path).map_err(|error| Failure::Local(format!("{}: {error}", path.display())))?;
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg("-").arg("-C").arg(path).stdin(Stdio::piped());
        let mut child = tar.spawn().map_err(|error| Failure::Local(format!("starting tar: {error}")))?;
        let stdin = child.stdin.take().ok_or_else(|| Failure::Local("tar takes no input".to_owned()))?;
        let mut target = Self::new(Box::new(stdin), unpack);
        target.tar = Some(child);
        Ok(target)
    }

    /// The next bytes are another piece's.
    pub fn begin_part(&mut self) {
        (self.part_bytes, self.hasher) = (0, HashType::Md5.hasher());
    }

    /// Length and MD5 of the piece, as they came.
    pub fn taken(&mut self) -> (u64, String) {
        (self.part_bytes, std::mem::replace(&mut self.hasher, HashType::Md5.hasher()).finish().hex())
    }

    /// Takes one copy whole; what keeps it from that comes back as a sentence.
    pub async fn read_copy(&mut self, storage: &StorageClient, url: &str) -> Result<(), String> {
        let response = storage.get(url, 0).await.map_err(|error| error.problem)?;
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            if let Ok(piece) = frame.map_err(|error| error.to_string())?.into_data() {
                self.take(&piece).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write(bytes)?;
        self.hasher.update(bytes);
        self.part_bytes += bytes.len() as u64;
        Ok(())
    }

    /// All is there.
    pub fn finish(mut self) -> Result<(), Failure> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
            _ => Failure::Local(format!("writing the file: {error}")),
        };
        self.writer.finish().map_err(failed)?;
        if let Some(mut tar) = self.tar.take() {
            ended_well(&mut tar)?;
        }
        if let Some((partial, path)) = self.file.take() {
            std::fs::rename(&partial, &path)
                .map_err(|error| Failure::Local(format!("writing {}: {error}", path.display())))?;
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some((partial, _)) = &self.file {
            let _best_effort = std::fs::remove_file(partial);
        }
        if let Some(tar) = &mut self.tar {
            // Its input must end before it does.
            self.writer = Writer::Closed;
            let _best_effort = tar.wait();
        }
    }
}

impl Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Gzip(decoder) => decoder.write_all(bytes),
            Self::Zlib(decoder) => decoder.write_all(bytes),
            Self::Closed => Err(io::ErrorKind::BrokenPipe.into()),
            Self::Unknown(head, _) => {
                head.extend_from_slice(bytes);
                if head.len() >= GZIP_MAGIC.len() { self.choose() } else { Ok(()) }
            }
        }
    }

    fn choose(&mut self) -> io::Result<()> {
        let Self::Unknown(head, out) = std::mem::replace(self, Self::Closed) else { return Ok(()) };
        *self = match head.as_slice() {
            head if head.starts_with(&GZIP_MAGIC) => Self::Gzip(MultiGzDecoder::new(out)),
            // RFC 1950: the method is 8, and the two bytes are a multiple of 31.
            [first, second, ..]
                if first & 0x0f == 8 && (u16::from(*first) * 256 + u16::from(*second)).is_multiple_of(31) =>
            {
                Self::Zlib(ZlibDecoder::new(out))
            }
            _ => Self::Plain(out),
        };
        self.write(&head)
    }

    fn finish(&mut self) -> io::Result<()> {
        if matches!(self, Self::Unknown(..)) {
            self.choose()?;
        }
        let mut out = match std::mem::replace(self, Self::Closed) {
            Self::Plain(out) | Self::Unknown(_, out) => out,
            Self::Gzip(decoder) => decoder.finish()?,
            Self::Zlib(decoder) => decoder.finish()?,
            Self::Closed => return Ok(()),
        };
        out.flush()
    }
}

impl AsyncWrite for Target {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.take(bytes).map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::{GzEncoder as GzWriter, ZlibEncoder};

    fn unpacked(stored: &[u8]) -> Vec<u8> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("out");
        let mut target = Target::file(&path, "x", Unpack::Always).expect("opened");
        // Forms must be told however the bytes are cut.
        stored.chunks(1).for_each(|piece| target.take(piece).expect("taken"));
        target.finish().expect("finished");
        std::fs::read(path).expect("there")
    }

    #[test]
    fn both_forms_of_compression_are_undone() {
        let text = b"some text, some text, some text";
        let mut gzip = GzWriter::new(Vec::new(), Compression::default());
        gzip.write_all(text).expect("written");
        assert_eq!(unpacked(&gzip.finish().expect("whole")), text);
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(text).expect("written");
        assert_eq!(unpacked(&zlib.finish().expect("whole")), text);
        assert_eq!(unpacked(text), text);
        assert_eq!(unpacked(b"x"), b"x");
    }

    #[test]
    fn a_file_appears_only_when_it_is_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("out");
        let mut target = Target::file(&path, "x", Unpack::Never).expect("opened");
        target.take(b"half").expect("taken");
        drop(target);
        assert_eq!(std::fs::read_dir(directory.path()).expect("read").count(), 0);
    }
}
