//! The pidfile: decimal process id and a line end. One that is left over from a process that is gone is replaced; one of a
//! process of ours that lives refuses the start.

use rustix::process::{Pid, test_kill_process};
use std::io;
use std::path::{Path, PathBuf};

/// Why the pidfile cannot be ours.
#[derive(Debug, thiserror::Error)]
pub enum PidfileError {
    #[error("cannot write the pidfile {}: {cause}", path.display())]
    Write { path: PathBuf, cause: io::Error },
    #[error("already running as process {pid}, says the pidfile {}", path.display())]
    Running { path: PathBuf, pid: i32 },
}

/// The file; removed when this is dropped, if it is still ours.
#[derive(Debug)]
pub struct Pidfile {
    path: PathBuf,
}

/// What was found where the pidfile goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    Nothing,
    /// Of a process that is gone or is another program; none if it names no process.
    Stale(Option<i32>),
    /// A process of ours, which hands over to us.
    Predecessor(i32),
}

impl Pidfile {
    /// Writes our process id. `predecessor` is the process that this one takes over from.
    ///
    /// # Errors
    /// The file cannot be written, or another process of this program lives.
    pub fn create(path: &Path, predecessor: Option<u32>) -> Result<(Self, Before), PidfileError> {
        let before = match std::fs::read_to_string(path) {
            Err(_) => Before::Nothing,
            Ok(text) => match text.trim().parse::<i32>() {
                Err(_) => Before::Stale(None),
                Ok(pid) if u32::try_from(pid).ok() == predecessor => Before::Predecessor(pid),
                Ok(pid) if is_other_of_ours(pid) => return Err(PidfileError::Running { path: path.to_owned(), pid }),
                Ok(pid) => Before::Stale(Some(pid)),
            },
        };
        std::fs::write(path, own_text()).map_err(|cause| PidfileError::Write { path: path.to_owned(), cause })?;
        Ok((Self { path: path.to_owned() }, before))
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        if std::fs::read_to_string(&self.path).is_ok_and(|text| text == own_text()) {
            // Where the directory is not writable, the next start finds it stale.
            let _removed = std::fs::remove_file(&self.path);
        }
    }
}

fn own_text() -> String {
    format!("{}\n", std::process::id())
}

/// Does another process with this id live, and does it run this program? Process ids are used again, after a restart of the
/// machine or container even our own.
fn is_other_of_ours(pid: i32) -> bool {
    let Some(process) = Pid::from_raw(pid) else { return false };
    let lives = match test_kill_process(process) {
        Ok(()) => true,
        // It lives and belongs to another user.
        Err(error) => error == rustix::io::Errno::PERM,
    };
    lives && pid.cast_unsigned() != std::process::id() && program_of(&pid.to_string()) == program_of("self")
}

/// The program's file name; where that is not for us to see, the name that the system keeps.
fn program_of(process: &str) -> Option<String> {
    let file = std::fs::read_link(format!("/proc/{process}/exe")).ok();
    let name = file.and_then(|file| Some(file.file_name()?.to_string_lossy().into_owned()));
    let name = name.or_else(|| std::fs::read_to_string(format!("/proc/{process}/comm")).ok());
    // What an upgrade replaced.
    name.map(|name| name.trim_end().trim_end_matches(" (deleted)").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_files_are_replaced_and_removed_only_while_ours() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("pid");
        let create = |predecessor| Pidfile::create(&path, predecessor).expect("created");
        let (first, before) = create(None);
        assert_eq!(before, Before::Nothing);
        assert_eq!(std::fs::read_to_string(&path).expect("there"), own_text());
        drop(first);
        assert!(!path.exists());

        // Process 1 is another program.
        for (text, expected) in [("1\n", Before::Stale(Some(1))), ("junk", Before::Stale(None))] {
            std::fs::write(&path, text).expect("written");
            assert_eq!(create(None).1, expected);
        }
        std::fs::write(&path, "1\n").expect("written");
        let (ours, before) = create(Some(1));
        assert_eq!(before, Before::Predecessor(1));
        std::fs::write(&path, "2\n").expect("written");
        drop(ours);
        assert!(path.exists(), "it is somebody else's now");
    }
}
