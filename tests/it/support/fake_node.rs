//! A storage node that misbehaves on demand. It keeps files in memory, passes the tracker's checks, and treats stored
//! files (`.fid`) as its manners say; everything else it does well.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// How stored files are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    Good,
    /// Uploads: the connection breaks when half of the body was read.
    DiesInUpload,
    /// Uploads are answered 201, but the last byte is lost.
    LosesBytes,
    /// Downloads: the right length is announced, half of it is sent, then the connection breaks.
    DiesInDownload,
    /// Downloads announce and send one byte less than was stored.
    LiesAboutLength,
    /// Downloads stop in the middle until the manners change; then they break off.
    HoldsDownload,
    /// Deletes are answered 500 and not done.
    RefusesDeletes,
}

/// The server; it stops with the test.
pub struct FakeNode {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    files: Mutex<HashMap<String, Vec<u8>>>,
    manners: Mutex<Manners>,
    changed: Condvar,
    lines: Mutex<Vec<String>>,
    uploads: AtomicUsize,
    held: AtomicUsize,
    stopped: AtomicBool,
}

impl FakeNode {
    /// `number` makes the address 127.0.0.`number`.
    pub fn start(number: u8, manners: Manners) -> Self {
        let listener = TcpListener::bind((format!("127.0.0.{number}"), 0)).expect("bind");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            files: Mutex::default(),
            manners: Mutex::new(manners),
            changed: Condvar::new(),
            lines: Mutex::default(),
            uploads: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if serving.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = serving.clone();
                // A client that goes away in the middle ends its own connection only.
                std::thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { address, shared }
    }

    pub fn set_manners(&self, manners: Manners) {
        *self.shared.manners() = manners;
        self.shared.changed.notify_all();
    }

    /// What was asked for, as `METHOD path`, and what a PUT sent as Content-MD5 behind it.
    pub fn lines(&self) -> Vec<String> {
        self.shared.lines.lock().expect("lock").clone()
    }

    /// How many uploads of stored files were begun.
    pub fn uploads(&self) -> usize {
        self.shared.uploads.load(Ordering::SeqCst)
    }

    /// How many downloads were held in the middle so far.
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::SeqCst)
    }

    /// The stored files by path.
    pub fn stored_files(&self) -> HashMap<String, Vec<u8>> {
        let files = self.shared.files.lock().expect("lock");
        files
            .iter()
            .filter(|(path, _)| path.ends_with(".fid"))
            .map(|(path, bytes)| (path.clone(), bytes.clone()))
            .collect()
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.set_manners(Manners::Good);
        // Wakes the listener so that it sees the flag.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn manners(&self) -> MutexGuard<'_, Manners> {
        self.manners.lock().expect("lock")
    }

    /// One request; the connection closes after it.
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line == "\r\n" {
                break;
            }
            head.push(line);
        }
        let Some(first) = head.first() else { return Ok(()) };
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
        let length = head
            .iter()
            .find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length:").map(|text| text.trim().to_owned())
            })
            .map_or(0, |text| text.parse().expect("a length"));
        let md5 =
            head.iter().find_map(|line| line.to_ascii_lowercase().starts_with("content-md5:").then(|| line.trim()));
        let md5 = md5.and_then(|line| line.split_once(": ")).map_or(String::new(), |(_, md5)| format!(" {md5}"));
        self.lines.lock().expect("lock").push(format!("{method} {path}{md5}"));
        let manners = if path.ends_with(".fid") { *self.manners() } else { Manners::Good };
        match method.as_str() {
            "PUT" => self.put(&mut reader, path, length, manners),
            "GET" | "HEAD" => self.get(reader.get_mut(), &path, method == "HEAD", manners),
            "DELETE" if manners == Manners::RefusesDeletes => answer(reader.get_mut(), 500, b""),
            "DELETE" => {
                let status = if self.files.lock().expect("lock").remove(&path).is_some() { 204 } else { 404 };
                answer(reader.get_mut(), status, b"")
            }
            _ => answer(reader.get_mut(), 405, b""),
        }
    }

    fn put(
        &self,
        reader: &mut BufReader<TcpStream>,
        path: String,
        length: usize,
        manners: Manners,
    ) -> std::io::Result<()> {
        if path.ends_with(".fid") {
            self.uploads.fetch_add(1, Ordering::SeqCst);
        }
        let wanted = if manners == Manners::DiesInUpload { length / 2 } else { length };
        let mut body = vec![0; wanted];
        reader.read_exact(&mut body)?;
        if manners == Manners::DiesInUpload {
            return Ok(());
        }
        if manners == Manners::LosesBytes {
            body.pop();
        }
        self.files.lock().expect("lock").insert(path, body);
        answer(reader.get_mut(), 201, b"")
    }

    fn get(&self, stream: &mut TcpStream, path: &str, head_only: bool, manners: Manners) -> std::io::Result<()> {
        let stored = match path.ends_with("/usage") {
            true => Some(b"total: 1000000000\nused: 1000\n".to_vec()),
            false => self.files.lock().expect("lock").get(path).cloned(),
        };
        let Some(mut bytes) = stored else { return answer(stream, 404, b"") };
        if manners == Manners::LiesAboutLength && !head_only {
            bytes.pop();
        }
        if head_only {
            return write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", bytes.len());
        }
        let halved = matches!(manners, Manners::DiesInDownload | Manners::HoldsDownload);
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", bytes.len())?;
        stream.write_all(if halved { &bytes[..bytes.len() / 2] } else { &bytes })?;
        stream.flush()?;
        if manners == Manners::HoldsDownload {
            self.held.fetch_add(1, Ordering::SeqCst);
            let guard = self.manners();
            drop(self.changed.wait_while(guard, |now| *now == Manners::HoldsDownload).expect("lock"));
        }
        Ok(())
    }
}

fn answer(stream: &mut TcpStream, status: u16, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} X\r\nConnection: close\r\n")?;
    if status != 204 {
        write!(stream, "Content-Length: {}\r\n", body.len())?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(body)
}
