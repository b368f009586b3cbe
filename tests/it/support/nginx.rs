//! nginx as a storage node, configured as mogstored configures it (storage-node.md 8), where it is installed.
//!
//! It knows no usage files by itself: mogstored writes them beside it, and here the test does.

use super::PATIENCE;
use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// Where Debian puts it, which is in no user's path.
const PROGRAMS: [&str; 3] = ["nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"];

pub struct Nginx {
    pub ip: String,
    pub port: u16,
    child: Child,
    directory: TempDir,
}

impl Nginx {
    /// `number` makes the address 127.0.0.`number`. `None` where nginx, or its DAV module, is not installed.
    pub fn start(number: u8, devids: &[i64]) -> Option<Self> {
        let program = PROGRAMS.into_iter().find(|program| has_dav(program))?;
        let ip = format!("127.0.0.{number}");
        let directory = tempfile::tempdir().expect("a directory");
        for devid in devids {
            let device = directory.path().join(format!("dev{devid}"));
            std::fs::create_dir_all(device.join(".tmp")).expect("a device");
            std::fs::write(device.join("usage"), "total: 100000000\nused: 1000000\n").expect("a usage file");
        }
        for _ in 0..5 {
            // The port may be taken by somebody else before nginx has it.
            let free = TcpListener::bind((ip.as_str(), 0)).and_then(|free| free.local_addr()).expect("a port");
            let configuration = directory.path().join("nginx.conf");
            std::fs::write(&configuration, configured(directory.path(), &free.to_string(), devids)).expect("written");
            let mut child = Command::new(program)
                .arg("-p")
                .arg(directory.path())
                .arg("-c")
                .arg(&configuration)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("nginx runs");
            let begun = Instant::now();
            while begun.elapsed() < PATIENCE && child.try_wait().expect("our child").is_none() {
                if TcpStream::connect(free).is_ok() {
                    return Some(Self { ip, port: free.port(), child, directory });
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            let _killed = child.kill();
            let _waited = child.wait();
        }
        panic!("nginx does not start");
    }

    /// The file on disk of a URL path.
    pub fn file(&self, path: &str) -> PathBuf {
        self.directory.path().join(path.trim_start_matches('/'))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

fn has_dav(program: &str) -> bool {
    // Versions are told on stderr.
    let said = Command::new(program).arg("-V").output().map(|output| output.stderr).unwrap_or_default();
    String::from_utf8_lossy(&said).contains("http_dav_module")
}

/// One process in the foreground, so that killing it ends everything.
fn configured(docroot: &Path, address: &str, devids: &[i64]) -> String {
    let root = docroot.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let mut text = format!(
        "daemon off; master_process off; {user} pid {root}/nginx.pid; error_log {root}/error.log; \
         events {{ worker_connections 1024; }} \
         http {{ access_log off; client_max_body_size 0; client_body_temp_path {root}/.tmp; \
         proxy_temp_path {root}/.p; fastcgi_temp_path {root}/.f; uwsgi_temp_path {root}/.u; scgi_temp_path {root}/.s; \
         server {{ listen {address}; root {root}; autoindex on; location /.tmp {{ deny all; }} "
    );
    for devid in devids {
        let _infallible = write!(
            text,
            "location /dev{devid}/ {{ client_body_temp_path {root}/dev{devid}/.tmp; dav_methods PUT DELETE; \
             dav_access user:rw group:rw all:r; create_full_put_path on; }} "
        );
    }
    text + "} }\n"
}
