//! The commands on files: put, get, cat, info, list, rename, rm, undelete, explain, debug, fids.

use super::output::{Failure, fields, size, table};
use super::session::Session;
use super::sure::SureArgs;
use crate::client::{
    DownloadRequest, Downloaded, FileInfo, KeyPage, Progress, UploadRequest, UploadSource, download, no_progress,
    upload,
};
use crate::protocol::args::Args as Reply;
use bstr::{BStr, ByteSlice as _};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::AsyncWrite;

/// Most keys that a tracker gives at a time (protocol.md 9, list_keys).
const PAGE_KEYS: u32 = 1000;
/// So many files are deleted without asking back.
const KEYS_UNASKED: usize = 10;

#[derive(Debug, Subcommand)]
pub enum FileCommand {
    /// Store a file under a key
    Put(PutArgs),
    /// Fetch the file of a key into a file
    Get(GetArgs),
    /// Write the file of a key to standard output
    Cat(CatArgs),
    /// Show length, class and copies of the file of a key
    Info(InfoArgs),
    /// List keys, all of them or those with a prefix
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Give a file another key
    #[command(visible_alias = "mv")]
    Rename(RenameArgs),
    /// Delete files
    #[command(visible_alias = "delete")]
    Rm(RmArgs),
    /// Bring back a file that was deleted or overwritten, while its copies still exist
    Undelete(UndeleteArgs),
    /// Tell why a file is where it is, why it is nowhere else, and what happens next
    Explain(ExplainArgs),
    /// Show everything that the tracker's database has on a file
    Debug(DebugArgs),
    /// List files by number, across all domains
    Fids(FidsArgs),
}

#[derive(Debug, Args)]
pub struct PutArgs {
    /// The key to store it under; a file that has it is replaced
    pub(super) key: OsString,
    /// The file to store; `-` reads standard input
    pub(super) file: PathBuf,
    /// The class of the file; without it the domain's default class
    #[arg(long, short)]
    pub(super) class: Option<String>,
    /// Compute the MD5 on the way and send it with the file
    #[arg(long)]
    pub(super) checksum: bool,
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// The key of the file
    pub(super) key: OsString,
    /// Where to write it; `-` writes to standard output. A file appears only when it is complete
    pub(super) file: PathBuf,
    /// Compare the bytes with the checksum that the tracker has, if it has one
    #[arg(long)]
    pub(super) verify: bool,
}

#[derive(Debug, Args)]
pub struct CatArgs {
    /// The key of the file
    key: OsString,
}

#[derive(Debug, Args)]
pub struct InfoArgs {
    /// The key of the file
    key: OsString,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only keys that begin with this
    #[arg(default_value = "")]
    pub(super) prefix: OsString,
    /// Only keys after this one
    #[arg(long, value_name = "KEY")]
    pub(super) after: Option<OsString>,
    /// At most so many keys; without it all
    #[arg(long, value_name = "COUNT")]
    pub(super) limit: Option<u64>,
    /// The deleted files that `undelete` can bring back, by number
    #[arg(long, conflicts_with = "after")]
    pub(super) deleted: bool,
}

#[derive(Debug, Args)]
pub struct UndeleteArgs {
    /// The key that the file had
    key: OsString,
    /// Which of the files that had the key (see `list --deleted`); without it the one deleted last
    #[arg(long)]
    fid: Option<u64>,
    /// The key that it gets; without it the one that it had
    #[arg(long, value_name = "KEY")]
    to: Option<OsString>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("file").required(true))]
pub struct ExplainArgs {
    /// The key of the file
    #[arg(group = "file")]
    key: Option<OsString>,
    /// The number of the file, instead of a key
    #[arg(long, group = "file")]
    fid: Option<u64>,
}

#[derive(Debug, Args)]
pub struct RenameArgs {
    /// The key that the file has
    from: OsString,
    /// The key that it gets
    to: OsString,
}

#[derive(Debug, Args)]
pub struct RmArgs {
    /// The keys of the files
    #[arg(required = true)]
    keys: Vec<OsString>,
    /// Do not mind keys that have no file
    #[arg(long, short)]
    force: bool,
    #[command(flatten)]
    sure: SureArgs,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("file").required(true))]
pub struct DebugArgs {
    /// The key of the file
    #[arg(group = "file")]
    key: Option<OsString>,
    /// The number of the file, instead of a key
    #[arg(long, group = "file")]
    fid: Option<u64>,
}

#[derive(Debug, Args)]
pub struct FidsArgs {
    /// Only files with a number above this
    #[arg(long, default_value_t = 0, value_name = "FID")]
    from: u64,
    /// At most so many files (the tracker gives at most 500)
    #[arg(long, default_value_t = 100, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
}

impl FileCommand {
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Put(args) => put(args, session).await,
            Self::Get(args) => get(args, session).await,
            Self::Cat(args) => fetch_to_stdout(&args.key, false, session).await.map(drop),
            Self::Info(args) => info(args, session).await,
            Self::List(args) => list(args, session).await,
            Self::Rename(args) => rename(args, session).await,
            Self::Rm(args) => rm(args, session).await,
            Self::Undelete(args) => undelete(args, session).await,
            Self::Explain(args) => explain(args, session).await,
            Self::Debug(args) => debug(args, session).await,
            Self::Fids(args) => fids(args, session).await,
        }
    }
}

pub(super) async fn put(args: PutArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let request = UploadRequest {
        domain: session.domain()?,
        key: args.key.as_bytes(),
        class: args.class.as_deref().map(str::as_bytes),
        checksum: args.checksum,
    };
    let length_bytes = std::fs::metadata(&args.file).ok().filter(std::fs::Metadata::is_file).map(|file| file.len());
    let source = match is_dash(&args.file) {
        true => UploadSource::Stream(Box::new(standard_stream(std::io::stdin().as_fd())?)),
        false => UploadSource::File(args.file.clone()),
    };
    let bar = bar(session, length_bytes.filter(|_| !is_dash(&args.file)));
    let outcome = upload(&mut session.tracker, &session.storage, &request, source, &progress_of(&bar)).await;
    bar.finish_and_clear();
    let stored = outcome?;
    session.done(&json!({
        "key": lossy(&args.key),
        "fid": stored.fid.0,
        "devid": stored.devid.0,
        "path": stored.path,
        "length": stored.bytes,
        "checksum": stored.checksum.map(|checksum| checksum.to_string()),
    }))
}

pub(super) async fn get(args: GetArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    if is_dash(&args.file) {
        return fetch_to_stdout(&args.key, args.verify, session).await.map(drop);
    }
    let fetched = match is_special(&args.file) {
        true => fetch_into(&args, &args.file, session).await?,
        false => {
            let partial = partial_name(&args.file);
            let outcome = fetch_into(&args, &partial, session).await.and_then(|fetched| {
                std::fs::rename(&partial, &args.file).map_err(|error| cannot_write(&args.file, &error))?;
                Ok(fetched)
            });
            if outcome.is_err() {
                // It may not even exist; the failure itself is what is worth telling.
                let _best_effort = std::fs::remove_file(&partial);
            }
            outcome?
        }
    };
    session.done(&json!({
        "key": lossy(&args.key),
        "fid": fetched.info.fid.0,
        "length": fetched.info.length_bytes,
        "verified": fetched.verified,
    }))
}

async fn fetch_into(args: &GetArgs, path: &Path, session: &mut Session<'_>) -> Result<Downloaded, Failure> {
    let mut file = tokio::fs::File::create(path).await.map_err(|error| cannot_write(path, &error))?;
    fetch(&args.key, args.verify, &mut file, session).await
}

async fn fetch_to_stdout(key: &OsStr, verify: bool, session: &mut Session<'_>) -> Result<Downloaded, Failure> {
    let mut stdout = standard_stream(std::io::stdout().as_fd())?;
    let outcome = fetch(key, verify, &mut stdout, session).await;
    outcome.map_err(|failure| match failure {
        Failure::Client(crate::client::ClientError::Local { source, .. }) => Failure::stdout(source),
        other => other,
    })
}

async fn fetch<W: AsyncWrite + Unpin>(
    key: &OsStr,
    verify: bool,
    sink: &mut W,
    session: &mut Session<'_>,
) -> Result<Downloaded, Failure> {
    let request = DownloadRequest { domain: session.domain()?, key: key.as_bytes(), verify };
    let bar = bar(session, Some(0));
    let begin = |length_bytes| bar.set_length(length_bytes);
    let progress = progress_of(&bar);
    let outcome = download(&mut session.tracker, &session.storage, &request, sink, begin, &progress).await;
    bar.finish_and_clear();
    Ok(outcome?)
}

async fn info(args: InfoArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let domain = session.domain()?;
    let info = session.tracker.file_info(domain, args.key.as_bytes(), true).await?;
    let paths = session.tracker.get_paths(domain, args.key.as_bytes(), true, 100).await?;
    session.output.result(&info_json(&info, &paths), || info_text(&info, &paths))
}

fn info_json(info: &FileInfo, paths: &[String]) -> Value {
    json!({
        "fid": info.fid.0,
        "domain": info.domain.to_str_lossy(),
        "class": info.class.to_str_lossy(),
        "key": info.key.to_str_lossy(),
        "length": info.length_bytes,
        "devcount": info.devcount,
        "devids": info.devids.iter().map(|devid| devid.0).collect::<Vec<_>>(),
        "checksum": info.checksum.as_ref().map(|checksum| checksum.to_str_lossy()),
        "paths": paths,
    })
}

fn info_text(info: &FileInfo, paths: &[String]) -> String {
    let devids: Vec<String> = info.devids.iter().map(ToString::to_string).collect();
    let mut text = fields(&[
        ("key", info.key.to_string()),
        ("fid", info.fid.to_string()),
        ("domain", info.domain.to_string()),
        ("class", info.class.to_string()),
        ("length", size(info.length_bytes)),
        ("copies", info.devcount.to_string()),
        ("devices", devids.join(", ")),
        ("checksum", info.checksum.as_ref().map(ToString::to_string).unwrap_or_default()),
    ]);
    paths.iter().for_each(|path| text.push_str(&format!("  {path}\n")));
    text
}

pub(super) async fn list(args: ListArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let domain = session.domain()?;
    if args.deleted {
        return super::deleted::list(domain, args.prefix.as_bytes(), args.limit, session).await;
    }
    let mut after = args.after.map(|after| after.as_bytes().to_vec());
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut printer = KeyPrinter { json: session.output.is_json(), any: false };
    while left > 0 {
        let asked = u32::try_from(left).unwrap_or(PAGE_KEYS).min(PAGE_KEYS);
        let page = session.tracker.list_keys(domain, args.prefix.as_bytes(), after.as_deref(), asked).await?;
        session.output.raw(&printer.page(&page))?;
        left -= (page.keys.len() as u64).min(left);
        let next = page.next_after.or_else(|| page.keys.last().cloned()).map(Vec::from);
        // A short page is the last; a tracker that does not get on would be asked for ever.
        if page.keys.len() < asked as usize || next == after {
            break;
        }
        after = next;
    }
    session.output.raw(&printer.end())
}

/// Prints keys as they come, so that a listing of any length takes little memory.
struct KeyPrinter {
    json: bool,
    any: bool,
}

impl KeyPrinter {
    fn page(&mut self, page: &KeyPage) -> Vec<u8> {
        let mut out = Vec::new();
        for key in &page.keys {
            if self.json {
                out.push(if self.any { b',' } else { b'[' });
                out.extend_from_slice(json!(key.to_str_lossy()).to_string().as_bytes());
            } else {
                out.extend_from_slice(key);
                out.push(b'\n');
            }
            self.any = true;
        }
        out
    }

    fn end(&self) -> Vec<u8> {
        match (self.json, self.any) {
            (false, _) => Vec::new(),
            (true, true) => b"]\n".to_vec(),
            (true, false) => b"[]\n".to_vec(),
        }
    }
}

async fn rename(args: RenameArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let domain = session.domain()?;
    session.tracker.rename(domain, args.from.as_bytes(), args.to.as_bytes()).await?;
    session.done(&json!({ "from": lossy(&args.from), "to": lossy(&args.to) }))
}

async fn rm(args: RmArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let domain = session.domain()?;
    let is_much = args.keys.len() > KEYS_UNASKED || args.sure.is_dry_run();
    if is_much && !args.sure.proceed(&what_is_deleted(&args.keys), session.output)? {
        return Ok(());
    }
    let mut deleted = Vec::new();
    let bar = session.output.working("deleting", Some(args.keys.len() as u64));
    for key in &args.keys {
        bar.inc(1);
        match session.tracker.delete(domain, key.as_bytes()).await {
            Ok(()) => deleted.push(lossy(key)),
            Err(error) if args.force && error.code() == Some("unknown_key") => {}
            Err(error) => {
                bar.finish_and_clear();
                session.output.note(&format!("{}: not deleted", lossy(key)));
                return Err(error.into());
            }
        }
    }
    session.done(&json!({ "deleted": deleted }))
}

/// `delete 12 files: a, b, c …`
fn what_is_deleted(keys: &[OsString]) -> String {
    let named: Vec<String> = keys.iter().take(KEYS_UNASKED).map(|key| lossy(key)).collect();
    let more = if keys.len() > named.len() { " …" } else { "" };
    let files = if keys.len() == 1 { "file" } else { "files" };
    format!("delete {} {files}: {}{more}", keys.len(), named.join(", "))
}

async fn undelete(args: UndeleteArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let fid = args.fid.map(|fid| fid.to_string());
    let mut request: Vec<(&str, &[u8])> = vec![("domain", session.domain()?), ("key", args.key.as_bytes())];
    request.extend(fid.as_ref().map(|fid| ("fid", fid.as_bytes())));
    request.extend(args.to.as_ref().map(|to| ("to_key", to.as_bytes())));
    let reply = session.tracker.request("undelete", &request).await?;
    session.done(&json!({
        "fid": reply.int("fid"),
        "key": reply.get("key").unwrap_or_default().to_str_lossy(),
        "length": reply.int("length"),
        "devcount": reply.int("devcount"),
    }))
}

async fn explain(args: ExplainArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let reply = match &args.key {
        Some(key) => {
            let args: [(&str, &[u8]); 2] = [("domain", session.domain()?), ("key", key.as_bytes())];
            session.tracker.request("explain", &args).await?
        }
        None => {
            let fid = args.fid.unwrap_or(0).to_string();
            session.tracker.request("explain", &[("fid", fid.as_bytes())]).await?
        }
    };
    session.output.result(&super::explain::json(&reply), || super::explain::text(&reply))
}

async fn debug(args: DebugArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let reply = match (&args.key, args.fid) {
        (Some(key), _) => {
            let args: [(&str, &[u8]); 2] = [("domain", session.domain()?), ("key", key.as_bytes())];
            session.tracker.request("file_debug", &args).await?
        }
        (None, fid) => {
            let fid = fid.unwrap_or(0).to_string();
            session.tracker.request("file_debug", &[("fid", fid.as_bytes())]).await?
        }
    };
    let value = reply.pairs().iter().map(|(name, value)| (name.to_string(), json!(value.to_str_lossy()))).collect();
    session.output.result(&Value::Object(value), || debug_text(&reply))
}

fn debug_text(reply: &Reply) -> String {
    let mut pairs: Vec<(String, String)> =
        reply.pairs().iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    pairs.sort();
    let pairs: Vec<(&str, String)> = pairs.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    fields(&pairs)
}

async fn fids(args: FidsArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let (from, limit) = (args.from.to_string(), args.limit.to_string());
    let reply = session.tracker.request("list_fids", &[("from", from.as_bytes()), ("to", limit.as_bytes())]).await?;
    let rows: Vec<FidRow> = (1..=reply.int("fid_count")).map(|number| FidRow::read(&reply, number)).collect();
    let value: Vec<Value> = rows.iter().map(FidRow::json).collect();
    session.output.result(&json!(value), || {
        let rows: Vec<Vec<String>> = rows.iter().map(FidRow::cells).collect();
        table(&["fid", "domain", "class", "length", "copies", "key"], &rows)
    })
}

struct FidRow {
    fid: i64,
    domain: String,
    class: String,
    key: String,
    length_bytes: u64,
    devcount: i64,
}

impl FidRow {
    fn read(reply: &Reply, number: i64) -> Self {
        let name = |field: &str| format!("fid_{number}_{field}");
        let text = |field: &str| reply.get(&name(field)).map(BStr::to_string).unwrap_or_default();
        Self {
            fid: reply.int(&name("fid")),
            domain: text("domain"),
            class: text("class"),
            key: text("key"),
            length_bytes: text("length").parse().unwrap_or(0),
            devcount: reply.int(&name("devcount")),
        }
    }

    fn json(&self) -> Value {
        json!({
            "fid": self.fid, "domain": self.domain, "class": self.class, "key": self.key,
            "length": self.length_bytes, "devcount": self.devcount,
        })
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.fid.to_string(),
            self.domain.clone(),
            self.class.clone(),
            super::output::short_size(self.length_bytes),
            self.devcount.to_string(),
            self.key.clone(),
        ]
    }
}

/// A bar for a known length, a counter for an unknown one, nothing where nobody looks.
pub(super) fn bar(session: &Session<'_>, length_bytes: Option<u64>) -> ProgressBar {
    if !session.output.shows_progress() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match length_bytes {
        Some(length_bytes) => {
            (ProgressBar::new(length_bytes), "{wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}")
        }
        None => (ProgressBar::no_length(), "{spinner} {bytes} {binary_bytes_per_sec}"),
    };
    // A template that indicatif does not like costs the looks only.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn progress_of(bar: &ProgressBar) -> Progress {
    if bar.is_hidden() {
        return no_progress();
    }
    let bar = bar.clone();
    Arc::new(move |bytes| bar.set_position(bytes))
}

/// A standard stream as a file, so that it is read and written in large pieces without another buffer.
fn standard_stream(stream: BorrowedFd<'_>) -> Result<tokio::fs::File, Failure> {
    let stream = stream.try_clone_to_owned();
    let stream = stream.map_err(|error| Failure::Local(format!("opening a standard stream: {error}")))?;
    Ok(tokio::fs::File::from_std(std::fs::File::from(stream)))
}

fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Devices and pipes are written to as they are; they cannot be replaced by a finished file.
fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
}

/// Beside the target, so that the finished file can take its place in one step.
pub(super) fn partial_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    PathBuf::from(name)
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Local(format!("writing {}: {error}", path.display()))
}

fn lossy(key: &OsStr) -> String {
    key.as_bytes().to_str_lossy().into_owned()
}
