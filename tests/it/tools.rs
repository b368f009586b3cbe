//! The tools on a live cluster: big files, the old names with their options and files, sums, hints, asking before the
//! dangerous.

use crate::support::cluster::Cluster;
use crate::support::database::{Database, Kind, on_each_database};
use serde_json::Value;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

struct Tools<'c> {
    cluster: &'c Cluster,
    /// Home and working directory.
    home: tempfile::TempDir,
}

impl<'c> Tools<'c> {
    fn new(cluster: &'c Cluster) -> Self {
        Self { cluster, home: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("written");
    }

    /// A program under a name, with nothing in the environment that says where the tracker is.
    fn bare(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mogilefs"));
        command.arg0(format!("/usr/bin/{name}")).args(args).current_dir(self.home.path());
        command.env("HOME", self.home.path()).env_remove("MOGUTILSCONF");
        command.env_remove("MOGILEFS_TRACKERS").env_remove("MOGILEFS_DOMAIN");
        command.stdin(std::process::Stdio::null());
        command
    }

    fn run(&self, name: &str, args: &[&str]) -> Output {
        let mut command = self.bare(name, args);
        command.env("MOGILEFS_TRACKERS", self.cluster.tracker.address.to_string()).env("MOGILEFS_DOMAIN", "d");
        command.output().expect("the program starts")
    }

    fn ok(&self, name: &str, args: &[&str]) -> String {
        let output = self.run(name, args);
        assert!(output.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Exit code and standard error.
    fn refused(&self, name: &str, args: &[&str]) -> (i32, String) {
        let output = self.run(name, args);
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok("mogilefs", &[&["--json"], args].concat())).expect("one JSON value")
    }
}

/// Bytes that do not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 12345_u64;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn on_sqlite(test: impl Fn(&Tools<'_>, &Database)) {
    let database = Database::create(Kind::Sqlite);
    let cluster = Cluster::start(&database);
    test(&Tools::new(&cluster), &database);
}

#[test]
fn big_files_go_in_and_out_in_pieces() {
    on_sqlite(|tools, _| {
        let bytes = noise(2_500_000);
        tools.write("in", &bytes);
        let put = ["big", "put", "--chunk-size", "1M", "--verify", "--receipt", "receipt", "disk", "in"];
        let stored = tools.json(&put);
        assert_eq!(
            (&stored["chunks"], &stored["length"], &stored["type"]),
            (&3.into(), &2_500_000.into(), &"file".into())
        );
        assert_eq!(tools.ok("mogilefs", &["list"]), "_big_info:disk\ndisk,1\ndisk,2\ndisk,3\n");
        let receipt = std::fs::read(tools.path("receipt")).expect("there");
        assert_eq!(tools.cluster.get("_big_info:disk"), receipt);
        tools.ok("mogilefs", &["big", "get", "disk", "out"]);
        assert_eq!(std::fs::read(tools.path("out")).expect("there"), bytes);
        assert_eq!(tools.ok("mogilefs", &["big", "list"]), "disk\n");
        assert!(tools.ok("mogilefs", &["big", "list", "-l"]).contains("file  2.4 MiB  3"));

        // Again, shorter: only if told so, and without leaving pieces behind.
        tools.write("in", b"short");
        for option in [&[][..], &["--resume"]] {
            assert_eq!(tools.refused("mogilefs", &[&["big", "put", "disk", "in"], option].concat()).0, 2);
        }
        tools.ok("mogilefs", &["big", "put", "--overwrite", "disk", "in"]);
        assert_eq!(tools.ok("mogilefs", &["list"]), "_big_info:disk\ndisk,1\n");
        assert_eq!(tools.ok("mogilefs", &["big", "get", "disk", "-"]), "short");

        assert!(tools.ok("mogilefs", &["big", "rm", "--dry-run", "disk"]).contains("would delete disk,1"));
        tools.ok("mogilefs", &["big", "rm", "disk"]);
        assert_eq!(tools.ok("mogilefs", &["list"]), "");
        assert_eq!(tools.refused("mogilefs", &["big", "rm", "disk"]).0, 1);
        assert_eq!(tools.refused("mogilefs", &["big", "get", "disk", "-"]).0, 1);
        assert_eq!(tools.refused("mogilefs", &["big", "put", "a b", "in"]).0, 2);
    });
}

#[test]
fn directories_and_compressed_files_come_back_as_they_were() {
    on_sqlite(|tools, _| {
        std::fs::create_dir_all(tools.path("tree/below")).expect("made");
        tools.write("tree/a", b"one");
        tools.write("tree/below/b", &vec![b'x'; 300_000]);
        tools.ok("mogilefs", &["big", "put", "--gzip", "--chunk-size", "1K", "tree", "tree"]);
        let info = tools.json(&["big", "info", "tree"]);
        assert_eq!((&info["type"], &info["packed"]), (&"tarball".into(), &true.into()));
        assert!(info["length"].as_u64() < Some(10_000), "compressed: {info}");
        tools.ok("mogilefs", &["big", "get", "tree", "back"]);
        assert_eq!(std::fs::read(tools.path("back/tree/a")).expect("there"), b"one");
        assert_eq!(std::fs::read(tools.path("back/tree/below/b")).expect("there").len(), 300_000);

        let text = vec![b'y'; 100_000];
        tools.write("text", &text);
        tools.ok("mogilefs", &["big", "put", "-z", "text", "text"]);
        tools.ok("mogilefs", &["big", "get", "text", "text2"]);
        assert_eq!(std::fs::read(tools.path("text2")).expect("there"), text);
        tools.ok("mogilefs", &["big", "get", "--as-stored", "text", "text.gz"]);
        let stored = std::fs::read(tools.path("text.gz")).expect("there");
        assert_eq!(stored[..2], [0x1f, 0x8b]);
        // What was compressed before is neither compressed again nor opened.
        tools.ok("mogilefs", &["big", "put", "-z", "again", "text.gz"]);
        tools.ok("mogilefs", &["big", "get", "again", "again.gz"]);
        assert_eq!(std::fs::read(tools.path("again.gz")).expect("there"), stored);
    });
}

#[test]
fn an_upload_that_broke_off_goes_on_with_the_pieces_that_are_there() {
    on_sqlite(|tools, _| {
        let bytes = noise(3 << 20);
        tools.write("in", &bytes);
        tools.ok("mogilefs", &["big", "put", "--chunk-size", "1M", "k", "in"]);
        let record = String::from_utf8(tools.cluster.get("_big_info:k")).expect("text");
        let first: Vec<&str> = record.lines().filter(|line| line.starts_with("part 1 ")).collect();
        let fid = tools.cluster.fid("k,1");
        // As it is after a break in the third piece: a note with the first one, no record.
        tools.write("note", format!("starttime:1\n{}\n", first[0]).as_bytes());
        tools.ok("mogilefs", &["put", "_big_pre:k", "note"]);
        tools.ok("mogilefs", &["rm", "_big_info:k", "k,3"]);
        let (code, text) = tools.refused("mogilefs", &["big", "put", "--chunk-size", "1M", "k", "in"]);
        assert!(code == 2 && text.contains("--resume"), "{text}");
        assert_eq!(tools.ok("mogilefs", &["big", "list", "--unfinished"]), "k\n");
        tools.ok("mogilefs", &["big", "put", "--resume", "--chunk-size", "1M", "k", "in"]);
        assert_eq!(tools.cluster.fid("k,1"), fid, "the first piece was not sent again");
        tools.ok("mogilefs", &["big", "get", "k", "out"]);
        assert_eq!(std::fs::read(tools.path("out")).expect("there"), bytes);
        assert_eq!(tools.ok("mogilefs", &["big", "list", "--unfinished"]), "");
    });
}

#[test]
fn a_piece_that_differs_from_the_record_is_not_given_out() {
    on_sqlite(|tools, _| {
        tools.write("in", b"right");
        tools.ok("mogilefs", &["big", "put", "k", "in"]);
        tools.write("in", b"wrong");
        tools.ok("mogilefs", &["put", "k,1", "in"]);
        let (code, text) = tools.refused("mogilefs", &["big", "get", "k", "out"]);
        assert!(code == 4 && text.contains("piece 1"), "{text}");
        assert!(!tools.path("out").exists());
        tools.ok("mogilefs", &["big", "get", "--ignore-md5", "k", "out"]);
    });
}

#[test]
fn mogtool_reads_and_writes_what_it_always_did() {
    on_sqlite(|tools, _| {
        tools.write(
            ".mogtool",
            format!("trackers = {}\ndomain = d\nbig = 1\n", tools.cluster.tracker.address).as_bytes(),
        );
        tools.write("in", b"0123456789");
        let run = |args: &[&str]| tools.bare("mogtool", args).output().expect("it starts");
        let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
        let injected = run(&["inject", "--chunksize=4B", "--des=a thing", "--noreplwait", "in", "k"]);
        assert!(injected.status.success(), "{injected:?}");
        let record = String::from_utf8(tools.cluster.get("_big_info:k")).expect("text");
        assert!(record.starts_with(
            "des a thing\ntype file\ncompressed 0\nfilename in\nchunks 3\nsize 10\n\npart 1 bytes=4 md5="
        ));
        assert!(run(&["x", "k", "out"]).status.success());
        assert_eq!(std::fs::read(tools.path("out")).expect("there"), b"0123456789");
        assert_eq!(run(&["x", "k", "out"]).status.code(), Some(2), "it is not overwritten unasked");
        assert_eq!(text(&run(&["ls"])), "k\n#1 files found\n");
        assert_eq!(text(&run(&["listkey", "k"])), "k,1\nk,2\nk,3\n#3 files found\n");
        assert_eq!(run(&["listkey", "nothing"]).status.code(), Some(1));
        assert!(text(&run(&["locate", "k"])).contains("paths found"));
        assert_eq!(text(&run(&["rm", "k"])), "Deleted.\n");
        assert_eq!(run(&["locate", "k"]).status.code(), Some(1));
        assert_eq!(run(&["rm", "k"]).status.code(), Some(2));

        // As the Perl tool compresses: zlib, without a word that it was the tool; its record names paths.
        tools.write("zlib", &[0x78, 0x9c, 0x4b, 0x4c, 0x4a, 0x06, 0x00, 0x02, 0x4d, 0x01, 0x27]);
        tools.ok("mogilefs", &["put", "z,1", "zlib"]);
        let record = "des x\ntype file\ncompressed 1\nfilename /x/abc\nchunks 1\nsize 11\n\n\
                      part 1 bytes=11 md5=3c5a4e1a3f3a0b2c7e0e6f0a00000000 paths: http://gone/1.fid\n";
        tools.write("record", record.as_bytes());
        tools.ok("mogilefs", &["put", "_big_info:z", "record"]);
        assert_eq!(tools.refused("mogilefs", &["big", "get", "z", "-"]).0, 4, "its MD5 is wrong");
        assert_eq!(tools.ok("mogilefs", &["big", "get", "--gunzip", "--ignore-md5", "z", "-"]), "abc");
    });
}

#[test]
fn the_small_old_tools_work_as_scripts_know_them() {
    on_sqlite(|tools, _| {
        let conf = format!("trackers = {}\ndomain = d\n", tools.cluster.tracker.address);
        tools.write(".mogilefs.conf", conf.as_bytes());
        let run = |name: &str, args: &[&str]| tools.bare(name, args).output().expect("it starts");
        let ok = |name: &str, args: &[&str]| {
            let output = run(name, args);
            assert!(output.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("text")
        };
        tools.write("in", b"hello");
        ok("mogupload", &["--key=/a b", "--file=in", "--class", "three"]);
        assert_eq!(ok("mogfetch", &["--key=/a b", "--file=-"]), "hello");
        ok("mogfetch", &["--key=/a b", "--file=out"]);
        assert_eq!(std::fs::read(tools.path("out")).expect("there"), b"hello");
        tools.cluster.wait_for_copies("/a b", 3);
        let info = ok("mogfileinfo", &["--key=/a b"]);
        assert!(
            info.starts_with("- file: /a b\n     class:                three\n  devcount:                    3\n"),
            "{info}"
        );
        assert_eq!(info.lines().filter(|line| line.starts_with(" - http://")).count(), 3, "{info}");
        ok("mogrename", &["--old_key=/a b", "--new_key=/c"]);
        assert_eq!(ok("moglistkeys", &["--key_prefix=/"]), "/c\n");
        let fids = ok("moglistfids", &["--fromfid=0", "--count=10"]);
        assert!(fids.contains("\nclass three\ndevcount 3\ndomain d\nkey /c\nlength 5\n\n"), "{fids}");
        let debug = ok("mogfiledebug", &["--key=/c"]);
        assert_eq!(debug.matches(" - MD5 Hash: 5d41402abc4b2a76b9719d911017c592").count(), 3, "{debug}");
        assert!(debug.contains("- File Row:") && !debug.contains("ERROR"), "{debug}");
        assert!(ok("mogfiledebug", &["--key=/c", "--paths=print"]).contains("Paths...\n - http://"));
        ok("mogdelete", &["--key=/c"]);
        assert_eq!(run("mogdelete", &["--key=/c"]).status.code(), Some(1));
        assert_eq!(run("mogupload", &["--frob"]).status.code(), Some(1));
        assert!(String::from_utf8_lossy(&run("mogupload", &[]).stdout).starts_with("Usage: "));
    });
}

#[test]
fn mogadm_works_as_scripts_know_it() {
    on_sqlite(|tools, _| {
        let tracker = format!("--trackers={}", tools.cluster.tracker.address);
        let run =
            |args: &[&str]| tools.bare("mogadm", &[&[tracker.as_str()], args].concat()).output().expect("it starts");
        let ok = |args: &[&str]| {
            let output = run(args);
            assert!(output.status.success(), "{args:?}: {output:?}");
            String::from_utf8(output.stdout).expect("text")
        };
        let check = ok(&["check"]);
        assert!(check.contains(" ... OK\n") && check.contains("writeable"), "{check}");
        let address = format!("127.0.0.1:{}", tools.cluster.nodes[0].port);
        assert!(ok(&["host", "list"]).starts_with(&format!("h1 [1]: alive\n  IP:       {address}\n\nh2 [2]: alive\n")));
        ok(&["host", "add", "h9", "--ip=127.0.0.9"]);
        assert!(ok(&["host", "list"]).contains("h9 [4]: down\n  IP:       127.0.0.9:7500\n"));
        ok(&["host", "modify", "h9", "--port=7600", "--altip=10.0.0.9", "--altmask=10.0.0.0/8"]);
        assert!(ok(&["host", "list"]).contains("  Alt IP:   10.0.0.9\n  Alt Mask: 10.0.0.0/8\n"));
        ok(&["host", "mark", "h9", "alive"]);
        assert_eq!(ok(&["device", "next"]), "7\n");
        ok(&["device", "add", "h9", "dev7", "--status=down"]);
        assert!(ok(&["device", "list", "--hostname=h9"]).contains("   dev7:    down"));
        ok(&["device", "modify", "h9", "7", "--status=readonly", "--weight=50"]);
        assert!(ok(&["device", "list", "--host=h9"]).contains("readonly"));
        ok(&["device", "mark", "h9", "7", "dead"]);
        assert!(!ok(&["device", "list", "--hostname=h9"]).contains("dev7"));
        assert!(ok(&["device", "list", "--all", "--hostname=h9"]).contains("dev7"));
        assert!(ok(&["device", "summary"]).starts_with("Hostname        HostID  Status"));
        assert_eq!(String::from_utf8_lossy(&run(&["--verbose", "domain", "add", "x"]).stdout), "Domain created.\n");
        ok(&["class", "add", "x", "c", "--mindevcount=3", "--hashtype=MD5"]);
        assert!(
            ok(&["class", "list"])
                .contains(" x                    c                         3        MultipleHosts() MD5")
        );
        ok(&["class", "modify", "x", "c", "--mindevcount=1"]);
        ok(&["class", "delete", "x", "c"]);
        ok(&["domain", "delete", "x"]);
        ok(&["settings", "set", "skip_devcount", "0"]);
        ok(&["fsck", "reset", "--policy-only", "--startpos=3"]);
        ok(&["fsck", "start"]);
        let status = ok(&["fsck", "status"]);
        assert!(status.contains("Check Type: Repl policy only"), "{status}");
        ok(&["fsck", "stop"]);
        assert!(ok(&["fsck", "printlog"]).starts_with("unixtime             event           fid      devid\n"));
        ok(&["rebalance", "policy", "--options=from_hosts=1 to_hosts=2"]);
        assert!(ok(&["rebalance", "settings"]).contains("rebal_policy = from_hosts=1 to_hosts=2"));
        assert!(ok(&["rebalance", "test"]).contains("Source devices:\n - 1\n - 2\n"));
        ok(&["slave", "add", "r1", "--dsn=DBI:mysql:x", "--username=u", "--password=p"]);
        assert_eq!(ok(&["slave", "list"]), "r1 --dsn=DBI:mysql:x --username=u --password=p\n");
        ok(&["slave", "modify", "r1", "--username=v"]);
        assert_eq!(ok(&["slave", "list"]), "r1 --dsn=DBI:mysql:x --username=v --password=p\n");
        ok(&["slave", "delete", "r1"]);
        assert_eq!(ok(&["slave", "list"]), "");
        let wrong = run(&["hosst", "list"]);
        assert_eq!(wrong.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&wrong.stdout).contains("did you mean 'host'"));
        assert!(String::from_utf8_lossy(&run(&["host", "add"]).stdout).contains("Missing argument 'hostname'"));
        assert_eq!(run(&["host", "delete", "nobody"]).status.code(), Some(1));
    });
}

#[test]
fn sums_are_right_on_each_database() {
    on_each_database(|database| {
        let cluster = Cluster::start(database);
        let tools = Tools::new(&cluster);
        for (key, class, bytes) in [("a", "one", 10), ("b", "one", 20), ("c", "three", 5)] {
            cluster.put(key, class, &vec![0; bytes]);
        }
        cluster.wait_for_copies("c", 3);
        let sums = tools.json(&["stats", "--db", &database.url]);
        let class = |number: usize| (sums["files"][number]["files"].as_i64(), sums["files"][number]["stored"].as_i64());
        assert_eq!((class(0), class(1)), ((Some(2), Some(30)), (Some(1), Some(15))), "{sums}");
        let copies: i64 =
            sums["devices"].as_array().expect("rows").iter().filter_map(|row| row["files"].as_i64()).sum();
        assert_eq!(copies, 5, "{sums}");
        assert_eq!(sums["highest_fid"].as_i64(), Some(cluster.fid("c")));
        let shown = tools.ok("mogstats", &[&format!("--db_dsn={}", database.url), "--stats=files,replication"]);
        assert!(shown.contains("  d                    one                 2           0             0\n"), "{shown}");
        assert!(shown.contains("  d                    three               3          1\n"), "{shown}");
        assert!(shown.ends_with("\ndone\n"));
    });
}

#[test]
fn refusals_come_with_what_may_help() {
    on_sqlite(|tools, _| {
        tools.cluster.put("photos/1.jpg", "", b"x");
        let hint = |args: &[&str]| tools.refused("mogilefs", args);
        let (code, text) = hint(&["info", "photos/1.jgp"]);
        assert_eq!(code, 1);
        assert!(text.ends_with("hint: did you mean the key \"photos/1.jpg\"?\n"), "{text}");
        let (_, text) = hint(&["-d", "dd", "list"]);
        assert!(text.contains("hint: ") && text.contains('d'), "{text}");
        let (_, text) = hint(&["host", "update", "h11", "--status", "alive"]);
        assert!(text.contains("did you mean the host \"h1\"?"), "{text}");
        let (_, text) = hint(&["class", "update", "d", "thre", "--mindevcount", "2"]);
        assert!(text.contains("three"), "{text}");
        let (code, text) = hint(&["hosts"]);
        assert!(code == 2 && text.contains("'host'"), "{text}");
        let (_, text) = hint(&["--json", "info", "photos/1.jgp"]);
        let value: Value = serde_json::from_str(&text).expect("one JSON value");
        assert_eq!(value["error"]["hint"], "did you mean the key \"photos/1.jpg\"?");
        let (code, text) = hint(&["--trackers", "127.0.0.1:1", "check"]);
        assert!(code == 3 && text.contains("127.0.0.1:1") && text.contains("--trackers was given"), "{text}");
    });
}

#[test]
fn a_dry_run_changes_nothing() {
    on_sqlite(|tools, _| {
        tools.cluster.put("k", "", b"x");
        for (args, would) in [
            (&["rm", "--dry-run", "k"][..], "would delete 1 file: k\n"),
            (
                &["device", "mark", "h1", "1", "dead", "--dry-run"],
                "would give up all copies on device 1 of h1, for good\n",
            ),
            (&["host", "remove", "h1", "--dry-run"], "would remove the host h1\n"),
            (&["domain", "remove", "d", "--dry-run"], "would remove the domain d\n"),
            (&["fsck", "start", "--all", "--dry-run"], "would begin a check of all files\n"),
        ] {
            assert_eq!(tools.ok("mogilefs", args), would);
        }
        assert_eq!(tools.ok("mogilefs", &["list"]), "k\n");
        let devices = tools.json(&["device", "list"]);
        assert!(devices.as_array().expect("rows").iter().all(|device| device["status"] == "alive"), "{devices}");
        assert_eq!(tools.json(&["fsck", "status"])["running"], 0);
    });
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    on_sqlite(|tools, _| {
        for number in 0..50 {
            tools.cluster.put(&format!("k{number}"), "one", b"x");
        }
        let shell = |line: &str| {
            let mut command = Command::new("bash");
            command.args(["-o", "pipefail", "-c", line]).env("MOGILEFS_DOMAIN", "d");
            command.env("MOGILEFS_TRACKERS", tools.cluster.tracker.address.to_string());
            command.env("MOGILEFS", Path::new(env!("CARGO_BIN_EXE_mogilefs")));
            command.output().expect("bash runs")
        };
        for line in ["$MOGILEFS list | head -1", "$MOGILEFS protocol | head -1", "$MOGILEFS --help | head -1"] {
            let output = shell(line);
            assert!(output.status.success(), "{line}: {output:?}");
            assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        }
    });
}
