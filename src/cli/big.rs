//! `mogilefs big`: files of any size and whole directories, in pieces, in the form that mogtool keeps them in.
//!
//! Memory is bounded by the size of a piece times how many are stored at the same time. Nothing counts as stored before
//! its record is; nothing is given out as whole whose pieces differ from the record.

use super::big_stream::{Source, Target, Unpack};
use super::output::{Failure, fields, short_size, size, table};
use super::session::Session;
use crate::client::big::{self, BigInfo, BigPart};
use crate::client::{ClientError, DownloadRequest, UploadRequest, UploadSource, download, no_progress, upload};
use bytes::Bytes;
use clap::{Args, Subcommand};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// As mogtool.
pub const CHUNK_BYTES: u64 = 64 << 20;
/// Records are read whole; this is room for more than a hundred thousand pieces.
const RECORD_BYTES_MAX: u64 = 64 << 20;
/// Most copies whose places a record names.
const PATHS: u32 = 16;
const PAGE_KEYS: u32 = 1000;

#[derive(Debug, Subcommand)]
pub enum BigCommand {
    /// Store a file, a directory (as a tar stream) or standard input in pieces
    Put(BigPutArgs),
    /// Fetch a big file; a directory is unpacked
    Get(BigGetArgs),
    /// List big files
    #[command(visible_alias = "ls")]
    List(BigListArgs),
    /// Show the record of a big file: what it is and its pieces
    Info(BigInfoArgs),
    /// Delete big files with all their pieces
    #[command(visible_alias = "delete")]
    Rm(BigRmArgs),
}

#[derive(Debug, Args)]
pub struct BigPutArgs {
    /// The key to store it under; without spaces and commas
    pub(super) key: String,
    /// File, directory or block device; `-` reads standard input
    pub(super) source: PathBuf,
    /// The class of the pieces; without it the domain's default class
    #[arg(long, short)]
    pub(super) class: Option<String>,
    /// Size of a piece, as in 16M, 1G or 1000K
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = chunk_bytes)]
    pub(super) chunk_size: u64,
    /// Compress; what is compressed already is left as it is
    #[arg(long, short = 'z')]
    pub(super) gzip: bool,
    /// A sentence that is kept in the record
    #[arg(long, value_name = "TEXT", default_value = "no description")]
    pub(super) description: String,
    /// Replace a big file, or begin an unfinished one anew
    #[arg(long)]
    pub(super) overwrite: bool,
    /// Go on with an unfinished one: pieces that are there already are not sent again
    #[arg(long, conflicts_with = "overwrite")]
    pub(super) resume: bool,
    /// Pieces that are stored at the same time; each takes its size in memory
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) concurrent: u16,
    /// Read every copy of every piece back and compare it
    #[arg(long)]
    pub(super) verify: bool,
    /// Also write the record into a file on this machine
    #[arg(long, value_name = "FILE")]
    pub(super) receipt: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct BigGetArgs {
    /// The key of the big file
    pub(super) key: String,
    /// Where to: a file, `-` for standard output, or for a directory that was stored the directory to unpack it in
    pub(super) target: PathBuf,
    /// Do not unpack a directory but write the tar stream
    #[arg(long)]
    pub(super) as_file: bool,
    /// Uncompress also what somebody else compressed
    #[arg(long, short = 'z', conflicts_with = "as_stored")]
    pub(super) gunzip: bool,
    /// Write the bytes as they are stored, compressed or not
    #[arg(long)]
    pub(super) as_stored: bool,
    /// Take pieces whose MD5 differs from the record: mogtool with --gzip recorded wrong ones. Lengths still count
    #[arg(long)]
    pub(super) ignore_md5: bool,
}

#[derive(Debug, Args)]
pub struct BigListArgs {
    /// Only keys that begin with this
    #[arg(default_value = "")]
    prefix: String,
    /// Those whose storing was not finished
    #[arg(long)]
    unfinished: bool,
    /// With size, pieces and description, which takes one look-up for each
    #[arg(long, short, conflicts_with = "unfinished")]
    long: bool,
}

#[derive(Debug, Args)]
pub struct BigInfoArgs {
    /// The key of the big file
    key: String,
}

#[derive(Debug, Args)]
pub struct BigRmArgs {
    /// The keys of the big files; also of unfinished ones
    #[arg(required = true)]
    pub(super) keys: Vec<String>,
    /// Do not mind keys that have no big file
    #[arg(long, short)]
    pub(super) force: bool,
    /// Only say what would be deleted
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl BigCommand {
    pub async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Put(args) => {
                let info = put(&args, session).await?;
                session.done(&info_json(&args.key, &info))
            }
            Self::Get(args) => {
                let info = get(&args, session).await?;
                session.done(&info_json(&args.key, &info))
            }
            Self::List(args) => list(&args, session).await,
            Self::Info(args) => {
                let info = record(&args.key, session).await?;
                session.output.result(&info_json(&args.key, &info), || info_text(&args.key, &info))
            }
            Self::Rm(args) => rm(&args, session).await,
        }
    }
}

/// `16M`, `1000K`, `2G`, `500B`; a number alone means megabytes, as for mogtool.
pub fn chunk_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "b" => 1,
        "k" => 1 << 10,
        "" | "m" => 1 << 20,
        "g" => 1 << 30,
        unit => return Err(format!("{unit:?} is none of the units B, K, M, G")),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit)).filter(|&bytes| bytes > 0);
    bytes.ok_or_else(|| format!("{text:?} is no size such as 16M"))
}

// ---- store ----

/// Stores it and gives its record.
pub async fn put(args: &BigPutArgs, session: &mut Session<'_>) -> Result<BigInfo, Failure> {
    if !big::is_valid_key(&args.key) {
        return Err(Failure::Usage(format!("the key {:?} must not have spaces or commas", args.key)));
    }
    let source = Source::open(&args.source, args.gzip)?;
    let note = fetch_small(&big::pre_key(&args.key), session).await?;
    let before = replaced(args, note.is_some(), session).await?;
    let stored = unfinished(args, note)?;
    let bar = super::files::bar(session, source.length_bytes);
    let mut upload = Upload { args, started: unixtime(), stored, parts: Vec::new() };
    upload.write_note(session).await?;
    let info = upload.run(source, session, &bar).await;
    bar.finish_and_clear();
    let info = info?;
    if args.verify {
        verify(&args.key, &info, session).await?;
    }
    let text = info.render();
    store_small(&big::info_key(&args.key), args.class.as_deref(), &text, session).await?;
    delete_quietly(&big::pre_key(&args.key), session).await?;
    // What a longer file of this key has left.
    for number in info.chunks + 1..=before.map_or(0, |before| before.chunks) {
        delete_quietly(&big::chunk_key(&args.key, number), session).await?;
    }
    if let Some(receipt) = &args.receipt {
        std::fs::write(receipt, &text)
            .map_err(|error| Failure::Local(format!("writing {}: {error}", receipt.display())))?;
    }
    Ok(info)
}

/// The record of the file that is replaced, if that is wanted.
async fn replaced(args: &BigPutArgs, is_begun: bool, session: &mut Session<'_>) -> Result<Option<BigInfo>, Failure> {
    let Some(text) = fetch_small(&big::info_key(&args.key), session).await? else { return Ok(None) };
    // To go on is to replace only what was being replaced already.
    if args.overwrite || (args.resume && is_begun) {
        return Ok(BigInfo::parse(&text));
    }
    Err(Failure::Usage(format!("there is a big file {:?}; --overwrite replaces it", args.key)))
}

/// The pieces that an earlier attempt has stored, by its note.
fn unfinished(args: &BigPutArgs, note: Option<Vec<u8>>) -> Result<Vec<BigPart>, Failure> {
    match note {
        None => Ok(Vec::new()),
        Some(note) if args.resume => Ok(big::parse_pre(&note)),
        Some(_) if args.overwrite => Ok(Vec::new()),
        Some(note) => Err(Failure::Usage(format!(
            "storing {:?} was begun before ({}) and was not finished, or is still going on elsewhere; if not, --resume \
             goes on with it, --overwrite begins anew",
            args.key,
            String::from_utf8_lossy(&note).lines().next().unwrap_or_default()
        ))),
    }
}

struct Upload<'a> {
    args: &'a BigPutArgs,
    started: u64,
    /// By an earlier attempt.
    stored: Vec<BigPart>,
    parts: Vec<BigPart>,
}

impl Upload<'_> {
    async fn run(
        &mut self,
        mut source: Source,
        session: &mut Session<'_>,
        bar: &ProgressBar,
    ) -> Result<BigInfo, Failure> {
        let (mut under_way, mut chunks, mut read_bytes) = (FuturesUnordered::new(), 0, 0);
        let closed = loop {
            let (returned, chunk) = {
                let mut reading = Box::pin(source.next_chunk(self.args.chunk_size));
                loop {
                    // What is on its way goes on while the next piece is read.
                    tokio::select! {
                        read = &mut reading => break read?,
                        done = under_way.next(), if !under_way.is_empty() => self.collect(done, session).await?,
                    }
                }
            };
            source = returned;
            if chunk.is_empty() {
                break source.close()?;
            }
            chunks += 1;
            read_bytes += chunk.len() as u64;
            bar.set_position(read_bytes);
            let part = describe(chunks, &chunk);
            if self.is_there(&part, session).await? {
                self.parts.push(part);
                continue;
            }
            let request = (session.another_tracker(), session.storage.clone(), session.domain()?.to_vec());
            under_way.push(store_chunk(request, self.args, part, chunk));
            if under_way.len() >= usize::from(self.args.concurrent) {
                self.collect(under_way.next().await, session).await?;
            }
        };
        while let Some(done) = under_way.next().await {
            self.collect(Some(done), session).await?;
        }
        self.parts.sort_by_key(|part| part.number);
        for part in &mut self.parts {
            let key = big::chunk_key(&self.args.key, part.number);
            part.paths = session.tracker.get_paths(session.domain()?, key.as_bytes(), true, PATHS).await?;
        }
        Ok(BigInfo {
            description: self.args.description.clone(),
            kind: closed.kind.to_owned(),
            compressed: closed.is_compressed,
            packed: closed.is_packed,
            filename: closed.name.clone(),
            chunks,
            size_bytes: read_bytes,
            parts: std::mem::take(&mut self.parts),
        })
    }

    async fn collect(
        &mut self,
        done: Option<Result<BigPart, Failure>>,
        session: &mut Session<'_>,
    ) -> Result<(), Failure> {
        if let Some(part) = done.transpose()? {
            self.parts.push(part);
            self.write_note(session).await?;
        }
        Ok(())
    }

    /// Says which pieces are there, for whoever goes on with it.
    async fn write_note(&self, session: &mut Session<'_>) -> Result<(), Failure> {
        let known = self.stored.iter().filter(|stored| !self.parts.iter().any(|part| part.number == stored.number));
        let parts: Vec<BigPart> = self.parts.iter().chain(known).cloned().collect();
        let text = big::render_pre(self.started, &parts);
        store_small(&big::pre_key(&self.args.key), self.args.class.as_deref(), &text, session).await
    }

    async fn is_there(&self, part: &BigPart, session: &mut Session<'_>) -> Result<bool, Failure> {
        if !self.stored.iter().any(|stored| (stored.number, &stored.md5) == (part.number, &part.md5)) {
            return Ok(false);
        }
        let key = big::chunk_key(&self.args.key, part.number);
        match session.tracker.file_info(session.domain()?, key.as_bytes(), false).await {
            Ok(info) => Ok(info.length_bytes == part.bytes),
            Err(error) if error.code() == Some("unknown_key") => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn describe(number: u64, chunk: &Bytes) -> BigPart {
    let mut hasher = crate::cluster::checksum::HashType::Md5.hasher();
    hasher.update(chunk);
    BigPart { number, bytes: chunk.len() as u64, md5: hasher.finish().hex(), paths: Vec::new() }
}

type Way<'a> = (super::session::Connecting<'a>, crate::client::StorageClient, Vec<u8>);

async fn store_chunk(way: Way<'_>, args: &BigPutArgs, part: BigPart, chunk: Bytes) -> Result<BigPart, Failure> {
    let (connecting, storage, domain) = way;
    let mut tracker = connecting.connect().await?;
    let key = big::chunk_key(&args.key, part.number);
    let request = UploadRequest {
        domain: &domain,
        key: key.as_bytes(),
        class: args.class.as_deref().map(str::as_bytes),
        checksum: true,
    };
    upload(&mut tracker, &storage, &request, UploadSource::Bytes(chunk), &no_progress()).await?;
    Ok(part)
}

/// Reads each piece back, from each of its copies.
async fn verify(key: &str, info: &BigInfo, session: &mut Session<'_>) -> Result<(), Failure> {
    let bar = super::files::bar(session, Some(info.size_bytes));
    for part in &info.parts {
        for path in &part.paths {
            let mut target = Target::nowhere();
            let damaged = |problem: &str| {
                Failure::Client(ClientError::Storage(format!(
                    "{}: {path}: {problem}",
                    big::chunk_key(key, part.number)
                )))
            };
            let problem = target.read_copy(&session.storage, path).await.err();
            if let Some(problem) = problem {
                return Err(damaged(&problem));
            }
            if target.taken() != (part.bytes, part.md5.clone()) {
                return Err(damaged("the copy differs from what was sent"));
            }
        }
        bar.inc(part.bytes);
    }
    bar.finish_and_clear();
    Ok(())
}

// ---- fetch ----

/// The record of a big file that there must be.
pub async fn record(key: &str, session: &mut Session<'_>) -> Result<BigInfo, Failure> {
    let Some(text) = fetch_small(&big::info_key(key), session).await? else {
        let text = format!("{key:?} is no big file");
        return Err(ClientError::Tracker { code: "unknown_key".to_owned(), text }.into());
    };
    let broken = || Failure::Client(ClientError::Storage(format!("the record of {key:?} is damaged")));
    BigInfo::parse(&text).ok_or_else(broken)
}

/// Fetches it and gives its record.
pub async fn get(args: &BigGetArgs, session: &mut Session<'_>) -> Result<BigInfo, Failure> {
    let info = record(&args.key, session).await?;
    let is_tar = info.kind == "tarball";
    let unpacks_directory = is_tar && !args.as_file && args.target != Path::new("-");
    let unpack = match args {
        _ if unpacks_directory && info.compressed => Unpack::Always,
        BigGetArgs { gunzip: true, .. } if info.compressed => Unpack::Always,
        BigGetArgs { as_stored: false, .. } if info.packed => Unpack::Always,
        _ => Unpack::Never,
    };
    let mut target = match (unpacks_directory, args.target == Path::new("-")) {
        (true, _) => Target::directory(&args.target, unpack)?,
        (false, true) => Target::stdout(unpack),
        (false, false) => Target::file(&args.target, &info.filename, unpack)?,
    };
    let bar = super::files::bar(session, Some(info.size_bytes));
    let mut done_bytes = 0;
    for part in &info.parts {
        let key = big::chunk_key(&args.key, part.number);
        let request = DownloadRequest { domain: session.domain()?, key: key.as_bytes(), verify: false };
        target.begin_part();
        download(&mut session.tracker, &session.storage, &request, &mut target, |_length| {}, &no_progress())
            .await
            .map_err(local_first)?;
        let (bytes, md5) = target.taken();
        if bytes != part.bytes || (md5 != part.md5 && !args.ignore_md5) {
            let text = format!(
                "piece {} of {} is damaged: expected {} bytes with MD5 {}, read {bytes} with {md5}",
                part.number, info.chunks, part.bytes, part.md5
            );
            return Err(ClientError::Storage(text).into());
        }
        done_bytes += bytes;
        bar.set_position(done_bytes);
    }
    target.finish()?;
    bar.finish_and_clear();
    Ok(info)
}

/// Whoever reads our output may have seen enough.
fn local_first(error: ClientError) -> Failure {
    match error {
        ClientError::Local { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
        other => other.into(),
    }
}

// ---- list, info, delete ----

/// Calls for each key with the prefix, page by page.
pub async fn keys_with_prefix(prefix: &str, session: &mut Session<'_>) -> Result<Vec<String>, Failure> {
    let (domain, mut keys, mut after) = (session.domain()?, Vec::new(), None::<Vec<u8>>);
    loop {
        let page = session.tracker.list_keys(domain, prefix.as_bytes(), after.as_deref(), PAGE_KEYS).await?;
        let next = page.keys.last().cloned().map(Vec::from);
        keys.extend(page.keys.iter().map(ToString::to_string));
        if page.keys.len() < PAGE_KEYS as usize || next == after {
            return Ok(keys);
        }
        after = next;
    }
}

async fn list(args: &BigListArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let (prefix, strip): (String, fn(&str) -> Option<&str>) = match args.unfinished {
        true => (big::pre_key(&args.prefix), big::of_pre_key),
        false => (big::info_key(&args.prefix), big::of_info_key),
    };
    let found = keys_with_prefix(&prefix, session).await?;
    let keys: Vec<String> = found.iter().filter_map(|key| strip(key)).map(str::to_owned).collect();
    if !args.long {
        let text = || keys.iter().map(|key| format!("{key}\n")).collect();
        return session.output.result(&json!(keys), text);
    }
    let mut infos = Vec::new();
    let bar = session.output.working("reading records", Some(keys.len() as u64));
    for key in keys {
        bar.inc(1);
        let text = fetch_small(&big::info_key(&key), session).await?;
        infos.push((key, text.and_then(|text| BigInfo::parse(&text))));
    }
    bar.finish_and_clear();
    let value: Vec<Value> = infos
        .iter()
        .map(|(key, info)| info.as_ref().map_or_else(|| json!({ "key": key }), |info| info_json(key, info)))
        .collect();
    session.output.result(&json!(value), || {
        let cells = |(key, info): &(String, Option<BigInfo>)| match info {
            None => vec!["damaged".to_owned(), String::new(), String::new(), key.clone(), String::new()],
            Some(info) => vec![
                info.kind.clone(),
                short_size(info.size_bytes),
                info.chunks.to_string(),
                key.clone(),
                info.description.clone(),
            ],
        };
        let rows: Vec<Vec<String>> = infos.iter().map(cells).collect();
        table(&["type", "size", "pieces", "key", "description"], &rows)
    })
}

fn info_json(key: &str, info: &BigInfo) -> Value {
    let parts = info.parts.iter();
    let parts =
        parts.map(|part| json!({ "number": part.number, "length": part.bytes, "md5": part.md5, "paths": part.paths }));
    json!({
        "key": key, "description": info.description, "type": info.kind, "compressed": info.compressed,
        "packed": info.packed, "filename": info.filename, "chunks": info.chunks, "length": info.size_bytes,
        "parts": parts.collect::<Vec<_>>(),
    })
}

fn info_text(key: &str, info: &BigInfo) -> String {
    let compressed = match (info.compressed, info.packed) {
        (false, _) => "no",
        (true, false) => "yes; `get` leaves it so",
        (true, true) => "yes; `get` undoes it",
    };
    let head = fields(&[
        ("key", key.to_owned()),
        ("type", info.kind.clone()),
        ("length", size(info.size_bytes)),
        ("compressed", compressed.to_owned()),
        ("made from", info.filename.clone()),
        ("description", info.description.clone()),
    ]);
    let rows: Vec<Vec<String>> = info
        .parts
        .iter()
        .map(|part| {
            vec![part.number.to_string(), short_size(part.bytes), part.md5.clone(), part.paths.len().to_string()]
        })
        .collect();
    format!("{head}\n{}", table(&["piece", "length", "md5", "copies then"], &rows))
}

/// Deletes pieces first: as long as the record is there it can be said again.
pub async fn rm(args: &BigRmArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let mut all = Vec::new();
    for key in &args.keys {
        let keys = keys_of(key, session).await?;
        if keys.is_empty() && !args.force {
            let text = format!("{key:?} is no big file");
            return Err(ClientError::Tracker { code: "unknown_key".to_owned(), text }.into());
        }
        let bar = session.output.working("deleting", Some(keys.len() as u64));
        for key in keys.iter().filter(|_| !args.dry_run) {
            delete_quietly(key, session).await?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        all.extend(keys);
    }
    if args.dry_run {
        let text = || all.iter().map(|key| format!("would delete {key}\n")).collect();
        return session.output.result(&json!({ "would_delete": all }), text);
    }
    session.done(&json!({ "deleted": all }))
}

/// Every key that belongs to a big file, the record last. Pieces are those that there are, whatever the record says.
async fn keys_of(key: &str, session: &mut Session<'_>) -> Result<Vec<String>, Failure> {
    let mut records = Vec::new();
    for record in [big::pre_key(key), big::info_key(key)] {
        match session.tracker.file_info(session.domain()?, record.as_bytes(), false).await {
            Ok(_) => records.push(record),
            Err(error) if error.code() == Some("unknown_key") => {}
            Err(error) => return Err(error.into()),
        }
    }
    // Without a record the keys may be anybody's.
    if records.is_empty() {
        return Ok(records);
    }
    let prefix = format!("{key},");
    let mut keys = keys_with_prefix(&prefix, session).await?;
    let is_piece = |key: &String| key.strip_prefix(&prefix).is_some_and(|number| number.parse::<u64>().is_ok());
    keys.retain(is_piece);
    keys.extend(records);
    Ok(keys)
}

async fn delete_quietly(key: &str, session: &mut Session<'_>) -> Result<(), Failure> {
    match session.tracker.delete(session.domain()?, key.as_bytes()).await {
        Err(error) if error.code() != Some("unknown_key") => Err(error.into()),
        _ => Ok(()),
    }
}

async fn store_small(key: &str, class: Option<&str>, text: &str, session: &mut Session<'_>) -> Result<(), Failure> {
    let request = UploadRequest {
        domain: session.domain()?,
        key: key.as_bytes(),
        class: class.map(str::as_bytes),
        checksum: true,
    };
    let source = UploadSource::Bytes(Bytes::copy_from_slice(text.as_bytes()));
    upload(&mut session.tracker, &session.storage, &request, source, &no_progress()).await?;
    Ok(())
}

/// A record or note; `None` if there is none.
async fn fetch_small(key: &str, session: &mut Session<'_>) -> Result<Option<Vec<u8>>, Failure> {
    let domain = session.domain()?;
    match session.tracker.file_info(domain, key.as_bytes(), false).await {
        Err(error) if error.code() == Some("unknown_key") => return Ok(None),
        Err(error) => return Err(error.into()),
        Ok(info) if info.length_bytes > RECORD_BYTES_MAX => {
            return Err(ClientError::Storage(format!("{key:?} is too long for a record")).into());
        }
        Ok(_) => {}
    }
    let mut text = Vec::new();
    let request = DownloadRequest { domain, key: key.as_bytes(), verify: false };
    download(&mut session.tracker, &session.storage, &request, &mut text, |_length| {}, &no_progress()).await?;
    Ok(Some(text))
}

fn unixtime() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_pieces_are_mogtools() {
        assert_eq!(
            ["16M", "1000k", "2G", "500B", "3"].map(chunk_bytes),
            [16 << 20, 1000 << 10, 2 << 30, 500, 3 << 20].map(Ok)
        );
        for wrong in ["", "0", "M", "5T", "-1M"] {
            assert!(chunk_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
