//! One request line: command name and arguments (protocol.md 2, "Parsing of a request line").

use super::args::Args;
use bstr::{BStr, ByteSlice};

/// A parsed request line. The name may be empty or unknown; that is for the dispatcher to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Lower case; bytes of `[a-z0-9_]`.
    pub command: String,
    pub args: Args,
}

impl Request {
    /// Parses a line without its line end. Never fails; a line without a command name gives an empty one.
    pub fn parse(line: &[u8]) -> Self {
        let line = skip_white_space(line);
        let name_len = name_len(line);
        if name_len == 0 {
            return Self { command: String::new(), args: Args::default() };
        }
        let (name, rest) = line.split_at(name_len);
        Self {
            command: name.to_ascii_lowercase().to_str_lossy().into_owned(),
            args: Args::decode(skip_white_space(rest)),
        }
    }

    /// The command name of a line as it was sent, possibly empty.
    pub fn name_of(line: &[u8]) -> &[u8] {
        let line = skip_white_space(line);
        &line[..name_len(line)]
    }

    /// The token that a client wants back with its reply.
    pub fn callid(&self) -> Option<&BStr> {
        self.args.get("callid")
    }
}

fn name_len(line: &[u8]) -> usize {
    line.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count()
}

/// Space, TAB, CR, FF, VT (and LF, which cannot occur in a line).
fn skip_white_space(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)).count();
    &text[blanks..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> (String, String) {
        let request = Request::parse(line.as_bytes());
        let args: Vec<_> = request.args.pairs().iter().map(|(name, value)| format!("{name}={value}")).collect();
        (request.command, args.join("&"))
    }

    /// Conformance 3–12.
    #[test]
    fn takes_name_and_arguments_apart() {
        let same = |line: &str, command: &str, args: &str| {
            assert_eq!(parsed(line), (command.to_owned(), args.to_owned()), "{line:?}");
        };
        same("NOOP", "noop", "");
        same("  NoOp a=b", "noop", "a=b");
        same("noop\tcallid=1", "noop", "callid=1");
        same("noop&callid=1", "noop", "callid=1");
        same("clear_cache/a=1", "clear_cache", "/a=1");
        same("noop\r", "noop", "");
        same("no-op", "no", "-op=");
        same("   ", "", "");
        same("!", "", "");
    }
}
