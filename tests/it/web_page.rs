//! The web page of a real tracker, by plain HTTP, and in a browser where there is one.

use crate::support::cluster::Cluster;
use crate::support::database::{Database, Kind};
use crate::support::eventually;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

const TOKEN: &str = "open sesame";

struct Browser {
    address: SocketAddr,
    cookie: String,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Browser {
    fn of(cluster: &Cluster) -> Self {
        Self { address: cluster.tracker.process.logged_address("web page is ready", "address"), cookie: String::new() }
    }

    fn send(&self, head: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).expect("the page listens");
        let head = format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(head.as_bytes()).expect("sent");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        let text = String::from_utf8(bytes).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n", self.address, self.cookie), "")
    }

    fn post(&self, path: &str, form: &str) -> Answer {
        self.post_from(&format!("http://{}", self.address), path, form)
    }

    fn post_from(&self, origin: &str, path: &str, form: &str) -> Answer {
        let (host, cookie) = (self.address, &self.cookie);
        self.send(&format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nCookie: {cookie}\r\n"), form)
    }
}

fn cluster(database: &Database, token: &str) -> Cluster {
    Cluster::start_with(database, &["web.listen=127.0.0.1:0", &format!("web.token={token}")])
}

#[test]
fn the_cluster_and_a_file_are_shown() {
    let database = &Database::create(Kind::Sqlite);
    let cluster = cluster(database, "");
    let browser = Browser::of(&cluster);
    cluster.put("<b>k", "", b"bytes");
    cluster.wait_for_copies("<b>k", 2);
    let page = browser.get("/");
    assert_eq!(page.status, 200);
    for (name, part) in [
        ("content-security-policy", "default-src 'none'"),
        ("content-security-policy", "frame-ancestors 'none'"),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
    ] {
        assert!(page.header(name).is_some_and(|value| value.contains(part)), "{name} in {}", page.head);
    }
    for devid in 1..=6 {
        assert!(page.body.contains(&format!("href=\"/device?id={devid}\"")), "dev{devid}");
    }
    assert!(page.body.contains("files at risk") && page.body.contains("queryworker"), "{}", page.body);
    assert!(
        !page.body.contains("src=\"http") && !page.body.contains("href=\"http"),
        "outside resources: {}",
        page.body
    );
    assert!(browser.get("/page.css").status == 200 && browser.get("/page.js").status == 200);
    assert!(browser.get("/device?id=1").body.contains("Gets new files"));
    assert_eq!((browser.get("/device?id=99").status, browser.get("/nothing").status), (404, 404));

    let found = browser.get("/file?domain=d&key=%3Cb%3Ek");
    assert_eq!(found.status, 200);
    assert!(found.body.contains("&lt;b&gt;k") && !found.body.contains("<b>k"), "{}", found.body);
    assert!(found.body.contains("satisfied") && found.body.contains(".fid"), "{}", found.body);
    assert_eq!(browser.get("/file?domain=d&key=none").status, 404);
    assert_eq!(browser.get("/file?fid=999").status, 404);

    // Without a token nobody acts, whoever says what.
    assert!(!page.body.contains("action=\"/action\""));
    assert_eq!(browser.post("/login", "token=").status, 403);
    assert_eq!(browser.post("/action", "what=fsck_start").status, 403);
    assert_eq!(cluster.session().ok("fsck_status")["running"], "0");
}

#[test]
fn actions_need_the_token_and_our_own_page() {
    let database = &Database::create(Kind::Sqlite);
    let cluster = cluster(database, TOKEN);
    let mut browser = Browser::of(&cluster);
    let mut session = cluster.session();
    let down = "what=state&device=1&state=down";
    assert_eq!(browser.post("/action", down).status, 403, "not logged in");
    assert_eq!(browser.post("/login", "token=wrong").status, 403);
    let answer = browser.post("/login", "token=open+sesame");
    assert_eq!(answer.status, 303);
    let cookie = answer.header("set-cookie").expect("a cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    browser.cookie = cookie.split(';').next().expect("a pair").to_owned();

    assert_eq!(browser.post_from("http://evil.example", "/action", down).status, 403);
    assert_eq!(browser.post_from("null", "/action", down).status, 403);
    let host = format!("GET / HTTP/1.1\r\nHost: evil.example\r\nCookie: {}\r\n", browser.cookie);
    assert_eq!(browser.send(&host, "").status, 421);
    assert_eq!(session.ok("get_devices devid=1")["dev1_status"], "alive", "nothing has happened yet");

    assert_eq!(browser.post("/action", down).status, 303);
    assert_eq!(session.ok("get_devices devid=1")["dev1_status"], "down");
    assert_eq!(browser.post("/action", "what=state&device=1&state=alive").status, 303);

    // Dead asks first.
    let asked = browser.post("/action", "what=state&device=1&state=dead");
    assert!(asked.status == 200 && asked.body.contains("name=\"confirm\""), "{}", asked.body);
    assert_eq!(session.ok("get_devices devid=1")["dev1_status"], "alive");
    assert_eq!(browser.post("/action", "what=state&device=1&state=dead&confirm=yes").status, 303);
    assert_eq!(session.ok("get_devices devid=1")["dev1_status"], "dead");
    // The rules of administrators hold here, too.
    let back = browser.post("/action", "what=state&device=1&state=alive");
    assert!(back.status == 409 && back.body.contains("state_too_high"), "{}", back.body);
    assert_eq!(browser.post("/action", "what=rebalance_start").status, 409, "there is no policy");
    assert_eq!(browser.post("/action", "what=fsck_start").status, 303);
    eventually("fsck has begun", || (session.ok("fsck_status")["start_time"] != "0").then_some(()));

    assert_eq!(browser.post("/logout", "").status, 303);
    assert_eq!(browser.post("/action", down).status, 403);
    for _ in 0..4 {
        assert_eq!(browser.post("/login", "token=wrong").status, 403);
    }
    assert_eq!(browser.post("/login", "token=open+sesame").status, 429);
}

/// Twenty views in a row ask the database no more than one does.
#[test]
fn many_viewers_ask_the_database_once() {
    let database = &Database::create(Kind::Sqlite);
    let cluster = cluster(database, "");
    let browser = Browser::of(&cluster);
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(browser.get("/").status, 200);
    }
    let stats = cluster.session().console("!stats");
    let calls = stats.iter().find_map(|line| line.trim().strip_prefix("db_calls_at_risk "));
    let calls: u64 = calls.expect("at_risk was asked").parse().expect("a number");
    // It is counted anew every 15 s.
    assert!(calls <= 1 + begun.elapsed().as_secs() / 15, "{stats:?}");
}

/// Where Chromium is installed: the page in a real browser, with the script's refresh.
#[test]
fn a_browser_shows_it() {
    let Ok(found) = Command::new("chromium").arg("--version").output() else {
        return eprintln!("no chromium: not looked at in a browser");
    };
    assert!(found.status.success(), "chromium does not start");
    let database = &Database::create(Kind::Sqlite);
    let cluster = cluster(database, TOKEN);
    let browser = Browser::of(&cluster);
    let profile = tempfile::tempdir().expect("a directory");
    let output = Command::new("timeout")
        .args(["60", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--virtual-time-budget=4000", "--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{}/", browser.address))
        .output()
        .expect("chromium runs");
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // The script says so: neither it nor the style was kept out by our own policy.
    assert!(dom.contains(">Live</span>"), "{dom}\n{log}");
    assert_eq!(dom.matches("class=\"d ").count(), 6, "{dom}");
    assert!(!log.contains("Content Security Policy") && !log.contains("Uncaught"), "{log}");
}
