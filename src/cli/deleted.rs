//! `mogilefs list --deleted`: what can be brought back, page by page.

use super::output::{Failure, short_size, table, utc};
use super::session::Session;
use crate::protocol::args::Args as Reply;
use bstr::ByteSlice as _;
use serde_json::{Value, json};

/// Most files that a tracker gives at a time.
const PAGE_FILES: u64 = 1000;

/// A deleted file.
struct DeletedFile {
    fid: i64,
    key: String,
    length_bytes: u64,
    deleted_at: i64,
    due_at: i64,
}

impl DeletedFile {
    fn read(reply: &Reply, number: i64) -> Self {
        let int = |field: &str| reply.int(&format!("{field}_{number}"));
        Self {
            fid: int("fid"),
            key: reply.get(&format!("key_{number}")).unwrap_or_default().to_str_lossy().into_owned(),
            length_bytes: u64::try_from(int("length")).unwrap_or(0),
            deleted_at: int("deleted_at"),
            due_at: int("due_at"),
        }
    }

    fn json(&self) -> Value {
        json!({
            "fid": self.fid, "key": self.key, "length": self.length_bytes,
            "deleted_at": self.deleted_at, "due_at": self.due_at,
        })
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.fid.to_string(),
            short_size(self.length_bytes),
            utc(self.deleted_at),
            utc(self.due_at),
            self.key.clone(),
        ]
    }
}

pub async fn list(domain: &[u8], prefix: &[u8], limit: Option<u64>, session: &mut Session<'_>) -> Result<(), Failure> {
    let limit = limit.unwrap_or(u64::MAX);
    let mut files: Vec<DeletedFile> = Vec::new();
    while (files.len() as u64) < limit {
        let asked = (limit - files.len() as u64).min(PAGE_FILES);
        let (after, asked_text) = (files.last().map_or(0, |file| file.fid).to_string(), asked.to_string());
        let request: [(&str, &[u8]); 4] =
            [("domain", domain), ("prefix", prefix), ("after_fid", after.as_bytes()), ("limit", asked_text.as_bytes())];
        let reply = session.tracker.request("list_deleted", &request).await?;
        let count = reply.int("count");
        files.extend((1..=count).map(|number| DeletedFile::read(&reply, number)));
        if count <= 0 || (count as u64) < asked {
            break;
        }
    }
    let value: Vec<Value> = files.iter().map(DeletedFile::json).collect();
    session.output.result(&json!(value), || {
        let rows: Vec<Vec<String>> = files.iter().map(DeletedFile::cells).collect();
        table(&["fid", "length", "deleted", "kept until", "key"], &rows)
    })
}
