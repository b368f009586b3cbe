//! The handbook is right: what it tells its readers to type is typed, in its order, at a real cluster.
//!
//! Blocks with the fence ` ```sh ` are run; those with ` ```sh elsewhere ` need root or other machines, and are shown by
//! `scripts/check-packages` and the tests of upgrades. That every command of every document is one that the program takes is
//! tested beside the examples (`src/cli/examples.rs`).

use crate::support::cluster::{Node, Tracker};
use crate::support::database::{Database, Kind};
use crate::support::eventually;
use std::path::Path;
use std::process::Command;

/// The blocks of a document that are to be run: the line of the first command, and the text.
fn blocks(document: &str) -> Vec<(usize, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = std::fs::read_to_string(path).expect(document);
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut is_within = false;
    for (number, line) in (1..).zip(text.lines()) {
        match line {
            "```sh" => {
                is_within = true;
                blocks.push((number + 1, String::new()));
            }
            line if line.starts_with("```") => is_within = false,
            line if is_within => {
                if let Some((_, block)) = blocks.last_mut() {
                    block.push_str(line);
                    block.push('\n');
                }
            }
            _ => {}
        }
    }
    blocks
}

/// A tracker, a node for the host that the handbook calls store1, and a shell at that.
struct Place {
    tracker: Tracker,
    node: Node,
    directory: tempfile::TempDir,
    _database: Database,
}

impl Place {
    fn new() -> Self {
        let database = Database::create(Kind::Sqlite);
        let tracker = Tracker::start_with(&database, &["web.listen=127.0.0.1:0"]);
        let directory = tempfile::tempdir().expect("a directory");
        for picture in ["a.jpg", "cat.jpg"] {
            std::fs::write(directory.path().join(picture), b"a picture").expect("written");
        }
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mogilefs"), directory.path().join("mogilefs")).expect("linked");
        Self { tracker, node: Node::start(1, &[1, 2, 7]), directory, _database: database }
    }

    /// What stands for the reader's machines here.
    fn here(&self, block: &str) -> String {
        let (tracker, page) = (self.tracker.address.to_string(), self.page());
        let store = format!("--ip {} --port {}", self.node.ip, self.node.port);
        block
            .replace("tracker1:7001,tracker2:7001", &tracker)
            .replace("tracker1:7001", &tracker)
            .replace("--ip 10.0.0.1 --port 7500", &store)
            .replace("127.0.0.1:7002", &page)
    }

    fn page(&self) -> String {
        self.tracker.process.logged_address("web page is ready", "address").to_string()
    }

    /// Runs a block as its reader would, in a shell that has what the blocks before have exported.
    fn run(&self, document: &str, line: usize, block: &str) {
        let path = format!("{}:{}", self.directory.path().display(), std::env::var("PATH").unwrap_or_default());
        let exports = self.directory.path().join("exports");
        let script = format!(
            "[ ! -e {0} ] || . {0}\n{1}\n(export -p | grep ' MOGILEFS_' || true) > {0}\n",
            exports.display(),
            self.here(block)
        );
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-x", "-c", &script]).env("PATH", path).current_dir(self.directory.path());
        for variable in ["MOGILEFS_TRACKERS", "MOGILEFS_DOMAIN", "MOGILEFS_TOKEN", "MOGILEFS_TOKEN_FILE"] {
            command.env_remove(variable);
        }
        let output = command.stdin(std::process::Stdio::null()).output().expect("a shell");
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{document}:{line}: {}\n{}", said[0], said[1]);
    }

    /// What readers see to between two blocks: the monitor has seen the devices, a rebalance is over.
    fn settle(&self) {
        eventually("devices can be written to, if there are any", || {
            let devices = self.tracker.session().ok("get_devices");
            let alive = devices.iter().any(|(name, value)| name.ends_with("_status") && value == "alive");
            let writable =
                devices.iter().any(|(name, value)| name.ends_with("_observed_state") && value == "writeable");
            (!alive || writable).then_some(())
        });
        eventually("no rebalance runs", || {
            let status = self.tracker.session().ask("rebalance_status");
            let is_over = status.contains("running=0") && status.contains("waiting=0");
            (is_over || status.starts_with("ERR no_rebal_state")).then_some(())
        });
    }
}

#[test]
fn the_handbook_does_what_it_says() {
    let place = Place::new();
    let blocks = blocks("docs/OPERATING.md");
    assert!(blocks.len() >= 5, "{blocks:?}");
    for (line, block) in blocks {
        // Lines that need what those before have begun are typed when it is there.
        let mut rest = block.as_str();
        while !rest.is_empty() {
            let ends = ["mogilefs check", "rebalance start\n"].map(|end| rest.find(end).map(|at| at + end.len()));
            let (part, after) = rest.split_at(ends.into_iter().flatten().min().unwrap_or(rest.len()));
            place.settle();
            place.run("docs/OPERATING.md", line, part);
            rest = after;
        }
    }
}

#[test]
fn the_readme_does_what_it_says() {
    let place = Place::new();
    let is_for_clients = |block: &String| block.contains("export MOGILEFS_TRACKERS");
    let (line, block) =
        blocks("README.md").into_iter().find(|(_, block)| is_for_clients(block)).expect("the part for clients");
    // The lines before start what is running here already.
    let (_, for_clients) = block.split_at(block.find("export MOGILEFS_TRACKERS").expect("there"));
    let (make, use_it) = for_clients.split_at(for_clients.find("export MOGILEFS_DOMAIN").expect("there"));
    place.run("README.md", line, make);
    place.settle();
    place.run("README.md", line, use_it);
    assert_eq!(std::fs::read(place.directory.path().join("copy.jpg")).expect("fetched"), b"a picture");
}
