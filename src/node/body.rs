//! Bodies of answers: nothing, a few bytes, a file read piece by piece, or the result of long work.
//!
//! Holds at most two pieces of a file in memory: one that is being sent and one that is being read.

use super::pace::Pace;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::fs::File;
use std::future::Future;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Interval;

/// Bytes read from a file at once.
const PIECE_BYTES: u64 = 512 * 1024;

/// The body of an answer.
pub(crate) enum NodeBody {
    Empty,
    /// `None` when it has been taken for sending.
    Full(Option<Bytes>),
    File(FilePieces),
    Work(LongWork),
}

type Reading = Pin<Box<dyn Future<Output = io::Result<(File, Pace, Bytes)>>>>;

/// A part of a file, from where it stands.
pub(crate) struct FilePieces {
    /// Bytes that are not yet handed out.
    left: u64,
    reading: Option<Reading>,
}

impl FilePieces {
    /// The next `length` bytes of the file. Must be made within a runtime: reading starts at once.
    pub fn new(file: File, length: u64, pace: Pace) -> Self {
        Self { left: length, reading: (length > 0).then(|| read_piece(file, pace, length)) }
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let result = ready!(reading.as_mut().poll(context));
        self.reading = None;
        Poll::Ready(Some(result.map(|(file, pace, piece)| {
            self.left -= piece.len() as u64;
            if self.left > 0 {
                self.reading = Some(read_piece(file, pace, self.left));
            }
            piece
        })))
    }
}

/// Between two signs of life.
const WORK_SIGN_INTERVAL: Duration = Duration::from_secs(1);

/// Work whose result is the last line of the body. Until then an empty line comes every second, so that the client knows
/// that it goes on, and that the work ends soon after the client is gone: it is dropped with the body.
pub(crate) struct LongWork {
    /// `None` when its result was given.
    work: Option<Pin<Box<dyn Future<Output = String>>>>,
    signs: Interval,
}

impl LongWork {
    pub fn new(work: Pin<Box<dyn Future<Output = String>>>) -> Self {
        let mut signs = tokio::time::interval(WORK_SIGN_INTERVAL);
        signs.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self { work: Some(work), signs }
    }

    fn poll_line(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(work) = &mut self.work else { return Poll::Ready(None) };
        if let Poll::Ready(result) = work.as_mut().poll(context) {
            self.work = None;
            return Poll::Ready(Some(Bytes::from(format!("{result}\n"))));
        }
        self.signs.poll_tick(context).map(|_| Some(Bytes::from_static(b"\n")))
    }
}

fn read_piece(file: File, mut pace: Pace, left: u64) -> Reading {
    let work = tokio::task::spawn_blocking(move || {
        let piece = read_exactly(&file, left.min(PIECE_BYTES))?;
        Ok::<_, io::Error>((file, piece))
    });
    Box::pin(async move {
        let (file, piece) = work.await.map_err(io::Error::other)??;
        pace.held_back(piece.len()).await;
        Ok((file, pace, piece))
    })
}

/// Reads so many bytes.
///
/// # Errors
/// The file is shorter: it was cut while it was served, and the promised length cannot be kept.
pub(crate) fn read_exactly(mut file: &File, count: u64) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
    file.by_ref().take(count).read_to_end(&mut piece)?;
    match piece.len() as u64 == count {
        true => Ok(Bytes::from(piece)),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl Body for NodeBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            NodeBody::Empty => Poll::Ready(None),
            NodeBody::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            NodeBody::File(pieces) => pieces.poll_piece(context).map(|piece| piece.map(|piece| piece.map(Frame::data))),
            NodeBody::Work(work) => work.poll_line(context).map(|line| line.map(|line| Ok(Frame::data(line)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl NodeBody {
    /// Bytes that are still to come, if that is known.
    fn length(&self) -> Option<u64> {
        match self {
            NodeBody::Empty => Some(0),
            NodeBody::Full(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            NodeBody::File(pieces) => Some(pieces.left),
            NodeBody::Work(_) => None,
        }
    }
}
