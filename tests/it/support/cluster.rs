//! Trackers and storage nodes as processes, and files that go in and out over HTTP.

use super::database::Database;
use super::eventually;
use super::process::Process;
use super::session::Session;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A tracker process.
pub struct Tracker {
    pub process: Process,
    pub address: SocketAddr,
}

impl Tracker {
    pub fn start(database: &Database) -> Self {
        Self::start_with(database, &[])
    }

    /// Starts with further `--set` settings.
    pub fn start_with(database: &Database, settings: &[&str]) -> Self {
        Self::start_at(&database.url, settings)
    }

    /// Starts on the database of this URL.
    pub fn start_at(database_url: &str, settings: &[&str]) -> Self {
        // The port of the web page is one for all trackers of this machine.
        let mut args = vec!["tracker", "--db", database_url, "--listen", "127.0.0.1:0", "--set", "web.listen="];
        for setting in settings {
            args.extend(["--set", setting]);
        }
        let process = Process::start(&args);
        let address = process.logged_address("listening", "address");
        Self { process, address }
    }

    pub fn session(&self) -> Session {
        Session::connect(self.address)
    }
}

/// A storage node process with its devices, on a loopback address of its own.
pub struct Node {
    pub process: Process,
    pub ip: String,
    pub port: u16,
    directory: TempDir,
}

impl Node {
    /// `number` makes the address 127.0.0.`number`.
    pub fn start(number: u8, devids: &[i64]) -> Self {
        Self::start_with(number, devids, &[])
    }

    /// Starts with further `--set` settings, which a restart forgets.
    pub fn start_with(number: u8, devids: &[i64], settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for devid in devids {
            std::fs::create_dir(directory.path().join(format!("dev{devid}"))).expect("a device");
        }
        let ip = format!("127.0.0.{number}");
        let (process, port) = Self::spawn(&ip, 0, directory.path(), settings);
        Self { process, ip, port, directory }
    }

    fn spawn(ip: &str, port: u16, docroot: &Path, settings: &[&str]) -> (Process, u16) {
        let (http, side_channel) = (format!("{ip}:{port}"), format!("{ip}:0"));
        let mut args = vec![
            "node",
            "--docroot",
            docroot.to_str().expect("UTF-8"),
            "--http-listen",
            &http,
            "--side-channel-listen",
            &side_channel,
            "--set",
            "node.sync=false",
        ];
        args.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let process = Process::start(&args);
        let port = process.logged_address("storage node is ready", "http").port();
        (process, port)
    }

    /// Starts it again, at the same address, on the same files.
    pub fn restart(&mut self) {
        let (process, _) = Self::spawn(&self.ip, self.port, self.directory.path(), &[]);
        self.process = process;
    }

    /// The file on disk of a URL path.
    pub fn file(&self, path: &str) -> PathBuf {
        self.directory.path().join(path.trim_start_matches('/'))
    }

    /// Every stored file below this node.
    pub fn stored_files(&self) -> Vec<PathBuf> {
        self.files_named(|path| path.extension().is_some_and(|extension| extension == "fid"))
    }

    /// What uploads have not finished, or have left behind. Files that have no name yet are told as what leads to them in
    /// `/proc`.
    pub fn temporary_files(&self) -> Vec<PathBuf> {
        let mut files = self.files_named(|path| path.extension().is_some_and(|extension| extension == "tmp"));
        let root = self.directory.path().canonicalize().expect("a directory");
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).into_iter().flatten().flatten();
        files.extend(open.map(|entry| entry.path()).filter(|link| {
            let target = link.read_link().unwrap_or_default();
            target.starts_with(&root) && target.to_string_lossy().ends_with("(deleted)")
        }));
        files
    }

    fn files_named(&self, wanted: fn(&Path) -> bool) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut directories = vec![self.directory.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    directories.push(path);
                } else if wanted(&path) {
                    found.push(path);
                }
            }
        }
        found
    }
}

/// Three hosts with two devices each, a domain `d` with the classes default (2 copies), `one` and `three`.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub tracker: Tracker,
}

impl Cluster {
    pub fn start(database: &Database) -> Self {
        Self::start_with(database, &[])
    }

    /// Starts with further `--set` settings of the tracker.
    pub fn start_with(database: &Database, settings: &[&str]) -> Self {
        let cluster = Self::start_without_nodes(database, settings).with_nodes(&[&[1, 2], &[3, 4], &[5, 6]]);
        cluster.wait_until_writeable(6);
        cluster
    }

    /// Only the tracker, the domain and its classes.
    pub fn start_without_nodes(database: &Database, settings: &[&str]) -> Self {
        let tracker = Tracker::start_with(database, settings);
        let mut session = tracker.session();
        session.ok("create_domain domain=d");
        session.ok("create_class domain=d&class=one&mindevcount=1");
        session.ok("create_class domain=d&class=three&mindevcount=3");
        Self { nodes: Vec::new(), tracker }
    }

    /// Adds nodes with these devices as hosts h1, h2, ...
    pub fn with_nodes(mut self, devids_of_nodes: &[&[i64]]) -> Self {
        for (number, devids) in (1..).zip(devids_of_nodes) {
            let node = Node::start(number, devids);
            self.add_host(&format!("h{number}"), &node.ip, node.port, devids);
            self.nodes.push(node);
        }
        self
    }

    /// Makes a storage node known to the tracker.
    pub fn add_host(&self, name: &str, ip: &str, port: u16, devids: &[i64]) {
        let mut session = self.session();
        session.ok(&format!("create_host host={name}&ip={ip}&port={port}&status=alive"));
        for devid in devids {
            session.ok(&format!("create_device devid={devid}&hostname={name}"));
        }
    }

    pub fn session(&self) -> Session {
        self.tracker.session()
    }

    /// Waits until so many devices are seen writeable and have room.
    pub fn wait_until_writeable(&self, count: usize) {
        let mut session = self.session();
        eventually("devices are writeable", || {
            let pairs = session.ok("get_devices");
            let writeable =
                pairs.iter().filter(|(name, value)| name.ends_with("observed_state") && *value == "writeable");
            let known = pairs.iter().filter(|(name, value)| name.ends_with("mb_total") && !value.is_empty());
            (writeable.count() == count && known.count() >= count).then_some(())
        });
    }

    /// Stores a file under a key; the close is acknowledged when this returns.
    pub fn put(&self, key: &str, class: &str, bytes: &[u8]) {
        let mut session = self.session();
        let open = session.ok(&format!("create_open domain=d&key={key}&class={class}"));
        http_put(&open["path"], bytes);
        let size = bytes.len();
        session.ok(&format!(
            "create_close domain=d&key={key}&fid={}&devid={}&path={}&size={size}",
            open["fid"], open["devid"], open["path"]
        ));
    }

    /// The bytes of a key, from its first path.
    pub fn get(&self, key: &str) -> Vec<u8> {
        let paths = self.session().ok(&format!("get_paths domain=d&key={key}"));
        http("GET", &paths["path1"], b"").1
    }

    pub fn fid(&self, key: &str) -> i64 {
        self.session().ok(&format!("file_info domain=d&key={key}"))["fid"].parse().expect("a fid")
    }

    /// The devices that hold a key, in order.
    pub fn devids(&self, key: &str) -> Vec<i64> {
        let info = self.session().ok(&format!("file_info domain=d&key={key}&devices=1"));
        let mut devids: Vec<i64> = info["devids"]
            .split(',')
            .filter(|devid| !devid.is_empty())
            .map(|devid| devid.parse().expect("a devid"))
            .collect();
        devids.sort_unstable();
        devids
    }

    /// The bytes of every copy of a key that the tracker names.
    pub fn get_all(&self, key: &str) -> Vec<Vec<u8>> {
        let paths = self.session().ok(&format!("get_paths domain=d&key={key}&noverify=1&pathcount=20"));
        let count: usize = paths["paths"].parse().expect("a number");
        (1..=count)
            .map(|n| {
                let (status, bytes) = http("GET", &paths[&format!("path{n}")], b"");
                assert_eq!(status, 200, "GET of {key} at {}", paths[&format!("path{n}")]);
                bytes
            })
            .collect()
    }

    /// Waits until a key has so many copies.
    pub fn wait_for_copies(&self, key: &str, copies: usize) {
        let mut session = self.session();
        eventually(&format!("{key} has {copies} copies"), || {
            let info = session.ok(&format!("file_info domain=d&key={key}&devices=1"));
            (info["devids"].split(',').filter(|devid| !devid.is_empty()).count() == copies
                && info["devcount"] == copies.to_string())
            .then_some(())
        });
    }
}

/// Uploads and expects success.
pub fn http_put(url: &str, bytes: &[u8]) {
    let (status, _) = http("PUT", url, bytes);
    assert!((200..300).contains(&status), "PUT {url} answered {status}");
}

/// One HTTP exchange on a connection of its own: status and body.
pub fn http(method: &str, url: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let (host, path) = url.strip_prefix("http://").expect("an HTTP URL").split_once('/').expect("a path");
    let mut stream = TcpStream::connect(host).expect("node accepts");
    let head = format!(
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("node reads");
    stream.write_all(body).expect("node reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("node answers");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
    let status = std::str::from_utf8(&answer[9..12]).expect("digits").parse().expect("a status");
    (status, answer.split_off(end + 4))
}
