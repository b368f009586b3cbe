//! What every command on the cluster needs: a connected tracker, the storage client, the output.

use super::GlobalArgs;
use super::output::{Failure, Output};
use crate::client::{StorageClient, TrackerClient};

/// One run of a command against a cluster.
pub struct Session<'a> {
    pub tracker: TrackerClient,
    pub storage: StorageClient,
    pub output: &'a Output,
    global: &'a GlobalArgs,
}

impl<'a> Session<'a> {
    /// Connects to a tracker.
    pub async fn open(global: &'a GlobalArgs, output: &'a Output) -> Result<Self, Failure> {
        let timeouts = global.timeouts();
        let tracker = global.connect(&global.trackers).await?;
        Ok(Self { tracker, storage: StorageClient::with_access(timeouts, global.node_access()?), output, global })
    }

    /// Connects to this one of the trackers and to no other.
    pub async fn open_at(global: &'a GlobalArgs, output: &'a Output, tracker: &str) -> Result<Self, Failure> {
        let timeouts = global.timeouts();
        let tracker = global.connect(&[tracker.to_owned()]).await?;
        Ok(Self { tracker, storage: StorageClient::with_access(timeouts, global.node_access()?), output, global })
    }

    /// For work that is done beside this session's.
    pub fn another_tracker(&self) -> Connecting<'a> {
        Connecting { global: self.global }
    }

    /// The domain that was named on the command line.
    ///
    /// # Errors
    /// None was.
    pub fn domain(&self) -> Result<&'a [u8], Failure> {
        self.global.required_domain().map(str::as_bytes)
    }

    /// For commands whose success needs no words; scripts get an object that says what was done.
    pub fn done(&self, value: &serde_json::Value) -> Result<(), Failure> {
        self.output.result(value, String::new)
    }
}

/// A further connection, which is not made yet.
#[derive(Clone, Copy)]
pub struct Connecting<'a> {
    global: &'a GlobalArgs,
}

impl Connecting<'_> {
    /// Makes it.
    ///
    /// # Errors
    /// No tracker can be reached.
    pub async fn connect(self) -> Result<TrackerClient, Failure> {
        self.global.connect(&self.global.trackers).await
    }
}
