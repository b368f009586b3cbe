//! The command line: its tree, and how each outcome becomes text, JSON and an exit code.
//!
//! Decides nothing about the cluster: the tracker does. Results go to standard output, everything else to standard error.

mod bench;
mod big;
mod big_stream;
mod check;
mod config;
mod db;
mod db_copy;
mod deleted;
mod examples;
mod explain;
mod files;
mod fsck;
mod hints;
mod jobs;
mod life;
mod mogdbsetup;
mod old_names;
mod old_tools;
mod output;
mod pages;
mod rebalance;
mod roles;
mod session;
mod stats;
mod sure;
mod tls_args;
mod token;
mod topology;
mod watch;

use crate::client::{ClientError, Identity, TrackerClient, talks_tls};
use crate::jobs::query::manual;
use crate::service::signature::SigningKey;
use crate::settings::Secret;
use crate::settings::old::Program;
use crate::tls::NodeAccess;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use output::{Failure, Output};
use serde_json::json;
use session::Session;
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const EXIT_CODES: &str = "\
Exit codes:
  0  done (also when the reader of standard output went away)
  1  the tracker refused; standard error has `error: CODE: text`; or `db check` or `db copy` found what matters
  2  the command line or a setting is wrong, the database is of another schema version, which this program cannot change, or
     a question was not answered with yes
  3  no tracker could be reached, or it broke off or answered nonsense
  4  storage nodes failed: no copy could be stored or read whole
  5  reading or writing on this machine failed, or a service could not start

With --json results are one JSON value on standard output, and an error is one JSON object on standard error:
{\"error\":{\"code\":…,\"text\":…,\"exit\":…,\"hint\":…}}; a hint only where there is one.";

/// MogileFS: tracker, storage node and tools of the application-level distributed file system.
#[derive(Debug, Parser)]
#[command(name = "mogilefs", version, after_long_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// Options that may stand anywhere.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct GlobalArgs {
    /// Trackers, tried in this order; the port may be left out (7001); tls://HOST:PORT for TLS (7003)
    #[arg(
        long,
        visible_alias = "tracker",
        global = true,
        env = "MOGILEFS_TRACKERS",
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        default_value = "127.0.0.1:7001"
    )]
    trackers: Vec<String>,
    /// The domain of the files; file commands need it
    #[arg(long, short, global = true, env = "MOGILEFS_DOMAIN", value_name = "NAME")]
    domain: Option<String>,
    /// Print one JSON value, for scripts
    #[arg(long, global = true)]
    json: bool,
    /// How long to wait for a tracker's reply
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    timeout_seconds: u64,
    /// A file with the token that says who you are; the environment variable MOGILEFS_TOKEN can hold the token itself
    #[arg(long, global = true, env = "MOGILEFS_TOKEN_FILE", value_name = "FILE", hide_short_help = true)]
    token_file: Option<PathBuf>,
    /// A file with the key that signs what is stored and deleted at storage nodes, if they want that
    #[arg(long, global = true, env = "MOGILEFS_NODE_KEY_FILE", value_name = "FILE", hide_short_help = true)]
    node_key_file: Option<PathBuf>,
    #[command(flatten)]
    tls: tls_args::TlsArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Files(files::FileCommand),
    /// Big files and directories, kept in pieces as mogtool keeps them
    #[command(subcommand)]
    Big(big::BigCommand),
    #[command(flatten)]
    Topology(topology::TopologyCommand),
    /// Checks of all files: what is lost or damaged is found, and repaired where that can be
    #[command(subcommand)]
    Fsck(fsck::FsckCommand),
    /// Rebalance: move copies from chosen devices to others
    #[command(subcommand)]
    Rebalance(rebalance::RebalanceCommand),
    /// Background jobs: their workers and queues, or how many workers there are to be
    Jobs(jobs::JobsArgs),
    #[command(flatten)]
    Roles(roles::RoleCommand),
    /// Settings: what they are and where from, whether a file is right, old files in today's form
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// The tracker's database: set it up, bring it up to date, check it, copy it
    #[command(subcommand)]
    Db(db::DbCommand),
    Stats(stats::StatsArgs),
    Token(token::TokenArgs),
    /// Show what is not as it should be with hosts and devices, and how many files are at one copy
    Check,
    /// Measure a tracker: requests per second, latencies, errors
    Bench(bench::BenchArgs),
    /// Print the manual of the tracker protocol, or of one command of it
    Protocol {
        /// A command, for example get_paths
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
    },
    /// Print the completions of a shell: the shell knows the words of this program then
    Completions {
        /// The shell
        shell: pages::Shell,
    },
    /// Write the man pages, one for each command, into a directory
    Man {
        /// The directory; it is made if need be
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// All commands with their options, and examples in the help.
fn tree() -> clap::Command {
    examples::with_examples(Cli::command())
}

/// Reads the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    match name_called().as_deref() {
        Some("mogdbsetup") => return mogdbsetup::main(),
        Some("mogilefsd") => return old_names::main(Program::Mogilefsd),
        Some("mogstored") => return old_names::main(Program::Mogstored),
        name => {
            if let Some(tool) = name.and_then(old_tools::OldTool::of_name) {
                return old_tools::main(tool);
            }
        }
    }
    let cli = match Cli::from_arg_matches(&tree().get_matches()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let output = Output::new(cli.global.json);
    match run(cli, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.report(&failure),
    }
}

/// The name that this program was called by: a link may have one of 2.73's.
fn name_called() -> Option<String> {
    let called = PathBuf::from(std::env::args_os().next()?);
    Some(called.file_name()?.to_string_lossy().into_owned())
}

fn run(cli: Cli, output: &Output) -> Result<(), Failure> {
    let global = &cli.global;
    match cli.command {
        Command::Files(command) => in_session(global, output, async |session| command.run(session).await),
        Command::Big(command) => in_session(global, output, async |session| command.run(session).await),
        Command::Topology(command) => in_session(global, output, async |session| command.run(session).await),
        Command::Fsck(command) => in_session(global, output, async |session| command.run(session).await),
        Command::Rebalance(command) => in_session(global, output, async |session| command.run(session).await),
        Command::Jobs(args) => in_session(global, output, async |session| args.run(session).await),
        Command::Roles(command) => command.run(),
        Command::Config(command) => command.run(output),
        Command::Db(command) => command.run(output),
        Command::Stats(args) => args.run(output),
        Command::Token(args) => args.run(output),
        Command::Check => in_session(global, output, async |session| check::check(session).await),
        Command::Bench(args) => bench::run(&args, global, output),
        Command::Protocol { command } => protocol(command.as_deref(), output),
        Command::Completions { shell } => pages::completions(tree(), shell, output),
        Command::Man { directory } => pages::man(tree(), &directory, output),
    }
}

fn protocol(command: Option<&str>, output: &Output) -> Result<(), Failure> {
    let text = match command {
        None => manual::whole(),
        Some(name) => {
            manual::section(name).ok_or_else(|| Failure::Usage(format!("the protocol has no command {name:?}")))?
        }
    };
    output.result(&json!({ "manual": text }), || text.clone())
}

/// Runs a command with a connected tracker; a refusal gets what may help.
fn in_session(
    global: &GlobalArgs,
    output: &Output,
    work: impl AsyncFnOnce(&mut Session<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    block_on(async {
        let mut session = match Session::open(global, output).await {
            Ok(session) => session,
            Err(failure @ Failure::Client(ClientError::Connect(_))) => {
                return Err(Failure::Hinted(Box::new(failure), hints::where_trackers_come_from()));
            }
            Err(failure) => return Err(failure),
        };
        match work(&mut session).await {
            Err(failure) => Err(hints::with_hint(failure, &mut session).await),
            done => done,
        }
    })
}

/// Runs a command on a runtime of its own.
///
/// The runtime is left to the end of the process: dropping it would wait for a thread that reads a terminal or a pipe,
/// which may never end.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    ManuallyDrop::new(actix_rt::System::new()).block_on(work)
}

impl GlobalArgs {
    /// The domain, which this command cannot do without.
    fn required_domain(&self) -> Result<&str, Failure> {
        let missing = || {
            Failure::Usage(
                "this command needs --domain NAME (or MOGILEFS_DOMAIN); `mogilefs domain list` shows which there are"
                    .to_owned(),
            )
        };
        self.domain.as_deref().filter(|domain| !domain.is_empty()).ok_or_else(missing)
    }

    /// A connection to one of these trackers, as whoever we say we are.
    async fn connect(&self, trackers: &[String]) -> Result<TrackerClient, Failure> {
        Ok(TrackerClient::connect_as(trackers, self.timeouts(), self.identity(trackers)?).await?)
    }

    /// Who we are to these trackers, and whom we believe that they are.
    fn identity(&self, trackers: &[String]) -> Result<Identity, Failure> {
        let is_tls_wanted = trackers.iter().any(|tracker| talks_tls(tracker));
        Ok(Identity { tls: is_tls_wanted.then(|| self.tls.load()).transpose()?, token: self.token()? })
    }

    /// How storage nodes are reached.
    fn node_access(&self) -> Result<NodeAccess, Failure> {
        let path = self.node_key_file.clone().unwrap_or_default();
        let signing_key = SigningKey::read(&path).map_err(|why| Failure::Usage(format!("--node-key-file: {why}")))?;
        Ok(NodeAccess { tls: self.tls.nodes()?, signing_key })
    }

    /// What says who we are; the option wins over the environment.
    fn token(&self) -> Result<Option<Secret>, Failure> {
        let Some(file) = &self.token_file else {
            return Ok(std::env::var("MOGILEFS_TOKEN").ok().map(|token| Secret::from(token.trim())));
        };
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::Local(format!("the file of the token, {}: {error}", file.display())))?;
        Ok(Some(Secret::from(text.trim())))
    }

    fn timeouts(&self) -> crate::client::Timeouts {
        crate::client::Timeouts { reply: Duration::from_secs(self.timeout_seconds), ..Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        tree().debug_assert();
    }

    #[test]
    fn global_options_may_stand_anywhere() {
        let cli = Cli::try_parse_from(["mogilefs", "list", "--json", "-d", "demo", "p/", "--tracker", "a:1,b"]);
        let cli = cli.expect("accepted");
        assert!(cli.global.json);
        assert_eq!(cli.global.required_domain().ok(), Some("demo"));
        assert_eq!(cli.global.trackers, ["a:1", "b"]);
    }
}
