//! The cache of paths in memcached: what `get_paths` needs of a file, under its domain and key (decision 0007).
//!
//! Switched on by the server setting `memcache_servers`. Only what the database answered is ever stored, only for the
//! spelling that the database itself has, and never over something newer. Who changes what a key leads to says so:
//! [`PathCache::change`] before, [`PathChange::announce`] after the change.

use super::island::{Island, OwnChange};
use super::joint_look_up::JointLookUp;
use crate::cluster::{ClusterSnapshot, ClusterView};
use crate::ids::{DevId, Dmid, Fid};
use crate::memcached::{Client, Found, Servers, Unavailable, WireKey, parse_addresses};
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::store::files::{FileRow, LocatedFile};
use crate::store::{Backend, FoundBy, Session, StoreError, StoreResult, files};
use bstr::{BStr, BString};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Server setting: `host:port,host:port`; absent switches the cache off.
pub const SERVERS_SETTING: &str = "memcache_servers";
/// Server setting, written with every change of [`SERVERS_SETTING`]: entries made under another one are never met again,
/// neither those of another cluster on the same memcached nor old ones after the cache was off for a while.
pub const NAMESPACE_SETTING: &str = "memcache_namespace";
/// Server setting: seconds that an entry lives.
const TTL_SETTING: &str = "memcache_ttl";
const TTL_DEFAULT_SECS: i64 = 3600;
/// Lifetime while trackers may not all know yet that the cache is on.
const TTL_SETTLING_SECS: u32 = 10;
/// Where nothing was stored, not even a marker, an answer of the database is stored only so soon after it was asked for:
/// well within the life of the marker that a change meanwhile would have left, had that one been there first.
const FILL_WITHIN: Duration = Duration::from_secs(5);

/// Where a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub fid: Fid,
    pub devids: Vec<DevId>,
    /// Bytes; only the database knows.
    pub length: Option<i64>,
    /// Said from memory, because the database is away: it was so that long ago.
    pub stale_for: Option<Duration>,
}

impl From<LocatedFile> for Location {
    fn from((file, devids): LocatedFile) -> Self {
        Self { fid: file.fid, devids, length: Some(file.length), stale_for: None }
    }
}

/// The cache as one worker sees it.
pub struct PathCache {
    servers: Servers,
    settings: Arc<Settings>,
    metrics: Metrics,
    /// The snapshot from which `active` was made. Held, so that no other one can be mistaken for it.
    seen: RefCell<Option<Arc<ClusterSnapshot>>>,
    active: RefCell<Option<Rc<Active>>>,
    island: Island,
    joint: JointLookUp,
}

/// One configuration of the cache.
struct Active {
    client: Rc<Client>,
    /// The settings it was made from.
    list: String,
    namespace: String,
    since: Instant,
}

impl Active {
    fn key(&self, dmid: Dmid, dkey: &BStr) -> WireKey {
        WireKey::of(&[self.namespace.as_bytes(), &dmid.0.to_be_bytes(), dkey])
    }
}

impl PathCache {
    pub fn new(servers: Servers, settings: Arc<Settings>, metrics: Metrics, island: Island) -> Self {
        Self {
            servers,
            settings,
            metrics,
            seen: RefCell::default(),
            active: RefCell::default(),
            island,
            joint: JointLookUp::default(),
        }
    }

    /// The configuration of the latest snapshot; `None` while the cache is off.
    fn active(&self, view: &ClusterView) -> Option<Rc<Active>> {
        let latest = view.load();
        if !self.seen.borrow().as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &latest)) {
            self.reconfigure(&latest);
            self.seen.replace(Some(Arc::clone(&latest)));
        }
        self.active.borrow().clone()
    }

    #[cold]
    fn reconfigure(&self, cluster: &ClusterSnapshot) {
        let list = cluster.server_setting(SERVERS_SETTING).unwrap_or_default();
        let namespace = cluster.server_setting(NAMESPACE_SETTING).unwrap_or_default();
        let mut active = self.active.borrow_mut();
        if active.as_ref().is_some_and(|active| active.list == list && active.namespace == namespace) {
            return;
        }
        let addresses = parse_addresses(list);
        *active = (!addresses.is_empty()).then(|| {
            Rc::new(Active {
                client: Client::start(&self.servers, &addresses, &self.settings.memcached),
                list: list.to_owned(),
                namespace: namespace.to_owned(),
                since: Instant::now(),
            })
        });
    }

    /// Where the file of a key is: from the cache if `may_be_cached` and it is there, else from the database, whose
    /// master's word is stored; while that is away, in island mode, from memory.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn locate(
        &self,
        view: &ClusterView,
        session: &Session,
        (dmid, dkey): (Dmid, &BStr),
        may_be_cached: bool,
    ) -> StoreResult<Option<Location>> {
        let (asked_at, located) = match self.joint.recall(dmid, dkey) {
            Some((asked_at, located)) => (asked_at, Ok(located.map(Location::from))),
            None => (Instant::now(), self.look_up(view, session, (dmid, dkey), may_be_cached).await),
        };
        self.island.settle(session, (dmid, dkey), asked_at, located)
    }

    /// Asks the database at once for what several requests in hand want to [`PathCache::locate`]. Until
    /// [`PathCache::forget_together`] they get it from here. Nothing while the cache is on: what it has need not be asked for.
    pub fn look_up_together(&self, view: &ClusterView, session: &Session, wanted: &[(Dmid, BString)]) {
        if self.active(view).is_none() {
            let is_sayable = |(_, dkey): &&(Dmid, BString)| session.can_hold(dkey.as_ref());
            let wanted: Vec<_> = wanted.iter().filter(is_sayable).collect();
            self.joint.look_up(&wanted, |dmid, dkeys| session.locate_many(dmid, dkeys));
        }
    }

    /// To be called before anything else is carried out than these requests.
    pub fn forget_together(&self) {
        self.joint.forget();
    }

    async fn look_up(
        &self,
        view: &ClusterView,
        session: &Session,
        (dmid, dkey): (Dmid, &BStr),
        may_be_cached: bool,
    ) -> StoreResult<Option<Location>> {
        let Some(active) = self.active(view) else { return Ok(session.locate(dmid, dkey)?.0.map(Location::from)) };
        let key = active.key(dmid, dkey);
        let begun = Instant::now();
        let found = active.client.get(&key).await;
        let cached = match &found {
            Ok(Found::Value { bytes, .. }) => decode(bytes, dmid, dkey),
            _ => None,
        };
        if may_be_cached {
            self.count(&found, cached.is_some());
            if let Some((fid, devids)) = cached {
                return Ok(Some(Location { fid, devids, length: None, stale_for: None }));
            }
        }
        let (located, found_by) = read_for_cache(session, dmid, dkey, may_be_cached)?;
        if let (Some((file, devids)), FoundBy::Master, Ok(found)) = (&located, found_by, &found)
            // Another spelling of the stored key: the entry would not be found when the file changes.
            && file.dkey == dkey
            && (*found != Found::Nothing || begun.elapsed() < FILL_WITHIN)
        {
            let value = encode(file, devids);
            if !matches!(found, Found::Value { bytes, .. } if *bytes == value) {
                active.client.offer(found.fill_mode(), &key, &value, self.lifetime_secs(view, &active));
            }
        }
        Ok(located.map(Location::from))
    }

    fn count(&self, found: &Result<Found, Unavailable>, is_hit: bool) {
        match found {
            _ if is_hit => self.metrics.memcache_hits.add(1),
            Err(Unavailable::Failed) => self.metrics.memcache_errors.add(1),
            _ => self.metrics.memcache_misses.add(1),
        }
    }

    fn lifetime_secs(&self, view: &ClusterView, active: &Active) -> u32 {
        let ttl_secs = view.load().server_number(TTL_SETTING, TTL_DEFAULT_SECS);
        let ttl_secs = u32::try_from(ttl_secs).unwrap_or(u32::MAX);
        let settling = Duration::from_millis(self.settings.monitor.db_interval_ms.saturating_mul(2));
        if active.since.elapsed() < settling { ttl_secs.min(TTL_SETTLING_SECS) } else { ttl_secs }
    }

    /// To be called before a change of what these keys lead to, or of the copies of their files.
    pub fn change(&self, view: &ClusterView, session: &Session, dmid: Dmid, dkeys: &[&BStr]) -> PathChange {
        let covers = self.active(view).map(|active| {
            let mut keys: Vec<_> = dkeys.iter().map(|dkey| active.key(dmid, dkey)).collect();
            for spelling in dkeys.iter().flat_map(|dkey| other_spellings(session, dmid, dkey)) {
                keys.push(active.key(dmid, spelling.as_ref()));
            }
            keys.sort_unstable();
            keys.dedup();
            (active, keys)
        });
        let changed = OwnChange::begin(&self.island, session, dmid, dkeys);
        PathChange { covers, changed }
    }
}

/// What is to be stored must be the master's word. Who took nothing from the cache asks replicas first, for the master's
/// sake.
fn read_for_cache(
    session: &Session,
    dmid: Dmid,
    dkey: &BStr,
    is_miss: bool,
) -> StoreResult<(Option<LocatedFile>, FoundBy)> {
    if is_miss && let Ok(located) = session.read(|conn| files::locate(conn, dmid, dkey)) {
        return Ok((located, FoundBy::Master));
    }
    session.locate(dmid, dkey)
}

/// The database decides which keys are one (database.md 1.6); the entry is under the stored spelling. SQLite compares
/// bytes. A database that cannot be read will not be changed either.
fn other_spellings(session: &Session, dmid: Dmid, dkey: &BStr) -> Vec<BString> {
    match session.backend() {
        Backend::Sqlite => Vec::new(),
        _ => session.read(|conn| files::stored_keys(conn, dmid, dkey)).unwrap_or_default(),
    }
}

/// A change that makes entries of the cache wrong. Dropped without [`PathChange::announce`], the change counts as one that
/// may still come true, as after a time-out: its keys are not served for a while.
#[must_use]
pub struct PathChange {
    covers: Option<(Rc<Active>, Vec<WireKey>)>,
    changed: OwnChange,
}

impl PathChange {
    /// To be called when it is known which files, besides those that have the keys in these very spellings, the change
    /// was about; or why it failed.
    pub fn covers_files(&mut self, dmid: Dmid, fids: Result<&[Fid], &StoreError>) {
        match fids {
            Ok(fids) => self.changed.add_files(fids),
            Err(error) if error.may_be_stored() => self.changed.add_domain(dmid),
            Err(_) => self.changed.void(),
        }
    }

    /// To be called when the change was made, or failed so that nobody knows. Afterwards no reader of this tracker sees
    /// what was before; no reader at all if the server of the entry can be reached.
    pub async fn announce(mut self) {
        if let Some((active, keys)) = &self.covers {
            active.client.forget(keys).await;
        }
        self.covers = None;
        // Nobody was told of the change until now.
        self.changed.end();
    }
}

impl Drop for PathChange {
    fn drop(&mut self) {
        if let Some((active, keys)) = self.covers.take() {
            active.client.distrust(&keys);
        }
    }
}

/// `1 <dmid> <fid> <devid>,<devid>,...` and, after a line end, the bytes of the key. Text, so that it can be looked at.
fn encode(file: &FileRow, devids: &[DevId]) -> Vec<u8> {
    let devids: Vec<_> = devids.iter().map(ToString::to_string).collect();
    let mut value = format!("1 {} {} {}\n", file.dmid, file.fid, devids.join(",")).into_bytes();
    value.extend_from_slice(&file.dkey);
    value
}

/// What [`encode`] wrote for this key; anything else is nothing.
fn decode(value: &[u8], dmid: Dmid, dkey: &BStr) -> Option<(Fid, Vec<DevId>)> {
    let end = value.iter().position(|&byte| byte == b'\n')?;
    if value[end + 1..] != **dkey {
        return None;
    }
    let mut words = std::str::from_utf8(&value[..end]).ok()?.split(' ');
    let is_ours = words.next() == Some("1") && words.next()?.parse() == Ok(dmid.0);
    let fid = Fid(words.next()?.parse().ok()?);
    let devids = match words.next()? {
        "" => Vec::new(),
        list => list.split(',').map(|devid| devid.parse().map(DevId)).collect::<Result<_, _>>().ok()?,
    };
    (is_ours && words.next().is_none()).then_some((fid, devids))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ClassId;
    use proptest::prelude::*;

    fn file(dkey: &[u8]) -> FileRow {
        FileRow { fid: Fid(7), dmid: Dmid(3), dkey: dkey.into(), length: 5, classid: ClassId(0), devcount: 1 }
    }

    #[test]
    fn anything_unreadable_is_nothing() {
        let key = BStr::new("k");
        assert_eq!(decode(b"1 3 7 1,2\nk", Dmid(3), key), Some((Fid(7), vec![DevId(1), DevId(2)])));
        assert_eq!(decode(b"1 3 7 \nk", Dmid(3), key), Some((Fid(7), vec![])));
        for value in [
            "",
            "-",
            "1 3 7 1,2",
            "2 3 7 1\nk",
            "1 4 7 1\nk",
            "1 3 7 1\nK",
            "1 3 7 1\nkk",
            "1 3 x 1\nk",
            "1 3 7 1,\nk",
            "1 3 7\nk",
            "1 3 7 1 2\nk",
            "1 3 7 1\r\nk",
        ] {
            assert_eq!(decode(value.as_bytes(), Dmid(3), key), None, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn values_come_back(
            key in prop::collection::vec(any::<u8>(), 1..300),
            other in prop::collection::vec(any::<u8>(), 1..300),
            devids in prop::collection::vec(any::<i64>().prop_map(DevId), 0..5),
        ) {
            let value = encode(&file(&key), &devids);
            let of = |key: &Vec<u8>| decode(&value, Dmid(3), BStr::new(key));
            prop_assert_eq!(of(&key), Some((Fid(7), devids.clone())));
            prop_assert!(key == other || of(&other).is_none());
        }

        #[test]
        fn any_value_is_survived(value in prop::collection::vec(any::<u8>(), 0..100)) {
            let _any = decode(&value, Dmid(3), BStr::new("k"));
        }
    }
}
