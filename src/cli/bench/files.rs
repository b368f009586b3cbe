//! The files of a run: their keys, storing them before and deleting them after.

use super::Plan;
use super::stats::{Kind, Stats};
use super::wire::{Wire, io_code, verdict};
use crate::cli::output::Failure;
use crate::client::{
    ClientError, Destination, OpenedFile, StorageClient, UploadBody, encode_request, read_create_open,
};
use crate::protocol::args::Args;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Instant;

/// What every key of a run begins with.
pub(super) const KEY_PREFIX: &str = "bench/";
/// More connections do not store or delete faster.
const MAX_HELPERS: u32 = 32;

/// Key of a file that is asked for: the number has eight digits.
pub(super) fn file_key(number: u32) -> String {
    format!("{KEY_PREFIX}{number:08}")
}

/// Key of a file that the scenario open-close stores.
pub(super) fn upload_key(connection: u32, number: u64) -> String {
    format!("{KEY_PREFIX}upload/{connection}/{number}")
}

/// Files that this run stored, or began to.
#[derive(Default)]
pub(super) struct Made {
    /// So many of [`file_key`].
    files: u32,
    /// So many of [`upload_key`], by connection.
    uploads: BTreeMap<u32, u64>,
}

impl Made {
    pub(super) fn add_uploads(&mut self, stats: &Stats) {
        self.uploads.clone_from(&stats.uploads);
    }

    fn keys(&self) -> impl Iterator<Item = String> {
        let uploads = self
            .uploads
            .iter()
            .flat_map(|(connection, count)| (0..*count).map(move |number| upload_key(*connection, number)));
        (0..self.files).map(file_key).chain(uploads)
    }
}

/// Stores the files that will be asked for.
///
/// # Errors
/// One could not be stored.
pub(super) async fn prepare(plan: &Plan, made: &mut Made) -> Result<(), Failure> {
    // Whatever happens: deleting what is not there does no harm.
    made.files = plan.files;
    let next = Cell::new(0);
    let storage = StorageClient::with_access(plan.timeouts, plan.node_access.clone());
    let stats = Rc::new(RefCell::new(Stats::new()));
    let store_some = |helper: u32| {
        let (next, stats) = (&next, stats.clone());
        let storage = storage.clone();
        async move {
            let mut uploader = Uploader::connect(plan, helper, storage, stats).await?;
            while next.get() < plan.files {
                let number = next.replace(next.get() + 1);
                uploader.upload(&file_key(number)).await?;
            }
            Ok(())
        }
    };
    let helpers = plan.connections.min(MAX_HELPERS).min(plan.files);
    futures::future::try_join_all((0..helpers).map(store_some)).await.map_err(UploadError::into_failure).map(drop)
}

/// Deletes what the run stored. Keys that have no file are nobody's fault.
pub(super) async fn clean_up(plan: &Plan, made: &Made) -> Result<(), Failure> {
    let keys = RefCell::new(made.keys());
    let delete_some = |helper: u32| {
        let keys = &keys;
        async move {
            let mut wire: Option<Wire> = None;
            let mut line = Vec::new();
            loop {
                let Some(key) = keys.borrow_mut().next() else { return Ok::<(), io::Error>(()) };
                let wire = match &mut wire {
                    Some(wire) => wire,
                    None => wire.insert(Wire::connect(plan, helper).await?),
                };
                line.clear();
                encode_request("delete", &[("domain", plan.domain.as_bytes()), ("key", key.as_bytes())], &mut line);
                wire.call(&line).await?;
            }
        }
    };
    let helpers = plan.connections.min(MAX_HELPERS);
    let outcome = futures::future::try_join_all((0..helpers).map(delete_some)).await;
    outcome.map(drop).map_err(|error| Failure::Client(ClientError::Connect(format!("while deleting: {error}"))))
}

/// Why one upload failed.
pub(super) enum UploadError {
    /// The connection to the tracker is of no use any more.
    Wire(io::Error),
    Refused(String),
    Storage(String),
}

impl From<io::Error> for UploadError {
    fn from(error: io::Error) -> Self {
        Self::Wire(error)
    }
}

impl UploadError {
    /// The word under which it is counted.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Wire(error) => io_code(error),
            Self::Refused(code) => code,
            Self::Storage(_) => "storage",
        }
    }

    fn into_failure(self) -> Failure {
        Failure::Client(match self {
            Self::Wire(error) => ClientError::Connect(format!("while storing: {error}")),
            Self::Refused(code) => ClientError::Tracker { code, text: "while storing the files".to_owned() },
            Self::Storage(text) => ClientError::Storage(text),
        })
    }
}

/// Stores files one after the other over one connection to a tracker.
pub(super) struct Uploader<'a> {
    plan: &'a Plan,
    wire: Wire,
    storage: StorageClient,
    stats: Rc<RefCell<Stats>>,
    content: Bytes,
    line: Vec<u8>,
}

impl<'a> Uploader<'a> {
    pub(super) async fn connect(
        plan: &'a Plan,
        connection: u32,
        storage: StorageClient,
        stats: Rc<RefCell<Stats>>,
    ) -> Result<Self, UploadError> {
        let wire = Wire::connect(plan, connection).await?;
        let content = Bytes::from(vec![b'x'; plan.size_bytes as usize]);
        Ok(Self { plan, wire, storage, stats, content, line: Vec::new() })
    }

    /// create_open, PUT, create_close; each step and the whole are timed.
    pub(super) async fn upload(&mut self, key: &str) -> Result<(), UploadError> {
        let begun = Instant::now();
        let opened = self.open(key).await?;
        let opened_at = Instant::now();
        self.record(Kind::Open, opened_at - begun);
        let destination = &opened.destinations[0];
        let body = UploadBody::whole(self.content.clone());
        let sent = tokio::time::timeout(self.plan.timeouts.stall, self.storage.put(&destination.path, body)).await;
        sent.map_err(|_elapsed| UploadError::Storage(format!("{}: no answer in time", destination.path)))?
            .map_err(|error| UploadError::Storage(error.to_string()))?;
        let put_at = Instant::now();
        self.record(Kind::Put, put_at - opened_at);
        self.close(key, &opened, destination).await?;
        let closed_at = Instant::now();
        self.record(Kind::Close, closed_at - put_at);
        self.record(Kind::Upload, closed_at - begun);
        Ok(())
    }

    async fn open(&mut self, key: &str) -> Result<OpenedFile, UploadError> {
        let size = self.plan.size_bytes.to_string();
        let args = [
            ("domain", self.plan.domain.as_bytes()),
            ("key", key.as_bytes()),
            ("multi_dest", b"1"),
            ("size", size.as_bytes()),
        ];
        let reply = self.call("create_open", &args).await?;
        read_create_open(&reply).ok_or_else(|| UploadError::Refused("not_a_reply".to_owned()))
    }

    async fn close(&mut self, key: &str, opened: &OpenedFile, destination: &Destination) -> Result<(), UploadError> {
        let (fid, devid) = (opened.fid.to_string(), destination.devid.to_string());
        let size = self.plan.size_bytes.to_string();
        let args = [
            ("domain", self.plan.domain.as_bytes()),
            ("key", key.as_bytes()),
            ("fid", fid.as_bytes()),
            ("devid", devid.as_bytes()),
            ("path", destination.path.as_bytes()),
            ("size", size.as_bytes()),
        ];
        self.call("create_close", &args).await.map(drop)
    }

    async fn call(&mut self, command: &str, args: &[(&str, &[u8])]) -> Result<Args, UploadError> {
        self.line.clear();
        encode_request(command, args, &mut self.line);
        let reply = self.wire.call(&self.line).await?;
        verdict(&reply).map(Args::decode).map_err(|code| UploadError::Refused(code.to_owned()))
    }

    fn record(&self, kind: Kind, latency: std::time::Duration) {
        self.stats.borrow_mut().succeeded(kind, latency);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_keys_it_made() {
        let made = Made { files: 2, uploads: BTreeMap::from([(3, 1), (4, 0)]) };
        let keys: Vec<String> = made.keys().collect();
        assert_eq!(keys, ["bench/00000000", "bench/00000001", "bench/upload/3/0"]);
    }
}
