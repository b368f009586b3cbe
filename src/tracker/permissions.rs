//! Who may do what at this tracker: by the address it comes from, by the address it came to, and by its token.
//!
//! Addresses are judged once for each connection, requests one by one, so that nothing of a pipeline gets past. A token
//! never allows more than the address does.

use crate::jobs::query::manual::all_commands;
use crate::protocol::request::Request;
use crate::service::access::AddressList;
use crate::service::tokens::{Role, TokenList};
use crate::settings::SecuritySettings;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

/// What each command needs, by its name.
static ROLES: LazyLock<HashMap<&'static [u8], Role>> =
    LazyLock::new(|| all_commands().map(|spec| (spec.name.as_bytes(), spec.role())).collect());

/// The rules of one tracker.
#[derive(Clone, Debug, Default)]
pub struct Permissions {
    clients: AddressList,
    administrators: AddressList,
    console: AddressList,
    /// If there are any, nobody administers elsewhere.
    administrative_addresses: Vec<SocketAddr>,
    anonymous_role: Role,
    pub tokens: TokenList,
}

/// What one connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct May {
    /// By its addresses.
    address_role: Role,
    address_console: bool,
    /// By its token, or without one.
    own_role: Role,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    Address,
    /// This role would be needed.
    Role(Role),
}

impl Permissions {
    /// Settings are checked when they are read: a list that is none is for nobody here.
    pub fn of(settings: &SecuritySettings, administrative_addresses: Vec<SocketAddr>, tokens: TokenList) -> Self {
        let list = |texts: &[String]| AddressList::parse(texts).unwrap_or_default();
        Self {
            clients: list(&settings.clients_from),
            administrators: list(&settings.admin_from),
            console: list(&settings.console_from),
            administrative_addresses,
            anonymous_role: settings.anonymous_role,
            tokens,
        }
    }

    /// These settings and tokens at the same listen addresses.
    pub fn with(&self, settings: &SecuritySettings, tokens: TokenList) -> Self {
        Self::of(settings, self.administrative_addresses.clone(), tokens)
    }

    /// May somebody from here be a client at all?
    pub fn may_connect(&self, peer: IpAddr) -> bool {
        self.clients.allows(peer)
    }

    /// Is there any rule about who administers?
    pub fn limit_administration(&self) -> bool {
        !self.clients.is_for_all()
            || !self.administrators.is_for_all()
            || !self.administrative_addresses.is_empty()
            || self.anonymous_role < Role::Admin
    }

    /// Of a connection from `peer` to `local`, whose client has shown the token of this name.
    pub fn of_connection(&self, peer: IpAddr, local: SocketAddr, token: Option<&str>) -> May {
        let is_right_address = self.administrative_addresses.is_empty()
            || self.administrative_addresses.iter().any(|address| is_reached_by(*address, local));
        let may_administer = is_right_address && self.administrators.allows(peer);
        May {
            address_role: if may_administer { Role::Admin } else { Role::Write },
            address_console: is_right_address && self.console.allows(peer),
            // A token that was withdrawn meanwhile is none.
            own_role: token.and_then(|name| self.tokens.role_of(name)).unwrap_or(self.anonymous_role),
        }
    }
}

impl May {
    pub fn set_role(&mut self, role: Role) {
        self.own_role = role;
    }

    /// Why this request line is not to be carried out, if so.
    pub fn denies(&self, line: &[u8]) -> Option<Denial> {
        if self.own_role == Role::Admin && self.address_role == Role::Admin {
            return None;
        }
        let needed = role_needed(line);
        match self {
            _ if needed > self.own_role => Some(Denial::Role(needed)),
            _ if needed > self.address_role => Some(Denial::Address),
            _ => None,
        }
    }

    /// Why it may not use the console, if so.
    pub fn denies_console(&self) -> Option<Denial> {
        match self {
            _ if self.own_role < Role::Admin => Some(Denial::Role(Role::Admin)),
            _ if !self.address_console => Some(Denial::Address),
            _ => None,
        }
    }
}

/// Is `local` what a client sees of the listen address?
fn is_reached_by(listen: SocketAddr, local: SocketAddr) -> bool {
    let is_any = listen.ip().is_unspecified();
    listen.port() == local.port() && (is_any || listen.ip().to_canonical() == local.ip().to_canonical())
}

/// A command that there is not is answered to whoever may ask for anything.
fn role_needed(line: &[u8]) -> Role {
    ROLES.get(Request::name_of(line).to_ascii_lowercase().as_slice()).copied().unwrap_or(Role::Read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::tokens::Token;

    fn settings(admin_from: &[&str], anonymous_role: Role) -> SecuritySettings {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        SecuritySettings {
            clients_from: texts(&["10.0.0.0/8"]),
            admin_from: texts(admin_from),
            anonymous_role,
            ..SecuritySettings::default()
        }
    }

    const ADMINISTRATION: &[u8] = b"create_domain domain=d";

    /// Refusals of administration and of the console.
    fn denials(may: May) -> (Option<Denial>, Option<Denial>) {
        (may.denies(ADMINISTRATION), may.denies_console())
    }

    #[test]
    fn addresses_decide() {
        let (near, far) = ("10.1.1.1".parse().expect("address"), "11.1.1.1".parse().expect("address"));
        let local = "10.0.0.9:7001".parse().expect("address");
        let rules = Permissions::of(&settings(&["10.1.1.1"], Role::Admin), Vec::new(), TokenList::default());
        assert_eq!((rules.may_connect(near), rules.may_connect(far)), (true, false));
        assert_eq!(denials(rules.of_connection(near, local, None)), (None, None));
        let other = "10.1.1.2".parse().expect("address");
        assert_eq!(denials(rules.of_connection(other, local, None)), (Some(Denial::Address), None));
        assert_eq!(rules.of_connection(other, local, None).denies(b"delete domain=d&key=k"), None);
    }

    #[test]
    fn with_an_address_of_its_own_administration_is_nowhere_else() {
        let near = "10.1.1.1".parse().expect("address");
        let nobody = (Some(Denial::Address), Some(Denial::Address));
        for (listen, local, expected) in [
            ("127.0.0.1:7010", "127.0.0.1:7010", (None, None)),
            ("127.0.0.1:7010", "127.0.0.1:7001", nobody),
            ("127.0.0.1:7010", "10.0.0.9:7010", nobody),
            ("0.0.0.0:7010", "10.0.0.9:7010", (None, None)),
            ("[::]:7010", "[::ffff:10.0.0.9]:7010", (None, None)),
        ] {
            let listen_addresses = vec![listen.parse().expect(listen)];
            let rules = Permissions::of(&settings(&[], Role::Admin), listen_addresses, TokenList::default());
            let may = rules.of_connection(near, local.parse().expect(local), None);
            assert_eq!(denials(may), expected, "{listen} {local}");
        }
    }

    #[test]
    fn tokens_decide_within_what_the_address_may() {
        let (near, other) = ("10.1.1.1".parse().expect("address"), "10.1.1.2".parse().expect("address"));
        let local = "10.0.0.9:7001".parse().expect("address");
        let lines = [("reader", Role::Read), ("writer", Role::Write), ("ops", Role::Admin)]
            .map(|(name, role)| Token::new(name, role, name).expect(name).line());
        let tokens = TokenList::parse(&lines.join("\n")).expect("tokens");
        let rules = Permissions::of(&settings(&["10.1.1.1"], Role::None), Vec::new(), tokens);
        let role = |needed| Some(Denial::Role(needed));
        for (peer, token, get, delete, administer) in [
            (near, None, role(Role::Read), role(Role::Write), role(Role::Admin)),
            (near, Some("withdrawn"), role(Role::Read), role(Role::Write), role(Role::Admin)),
            (near, Some("reader"), None, role(Role::Write), role(Role::Admin)),
            (near, Some("writer"), None, None, role(Role::Admin)),
            (near, Some("ops"), None, None, None),
            (other, Some("ops"), None, None, Some(Denial::Address)),
        ] {
            let may = rules.of_connection(peer, local, token);
            let lines: [&[u8]; 3] = [b"get_paths domain=d&key=k", b"DELETE domain=d&key=k", ADMINISTRATION];
            assert_eq!(lines.map(|line| may.denies(line)), [get, delete, administer], "{peer} {token:?}");
            assert_eq!(may.denies_console().is_none(), token == Some("ops"));
        }
    }

    /// What changes the cluster is administrative, what changes files is writing, what clients need to read is neither.
    #[test]
    fn commands_have_their_role() {
        for (role, lines) in [
            (
                Role::Admin,
                &[
                    "create_host host=a",
                    "SET_STATE host=a",
                    "fsck_start",
                    "set_server_setting key=a",
                    "replicate_now",
                    "plugin_filepaths_enable domain=d",
                ][..],
            ),
            (Role::Write, &["create_open domain=d", "create_close", "rename", "updateclass", "undelete", "edit_file"]),
            (
                Role::Read,
                &["get_paths", "bad_path", "get_hosts", "fsck_status", "server_settings", "noop", "list_keys", "", "x"],
            ),
            (Role::None, &["authenticate token=x"]),
        ] {
            for line in lines {
                assert_eq!(role_needed(line.as_bytes()), role, "{line}");
            }
        }
    }
}
