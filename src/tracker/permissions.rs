//! Who may do what at this tracker: by the address it comes from, and by the address it came to.
//!
//! Decided once for each connection. Whoever may not administer has administrative commands refused one by one, so that
//! nothing of a pipeline gets past.

use crate::jobs::query::manual::all_commands;
use crate::protocol::request::Request;
use crate::service::access::AddressList;
use crate::settings::SecuritySettings;
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

/// Names of the commands that change the cluster rather than its files.
static ADMINISTRATIVE: LazyLock<HashSet<&'static [u8]>> =
    LazyLock::new(|| all_commands().filter(|spec| spec.is_administrative()).map(|spec| spec.name.as_bytes()).collect());

/// The rules of one tracker.
#[derive(Clone, Debug, Default)]
pub struct Permissions {
    clients: AddressList,
    administrators: AddressList,
    console: AddressList,
    /// If there are any, nobody administers elsewhere.
    administrative_addresses: Vec<SocketAddr>,
}

/// What one connection may do beyond working with files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct May {
    pub administer: bool,
    pub use_console: bool,
}

impl Permissions {
    /// Settings are checked when they are read: a list that is none is for nobody here.
    pub fn of(settings: &SecuritySettings, administrative_addresses: Vec<SocketAddr>) -> Self {
        let list = |texts: &[String]| AddressList::parse(texts).unwrap_or_default();
        Self {
            clients: list(&settings.clients_from),
            administrators: list(&settings.admin_from),
            console: list(&settings.console_from),
            administrative_addresses,
        }
    }

    /// May somebody from here be a client at all?
    pub fn may_connect(&self, peer: IpAddr) -> bool {
        self.clients.allows(peer)
    }

    /// Is there any rule about who administers?
    pub fn limit_administration(&self) -> bool {
        !self.clients.is_for_all() || !self.administrators.is_for_all() || !self.administrative_addresses.is_empty()
    }

    /// Of a connection from `peer` to `local`.
    pub fn of_connection(&self, peer: IpAddr, local: SocketAddr) -> May {
        let is_right_address = self.administrative_addresses.is_empty()
            || self.administrative_addresses.iter().any(|address| is_reached_by(*address, local));
        May {
            administer: is_right_address && self.administrators.allows(peer),
            use_console: is_right_address && self.console.allows(peer),
        }
    }
}

/// Is `local` what a client sees of the listen address?
fn is_reached_by(listen: SocketAddr, local: SocketAddr) -> bool {
    let is_any = listen.ip().is_unspecified();
    listen.port() == local.port() && (is_any || listen.ip().to_canonical() == local.ip().to_canonical())
}

/// Is this request line an administrative command?
pub fn is_administrative(line: &[u8]) -> bool {
    ADMINISTRATIVE.contains(Request::name_of(line).to_ascii_lowercase().as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(admin_from: &[&str]) -> SecuritySettings {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        SecuritySettings {
            clients_from: texts(&["10.0.0.0/8"]),
            admin_from: texts(admin_from),
            console_from: Vec::new(),
        }
    }

    #[test]
    fn addresses_decide() {
        let (near, far) = ("10.1.1.1".parse().expect("address"), "11.1.1.1".parse().expect("address"));
        let local = "10.0.0.9:7001".parse().expect("address");
        let rules = Permissions::of(&settings(&["10.1.1.1"]), Vec::new());
        assert_eq!((rules.may_connect(near), rules.may_connect(far)), (true, false));
        assert_eq!(rules.of_connection(near, local), May { administer: true, use_console: true });
        let other = "10.1.1.2".parse().expect("address");
        assert_eq!(rules.of_connection(other, local), May { administer: false, use_console: true });
    }

    #[test]
    fn with_an_address_of_its_own_administration_is_nowhere_else() {
        let near = "10.1.1.1".parse().expect("address");
        let nobody = May { administer: false, use_console: false };
        let everybody = May { administer: true, use_console: true };
        for (listen, local, expected) in [
            ("127.0.0.1:7010", "127.0.0.1:7010", everybody),
            ("127.0.0.1:7010", "127.0.0.1:7001", nobody),
            ("127.0.0.1:7010", "10.0.0.9:7010", nobody),
            ("0.0.0.0:7010", "10.0.0.9:7010", everybody),
            ("[::]:7010", "[::ffff:10.0.0.9]:7010", everybody),
        ] {
            let rules = Permissions::of(&settings(&[]), vec![listen.parse().expect(listen)]);
            assert_eq!(rules.of_connection(near, local.parse().expect(local)), expected, "{listen} {local}");
        }
    }

    /// What changes the cluster is administrative, what clients need is not.
    #[test]
    fn commands_have_their_side() {
        for line in [
            "create_host host=a",
            "SET_STATE host=a",
            "fsck_start",
            "set_server_setting key=a",
            "replicate_now",
            "plugin_filepaths_enable domain=d",
        ] {
            assert!(is_administrative(line.as_bytes()), "{line}");
        }
        for line in
            ["create_open domain=d", "get_hosts", "get_domains", "fsck_status", "server_settings", "noop", "", "x"]
        {
            assert!(!is_administrative(line.as_bytes()), "{line}");
        }
    }
}
