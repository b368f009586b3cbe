//! Talking to storage nodes over HTTP: sizes, digests, directories, deletion, copies from node to node.
//!
//! One [`NodeClient`] per worker thread: it keeps connections and belongs to the runtime of its thread. Every wait has a
//! limit. Nothing here decides anything about a file; nothing here knows the database.
//! Source: storage-node.md 3–5, jobs.md 3 and 7.6.

mod copy;
pub mod copy_order;
mod direct_copy;
mod directories;
mod download;
mod error;
mod http;
mod side_digest;

pub use copy::{Copy, CopyReport, OpenSource};
pub use download::Download;
pub use error::{CopyError, NodeError};
pub use http::{Deleted, Limits, NodeClient};
pub use side_digest::CopyOnNode;
