//! Cuts the bytes of a connection into lines, with a limit (protocol.md 2).

/// A line that is longer than the limit. The connection cannot go on: where the next line begins is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineTooLong;

/// Collects bytes and gives back whole lines without their LF or CR LF. Empty lines are skipped, unless asked for.
#[derive(Debug)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Bytes before this were given out already.
    start: usize,
    /// No LF between `start` and this; so a long line is not searched twice.
    searched: usize,
    max_bytes: usize,
    skip_empty: bool,
}

impl LineBuffer {
    /// `max_bytes` is the length of the longest line that is accepted, without its line end.
    pub fn new(max_bytes: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, searched: 0, max_bytes, skip_empty: true }
    }

    /// Like [`LineBuffer::new`], but empty lines are given back as well.
    pub fn keeping_empty_lines(max_bytes: usize) -> Self {
        Self { skip_empty: false, ..Self::new(max_bytes) }
    }

    /// Appends bytes as they came from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line, if there is one.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, LineTooLong> {
        loop {
            let Some(offset) = self.bytes[self.searched..].iter().position(|&byte| byte == b'\n') else {
                self.searched = self.bytes.len();
                if self.searched - self.start > self.max_bytes + 1 {
                    return Err(LineTooLong);
                }
                self.release_if_empty();
                return Ok(None);
            };
            let (from, newline) = (self.start, self.searched + offset);
            self.start = newline + 1;
            self.searched = self.start;
            let to = if newline > from && self.bytes[newline - 1] == b'\r' { newline - 1 } else { newline };
            if to - from > self.max_bytes {
                return Err(LineTooLong);
            }
            if to > from || !self.skip_empty {
                return Ok(Some(&self.bytes[from..to]));
            }
        }
    }

    /// Bytes held that are not part of a line given out.
    pub fn pending_bytes(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Those bytes.
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// An idle connection holds no buffer.
    fn release_if_empty(&mut self) {
        if self.start == self.bytes.len() {
            self.bytes = Vec::new();
            self.start = 0;
            self.searched = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(buffer: &mut LineBuffer) -> Vec<String> {
        let mut found = Vec::new();
        while let Ok(Some(line)) = buffer.next_line() {
            found.push(String::from_utf8_lossy(line).into_owned());
        }
        found
    }

    /// Conformance 2, 8, 10, 38.
    #[test]
    fn cuts_lines_however_the_bytes_arrive() {
        let mut buffer = LineBuffer::new(100);
        buffer.push(b"\r\n\n\r\nnoop callid=z\r\nnoop\r\r\nno");
        assert_eq!(lines(&mut buffer), ["noop callid=z", "noop\r"]);
        buffer.push(b"op callid=h");
        assert_eq!(lines(&mut buffer), [""; 0]);
        buffer.push(b"w\r");
        buffer.push(b"\n");
        assert_eq!(lines(&mut buffer), ["noop callid=hw"]);
        assert_eq!(buffer.pending_bytes(), 0);
    }

    #[test]
    fn refuses_lines_beyond_the_limit_and_takes_those_at_it() {
        let mut buffer = LineBuffer::new(4);
        buffer.push(b"1234\r\n");
        assert_eq!(lines(&mut buffer), ["1234"]);
        buffer.push(b"12345\n");
        assert_eq!(buffer.next_line(), Err(LineTooLong));
        let mut endless = LineBuffer::new(4);
        endless.push(b"123456");
        assert_eq!(endless.next_line(), Err(LineTooLong));
    }
}
