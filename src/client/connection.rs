//! One connection to one of several trackers: request lines out, reply lines in.
//!
//! A request that changes something is never sent twice: after a broken exchange nobody knows whether it was carried out.

use super::{ClientError, DEFAULT_TRACKER_PORT, Timeouts};
use crate::protocol::args::{Args, escape_into, unescape};
use crate::protocol::line::LineBuffer;
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest reply that is accepted; thousands of devices fit in it.
const MAX_REPLY_BYTES: usize = 64 << 20;
/// What is read at a time.
const READ_BYTES: usize = 16 << 10;

/// A client of the tracker protocol. Keeps one connection and turns to the next tracker when it breaks.
pub struct TrackerClient {
    trackers: Vec<String>,
    /// Index of the tracker that the next connection is tried with first.
    preferred: usize,
    timeouts: Timeouts,
    link: Option<Link>,
    /// The arguments of the request that was refused last.
    refused: Option<Vec<(String, Vec<u8>)>>,
}

struct Link {
    stream: TcpStream,
    lines: LineBuffer,
}

impl TrackerClient {
    /// Connects to the first tracker of the list that answers; `HOST` alone means port 7001.
    ///
    /// # Errors
    /// [`ClientError::Connect`] when none does.
    pub async fn connect(trackers: &[String], timeouts: Timeouts) -> Result<Self, ClientError> {
        let trackers = trackers.iter().map(|tracker| with_port(tracker.trim())).collect();
        let mut client = Self { trackers, preferred: 0, timeouts, link: None, refused: None };
        client.link = Some(client.open_link().await?);
        Ok(client)
    }

    /// Sends one command and waits for its reply.
    ///
    /// # Errors
    /// [`ClientError::Tracker`] for an `ERR` reply, else what kept the exchange from happening.
    pub async fn request(&mut self, command: &str, args: &[(&str, &[u8])]) -> Result<Args, ClientError> {
        Ok(Args::decode(&self.request_encoded(command, args).await?))
    }

    /// Sends a command of the console (`!jobs`) and gives the lines of its answer.
    ///
    /// # Errors
    /// Whatever kept the exchange from happening. A console command is never sent twice.
    pub async fn console(&mut self, command: &str) -> Result<Vec<String>, ClientError> {
        self.drop_link_closed_by_peer();
        let mut lines = vec![self.exchange(format!("{command}\r\n").as_bytes()).await?];
        while lines.last().is_some_and(|line| line.as_slice() != b".") {
            lines.push(self.exchange(b"").await?);
        }
        lines.pop();
        Ok(lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect())
    }

    /// As [`TrackerClient::request`], but gives the pairs of the reply as they came, still encoded.
    pub(super) async fn request_encoded(
        &mut self,
        command: &str,
        args: &[(&str, &[u8])],
    ) -> Result<Vec<u8>, ClientError> {
        let mut line = Vec::new();
        encode_request(command, args, &mut line);
        self.drop_link_closed_by_peer();
        let reused = self.link.is_some();
        let reply = match self.exchange(&line).await {
            Err(ClientError::Io { .. }) if reused && may_be_repeated(command) => self.exchange(&line).await?,
            outcome => outcome?,
        };
        match parse_reply(&reply) {
            Some(Ok(pairs)) => Ok(pairs.to_vec()),
            Some(Err(refusal)) => {
                let kept = args.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec()));
                self.refused = Some(kept.collect());
                Err(refusal)
            }
            None => {
                self.give_up_link();
                Err(self.protocol_error(format!("not a reply: {}", excerpt(&reply))))
            }
        }
    }

    /// The arguments of the request that was refused last, for whoever wants to explain it.
    pub fn take_refused(&mut self) -> Option<Vec<(String, Vec<u8>)>> {
        self.refused.take()
    }

    /// The tracker that is connected, or would be tried next.
    pub(super) fn tracker(&self) -> &str {
        &self.trackers[self.preferred]
    }

    pub(super) fn protocol_error(&self, problem: impl Into<String>) -> ClientError {
        ClientError::Protocol { tracker: self.tracker().to_owned(), problem: problem.into() }
    }

    /// Writes the line and reads one; a link on which that fails is not used again.
    async fn exchange(&mut self, line: &[u8]) -> Result<Vec<u8>, ClientError> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => self.open_link().await?,
        };
        let error = match timeout(self.timeouts.reply, link.exchange(line)).await {
            Ok(Ok(reply)) => {
                self.link = Some(link);
                return Ok(reply);
            }
            Ok(Err(source)) => ClientError::Io { tracker: self.tracker().to_owned(), source },
            Err(_elapsed) => ClientError::Timeout { tracker: self.tracker().to_owned(), waited: self.timeouts.reply },
        };
        self.give_up_link();
        Err(error)
    }

    /// Tries each tracker once, beginning with the preferred one.
    async fn open_link(&mut self) -> Result<Link, ClientError> {
        let mut failures = Vec::new();
        for _ in 0..self.trackers.len() {
            match timeout(self.timeouts.connect, TcpStream::connect(self.tracker())).await {
                Ok(Ok(stream)) => return Ok(Link::new(stream)),
                Ok(Err(error)) => failures.push(format!("{}: {error}", self.tracker())),
                Err(_elapsed) => failures.push(format!("{}: no connection in time", self.tracker())),
            }
            self.give_up_link();
        }
        Err(ClientError::Connect(failures.join("; ")))
    }

    /// Long uploads lie between two requests; a tracker that was restarted meanwhile is noticed before it matters.
    fn drop_link_closed_by_peer(&mut self) {
        if self.link.as_ref().is_some_and(Link::is_closed_by_peer) {
            self.give_up_link();
        }
    }

    fn give_up_link(&mut self) {
        self.link = None;
        self.preferred = (self.preferred + 1) % self.trackers.len().max(1);
    }
}

impl Link {
    fn new(stream: TcpStream) -> Self {
        // Without it a small request can wait for an acknowledgement; failing to set it costs only that.
        let _best_effort = stream.set_nodelay(true);
        Self { stream, lines: LineBuffer::new(MAX_REPLY_BYTES) }
    }

    async fn exchange(&mut self, line: &[u8]) -> io::Result<Vec<u8>> {
        self.stream.write_all(line).await?;
        let mut piece = Vec::with_capacity(READ_BYTES);
        loop {
            let reply = self.lines.next_line().map_err(|_| io::Error::other("the reply is too long"))?;
            if let Some(reply) = reply {
                return Ok(reply.to_vec());
            }
            if self.stream.read_buf(&mut piece).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed without a reply"));
            }
            self.lines.push(&piece);
            piece.clear();
        }
    }

    /// Between requests nothing may come; whatever does makes the link useless.
    fn is_closed_by_peer(&self) -> bool {
        let mut byte = [0_u8; 1];
        !matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Appends a request line with its line end.
pub fn encode_request(command: &str, args: &[(&str, &[u8])], out: &mut Vec<u8>) {
    out.extend_from_slice(command.as_bytes());
    for (index, (name, value)) in args.iter().enumerate() {
        out.push(if index == 0 { b' ' } else { b'&' });
        escape_into(name.as_bytes(), out);
        out.push(b'=');
        escape_into(value, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Reading changes nothing, and an upload that is opened twice leaves only a temporary row behind.
fn may_be_repeated(command: &str) -> bool {
    matches!(command, "noop" | "create_open" | "file_info" | "file_debug" | "server_setting" | "server_settings")
        || matches!(command, "rebalance_test" | "rebalance_status" | "jobs_status")
        || command.starts_with("get_")
        || command.starts_with("list_")
}

/// The pairs of an `OK`, or the refusal of an `ERR`; `None` for anything else.
fn parse_reply(line: &[u8]) -> Option<Result<&[u8], ClientError>> {
    if line == b"OK" {
        return Some(Ok(b""));
    }
    if let Some(pairs) = line.strip_prefix(b"OK ") {
        return Some(Ok(pairs));
    }
    let mut words = line.strip_prefix(b"ERR ")?.split(|&byte| byte == b' ');
    let code = words.next().filter(|code| !code.is_empty())?;
    let code = String::from_utf8_lossy(code).into_owned();
    let text = words.next().map_or_else(|| code.clone(), |text| unescape(text).to_string());
    Some(Err(ClientError::Tracker { code, text }))
}

/// The address with the default port if it names none.
pub fn with_port(tracker: &str) -> String {
    let has_port = tracker.rsplit_once(':').is_some_and(|(host, port)| {
        !port.is_empty()
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && (!host.contains(':') || host.ends_with(']'))
    });
    match has_port {
        true => tracker.to_owned(),
        false if tracker.contains(':') && !tracker.starts_with('[') => format!("[{tracker}]:{DEFAULT_TRACKER_PORT}"),
        false => format!("{tracker}:{DEFAULT_TRACKER_PORT}"),
    }
}

fn excerpt(line: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&line[..line.len().min(80)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_requests_as_bytes() {
        let mut line = Vec::new();
        encode_request("delete", &[("domain", b"d"), ("key", b"a b\xff&=")], &mut line);
        assert_eq!(line, b"delete domain=d&key=a+b%FF%26%3D\r\n");
    }

    #[test]
    fn tells_replies_apart() {
        assert_eq!(parse_reply(b"OK ").expect("a reply").expect("ok"), b"");
        assert_eq!(parse_reply(b"OK a=1").expect("a reply").expect("ok"), b"a=1");
        let refusal = parse_reply(b"ERR unreg_domain Domain+name+invalid 7").expect("a reply").expect_err("refused");
        assert_eq!(refusal.to_string(), "unreg_domain: Domain name invalid");
        for nonsense in [&b"HTTP/1.1 400 Bad Request"[..], b"ERR", b"ERR ", b"OKAY"] {
            assert!(parse_reply(nonsense).is_none());
        }
    }

    #[test]
    fn only_harmless_requests_are_repeated() {
        assert!(may_be_repeated("get_paths") && may_be_repeated("list_keys") && may_be_repeated("create_open"));
        for changing in ["create_close", "delete", "rename", "create_host", "set_state"] {
            assert!(!may_be_repeated(changing), "{changing}");
        }
    }

    #[test]
    fn adds_the_port_where_it_is_missing() {
        for (given, full) in [
            ("t1", "t1:7001"),
            ("t1:80", "t1:80"),
            ("[::1]:80", "[::1]:80"),
            ("[::1]", "[::1]:7001"),
            ("::1", "[::1]:7001"),
        ] {
            assert_eq!(with_port(given), full);
        }
    }
}
