//! The roles that serve: tracker, storage node, demo cluster.

use super::life::{self, Role, Signals, in_order_or_at_once, local};
use super::output::Failure;
use crate::demo::{self, DemoOptions};
use crate::logging;
use crate::node::automount::{self, Step};
use crate::service;
use crate::settings::old::OldCommandLine;
use crate::settings::{self, Loaded, Override, Settings, Sources};
use clap::{Args, Subcommand};
use slog::Logger;
use std::path::PathBuf;

/// The roles of the program.
#[derive(Debug, Subcommand)]
pub enum RoleCommand {
    Demo(DemoArgs),
    Tracker(TrackerArgs),
    Node(NodeArgs),
}

impl RoleCommand {
    /// Runs the role until it ends. The log goes to standard error.
    pub fn run(self) -> Result<(), Failure> {
        service::start_place();
        let role = async {
            match self {
                RoleCommand::Demo(args) => run_demo(args).await,
                RoleCommand::Tracker(args) => run_tracker(args).await,
                RoleCommand::Node(args) => run_node(args).await,
            }
        };
        actix_rt::System::new().block_on(role)
    }
}

/// Where settings come from.
#[derive(Args, Clone, Debug, Default)]
pub struct SettingsArgs {
    /// Settings file (TOML or YAML); what it leaves out has the built-in default
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, as in --set tracker.query_workers=8; wins over file and environment
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Of a program called by an old name.
    #[arg(skip)]
    old: Option<OldCommandLine>,
}

impl SettingsArgs {
    /// What a program of 2.73 was called with, and the file that it reads.
    pub fn of_old_program(line: OldCommandLine, config: Option<PathBuf>) -> Self {
        Self { config, overrides: Vec::new(), old: Some(line) }
    }

    /// Reads all places where settings are said. Further ones (key, value) are options of the command line.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn load<const N: usize>(&self, further: [(&str, Option<String>); N]) -> Result<Loaded, Failure> {
        let mut overrides = Vec::new();
        for text in &self.overrides {
            let pair = text.split_once('=');
            let (key, value) = pair.ok_or_else(|| Failure::Usage(format!("--set needs KEY=VALUE, not {text:?}")))?;
            overrides.push(Override::new(key, value, "--set"));
        }
        let further = further.into_iter().filter_map(|(key, value)| Some((key, value?)));
        overrides.extend(further.map(|(key, value)| Override::new(key, value, option_of(key))));
        let sources = Sources { old: self.old.clone(), ..Sources::of_process(self.config.clone(), overrides) };
        settings::load(&sources).map_err(|error| Failure::Usage(error.to_string()))
    }

    /// The same, also when the process has left the directory in which it was started.
    fn findable_anywhere(&self) -> Self {
        Self { config: self.config.as_deref().map(service::absolute), ..self.clone() }
    }

    /// The same with further settings, which win.
    pub fn with(&self, further: impl IntoIterator<Item = String>) -> Self {
        let mut args = self.clone();
        args.overrides.extend(further);
        args
    }
}

/// Start a tracker: the service that clients talk to
#[derive(Args, Clone, Debug, Default)]
pub struct TrackerArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Listen addresses, comma-separated [default: 0.0.0.0:7001]
    #[arg(short, long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Database: sqlite:PATH, mysql://USER:PASSWORD@HOST/DB, postgres://USER:PASSWORD@HOST/DB, or a DBI string
    #[arg(long, value_name = "URL")]
    db: Option<String>,
}

/// Start a storage node: the HTTP server that keeps the files
#[derive(Args, Clone, Debug, Default)]
#[command(args_conflicts_with_subcommands = true)]
pub struct NodeArgs {
    #[command(subcommand)]
    task: Option<NodeTask>,
    #[command(flatten)]
    settings: SettingsArgs,
    /// HTTP address [default: 0.0.0.0:7500]
    #[arg(long, value_name = "ADDR:PORT")]
    http_listen: Option<String>,
    /// Side channel address [default: 0.0.0.0:7501]
    #[arg(long, value_name = "ADDR:PORT")]
    side_channel_listen: Option<String>,
    /// Directory above the device directories dev1, dev2, ... [default: /var/mogdata]
    #[arg(long, value_name = "DIR")]
    docroot: Option<PathBuf>,
}

impl From<SettingsArgs> for TrackerArgs {
    fn from(settings: SettingsArgs) -> Self {
        Self { settings, ..Self::default() }
    }
}

impl From<SettingsArgs> for NodeArgs {
    fn from(settings: SettingsArgs) -> Self {
        Self { settings, ..Self::default() }
    }
}

/// What there is to do for a node besides running it.
#[derive(Subcommand, Clone, Debug)]
enum NodeTask {
    Automount(AutomountArgs),
}

/// Mount the disks that are labelled MogileDev<number> at their device directories, dev<number>
///
/// Exits with 0 if all is mounted, or there was nothing to do; 1 if some disks could not be mounted; 2 if none could.
#[derive(Args, Clone, Debug)]
struct AutomountArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Directory above the device directories [default: setting node.docroot]
    #[arg(long, value_name = "DIR")]
    docroot: Option<PathBuf>,
    /// Only say what would be done; so it is for everybody but the superuser
    #[arg(long)]
    dry_run: bool,
    /// Close empty mount points to everybody (mode 0), so that nothing is written below an unmounted disk
    #[arg(long)]
    chmod_mountpoints: bool,
    /// Also name the disks that are mounted already
    #[arg(short, long)]
    verbose: bool,
}

/// Start a whole cluster in one process on loopback, ready for use
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Where everything is kept; there again at the next start
    #[arg(long, value_name = "DIR", default_value = "./demo-data")]
    data_dir: PathBuf,
    /// Address of the tracker
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7001")]
    listen: String,
    /// HTTP port of the first of three storage nodes
    #[arg(long, value_name = "PORT", default_value_t = 7500)]
    node_port: u16,
    /// Log level: error, warning, info, debug
    #[arg(long, value_name = "LEVEL", default_value = "warning")]
    log_level: String,
}

/// Runs a tracker until a signal or `!shutdown` stops it.
async fn run_tracker(args: TrackerArgs) -> Result<(), Failure> {
    let extra = [("tracker.listen", args.listen), ("database.url", args.db)];
    let (settings, log) = prepare(&args.settings, extra.clone())?;
    let again = args.settings.findable_anywhere();
    life::run(Role::Tracker, settings, log, move || Ok(again.load(extra.clone())?.settings)).await
}

/// Mounts what is labelled for us.
fn automount(args: &AutomountArgs) -> Result<(), Failure> {
    let docroot = args.docroot.as_ref().map(|path| path.display().to_string());
    let (settings, _log) = prepare(&args.settings, [("node.docroot", docroot)])?;
    let dry_run = args.dry_run || !rustix::process::geteuid().is_root();
    let (mut mounted, mut failed) = (0, 0);
    for disk in automount::plan(&settings.node.docroot).map_err(local)? {
        let names = format!("{} at {}", disk.block_device.display(), disk.mount_point.display());
        match &disk.step {
            Step::Nothing if args.verbose => println!("mounted already: {names}"),
            Step::Nothing => {}
            Step::Mount if dry_run => println!("would mount {names}"),
            Step::Mount => match automount::mount(&disk, args.chmod_mountpoints) {
                Ok(()) => {
                    mounted += 1;
                    println!("mounted {names}");
                }
                Err(error) => {
                    failed += 1;
                    eprintln!("cannot mount {names}: {error}");
                }
            },
            Step::Refuse(reason) => {
                failed += 1;
                eprintln!("not mounted: {names}: {reason}");
            }
        }
    }
    match (mounted, failed) {
        (_, 0) => Ok(()),
        (0, failed) => Err(Failure::Usage(format!("none of {failed} disks could be mounted"))),
        (mounted, failed) => Err(Failure::Findings(format!("{failed} of {} disks not mounted", failed + mounted))),
    }
}

/// Runs a storage node until a signal stops it.
async fn run_node(args: NodeArgs) -> Result<(), Failure> {
    if let Some(NodeTask::Automount(args)) = &args.task {
        return automount(args);
    }
    let docroot = args.docroot.map(|path| path.display().to_string());
    let extra = [
        ("node.http_listen", args.http_listen),
        ("node.side_channel_listen", args.side_channel_listen),
        ("node.docroot", docroot),
    ];
    let (settings, log) = prepare(&args.settings, extra.clone())?;
    let again = args.settings.findable_anywhere();
    life::run(Role::Node, settings, log, move || Ok(again.load(extra.clone())?.settings)).await
}

/// Runs the demo cluster until a signal stops it.
async fn run_demo(args: DemoArgs) -> Result<(), Failure> {
    let (_, log) = prepare(&SettingsArgs::default(), [("log.level", Some(args.log_level))])?;
    let _library_logs = logging::adopt_library_logs(&log);
    let mut signals = Signals::install()?;
    let options = DemoOptions { data_dir: args.data_dir, listen: args.listen, node_port: args.node_port };
    let running = demo::start(&options, log.clone()).await.map_err(local)?;
    if let Some(&address) = running.tracker.addresses.first() {
        println!("{}", demo::greeting(&options, address, running.page));
    }
    tokio::select! {
        () = signals.stop() => slog::info!(log, "signal received; stopping in order, a second one stops at once"),
        () = running.tracker.wait_until_stopped() => {}
    }
    in_order_or_at_once(running.stop(), &mut signals, &log).await
}

/// Settings and logger, which is told what has no effect.
pub(super) fn prepare<const N: usize>(
    args: &SettingsArgs,
    extra: [(&str, Option<String>); N],
) -> Result<(Settings, Logger), Failure> {
    let loaded = args.load(extra)?;
    let log = logging::root(&loaded.settings.log).map_err(Failure::Usage)?;
    if !service::daemon::only_leads(loaded.settings.service.daemonize) {
        loaded.warnings.iter().for_each(|warning| slog::warn!(log, "{warning}"));
    }
    Ok((loaded.settings, log))
}

/// The option that sets this key.
fn option_of(key: &str) -> String {
    match key {
        "database.url" => "--db".to_owned(),
        key => format!("--{}", key.rsplit_once('.').map_or(key, |(_, name)| name).replace('_', "-")),
    }
}
