//! Replies: one line each, ended by CR LF (protocol.md 4).

use super::args::{escape_into, unescape};
use super::error_code::ErrorCode;
use bstr::{BStr, BString};
use std::io::Write as _;

/// The pairs of an OK reply, encoded as they are added, in the order in which they are added.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pairs {
    encoded: Vec<u8>,
}

impl Pairs {
    /// No pairs: the reply is `OK` and a blank.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pair; name and value are bytes.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.push_name(name.as_ref());
        escape_into(value.as_ref(), &mut self.encoded);
    }

    /// Adds a pair whose value is a number or a word.
    pub fn push_display(&mut self, name: impl AsRef<[u8]>, value: impl std::fmt::Display) {
        self.push_name(name.as_ref());
        let mut value_text = [0_u8; 32];
        let mut cursor = &mut value_text[..];
        // Ids and counts fit the buffer; longer texts take the way through a String.
        if write!(cursor, "{value}").is_ok() {
            let unused = cursor.len();
            let used = value_text.len() - unused;
            escape_into(&value_text[..used], &mut self.encoded);
        } else {
            escape_into(value.to_string().as_bytes(), &mut self.encoded);
        }
    }

    /// Adds a pair whose missing value is sent empty (NULL in the database).
    pub fn push_option(&mut self, name: impl AsRef<[u8]>, value: Option<impl std::fmt::Display>) {
        match value {
            Some(value) => self.push_display(name, value),
            None => self.push(name, ""),
        }
    }

    /// The decoded names, in order.
    pub fn names(&self) -> Vec<BString> {
        let pairs = self.encoded.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| unescape(pair.split(|&byte| byte == b'=').next().unwrap_or_default())).collect()
    }

    fn push_name(&mut self, name: &[u8]) {
        if !self.encoded.is_empty() {
            self.encoded.push(b'&');
        }
        escape_into(name, &mut self.encoded);
        self.encoded.push(b'=');
    }
}

/// An error for the client: a code of protocol.md 11 and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReply {
    pub code: ErrorCode,
    /// `None` for the code's default text.
    pub text: Option<String>,
}

impl ErrorReply {
    /// The code with a text of its own.
    pub fn with_text(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { code, text: Some(text.into()) }
    }
}

impl From<ErrorCode> for ErrorReply {
    fn from(code: ErrorCode) -> Self {
        Self { code, text: None }
    }
}

/// What a command answers.
pub type Response = Result<Pairs, ErrorReply>;

/// Appends the reply line of a response.
pub fn write_reply(response: &Response, callid: Option<&BStr>, out: &mut Vec<u8>) {
    match response {
        Ok(pairs) => {
            out.extend_from_slice(b"OK ");
            out.extend_from_slice(&pairs.encoded);
            if let Some(callid) = callid {
                if !pairs.encoded.is_empty() {
                    out.push(b'&');
                }
                out.extend_from_slice(b"callid=");
                escape_into(callid, out);
            }
        }
        Err(error) => {
            out.extend_from_slice(b"ERR ");
            out.extend_from_slice(error.code.code().as_bytes());
            out.push(b' ');
            let text = error.text.as_deref().filter(|text| !text.is_empty()).unwrap_or(error.code.text());
            escape_into(text.as_bytes(), out);
            if let Some(callid) = callid {
                out.push(b' ');
                escape_into(callid, out);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use bstr::ByteSlice;

    fn line(response: Response, callid: Option<&str>) -> String {
        let mut out = Vec::new();
        write_reply(&response, callid.map(|callid| callid.as_bytes().as_bstr()), &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    /// Conformance 1, 20–23.
    #[test]
    fn writes_the_forms_that_clients_depend_on() {
        assert_eq!(line(Ok(Pairs::new()), None), "OK \r\n");
        assert_eq!(line(Ok(Pairs::new()), Some("")), "OK callid=\r\n");
        let mut pairs = Pairs::new();
        pairs.push("key", "a b&c");
        pairs.push_display("n", 7);
        pairs.push_option("none", None::<i64>);
        assert_eq!(line(Ok(pairs), Some("7")), "OK key=a+b%26c&n=7&none=&callid=7\r\n");
        let unknown = || Err(ErrorCode::UnknownCommand.into());
        assert_eq!(line(unknown(), Some("a b")), "ERR unknown_command Unknown+server+command a+b\r\n");
        assert_eq!(line(unknown(), Some("")), "ERR unknown_command Unknown+server+command \r\n");
        assert_eq!(line(Err(ErrorCode::NoKey.into()), None), "ERR no_key no_key\r\n");
    }
}
