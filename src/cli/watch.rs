//! `--watch`: a report that is shown again and again until it has come to an end.

use super::output::Failure;
use super::session::Session;
use clap::Args;
use std::io::IsTerminal as _;
use std::time::Duration;

/// Clears the screen and goes to its beginning.
const CLEAR: &[u8] = b"\x1b[H\x1b[J";

#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Show it again and again until it has come to an end; with --json one value per line
    #[arg(long)]
    watch: bool,
    /// Seconds between two showings
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    interval_seconds: u64,
}

impl WatchArgs {
    pub fn is_wanted(&self) -> bool {
        self.watch
    }
}

/// Shows a report once, or again and again as long as it says that more is to come. On a terminal each showing takes the
/// place of the one before.
pub async fn watch(
    args: &WatchArgs,
    session: &mut Session<'_>,
    mut show: impl AsyncFnMut(&mut Session<'_>) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let clears = args.watch && !session.output.is_json() && std::io::stdout().is_terminal();
    loop {
        if clears {
            session.output.raw(CLEAR)?;
        }
        if !show(session).await? || !args.watch {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(args.interval_seconds)).await;
    }
}
