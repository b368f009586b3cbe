//! `/metrics`, `/healthz` and `/readyz` of a real tracker, and that the rules and the dashboard name what exists.

use crate::support::cluster::{Cluster, Tracker};
use crate::support::database::{Database, Kind, kinds, on_each_database};
use crate::support::database_proxy::DatabaseProxy;
use crate::support::eventually;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

fn cluster(database: &Database) -> Cluster {
    Cluster::start_with(database, &["web.listen=127.0.0.1:0"])
}

fn address(cluster: &Cluster) -> SocketAddr {
    cluster.tracker.process.logged_address("web page is ready", "address")
}

/// The status, the head and the body.
fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).expect("the web listener");
    // Any name: scrapers use that of the service.
    let request = format!("GET {path} HTTP/1.1\r\nHost: tracker.example:7002\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_lowercase(), body.to_owned())
}

/// The value of a sample, named with its labels.
fn value(text: &str, sample: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))?;
    Some(line.parse().expect("a number"))
}

#[test]
fn what_happens_is_counted() {
    on_each_database(|database| {
        let cluster = cluster(database);
        let address = address(&cluster);
        cluster.put("a", "", b"bytes");
        cluster.wait_for_copies("a", 2);
        let mut client = cluster.session();
        client.ask("Get_Paths domain=d&key=none&noverify=1");
        client.ask("no_such_command");
        let text = eventually("all is counted", || {
            let (status, head, text) = get(address, "/metrics");
            assert_eq!(status, 200);
            assert!(head.contains("text/plain; version=0.0.4"), "{head}");
            let copied = value(&text, "mogilefs_copied_bytes_total") == Some(5.0);
            (copied
                && value(&text, "mogilefs_requests_total{command=\"unknown\",outcome=\"unknown_command\"}")
                    == Some(1.0))
            .then_some(text)
        });
        for sample in [
            "mogilefs_copies_made_total",
            "mogilefs_requests_total{command=\"create_close\",outcome=\"ok\"}",
            "mogilefs_request_duration_seconds_count{command=\"get_paths\"}",
            "mogilefs_database_up",
            "mogilefs_workers{job=\"replicate\",state=\"living\"}",
            "mogilefs_device_takes_files{devid=\"1\",host=\"h1\"}",
            "mogilefs_database_calls_total{asker=\"create_close\"}",
            "mogilefs_process_resident_memory_bytes",
        ] {
            assert!(value(&text, sample).is_some_and(|value| value >= 1.0), "{sample}\n{text}");
        }
        assert_eq!(value(&text, "mogilefs_files_at_risk"), Some(0.0), "{text}");
        assert_eq!(value(&text, "mogilefs_queue_rows{queue=\"replicate\",state=\"due\"}"), Some(0.0), "{text}");
        check_form(&text);
    });
}

/// Not ready while the database is away, alive all the time, and ready again by itself.
#[test]
fn a_tracker_without_its_database_is_not_ready() {
    for kind in kinds().into_iter().filter(|&kind| kind != Kind::Sqlite) {
        let database = Database::create(kind);
        let proxy = DatabaseProxy::start(&database);
        let tracker = Tracker::start_at(&proxy.url, &["web.listen=127.0.0.1:0"]);
        let address = tracker.process.logged_address("web page is ready", "address");
        eventually("ready", || (get(address, "/readyz").0 == 200).then_some(()));
        proxy.cut();
        let mut session = tracker.session();
        let (_, _, reasons) = eventually("not ready", || {
            session.ask("list_fids from=1&to=2");
            Some(get(address, "/readyz")).filter(|(status, _, _)| *status == 503)
        });
        assert!(reasons.contains("the database is away"), "{reasons}");
        assert_eq!(get(address, "/healthz").0, 200);
        let (status, _, text) = get(address, "/metrics");
        assert_eq!((status, value(&text, "mogilefs_database_up")), (200, Some(0.0)));
        assert!(value(&text, "mogilefs_database_errors_total{asker=\"list_fids\"}") >= Some(1.0), "{text}");
        proxy.mend();
        eventually("ready again", || (get(address, "/readyz").0 == 200).then_some(()));
    }
}

/// Every sample belongs to a family that was declared once, before it.
fn check_form(text: &str) {
    let mut families = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().expect("a name");
            assert!(families.insert(name.to_owned()), "{name} is declared twice");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().expect("a name");
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let is_known = families.contains(name) || of_histogram.is_some_and(|name| families.contains(name));
            assert!(is_known, "{line} belongs to no family");
        }
    }
}

#[test]
fn a_tracker_says_whether_it_lives_and_is_ready() {
    let database = &Database::create(crate::support::database::Kind::Sqlite);
    let cluster = cluster(database);
    let address = address(&cluster);
    let (status, head, body) = get(address, "/healthz");
    assert_eq!((status, body.as_str()), (200, "{\"reasons\":[],\"status\":\"ok\"}\n"));
    assert!(head.contains("application/json") && head.contains("no-store"), "{head}");
    eventually("the tracker is ready", || (get(address, "/readyz").0 == 200).then_some(()));
}

/// Names of metrics in rules and dashboards, histograms' parts cut off.
fn names_in(text: &str) -> BTreeSet<String> {
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = text.split(|character| !is_word(character)).filter(|word| word.starts_with("mogilefs_"));
    words.map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned()).collect()
}

#[test]
fn rules_and_dashboard_name_what_exists() {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/metrics");
    let mut declared = String::new();
    for file in web.read_dir().expect("sources").flatten() {
        declared.push_str(&std::fs::read_to_string(file.path()).expect("text"));
    }
    for file in ["packaging/prometheus/mogilefs.rules.yml", "packaging/grafana/mogilefs.json", "docs/METRICS.md"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect(file);
        let names = names_in(&text);
        assert!(names.len() > 5, "{file}");
        for name in names {
            let bare = name.strip_prefix("mogilefs_").expect("the prefix");
            // Those of fsck and rebalance are put together from the job and the figure.
            let of_job = ["fsck_", "rebalance_"].iter().find_map(|job| bare.strip_prefix(job));
            let is_declared = |name: &str| declared.contains(&format!("\"{name}\""));
            let is_known = is_declared(bare)
                || of_job
                    .is_some_and(|figure| is_declared(figure) || declared.contains(&format!("{{job}}_{figure}\"")));
            assert!(is_known, "{file}: {name}");
        }
    }
}
