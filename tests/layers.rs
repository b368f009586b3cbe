//! Draws which module uses which and holds the drawing against the layers in `src/lib.rs`: a module uses its own folder
//! and lower layers, never a higher one, and one of its own layer only where [`SIDEWAYS`] says so.
//!
//! Works on the text of the sources, `#[cfg(test)]` modules included. It sees paths that start with `crate::`, with
//! enough `super::` to reach the crate's root, or (in `main.rs` and `src/bin`) with `mogilefs::`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The layers, lowest first. A new module gets its place here and in `src/lib.rs`.
const LAYERS: &[&[&str]] = &[
    &["ids", "job_kind", "clock", "settings", "logging", "metrics", "notices", "service", "tls"],
    &["cluster", "policy", "protocol"],
    &["store", "node_client", "client", "memcached"],
    &["jobs"],
    &["tracker", "node", "web"],
    &["demo", "cli"],
    &[LIB, MAIN],
];

/// Who may use whom within a layer.
const SIDEWAYS: &[(&str, &str)] = &[
    // How to log is a setting.
    ("logging", "settings"),
    // A setting can be a list of addresses.
    ("settings", "service"),
    // Certificates are settings, their paths mean what they meant when the process was started.
    ("tls", "settings"),
    ("tls", "service"),
    // Signatures have their time.
    ("tls", "clock"),
    // A log file's path means what it meant when the process was started.
    ("logging", "service"),
    // The web page asks the tracker whose process it is in.
    ("web", "tracker"),
    // A policy judges devices and hosts.
    ("policy", "cluster"),
    // `mogilefs demo` is a subcommand like the others.
    ("cli", "demo"),
    // The program is a thin shell around the library.
    (MAIN, LIB),
];

/// `src/lib.rs`, and what a path to an item of the crate's root leads to.
const LIB: &str = "lib";
/// `src/main.rs` and `src/bin`.
const MAIN: &str = "main";

/// The crate's name, as the program's own files say it.
const CRATE_NAME: &str = "mogilefs";

/// One use of a top-level module by another, with the place where it is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: String,
    to: String,
    file: PathBuf,
    line: usize,
}

// ---- from text to tokens ----

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    PathSep,
    Mark(char),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Placed {
    token: Token,
    line: usize,
}

/// Splits Rust source into words, `::` and single marks. Comments, strings, characters, lifetimes and numbers are
/// dropped.
fn tokens(source: &str) -> Vec<Placed> {
    let chars: Vec<char> = source.chars().collect();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let (token, end) = next_token(&chars, at);
        found.extend(token.map(|token| Placed { token, line }));
        line += chars[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    found
}

/// The token that starts at `at`, none for what is dropped, and where the next one starts.
fn next_token(chars: &[char], at: usize) -> (Option<Token>, usize) {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => (None, end_of_line(chars, at)),
        '/' if next == Some('*') => (None, end_of_block_comment(chars, at)),
        '"' => (None, end_of_quoted(chars, at, '"')),
        '\'' => (None, end_of_tick(chars, at)),
        ':' if next == Some(':') => (Some(Token::PathSep), at + 2),
        c if c.is_ascii_digit() => (None, end_of_word(chars, at)),
        c if is_word(c) => word_or_prefixed_string(chars, at),
        c if c.is_whitespace() => (None, at + 1),
        c => (Some(Token::Mark(c)), at + 1),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn end_of_word(chars: &[char], at: usize) -> usize {
    at + chars[at..].iter().take_while(|c| is_word(**c)).count()
}

fn end_of_line(chars: &[char], at: usize) -> usize {
    at + chars[at..].iter().take_while(|c| **c != '\n').count()
}

/// Block comments nest.
fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The end of a string or character whose opening quote is at `start`, escapes heeded.
fn end_of_quoted(chars: &[char], start: usize, quote: char) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// A tick opens a character (`'a'`, `'\''`) or a lifetime (`'a`).
fn end_of_tick(chars: &[char], at: usize) -> usize {
    let is_char = chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'');
    if is_char { end_of_quoted(chars, at, '\'') } else { end_of_word(chars, at + 1) }
}

/// A word, unless it is the prefix of a string or character: `r"…"`, `br#"…"#`, `b"…"`, `c"…"`, `b'…'`. Of a raw
/// identifier (`r#type`) the word after the mark counts.
fn word_or_prefixed_string(chars: &[char], at: usize) -> (Option<Token>, usize) {
    let end = end_of_word(chars, at);
    let word: String = chars[at..end].iter().collect();
    let hashes = chars[end..].iter().take_while(|c| **c == '#').count();
    match (word.as_str(), chars.get(end), chars.get(end + hashes)) {
        ("r" | "br" | "cr", _, Some('"')) => (None, end_of_raw_string(chars, end + hashes, hashes)),
        ("b" | "c", Some('"'), _) => (None, end_of_quoted(chars, end, '"')),
        ("b", Some('\''), _) => (None, end_of_quoted(chars, end, '\'')),
        ("r", Some('#'), _) => (None, end + 1),
        _ => (Some(Token::Word(word)), end),
    }
}

fn end_of_raw_string(chars: &[char], quote_at: usize, hashes: usize) -> usize {
    let closes =
        |at: &usize| chars[*at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
    (quote_at + 1..chars.len()).find(closes).map_or(chars.len(), |at| at + 1 + hashes)
}

// ---- from tokens to paths ----

/// The first names under the crate's root that a file mentions, each with its line. `depth` says how many `super::` lead
/// from the file's own module to the root.
fn root_names(source: &str, depth: usize, is_program: bool) -> Vec<(String, usize)> {
    let tokens = tokens(source);
    let mut names = Vec::new();
    let mut inline = InlineModules::default();
    for at in 0..tokens.len() {
        inline.step(&tokens, at);
        if !starts_path(&tokens, at) {
            continue;
        }
        if let Some(after) = after_root(&tokens, at, depth + inline.count(), is_program) {
            collect_names(&tokens, after, &mut names);
        }
    }
    names
}

/// Counts the `mod name { … }` that are open.
#[derive(Default)]
struct InlineModules {
    /// For each open brace, whether it is a module's.
    braces: Vec<bool>,
}

impl InlineModules {
    fn step(&mut self, tokens: &[Placed], at: usize) {
        match tokens[at].token {
            Token::Mark('{') => self.braces.push(at >= 2 && is_the_word(&tokens[at - 2], "mod")),
            Token::Mark('}') => _ = self.braces.pop(),
            _ => {}
        }
    }

    fn count(&self) -> usize {
        self.braces.iter().filter(|is_module| **is_module).count()
    }
}

fn is_the_word(placed: &Placed, word: &str) -> bool {
    matches!(&placed.token, Token::Word(found) if found == word)
}

fn is_mark(placed: Option<&Placed>, mark: char) -> bool {
    placed.is_some_and(|placed| placed.token == Token::Mark(mark))
}

fn is_sep(placed: Option<&Placed>) -> bool {
    placed.is_some_and(|placed| placed.token == Token::PathSep)
}

/// Whether the token can begin a path: what follows `a::` is the middle of one, what follows a leading `::` is not.
fn starts_path(tokens: &[Placed], at: usize) -> bool {
    let follows_sep = at > 0 && is_sep(tokens.get(at - 1));
    let continues = at > 1 && follows_sep && matches!(tokens[at - 2].token, Token::Word(_) | Token::Mark('>'));
    matches!(tokens[at].token, Token::Word(_)) && !continues
}

/// Where the names under the root begin, when the path that starts at `at` leads to the root.
fn after_root(tokens: &[Placed], at: usize, depth: usize, is_program: bool) -> Option<usize> {
    let is_root_word = |word| is_the_word(&tokens[at], word) && is_sep(tokens.get(at + 1));
    if is_root_word("crate") && !is_program || is_program && is_root_word(CRATE_NAME) {
        return Some(at + 2);
    }
    let own = usize::from(is_root_word("self"));
    let supers = tokens[at + 2 * own..]
        .chunks(2)
        .take_while(|pair| is_the_word(&pair[0], "super") && is_sep(pair.get(1)))
        .count();
    (!is_program && supers > 0 && supers == depth).then_some(at + 2 * (own + supers))
}

/// Collects the first names of the path or group `{a, b::c, d::{e}}` at `at`.
fn collect_names(tokens: &[Placed], at: usize, names: &mut Vec<(String, usize)>) {
    match tokens.get(at).map(|placed| &placed.token) {
        Some(Token::Word(name)) => names.push((name.clone(), tokens[at].line)),
        Some(Token::Mark('*')) => names.push(("*".to_owned(), tokens[at].line)),
        Some(Token::Mark('{')) => {
            let mut member = Some(at + 1);
            while let Some(start) = member.filter(|start| !is_mark(tokens.get(*start), '}')) {
                collect_names(tokens, start, names);
                member = next_member(tokens, start);
            }
        }
        _ => {}
    }
}

/// Where the next member of a group starts, after its comma; none at the group's end.
fn next_member(tokens: &[Placed], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, placed) in tokens.iter().enumerate().skip(start) {
        match placed.token {
            Token::Mark('{') => depth += 1,
            Token::Mark('}') if depth == 0 => return None,
            Token::Mark('}') => depth -= 1,
            Token::Mark(',') if depth == 0 => return Some(at + 1),
            _ => {}
        }
    }
    None
}

// ---- from files to edges ----

/// The top-level module that a file under `src` belongs to.
fn module_of(file: &Path) -> String {
    let first = file.iter().next().unwrap_or_default();
    match Path::new(first).file_stem().unwrap_or_default().to_string_lossy().as_ref() {
        "bin" => MAIN.to_owned(),
        stem => stem.to_owned(),
    }
}

/// How many `super::` lead from a file's module to the crate's root.
fn depth_of(file: &Path) -> usize {
    let names = file.iter().count();
    match file.file_name().unwrap_or_default().to_string_lossy().as_ref() {
        "lib.rs" | "main.rs" | "mod.rs" => names - 1,
        _ => names,
    }
}

fn edges_of(file: &Path, source: &str) -> Vec<Edge> {
    let from = module_of(file);
    let edge = |(name, line): (String, usize)| {
        let to = if is_module_name(&name) { name } else { LIB.to_owned() };
        Edge { from: from.clone(), to, file: file.to_owned(), line }
    };
    let names = root_names(source, depth_of(file), from == MAIN);
    names.into_iter().map(edge).filter(|edge| edge.to != edge.from).collect()
}

/// Types and constants of the crate's root are no modules, nor are `self`, `super` and a glob.
fn is_module_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase()) && !matches!(name, "self" | "super")
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// What is wrong with an edge, if anything.
fn complaint(edge: &Edge) -> Option<String> {
    let Edge { from, to, file, line } = edge;
    let place = format!("src/{}:{line}", file.display());
    let (Some(from_layer), Some(to_layer)) = (layer_of(from), layer_of(to)) else {
        let unknown = if layer_of(from).is_none() { from } else { to };
        return Some(format!("{place}: module `{unknown}` has no layer in tests/layers.rs"));
    };
    if to_layer > from_layer {
        return Some(format!("{place}: `{from}` (layer {from_layer}) uses `{to}` above it (layer {to_layer})"));
    }
    let is_listed = SIDEWAYS.contains(&(from.as_str(), to.as_str()));
    (to_layer == from_layer && !is_listed)
        .then(|| format!("{place}: `{from}` uses `{to}` beside it (layer {to_layer}), which SIDEWAYS does not list"))
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("a readable source directory") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// One line per module, highest layer first: `tracker → cluster jobs protocol`.
fn picture(modules: &BTreeSet<String>, edges: &[Edge]) -> String {
    let mut uses: BTreeMap<&str, BTreeSet<&str>> =
        modules.iter().map(|name| (name.as_str(), BTreeSet::new())).collect();
    for edge in edges {
        uses.entry(&edge.from).or_default().insert(&edge.to);
    }
    let mut lines: Vec<_> = uses.into_iter().map(|(from, to)| (layer_of(from), from, to)).collect();
    lines.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let line = |(layer, from, to): (Option<usize>, &str, BTreeSet<&str>)| {
        let layer = layer.map_or("?".to_owned(), |layer| layer.to_string());
        format!("{layer} {from} → {}\n", Vec::from_iter(to).join(" "))
    };
    lines.into_iter().map(line).collect()
}

#[test]
fn modules_use_only_what_stands_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut edges = Vec::new();
    let mut modules = BTreeSet::new();
    for path in rust_files(&root) {
        let file = path.strip_prefix(&root).expect("a file under src");
        let source = fs::read_to_string(&path).expect("source in UTF-8");
        modules.insert(module_of(file));
        edges.extend(edges_of(file, &source));
    }
    println!("{}", picture(&modules, &edges));

    assert!(!edges.is_empty(), "no module uses another: the extractor is blind");
    let homeless = modules.iter().filter(|module| layer_of(module).is_none());
    let complaints: Vec<String> = homeless
        .map(|module| format!("src/{module}: module `{module}` has no layer in tests/layers.rs"))
        .chain(edges.iter().filter_map(complaint))
        .collect();
    assert!(complaints.is_empty(), "layers are broken:\n{}\n", complaints.join("\n"));
}

// ---- the extractor itself ----

fn names_in(source: &str) -> Vec<String> {
    root_names(source, 1, false).into_iter().map(|(name, _)| name).collect()
}

fn complaints_about(file: &str, source: &str) -> Vec<String> {
    edges_of(Path::new(file), source).iter().filter_map(complaint).collect()
}

#[test]
fn plain_and_inline_paths_are_seen() {
    assert_eq!(names_in("use crate::ids::Fid;"), ["ids"]);
    assert_eq!(
        names_in("pub use crate::ids;\nfn f() -> crate::store::Row { crate :: clock :: now() }"),
        ["ids", "store", "clock"]
    );
    assert_eq!(
        names_in("fn f(x: Vec<crate::jobs::Job>) {} macro_rules! m { () => { $crate::web::page() } }"),
        ["jobs", "web"]
    );
    assert_eq!(names_in("use crate::r#ids::Fid;"), ["ids"]);
}

#[test]
fn groups_are_taken_apart() {
    assert_eq!(
        names_in("use crate::{ids, cluster::{self, Device}, store::Store as Db,\n};"),
        ["ids", "cluster", "store"]
    );
    assert_eq!(names_in("use {crate::ids::Fid, crate::{web, jobs::*}, std::fs};"), ["ids", "web", "jobs"]);
    assert_eq!(names_in("use crate::{{ids, clock}, store};"), ["ids", "clock", "store"]);
    assert_eq!(names_in("use crate::*;"), ["*"]);
}

#[test]
fn comments_strings_and_other_crates_are_not_seen() {
    let silent = [
        "// use crate::store::X;",
        "/// like [`crate::store`]\n//! crate::store::x",
        "/* crate::store /* crate::web */ crate::jobs */",
        r#"let s = "crate::store::X \" crate::web::Y";"#,
        r##"let s = r#"a " crate::store::X"#; let b = br"crate::web::Y";"##,
        "let b = b\"crate::store::X\"; let c = c\"crate::store::X\";",
        "use ::other::crate_::store; use other::ids; use mogilefs::store;",
        "pub(crate) fn f(self) {}",
    ];
    for source in silent {
        assert_eq!(names_in(source), [""; 0], "{source}");
    }
}

#[test]
fn what_follows_a_comment_a_string_or_a_tick_is_seen() {
    let sources = [
        "/* a /* b */ c */ use crate::ids;",
        "let s = \"\\\\\"; crate::ids::f();",
        r##"let s = r#"""#; crate::ids::f();"##,
        "let c = '\"'; crate::ids::f();",
        "let c = ['\\'', '\\u{1}']; crate::ids::f();",
        "fn f<'a>(x: &'a str) { crate::ids::f() } // '",
        "let c = b'\"'; let t = 'l: loop { break 'l; }; crate::ids::f();",
        "let n = 0xffu64; let r = 1..2; crate::ids::f();",
    ];
    for source in sources {
        assert_eq!(names_in(source), ["ids"], "{source}");
    }
}

#[test]
fn super_counts_when_it_reaches_the_root() {
    assert_eq!(names_in("use super::ids::Fid;"), ["ids"]);
    assert_eq!(names_in("use self::super::{ids, clock};"), ["ids", "clock"]);
    assert_eq!(names_in("mod tests { use super::*; use super::super::store::X; } use super::web;"), ["store", "web"]);
    let deep = |source| root_names(source, depth_of(Path::new("cluster/device.rs")), false);
    assert_eq!(deep("use super::host::Host;"), []);
    assert_eq!(deep("\nuse super::super::ids;"), [("ids".to_owned(), 2)]);
    assert_eq!(depth_of(Path::new("cluster/mod.rs")), 1);
    assert_eq!(depth_of(Path::new("clock.rs")), 1);
    assert_eq!(depth_of(Path::new("lib.rs")), 0);
}

#[test]
fn lines_are_counted_through_everything_dropped() {
    let source = "/* one\ntwo */ let s = \"three\nfour\";\nlet r = r\"\n\";\nuse crate::{\n    ids,\n    web,\n};";
    assert_eq!(root_names(source, 1, false), [("ids".to_owned(), 7), ("web".to_owned(), 8)]);
}

#[test]
fn downward_and_listed_edges_pass() {
    assert_eq!(complaints_about("store/mod.rs", "use crate::{ids::Fid, store::dialect, cluster};"), [""; 0]);
    assert_eq!(complaints_about("policy.rs", "use crate::cluster::Device;"), [""; 0]);
    assert_eq!(complaints_about("cli/demo.rs", "use crate::demo;"), [""; 0]);
    assert_eq!(complaints_about("main.rs", "use mogilefs::{cli, logging}; mod x; use crate::x;"), [""; 0]);
}

#[test]
fn upward_sideways_and_unknown_edges_fail() {
    assert_eq!(
        complaints_about("cluster/device.rs", "\nuse crate::store::Store;"),
        ["src/cluster/device.rs:2: `cluster` (layer 1) uses `store` above it (layer 2)"]
    );
    assert_eq!(
        complaints_about("cluster/mod.rs", "#[cfg(test)]\nmod tests {\n use crate::policy;\n}"),
        ["src/cluster/mod.rs:3: `cluster` uses `policy` beside it (layer 1), which SIDEWAYS does not list"]
    );
    assert_eq!(
        complaints_about("ids.rs", "use super::web;"),
        ["src/ids.rs:1: `ids` (layer 0) uses `web` above it (layer 4)"]
    );
    assert_eq!(
        complaints_about("jobs/mod.rs", "use crate::magic;"),
        ["src/jobs/mod.rs:1: module `magic` has no layer in tests/layers.rs"]
    );
    assert_eq!(
        complaints_about("magic.rs", "use crate::ids;"),
        ["src/magic.rs:1: module `magic` has no layer in tests/layers.rs"]
    );
    assert_eq!(complaints_about("demo.rs", "use crate::cli;").len(), 1);
    assert_eq!(complaints_about("store/mod.rs", "use crate::Error; use crate::*;").len(), 2);
}

#[test]
fn every_module_has_one_place() {
    let mut seen = BTreeSet::new();
    for module in LAYERS.iter().copied().flatten() {
        assert!(seen.insert(module), "`{module}` stands in two layers");
    }
    for (from, to) in SIDEWAYS {
        assert_eq!(layer_of(from), layer_of(to), "`{from}` and `{to}` are not beside each other");
    }
}
