//! `mogadm check`: asks every tracker, every host and every device whether it is there, and shows the space.

use super::admin::{Row, devices, hosts};
use super::{Outcome, Refusal};
use crate::cli::GlobalArgs;
use crate::cli::block_on;
use crate::cli::output::{Failure, Output};
use crate::cli::session::Session;
use http_body_util::BodyExt as _;
use std::collections::BTreeMap;

/// A page that is longer than this is none of a storage node.
const PAGE_BYTES_MAX: usize = 1 << 20;

type Rows = BTreeMap<i64, Row>;

pub fn run(global: &GlobalArgs, output: &Output) -> Outcome {
    let mut outcome = Ok(());
    block_on(async {
        outcome = check(global, output).await;
        Ok(())
    })?;
    outcome
}

async fn check(global: &GlobalArgs, output: &Output) -> Outcome {
    let mut found: Option<(Session<'_>, Rows, Rows)> = None;
    output.raw(b"Checking trackers...\n")?;
    for tracker in &global.trackers {
        output.raw(format!("  {tracker} ... ").as_bytes())?;
        let word = match Session::open_at(global, output, tracker).await {
            Err(_) => "INITIAL FAILURE (bad configuration?)\n".to_owned(),
            Ok(mut session) => match (hosts(&mut session).await, devices(&mut session).await) {
                (Ok(hosts), Ok(devices)) => {
                    found = Some((session, hosts, devices));
                    "OK\n".to_owned()
                }
                _ => "REQUEST FAILURE (is the tracker up?)\n".to_owned(),
            },
        };
        output.raw(word.as_bytes())?;
    }
    let Some((session, hosts, devices)) = found else {
        return Err(failed("Unable to retrieve host information from tracker(s)."));
    };
    output.raw(b"\nChecking hosts...\n")?;
    let mut reachable = Vec::new();
    for (hostid, host) in &hosts {
        let url = format!("http://{}:{}/", host.of("hostip"), host.of("http_port"));
        let word = match host.of("status") {
            "alive" if page(&session, &url).await.is_some() => {
                reachable.push((*hostid, url));
                "OK".to_owned()
            }
            "alive" => format!("REQUEST FAILURE FETCHING: {url}"),
            status => format!("skipping; status = {status}"),
        };
        output.raw(format!("  [{hostid:>2}] {} ... {word}\n", host.of("hostname")).as_bytes())?;
    }
    if reachable.is_empty() {
        return Err(failed("No devices found on tracker(s)."));
    }
    show_devices(&session, &reachable, &devices, output).await
}

async fn show_devices(session: &Session<'_>, reachable: &[(i64, String)], devices: &Rows, output: &Output) -> Outcome {
    let head = format!(
        "\nChecking devices...\n  host device      {:>10} {:>10} {:>10} {:>7}  {:>7}   {:>4}\n",
        "size(G)", "used(G)", "free(G)", "use% ", "ob state", "I/O%"
    );
    const RULE: &str = "  ---- ------------ ---------- ---------- ---------- ------";
    output.raw(format!("{head}{RULE} ---------- -----\n").as_bytes())?;
    let mut sum = Space::default();
    for (hostid, url) in reachable {
        let of_host = devices.iter().filter(|(_, device)| device.number("hostid") == *hostid);
        for (devid, device) in of_host.filter(|(_, device)| device.of("status") != "dead") {
            let usage_url = format!("{url}dev{devid}/usage");
            let usage = page(session, &usage_url).await;
            let told = match usage.as_deref().map(Space::read) {
                None => format!("REQUEST FAILURE FETCHING: {usage_url}"),
                Some(None) => format!("USAGE FILE BROKEN OR EMPTY: {usage_url}"),
                Some(Some(space)) => {
                    sum.add(&space);
                    let busy =
                        device.of("utilization").parse::<f64>().map_or("N/A".to_owned(), |busy| format!("{busy:.1}"));
                    let observed = Some(device.of("observed_state")).filter(|state| !state.is_empty()).unwrap_or("?");
                    format!("     {}  {observed:<7} {busy:>5}", space.cells())
                }
            };
            output.raw(format!("  [{hostid:>2}] {:<7}{told}\n", format!("dev{devid}")).as_bytes())?;
        }
    }
    Ok(output.raw(format!("{RULE}\n             total:{}\n", sum.cells()).as_bytes())?)
}

fn failed(text: &str) -> Refusal {
    Failure::Findings(text.to_owned()).into()
}

/// What a usage file says, in gigabytes.
#[derive(Debug, Default, PartialEq)]
struct Space {
    total: f64,
    used: f64,
    available: f64,
}

impl Space {
    fn read(usage: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = usage.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().parse::<f64>().ok().map(|kilobytes| kilobytes / 1024.0 / 1024.0)
        };
        Some(Self { total: field("total")?, used: field("used")?, available: field("available")? })
    }

    fn add(&mut self, other: &Self) {
        self.total += other.total;
        self.used += other.used;
        self.available += other.available;
    }

    fn cells(&self) -> String {
        let percent = if self.total > 0.0 { 100.0 - self.available / self.total * 100.0 } else { 0.0 };
        format!("{:>10.3} {:>10.3} {:>10.3} {percent:>6.2}%", self.total, self.used, self.available)
    }
}

/// A small page of a node; `None` if it cannot be had. Nodes that have nothing at `/` are there nevertheless.
async fn page(session: &Session<'_>, url: &str) -> Option<String> {
    let is_root = url.ends_with('/');
    match session.storage.get(url, 0).await {
        Err(error) => (is_root && error.problem.contains("the node answered")).then(String::new),
        Ok(response) => {
            let body = http_body_util::Limited::new(response.into_body(), PAGE_BYTES_MAX).collect().await.ok()?;
            Some(String::from_utf8_lossy(&body.to_bytes()).into_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_files_are_read() {
        let space =
            Space::read("available: 1048576\ndevice: /dev/sda1\ndisk: /d\ntime: 1\ntotal: 4194304\nused: 3145728\n");
        let space = space.expect("whole");
        assert_eq!(space.cells(), "     4.000      3.000      1.000  75.00%");
        assert_eq!(Space::read(""), None);
    }
}
