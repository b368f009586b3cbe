//! The command line against a scripted tracker and storage node over real sockets: what is sent, what is printed, which
//! exit code comes out. The real program runs; nothing of a real tracker is needed.

#[path = "cli/pages.rs"]
mod pages;

use mogilefs::client::{
    ClientError, StorageClient, Timeouts, TrackerClient, UploadRequest, UploadSource, no_progress, upload,
};
use mogilefs::protocol::args::{Args, escape};
use mogilefs::protocol::request::Request;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How a node treats the requests for a path; each is used up by one request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mishap {
    /// Answers 500.
    Refuse,
    /// Promises the whole body and hangs up after so many bytes of it.
    BreakAfter(usize),
}

#[derive(Clone, Debug, Default)]
struct StoredFile {
    fid: u64,
    class: String,
    path: String,
}

/// The state of the fake cluster, shared by its two servers and the test.
#[derive(Default)]
struct Cluster {
    node: String,
    next_fid: u64,
    /// By key.
    files: BTreeMap<String, StoredFile>,
    opened: BTreeMap<u64, String>,
    /// What the node holds, by path.
    bodies: BTreeMap<String, Vec<u8>>,
    /// By device number: what happens to the next requests for it.
    mishaps: BTreeMap<u64, Vec<Mishap>>,
    /// Tracker requests, as `command name=value …` in the order of the names.
    asked: Vec<String>,
    /// Node requests: method, path, the headers that matter.
    http: Vec<String>,
}

/// What a tracker says of a file with one good copy, one on a dead device, and three devices that have none.
const EXPLANATION: &str =
    "fid=7&domain=d&key=a+b&class=thumb&length=4096&devcount=1&policy=MultipleHosts%28%29&wanted=2
    &counted=1&verdict=too_few&verdict_text=1+copy,+2+wanted.&next=replicate&next_in_secs=12
    &next_text=Due+in+12+s:+replicate+copies.&queues=2
    &queue_1_name=replicate&queue_1_in_secs=12&queue_1_failcount=1&queue_1_text=copies
    &queue_2_name=fsck&queue_2_in_secs=&queue_2_failcount=0&queue_2_text=looks
    &copies=2
    &copy_1_devid=1&copy_1_host=h1&copy_1_status=alive&copy_1_host_status=alive&copy_1_observed=writeable
    &copy_1_host_observed=reachable&copy_1_state=readable&copy_1_counts=1&copy_1_offered=normal&copy_1_reason=good
    &copy_2_devid=12&copy_2_host=&copy_2_status=&copy_2_host_status=&copy_2_observed=&copy_2_host_observed=
    &copy_2_state=unknown_device&copy_2_counts=0&copy_2_offered=never&copy_2_reason=unknown
    &others=1&other_1_devid=3&other_1_host=h2&other_1_state=second_choice&other_1_mb_free=5&other_1_reason=meh
    &left_out=2&left_out_dead=1&left_out_too_full=1";

struct Fake {
    cluster: Arc<Mutex<Cluster>>,
    tracker: SocketAddr,
}

impl Fake {
    fn start() -> Self {
        let cluster = Arc::new(Mutex::new(Cluster { next_fid: 1, ..Cluster::default() }));
        let node = serve(&cluster, serve_node);
        cluster.lock().expect("no server thread panicked").node = format!("http://{node}");
        let tracker = serve(&cluster, serve_tracker);
        Self { cluster, tracker }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mogilefs"));
        command.args(args).env("MOGILEFS_TRACKERS", self.tracker.to_string()).env("MOGILEFS_DOMAIN", "d");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().expect("the program starts")
    }

    fn run_with_input(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        // A program that fails early closes its end; the exit code tells more than this error.
        let _ = child.stdin.take().expect("piped").write_all(input);
        child.wait_with_output().expect("the program ends")
    }

    /// Runs a command that must succeed, and gives its standard output.
    fn ok(&self, args: &[&str]) -> Vec<u8> {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn ok_json(&self, args: &[&str]) -> Value {
        serde_json::from_slice(&self.ok(args)).expect("one JSON value")
    }

    /// A file that is stored already, on devices 1 and 2.
    fn store(&self, key: &str, body: &[u8]) {
        let mut cluster = self.cluster.lock().expect("no server thread panicked");
        let fid = cluster.take_fid();
        for devid in [1, 2] {
            cluster.bodies.insert(path(devid, fid), body.to_vec());
        }
        cluster.files.insert(key.to_owned(), StoredFile { fid, class: "default".to_owned(), path: path(1, fid) });
    }

    fn mishaps(&self, devid: u64, mishaps: &[Mishap]) {
        self.cluster.lock().expect("no server thread panicked").mishaps.insert(devid, mishaps.to_vec());
    }

    /// The body that a key leads to.
    fn body(&self, key: &str) -> Vec<u8> {
        let cluster = self.cluster.lock().expect("no server thread panicked");
        cluster.bodies[&cluster.files[key].path].clone()
    }

    fn asked(&self, command: &str) -> Vec<String> {
        let cluster = self.cluster.lock().expect("no server thread panicked");
        cluster.asked.iter().filter(|line| line.starts_with(command)).cloned().collect()
    }

    fn http(&self) -> Vec<String> {
        self.cluster.lock().expect("no server thread panicked").http.clone()
    }
}

fn path(devid: u64, fid: u64) -> String {
    format!("/dev{devid}/0/000/000/{fid:010}.fid")
}

/// Accepts connections for the life of the test process, each on a thread of its own.
fn serve(cluster: &Arc<Mutex<Cluster>>, handle: fn(&Mutex<Cluster>, TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let cluster = cluster.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let cluster = cluster.clone();
            std::thread::spawn(move || handle(&cluster, stream));
        }
    });
    address
}

fn serve_tracker(cluster: &Mutex<Cluster>, stream: TcpStream) {
    let mut writer = stream.try_clone().expect("a second handle");
    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
        let request = Request::parse(line.trim_ascii_end());
        let reply = match cluster.lock().expect("no server thread panicked").answer(&request) {
            Ok(pairs) => format!("OK {pairs}\r\n"),
            Err(code) => format!("ERR {code} Sorry:+{code}\r\n"),
        };
        if writer.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

impl Cluster {
    fn take_fid(&mut self) -> u64 {
        self.next_fid += 1;
        self.next_fid - 1
    }

    fn answer(&mut self, request: &Request) -> Result<String, &'static str> {
        let args = &request.args;
        let mut shown: Vec<String> = args.pairs().iter().map(|(name, value)| format!("{name}={value}")).collect();
        shown.sort();
        self.asked.push(format!("{} {}", request.command, shown.join(" ")));
        let text = |name: &str| args.get(name).map(ToString::to_string).unwrap_or_default();
        if args.get("domain").is_some_and(|domain| domain != "d") {
            return Err("unreg_domain");
        }
        match request.command.as_str() {
            "noop" => Ok(String::new()),
            "create_open" => self.create_open(&text("class")),
            "create_close" => self.create_close(args, &text("key")),
            "file_info" => self.file_info(&text("key")),
            "get_paths" => {
                let fid = self.files.get(&text("key")).ok_or("unknown_key")?.fid;
                Ok(format!("paths=2&path1={0}{1}&path2={0}{2}", self.node, path(1, fid), path(2, fid)))
            }
            "list_keys" => self.list_keys(&text("prefix"), &text("after"), args.int("limit")),
            "rename" if self.files.contains_key(&text("to_key")) => Err("key_exists"),
            "rename" => {
                let file = self.files.remove(&text("from_key")).ok_or("unknown_key")?;
                self.files.insert(text("to_key"), file);
                Ok(String::new())
            }
            "delete" => self.files.remove(&text("key")).map(|_| String::new()).ok_or("unknown_key"),
            "get_hosts" => Ok("hosts=1&host1_hostid=3&host1_status=alive&host1_hostname=h&host1_hostip=10.0.0.1\
                               &host1_http_port=7500&host1_http_get_port=&host1_altip=&host1_altmask="
                .to_owned()),
            "get_devices" => Ok("devices=1&dev1_devid=7&dev1_hostid=3&dev1_status=alive&dev1_weight=100\
                                 &dev1_mb_total=2048&dev1_mb_used=1024&dev1_mb_free=1024&dev1_mb_asof=\
                                 &dev1_observed_state=writeable&dev1_utilization=&dev1_reject_bad_md5=1"
                .to_owned()),
            "get_domains" => Ok("domains=1&domain1=d&domain1classes=1&domain1class1name=default\
                                 &domain1class1mindevcount=3&domain1class1replpolicy=MultipleHosts%28%29\
                                 &domain1class1hashtype=NONE"
                .to_owned()),
            "undelete" => Ok(format!("fid=7&key={}&length=3&devcount=2", text("to_key"))),
            "list_deleted" => Ok(match args.int("after_fid") {
                0 => "count=1&fid_1=7&key_1=a+b&length_1=3&deleted_at_1=1000000000&due_at_1=1000003600".to_owned(),
                _ => "count=0".to_owned(),
            }),
            "explain" => Ok(EXPLANATION.replace(['\n', ' '], "")),
            "update_class" | "create_host" | "set_state" => Ok(String::new()),
            _ => Err("unknown_command"),
        }
    }

    fn create_open(&mut self, class: &str) -> Result<String, &'static str> {
        if !["", "thumb"].contains(&class) {
            return Err("unreg_class");
        }
        let fid = self.take_fid();
        self.opened.insert(fid, if class.is_empty() { "default".to_owned() } else { class.to_owned() });
        let (one, two) = (path(1, fid), path(2, fid));
        Ok(format!("fid={fid}&dev_count=2&devid_1=1&path_1={0}{one}&devid_2=2&path_2={0}{two}", self.node))
    }

    /// Like the reference: the file must be there with the size that is said.
    fn create_close(&mut self, args: &Args, key: &str) -> Result<String, &'static str> {
        let fid = args.int("fid") as u64;
        let class = self.opened.remove(&fid).ok_or("no_temp_file")?;
        let url = args.get("path").expect("a path").to_string();
        let path = url.strip_prefix(&self.node).ok_or("bogus_args")?.to_owned();
        let stored = self.bodies.get(&path).ok_or("size_verify_error")?;
        if args.flag("size") && args.int("size") != stored.len() as i64 {
            return Err("size_mismatch");
        }
        self.files.insert(key.to_owned(), StoredFile { fid, class, path });
        Ok(String::new())
    }

    fn file_info(&self, key: &str) -> Result<String, &'static str> {
        let file = self.files.get(key).ok_or("unknown_key")?;
        let (length, key) = (self.bodies[&file.path].len(), escape(key.as_bytes()));
        Ok(format!("fid={}&domain=d&class={}&key={key}&length={length}&devcount=2&devids=1,2", file.fid, file.class))
    }

    /// Two keys are a page, so that paging happens.
    fn list_keys(&self, prefix: &str, after: &str, limit: i64) -> Result<String, &'static str> {
        let wanted = |key: &&String| key.starts_with(prefix) && key.as_str() > after;
        let limit = if limit == 0 { 1000 } else { limit as usize };
        let keys: Vec<&String> = self.files.keys().filter(wanted).take(limit).collect();
        let last = keys.last().ok_or("none_match")?;
        let pairs =
            keys.iter().enumerate().map(|(index, key)| format!("key_{}={}&", index + 1, escape(key.as_bytes())));
        let pairs: String = pairs.collect();
        Ok(format!("{pairs}key_count={}&next_after={}", keys.len(), escape(last.as_bytes())))
    }
}

/// One request per connection.
fn serve_node(cluster: &Mutex<Cluster>, stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() || line.is_empty() {
        return;
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
    let headers = read_headers(&mut reader);
    let header = |name: &str| headers.get(name).cloned();
    let shown: Vec<String> = ["range", "content-length", "transfer-encoding"]
        .iter()
        .filter_map(|name| Some(format!("{name}={}", header(name)?)))
        .collect();
    let mishap = {
        let mut cluster = cluster.lock().expect("no server thread panicked");
        cluster.http.push(format!("{method} {path} {}", shown.join(" ")).trim_end().to_owned());
        let devid: u64 = path[4..].split('/').next().expect("a device").parse().expect("a number");
        cluster.mishaps.get_mut(&devid).filter(|mishaps| !mishaps.is_empty()).map(|mishaps| mishaps.remove(0))
    };
    let body = match (method.as_str(), header("content-length")) {
        ("GET", _) => Vec::new(),
        (_, Some(length)) => {
            let mut body = vec![0; length.parse().expect("a length")];
            if reader.read_exact(&mut body).is_err() {
                return;
            }
            body
        }
        (_, None) => read_chunks(&mut reader),
    };
    let (head, body) = match (method.as_str(), mishap) {
        (_, Some(Mishap::Refuse)) => ("500 Internal Server Error".to_owned(), Vec::new()),
        ("PUT", _) => {
            cluster.lock().expect("no server thread panicked").bodies.insert(path, body);
            ("201 Created".to_owned(), Vec::new())
        }
        _ => read_stored(&cluster.lock().expect("no server thread panicked"), &path, header("range")),
    };
    let mut reply =
        format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).into_bytes();
    let sent = match mishap {
        Some(Mishap::BreakAfter(count)) => &body[..count],
        _ => &body[..],
    };
    reply.extend_from_slice(sent);
    let mut stream = stream;
    // The client may have gone; that is for its exit code to tell.
    let _ = stream.write_all(&reply);
}

fn read_headers(reader: &mut impl BufRead) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for line in reader.lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').expect("a header");
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    headers
}

fn read_chunks(reader: &mut impl BufRead) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).expect("a chunk size");
        let size = usize::from_str_radix(size.trim(), 16).expect("hexadecimal");
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).expect("a chunk");
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

fn read_stored(cluster: &Cluster, path: &str, range: Option<String>) -> (String, Vec<u8>) {
    let Some(body) = cluster.bodies.get(path) else { return ("404 Not Found".to_owned(), Vec::new()) };
    match range {
        None => ("200 OK".to_owned(), body.clone()),
        Some(range) => {
            let start = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')).expect("an open range");
            let start: usize = start.parse().expect("a number");
            let last = body.len() - 1;
            let head = format!("206 Partial Content\r\nContent-Range: bytes {start}-{last}/{}", body.len());
            (head, body[start..].to_vec())
        }
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Bytes that differ everywhere, so that a shifted resume shows.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 % 251) as u8).collect()
}

#[test]
fn stores_and_fetches_a_file() {
    let (fake, directory) = (Fake::start(), tempfile::tempdir().expect("a directory"));
    let (source, target) = (directory.path().join("in"), directory.path().join("out"));
    let bytes = content(700_000);
    std::fs::write(&source, &bytes).expect("written");
    let stored = fake.ok_json(&["put", "a key", source.to_str().unwrap(), "--class", "thumb", "--checksum", "--json"]);
    assert_eq!((&stored["length"], &stored["devid"]), (&json!(700_000), &json!(1)));
    let close = &fake.asked("create_close")[0];
    let checksum = stored["checksum"].as_str().expect("a checksum");
    assert!(close.contains("size=700000") && close.contains(&format!("checksum={checksum} ")), "{close}");
    assert!(fake.http()[0].ends_with("content-length=700000"));
    fake.ok(&["get", "a key", target.to_str().unwrap()]);
    assert_eq!(std::fs::read(&target).expect("written"), bytes);
    assert_eq!(fake.ok(&["cat", "a key"]), bytes);
    assert_eq!(std::fs::read_dir(directory.path()).expect("readable").count(), 2, "no partial file is left");
}

#[test]
fn stores_an_empty_file() {
    let fake = Fake::start();
    let output = fake.run_with_input(&["put", "k", "-"], b"");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(fake.http()[0].ends_with("content-length=0"));
    assert_eq!(fake.ok(&["cat", "k"]), b"");
}

#[test]
fn sends_a_short_pipe_with_its_length_and_a_long_one_in_chunks() {
    let fake = Fake::start();
    for (key, length, header) in [("s", 1000, "content-length=1000"), ("l", 3_000_000, "transfer-encoding=chunked")] {
        let output = fake.run_with_input(&["put", key, "-"], &content(length));
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(fake.http().last().expect("a request").ends_with(header), "{:?}", fake.http());
        assert_eq!(fake.body(key), content(length));
    }
    assert!(fake.asked("create_close")[1].contains("size=3000000"));
}

#[test]
fn takes_the_next_destination_when_a_put_fails() {
    let (fake, directory) = (Fake::start(), tempfile::tempdir().expect("a directory"));
    let source = directory.path().join("in");
    std::fs::write(&source, content(600_000)).expect("written");
    fake.mishaps(1, &[Mishap::Refuse]);
    let stored = fake.ok_json(&["--json", "put", "k", source.to_str().unwrap(), "--checksum"]);
    assert_eq!(stored["devid"], json!(2));
    assert!(fake.asked("create_close")[0].contains("devid=2 "));
    assert_eq!(fake.body("k"), content(600_000));
    // The digest is of the second sending alone.
    let mut hasher = mogilefs::cluster::checksum::HashType::Md5.hasher();
    hasher.update(&content(600_000));
    assert_eq!(stored["checksum"], json!(hasher.finish().to_string()));
}

#[test]
fn every_destination_failing_is_a_storage_failure() {
    let fake = Fake::start();
    fake.mishaps(1, &[Mishap::Refuse]);
    fake.mishaps(2, &[Mishap::Refuse]);
    let output = fake.run_with_input(&["put", "k", "-"], b"abc");
    assert_eq!(code(&output), 4);
    assert!(stderr(&output).contains("/dev1/") && stderr(&output).contains("/dev2/"), "{}", stderr(&output));
    assert!(fake.asked("create_close").is_empty());
}

#[test]
fn a_broken_download_goes_on_at_the_next_copy() {
    let fake = Fake::start();
    fake.store("k", &content(500_000));
    fake.mishaps(1, &[Mishap::BreakAfter(123_456)]);
    assert_eq!(fake.ok(&["cat", "k"]), content(500_000));
    let second = &fake.http()[1];
    assert!(second.starts_with("GET /dev2/") && second.ends_with("range=bytes=123456-"), "{second}");
}

#[test]
fn a_download_that_no_copy_finishes_leaves_no_file() {
    let (fake, directory) = (Fake::start(), tempfile::tempdir().expect("a directory"));
    fake.store("k", &content(1000));
    fake.mishaps(1, &[Mishap::BreakAfter(400), Mishap::Refuse]);
    fake.mishaps(2, &[Mishap::Refuse, Mishap::Refuse]);
    let output = fake.run(&["get", "k", directory.path().join("out").to_str().unwrap()]);
    assert_eq!(code(&output), 4, "{}", stderr(&output));
    assert_eq!(std::fs::read_dir(directory.path()).expect("readable").count(), 0);
}

#[test]
fn a_copy_of_another_length_is_not_taken() {
    let fake = Fake::start();
    fake.store("k", &content(1000));
    fake.cluster.lock().expect("no server thread panicked").bodies.insert(path(2, 1), content(900));
    fake.mishaps(1, &[Mishap::Refuse]);
    let output = fake.run(&["cat", "k"]);
    assert_eq!((code(&output), output.stdout.as_slice()), (4, &b""[..]));
    assert!(stderr(&output).contains("another length"), "{}", stderr(&output));
}

#[test]
fn shows_what_the_tracker_knows() {
    let fake = Fake::start();
    fake.store("k", &content(4096));
    let text = String::from_utf8(fake.ok(&["info", "k"])).expect("text");
    assert!(text.contains("length:   4.0 KiB (4096 bytes)\n"), "{text}");
    let value = fake.ok_json(&["info", "k", "--json"]);
    assert_eq!((&value["fid"], &value["devids"], &value["checksum"]), (&json!(1), &json!([1, 2]), &Value::Null));
}

#[test]
fn lists_all_keys_by_paging() {
    let fake = Fake::start();
    (0..2500).for_each(|number| fake.store(&format!("p/{number:04}"), b""));
    fake.store("q", b"");
    let lines = |output: Vec<u8>| output.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count();
    assert_eq!(lines(fake.ok(&["list"])), 2501);
    assert_eq!(fake.asked("list_keys").len(), 3);
    assert_eq!(lines(fake.ok(&["list", "p/", "--limit", "1200"])), 1200);
    let keys = fake.ok_json(&["list", "p/", "--after", "p/2497", "--json"]);
    assert_eq!(keys, json!(["p/2498", "p/2499"]));
    assert_eq!(fake.ok_json(&["list", "nothing", "--json"]), json!([]));
}

#[test]
fn renames_and_deletes() {
    let fake = Fake::start();
    fake.store("a", b"1");
    fake.store("b", b"2");
    let output = fake.run(&["rename", "a", "b"]);
    assert_eq!((code(&output), stderr(&output).as_str()), (1, "error: key_exists: Sorry: key_exists\n"));
    fake.ok(&["rename", "a", "c"]);
    assert_eq!(fake.ok(&["list"]), b"b\nc\n");
    assert_eq!(code(&fake.run(&["rm", "c", "gone", "b"])), 1);
    assert_eq!(fake.ok_json(&["rm", "-f", "gone", "b", "--json"]), json!({ "deleted": ["b"] }));
    assert_eq!(fake.ok(&["list"]), b"");
}

#[test]
fn refusals_are_told_with_their_code() {
    let fake = Fake::start();
    let output = fake.run(&["cat", "gone"]);
    assert_eq!((code(&output), stderr(&output).as_str()), (1, "error: unknown_key: Sorry: unknown_key\n"));
    let output = fake.run(&["cat", "gone", "--json"]);
    let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!(error, json!({ "error": { "code": "unknown_key", "text": "Sorry: unknown_key", "exit": 1 } }));
    assert_eq!(code(&fake.run(&["list", "-d", "other"])), 1);
}

#[test]
fn wrong_command_lines_are_told_apart() {
    let fake = Fake::start();
    assert_eq!(code(&fake.run(&["no-such-command"])), 2);
    assert_eq!(code(&fake.run(&["device", "mark", "h", "7", "broken"])), 2);
    let output = fake.command(&["list"]).env_remove("MOGILEFS_DOMAIN").output().expect("the program starts");
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("--domain"));
}

#[test]
fn an_unreachable_tracker_is_skipped_and_all_of_them_are_an_error() {
    let fake = Fake::start();
    fake.store("k", b"abc");
    // Bound and dropped: nobody listens there.
    let dead = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").to_string();
    let both = format!("{dead},{}", fake.tracker);
    assert_eq!(fake.ok(&["cat", "k", "--trackers", &both]), b"abc");
    let output = fake.run(&["cat", "k", "--trackers", &dead]);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains(&dead));
}

/// Answers one line on each connection and hangs up; with `silent` it hangs up without an answer. Gives the lines.
fn fickle_tracker(silent: bool) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = lines.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut line = String::new();
            let read = BufReader::new(stream.try_clone().expect("a second handle")).read_line(&mut line);
            if read.is_ok() && !line.is_empty() {
                seen.lock().expect("no panic").push(line.trim_end().to_owned());
                // The client may have gone already; its own assertions tell.
                let _ = if silent { Ok(()) } else { stream.write_all(b"OK value=1\r\n") };
            }
        }
    });
    (address, lines)
}

#[test]
fn a_tracker_that_hangs_up_between_requests_is_connected_again() {
    let (tracker, lines) = fickle_tracker(false);
    actix_rt::System::new().block_on(async {
        let mut client = TrackerClient::connect(&[tracker], Timeouts::default()).await.expect("connected");
        for _ in 0..3 {
            let reply = client.request("server_setting", &[("key", b"a b")]).await.expect("answered");
            assert_eq!(reply.int("value"), 1);
        }
    });
    assert_eq!(*lines.lock().expect("no panic"), ["server_setting key=a+b"; 3]);
}

#[test]
fn a_change_whose_reply_is_lost_is_not_sent_again() {
    let (tracker, lines) = fickle_tracker(true);
    let outcome = actix_rt::System::new().block_on(async {
        let mut client = TrackerClient::connect(&[tracker], Timeouts::default()).await.expect("connected");
        client.delete(b"d", b"k").await
    });
    assert!(matches!(outcome, Err(ClientError::Io { .. })), "{outcome:?}");
    assert_eq!(*lines.lock().expect("no panic"), ["delete domain=d&key=k"]);
}

#[test]
fn a_node_that_takes_nothing_is_given_up() {
    let fake = Fake::start();
    // Accepts connections (the backlog does) and never reads.
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a free port");
    fake.cluster.lock().expect("no panic").node = format!("http://{}", deaf.local_addr().expect("bound"));
    let timeouts = Timeouts { stall: Duration::from_millis(50), ..Timeouts::default() };
    let outcome = actix_rt::System::new().block_on(async {
        let mut client = TrackerClient::connect(&[fake.tracker.to_string()], timeouts).await.expect("connected");
        let storage = StorageClient::new(timeouts);
        let request = UploadRequest { domain: b"d", key: b"k", class: None, checksum: false };
        let source = UploadSource::Bytes(content(1000).into());
        upload(&mut client, &storage, &request, source, &no_progress()).await
    });
    assert!(matches!(&outcome, Err(ClientError::Storage(text)) if text.contains("no progress")), "{outcome:?}");
}

#[test]
fn local_failures_have_their_own_code() {
    let fake = Fake::start();
    fake.store("k", b"abc");
    assert_eq!(code(&fake.run(&["put", "k", "/no/such/file"])), 5);
    assert_eq!(code(&fake.run(&["get", "k", "/no/such/directory/file"])), 5);
    assert_eq!(fake.body("k"), b"abc");
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let fake = Fake::start();
    fake.store("k", &content(3_000_000));
    let mut child = fake.command(&["cat", "k"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let mut first = [0_u8; 10];
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_exact(&mut first).expect("some bytes");
    drop(stdout);
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
}

#[test]
fn tends_hosts_devices_and_classes() {
    let fake = Fake::start();
    let text = String::from_utf8(fake.ok(&["device", "list"])).expect("text");
    let expected = "DEV  HOST  STATUS  OBSERVED   WEIGHT  TOTAL    USED     FREE     BUSY %\n\
                    7    h     alive   writeable  100     2.0 GiB  1.0 GiB  1.0 GiB\n";
    assert_eq!(text, expected);
    let value = fake.ok_json(&["device", "list", "--json"]);
    assert_eq!((&value[0]["hostname"], &value[0]["utilization"]), (&json!("h"), &Value::Null));
    fake.ok(&["host", "add", "n", "--ip", "10.0.0.9", "--status", "alive"]);
    assert_eq!(fake.asked("create_host"), ["create_host host=n ip=10.0.0.9 port=7500 status=alive"]);
    fake.ok(&["device", "mark", "h", "7", "drain"]);
    assert_eq!(fake.asked("set_state"), ["set_state device=7 host=h state=drain"]);
    // The number of copies must be sent along even if only the policy changes.
    fake.ok(&["class", "update", "d", "default", "--replpolicy", "MultipleHosts(3)"]);
    let expected = "update_class class=default domain=d mindevcount=3 replpolicy=MultipleHosts(3)";
    assert_eq!(fake.asked("update_class"), [expected]);
}

#[test]
fn bench_measures_and_cleans_up() {
    let fake = Fake::start();
    let options =
        ["--connections", "4", "--seconds", "0.2", "--files", "20", "--size", "10", "--threads", "2", "--json"];
    for (scenario, kinds) in [("mixed", &["get"][..]), ("open-close", &["upload", "open", "put", "close"])] {
        let value = fake.ok_json(&[&["bench", scenario][..], &options].concat());
        assert!(value["requests"].as_u64() > Some(0) && value["p99_us"].as_u64() > Some(0), "{value}");
        assert_eq!(value["errors"], json!({}));
        kinds.iter().for_each(|kind| assert!(value["kinds"][kind]["count"].as_u64() > Some(0), "{kind}: {value}"));
        assert_eq!(fake.ok(&["list"]), b"", "{scenario} deletes its keys");
    }
    let value = fake.ok_json(&[&["bench", "get", "--pipeline", "8", "--prepared"][..], &options].concat());
    assert_eq!(value["count"], json!(0));
    assert!(value["errors"]["unknown_key"].as_u64() > Some(0), "{value}");
}

#[test]
fn explain_prints_a_tree_or_json() {
    let fake = Fake::start();
    let expected = "\
a b in domain d: fid 7, class thumb, 4.0 KiB (4096 bytes)
├─ TOO FEW: 1 copy, 2 wanted.
├─ NEXT: Due in 12 s: replicate copies.
├─ Copies: 2, 1 counted, 2 wanted by MultipleHosts()
│  ├─ dev 1 on h1  readable        good
│  ├─ dev 12       unknown device  unknown
│  └─ the file's row says 1, which is only a cached count
├─ Devices without a copy: 3
│  ├─ dev 3 on h2  second choice  meh
│  └─ and 2 more: 1 dead, 1 too full
└─ Queues: 2
   ├─ replicate  in 12 s  copies
   └─ fsck       parked   looks
";
    assert_eq!(String::from_utf8_lossy(&fake.ok(&["explain", "a b"])), expected);
    assert_eq!(fake.asked("explain"), ["explain domain=d key=a b"]);
    let value = fake.ok_json(&["--json", "explain", "--fid", "7"]);
    assert_eq!(fake.asked("explain")[1], "explain fid=7");
    assert_eq!((&value["fid"], &value["key"], &value["verdict"]), (&json!(7), &json!("a b"), &json!("too_few")));
    assert_eq!(value["next"], json!({ "what": "replicate", "in_secs": 12, "text": "Due in 12 s: replicate copies." }));
    assert_eq!((&value["copies"][0]["counts"], &value["copies"][1]["counts"]), (&json!(true), &json!(false)));
    assert_eq!((&value["queues"][1]["in_secs"], &value["others"][0]["mb_free"]), (&Value::Null, &json!(5)));
    assert_eq!(value["left_out"], json!({ "dead": 1, "too_full": 1 }));
    assert_eq!(fake.run(&["explain"]).status.code(), Some(2));
}

#[test]
fn undelete_and_the_list_of_deleted_files() {
    let fake = Fake::start();
    let value = fake.ok_json(&["--json", "undelete", "a b", "--fid", "7", "--to", "c"]);
    assert_eq!(value, json!({ "fid": 7, "key": "c", "length": 3, "devcount": 2 }));
    assert!(fake.ok(&["undelete", "a b"]).is_empty());
    assert_eq!(fake.asked("undelete"), ["undelete domain=d fid=7 key=a b to_key=c", "undelete domain=d key=a b"]);
    let table = fake.ok(&["list", "--deleted", "a", "--limit", "5"]);
    let expected = "\
FID  LENGTH  DELETED                        KEPT UNTIL                     KEY
7    3 B     Sun, 09 Sep 2001 01:46:40 GMT  Sun, 09 Sep 2001 02:46:40 GMT  a b
";
    assert_eq!(String::from_utf8_lossy(&table), expected);
    assert_eq!(fake.asked("list_deleted"), ["list_deleted after_fid=0 domain=d limit=5 prefix=a"]);
    let value = fake.ok_json(&["--json", "list", "--deleted"]);
    assert_eq!(value[0]["due_at"], json!(1_000_003_600));
    assert_eq!(fake.run(&["list", "--deleted", "--after", "x"]).status.code(), Some(2));
}
