//! The name under which this tracker's jobs are known to others (`fsck_host`, `rebal_host`).

/// The system's host name, as trackers of the reference use theirs (jobs.md 12.1).
pub fn own_hostname() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}
