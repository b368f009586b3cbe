//! `mogilefs token`: makes a token for clients of a tracker. Only its digest is kept.

use super::output::{Failure, Output};
use crate::service::secrets::random_secret;
use crate::service::tokens::{Role, Token, TokenList};
use clap::Args;
use serde_json::json;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Make a token for clients of trackers that have `security.tokens_file`
///
/// The token is printed once, to standard output, and is kept nowhere. Trackers know it by a line with its digest; they read the
/// file when they start and on SIGHUP.
#[derive(Args, Debug)]
pub struct TokenArgs {
    /// Whose it is, for people and logs
    #[arg(value_name = "NAME")]
    name: String,
    /// What it allows: read; write (and read); admin (everything)
    #[arg(value_name = "ROLE", value_parser = ["read", "write", "admin"])]
    role: String,
    /// The file of tokens that gets the line; else the line is shown on standard error
    #[arg(long, value_name = "FILE")]
    add_to: Option<PathBuf>,
}

impl TokenArgs {
    pub fn run(&self, output: &Output) -> Result<(), Failure> {
        let role: Role = self.role.parse().map_err(Failure::Usage)?;
        let secret = random_secret();
        let token = Token::new(&self.name, role, &secret).map_err(Failure::Usage)?;
        match &self.add_to {
            Some(file) => add(file, &token)?,
            None => output.note(&format!("the line for the file of security.tokens_file:\n{}", token.line())),
        }
        let about = json!({ "name": token.name, "role": token.role.name(), "token": secret, "line": token.line() });
        output.result(&about, || format!("{secret}\n"))
    }
}

/// Appends the token's line; what stands there stays as it is.
fn add(path: &Path, token: &Token) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Local(format!("{}: {error}", path.display()));
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path).map_err(failed)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    let tokens =
        TokenList::parse(&text).map_err(|(line, why)| Failure::Usage(format!("{}:{line}: {why}", path.display())))?;
    if tokens.role_of(&token.name).is_some() {
        return Err(Failure::Usage(format!(
            "{} has a token named {} already: choose another name, or take its line out first",
            path.display(),
            token.name
        )));
    }
    let line_end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    file.write_all(format!("{line_end}{}\n", token.line()).as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)
}
