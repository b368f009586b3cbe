//! Which URL paths are allowed, and which file each means. Pure but for looking whether a device's directory is there.

use std::path::{Path, PathBuf};

/// A path that a request may not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Characters or forms that are never a stored file.
    Malformed,
    /// Not below a device directory that is there.
    NoDevice,
}

/// The file that a URL path means for reading: anything below the document root, without `..`.
pub fn readable(docroot: &Path, url_path: &str) -> Result<PathBuf, Refused> {
    let relative = checked(url_path)?;
    Ok(docroot.join(relative))
}

/// The file that a URL path means for writing or deleting: below `/dev<N>/`, whose directory must be there.
pub fn writable(docroot: &Path, url_path: &str) -> Result<PathBuf, Refused> {
    let relative = checked(url_path)?;
    let (device, rest) = relative.split_once('/').ok_or(Refused::Malformed)?;
    if !is_device_name(device) || rest.is_empty() || rest.ends_with('/') {
        return Err(Refused::Malformed);
    }
    // Looked at for each request: a disk may be unmounted at any time (storage-node.md N3).
    if !docroot.join(device).is_dir() {
        return Err(Refused::NoDevice);
    }
    Ok(docroot.join(relative))
}

/// `dev` and digits.
pub fn is_device_name(name: &str) -> bool {
    device_number(name).is_some()
}

/// The number of a device directory.
pub fn device_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("dev")?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

/// The device directories that are there, by number.
pub fn devices(docroot: &Path) -> Vec<(u64, PathBuf)> {
    let mut devices: Vec<_> = std::fs::read_dir(docroot)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((device_number(entry.file_name().to_str()?)?, entry.path())))
        .filter(|(_, path)| path.is_dir())
        .collect();
    devices.sort();
    devices
}

/// The path below the root, if it has only letters, digits and `_ - . /`, and no component that climbs or hides.
fn checked(url_path: &str) -> Result<&str, Refused> {
    let relative = url_path.strip_prefix('/').ok_or(Refused::Malformed)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
    let harmless = |part: &str| !part.starts_with('.');
    if relative.bytes().all(allowed) && relative.trim_end_matches('/').split('/').all(harmless) {
        Ok(relative)
    } else {
        Err(Refused::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S9, S10.
    #[test]
    fn only_files_below_devices_that_are_there_can_be_written() {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(root.path().join("dev1")).expect("a device");
        let check = |path: &str| writable(root.path(), path).map(|_| ());
        assert_eq!(check("/dev1/0/000/000/0000000001.fid"), Ok(()));
        assert_eq!(check("/dev99/0/000/000/0000000001.fid"), Err(Refused::NoDevice));
        for path in
            ["/top", "/dev1", "/dev1/", "/dev1/../x", "/dev1/a b", "/devx/1", "dev1/a", "/dev1/.hidden", "/dev1/a%20"]
        {
            assert_eq!(check(path), Err(Refused::Malformed), "{path}");
        }
    }
}
