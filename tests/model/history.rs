//! Steps, and the model that they are held against.

use crate::nodes::{Manners, host_of};
use crate::world::{CLASSES, DEVICES, HOSTS, World};
use bytes::Bytes;
use mogilefs::jobs::context::JobContext;
use mogilefs::jobs::reaper::Reaper;
use mogilefs::jobs::{delete, fsck, rebalance, replicate};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// After so many waits the tracker is gone.
type Crash = Option<u8>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    Replicate,
    Delete,
    GiveUpUploads,
    Reap,
    /// Fsck of all files.
    Check,
    /// Copies are to leave a device, as a rebalance wants it.
    MoveFrom(u8),
}

#[derive(Clone, Debug)]
pub enum Step {
    /// `create_open`, then the client uploads.
    Open {
        key: u8,
        class: u8,
        size: u16,
    },
    /// `create_close` of one of the open uploads.
    Close {
        upload: u8,
        crash: Crash,
    },
    /// A close while another tracker does a job.
    CloseBeside {
        upload: u8,
        job: Job,
    },
    Delete {
        key: u8,
        crash: Crash,
    },
    Rename {
        from: u8,
        to: u8,
        crash: Crash,
    },
    SetClass {
        key: u8,
        class: u8,
    },
    Work {
        job: Job,
        crash: Crash,
    },
    /// Two trackers at the same time.
    WorkTogether {
        one: Job,
        other: Job,
    },
    Behave {
        host: u8,
        manners: Manners,
    },
    /// A copy vanishes or loses its end, if there is another one.
    CopyDamaged {
        key: u8,
        is_cut: bool,
    },
    /// The disk is gone, if every file has a copy elsewhere, and an operator says so.
    DiskDies {
        device: u8,
    },
    SetState {
        device: u8,
        drain: bool,
    },
    /// Rows of queues become due.
    TimePasses,
    /// A row of the delete queue that nobody should have written (W14).
    StrayDelete {
        key: u8,
    },
}

fn manners() -> impl Strategy<Value = Manners> {
    prop_oneof![
        3 => Just(Manners::Good),
        1 => Just(Manners::Down),
        1 => Just(Manners::DiskFull),
        1 => Just(Manners::LosesBytes),
    ]
}

fn job() -> impl Strategy<Value = Job> {
    prop_oneof![
        6 => Just(Job::Replicate),
        6 => Just(Job::Delete),
        2 => Just(Job::GiveUpUploads),
        2 => Just(Job::Reap),
        3 => Just(Job::Check),
        3 => (0..8_u8).prop_map(Job::MoveFrom),
    ]
}

fn crash() -> impl Strategy<Value = Crash> {
    prop_oneof![1 => Just(None), 1 => (0..24_u8).prop_map(Some)]
}

fn step() -> impl Strategy<Value = Step> {
    let (key, class) = (0..5_u8, 0..3_u8);
    prop_oneof![
        6 => (key.clone(), class.clone(), 0..600_u16).prop_map(|(key, class, size)| Step::Open { key, class, size }),
        6 => (any::<u8>(), crash()).prop_map(|(upload, crash)| Step::Close { upload, crash }),
        3 => (any::<u8>(), job()).prop_map(|(upload, job)| Step::CloseBeside { upload, job }),
        2 => (key.clone(), crash()).prop_map(|(key, crash)| Step::Delete { key, crash }),
        1 => (key.clone(), key.clone(), crash()).prop_map(|(from, to, crash)| Step::Rename { from, to, crash }),
        1 => (key.clone(), class).prop_map(|(key, class)| Step::SetClass { key, class }),
        8 => (job(), crash()).prop_map(|(job, crash)| Step::Work { job, crash }),
        3 => (job(), job()).prop_map(|(one, other)| Step::WorkTogether { one, other }),
        2 => (0..4_u8, manners()).prop_map(|(host, manners)| Step::Behave { host, manners }),
        2 => (key.clone(), any::<bool>()).prop_map(|(key, is_cut)| Step::CopyDamaged { key, is_cut }),
        1 => (0..8_u8).prop_map(|device| Step::DiskDies { device }),
        1 => (0..8_u8, any::<bool>()).prop_map(|(device, drain)| Step::SetState { device, drain }),
        3 => Just(Step::TimePasses),
        1 => key.prop_map(|key| Step::StrayDelete { key }),
    ]
}

/// Histories.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..60)
}

/// What an acknowledged key must lead to.
#[derive(Clone, Debug)]
struct Stored {
    fid: i64,
    bytes: Bytes,
    copies_wanted: usize,
}

/// An upload that was opened and sent.
#[derive(Clone, Debug)]
struct Upload {
    key: String,
    fid: i64,
    devid: i64,
    path: String,
    bytes: Bytes,
    copies_wanted: usize,
}

pub struct History {
    world: World,
    files: BTreeMap<String, Stored>,
    uploads: Vec<Upload>,
    dead_devices: usize,
    /// Copies that a crash left on a disk before they were recorded: nobody knows of them.
    unknown_copies: BTreeSet<(i64, i64)>,
}

/// What went wrong.
type Checked = Result<(), String>;

/// At most so many disks die: there must be room for three copies on different hosts.
const DEAD_MAX: usize = 3;
/// Rounds after which a cluster that is well must have come to rest.
const ROUNDS_TO_REST: usize = 12;

const QUEUES: [&str; 3] = ["file_to_replicate", "file_to_delete2", "file_to_queue"];

fn key_name(key: u8) -> String {
    format!("k{key}")
}

/// Runs to the end, or gives up after so many waits.
async fn unless_crashed<T>(crash: Crash, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut waits = 0;
    poll_fn(|cx| {
        if crash == Some(waits) {
            return Poll::Ready(None);
        }
        waits = waits.saturating_add(1);
        work.as_mut().poll(cx).map(Some)
    })
    .await
}

/// One value of a reply line.
fn value<'r>(reply: &'r str, name: &str) -> Option<&'r str> {
    let pairs = reply.strip_prefix("OK ")?;
    pairs.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn decoded(text: &str) -> String {
    text.replace("%3A", ":").replace("%3a", ":").replace("%2F", "/").replace("%2f", "/")
}

impl History {
    pub async fn begin() -> Self {
        Self {
            world: World::new().await,
            files: BTreeMap::new(),
            uploads: Vec::new(),
            dead_devices: 0,
            unknown_copies: BTreeSet::new(),
        }
    }

    /// One step, and what must hold after it.
    pub async fn take(&mut self, step: &Step) -> Checked {
        let before = self.good_copies();
        match step {
            Step::Open { key, class, size } => self.open(&key_name(*key), *class, *size).await,
            Step::Close { upload, crash } => self.close(*upload, *crash, None).await?,
            Step::CloseBeside { upload, job } => self.close(*upload, None, Some(*job)).await?,
            Step::Delete { key, crash } => self.delete(&key_name(*key), *crash).await?,
            Step::Rename { from, to, crash } => self.rename(&key_name(*from), &key_name(*to), *crash).await?,
            Step::SetClass { key, class } => self.set_class(&key_name(*key), *class).await?,
            Step::Work { job, crash } => self.work(*job, *crash).await,
            Step::WorkTogether { one, other } => self.work_together(*one, *other).await,
            Step::Behave { host, manners } => {
                self.world.nodes.set_manners(i64::from(*host) % HOSTS + 1, *manners);
                self.world.look();
            }
            Step::CopyDamaged { key, is_cut } => self.damage(&key_name(*key), *is_cut),
            Step::DiskDies { device } => self.disk_dies(DEVICES[usize::from(*device)]).await,
            Step::SetState { device, drain } => self.set_state(DEVICES[usize::from(*device)], *drain).await,
            Step::TimePasses => self.time_passes().await,
            Step::StrayDelete { key } => self.stray_delete(&key_name(*key)).await,
        }
        self.world.at_rest().await;
        // What a disk loses, no job has taken.
        let is_loss = matches!(step, Step::DiskDies { .. } | Step::CopyDamaged { .. });
        self.check(&if is_loss { self.good_copies() } else { before })
    }

    async fn open(&mut self, key: &str, class: u8, size: u16) {
        let (class, copies_wanted) = CLASSES[usize::from(class)];
        let tracker = self.world.tracker();
        let reply = World::ask(&tracker, &format!("create_open domain=d&class={class}&key={key}")).await;
        // No device can take it now.
        let (Some(fid), Some(devid)) = (value(&reply, "fid"), value(&reply, "devid")) else { return };
        let (fid, devid) = (fid.parse().expect("a fid"), devid.parse().expect("a devid"));
        let bytes: Bytes = (0..size).map(|n| (i64::from(n) * 7 + fid) as u8).collect();
        if self.world.upload(devid, fid, &bytes).await {
            let path = decoded(value(&reply, "path").expect("a path"));
            let copies_wanted = usize::try_from(copies_wanted).expect("small");
            self.uploads.push(Upload { key: key.to_owned(), fid, devid, path, bytes, copies_wanted });
        }
    }

    async fn close(&mut self, upload: u8, crash: Crash, beside: Option<Job>) -> Checked {
        if self.uploads.is_empty() {
            return Ok(());
        }
        let upload = self.uploads.remove(usize::from(upload) % self.uploads.len());
        let Upload { key, fid, devid, path, bytes, .. } = &upload;
        let size = bytes.len();
        let line = format!("create_close domain=d&key={key}&fid={fid}&devid={devid}&size={size}&path={path}");
        let tracker = self.world.tracker();
        let reply = match beside {
            None => unless_crashed(crash, World::ask(&tracker, &line)).await,
            Some(job) => {
                let other = self.world.tracker();
                Some(futures::join!(World::ask(&tracker, &line), self.carry_out(&other, job)).0)
            }
        };
        self.world.at_rest().await;
        let is_stored = self.world.fid_of(key) == Some(*fid);
        match reply.as_deref() {
            Some(reply) if reply.starts_with("OK") && !is_stored => {
                return Err(format!("{line}: {reply}, but not stored"));
            }
            Some(reply) if reply.starts_with("ERR") && is_stored => return Err(format!("{line}: {reply}, but stored")),
            _ => {}
        }
        if is_stored {
            let Upload { key, fid, bytes, copies_wanted, .. } = upload;
            self.files.insert(key, Stored { fid, bytes, copies_wanted });
        }
        Ok(())
    }

    async fn delete(&mut self, key: &str, crash: Crash) -> Checked {
        let tracker = self.world.tracker();
        let reply = unless_crashed(crash, World::ask(&tracker, &format!("delete domain=d&key={key}"))).await;
        self.world.at_rest().await;
        let is_gone = self.world.fid_of(key).is_none();
        if reply.is_some_and(|reply| reply.starts_with("OK")) && !is_gone {
            return Err(format!("{key} was deleted, but is there"));
        }
        if is_gone {
            self.files.remove(key);
        }
        Ok(())
    }

    async fn rename(&mut self, from: &str, to: &str, crash: Crash) -> Checked {
        let tracker = self.world.tracker();
        let line = format!("rename domain=d&from_key={from}&to_key={to}");
        let reply = unless_crashed(crash, World::ask(&tracker, &line)).await;
        self.world.at_rest().await;
        let is_moved = from != to && self.world.fid_of(from).is_none() && self.files.contains_key(from);
        if reply.is_some_and(|reply| reply.starts_with("OK")) && !is_moved && from != to {
            return Err(format!("{line}: answered OK, but not done"));
        }
        if is_moved && let Some(file) = self.files.remove(from) {
            // A key that was there is never replaced by a rename: the check finds out.
            if self.files.contains_key(to) {
                return Err(format!("{line}: took the place of another file"));
            }
            self.files.insert(to.to_owned(), file);
        }
        Ok(())
    }

    async fn set_class(&mut self, key: &str, class: u8) -> Checked {
        let (class, copies_wanted) = CLASSES[usize::from(class)];
        let tracker = self.world.tracker();
        let reply = World::ask(&tracker, &format!("updateclass domain=d&key={key}&class={class}")).await;
        match self.files.get_mut(key) {
            Some(file) if reply.starts_with("OK") => {
                file.copies_wanted = usize::try_from(copies_wanted).expect("small");
            }
            Some(_) => return Err(format!("updateclass of {key}: {reply}")),
            None => {}
        }
        Ok(())
    }

    async fn work(&mut self, job: Job, crash: Crash) {
        let tracker = self.world.tracker();
        unless_crashed(crash, self.carry_out(&tracker, job)).await;
        drop(tracker);
        if crash.is_some() {
            self.world.at_rest().await;
            self.note_unknown_copies();
        }
    }

    async fn work_together(&self, one: Job, other: Job) {
        let trackers = [self.world.tracker(), self.world.tracker()];
        futures::join!(self.carry_out(&trackers[0], one), self.carry_out(&trackers[1], other));
    }

    /// Claims what is due and carries it out. Errors leave the rows as they are claimed, as in a worker.
    async fn carry_out(&self, tracker: &JobContext, job: Job) {
        const ROWS: i64 = 4;
        match job {
            Job::Replicate => {
                for row in tracker.session.claim_replicate(ROWS).await.expect("a claim") {
                    let _error = replicate::run(tracker, &row).await;
                }
            }
            Job::Delete => {
                for row in tracker.session.claim_delete(ROWS).await.expect("a claim") {
                    let _error = delete::run(tracker, &row).await;
                }
            }
            Job::GiveUpUploads => {
                let _error = delete::expire(tracker).await;
            }
            Job::Reap => {
                let mut reaper = Reaper::new(tracker);
                for _ in 0..=DEAD_MAX {
                    reaper.round(tracker).await;
                }
            }
            Job::Check => {
                self.queue("SELECT fid, 1, 0, 0, 0, NULL, NULL FROM file").await;
                let rows = tracker.session.claim_fsck(100).await.expect("a claim");
                let _error = fsck::run(tracker, &rows).await;
            }
            Job::MoveFrom(device) => {
                let devid = DEVICES[usize::from(device)];
                self.queue(&format!("SELECT fid, 2, 0, 0, 0, devid, '' FROM file_on WHERE devid = {devid}")).await;
                self.move_queued(tracker).await;
            }
        }
    }

    async fn move_queued(&self, tracker: &JobContext) {
        for row in tracker.session.claim_rebalance(100).await.expect("a claim") {
            let _error = rebalance::run(tracker, &row).await;
        }
    }

    /// Fills the queue of fsck and rebalance.
    async fn queue(&self, rows: &str) {
        let columns = "fid, type, nexttry, failcount, flags, devid, arg";
        self.world.sql(format!("INSERT OR IGNORE INTO file_to_queue ({columns}) {rows};")).await;
    }

    fn damage(&self, key: &str, is_cut: bool) {
        let Some(file) = self.files.get(key) else { return };
        let is_good = |devid: &i64| {
            !self.world.is_dead(*devid) && self.world.nodes.stored(*devid, file.fid).as_ref() == Some(&file.bytes)
        };
        let good: Vec<_> = self.world.recorded(file.fid).into_iter().filter(is_good).collect();
        // A file of no bytes cannot lose its end.
        if good.len() > 1 && !(is_cut && file.bytes.is_empty()) {
            self.world.nodes.damage(good[0], file.fid, is_cut);
        }
    }

    async fn disk_dies(&mut self, devid: i64) {
        let is_needed = self.files.values().any(|file| {
            let elsewhere = self.world.recorded(file.fid).into_iter().filter(|&other| other != devid).any(|other| {
                !self.world.is_dead(other) && self.world.nodes.stored(other, file.fid).as_ref() == Some(&file.bytes)
            });
            !elsewhere
        });
        if is_needed || self.world.is_dead(devid) || self.dead_devices == DEAD_MAX {
            return;
        }
        self.dead_devices += 1;
        self.world.nodes.destroy(devid);
        self.uploads.retain(|upload| upload.devid != devid);
        self.world.sql(format!("UPDATE device SET status = 'dead' WHERE devid = {devid};")).await;
        self.world.look();
    }

    async fn set_state(&self, devid: i64, drain: bool) {
        let state = if drain { "drain" } else { "alive" };
        self.world
            .sql(format!("UPDATE device SET status = '{state}' WHERE devid = {devid} AND status <> 'dead';"))
            .await;
        self.world.look();
    }

    async fn time_passes(&self) {
        self.world
            .sql(
                "UPDATE file_to_replicate SET nexttry = 0; UPDATE file_to_delete2 SET nexttry = 0; \
                 UPDATE file_to_queue SET nexttry = 0;"
                    .to_owned(),
            )
            .await;
    }

    async fn stray_delete(&self, key: &str) {
        if let Some(file) = self.files.get(key) {
            let row = format!("INSERT OR IGNORE INTO file_to_delete2 (fid, nexttry) VALUES ({}, 0);", file.fid);
            self.world.sql(row).await;
        }
    }

    fn good_copies(&self) -> BTreeMap<i64, usize> {
        self.files.values().map(|file| (file.fid, self.world.good_copies(file.fid, &file.bytes))).collect()
    }

    /// What must hold at any time. `before`: whole copies that files had before the step, where it must not take any.
    fn check(&self, before: &BTreeMap<i64, usize>) -> Checked {
        for (key, file) in &self.files {
            let fid = file.fid;
            if self.world.fid_of(key) != Some(fid) {
                return Err(format!("{key} does not lead to fid {fid}, but to {:?}", self.world.fid_of(key)));
            }
            let copies = self.world.good_copies(fid, &file.bytes);
            if copies == 0 {
                return Err(format!("{key}, fid {fid}, has no whole copy left"));
            }
            let had = before.get(&fid).copied().unwrap_or(0);
            if copies < had.min(file.copies_wanted) {
                return Err(format!(
                    "{key}, fid {fid}, had {had} whole copies, has {copies}, and its class wants {}",
                    file.copies_wanted
                ));
            }
        }
        Ok(())
    }

    /// Files on disks that no row knows of.
    fn unrecorded(&self) -> BTreeSet<(i64, i64)> {
        let recorded: BTreeSet<_> = self.world.pairs("SELECT devid AS a, fid AS b FROM file_on").into_iter().collect();
        self.world.nodes.all_stored().into_iter().filter(|place| !recorded.contains(place)).collect()
    }

    fn note_unknown_copies(&mut self) {
        let open: BTreeSet<_> = self.uploads.iter().map(|upload| (upload.devid, upload.fid)).collect();
        self.unknown_copies.extend(self.unrecorded().into_iter().filter(|place| !open.contains(place)));
    }

    /// All is well again: the cluster comes to rest, and then everything is where it belongs.
    pub async fn end(&mut self) -> Checked {
        for hostid in 1..=HOSTS {
            self.world.nodes.set_manners(hostid, Manners::Good);
        }
        self.world.sql("UPDATE device SET status = 'alive' WHERE status = 'drain';".to_owned()).await;
        self.world.look();
        self.uploads.clear();
        for round in 0..ROUNDS_TO_REST {
            if round == 0 {
                self.carry_out(&self.world.tracker(), Job::GiveUpUploads).await;
                self.carry_out(&self.world.tracker(), Job::Reap).await;
                self.time_passes().await;
                self.move_queued(&self.world.tracker()).await;
            }
            for job in [Job::Check, Job::Replicate, Job::Replicate, Job::Delete, Job::Delete] {
                self.time_passes().await;
                self.carry_out(&self.world.tracker(), job).await;
            }
            if self.queued_rows() == 0 {
                break;
            }
        }
        if self.queued_rows() > 0 {
            let rows = |table: &str| self.world.pairs(&format!("SELECT fid AS a, nexttry AS b FROM {table}"));
            let left: Vec<_> = QUEUES.into_iter().map(|table| (table, rows(table))).collect();
            return Err(format!("rows of queues are left: {left:?}; {:?}", self.last_words().await));
        }
        self.check(&self.good_copies())?;
        self.check_copies()?;
        self.check_nothing_is_left_over()
    }

    /// What becomes of files that are queued for replication, where they are recorded, and where they are whole.
    async fn last_words(&self) -> Vec<String> {
        let tracker = self.world.tracker();
        let mut words = Vec::new();
        for row in tracker.session.claim_replicate(100).await.expect("a claim") {
            let fid = row.fid.0;
            let outcome = replicate::run(&tracker, &row).await;
            let file = self.files.iter().find(|(_, file)| file.fid == fid);
            let is_whole = |devid: &i64| {
                file.is_some_and(|(_, file)| self.world.nodes.stored(*devid, fid).as_ref() == Some(&file.bytes))
            };
            let whole: Vec<_> = DEVICES.into_iter().filter(is_whole).collect();
            let dead: Vec<_> = DEVICES.into_iter().filter(|&devid| self.world.is_dead(devid)).collect();
            let (recorded, wanted) = (self.world.recorded(fid), file.map(|(_, file)| file.copies_wanted));
            words.push(format!(
                "{fid}: {outcome:?}, on {recorded:?}, whole on {whole:?}, wanted {wanted:?}, dead {dead:?}"
            ));
        }
        words
    }

    fn queued_rows(&self) -> i64 {
        QUEUES.into_iter().chain(["tempfile"]).map(|table| self.world.count(table)).sum()
    }

    /// As many copies as wanted, on different hosts.
    fn check_copies(&self) -> Checked {
        for (key, file) in &self.files {
            let alive: Vec<_> =
                self.world.recorded(file.fid).into_iter().filter(|&devid| !self.world.is_dead(devid)).collect();
            let hosts: BTreeSet<_> = alive.iter().map(|&devid| host_of(devid)).collect();
            if hosts.len() < file.copies_wanted {
                return Err(format!("{key}, fid {}, wants {} hosts, is on {alive:?}", file.fid, file.copies_wanted));
            }
        }
        Ok(())
    }

    fn check_nothing_is_left_over(&self) -> Checked {
        let live: BTreeSet<_> = self.files.values().map(|file| file.fid).collect();
        let rows = self.world.pairs("SELECT devid AS a, fid AS b FROM file_on");
        if let Some(row) = rows.iter().find(|(_, fid)| !live.contains(fid)) {
            return Err(format!("a row of file_on is left of a file that no key leads to: {row:?}"));
        }
        match self.unrecorded().into_iter().find(|place| !self.unknown_copies.contains(place)) {
            Some((devid, fid)) => Err(format!("a file is left on device {devid} that no row knows of: fid {fid}")),
            None => Ok(()),
        }
    }
}
