//! The roles that serve: tracker, storage node, demo cluster.

use super::life::{self, Role, Signals, in_order_or_at_once, local};
use super::output::Failure;
use crate::demo::{self, DemoOptions};
use crate::logging;
use crate::service;
use crate::settings::Settings;
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
}

impl SettingsArgs {
    /// The same with further settings, which win.
    pub fn with(&self, further: impl IntoIterator<Item = String>) -> Self {
        let mut args = self.clone();
        args.overrides.extend(further);
        args
    }
}

/// Start a tracker: the service that clients talk to
#[derive(Args, Clone, Debug)]
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
#[derive(Args, Clone, Debug)]
pub struct NodeArgs {
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
    life::run(Role::Tracker, settings, log, move || read_settings(&args.settings, extra.clone())).await
}

/// Runs a storage node until a signal stops it.
async fn run_node(args: NodeArgs) -> Result<(), Failure> {
    let docroot = args.docroot.map(|path| path.display().to_string());
    let extra = [
        ("node.http_listen", args.http_listen),
        ("node.side_channel_listen", args.side_channel_listen),
        ("node.docroot", docroot),
    ];
    let (settings, log) = prepare(&args.settings, extra.clone())?;
    life::run(Role::Node, settings, log, move || read_settings(&args.settings, extra.clone())).await
}

/// Runs the demo cluster until a signal stops it.
async fn run_demo(args: DemoArgs) -> Result<(), Failure> {
    let no_settings = SettingsArgs { config: None, overrides: Vec::new() };
    let (_, log) = prepare(&no_settings, [("log.level", Some(args.log_level))])?;
    let _library_logs = logging::adopt_library_logs(&log);
    let mut signals = Signals::install()?;
    let options = DemoOptions { data_dir: args.data_dir, listen: args.listen, node_port: args.node_port };
    let running = demo::start(&options, log.clone()).await.map_err(local)?;
    if let Some(&address) = running.tracker.addresses.first() {
        println!("{}", demo::greeting(&options, address));
    }
    tokio::select! {
        () = signals.stop() => slog::info!(log, "signal received; stopping in order, a second one stops at once"),
        () = running.tracker.wait_until_stopped() => {}
    }
    in_order_or_at_once(running.stop(), &mut signals, &log).await
}

/// Settings and logger.
pub(super) fn prepare<const N: usize>(
    args: &SettingsArgs,
    extra: [(&str, Option<String>); N],
) -> Result<(Settings, Logger), Failure> {
    let settings = read_settings(args, extra)?;
    let log = logging::root(&settings.log).map_err(Failure::Usage)?;
    Ok((settings, log))
}

/// Settings from all places, as they are now.
fn read_settings<const N: usize>(args: &SettingsArgs, extra: [(&str, Option<String>); N]) -> Result<Settings, Failure> {
    let mut overrides = Vec::new();
    for text in &args.overrides {
        let pair = text.split_once('=');
        let (key, value) = pair.ok_or_else(|| Failure::Usage(format!("--set needs KEY=VALUE, not {text:?}")))?;
        overrides.push((key.to_owned(), value.to_owned()));
    }
    overrides.extend(extra.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    // The process may have left the directory in which it was started.
    let file = args.config.as_deref().map(service::absolute);
    Settings::load(file.as_deref(), &overrides).map_err(|error| Failure::Usage(error.to_string()))
}
