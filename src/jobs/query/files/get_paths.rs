//! `get_paths`: the URLs where a file can be read, best first. The hottest command of all.

use super::many;
use crate::cluster::device::DeviceView;
use crate::cluster::placement::{self, ReadTurn};
use crate::ids::{DevId, Dmid, Fid};
use crate::jobs::context::JobContext;
use crate::jobs::path_cache::Location;
use crate::jobs::query::error::CommandResult;
use crate::jobs::query::spec::{CommandSpec, DOMAIN, Group, Origin, flag, number, pair};
use crate::jobs::query::{Glance, Query};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::request::Request;
use crate::protocol::response::Pairs;
use bstr::BString;
use futures::StreamExt as _;
use std::net::IpAddr;

pub const SPEC: CommandSpec = CommandSpec {
    name: "get_paths",
    group: Group::Files,
    summary: "The URLs where a file can be read, best first.",
    arguments: &[
        DOMAIN,
        many::KEY,
        many::KEYS,
        many::KEY_N,
        flag("noverify", "Do not ask the storage node whether the first copy is whole."),
        number("pathcount", "Paths wanted; less than 2 counts as 2."),
    ],
    reply: &[
        pair("paths", "How many follow; `0` is a success."),
        pair("path<n>", "URL; lower numbers should be tried first."),
        pair(
            "stale",
            "`1`: the database is away, and this is what it said last. Only in island mode (`database.island_mode`).",
        ),
        pair("stale_secs", "How long ago that was; only with `stale`."),
        pair("keys", "Number of the keys asked for; only with `keys`. What follows is then by key, in their order."),
        pair("error_<n>", "Why there are no paths for the n-th key: `unknown_key` or `no_key`."),
        pair("paths_<n>", "As `paths`, for the n-th key."),
        pair("path_<n>_<m>", "As `path<m>`, for the n-th key."),
    ],
    errors: &[ErrorCode::NoDomain, ErrorCode::UnregDomain, ErrorCode::BadArgs, ErrorCode::NoKey, ErrorCode::UnknownKey],
    notes: "",
    origin: Origin::Reference,
    is_intercepted: true,
};

/// Paths given at least, however few are asked for.
const PATHS_MIN: i64 = 2;

pub async fn handle(query: &Query<'_>) -> CommandResult {
    let dmid = query.domain()?.dmid;
    if many::is_asked(query) {
        return handle_many(query, dmid).await;
    }
    let key = query.key()?;
    let noverify = query.args.flag("noverify");
    let found = query.ctx.path_cache.locate(&query.ctx.view, &query.ctx.session, (dmid, key), noverify).await?;
    let Location { fid, devids, length, stale_for } = found.ok_or(ErrorCode::UnknownKey)?;
    let paths = readable_paths(query, fid, length.filter(|_| !noverify), &devids).await;
    let mut pairs = Pairs::new();
    pairs.push_display("paths", paths.len());
    for (n, path) in (1..).zip(&paths) {
        pairs.push(PathName::new(n).as_bytes(), path);
    }
    if let Some(age) = stale_for {
        pairs.push("stale", "1");
        pairs.push_display("stale_secs", age.as_secs());
    }
    Ok(pairs)
}

/// The file that a request line asks for, if it is this command with one key in a domain that there is.
pub fn file_asked_for(ctx: &JobContext, line: &[u8], peer: IpAddr) -> Option<(Dmid, BString)> {
    let request = Request::parse(line);
    let glance = Glance::new(&ctx.view, Some(&SPEC), &request.args, peer);
    let is_one = request.command == SPEC.name && !glance.args.flag("keys");
    is_one.then(|| Some((glance.domain().ok()?.dmid, glance.key().ok()?.to_owned())))?
}

/// Keys whose first copies are verified at the same time.
const VERIFIED_AT_ONCE: usize = 16;

/// The same for each of many keys; pairs are named by the number of the key.
async fn handle_many(query: &Query<'_>, dmid: Dmid) -> CommandResult {
    let found = many::look_up(query, dmid)?;
    let is_verified = !query.args.flag("noverify");
    let count = found.len();
    let all_paths = futures::stream::iter(found).map(|found| async move {
        let paths = match found.outcome {
            Ok((file, devids)) => {
                Ok(readable_paths(query, file.fid, is_verified.then_some(file.length), &devids).await)
            }
            Err(code) => Err(code),
        };
        (found.n, paths)
    });
    let mut all_paths = all_paths.buffered(VERIFIED_AT_ONCE);
    let mut pairs = Pairs::new();
    pairs.push_display("keys", count);
    while let Some((n, paths)) = all_paths.next().await {
        match paths {
            Err(code) => pairs.push(format!("error_{n}"), code.code()),
            Ok(paths) => {
                pairs.push_display(format!("paths_{n}"), paths.len());
                for (m, path) in (1..).zip(&paths) {
                    pairs.push(format!("path_{n}_{m}"), path);
                }
            }
        }
    }
    Ok(pairs)
}

/// Steps 3–6 of protocol.md, "get_paths": the first path is verified if its length is given, drained devices come last,
/// and an unreadable device is better than nothing.
async fn readable_paths(query: &Query<'_>, fid: Fid, length: Option<i64>, devids: &[DevId]) -> Vec<String> {
    let mut ordered = placement::order_for_reading(&query.cluster, devids, &mut query.ctx.chance.borrow_mut());
    query.ctx.extensions.order_for_reading(query, &mut ordered);
    query.ctx.doubtful_copies.last(fid, &mut ordered);
    let wanted = usize::try_from(query.args.int("pathcount").max(PATHS_MIN)).unwrap_or(usize::MAX);
    let (mut accepted, mut drained, mut fallback) = (Vec::new(), Vec::new(), None);
    for device in ordered.iter().filter_map(|&devid| query.cluster.device(devid)) {
        let url = device.read_url(fid, query.zone);
        let turn = placement::read_turn(&device);
        if turn == ReadTurn::IfNoOther {
            fallback = Some(url);
        } else if let Some(length) = length.filter(|_| accepted.is_empty())
            && !is_whole(query, &device, fid, length).await
        {
            continue;
        } else if turn == ReadTurn::Last {
            drained.push(url);
        } else {
            accepted.push(url);
            if accepted.len() >= wanted {
                break;
            }
        }
    }
    let missing = wanted.saturating_sub(accepted.len());
    accepted.extend(drained.into_iter().take(missing));
    if accepted.is_empty() {
        accepted.extend(fallback);
    }
    accepted
}

async fn is_whole(query: &Query<'_>, device: &DeviceView<'_>, fid: Fid, length: i64) -> bool {
    let size = query.ctx.nodes.head_size(&device.read_url(fid, query.zone)).await;
    size.is_ok_and(|size| i64::try_from(size) == Ok(length))
}

/// `path<n>`, built without an allocation: this runs for every path of every request.
struct PathName {
    bytes: [u8; 24],
    len: usize,
}

impl PathName {
    fn new(n: usize) -> Self {
        use std::io::Write as _;
        let mut name = Self { bytes: [0; 24], len: 0 };
        let mut cursor = &mut name.bytes[..];
        // 20 digits are the most that a usize has; 24 bytes hold them behind "path".
        let written = write!(cursor, "path{n}");
        debug_assert!(written.is_ok());
        let unused = cursor.len();
        name.len = name.bytes.len() - unused;
        name
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::PathName;

    #[test]
    fn path_names_count_up() {
        assert_eq!(PathName::new(1).as_bytes(), b"path1");
        assert_eq!(PathName::new(usize::MAX).as_bytes(), format!("path{}", usize::MAX).as_bytes());
    }
}
