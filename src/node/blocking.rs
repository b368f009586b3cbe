//! Disk work that may take long, off the network thread.

use std::io;

/// Runs the work on a thread of its own. A panic in it comes back as an error.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(ended) => Err(io::Error::other(ended)),
    }
}
