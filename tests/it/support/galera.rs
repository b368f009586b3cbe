//! A Galera cluster of three MariaDB servers on loopback, whose nodes are killed and started again. Gone with the test.
//!
//! Nodes begin as copies of one data directory and get what they missed as write sets (IST), for which MariaDB still runs the
//! script of a state transfer: ours only passes the position on, so neither rsync nor mariabackup is needed.

use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::{Connection, MysqlConnection, QueryableByName, RunQueryDsl};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Starting three servers on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

const ACCOUNT: &str = "mogtest";

/// `--role joiner` waits for the position that the donor writes; nothing but incremental transfers is known.
const TRANSFER_SCRIPT: &str = r#"#!/bin/bash
role= address= gtid= parent= bypass= domain=0
while [ $# -gt 0 ]; do
    case $1 in
        --role) role=$2; shift ;;
        --address) address=$2; shift ;;
        --gtid) gtid=$2; shift ;;
        --gtid-domain-id) domain=$2; shift ;;
        --parent) parent=$2; shift ;;
        --bypass) bypass=1 ;;
    esac
    shift
done
case $role in
    joiner)
        file=$TRANSFER_DIRECTORY/position.$$
        rm -f "$file"
        echo "ready 127.0.0.1/$$"
        until [ -e "$file" ]; do
            kill -0 "$parent" 2>/dev/null || exit 1
            sleep 0.02
        done
        cat "$file"
        ;;
    donor)
        [ -n "$bypass" ] || exit 1
        file=$TRANSFER_DIRECTORY/position.${address##*/}
        echo "$gtid $domain" >"$file.new"
        mv "$file.new" "$file"
        echo "done $gtid $domain"
        ;;
esac
"#;

struct Node {
    port: u16,
    /// Of the group's own connections and of write sets for who was away.
    group_port: u16,
    transfer_port: u16,
    server: Option<Child>,
}

/// Three nodes, by number from 0.
pub struct Galera {
    directory: TempDir,
    provider: PathBuf,
    password: String,
    nodes: Vec<Node>,
}

#[derive(QueryableByName)]
struct Status {
    #[diesel(sql_type = Text, column_name = "Value")]
    value: String,
}

impl Galera {
    /// `None`, with a line that says so, where the programs are missing.
    pub fn start() -> Option<Self> {
        let providers = ["/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so"];
        let provider = providers.iter().map(PathBuf::from).find(|path| path.exists());
        let (Some(provider), Some(_), Some(installer)) =
            (provider, find_program("mariadbd"), find_program("mariadb-install-db"))
        else {
            eprintln!("SKIPPED: no Galera here (packages mariadb-server-core and galera-4)");
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory");
        let nodes = (0..3).map(|_| Node {
            port: free_port(),
            group_port: free_port(),
            transfer_port: free_port(),
            server: None,
        });
        let password = format!("{:016x}", rand::random::<u64>());
        let mut galera = Self { nodes: nodes.collect(), directory, provider, password };
        galera.install(&installer);
        galera.form();
        Some(galera)
    }

    /// The URL of a database, through this node.
    pub fn url(&self, node: usize, database: &str) -> String {
        format!("mysql://{ACCOUNT}:{}@127.0.0.1:{}/{database}", self.password, self.nodes[node].port)
    }

    pub fn execute(&self, node: usize, database: &str, sql: &str) {
        let mut connection = MysqlConnection::establish(&self.url(node, database)).expect("connect");
        connection.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The node and all its connections are gone, as if it had lost its power.
    pub fn kill(&mut self, node: usize) {
        let mut server = self.nodes[node].server.take().expect("it runs");
        server.kill().expect("killed");
        server.wait().expect("ended");
    }

    /// Starts a node that was killed; it is a member again when this returns.
    pub fn restart(&mut self, node: usize, members: usize) {
        let position = self.position_after_crash(node);
        self.spawn(node, &["--wsrep-start-position", &position]);
        self.wait_until_synced(node, members);
    }

    /// Waits until a node is in step with so many members, itself among them.
    pub fn wait_until_synced(&self, node: usize, members: usize) {
        wait_for(&format!("node {node} is in step with {members} members"), || {
            let is_in_step = self.status(node, "wsrep_local_state_comment")? == "Synced"
                && self.status(node, "wsrep_ready")? == "ON"
                && self.status(node, "wsrep_cluster_size")? == members.to_string();
            Some(is_in_step)
        });
    }

    /// Waits until a node has noticed that it is not part of a majority.
    pub fn wait_until_cut_off(&self, node: usize) {
        wait_for("the node has lost its cluster", || Some(self.status(node, "wsrep_ready")? == "OFF"));
    }

    /// An operator declares what is left to be the cluster.
    pub fn declare_primary(&self, node: usize) {
        self.execute(node, "", "SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES'");
    }

    pub fn status(&self, node: usize, name: &str) -> Option<String> {
        let mut connection = MysqlConnection::establish(&self.url(node, "")).ok()?;
        let rows: Vec<Status> = diesel::sql_query(format!("SHOW STATUS LIKE '{name}'")).load(&mut connection).ok()?;
        rows.into_iter().next().map(|row| row.value)
    }

    fn install(&self, installer: &Path) {
        let (bin, transfers) = (self.directory.path().join("bin"), self.transfers());
        fs::create_dir(&bin).expect("a directory");
        fs::create_dir(transfers).expect("a directory");
        let script = bin.join("wsrep_sst_position");
        fs::write(&script, TRANSFER_SCRIPT).expect("written");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
        let mut command = Command::new(installer);
        command.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"]);
        command.arg(format!("--datadir={}", self.data(0).display()));
        fs::create_dir(self.home(0)).expect("a directory");
        if rustix::process::geteuid().is_root() {
            command.arg("--user=root");
        }
        let done = command.output().expect("it runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// The first node makes the account and stops; the others start as its copies.
    fn form(&mut self) {
        let accounts = self.directory.path().join("accounts.sql");
        let (account, password) = (ACCOUNT, &self.password);
        let text = format!(
            "CREATE OR REPLACE USER '{account}'@'127.0.0.1' IDENTIFIED BY '{password}';\n\
             GRANT ALL PRIVILEGES ON *.* TO '{account}'@'127.0.0.1' WITH GRANT OPTION;\n"
        );
        fs::write(&accounts, text).expect("written");
        self.spawn(0, &["--wsrep-new-cluster", &format!("--init-file={}", accounts.display())]);
        self.wait_until_synced(0, 1);
        let mut server = self.nodes[0].server.take().expect("it runs");
        let pid = rustix::process::Pid::from_child(&server);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal");
        server.wait().expect("ended");
        for node in [1, 2] {
            copy_directory(&self.data(0), &self.data(node));
        }
        self.spawn(0, &["--wsrep-new-cluster"]);
        self.wait_until_synced(0, 1);
        for node in [1, 2] {
            self.spawn(node, &[]);
            self.wait_until_synced(node, node + 1);
        }
    }

    /// What the node had stored last.
    fn position_after_crash(&self, node: usize) -> String {
        let log = self.home(node).join("recovery.log");
        let done = self
            .server(node, &["--wsrep-recover"])
            .stderr(fs::File::create(&log).expect("a file"))
            .status()
            .expect("it runs");
        assert!(done.success());
        let text = fs::read_to_string(&log).expect("a log");
        let line = text.lines().find(|line| line.contains("Recovered position:")).expect("a position");
        line.rsplit(' ').next().expect("words").to_owned()
    }

    fn spawn(&mut self, node: usize, more: &[&str]) {
        let log = fs::File::options().create(true).append(true).open(self.home(node).join("server.log"));
        let mut command = self.server(node, more);
        let server = command.stderr(log.expect("a file")).spawn().expect("the server starts");
        self.nodes[node].server = Some(server);
    }

    /// Ends with this thread, should the test be killed. Short waits, so that a lost member is noticed in about a second.
    fn server(&self, node: usize, more: &[&str]) -> Command {
        let Node { port, group_port, transfer_port, .. } = &self.nodes[node];
        let members: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.group_port)).collect();
        let program = find_program("mariadbd").expect("looked for before");
        let mut command = match find_program("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(["--no-defaults", "--bind-address=127.0.0.1", "--socket=mysql.sock", "--skip-name-resolve"]);
        command.args(["--performance-schema=OFF", "--innodb-buffer-pool-size=64M", "--max-connections=300"]);
        command.args(["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=OFF"]);
        command.args(["--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci"]);
        command.args(["--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON"]);
        command.args(["--wsrep-cluster-name=mogtest", "--wsrep-node-address=127.0.0.1", "--wsrep-sst-method=position"]);
        command.arg(format!("--datadir={}", self.data(node).display()));
        command.arg(format!("--port={port}"));
        command.arg(format!("--wsrep-provider={}", self.provider.display()));
        command.arg(format!("--wsrep-node-name=node{node}"));
        command.arg(format!("--wsrep-cluster-address=gcomm://{}", members.join(",")));
        command.arg(format!(
            "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{group_port};base_port={group_port};\
             ist.recv_addr=127.0.0.1:{transfer_port};gcache.size=32M;evs.keepalive_period=PT0.3S;\
             evs.suspect_timeout=PT2S;evs.inactive_timeout=PT4S;evs.inactive_check_period=PT0.3S"
        ));
        if rustix::process::geteuid().is_root() {
            command.arg("--user=root");
        }
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.directory.path().join("bin").display()));
        command.env("TRANSFER_DIRECTORY", self.transfers());
        command.args(more).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn home(&self, node: usize) -> PathBuf {
        self.directory.path().join(format!("node{node}"))
    }

    fn data(&self, node: usize) -> PathBuf {
        self.home(node).join("data")
    }

    fn transfers(&self) -> PathBuf {
        self.directory.path().join("transfers")
    }
}

impl Drop for Galera {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(mut server) = node.server.take() {
                // It may have ended already.
                let _killed = server.kill();
                let _waited = server.wait();
            }
        }
        if std::thread::panicking() {
            for node in 0..self.nodes.len() {
                let log = fs::read_to_string(self.home(node).join("server.log")).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("--- node {node}\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
            }
        }
    }
}

/// What cannot be asked is not so yet.
fn wait_for(what: &str, mut question: impl FnMut() -> Option<bool>) {
    let begun = Instant::now();
    while question() != Some(true) {
        assert!(begun.elapsed() < PATIENCE, "did not become true in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let directories = path.split(':').chain(["/usr/local/sbin", "/usr/sbin", "/sbin"]);
    directories.map(|directory| Path::new(directory).join(name)).find(|path| path.exists())
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("bound").port()
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            copy_directory(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}
