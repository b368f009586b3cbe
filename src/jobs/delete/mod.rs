//! Deletion: the copies of files that no key owns any more leave the disks, then the database forgets them.
//!
//! Never touches a fid that has a `file` row (database.md D3). The node's file goes first, the row after it.

mod files;
mod old_queue;
mod tempfiles;

pub use files::{DeleteOutcome, run};
pub use old_queue::move_old_queue;
pub use tempfiles::expire;
