//! `FilePaths`: in the domains that take part, keys are absolute paths (docs/EXTENSIONS.md).
//!
//! A file is stored under the key `fid:<fid>`; the path leads to the fid. Both change in one transaction, always.

use super::{CloseStep, DeleteStep, DomainStep, Extension, UndeleteStep};
use crate::ids::{Dmid, Fid};
use crate::jobs::query::Query;
use crate::jobs::query::error::{CommandError, CommandResult};
use crate::jobs::query::spec::{CommandSpec, DOMAIN, Group, Origin, number, pair, text};
use crate::protocol::args::{Args, num};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::response::Pairs;
use crate::store::file_paths::{self, FilePath};
use crate::store::{ExtensionTables, StoreError, files, metadata};
use bstr::{BStr, BString};
use futures::future::LocalBoxFuture;

/// The extension.
pub struct FilePaths;

const ENABLE: CommandSpec = CommandSpec {
    name: "plugin_filepaths_enable",
    group: Group::Extensions,
    summary: "From now on the keys of a domain are paths.",
    arguments: &[DOMAIN],
    reply: &[],
    errors: &[ErrorCode::NoDomain, ErrorCode::UnregDomain],
    notes: "Of the extension `FilePaths`.",
    origin: Origin::Plugin,
    is_intercepted: false,
};

const DISABLE: CommandSpec = CommandSpec {
    name: "plugin_filepaths_disable",
    summary: "The keys of a domain are no longer paths; the paths are kept.",
    ..ENABLE
};

const LIST_DIRECTORY: CommandSpec = CommandSpec {
    name: "plugin_filepaths_list_directory",
    group: Group::Extensions,
    summary: "What is in a directory, by name.",
    arguments: &[
        DOMAIN,
        number("argcount", "Always `1`.").required(),
        text("arg1", "Path of the directory; `/` is the topmost.").required(),
    ],
    reply: &[
        pair("files", "How many follow."),
        pair("file<n>", "Name; n counts from 0."),
        pair("file<n>.type", "`D` for a directory, `F` for a file."),
        pair("file<n>.size", "Bytes of a file."),
        pair("file<n>.mtime", "The file's metadata of the name `mtime`, if it has any."),
    ],
    errors: &[
        ErrorCode::NoDomain,
        ErrorCode::UnregDomain,
        ErrorCode::PluginNotActiveForDomain,
        ErrorCode::BadParams,
        ErrorCode::PathNotFound,
    ],
    notes: "Of the extension `FilePaths`.",
    origin: Origin::Plugin,
    is_intercepted: false,
};

const RENAME: CommandSpec = CommandSpec {
    name: "plugin_filepaths_rename",
    group: Group::Extensions,
    summary: "Another path for a file or a directory, in the same domain.",
    arguments: &[
        DOMAIN,
        number("argcount", "Always `2`.").required(),
        text("arg1", "The path it has.").required(),
        text("arg2", "The path it gets; missing directories are made.").required(),
    ],
    reply: &[],
    errors: &[
        ErrorCode::NoDomain,
        ErrorCode::UnregDomain,
        ErrorCode::PluginNotActiveForDomain,
        ErrorCode::BadArgcount,
        ErrorCode::BadlyFormedOrig,
        ErrorCode::BadlyFormedNew,
        ErrorCode::PathNotFound,
        ErrorCode::RenameFailed,
    ],
    notes: "Of the extension `FilePaths`. What is at the new path is never overwritten.",
    origin: Origin::Plugin,
    is_intercepted: false,
};

const COMMANDS: &[CommandSpec] = &[ENABLE, DISABLE, LIST_DIRECTORY, RENAME];

/// The argument by which [`Extension::intercept`] tells the later steps of the path; never taken from a client.
const PATH_ARGUMENT: &str = "logical_path";
const NOT_A_PATH: &str = "Filename is not a valid absolute path.";
const UNDELETE_TO: &str = "The path that the file is to get is missing (to_key).";
const NOTHING_THERE: &str = "There is no file at this path.";
/// Keys of one request (`keys=…`) that are looked at; more are refused by the command itself.
const KEYS_MAX: i64 = 1000;
/// Leads to nothing: fids count from 1.
const NO_KEY: &str = "fid:0";
const MTIME: &str = "mtime";

impl Extension for FilePaths {
    fn tables(&self) -> &'static [ExtensionTables] {
        &[ExtensionTables::FilePaths, ExtensionTables::MetaData]
    }

    fn commands(&self) -> &'static [CommandSpec] {
        COMMANDS
    }

    fn run<'q>(&'q self, query: &'q Query<'q>) -> LocalBoxFuture<'q, CommandResult> {
        Box::pin(async move {
            match query.spec.map(|spec| spec.name) {
                Some(name) if name == ENABLE.name => take_part(query, true).await,
                Some(name) if name == DISABLE.name => take_part(query, false).await,
                Some(name) if name == LIST_DIRECTORY.name => list_directory(query),
                _ => rename(query).await,
            }
        })
    }

    fn intercept(&self, query: &Query<'_>, changed: &mut Args) -> Result<(), CommandError> {
        changed.set(PATH_ARGUMENT, "");
        let dmid = query.domain()?.dmid;
        if !takes_part(query, dmid) {
            return Ok(());
        }
        let args = query.args.all();
        let takes_many = matches!(query.spec.map(|spec| spec.name), Some("get_paths" | "file_info"));
        if takes_many && args.flag("keys") {
            return translate_many(query, dmid, changed);
        }
        let Some(key) = args.nonempty("key") else { return Ok(()) };
        match query.spec.map(|spec| spec.name) {
            Some("create_open") => {
                FilePath::parse(key).ok_or_else(|| refused(NOT_A_PATH))?;
                changed.set("key", "");
            }
            Some("create_close") => {
                // Whether it is a path is seen when the file is stored: then the upload is thrown away.
                changed.set(PATH_ARGUMENT, key.to_owned());
                changed.set("key", key_of(Fid(num(args.get("fid").unwrap_or_default()) as i64)));
            }
            Some("undelete") => {
                // A deleted file has no path any more: it is named by its key, as `list_deleted` shows it.
                let path = args.nonempty("to_key").ok_or_else(|| refused(UNDELETE_TO))?;
                changed.set(PATH_ARGUMENT, path.to_owned());
                changed.set("to_key", "");
            }
            _ => {
                let fid = find(query, dmid, key)?.ok_or_else(|| refused(NOTHING_THERE))?;
                changed.set(PATH_ARGUMENT, key.to_owned());
                changed.set("key", key_of(fid));
            }
        }
        Ok(())
    }

    fn with_close(&self, query: &Query<'_>) -> Option<CloseStep> {
        let text = query.args.all().nonempty(PATH_ARGUMENT)?;
        let path = FilePath::parse(text);
        Some(Box::new(move |conn, close, replaced| {
            let path = path.as_ref().ok_or_else(|| StoreError::Refused(NOT_A_PATH.to_owned()))?;
            if !replaced.is_empty() {
                return Err(StoreError::Refused(format!("Another file has the key {}.", close.dkey)));
            }
            let Some(before) = file_paths::point(conn, close.dmid, path, close.fid)? else { return Ok(Vec::new()) };
            // A path that was left behind by an earlier file of this number.
            if before == close.fid {
                return Ok(Vec::new());
            }
            // By its key: a file that has another one by now is not the path's any more.
            let deleted = files::delete_by_key(conn, close.dmid, key_of(before).as_ref())?;
            Ok(deleted.into_iter().collect())
        }))
    }

    fn with_delete(&self, query: &Query<'_>) -> Option<DeleteStep> {
        // A close that replaces a file has made its path lead to the new one.
        query.spec.filter(|spec| spec.name == "delete")?;
        let path = FilePath::parse(query.args.all().nonempty(PATH_ARGUMENT)?)?;
        let dmid = query.domain().ok()?.dmid;
        Some(Box::new(move |conn, fid| match file_paths::remove(conn, dmid, &path, fid)? {
            true => Ok(()),
            false => Err(StoreError::Refused("The path was changed meanwhile.".to_owned())),
        }))
    }

    fn with_undelete(&self, query: &Query<'_>) -> Option<UndeleteStep> {
        let path = FilePath::parse(query.args.all().nonempty(PATH_ARGUMENT)?);
        Some(Box::new(move |conn, file| {
            let path = path.as_ref().ok_or_else(|| StoreError::Refused(NOT_A_PATH.to_owned()))?;
            if file.dkey != key_of(file.fid) {
                return Err(StoreError::Refused("The file is none that had a path.".to_owned()));
            }
            match file_paths::point(conn, file.dmid, path, file.fid)? {
                None => Ok(()),
                Some(_) => Err(StoreError::Refused("There is a file at this path.".to_owned())),
            }
        }))
    }

    fn with_delete_domain(&self) -> Option<DomainStep> {
        Some(file_paths::forget_domain)
    }
}

fn takes_part(query: &Query<'_>, dmid: Dmid) -> bool {
    query.cluster.file_paths_domains.contains(&dmid)
}

/// The key of a file that has a path.
fn key_of(fid: Fid) -> BString {
    format!("fid:{fid}").into()
}

fn refused(text: &str) -> CommandError {
    CommandError::with_text(ErrorCode::PluginAborted, text)
}

fn find(query: &Query<'_>, dmid: Dmid, key: &BStr) -> Result<Option<Fid>, CommandError> {
    let Some(path) = FilePath::parse(key) else { return Ok(None) };
    Ok(query.ctx.session.read(|conn| file_paths::find(conn, dmid, &path))?)
}

/// `key_1=…`: each for itself.
fn translate_many(query: &Query<'_>, dmid: Dmid, changed: &mut Args) -> Result<(), CommandError> {
    let args = query.args.all();
    for n in 1..=args.int("keys").min(KEYS_MAX) {
        let name = format!("key_{n}");
        let Some(key) = args.nonempty(&name) else { continue };
        changed.set(&name, find(query, dmid, key)?.map_or_else(|| NO_KEY.into(), key_of));
    }
    Ok(())
}

async fn take_part(query: &Query<'_>, takes_part: bool) -> CommandResult {
    let dmid = query.domain()?.dmid;
    let change = if takes_part { file_paths::enable } else { file_paths::disable };
    query.ctx.session.write(move |conn| change(conn, dmid)).await?;
    query.refresh().await;
    Ok(Pairs::new())
}

/// The domain of a command about paths.
fn active_domain(query: &Query<'_>) -> Result<Dmid, CommandError> {
    let dmid = query.domain()?.dmid;
    if takes_part(query, dmid) { Ok(dmid) } else { Err(ErrorCode::PluginNotActiveForDomain.into()) }
}

fn list_directory(query: &Query<'_>) -> CommandResult {
    let dmid = active_domain(query)?;
    if query.args.int("argcount") != 1 {
        return Err(ErrorCode::BadParams.into());
    }
    let path = query.args.nonempty("arg1").unwrap_or_default();
    let directory = file_paths::parse_directory(path).ok_or(ErrorCode::BadParams)?;
    let found = query.ctx.session.read(|conn| file_paths::list(conn, dmid, &directory))?;
    let mut entries = found.ok_or(ErrorCode::PathNotFound)?;
    entries.retain(|entry| entry.fid.is_none() || entry.length.is_some());
    let fids: Vec<Fid> = entries.iter().filter_map(|entry| entry.fid).collect();
    let mtimes = query.ctx.session.read(|conn| metadata::of_files(conn, MTIME.into(), &fids))?;
    let mut pairs = Pairs::new();
    pairs.push_display("files", entries.len());
    for (n, entry) in entries.iter().enumerate() {
        pairs.push(format!("file{n}"), &entry.name);
        pairs.push(format!("file{n}.type"), if entry.fid.is_some() { "F" } else { "D" });
        if let Some(length) = entry.length {
            pairs.push_display(format!("file{n}.size"), length);
        }
        if let Some(mtime) = entry.fid.and_then(|fid| mtimes.get(&fid)) {
            pairs.push(format!("file{n}.mtime"), mtime);
        }
    }
    Ok(pairs)
}

async fn rename(query: &Query<'_>) -> CommandResult {
    let dmid = active_domain(query)?;
    if query.args.int("argcount") != 2 {
        return Err(ErrorCode::BadArgcount.into());
    }
    let from = query.args.nonempty("arg1").and_then(FilePath::parse).ok_or(ErrorCode::BadlyFormedOrig)?;
    let to = query.args.nonempty("arg2").and_then(FilePath::parse).ok_or(ErrorCode::BadlyFormedNew)?;
    match query.ctx.session.write(move |conn| file_paths::rename(conn, dmid, &from, &to)).await {
        Ok(true) => Ok(Pairs::new()),
        Ok(false) => Err(ErrorCode::PathNotFound.into()),
        Err(StoreError::Refused(why)) => Err(CommandError::with_text(ErrorCode::RenameFailed, why)),
        Err(error) => Err(error.into()),
    }
}
