//! `--yes` and `--dry-run`: before what is hard to take back people are asked. Scripts are not: without a terminal there is
//! nobody to ask, and they have meant it.

use super::output::{Failure, Output};
use clap::Args;
use serde_json::json;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

#[derive(Args, Clone, Copy, Debug, Default)]
pub struct SureArgs {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Only say what would be done
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

impl SureArgs {
    pub fn is_dry_run(self) -> bool {
        self.dry_run
    }

    /// Is it to be done? `what` is what would be done, as in `delete 30 files`.
    ///
    /// # Errors
    /// The person said no.
    pub fn proceed(self, what: &str, output: &Output) -> Result<bool, Failure> {
        if self.dry_run {
            output.result(&json!({ "would": what }), || format!("would {what}\n"))?;
            return Ok(false);
        }
        let is_asked = !self.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        match !is_asked || answer_is_yes(what) {
            true => Ok(true),
            false => Err(Failure::Declined),
        }
    }
}

fn answer_is_yes(what: &str) -> bool {
    eprint!("About to {what}. Go on? [y/N] ");
    let _best_effort = std::io::stderr().flush();
    let mut answer = String::new();
    let is_read = std::io::stdin().lock().read_line(&mut answer).is_ok();
    is_read && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_not_asked() {
        // Tests have no terminal, as scripts have none.
        let output = Output::new(true);
        assert!(matches!(SureArgs { yes: true, dry_run: false }.proceed("x", &output), Ok(true)));
        assert!(matches!(SureArgs { yes: false, dry_run: true }.proceed("x", &output), Ok(false)));
    }
}
