//! A database server of a test's own that is killed and started again, with its data. Gone with the test.

use super::database::Kind;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

const SCRIPT: &str = include_str!("mortal_server.sh");

pub struct MortalServer {
    /// With an account that may create databases.
    pub url: String,
    script: Child,
    orders: Option<ChildStdin>,
    done: BufReader<ChildStdout>,
    _directory: TempDir,
}

impl MortalServer {
    /// Of a kind whose server is at hand.
    pub fn start(kind: Kind) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let name = match kind {
            Kind::Sqlite => unreachable!("it has no server"),
            #[cfg(feature = "mysql")]
            Kind::Mysql => "mariadb",
            #[cfg(feature = "postgres")]
            Kind::Postgres => "postgres",
        };
        let mut script = Command::new("bash")
            .args(["-c", SCRIPT, "mortal_server", name])
            .arg(directory.path())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash starts");
        let orders = script.stdin.take();
        let mut done = BufReader::new(script.stdout.take().expect("piped"));
        let url = line(&mut done);
        Self { url, script, orders, done, _directory: directory }
    }

    /// The server and all its connections are gone, whatever they were at.
    pub fn kill(&mut self) {
        self.order("kill");
    }

    /// It is there again, at the same address.
    pub fn start_again(&mut self) {
        self.order("start");
    }

    fn order(&mut self, word: &str) {
        writeln!(self.orders.as_mut().expect("it lives"), "{word}").expect("the script reads");
        assert_eq!(line(&mut self.done), word);
    }
}

fn line(from: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("the script answers");
    assert!(!line.is_empty(), "no server; see its script's words above");
    line.trim_end().to_owned()
}

impl Drop for MortalServer {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ended = self.script.wait();
    }
}
