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

/// What a look at the document roots found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Ascending; each number once.
    pub devices: Vec<DeviceDirectory>,
    /// Devices that are in two places: the one in service, and the one left alone.
    pub duplicates: Vec<(PathBuf, PathBuf)>,
    /// Document roots that cannot be read.
    pub failures: Vec<(PathBuf, io::Error)>,
}

/// Looks for device directories. Symbolic links to directories count. Of two with one number the one that is in service
/// already stays, else the first. May block.
pub(crate) fn scan(docroots: &[PathBuf], in_service: &[DeviceDirectory]) -> Scan {
    let mut scan = Scan::default();
    let mut found = Vec::new();
    for docroot in docroots {
        match devices_in(docroot) {
            Ok(mut devices) => found.append(&mut devices),
            Err(error) => scan.failures.push((docroot.clone(), error)),
        }
    }
    // Stable: among equals the order of the document roots stays.
    found.sort_by_key(|device| (device.number, !in_service.contains(device)));
    for device in found {
        match scan.devices.last().filter(|last| last.number == device.number) {
            Some(last) => scan.duplicates.push((last.path.clone(), device.path)),
            None => scan.devices.push(device),
        }
    }
    scan
}

fn devices_in(docroot: &Path) -> io::Result<Vec<DeviceDirectory>> {
    let devices = docroot
        .read_dir()?
        .flatten()
        .filter_map(|entry| {
            Some(DeviceDirectory { number: device_number(entry.file_name().to_str()?)?, path: entry.path() })
        })
        .filter(|device| device.path.is_dir());
    Ok(devices.collect())
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
        let numbers: Vec<u64> =
            scan(&[docroot.path().to_owned()], &[]).devices.iter().map(|device| device.number).collect();
        assert_eq!(numbers, [9, 10]);
    }

    #[test]
    fn a_device_in_service_is_not_replaced_by_one_of_its_number() {
        let [first, second] = [(); 2].map(|()| tempfile::tempdir().expect("temporary directory"));
        for root in [&first, &second] {
            std::fs::create_dir(root.path().join("dev5")).expect("made");
        }
        let roots = [first.path().to_owned(), second.path().to_owned()];
        let place = |root: &tempfile::TempDir| root.path().join("dev5");
        let found = scan(&roots, &[]);
        assert_eq!(found.devices[0].path, place(&first));
        assert_eq!(found.duplicates, [(place(&first), place(&second))]);
        let in_service = [DeviceDirectory { number: 5, path: place(&second) }];
        assert_eq!(scan(&roots, &in_service).devices, in_service);
    }

    #[test]
    fn a_document_root_that_cannot_be_read_leaves_the_others() {
        let root = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(root.path().join("dev5")).expect("made");
        let found = scan(&[root.path().join("none"), root.path().to_owned()], &[]);
        assert_eq!((found.devices.len(), found.failures.len()), (1, 1));
    }
}
