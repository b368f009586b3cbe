//! `server_setting`, `server_settings`, `set_server_setting`: the settings that all trackers of a cluster share.
//! Source: config-and-startup.md 11.1 (names and checks), protocol.md 9.

use crate::cluster::checksum::HashType;
use crate::cluster::netmask::Netmask;
use crate::jobs::cluster_check;
use crate::jobs::monitor::automation;
use crate::jobs::path_cache;
use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, Group, Origin, pair, text};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::server_settings;
use bstr::ByteSlice;
use rand::RngExt as _;

pub const SERVER_SETTING: CommandSpec = CommandSpec {
    name: "server_setting",
    group: Group::Settings,
    summary: "One server setting.",
    arguments: &[text("key", "Its name.").required()],
    reply: &[pair("key", "Its name."), pair("value", "Its value, empty if it is not set.")],
    errors: &[ErrorCode::BadParams],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub const SERVER_SETTINGS: CommandSpec = CommandSpec {
    name: "server_settings",
    group: Group::Settings,
    summary: "All server settings but those of fsck.",
    arguments: &[],
    reply: &[pair("key_count", "Number of settings."), pair("key_<n>", "Name."), pair("value_<n>", "Value.")],
    errors: &[],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub const SET_SERVER_SETTING: CommandSpec = CommandSpec {
    name: "set_server_setting",
    group: Group::Settings,
    summary: "Changes a server setting; all trackers see it within some seconds.",
    arguments: &[
        text("key", "Its name.").required(),
        text("value", "Its value; what clears a setting depends on its kind."),
    ],
    reply: &[],
    errors: &[ErrorCode::BadParams, ErrorCode::NotWritable, ErrorCode::InvalidFormat],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: false,
};

pub fn get(query: &Query<'_>) -> CommandResult {
    let key = argument_text(query, "key").filter(|key| key != "0").ok_or(ErrorCode::BadParams)?;
    let value = query.ctx.session.read(|conn| server_settings::get(conn, &key))?;
    let mut pairs = Pairs::new();
    pairs.push("key", &key);
    pairs.push("value", value.unwrap_or_default());
    Ok(pairs)
}

/// All but those named `fsck_…`, of which only `fsck_checksum` is shown.
pub fn list(query: &Query<'_>) -> CommandResult {
    let rows = query.ctx.session.read(server_settings::all)?;
    let shown: Vec<_> =
        rows.into_iter().filter(|(field, _)| !field.starts_with("fsck_") || field == "fsck_checksum").collect();
    let mut pairs = Pairs::new();
    pairs.push_display("key_count", shown.len());
    for (n, (field, value)) in (1..).zip(&shown) {
        pairs.push(format!("key_{n}"), field);
        pairs.push(format!("value_{n}"), value.as_bytes());
    }
    Ok(pairs)
}

pub async fn set(query: &Query<'_>) -> CommandResult {
    let key = argument_text(query, "key").filter(|key| key != "0").ok_or(ErrorCode::BadParams)?;
    let value = argument_text(query, "value").unwrap_or_default();
    let stored = cleaned(&key, &value)?;
    let namespace = format!("{:016x}", query.ctx.chance.borrow_mut().random::<u64>());
    query
        .ctx
        .session
        .write(move |conn| {
            server_settings::set(conn, &key, stored.as_deref())?;
            if key == path_cache::SERVERS_SETTING {
                server_settings::set(conn, path_cache::NAMESPACE_SETTING, stored.as_ref().map(|_| &*namespace))?;
            }
            if key.starts_with("slave_") {
                server_settings::increment(conn, "slave_version", 1)?;
            }
            Ok(())
        })
        .await?;
    Ok(Pairs::new())
}

fn argument_text(query: &Query<'_>, name: &str) -> Option<String> {
    query.args.nonempty(name).map(|value| value.to_str_lossy().into_owned())
}

/// The value to store under a key, `None` to remove it.
fn cleaned(key: &str, value: &str) -> Result<Option<String>, CommandError> {
    let unless_false = |value: &str| (!value.is_empty() && value != "0").then(|| value.to_owned());
    match key {
        "skip_devcount" | "skip_mkcol" | "case_sensitive_list_keys" => boolean(value).map(Some),
        cluster_check::DEAD_HOSTS_SETTING | automation::GUARD_SETTING => boolean(value).map(Some),
        automation::DRAIN_AFTER_SETTING | automation::DEAD_AFTER_SETTING | automation::DEVICES_MAX_SETTING => {
            number(value).map(Some)
        }
        "memcache_ttl" | "internal_queue_limit" | "undelete_window_secs" => number(value).map(Some),
        "memcache_servers" => Ok(unless_false(value)),
        "fsck_checksum" => fsck_checksum(value),
        "network_zones" => Ok(Some(value.to_owned())),
        _ if key.starts_with("queue_") => Ok(Some(value.to_owned())),
        _ if key.starts_with("zone_") => netmasks(value).map(Some),
        _ if key.starts_with("slave_") => Ok(unless_false(value)),
        _ => Err(ErrorCode::NotWritable.into()),
    }
}

fn boolean(value: &str) -> Result<String, CommandError> {
    let lower = value.to_ascii_lowercase();
    let begins = |starts: [&str; 4]| starts.iter().any(|start| lower.starts_with(start));
    if value.is_empty() || begins(["0", "f", "off", "n"]) {
        Ok("0".to_owned())
    } else if begins(["1", "t", "on", "y"]) {
        Ok("1".to_owned())
    } else {
        Err(invalid("Unknown format"))
    }
}

fn number(value: &str) -> Result<String, CommandError> {
    match value {
        "" | "0" => Ok("0".to_owned()),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(digits.to_owned()),
        _ => Err(invalid("Must be numeric")),
    }
}

fn fsck_checksum(value: &str) -> Result<Option<String>, CommandError> {
    match value {
        "class" => Ok(None),
        "off" => Ok(Some("off".to_owned())),
        name if HashType::from_name(name.as_bytes()).is_some() => Ok(Some(name.to_owned())),
        _ => Err(invalid("Not a valid checksum algorithm")),
    }
}

fn netmasks(value: &str) -> Result<String, CommandError> {
    let masks = value.split([',', ' ', '\t']).filter(|mask| !mask.is_empty());
    match masks.into_iter().all(|mask| Netmask::parse(mask).is_some()) {
        true => Ok(value.to_owned()),
        false => Err(invalid("Doesn't match an acceptable netmask")),
    }
}

fn invalid(reason: &str) -> CommandError {
    CommandError::with_text(ErrorCode::InvalidFormat, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(key: &str, value: &str) -> Result<Option<String>, String> {
        cleaned(key, value).map_err(|error| {
            let reply = error.into_reply();
            format!("{} {}", reply.code, reply.text.unwrap_or_default())
        })
    }

    fn some(text: &str) -> Result<Option<String>, String> {
        Ok(Some(text.to_owned()))
    }

    /// Conformance 235–250.
    #[test]
    fn values_are_cleaned_or_refused_by_kind() {
        assert_eq!(stored("foo", "1"), Err("not_writable ".to_owned()));
        assert_eq!(stored("schema_version", "18"), Err("not_writable ".to_owned()));
        assert_eq!(stored("memcache_ttl", "x"), Err("invalid_format Must be numeric".to_owned()));
        assert_eq!(stored("memcache_ttl", "60"), some("60"));
        assert_eq!(stored("skip_mkcol", "maybe"), Err("invalid_format Unknown format".to_owned()));
        assert_eq!(stored("skip_mkcol", "Yes"), some("1"));
        assert_eq!(stored("skip_mkcol", "nonsense"), some("0"));
        assert_eq!(stored("skip_mkcol", "10"), some("1"));
        assert_eq!(stored("skip_mkcol", "o"), Err("invalid_format Unknown format".to_owned()));
        assert_eq!(stored("fsck_checksum", "SHA-3"), Err("invalid_format Not a valid checksum algorithm".to_owned()));
        assert_eq!(stored("fsck_checksum", "SHA-256"), some("SHA-256"), "245 of the reference");
        assert_eq!(stored("fsck_checksum", "class"), Ok(None));
        assert_eq!(stored("fsck_checksum", "MD5"), some("MD5"));
        assert!(stored("zone_a", "xyz").is_err_and(|text| text.contains("netmask")));
        assert_eq!(stored("zone_a", "10.0.0.0/8, 1.2.3.4"), some("10.0.0.0/8, 1.2.3.4"));
        assert_eq!(stored("slave_x", "0"), Ok(None));
    }
}
