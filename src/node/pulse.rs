//! When a connection last moved a byte, so that idle ones can be closed with one timer each.

use bytes::BytesMut;
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The life signs of one connection.
pub(crate) struct Pulse {
    last_progress: Cell<Instant>,
    /// Pieces of disk work that the client is waiting for.
    disk_work: Cell<u32>,
}

impl Pulse {
    pub fn new() -> Rc<Self> {
        Rc::new(Self { last_progress: Cell::new(Instant::now()), disk_work: Cell::new(0) })
    }

    /// When the connection is to be looked at next.
    pub fn deadline(&self, limit: Duration) -> Instant {
        match self.disk_work.get() {
            0 => self.last_progress.get() + limit,
            _ => Instant::now() + limit,
        }
    }

    /// No byte has moved for so long, and that is not our disk's fault.
    pub fn is_idle(&self, limit: Duration) -> bool {
        self.disk_work.get() == 0 && self.last_progress.get().elapsed() >= limit
    }

    /// Counts as life until the guard is dropped.
    pub fn disk_work(self: &Rc<Self>) -> DiskWork {
        self.disk_work.set(self.disk_work.get() + 1);
        DiskWork(Rc::clone(self))
    }

    /// A byte has moved.
    pub fn beat(&self) {
        self.last_progress.set(Instant::now());
    }
}

/// See [`Pulse::disk_work`].
pub(crate) struct DiskWork(Rc<Pulse>);

impl Drop for DiskWork {
    fn drop(&mut self) {
        self.0.disk_work.set(self.0.disk_work.get().saturating_sub(1));
        self.0.beat();
    }
}

/// A socket that notes its progress, and what was read of it before.
pub(crate) struct PulsedStream<S> {
    pub read_before: BytesMut,
    pub stream: S,
    pub pulse: Rc<Pulse>,
}

impl<S: AsyncRead + Unpin> AsyncRead for PulsedStream<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.read_before.is_empty() {
            let count = this.read_before.len().min(buffer.remaining());
            buffer.put_slice(&this.read_before.split_to(count));
            return Poll::Ready(Ok(()));
        }
        let result = Pin::new(&mut this.stream).poll_read(context, buffer);
        if result.is_ready() {
            this.pulse.beat();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PulsedStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(context, bytes);
        if result.is_ready() {
            this.pulse.beat();
        }
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(context, buffers);
        if result.is_ready() {
            this.pulse.beat();
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
