//! The device directories below the document root. Looked up anew again and again, never remembered for good.

use super::path::device_number;
use arc_swap::ArcSwap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory `dev<number>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DeviceDirectory {
    pub number: u64,
    pub path: PathBuf,
}

/// The device directories as last found, ascending.
#[derive(Default)]
pub(crate) struct DeviceList(ArcSwap<Vec<DeviceDirectory>>);

impl DeviceList {
    pub fn load(&self) -> Arc<Vec<DeviceDirectory>> {
        self.0.load_full()
    }

    /// Publishes the list if it is another one than before.
    pub fn store(&self, found: Vec<DeviceDirectory>) {
        if **self.0.load() != found {
            self.0.store(Arc::new(found));
        }
    }
}

/// Looks for device directories. Symbolic links to directories count. May block.
///
/// # Errors
/// The document root cannot be read.
pub(crate) fn scan(docroot: &Path) -> io::Result<Vec<DeviceDirectory>> {
    let mut found: Vec<DeviceDirectory> = docroot
        .read_dir()?
        .flatten()
        .filter_map(|entry| {
            Some(DeviceDirectory { number: device_number(entry.file_name().to_str()?)?, path: entry.path() })
        })
        .filter(|device| device.path.is_dir())
        .collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_device_directories_are_found_in_order_of_number() {
        let docroot = tempfile::tempdir().expect("temporary directory");
        for name in ["dev10", "dev9", "device", "dev", "devx"] {
            std::fs::create_dir(docroot.path().join(name)).expect("made");
        }
        std::fs::write(docroot.path().join("dev3"), "a file").expect("written");
        let numbers: Vec<u64> = scan(docroot.path()).expect("read").iter().map(|device| device.number).collect();
        assert_eq!(numbers, [9, 10]);
    }
}
