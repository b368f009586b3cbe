//! Tokens: who knows one may do what its role allows. A file holds their digests, never the tokens themselves.
//!
//! ```text
//! # name   role   SHA-256 of the token
//! shop     write  9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//! backup   read   60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
//! ```

use super::secrets::{SecretDigest, digest, digest_of_hex, hex, is_same_digest};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// What somebody may do; each includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Nothing but say who he is.
    None,
    /// Find files and look at the cluster.
    Read,
    /// Store, change and delete files.
    Write,
    /// Change domains, classes, hosts, devices, settings, the course of jobs; use the console.
    #[default]
    Admin,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let roles = [Self::None, Self::Read, Self::Write, Self::Admin];
        let found = roles.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| format!("a role is one of read, write, admin (or none), not {text:?}"))
    }
}

/// One token: its name, what it allows, and by what it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub name: String,
    pub role: Role,
    digest: SecretDigest,
}

impl Token {
    /// # Errors
    /// The name cannot stand in a file of tokens.
    pub fn new(name: &str, role: Role, secret: &str) -> Result<Self, String> {
        if name.is_empty() || name.starts_with('#') || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(format!("a token's name has no spaces and does not begin with #, unlike {name:?}"));
        }
        Ok(Self { name: name.to_owned(), role, digest: digest(secret.as_bytes()) })
    }

    /// Its line in the file.
    pub fn line(&self) -> String {
        format!("{} {} {}", self.name, self.role, hex(&self.digest))
    }

    fn parse(line: &str) -> Result<Self, String> {
        let parts: Vec<&str> = line.split_whitespace().collect();
        let [name, role, digest] = parts[..] else {
            return Err("a line is NAME ROLE DIGEST, as `mogilefs token` writes it".to_owned());
        };
        let digest = digest_of_hex(digest).ok_or("the digest must be 64 hexadecimal digits")?;
        Ok(Self { name: name.to_owned(), role: role.parse()?, digest })
    }
}

/// All tokens that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenList(Vec<Token>);

impl TokenList {
    /// Reads a file of tokens; no path, no tokens.
    ///
    /// # Errors
    /// A sentence with file and line. Tokens are never in it.
    pub fn read(path: &Path) -> Result<Self, String> {
        if path.as_os_str().is_empty() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text).map_err(|(line, why)| format!("{}:{line}: {why}", path.display()))
    }

    /// # Errors
    /// The number of the first wrong line, and why it is wrong.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut tokens: Vec<Token> = Vec::new();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let token = Token::parse(line).map_err(|why| (index + 1, why))?;
            if tokens.iter().any(|known| known.name == token.name) {
                return Err((index + 1, format!("the name {:?} stands there twice", token.name)));
            }
            tokens.push(token);
        }
        Ok(Self(tokens))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose secret this is. Takes as long wherever in the list it stands.
    pub fn find(&self, secret: &[u8]) -> Option<&Token> {
        let digest = digest(secret);
        self.0
            .iter()
            .fold(None, |found, token| if is_same_digest(&token.digest, &digest) { Some(token) } else { found })
    }

    /// What a token of this name allows; `None` if there is none any more.
    pub fn role_of(&self, name: &str) -> Option<Role> {
        self.0.iter().find(|token| token.name == name).map(|token| token.role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let tokens =
            [("shop", Role::Write, "one"), ("ops", Role::Admin, "two")].map(|(n, r, s)| Token::new(n, r, s).expect(n));
        let text = format!("# those who may\n\n{}\n  {}\n", tokens[0].line(), tokens[1].line());
        assert!(!text.contains("one") && !text.contains("two"));
        let list = TokenList::parse(&text).expect("a list");
        assert_eq!(list.find(b"one"), Some(&tokens[0]));
        assert_eq!(list.find(b"two"), Some(&tokens[1]));
        assert_eq!(list.find(b"three"), None);
        assert_eq!(list.find(b""), None);
        assert_eq!((list.role_of("shop"), list.role_of("x")), (Some(Role::Write), None));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let good = Token::new("a", Role::Read, "x").expect("a token").line();
        for (text, line, why) in [
            ("# x\na read\n".to_owned(), 2, "NAME ROLE DIGEST"),
            (good.replace("read", "reader"), 1, "a role is one of"),
            (good[..good.len() - 1].to_owned(), 1, "64 hexadecimal"),
            (format!("{good}\n{good}"), 2, "twice"),
        ] {
            let (at, said) = TokenList::parse(&text).expect_err(why);
            assert_eq!(at, line, "{said}");
            assert!(said.contains(why), "{said}");
        }
        assert!(Token::new("two words", Role::Read, "x").is_err());
        assert!(Token::new("#a", Role::Read, "x").is_err());
    }

    #[test]
    fn roles_include_what_is_below_them() {
        assert!(Role::None < Role::Read && Role::Read < Role::Write && Role::Write < Role::Admin);
        assert_eq!("write".parse(), Ok(Role::Write));
    }
}
