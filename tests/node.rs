//! The storage node from outside: a real node on a temporary directory, spoken to over sockets (storage-node.md 14).

#![expect(clippy::unwrap_used, reason = "tests")]

use base64::Engine;
use mogilefs::cluster::checksum::{Checksum, HashType};
use mogilefs::node::{self, NodeStartError, RunningNode};
use mogilefs::settings::{NodeSettings, Settings, SyncPolicy};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const FID: &str = "/dev11/0/000/009/0000009999.fid";

/// Longest wait for anything that must happen.
const LIMIT: Duration = Duration::from_secs(10);

struct TestNode {
    docroot: TempDir,
    node: RunningNode,
}

impl TestNode {
    /// A node with the empty devices 11 and 12.
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut NodeSettings)) -> Self {
        let docroot = tempfile::tempdir().unwrap();
        for device in ["dev11", "dev12"] {
            std::fs::create_dir(docroot.path().join(device)).unwrap();
        }
        let mut settings = settings(docroot.path());
        change(&mut settings);
        let node = node::start(&settings, mogilefs::logging::discard()).await.unwrap();
        Self { docroot, node }
    }

    fn path(&self, uri: &str) -> PathBuf {
        self.docroot.path().join(uri.trim_start_matches('/'))
    }

    async fn http(&self) -> Http {
        Http(BufReader::new(TcpStream::connect(self.node.http_addr).await.unwrap()))
    }

    async fn side_channel(&self) -> SideChannel {
        SideChannel(BufReader::new(TcpStream::connect(self.node.side_channel_addr).await.unwrap()))
    }

    /// One request on a connection of its own.
    async fn ask(&self, method: &str, uri: &str, headers: &[&str], body: &[u8]) -> Reply {
        self.http().await.ask(method, uri, headers, body).await
    }

    async fn put(&self, uri: &str, body: &[u8]) -> u16 {
        self.ask("PUT", uri, &[], body).await.status
    }

    async fn get(&self, uri: &str) -> Reply {
        self.ask("GET", uri, &[], b"").await
    }

    /// Unfinished uploads: open files without a name, or with a temporary one where the file system has no others.
    fn uploads(&self) -> usize {
        let docroot = self.docroot.path().canonicalize().unwrap();
        let is_unnamed =
            |target: &PathBuf| target.starts_with(&docroot) && target.to_string_lossy().ends_with("(deleted)");
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let unnamed = open.filter_map(|entry| entry.path().read_link().ok()).filter(is_unnamed).count();
        unnamed + self.files().iter().filter(|name| name.ends_with(".tmp")).count()
    }

    /// Every file below the device directories but the usage files and the marks of the devices.
    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut directories = vec![self.docroot.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in directory.read_dir().unwrap().flatten() {
                if entry.file_name().to_string_lossy().contains(".mogilefs-device") {
                    continue;
                }
                match entry.path().is_dir() {
                    true => directories.push(entry.path()),
                    false => files.push(entry.file_name().into_string().unwrap()),
                }
            }
        }
        files.retain(|name| !name.contains("usage"));
        files.sort();
        files
    }
}

fn settings(docroot: &Path) -> NodeSettings {
    NodeSettings {
        http_listen: "127.0.0.1:0".to_owned(),
        side_channel_listen: "127.0.0.1:0".to_owned(),
        docroot: docroot.to_owned(),
        ..Settings::defaults().node
    }
}

/// A connection to the HTTP port.
struct Http(BufReader<TcpStream>);

#[derive(Debug)]
struct Reply {
    version: String,
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

impl Http {
    async fn ask(&mut self, method: &str, uri: &str, headers: &[&str], body: &[u8]) -> Reply {
        let mut head = format!("{method} {uri} HTTP/1.1\r\nHost: node\r\n");
        if method == "PUT" && !headers.iter().any(|header| header.starts_with("Transfer-Encoding")) {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        headers.iter().for_each(|header| head += &format!("{header}\r\n"));
        head += "\r\n";
        self.send(head.as_bytes()).await;
        self.send(body).await;
        self.reply(method).await
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    async fn reply(&mut self, method: &str) -> Reply {
        tokio::time::timeout(LIMIT, self.read_reply(method)).await.expect("a reply in time")
    }

    async fn read_reply(&mut self, method: &str) -> Reply {
        let status_line = self.line().await;
        let mut words = status_line.split(' ');
        let version = words.next().unwrap().to_owned();
        let status = words.next().unwrap().parse().unwrap();
        let mut headers = BTreeMap::new();
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; if method == "HEAD" || status == 304 { 0 } else { length }];
        self.0.read_exact(&mut body).await.unwrap();
        Reply { version, status, headers, body }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }

    /// Nothing more will be sent.
    async fn end_sending(&mut self) {
        self.0.shutdown().await.unwrap();
    }

    /// The node has closed the connection.
    async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        matches!(tokio::time::timeout(LIMIT, self.0.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
    }
}

/// A connection to the side channel.
struct SideChannel(BufReader<TcpStream>);

impl SideChannel {
    async fn ask(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n")).await;
        self.line().await
    }

    async fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
    }

    /// The next line, with its end.
    async fn line(&mut self) -> String {
        let mut line = String::new();
        tokio::time::timeout(LIMIT, self.0.read_line(&mut line)).await.expect("a line in time").unwrap();
        line
    }
}

async fn until(what: &str, mut fact: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !fact() {
        assert!(Instant::now() < end, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn checksum(hashtype: HashType, bytes: &[u8]) -> Checksum {
    let mut hasher = hashtype.hasher();
    hasher.update(bytes);
    hasher.finish()
}

fn content_md5(bytes: &[u8]) -> String {
    let digest = checksum(HashType::Md5, bytes).digest;
    format!("Content-MD5: {}", base64::engine::general_purpose::STANDARD.encode(digest))
}

/// Bytes that are not the same everywhere.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
}

/// S1, S2, S3, S7.
#[actix_rt::test]
async fn uploads_are_served() {
    let node = TestNode::start().await;
    assert_eq!(node.put(FID, b"first").await, 201);
    assert_eq!(std::fs::read(node.path(FID)).unwrap(), b"first");
    assert_eq!(node.put(FID, b"second").await, 204);
    let mut http = node.http().await;
    let head = http.ask("HEAD", FID, &[], b"").await;
    assert_eq!((head.status, head.header("content-length")), (200, "6"));
    let reply = http.ask("GET", FID, &[], b"").await;
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b"second"[..]));
    assert_eq!(reply.header("accept-ranges"), "bytes");
    assert_eq!(node.put(FID, b"").await, 204);
    let head = http.ask("HEAD", FID, &[], b"").await;
    assert_eq!((head.status, head.header("content-length")), (200, "0"));
    assert_eq!(http.ask("GET", FID, &[], b"").await.status, 200);
    assert_eq!(http.ask("GET", "/dev11/0/none.fid", &[], b"").await.status, 404);
    assert_eq!(http.ask("HEAD", "/dev99/0/none.fid", &[], b"").await.status, 404);
    assert_eq!(node.files(), ["0000009999.fid"]);
}

/// S1, S3, S4 with sizes around those at which reading and writing change their ways.
#[actix_rt::test]
async fn files_of_all_sizes() {
    for sync in [SyncPolicy::Never, SyncPolicy::Always] {
        let node = TestNode::start_with(|settings| settings.sync = sync).await;
        // What comes after something unusual goes on in another way than plain requests.
        let (mut http, mut plain) = (node.http().await, node.http().await);
        assert_eq!(http.ask("DELETE", FID, &[], b"").await.status, 404);
        for length in [
            1,
            8191,
            32 * 1024,
            32 * 1024 + 1,
            64 * 1024,
            64 * 1024 + 1,
            256 * 1024,
            256 * 1024 + 1,
            512 * 1024,
            3_000_001,
        ] {
            let content = pattern(length);
            let md5 = content_md5(&content);
            // Large uploads are unusual, too.
            let uploading = if length <= 64 * 1024 { vec![&mut http, &mut plain] } else { vec![&mut http] };
            for http in uploading {
                assert!((200..300).contains(&http.ask("PUT", FID, &[&md5], &content).await.status));
                assert_eq!(http.ask("PUT", FID, &[&content_md5(b"other")], &content).await.status, 400);
            }
            let range = format!("Range: bytes=1-{}", length * 2 / 3);
            for http in [&mut http, &mut plain] {
                assert!(http.ask("GET", FID, &[], b"").await.body == content, "{length} bytes");
                let part = http.ask("GET", FID, &[&range], b"").await;
                if length > 1 {
                    assert_eq!(part.status, 206);
                    assert!(part.body == content[1..=length * 2 / 3], "{length} bytes");
                }
            }
        }
    }
}

/// S4, S5.
#[actix_rt::test]
async fn ranges() {
    let node = TestNode::start().await;
    node.put(FID, b"second").await;
    let mut http = node.http().await;
    for (range, status, body, content_range) in [
        ("bytes=1-3", 206, "eco", "bytes 1-3/6"),
        ("bytes=-2", 206, "nd", "bytes 4-5/6"),
        ("bytes=4-", 206, "nd", "bytes 4-5/6"),
        ("bytes=0-0,2-3", 200, "second", ""),
    ] {
        let reply = http.ask("GET", FID, &[&format!("Range: {range}")], b"").await;
        assert_eq!((reply.status, reply.body.as_slice()), (status, body.as_bytes()), "{range}");
        assert_eq!(reply.header("content-range"), content_range);
    }
    let reply = http.ask("GET", FID, &["Range: bytes=100-200"], b"").await;
    assert_eq!((reply.status, reply.header("content-range")), (416, "bytes */6"));
}

#[actix_rt::test]
async fn unchanged_files_are_not_sent_again() {
    let node = TestNode::start().await;
    node.put(FID, b"second").await;
    let mut http = node.http().await;
    let modified = http.ask("HEAD", FID, &[], b"").await.header("last-modified").to_owned();
    let conditional = format!("If-Modified-Since: {modified}");
    assert_eq!(http.ask("GET", FID, &[&conditional], b"").await.status, 304);
    let long_ago = "If-Modified-Since: Mon, 01 Jan 2001 00:00:00 GMT";
    assert_eq!(http.ask("GET", FID, &[long_ago], b"").await.status, 200);
    let same = format!("If-Range: {modified}");
    assert_eq!(http.ask("GET", FID, &["Range: bytes=0-1", &same], b"").await.status, 206);
    let other = "If-Range: Mon, 01 Jan 2001 00:00:00 GMT";
    assert_eq!(http.ask("GET", FID, &["Range: bytes=0-1", other], b"").await.status, 200);
}

/// What clients and caches say about what they have; S3 without a word of that.
#[actix_rt::test]
async fn entity_tags() {
    let node = TestNode::start().await;
    node.put(FID, b"second").await;
    let mut http = node.http().await;
    let tag = http.ask("GET", FID, &[], b"").await.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    let none = http.ask("GET", FID, &[&format!("If-None-Match: {tag}")], b"").await;
    assert_eq!((none.status, none.header("etag"), none.body.len()), (304, tag.as_str(), 0));
    assert_eq!(http.ask("GET", FID, &[&format!("If-Match: {tag}")], b"").await.status, 200);
    assert_eq!(http.ask("GET", FID, &["If-Match: \"other\""], b"").await.status, 412);
    assert_eq!(http.ask("GET", FID, &["Range: bytes=0-1", &format!("If-Range: {tag}")], b"").await.status, 206);
    node.put(FID, b"third!").await;
    assert_eq!(http.ask("GET", FID, &[&format!("If-None-Match: {tag}")], b"").await.status, 200);
    assert_eq!(http.ask("GET", FID, &["Range: bytes=0-1", &format!("If-Range: {tag}")], b"").await.status, 200);
}

/// The same question, asked plainly and in a way that only the HTTP library answers, has the same answer.
#[actix_rt::test]
async fn both_ways_of_answering_say_the_same() {
    let node = TestNode::start().await;
    node.put(FID, &pattern(100_000)).await;
    let (mut plain, mut library) = (node.http().await, node.http().await);
    assert_eq!(library.ask("DELETE", "/dev11/none", &[], b"").await.status, 404);
    for uri in [FID, "/", "/dev11/none", "/dev11/../x", "/dev11", "/dev11/usage", "/dev11/0"] {
        for method in ["GET", "HEAD"] {
            for header in [&[][..], &["Range: bytes=5-70000"], &["Range: bytes=200000-"], &["If-None-Match: *"]] {
                let [mut one, mut other] =
                    [plain.ask(method, uri, header, b"").await, library.ask(method, uri, header, b"").await];
                one.headers.remove("date");
                other.headers.remove("date");
                assert_eq!(one.status, other.status, "{method} {uri} {header:?}");
                assert_eq!(one.headers, other.headers, "{method} {uri} {header:?}");
                assert!(one.body == other.body, "{method} {uri} {header:?}");
            }
        }
    }
}

/// Requests that are sent without waiting for answers, also where the library takes over between them.
#[actix_rt::test]
async fn pipelined_requests_are_answered_in_order() {
    let node = TestNode::start().await;
    node.put(FID, b"second").await;
    let mut http = node.http().await;
    let get = format!("GET {FID} HTTP/1.1\r\nHost: x\r\n\r\n");
    let delete = format!("DELETE {FID} HTTP/1.1\r\nHost: x\r\n\r\n");
    http.send(format!("{get}{get}{delete}{get}").as_bytes()).await;
    for (method, status) in [("GET", 200), ("GET", 200), ("DELETE", 204), ("GET", 404)] {
        assert_eq!(http.reply(method).await.status, status);
    }
}

/// A head that trickles in is given up.
#[actix_rt::test]
async fn a_slow_head_is_cut() {
    let node = TestNode::start_with(|settings| settings.header_timeout_ms = 100).await;
    let mut http = node.http().await;
    http.send(b"GET / HTT").await;
    assert!(http.is_closed().await);
}

/// A client that takes an answer too slowly is cut, though it is never silent for long.
#[actix_rt::test]
async fn a_slow_reader_is_cut() {
    let node = TestNode::start_with(|settings| {
        settings.idle_timeout_ms = 300;
        settings.rate_min_bytes_per_sec = 1_000_000_000;
    })
    .await;
    node.put(FID, &pattern(64_000_000)).await;
    let mut http = node.http().await;
    http.send(format!("GET {FID} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
    let (mut piece, mut read) = (vec![0; 1_000_000], 0);
    loop {
        match tokio::time::timeout(LIMIT, http.0.read(&mut piece)).await.unwrap() {
            Ok(0) | Err(_) => break,
            Ok(count) => read += count,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(read < 64_000_000, "all of it came");
}

/// A file that is cut while it is sent: the reader sees that something is missing, and the node goes on. Both ways of
/// sending, by the system itself and (after a header that only the library reads) piece by piece.
#[actix_rt::test]
async fn a_file_that_is_cut_while_it_is_sent_is_no_whole_answer() {
    let node = TestNode::start().await;
    for header in ["Accept: */*", "Expect: 100-continue"] {
        let whole = 64_000_000;
        assert!(node.put(FID, &pattern(whole)).await < 300);
        let mut http = node.http().await;
        http.send(format!("GET {FID} HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n").as_bytes()).await;
        let (mut piece, mut read) = (vec![0; 100_000], 0);
        read += http.0.read(&mut piece).await.unwrap();
        let file = std::fs::File::options().write(true).open(node.path(FID)).unwrap();
        file.set_len(1_000_000).unwrap();
        loop {
            match tokio::time::timeout(LIMIT, http.0.read(&mut piece)).await.expect("it ends") {
                Ok(0) | Err(_) => break,
                Ok(count) => read += count,
            }
        }
        assert!(read < whole, "{header}: {read} bytes came");
        assert_eq!(node.get(FID).await.body.len(), 1_000_000, "{header}");
    }
}

/// Copies from other nodes have a limit of their own, which clients do not feel.
#[actix_rt::test]
async fn copies_have_a_bandwidth_of_their_own() {
    let source = TestNode::start().await;
    let target = TestNode::start_with(|settings| settings.background_bandwidth_bytes_per_sec = 1_000_000).await;
    let content = pattern(400_000);
    assert!(source.put(COPY_PATH, &content).await < 300);
    let begun = Instant::now();
    assert_eq!(copy_in(&target, &url(&source), content.len(), "").await.0, 200);
    let copied = begun.elapsed();
    assert!(copied > Duration::from_millis(200), "{copied:?}");
    assert!(std::fs::read(target.path(COPY_PATH)).unwrap() == content);
    let begun = Instant::now();
    assert!(target.put(FID, &content).await < 300);
    assert!(begun.elapsed() < copied, "{:?}, the copy {copied:?}", begun.elapsed());
}

/// Limits of bandwidth hold for answers of both kinds and for uploads.
#[actix_rt::test]
async fn bandwidth_is_limited() {
    let node = TestNode::start_with(|settings| settings.connection_bandwidth_bytes_per_sec = 1_000_000).await;
    let body = pattern(300_000);
    for ask in ["PUT", "GET", "GET"] {
        let begun = Instant::now();
        let mut http = node.http().await;
        match ask {
            "PUT" => assert_eq!(http.ask("PUT", FID, &[], &body).await.status, 201),
            _ => assert!(http.ask("GET", FID, &[], b"").await.body == body),
        }
        assert!(begun.elapsed() > Duration::from_millis(200), "{ask} took {:?}", begun.elapsed());
    }
}

/// Who finds no room waits until another connection is closed.
#[actix_rt::test]
async fn connections_are_limited() {
    let node = TestNode::start_with(|settings| settings.connections_max = 1).await;
    let mut first = node.http().await;
    assert_eq!(first.ask("GET", "/", &[], b"").await.status, 200);
    let mut second = node.http().await;
    second.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let early = tokio::time::timeout(Duration::from_millis(100), second.reply("GET")).await;
    assert!(early.is_err(), "it did not wait");
    drop(first);
    assert_eq!(second.reply("GET").await.status, 200);
}

/// The address for reading refuses everything else.
#[actix_rt::test]
async fn the_get_address_only_reads() {
    let node = TestNode::start_with(|settings| settings.get_listen = "127.0.0.1:0".to_owned()).await;
    node.put(FID, b"second").await;
    let address = node.node.get_addr.unwrap();
    let connect = async || Http(BufReader::new(TcpStream::connect(address).await.unwrap()));
    assert_eq!(connect().await.ask("GET", FID, &[], b"").await.body, b"second");
    for method in ["PUT", "DELETE", "MKCOL", "COPYFROM"] {
        assert_eq!(connect().await.ask(method, FID, &[], b"").await.status, 405, "{method}");
    }
    assert_eq!(node.get(FID).await.body, b"second");
}

/// Devices of several document roots are served side by side; S16–S19 hold for each.
#[actix_rt::test]
async fn several_document_roots() {
    let more = tempfile::tempdir().unwrap();
    std::fs::create_dir(more.path().join("dev21")).unwrap();
    let node = TestNode::start_with(|settings| {
        settings.extra_docroots = vec![more.path().to_owned()];
        settings.usage_interval_ms = 50;
    })
    .await;
    let fid = FID.replace("dev11", "dev21");
    assert_eq!(node.put(&fid, b"elsewhere").await, 201);
    assert_eq!(std::fs::read(more.path().join(fid.trim_start_matches('/'))).unwrap(), b"elsewhere");
    assert_eq!(node.get("/dev21/usage").await.status, 200);
    assert_eq!(node.get("/dev11/usage").await.status, 200);
    assert_eq!(node.side_channel().await.ask(&format!("size {fid}")).await, format!("{fid} 9\r\n"));
    std::fs::create_dir(more.path().join("dev22")).unwrap();
    until("a device found later has a usage file", || more.path().join("dev22/usage").exists()).await;
    // A number that is in service does not change its place.
    std::fs::create_dir(node.docroot.path().join("dev21")).unwrap();
    std::fs::create_dir(more.path().join("dev23")).unwrap();
    until("another round", || more.path().join("dev23/usage").exists()).await;
    assert_eq!(node.get(&fid).await.body, b"elsewhere");
}

#[actix_rt::test]
async fn a_device_in_two_document_roots_is_refused_at_start() {
    let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for root in [&one, &other] {
        std::fs::create_dir(root.path().join("dev7")).unwrap();
    }
    let mut settings = settings(one.path());
    settings.extra_docroots = vec![other.path().to_owned()];
    let error = node::start(&settings, mogilefs::logging::discard()).await.err().unwrap().to_string();
    for root in [&one, &other] {
        assert!(error.contains(root.path().canonicalize().unwrap().join("dev7").to_str().unwrap()), "{error}");
    }
}

/// Every policy stores what it is given (S1, S2); what a power cut takes away cannot be tried here.
#[actix_rt::test]
async fn uploads_by_every_sync_policy() {
    for policy in [SyncPolicy::Always, SyncPolicy::File, SyncPolicy::Never] {
        let node = TestNode::start_with(|settings| settings.sync = policy).await;
        assert_eq!((node.put(FID, b"first").await, node.put(FID, b"second").await), (201, 204), "{policy:?}");
        assert_eq!(node.ask("PUT", FID, &["Content-Range: bytes 0-1/6"], b"SE").await.status, 204);
        assert_eq!(node.get(FID).await.body, b"SEcond");
    }
}

/// S6.
#[actix_rt::test]
async fn wrong_checksums_are_refused() {
    let node = TestNode::start().await;
    node.put(FID, b"old").await;
    let wrong = content_md5(b"other");
    for header in [wrong.as_str(), "Content-MD5: abc", "Content-MD5: AAAA"] {
        assert_eq!(node.ask("PUT", FID, &[header], b"new").await.status, 400, "{header}");
        assert_eq!(node.get(FID).await.body, b"old");
        assert_eq!(node.files(), ["0000009999.fid"]);
    }
    let large = pattern(2_000_000);
    assert_eq!(node.ask("PUT", FID, &[&wrong], &large).await.status, 400);
    assert_eq!(node.get(FID).await.body, b"old");
    assert_eq!(node.ask("PUT", FID, &[&content_md5(b"new")], b"new").await.status, 204);
    assert_eq!(node.get(FID).await.body, b"new");
    assert_eq!(node.files(), ["0000009999.fid"]);
}

/// S8, S9.
#[actix_rt::test]
async fn chunked_uploads() {
    let node = TestNode::start().await;
    let mut http = node.http().await;
    let chunked = ["Transfer-Encoding: chunked"];
    let body = b"4\r\nabcd\r\n6\r\nefghij\r\n0\r\n\r\n";
    assert_eq!(http.ask("PUT", FID, &chunked, body).await.status, 201);
    assert_eq!(http.ask("GET", FID, &[], b"").await.body, b"abcdefghij");
    assert_eq!(http.ask("PUT", "/dev99/0/a.fid", &chunked, body).await.status, 404);
    assert!(!node.path("/dev99").exists());
}

/// S9, S10.
/// N4: clients with a `largefile` mode put an empty file and then its parts, one after the other.
#[actix_rt::test]
async fn a_file_can_be_put_in_parts() {
    let node = TestNode::start().await;
    assert_eq!(node.put(FID, b"").await, 201);
    for (range, part, status) in [
        ("bytes 0-3/*", &b"0123"[..], 204),
        ("bytes 4-9/*", b"456789", 204),
        ("bytes 2-3/10", b"xy", 204),
        ("bytes 12-12/*", b"!", 204),
    ] {
        let header = format!("Content-Range: {range}");
        assert_eq!(node.ask("PUT", FID, &[&header], part).await.status, status, "{range}");
    }
    assert_eq!(std::fs::read(node.path(FID)).unwrap(), b"01xy456789\0\0!");
    let whole = node.ask("PUT", FID, &["Content-Range: bytes 0-4/5"], b"whole").await;
    assert_eq!(whole.status, 204);
    assert_eq!(std::fs::read(node.path(FID)).unwrap(), b"whole", "all of it: what was longer is gone");
    let other = FID.replace("9999.fid", "9998.fid");
    assert_eq!(node.ask("PUT", &other, &["Content-Range: bytes 0-2/*"], b"new").await.status, 201);
    assert_eq!(std::fs::read(node.path(&other)).unwrap(), b"new");
    let wrong = &["Content-Range: bytes 0-2/*", "Content-MD5: kDPg4wXyR8DDyA0MeEjIsw=="];
    assert_eq!(node.ask("PUT", &other, wrong, b"bad").await.status, 400);
}

/// `mogadm check` asks for `//dev1/usage`.
#[actix_rt::test]
async fn repeated_slashes_count_as_one() {
    let node = TestNode::start().await;
    assert_eq!(node.put(FID, b"bytes").await, 201);
    let doubled = format!("/{}", FID.replacen("/0/", "//0/", 1));
    let reply = node.ask("GET", &doubled, &[], b"").await;
    assert_eq!((reply.status, &reply.body[..]), (200, &b"bytes"[..]), "{doubled}");
}

#[actix_rt::test]
async fn uploads_outside_devices_are_refused() {
    let node = TestNode::start().await;
    assert_eq!(node.put("/dev99/0/000/a.fid", b"x").await, 404);
    assert!(!node.path("/dev99").exists());
    for uri in
        ["/dev11/../x", "/dev11/0/../../x", "/x", "/x/y", "/dev11", "/dev11/", "/dev11/a%41", "/dev11/.a.1.2.tmp"]
    {
        assert_eq!(node.put(uri, b"x").await, 400, "{uri}");
    }
    for method in ["PUT", "DELETE"] {
        assert_eq!(
            node.ask(method, "/dev11/.mogilefs-device", &[], b"x").await.status,
            400,
            "{method} of a disk's mark"
        );
    }
    for range in ["bytes 0-1/*", "bytes 1-0/*", "0-0/1", "bytes 0-0"] {
        let header = format!("Content-Range: {range}");
        assert_eq!(node.ask("PUT", FID, &[&header], b"x").await.status, 400, "{range}");
    }
    std::fs::create_dir(node.path("/dev11/dir")).unwrap();
    assert_eq!(node.put("/dev11/dir", b"x").await, 400);
    assert_eq!(node.put("/dev11/usage/x", b"x").await, 400, "a file in the way");
    assert_eq!(node.files(), [""; 0]);
    std::fs::write(node.path("/secret"), "x").unwrap();
    for uri in ["/secret", "/dev11/../secret", "/dev11/%2e%2e/secret"] {
        assert!(node.get(uri).await.status >= 400, "{uri}");
    }
}

/// S9: the device directory is looked for at each upload.
#[actix_rt::test]
async fn a_device_that_goes_is_noticed() {
    let node = TestNode::start().await;
    assert_eq!(node.put(FID, b"x").await, 201);
    std::fs::remove_dir_all(node.path("/dev11")).unwrap();
    assert_eq!(node.put(FID, b"x").await, 404);
    assert!(!node.path("/dev11").exists());
}

/// S11.
#[actix_rt::test]
async fn deletions() {
    let node = TestNode::start().await;
    node.put(FID, b"x").await;
    let mut http = node.http().await;
    for (uri, status) in [
        (FID, 204),
        (FID, 404),
        ("/dev11/0/000/009", 400),
        ("/dev11/0/000/009/", 400),
        ("/dev11", 400),
        ("/dev99/x", 404),
        ("/dev12/../dev11/usage", 400),
    ] {
        assert_eq!(http.ask("DELETE", uri, &[], b"").await.status, status, "{uri}");
    }
    assert!(node.path("/dev11/0/000/009").is_dir());
    assert!(node.path("/dev11/usage").is_file());
}

/// S12.
#[actix_rt::test]
async fn other_methods() {
    let node = TestNode::start().await;
    let mut http = node.http().await;
    assert_eq!(http.ask("MKCOL", "/dev11/test-write/", &[], b"").await.status, 400);
    assert!(!node.path("/dev11/test-write").exists());
    let root = http.ask("GET", "/", &[], b"").await;
    assert_eq!(root.status, 200);
    assert!(!root.body.is_empty());
    for method in ["POST", "OPTIONS", "MOVE"] {
        assert_eq!(http.ask(method, FID, &["Content-Length: 0"], b"").await.status, 405, "{method}");
    }
}

/// Takes the mount away at the end.
struct Mounted(PathBuf);

impl Mounted {
    /// A file system of 300 kB at this directory; `None` where mounting is not allowed.
    fn tiny(directory: &Path) -> Option<Self> {
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=300k", "mogilefs-test"])
            .arg(directory)
            .stderr(std::process::Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(directory.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// S13, S16 (a mount point is named as such).
#[actix_rt::test]
async fn a_full_device_refuses_uploads() {
    let node = TestNode::start_with(|settings| settings.usage_interval_ms = 50).await;
    let device = node.path("/dev12");
    let Some(_mounted) = Mounted::tiny(&device) else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let uri = "/dev12/0/000/000/0000000001.fid";
    assert_eq!(node.put(uri, &pattern(1_000_000)).await, 507);
    assert_eq!(node.put(uri, &pattern(250_000)).await, 201);
    assert_eq!(node.put("/dev12/2.fid", &pattern(100_000)).await, 507);
    assert_eq!(node.put(uri, &pattern(200_000)).await, 507, "both versions do not fit");
    assert_eq!(node.get(uri).await.body, pattern(250_000));
    assert_eq!(node.files(), ["0000000001.fid"]);
    let disk = format!("disk: {}\n", device.canonicalize().unwrap().display());
    until("usage of the mounted device", || {
        let usage = std::fs::read_to_string(device.join("usage")).unwrap_or_default();
        usage.contains(&disk) && usage.contains("device: mogilefs-test\n") && usage.contains("total: 300\n")
    })
    .await;
}

/// A device that has become read-only serves what it has, refuses the rest, and says so in its usage file.
#[actix_rt::test]
async fn a_read_only_device_says_so() {
    let node = TestNode::start_with(|settings| settings.usage_interval_ms = 50).await;
    let device = node.path("/dev12");
    let Some(_mounted) = Mounted::tiny(&device) else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let remount = |option: &str| {
        let done = std::process::Command::new("mount").args(["-o", option]).arg(&device).status();
        assert!(done.unwrap().success());
    };
    until("the mounted device is marked", || device.join(".mogilefs-device").exists()).await;
    assert_eq!(node.put("/dev12/1.fid", b"kept").await, 201);
    remount("remount,ro");
    assert_eq!(node.put("/dev12/1.fid", b"lost").await, 403);
    assert_eq!(node.put("/dev12/2.fid", b"lost").await, 403);
    assert_eq!(node.ask("DELETE", "/dev12/1.fid", &[], b"").await.status, 403);
    assert_eq!(node.get("/dev12/1.fid").await.body, b"kept");
    let usage = async || String::from_utf8(node.get("/dev12/usage").await.body).unwrap();
    let end = Instant::now() + LIMIT;
    while !usage().await.contains("readonly: yes\n") {
        assert!(Instant::now() < end, "{}", usage().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(parse_usage(&usage().await)["total"], "300");
    remount("remount,rw");
    let end = Instant::now() + LIMIT;
    while usage().await.contains("readonly") {
        assert!(Instant::now() < end, "it stays read-only");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(node.put("/dev12/1.fid", b"new").await, 204);
}

/// S14, and nothing is left of the broken upload.
#[actix_rt::test]
async fn broken_uploads_change_nothing() {
    let node = TestNode::start().await;
    node.put(FID, b"old").await;
    for sent in [10, 1_200_000] {
        let mut http = node.http().await;
        http.send(format!("PUT {FID} HTTP/1.1\r\nHost: node\r\nContent-Length: 2000000\r\n\r\n").as_bytes()).await;
        http.send(&pattern(sent)).await;
        until("an upload in progress", || node.uploads() == 1).await;
        drop(http);
        until("the end of the upload", || node.uploads() == 0).await;
        assert_eq!(node.files(), ["0000009999.fid"]);
        assert_eq!(node.get(FID).await.body, b"old");
    }
    // A small one is not begun before all of it is there.
    let mut http = node.http().await;
    http.send(format!("PUT {FID} HTTP/1.1\r\nHost: node\r\nContent-Length: 20\r\n\r\nabc").as_bytes()).await;
    http.end_sending().await;
    assert!(http.is_closed().await);
    assert_eq!((node.uploads(), node.get(FID).await.body), (0, b"old".to_vec()));
}

/// S14 with a sender that falls silent, and idle connections.
#[actix_rt::test]
async fn silent_connections_are_closed() {
    let node = TestNode::start_with(|settings| settings.idle_timeout_ms = 100).await;
    let mut idle = node.http().await;
    assert_eq!(idle.ask("PUT", FID, &[], b"old").await.status, 201);
    let mut stalled = node.http().await;
    stalled.send(format!("PUT {FID} HTTP/1.1\r\nHost: node\r\nContent-Length: 20\r\n\r\nabc").as_bytes()).await;
    assert!(idle.is_closed().await);
    assert!(stalled.is_closed().await);
    assert_eq!((node.uploads(), node.files()), (0, vec!["0000009999.fid".to_owned()]));
    assert_eq!(node.get(FID).await.body, b"old");
}

/// Who may not write may read.
#[actix_rt::test]
async fn only_those_who_are_listed_write() {
    let node = TestNode::start_with(|settings| settings.writes_from = vec!["10.9.9.9".to_owned()]).await;
    std::fs::create_dir_all(node.path(FID).parent().unwrap()).unwrap();
    std::fs::write(node.path(FID), "old").unwrap();
    for method in ["PUT", "DELETE", "MKCOL"] {
        let reply = node.http().await.ask(method, FID, &[], b"new").await;
        assert_eq!(reply.status, 405, "{method}");
    }
    assert_eq!(node.get(FID).await.body, b"old");
    let listed = TestNode::start_with(|settings| settings.writes_from = vec!["127.0.0.0/8".to_owned()]).await;
    listed.put(FID, b"new").await;
}

/// S15.
#[actix_rt::test]
async fn old_clients_keep_their_connections() {
    let node = TestNode::start().await;
    let mut http = node.http().await;
    let put = format!("PUT {FID} HTTP/1.0\r\nConnection: keep-alive\r\nContent-length: 5\r\n\r\nfirst");
    let get = format!("GET {FID} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    for (request, method, body) in [(&put, "PUT", ""), (&get, "GET", "first"), (&get, "GET", "first")] {
        http.send(request.as_bytes()).await;
        let reply = http.reply(method).await;
        assert!((200..300).contains(&reply.status));
        assert_eq!(reply.version, "HTTP/1.0");
        assert_eq!(reply.header("connection").to_ascii_lowercase(), "keep-alive");
        assert_eq!(reply.body, body.as_bytes());
    }
    http.send(format!("GET {FID} HTTP/1.0\r\n\r\n").as_bytes()).await;
    assert_eq!(http.reply("GET").await.body, b"first");
    assert!(http.is_closed().await);
}

fn parse_usage(text: &str) -> BTreeMap<String, String> {
    assert!(text.ends_with('\n'), "partial: {text:?}");
    text.lines().map(|line| line.split_once(": ").expect(line)).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// S16, and the mark of the device.
#[actix_rt::test]
async fn usage_is_there_from_the_start_and_always_whole() {
    let node = TestNode::start_with(|settings| settings.usage_interval_ms = 5).await;
    let mut http = node.http().await;
    let mut times_changed = 0;
    let mut last_modified = None;
    let end = Instant::now() + LIMIT;
    while times_changed < 20 {
        assert!(Instant::now() < end, "usage is not renewed");
        let reply = http.ask("GET", "/dev11/usage", &[], b"").await;
        assert_eq!((reply.status, reply.header("content-type")), (200, "text/plain"));
        let usage = parse_usage(&String::from_utf8(reply.body).unwrap());
        assert_eq!(
            usage.keys().map(String::as_str).collect::<Vec<_>>(),
            ["available", "device", "disk", "time", "total", "use", "used", "uuid"]
        );
        let number = |key: &str| usage[key].parse::<u64>().unwrap();
        assert_eq!(number("total"), number("used") + number("available"));
        assert!(number("used") >= 1);
        assert!(number("time") > 1_600_000_000);
        let modified = std::fs::metadata(node.path("/dev11/usage")).unwrap().modified().unwrap();
        times_changed += u32::from(last_modified.replace(modified) != Some(modified));
    }
}

/// S17.
#[actix_rt::test]
async fn new_devices_get_usage_files() {
    let node = TestNode::start_with(|settings| settings.usage_interval_ms = 20).await;
    std::fs::create_dir(node.path("/dev13")).unwrap();
    until("usage of the new device", || node.path("/dev13/usage").exists()).await;
    parse_usage(&String::from_utf8(node.get("/dev13/usage").await.body).unwrap());
}

/// S18, S19.
#[actix_rt::test]
async fn sizes_and_checksums() {
    let node = TestNode::start().await;
    let content = pattern(2_500_000);
    node.put(FID, b"second").await;
    node.put("/dev12/large.fid", &content).await;
    let mut side = node.side_channel().await;
    assert_eq!(side.ask(&format!("size {FID}")).await, format!("{FID} 6\r\n"));
    assert_eq!(side.ask("size /dev11/none").await, "/dev11/none -1\r\n");
    assert_eq!(side.ask("size dev11/usage").await, "dev11/usage -1\r\n");
    for hashtype in HashType::ALL {
        let name = hashtype.name();
        let small = checksum(hashtype, b"second").hex();
        let large = checksum(hashtype, &content).hex();
        for reason in ["", " fsck", " Some_1"] {
            assert_eq!(side.ask(&format!("{name} {FID}{reason}")).await, format!("{FID} {name}={small}\r\n"));
            let expected = format!("/dev12/large.fid {name}={large}\r\n");
            assert_eq!(side.ask(&format!("{name} /dev12/large.fid{reason}")).await, expected);
            assert_eq!(side.ask(&format!("{name} /dev11/none{reason}")).await, format!("/dev11/none {name}=-1\r\n"));
        }
        let expected = "ERR read /dev11/0 at 0 failed\r\n";
        assert_eq!(side.ask(&format!("{name} /dev11/0")).await, expected, "a directory");
    }
}

/// S18, S19: answers come in the order of the commands (N5).
#[actix_rt::test]
async fn answers_keep_the_order_of_commands() {
    let node = TestNode::start().await;
    node.put(FID, &pattern(3_000_000)).await;
    let mut side = node.side_channel().await;
    side.send(&format!("MD5 {FID}\nsize {FID}\n\nsize /dev11/none\n")).await;
    assert!(side.line().await.starts_with(&format!("{FID} MD5=")));
    assert_eq!(side.line().await, format!("{FID} 3000000\r\n"));
    assert_eq!(side.line().await, "\r\n");
    assert_eq!(side.line().await, "/dev11/none -1\r\n");
}

/// S20, S21.
#[actix_rt::test]
async fn words_that_are_not_known() {
    let node = TestNode::start().await;
    let mut side = node.side_channel().await;
    for (line, word) in [(format!("md5 {FID}"), "md5"), (format!("SHA1 {FID}"), "sha1"), ("bogus".to_owned(), "bogus")]
    {
        assert_eq!(side.ask(&line).await, format!("ERROR: unknown command: {word}\r\n"));
    }
    assert_eq!(side.ask("size /dev11/../x").await, "ERROR: uri invalid (contains ..)\r\n");
    assert_eq!(side.ask("size /dev11/none").await, "/dev11/none -1\r\n");
    side.send(&"x".repeat(20_000)).await;
    assert!(side.line().await.starts_with("ERROR"));
}

/// S22.
#[actix_rt::test]
async fn utilisation_is_streamed() {
    let node = TestNode::start().await;
    std::fs::create_dir(node.path("/dev9")).unwrap();
    let second = TestNode {
        node: node::start(&settings(node.docroot.path()), mogilefs::logging::discard()).await.unwrap(),
        docroot: node.docroot,
    };
    let mut side = second.side_channel().await;
    side.send("WATCH\r\n").await;
    let begun = Instant::now();
    for _group in 0..3 {
        for number in ["9", "11", "12"] {
            let line = side.line().await;
            let (device, value) = line.strip_suffix('\n').unwrap().split_once('\t').expect(&line);
            assert_eq!(device, number);
            assert!(value == "-" || value.parse::<u8>().is_ok_and(|percent| percent <= 100), "{value:?}");
        }
        assert_eq!(side.line().await, ".\n");
    }
    assert!(begun.elapsed() > Duration::from_millis(1500), "one group each second");
}

/// S25: what a tracker does to find out whether a device is writeable.
#[actix_rt::test]
async fn write_test_of_a_tracker() {
    let node = TestNode::start().await;
    let mut http = node.http().await;
    http.send(b"GET /dev11/usage HTTP/1.0\r\nConnection: Keep-Alive, keep-alive\r\nKeep-Alive: 300\r\n\r\n").await;
    assert_eq!(http.reply("GET").await.status, 200);
    let mkcol = "MKCOL /dev11/test-write/ HTTP/1.1\r\nConnection: keep-alive\r\nHost: n\r\nContent-Length: 0\r\n\r\n";
    http.send(mkcol.as_bytes()).await;
    assert_eq!(http.reply("MKCOL").await.status, 400);
    let (uri, content) = ("/dev11/test-write/test-write-59", b"time=1795367512 rand=59");
    assert_eq!(http.ask("PUT", uri, &["Content-Type: application/octet-stream"], content).await.status, 201);
    assert_eq!(http.ask("GET", uri, &[], b"").await.body, content);
    let wrong = ["Content-MD5: kDPg4wXyR8DDyA0MeEjIsw=="];
    assert_eq!(http.ask("PUT", "/dev11/test-write/test-md5", &wrong, b".").await.status, 400);
    assert_eq!(node.get("/dev11/test-write/test-md5").await.status, 404);
}

/// S24, N9: running uploads finish, idle connections do not delay the end, the ports are free again.
#[actix_rt::test]
async fn stopping_finishes_what_runs() {
    let node = TestNode::start().await;
    let (mut idle, mut fresh, mut running) = (node.http().await, node.http().await, node.http().await);
    let mut side = node.side_channel().await;
    assert_eq!(side.ask("").await, "\r\n");
    idle.ask("GET", "/", &[], b"").await;
    let large = pattern(100_000);
    running.send(format!("PUT {FID} HTTP/1.1\r\nHost: n\r\nContent-Length: 100000\r\n\r\n").as_bytes()).await;
    running.send(&large[..2]).await;
    until("an upload in progress", || node.uploads() == 1).await;
    let (mut small, small_path) = (node.http().await, "/dev11/0/000/000/0000000008.fid");
    // A request on the same connection before it: the node has seen that one.
    assert_eq!(small.ask("GET", "/", &[], b"").await.status, 200);
    small.send(format!("PUT {small_path} HTTP/1.1\r\nHost: n\r\nContent-Length: 5\r\n\r\nfi").as_bytes()).await;
    let http_addr = node.node.http_addr;
    let (file, small_file) = (node.path(FID), node.path(small_path));
    let stopping = actix_rt::spawn(node.node.stop());
    assert!(idle.is_closed().await);
    assert!(fresh.is_closed().await);
    assert_eq!(side.line().await, "");
    running.send(&large[2..]).await;
    assert_eq!(running.reply("PUT").await.status, 201);
    small.send(b"rst").await;
    assert_eq!(small.reply("PUT").await.status, 201);
    let begun = Instant::now();
    stopping.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!((std::fs::read(file).unwrap(), std::fs::read(small_file).unwrap()), (large, b"first".to_vec()));
    assert!(TcpStream::connect(http_addr).await.is_err());
}

#[actix_rt::test]
async fn starting_without_what_it_needs_fails_clearly() {
    let node = TestNode::start().await;
    let mut taken = settings(node.docroot.path());
    taken.http_listen = node.node.http_addr.to_string();
    let error = node::start(&taken, mogilefs::logging::discard()).await.err().unwrap();
    assert!(matches!(error, NodeStartError::Listen { .. }));
    assert!(error.to_string().contains("node.http_listen") && error.to_string().contains("in use"), "{error}");
    let missing = settings(&node.path("/missing"));
    let error = node::start(&missing, mogilefs::logging::discard()).await.err().unwrap();
    assert!(error.to_string().contains("node.docroot") && error.to_string().contains("missing"), "{error}");
}

/// N2: what a crash left is removed after the start.
#[actix_rt::test]
async fn leftovers_of_a_crash_are_removed() {
    let node = TestNode::start().await;
    let leftover = node.path("/dev11/0/.0000009999.fid.1.7.tmp");
    std::fs::create_dir(leftover.parent().unwrap()).unwrap();
    let file = std::fs::File::create(&leftover).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(60)).unwrap();
    let docroot = node.docroot;
    node.node.stop().await;
    let _again = node::start(&settings(docroot.path()), mogilefs::logging::discard()).await.unwrap();
    until("the sweep", || !leftover.exists()).await;
}

const COPY_PATH: &str = "/dev11/0/000/000/0000000042.fid";

/// An order to fetch a file, as the headers of COPYFROM.
fn order(source: &str, length: usize, hash: &str) -> Vec<String> {
    let mut headers = vec![format!("X-Mogilefs-Source: {source}"), format!("X-Mogilefs-Length: {length}")];
    headers.extend((!hash.is_empty()).then(|| format!("X-Mogilefs-Hash: {hash}")));
    headers
}

async fn copy_in(node: &TestNode, source: &str, length: usize, hash: &str) -> (u16, String) {
    let headers = order(source, length, hash);
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let reply = node.ask("COPYFROM", COPY_PATH, &headers, b"").await;
    (reply.status, String::from_utf8(reply.body).unwrap())
}

fn url(node: &TestNode) -> String {
    format!("http://{}{COPY_PATH}", node.node.http_addr)
}

/// A node fetches a file from another one, says what it stored, and says in every answer that it can.
#[actix_rt::test]
async fn copies_are_fetched_from_other_nodes() {
    let (source, target) = (TestNode::start().await, TestNode::start().await);
    for length in [0, 10, 3 << 20] {
        let content: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        assert!(source.put(COPY_PATH, &content).await < 300);
        let md5 = checksum(HashType::Md5, &content);
        assert_eq!(copy_in(&target, &url(&source), length, "MD5").await, (200, format!("stored {length} {md5}\n")));
        assert!(std::fs::read(target.path(COPY_PATH)).unwrap() == content);
        std::fs::remove_file(target.path(COPY_PATH)).unwrap();
        assert_eq!(copy_in(&target, &url(&source), length, "").await, (200, format!("stored {length}\n")));
        assert!(std::fs::read(target.path(COPY_PATH)).unwrap() == content);
    }
    for (method, path) in
        [("GET", COPY_PATH), ("HEAD", "/dev11/nothing"), ("MKCOL", "/dev11/0/"), ("DELETE", COPY_PATH)]
    {
        assert_eq!(target.ask(method, path, &[], b"").await.header("x-mogilefs-copyfrom"), "1", "{method}");
    }
}

/// Whatever cannot begin is refused, and nothing is stored; what was there stays.
#[actix_rt::test]
async fn orders_that_cannot_be_carried_out_store_nothing() {
    let (source, target) = (TestNode::start().await, TestNode::start().await);
    assert!(source.put(COPY_PATH, b"ten bytes.").await < 300);
    assert!(target.put(COPY_PATH, b"old").await < 300);
    let base = format!("http://{}", source.node.http_addr);
    assert_eq!(copy_in(&target, &url(&source), 9, "").await.0, 502, "another length");
    assert_eq!(copy_in(&target, &format!("{base}/dev11/0/000/000/0000000043.fid"), 10, "").await.0, 502, "not there");
    assert_eq!(copy_in(&target, "http://127.0.0.1:1/dev11/0/000/000/0000000042.fid", 10, "").await.0, 502, "nobody");
    for forbidden in ["/dev11/usage", "/", "/dev11/0/000/000/../0000000042.fid", "/dev11/0/000/000/0000000042.fid?a"] {
        assert_eq!(copy_in(&target, &format!("{base}{forbidden}"), 10, "").await.0, 400, "{forbidden}");
    }
    assert_eq!(copy_in(&target, &url(&source), 10, "CRC").await.0, 400, "an unknown hash");
    let headers = order(&url(&source), 10, "");
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    assert_eq!(target.ask("COPYFROM", "/dev99/0/000/000/0000000042.fid", &headers, b"").await.status, 404);
    assert_eq!(target.ask("COPYFROM", "/dev11/../x", &headers, b"").await.status, 400);
    assert_eq!(target.ask("COPYFROM", COPY_PATH, &headers[..1], b"").await.status, 400, "no length");
    assert_eq!(std::fs::read(target.path(COPY_PATH)).unwrap(), b"old");
    assert_eq!(target.files(), ["0000000042.fid"]);
}

/// A source that announces ten bytes, and gives these when it is told to.
async fn reluctant_source(bytes: &'static [u8]) -> (String, tokio::sync::oneshot::Sender<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{COPY_PATH}", listener.local_addr().unwrap());
    let (go, told) = tokio::sync::oneshot::channel();
    actix_rt::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
        }
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").await.unwrap();
        let _told = told.await;
        stream.get_mut().write_all(bytes).await.unwrap();
    });
    (url, go)
}

/// A copy that takes long is answered before it is done; signs of life come until the result does. A source that ends
/// early is to blame, and leaves nothing.
#[actix_rt::test]
async fn a_slow_copy_tells_its_result_at_the_end() {
    for (bytes, result) in [(b"ten bytes." as &[u8], "stored 10"), (b"ten", "source ")] {
        let node = TestNode::start().await;
        let (source, go) = reluctant_source(bytes).await;
        let mut http = node.http().await;
        let headers = order(&source, 10, "").join("\r\n");
        http.send(format!("COPYFROM {COPY_PATH} HTTP/1.1\r\nHost: node\r\n{headers}\r\n\r\n").as_bytes()).await;
        assert_eq!(http.line().await, "HTTP/1.1 200 OK");
        while !http.line().await.is_empty() {}
        // The first sign of life: a chunk of one byte.
        assert_eq!((http.line().await.as_str(), http.line().await.as_str()), ("1", ""));
        assert!(!node.path(COPY_PATH).exists());
        go.send(()).unwrap();
        let told = loop {
            let line = tokio::time::timeout(LIMIT, http.line()).await.expect("a line in time");
            if line.len() > 2 {
                break line;
            }
        };
        assert!(told.starts_with(result), "{told}");
        assert_eq!(node.path(COPY_PATH).exists(), result == "stored 10");
        assert!(node.files().iter().all(|name| name == "0000000042.fid"), "{:?}", node.files());
    }
}

/// Nobody waits for the copy any more: it is given up.
#[actix_rt::test]
async fn a_copy_ends_when_the_tracker_is_gone() {
    let node = TestNode::start().await;
    let (source, _go) = reluctant_source(b"").await;
    let mut http = node.http().await;
    let headers = order(&source, 10, "").join("\r\n");
    http.send(format!("COPYFROM {COPY_PATH} HTTP/1.1\r\nHost: node\r\n{headers}\r\n\r\n").as_bytes()).await;
    until("the copy is under way", || node.uploads() == 1).await;
    drop(http);
    until("it is given up", || node.uploads() == 0).await;
    assert!(node.files().is_empty());
}
