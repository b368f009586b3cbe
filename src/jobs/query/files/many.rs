//! `keys=N&key_1=…&key_N=…`: one request about many keys, for `get_paths` and `file_info`.

use crate::ids::{DevId, Dmid};
use crate::jobs::query::Query;
use crate::jobs::query::error::CommandError;
use crate::jobs::query::spec::{Argument, number, text};
use crate::protocol::error_code::ErrorCode;
use crate::store::files::FileRow;
use bstr::BString;

/// [`spec::KEY`](crate::jobs::query::spec::KEY) where it is not the only way to name files.
pub const KEY: Argument = text("key", "The file's key in its domain; required unless `keys` is given.");
pub const KEYS: Argument = number("keys", "Number of the keys asked for at once, up to 1000, instead of `key`.").here();
pub const KEY_N: Argument = text("key_<n>", "One of the keys, n from 1 to `keys`.").here();

/// Keys in one request at most.
pub const KEYS_MAX: i64 = 1000;

/// One of the keys and what it leads to; an error is for this key alone.
pub struct Found {
    /// Its place in the request, from 1.
    pub n: usize,
    pub key: BString,
    pub outcome: Result<(FileRow, Vec<DevId>), ErrorCode>,
}

/// Does the request ask for many keys?
pub fn is_asked(query: &Query<'_>) -> bool {
    query.args.flag("keys")
}

/// Looks all keys up.
///
/// # Errors
/// `bad_args` for a number of keys that is not between 1 and [`KEYS_MAX`]; those of the database.
pub fn look_up(query: &Query<'_>, dmid: Dmid) -> Result<Vec<Found>, CommandError> {
    let count = query.args.int("keys");
    if !(1..=KEYS_MAX).contains(&count) {
        return Err(CommandError::with_text(ErrorCode::BadArgs, format!("keys must be a number from 1 to {KEYS_MAX}")));
    }
    let keys: Vec<BString> =
        (1..=count).map(|n| query.args.get(&format!("key_{n}")).unwrap_or_default().to_owned()).collect();
    let asked: Vec<_> = keys.iter().filter(|key| !key.is_empty()).map(|key| key.as_ref()).collect();
    let mut located = query.ctx.session.locate_many(dmid, &asked)?.into_iter();
    let found = (1..).zip(keys).map(|(n, key)| {
        let outcome = match key.is_empty() {
            true => Err(ErrorCode::NoKey),
            false => located.next().flatten().ok_or(ErrorCode::UnknownKey),
        };
        Found { n, key, outcome }
    });
    Ok(found.collect())
}
