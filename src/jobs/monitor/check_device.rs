//! The check of one device over HTTP: usage file, write test, read back, and whether wrong checksums are refused.
//! Source: jobs.md 4.4 and 4.5, with the fixes of W22.

use crate::clock::{Chance, unix_now_secs};
use crate::cluster::device_state::{ObservedDevice, ObservedHost};
use crate::cluster::mount_guard::GuardFailure;
use crate::ids::DevId;
use crate::node_client::{NodeClient, NodeError};
use bytes::Bytes;
use rand::RngExt;
use std::time::{Duration, Instant};

/// A usage file is a few lines.
const USAGE_BYTES_MAX: usize = 64 * 1024;
/// The database keeps no longer ones; a UUID has 36.
const MARK_BYTES_MAX: usize = 64;
/// Names of test files: `test-write-0` to `test-write-99`.
const TEST_FILES: u32 = 100;
/// Base64 of the MD5 of `!`: wrong on purpose for the body `.`.
const WRONG_MD5: &str = "kDPg4wXyR8DDyA0MeEjIsw==";

/// What to check, and how.
#[derive(Clone, Debug)]
pub struct CheckTarget {
    pub devid: DevId,
    /// `http://ip:port` for writing.
    pub http_base: String,
    /// `http://ip:port` for reading.
    pub get_base: String,
    /// May it be written to, by its status?
    pub may_write: bool,
    /// Has the last write test been long enough ago?
    pub write_test_due: bool,
    /// The mark that its disk must bear.
    pub expected_mark: Option<String>,
}

/// What a node says of a device's space, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageKib {
    pub total: i64,
    pub used: i64,
}

/// What was seen. `None` leaves what was seen before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceCheck {
    pub host: Option<ObservedHost>,
    pub device: Option<ObservedDevice>,
    pub usage: Option<UsageKib>,
    /// The mark that its disk bears.
    pub mark: Option<String>,
    /// Its disk is not the one that it should be.
    pub guard_failure: Option<GuardFailure>,
    /// A write test was made, whatever came of it.
    pub write_tested: bool,
    pub reject_bad_md5: Option<bool>,
    /// How long its usage file took.
    pub waited: Option<Duration>,
    /// Why the device is not as it should be, for the log.
    pub problem: Option<String>,
}

impl DeviceCheck {
    fn seen(device: ObservedDevice) -> Self {
        Self { host: Some(ObservedHost::Reachable), device: Some(device), ..Self::default() }
    }

    fn with_problem(self, problem: impl Into<String>) -> Self {
        Self { problem: Some(problem.into()), ..self }
    }
}

/// Checks one device. Never fails: what goes wrong is what was seen.
pub async fn check_device(client: &NodeClient, target: &CheckTarget, chance: &mut Chance) -> DeviceCheck {
    let usage_url = format!("{}/dev{}/usage", target.get_base, target.devid);
    let begun = Instant::now();
    let text = match client.get_text(&usage_url, USAGE_BYTES_MAX).await {
        Ok(text) => text,
        Err(error) => return without_usage(&error),
    };
    let waited = Some(begun.elapsed());
    let Some(usage) = parse_usage(&text) else {
        // A full or broken disk must not stay writeable (J19, replacement).
        let check = DeviceCheck::seen(ObservedDevice::Readable).with_problem("its usage file makes no sense");
        return DeviceCheck { waited, ..check };
    };
    let mark = parse_mark(&text);
    if let Some(expected) = target.expected_mark.as_ref().filter(|expected| mark.as_ref() != Some(*expected)) {
        return DeviceCheck { waited, ..wrong_disk(GuardFailure { expected: expected.clone(), seen: mark }) };
    }
    let check = if !target.may_write {
        DeviceCheck::seen(ObservedDevice::Readable)
    } else if target.write_test_due {
        write_test(client, target, chance).await
    } else {
        DeviceCheck { host: Some(ObservedHost::Reachable), ..DeviceCheck::default() }
    };
    DeviceCheck { usage: Some(usage), mark, waited, ..check }
}

/// The files of the device are elsewhere: whoever asked this disk for them would take them for lost. So it counts as
/// unreachable, and nothing is written to it.
fn wrong_disk(failure: GuardFailure) -> DeviceCheck {
    let problem = failure.text();
    DeviceCheck { guard_failure: Some(failure), ..DeviceCheck::seen(ObservedDevice::Unreachable) }.with_problem(problem)
}

/// A node that answers, whatever it says, is reachable; silence takes the host down, unless other devices of it answer; one
/// that refuses the connection may be starting, or serve its other devices from other ports.
fn without_usage(error: &NodeError) -> DeviceCheck {
    let host = match error {
        NodeError::Timeout(_) => Some(ObservedHost::Unreachable),
        NodeError::Unreachable(_) => None,
        _ => Some(ObservedHost::Reachable),
    };
    DeviceCheck { host, device: Some(ObservedDevice::Unreachable), ..DeviceCheck::default() }
        .with_problem(format!("usage file: {error}"))
}

/// Writes, reads back, compares; once more if another tracker may have written the same name.
async fn write_test(client: &NodeClient, target: &CheckTarget, chance: &mut Chance) -> DeviceCheck {
    let directory = format!("/dev{}/test-write/", target.devid);
    client.make_directories(&target.http_base, std::slice::from_ref(&directory)).await;
    let mut outcome = Err("the test file reads back differently".to_owned());
    for _ in 0..2 {
        outcome = write_and_read(client, target, &directory, chance.random_range(0..TEST_FILES)).await;
        match outcome {
            Ok(true) | Err(_) => break,
            Ok(false) => {}
        }
    }
    let check = match outcome {
        Ok(true) => DeviceCheck {
            reject_bad_md5: rejects_bad_md5(client, target, &directory).await,
            ..DeviceCheck::seen(ObservedDevice::Writeable)
        },
        Ok(false) => DeviceCheck::seen(ObservedDevice::Readable).with_problem("the test file reads back differently"),
        Err(problem) => DeviceCheck::seen(ObservedDevice::Readable).with_problem(problem),
    };
    DeviceCheck { write_tested: true, ..check }
}

/// True if the bytes read are the bytes written.
async fn write_and_read(
    client: &NodeClient,
    target: &CheckTarget,
    directory: &str,
    number: u32,
) -> Result<bool, String> {
    let body = Bytes::from(format!("time={} rand={number}", unix_now_secs()));
    let path = format!("{directory}test-write-{number}");
    let put = client.put_small(&format!("{}{path}", target.http_base), body.clone(), None).await;
    put.map_err(|error| format!("write test: {error}"))?;
    let read = client.get_text(&format!("{}{path}", target.get_base), USAGE_BYTES_MAX).await;
    let is_same = match read {
        Ok(bytes) => bytes == body,
        // Another tracker that used the same name has removed it.
        Err(NodeError::Missing) => return Ok(false),
        Err(error) => return Err(format!("write test, reading back: {error}")),
    };
    if is_same {
        remove(client, &format!("{}{path}", target.http_base)).await;
    }
    Ok(is_same)
}

/// Removes a test file, so that they do not pile up (W22). If that fails, one of a hundred small files stays.
async fn remove(client: &NodeClient, url: &str) {
    let _outcome = client.delete(url).await;
}

/// A transport error says nothing about it (J29, replacement).
async fn rejects_bad_md5(client: &NodeClient, target: &CheckTarget, directory: &str) -> Option<bool> {
    let url = format!("{}{directory}test-md5", target.http_base);
    match client.put_small(&url, Bytes::from_static(b"."), Some(WRONG_MD5)).await {
        Ok(()) => {
            remove(client, &url).await;
            Some(false)
        }
        Err(NodeError::Status(_) | NodeError::Missing) => Some(true),
        Err(_) => None,
    }
}

/// `used` and `total` of a usage file; later lines win. `used: 0` is an empty disk.
fn parse_usage(text: &[u8]) -> Option<UsageKib> {
    let (mut total, mut used) = (None, None);
    for line in String::from_utf8_lossy(text).lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let number = value.trim().parse::<i64>().ok().filter(|&number| number >= 0);
        match key.trim() {
            "total" => total = number,
            "used" => used = number,
            _ => {}
        }
    }
    Some(UsageKib { total: total.filter(|&total| total > 0)?, used: used? })
}

/// `uuid` of a usage file, which our nodes write.
pub fn parse_mark(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().rev().filter_map(|line| line.split_once(':'));
    let mark = lines.into_iter().find(|(key, _)| key.trim() == "uuid")?.1.trim();
    (!mark.is_empty() && mark.len() <= MARK_BYTES_MAX).then(|| mark.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// J16, J19.
    #[test]
    fn usage_needs_total_and_used() {
        let parse = |text: &str| parse_usage(text.as_bytes());
        let full = "available: 1\ntotal: 1000000000\r\nused : 100000000\n";
        assert_eq!(parse(full), Some(UsageKib { total: 1_000_000_000, used: 100_000_000 }));
        assert_eq!(parse("total: 5\nused: 0\n"), Some(UsageKib { total: 5, used: 0 }));
        for unusable in ["", "total: 5\n", "used: 5\n", "total: 0\nused: 0\n", "total: x\nused: 1\n", "<html>"] {
            assert_eq!(parse(unusable), None, "{unusable:?}");
        }
    }

    /// The last one counts, as for the other keys; what the database cannot keep is none.
    #[test]
    fn the_mark_is_a_line_of_the_usage_file() {
        let parse = |text: &str| parse_mark(text.as_bytes());
        assert_eq!(parse("total: 5\nused: 0\nuuid: a-b\r\n"), Some("a-b".to_owned()));
        assert_eq!(parse("uuid: a\nuuid:b\n"), Some("b".to_owned()));
        for none in ["total: 5\nused: 0\n".to_owned(), "uuid:\n".to_owned(), format!("uuid: {}\n", "x".repeat(65))] {
            assert_eq!(parse(&none), None, "{none:?}");
        }
    }

    /// J20, J21.
    #[test]
    fn only_silence_takes_the_host_down() {
        let host = |error: NodeError| without_usage(&error).host;
        assert_eq!(host(NodeError::Timeout(Duration::ZERO)), Some(ObservedHost::Unreachable));
        assert_eq!(host(NodeError::Missing), Some(ObservedHost::Reachable));
        assert_eq!(host(NodeError::Unreachable("refused".to_owned())), None);
    }
}
