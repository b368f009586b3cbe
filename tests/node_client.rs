//! The client of storage nodes, and the check of a device, against scripted nodes.
//!
//! A [`FakeNode`] answers each request as a closure says, by method and path, and keeps what was asked. It can misbehave
//! in the ways that real nodes do: answer early, close in the middle, stand still. It must never be lenient by itself:
//! what it reads is what the client wrote.

use bytes::Bytes;
use mogilefs::clock::{chance_from_seed, unix_now_secs};
use mogilefs::cluster::checksum::{Checksum, HashType};
use mogilefs::cluster::device_state::{ObservedDevice, ObservedHost};
use mogilefs::ids::DevId;
use mogilefs::jobs::monitor::check_device::{CheckTarget, DeviceCheck, UsageKib, check_device};
use mogilefs::node_client::{Copy, CopyError, CopyReport, Deleted, NodeClient, NodeError};
use mogilefs::settings::{Settings, StorageSettings};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const PATIENCE: Duration = Duration::from_secs(20);

// ---------------------------------------------------------------------------------------------------------------------
// The scripted node
// ---------------------------------------------------------------------------------------------------------------------

/// One request, as it came. The body is what the script let the node read of it.
#[derive(Clone, Debug)]
struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// 0 for the first request of its connection.
    number_on_connection: usize,
}

impl Request {
    /// The only header of this name.
    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let first = values.next();
        assert!(values.next().is_none(), "{name} was sent twice");
        first
    }

    fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }
}

/// How much of a request's body the node reads before it answers.
#[derive(Clone, Copy)]
enum Read {
    All,
    Bytes(usize),
}

/// What the node does after its answer.
#[derive(Clone, Copy)]
enum Then {
    KeepOpen,
    Close,
    StandStill,
}

/// What the node does with one request.
struct Reply {
    read: Read,
    /// Written one after the other, with `pause` in front of each but the first.
    pieces: Vec<Vec<u8>>,
    pause: Duration,
    then: Then,
}

impl Reply {
    fn wire(pieces: Vec<Vec<u8>>) -> Self {
        Self { read: Read::All, pieces, pause: Duration::ZERO, then: Then::KeepOpen }
    }

    /// A status without a body.
    fn status(status: u16) -> Self {
        let length = if status == 204 { "" } else { "Content-Length: 0\r\n" };
        Self::wire(vec![format!("HTTP/1.1 {status} x\r\n{length}\r\n").into_bytes()])
    }

    /// 200 with a body.
    fn body(body: &[u8]) -> Self {
        Self::wire(vec![head_with_length(body.len()), body.to_vec()])
    }

    /// The answer to HEAD of a file of this length.
    fn length(length: usize) -> Self {
        Self::wire(vec![head_with_length(length)])
    }

    /// No answer at all: the connection is closed.
    fn hang_up() -> Self {
        Self { then: Then::Close, ..Self::wire(vec![]) }
    }

    /// No answer at all: the connection stays open.
    fn silence() -> Self {
        Self { then: Then::StandStill, ..Self::wire(vec![]) }
    }

    fn then(self, then: Then) -> Self {
        Self { then, ..self }
    }

    fn after_reading(self, bytes: usize) -> Self {
        Self { read: Read::Bytes(bytes), ..self }
    }
}

fn head_with_length(length: usize) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

type Seen = Arc<Mutex<Vec<Request>>>;
/// Decides on a request by its head and what was asked before.
type Script = dyn Fn(&Request, &[Request]) -> Reply + Send + Sync;

struct FakeNode {
    /// `http://127.0.0.1:<port>`
    base: String,
    seen: Seen,
    closed: Arc<AtomicUsize>,
}

impl FakeNode {
    async fn start(script: impl Fn(&Request, &[Request]) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let (seen, closed) = (Seen::default(), Arc::new(AtomicUsize::new(0)));
        let (script, seen_by_task, closed_by_task): (Arc<Script>, _, _) =
            (Arc::new(script), seen.clone(), closed.clone());
        actix_rt::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen, closed) = (script.clone(), seen_by_task.clone(), closed_by_task.clone());
                actix_rt::spawn(async move {
                    serve(stream, &*script, &seen).await;
                    closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { base, seen, closed }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Request>> {
        self.seen.lock().expect("no panic while held")
    }

    /// `METHOD path` of each request so far.
    fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Request::line).collect()
    }

    /// The requests of this method so far.
    fn of_method(&self, method: &str) -> Vec<Request> {
        self.seen().iter().filter(|request| request.method == method).cloned().collect()
    }

    /// Waits until so many connections have ended, from whichever side.
    async fn wait_for_closed(&self, connections: usize) {
        let begun = Instant::now();
        while self.closed.load(Ordering::SeqCst) < connections {
            assert!(begun.elapsed() < PATIENCE, "the connection stays open");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// One connection, until it ends.
async fn serve(stream: TcpStream, script: &Script, seen: &Seen) {
    let mut stream = BufReader::new(stream);
    for number in 0.. {
        let Some(mut request) = read_head(&mut stream, number).await else { return };
        let reply = script(&request, &seen.lock().expect("no panic while held"));
        let announced = request.header("content-length").map_or(0, |length| length.parse().expect("a number"));
        let wanted = match reply.read {
            Read::All => announced,
            Read::Bytes(bytes) => bytes.min(announced),
        };
        request.body = vec![0; wanted];
        let is_whole = stream.read_exact(&mut request.body).await.is_ok();
        seen.lock().expect("no panic while held").push(request);
        if !is_whole || write_pieces(&mut stream, &reply).await.is_err() {
            return;
        }
        match reply.then {
            Then::KeepOpen => {}
            Then::Close => return,
            Then::StandStill => return wait_for_hangup(stream.get_ref()).await,
        }
    }
}

/// Ends when the client has given the connection up; reads nothing that a client might have sent.
async fn wait_for_hangup(stream: &TcpStream) {
    while let Ok(ready) = stream.ready(tokio::io::Interest::READABLE).await {
        if ready.is_read_closed() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn write_pieces(stream: &mut BufReader<TcpStream>, reply: &Reply) -> std::io::Result<()> {
    for (number, piece) in reply.pieces.iter().enumerate() {
        if number > 0 && !reply.pause.is_zero() {
            tokio::time::sleep(reply.pause).await;
        }
        stream.write_all(piece).await?;
    }
    Ok(())
}

async fn read_head(stream: &mut BufReader<TcpStream>, number_on_connection: usize) -> Option<Request> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(text).expect("text");
    let mut lines = text.trim_end().split("\r\n");
    let mut words = lines.next().expect("a request line").split(' ');
    let mut word = || words.next().expect("three words").to_owned();
    let (method, path, _version) = (word(), word(), word());
    let headers = lines
        .map(|line| line.split_once(": ").expect("a header"))
        .map(|(key, value)| (key.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Some(Request { method, path, headers, body: Vec::new(), number_on_connection })
}

// ---------------------------------------------------------------------------------------------------------------------
// Clients
// ---------------------------------------------------------------------------------------------------------------------

fn settings() -> StorageSettings {
    StorageSettings { node_timeout_ms: 10_000, copy_stall_timeout_ms: 10_000, ..Settings::defaults().storage }
}

fn client_with(settings: &StorageSettings) -> NodeClient {
    NodeClient::new(settings, slog::Logger::root(slog::Discard, slog::o!()))
}

fn client() -> NodeClient {
    client_with(&settings())
}

/// Every wait ends after so long.
const SHORT: Duration = Duration::from_millis(150);

fn hasty_client() -> NodeClient {
    client_with(&StorageSettings { node_timeout_ms: 150, copy_stall_timeout_ms: 150, ..settings() })
}

/// A port of this machine where nobody listens.
async fn refusing_base() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    format!("http://{}", listener.local_addr().expect("bound"))
}

/// A port that neither takes a connection nor refuses it, as long as what is returned lives.
async fn unconnectable_base() -> (String, Vec<actix_rt::task::JoinHandle<()>>, TcpListener) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let listener = socket.listen(1).expect("listening");
    let address = listener.local_addr().expect("bound");
    let connect = |_| {
        actix_rt::spawn(async move {
            let _connection = TcpStream::connect(address).await;
            std::future::pending::<()>().await;
        })
    };
    // More than the backlog holds: the kernel drops the rest.
    let fillers = (0..8).map(connect).collect();
    let begun = Instant::now();
    while tokio::time::timeout(SHORT, TcpStream::connect(address)).await.is_ok() {
        assert!(begun.elapsed() < PATIENCE, "the backlog never fills");
    }
    (format!("http://{address}"), fillers, listener)
}

// ---------------------------------------------------------------------------------------------------------------------
// Requests that are answered at once
// ---------------------------------------------------------------------------------------------------------------------

/// S26: the methods, the paths as given, and the exact length of what is written.
#[actix_rt::test]
async fn requests_are_what_nodes_understand() {
    let node = FakeNode::start(|request, _| match request.method.as_str() {
        "HEAD" => Reply::length(5),
        "GET" => Reply::body(b"hello"),
        _ => Reply::status(201),
    })
    .await;
    let client = client();
    let path = "/dev3/0/000/000/0000000007.fid";
    assert_eq!(client.head_size(&node.url(path)).await, Ok(5));
    assert_eq!(client.get_text(&node.url(path), 5).await, Ok(b"hello".to_vec()));
    client.make_directories(&node.base, &["/dev3/0/".to_owned()]).await;
    for length in [0_usize, 1, 70_000] {
        let body = Bytes::from(vec![7; length]);
        client.put_small(&node.url(path), body.clone(), Some("bWQ1")).await.expect("written");
        let put = node.seen().last().cloned().expect("asked");
        assert_eq!(put.header("content-length"), Some(length.to_string().as_str()));
        assert_eq!(put.header("transfer-encoding"), None);
        assert_eq!(put.header("content-md5"), Some("bWQ1"));
        assert_eq!(put.body, body);
    }
    client.put_small(&node.url(path), Bytes::from_static(b"x"), None).await.expect("written");
    assert_eq!(node.seen().last().expect("asked").header("content-md5"), None);
    assert_eq!(client.delete(&node.url(path)).await, Ok(Deleted::Removed));
    let methods: Vec<_> = node.seen().iter().map(|request| request.method.clone()).collect();
    assert_eq!(methods, ["HEAD", "GET", "MKCOL", "PUT", "PUT", "PUT", "PUT", "DELETE"]);
    assert!(
        node.seen().iter().all(|request| request.path == if request.method == "MKCOL" { "/dev3/0/" } else { path })
    );
    let host = node.base.trim_start_matches("http://").to_owned();
    assert!(node.seen().iter().all(|request| request.header("host") == Some(&host)));
}

fn directories(devid: u32) -> Vec<String> {
    vec![format!("/dev{devid}/0/"), format!("/dev{devid}/0/000/")]
}

/// S27: a node that answers 405 is asked again and is fully usable.
#[actix_rt::test]
async fn a_node_without_mkcol_is_usable() {
    let node = FakeNode::start(|request, _| Reply::status(if request.method == "MKCOL" { 405 } else { 201 })).await;
    let client = client();
    client.make_directories(&node.base, &directories(1)).await;
    assert_eq!(node.lines(), ["MKCOL /dev1/0/", "MKCOL /dev1/0/000/"]);
    assert_eq!(client.put_small(&node.url("/dev1/0/000/x"), Bytes::from_static(b"x"), None).await, Ok(()));
}

/// S27: 400 says that this node, and only this one, needs no directories.
#[actix_rt::test]
async fn a_node_that_makes_directories_itself_is_not_asked_again() {
    let node = FakeNode::start(|_, _| Reply::status(400)).await;
    let other = FakeNode::start(|_, _| Reply::status(400)).await;
    let client = client();
    client.make_directories(&node.base, &directories(1)).await;
    client.make_directories(&node.base, &directories(2)).await;
    assert_eq!(node.lines(), ["MKCOL /dev1/0/"]);
    client.make_directories(&other.base, &directories(1)).await;
    assert_eq!(other.lines(), ["MKCOL /dev1/0/"]);
}

/// A directory that was made is not asked for again, another one is. An error settles nothing.
#[actix_rt::test]
async fn a_directory_is_made_once() {
    let node =
        FakeNode::start(|request, _| Reply::status(if request.path.starts_with("/dev9") { 500 } else { 201 })).await;
    let client = client();
    client.make_directories(&node.base, &directories(1)).await;
    client.make_directories(&node.base, &directories(1)).await;
    assert_eq!(node.lines(), ["MKCOL /dev1/0/", "MKCOL /dev1/0/000/"]);
    client.make_directories(&node.base, &directories(2)).await;
    assert_eq!(node.lines()[2..], ["MKCOL /dev2/0/", "MKCOL /dev2/0/000/"]);
    client.make_directories(&node.base, &directories(9)).await;
    client.make_directories(&node.base, &directories(9)).await;
    assert_eq!(node.lines().len(), 8);
}

/// S28.
#[actix_rt::test]
async fn put_takes_every_success_and_no_failure() {
    let node = FakeNode::start(|request, _| Reply::status(request.path[1..].parse().expect("a status"))).await;
    let client = client();
    let put =
        async |status: u16| client.put_small(&node.url(&format!("/{status}")), Bytes::from_static(b"x"), None).await;
    for status in [200, 201, 204] {
        assert_eq!(put(status).await, Ok(()), "{status}");
    }
    for status in [301, 400, 409, 500, 507] {
        assert_eq!(put(status).await, Err(NodeError::Status(status)), "{status}");
    }
    assert_eq!(put(404).await, Err(NodeError::Missing));
    assert_eq!(node.lines().len(), 9, "an answer is an answer: nothing is sent twice");
}

/// S29.
#[actix_rt::test]
async fn only_lighttpd_may_leave_the_length_out() {
    let node = FakeNode::start(|request, _| {
        let server = &request.path[1..];
        Reply::wire(vec![format!("HTTP/1.1 200 OK\r\nServer: {server}\r\n\r\n").into_bytes()])
    })
    .await;
    let client = client();
    assert_eq!(client.head_size(&node.url("/lighttpd/1.4.59")).await, Ok(0));
    assert_eq!(client.head_size(&node.url("/nginx/1.2")).await, Err(NodeError::NoLength));
    assert_eq!(client.head_size(&node.url("/")).await, Err(NodeError::NoLength));
}

#[actix_rt::test]
async fn head_tells_missing_from_broken() {
    let node = FakeNode::start(|request, _| Reply::status(request.path[1..].parse().expect("a status"))).await;
    let client = client();
    assert_eq!(client.head_size(&node.url("/404")).await, Err(NodeError::Missing));
    assert_eq!(client.head_size(&node.url("/500")).await, Err(NodeError::Status(500)));
    assert!(matches!(client.head_size(&refusing_base().await).await, Err(NodeError::Unreachable(_))));
}

/// Asks in each way that may be repeated; all must succeed.
async fn ask_in_every_way(client: &NodeClient, node: &FakeNode, method: &str) {
    let url = node.url("/x");
    match method {
        "HEAD" => assert_eq!(client.head_size(&url).await, Ok(2)),
        "GET" => assert_eq!(client.get_text(&url, 10).await, Ok(b"ok".to_vec())),
        "DELETE" => assert_eq!(client.delete(&url).await, Ok(Deleted::Removed)),
        _ => assert_eq!(client.put_small(&url, Bytes::from_static(b"x"), None).await, Ok(())),
    }
}

fn ordinary(request: &Request) -> Reply {
    match request.method.as_str() {
        "HEAD" => Reply::length(2),
        "GET" => Reply::body(b"ok"),
        _ => Reply::status(204),
    }
}

/// S30: the node closed the connection after its last answer.
#[actix_rt::test]
async fn a_connection_closed_while_idle_fails_nothing() {
    let node = FakeNode::start(|request, _| ordinary(request).then(Then::Close)).await;
    let client = client();
    for (number, method) in ["HEAD", "GET", "DELETE", "PUT", "HEAD"].into_iter().enumerate() {
        ask_in_every_way(&client, &node, method).await;
        node.wait_for_closed(number + 1).await;
    }
    assert_eq!(node.lines().len(), 5);
}

/// S30: the node closes the connection just when the next request arrives.
#[actix_rt::test]
async fn a_connection_closed_as_the_request_arrives_fails_nothing() {
    for method in ["HEAD", "GET", "DELETE", "PUT"] {
        let node = FakeNode::start(|request, _| match request.number_on_connection {
            0 => ordinary(request),
            _ => Reply::hang_up(),
        })
        .await;
        let client = client();
        ask_in_every_way(&client, &node, "HEAD").await;
        ask_in_every_way(&client, &node, method).await;
        let numbers: Vec<_> = node.seen().iter().map(|request| request.number_on_connection).collect();
        assert_eq!(numbers, [0, 1, 0], "{method}: kept connection, dead connection, new connection");
    }
}

/// A node that never answers is asked twice at most, and what is kept is used again.
#[actix_rt::test]
async fn a_node_that_hangs_up_is_unreachable() {
    let node = FakeNode::start(|_, _| Reply::hang_up()).await;
    assert!(matches!(client().head_size(&node.url("/x")).await, Err(NodeError::Unreachable(_))));
    assert!(node.lines().len() <= 2, "{:?}", node.lines());
}

#[actix_rt::test]
async fn connections_are_kept() {
    let node = FakeNode::start(|request, _| ordinary(request)).await;
    let client = client();
    for method in ["GET", "HEAD", "PUT", "DELETE", "GET"] {
        ask_in_every_way(&client, &node, method).await;
    }
    let numbers: Vec<_> = node.seen().iter().map(|request| request.number_on_connection).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
}

#[actix_rt::test]
async fn deleting_what_is_missing_is_as_good() {
    let node = FakeNode::start(|request, _| Reply::status(request.path[1..].parse().expect("a status"))).await;
    let client = client();
    let delete = async |status: u16| client.delete(&node.url(&format!("/{status}"))).await;
    assert_eq!(delete(204).await, Ok(Deleted::Removed));
    assert_eq!(delete(200).await, Ok(Deleted::Removed));
    assert_eq!(delete(404).await, Ok(Deleted::WasMissing));
    assert_eq!(delete(500).await, Err(NodeError::Status(500)));
    assert_eq!(delete(403).await, Err(NodeError::Status(403)));
}

#[actix_rt::test]
async fn text_has_a_limit() {
    let node = FakeNode::start(|request, _| match request.path.as_str() {
        "/whole" => Reply::body(&[b'x'; 1000]),
        // Without a length, until the connection is closed.
        _ => Reply::wire(vec![b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 1000]]).then(Then::Close),
    })
    .await;
    let client = client();
    for path in ["/whole", "/unannounced"] {
        assert_eq!(client.get_text(&node.url(path), 1000).await.map(|text| text.len()), Ok(1000), "{path}");
        assert_eq!(client.get_text(&node.url(path), 999).await, Err(NodeError::TooLarge(999)), "{path}");
    }
}

/// Bytes that repeat only after a long way.
fn content(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn checksum(hashtype: HashType, bytes: &[u8]) -> Checksum {
    let mut hasher = hashtype.hasher();
    hasher.update(bytes);
    hasher.finish()
}

#[actix_rt::test]
async fn digests_are_of_the_bytes() {
    let node = FakeNode::start(|request, _| match request.path.as_str() {
        "/abc" => Reply::body(b"abc"),
        "/large" => Reply::body(&content(300_000)),
        "/broken" => Reply::wire(vec![head_with_length(10), b"12345".to_vec()]).then(Then::Close),
        _ => Reply::status(404),
    })
    .await;
    let client = client();
    let hex = async |hashtype| client.digest(&node.url("/abc"), hashtype).await.map(|checksum| checksum.hex());
    // RFC 1321, appendix A.5, and FIPS 180, example 1.
    assert_eq!(hex(HashType::Md5).await.as_deref(), Ok("900150983cd24fb0d6963f7d28e17f72"));
    assert_eq!(hex(HashType::Sha1).await.as_deref(), Ok("a9993e364706816aba3e25717850c26c9cd0d89d"));
    let large = client.digest(&node.url("/large"), HashType::Sha1).await;
    assert_eq!(large, Ok(checksum(HashType::Sha1, &content(300_000))));
    assert!(matches!(client.digest(&node.url("/broken"), HashType::Md5).await, Err(NodeError::Unreachable(_))));
    assert_eq!(client.digest(&node.url("/none"), HashType::Md5).await, Err(NodeError::Missing));
}

/// Neither a node that says nothing nor one that stops in the middle holds anyone up.
#[actix_rt::test]
async fn silence_is_a_timeout() {
    let node = FakeNode::start(|request, _| match request.path.as_str() {
        "/silent" => Reply::silence(),
        _ => Reply::length(10).then(Then::StandStill),
    })
    .await;
    let client = hasty_client();
    assert_eq!(client.head_size(&node.url("/silent")).await, Err(NodeError::Timeout(SHORT)));
    assert_eq!(client.delete(&node.url("/silent")).await, Err(NodeError::Timeout(SHORT)));
    assert_eq!(client.get_text(&node.url("/half"), 100).await, Err(NodeError::Timeout(SHORT)));
    assert_eq!(client.digest(&node.url("/half"), HashType::Md5).await, Err(NodeError::Timeout(SHORT)));
    assert_eq!(node.lines().len(), 4, "what timed out is not repeated");
    node.wait_for_closed(4).await;
}

/// A host that is switched off is silent already while connecting; that is no refusal (J21 depends on it).
#[actix_rt::test]
async fn silence_while_connecting_is_a_timeout() {
    let (base, _fillers, _listener) = unconnectable_base().await;
    let client = client_with(&StorageSettings { node_timeout_ms: 30, ..settings() });
    for _ in 0..20 {
        assert_eq!(client.head_size(&base).await, Err(NodeError::Timeout(Duration::from_millis(30))));
    }
}
