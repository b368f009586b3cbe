//! Checksums of files as clients write them (`MD5:hex`) and as the database holds them (type number and raw bytes).
//! Source: protocol.md 8.6, database.md 1.4 (table `checksum`).

use std::fmt;

/// A digest algorithm, with the number it has in `class.hashtype` and `checksum.hashtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashType {
    Md5,
    Sha1,
}

impl HashType {
    /// Every algorithm that the schema knows.
    pub const ALL: [HashType; 2] = [HashType::Md5, HashType::Sha1];

    /// The name on the wire; case-sensitive.
    pub fn name(self) -> &'static str {
        match self {
            HashType::Md5 => "MD5",
            HashType::Sha1 => "SHA-1",
        }
    }

    /// The number in the database.
    pub fn number(self) -> i64 {
        match self {
            HashType::Md5 => 1,
            HashType::Sha1 => 2,
        }
    }

    /// Length of a digest in bytes.
    pub fn digest_bytes(self) -> usize {
        match self {
            HashType::Md5 => 16,
            HashType::Sha1 => 20,
        }
    }

    /// The algorithm of this name.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().as_bytes() == name)
    }

    /// The algorithm of this database number.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.number() == number)
    }

    /// A digest computation that can be fed piece by piece.
    pub fn hasher(self) -> Hasher {
        match self {
            HashType::Md5 => Hasher::Md5(md5::Md5::default()),
            HashType::Sha1 => Hasher::Sha1(sha1::Sha1::default()),
        }
    }
}

/// A digest computation in progress.
pub enum Hasher {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
}

impl Hasher {
    /// Feeds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        use md5::Digest as _;
        match self {
            Hasher::Md5(hasher) => hasher.update(bytes),
            Hasher::Sha1(hasher) => hasher.update(bytes),
        }
    }

    /// The checksum of all bytes fed.
    pub fn finish(self) -> Checksum {
        use md5::Digest as _;
        match self {
            Hasher::Md5(hasher) => Checksum { hashtype: HashType::Md5, digest: hasher.finalize().to_vec() },
            Hasher::Sha1(hasher) => Checksum { hashtype: HashType::Sha1, digest: hasher.finalize().to_vec() },
        }
    }
}

/// A digest together with its algorithm.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Checksum {
    pub hashtype: HashType,
    /// Raw bytes, as many as the algorithm makes.
    pub digest: Vec<u8>,
}

impl Checksum {
    /// Reads `NAME:hex`; hex of either case, its length must fit the algorithm. `None` if malformed.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let colon = text.iter().position(|&byte| byte == b':')?;
        let hashtype = HashType::from_name(&text[..colon])?;
        let digest = decode_hex(&text[colon + 1..])?;
        (digest.len() == hashtype.digest_bytes()).then_some(Self { hashtype, digest })
    }

    /// The digest in lower-case hex.
    pub fn hex(&self) -> String {
        self.digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.hashtype.name(), self.hex())
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn decode_hex(hex: &[u8]) -> Option<Vec<u8>> {
    let nibble = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    hex.len()
        .is_multiple_of(2)
        .then(|| hex.chunks_exact(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_the_wire_form() {
        let checksum = Checksum::parse(b"MD5:9336EBF25087D91C818EE6E9EC29F8C1").expect("well formed");
        assert_eq!(checksum.to_string(), "MD5:9336ebf25087d91c818ee6e9ec29f8c1");
        for malformed in [
            "MD5:zz",
            "md5:9336ebf25087d91c818ee6e9ec29f8c1",
            "MD5:9336",
            "SHA-1:9336ebf25087d91c818ee6e9ec29f8c1",
            "MD5",
        ] {
            assert_eq!(Checksum::parse(malformed.as_bytes()), None, "{malformed}");
        }
    }

    #[test]
    fn hashes_in_pieces() {
        let mut hasher = HashType::Md5.hasher();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(hasher.finish().hex(), "900150983cd24fb0d6963f7d28e17f72");
    }
}
