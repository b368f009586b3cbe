//! The hand-over to a successor: the same program, started again by the one that runs, takes over its listen sockets and
//! then its clients.
//!
//! ```text
//! running program                              successor
//!   starts it, sends the listen sockets  ──►
//!                                        ◄──   Prepared: database open, sockets there
//!   stops claiming work; Go              ──►   begins to serve
//!                                        ◄──   Serving
//!   accepts nobody any more; sends each client between two of its requests ──►
//!   leaves when it has answered all
//! ```
//!
//! Both talk over a pair of sockets, of which the successor's end is its standard input: there is no name that others
//! could speak to. Whatever goes wrong before `Serving` ends the successor and leaves the running program as it was.

use super::daemon::same_program;
use super::listen::{ListenSockets, NamedSocket};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Stdio};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// Tells a successor that its standard input leads to its predecessor, and who that is.
const MARKER: &str = "MOGILEFS_PREDECESSOR";
/// What systemd said to the predecessor alone.
const NOT_FOR_SUCCESSORS: [&str; 4] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"];
/// Sockets of one message.
const SOCKETS_MAX: usize = 64;
/// Bytes of one message; a socket takes some 200 KB.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

const SOCKETS: u8 = b'S';
const PREPARED: u8 = b'P';
const GO: u8 = b'G';
const SERVING: u8 = b'V';
const CLIENT_PART: u8 = b'c';
/// The name of the token that the client, which comes next, has shown.
const CLIENT_TOKEN: u8 = b't';
const CLIENT: u8 = b'C';

/// A client between two of its requests, and what it has sent of the next one.
#[derive(Debug)]
pub struct PassedClient {
    pub stream: TcpStream,
    pub unread: Vec<u8>,
    /// The name of the token that it has shown.
    pub token: Option<String>,
}

/// One end of the pair: messages with sockets, kept apart by the system.
struct Channel {
    socket: UnixDatagram,
}

struct Message {
    kind: u8,
    payload: Vec<u8>,
    sockets: Vec<OwnedFd>,
}

impl Channel {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        // As far as this program is concerned, sockets that keep messages apart are all the same.
        Ok(Self { socket: UnixDatagram::from_std(fd.into())? })
    }

    async fn send(&self, kind: u8, payload: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        let kind = [kind];
        let sent = self.socket.async_io(Interest::WRITABLE, || {
            let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
                return Err(io::Error::other(format!("more than {SOCKETS_MAX} sockets")));
            }
            let parts = [IoSlice::new(&kind), IoSlice::new(payload)];
            Ok(sendmsg(&self.socket, &parts, &mut control, SendFlags::NOSIGNAL)?)
        });
        sent.await.map(|_bytes| ())
    }

    /// None when the other one is gone.
    async fn receive(&self) -> io::Result<Option<Message>> {
        let received = self.socket.async_io(Interest::READABLE, || {
            let mut bytes = vec![0; MESSAGE_BYTES_MAX + 1];
            let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let got = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
            let mut sockets = Vec::new();
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    sockets.extend(received);
                }
            }
            bytes.truncate(got.bytes);
            Ok((bytes, sockets))
        });
        let (mut bytes, sockets) = match received.await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            received => received?,
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        let payload = bytes.split_off(1);
        Ok(Some(Message { kind: bytes[0], payload, sockets }))
    }

    async fn expect(&self, kind: u8) -> io::Result<Message> {
        match self.receive().await? {
            Some(message) if message.kind == kind => Ok(message),
            Some(_) => Err(io::Error::other("the other program says what this one does not know")),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The successor, seen from the running program. Dropped before it serves, it is ended.
pub struct Successor {
    channel: Channel,
    child: Child,
    serves: bool,
}

impl Successor {
    /// Starts the program's file, which may be a new one by now, with this program's command line.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn start(sockets: &ListenSockets) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let channel = Channel::new(ours)?;
        let mut command = same_program();
        for variable in NOT_FOR_SUCCESSORS {
            command.env_remove(variable);
        }
        command.env(MARKER, std::process::id().to_string()).stdin(Stdio::from(its));
        let child = command.spawn()?;
        // It keeps no end of the successor's: so the channel ends with it.
        drop(command);
        let successor = Self { channel, child, serves: false };
        let sockets = sockets.for_successor()?;
        let names: Vec<_> = sockets.iter().map(|socket| socket.name.as_str()).collect();
        let handles: Vec<_> = sockets.iter().map(|socket| socket.listener.as_fd()).collect();
        successor.channel.send(SOCKETS, names.join("\n").as_bytes(), &handles).await?;
        Ok(successor)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it could begin.
    ///
    /// # Errors
    /// It has ended.
    pub async fn prepared(&self) -> io::Result<()> {
        self.channel.expect(PREPARED).await.map(|_message| ())
    }

    /// Lets it begin and waits until it serves.
    ///
    /// # Errors
    /// It has ended.
    pub async fn serve(&mut self) -> io::Result<()> {
        self.channel.send(GO, &[], &[]).await?;
        self.channel.expect(SERVING).await?;
        self.serves = true;
        Ok(())
    }

    /// Gives it a client.
    ///
    /// # Errors
    /// It has ended; the client is lost with this value.
    pub async fn pass(&self, client: &PassedClient) -> io::Result<()> {
        let last_at = client.unread.len().saturating_sub(1) / MESSAGE_BYTES_MAX * MESSAGE_BYTES_MAX;
        let (before, last) = client.unread.split_at(last_at);
        if let Some(token) = &client.token {
            self.channel.send(CLIENT_TOKEN, token.as_bytes(), &[]).await?;
        }
        for part in before.chunks(MESSAGE_BYTES_MAX) {
            self.channel.send(CLIENT_PART, part, &[]).await?;
        }
        self.channel.send(CLIENT, last, &[client.stream.as_fd()]).await
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.serves {
            // It may have ended by itself.
            let _killed = self.child.kill();
            let _waited = self.child.wait();
        }
    }
}

/// The predecessor, seen from the successor.
pub struct Predecessor {
    channel: Channel,
    pub pid: u32,
}

impl Predecessor {
    /// If this process was started as a successor: the one before, and the sockets that it gives.
    ///
    /// # Errors
    /// It has ended or speaks otherwise.
    pub async fn of_process() -> io::Result<Option<(Self, ListenSockets)>> {
        let Some(pid) = std::env::var(MARKER).ok().and_then(|pid| pid.parse().ok()) else { return Ok(None) };
        let channel = Channel::new(io::stdin().as_fd().try_clone_to_owned()?)?;
        // Else the channel would live on in our standard input.
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        let message = channel.expect(SOCKETS).await?;
        let names = String::from_utf8(message.payload).map_err(io::Error::other)?;
        let socket =
            |(name, fd): (&str, OwnedFd)| NamedSocket { name: name.to_owned(), listener: TcpListener::from(fd) };
        let sockets = names.split('\n').zip(message.sockets).map(socket).collect();
        Ok(Some((Self { channel, pid }, ListenSockets::taken_over(sockets))))
    }

    /// Says that we could begin, and waits for the word to. A predecessor that is gone is no reason to wait.
    pub async fn wait_for_go(&self) -> io::Result<()> {
        self.channel.send(PREPARED, &[], &[]).await?;
        self.channel.expect(GO).await.map(|_message| ())
    }

    /// Says that we serve.
    ///
    /// # Errors
    /// It has ended.
    pub async fn serving(&self) -> io::Result<()> {
        self.channel.send(SERVING, &[], &[]).await
    }

    /// The next client that it gives up; none when it has left.
    ///
    /// # Errors
    /// It speaks otherwise.
    pub async fn next_client(&self) -> io::Result<Option<PassedClient>> {
        let (mut unread, mut token) = (Vec::new(), None);
        while let Some(mut message) = self.channel.receive().await? {
            match (message.kind, message.sockets.pop()) {
                (CLIENT_TOKEN, _) => token = String::from_utf8(message.payload).ok(),
                (CLIENT_PART, _) => unread.append(&mut message.payload),
                (CLIENT, Some(fd)) => {
                    unread.append(&mut message.payload);
                    return Ok(Some(PassedClient { stream: TcpStream::from(fd), unread, token }));
                }
                _ => return Err(io::Error::other("the predecessor says what this program does not know")),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::io::Write as _;

    #[tokio::test]
    async fn clients_cross_with_what_they_have_sent() {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a pair");
        let child = std::process::Command::new("true").spawn().expect("started");
        let successor = Successor { channel: Channel::new(one).expect("a channel"), child, serves: true };
        let predecessor = Predecessor { channel: Channel::new(other).expect("a channel"), pid: 1 };
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        for length in [0, 5, MESSAGE_BYTES_MAX, 3 * MESSAGE_BYTES_MAX + 1] {
            let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
            let (stream, _) = listener.accept().expect("accepted");
            let unread = vec![b'x'; length];
            let token = (length > 0).then(|| "shop".to_owned());
            let passed = PassedClient { stream, unread, token: token.clone() };
            let (sent, received) = tokio::join!(successor.pass(&passed), predecessor.next_client());
            sent.expect("sent");
            drop(passed);
            let mut received = received.expect("received").expect("a client");
            assert_eq!((received.unread.len(), &received.token), (length, &token));
            received.stream.write_all(b"hello").expect("written");
            drop(received);
            let mut text = String::new();
            client.read_to_string(&mut text).expect("read");
            assert_eq!(text, "hello");
        }
        drop(successor);
        assert!(predecessor.next_client().await.expect("ended").is_none());
    }
}
