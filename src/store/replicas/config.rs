//! Which replicas there are, by the server settings of the reference (database.md 4.4): `slave_keys` names them, and
//! `slave_<key>` says where each is, as `DSN|user|password`. Pure.
//!
//! No password is part of a complaint.

use super::super::connection::Backend;
use super::super::dsn::{Account, Location};
use super::super::error::StoreError;
use std::collections::BTreeMap;
use std::time::Duration;

const KEYS_SETTING: &str = "slave_keys";
const VERSION_SETTING: &str = "slave_version";
const CONNECT_TIMEOUT_SETTING: &str = "slave_connect_timeout";
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
const RETRY_SETTING: &str = "slave_dead_retry_timeout";
const RETRY_DEFAULT: Duration = Duration::from_secs(15);

/// All that the server settings say of replicas.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ReplicaConfig {
    /// Changed with every setting that begins with `slave_`: then all connections are made anew.
    version: String,
    pub(super) entries: Vec<Entry>,
    pub(super) connect_timeout: Duration,
    /// One that failed is left alone for so long, times its failures in a row.
    pub(super) retry_after: Duration,
    /// What cannot be used.
    pub(super) complaints: Vec<String>,
}

/// One replica.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// It gets so large a share of the reads. Above zero.
    pub(super) weight: f64,
    pub(super) location: Location,
}

impl ReplicaConfig {
    /// Reads the settings; what cannot be used is complained of and passed over. A replica is of the master's kind.
    pub(super) fn read(settings: &BTreeMap<String, String>, master: Backend) -> Self {
        let mut config = Self {
            version: settings.get(VERSION_SETTING).cloned().unwrap_or_default(),
            connect_timeout: seconds(settings, CONNECT_TIMEOUT_SETTING, CONNECT_TIMEOUT_DEFAULT),
            retry_after: seconds(settings, RETRY_SETTING, RETRY_DEFAULT),
            ..Self::default()
        };
        let list = settings.get(KEYS_SETTING).map_or("", String::as_str);
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match read_entry(name, settings, master) {
                Ok(Some(entry)) if config.entries.iter().all(|known| known.key != entry.key) => {
                    config.entries.push(entry);
                }
                Ok(_) => {}
                Err(complaint) => config.complaints.push(complaint),
            }
        }
        config
    }
}

/// `key` or `key=weight`; `None` for a weight of zero.
fn read_entry(name: &str, settings: &BTreeMap<String, String>, master: Backend) -> Result<Option<Entry>, String> {
    let (key, weight) = match name.split_once('=') {
        None => (name, 1.0),
        Some((key, weight)) => match weight.trim().parse::<f64>() {
            Ok(weight) if weight.is_finite() && weight >= 0.0 => (key.trim(), weight),
            _ => return Err(format!("{KEYS_SETTING}: the weight of {} is not a number", key.trim())),
        },
    };
    if weight == 0.0 {
        return Ok(None);
    }
    let setting = format!("slave_{key}");
    // 2.73 takes the weight for a part of the name.
    let text = settings.get(&setting).or_else(|| settings.get(&format!("slave_{name}")));
    let text = text.ok_or_else(|| format!("{KEYS_SETTING} names {key}, and there is no setting {setting}"))?;
    let mut parts = text.splitn(3, '|');
    let (Some(dsn), Some(user), Some(password)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(format!("{setting} is not of the form DSN|user|password"));
    };
    let location = Location::parse(dsn.trim(), Account { user: user.trim(), password })
        .map_err(|error| format!("{setting}: {}", about_address(&error)))?;
    if location.backend() != master {
        return Err(format!("{setting} is {}, the master {}", location.backend().name(), master.name()));
    }
    Ok(Some(Entry { key: key.to_owned(), weight, location }))
}

/// Errors of addresses speak of `database.url`.
fn about_address(error: &StoreError) -> String {
    match error {
        StoreError::InvalidValue(text) => text.replace("database.url", "the address"),
        other => other.to_string(),
    }
}

fn seconds(settings: &BTreeMap<String, String>, name: &str, default: Duration) -> Duration {
    let said = settings.get(name).and_then(|text| text.trim().parse::<f64>().ok());
    said.filter(|secs| *secs > 0.0).and_then(|secs| Duration::try_from_secs_f64(secs).ok()).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> ReplicaConfig {
        let settings = settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        ReplicaConfig::read(&settings, Backend::Sqlite)
    }

    #[test]
    fn keys_weights_and_times_are_read() {
        let config = read(&[
            ("slave_keys", "a, b=2.5,,c=0,a"),
            ("slave_a", "DBI:SQLite:/a.db||"),
            ("slave_b", "sqlite:/b.db|u|p|with|bars"),
            ("slave_connect_timeout", "0.5"),
            ("slave_dead_retry_timeout", "nonsense"),
        ]);
        assert_eq!(config.complaints, Vec::<String>::new());
        let entries: Vec<_> = config.entries.iter().map(|entry| (entry.key.as_str(), entry.weight)).collect();
        assert_eq!(entries, [("a", 1.0), ("b", 2.5)]);
        assert_eq!((config.connect_timeout, config.retry_after), (Duration::from_millis(500), RETRY_DEFAULT));
        assert_eq!(read(&[]).entries, []);
    }

    /// As the reference's own tools leave it behind for 2.73.
    #[test]
    fn a_weight_may_be_part_of_the_name() {
        let config = read(&[("slave_keys", "a=3"), ("slave_a=3", "DBI:SQLite:/a.db|u|p")]);
        assert_eq!(config.entries.len(), 1, "{:?}", config.complaints);
    }

    #[test]
    fn what_cannot_be_used_is_named_without_its_password() {
        for (settings, part) in [
            (&[("slave_keys", "x")][..], "no setting slave_x"),
            (&[("slave_keys", "x"), ("slave_x", "DBI:SQLite:/a.db|u")], "DSN|user|password"),
            (&[("slave_keys", "x=much"), ("slave_x", "DBI:SQLite:/a.db||")], "weight of x"),
            (&[("slave_keys", "x"), ("slave_x", "what:ever|u|sesame")], "slave_x: the address must start with"),
        ] {
            let config = read(settings);
            assert_eq!(config.entries, []);
            let complaint = &config.complaints[0];
            assert!(complaint.contains(part) && !complaint.contains("sesame"), "{complaint}");
        }
    }

    #[cfg(feature = "mysql")]
    #[test]
    fn a_replica_is_of_the_masters_kind() {
        let config = read(&[("slave_keys", "x"), ("slave_x", "DBI:mysql:mog;host=db2|u|sesame")]);
        assert_eq!(config.complaints, ["slave_x is mysql, the master sqlite"]);
    }

    #[test]
    fn any_change_is_seen() {
        let settings = [("slave_keys", "a"), ("slave_a", "DBI:SQLite:/a.db||")];
        assert_eq!(read(&settings), read(&settings));
        for more in [("slave_version", "2"), ("slave_connect_timeout", "3"), ("slave_keys", "b")] {
            let changed: Vec<_> = settings.into_iter().chain([more]).collect();
            assert_ne!(read(&settings), read(&changed), "{more:?}");
        }
    }
}
