//! A bare connection to a tracker: bytes out, lines in, nothing decoded that need not be.

use super::Plan;
use crate::client::{encode_request, open_transport, with_port};
use crate::settings::Secret;
use crate::tls::Transport;
use bstr::ByteSlice as _;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

/// What is read at a time.
const READ_BYTES: usize = 64 << 10;

pub(super) struct Wire {
    stream: Transport,
    inbox: Vec<u8>,
    /// Bytes before this were looked at.
    start: usize,
    reply_timeout: Duration,
}

impl Wire {
    /// The connection of this number.
    pub(super) async fn connect(plan: &Plan, connection: u32) -> io::Result<Self> {
        let limits = &plan.timeouts;
        let address = with_port(plan.tracker(connection));
        let stream = open_transport(&address, limits, plan.identity.tls.as_ref()).await?;
        let mut wire = Self { stream, inbox: Vec::with_capacity(READ_BYTES), start: 0, reply_timeout: limits.reply };
        if let Some(token) = &plan.identity.token {
            wire.introduce(token).await?;
        }
        Ok(wire)
    }

    async fn introduce(&mut self, token: &Secret) -> io::Result<()> {
        let mut line = Vec::new();
        encode_request("authenticate", &[("token", token.reveal().as_bytes())], &mut line);
        let reply = self.call(&line).await?;
        let is_refused = reply.starts_with(b"ERR ") && !reply.starts_with(b"ERR unknown_command");
        if is_refused { Err(io::Error::other("the tracker does not know the token")) } else { Ok(()) }
    }

    pub(super) async fn send(&mut self, lines: &[u8]) -> io::Result<()> {
        self.stream.write_all(lines).await?;
        self.stream.flush().await
    }

    /// Waits for more bytes.
    pub(super) async fn receive(&mut self) -> io::Result<()> {
        self.inbox.drain(..self.start);
        self.start = 0;
        self.inbox.reserve(READ_BYTES);
        match timeout(self.reply_timeout, self.stream.read_buf(&mut self.inbox)).await?? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The next whole line, without its line end.
    pub(super) fn next_line(&mut self) -> Option<&[u8]> {
        let length = self.inbox[self.start..].find_byte(b'\n')?;
        let line = self.start..self.start + length;
        self.start = line.end + 1;
        Some(self.inbox[line].trim_end_with(|byte| byte == '\r'))
    }

    /// Sends one request and gives its reply.
    pub(super) async fn call(&mut self, line: &[u8]) -> io::Result<Vec<u8>> {
        self.send(line).await?;
        loop {
            if let Some(reply) = self.next_line() {
                return Ok(reply.to_vec());
            }
            self.receive().await?;
        }
    }
}

/// The pairs of an `OK`, or the code of an `ERR`.
pub(super) fn verdict(reply: &[u8]) -> Result<&[u8], &str> {
    match reply {
        [b'O', b'K', pairs @ ..] => Ok(pairs.strip_prefix(b" ").unwrap_or(pairs)),
        _ => {
            let code = reply.strip_prefix(b"ERR ").and_then(|rest| rest.split(|&byte| byte == b' ').next());
            Err(code.and_then(|code| code.to_str().ok()).unwrap_or("not_a_reply"))
        }
    }
}

/// A word for a broken exchange.
pub(super) fn io_code(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::TimedOut => "timeout",
        _ => "disconnected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_first_word() {
        assert_eq!(verdict(b"OK "), Ok(&b""[..]));
        assert_eq!(verdict(b"OK a=1"), Ok(&b"a=1"[..]));
        assert_eq!(verdict(b"ERR unknown_key unknown_key"), Err("unknown_key"));
        assert_eq!(verdict(b"nonsense"), Err("not_a_reply"));
    }
}
