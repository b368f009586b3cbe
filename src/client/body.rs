//! The body of an upload: bytes at hand, or a reader that is streamed piece by piece and hashed on the way.

use super::Progress;
use crate::cluster::checksum::{Checksum, Hasher};
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// What is read and sent at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Where the bytes of an upload come from.
pub(super) type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// A request body for storage nodes.
pub enum UploadBody {
    /// The whole body at hand; also the empty one.
    Whole(Option<Bytes>),
    /// A stream whose state is shared with the uploader.
    Stream(StreamBody),
}

impl UploadBody {
    /// No bytes, as in a GET.
    pub fn empty() -> Self {
        Self::Whole(None)
    }

    /// These bytes, with their Content-Length.
    pub fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

/// Streams a [`Source`].
pub struct StreamBody {
    source: SharedSource,
    /// Bytes still to come; `None` sends chunks until the reader ends.
    remaining: Option<u64>,
    piece: BytesMut,
}

/// A reader being sent, and what is known of the sending. The uploader keeps it beyond the body: it tells the causes
/// of a failed request apart, and a reader that was not touched can be used again.
#[derive(Clone)]
pub(super) struct SharedSource(Arc<Mutex<Source>>);

struct Source {
    reader: Reader,
    length_bytes: Option<u64>,
    sent_bytes: u64,
    hasher: Option<Hasher>,
    /// The body waits for the reader, so a standstill is not the fault of the node.
    starved: bool,
    failure: Option<io::Error>,
    progress: Progress,
}

impl SharedSource {
    pub(super) fn new(reader: Reader, length_bytes: Option<u64>, hasher: Option<Hasher>, progress: Progress) -> Self {
        let source = Source { reader, length_bytes, sent_bytes: 0, hasher, starved: false, failure: None, progress };
        Self(Arc::new(Mutex::new(source)))
    }

    /// A body that sends what the reader still has.
    pub(super) fn body(&self) -> UploadBody {
        let remaining = self.lock().length_bytes;
        UploadBody::Stream(StreamBody { source: self.clone(), remaining, piece: BytesMut::new() })
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.lock().sent_bytes
    }

    pub(super) fn is_starved(&self) -> bool {
        self.lock().starved
    }

    /// Why reading failed, if it did.
    pub(super) fn take_failure(&self) -> Option<io::Error> {
        self.lock().failure.take()
    }

    /// The digest of all that was sent, if one was asked for.
    pub(super) fn take_checksum(&self) -> Option<Checksum> {
        self.lock().hasher.take().map(Hasher::finish)
    }

    /// The state is plain numbers: a panic elsewhere leaves nothing half done in it.
    fn lock(&self) -> MutexGuard<'_, Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// Reads the next piece, at most `limit` bytes; `None` at the end.
    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut BytesMut,
        limit: usize,
    ) -> Poll<io::Result<Option<Bytes>>> {
        buffer.resize(limit, 0);
        let mut read_buf = ReadBuf::new(buffer);
        self.starved = true;
        let outcome = ready!(Pin::new(&mut self.reader).poll_read(context, &mut read_buf));
        self.starved = false;
        let count = read_buf.filled().len();
        outcome?;
        if count == 0 {
            return Poll::Ready(Ok(None));
        }
        let piece = buffer.split_to(count).freeze();
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        self.sent_bytes += piece.len() as u64;
        (self.progress)(self.sent_bytes);
        Poll::Ready(Ok(Some(piece)))
    }

    /// Remembers the cause for the uploader and gives HTTP an error that ends the request.
    fn fail(&mut self, error: io::Error) -> io::Error {
        let kind = error.kind();
        self.failure = Some(error);
        io::Error::new(kind, "reading the source failed")
    }
}

impl StreamBody {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let limit = self.remaining.map_or(PIECE_BYTES, |rest| usize::try_from(rest).unwrap_or(PIECE_BYTES));
        let limit = limit.min(PIECE_BYTES);
        if limit == 0 {
            return Poll::Ready(None);
        }
        let mut source = self.source.lock();
        let piece = ready!(source.poll_piece(context, &mut self.piece, limit));
        Poll::Ready(match (piece, &mut self.remaining) {
            (Ok(Some(piece)), remaining) => {
                *remaining = remaining.map(|rest| rest - piece.len() as u64);
                Some(Ok(piece))
            }
            (Ok(None), Some(missing)) => {
                let text = format!("the source became shorter while it was read: {missing} bytes are missing");
                Some(Err(source.fail(io::Error::new(io::ErrorKind::UnexpectedEof, text))))
            }
            (Ok(None), None) => None,
            (Err(error), _) => Some(Err(source.fail(error))),
        })
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(stream) => stream.poll_next(context).map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(stream) => stream.remaining == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream(stream) => stream.remaining.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
