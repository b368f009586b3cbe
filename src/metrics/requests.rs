//! Requests of clients by command, outcome and time.
//!
//! The names are those of the commands that exist: what clients invent counts as one.

use super::Counter;
use super::histogram::Histogram;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// The name under which unknown commands are counted.
pub const UNKNOWN: &str = "unknown";

/// What is known of the requests of one command.
#[derive(Debug, Default)]
pub struct CommandMetrics {
    pub ok: Counter,
    /// Within a worker.
    pub times: Histogram,
    /// By error code; there are few codes, and each comes in once.
    errors: RwLock<BTreeMap<String, Counter>>,
}

impl CommandMetrics {
    /// Error codes, and how often they were the answer.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        let errors = self.errors.read().unwrap_or_else(PoisonError::into_inner);
        errors.iter().map(|(code, count)| (code.clone(), count.get())).collect()
    }

    fn add(&self, reply: &[u8], time_us: u32) {
        self.times.add(time_us);
        match error_code(reply) {
            None => self.ok.add(1),
            Some(code) => self.count_error(&String::from_utf8_lossy(code)),
        }
    }

    fn count_error(&self, code: &str) {
        if let Some(count) = self.errors.read().unwrap_or_else(PoisonError::into_inner).get(code) {
            return count.add(1);
        }
        self.errors.write().unwrap_or_else(PoisonError::into_inner).entry(code.to_owned()).or_default().add(1);
    }
}

/// The code of `ERR code text`.
fn error_code(reply: &[u8]) -> Option<&[u8]> {
    let rest = reply.strip_prefix(b"ERR ")?;
    rest.split(|&byte| byte == b' ').next()
}

/// All commands. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct RequestMetrics(Arc<ByCommand>);

#[derive(Debug, Default)]
struct ByCommand {
    /// Sorted by name; set once.
    known: OnceLock<Vec<(&'static str, CommandMetrics)>>,
    unknown: CommandMetrics,
}

impl RequestMetrics {
    /// Which commands there are; lower case. To be said once, before the first request.
    pub fn know(&self, names: impl Iterator<Item = &'static str>) {
        self.0.known.get_or_init(|| {
            let mut names: Vec<_> = names.collect();
            names.sort_unstable();
            names.dedup();
            names.into_iter().map(|name| (name, CommandMetrics::default())).collect()
        });
    }

    /// One request was answered: the command as the client wrote it, the reply line, the time.
    pub fn add(&self, command: &[u8], reply: &[u8], time_us: u32) {
        self.of(command).add(reply, time_us);
    }

    /// All commands that were ever asked for, by name.
    pub fn asked(&self) -> impl Iterator<Item = (&'static str, &CommandMetrics)> {
        let known = self.known().iter().map(|(name, metrics)| (*name, metrics));
        let all = known.chain([(UNKNOWN, &self.0.unknown)]);
        all.filter(|(_, metrics)| metrics.times.cumulated().count > 0)
    }

    fn known(&self) -> &[(&'static str, CommandMetrics)] {
        self.0.known.get().map_or(&[], Vec::as_slice)
    }

    fn of(&self, command: &[u8]) -> &CommandMetrics {
        let known = self.known();
        match known.binary_search_by(|(name, _)| compare(name.as_bytes(), command)) {
            Ok(place) => &known[place].1,
            Err(_) => &self.0.unknown,
        }
    }
}

/// The order of a name in lower case and one as a client wrote it.
fn compare(name: &[u8], written: &[u8]) -> Ordering {
    name.iter().copied().cmp(written.iter().map(u8::to_ascii_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_command_and_outcome() {
        let requests = RequestMetrics::default();
        requests.know(["noop", "get_paths"].into_iter());
        requests.add(b"GET_Paths", b"OK paths=0\r\n", 7);
        requests.add(b"get_paths", b"ERR unknown_key unknown_key\r\n", 9);
        requests.add(b"get_path", b"ERR unknown_command Unknown+server+command\r\n", 1);
        requests.add(b"", b"ERR unknown_command Unknown+server+command\r\n", 1);
        let asked: Vec<_> = requests
            .asked()
            .map(|(name, metrics)| (name, metrics.ok.get(), metrics.errors(), metrics.times.cumulated().sum_us))
            .collect();
        let one = |code: &str, count| BTreeMap::from([(code.to_owned(), count)]);
        assert_eq!(asked, [("get_paths", 1, one("unknown_key", 1), 16), (UNKNOWN, 0, one("unknown_command", 2), 2)]);
    }
}
