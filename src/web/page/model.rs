//! What is shown, as plain values: made from the cluster's snapshot and the figures, without I/O.

use super::figures::{FigureSet, Told, Workers};
use super::reply::Refused;
use crate::cluster::ClusterSnapshot;
use crate::cluster::device::{DeviceView, Obstacle};
use crate::cluster::device_state::{DeviceStatus, ObservedDevice, ObservedHost};
use crate::ids::DevId;
use crate::protocol::args::Args;
use crate::tracker::ask::Traffic;
use std::time::Duration;

/// From here on a device is called nearly full.
const NEARLY_FULL_PERCENT: i64 = 95;
/// Complaints that are shown one by one.
const COMPLAINTS_MAX: usize = 30;

/// The state of a device in one word and one sign, so that colour is never all that tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Well,
    ReadOnly,
    Draining,
    /// Well, but nothing more fits.
    Full,
    Unseen,
    Unreachable,
    Down,
    Dead,
}

impl Condition {
    pub fn word(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::ReadOnly => "read-only",
            Self::Draining => "draining",
            Self::Full => "full",
            Self::Unseen => "not seen yet",
            Self::Unreachable => "unreachable",
            Self::Down => "down",
            Self::Dead => "dead",
        }
    }

    /// The class in the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::ReadOnly | Self::Draining | Self::Full | Self::Unseen => "odd",
            Self::Unreachable | Self::Down => "bad",
            Self::Dead => "dead",
        }
    }

    pub fn sign(self) -> &'static str {
        match self {
            Self::Well => "",
            Self::ReadOnly => "R",
            Self::Draining => "D",
            Self::Full => "F",
            Self::Unseen => "?",
            Self::Unreachable => "!",
            Self::Down => "▼",
            Self::Dead => "✕",
        }
    }
}

/// A device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceModel {
    pub devid: DevId,
    pub status: DeviceStatus,
    pub condition: Condition,
    pub observed: &'static str,
    pub mb_total: Option<i64>,
    pub mb_used: Option<i64>,
    /// Full to so many percent.
    pub fill_percent: Option<i64>,
    /// Busy for so many percent of the time.
    pub busy_percent: Option<i64>,
    pub weight: Option<i64>,
    pub gets_files: bool,
    pub is_read: bool,
    /// What is wrong, in words; `None` if nothing is.
    pub complaint: Option<String>,
}

/// A host with its devices.
#[derive(Clone, Debug, PartialEq)]
pub struct HostModel {
    pub name: String,
    pub address: String,
    pub status: &'static str,
    pub observed: &'static str,
    pub is_well: bool,
    pub devices: Vec<DeviceModel>,
}

/// Something that a person should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub devid: Option<DevId>,
    pub subject: String,
    pub text: String,
}

/// An answer of the tracker, with its age.
#[derive(Clone, Debug)]
pub enum Answer<T> {
    Known(T, Duration),
    Refused(Refused),
    NotYet,
}

/// Files at one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtRisk {
    pub files: u64,
    pub is_more: bool,
    pub safe_in_secs: Option<u64>,
}

/// One queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    pub name: String,
    pub due: i64,
    pub deferred: i64,
    pub parked: i64,
    pub claimed: i64,
    pub sent: i64,
}

/// A check or a rebalance.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub is_running: bool,
    pub was_ever: bool,
    pub host: String,
    pub percent: Option<f64>,
    pub per_sec: Option<f64>,
    pub eta_secs: Option<i64>,
    /// Name and value.
    pub facts: Vec<(String, String)>,
    pub problem: Option<String>,
}

/// Everything on the first page.
#[derive(Debug)]
pub struct Glance<'a> {
    pub hosts: Vec<HostModel>,
    pub complaints: Vec<Complaint>,
    pub complaints_left_out: usize,
    pub mb_total: i64,
    pub mb_used: i64,
    pub devices_well: usize,
    pub devices: usize,
    pub at_risk: Answer<AtRisk>,
    pub queues: Answer<Vec<Queue>>,
    pub fsck: Answer<Run>,
    pub rebalance: Answer<Run>,
    pub workers: &'a [Workers],
    pub traffic: &'a Traffic,
}

/// What there is to see.
pub fn glance<'a>(cluster: &ClusterSnapshot, figures: &'a FigureSet, min_free_space_mb: i64) -> Glance<'a> {
    let hosts = hosts(cluster, min_free_space_mb);
    let mut complaints = complaints(&hosts);
    let complaints_left_out = complaints.len().saturating_sub(COMPLAINTS_MAX);
    complaints.truncate(COMPLAINTS_MAX);
    // Dead devices are no space.
    let devices = || hosts.iter().flat_map(|host| &host.devices).filter(|device| device.condition != Condition::Dead);
    Glance {
        mb_total: devices().filter_map(|device| device.mb_total).sum(),
        mb_used: devices().filter_map(|device| device.mb_used).sum(),
        devices_well: devices().filter(|device| device.condition == Condition::Well).count(),
        devices: devices().count(),
        complaints,
        complaints_left_out,
        at_risk: answer(figures.at_risk.as_ref(), at_risk),
        queues: answer(figures.queues.as_ref(), queues),
        fsck: answer(figures.fsck.as_ref(), fsck),
        rebalance: answer_of_rebalance(figures.rebalance.as_ref()),
        workers: &figures.workers,
        traffic: &figures.traffic,
        hosts,
    }
}

fn answer<T>(told: Option<&Told>, read: impl Fn(&Args) -> T) -> Answer<T> {
    match told {
        None => Answer::NotYet,
        Some(Told { answer: Ok(pairs), at }) => Answer::Known(read(pairs), at.elapsed()),
        Some(Told { answer: Err(refused), .. }) => Answer::Refused(refused.clone()),
    }
}

/// That there never was one is no error.
fn answer_of_rebalance(told: Option<&Told>) -> Answer<Run> {
    match answer(told, rebalance) {
        Answer::Refused(refused) if refused.code == "no_rebal_state" => Answer::Known(never(), Duration::ZERO),
        other => other,
    }
}

fn never() -> Run {
    Run {
        is_running: false,
        was_ever: false,
        host: String::new(),
        percent: None,
        per_sec: None,
        eta_secs: None,
        facts: Vec::new(),
        problem: None,
    }
}

fn hosts(cluster: &ClusterSnapshot, min_free_space_mb: i64) -> Vec<HostModel> {
    let mut hosts: Vec<HostModel> = cluster
        .hosts
        .values()
        .map(|host| HostModel {
            name: host.name.clone(),
            address: format!("{}:{}", host.ip, host.http_port),
            status: host.status.map_or("unknown", |status| status.name()),
            observed: host.observed.map_or("not seen yet", ObservedHost::name),
            is_well: host.is_alive() && host.is_reachable(),
            devices: cluster
                .devices()
                .filter(|view| view.host.hostid == host.hostid)
                .map(|view| device(view, cluster, min_free_space_mb))
                .collect(),
        })
        .collect();
    hosts.sort_by(|one, other| one.name.cmp(&other.name));
    hosts
}

/// One device.
pub fn device(view: DeviceView<'_>, cluster: &ClusterSnapshot, min_free_space_mb: i64) -> DeviceModel {
    let device = view.device;
    let (condition, complaint) = match cluster.guard_failures.get(&device.devid) {
        Some(_) => (Condition::Unreachable, Some("The disk there is not the one that it should be.".to_owned())),
        None => condition(view, min_free_space_mb),
    };
    let fill_percent = match (device.mb_used, device.mb_total) {
        (Some(used), Some(total)) if total > 0 => Some((used.max(0).saturating_mul(100) / total).min(100)),
        _ => None,
    };
    let nearly = fill_percent.filter(|&percent| percent >= NEARLY_FULL_PERCENT && condition == Condition::Well);
    DeviceModel {
        devid: device.devid,
        status: device.status,
        condition,
        observed: device.observed.map_or("not seen yet", ObservedDevice::name),
        mb_total: device.mb_total,
        mb_used: device.mb_used,
        fill_percent,
        busy_percent: busy_percent(device.utilization.as_deref()),
        weight: device.weight,
        gets_files: view.may_get_files(min_free_space_mb),
        is_read: view.may_be_read(),
        complaint: complaint.or_else(|| nearly.map(|percent| format!("{percent} % full."))),
    }
}

fn busy_percent(text: Option<&str>) -> Option<i64> {
    let percent: f64 = text?.trim().parse().ok()?;
    percent.is_finite().then(|| percent.clamp(0.0, 100.0).round() as i64)
}

fn condition(view: DeviceView<'_>, min_free_space_mb: i64) -> (Condition, Option<String>) {
    let device = view.device;
    let by_status = match device.status {
        DeviceStatus::Dead => Some(Condition::Dead),
        DeviceStatus::Down => Some(Condition::Down),
        _ => None,
    };
    if let Some(condition) = by_status {
        // A dead device is replaced: nothing is left to be done about it.
        let complaint = (condition == Condition::Down).then(|| "Set down: its copies are not read.".to_owned());
        return (condition, complaint);
    }
    match view.reading_obstacle() {
        Some(Obstacle::HostStatus) => return (Condition::Down, None),
        Some(Obstacle::HostUnreachable) if view.host.observed.is_none() => return (Condition::Unseen, None),
        // Its host has the complaint.
        Some(Obstacle::HostUnreachable) => return (Condition::Unreachable, None),
        Some(_) if device.observed.is_none() => return (Condition::Unseen, None),
        Some(_) => return (Condition::Unreachable, Some("Does not answer.".to_owned())),
        None => {}
    }
    match (device.status, view.placing_obstacle(min_free_space_mb)) {
        (DeviceStatus::Drain, _) => (Condition::Draining, None),
        (DeviceStatus::Readonly, _) => (Condition::ReadOnly, None),
        (_, Some(Obstacle::DeviceReadOnly)) => {
            (Condition::ReadOnly, Some("Set alive, but cannot be written.".to_owned()))
        }
        (_, Some(Obstacle::TooFull)) => {
            (Condition::Full, Some(format!("Less than {min_free_space_mb} MiB are free: gets no files.")))
        }
        (_, Some(_)) => (Condition::ReadOnly, None),
        (_, None) => (Condition::Well, None),
    }
}

fn complaints(hosts: &[HostModel]) -> Vec<Complaint> {
    let of_hosts =
        hosts.iter().filter(|host| host.status != "dead" && !host.is_well && host.observed != "not seen yet");
    let of_hosts = of_hosts.map(|host| Complaint {
        devid: None,
        subject: format!("Host {}", host.name),
        text: format!("Status {}, {}; {} devices.", host.status, host.observed, host.devices.len()),
    });
    let of_devices = hosts.iter().flat_map(|host| host.devices.iter().map(move |device| (host, device)));
    let of_devices = of_devices.filter_map(|(host, device)| {
        let text = device.complaint.clone()?;
        Some(Complaint { devid: Some(device.devid), subject: format!("dev{} on {}", device.devid, host.name), text })
    });
    of_hosts.chain(of_devices).collect()
}

fn at_risk(pairs: &Args) -> AtRisk {
    let safe_in = pairs.nonempty("safe_in_secs").map(|_| pairs.int("safe_in_secs"));
    AtRisk {
        files: u64::try_from(pairs.int("files")).unwrap_or(0),
        is_more: pairs.flag("is_more"),
        safe_in_secs: safe_in.and_then(|secs| u64::try_from(secs).ok()),
    }
}

fn queues(pairs: &Args) -> Vec<Queue> {
    (1..=pairs.int("queues").min(100))
        .map(|number| {
            let field = |what: &str| format!("queue_{number}_{what}");
            Queue {
                name: text(pairs, &field("name")),
                due: pairs.int(&field("due")),
                deferred: pairs.int(&field("deferred")),
                parked: pairs.int(&field("parked")),
                claimed: pairs.int(&field("claimed")),
                sent: pairs.int(&field("sent")),
            }
        })
        .collect()
}

fn fsck(pairs: &Args) -> Run {
    let (is_running, end, position) = (pairs.flag("running"), pairs.int("end_fid"), pairs.int("max_fid_checked"));
    let queued = pairs.int("queued");
    let was_ever = is_running || pairs.int("start_time") > 0;
    // What is taken is not yet checked. Trackers of 2.73 do not count what is.
    let (checked, taken) = (pairs.int("checked"), position.min(end) as f64 * 100.0 / end.max(1) as f64);
    let done = if checked > 0 { checked as f64 / checked.saturating_add(queued.max(0)) as f64 } else { 1.0 };
    let percent = (was_ever && end > 0).then(|| (taken * done).clamp(0.0, 100.0));
    let mut facts = vec![
        ("checked".to_owned(), text(pairs, "checked")),
        ("waiting".to_owned(), queued.to_string()),
        ("up to fid".to_owned(), format!("{position} of {end}")),
    ];
    let events = pairs.pairs().iter().filter_map(|(name, value)| Some((name.strip_prefix(b"num_")?, value)));
    facts.extend(events.map(|(code, count)| (super::bytes_text::shown(code), super::bytes_text::shown(count))));
    Run {
        is_running: is_running || (was_ever && queued > 0),
        was_ever,
        host: text(pairs, "host"),
        percent,
        per_sec: is_running.then(|| pairs.num("rate")),
        eta_secs: pairs.nonempty("eta_secs").map(|_| pairs.int("eta_secs")),
        facts,
        problem: None,
    }
}

fn rebalance(pairs: &Args) -> Run {
    let present = |name: &str| pairs.nonempty(name).is_some();
    Run {
        is_running: pairs.flag("running"),
        was_ever: true,
        host: text(pairs, "host"),
        percent: present("percent_queued").then(|| pairs.num("percent_queued").clamp(0.0, 100.0)),
        per_sec: present("files_per_sec").then(|| pairs.num("files_per_sec")),
        eta_secs: present("eta_secs").then(|| pairs.int("eta_secs")),
        facts: vec![("moves waiting".to_owned(), text(pairs, "waiting"))],
        problem: pairs.nonempty("problem").map(|problem| super::bytes_text::shown(problem)),
    }
}

fn text(pairs: &Args, name: &str) -> String {
    pairs.get(name).map(|value| super::bytes_text::shown(value)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fixture::Fixture;
    use std::time::Instant;

    fn told(reply: &[u8]) -> Option<Told> {
        Some(Told { answer: super::super::reply::Reply::parse(reply), at: Instant::now() })
    }

    #[test]
    fn conditions_tell_what_a_device_is_good_for() {
        for (cluster, condition, complains) in [
            ("h1[d1=_]", Condition::Well, false),
            ("h1[d1=_,drain]", Condition::Draining, false),
            ("h1[d1=_,readonly]", Condition::ReadOnly, false),
            ("h1[d1=_,readable]", Condition::ReadOnly, true),
            ("h1[d1=_,unreachable]", Condition::Unreachable, true),
            ("h1[d1=_,unobserved]", Condition::Unseen, false),
            ("h1[d1=_,down]", Condition::Down, true),
            ("h1[d1=_,dead]", Condition::Dead, false),
            ("h1!unreachable[d1=_]", Condition::Unreachable, false),
            ("h1[d1=_,used:901]", Condition::Full, true),
        ] {
            let snapshot = Fixture::parse(cluster).snapshot;
            let device = device(snapshot.device(DevId(1)).expect("known"), &snapshot, 100);
            assert_eq!((device.condition, device.complaint.is_some()), (condition, complains), "{cluster}");
        }
    }

    #[test]
    fn what_is_wrong_stands_first_and_is_bounded() {
        let devices: Vec<String> = (1..=100).map(|number| format!("d{number}=_,unreachable")).collect();
        let snapshot = Fixture::parse(&format!("h1!unreachable[d200=_] h2[{}]", devices.join(" "))).snapshot;
        let figures = FigureSet::default();
        let glance = glance(&snapshot, &figures, 100);
        assert_eq!((glance.complaints.len(), glance.complaints_left_out), (COMPLAINTS_MAX, 101 - COMPLAINTS_MAX));
        assert_eq!(glance.complaints[0].subject, "Host h1");
        assert!(matches!(glance.fsck, Answer::NotYet));
    }

    #[test]
    fn answers_become_figures() {
        let figures = FigureSet {
            at_risk: told(b"OK files=5&is_more=0&copied_last_minute=0&safe_in_secs=\r\n"),
            queues: told(b"OK queues=1&queue_1_name=delete&queue_1_due=7&queue_1_parked=1\r\n"),
            fsck: told(b"OK running=1&host=t1&max_fid_checked=50&end_fid=200&queued=3&checked=9&rate=2.5&eta_secs=60&start_time=9&num_MISS=4\r\n"),
            rebalance: told(b"ERR no_rebal_state No+state\r\n"),
            ..FigureSet::default()
        };
        let snapshot = ClusterSnapshot::default();
        let glance = glance(&snapshot, &figures, 100);
        let Answer::Known(risk, _) = &glance.at_risk else { panic!("{:?}", glance.at_risk) };
        assert_eq!((risk.files, risk.safe_in_secs), (5, None));
        let Answer::Known(queues, _) = &glance.queues else { panic!("{:?}", glance.queues) };
        assert_eq!((queues[0].name.as_str(), queues[0].due, queues[0].parked), ("delete", 7, 1));
        let Answer::Known(fsck, _) = &glance.fsck else { panic!("{:?}", glance.fsck) };
        assert_eq!((fsck.percent, fsck.eta_secs, fsck.is_running), (Some(18.75), Some(60), true));
        assert!(fsck.facts.contains(&("MISS".to_owned(), "4".to_owned())));
        assert!(matches!(&glance.rebalance, Answer::Known(run, _) if !run.was_ever));
    }
}
