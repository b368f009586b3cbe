//! Every conformance statement of protocol.md section 13 has a test that names its number.

use std::collections::BTreeSet;

/// How many statements the section has.
const STATEMENTS: u16 = 313;

/// The sources in which statements are tested.
const SOURCES: [&str; 10] = [
    include_str!("conformance.rs"),
    include_str!("admin.rs"),
    include_str!("watching.rs"),
    include_str!("traffic.rs"),
    include_str!("maintenance.rs"),
    include_str!("bad_input.rs"),
    include_str!("../actors.rs"),
    include_str!("../../src/protocol/admin.rs"),
    include_str!("../../src/tracker/output.rs"),
    include_str!("../../src/tracker/recent.rs"),
];

/// The numbers in the text: steps of the script, messages of assertions that begin with a number, and what stands behind
/// the word "Conformance".
fn numbers_in(source: &str) -> BTreeSet<u16> {
    let mut numbers = BTreeSet::new();
    for word in ["step(", "expect_class(", "\"", "// "] {
        for (_, rest) in source.match_indices(word).map(|(at, word)| source.split_at(at + word.len())) {
            let rest = rest.trim_start();
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            // Not those of an address.
            let is_number = word.ends_with('(') || [". ", ": ", ", "].iter().any(|end| rest[digits..].starts_with(end));
            if is_number && let Ok(number) = rest[..digits].parse() {
                numbers.insert(number);
            }
        }
    }
    for word in ["onformance ", "tatement ", "tatements "] {
        for (at, word) in source.match_indices(word) {
            let list =
                source[at + word.len()..].split(|other: char| !(other.is_ascii_digit() || ", –".contains(other)));
            for part in list.take(1).flat_map(|list| list.split([',', ' '])) {
                let mut ends = part.split('–').filter_map(|end| end.parse::<u16>().ok());
                if let Some(first) = ends.next() {
                    numbers.extend(first..=ends.next().unwrap_or(first));
                }
            }
        }
    }
    numbers
}

#[test]
fn numbers_are_found() {
    let source =
        "\"127.0.0.1\" self.step(7, \"x\");\n // 12. yes\n \"14. a\" \"15x\" Conformance 290–292, 300. statement 9";
    assert_eq!(numbers_in(source), [7, 9, 12, 14, 290, 291, 292, 300].into());
}

#[test]
fn every_statement_is_tested() {
    let tested: BTreeSet<u16> = SOURCES.iter().flat_map(|source| numbers_in(source)).collect();
    let untested: Vec<u16> = (1..=STATEMENTS).filter(|number| !tested.contains(number)).collect();
    assert_eq!(untested, [0_u16; 0], "statements without a test");
}
