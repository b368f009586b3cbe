//! The scope of a run as the settings that all trackers share say it. Trackers of the reference take no notice of it.

use super::field;
use crate::ids::{ClassId, DevId, Dmid};
use crate::protocol::args::{escape, unescape};
use crate::store::fsck_inject::FsckScope;
use crate::store::{StoreConnection, StoreResult, server_settings};
use bstr::BString;
use std::collections::BTreeMap;

/// The scope in force.
pub fn read(settings: &BTreeMap<String, String>) -> FsckScope {
    let id = |field: &str| settings.get(field).and_then(|text| text.trim().parse::<i64>().ok());
    FsckScope {
        dmid: id(field::SCOPE_DOMAIN).map(Dmid),
        classid: id(field::SCOPE_CLASS).map(ClassId),
        key_prefix: settings.get(field::SCOPE_PREFIX).map_or_else(BString::default, |text| unescape(text.as_bytes())),
        devid: id(field::SCOPE_DEVICE).map(DevId),
    }
}

/// The scope and the thoroughness of a run, for people: names and values with blanks between them.
pub fn describe(settings: &BTreeMap<String, String>) -> String {
    let words = [
        (field::SCOPE_DOMAIN, "dmid"),
        (field::SCOPE_CLASS, "classid"),
        (field::SCOPE_PREFIX, "key_prefix"),
        (field::SCOPE_DEVICE, "devid"),
        (field::POLICY_ONLY, "policy_only"),
        ("fsck_checksum", "checksum"),
    ];
    let said = words.iter().filter_map(|(field, word)| Some(format!("{word}={}", settings.get(*field)?)));
    said.collect::<Vec<_>>().join(" ")
}

/// Puts a scope in force.
pub fn write(conn: &mut StoreConnection, scope: &FsckScope) -> StoreResult<()> {
    let domain = scope.dmid.map(|dmid| dmid.to_string());
    let class = scope.classid.map(|classid| classid.to_string());
    let device = scope.devid.map(|devid| devid.to_string());
    // Keys are bytes, settings are text.
    let prefix = escape(&scope.key_prefix).to_string();
    server_settings::set_all(
        conn,
        &[
            (field::SCOPE_DOMAIN, domain.as_deref()),
            (field::SCOPE_CLASS, class.as_deref()),
            (field::SCOPE_DEVICE, device.as_deref()),
            (field::SCOPE_PREFIX, (!scope.key_prefix.is_empty()).then_some(prefix.as_str())),
        ],
    )
}
