//! Which directories need not be asked for again, and which nodes need none (storage-node.md 3.1).

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A directory that was made is remembered for so long.
const MADE_FOR: Duration = Duration::from_secs(3600);
/// A node that makes directories by itself is asked again after so long.
const NEEDS_NONE_FOR: Duration = Duration::from_secs(300);
/// Beyond so many entries the old ones are looked for and dropped.
const ENTRIES_MAX: usize = 10_000;

/// What a client has learnt.
#[derive(Default)]
pub(super) struct DirectoryMemory {
    /// URL of a directory, or base URL of a node that needs none, and until when that holds.
    settled_until: HashMap<String, Instant>,
}

impl DirectoryMemory {
    /// Does this directory have to be asked for?
    pub fn must_ask(&mut self, base: &str, url: &str) -> bool {
        let now = Instant::now();
        let is_settled = |memory: &Self, name: &str| memory.settled_until.get(name).is_some_and(|until| *until > now);
        !is_settled(self, base) && !is_settled(self, url)
    }

    /// Takes note of the status that came back, if any.
    pub fn learn(&mut self, base: &str, url: &str, status: Option<u16>) {
        let now = Instant::now();
        if self.settled_until.len() >= ENTRIES_MAX {
            self.settled_until.retain(|_, until| *until > now);
        }
        match status {
            Some(200..=299) => self.settled_until.insert(url.to_owned(), now + MADE_FOR),
            Some(400 | 501) => self.settled_until.insert(base.to_owned(), now + NEEDS_NONE_FOR),
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_directories_that_were_made_and_nodes_that_need_none() {
        let mut memory = DirectoryMemory::default();
        assert!(memory.must_ask("http://a", "http://a/dev1/0/"));
        memory.learn("http://a", "http://a/dev1/0/", Some(201));
        assert!(!memory.must_ask("http://a", "http://a/dev1/0/"));
        // S27: 405 settles nothing, and nothing fails.
        memory.learn("http://a", "http://a/dev1/1/", Some(405));
        assert!(memory.must_ask("http://a", "http://a/dev1/1/"));
        memory.learn("http://b", "http://b/dev2/0/", Some(400));
        assert!(!memory.must_ask("http://b", "http://b/dev9/7/"));
    }
}
