//! What stands under `Examples:` in the help and the man page of each command. A test holds them against the commands
//! that there are: each has some, and each line is one that the program takes.

use clap::Command;

/// The words of a command after `mogilefs`, and its examples: what it does, and the line to type.
type Entry = (&'static str, &'static [(&'static str, &'static str)]);

const EXAMPLES: &[Entry] = &[
    (
        "",
        &[
            ("A cluster to play with, in one process", "mogilefs demo"),
            ("Store a file and fetch it again", "mogilefs -d demo put photos/1.jpg ./1.jpg"),
            ("", "mogilefs -d demo get photos/1.jpg ./copy.jpg"),
            ("Say once where the trackers are", "export MOGILEFS_TRACKERS=10.0.0.1,10.0.0.2 MOGILEFS_DOMAIN=demo"),
            ("What needs attention", "mogilefs check"),
        ],
    ),
    (
        "put",
        &[
            ("Store a file", "mogilefs -d demo put photos/1.jpg ./1.jpg"),
            (
                "Store what a program prints, and let the tracker keep its MD5",
                "pg_dump shop | mogilefs -d demo put --checksum backup.sql -",
            ),
        ],
    ),
    (
        "get",
        &[
            ("Fetch a file, comparing it with its checksum", "mogilefs -d demo get --verify photos/1.jpg ./1.jpg"),
            ("To standard output", "mogilefs -d demo get backup.sql - | psql shop"),
        ],
    ),
    ("cat", &[("Look at a text", "mogilefs -d demo cat notes/today.txt | less")]),
    (
        "info",
        &[
            ("Length, class, devices and URLs", "mogilefs -d demo info photos/1.jpg"),
            ("Only the URLs", "mogilefs -d demo info --json photos/1.jpg | jq -r '.paths[]'"),
        ],
    ),
    (
        "list",
        &[
            ("All keys with a prefix", "mogilefs -d demo list photos/"),
            ("The next hundred", "mogilefs -d demo list photos/ --after photos/1.jpg --limit 100"),
            ("Deleted files that can be brought back", "mogilefs -d demo list --deleted photos/"),
        ],
    ),
    ("rename", &[("Give a file another key", "mogilefs -d demo rename photos/1.jpg archive/1.jpg")]),
    (
        "rm",
        &[
            ("Delete two files", "mogilefs -d demo rm photos/1.jpg photos/2.jpg"),
            ("It is no failure if the file is gone already", "mogilefs -d demo rm --force photos/1.jpg"),
        ],
    ),
    (
        "undelete",
        &[
            ("Bring back the file that was deleted last under this key", "mogilefs -d demo undelete photos/1.jpg"),
            (
                "Bring back a certain one under another key",
                "mogilefs -d demo undelete photos/1.jpg --fid 17 --to photos/old.jpg",
            ),
        ],
    ),
    (
        "explain",
        &[
            ("Why has this file only one copy?", "mogilefs -d demo explain photos/1.jpg"),
            ("The same by its number", "mogilefs explain --fid 17"),
        ],
    ),
    (
        "debug",
        &[
            ("All rows about a file", "mogilefs -d demo debug photos/1.jpg"),
            ("The same by its number, when the key is not known", "mogilefs debug --fid 17"),
        ],
    ),
    ("fids", &[("The first hundred files above number 5000", "mogilefs fids --from 5000")]),
    (
        "big",
        &[
            ("A directory, and back", "mogilefs -d backups big put --gzip www-2026-01 /srv/www"),
            ("", "mogilefs -d backups big get www-2026-01 /tmp/restored"),
        ],
    ),
    (
        "big put",
        &[
            ("A directory, compressed", "mogilefs -d backups big put --gzip www-2026-01 /srv/www"),
            ("Go on after it was broken off", "mogilefs -d backups big put --resume disk-a /dev/sda"),
            ("What a program prints", "pg_dump shop | mogilefs -d backups big put --gzip shop.sql -"),
        ],
    ),
    (
        "big get",
        &[
            ("Unpack a directory", "mogilefs -d backups big get www-2026-01 /tmp/restored"),
            ("Look into it only", "mogilefs -d backups big get www-2026-01 - | tar -t"),
        ],
    ),
    (
        "big list",
        &[
            ("With sizes", "mogilefs -d backups big list --long"),
            ("What was broken off", "mogilefs -d backups big list --unfinished"),
        ],
    ),
    ("big info", &[("The pieces with their MD5", "mogilefs -d backups big info www-2026-01")]),
    (
        "big rm",
        &[
            ("See what would go, then delete it", "mogilefs -d backups big rm --dry-run www-2026-01"),
            ("", "mogilefs -d backups big rm www-2026-01"),
        ],
    ),
    (
        "token",
        &[
            ("Let the shop store files", "mogilefs token shop write --add-to /etc/mogilefs/tokens > shop.token"),
            ("Use it", "mogilefs --token-file shop.token -d shop put a.jpg ./a.jpg"),
        ],
    ),
    (
        "stats",
        &[
            ("All sums", "mogilefs stats -c /etc/mogilefs/tracker.toml"),
            ("Only the queues, of a replica", "mogilefs stats --db mysql://reader@replica/mogilefs queues"),
        ],
    ),
    (
        "domain",
        &[
            ("A domain with a class of three copies", "mogilefs domain add photos"),
            ("", "mogilefs class add photos original --mindevcount 3"),
        ],
    ),
    ("domain add", &[("Add a domain", "mogilefs domain add photos")]),
    ("domain remove", &[("Remove a domain that has neither files nor classes", "mogilefs domain remove photos")]),
    ("domain list", &[("The names, for a script", "mogilefs domain list --json | jq -r '.[].domain'")]),
    ("class", &[("Three copies of each original", "mogilefs class add photos original --mindevcount 3")]),
    (
        "class add",
        &[
            ("Three copies of each file", "mogilefs class add photos original --mindevcount 3"),
            (
                "On three hosts, with a checksum",
                "mogilefs class add photos original --replpolicy 'MultipleHosts(3)' --hashtype MD5",
            ),
        ],
    ),
    ("class update", &[("Want one copy more", "mogilefs class update photos original --mindevcount 4")]),
    ("class remove", &[("Remove a class without files", "mogilefs class remove photos original")]),
    ("class list", &[("The classes of one domain", "mogilefs class list photos")]),
    ("host", &[("Add a storage node", "mogilefs host add store1 --ip 10.0.0.11 --status alive")]),
    (
        "host add",
        &[
            ("Add a storage node that may be used at once", "mogilefs host add store1 --ip 10.0.0.11 --status alive"),
            ("Reading goes to another port", "mogilefs host add store2 --ip 10.0.0.12 --port 7500 --getport 80"),
        ],
    ),
    (
        "host update",
        &[
            ("Take a node out for maintenance, and back", "mogilefs host update store1 --status down"),
            ("", "mogilefs host update store1 --status alive"),
        ],
    ),
    ("host remove", &[("Remove a host whose devices are gone", "mogilefs host remove store1")]),
    ("host list", &[("Hosts with their addresses", "mogilefs host list")]),
    (
        "device",
        &[
            ("A new disk: which number is free, and in use with it", "mogilefs device list"),
            ("", "mogilefs device add store1 17"),
            ("A disk has died: its files get new copies elsewhere", "mogilefs device mark store1 17 dead"),
        ],
    ),
    ("device add", &[("Add a disk to a host", "mogilefs device add store1 17")]),
    (
        "device mark",
        &[
            ("Take nothing new, but stay readable", "mogilefs device mark store1 17 drain"),
            ("The disk is lost; this cannot be taken back", "mogilefs device mark store1 17 dead"),
        ],
    ),
    ("device weight", &[("Read half as often from this disk", "mogilefs device weight store1 17 50")]),
    ("device accept", &[("The disk was replaced on purpose", "mogilefs device accept 17")]),
    ("device list", &[("Use and state of all devices", "mogilefs device list")]),
    ("settings", &[("All settings that trackers share", "mogilefs settings list")]),
    ("settings list", &[("All settings that are set", "mogilefs settings list")]),
    ("settings get", &[("One setting", "mogilefs settings get memcache_servers")]),
    (
        "settings set",
        &[
            ("Set one, and remove it", "mogilefs settings set memcache_servers 10.0.0.1:11211"),
            ("", "mogilefs settings set memcache_servers ''"),
        ],
    ),
    ("fsck", &[("Check all files and watch", "mogilefs fsck start --all --watch")]),
    (
        "fsck start",
        &[
            ("Check all files and watch", "mogilefs fsck start --all --watch"),
            ("Only files with a copy on one device", "mogilefs fsck start --devid 17"),
        ],
    ),
    ("fsck stop", &[("Pause; `start` goes on", "mogilefs fsck stop")]),
    ("fsck status", &[("Watch a check that runs", "mogilefs fsck status --watch")]),
    ("fsck reset", &[("The next check looks only at one domain", "mogilefs fsck reset --of-domain photos")]),
    ("fsck clearlog", &[("Empty the log", "mogilefs fsck clearlog")]),
    (
        "fsck log",
        &[("Files that were found to be lost", "mogilefs fsck log --json | jq '.[] | select(.evcode == \"GONE\")'")],
    ),
    ("fsck history", &[("What the last checks saw of a file", "mogilefs -d demo fsck history photos/1.jpg")]),
    (
        "rebalance",
        &[
            ("Empty a host: say what, look, begin", "mogilefs rebalance policy from_hosts=1"),
            ("", "mogilefs rebalance test"),
            ("", "mogilefs rebalance start --watch"),
        ],
    ),
    (
        "rebalance policy",
        &[
            ("Show it", "mogilefs rebalance policy"),
            (
                "From host 1 to hosts 2 and 3, a tenth of each device",
                "mogilefs rebalance policy from_hosts=1 to_hosts=2,3 limit_by=percent limit=10",
            ),
        ],
    ),
    ("rebalance test", &[("What a run would move", "mogilefs rebalance test")]),
    ("rebalance start", &[("Begin and watch", "mogilefs rebalance start --watch")]),
    ("rebalance stop", &[("Pause; `start` goes on", "mogilefs rebalance stop")]),
    ("rebalance reset", &[("Let the next run begin anew", "mogilefs rebalance reset")]),
    ("rebalance status", &[("How far it is", "mogilefs rebalance status")]),
    ("jobs", &[("Workers and queues, again and again", "mogilefs jobs --watch")]),
    ("jobs want", &[("Eight replication workers until the restart", "mogilefs jobs want replicate 8")]),
    ("demo", &[("Keep everything under a directory of your choice", "mogilefs demo --data-dir /tmp/demo")]),
    (
        "tracker",
        &[
            ("With a settings file", "mogilefs tracker --config /etc/mogilefs/tracker.toml"),
            ("Without one", "mogilefs tracker --db sqlite:/var/lib/mogilefs/mogilefs.db --listen 0.0.0.0:7001"),
        ],
    ),
    ("node", &[("Serve the disks below a directory", "mogilefs node --docroot /var/mogdata")]),
    ("node automount", &[("Say what would be mounted", "mogilefs node automount --dry-run")]),
    ("config", &[("What is set, and where", "mogilefs config show --changed")]),
    (
        "config show",
        &[
            ("What differs from the defaults", "mogilefs config show --changed -c /etc/mogilefs/tracker.toml"),
            ("Some keys", "mogilefs config show jobs.replicate"),
        ],
    ),
    ("config check", &[("Before a restart", "mogilefs config check /etc/mogilefs/tracker.toml")]),
    (
        "config convert",
        &[("From MogileFS 2.73", "mogilefs config convert /etc/mogilefs/mogilefsd.conf > tracker.toml")],
    ),
    ("db", &[("Tables for a new tracker", "mogilefs db setup --db sqlite:/var/lib/mogilefs/mogilefs.db")]),
    (
        "db setup",
        &[
            ("Make or upgrade the tables", "mogilefs db setup --db sqlite:/var/lib/mogilefs/mogilefs.db"),
            ("For the tracker of a settings file", "mogilefs db setup -c /etc/mogilefs/tracker.toml"),
        ],
    ),
    ("db check", &[("Are the tables as they must be?", "mogilefs db check -c /etc/mogilefs/tracker.toml")]),
    (
        "db copy",
        &[(
            "Would everything fit?",
            "mogilefs db copy --from sqlite:old.db --to postgres://mogile@db/mogilefs --dry-run",
        )],
    ),
    ("check", &[("What needs attention, for a script", "mogilefs check --json")]),
    ("bench", &[("Look-ups on 16 connections", "mogilefs -d demo bench get")]),
    ("protocol", &[("The manual of one command", "mogilefs protocol get_paths")]),
    (
        "completions",
        &[
            ("In this shell", "source <(mogilefs completions bash)"),
            ("For good", "mogilefs completions bash > ~/.local/share/bash-completion/completions/mogilefs"),
            ("", "mogilefs completions zsh > \"${fpath[1]}/_mogilefs\""),
            ("", "mogilefs completions fish > ~/.config/fish/completions/mogilefs.fish"),
        ],
    ),
    ("man", &[("For this account", "mogilefs man ~/.local/share/man/man1")]),
];

/// The command with the examples in its help, and in that of every command below it.
pub fn with_examples(command: Command) -> Command {
    add("", command)
}

fn add(path: &str, command: Command) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let command = match text(path) {
        None => command,
        Some(text) => match command.get_after_long_help().map(ToString::to_string) {
            None => command.after_help(text),
            Some(more) => command.after_help(text.clone()).after_long_help(format!("{text}\n\n{more}")),
        },
    };
    names.into_iter().fold(command, |command, name| {
        let path = format!("{path} {name}").trim_start().to_owned();
        command.mut_subcommand(name, |below| add(&path, below))
    })
}

/// The examples of a command, for people who read its help.
fn text(path: &str) -> Option<String> {
    let lines = of(path)?.iter().flat_map(|(what, line)| {
        let comment = (!what.is_empty()).then(|| format!("  # {what}"));
        comment.into_iter().chain([format!("  {line}")])
    });
    Some(format!("Examples:\n{}", lines.collect::<Vec<_>>().join("\n")))
}

/// The examples of a command by its words.
pub fn of(path: &str) -> Option<&'static [(&'static str, &'static str)]> {
    EXAMPLES.iter().find(|(words, _)| *words == path).map(|(_, examples)| *examples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory as _;

    fn paths(prefix: &str, command: &Command, all: &mut Vec<String>) {
        all.push(prefix.to_owned());
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            paths(format!("{prefix} {}", below.get_name()).trim_start(), below, all);
        }
    }

    #[test]
    fn every_command_has_examples_and_nothing_else_has() {
        let mut commands = Vec::new();
        paths("", &Cli::command(), &mut commands);
        let without: Vec<_> = commands.iter().filter(|path| of(path).is_none()).collect();
        assert!(without.is_empty(), "commands without examples: {without:?}");
        let stale: Vec<_> = EXAMPLES.iter().filter(|(path, _)| !commands.iter().any(|known| known == path)).collect();
        assert!(stale.is_empty(), "examples of no command: {stale:?}");
    }

    /// The words of the part of a shell line that calls the program; quotes are taken off.
    fn words(line: &str) -> Option<Vec<String>> {
        let from = line.find("mogilefs ")?;
        let line = &line[from..];
        let end = line.find([')', '|', '>']).filter(|&end| !line[..end].contains('\'')).unwrap_or(line.len());
        Some(line[..end].split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect())
    }

    #[test]
    fn every_example_is_taken() {
        for (path, examples) in EXAMPLES {
            for (_, line) in examples.iter().filter(|(_, line)| !line.starts_with("export ")) {
                let line = line.split(" | jq").next().unwrap_or(line);
                let words = words(line).unwrap_or_else(|| panic!("{line}: does not call mogilefs"));
                if let Err(error) = Cli::command().try_get_matches_from(&words) {
                    panic!("example of {path:?}: {words:?}: {error}");
                }
            }
        }
    }

    /// The lines of all documents that call the program, with file and number.
    fn lines_of_documents() -> Vec<(String, String)> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let of_docs = std::fs::read_dir(root.join("docs")).expect("docs").flatten().map(|entry| entry.path());
        let documents = of_docs.filter(|path| path.extension().is_some_and(|end| end == "md"));
        let mut lines = Vec::new();
        for path in documents.chain([root.join("README.md")]) {
            let mut is_shell = false;
            for (number, line) in (1..).zip(std::fs::read_to_string(&path).expect("a document").lines()) {
                match line.strip_prefix("```") {
                    Some(fence) => is_shell = fence.starts_with("sh"),
                    None if is_shell && line.starts_with("mogilefs ") => {
                        lines.push((format!("{}:{number}", path.display()), line.to_owned()));
                    }
                    None => {}
                }
            }
        }
        lines
    }

    #[test]
    fn every_command_of_the_documents_is_taken() {
        let lines = lines_of_documents();
        assert!(lines.len() > 30, "{}", lines.len());
        for (place, line) in lines {
            let line = line.split(" #").next().unwrap_or_default();
            let words = words(line).unwrap_or_else(|| panic!("{place}: does not call mogilefs"));
            if let Err(error) = Cli::command().try_get_matches_from(&words) {
                panic!("{place}: {words:?}: {error}");
            }
        }
    }
}
