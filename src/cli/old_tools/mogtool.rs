//! mogtool: inject, extract, delete, locate, list, listkey.

use super::options::{OldOptions, mogtool_files};
use super::{Outcome, Refusal, global, with_session};
use crate::cli::big::{self, BigGetArgs, BigPutArgs, BigRmArgs};
use crate::cli::files::{GetArgs, PutArgs, get, put};
use crate::cli::output::{Failure, Output};
use crate::cli::session::Session;
use crate::client::big as names;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What the original ends with when there is nothing of the name.
const EXIT_MISSING: u8 = 1;
/// What is larger must be chunked, unless --nobigfile allows it whole.
const WHOLE_BYTES_MAX: u64 = 64 << 20;
const TIMEOUT_SECS: u64 = 30;
/// The original waits for second copies for ever; a cluster that cannot make them is to be noticed.
const REPLICATION_WAIT: Duration = Duration::from_secs(600);
const REPLICATION_INTERVAL: Duration = Duration::from_millis(500);

const USAGE: &str = "\
Usage: mogtool [--trackers=HOST:PORT,…] [--domain=DOMAIN] [--class=CLASS] [--conf=FILE] COMMAND …

  inject  | i    [--bigfile|-b | --nobigfile] [--gzip|-z] [--chunksize=SIZE] [--overwrite] [--verify] [--noreplwait]
                 [--description=TEXT] [--receipt=ADDRESS,…] [--concurrent=COUNT] FILE|DIRECTORY|DEVICE KEY
  extract | x    [--bigfile|-b] [--gzip|-z] [--asfile] [--overwrite] KEY FILE|-|.
  delete  | rm   [--bigfile|-b] KEY
  locate  | lo   [--bigfile|-b] [--noverify] KEY
  list    | ls   all big files
  listkey | lsk  PREFIX

Today: mogilefs put, get, rm, info, list, and mogilefs big put, get, rm, info, list.
";

pub fn run(words: Vec<String>, output: &Output) -> Outcome {
    let specs = [
        "trackers=s",
        "domain=s",
        "class=s",
        "config=s",
        "help",
        "debug",
        "lib",
        "gzip|z",
        "bigfile|b",
        "nobigfile",
        "overwrite",
        "chunksize=s",
        "receipt|reciept=s",
        "verify!",
        "description=s",
        "concurrent=i",
        "noreplwait",
        "asfile",
        "big",
    ];
    let usage =
        |problem: &str| Refusal::Usage(format!("{problem}{}{USAGE}", if problem.is_empty() { "" } else { "\n" }));
    let mut options = OldOptions::parse(&specs, words).map_err(|problem| usage(&problem))?;
    let files = mogtool_files(options.get("config"));
    options.fill_from(&files).map_err(Failure::Local)?;
    if options.flag("help") || options.words.is_empty() {
        return Err(usage(""));
    }
    let global = global(&options, TIMEOUT_SECS);
    if global.domain.is_none() {
        return Err(usage("--trackers and --domain configuration required"));
    }
    let words: Vec<&str> = options.words.iter().map(String::as_str).collect();
    with_session(&global, output, async |session: &mut Session<'_>| {
        let tool = Tool { options: &options, session };
        match words.as_slice() {
            ["inject" | "i", source, key] => tool.inject(source, key).await,
            ["extract" | "x", key, target] => tool.extract(key, target).await,
            ["delete" | "rm", key] => tool.delete(key).await,
            ["locate" | "lo", key] => tool.locate(key).await,
            ["list" | "ls"] => tool.list(&names::info_key(""), true).await,
            ["listkey" | "lsk"] => tool.list("", false).await,
            ["listkey" | "lsk", prefix] => tool.list(prefix, false).await,
            _ => Err(usage("")),
        }
    })
}

struct Tool<'a, 's, 'g> {
    options: &'a OldOptions,
    session: &'s mut Session<'g>,
}

impl Tool<'_, '_, '_> {
    fn is_big(&self) -> bool {
        self.options.flag("bigfile") || self.options.flag("big")
    }

    fn say(&self, text: &str) -> Outcome {
        Ok(self.session.output.raw(text.as_bytes())?)
    }

    fn class(&self) -> Option<String> {
        self.options.get("class").filter(|class| !class.is_empty()).map(str::to_owned)
    }

    async fn inject(self, source: &str, key: &str) -> Outcome {
        let metadata =
            std::fs::metadata(source).map_err(|error| Failure::Local(format!("source {source}: {error}")))?;
        let refused = |text: &str| Refusal::from(Failure::Usage(text.to_owned()));
        if !names::is_valid_key(key) {
            return Err(refused(&format!("key {key} isn't valid; must not contain spaces or commas")));
        }
        if self.is_big() && self.options.flag("nobigfile") {
            return Err(refused("--bigfile and --nobigfile exclude each other"));
        }
        if self.is_big() {
            return self.inject_big(source, key).await;
        }
        if !metadata.is_file() {
            return Err(refused("what is not a plain file needs --bigfile"));
        }
        if metadata.len() > WHOLE_BYTES_MAX && !self.options.flag("nobigfile") {
            return Err(refused("the file is more than 64MB: use --bigfile, or --nobigfile to store it in one piece"));
        }
        if self.options.flag("gzip") {
            return Err(refused("--gzip needs --bigfile; without it nothing would say that the file is compressed"));
        }
        let args = PutArgs { key: key.into(), file: PathBuf::from(source), class: self.class(), checksum: true };
        Ok(put(args, self.session).await?)
    }

    async fn inject_big(mut self, source: &str, key: &str) -> Outcome {
        let chunk_size = match self.options.get("chunksize") {
            Some(size) => big::chunk_bytes(size).map_err(Failure::Usage)?,
            None => big::CHUNK_BYTES,
        };
        let concurrent = self.options.number("concurrent").unwrap_or(1).clamp(1, 64);
        if self.options.get("receipt").is_some() && sendmail().is_none() {
            return Err(Failure::Local("--receipt: there is no program sendmail".to_owned()).into());
        }
        // Only an unfinished one needs --overwrite, as it was.
        let is_finished = self.is_there(&names::info_key(key)).await? && !self.is_there(&names::pre_key(key)).await?;
        let args = BigPutArgs {
            key: key.to_owned(),
            source: PathBuf::from(source),
            class: self.class(),
            chunk_size,
            gzip: self.options.flag("gzip"),
            description: self
                .options
                .get("description")
                .or(self.options.get("des"))
                .unwrap_or("no description")
                .to_owned(),
            overwrite: self.options.flag("overwrite") || is_finished,
            resume: false,
            concurrent: u16::try_from(concurrent).unwrap_or(1),
            verify: self.options.flag("verify"),
            receipt: self
                .options
                .get("receipt")
                .map(|_| PathBuf::from(format!("mogtool.{}.receipt", key.replace('/', "_")))),
        };
        let info = big::put(&args, &mut *self.session).await?;
        for part in &info.parts {
            self.say(&format!("chunk {key},{}: {}, len = {}\n", part.number, part.md5, part.bytes))?;
        }
        if !self.options.flag("noreplwait") {
            self.wait_for_copies(key, info.chunks).await?;
        }
        if let Some(addresses) = self.options.get("receipt") {
            mail(addresses, key, &info.render())?;
            self.say("Receipt emailed.\n")?;
        }
        Ok(())
    }

    async fn is_there(&mut self, key: &str) -> Result<bool, Refusal> {
        match self.session.tracker.file_info(self.session.domain()?, key.as_bytes(), false).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("unknown_key") => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Until each piece has two copies.
    async fn wait_for_copies(&self, key: &str, chunks: u64) -> Outcome {
        let mut tracker = self.session.another_tracker().connect().await?;
        let begun = std::time::Instant::now();
        for number in 1..=chunks {
            let key = names::chunk_key(key, number);
            loop {
                let info = tracker.file_info(self.session.domain()?, key.as_bytes(), false).await?;
                if info.devcount >= 2 {
                    break;
                }
                if begun.elapsed() > REPLICATION_WAIT {
                    self.session
                        .output
                        .note("stored, but second copies are still missing; they are made in the background");
                    return Ok(());
                }
                tokio::time::sleep(REPLICATION_INTERVAL).await;
            }
        }
        Ok(())
    }

    async fn extract(self, key: &str, target: &str) -> Outcome {
        let place = Path::new(target);
        let is_kept = place.exists() && place.is_file() && !self.options.flag("overwrite");
        if is_kept {
            let text = format!("destination exists: {target} (specify --overwrite if you want to kill it)");
            return Err(Failure::Usage(text).into());
        }
        if !self.is_big() {
            return Ok(get(GetArgs { key: key.into(), file: place.to_owned(), verify: false }, self.session).await?);
        }
        let args = BigGetArgs {
            key: key.to_owned(),
            target: place.to_owned(),
            as_file: self.options.flag("asfile"),
            gunzip: self.options.flag("gzip"),
            as_stored: !self.options.flag("gzip"),
            ignore_md5: false,
        };
        big::get(&args, &mut *self.session).await?;
        // Standard output has the bytes, then.
        if target == "-" { Ok(()) } else { self.say("Done.\n") }
    }

    async fn delete(self, key: &str) -> Outcome {
        if self.is_big() {
            let args = BigRmArgs { keys: vec![key.to_owned()], force: false, dry_run: false };
            big::rm(&args, &mut *self.session).await?;
        } else {
            self.session.tracker.delete(self.session.domain()?, key.as_bytes()).await?;
        }
        self.say("Deleted.\n")
    }

    async fn locate(self, key: &str) -> Outcome {
        let looked_for = if self.is_big() { names::info_key(key) } else { key.to_owned() };
        let verifies = self.options.get("verify").is_none_or(|verify| verify != "0");
        let domain = self.session.domain()?;
        let paths = self.session.tracker.get_paths(domain, looked_for.as_bytes(), !verifies, 1024).await;
        match paths {
            Err(error) if error.code() == Some("unknown_key") => {
                let forgotten = if self.is_big() { "is it one?" } else { "or did you forget --bigfile?" };
                self.session.output.note(&format!("Error: file {key} doesn't exist ({forgotten})"));
                Err(Refusal::Exit(EXIT_MISSING))
            }
            Err(error) => Err(error.into()),
            Ok(paths) => self.say_all(&paths, "paths"),
        }
    }

    async fn list(self, prefix: &str, is_of_big_files: bool) -> Outcome {
        let keys = big::keys_with_prefix(prefix, &mut *self.session).await?;
        let shown = keys.iter().map(|key| if is_of_big_files { names::of_info_key(key).unwrap_or(key) } else { key });
        let shown: Vec<String> = shown.map(str::to_owned).collect();
        self.say_all(&shown, "files")
    }

    fn say_all(&self, lines: &[String], what: &str) -> Outcome {
        let mut text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        text.push_str(&format!("#{} {what} found\n", lines.len()));
        self.say(&text)?;
        if lines.is_empty() { Err(Refusal::Exit(EXIT_MISSING)) } else { Ok(()) }
    }
}

fn sendmail() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/lib"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(usual).map(|directory| directory.join("sendmail"));
    places.find(|place| place.is_file())
}

/// Sends the record by mail, as the original does.
fn mail(addresses: &str, key: &str, record: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Local(format!("sendmail: {error}; the receipt is stored beside"));
    // A line end would begin another header.
    let addresses = addresses.replace(['\r', '\n'], " ");
    let Some(program) = sendmail() else { return Err(failed(std::io::ErrorKind::NotFound.into())) };
    let mut child = Command::new(program).arg("-t").stdin(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        let text = format!("To: {addresses}\nSubject: mogtool.{key}.receipt\n\n{record}\n");
        stdin.write_all(text.as_bytes()).map_err(failed)?;
    }
    match child.wait().map_err(failed)? {
        status if status.success() => Ok(()),
        status => Err(Failure::Local(format!("sendmail: {status}; the receipt is stored beside"))),
    }
}
