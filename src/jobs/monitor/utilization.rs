//! The utilisation stream of a node's side channel (storage-node.md 6.1), read from bytes. Pure.
//!
//! The peer may be anything: whatever it sends, what is kept of it is bounded.

use crate::ids::DevId;
use std::collections::BTreeMap;

/// Longest line: a number, a blank and a number.
const LINE_BYTES_MAX: usize = 256;
/// A node has some dozens of devices.
const DEVICES_MAX: usize = 4096;

/// What a node said of its devices: percent, perhaps with decimals, or `-`.
pub type Utilizations = BTreeMap<DevId, String>;

/// Why a stream is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    #[error("a line is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    #[error("more than {DEVICES_MAX} devices in one group")]
    GroupTooLong,
    #[error("the node answered ERR")]
    Refused,
}

/// Collects bytes to lines and lines to groups.
#[derive(Debug, Default)]
pub struct StreamReader {
    line: Vec<u8>,
    group: Utilizations,
}

impl StreamReader {
    /// Takes the next bytes; gives the last group that they complete.
    ///
    /// # Errors
    /// The connection is to be closed, and this reader with it.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Utilizations>, StreamFault> {
        let mut complete = None;
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.len() > LINE_BYTES_MAX {
                return Err(StreamFault::LineTooLong);
            }
            if self.line.ends_with(b"\n") {
                complete = self.end_line()?.or(complete);
            }
        }
        Ok(complete)
    }

    fn end_line(&mut self) -> Result<Option<Utilizations>, StreamFault> {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii();
        if line == b"." {
            return Ok(Some(std::mem::take(&mut self.group)));
        }
        if line.starts_with(b"ERR") {
            return Err(StreamFault::Refused);
        }
        if let Some((devid, value)) = parse_line(line) {
            if self.group.len() >= DEVICES_MAX {
                return Err(StreamFault::GroupTooLong);
            }
            self.group.insert(devid, value);
        }
        Ok(None)
    }
}

/// `<devid><blank><value>`; any other line says nothing.
fn parse_line(line: &[u8]) -> Option<(DevId, String)> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let devid = words.next().filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
    let value = words.next()?;
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (is_number || value == "-").then(|| (DevId(devid), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn group(pairs: &[(i64, &str)]) -> Utilizations {
        pairs.iter().map(|(devid, value)| (DevId(*devid), (*value).to_owned())).collect()
    }

    /// J36; the example of storage-node.md 6.1.
    #[test]
    fn groups_are_read_wherever_they_are_cut() {
        let stream = b"11\t41.20\n12\t-\r\n.\n41\t37\n.\n41\t99\n";
        let (first, second) = (group(&[(11, "41.20"), (12, "-")]), group(&[(41, "37")]));
        assert_eq!(StreamReader::default().push(stream), Ok(Some(second.clone())), "the last complete one");
        let mut reader = StreamReader::default();
        let groups: Vec<_> = stream.iter().filter_map(|byte| reader.push(&[*byte]).expect("well-formed")).collect();
        assert_eq!(groups, [first, second]);
    }

    #[test]
    fn what_makes_no_sense_says_nothing() {
        let stream = b"hello\n-1\t5\n1\n2\tmuch\n3\t1e9\n\xff\t5\n99999999999999999999\t5\n4 5\n.\n";
        assert_eq!(StreamReader::default().push(stream), Ok(Some(group(&[(4, "5")]))));
    }

    #[test]
    fn a_peer_cannot_fill_the_memory() {
        let mut reader = StreamReader::default();
        let endless = (0..100).find_map(|_| reader.push(&[b'7'; 64]).err());
        assert_eq!(endless, Some(StreamFault::LineTooLong));
        let many: String = (0..=DEVICES_MAX).map(|devid| format!("{devid}\t1\n")).collect();
        assert_eq!(StreamReader::default().push(many.as_bytes()), Err(StreamFault::GroupTooLong));
        assert_eq!(StreamReader::default().push(b"ERR iostat unavailable\r\n"), Err(StreamFault::Refused));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_borne(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let mut reader = StreamReader::default();
            for piece in pieces {
                if reader.push(&piece).is_err() {
                    break;
                }
                prop_assert!(reader.line.len() <= LINE_BYTES_MAX && reader.group.len() <= DEVICES_MAX);
            }
        }
    }
}
