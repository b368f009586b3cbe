//! Every line is for the console or not; only those with `!` and a word are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mogilefs::protocol::admin;

fuzz_target!(|line: &[u8]| {
    if admin::parse(line).is_some() {
        assert!(line.len() >= 2 && line[0] == b'!' && !line[1].is_ascii_whitespace());
    }
});
