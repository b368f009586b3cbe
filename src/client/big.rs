//! How a file too big for one piece is kept, as mogtool of MogileFS-Utils does it, so that either reads what the other
//! stored: the pieces under `key,1`, `key,2`, …, what they are under `_big_info:key`, and while it is being stored
//! `_big_pre:key`. Pure: forms and names, no exchange.

use bstr::ByteSlice as _;

const INFO_PREFIX: &str = "_big_info:";
const PRE_PREFIX: &str = "_big_pre:";

/// Piece number n (from 1).
pub fn chunk_key(key: &str, number: u64) -> String {
    format!("{key},{number}")
}

/// Where the record of a stored file is.
pub fn info_key(key: &str) -> String {
    format!("{INFO_PREFIX}{key}")
}

/// Where the note of a file that is being stored is.
pub fn pre_key(key: &str) -> String {
    format!("{PRE_PREFIX}{key}")
}

/// The key of a big file by the key of its record.
pub fn of_info_key(key: &str) -> Option<&str> {
    key.strip_prefix(INFO_PREFIX)
}

/// The key of an unfinished big file by the key of its note.
pub fn of_pre_key(key: &str) -> Option<&str> {
    key.strip_prefix(PRE_PREFIX)
}

/// Keys with spaces or commas could not be told from those of pieces.
pub fn is_valid_key(key: &str) -> bool {
    !key.is_empty() && !key.contains(|char: char| char.is_whitespace() || char == ',')
}

/// One piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BigPart {
    pub number: u64,
    pub bytes: u64,
    /// In hexadecimal digits.
    pub md5: String,
    /// Where it was when it was stored.
    pub paths: Vec<String>,
}

/// The record of a big file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BigInfo {
    pub description: String,
    /// `file`, `tarball` or `partition`.
    pub kind: String,
    /// The bytes are compressed, by whomever.
    pub compressed: bool,
    /// We compressed them, so that fetching it has to undo that. A line that mogtool passes over.
    pub packed: bool,
    /// What it was made from.
    pub filename: String,
    pub chunks: u64,
    /// Of all pieces together.
    pub size_bytes: u64,
    pub parts: Vec<BigPart>,
}

impl BigInfo {
    /// In mogtool's form.
    pub fn render(&self) -> String {
        let mut text = format!(
            "des {}\ntype {}\ncompressed {}\nfilename {}\nchunks {}\nsize {}\n",
            one_line(&self.description),
            self.kind,
            u8::from(self.compressed),
            one_line(&self.filename),
            self.chunks,
            self.size_bytes
        );
        if self.packed {
            text.push_str("packed gzip\n");
        }
        text.push('\n');
        self.parts.iter().for_each(|part| text.push_str(&part.render()));
        text
    }

    /// `None` if it is no record, or the pieces that it lists are not those that it says there are.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = text.to_str_lossy();
        let (mut info, mut chunks) = (Self::default(), None);
        for line in text.lines() {
            let Some((name, value)) = line.split_once(char::is_whitespace) else { continue };
            let value = value.trim();
            match name {
                "des" => info.description = value.to_owned(),
                "type" => info.kind = value.to_owned(),
                "compressed" => info.compressed = value == "1",
                "packed" => info.packed = value == "gzip",
                "filename" => info.filename = value.to_owned(),
                "chunks" => chunks = value.parse().ok(),
                "size" => info.size_bytes = value.parse().ok()?,
                "part" => info.parts.push(BigPart::parse(value)?),
                _ => {}
            }
        }
        info.chunks = chunks?;
        info.parts.sort_by_key(|part| part.number);
        let is_whole = info.parts.iter().map(|part| part.number).eq(1..=info.chunks);
        let bytes: u64 = info.parts.iter().map(|part| part.bytes).sum();
        (is_whole && bytes == info.size_bytes).then_some(info)
    }
}

impl BigPart {
    fn render(&self) -> String {
        format!("part {} bytes={} md5={} paths: {}\n", self.number, self.bytes, self.md5, self.paths.join(", "))
    }

    /// What follows the word `part`.
    fn parse(text: &str) -> Option<Self> {
        let (facts, paths) = text.split_once("paths:").unwrap_or((text, ""));
        let mut words = facts.split_whitespace();
        let number = words.next()?.parse().ok()?;
        let bytes = words.next()?.strip_prefix("bytes=")?.parse().ok()?;
        let md5 = words.next()?.strip_prefix("md5=")?.to_lowercase();
        let paths = paths.split(',').map(str::trim).filter(|path| !path.is_empty()).map(str::to_owned).collect();
        Some(Self { number, bytes, md5, paths })
    }
}

/// The note of a file that is being stored: since when, and which pieces are there already.
pub fn render_pre(started_unixtime: u64, parts: &[BigPart]) -> String {
    let mut text = format!("starttime:{started_unixtime}\n");
    parts.iter().for_each(|part| text.push_str(&part.render()));
    text
}

/// The pieces that a note says are there. mogtool's notes say nothing of them.
pub fn parse_pre(text: &[u8]) -> Vec<BigPart> {
    text.to_str_lossy().lines().filter_map(|line| BigPart::parse(line.strip_prefix("part ")?)).collect()
}

fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u64, bytes: u64) -> BigPart {
        let paths = vec![format!("http://n/{number}.fid"), "http://m/x.fid".to_owned()];
        BigPart { number, bytes, md5: "d41d8cd98f00b204e9800998ecf8427e".to_owned(), paths }
    }

    #[test]
    fn a_record_is_written_as_mogtool_writes_it() {
        let info = BigInfo {
            description: "two\nlines".to_owned(),
            kind: "file".to_owned(),
            filename: "./x.dat".to_owned(),
            chunks: 1,
            size_bytes: 5,
            parts: vec![part(1, 5)],
            ..BigInfo::default()
        };
        assert_eq!(
            info.render(),
            "des two lines\ntype file\ncompressed 0\nfilename ./x.dat\nchunks 1\nsize 5\n\npart 1 bytes=5 \
             md5=d41d8cd98f00b204e9800998ecf8427e paths: http://n/1.fid, http://m/x.fid\n"
        );
    }

    #[test]
    fn what_was_written_is_read() {
        let parts: Vec<_> = (1..=12).map(|number| part(number, 10)).collect();
        let info = BigInfo {
            description: "d".to_owned(),
            kind: "tarball".to_owned(),
            compressed: true,
            packed: true,
            filename: "a dir".to_owned(),
            chunks: 12,
            size_bytes: 120,
            parts,
        };
        assert_eq!(BigInfo::parse(info.render().as_bytes()), Some(info.clone()));
        assert_eq!(parse_pre(render_pre(7, &info.parts).as_bytes()), info.parts);
    }

    #[test]
    fn a_record_that_lacks_a_piece_is_none() {
        let text = "des x\ntype file\ncompressed 0\nfilename f\nchunks 2\nsize 10\n\n\
                    part 2 bytes=10 md5=00 paths: http://n/1\n";
        assert_eq!(BigInfo::parse(text.as_bytes()), None);
        assert_eq!(BigInfo::parse(b"starttime:12"), None);
        assert_eq!(parse_pre(b"starttime:12"), []);
    }

    #[test]
    fn keys_of_pieces_cannot_be_mistaken() {
        assert!(is_valid_key("backup/2026-01.tar"));
        assert!(!is_valid_key("a,1") && !is_valid_key("a b") && !is_valid_key(""));
        assert_eq!(of_info_key(&info_key("k")), Some("k"));
    }
}
