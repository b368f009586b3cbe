//! Addresses of databases: our URLs and the DBI strings of old configuration files, read into what the client libraries
//! understand (database.md 4.2).
//!
//! Pure: opens and reads nothing. A password is never part of an error, nor of what `{:?}` shows. An option that could not
//! be kept to is an error that names it; none is dropped silently.

use super::connection::Backend;
use super::error::{StoreError, StoreResult};
use std::fmt;
use std::path::PathBuf;

/// The account of old configuration files that name none.
const DBI_USER: &str = "mogile";

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    Sqlite(PathBuf),
    Mysql(Box<MysqlAddress>),
    Postgres(PostgresAddress),
}

/// Who connects, apart from the address. What is empty is not said.
#[derive(Clone, Copy, Default)]
pub(super) struct Account<'a> {
    pub(super) user: &'a str,
    pub(super) password: &'a str,
}

/// A MySQL or MariaDB server and how to speak to it.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct MysqlAddress {
    host: String,
    port: Option<u16>,
    socket: String,
    database: String,
    user: String,
    password: String,
    tls: Tls,
    ca_file: String,
    cert_file: String,
    key_file: String,
    /// A statement of the operator for each new connection.
    pub(super) init_command: String,
    pub(super) connect_timeout_ms: Option<u64>,
}

/// Whether a connection is to be encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Tls {
    /// As the client library has it.
    #[default]
    Unsaid,
    Off,
    Required,
}

/// A connection string of libpq.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PostgresAddress {
    conninfo: String,
}

impl Location {
    /// Reads `sqlite:PATH`, `mysql://…`, `postgres://…`, and `DBI:driver:…`. What the account says wins over the address.
    ///
    /// # Errors
    /// [`StoreError::InvalidValue`] that names the part which cannot be used.
    pub(super) fn parse(url: &str, account: Account<'_>) -> StoreResult<Self> {
        let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
        let location = match scheme.to_ascii_lowercase().as_str() {
            "dbi" => parse_dbi(rest, account)?,
            "sqlite" => Self::Sqlite(sqlite_path(rest)?),
            "mysql" => Self::Mysql(Box::new(MysqlAddress::from_url(after_slashes(scheme, rest)?, account)?)),
            "postgres" | "postgresql" => {
                Self::Postgres(PostgresAddress::from_url(after_slashes(scheme, rest)?, account))
            }
            _ => {
                return Err(wrong(&format!(
                    "must start with sqlite:, mysql://, postgres:// or DBI:, not `{}:`",
                    shown_scheme(scheme)
                )));
            }
        };
        location.check_built_in()?;
        Ok(location)
    }

    pub(super) fn backend(&self) -> Backend {
        match self {
            Self::Sqlite(_) => Backend::Sqlite,
            Self::Mysql(_) => Backend::Mysql,
            Self::Postgres(_) => Backend::Postgres,
        }
    }

    /// Refuses kinds of databases that this program was built without.
    pub(super) fn check_built_in(&self) -> StoreResult<()> {
        let built_in = match self.backend() {
            Backend::Sqlite => true,
            Backend::Mysql => cfg!(feature = "mysql"),
            Backend::Postgres => cfg!(feature = "postgres"),
        };
        if built_in {
            return Ok(());
        }
        let name = self.backend().name();
        Err(StoreError::InvalidValue(format!(
            "this program was built without support for {name} (cargo feature `{name}`)"
        )))
    }
}

fn wrong(text: &str) -> StoreError {
    StoreError::InvalidValue(format!("database.url {text}"))
}

/// A scheme is shown only if it looks like one: it may be a password that landed in the wrong place.
fn shown_scheme(scheme: &str) -> &str {
    let is_word = scheme.len() <= 20 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_word { scheme } else { "…" }
}

fn after_slashes<'a>(scheme: &str, rest: &'a str) -> StoreResult<&'a str> {
    rest.strip_prefix("//").ok_or_else(|| wrong(&format!("must start with {scheme}://")))
}

fn first_of<'a>(first: &'a str, second: &'a str) -> &'a str {
    if first.is_empty() { second } else { first }
}

// ---- DBI strings ----

fn parse_dbi(rest: &str, account: Account<'_>) -> StoreResult<Location> {
    let (driver, options) =
        rest.split_once(':').ok_or_else(|| wrong("needs a driver and a database: DBI:driver:database"))?;
    match driver.to_ascii_lowercase().as_str() {
        "mysql" => Ok(Location::Mysql(Box::new(MysqlAddress::from_dbi(options, account)?))),
        "pg" => Ok(Location::Postgres(PostgresAddress::from_dbi(options, account)?)),
        "sqlite" => Ok(Location::Sqlite(sqlite_path_of_dbi(options)?)),
        driver if driver.contains('(') => {
            Err(wrong("has attributes in parentheses after the driver, which 2.73 does not take either"))
        }
        driver => Err(wrong(&format!("names the driver `{}`; there are mysql, Pg and SQLite", shown_scheme(driver)))),
    }
}

/// Parts between `;` or `:`, but not within the brackets of an IPv6 address, which go.
fn mysql_parts(options: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut in_brackets = false;
    for c in options.chars() {
        match c {
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            ';' | ':' if !in_brackets => parts.push(String::new()),
            _ => {
                if let Some(part) = parts.last_mut() {
                    part.push(c);
                }
            }
        }
    }
    if parts.last().is_some_and(String::is_empty) {
        parts.pop();
    }
    parts
}

/// `name=value` parts between `;`.
fn named_parts(options: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts = options.split(';').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').map_or((part, ""), |(name, value)| (name.trim(), value.trim())))
}

fn is_on(value: &str) -> bool {
    !matches!(value, "" | "0")
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> StoreResult<T> {
    value.trim().parse().map_err(|_| wrong(&format!("has no usable number as `{name}`")))
}

// ---- SQLite ----

fn sqlite_path(text: &str) -> StoreResult<PathBuf> {
    let path = text.strip_prefix("//").unwrap_or(text);
    if path.is_empty() || path == ":memory:" || path.starts_with("file:") {
        return Err(wrong("needs the path of a file after `sqlite:`"));
    }
    Ok(PathBuf::from(path))
}

/// A bare path, or one with a name.
fn sqlite_path_of_dbi(options: &str) -> StoreResult<PathBuf> {
    if !options.contains('=') {
        return sqlite_path(options);
    }
    let mut path = None;
    for (name, value) in named_parts(options) {
        match name {
            "dbname" | "db" | "database" => path = Some(value),
            // A question mark would begin options of SQLite's.
            "uri" if !value.contains(['?', '%']) => path = value.strip_prefix("file:"),
            _ => return Err(unknown_option(name)),
        }
    }
    sqlite_path(path.unwrap_or_default())
}

fn unknown_option(name: &str) -> StoreError {
    let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let name = if is_word && name.len() <= 40 { name } else { "…" };
    wrong(&format!("has the option `{name}`, which this program does not know; leave it out"))
}

// ---- MySQL, MariaDB ----

/// What to do about options of DBD::mysql that only say how Perl works with the connection.
const WITHOUT_MEANING_HERE: [&str; 9] = [
    "mysql_auto_reconnect",
    "mysql_bind_comment_placeholders",
    "mysql_bind_type_guessing",
    "mysql_enable_utf8",
    "mysql_enable_utf8mb4",
    "mysql_multi_statements",
    "mysql_server_prepare",
    "mysql_server_prepare_disable_fallback",
    "mysql_use_result",
];

impl MysqlAddress {
    fn from_dbi(options: &str, account: Account<'_>) -> StoreResult<Self> {
        let mut address = Self::default();
        let mut bare = Vec::new();
        let mut tls = DbiTls::default();
        for part in mysql_parts(options) {
            match part.split_once('=') {
                Some((name, value)) if name.starts_with("mysql_ssl") => tls.take(name, value, &mut address)?,
                Some((name, value)) => address.take_dbi_option(name, value)?,
                None => bare.push(part),
            }
        }
        for part in bare {
            address.take_bare(part)?;
        }
        address.tls = tls.demand();
        address.complete(account, DBI_USER)
    }

    /// Parts without a name fill what is still open, in this order.
    fn take_bare(&mut self, part: String) -> StoreResult<()> {
        if self.database.is_empty() {
            self.database = part;
        } else if self.host.is_empty() {
            self.host = part;
        } else if self.port.is_none() {
            self.port = Some(number("port", &part)?);
        } else {
            return Err(wrong("has more than database, host and port without a name"));
        }
        Ok(())
    }

    fn take_dbi_option(&mut self, name: &str, value: &str) -> StoreResult<()> {
        match name {
            "database" | "db" | "dbname" => value.clone_into(&mut self.database),
            "host" | "hostname" => value.clone_into(&mut self.host),
            "port" => self.port = Some(number(name, value)?),
            "user" => value.clone_into(&mut self.user),
            "password" => value.clone_into(&mut self.password),
            "mysql_socket" => value.clone_into(&mut self.socket),
            "mysql_init_command" => value.clone_into(&mut self.init_command),
            "mysql_connect_timeout" => {
                self.connect_timeout_ms = Some(number::<u64>(name, value)?.max(1).saturating_mul(1000));
            }
            "mysql_compression" | "mysql_compress" if !is_on(value) => {}
            name if WITHOUT_MEANING_HERE.contains(&name) => {}
            name => return Err(unknown_option(name)),
        }
        Ok(())
    }

    /// From what follows `mysql://`.
    fn from_url(text: &str, account: Account<'_>) -> StoreResult<Self> {
        let (text, query) = text.split_once('?').unwrap_or((text, ""));
        let (authority, path) = text.split_once('/').unwrap_or((text, ""));
        let (userinfo, server) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let (host, port) = host_and_port(server)?;
        let mut address = Self {
            host: percent_decoded(host)?,
            port,
            database: percent_decoded(path)?,
            user: percent_decoded(user)?,
            password: percent_decoded(password)?,
            ..Self::default()
        };
        for (name, value) in
            query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        {
            address.take_url_option(name, percent_decoded(value)?)?;
        }
        address.complete(account, "")
    }

    fn take_url_option(&mut self, name: &str, value: String) -> StoreResult<()> {
        match name {
            "unix_socket" => self.socket = value,
            "ssl_ca" => self.ca_file = value,
            "ssl_cert" => self.cert_file = value,
            "ssl_key" => self.key_file = value,
            "ssl_mode" => {
                self.tls = match value.to_ascii_lowercase().as_str() {
                    "disabled" => Tls::Off,
                    "preferred" => Tls::Unsaid,
                    "required" => Tls::Required,
                    "verify_ca" | "verify_identity" => return Err(cannot_verify("ssl_mode")),
                    _ => return Err(wrong("has an `ssl_mode` other than disabled, preferred and required")),
                };
            }
            name => return Err(unknown_option(name)),
        }
        Ok(())
    }

    /// Adds the account and refuses what would not arrive at the server as it was meant.
    fn complete(mut self, account: Account<'_>, default_user: &str) -> StoreResult<Self> {
        self.user = first_of(first_of(account.user, &self.user), default_user).to_owned();
        self.password = first_of(account.password, &self.password).to_owned();
        // No host is the local socket, as `localhost` is.
        self.host = first_of(&self.host, "localhost").to_owned();
        let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
        if !self.host.chars().all(is_host) {
            return Err(wrong("has a host with characters that no host name has"));
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.$".contains(c);
        if self.database.is_empty() || self.database.starts_with('.') || !self.database.chars().all(is_name) {
            return Err(wrong("needs the name of a database, of letters, digits and _ - . $"));
        }
        Ok(self)
    }

    /// For the client library: the form that diesel reads.
    #[cfg_attr(not(feature = "mysql"), allow(dead_code))]
    pub(super) fn url(&self) -> String {
        let mut url = format!("mysql://{}", percent_encoded(&self.user));
        if !self.password.is_empty() {
            url += &format!(":{}", percent_encoded(&self.password));
        }
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        url += &format!("@{host}");
        if let Some(port) = self.port {
            url += &format!(":{port}");
        }
        url += &format!("/{}", self.database);
        let tls = match self.tls {
            Tls::Unsaid => "",
            Tls::Off => "disabled",
            Tls::Required => "required",
        };
        let options = [
            ("unix_socket", self.socket.as_str()),
            ("ssl_mode", tls),
            ("ssl_ca", &self.ca_file),
            ("ssl_cert", &self.cert_file),
            ("ssl_key", &self.key_file),
        ];
        let given = options.iter().filter(|(_, value)| !value.is_empty());
        let query: Vec<String> = given.map(|(name, value)| format!("{name}={}", percent_encoded(value))).collect();
        if query.is_empty() { url } else { format!("{url}?{}", query.join("&")) }
    }

    /// Is a connection that is not encrypted to be given up?
    #[cfg_attr(not(feature = "mysql"), allow(dead_code))]
    pub(super) fn requires_tls(&self) -> bool {
        self.tls == Tls::Required
    }
}

/// The TLS options of DBD::mysql, which depend on each other.
#[derive(Default)]
struct DbiTls {
    on: Option<bool>,
    is_optional: bool,
}

impl DbiTls {
    fn take(&mut self, name: &str, value: &str, address: &mut MysqlAddress) -> StoreResult<()> {
        match name {
            "mysql_ssl" => self.on = Some(is_on(value)),
            "mysql_ssl_optional" => self.is_optional = is_on(value),
            "mysql_ssl_ca_file" => value.clone_into(&mut address.ca_file),
            "mysql_ssl_client_cert" => value.clone_into(&mut address.cert_file),
            "mysql_ssl_client_key" => value.clone_into(&mut address.key_file),
            "mysql_ssl_verify_server_cert" if is_on(value) => return Err(cannot_verify(name)),
            "mysql_ssl_verify_server_cert" => {}
            name => return Err(unknown_option(name)),
        }
        Ok(())
    }

    fn demand(&self) -> Tls {
        match self.on {
            Some(true) if !self.is_optional => Tls::Required,
            Some(false) => Tls::Off,
            _ => Tls::Unsaid,
        }
    }
}

/// MariaDB's client library takes the option and does nothing: a promise that would not be kept.
fn cannot_verify(name: &str) -> StoreError {
    wrong(&format!(
        "demands by `{name}` that the server's certificate is verified, which cannot be made sure of with every client \
         library; the most that can be demanded is encryption (ssl_mode=required, mysql_ssl=1)"
    ))
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`.
fn host_and_port(server: &str) -> StoreResult<(&str, Option<u16>)> {
    let (host, rest) = match server.strip_prefix('[') {
        Some(server) => server.split_once(']').ok_or_else(|| wrong("has a [ without a ]"))?,
        None => server.split_at(server.find(':').unwrap_or(server.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) if !port.is_empty() => Some(number("port", port)?),
        _ => None,
    };
    Ok((host, port))
}

// ---- PostgreSQL ----

/// What libpq understands (PostgreSQL 16); an unknown word would be its error, which does not say where it came from.
const PQ_KEYWORDS: [&str; 40] = [
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "options",
    "passfile",
    "password",
    "port",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslmode",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
];

impl PostgresAddress {
    fn from_dbi(options: &str, account: Account<'_>) -> StoreResult<Self> {
        let mut given: Vec<(&str, &str)> = Vec::new();
        for (name, value) in named_parts(options) {
            let keyword = match name {
                "db" | "database" => "dbname",
                "username" | "user" => "user",
                "pass" => "password",
                name if PQ_KEYWORDS.contains(&name) => name,
                name => return Err(unknown_option(name)),
            };
            given.push((keyword, value.trim_matches('\'')));
        }
        let is_given = |keyword: &str| given.iter().any(|(name, _)| *name == keyword);
        if !is_given("dbname") && !is_given("service") {
            return Err(wrong("needs the name of a database (dbname=…)"));
        }
        let default_user = if is_given("user") || is_given("service") { "" } else { DBI_USER };
        // Of a keyword that stands twice libpq takes the last.
        given.push(("user", first_of(account.user, default_user)));
        given.push(("password", account.password));
        let said = given.iter().filter(|(_, value)| !value.is_empty());
        let parts: Vec<String> = said.map(|(name, value)| format!("{name}={}", conninfo_quoted(value))).collect();
        Ok(Self { conninfo: parts.join(" ") })
    }

    /// From what follows `postgres://`. Only the account is touched; the rest is for libpq to read.
    fn from_url(text: &str, account: Account<'_>) -> Self {
        let end_of_authority = text.find(['/', '?']).unwrap_or(text.len());
        let (authority, rest) = text.split_at(end_of_authority);
        let (userinfo, servers) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let user = if account.user.is_empty() { user.to_owned() } else { percent_encoded(account.user) };
        let password =
            if account.password.is_empty() { password.to_owned() } else { percent_encoded(account.password) };
        let userinfo = match (user.as_str(), password.as_str()) {
            ("", "") => String::new(),
            (user, "") => format!("{user}@"),
            (user, password) => format!("{user}:{password}@"),
        };
        Self { conninfo: format!("postgres://{userinfo}{servers}{rest}") }
    }

    /// For the client library; with the password. What the operator did not say himself gets these values.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(super) fn conninfo_with(&self, defaults: &[(&str, u64)]) -> String {
        let mut conninfo = self.conninfo.clone();
        for (name, value) in defaults.iter().filter(|(name, _)| !self.conninfo.contains(&format!("{name}="))) {
            let separator = match conninfo.strip_prefix("postgres://") {
                Some(rest) if after_userinfo(rest).contains('?') => '&',
                Some(_) => '?',
                None => ' ',
            };
            conninfo.push_str(&format!("{separator}{name}={value}"));
        }
        conninfo
    }
}

/// As libpq sees it: a password may have a question mark in it.
fn after_userinfo(url: &str) -> &str {
    match url.find(['@', '/']) {
        Some(at) if url[at..].starts_with('@') => &url[at + 1..],
        _ => url,
    }
}

fn conninfo_quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

// ---- what people may see ----

impl fmt::Debug for MysqlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlAddress")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresAddress").finish_non_exhaustive()
    }
}

// ---- percent encoding ----

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

fn percent_decoded(text: &str) -> StoreResult<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let decoded = decoded.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(decoded.ok_or_else(|| wrong("has a % without two hexadecimal digits (write %25 for it)"))?);
        rest = after.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).map_err(|_| wrong("has percent-encoded bytes that are not UTF-8"))
}

#[cfg(test)]
mod tests;
