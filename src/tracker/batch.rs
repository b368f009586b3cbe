//! Request lines on their way from a connection to a query worker and back.

use actix::Message;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::oneshot;

/// Whole request lines of one client, without line ends, in one allocation.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Lines {
    pub fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.ends.push(self.bytes.len());
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }
}

/// How many lines of the batch under way a worker has begun; shared by connection and worker.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicUsize>);

impl Progress {
    pub fn begin_line(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    pub fn begun(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Carry out these lines in order; one message for a whole run of pipelined requests.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct ExecuteBatch {
    pub lines: Arc<Lines>,
    pub peer: IpAddr,
    pub progress: Progress,
    /// All reply lines together. Dropped without an answer when the worker dies.
    pub reply: oneshot::Sender<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn lines_come_out_as_they_went_in() {
        let mut lines = Lines::default();
        for line in ["noop", "a", "get_paths key=1"] {
            lines.push(line.as_bytes());
        }
        assert_eq!(lines.iter().collect::<Vec<_>>(), [b"noop".as_slice(), b"a", b"get_paths key=1"]);
    }
}
