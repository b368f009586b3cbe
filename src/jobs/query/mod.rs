//! The commands of clients. To add one: a file in the folder of its group with a [`spec::CommandSpec`] and a handler, a
//! line in [`dispatch`].
//!
//! A handler gets a [`Query`], checks the arguments in the order of protocol.md 9, and returns pairs or an error. It
//! knows no actor and no socket of a client.

pub mod arguments;
pub mod authenticate;
pub mod dispatch;
pub mod error;
mod files;
mod fsck;
pub mod manual;
mod rebalance;
mod service;
pub mod spec;
pub mod together;
mod topology;

use crate::cluster::domain::{Class, Domain};
use crate::cluster::host::Zone;
use crate::cluster::{ClusterSnapshot, ClusterView};
use crate::ids::DevId;
use crate::jobs::context::JobContext;
use crate::protocol::args::Args;
use crate::protocol::error_code::ErrorCode;
use arguments::Arguments;
use bstr::BStr;
use error::CommandError;
use spec::CommandSpec;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

/// One request under way: what is known of it, and the surroundings to carry it out in.
pub struct Query<'a> {
    pub ctx: &'a JobContext,
    glance: Glance<'a>,
}

impl<'a> Query<'a> {
    /// Begins a request of a client at this address.
    pub fn new(ctx: &'a JobContext, spec: Option<&'static CommandSpec>, args: &'a Args, peer: IpAddr) -> Self {
        Self { ctx, glance: Glance::new(&ctx.view, spec, args, peer) }
    }

    /// Waits until this tracker knows what was just written (protocol.md 6.3).
    pub(in crate::jobs) async fn refresh(&self) {
        if let Err(error) = self.ctx.refresh_cluster.send(crate::notices::RefreshCluster).await {
            slog::warn!(self.ctx.log, "could not refresh the view of the cluster"; "error" => %error);
        }
    }
}

impl<'a> Deref for Query<'a> {
    type Target = Glance<'a>;

    fn deref(&self) -> &Self::Target {
        &self.glance
    }
}

/// What a request can be answered from without a database, a node or waiting: its arguments and the cluster as it was
/// when it began.
pub struct Glance<'a> {
    /// The command; `None` if no command has this name.
    pub spec: Option<&'static CommandSpec>,
    pub args: Arguments<'a>,
    pub zone: Zone,
    pub cluster: Arc<ClusterSnapshot>,
}

impl<'a> Glance<'a> {
    /// Begins a request of a client at this address.
    pub fn new(view: &ClusterView, spec: Option<&'static CommandSpec>, args: &'a Args, peer: IpAddr) -> Self {
        let zone = Zone { asked_alt: args.get("zone").is_some_and(|zone| zone == "alt"), peer: Some(peer) };
        Self { spec, args: Arguments::new(args, spec), zone, cluster: view.load_full() }
    }

    /// The domain check of all file commands (protocol.md 8.1).
    pub fn domain(&self) -> Result<&Domain, CommandError> {
        let name = self.args.nonempty("domain").ok_or(ErrorCode::NoDomain)?;
        self.cluster.domain_by_name(name).ok_or_else(|| ErrorCode::UnregDomain.into())
    }

    /// The argument `key`; `0` is a valid key (protocol.md 8.2).
    pub fn key(&self) -> Result<&'a BStr, CommandError> {
        self.args.nonempty("key").ok_or_else(|| ErrorCode::NoKey.into())
    }

    /// The domain and class of a stored file, for replies; a file of an unknown one is a `failure`.
    fn domain_and_class(
        &self,
        dmid: crate::ids::Dmid,
        classid: crate::ids::ClassId,
    ) -> Result<(&Domain, &Class), CommandError> {
        let domain = self.cluster.domain(dmid).ok_or(ErrorCode::Failure)?;
        let class = domain.class(classid).ok_or(ErrorCode::Failure)?;
        Ok((domain, class))
    }
}

/// `1,2,3`.
fn comma_list(devids: &[DevId]) -> String {
    devids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
