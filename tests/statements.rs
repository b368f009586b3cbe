//! Every conformance statement of database.md (section 7), jobs.md (section 15) and storage-node.md (section 14) has a test that names its number, or
//! stands here with the reason. Those of protocol.md: `tests/it/statements.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The statements of one part of the reference.
struct Statements {
    letter: char,
    count: u16,
    /// Where their tests are.
    directories: &'static [&'static str],
    /// Those without a test of their own, and why. One that gets a test is taken out.
    not_tested: &'static [(u16, &'static str)],
}

const DATABASE: Statements = Statements {
    letter: 'C',
    count: 105,
    directories: &["tests", "src/store"],
    not_tested: &[
        (
            28,
            "the operation does not exist: a close onto a fid that is a file is refused (D31, `close_refuses_what_is_gone`)",
        ),
        (31, "the same operation"),
        (51, "no operation adds locations of several files; those of an expired upload are one change (C23)"),
    ],
};

const JOBS: Statements = Statements { letter: 'J', count: 158, directories: &["tests", "src"], not_tested: &[] };

const NODES: Statements = Statements {
    letter: 'S',
    count: 33,
    directories: &["tests", "src/node", "src/node_client", "src/jobs"],
    not_tested: &[],
};

/// The numbers with this letter that a test names: in its own name (`c21_c22_…`), or in the text about it (`C21`,
/// `C07–C10`).
fn numbers_in(source: &str, letter: char) -> BTreeSet<u16> {
    let mut numbers = BTreeSet::new();
    let small = letter.to_ascii_lowercase();
    for (at, _) in source.match_indices(&format!("fn {small}")) {
        let name = source[at + 3..].split('(').next().unwrap_or_default();
        let parts =
            name.split('_').map_while(|part| part.strip_prefix(small).and_then(|part| part.parse::<u16>().ok()));
        numbers.extend(parts);
    }
    let mut range_from = None;
    for (at, _) in source.match_indices(letter) {
        let is_begin = !source[..at].ends_with(|before: char| before.is_ascii_alphanumeric() || before == '_');
        let digits = source[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let Some(number) = source[at + 1..at + 1 + digits].parse::<u16>().ok().filter(|_| is_begin) else {
            continue;
        };
        match range_from.filter(|_| source[..at].ends_with('–')) {
            Some(first) => numbers.extend(first..=number),
            None => _ = numbers.insert(number),
        }
        range_from = Some(number);
    }
    numbers
}

/// Of sources of the program only their tests.
fn tests_of(path: &Path) -> String {
    let source = fs::read_to_string(path).expect("a source");
    match path.to_string_lossy().contains("/src/") {
        true => source.split_once("#[cfg(test)]\nmod tests").map_or(String::new(), |(_, tests)| tests.to_owned()),
        false => source,
    }
}

fn collect(directory: &Path, letter: char, found: &mut BTreeSet<u16>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let is_this = path.ends_with("tests/statements.rs");
        if path.is_dir() {
            collect(&path, letter, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_this {
            found.extend(numbers_in(&tests_of(&path), letter));
        }
    }
}

fn untested(statements: &Statements) -> Vec<u16> {
    let mut named: BTreeSet<u16> = statements.not_tested.iter().map(|(number, _)| *number).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for directory in statements.directories {
        collect(&root.join(directory), statements.letter, &mut named);
    }
    (1..=statements.count).filter(|number| !named.contains(number)).collect()
}

#[test]
fn numbers_are_found() {
    let source = "async fn c21_c22_name(f)\nfn check()\n// C07–C10, (C100), AC33 C5x fn c3po_x() W17 FC12 J4";
    assert_eq!(numbers_in(source, 'C'), [5, 7, 8, 9, 10, 21, 22, 100].into());
    assert_eq!(numbers_in(source, 'J'), [4].into());
}

#[test]
fn every_statement_about_the_database_is_tested_or_listed() {
    assert_eq!(untested(&DATABASE), [0_u16; 0], "statements without a test");
}

#[test]
fn every_statement_about_the_jobs_is_tested_or_listed() {
    assert_eq!(untested(&JOBS), [0_u16; 0], "statements without a test");
}

#[test]
fn every_statement_about_storage_nodes_is_tested_or_listed() {
    assert_eq!(untested(&NODES), [0_u16; 0], "statements without a test");
}
