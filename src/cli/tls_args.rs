//! Options about TLS, for commands that speak to trackers and storage nodes.

use super::output::Failure;
use crate::tls::{ClientTls, ClientTlsFiles, NodeTls};
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// Whom to believe, and what to show.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options of every command, for TLS")]
pub struct TlsArgs {
    /// Authorities (PEM) to believe of trackers tls://HOST:PORT and of nodes; else those of the system
    #[arg(long, global = true, hide_short_help = true, env = CA, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Certificate (PEM) to show those who ask for one
    #[arg(long, global = true, hide_short_help = true, env = CERTIFICATE, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, global = true, hide_short_help = true, env = KEY, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Storage nodes, too, are reached by TLS, at this port instead of that in addresses of files (nodes have 7503)
    #[arg(long, global = true, hide_short_help = true, env = NODES, value_name = "PORT")]
    tls_nodes: Option<u16>,
    /// A name that the certificates of all nodes are for; else each is for the node's address
    #[arg(long, global = true, hide_short_help = true, env = NODES_NAME, value_name = "NAME")]
    tls_nodes_name: Option<String>,
}

const CA: &str = "MOGILEFS_TLS_CA";
const CERTIFICATE: &str = "MOGILEFS_TLS_CERTIFICATE";
const KEY: &str = "MOGILEFS_TLS_KEY";
const NODES: &str = "MOGILEFS_TLS_NODES";
const NODES_NAME: &str = "MOGILEFS_TLS_NODES_NAME";

impl TlsArgs {
    /// For programs with options of their own.
    pub fn of_environment() -> Self {
        let file = |name| std::env::var_os(name).filter(|file: &OsString| !file.is_empty()).map(PathBuf::from);
        Self {
            tls_ca: file(CA),
            tls_certificate: file(CERTIFICATE),
            tls_key: file(KEY),
            tls_nodes: std::env::var(NODES).ok().and_then(|port| port.parse().ok()),
            tls_nodes_name: std::env::var(NODES_NAME).ok().filter(|name| !name.is_empty()),
        }
    }

    /// How storage nodes are reached, if not in the clear.
    ///
    /// # Errors
    /// As for [`TlsArgs::load`].
    pub fn nodes(&self) -> Result<Option<NodeTls>, Failure> {
        let with_port = |port| Ok(NodeTls::for_all(self.load()?, port, self.tls_nodes_name.clone()));
        self.tls_nodes.map(with_port).transpose()
    }

    /// Reads the files, or what the system believes.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn load(&self) -> Result<ClientTls, Failure> {
        let path = |file: &Option<PathBuf>| file.clone().unwrap_or_default();
        let files = ClientTlsFiles {
            ca_file: path(&self.tls_ca),
            certificate_file: path(&self.tls_certificate),
            key_file: path(&self.tls_key),
            named_by: ["--tls-ca", "--tls-certificate", "--tls-key"],
        };
        ClientTls::load(&files).map_err(|error| Failure::Usage(error.to_string()))
    }
}
