//! Every conformance statement of database.md section 7 has a test that names its number, or stands in [`NOT_TESTED`].

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// How many statements the section has.
const STATEMENTS: u16 = 105;

/// Statements without a test of their own, and why. One that gets a test is taken out here.
const NOT_TESTED: &[(u16, &str)] = &[
    (
        28,
        "the operation does not exist: a close onto a fid that is a file is refused (D31, `close_refuses_what_is_gone`)",
    ),
    (31, "the same operation"),
    (51, "no operation adds locations of several files; those of an expired upload are one change (C23)"),
];

/// The numbers that a test names: in its own name (`c21_c22_…`), or in the text about it (`C21`, `C07–C10`).
fn numbers_in(source: &str) -> BTreeSet<u16> {
    let mut numbers = BTreeSet::new();
    for (at, _) in source.match_indices("fn c") {
        let name = source[at + 3..].split('(').next().unwrap_or_default();
        let parts = name.split('_').map_while(|part| part.strip_prefix('c').and_then(|part| part.parse::<u16>().ok()));
        numbers.extend(parts);
    }
    let mut range_from = None;
    for (at, _) in source.match_indices('C') {
        let is_begin = !source[..at].ends_with(|before: char| before.is_ascii_alphanumeric() || before == '_');
        let digits = source[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let Some(number) = source[at + 1..at + 1 + digits].parse::<u16>().ok().filter(|_| is_begin && digits >= 2)
        else {
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

fn collect(directory: &Path, found: &mut BTreeSet<u16>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let is_this = path.ends_with("databases/statements.rs");
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_this {
            found.extend(numbers_in(&tests_of(&path)));
        }
    }
}

#[test]
fn numbers_are_found() {
    let source = "async fn c21_c22_name(f)\nfn check()\n// C07–C10, (C100), AC33 C5 fn c3po_x() W17 FC12";
    assert_eq!(numbers_in(source), [7, 8, 9, 10, 21, 22, 100].into());
}

#[test]
fn every_statement_is_tested_or_listed() {
    let mut tested = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    collect(&root.join("tests"), &mut tested);
    collect(&root.join("src/store"), &mut tested);
    let listed: BTreeSet<u16> = NOT_TESTED.iter().map(|(number, _)| *number).collect();
    let missing: Vec<u16> =
        (1..=STATEMENTS).filter(|number| !tested.contains(number) && !listed.contains(number)).collect();
    assert_eq!(missing, [0_u16; 0], "statements without a test");
    assert!(NOT_TESTED.iter().all(|(_, reason)| !reason.is_empty()));
}
