//! A memcached of our own that can be looked into and that misbehaves on demand, and the real program where it is
//! installed.

use super::PATIENCE;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

/// How commands are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    Good,
    /// Commands are read, and neither carried out nor answered until the manners change.
    Hangs,
    /// Commands with this name are held so; others are carried out.
    Holds(&'static str),
    /// The connection breaks at every command.
    Drops,
    /// Every answer is an error.
    Fails,
}

/// The server; it stops with the test. It keeps entries for ever.
pub struct FakeMemcached {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    manners: Option<Manners>,
    entries: BTreeMap<String, (Vec<u8>, u64)>,
    next_token: u64,
    lines: Vec<String>,
    held: usize,
    connections: usize,
    stopped: bool,
}

impl FakeMemcached {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut state = serving.state();
                if state.stopped {
                    return;
                }
                state.connections += 1;
                let shared = serving.clone();
                // A client that goes away in the middle ends its own connection only.
                std::thread::spawn(move || drop(shared.serve(&stream)));
            }
        });
        Self { address, shared }
    }

    pub fn set_manners(&self, manners: Manners) {
        self.shared.state().manners = Some(manners);
        self.shared.changed.notify_all();
    }

    /// The command lines that were read so far.
    pub fn lines(&self) -> Vec<String> {
        self.shared.state().lines.clone()
    }

    /// How many commands with this name were read so far.
    pub fn count(&self, name: &str) -> usize {
        self.shared.state().lines.iter().filter(|line| line.split(' ').next() == Some(name)).count()
    }

    /// The values that are stored.
    pub fn values(&self) -> Vec<Vec<u8>> {
        self.shared.state().entries.values().map(|(value, _)| value.clone()).collect()
    }

    /// Replaces every value that is stored.
    pub fn overwrite_all(&self, value: &[u8]) {
        for entry in self.shared.state().entries.values_mut() {
            entry.0 = value.to_vec();
        }
    }

    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// Waits until so many commands were held.
    pub fn wait_until_held(&self, count: usize) {
        let state = self.shared.state();
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, |state| state.held < count);
        assert!(!waited.expect("lock").1.timed_out(), "no command came to be held");
    }
}

impl Drop for FakeMemcached {
    fn drop(&mut self) {
        self.shared.state().stopped = true;
        self.set_manners(Manners::Drops);
        // Wakes the listener so that it sees the flag.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("lock")
    }

    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let line = String::from_utf8(line).expect("commands are ASCII");
            let line = line.strip_suffix("\r\n").expect("a line ends in CR LF").to_owned();
            let words: Vec<&str> = line.split(' ').collect();
            let data = match words[0] {
                "gets" => Vec::new(),
                _ => {
                    let mut data = vec![0; words[4].parse::<usize>().expect("a length") + 2];
                    reader.read_exact(&mut data)?;
                    assert_eq!(data.split_off(data.len() - 2), b"\r\n");
                    data
                }
            };
            let mut state = self.state();
            state.lines.push(line.clone());
            let is_held = |state: &State| match state.manners {
                Some(Manners::Hangs) => true,
                Some(Manners::Holds(name)) => name == words[0],
                _ => false,
            };
            if is_held(&state) {
                state.held += 1;
                self.changed.notify_all();
                state = self.changed.wait_while(state, |state| is_held(state)).expect("lock");
            }
            let answer = match state.manners {
                Some(Manners::Drops) => return Ok(()),
                Some(Manners::Fails) => b"SERVER_ERROR out of memory storing object\r\n".to_vec(),
                _ => state.carry_out(&words, data),
            };
            drop(state);
            let mut writer = stream;
            writer.write_all(&answer)?;
        }
    }
}

impl State {
    fn carry_out(&mut self, words: &[&str], data: Vec<u8>) -> Vec<u8> {
        let key = words[1].to_owned();
        let present = self.entries.get(&key);
        let verdict = match words[0] {
            "gets" => {
                let mut answer = Vec::new();
                if let Some((value, token)) = present {
                    answer.extend_from_slice(format!("VALUE {key} 0 {} {token}\r\n", value.len()).as_bytes());
                    answer.extend_from_slice(value);
                    answer.extend_from_slice(b"\r\n");
                }
                answer.extend_from_slice(b"END\r\n");
                return answer;
            }
            "set" => "STORED",
            "add" if present.is_none() => "STORED",
            "add" => "NOT_STORED",
            "cas" => match present {
                None => "NOT_FOUND",
                Some((_, token)) if words[5] == token.to_string() => "STORED",
                Some(_) => "EXISTS",
            },
            other => panic!("an unknown command: {other}"),
        };
        if verdict == "STORED" {
            self.next_token += 1;
            self.entries.insert(key, (data, self.next_token));
        }
        format!("{verdict}\r\n").into_bytes()
    }
}

/// The real program, if it is installed.
pub struct RealMemcached {
    pub address: SocketAddr,
    child: Child,
}

impl RealMemcached {
    pub fn start() -> Option<Self> {
        for _ in 0..5 {
            // The port may be taken by somebody else before memcached has it.
            let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
            let port = address.port().to_string();
            let mut child = Command::new("memcached")
                .args(["-l", "127.0.0.1", "-p", &port, "-U", "0", "-m", "16", "-u", "nobody"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .inspect_err(|error| eprintln!("memcached is not installed: {error}"))
                .ok()?;
            let begun = Instant::now();
            while begun.elapsed() < PATIENCE && child.try_wait().expect("our child").is_none() {
                if TcpStream::connect(address).is_ok() {
                    return Some(Self { address, child });
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            let _killed = child.kill();
            let _waited = child.wait();
        }
        panic!("memcached does not start");
    }
}

impl Drop for RealMemcached {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}
