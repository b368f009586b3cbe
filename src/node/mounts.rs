//! Which file system a directory lies on, as `/proc/self/mountinfo` tells it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub mount_point: PathBuf,
    /// What is mounted: a block device, or a word such as `tmpfs`.
    pub source: PathBuf,
    /// The kind of the file system, as `ext4`.
    pub kind: String,
}

/// All mounts; none where the system does not tell.
pub(crate) fn current() -> Vec<Mount> {
    std::fs::read("/proc/self/mountinfo").map(|table| parse(&table)).unwrap_or_default()
}

/// The mount that this directory, without symbolic links, lies on. Of several at one place the last counts.
pub(crate) fn of<'a>(mounts: &'a [Mount], directory: &Path) -> Option<&'a Mount> {
    mounts
        .iter()
        .filter(|mount| directory.starts_with(&mount.mount_point))
        .max_by_key(|mount| mount.mount_point.components().count())
}

fn parse(table: &[u8]) -> Vec<Mount> {
    table.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /mount/point options [optional fields] - type source options`
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let mount_point = unescape(fields.nth(4)?);
    let mut after_dash = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = String::from_utf8_lossy(after_dash.next()?).into_owned();
    Some(Mount { mount_point, source: unescape(after_dash.next()?), kind })
}

/// Blank, tab, newline and backslash are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = (first == b'\\').then(|| after.get(..3).and_then(octal_byte)).flatten();
        bytes.push(octal.unwrap_or(first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn octal_byte(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 252:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
        23 22 8:16 / /data/dev1 rw - xfs /dev/sdb rw\n\
        24 22 8:32 / /data/a\\040b rw shared:3 master:4 - xfs /dev/sdc rw\n\
        25 22 8:48 / /data/dev1 rw - xfs /dev/sdd rw\n\
        nonsense\n";

    #[test]
    fn the_longest_and_last_mount_counts() {
        let mounts = parse(TABLE);
        assert_eq!(mounts.len(), 4);
        let source = |directory: &str| of(&mounts, Path::new(directory)).map(|mount| mount.source.clone());
        assert_eq!(source("/data/dev1"), Some(PathBuf::from("/dev/sdd")));
        assert_eq!(source("/data/dev10"), Some(PathBuf::from("/dev/vda1")));
        assert_eq!(source("/data/a b/c"), Some(PathBuf::from("/dev/sdc")));
        assert_eq!(mounts.iter().map(|mount| mount.kind.as_str()).collect::<Vec<_>>(), ["ext4", "xfs", "xfs", "xfs"]);
    }
}
