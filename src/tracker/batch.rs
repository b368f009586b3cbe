//! Request lines on their way from a connection to a query worker, and replies on their way back.

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

    /// Length of all lines together.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// The lines from this place on.
    pub fn iter_from(&self, from: usize) -> impl Iterator<Item = &[u8]> {
        let from = from.min(self.ends.len());
        let first = if from == 0 { 0 } else { self.ends[from - 1] };
        let starts = std::iter::once(first).chain(self.ends[from..].iter().copied());
        starts.zip(&self.ends[from..]).map(|(start, &end)| &self.bytes[start..end])
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
    /// The first line to carry out; those before it are answered already.
    pub from: usize,
    pub peer: IpAddr,
    pub progress: Progress,
    /// Dropped without an answer when the worker dies. When the receiver is gone, no further line is begun.
    pub reply: oneshot::Sender<Replies>,
}

impl ExecuteBatch {
    /// The line that is next.
    pub fn next_line(&self) -> Option<&[u8]> {
        self.lines.iter_from(self.from).next()
    }
}

/// Replies of one or more lines in order: not necessarily of all, so that what is ready need not wait for what is slow,
/// and that many large replies are not held at once. Lines that are neither answered nor begun can be handed over again.
#[derive(Debug, Default)]
pub struct Replies {
    /// The reply lines together.
    pub bytes: Vec<u8>,
    /// How long each of these lines took within the worker, in microseconds.
    pub times_us: Vec<u32>,
    /// No line waited for a node: the time says how busy this tracker is.
    pub is_prompt: bool,
    /// The next line has begun and goes on; its reply will come here.
    pub rest: Option<oneshot::Receiver<Replies>>,
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn lines_come_out_as_they_went_in() {
        let mut lines = Lines::default();
        let all = [b"noop".as_slice(), b"a", b"get_paths key=1"];
        for line in all {
            lines.push(line);
        }
        for from in 0..=3 {
            assert_eq!(lines.iter_from(from).collect::<Vec<_>>(), all[from..]);
        }
        assert_eq!(lines.iter_from(4).count(), 0);
    }
}
