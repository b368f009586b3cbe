//! The tools of MogileFS-Utils under their old names: their options, configuration files and output, so that scripts go
//! on working. docs/TOOLS.md says what each is called today.
//!
//! Standard output is theirs to the letter where scripts read it; errors are our sentences on standard error.

mod admin;
mod check;
mod files;
mod mogtool;
mod options;
mod stats;

use super::GlobalArgs;
use super::block_on;
use super::output::{Failure, Output};
use super::session::Session;
use super::tls_args::TlsArgs;
use crate::client::talks_tls;
use options::OldOptions;
use std::process::ExitCode;

/// An old tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldTool {
    Mogadm,
    Mogupload,
    Mogfetch,
    Mogdelete,
    Mogfileinfo,
    Mogfiledebug,
    Moglistkeys,
    Moglistfids,
    Mogrename,
    Mogstats,
    Mogtool,
}

/// How a tool ends when it is not done.
#[derive(Debug)]
enum Refusal {
    /// The way to call it; on standard output, as it was, but never with success.
    Usage(String),
    Failed(Failure),
    /// Said already.
    Exit(u8),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<crate::client::ClientError> for Refusal {
    fn from(error: crate::client::ClientError) -> Self {
        Self::Failed(error.into())
    }
}

type Outcome = Result<(), Refusal>;

impl OldTool {
    /// By the name that the program was called by.
    pub fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "mogadm" => Self::Mogadm,
            "mogupload" => Self::Mogupload,
            "mogfetch" => Self::Mogfetch,
            "mogdelete" => Self::Mogdelete,
            "mogfileinfo" => Self::Mogfileinfo,
            "mogfiledebug" => Self::Mogfiledebug,
            "moglistkeys" => Self::Moglistkeys,
            "moglistfids" => Self::Moglistfids,
            "mogrename" => Self::Mogrename,
            "mogstats" => Self::Mogstats,
            "mogtool" => Self::Mogtool,
            _ => return None,
        })
    }
}

/// The whole program.
pub fn main(tool: OldTool) -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let output = Output::new(false);
    if words.iter().any(|word| word == "--version") {
        println!("mogilefs {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let outcome = match tool {
        OldTool::Mogadm => admin::run(words, &output),
        OldTool::Mogstats => stats::run(words, &output),
        OldTool::Mogtool => mogtool::run(words, &output),
        tool => files::run(tool, words, &output),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Refusal::Usage(text)) => {
            let _a_closed_pipe_changes_nothing = output.raw(text.as_bytes());
            ExitCode::from(1)
        }
        Err(Refusal::Failed(Failure::BrokenPipe)) => ExitCode::SUCCESS,
        Err(Refusal::Failed(failure)) => {
            output.report(&failure);
            ExitCode::from(if tool == OldTool::Mogtool { 2 } else { 1 })
        }
        Err(Refusal::Exit(code)) => ExitCode::from(code),
    }
}

/// Trackers and domain in the form of today's options.
fn global(options: &OldOptions, timeout_seconds: u64) -> GlobalArgs {
    let trackers = options.get("trackers").map(str::to_owned).or_else(|| std::env::var("MOGILEFS_TRACKERS").ok());
    let trackers = trackers.unwrap_or_else(|| "127.0.0.1:7001".to_owned());
    let trackers = trackers.split(',').map(|tracker| {
        // mogtool: an address to prefer stands before the one that is known.
        let tracker = tracker.trim();
        let (scheme, address) = tracker.split_at(if talks_tls(tracker) { "tls://".len() } else { 0 });
        let address = address.split_once('/').map_or(address, |(preferred, _)| preferred);
        format!("{scheme}{address}")
    });
    GlobalArgs {
        trackers: trackers.filter(|tracker| !tracker.is_empty()).collect(),
        domain: options.get("domain").map(str::to_owned).or_else(|| std::env::var("MOGILEFS_DOMAIN").ok()),
        json: false,
        timeout_seconds,
        token_file: std::env::var_os("MOGILEFS_TOKEN_FILE").map(std::path::PathBuf::from),
        node_key_file: std::env::var_os("MOGILEFS_NODE_KEY_FILE").map(std::path::PathBuf::from),
        tls: TlsArgs::of_environment(),
    }
}

/// Runs the work with a connected tracker.
fn with_session(global: &GlobalArgs, output: &Output, work: impl AsyncFnOnce(&mut Session<'_>) -> Outcome) -> Outcome {
    let mut outcome = Ok(());
    block_on(async {
        outcome = work(&mut Session::open(global, output).await?).await;
        Ok(())
    })?;
    outcome
}
