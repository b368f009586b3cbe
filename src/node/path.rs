//! Which paths of requests name something inside a device directory, and where that lies on disk. Pure.
//!
//! Never yields a path that leaves the device directory by `..`.

use std::path::{Path, PathBuf};

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathRefusal {
    #[error("path contains ..")]
    DotDot,
    #[error("path may contain only letters, digits, _ - . and /")]
    Characters,
    #[error("path must be /dev<number>/ and a name below it")]
    OutsideDevice,
}

/// A path below a device directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DevicePath {
    /// `dev` and the number.
    device: String,
    /// What follows, without empty and `.` components; never empty.
    below: PathBuf,
}

impl DevicePath {
    /// Reads the path of a URL. A slash at its end is refused: it cannot be a file.
    pub fn parse(path: &str) -> Result<Self, PathRefusal> {
        if path.split('/').any(|component| component == "..") {
            return Err(PathRefusal::DotDot);
        }
        if !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte)) {
            return Err(PathRefusal::Characters);
        }
        // Old tools ask for `//dev1/usage`.
        let rest = path.strip_prefix('/').ok_or(PathRefusal::OutsideDevice)?.trim_start_matches('/');
        let (device, below) = rest.split_once('/').ok_or(PathRefusal::OutsideDevice)?;
        if device_number(device).is_none() || below.ends_with('/') {
            return Err(PathRefusal::OutsideDevice);
        }
        let below: PathBuf = below.split('/').filter(|component| !matches!(*component, "" | ".")).collect();
        match below.file_name() {
            Some(_) => Ok(Self { device: device.to_owned(), below }),
            None => Err(PathRefusal::OutsideDevice),
        }
    }

    /// The device directory.
    pub fn device_dir(&self, docroot: &Path) -> PathBuf {
        docroot.join(&self.device)
    }

    /// The file.
    pub fn on_disk(&self, docroot: &Path) -> PathBuf {
        self.device_dir(docroot).join(&self.below)
    }

    /// The name of the device directory.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The last component.
    pub fn name(&self) -> &str {
        self.below.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

/// The number in a name that is `dev` and digits.
pub(crate) fn device_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("dev")?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(path: &str) -> Result<PathBuf, PathRefusal> {
        DevicePath::parse(path).map(|path| path.on_disk(Path::new("/data")))
    }

    #[test]
    fn paths_below_devices_are_taken() {
        assert_eq!(disk("/dev11/0/000/a.fid"), Ok(PathBuf::from("/data/dev11/0/000/a.fid")));
        assert_eq!(disk("//dev11/usage"), Ok(PathBuf::from("/data/dev11/usage")));
        assert_eq!(disk("/dev11//x/./usage"), Ok(PathBuf::from("/data/dev11/x/usage")));
        assert_eq!(disk("/dev11/..hidden"), Ok(PathBuf::from("/data/dev11/..hidden")));
    }

    /// S10.
    #[test]
    fn all_others_are_refused() {
        for outside in ["", "/", "/x", "/x/y", "/dev/x", "/dev1x/y", "/dev11", "/dev11/", "/dev11/.", "/dev11/x/"] {
            assert_eq!(disk(outside), Err(PathRefusal::OutsideDevice), "{outside}");
        }
        assert_eq!(disk("/dev11/../x"), Err(PathRefusal::DotDot));
        assert_eq!(disk("/dev11/x/.."), Err(PathRefusal::DotDot));
        assert_eq!(disk("/dev11/%2e%2e/x"), Err(PathRefusal::Characters));
        assert_eq!(disk("/dev11/a b"), Err(PathRefusal::Characters));
    }
}
