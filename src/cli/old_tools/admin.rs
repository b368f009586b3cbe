//! mogadm: the same words, options and output.

use super::options::{OldOptions, utils_files};
use super::{Outcome, Refusal, check, global, with_session};
use crate::cli::output::{Failure, Output};
use crate::cli::session::Session;
use crate::client::ClientError;
use crate::protocol::args::Args as Reply;
use bstr::BStr;
use std::collections::BTreeMap;
use std::net::ToSocketAddrs as _;
use std::time::Duration;

/// Seconds to wait for a reply: a check may hold a lock for ten.
const TIMEOUT_SECS: u64 = 15;
/// Between two looks at the log of a check.
const TAIL_INTERVAL: Duration = Duration::from_secs(5);

const GLOBAL_OPTIONS: [&str; 5] = ["trackers=s", "config=s", "lib=s", "help", "verbose"];

/// A command: topic and verb, positional arguments, options, and what it does.
struct Entry {
    topic: &'static str,
    verb: &'static str,
    words: &'static [&'static str],
    options: &'static [&'static str],
    about: &'static str,
}

const fn entry(
    topic: &'static str,
    verb: &'static str,
    words: &'static [&'static str],
    options: &'static [&'static str],
    about: &'static str,
) -> Entry {
    Entry { topic, verb, words, options, about }
}

const HOST_OPTIONS: &[&str] = &["status=s", "ip=s", "port=i", "getport=i", "altip=s", "altmask=s"];
const CLASS_OPTIONS: &[&str] = &["mindevcount=i", "replpolicy=s", "hashtype=s"];
const SLAVE_OPTIONS: &[&str] = &["dsn=s", "username=s", "password=s"];

const ENTRIES: &[Entry] = &[
    entry("check", "", &[], &[], "Check the state of the MogileFS world."),
    entry("stats", "", &[], &[], "Show MogileFS system statistics.  (DEPRECATED: use mogstats instead)"),
    entry("host", "add", &["hostname"], HOST_OPTIONS, "Add a host to MogileFS."),
    entry("host", "delete", &["hostname"], &[], "Delete a host."),
    entry("host", "list", &[], &[], "List all hosts."),
    entry("host", "mark", &["hostname", "status"], &[], "Change the status of a host."),
    entry("host", "modify", &["hostname"], HOST_OPTIONS, "Modify a host's properties."),
    entry("device", "add", &["hostname", "devid"], &["status=s"], "Add a device to a host."),
    entry("device", "list", &[], &["all", "hostname=s"], "List all devices, for each host."),
    entry("device", "mark", &["hostname", "devid", "status"], &[], "Mark a device as {alive,dead,down,drain,readonly}"),
    entry("device", "modify", &["hostname", "devid"], &["status=s", "weight=i"], "Modify a device's properties."),
    entry("device", "next", &[], &[], "Show the next available devid."),
    entry("device", "summary", &[], &["status=s", "hostname=s"], "List the summary of devices, for each host."),
    entry("domain", "add", &["domain"], &[], "Add a domain (namespace)"),
    entry("domain", "delete", &["domain"], &[], "Delete a domain."),
    entry("domain", "list", &[], &[], "List all domains with their classes."),
    entry("class", "add", &["domain", "class"], CLASS_OPTIONS, "Add a file class to a domain."),
    entry("class", "delete", &["domain", "class"], &[], "Delete a file class from a domain."),
    entry("class", "list", &[], &[], "List all classes, for each domain."),
    entry("class", "modify", &["domain", "class"], CLASS_OPTIONS, "Modify properties of a file class."),
    entry("slave", "add", &["slave_key"], SLAVE_OPTIONS, "Add a slave node for store usage"),
    entry("slave", "delete", &["slave_key"], &[], "Delete a slave node for store usage"),
    entry("slave", "list", &[], &[], "List current store slave nodes."),
    entry("slave", "modify", &["slave_key"], SLAVE_OPTIONS, "Modify a slave node for store usage"),
    entry("fsck", "clearlog", &[], &[], "Clear the fsck log"),
    entry("fsck", "printlog", &[], &[], "Display the fsck log"),
    entry("fsck", "reset", &[], &["policy-only", "startpos=i"], "Reset fsck position back to the beginning"),
    entry("fsck", "start", &[], &[], "Start (or resume) background fsck"),
    entry("fsck", "status", &[], &[], "Show fsck status"),
    entry("fsck", "stop", &[], &[], "Stop (pause) background fsck"),
    entry("fsck", "taillog", &[], &[], "Tail the fsck log"),
    entry("rebalance", "policy", &[], &["options=s"], "Add or adjust the current policy"),
    entry("rebalance", "reset", &[], &[], "Reset an existing policy"),
    entry("rebalance", "settings", &[], &[], "Display rebalance settings"),
    entry("rebalance", "start", &[], &[], "Start a rebalance job"),
    entry("rebalance", "status", &[], &[], "Show status of current rebalance job"),
    entry("rebalance", "stop", &[], &[], "Stop a rebalance job"),
    entry("rebalance", "test", &[], &[], "Show what devices the current policy would match"),
    entry("settings", "list", &[], &[], "List all server settings"),
    entry("settings", "set", &["key", "value"], &[], "Set server setting 'key' to 'value'."),
];

impl Entry {
    fn usage(&self) -> String {
        let words: String = self.words.iter().map(|word| format!(" <{word}>")).collect();
        let opts = if self.options.is_empty() { "" } else { " [opts]" };
        format!("mogadm {} {}{words}{opts}", self.topic, self.verb).trim_end().to_owned()
    }

    fn help(&self) -> String {
        let mut text = format!("  {:<50} {}\n", self.usage(), self.about);
        self.options.iter().for_each(|option| text.push_str(&format!("      --{option}\n")));
        text
    }
}

pub fn run(words: Vec<String>, output: &Output) -> Outcome {
    let (before, rest) = split_at_command(words);
    let mut options = OldOptions::parse(&GLOBAL_OPTIONS, before).map_err(|problem| usage_of("", &problem))?;
    let files = utils_files(options.get("config"));
    options.fill_from(&files).map_err(Failure::Local)?;
    let topic = rest.first().cloned().unwrap_or_default();
    if options.flag("help") || !ENTRIES.iter().any(|entry| entry.topic == topic) {
        return Err(usage_of("", &unknown("command", &topic, ENTRIES.iter().map(|entry| entry.topic))));
    }
    let has_verbs = ENTRIES.iter().any(|entry| entry.topic == topic && !entry.verb.is_empty());
    let verb = if has_verbs { rest.get(1).cloned().unwrap_or_default() } else { String::new() };
    let Some(entry) = ENTRIES.iter().find(|entry| entry.topic == topic && entry.verb == verb) else {
        let verbs = ENTRIES.iter().filter(|entry| entry.topic == topic).map(|entry| entry.verb);
        return Err(usage_of(&topic, &unknown("command", &verb, verbs)));
    };
    let rest = rest.into_iter().skip(1 + usize::from(has_verbs));
    let args = OldOptions::parse(entry.options, rest).map_err(|problem| usage_of_entry(entry, &problem))?;
    if args.words.len() < entry.words.len() {
        return Err(usage_of_entry(entry, &format!("Missing argument '{}'", entry.words[args.words.len()])));
    }
    if args.words.len() > entry.words.len() {
        return Err(usage_of_entry(entry, "Unexpected extra argument."));
    }
    let global = global(&options, TIMEOUT_SECS);
    if topic == "check" {
        return check::run(&global, output);
    }
    let is_verbose = options.flag("verbose");
    with_session(&global, output, async |session: &mut Session<'_>| {
        let done = Command { entry, args: &args, session }.run().await?;
        if is_verbose && !done.is_empty() {
            output.raw(format!("{done}\n").as_bytes())?;
        }
        Ok(())
    })
}

/// Options that stand before the command are the program's, those after it the command's.
fn split_at_command(words: Vec<String>) -> (Vec<String>, Vec<String>) {
    let takes_value = |word: &str| {
        let name = word.trim_start_matches('-');
        !name.is_empty() && ["trackers", "config", "lib"].iter().any(|option| option.starts_with(name))
    };
    let mut at = 0;
    while at < words.len() && words[at].starts_with('-') {
        at += if takes_value(&words[at]) { 2 } else { 1 };
    }
    let mut words = words;
    let rest = words.split_off(at.min(words.len()));
    (words, rest)
}

fn unknown(kind: &str, word: &str, known: impl Iterator<Item = &'static str>) -> String {
    match (word.is_empty(), crate::cli::hints::nearest(word, known)) {
        (true, _) => String::new(),
        (false, Some(near)) => format!("Unknown {kind} '{word}'; did you mean '{near}'?"),
        (false, None) => format!("Unknown {kind} '{word}'."),
    }
}

fn usage_of(topic: &str, problem: &str) -> Refusal {
    let entries = ENTRIES.iter().filter(|entry| topic.is_empty() || entry.topic == topic);
    let lines: String = entries.map(|entry| format!("  {:<50} {}\n", entry.usage(), entry.about)).collect();
    Refusal::Usage(format!(
        "{}Usage:  (enter any command without its arguments for its options)\n\n{lines}\n",
        said(problem)
    ))
}

fn usage_of_entry(entry: &Entry, problem: &str) -> Refusal {
    Refusal::Usage(format!("{}Help for '{}-{}' command:\n\n{}\n", said(problem), entry.topic, entry.verb, entry.help()))
}

fn said(problem: &str) -> String {
    if problem.is_empty() { String::new() } else { format!("\nERROR: {problem}\n\n") }
}

/// One run of a command.
struct Command<'a, 's, 'g> {
    entry: &'static Entry,
    args: &'a OldOptions,
    session: &'s mut Session<'g>,
}

impl Command<'_, '_, '_> {
    /// What is said with --verbose when it is done.
    async fn run(&mut self) -> Result<&'static str, Refusal> {
        match (self.entry.topic, self.entry.verb) {
            ("host", "list") => self.host_list().await,
            ("host", "add") => self.host_add().await,
            ("host", "modify") => self.change("update_host", "Host has been modified.").await,
            ("host", "mark") => self.change("update_host", "Host status updated.").await,
            ("host", "delete") => self.change("delete_host", "Host has been deleted.").await,
            ("device", "list") => self.device_list().await,
            ("device", "summary") => self.device_summary().await,
            ("device", "next") => self.device_next().await,
            ("device", "add") => self.change("create_device", "Device added.").await,
            ("device", "mark") => self.change("set_state", "Device updated.").await,
            ("device", "modify") => self.device_modify().await,
            ("domain" | "class", "list") => self.domain_list().await,
            ("domain", "add") => self.change("create_domain", "Domain created.").await,
            ("domain", "delete") => self.change("delete_domain", "Domain deleted.").await,
            ("class", "add") => self.change("create_class", "Class created.").await,
            ("class", "modify") => self.change("update_class", "Class updated.").await,
            ("class", "delete") => self.change("delete_class", "Class deleted.").await,
            ("fsck", "start") => self.change("fsck_start", "fsck started").await,
            ("fsck", "stop") => self.change("fsck_stop", "fsck stopped").await,
            ("fsck", "reset") => self.change("fsck_reset", "fsck stopped").await,
            ("fsck", "clearlog") => self.change("fsck_clearlog", "fsck log cleared").await,
            ("fsck", "printlog") => self.fsck_log(0, false).await,
            ("fsck", "taillog") => {
                let last = self.ask("fsck_status", &[]).await?.int("max_logid");
                self.fsck_log((last - 20).max(0), true).await
            }
            ("fsck", _) => self.fsck_status().await,
            ("rebalance", "start") => self.change("rebalance_start", "rebalance started").await,
            ("rebalance", "stop") => self.change("rebalance_stop", "rebalance stopped").await,
            ("rebalance", "reset") => self.change("rebalance_reset", "rebalance reset").await,
            ("rebalance", "policy") => self.change("rebalance_set_policy", "changed policy setting").await,
            ("rebalance", "settings") => self.settings(|key| key.starts_with("rebal_") && key != "rebal_state").await,
            ("rebalance", "test") => self.rebalance_test().await,
            ("rebalance", _) => self.rebalance_status().await,
            ("settings", "list") => self.settings(|key| !key.starts_with("rebal")).await,
            ("settings", "set") => self.change("set_server_setting", "").await,
            ("slave", "list") => self.slave_list().await,
            ("slave", verb) => self.slave_change(verb).await,
            _ => Err(Failure::Usage("mogadm stats is deprecated by new 'mogstats' utility".to_owned()).into()),
        }
    }

    async fn ask(&mut self, command: &str, args: &[(&str, String)]) -> Result<Reply, Refusal> {
        let args: Vec<(&str, &[u8])> = args.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        Ok(self.session.tracker.request(command, &args).await?)
    }

    fn print(&self, text: &str) -> Result<&'static str, Refusal> {
        self.session.output.raw(text.as_bytes())?;
        Ok("")
    }

    /// Sends the words and options under the names of the protocol.
    async fn change(&mut self, command: &str, done: &'static str) -> Result<&'static str, Refusal> {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        for (name, value) in self.entry.words.iter().zip(&self.args.words) {
            let name = match (*name, command) {
                ("hostname", "create_device") => "hostname",
                ("hostname", _) => "host",
                ("devid", "create_device") => "devid",
                ("devid", _) => "device",
                ("status", "set_state") => "state",
                (name, _) => name,
            };
            let is_device = matches!(name, "devid" | "device");
            let value = if is_device { value.strip_prefix("dev").unwrap_or(value) } else { value };
            pairs.push((name, value.to_owned()));
        }
        for name in self.entry.options.iter().filter_map(|option| option.split('=').next()) {
            let Some(value) = self.args.get(name) else { continue };
            let name = match (name, command) {
                ("status", "create_device" | "set_state") => "state",
                ("policy-only", _) => "policy_only",
                ("options", _) => "policy",
                (name, _) => name,
            };
            pairs.push((name, value.to_owned()));
        }
        if matches!(command, "create_class" | "update_class") {
            self.fill_class(&mut pairs);
        }
        self.ask(command, &pairs).await?;
        Ok(done)
    }

    /// The original sends these always, so that `class modify` without them sets them back.
    fn fill_class(&self, pairs: &mut Vec<(&str, String)>) {
        for (name, value) in [("mindevcount", "2"), ("replpolicy", "")] {
            if !pairs.iter().any(|(known, _)| *known == name) {
                pairs.push((name, value.to_owned()));
            }
        }
    }

    async fn host_add(&mut self) -> Result<&'static str, Refusal> {
        let name = self.args.words[0].clone();
        let mut pairs = vec![("host", name.clone())];
        for option in ["status", "ip", "port", "getport", "altip", "altmask"] {
            pairs.extend(self.args.get(option).map(|value| (option, value.to_owned())));
        }
        let is_given = |pairs: &[(&str, String)], name| pairs.iter().any(|(known, _)| *known == name);
        if !is_given(&pairs, "ip") {
            pairs.push(("ip", resolve(&name)?));
        }
        for (option, usual) in [("port", "7500"), ("status", "down")] {
            if !is_given(&pairs, option) {
                pairs.push((option, usual.to_owned()));
            }
        }
        self.ask("create_host", &pairs).await?;
        Ok("Host has been created.")
    }

    async fn device_modify(&mut self) -> Result<&'static str, Refusal> {
        let devid = self.args.words[1].strip_prefix("dev").unwrap_or(&self.args.words[1]).to_owned();
        let place = [("host", self.args.words[0].clone()), ("device", devid)];
        if let Some(status) = self.args.get("status") {
            let pairs = [&place[..], &[("state", status.to_owned())]].concat();
            self.ask("set_state", &pairs).await?;
        }
        if let Some(weight) = self.args.get("weight") {
            let pairs = [&place[..], &[("weight", weight.to_owned())]].concat();
            self.ask("set_weight", &pairs).await?;
        }
        Ok("Device updated.")
    }

    async fn host_list(&mut self) -> Result<&'static str, Refusal> {
        let hosts = hosts(self.session).await?;
        let mut text = String::new();
        for host in hosts.values() {
            text += &format!("{} [{}]: {}\n", host.of("hostname"), host.of("hostid"), host.of("status"));
            let address = format!("{}:{}", host.of("hostip"), host.of("http_port"));
            for (name, value) in [
                ("IP:", address.as_str()),
                ("Alt IP:", host.of("altip")),
                ("Alt Mask:", host.of("altmask")),
                ("GET Port:", host.of("http_get_port")),
            ] {
                if !value.is_empty() {
                    text += &format!("  {name:<10}{value}\n");
                }
            }
            text.push('\n');
        }
        self.print(&text)
    }

    async fn domain_list(&mut self) -> Result<&'static str, Refusal> {
        let reply = self.ask("get_domains", &[]).await?;
        let text_of = |name: &str| text(&reply, name);
        let mut domains: BTreeMap<String, BTreeMap<String, [String; 3]>> = BTreeMap::new();
        for number in 1..=reply.int("domains") {
            let classes = domains.entry(text_of(&format!("domain{number}"))).or_default();
            for class in 1..=reply.int(&format!("domain{number}classes")) {
                let field = |name: &str| text_of(&format!("domain{number}class{class}{name}"));
                classes.insert(field("name"), [field("mindevcount"), field("replpolicy"), field("hashtype")]);
            }
        }
        let mut shown = format!(
            " {:<20} {:<20} {:<12}  {:<12} {:<7}\n",
            "domain", "class", "mindevcount", "replpolicy", "hashtype"
        );
        let line = |width: usize| "-".repeat(width);
        shown += &format!("{} {} {} {} {}\n", line(20), line(20), line(13), line(12), line(7));
        for (domain, classes) in &domains {
            for (class, [mindevcount, replpolicy, hashtype]) in classes {
                let mindevcount = if mindevcount.is_empty() { "0" } else { mindevcount };
                shown += &format!(" {domain:<20} {class:<20}      {mindevcount:<8} {replpolicy:<13} {hashtype:<7}\n");
            }
            shown.push('\n');
        }
        self.print(&shown)
    }

    async fn device_list(&mut self) -> Result<&'static str, Refusal> {
        let (hosts, devices) = (hosts(self.session).await?, devices(self.session).await?);
        let mut text = String::new();
        for (hostid, host) in hosts.iter().filter(|(_, host)| self.is_wanted(host)) {
            text += &format!("{} [{hostid}]: {}\n", host.of("hostname"), host.of("status"));
            text += &format!(
                "{:>7}  {:<7} {:>10} {:>10} {:>10} {:>10}\n",
                "", "", "used(G)", "free(G)", "total(G)", "weight(%)"
            );
            for (devid, device) in devices.iter().filter(|(_, device)| device.number("hostid") == *hostid) {
                if device.of("status") == "dead" && !self.args.flag("all") {
                    continue;
                }
                let (total, used) = (device.gigabytes("mb_total"), device.gigabytes("mb_used"));
                text += &format!(
                    "{:>7}: {:>7} {used:>10.3} {:>10.3} {total:>10.3} {:>10}\n",
                    format!("dev{devid}"),
                    device.of("status"),
                    total - used,
                    device.number("weight")
                );
            }
            text.push('\n');
        }
        self.print(&text)
    }

    async fn device_summary(&mut self) -> Result<&'static str, Refusal> {
        let wanted = self.args.get("status").unwrap_or("alive,readonly,drain").to_owned();
        let (hosts, devices) = (hosts(self.session).await?, devices(self.session).await?);
        let mut text = format!(
            "{:<15} {:>6} {:>7}  {:>8} {:>8} {:>8} {:>8}\n",
            "Hostname", "HostID", "Status", "used(G)", "free(G)", "total(G)", "%Used"
        );
        for (hostid, host) in hosts.iter().filter(|(_, host)| self.is_wanted(host)) {
            let of_host = devices.values().filter(|device| {
                device.number("hostid") == *hostid && wanted.split(',').any(|status| status == device.of("status"))
            });
            let (total, used) = of_host.fold((0.0, 0.0), |(total, used), device| {
                (total + device.gigabytes("mb_total"), used + device.gigabytes("mb_used"))
            });
            text += &format!("{:<15} [{hostid:>4}]: {:>6}", host.of("hostname"), host.of("status"));
            text += &format!("  {used:>8.3} {:>8.3} {total:>8.3} ", total - used);
            if total > 0.0 {
                text += &format!("{:>8.2}", 100.0 * used / total);
            }
            text.push('\n');
        }
        self.print(&text)
    }

    async fn device_next(&mut self) -> Result<&'static str, Refusal> {
        let last = devices(self.session).await?.keys().max().copied().unwrap_or(0);
        self.print(&format!("{}\n", last + 1))
    }

    fn is_wanted(&self, host: &Row) -> bool {
        self.args.get("hostname").is_none_or(|name| name == host.of("hostname"))
    }

    async fn stored_settings(&mut self) -> Result<BTreeMap<String, String>, Refusal> {
        let reply = self.ask("server_settings", &[]).await?;
        let pair = |number| (text(&reply, &format!("key_{number}")), text(&reply, &format!("value_{number}")));
        Ok((1..=reply.int("key_count")).map(pair).collect())
    }

    async fn settings(&mut self, is_shown: impl Fn(&str) -> bool) -> Result<&'static str, Refusal> {
        let settings = self.stored_settings().await?;
        let shown = settings.iter().filter(|(key, _)| is_shown(key));
        let text: String = shown.map(|(key, value)| format!("{key:>25} = {value}\n")).collect();
        self.print(&text)
    }

    async fn rebalance_test(&mut self) -> Result<&'static str, Refusal> {
        let reply = self.ask("rebalance_test", &[]).await?;
        let policy = self.stored_settings().await?.remove("rebal_policy").unwrap_or_default();
        let list = |name: &str| -> String {
            let devices = text(&reply, name);
            let mut devices: Vec<&str> = devices.split(',').filter(|device| !device.is_empty()).collect();
            devices.sort_unstable();
            devices.iter().map(|device| format!(" - {device}\n")).collect()
        };
        self.print(&format!(
            "Tested rebalance policy...\nPolicy: {policy}\n\nSource devices:\n{}Destination devices:\n{}",
            list("sdevs"),
            list("ddevs")
        ))
    }

    async fn rebalance_status(&mut self) -> Result<&'static str, Refusal> {
        let is_running = self.stored_settings().await?.contains_key("rebal_host");
        let reply = self.ask("rebalance_status", &[]).await?;
        let state = text(&reply, "state");
        let mut words: Vec<&str> = state.split_whitespace().collect();
        words.sort_unstable();
        let lines = words.iter().map(|word| word.split_once('=').unwrap_or((word, "")));
        let lines: String = lines.map(|(name, value)| format!("{name:>25} = {value}\n")).collect();
        let is = if is_running { "running" } else { "stopped" };
        self.print(&format!("Rebalance is {is}\nRebalance status:\n{lines}"))
    }

    async fn fsck_log(&mut self, after: i64, follows: bool) -> Result<&'static str, Refusal> {
        let row = |cells: [&str; 4]| format!("{:<20} {:>5} {:>13} {:>10}\n", cells[0], cells[1], cells[2], cells[3]);
        self.print(&row(["unixtime", "event", "fid", "devid"]))?;
        let mut after = after;
        loop {
            let reply = self.ask("fsck_getlog", &[("after_logid", after.to_string())]).await?;
            let count = reply.int("row_count");
            for number in 1..=count {
                let field = |name: &str| text(&reply, &format!("row_{number}_{name}"));
                let devid = Some(field("devid")).filter(|devid| !devid.is_empty() && devid != "0");
                let devid = devid.unwrap_or_else(|| "-".to_owned());
                self.print(&row([&field("utime"), &field("evcode"), &field("fid"), &devid]))?;
                after = after.max(reply.int(&format!("row_{number}_logid")));
            }
            match (count > 0, follows) {
                (true, _) => {}
                (false, true) => tokio::time::sleep(TAIL_INTERVAL).await,
                (false, false) => return Ok(""),
            }
        }
    }

    async fn fsck_status(&mut self) -> Result<&'static str, Refusal> {
        let reply = self.ask("fsck_status", &[]).await?;
        self.print(&fsck_text(&reply))
    }

    // Addresses of replicas are kept in settings: `slave_keys` and `slave_<key>` = address|user|password.

    async fn slave_keys(&mut self) -> Result<(Vec<String>, BTreeMap<String, String>), Refusal> {
        let settings = self.stored_settings().await?;
        let keys = settings.get("slave_keys").map(String::as_str).unwrap_or_default();
        let keys = keys.split(',').map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect();
        Ok((keys, settings))
    }

    async fn slave_list(&mut self) -> Result<&'static str, Refusal> {
        let (mut keys, settings) = self.slave_keys().await?;
        keys.sort();
        let mut shown = String::new();
        for key in keys {
            let value = settings.get(&format!("slave_{key}")).cloned().unwrap_or_default();
            let mut parts = value.splitn(3, '|');
            let mut part = || parts.next().unwrap_or_default().to_owned();
            shown += &format!("{key} --dsn={} --username={} --password={}\n", part(), part(), part());
        }
        self.print(&shown)
    }

    async fn slave_change(&mut self, verb: &str) -> Result<&'static str, Refusal> {
        let (mut keys, settings) = self.slave_keys().await?;
        let key = self.args.words[0].clone();
        let is_known = keys.contains(&key);
        let refused = |text: &str| {
            Failure::from(ClientError::Tracker { code: "slave".to_owned(), text: format!("{key}: {text}") })
        };
        match (verb, is_known) {
            ("add", true) => return Err(refused("there is one already").into()),
            ("modify" | "delete", false) => return Err(refused("there is none").into()),
            _ => {}
        }
        let name = format!("slave_{key}");
        if verb == "delete" {
            keys.retain(|known| *known != key);
            self.set("slave_keys", &keys.join(",")).await?;
            self.set(&name, "").await?;
            return Ok("Slave deleted");
        }
        let old = settings.get(&name).cloned().unwrap_or_default();
        let mut old = old.splitn(3, '|');
        let part = |option: &str| {
            let before = old.next().unwrap_or_default();
            self.args.get(option).unwrap_or(before).to_owned()
        };
        let value = ["dsn", "username", "password"].map(part).join("|");
        self.set(&name, &value).await?;
        if !is_known {
            keys.push(key);
            self.set("slave_keys", &keys.join(",")).await?;
        }
        Ok(if verb == "add" { "Slave added" } else { "Slave modify success" })
    }

    async fn set(&mut self, key: &str, value: &str) -> Result<(), Refusal> {
        self.ask("set_server_setting", &[("key", key.to_owned()), ("value", value.to_owned())]).await.map(drop)
    }
}

fn resolve(name: &str) -> Result<String, Failure> {
    let found = (name, 0_u16).to_socket_addrs().ok().and_then(|addresses| {
        let mut addresses = addresses.map(|address| address.ip());
        addresses.find(std::net::IpAddr::is_ipv4)
    });
    let text = || {
        format!("{name} does not resolve to an address, and --ip was not given: mogadm host add {name} --ip=ADDRESS")
    };
    found.map(|address| address.to_string()).ok_or_else(|| Failure::Usage(text()))
}

/// As the original shows it: its own lines, then everything that it does not know.
fn fsck_text(reply: &Reply) -> String {
    const SHOWN: [&str; 10] = [
        "current_time",
        "max_logid",
        "host",
        "running",
        "end_fid",
        "max_fid_checked",
        "start_time",
        "stop_time",
        "policy_only",
        "",
    ];
    let line = |name: &str, value: &str| format!("{name:>11}: {value}\n");
    let (end, checked) = (reply.num("end_fid"), reply.num("max_fid_checked"));
    let percent = if end > 0.0 { 100.0 * checked / end } else { 0.0 };
    let stopped = Some(reply.num("stop_time")).filter(|time| *time > 0.0);
    let elapsed_secs = match reply.num("start_time") {
        start if start > 0.0 => stopped.unwrap_or_else(|| reply.num("current_time")) - start,
        _ => 0.0,
    };
    let per_sec = if elapsed_secs > 0.0 { checked / elapsed_secs } else { 0.0 };
    let as_time = |secs: f64| match secs {
        secs if secs < 60.0 => format!("{}s", secs as i64),
        secs => format!("{}m", (secs / 60.0) as i64),
    };
    let remaining_secs = if per_sec > 0.0 { (end - checked) / per_sec } else { 0.0 };
    let mut shown = String::from("\n");
    let running = format!("Yes (on {})", text(reply, "host"));
    shown += &line("Running", if reply.flag("running") { &running } else { "No" });
    let position = format!("{} / {} ({percent:.2}%)", text(reply, "max_fid_checked"), text(reply, "end_fid"));
    shown += &line("Status", &position);
    let time = format!("{} ({} fids/s; {} remain)", as_time(elapsed_secs), per_sec as i64, as_time(remaining_secs));
    shown += &line("Time", &time);
    let kind =
        if reply.flag("policy_only") { "Repl policy only (skip file checks)" } else { "Normal (check policy + files)" };
    shown += &line("Check Type", kind);
    let rest: BTreeMap<String, String> =
        reply.pairs().iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let rest: String = rest
        .iter()
        .filter(|(name, _)| !SHOWN.contains(&name.as_str()))
        .map(|(name, value)| line(&format!("[{name}]"), value))
        .collect();
    if !rest.is_empty() {
        shown += &format!("\n{rest}");
    }
    shown + "\n"
}

/// A host or a device by the names of its fields.
pub(super) struct Row(BTreeMap<String, String>);

impl Row {
    pub(super) fn of(&self, field: &str) -> &str {
        self.0.get(field).map(String::as_str).unwrap_or_default()
    }

    pub(super) fn number(&self, field: &str) -> i64 {
        self.of(field).parse().unwrap_or(0)
    }

    fn gigabytes(&self, field: &str) -> f64 {
        self.of(field).parse::<f64>().unwrap_or(0.0) / 1024.0
    }
}

fn rows(reply: &Reply, count: &str, item: &str, id: &str) -> BTreeMap<i64, Row> {
    let row = |number| {
        let prefix = format!("{item}{number}_");
        let fields = reply.pairs().iter().filter_map(|(name, value)| {
            Some((String::from_utf8_lossy(name.strip_prefix(prefix.as_bytes())?).into_owned(), value.to_string()))
        });
        let row = Row(fields.collect());
        (row.number(id), row)
    };
    (1..=reply.int(count)).map(row).collect()
}

pub(super) async fn hosts(session: &mut Session<'_>) -> Result<BTreeMap<i64, Row>, Refusal> {
    Ok(rows(&session.tracker.request("get_hosts", &[]).await?, "hosts", "host", "hostid"))
}

pub(super) async fn devices(session: &mut Session<'_>) -> Result<BTreeMap<i64, Row>, Refusal> {
    Ok(rows(&session.tracker.request("get_devices", &[]).await?, "devices", "dev", "devid"))
}

fn text(reply: &Reply, name: &str) -> String {
    reply.get(name).map(BStr::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_before_the_command_are_the_programs() {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (before, rest) = split_at_command(words("--verbose --trackers a:1 host add h --status=alive"));
        assert_eq!((before, rest), (words("--verbose --trackers a:1"), words("host add h --status=alive")));
        assert_eq!(split_at_command(words("--trackers=a check")).1, ["check"]);
        assert_eq!(split_at_command(words("--trackers")).0, ["--trackers"]);
    }

    #[test]
    fn a_status_is_shown_as_the_original_shows_it() {
        let reply = Reply::decode(
            b"running=1&host=t1&max_fid_checked=50&end_fid=100&start_time=1000&current_time=1010&max_logid=3&num_MISS=2",
        );
        assert_eq!(
            fsck_text(&reply),
            "\n    Running: Yes (on t1)\n     Status: 50 / 100 (50.00%)\n       Time: 10s (5 fids/s; 10s remain)\n \
             Check Type: Normal (check policy + files)\n\n [num_MISS]: 2\n\n"
        );
    }
}
