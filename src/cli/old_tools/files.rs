//! mogupload, mogfetch, mogdelete, mogfileinfo, mogfiledebug, moglistkeys, moglistfids, mogrename.

use super::options::{OldOptions, utils_files};
use super::{OldTool, Outcome, Refusal, global, with_session};
use crate::cli::files::{GetArgs, ListArgs, PutArgs, get, list, put};
use crate::cli::output::{Failure, Output};
use crate::cli::session::Session;
use crate::cluster::checksum::HashType;
use crate::protocol::args::{Args as Reply, escape};
use bstr::{BStr, BString, ByteSlice as _};
use http_body_util::BodyExt as _;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Seconds that the client library waits for a reply.
const TIMEOUT_SECS: u64 = 30;
/// Most files that a tracker gives at a time.
const PAGE_FIDS: i64 = 500;

pub fn run(tool: OldTool, words: Vec<String>, output: &Output) -> Outcome {
    let (usage, own) = manual(tool);
    let usage = || Refusal::Usage(format!("Usage: {usage}\n"));
    if words.is_empty() {
        return Err(usage());
    }
    let mut specs = own.to_vec();
    specs.extend(["help", "trackers=s", "domain=s", "conf=s"]);
    let mut options = OldOptions::parse(&specs, words).map_err(|problem| {
        output.note(&problem);
        usage()
    })?;
    let files = utils_files(options.get("conf"));
    options.fill_from(&files).map_err(Failure::Local)?;
    if options.flag("help") {
        return Err(usage());
    }
    let global = global(&options, TIMEOUT_SECS);
    with_session(&global, output, async |session: &mut Session<'_>| match tool {
        OldTool::Mogupload => upload(&options, session).await,
        OldTool::Mogfetch => fetch(&options, session).await,
        OldTool::Mogdelete => {
            Ok(session.tracker.delete(session.domain()?, needed(&options, "key")?.as_bytes()).await?)
        }
        OldTool::Mogfileinfo => info(&options, session).await,
        OldTool::Mogfiledebug => debug(&options, session).await,
        OldTool::Moglistkeys => keys(&options, session).await,
        OldTool::Moglistfids => fids(&options, session).await,
        _ => rename(&options, session).await,
    })
}

/// How a tool is called, and its options besides the common ones.
fn manual(tool: OldTool) -> (&'static str, &'static [&'static str]) {
    match tool {
        OldTool::Mogupload => (
            "mogupload --trackers=host --domain=foo [--class=bar] --key='/hello.jpg' --file='./hello.jpg'",
            &["class=s", "key=s", "file=s"],
        ),
        OldTool::Mogfetch => {
            ("mogfetch --trackers=host --domain=foo --key='/hello.jpg' --file='./output'", &["key=s", "file=s"])
        }
        OldTool::Mogdelete => ("mogdelete --trackers=host --domain=foo --key='/hello.jpg'", &["key=s"]),
        OldTool::Mogfileinfo => ("mogfileinfo --trackers=host --domain=foo --key='/hello.jpg'", &["key=s"]),
        OldTool::Mogfiledebug => (
            "mogfiledebug --trackers=host --paths=action --domain=foo --key='/hello.jpg'\n\
             If the fid is known, but not domain and key: mogfiledebug --trackers=host --fid=123456\n\
             --paths=action, where action is 'print', 'stat', or 'fetch' (default)",
            &["key=s", "fid=i", "paths=s"],
        ),
        OldTool::Moglistkeys => ("moglistkeys --trackers=host --domain=foo --key_prefix='bar/'", &["key_prefix=s"]),
        OldTool::Moglistfids => ("moglistfids --trackers=host --fromfid=123 --count=5000", &["fromfid=i", "count=i"]),
        _ => (
            "mogrename --trackers=host --domain=foo --old_key='/hello.jpg' --new_key='/bye.jpg'",
            &["old_key=s", "new_key=s", "class=s"],
        ),
    }
}

fn needed<'o>(options: &'o OldOptions, name: &str) -> Result<&'o str, Failure> {
    options.get(name).ok_or_else(|| Failure::Usage(format!("--{name} is missing")))
}

async fn upload(options: &OldOptions, session: &mut Session<'_>) -> Outcome {
    let args = PutArgs {
        key: needed(options, "key")?.into(),
        file: PathBuf::from(needed(options, "file")?),
        class: options.get("class").filter(|class| !class.is_empty() && *class != "default").map(str::to_owned),
        checksum: false,
    };
    Ok(put(args, session).await?)
}

async fn fetch(options: &OldOptions, session: &mut Session<'_>) -> Outcome {
    let file = PathBuf::from(needed(options, "file")?);
    Ok(get(GetArgs { key: needed(options, "key")?.into(), file, verify: false }, session).await?)
}

async fn info(options: &OldOptions, session: &mut Session<'_>) -> Outcome {
    let (domain, key) = (session.domain()?, needed(options, "key")?);
    let reply = session.tracker.request("file_info", &[("domain", domain), ("key", key.as_bytes())]).await?;
    let paths = session.tracker.get_paths(domain, key.as_bytes(), true, 99).await?;
    let mut text = format!("- file: {key}\n");
    text.push_str(&aligned(reply.pairs().iter().map(|(name, value)| (name.to_string(), value.to_string()))));
    paths.iter().for_each(|path| text.push_str(&format!(" - {path}\n")));
    Ok(session.output.raw(text.as_bytes())?)
}

/// `    name:                value`, by name.
fn aligned(pairs: impl Iterator<Item = (String, String)>) -> String {
    let sorted: BTreeMap<String, String> = pairs.collect();
    sorted.iter().map(|(name, value)| format!("  {name:>8}: {value:>20}\n")).collect()
}

async fn keys(options: &OldOptions, session: &mut Session<'_>) -> Outcome {
    let prefix = options.get("key_prefix").unwrap_or_default().into();
    Ok(list(ListArgs { prefix, after: None, limit: None, deleted: false }, session).await?)
}

async fn rename(options: &OldOptions, session: &mut Session<'_>) -> Outcome {
    let (from, to) = (needed(options, "old_key")?, needed(options, "new_key")?);
    Ok(session.tracker.rename(session.domain()?, from.as_bytes(), to.as_bytes()).await?)
}

async fn fids(options: &OldOptions, session: &mut Session<'_>) -> Outcome {
    const FIELDS: [&str; 5] = ["class", "devcount", "domain", "key", "length"];
    let mut from = options.number("fromfid").unwrap_or(0);
    let mut left = options.number("count").filter(|count| *count != 0).unwrap_or(100);
    while left > 0 {
        let (from_text, asked) = (from.to_string(), left.min(PAGE_FIDS).to_string());
        let args: [(&str, &[u8]); 2] = [("from", from_text.as_bytes()), ("to", asked.as_bytes())];
        let reply = session.tracker.request("list_fids", &args).await?;
        let count = reply.int("fid_count");
        let mut text = BString::default();
        for number in 1..=count {
            let of = |field: &str| reply.get(&format!("fid_{number}_{field}")).unwrap_or_default();
            from = from.max(reply.int(&format!("fid_{number}_fid")));
            text.extend_from_slice(format!("fid {}\n", of("fid")).as_bytes());
            for field in FIELDS {
                let value = if field == "key" { escape(of(field)) } else { of(field).to_owned() };
                text.extend_from_slice(&[field.as_bytes(), b" ", &value, b"\n"].concat());
            }
            text.push(b'\n');
        }
        session.output.raw(&text)?;
        if count <= 0 {
            break;
        }
        left -= count;
    }
    Ok(())
}

// ---- mogfiledebug ----

/// One copy as it was found.
struct Look {
    url: String,
    status: String,
    length_bytes: Option<u64>,
    modified: Option<String>,
    md5: Option<String>,
}

async fn debug(options: &OldOptions, session: &mut Session<'_>) -> Outcome {
    let action = options.get("paths").unwrap_or("fetch");
    if !["print", "stat", "fetch"].contains(&action) {
        return Err(Refusal::Usage(format!("Usage: {}\n", manual(OldTool::Mogfiledebug).0)));
    }
    let reply = match options.get("fid").filter(|fid| *fid != "0") {
        Some(fid) => session.tracker.request("file_debug", &[("fid", fid.as_bytes())]).await?,
        None => {
            let args = [("domain", session.domain()?), ("key", needed(options, "key")?.as_bytes())];
            session.tracker.request("file_debug", &args).await?
        }
    };
    let paths = reply.pairs().iter().filter(|(name, _)| name.starts_with(b"devpath_"));
    let mut paths: Vec<String> = paths.map(|(_, url)| url.to_string()).collect();
    paths.sort();
    let mut text = String::new();
    match action {
        _ if paths.is_empty() => text.push_str("No valid-ish paths found\n"),
        "print" => {
            text.push_str("Paths...\n");
            paths.iter().for_each(|path| text.push_str(&format!(" - {path}\n")));
        }
        action => {
            let fetches = action == "fetch";
            let what = if fetches { "Fetching and summing paths...\n" } else { "Checking status of paths...\n" };
            session.output.raw(what.as_bytes())?;
            let mut looks = Vec::new();
            for path in &paths {
                looks.push(look(path, fetches, session).await);
            }
            let length_bytes = reply.get("fid_length").and_then(|length| length.to_str().ok()?.parse().ok());
            text.push_str(&results(&looks, length_bytes));
        }
    }
    text.push_str(&rows_text(&reply));
    Ok(session.output.raw(text.as_bytes())?)
}

async fn look(url: &str, fetches: bool, session: &Session<'_>) -> Look {
    let mut look = Look { url: url.to_owned(), status: String::new(), length_bytes: None, modified: None, md5: None };
    let response = match session.storage.get(url, 0).await {
        Ok(response) => response,
        Err(error) => {
            look.status = error.problem;
            return look;
        }
    };
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    look.status = response.status().to_string();
    look.modified = header("last-modified");
    look.length_bytes = header("content-length").and_then(|length| length.parse().ok());
    if !fetches {
        return look;
    }
    let (mut body, mut hasher, mut bytes) = (response.into_body(), HashType::Md5.hasher(), 0);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                let Ok(piece) = frame.into_data() else { continue };
                hasher.update(&piece);
                bytes += piece.len() as u64;
            }
            Err(error) => {
                look.status = format!("broke off: {error}");
                break;
            }
        }
    }
    look.length_bytes = Some(bytes);
    look.md5 = Some(hasher.finish().hex());
    look
}

fn results(looks: &[Look], length_bytes: Option<u64>) -> String {
    let mut text = String::new();
    if length_bytes.is_none() {
        text.push_str("No length, cannot verify content length");
    }
    let first = looks.iter().find_map(|look| look.md5.as_ref());
    for look in looks {
        text.push_str(&format!("\nResults for path: {}\n", look.url));
        if look.status.contains("404") {
            text.push_str(&format!(" - ERROR: File copy is missing: {}\n", look.status));
            continue;
        }
        if look.md5.is_some() && look.md5.as_ref() != first {
            text.push_str(" - ERROR: Hash does not match first path!\n");
        }
        if length_bytes.zip(look.length_bytes).is_some_and(|(file, copy)| file != copy) {
            text.push_str(" - ERROR: Length does not match file row!\n");
        }
        let lines = [
            ("MD5 Hash", look.md5.clone()),
            ("Length", look.length_bytes.map(|length| length.to_string())),
            ("Last-Modified", look.modified.clone()),
            ("HTTP result", Some(look.status.clone())),
        ];
        for (name, value) in lines.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            text.push_str(&format!(" - {name}: {value}\n"));
        }
    }
    text
}

/// What the tables have besides the copies.
fn rows_text(reply: &Reply) -> String {
    let part = |kind: &str| -> Vec<(String, String)> {
        let prefix = format!("{kind}_");
        let pairs = reply.pairs().iter().filter_map(|(name, value)| {
            Some((name.strip_prefix(prefix.as_bytes())?.to_str_lossy().into_owned(), value.to_string()))
        });
        pairs.collect()
    };
    let mut text = String::from("\nTempfile and/or queue rows...\n");
    let mut found = false;
    for kind in ["tempfile", "replqueue", "delqueue", "rebqueue", "fsckqueue"] {
        let pairs = part(kind);
        if pairs.is_empty() {
            continue;
        }
        found = true;
        text.push_str(&format!("- {kind:>12}\n"));
        pairs.iter().for_each(|(name, value)| text.push_str(&format!("  {name:>20}: {value:>20}\n")));
    }
    if !found {
        text.push_str("none.\n");
    }
    match part("fid") {
        row if row.is_empty() => text.push_str(
            "- ERROR: No file row was found!\nFile may have been deleted or never closed.\n\
             See above for any matching rows from tempfile or delqueue.\n",
        ),
        row => text.push_str(&format!("\n- File Row:\n{}", aligned(row.into_iter()))),
    }
    let filled = |name: &str| reply.nonempty(name).map(BStr::to_string);
    filled("devids").iter().for_each(|devids| text.push_str(&format!("\n- Raw devids: {devids}\n")));
    filled("checksum").iter().for_each(|checksum| text.push_str(&format!("\n- Stored checksum: {checksum}\n")));
    text
}
