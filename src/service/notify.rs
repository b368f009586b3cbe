//! What systemd is told (`sd_notify`): a datagram to the socket that it named in the environment. Silent elsewhere.

use rustix::time::{ClockId, clock_gettime};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to the service manager, if there is one.
#[derive(Debug)]
pub struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// As `NOTIFY_SOCKET` says.
    pub fn of_process() -> Self {
        Self::to(std::env::var("NOTIFY_SOCKET").ok().as_deref())
    }

    fn to(name: Option<&str>) -> Self {
        let address = name.and_then(|name| match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None => SocketAddr::from_pathname(name).ok(),
        });
        // Without a socket there is nobody to tell that there is none.
        let manager = address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address)));
        Self { manager }
    }

    /// Clients are served.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// Settings are read again; `ready` ends it.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let monotonic_us = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={monotonic_us}\nSTATUS=reading settings again"));
    }

    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping: clients get their answers");
    }

    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    /// All that has to live does.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// The process to watch from now on.
    pub fn main_pid(&self, pid: u32) {
        self.tell(&format!("MAINPID={pid}"));
    }

    fn tell(&self, text: &str) {
        if let Some((socket, address)) = &self.manager {
            // A manager that does not listen cannot be helped; the service goes on.
            let _unheard = socket.send_to_addr(text.as_bytes(), address);
        }
    }
}

/// How often `alive` is to be said: twice within the time that the manager grants.
pub fn watchdog_interval() -> Option<Duration> {
    let variable = |name| std::env::var(name).ok();
    watchdog_interval_of(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref())
}

fn watchdog_interval_of(usec: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    let is_for_us = pid.is_none_or(|pid| pid == std::process::id().to_string());
    let limit_us: u64 = usec?.parse().ok()?;
    (is_for_us && limit_us >= 2).then(|| Duration::from_micros(limit_us / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_words_by_path_and_by_abstract_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let by_path = UnixDatagram::bind(&path).expect("bound");
        Notifier::to(path.to_str()).ready("two");
        let mut buffer = [0; 200];
        let length = by_path.recv(&mut buffer).expect("a datagram");
        assert_eq!(&buffer[..length], b"READY=1\nSTATUS=two");

        let name = format!("mogilefs-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let abstract_one = UnixDatagram::bind_addr(&address).expect("bound");
        Notifier::to(Some(&format!("@{name}"))).reloading();
        let length = abstract_one.recv(&mut buffer).expect("a datagram");
        assert!(buffer[..length].starts_with(b"RELOADING=1\nMONOTONIC_USEC="));
        Notifier::to(None).alive();
    }

    #[test]
    fn the_watchdog_is_fed_twice_within_its_limit_by_the_process_that_it_watches() {
        let own = std::process::id().to_string();
        assert_eq!(watchdog_interval_of(Some("2000000"), None), Some(Duration::from_secs(1)));
        assert_eq!(watchdog_interval_of(Some("2000000"), Some(&own)), Some(Duration::from_secs(1)));
        assert_eq!(watchdog_interval_of(Some("2000000"), Some("1")), None);
        for none in [None, Some("0"), Some("soon")] {
            assert_eq!(watchdog_interval_of(none, None), None);
        }
    }
}
