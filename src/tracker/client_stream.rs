//! The socket of a client, with or without TLS: one reader and one writer that can be used at the same time.
//!
//! Without TLS it costs nothing but a look at the kind: no further system call, no call through a pointer. With TLS both
//! halves share one session, which holds no more than some records of either direction.

use rustls::ServerConnection;
use std::cell::RefCell;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead as _, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio_rustls::server::TlsStream;

/// The socket of one client.
pub enum ClientStream {
    Plain(TcpStream),
    Tls(Box<Session>),
}

/// A TLS session and the socket below it. Belongs to one task.
pub struct Session {
    socket: TcpStream,
    state: RefCell<ServerConnection>,
}

impl From<TcpStream> for ClientStream {
    fn from(socket: TcpStream) -> Self {
        Self::Plain(socket)
    }
}

impl From<TlsStream<TcpStream>> for ClientStream {
    fn from(stream: TlsStream<TcpStream>) -> Self {
        let (socket, state) = stream.into_inner();
        Self::Tls(Box::new(Session { socket, state: RefCell::new(state) }))
    }
}

impl ClientStream {
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(socket) => socket.local_addr(),
            Self::Tls(session) => session.socket.local_addr(),
        }
    }

    pub fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        match self {
            Self::Plain(socket) => {
                let (reader, writer) = socket.split();
                (Reader::Plain(reader), Writer::Plain(writer))
            }
            Self::Tls(session) => (Reader::Tls(session), Writer::Tls(session)),
        }
    }

    /// The socket, which another process can go on with. With TLS none can: the client is told that this is the end.
    pub fn into_socket(self) -> Option<TcpStream> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(session) => {
                session.say_farewell();
                None
            }
        }
    }
}

/// What comes from the client.
pub enum Reader<'a> {
    Plain(ReadHalf<'a>),
    Tls(&'a Session),
}

impl Reader<'_> {
    /// Adds what is there to `filled`; nothing if the client has ended its side.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, filled: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, filled),
            Self::Tls(session) => session.poll_read(cx, filled),
        }
    }

    /// Ends when the client has reset the connection.
    pub async fn is_reset(&self) -> io::Result<()> {
        let ready = match self {
            Self::Plain(socket) => socket.ready(Interest::ERROR).await,
            Self::Tls(session) => session.socket.ready(Interest::ERROR).await,
        };
        ready.map(|_ready| ())
    }
}

/// What goes to the client.
pub enum Writer<'a> {
    Plain(WriteHalf<'a>),
    Tls(&'a Session),
}

impl Writer<'_> {
    /// Takes some of the bytes, or none when it only came forward with those of before ([`Writer::holds_bytes`]).
    ///
    /// # Errors
    /// `WouldBlock` if the kernel takes nothing; wait for [`Writer::writable`] then.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write(bytes),
            Self::Tls(session) => session.try_write(bytes),
        }
    }

    /// Are there bytes that were taken, but not yet given to the kernel?
    pub fn holds_bytes(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(session) => session.state.borrow().wants_write(),
        }
    }

    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.writable().await,
            Self::Tls(session) => session.socket.writable().await,
        }
    }
}

impl Session {
    fn poll_read(&self, cx: &mut Context<'_>, filled: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state.borrow_mut();
        loop {
            match state.reader().read(filled.initialize_unfilled()) {
                Ok(count) => {
                    filled.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // Gone without a farewell: as a plain socket would end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(())),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                Err(_nothing_yet) => {}
            }
            ready!(self.socket.poll_read_ready(cx))?;
            match state.read_tls(&mut NonBlocking(&self.socket)) {
                Ok(_count) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Poll::Ready(Err(error)),
            }
            if let Err(error) = state.process_new_packets() {
                // It should hear why, if there is room.
                let _told = state.write_tls(&mut NonBlocking(&self.socket));
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
    }

    /// One step: what waits goes first.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.borrow_mut();
        if state.wants_write() {
            state.write_tls(&mut NonBlocking(&self.socket))?;
            return Ok(0);
        }
        state.writer().write(bytes)
    }

    fn say_farewell(&self) {
        let mut state = self.state.borrow_mut();
        state.send_close_notify();
        // Politeness, which nobody waits for.
        let _told = state.write_tls(&mut NonBlocking(&self.socket));
    }
}

/// The socket as the session wants it: what cannot be done at once is `WouldBlock`.
struct NonBlocking<'a>(&'a TcpStream);

impl io::Read for NonBlocking<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(bytes)
    }
}

impl io::Write for NonBlocking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
