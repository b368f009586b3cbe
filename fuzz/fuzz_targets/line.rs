//! Lines do not depend on how their bytes arrive, and hold no line end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mogilefs::protocol::line::LineBuffer;

const LINE_BYTES_MAX: usize = 64;

/// All lines of the chunks, and whether one was too long.
fn lines<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, bool) {
    let mut buffer = LineBuffer::new(LINE_BYTES_MAX);
    let mut lines = Vec::new();
    for chunk in chunks {
        buffer.push(chunk);
        loop {
            match buffer.next_line() {
                Ok(Some(line)) => lines.push(line.to_vec()),
                Ok(None) => break,
                Err(_too_long) => return (lines, true),
            }
        }
    }
    (lines, false)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (chunk_bytes, bytes) = (usize::from(input.0).max(1), input.1);
    let (at_once, _) = lines(std::iter::once(bytes));
    let (in_chunks, too_long) = lines(bytes.chunks(chunk_bytes));
    for line in &in_chunks {
        assert!(!line.is_empty() && !line.contains(&b'\n') && line.len() <= LINE_BYTES_MAX);
    }
    // Where a line is too long the rest is not looked at; how much came before may depend on the chunks.
    if !too_long {
        assert_eq!(at_once.get(..in_chunks.len()), Some(&in_chunks[..]));
    }
});
