//! Files are never lost: random histories of a small cluster, held against a model in memory.
//!
//! Commands, job steps, failing nodes, dying disks and crashes follow each other at random. A crash ends the work of a
//! tracker between any two of its waits, which is between any two changes of the database and any two requests to
//! nodes. After each step every acknowledged key must have a whole copy, and no step of a job may have taken a copy that
//! the class of the file wants. In the end, with all nodes well again, every file has its copies and everything that no
//! key leads to is gone from the database and from the disks.
//!
//! The defects of the reference that this excludes: files lost by an overwrite that breaks off (database.md D3, D4), stray
//! rows of the delete queue (W14), uploads given up while they are closed (W13), copies recorded that are not whole (W8),
//! locations that are lost between two statements.

mod history;
mod nodes;
mod world;

use history::{History, Step, steps};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Runs a history to its end; `Err` says what was lost.
fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    actix::System::new().block_on(async move {
        let mut history = History::begin().await;
        for step in steps {
            history.take(&step).await.map_err(|what| TestCaseError::fail(format!("after {step:?}: {what}")))?;
        }
        history.end().await.map_err(|what| TestCaseError::fail(format!("in the end: {what}")))
    })
}

/// Histories of an ordinary run: always the same ones. `MODEL_CASES` asks for so many that nobody has seen yet.
const CASES_DEFAULT: u32 = 48;

#[test]
fn no_history_loses_a_file() {
    let new_cases = std::env::var("MODEL_CASES").ok().and_then(|text| text.parse().ok());
    let cases = new_cases.unwrap_or(CASES_DEFAULT);
    let config = Config { cases, max_shrink_iters: 400, failure_persistence: None, ..Config::default() };
    let mut runner = match new_cases {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    runner.run(&steps(), run).unwrap_or_else(|failure| panic!("{failure}"));
}
