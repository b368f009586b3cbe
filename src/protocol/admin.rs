//! The console: lines that begin with `!` (admin-console.md A.1).

use bstr::{BStr, ByteSlice};

/// A console line, recognised by prefix as in the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminCommand {
    Stats,
    Shutdown,
    Jobs,
    /// What follows the word, to be checked where it is answered.
    Want(String),
    /// What follows the word, as with `Want`.
    To(String),
    Queue,
    Watch,
    Recent,
    Version,
    /// Ours: which records are logged. What follows the word, as with `Want`.
    Log(String),
    /// Any other word.
    Help,
}

/// `None` if the line is not for the console: no `!` followed by a word, or a word followed by exactly one blank.
pub fn parse(line: &[u8]) -> Option<AdminCommand> {
    let rest = line.strip_prefix(b"!")?;
    let word_len = rest.iter().take_while(|byte| !is_blank(**byte)).count();
    let (word, tail) = rest.split_at(word_len);
    let blanks = tail.iter().take_while(|byte| is_blank(**byte)).count();
    // After the blanks must come at least one character more; of several blanks the last can be that character.
    if word.is_empty() || tail.len() == 1 {
        return None;
    }
    Some(recognise(word.as_bstr(), tail[blanks..].to_str_lossy().into_owned()))
}

fn recognise(word: &BStr, arguments: String) -> AdminCommand {
    let begins = |name: &str| word.starts_with(name.as_bytes());
    match () {
        () if word == "stats" => AdminCommand::Stats,
        () if begins("shutdown") => AdminCommand::Shutdown,
        () if begins("jobs") => AdminCommand::Jobs,
        () if begins("want") => AdminCommand::Want(arguments),
        () if begins("to") => AdminCommand::To(arguments),
        () if begins("queue") || begins("pend") => AdminCommand::Queue,
        () if begins("watch") => AdminCommand::Watch,
        () if begins("recent") => AdminCommand::Recent,
        () if begins("version") => AdminCommand::Version,
        () if word == "log" => AdminCommand::Log(arguments),
        () => AdminCommand::Help,
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Conformance 291, 302, 306–308.
    #[test]
    fn recognises_words_by_prefix() {
        assert_eq!(parse(b"!version"), Some(AdminCommand::Version));
        assert_eq!(parse(b"!versionfoo x"), Some(AdminCommand::Version));
        assert_eq!(parse(b"!stats"), Some(AdminCommand::Stats));
        assert_eq!(parse(b"!statsx"), Some(AdminCommand::Help));
        assert_eq!(parse(b"!STATS"), Some(AdminCommand::Help));
        assert_eq!(parse(b"!pending"), Some(AdminCommand::Queue));
        assert_eq!(parse(b"!tomorrow a b"), Some(AdminCommand::To("a b".to_owned())));
        assert_eq!(parse(b"!watching"), Some(AdminCommand::Watch));
        assert_eq!(parse(b"!recently"), Some(AdminCommand::Recent));
        assert_eq!(parse(b"!log debug jobs"), Some(AdminCommand::Log("debug jobs".to_owned())));
        assert_eq!(parse(b"!logs"), Some(AdminCommand::Help));
        assert_eq!(parse(b"!rec"), Some(AdminCommand::Help));
        assert_eq!(parse(b"!want 2 queryworker"), Some(AdminCommand::Want("2 queryworker".to_owned())));
        for not_console in ["!", "! stats", "!stats ", " !version", "!version ", "noop"] {
            assert_eq!(parse(not_console.as_bytes()), None, "{not_console:?}");
        }
    }
}
