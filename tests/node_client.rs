//! The client of storage nodes, and the check of a device, against scripted nodes.
//!
//! A [`FakeNode`] answers each request as a closure says, by method and path, and keeps what was asked. It can misbehave
//! in the ways that real nodes do: answer early, close in the middle, stand still. It must never be lenient by itself:
//! what it reads is what the client wrote.

use bytes::Bytes;
use mogilefs::clock::{chance_from_seed, unix_now_secs};
use mogilefs::cluster::ClusterSnapshot;
use mogilefs::cluster::checksum::{Checksum, HashType};
use mogilefs::cluster::device_state::{ObservedDevice, ObservedHost};
use mogilefs::ids::{DevId, HostId};
use mogilefs::jobs::monitor::check_device::{CheckTarget, DeviceCheck, UsageKib, check_device};
use mogilefs::jobs::monitor::guards::Guards;
use mogilefs::jobs::monitor::refresh::{self, Tables};
use mogilefs::jobs::monitor::round::{Change, Rounds};
use mogilefs::node_client::{Copy, CopyError, CopyReport, Deleted, NodeClient, NodeError};
use mogilefs::settings::{Settings, StorageSettings};
use mogilefs::store::devices::DeviceRow;
use mogilefs::store::hosts::HostRow;
use std::collections::BTreeMap;
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

    /// So long before each piece.
    fn slowly(mut self, pause: Duration) -> Self {
        self.pieces.insert(0, Vec::new());
        Self { pause, ..self }
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

/// An answer, and what must come of it.
type Case<T> = (fn() -> Reply, T);

struct FakeNode {
    /// `http://127.0.0.1:<port>`
    base: String,
    seen: Seen,
    closed: Arc<AtomicUsize>,
}

impl FakeNode {
    async fn start(script: impl Fn(&Request, &[Request]) -> Reply + Send + Sync + 'static) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // Else the kernel takes whole files for a node that reads nothing.
        socket.set_recv_buffer_size(64 * 1024).expect("a small buffer");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let listener = socket.listen(64).expect("listening");
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

/// S33, of the delete worker.
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
    for hashtype in HashType::ALL {
        let large = client.digest(&node.url("/large"), hashtype).await;
        assert_eq!(large, Ok(checksum(hashtype, &content(300_000))));
    }
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

// ---------------------------------------------------------------------------------------------------------------------
// Copies
// ---------------------------------------------------------------------------------------------------------------------

const PATH: &str = "/dev1/0/000/000/0000000042.fid";
const SOME_BYTES: usize = 1 << 20;

/// A node that has one file.
async fn source_of(bytes: Vec<u8>) -> FakeNode {
    FakeNode::start(move |_, _| Reply::body(&bytes)).await
}

/// A node that takes an upload as `put` says, and then shows this length.
async fn target_with(put: impl Fn() -> Reply + Send + Sync + 'static, shown: usize) -> FakeNode {
    FakeNode::start(move |request, _| if request.method == "PUT" { put() } else { Reply::length(shown) }).await
}

async fn good_target(shown: usize) -> FakeNode {
    target_with(|| Reply::status(201), shown).await
}

async fn copy_between(
    client: &NodeClient,
    source: &FakeNode,
    target: &FakeNode,
    length: usize,
) -> Result<CopyReport, CopyError> {
    let (source_url, target_url) = (source.url(PATH), target.url(PATH));
    let copy = Copy {
        source_url: &source_url,
        target_url: &target_url,
        length: length as u64,
        content_md5: None,
        hashtype: Some(HashType::Md5),
    };
    client.copy(copy).await
}

fn error_of(outcome: Result<CopyReport, CopyError>) -> CopyError {
    outcome.expect_err("the copy must fail")
}

/// The bytes arrive, their digest is computed, and a known MD5 is sent along (J73).
#[actix_rt::test]
async fn a_copy_is_the_same_bytes() {
    let bytes = content(8 << 20);
    let md5 = checksum(HashType::Md5, &bytes);
    let (source, target) = (source_of(bytes.clone()).await, good_target(bytes.len()).await);
    let client = client();
    let (source_url, target_url) = (source.url(PATH), target.url(PATH));
    let copy = Copy {
        source_url: &source_url,
        target_url: &target_url,
        length: bytes.len() as u64,
        content_md5: Some(&md5),
        hashtype: Some(HashType::Md5),
    };
    let report = client.copy(copy).await.expect("copied");
    assert_eq!(report.checksum, Some(md5.clone()));
    assert_eq!(source.lines(), [format!("GET {PATH}")]);
    assert_eq!(target.lines(), [format!("PUT {PATH}"), format!("HEAD {PATH}")]);
    let put = target.seen()[0].clone();
    assert!(put.body == bytes, "other bytes arrived");
    assert_eq!(put.header("content-length"), Some("8388608"));
    assert_eq!(put.header("transfer-encoding"), None);
    let sent = put.header("content-md5").expect("the MD5 is known");
    let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, sent).expect("base64");
    assert_eq!(decoded, md5.digest);
}

/// Neither a digest nor a header that nobody asked for; an empty file is a file.
#[actix_rt::test]
async fn a_copy_without_digest() {
    for length in [0, 1, 100_000] {
        let bytes = content(length);
        let (source, target) = (source_of(bytes.clone()).await, good_target(length).await);
        let (source_url, target_url) = (source.url(PATH), target.url(PATH));
        let copy = Copy {
            source_url: &source_url,
            target_url: &target_url,
            length: length as u64,
            content_md5: None,
            hashtype: None,
        };
        assert_eq!(client().copy(copy).await.expect("copied").checksum, None);
        let put = target.seen()[0].clone();
        assert!(put.body == bytes);
        assert_eq!(put.header("content-length"), Some(length.to_string().as_str()));
        assert_eq!(put.header("content-md5"), None);
    }
}

#[actix_rt::test]
async fn an_unfit_source_costs_the_target_nothing() {
    let other_length = NodeError::WrongLength { expected: 10, actual: 9 };
    let unannounced = || Reply::wire(vec![b"HTTP/1.1 200 OK\r\n\r\n0123456789".to_vec()]).then(Then::Close);
    let cases: [Case<NodeError>; 4] = [
        (|| Reply::status(404), NodeError::Missing),
        (|| Reply::status(500), NodeError::Status(500)),
        (|| Reply::body(b"012345678"), other_length),
        (unannounced, NodeError::NoLength),
    ];
    for (reply, expected) in cases {
        let (source, target) = (FakeNode::start(move |_, _| reply()).await, good_target(10).await);
        let error = error_of(copy_between(&client(), &source, &target, 10).await);
        assert_eq!(error, CopyError::Source(expected));
        assert!(target.lines().is_empty(), "{:?}", target.lines());
    }
}

/// A source that breaks off is to blame, and the target gets no whole upload.
#[actix_rt::test]
async fn a_source_that_closes_in_the_middle_is_to_blame() {
    let broken_off =
        |_: &Request, _: &[Request]| Reply::wire(vec![head_with_length(SOME_BYTES), content(SOME_BYTES / 2)]);
    let source = FakeNode::start(move |request, seen| broken_off(request, seen).then(Then::Close)).await;
    let target = good_target(SOME_BYTES).await;
    let error = error_of(copy_between(&client(), &source, &target, SOME_BYTES).await);
    assert!(matches!(error, CopyError::Source(NodeError::Unreachable(_))), "{error}");
    target.wait_for_closed(1).await;
    assert_eq!(target.of_method("HEAD").len(), 0);
}

#[actix_rt::test]
async fn a_target_that_refuses_the_connection() {
    let source = source_of(content(10)).await;
    let (source_url, target_url) = (source.url(PATH), format!("{}{PATH}", refusing_base().await));
    let copy = Copy { source_url: &source_url, target_url: &target_url, length: 10, content_md5: None, hashtype: None };
    let error = error_of(client().copy(copy).await);
    assert!(matches!(error, CopyError::Target(NodeError::Unreachable(_))), "{error}");
}

#[actix_rt::test]
async fn a_target_that_cannot_be_connected_to_is_a_timeout() {
    let source = source_of(content(10)).await;
    let (base, _fillers, _listener) = unconnectable_base().await;
    let (source_url, target_url) = (source.url(PATH), format!("{base}{PATH}"));
    let copy = Copy { source_url: &source_url, target_url: &target_url, length: 10, content_md5: None, hashtype: None };
    let client = client_with(&StorageSettings { node_timeout_ms: 300, ..settings() });
    let error = error_of(client.copy(copy).await);
    assert_eq!(error, CopyError::Target(NodeError::Timeout(Duration::from_millis(300))));
}

/// A 404 of the target is not a missing source.
#[actix_rt::test]
async fn a_target_that_answers_no() {
    for status in [400, 404, 500, 507] {
        let source = source_of(content(SOME_BYTES)).await;
        let target = target_with(move || Reply::status(status), SOME_BYTES).await;
        let error = error_of(copy_between(&client(), &source, &target, SOME_BYTES).await);
        assert_eq!(error, CopyError::Target(NodeError::Status(status)));
        assert_eq!(target.lines().len(), 1);
    }
}

/// A node may refuse before it has read anything.
#[actix_rt::test]
async fn a_target_that_answers_no_early() {
    let source = source_of(content(8 << 20)).await;
    let target = target_with(|| Reply::status(507).after_reading(0).then(Then::StandStill), 0).await;
    let error = error_of(copy_between(&client(), &source, &target, 8 << 20).await);
    assert_eq!(error, CopyError::Target(NodeError::Status(507)));
}

/// J79, replacement: 201, but fewer bytes are there.
#[actix_rt::test]
async fn a_target_that_stored_less() {
    let source = source_of(content(SOME_BYTES)).await;
    let target = good_target(SOME_BYTES - 1).await;
    let error = error_of(copy_between(&client(), &source, &target, SOME_BYTES).await);
    let (expected, actual) = (SOME_BYTES as u64, SOME_BYTES as u64 - 1);
    assert_eq!(error, CopyError::Target(NodeError::WrongLength { expected, actual }));
}

/// The length shown afterwards may be that of an older file: 201 before everything was read is no success.
#[actix_rt::test]
async fn a_target_that_answers_yes_before_it_has_everything() {
    let length = 16 << 20;
    let source = source_of(content(length)).await;
    let target = target_with(|| Reply::status(201).after_reading(1000).then(Then::StandStill), length).await;
    let error = error_of(copy_between(&client(), &source, &target, length).await);
    assert!(matches!(error, CopyError::Target(NodeError::Unreachable(_))), "{error}");
}

#[actix_rt::test]
async fn a_target_that_closes_in_the_middle() {
    let source = source_of(content(8 << 20)).await;
    let target = target_with(|| Reply::hang_up().after_reading(SOME_BYTES), 8 << 20).await;
    let error = error_of(copy_between(&client(), &source, &target, 8 << 20).await);
    assert!(matches!(error, CopyError::Target(NodeError::Unreachable(_))), "{error}");
    assert_eq!(target.of_method("HEAD").len(), 0);
}

/// An upload is not repeated, so a kept connection that was closed meanwhile must not be used (S30).
#[actix_rt::test]
async fn a_copy_over_connections_closed_while_idle() {
    let bytes = content(SOME_BYTES);
    let for_source = bytes.clone();
    let source = FakeNode::start(move |_, _| Reply::body(&for_source).then(Then::Close)).await;
    let target = FakeNode::start(|request, _| match request.method.as_str() {
        "PUT" => Reply::status(201),
        _ => Reply::length(SOME_BYTES).then(Then::Close),
    })
    .await;
    let client = client();
    for number in 1..=3 {
        copy_between(&client, &source, &target, bytes.len()).await.expect("copied");
        source.wait_for_closed(number).await;
        target.wait_for_closed(number).await;
    }
    assert_eq!(target.of_method("PUT").len(), 3);
}

/// Both connections are given up, too.
#[actix_rt::test]
async fn a_source_that_stands_still() {
    let half = || Reply::wire(vec![head_with_length(SOME_BYTES), content(SOME_BYTES / 2)]).then(Then::StandStill);
    let (source, target) = (FakeNode::start(move |_, _| half()).await, good_target(SOME_BYTES).await);
    let error = error_of(copy_between(&hasty_client(), &source, &target, SOME_BYTES).await);
    assert_eq!(error, CopyError::Source(NodeError::Timeout(SHORT)));
    source.wait_for_closed(1).await;
    target.wait_for_closed(1).await;
}

/// Whether it stops reading or does not answer what it has read.
#[actix_rt::test]
async fn a_target_that_stands_still() {
    for read in [1000, 16 << 20] {
        let source = source_of(content(16 << 20)).await;
        let target = target_with(move || Reply::silence().after_reading(read), 16 << 20).await;
        let client = client_with(&StorageSettings { node_timeout_ms: 500, copy_stall_timeout_ms: 600, ..settings() });
        let error = error_of(copy_between(&client, &source, &target, 16 << 20).await);
        assert_eq!(error, CopyError::Target(NodeError::Timeout(Duration::from_millis(600))), "after {read} bytes");
        // What the kernel still holds hides the end from a target that does not read.
        if read == 16 << 20 { &target } else { &source }.wait_for_closed(1).await;
    }
}

/// The head of the source's answer has the node's limit, not that of a copy.
#[actix_rt::test]
async fn a_source_that_does_not_begin() {
    let (source, target) = (FakeNode::start(|_, _| Reply::silence()).await, good_target(10).await);
    let client = client_with(&StorageSettings { node_timeout_ms: 150, copy_stall_timeout_ms: 60_000, ..settings() });
    let error = error_of(copy_between(&client, &source, &target, 10).await);
    assert_eq!(error, CopyError::Source(NodeError::Timeout(SHORT)));
    assert!(target.lines().is_empty());
}

/// Slow is not still: a copy may take much longer than the limit of a pause.
#[actix_rt::test]
async fn a_slow_source_is_no_failure() {
    let pieces = (0..30).map(|_| vec![b'x'; 100]);
    let wire: Vec<_> = std::iter::once(head_with_length(3000)).chain(pieces).collect();
    let source =
        FakeNode::start(move |_, _| Reply { pause: Duration::from_millis(50), ..Reply::wire(wire.clone()) }).await;
    let target = good_target(3000).await;
    let client = client_with(&StorageSettings { node_timeout_ms: 700, copy_stall_timeout_ms: 700, ..settings() });
    let report = copy_between(&client, &source, &target, 3000).await.expect("copied");
    assert!(report.duration > Duration::from_millis(1400), "the test is too fast to show anything");
    assert_eq!(report.checksum, Some(checksum(HashType::Md5, &[b'x'; 3000])));
}

// ---------------------------------------------------------------------------------------------------------------------
// The check of a device
// ---------------------------------------------------------------------------------------------------------------------

const USAGE: &[u8] = b"total: 1000000000\nused: 100000000\n";
const USAGE_KIB: UsageKib = UsageKib { total: 1_000_000_000, used: 100_000_000 };
const DIRECTORY: &str = "/dev7/test-write/";

/// A device as it should be. Its files are what was put last.
fn good_device(request: &Request, seen: &[Request]) -> Reply {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/dev7/usage") => Reply::body(USAGE),
        ("GET", path) => match seen.iter().rev().find(|earlier| earlier.is("PUT", path)) {
            Some(put) => Reply::body(&put.body),
            None => Reply::status(404),
        },
        ("PUT", "/dev7/test-write/test-md5") => Reply::status(400),
        _ => Reply::status(201),
    }
}

/// A device that differs from a good one in one answer.
async fn device_but(
    method: &'static str,
    path: &'static str,
    reply: impl Fn(&[Request]) -> Reply + Send + Sync + 'static,
) -> FakeNode {
    FakeNode::start(move |request, seen| {
        if request.method == method && request.path.starts_with(path) {
            reply(seen)
        } else {
            good_device(request, seen)
        }
    })
    .await
}

fn check_target(node: &FakeNode) -> CheckTarget {
    CheckTarget {
        devid: DevId(7),
        http_base: node.base.clone(),
        get_base: node.base.clone(),
        may_write: true,
        write_test_due: true,
        expected_mark: None,
    }
}

async fn check_with(client: &NodeClient, target: &CheckTarget) -> DeviceCheck {
    check_device(client, target, &mut chance_from_seed(1)).await
}

async fn check(node: &FakeNode) -> DeviceCheck {
    check_with(&client(), &check_target(node)).await
}

const TEST_FILE: &str = "/dev7/test-write/test-write-";

/// The upload of the test file `number`, and its content, must fit (J24).
fn assert_is_test_put(request: &Request) {
    let number: u32 = request.path.strip_prefix(TEST_FILE).expect("a test file").parse().expect("a number");
    assert!(number < 100);
    let body = String::from_utf8(request.body.clone()).expect("text");
    let (time, rand) = body.split_once(" rand=").expect("two fields");
    let time: i64 = time.strip_prefix("time=").expect("the time first").parse().expect("a number");
    assert!((0..60).contains(&(unix_now_secs() - time)), "{body}");
    assert_eq!(rand, number.to_string());
}

fn test_puts(node: &FakeNode) -> Vec<Request> {
    let puts = node.of_method("PUT").into_iter();
    puts.filter(|put| put.path.starts_with(TEST_FILE)).inspect(assert_is_test_put).collect()
}

/// The order of requests (J23, J24) and J28, first half. W22: the test file goes.
#[actix_rt::test]
async fn a_good_device_is_writeable() {
    let node = FakeNode::start(good_device).await;
    let seen = check(&node).await;
    assert!(seen.waited.is_some(), "how long the node took is measured");
    let expected = DeviceCheck {
        host: Some(ObservedHost::Reachable),
        device: Some(ObservedDevice::Writeable),
        usage: Some(USAGE_KIB),
        write_tested: true,
        reject_bad_md5: Some(true),
        waited: seen.waited,
        ..DeviceCheck::default()
    };
    assert_eq!(seen, expected);
    let put = test_puts(&node).pop().expect("a write test");
    let lines = [
        "GET /dev7/usage".to_owned(),
        format!("MKCOL {DIRECTORY}"),
        format!("PUT {}", put.path),
        format!("GET {}", put.path),
        format!("DELETE {}", put.path),
        format!("PUT {DIRECTORY}test-md5"),
    ];
    assert_eq!(node.lines(), lines);
    let wrong = node.of_method("PUT").pop().expect("asked");
    assert_eq!(wrong.body, b".");
    let sent = wrong.header("content-md5").expect("the point of it");
    let digest = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, sent).expect("base64");
    assert_eq!(digest.len(), 16);
    assert_ne!(digest, checksum(HashType::Md5, b".").digest);
}

/// J24: other numbers come up, too.
#[actix_rt::test]
async fn test_files_vary() {
    let node = FakeNode::start(good_device).await;
    let (client, target, mut chance) = (client(), check_target(&node), chance_from_seed(1));
    for _ in 0..10 {
        assert_eq!(check_device(&client, &target, &mut chance).await.device, Some(ObservedDevice::Writeable));
    }
    let paths: std::collections::BTreeSet<_> = test_puts(&node).into_iter().map(|put| put.path).collect();
    assert!(paths.len() > 1, "{paths:?}");
}

/// J15.
#[actix_rt::test]
async fn reading_goes_to_the_get_port() {
    let writing = FakeNode::start(good_device).await;
    let seen = writing.seen.clone();
    let reading =
        FakeNode::start(move |request, _| good_device(request, &seen.lock().expect("no panic while held"))).await;
    let target = CheckTarget { get_base: reading.base.clone(), ..check_target(&writing) };
    assert_eq!(check_with(&client(), &target).await.device, Some(ObservedDevice::Writeable));
    let methods = |node: &FakeNode| node.seen().iter().map(|request| request.method.clone()).collect::<Vec<_>>();
    assert_eq!(methods(&reading), ["GET", "GET"]);
    assert_eq!(methods(&writing), ["MKCOL", "PUT", "DELETE", "PUT"]);
}

/// J19, replacement.
#[actix_rt::test]
async fn a_usage_file_that_makes_no_sense() {
    for text in ["", "total: 5\n", "used: 5\n", "<html>"] {
        let node = device_but("GET", "/dev7/usage", move |_| Reply::body(text.as_bytes())).await;
        let check = check(&node).await;
        assert_eq!((check.host, check.device), (Some(ObservedHost::Reachable), Some(ObservedDevice::Readable)));
        assert_eq!((check.usage, check.write_tested), (None, false));
        assert!(check.problem.is_some());
        assert_eq!(node.lines(), ["GET /dev7/usage"], "{text:?}");
    }
    let node = device_but("GET", "/dev7/usage", |_| Reply::body(b"total: 5\nused: 0\n")).await;
    let check = check(&node).await;
    assert_eq!(check.usage, Some(UsageKib { total: 5, used: 0 }));
    assert_eq!(check.device, Some(ObservedDevice::Writeable));
}

/// J20: the device is unreachable; its host is reachable if it answered, else what it was.
#[actix_rt::test]
async fn no_usage_file() {
    for status in [404, 403, 500] {
        let node = device_but("GET", "/dev7/usage", move |_| Reply::status(status)).await;
        let check = check(&node).await;
        assert_eq!(check.device, Some(ObservedDevice::Unreachable));
        assert_eq!(check.host, Some(ObservedHost::Reachable));
        assert_eq!((check.usage, check.write_tested), (None, false));
        assert_eq!(node.lines(), ["GET /dev7/usage"]);
    }
    let hanging_up = device_but("GET", "/dev7/usage", |_| Reply::hang_up()).await;
    for base in [refusing_base().await, hanging_up.base.clone()] {
        let target = CheckTarget { get_base: base, ..check_target(&hanging_up) };
        let check = check_with(&client(), &target).await;
        assert_eq!((check.device, check.host), (Some(ObservedDevice::Unreachable), None));
        assert!(check.problem.is_some());
    }
    assert_eq!(hanging_up.of_method("PUT").len(), 0);
}

/// J21: silence, in whichever phase, takes the host down.
#[actix_rt::test]
async fn a_silent_node_is_a_host_that_is_down() {
    let silent = device_but("GET", "/dev7/usage", |_| Reply::silence()).await;
    let halting = device_but("GET", "/dev7/usage", |_| Reply::length(10).then(Then::StandStill)).await;
    let (unconnectable, _fillers, _listener) = unconnectable_base().await;
    for base in [silent.base.clone(), halting.base.clone(), unconnectable] {
        let target = CheckTarget { get_base: base, ..check_target(&silent) };
        let check = check_with(&hasty_client(), &target).await;
        let expected = (Some(ObservedHost::Unreachable), Some(ObservedDevice::Unreachable));
        assert_eq!((check.host, check.device), expected, "{:?}", check.problem);
    }
    assert_eq!(silent.of_method("PUT").len(), 0);
}

/// J23: between write tests the usage is read, and what was seen of writing stays.
#[actix_rt::test]
async fn no_write_test_before_it_is_due() {
    let node = FakeNode::start(good_device).await;
    let target = CheckTarget { write_test_due: false, ..check_target(&node) };
    let seen = check_with(&client(), &target).await;
    let expected = DeviceCheck {
        host: Some(ObservedHost::Reachable),
        usage: Some(USAGE_KIB),
        waited: seen.waited,
        ..DeviceCheck::default()
    };
    assert_eq!(seen, expected);
    assert_eq!(node.lines(), ["GET /dev7/usage"]);
}

/// J27.
#[actix_rt::test]
async fn no_write_test_where_nothing_may_be_written() {
    let node = FakeNode::start(good_device).await;
    let target = CheckTarget { may_write: false, ..check_target(&node) };
    let check = check_with(&client(), &target).await;
    assert_eq!((check.host, check.device), (Some(ObservedHost::Reachable), Some(ObservedDevice::Readable)));
    assert_eq!((check.usage, check.write_tested), (Some(USAGE_KIB), false));
    assert_eq!(node.lines(), ["GET /dev7/usage"]);
}

/// J25, and what else may happen to the upload and its reading back.
#[actix_rt::test]
async fn a_device_that_cannot_be_written_is_readable() {
    let nodes = [
        device_but("PUT", TEST_FILE, |_| Reply::status(500)).await,
        device_but("PUT", TEST_FILE, |_| Reply::status(507)).await,
        device_but("PUT", TEST_FILE, |_| Reply::hang_up()).await,
        device_but("PUT", TEST_FILE, |_| Reply::silence()).await,
        device_but("GET", TEST_FILE, |_| Reply::status(404)).await,
        device_but("GET", TEST_FILE, |_| Reply::status(500)).await,
    ];
    let client = client_with(&StorageSettings { node_timeout_ms: 1000, ..settings() });
    for node in nodes {
        let check = check_with(&client, &check_target(&node)).await;
        assert_eq!((check.host, check.device), (Some(ObservedHost::Reachable), Some(ObservedDevice::Readable)));
        assert_eq!((check.usage, check.write_tested, check.reject_bad_md5), (Some(USAGE_KIB), true, None));
        assert!(check.problem.is_some());
        assert_eq!(node.lines().iter().filter(|line| line.ends_with("test-md5")).count(), 0);
    }
}

/// S27: only the upload decides.
#[actix_rt::test]
async fn a_device_without_mkcol_is_writeable() {
    for status in [405, 400, 500] {
        let node = device_but("MKCOL", "/", move |_| Reply::status(status)).await;
        assert_eq!(check(&node).await.device, Some(ObservedDevice::Writeable), "{status}");
    }
}

/// J26: one more pair, with new content.
#[actix_rt::test]
async fn a_difference_gets_a_second_chance() {
    let node = device_but("GET", TEST_FILE, |seen| {
        let puts: Vec<_> = seen.iter().filter(|request| request.method == "PUT").collect();
        Reply::body(if puts.len() == 1 { b"another tracker's" } else { &puts[1].body })
    })
    .await;
    let check = check(&node).await;
    assert_eq!((check.device, check.problem), (Some(ObservedDevice::Writeable), None));
    let puts = test_puts(&node);
    assert_eq!(puts.len(), 2);
    assert_ne!(puts[0].body, puts[1].body);
}

/// J26: and no more than one.
#[actix_rt::test]
async fn a_second_difference_makes_it_readable() {
    let node = device_but("GET", TEST_FILE, |_| Reply::body(b"something else")).await;
    let check = check(&node).await;
    assert_eq!((check.device, check.reject_bad_md5), (Some(ObservedDevice::Readable), None));
    assert!(check.write_tested && check.problem.is_some());
    assert_eq!(test_puts(&node).len(), 2);
}

/// J28, and J29, replacement: what breaks leaves the answer open. The device is writeable either way.
#[actix_rt::test]
async fn does_it_reject_a_bad_md5() {
    let cases: [Case<Option<bool>>; 6] = [
        (|| Reply::status(400), Some(true)),
        (|| Reply::status(422), Some(true)),
        (|| Reply::status(201), Some(false)),
        (|| Reply::status(200), Some(false)),
        (Reply::hang_up, None),
        (Reply::silence, None),
    ];
    let client = client_with(&StorageSettings { node_timeout_ms: 1000, ..settings() });
    for (number, (reply, expected)) in cases.into_iter().enumerate() {
        let node = device_but("PUT", "/dev7/test-write/test-md5", move |_| reply()).await;
        let check = check_with(&client, &check_target(&node)).await;
        assert_eq!(check.reject_bad_md5, expected, "case {number}");
        let removed = node.lines().contains(&format!("DELETE {DIRECTORY}test-md5"));
        assert_eq!(removed, expected == Some(false), "what was taken is removed: case {number}");
        assert_eq!(check.device, Some(ObservedDevice::Writeable), "case {number}");
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Rounds of checks
// ---------------------------------------------------------------------------------------------------------------------

const NODE_TIMEOUT: Duration = Duration::from_millis(600);

/// Devices numbered by host: host 3 has 300, 301, ... All are alive.
fn tables(hosts: &[(&FakeNode, usize)]) -> Tables {
    let port = |node: &FakeNode| node.base.rsplit(':').next().and_then(|port| port.parse().ok());
    let host = |(number, (node, _)): (i64, &(&FakeNode, usize))| HostRow {
        hostid: HostId(number),
        status: Some("alive".to_owned()),
        http_port: port(node),
        http_get_port: None,
        hostname: Some(format!("h{number}")),
        hostip: Some("127.0.0.1".to_owned()),
        altip: None,
        altmask: None,
    };
    let device = |hostid: i64, number: usize| DeviceRow {
        devid: DevId(hostid * 100 + number as i64),
        hostid: HostId(hostid),
        status: Some("alive".to_owned()),
        weight: Some(100),
        mb_total: None,
        mb_used: None,
        mb_asof: None,
    };
    Tables {
        domains: Vec::new(),
        classes: Vec::new(),
        hosts: (1..).zip(hosts).map(host).collect(),
        devices: (1..)
            .zip(hosts)
            .flat_map(|(hostid, (_, count))| (0..*count).map(move |number| device(hostid, number)))
            .collect(),
        server_settings: BTreeMap::new(),
        file_paths_domains: Vec::new(),
        guards: Guards::default(),
    }
}

struct Watched {
    rounds: Rounds,
    cluster: ClusterSnapshot,
    guards: Guards,
}

impl Watched {
    fn new(hosts: &[(&FakeNode, usize)], change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::defaults();
        settings.storage.node_timeout_ms = u64::try_from(NODE_TIMEOUT.as_millis()).expect("small");
        change(&mut settings);
        let rounds = Rounds::new(client_with(&settings.storage), &settings, chance_from_seed(7));
        let cluster = refresh::build(tables(hosts), &ClusterSnapshot::default(), 2);
        Self { rounds, cluster, guards: Guards::default() }
    }

    /// Runs a round; how long it took.
    async fn round(&mut self) -> Duration {
        let begun = Instant::now();
        let report = self.rounds.run(&self.cluster, &self.guards).await;
        let after = report.apply(&self.cluster);
        for change in report.changes(&self.cluster, &after) {
            if let Change::Device { devid, observed, .. } = change {
                assert_eq!(after.devices[&devid].observed, observed);
            }
        }
        self.cluster = after;
        begun.elapsed()
    }

    fn device(&self, devid: i64) -> Option<ObservedDevice> {
        self.cluster.devices[&DevId(devid)].observed
    }

    fn host(&self, hostid: i64) -> Option<ObservedHost> {
        self.cluster.hosts[&HostId(hostid)].observed
    }

    fn writeable(&self) -> usize {
        self.cluster.devices().filter(|view| view.is_observed_writeable()).count()
    }
}

/// As [`good_device`], for devices of any number.
fn good_node(request: &Request, seen: &[Request]) -> Reply {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", path) if path.ends_with("/usage") => Reply::body(USAGE),
        ("GET", path) => match seen.iter().rev().find(|earlier| earlier.is("PUT", path)) {
            Some(put) => Reply::body(&put.body),
            None => Reply::status(404),
        },
        ("PUT", path) if path.ends_with("/test-md5") => Reply::status(400),
        _ => Reply::status(201),
    }
}

/// A node that is silent while the switch is on.
async fn node_with_switch() -> (FakeNode, Arc<std::sync::atomic::AtomicBool>) {
    let silent = Arc::<std::sync::atomic::AtomicBool>::default();
    let switch = silent.clone();
    let node = FakeNode::start(
        move |request, seen| {
            if silent.load(Ordering::SeqCst) { Reply::silence() } else { good_node(request, seen) }
        },
    )
    .await;
    (node, switch)
}

/// A host of many devices that never answers takes neither the time nor the turn of the others, and is asked little.
#[actix_rt::test]
async fn a_silent_host_holds_up_nobody() {
    let silent = FakeNode::start(|_, _| Reply::silence()).await;
    let healthy = FakeNode::start(good_node).await;
    let mut watched = Watched::new(&[(&silent, 90), (&healthy, 20)], |settings| {
        settings.monitor.checks_in_flight_max = 12;
        settings.monitor.checks_per_host_max = 10;
    });
    let took = watched.round().await;
    assert!(took < NODE_TIMEOUT * 2, "{took:?}");
    assert_eq!((watched.host(1), watched.device(100)), (Some(ObservedHost::Unreachable), None));
    assert_eq!((watched.host(2), watched.writeable()), (Some(ObservedHost::Reachable), 20));
    assert_eq!(silent.seen().len(), 10, "it is given up after the first silence");
    watched.round().await;
    assert_eq!(silent.seen().len(), 11, "then one device is tried per round");
    assert_eq!(healthy.lines().iter().filter(|line| line.ends_with("/usage")).count(), 40);
}

/// A node that answers slowly, again and again, is left to itself: rounds end without it, and what it says comes later.
#[actix_rt::test]
async fn what_takes_longer_than_a_round_comes_with_a_later_one() {
    let dallying = FakeNode::start(|request, seen| match request.method.as_str() {
        "GET" if request.path.ends_with("/usage") => Reply::body(USAGE),
        // Some requests that need a good part of the time limit each.
        _ => good_node(request, seen).slowly(NODE_TIMEOUT / 2),
    })
    .await;
    let healthy = FakeNode::start(good_node).await;
    let mut watched = Watched::new(&[(&dallying, 1), (&healthy, 1)], |_| {});
    let took = watched.round().await;
    assert!(took < NODE_TIMEOUT * 2, "{took:?}");
    assert_eq!((watched.device(100), watched.device(200)), (None, Some(ObservedDevice::Writeable)));
    let begun = Instant::now();
    while watched.device(100).is_none() {
        assert!(begun.elapsed() < PATIENCE);
        watched.round().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(watched.device(100), Some(ObservedDevice::Writeable));
    let usages = dallying.lines().iter().filter(|line| line.ends_with("/usage")).count();
    assert_eq!(usages, 1, "nobody asked again meanwhile");
}

/// J21, J22, J4: a silent host is down with all its devices; when it answers again they are at once what they were.
#[actix_rt::test]
async fn a_host_that_comes_back_is_of_use_at_once() {
    let (node, silent) = node_with_switch().await;
    let mut watched = Watched::new(&[(&node, 3)], |_| {});
    watched.round().await;
    assert_eq!(watched.writeable(), 3);
    silent.store(true, Ordering::SeqCst);
    watched.round().await;
    assert_eq!((watched.host(1), watched.writeable()), (Some(ObservedHost::Unreachable), 0));
    assert_eq!(watched.device(100), Some(ObservedDevice::Writeable), "as it was");
    silent.store(false, Ordering::SeqCst);
    watched.round().await;
    assert_eq!((watched.host(1), watched.writeable()), (Some(ObservedHost::Reachable), 3));
    assert_eq!(test_put_count(&node), 6, "and tested before anybody uses them");
}

fn test_put_count(node: &FakeNode) -> usize {
    node.of_method("PUT").iter().filter(|put| put.path.contains("/test-write/test-write-")).count()
}

/// One disk that hangs is one device less, not a host less (in 2.73 it takes its host down).
#[actix_rt::test]
async fn a_disk_that_hangs_leaves_its_host_up() {
    let node = FakeNode::start(|request, seen| match request.path.as_str() {
        "/dev101/usage" => Reply::silence(),
        _ => good_node(request, seen),
    })
    .await;
    let mut watched = Watched::new(&[(&node, 3)], |_| {});
    for _ in 0..2 {
        watched.round().await;
        assert_eq!((watched.host(1), watched.writeable()), (Some(ObservedHost::Reachable), 2));
        assert_eq!(watched.device(101), Some(ObservedDevice::Unreachable));
    }
}

/// J20: refused connections tell nothing of the host; a device that is back is tested at once.
#[actix_rt::test]
async fn a_device_that_is_back_is_tested_at_once() {
    let missing = Arc::<std::sync::atomic::AtomicBool>::default();
    let switch = missing.clone();
    let node = FakeNode::start(move |request, seen| {
        if missing.load(Ordering::SeqCst) && request.path.ends_with("/usage") {
            return Reply::status(404);
        }
        good_node(request, seen)
    })
    .await;
    let mut watched = Watched::new(&[(&node, 1)], |_| {});
    watched.round().await;
    switch.store(true, Ordering::SeqCst);
    watched.round().await;
    assert_eq!(
        (watched.host(1), watched.device(100)),
        (Some(ObservedHost::Reachable), Some(ObservedDevice::Unreachable))
    );
    switch.store(false, Ordering::SeqCst);
    watched.round().await;
    assert_eq!(watched.device(100), Some(ObservedDevice::Writeable));
    watched.round().await;
    assert_eq!(test_put_count(&node), 2, "J23: not again within 15 s");
}

/// Thousands of devices in one round.
#[actix_rt::test]
async fn thousands_of_devices_are_checked_in_one_round() {
    let node = FakeNode::start(|request, _| match request.method.as_str() {
        "GET" => Reply::body(USAGE),
        _ => Reply::status(500),
    })
    .await;
    let hosts: Vec<_> = (0..25).map(|_| (&node, 80)).collect();
    let mut watched = Watched::new(&hosts, |settings| settings.storage.node_timeout_ms = 20_000);
    watched.round().await;
    assert_eq!(watched.cluster.devices.len(), 2000);
    let seen = watched.cluster.devices.values().filter(|device| device.observed == Some(ObservedDevice::Readable));
    assert_eq!(seen.count(), 2000);
}

/// J31, J32, J35: what was seen of a device outlives any change of its row, and goes with the row; what is looked at no
/// more is unknown (W22).
#[actix_rt::test]
async fn what_was_seen_outlives_a_change_of_the_row() {
    let node = FakeNode::start(good_node).await;
    let mut watched = Watched::new(&[(&node, 3)], |_| {});
    watched.round().await;
    let mut rows = tables(&[(&node, 3)]);
    rows.devices[0].mb_asof = Some(5);
    rows.devices[1].weight = Some(7);
    rows.devices.pop();
    let mut device = watched.cluster.devices[&DevId(101)].as_ref().clone();
    device.utilization = Some("37".to_owned());
    watched.cluster.devices.insert(device.devid, Arc::new(device));
    let next = refresh::build(rows, &watched.cluster, 2);
    let seen = |devid: i64| next.devices.get(&DevId(devid)).map(|device| (device.observed, device.mb_total));
    let as_before = Some((Some(ObservedDevice::Writeable), Some(976_562)));
    assert_eq!(
        (seen(100), seen(101), seen(102)),
        (as_before, as_before, None),
        "J16: figures count before they are stored"
    );
    let changed = &next.devices[&DevId(101)];
    assert_eq!((changed.weight, changed.utilization.as_deref()), (Some(7), Some("37")));
    let mut rows = tables(&[(&node, 3)]);
    rows.devices[0].status = Some("down".to_owned());
    let next = refresh::build(rows, &next, 2);
    assert_eq!(next.devices[&DevId(100)].observed, None);
    let mut rows = tables(&[(&node, 3)]);
    rows.hosts[0].status = Some("dead".to_owned());
    let next = refresh::build(rows, &next, 2);
    assert_eq!((next.devices[&DevId(101)].observed, next.hosts[&HostId(1)].observed), (None, None));
}

// ---------------------------------------------------------------------------------------------------------------------
// Copies that the target fetches by itself
// ---------------------------------------------------------------------------------------------------------------------

const CAPABLE: &str = "x-mogilefs-copyfrom: 1\r\n";

/// Is the error the one that must come?
type IsRight = fn(&CopyError) -> bool;

/// An answer of a node that copies by itself, with this body in chunks.
fn capable_answer(status: u16, chunks: &[&str]) -> Vec<Vec<u8>> {
    let mut pieces = vec![format!("HTTP/1.1 {status} x\r\n{CAPABLE}Transfer-Encoding: chunked\r\n\r\n").into_bytes()];
    pieces.extend(chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len()).into_bytes()));
    pieces.push(b"0\r\n\r\n".to_vec());
    pieces
}

/// A node that says of itself that it copies, and answers orders so.
async fn capable_target(answer: impl Fn() -> Reply + Send + Sync + 'static) -> FakeNode {
    FakeNode::start(move |request, _| match request.method.as_str() {
        "COPYFROM" => answer(),
        _ => Reply::wire(capable_answer(200, &[])),
    })
    .await
}

/// Copies by order after an answer of the target has shown what it can.
async fn order(
    client: &NodeClient,
    target: &FakeNode,
    hashtype: Option<HashType>,
) -> Option<Result<CopyReport, CopyError>> {
    let _learnt = client.head_size(&target.url(PATH)).await;
    let copy = Copy {
        source_url: "http://10.0.0.9:7500/dev9/0/000/000/0000000042.fid",
        target_url: &target.url(PATH),
        length: 10,
        content_md5: None,
        hashtype,
    };
    client.copy_directly(&copy).await
}

/// What the node says it stored is what counts: exactly the length, and the digest that was asked for. Signs of life, and
/// lines cut anywhere, change nothing.
#[actix_rt::test]
async fn a_direct_copy_is_vouched_for_by_the_target() {
    let md5 = "MD5:5eb63bbbe01eeed093cb22bb8f5acdc3";
    let target =
        capable_target(move || Reply::wire(capable_answer(200, &["\n", "\n", "stored 10", " ", md5, "\n"]))).await;
    let report = order(&client(), &target, Some(HashType::Md5)).await.expect("begun").expect("copied");
    assert_eq!(report.checksum, Checksum::parse(md5.as_bytes()));
    assert!(report.seen_by_target);
    assert_eq!(
        target.lines(),
        [format!("HEAD {PATH}"), format!("COPYFROM {PATH}")],
        "no GET, no PUT, no HEAD after it"
    );
    let asked = target.seen()[1].clone();
    assert_eq!(asked.header("x-mogilefs-source"), Some("http://10.0.0.9:7500/dev9/0/000/000/0000000042.fid"));
    assert_eq!((asked.header("x-mogilefs-length"), asked.header("x-mogilefs-hash")), (Some("10"), Some("MD5")));
    assert!(asked.body.is_empty());
}

#[actix_rt::test]
async fn a_direct_copy_that_is_not_what_was_wanted_is_none() {
    let cases: [Case<IsRight>; 6] = [
        (
            || Reply::wire(capable_answer(200, &["stored 9\n"])),
            |error| matches!(error, CopyError::Target(NodeError::WrongLength { expected: 10, actual: 9 })),
        ),
        (|| Reply::wire(capable_answer(200, &["source gave up\n"])), |error| matches!(error, CopyError::Source(_))),
        (|| Reply::wire(capable_answer(200, &["target is full\n"])), |error| matches!(error, CopyError::Target(_))),
        (|| Reply::wire(capable_answer(200, &["<html>"])), |error| matches!(error, CopyError::Target(_))),
        (|| Reply::wire(capable_answer(200, &[])), |error| matches!(error, CopyError::Target(_))),
        // Cut off before the result.
        (
            || Reply::wire(capable_answer(200, &["\n"])[..2].to_vec()).then(Then::Close),
            |error| matches!(error, CopyError::Target(_)),
        ),
    ];
    for (answer, is_right) in cases {
        let error = order(&client(), &capable_target(answer).await, None).await.expect("begun").expect_err("no copy");
        assert!(is_right(&error), "{error}");
    }
    // A digest is wanted, and not given.
    let target = capable_target(|| Reply::wire(capable_answer(200, &["stored 10\n"]))).await;
    order(&client(), &target, Some(HashType::Md5)).await.expect("begun").expect_err("no copy");
    // Nothing comes for too long.
    let target =
        capable_target(|| Reply::wire(capable_answer(200, &["\n"])[..2].to_vec()).then(Then::StandStill)).await;
    let error = order(&hasty_client(), &target, None).await.expect("begun").expect_err("no copy");
    assert!(matches!(error, CopyError::Target(NodeError::Timeout(_))), "{error}");
}

/// Foreign nodes are never asked; one that has forgotten how to do it is not asked again. Their files are streamed.
#[actix_rt::test]
async fn only_nodes_that_say_so_copy_by_themselves() {
    let foreign = FakeNode::start(|_, _| Reply::length(10)).await;
    let client = client();
    assert!(order(&client, &foreign, None).await.is_none());
    assert_eq!(foreign.lines(), [format!("HEAD {PATH}")]);
    // Another program took its place: it answers without the sign, and stores nothing.
    let downgraded = capable_target(|| Reply::status(405)).await;
    assert!(order(&client, &downgraded, None).await.is_none());
    let (source_url, target_url) = ("http://10.0.0.9:7500/dev9/0/000/000/0000000042.fid", downgraded.url(PATH));
    let copy = Copy { source_url, target_url: &target_url, length: 10, content_md5: None, hashtype: None };
    assert!(client.copy_directly(&copy).await.is_none(), "it was forgotten");
    assert_eq!(downgraded.lines().len(), 2, "not asked again");
    // Nothing but stored files.
    let target = capable_target(|| Reply::status(500)).await;
    let _learnt = client.head_size(&target.url(PATH)).await;
    let copy = Copy { source_url: "http://10.0.0.9/usage", target_url: &target.url(PATH), ..copy };
    assert!(client.copy_directly(&copy).await.is_none());
    assert_eq!(target.lines().len(), 1);
}
