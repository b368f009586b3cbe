//! A storage node for tests of the monitor: good by itself, it notes when it was asked what, and can be told to answer
//! otherwise. Its side channel tells what the test says.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    Body(String),
    /// Nothing: the connection stays open until the client hangs up.
    Silence,
}

/// Decides by `METHOD path`; `None` is the good answer.
type Rule = dyn Fn(&str) -> Option<Answer> + Send + Sync;

/// The server; its threads end with the test's process.
pub struct WatchedNode {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    rule: Mutex<Box<Rule>>,
    files: Mutex<HashMap<String, Vec<u8>>>,
    requests: Mutex<Vec<(Instant, String)>>,
}

impl WatchedNode {
    /// `number` makes the address 127.0.0.`number`.
    pub fn start(number: u8) -> Self {
        let listener = TcpListener::bind((format!("127.0.0.{number}"), 0)).expect("bind");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            rule: Mutex::new(Box::new(|_| None)),
            files: Mutex::default(),
            requests: Mutex::default(),
        });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = serving.clone();
                // A client that goes away in the middle ends its own connection only.
                std::thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { address, shared }
    }

    /// From now on.
    pub fn answer(&self, rule: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static) {
        *self.shared.rule.lock().expect("lock") = Box::new(rule);
    }

    /// When requests came that begin so (`METHOD path`).
    pub fn times(&self, beginning: &str) -> Vec<Instant> {
        let requests = self.shared.requests.lock().expect("lock");
        requests.iter().filter(|(_, line)| line.starts_with(beginning)).map(|(time, _)| *time).collect()
    }

    pub fn count(&self, beginning: &str) -> usize {
        self.times(beginning).len()
    }
}

impl Shared {
    /// One request; the connection closes after it.
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line == "\r\n" {
                break;
            }
            head.push(line.to_ascii_lowercase());
        }
        let Some(first) = head.first() else { return Ok(()) };
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or_default().to_ascii_uppercase(), words.next().unwrap_or_default());
        let line = format!("{method} {path}");
        let length = head.iter().find_map(|line| line.strip_prefix("content-length:")).map_or("0", str::trim);
        let mut body = vec![0; length.parse().expect("a length")];
        reader.read_exact(&mut body)?;
        self.requests.lock().expect("lock").push((Instant::now(), line.clone()));
        let told = (self.rule.lock().expect("lock"))(&line);
        let answer = match told {
            Some(answer) => answer,
            None => self.good(&method, path, body),
        };
        let stream = reader.get_mut();
        match answer {
            Answer::Status(status) => reply(stream, status, b""),
            Answer::Body(text) => reply(stream, 200, text.as_bytes()),
            Answer::Silence => {
                stream.set_read_timeout(Some(Duration::from_secs(60)))?;
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).map(drop)
            }
        }
    }

    fn good(&self, method: &str, path: &str, body: Vec<u8>) -> Answer {
        let mut files = self.files.lock().expect("lock");
        match method {
            "GET" if path.ends_with("/usage") => Answer::Body("total: 1000000000\nused: 100000000\n".to_owned()),
            "GET" => match files.get(path) {
                Some(bytes) => Answer::Body(String::from_utf8(bytes.clone()).expect("text")),
                None => Answer::Status(404),
            },
            "PUT" if path.ends_with("/test-md5") => Answer::Status(400),
            "PUT" => {
                files.insert(path.to_owned(), body);
                Answer::Status(201)
            }
            "DELETE" => Answer::Status(if files.remove(path).is_some() { 204 } else { 404 }),
            _ => Answer::Status(405),
        }
    }
}

fn reply(stream: &mut TcpStream, status: u16, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)
}
