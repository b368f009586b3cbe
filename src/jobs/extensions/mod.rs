//! What sites used plugins for, built in and switched on by the setting `extensions.enabled`.
//!
//! An [`Extension`] hooks into the commands of clients at the places where 2.73 called its plugins (protocol.md 10):
//! before a command, when devices are ordered, when a file is stored or deleted; and it may bring commands of its own.
//! What it changes in the database along with a file is part of the file's own transaction: both happen, or neither.
//! An extension must never change a file that the command is not about.

mod file_paths;
mod metadata;
mod random_writes;
mod sort_by_wait;
mod zone_local;

use super::context::JobContext;
use super::query::Query;
use super::query::error::{CommandError, CommandResult};
use super::query::spec::CommandSpec;
use crate::cluster::ClusterSnapshot;
use crate::ids::{DevId, Dmid, Fid};
use crate::protocol::args::Args;
use crate::protocol::error_code::ErrorCode;
use crate::settings::ExtensionSettings;
use crate::store::files::{CloseUpload, FileRow};
use crate::store::{ExtensionTables, StoreConnection, StoreResult};
use futures::future::LocalBoxFuture;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// A part of the transaction that makes an upload a file; given the files that its key led to before, which are deleted.
/// Gives further files that it has deleted itself. An error undoes the whole: [`StoreError::Refused`] for a refusal that
/// the client is told.
///
/// [`StoreError::Refused`]: crate::store::StoreError::Refused
pub type CloseStep = Box<dyn FnMut(&mut StoreConnection, &CloseUpload, &[Fid]) -> StoreResult<Vec<Fid>> + Send>;

/// A part of the transaction that deletes a file; called with each fid that goes.
pub type DeleteStep = Box<dyn FnMut(&mut StoreConnection, Fid) -> StoreResult<()> + Send>;

/// A part of the transaction that brings a deleted file back.
pub type UndeleteStep = Box<dyn FnMut(&mut StoreConnection, &FileRow) -> StoreResult<()> + Send>;

/// A part of the transaction that deletes a domain, after it was found to be empty.
pub type DomainStep = fn(&mut StoreConnection, Dmid) -> StoreResult<()>;

/// One built-in extension. Every method has a default that does nothing.
pub trait Extension {
    /// The tables it needs.
    fn tables(&self) -> &'static [ExtensionTables] {
        &[]
    }

    /// The commands it brings.
    fn commands(&self) -> &'static [CommandSpec] {
        &[]
    }

    /// Carries out one of [`Extension::commands`].
    fn run<'q>(&'q self, _query: &'q Query<'q>) -> LocalBoxFuture<'q, CommandResult> {
        Box::pin(std::future::ready(Err(ErrorCode::UnknownCommand.into())))
    }

    /// Before a command with [`CommandSpec::is_intercepted`]; its domain is known. May change the arguments, or refuse.
    ///
    /// # Errors
    /// The command is not carried out; the client gets this error (`plugin_aborted` by convention).
    fn intercept(&self, _query: &Query<'_>, _changed: &mut Args) -> Result<(), CommandError> {
        Ok(())
    }

    /// Orders the devices for a new file, best first. `ordered` has the order so far; all that could be chosen are
    /// `eligible`.
    fn order_for_new_file(&self, _query: &Query<'_>, _eligible: &[DevId], _ordered: &mut Vec<DevId>) {}

    /// Orders the devices from which a file is read, best first.
    fn order_for_reading(&self, _query: &Query<'_>, _ordered: &mut Vec<DevId>) {}

    /// Orders the devices from which replication may read a file, best first.
    fn order_sources(&self, _cluster: &Arc<ClusterSnapshot>, _ordered: &mut Vec<DevId>) {}

    /// What is to change along with the file of this `create_close`.
    fn with_close(&self, _query: &Query<'_>) -> Option<CloseStep> {
        None
    }

    /// What is to change along with each file that is deleted by this command: `delete`, or a `create_close` that
    /// replaces files.
    fn with_delete(&self, _query: &Query<'_>) -> Option<DeleteStep> {
        None
    }

    /// What is to change along with the file of this `undelete`.
    fn with_undelete(&self, _query: &Query<'_>) -> Option<UndeleteStep> {
        None
    }

    /// What is to change when a domain is deleted.
    fn with_delete_domain(&self) -> Option<DomainStep> {
        None
    }
}

/// The extensions that are switched on, in the order of the setting.
#[derive(Clone, Default)]
pub struct Extensions {
    enabled: Rc<[Rc<dyn Extension>]>,
}

impl Extensions {
    /// Those that the settings name. Each worker has its own.
    ///
    /// # Errors
    /// A name that no extension has, or a setting that its extension cannot use.
    pub fn enable(settings: &ExtensionSettings) -> Result<Self, String> {
        let enabled: Result<Vec<_>, _> = with_needed(&settings.enabled).map(|name| build(name, settings)).collect();
        Ok(Self { enabled: enabled?.into() })
    }

    /// The tables that they need.
    pub fn tables(&self) -> BTreeSet<ExtensionTables> {
        self.enabled.iter().flat_map(|extension| extension.tables()).copied().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.enabled.is_empty()
    }

    /// The commands of all.
    pub fn commands(&self) -> impl Iterator<Item = &'static CommandSpec> {
        self.enabled.iter().flat_map(|extension| extension.commands())
    }

    /// Carries out a command that an extension brings; `unknown_command` if none does.
    pub async fn run(&self, ctx: &JobContext, command: &str, args: &Args, peer: IpAddr) -> CommandResult {
        for extension in self.enabled.iter() {
            if let Some(spec) = extension.commands().iter().find(|spec| spec.name == command) {
                return extension.run(&Query::new(ctx, Some(spec), args, peer)).await;
            }
        }
        Err(ErrorCode::UnknownCommand.into())
    }

    /// Lets each see and change the arguments of a command; the changed ones. What is asked by fid is about no domain and
    /// not intercepted.
    ///
    /// # Errors
    /// That of the domain check, or the refusal of an extension.
    pub fn intercept(
        &self,
        ctx: &JobContext,
        spec: &'static CommandSpec,
        args: &Args,
        peer: IpAddr,
    ) -> Result<Option<Args>, CommandError> {
        if matches!(spec.name, "file_debug" | "explain") && args.flag("fid") {
            return Ok(None);
        }
        let mut current = args.clone();
        for extension in self.enabled.iter() {
            let query = Query::new(ctx, Some(spec), &current, peer);
            query.domain()?;
            let mut changed = current.clone();
            extension.intercept(&query, &mut changed)?;
            current = changed;
        }
        Ok(Some(current))
    }

    /// [`Extension::order_for_new_file`] of each, in turn.
    pub fn order_for_new_file(&self, query: &Query<'_>, eligible: &[DevId], ordered: &mut Vec<DevId>) {
        for extension in self.enabled.iter() {
            extension.order_for_new_file(query, eligible, ordered);
        }
    }

    /// [`Extension::order_for_reading`] of each, in turn.
    pub fn order_for_reading(&self, query: &Query<'_>, ordered: &mut Vec<DevId>) {
        for extension in self.enabled.iter() {
            extension.order_for_reading(query, ordered);
        }
    }

    /// [`Extension::order_sources`] of each, in turn.
    pub fn order_sources(&self, cluster: &Arc<ClusterSnapshot>, ordered: &mut Vec<DevId>) {
        for extension in self.enabled.iter() {
            extension.order_sources(cluster, ordered);
        }
    }

    /// All that changes along with the file of this `create_close`.
    pub fn with_close(&self, query: &Query<'_>) -> Vec<CloseStep> {
        self.enabled.iter().filter_map(|extension| extension.with_close(query)).collect()
    }

    /// All that changes along with each file that this command deletes.
    pub fn with_delete(&self, query: &Query<'_>) -> Vec<DeleteStep> {
        self.enabled.iter().filter_map(|extension| extension.with_delete(query)).collect()
    }

    /// All that changes along with the file of this `undelete`.
    pub fn with_undelete(&self, query: &Query<'_>) -> Vec<UndeleteStep> {
        self.enabled.iter().filter_map(|extension| extension.with_undelete(query)).collect()
    }

    /// All that changes when a domain is deleted.
    pub fn with_delete_domain(&self) -> Vec<DomainStep> {
        self.enabled.iter().filter_map(|extension| extension.with_delete_domain()).collect()
    }
}

/// The commands of every extension there is, switched on or not.
pub fn all_commands() -> impl Iterator<Item = &'static CommandSpec> {
    let settings = ExtensionSettings::default();
    let extensions = BUILT_IN.iter().filter_map(move |(_, build)| build(&settings).ok());
    extensions.flat_map(|extension| extension.commands())
}

/// Every extension there is, by the names of the public plugins.
const BUILT_IN: &[(&str, Build)] = &[
    ("FilePaths", |_| Ok(Rc::new(file_paths::FilePaths))),
    ("MetaData", |_| Ok(Rc::new(metadata::MetaData))),
    ("RandomWrites", |_| Ok(Rc::new(random_writes::RandomWrites))),
    ("SortByWait", |_| Ok(Rc::new(sort_by_wait::SortByWait))),
    ("ZoneLocal", |settings| Ok(Rc::new(zone_local::ZoneLocal::new(settings)?))),
];

/// Of these extensions the first cannot do without the second.
const NEEDS: (&str, &str) = ("FilePaths", "MetaData");

/// The names, each once, and what they need.
fn with_needed(names: &[String]) -> impl Iterator<Item = &str> {
    let needed = names.iter().any(|name| name == NEEDS.0).then_some(NEEDS.1);
    let mut seen = BTreeSet::new();
    names.iter().map(String::as_str).chain(needed).filter(move |name| seen.insert(*name))
}

/// Makes an extension; a text that names the setting which it cannot use.
type Build = fn(&ExtensionSettings) -> Result<Rc<dyn Extension>, String>;

fn build(name: &str, settings: &ExtensionSettings) -> Result<Rc<dyn Extension>, String> {
    let Some((_, build)) = BUILT_IN.iter().find(|(known, _)| *known == name) else {
        let known: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        return Err(format!("extensions.enabled: there is no extension {name:?}; there are {}", known.join(", ")));
    };
    build(settings)
}
