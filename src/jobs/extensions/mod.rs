//! What sites used plugins for, built in and switched on by the setting `extensions.enabled`.
//!
//! An [`Extension`] hooks into the commands of clients at the places where 2.73 called its plugins (protocol.md 10):
//! before a command, when devices are ordered, when a file is stored or deleted; and it may bring commands of its own.
//! What it changes in the database along with a file is part of the file's own transaction: both happen, or neither.
//! An extension must never change a file that the command is not about.

mod random_writes;
mod zone_local;

use super::context::JobContext;
use super::query::Query;
use super::query::error::{CommandError, CommandResult};
use super::query::spec::CommandSpec;
use crate::ids::{DevId, Fid};
use crate::protocol::args::Args;
use crate::protocol::error_code::ErrorCode;
use crate::store::files::CloseUpload;
use crate::store::{StoreConnection, StoreResult};
use futures::future::LocalBoxFuture;
use std::net::IpAddr;
use std::rc::Rc;

/// A part of the transaction that makes an upload a file. An error undoes the whole: [`StoreError::Refused`] for a
/// refusal that the client is told.
///
/// [`StoreError::Refused`]: crate::store::StoreError::Refused
pub type CloseStep = Box<dyn FnMut(&mut StoreConnection, &CloseUpload) -> StoreResult<()> + Send>;

/// A part of the transaction that deletes a file; called with each fid that goes.
pub type DeleteStep = Box<dyn FnMut(&mut StoreConnection, Fid) -> StoreResult<()> + Send>;

/// One built-in extension. Every method has a default that does nothing.
pub trait Extension {
    /// As in the setting `extensions.enabled`; the names of the public plugins where there is one.
    fn name(&self) -> &'static str;

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

    /// What is to change along with the file of this `create_close`.
    fn with_close(&self, _query: &Query<'_>) -> Option<CloseStep> {
        None
    }

    /// What is to change along with the file of this `delete`.
    fn with_delete(&self, _query: &Query<'_>) -> Option<DeleteStep> {
        None
    }
}

/// The extensions that are switched on, in the order of the setting.
#[derive(Clone, Default)]
pub struct Extensions {
    enabled: Rc<[Rc<dyn Extension>]>,
}

impl Extensions {
    /// Those of these names. Each worker has its own.
    ///
    /// # Errors
    /// A name that no extension has.
    pub fn enable(names: &[String]) -> Result<Self, String> {
        let enabled: Result<Vec<_>, _> = names.iter().map(|name| build(name)).collect();
        Ok(Self { enabled: enabled?.into() })
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

    /// Lets each see and change the arguments of a command; the changed ones. `file_debug` by fid is about no domain and
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
        if spec.name == "file_debug" && args.flag("fid") {
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

    /// All that changes along with the file of this `create_close`.
    pub fn with_close(&self, query: &Query<'_>) -> Vec<CloseStep> {
        self.enabled.iter().filter_map(|extension| extension.with_close(query)).collect()
    }

    /// All that changes along with the file of this `delete`.
    pub fn with_delete(&self, query: &Query<'_>) -> Vec<DeleteStep> {
        self.enabled.iter().filter_map(|extension| extension.with_delete(query)).collect()
    }
}

/// The commands of every extension there is, switched on or not.
pub fn all_commands() -> impl Iterator<Item = &'static CommandSpec> {
    BUILT_IN.iter().flat_map(|build| build().commands())
}

/// Every extension there is.
const BUILT_IN: &[fn() -> Rc<dyn Extension>] =
    &[|| Rc::new(random_writes::RandomWrites), || Rc::new(zone_local::ZoneLocal::default())];

fn build(name: &str) -> Result<Rc<dyn Extension>, String> {
    let known = BUILT_IN.iter().map(|build| build()).find(|extension| extension.name() == name);
    known.ok_or_else(|| format!("extensions.enabled: there is no extension {name:?}"))
}
