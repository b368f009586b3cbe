//! A client's connection to a tracker, as a terminal would be.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

pub struct Session {
    reader: BufReader<TcpStream>,
}

impl Session {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("tracker accepts");
        stream.set_read_timeout(Some(super::PATIENCE)).expect("socket option");
        stream.set_nodelay(true).expect("socket option");
        Self { reader: BufReader::new(stream) }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("tracker reads");
    }

    /// Sends bytes to a tracker that may hang up meanwhile.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// One line without its CR LF, which must be there.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).expect("tracker answers");
        let line = String::from_utf8(line).expect("replies are ASCII");
        line.strip_suffix("\r\n").unwrap_or_else(|| panic!("a line ends in CR LF: {line:?}")).to_owned()
    }

    /// One line without its end, which may be LF alone as in the console's help.
    pub fn line_of_any_end(&mut self) -> String {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).expect("tracker answers");
        assert!(line.ends_with(b"\n"), "the tracker closed the connection");
        String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()
    }

    /// A request and its reply line.
    pub fn ask(&mut self, request: &str) -> String {
        self.send(format!("{request}\r\n").as_bytes());
        self.line()
    }

    /// A request that must succeed: its pairs, decoded.
    pub fn ok(&mut self, request: &str) -> BTreeMap<String, String> {
        let reply = self.ask(request);
        pairs(reply.strip_prefix("OK ").unwrap_or_else(|| panic!("{request} answered {reply}")))
    }

    /// A request that must be refused: its code.
    pub fn refused(&mut self, request: &str) -> String {
        let reply = self.ask(request);
        let rest = reply.strip_prefix("ERR ").unwrap_or_else(|| panic!("{request} answered {reply}"));
        rest.split(' ').next().unwrap_or_default().to_owned()
    }

    /// A console command and its lines before the full stop.
    pub fn console(&mut self, command: &str) -> Vec<String> {
        self.send(format!("{command}\r\n").as_bytes());
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).expect("tracker answers");
            assert!(!line.is_empty(), "the tracker closed the connection after {lines:?}");
            if line == ".\r\n" {
                return lines;
            }
            lines.push(line);
        }
    }

    /// True if the tracker closes the connection without another byte.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        let is_over = match self.reader.read_to_end(&mut rest) {
            Ok(_) => true,
            // Still open, but silent.
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        is_over && rest.is_empty()
    }

    /// Resets the connection. Needs bytes from the tracker that were not read: closing with such is a reset.
    pub fn reset(self) {
        let mut waiting = [0; 1];
        let peeked = self.reader.get_ref().peek(&mut waiting).expect("tracker answers");
        assert_eq!((peeked, self.reader.buffer().len()), (1, 0), "there is something that was not read");
    }

    pub fn half_close(&self) {
        self.reader.get_ref().shutdown(std::net::Shutdown::Write).expect("half close");
    }
}

/// Decodes the pairs of a reply; values that are no UTF-8 are shown with replacement characters.
pub fn pairs(text: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| mogilefs::protocol::args::unescape(text.as_bytes()).to_string();
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or_else(|| panic!("a pair has a '=': {pair}"));
            (decode(name), decode(value))
        })
        .collect()
}
