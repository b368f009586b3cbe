//! Who may see and who may act: the name by which we were called, where a form comes from, token and session.
//!
//! Tokens are compared by their digests in a time that does not depend on them. Sessions live in memory only.

use super::PageSettings;
use crate::service::secrets::{SecretDigest, digest, is_same_secret, random_secret};
use crate::settings::Secret;
use hyper::StatusCode;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The cookie's name.
const COOKIE: &str = "mogilefs_session";
/// A session that is not used for so long ends.
const SESSION_IDLE_MAX: Duration = Duration::from_secs(8 * 3600);
/// Sessions at the same time; the one that was used the longest ago gives way.
const SESSIONS_MAX: usize = 64;
/// Wrong tokens from one address, and from all, within [`ATTEMPT_WINDOW`].
const ATTEMPTS_PER_ADDRESS: usize = 5;
const ATTEMPTS_OF_ALL: usize = 60;
const ATTEMPT_WINDOW: Duration = Duration::from_secs(60);

/// What whoever looks may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visitor {
    /// There is no token: nobody may act.
    ReadOnly,
    /// A login is needed to act.
    MayLogIn,
    /// Has logged in.
    May,
}

/// Why a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginRefusal {
    NoToken,
    Wrong,
    TooMany,
}

impl LoginRefusal {
    pub fn text(self) -> &'static str {
        match self {
            Self::NoToken => "No token is set (web.token): this page is read-only.",
            Self::Wrong => "That is not the token.",
            Self::TooMany => "Too many wrong tokens. Wait a minute.",
        }
    }

    pub fn status(self) -> StatusCode {
        match self {
            Self::NoToken | Self::Wrong => StatusCode::FORBIDDEN,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

/// The gate.
pub struct Access {
    token: Secret,
    names: Vec<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By the digest of the cookie's value: when it was last used.
    sessions: HashMap<SecretDigest, Instant>,
    /// Wrong tokens within the window.
    failures: Vec<(Instant, IpAddr)>,
}

impl Access {
    pub fn new(settings: PageSettings) -> Self {
        let names = settings.names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self { token: settings.token, names, state: Mutex::default() }
    }

    /// Addresses, loopback names and the configured names. A page of somebody else's can make a browser call us by a name
    /// that it controls and that leads here, but not by one of these.
    pub fn is_our_name(&self, host: Option<&str>) -> bool {
        let Some(host) = host.map(without_port) else { return false };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        host == "localhost" || host.ends_with(".localhost") || is_address(&host) || self.names.contains(&host)
    }

    /// Does a form come from a page that we made?
    pub fn comes_from_here(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let origin =
            origin.and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
        match (origin, host) {
            (Some(origin), Some(host)) => origin.eq_ignore_ascii_case(host),
            _ => false,
        }
    }

    pub fn visitor(&self, cookies: Option<&str>) -> Visitor {
        if self.token.reveal().is_empty() {
            return Visitor::ReadOnly;
        }
        let now = Instant::now();
        let mut state = self.state();
        let known = session_of(cookies).and_then(|digest| state.sessions.get_mut(&digest));
        match known {
            Some(used) if now.saturating_duration_since(*used) < SESSION_IDLE_MAX => {
                *used = now;
                Visitor::May
            }
            _ => Visitor::MayLogIn,
        }
    }

    /// Begins a session; gives the cookie.
    ///
    /// # Errors
    /// The token is wrong, or too many were.
    pub fn log_in(&self, given: &[u8], peer: IpAddr) -> Result<String, LoginRefusal> {
        self.log_in_at(given, peer, Instant::now())
    }

    fn log_in_at(&self, given: &[u8], peer: IpAddr, now: Instant) -> Result<String, LoginRefusal> {
        if self.token.reveal().is_empty() {
            return Err(LoginRefusal::NoToken);
        }
        let mut state = self.state();
        state.failures.retain(|(then, _)| now.saturating_duration_since(*then) < ATTEMPT_WINDOW);
        let of_peer = state.failures.iter().filter(|(_, address)| *address == peer).count();
        if of_peer >= ATTEMPTS_PER_ADDRESS || state.failures.len() >= ATTEMPTS_OF_ALL {
            return Err(LoginRefusal::TooMany);
        }
        if !is_same_secret(given, self.token.reveal().as_bytes()) {
            state.failures.push((now, peer));
            return Err(LoginRefusal::Wrong);
        }
        let value = random_secret();
        state.sessions.retain(|_, used| now.saturating_duration_since(*used) < SESSION_IDLE_MAX);
        if state.sessions.len() >= SESSIONS_MAX
            && let Some(oldest) = state.sessions.iter().min_by_key(|(_, used)| **used).map(|(digest, _)| *digest)
        {
            state.sessions.remove(&oldest);
        }
        state.sessions.insert(digest(value.as_bytes()), now);
        Ok(format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict"))
    }

    pub fn log_out(&self, cookies: Option<&str>) {
        if let Some(digest) = session_of(cookies) {
            self.state().sessions.remove(&digest);
        }
    }

    /// A panic elsewhere leaves nothing half done here.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cookie that ends a session.
pub fn no_cookie() -> String {
    format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
}

fn session_of(cookies: Option<&str>) -> Option<SecretDigest> {
    let pairs = cookies?.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| digest(value.as_bytes())).next()
}

fn without_port(host: &str) -> &str {
    match (host.rfind(':'), host.rfind(']')) {
        (Some(colon), Some(bracket)) if colon < bracket => host,
        (Some(colon), _) => &host[..colon],
        (None, _) => host,
    }
}

fn is_address(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn access(token: &str) -> Access {
        Access::new(PageSettings { token: Secret::from(token), names: vec!["Mogile.Example".to_owned()] })
    }

    #[test]
    fn names_that_others_control_are_not_ours() {
        let access = access("");
        for host in [
            "localhost",
            "LOCALHOST:7002",
            "127.0.0.1:7002",
            "[::1]:7002",
            "10.1.2.3",
            "mogile.example:80",
            "a.localhost.",
        ] {
            assert!(access.is_our_name(Some(host)), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:7002",
            "127.0.0.1.evil.example",
            "",
            "[evil]",
            "mogile.example.evil",
        ] {
            assert!(!access.is_our_name(Some(host)), "{host}");
        }
        assert!(!access.is_our_name(None));
    }

    #[test]
    fn forms_come_from_our_own_pages() {
        let access = access("t");
        assert!(access.comes_from_here(Some("http://localhost:1"), Some("localhost:1")));
        assert!(access.comes_from_here(Some("https://mogile.example"), Some("mogile.example")));
        for origin in [None, Some("null"), Some("http://localhost:2"), Some("http://evil.example"), Some("localhost:1")]
        {
            assert!(!access.comes_from_here(origin, Some("localhost:1")), "{origin:?}");
        }
    }

    #[test]
    fn a_session_begins_with_the_token_and_ends_with_logout() {
        let access = access("s3cret");
        assert_eq!(access.visitor(None), Visitor::MayLogIn);
        assert_eq!(access.log_in(b"other", PEER), Err(LoginRefusal::Wrong));
        let cookie = access.log_in(b"s3cret", PEER).expect("the token");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        let sent = format!("other=1; {}", cookie.split(';').next().expect("a pair"));
        assert_eq!(access.visitor(Some(&sent)), Visitor::May);
        assert_eq!(access.visitor(Some("mogilefs_session=0000")), Visitor::MayLogIn);
        access.log_out(Some(&sent));
        assert_eq!(access.visitor(Some(&sent)), Visitor::MayLogIn);
    }

    #[test]
    fn attempts_are_limited_for_a_minute() {
        let (access, start) = (access("right"), Instant::now());
        for _ in 0..ATTEMPTS_PER_ADDRESS {
            assert_eq!(access.log_in_at(b"wrong", PEER, start), Err(LoginRefusal::Wrong));
        }
        assert_eq!(access.log_in_at(b"right", PEER, start), Err(LoginRefusal::TooMany), "also with the right one");
        assert!(access.log_in_at(b"right", IpAddr::from([10, 0, 0, 1]), start).is_ok(), "others are not concerned");
        assert!(access.log_in_at(b"right", PEER, start + ATTEMPT_WINDOW).is_ok());
    }

    #[test]
    fn without_a_token_nobody_may() {
        let access = access("");
        assert_eq!(access.log_in(b"", PEER), Err(LoginRefusal::NoToken));
        assert_eq!(access.visitor(Some("mogilefs_session=")), Visitor::ReadOnly);
    }

    #[test]
    fn sessions_are_bounded() {
        let access = access("t");
        for _ in 0..2 * SESSIONS_MAX {
            access.log_in(b"t", PEER).expect("the token");
        }
        assert_eq!(access.state().sessions.len(), SESSIONS_MAX);
    }
}
