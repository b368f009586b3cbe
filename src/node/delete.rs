//! DELETE: removes one file, never a directory.
//!
//! Not synced: a file that comes back after a power cut is known to nobody and costs only its space.

use super::NodeShared;
use super::answer::{self, Answer};
use super::mount_guard::is_mark_name;
use super::path::DevicePath;
use hyper::StatusCode;
use slog::warn;
use std::io;
use std::path::Path;

/// Answers a DELETE: 204, 404 if there is nothing, 400 for what is no file.
pub(crate) fn delete(shared: &NodeShared, path: &str) -> Answer {
    let path = match DevicePath::parse(path) {
        Ok(path) => path,
        Err(refusal) => return answer::text(StatusCode::BAD_REQUEST, &refusal.to_string()),
    };
    if is_mark_name(path.name()) {
        return answer::text(StatusCode::BAD_REQUEST, "the mark of a disk is not removed");
    }
    let file = shared.on_disk(&path);
    match remove(&file) {
        Ok(()) => answer::empty(StatusCode::NO_CONTENT),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            answer::text(StatusCode::BAD_REQUEST, "the path is a directory")
        }
        Err(error) if answer::is_missing(&error) => answer::text(StatusCode::NOT_FOUND, "not found"),
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            answer::text(StatusCode::FORBIDDEN, "the device is read-only")
        }
        Err(error) => {
            warn!(shared.log, "cannot delete"; "path" => %file.display(), "error" => %error);
            answer::text(StatusCode::INTERNAL_SERVER_ERROR, "disk error")
        }
    }
}

fn remove(file: &Path) -> io::Result<()> {
    if file.symlink_metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    std::fs::remove_file(file)
}
