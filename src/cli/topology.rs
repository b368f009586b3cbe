//! The commands on what the cluster is made of: domains, classes, hosts, devices, settings.

use super::output::{Failure, short_size, table};
use super::session::Session;
use super::sure::SureArgs;
use crate::client::ClientError;
use crate::protocol::args::Args as Reply;
use bstr::BStr;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

#[derive(Debug, Subcommand)]
pub enum TopologyCommand {
    /// Domains: name spaces of keys
    #[command(subcommand)]
    Domain(DomainCommand),
    /// Classes of a domain: how many copies, where, with which checksum
    #[command(subcommand)]
    Class(ClassCommand),
    /// Hosts: machines that run storage nodes
    #[command(subcommand)]
    Host(HostCommand),
    /// Devices: disks of hosts
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Settings that all trackers share
    #[command(subcommand)]
    Settings(SettingsCommand),
}

#[derive(Debug, Subcommand)]
pub enum DomainCommand {
    /// Add a domain
    Add { name: String },
    /// Remove a domain that has neither files nor classes
    #[command(alias = "delete", alias = "rm")]
    Remove {
        name: String,
        #[command(flatten)]
        sure: SureArgs,
    },
    /// List domains with their classes
    #[command(alias = "ls")]
    List,
}

#[derive(Debug, Subcommand)]
pub enum ClassCommand {
    /// Add a class to a domain
    Add {
        /// The domain
        #[arg(value_name = "DOMAIN")]
        of_domain: String,
        /// The class
        class: String,
        /// Copies that a file must have
        #[arg(long, value_name = "COUNT", default_value_t = 2)]
        mindevcount: u32,
        #[command(flatten)]
        options: ClassOptions,
    },
    /// Change a class; what is not given stays
    #[command(alias = "modify")]
    Update {
        /// The domain
        #[arg(value_name = "DOMAIN")]
        of_domain: String,
        /// The class
        class: String,
        /// Copies that a file must have
        #[arg(long, value_name = "COUNT")]
        mindevcount: Option<u32>,
        #[command(flatten)]
        options: ClassOptions,
    },
    /// Remove a class that has no files
    #[command(alias = "delete", alias = "rm")]
    Remove {
        /// The domain
        #[arg(value_name = "DOMAIN")]
        of_domain: String,
        /// The class
        class: String,
        #[command(flatten)]
        sure: SureArgs,
    },
    /// List the classes of all domains, or of one
    #[command(alias = "ls")]
    List {
        /// The domain
        #[arg(value_name = "DOMAIN")]
        of_domain: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct ClassOptions {
    /// Where copies go, as in `MultipleHosts(3)`
    #[arg(long, value_name = "POLICY")]
    replpolicy: Option<String>,
    /// Checksum that is kept of each file: MD5, SHA-1, SHA-224, SHA-256, SHA-384, SHA-512 or NONE
    #[arg(long, value_name = "NAME")]
    hashtype: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Add a host; it is `down` unless a status is given
    Add {
        /// The host
        name: String,
        #[command(flatten)]
        options: HostOptions,
    },
    /// Change a host; what is not given stays
    #[command(alias = "modify")]
    Update {
        /// The host
        name: String,
        #[command(flatten)]
        options: HostOptions,
        #[command(flatten)]
        sure: SureArgs,
    },
    /// Remove a host that has no devices
    #[command(alias = "delete", alias = "rm")]
    Remove {
        /// The host
        name: String,
        #[command(flatten)]
        sure: SureArgs,
    },
    /// List hosts
    #[command(alias = "ls")]
    List,
}

#[derive(Debug, Args)]
pub struct HostOptions {
    /// Address of the storage node
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// Port for writing, and for reading unless there is another; 7500 for a new host
    #[arg(long)]
    port: Option<u16>,
    /// Port for reading
    #[arg(long, value_name = "PORT")]
    getport: Option<u16>,
    /// Second address, for clients within the mask
    #[arg(long, value_name = "ADDRESS")]
    altip: Option<String>,
    /// Which clients get the second address, as in `10.0.0.0/8`
    #[arg(long, value_name = "NETWORK")]
    altmask: Option<String>,
    /// alive, readonly, down or dead
    #[arg(long)]
    status: Option<HostWord>,
}

#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// Add a device to a host; device numbers are never used again
    Add {
        /// The host
        host: String,
        /// Number of the device
        devid: u32,
        /// What may be done with it
        #[arg(long, default_value = "alive")]
        status: DeviceWord,
    },
    /// Say what may be done with a device
    Mark {
        /// The host
        host: String,
        /// Number of the device
        devid: u32,
        /// What may be done with it
        status: DeviceWord,
        #[command(flatten)]
        sure: SureArgs,
    },
    /// Set how much a device is preferred for reading (100 is usual)
    Weight {
        /// The host
        host: String,
        /// Number of the device
        devid: u32,
        /// The weight
        weight: u32,
    },
    /// Say that the disk which is mounted for a device now is the right one (its mount guard has failed)
    Accept {
        /// Number of the device
        devid: u32,
    },
    /// List devices with their use
    #[command(alias = "ls")]
    List,
}

#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// List all settings that are set
    #[command(alias = "ls")]
    List,
    /// Show one setting
    Get { key: String },
    /// Set one setting; an empty value removes it
    Set { key: String, value: String },
}

/// `host.status`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum HostWord {
    Alive,
    Readonly,
    Down,
    Dead,
}

/// `device.status`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DeviceWord {
    Alive,
    Readonly,
    Drain,
    Down,
    Dead,
}

/// Owned pairs of a request.
type Pairs = Vec<(&'static str, String)>;

impl TopologyCommand {
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Domain(command) => domain(command, session).await,
            Self::Class(command) => class(command, session).await,
            Self::Host(command) => host(command, session).await,
            Self::Device(command) => device(command, session).await,
            Self::Settings(command) => settings(command, session).await,
        }
    }
}

async fn domain(command: DomainCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        DomainCommand::Add { name } => change(session, "create_domain", vec![("domain", name)]).await,
        DomainCommand::Remove { name, sure } => {
            match sure.proceed(&format!("remove the domain {name}"), session.output)? {
                true => change(session, "delete_domain", vec![("domain", name)]).await,
                false => Ok(()),
            }
        }
        DomainCommand::List => list_domains(session).await,
    }
}

async fn list_domains(session: &mut Session<'_>) -> Result<(), Failure> {
    let domains = fetch_domains(session).await?;
    let value: Vec<Value> = domains.iter().map(DomainRow::json).collect();
    session.output.result(&json!(value), || {
        let rows: Vec<Vec<String>> = domains.iter().map(DomainRow::cells).collect();
        table(&["domain", "classes"], &rows)
    })
}

async fn class(command: ClassCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        ClassCommand::Add { of_domain, class, mindevcount, options } => {
            change(session, "create_class", options.pairs(of_domain, class, mindevcount)).await
        }
        ClassCommand::Update { of_domain, class, mindevcount, options } => {
            let mindevcount = match mindevcount {
                Some(mindevcount) => mindevcount,
                None => current_mindevcount(session, &of_domain, &class).await?,
            };
            change(session, "update_class", options.pairs(of_domain, class, mindevcount)).await
        }
        ClassCommand::Remove { of_domain, class, sure } => {
            let what = format!("remove the class {class} of the domain {of_domain}");
            match sure.proceed(&what, session.output)? {
                true => change(session, "delete_class", vec![("domain", of_domain), ("class", class)]).await,
                false => Ok(()),
            }
        }
        ClassCommand::List { of_domain } => list_classes(of_domain, session).await,
    }
}

impl ClassOptions {
    fn pairs(self, domain: String, class: String, mindevcount: u32) -> Pairs {
        let mut pairs = vec![("domain", domain), ("class", class), ("mindevcount", mindevcount.to_string())];
        pairs.extend(self.replpolicy.map(|policy| ("replpolicy", policy)));
        pairs.extend(self.hashtype.map(|hashtype| ("hashtype", hashtype)));
        pairs
    }
}

/// `update_class` must be told the number of copies even if it stays.
async fn current_mindevcount(session: &mut Session<'_>, domain: &str, class: &str) -> Result<u32, Failure> {
    let domains = fetch_domains(session).await?;
    let refused = |code: &str, text: &str| ClientError::Tracker { code: code.to_owned(), text: text.to_owned() };
    let domain = domains.iter().find(|row| row.name == domain);
    let domain = domain.ok_or_else(|| refused("domain_not_found", "Domain not found"))?;
    let class = domain.classes.iter().find(|row| row.name == class);
    Ok(class.ok_or_else(|| refused("class_not_found", "Class not found"))?.mindevcount)
}

async fn list_classes(of_domain: Option<String>, session: &mut Session<'_>) -> Result<(), Failure> {
    let mut domains = fetch_domains(session).await?;
    domains.retain(|domain| of_domain.as_ref().is_none_or(|name| *name == domain.name));
    let classes = || domains.iter().flat_map(|domain| domain.classes.iter().map(move |class| (domain, class)));
    let value: Vec<Value> = classes().map(|(domain, class)| class.json(&domain.name)).collect();
    session.output.result(&json!(value), || {
        let rows: Vec<Vec<String>> = classes().map(|(domain, class)| class.cells(&domain.name)).collect();
        table(&["domain", "class", "mindevcount", "replpolicy", "hashtype"], &rows)
    })
}

async fn host(command: HostCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        HostCommand::Add { name, mut options } => {
            options.port.get_or_insert(7500);
            change(session, "create_host", options.pairs(name)).await
        }
        HostCommand::Update { name, options, sure } => {
            let is_dead = matches!(options.status, Some(HostWord::Dead));
            let what = match is_dead {
                true => format!("give up the host {name} with all of its devices"),
                false => format!("change the host {name}"),
            };
            match !(is_dead || sure.is_dry_run()) || sure.proceed(&what, session.output)? {
                true => change(session, "update_host", options.pairs(name)).await,
                false => Ok(()),
            }
        }
        HostCommand::Remove { name, sure } => match sure.proceed(&format!("remove the host {name}"), session.output)? {
            true => change(session, "delete_host", vec![("host", name)]).await,
            false => Ok(()),
        },
        HostCommand::List => list_hosts(session).await,
    }
}

impl HostOptions {
    /// Only what was given: the tracker changes what it is sent.
    fn pairs(self, name: String) -> Pairs {
        let mut pairs = vec![("host", name)];
        pairs.extend(self.ip.map(|ip| ("ip", ip)));
        pairs.extend(self.port.map(|port| ("port", port.to_string())));
        pairs.extend(self.getport.map(|port| ("getport", port.to_string())));
        pairs.extend(self.altip.map(|ip| ("altip", ip)));
        pairs.extend(self.altmask.map(|mask| ("altmask", mask)));
        pairs.extend(self.status.map(|status| ("status", word(&status))));
        pairs
    }
}

async fn list_hosts(session: &mut Session<'_>) -> Result<(), Failure> {
    const FIELDS: [&str; 8] =
        ["hostid", "hostname", "status", "hostip", "http_port", "http_get_port", "altip", "altmask"];
    let reply = session.tracker.request("get_hosts", &[]).await?;
    let mut hosts = numbered(&reply, "hosts", "host", &FIELDS);
    hosts.sort_by_key(|host| number(&host[0]));
    let value: Vec<Value> = hosts.iter().map(|host| object(&FIELDS, host)).collect();
    session.output.result(&json!(value), || {
        table(&["id", "host", "status", "address", "port", "get port", "alt address", "alt mask"], &hosts)
    })
}

async fn device(command: DeviceCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        DeviceCommand::Add { host, devid, status } => {
            let pairs = vec![("hostname", host), ("devid", devid.to_string()), ("state", word(&status))];
            change(session, "create_device", pairs).await
        }
        DeviceCommand::Mark { host, devid, status, sure } => {
            let is_dead = matches!(status, DeviceWord::Dead);
            let what = match is_dead {
                true => format!("give up all copies on device {devid} of {host}, for good"),
                false => format!("mark device {devid} of {host} {}", word(&status)),
            };
            if (is_dead || sure.is_dry_run()) && !sure.proceed(&what, session.output)? {
                return Ok(());
            }
            let pairs = vec![("host", host), ("device", devid.to_string()), ("state", word(&status))];
            change(session, "set_state", pairs).await
        }
        DeviceCommand::Weight { host, devid, weight } => {
            let pairs = vec![("host", host), ("device", devid.to_string()), ("weight", weight.to_string())];
            change(session, "set_weight", pairs).await
        }
        DeviceCommand::Accept { devid } => change(session, "accept_device", vec![("device", devid.to_string())]).await,
        DeviceCommand::List => list_devices(session).await,
    }
}

async fn list_devices(session: &mut Session<'_>) -> Result<(), Failure> {
    const FIELDS: [&str; 9] =
        ["devid", "hostid", "status", "observed_state", "weight", "mb_total", "mb_used", "mb_free", "utilization"];
    let reply = session.tracker.request("get_hosts", &[]).await?;
    let hosts = numbered(&reply, "hosts", "host", &["hostid", "hostname"]);
    let reply = session.tracker.request("get_devices", &[]).await?;
    let mut devices = numbered(&reply, "devices", "dev", &FIELDS);
    devices.sort_by_key(|device| number(&device[0]));
    let host_of = |device: &[String]| hosts.iter().find(|host| host[0] == device[1]).map(|host| host[1].clone());
    let value = devices.iter().map(|device| {
        let mut value = object(&FIELDS, device);
        value["hostname"] = json!(host_of(device));
        value
    });
    let value: Vec<Value> = value.collect();
    session.output.result(&json!(value), || {
        let rows = devices.iter().map(|device| device_cells(device, host_of(device).unwrap_or_default()));
        let heading = ["dev", "host", "status", "observed", "weight", "total", "used", "free", "busy %"];
        table(&heading, &rows.collect::<Vec<_>>())
    })
}

/// The fields as they came, with the host's name for its number and sizes for people.
fn device_cells(device: &[String], hostname: String) -> Vec<String> {
    let mut cells = device.to_vec();
    cells[1] = hostname;
    for megabytes in &mut cells[5..8] {
        if let Ok(count) = megabytes.parse::<u64>() {
            *megabytes = short_size(count.saturating_mul(1 << 20));
        }
    }
    cells
}

async fn settings(command: SettingsCommand, session: &mut Session<'_>) -> Result<(), Failure> {
    match command {
        SettingsCommand::List => list_settings(session).await,
        SettingsCommand::Get { key } => {
            let reply = session.tracker.request("server_setting", &[("key", key.as_bytes())]).await?;
            let value = text(&reply, "value");
            session.output.result(&json!({ "key": key, "value": value }), || format!("{value}\n"))
        }
        SettingsCommand::Set { key, value } => {
            change(session, "set_server_setting", vec![("key", key), ("value", value)]).await
        }
    }
}

async fn list_settings(session: &mut Session<'_>) -> Result<(), Failure> {
    let reply = session.tracker.request("server_settings", &[]).await?;
    let pair = |number| (text(&reply, &format!("key_{number}")), text(&reply, &format!("value_{number}")));
    let mut pairs: Vec<(String, String)> = (1..=reply.int("key_count")).map(pair).collect();
    pairs.sort();
    let value: Map<String, Value> = pairs.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    session.output.result(&Value::Object(value), || {
        let rows: Vec<Vec<String>> = pairs.into_iter().map(|(key, value)| vec![key, value]).collect();
        table(&["setting", "value"], &rows)
    })
}

/// Sends a command that changes something; scripts get the pairs of the reply.
async fn change(session: &mut Session<'_>, command: &str, pairs: Pairs) -> Result<(), Failure> {
    let args: Vec<(&str, &[u8])> = pairs.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let reply = session.tracker.request(command, &args).await?;
    let value = reply.pairs().iter().map(|(name, value)| (name.to_string(), json!(value.to_string()))).collect();
    session.done(&Value::Object(value))
}

struct DomainRow {
    name: String,
    classes: Vec<ClassRow>,
}

struct ClassRow {
    name: String,
    mindevcount: u32,
    replpolicy: String,
    hashtype: String,
}

async fn fetch_domains(session: &mut Session<'_>) -> Result<Vec<DomainRow>, Failure> {
    let reply = session.tracker.request("get_domains", &[]).await?;
    Ok(read_domains(&reply))
}

/// Sorted by name: the reply has no order.
fn read_domains(reply: &Reply) -> Vec<DomainRow> {
    let mut domains: Vec<DomainRow> = (1..=reply.int("domains")).map(|number| DomainRow::read(reply, number)).collect();
    domains.sort_by(|left, right| left.name.cmp(&right.name));
    domains
}

impl DomainRow {
    fn read(reply: &Reply, number: i64) -> Self {
        let prefix = format!("domain{number}");
        let classes = (1..=reply.int(&format!("{prefix}classes"))).map(|class| {
            let field = |name: &str| text(reply, &format!("{prefix}class{class}{name}"));
            ClassRow {
                name: field("name"),
                mindevcount: field("mindevcount").parse().unwrap_or(0),
                replpolicy: field("replpolicy"),
                hashtype: field("hashtype"),
            }
        });
        let mut classes: Vec<ClassRow> = classes.collect();
        classes.sort_by(|left, right| left.name.cmp(&right.name));
        Self { name: text(reply, &prefix), classes }
    }

    fn json(&self) -> Value {
        let classes: Vec<Value> = self.classes.iter().map(|class| class.json(&self.name)).collect();
        json!({ "domain": self.name, "classes": classes })
    }

    fn cells(&self) -> Vec<String> {
        let classes: Vec<String> =
            self.classes.iter().map(|class| format!("{} ({})", class.name, class.mindevcount)).collect();
        vec![self.name.clone(), classes.join(", ")]
    }
}

impl ClassRow {
    fn json(&self, domain: &str) -> Value {
        json!({
            "domain": domain, "class": self.name, "mindevcount": self.mindevcount,
            "replpolicy": self.replpolicy, "hashtype": self.hashtype,
        })
    }

    fn cells(&self, domain: &str) -> Vec<String> {
        let mindevcount = self.mindevcount.to_string();
        vec![domain.to_owned(), self.name.clone(), mindevcount, self.replpolicy.clone(), self.hashtype.clone()]
    }
}

/// The items of a reply that numbers them: the fields of each, in the order asked for.
fn numbered(reply: &Reply, count: &str, item: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let row = |number| fields.iter().map(|field| text(reply, &format!("{item}{number}_{field}"))).collect();
    (1..=reply.int(count)).map(row).collect()
}

/// Numbers become numbers (but a name stays text, whatever it looks like), empty values null.
fn object(fields: &[&str], values: &[String]) -> Value {
    let pairs = fields.iter().zip(values).map(|(field, text)| ((*field).to_owned(), json_value(field, text)));
    Value::Object(pairs.collect())
}

fn json_value(field: &str, text: &str) -> Value {
    match (text.parse::<i64>(), text.parse::<f64>()) {
        _ if text.is_empty() => Value::Null,
        _ if field == "hostname" => json!(text),
        (Ok(number), _) => json!(number),
        (Err(_), Ok(number)) => json!(number),
        _ => json!(text),
    }
}

fn number(text: &str) -> i64 {
    text.parse().unwrap_or(i64::MAX)
}

fn text(reply: &Reply, name: &str) -> String {
    reply.get(name).map(BStr::to_string).unwrap_or_default()
}

/// The word of a value as on the command line, which is the word on the wire.
fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|word| word.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_domains_sorted() {
        let reply = Reply::decode(
            b"domains=2&domain1=z&domain1classes=1&domain1class1name=default&domain1class1mindevcount=2\
              &domain2=a&domain2classes=2&domain2class1name=thumb&domain2class1mindevcount=3\
              &domain2class1replpolicy=MultipleHosts%28%29&domain2class1hashtype=MD5\
              &domain2class2name=default&domain2class2mindevcount=2",
        );
        let domains = read_domains(&reply);
        assert_eq!(domains[0].cells(), ["a", "default (2), thumb (3)"]);
        assert_eq!(domains[0].classes[1].cells("a"), ["a", "thumb", "3", "MultipleHosts()", "MD5"]);
        assert_eq!(domains[1].name, "z");
    }

    #[test]
    fn objects_have_numbers_and_nulls() {
        let values = ["7", "", "alive", "0.5", "42"].map(str::to_owned);
        let value = object(&["devid", "weight", "status", "utilization", "hostname"], &values);
        let expected = json!({ "devid": 7, "weight": null, "status": "alive", "utilization": 0.5, "hostname": "42" });
        assert_eq!(value, expected);
    }
}
