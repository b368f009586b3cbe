//! One connection to one of several trackers: request lines out, reply lines in.
//!
//! A request that changes something is never sent twice: after a broken exchange nobody knows whether it was carried out.

use super::{ClientError, DEFAULT_TRACKER_PORT, DEFAULT_TRACKER_TLS_PORT, Timeouts};
use crate::protocol::args::{Args, escape_into, unescape};
use crate::protocol::line::LineBuffer;
use crate::settings::Secret;
use crate::tls::client::in_words;
use crate::tls::{ClientTls, ClientTlsFiles, Transport};
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
    identity: Identity,
    link: Option<Link>,
    /// The arguments of the request that was refused last.
    refused: Option<Vec<(String, Vec<u8>)>>,
}

/// Who a client is, as far as it says so, and whom it believes trackers to be.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// For trackers that talk TLS.
    pub tls: Option<ClientTls>,
    /// Shown to every tracker that is connected (PROTOCOL.md, `authenticate`).
    pub token: Option<Secret>,
}

struct Link {
    stream: Transport,
    lines: LineBuffer,
}

impl TrackerClient {
    /// Connects to the first tracker of the list that answers; `HOST` alone means port 7001, `tls://HOST` TLS and port 7003,
    /// with a certificate that the system believes.
    ///
    /// # Errors
    /// [`ClientError::Connect`] when none does.
    pub async fn connect(trackers: &[String], timeouts: Timeouts) -> Result<Self, ClientError> {
        let tls = match trackers.iter().any(|tracker| talks_tls(tracker)) {
            true => Some(ClientTls::load(&ClientTlsFiles::default())),
            false => None,
        };
        let tls = tls.transpose().map_err(|error| ClientError::Connect(error.to_string()))?;
        Self::connect_as(trackers, timeouts, Identity { tls, token: None }).await
    }

    /// The same, as somebody.
    ///
    /// # Errors
    /// Also [`ClientError::Tracker`] when a tracker does not know the token. Trackers that know no tokens at all take
    /// everybody.
    pub async fn connect_as(trackers: &[String], timeouts: Timeouts, identity: Identity) -> Result<Self, ClientError> {
        let trackers = trackers.iter().map(|tracker| with_port(tracker.trim())).collect();
        let mut client = Self { trackers, preferred: 0, timeouts, identity, link: None, refused: None };
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
            match open_transport(self.tracker(), &self.timeouts, self.identity.tls.as_ref()).await {
                Ok(stream) => match self.introduce(Link { stream, lines: LineBuffer::new(MAX_REPLY_BYTES) }).await {
                    Err(ClientError::Io { source, .. }) => failures.push(format!("{}: {source}", self.tracker())),
                    introduced => return introduced,
                },
                Err(error) => failures.push(format!("{}: {error}", self.tracker())),
            }
            self.give_up_link();
        }
        Err(ClientError::Connect(failures.join("; ")))
    }

    /// Says who we are, if that is to be said.
    async fn introduce(&self, mut link: Link) -> Result<Link, ClientError> {
        let Some(token) = &self.identity.token else { return Ok(link) };
        let mut line = Vec::new();
        encode_request("authenticate", &[("token", token.reveal().as_bytes())], &mut line);
        let tracker = || self.tracker().to_owned();
        let reply = match timeout(self.timeouts.reply, link.exchange(&line)).await {
            Ok(reply) => reply.map_err(|source| ClientError::Io { tracker: tracker(), source })?,
            Err(_elapsed) => return Err(ClientError::Timeout { tracker: tracker(), waited: self.timeouts.reply }),
        };
        match parse_reply(&reply) {
            Some(Err(ClientError::Tracker { code, text })) if code != "unknown_command" => {
                Err(ClientError::Tracker { code, text: format!("{text} (the token for tracker {})", self.tracker()) })
            }
            _ => Ok(link),
        }
    }

    /// Long uploads lie between two requests; a tracker that was restarted meanwhile is noticed before it matters.
    fn drop_link_closed_by_peer(&mut self) {
        if self.link.as_mut().is_some_and(Link::is_closed_by_peer) {
            self.give_up_link();
        }
    }

    fn give_up_link(&mut self) {
        self.link = None;
        self.preferred = (self.preferred + 1) % self.trackers.len().max(1);
    }
}

impl Link {
    async fn exchange(&mut self, line: &[u8]) -> io::Result<Vec<u8>> {
        self.stream.write_all(line).await.map_err(in_words)?;
        self.stream.flush().await.map_err(in_words)?;
        let mut piece = Vec::with_capacity(READ_BYTES);
        loop {
            let reply = self.lines.next_line().map_err(|_| io::Error::other("the reply is too long"))?;
            if let Some(reply) = reply {
                return Ok(reply.to_vec());
            }
            if self.stream.read_buf(&mut piece).await.map_err(in_words)? == 0 {
                if self.lines.pending().starts_with(&TLS_ALERT) {
                    let text = "it talks TLS there: its address wants tls:// before it";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed without a reply"));
            }
            self.lines.push(&piece);
            piece.clear();
        }
    }

    /// Between requests nothing may come; whatever does makes the link useless.
    fn is_closed_by_peer(&mut self) -> bool {
        self.stream.is_readable()
    }
}

/// How a listener that talks TLS refuses what is none.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];
/// What stands before the address of a tracker that talks TLS.
const TLS_SCHEME: &str = "tls://";

/// Is TLS to be talked with this tracker?
pub fn talks_tls(tracker: &str) -> bool {
    tracker.trim().starts_with(TLS_SCHEME)
}

/// Connects to a tracker, `HOST:PORT` or `tls://HOST:PORT`.
///
/// # Errors
/// Why not, in words for people.
pub async fn open_transport(tracker: &str, timeouts: &Timeouts, tls: Option<&ClientTls>) -> io::Result<Transport> {
    let address = tracker.strip_prefix(TLS_SCHEME).unwrap_or(tracker);
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        // Without it a small request can wait for an acknowledgement; failing to set it costs only that.
        let _best_effort = stream.set_nodelay(true);
        if !talks_tls(tracker) {
            return Ok(Transport::Plain(stream));
        }
        let tls = tls.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "TLS is not set up"))?;
        let host = address.rsplit_once(':').map_or(address, |(host, _port)| host);
        Ok(Transport::Tls(Box::new(tls.connect(host, stream).await?)))
    };
    let no_connection = |_elapsed| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
    timeout(timeouts.connect, connecting).await.map_err(no_connection)?
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
    match tracker.strip_prefix(TLS_SCHEME) {
        Some(address) => format!("{TLS_SCHEME}{}", with_this_port(address, DEFAULT_TRACKER_TLS_PORT)),
        None => with_this_port(tracker, DEFAULT_TRACKER_PORT),
    }
}

fn with_this_port(tracker: &str, default_port: u16) -> String {
    let has_port = tracker.rsplit_once(':').is_some_and(|(host, port)| {
        !port.is_empty()
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && (!host.contains(':') || host.ends_with(']'))
    });
    match has_port {
        true => tracker.to_owned(),
        false if tracker.contains(':') && !tracker.starts_with('[') => format!("[{tracker}]:{default_port}"),
        false => format!("{tracker}:{default_port}"),
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
            ("tls://t1", "tls://t1:7003"),
            ("tls://[::1]:80", "tls://[::1]:80"),
        ] {
            assert_eq!(with_port(given), full);
        }
    }
}
