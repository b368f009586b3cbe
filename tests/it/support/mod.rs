//! The world of a test: databases, processes, sessions. Everything is gone when the test ends, however it ends.

pub mod authority;
pub mod cluster;
pub mod database;
pub mod database_proxy;
pub mod fake_node;
#[cfg(feature = "mysql")]
pub mod galera;
pub mod memcached;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub mod mortal_server;
pub mod nginx;
pub mod process;
pub mod session;
pub mod watched_node;
pub mod world;

use std::time::{Duration, Instant};

/// How long a fact may take to become true on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the question has an answer; fails the test with `what` when patience ends.
pub fn eventually<T>(what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "did not become true in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
