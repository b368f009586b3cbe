//! The first page and that of one device, as HTML.

use super::access::Visitor;
use super::bytes_text::shown_short;
use super::html::{duration, frame, mib, time_us};
use super::model::{Answer, AtRisk, Complaint, Condition, DeviceModel, Glance, HostModel, Queue, Run};
use crate::cluster::device_state::DeviceStatus;
use crate::cluster::host::Host;
use crate::tracker::slowest::AnsweredRequest;
use maud::{Markup, html};

/// Of a request line so much is shown.
const LINE_BYTES_SHOWN: usize = 160;
/// Recent requests that are shown.
const RECENT_SHOWN: usize = 15;

/// The cluster at a glance.
pub fn page(glance: &Glance<'_>, visitor: Visitor, said: Option<&str>) -> Markup {
    let main = html! {
        h1 { "Cluster" }
        @if let Some(said) = said { p.note.good role="status" { (said) } }
        (tiles(glance))
        @if !glance.complaints.is_empty() { (complaints(&glance.complaints, glance.complaints_left_out)) }
        (heat_map(&glance.hosts))
        div.columns {
            (queues(&glance.queues))
            (workers(glance))
            (run("fsck", "Check of all files (fsck)", &glance.fsck, visitor))
            (run("rebalance", "Rebalance", &glance.rebalance, visitor))
        }
        div.columns {
            (requests("Slow requests", "The slowest of the last ten minutes; nothing under 1 ms.", &glance.traffic.slowest))
            (requests("Recent requests", "The latest first.", glance.traffic.recent.get(..RECENT_SHOWN).unwrap_or(&glance.traffic.recent)))
        }
    };
    frame("Cluster", visitor, true, &main)
}

fn tile(class: &str, figure: &str, what: &str, more: &str) -> Markup {
    html! {
        div.tile.(class) {
            b { (figure) }
            span.what { (what) }
            @if !more.is_empty() { br; span { (more) } }
        }
    }
}

fn tiles(glance: &Glance<'_>) -> Markup {
    let percent = if glance.mb_total > 0 { glance.mb_used.saturating_mul(100) / glance.mb_total } else { 0 };
    let traffic = glance.traffic;
    let hosts_well = glance.hosts.iter().filter(|host| host.is_well).count();
    let hosts = glance.hosts.iter().filter(|host| host.status != "dead").count();
    let devices_class = match glance.devices_well == glance.devices {
        true => "good",
        false if glance.hosts.iter().flat_map(|host| &host.devices).any(|device| device.condition.class() == "bad") => {
            "bad"
        }
        false => "odd",
    };
    let full_class = match percent {
        95.. => "bad",
        85.. => "odd",
        _ => "good",
    };
    html! {
        div.tiles {
            (at_risk(&glance.at_risk))
            (tile(devices_class, &format!("{} of {}", glance.devices_well, glance.devices), "devices well",
                &format!("{hosts_well} of {hosts} hosts")))
            (tile(full_class, &format!("{percent} %"), "of the space is used",
                &format!("{} of {}", mib(glance.mb_used), mib(glance.mb_total))))
            (tile("plain", &traffic.connections.to_string(), "clients",
                &format!("{} requests under way, {} waiting", traffic.processing, traffic.waiting)))
        }
    }
}

fn at_risk(answer: &Answer<AtRisk>) -> Markup {
    match answer {
        Answer::Known(AtRisk { files: 0, .. }, _) => tile("good", "0", "files at risk", "none waits for a second copy"),
        Answer::Known(AtRisk { files, is_more, safe_in_secs }, _) => {
            let more = match safe_in_secs {
                Some(secs) => format!("at one copy; safe in about {}", duration(*secs)),
                None => "at one copy; nothing is being copied here".to_owned(),
            };
            let noun = if *files == 1 && !*is_more { "file at risk" } else { "files at risk" };
            tile("bad", &format!("{files}{}", if *is_more { "+" } else { "" }), noun, &more)
        }
        Answer::Refused(refused) => tile("odd", "?", "files at risk", &refused.sentence()),
        Answer::NotYet => tile("odd", "?", "files at risk", "not counted yet"),
    }
}

fn complaints(complaints: &[Complaint], left_out: usize) -> Markup {
    html! {
        section {
            h2 { "Needs attention" }
            ul.plain {
                @for complaint in complaints {
                    li {
                        span.tag.bad { "!" } " "
                        @match complaint.devid {
                            Some(devid) => a href={ "/device?id=" (devid) } { (complaint.subject) },
                            None => b { (complaint.subject) },
                        }
                        ": " (complaint.text)
                    }
                }
                @if left_out > 0 { li.soft { "and " (left_out) " more" } }
            }
        }
    }
}

fn heat_map(hosts: &[HostModel]) -> Markup {
    html! {
        section {
            h2 { "Hosts and devices" }
            p.key {
                span { "full: " i.f0 {} " 0 % " i.f3 {} " 30 % " i.f6 {} " 60 % " i.f10 {} " 100 %" }
                span { i.bar {} " busy" }
                @for condition in [Condition::ReadOnly, Condition::Draining, Condition::Full, Condition::Unseen,
                    Condition::Unreachable, Condition::Down, Condition::Dead] {
                    span { b { (condition.sign()) } " " (condition.word()) }
                }
            }
            @if hosts.is_empty() { p.soft { "No host is known (yet)." } }
            div.hosts {
                @for host in hosts {
                    div.host.bad[!host.is_well] {
                        header {
                            h3 { (host.name) }
                            span.soft { (host.address) }
                            span.tag.(if host.is_well { "good" } else { "bad" }) { (host.status) ", " (host.observed) }
                        }
                        ul { @for device in &host.devices { li { (cell(device)) } } }
                    }
                }
            }
        }
    }
}

/// Tenths that were begun; 0 only for nothing.
fn tenths(percent: Option<i64>) -> i64 {
    percent.map_or(0, |percent| (percent.clamp(0, 100) + 9) / 10)
}

fn cell(device: &DeviceModel) -> Markup {
    let condition = device.condition;
    let fill = device.fill_percent.map_or("–".to_owned(), |percent| format!("{percent} %"));
    let busy = device.busy_percent.map_or_else(String::new, |percent| format!(", {percent} % busy"));
    let title = format!("dev{}: {}, {fill} full{busy}", device.devid, condition.word());
    html! {
        a class={ "d " (condition.class()) " f" (tenths(device.fill_percent)) } href={ "/device?id=" (device.devid) }
            title=(title) aria-label=(title) {
            b { "dev" (device.devid) }
            (fill)
            @if condition != Condition::Well { em { (condition.sign()) } }
            span class={ "u u" (tenths(device.busy_percent)) } {}
        }
    }
}

/// For answers that are not there.
fn or_why<T>(answer: &Answer<T>, show: impl FnOnce(&T) -> Markup) -> Markup {
    match answer {
        Answer::Known(known, age) => html! {
            (show(known))
            @if age.as_secs() > 2 { p.soft { (age.as_secs()) " s ago" } }
        },
        Answer::Refused(refused) => html! { p.note.odd { "Not known: " (refused.sentence()) } },
        Answer::NotYet => html! { p.soft { "Not known yet." } },
    }
}

fn queues(answer: &Answer<Vec<Queue>>) -> Markup {
    html! {
        section {
            h2 { "Queues" }
            (or_why(answer, |queues| html! {
                div.scroll {
                    table {
                        thead { tr {
                            th scope="col" { "Queue" }
                            @for name in ["Due", "Later", "Parked", "Claimed", "Sent"] { th.n scope="col" { (name) } }
                        } }
                        tbody {
                            @for queue in queues {
                                tr {
                                    th scope="row" { (queue.name) }
                                    @for count in [queue.due, queue.deferred, queue.parked, queue.claimed, queue.sent] {
                                        td.n { (count) }
                                    }
                                }
                            }
                        }
                    }
                }
            }))
        }
    }
}

fn workers(glance: &Glance<'_>) -> Markup {
    html! {
        section {
            h2 { "Workers" }
            div.scroll {
                table {
                    thead { tr { th scope="col" { "Job" } th.n scope="col" { "Wanted" } th.n scope="col" { "Living" } th scope="col" { "State" } } }
                    tbody {
                        @for worker in glance.workers {
                            tr {
                                th scope="row" { (worker.job) }
                                td.n { (worker.wanted) }
                                td.n { (worker.living) }
                                td { @if worker.living < worker.wanted { span.tag.odd { "too few" } } @else { "complete" } }
                            }
                        }
                    }
                }
            }
            p.soft { (glance.traffic.idle_query_workers) " idle query workers; this tracker runs for " (duration(glance.traffic.uptime_secs)) }
        }
    }
}

fn run(name: &str, title: &str, answer: &Answer<Run>, visitor: Visitor) -> Markup {
    html! {
        section {
            h2 { (title) }
            (or_why(answer, |run| run_facts(title, run)))
            @if let (Visitor::May, Answer::Known(run, _)) = (visitor, answer) {
                form.row method="post" action="/action" {
                    @if run.is_running {
                        button.quiet name="what" value={ (name) "_stop" } { "Stop" }
                    } @else {
                        button name="what" value={ (name) "_start" } { "Start" }
                    }
                }
            }
        }
    }
}

fn run_facts(title: &str, run: &Run) -> Markup {
    html! {
        p {
            @if run.is_running {
                span.tag.good { "running" }
                @if !run.host.is_empty() { " on " (run.host) }
            } @else if run.was_ever { span.tag { "not running" } }
            @else { span.soft { "Never started." } }
            @if let Some(eta_secs) = run.eta_secs.and_then(|secs| u64::try_from(secs).ok()).filter(|_| run.is_running) {
                ", done in about " b { (duration(eta_secs)) }
            }
        }
        @if let Some(percent) = run.percent.filter(|_| run.was_ever) {
            progress max="100" value=(format!("{percent:.1}")) aria-label=(title) {}
            div { (format!("{percent:.1} %")) @if let Some(rate) = run.per_sec { (format!(", {rate:.1} files/s")) } }
        }
        @if let Some(problem) = &run.problem { p.note.odd { (problem) } }
        @if run.was_ever && !run.facts.is_empty() {
            dl { @for (name, value) in &run.facts { dt { (name) } dd { (value) } } }
        }
    }
}

fn requests(title: &str, about: &str, requests: &[AnsweredRequest]) -> Markup {
    html! {
        section {
            h2 { (title) }
            @if requests.is_empty() { p.soft { "None." } } @else {
                table {
                    caption { (about) }
                    thead { tr { th.n scope="col" { "Time" } th scope="col" { "Client and request" } } }
                    tbody {
                        @for request in requests {
                            tr {
                                td.n {
                                    (time_us(request.time_us))
                                    @if let Some(ago) = request.ago { br; span.soft { (duration(ago.as_secs())) " ago" } }
                                }
                                td { span.soft { (request.peer) } " " span.line { (shown_short(&request.line, LINE_BYTES_SHOWN)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// One device, with what can be done about it.
pub fn device_page(device: &DeviceModel, host: &Host, visitor: Visitor, said: Option<&str>) -> Markup {
    let title = format!("dev{} on {}", device.devid, host.name);
    let space = |mb: Option<i64>| mb.map_or("unknown".to_owned(), mib);
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let main = html! {
        h1 { (title) }
        @if let Some(said) = said { p.note.good role="status" { (said) } }
        @if let Some(complaint) = &device.complaint { p.note.bad { (complaint) } }
        section {
            dl {
                dt { "Condition" } dd { span.tag.(device.condition.class()) { (device.condition.word()) } }
                dt { "State set" } dd { (device.status.name()) }
                dt { "Observed" } dd { (device.observed) }
                dt { "Host" } dd {
                    (host.name) ", " (host.ip) ":" (host.http_port) ", " (host.status.map_or("unknown", |status| status.name()))
                    ", " (host.observed.map_or("not seen yet", |observed| observed.name()))
                }
                dt { "Space" } dd { (space(device.mb_used)) " used of " (space(device.mb_total))
                    @if let Some(percent) = device.fill_percent { " (" (percent) " %)" } }
                dt { "Busy" } dd { (device.busy_percent.map_or("unknown".to_owned(), |percent| format!("{percent} %"))) }
                dt { "Weight" } dd { (device.weight.map_or("none".to_owned(), |weight| weight.to_string())) }
                dt { "Is read" } dd { (yes(device.is_read)) }
                dt { "Gets new files" } dd { (yes(device.gets_files)) }
            }
        }
        @if visitor == Visitor::May { (state_form(device)) }
    };
    frame(&title, visitor, true, &main)
}

fn state_form(device: &DeviceModel) -> Markup {
    let states = [
        (DeviceStatus::Alive, "read and written, gets new files"),
        (DeviceStatus::Readonly, "read only"),
        (DeviceStatus::Drain, "read, gets no new files; a rebalance empties it"),
        (DeviceStatus::Down, "not touched for now"),
        (DeviceStatus::Dead, "gone for good; its copies are made anew elsewhere (asks again)"),
    ];
    html! {
        section {
            h2 { "Set its state" }
            table {
                tbody {
                    @for (state, meaning) in states {
                        tr {
                            td {
                                @if state == device.status { span.tag { (state.name()) " now" } } @else {
                                    form method="post" action="/action" {
                                        input type="hidden" name="what" value="state";
                                        input type="hidden" name="device" value=(device.devid);
                                        button.(if state == DeviceStatus::Dead { "danger" } else { "quiet" })
                                            name="state" value=(state.name()) { (state.name()) }
                                    }
                                }
                            }
                            td { (meaning) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::FigureSet;
    use super::super::model;
    use super::*;
    use crate::cluster::fixture::Fixture;
    use crate::ids::DevId;
    use crate::tracker::ask::Traffic;
    use std::net::IpAddr;

    fn cluster_of(hosts: usize, devices_each: usize) -> String {
        let host = |host: usize| {
            let devices: Vec<String> =
                (1..=devices_each).map(|device| format!("d{}=_,used:{}", host * 100 + device, device * 20)).collect();
            format!("h{host}[{}]", devices.join(" "))
        };
        (1..=hosts).map(host).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_thousand_devices_fit_in_half_a_megabyte() {
        let snapshot = Fixture::parse(&cluster_of(25, 40)).snapshot;
        let figures = FigureSet::default();
        let page = page(&model::glance(&snapshot, &figures, 100), Visitor::May, None).0;
        assert_eq!(page.matches("<a class=\"d ").count(), 1000);
        assert!(page.len() < 500_000, "{}", page.len());
    }

    #[test]
    fn what_clients_send_is_text() {
        let line = b"get_paths domain=<script>alert(1)</script>&key=\xff\"'".to_vec();
        let request = AnsweredRequest { peer: IpAddr::from([127, 0, 0, 1]), line, time_us: 5000, ago: None };
        let traffic = Traffic { recent: vec![request.clone()], slowest: vec![request], ..Traffic::default() };
        let figures = FigureSet { traffic, ..FigureSet::default() };
        let page = page(&model::glance(&Fixture::parse("h1[d1=_]").snapshot, &figures, 100), Visitor::ReadOnly, None).0;
        assert!(!page.contains("<script>alert") && page.contains("&lt;script&gt;alert(1)"), "{page}");
        assert!(page.contains("\\xff&quot;"), "{page}");
    }

    #[test]
    fn only_who_may_act_is_shown_how() {
        let snapshot = Fixture::parse("h1[d1=_]").snapshot;
        let view = snapshot.device(DevId(1)).expect("known");
        let device = model::device(view, &snapshot, 100);
        for (visitor, sees) in [(Visitor::ReadOnly, false), (Visitor::MayLogIn, false), (Visitor::May, true)] {
            let page = device_page(&device, view.host, visitor, None).0;
            assert_eq!(page.contains("action=\"/action\""), sees, "{visitor:?}");
        }
    }
}
