//! What a process needs to be a service: the background, the pidfile, listen sockets and where they come from, the words
//! for systemd, the hand-over to a successor.
//!
//! Knows sockets and processes, not what is served; must never decide about requests or files.

pub mod access;
pub mod daemon;
pub mod hand_over;
pub mod listen;
pub mod notify;
pub mod pidfile;
pub mod secrets;
pub mod signature;
pub mod tokens;

use std::path::PathBuf;
use std::sync::OnceLock;

/// Where and as what this process was started; a successor is started the same way.
#[derive(Clone, Debug, Default)]
pub struct StartPlace {
    /// The program's file. Read at the start: once the file is replaced the system only says that it is gone.
    pub program: PathBuf,
    /// What relative paths of the command line meant.
    pub directory: PathBuf,
}

/// The place, noted when it is first asked for: ask before anything changes the directory.
pub fn start_place() -> &'static StartPlace {
    static PLACE: OnceLock<StartPlace> = OnceLock::new();
    PLACE.get_or_init(|| StartPlace {
        program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe")),
        directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
    })
}

/// The same file, however the working directory changes. Nothing stays nothing.
pub fn absolute(path: &std::path::Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::new() } else { start_place().directory.join(path) }
}
