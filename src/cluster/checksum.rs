//! Checksums of files as clients write them (`MD5:hex`) and as the database holds them (type number and raw bytes).
//! Source: protocol.md 8.6, database.md 1.4 (table `checksum`), which reserves the numbers of the SHA-2 family. A tracker
//! of 2.73 knows MD5 and SHA-1 only.

use std::fmt;

/// A digest algorithm, with the number it has in `class.hashtype` and `checksum.hashtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashType {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl HashType {
    /// Every algorithm that the schema knows.
    pub const ALL: [HashType; 6] =
        [HashType::Md5, HashType::Sha1, HashType::Sha224, HashType::Sha256, HashType::Sha384, HashType::Sha512];

    /// The name on the wire; case-sensitive.
    pub fn name(self) -> &'static str {
        match self {
            HashType::Md5 => "MD5",
            HashType::Sha1 => "SHA-1",
            HashType::Sha224 => "SHA-224",
            HashType::Sha256 => "SHA-256",
            HashType::Sha384 => "SHA-384",
            HashType::Sha512 => "SHA-512",
        }
    }

    /// The number in the database.
    pub fn number(self) -> i64 {
        match self {
            HashType::Md5 => 1,
            HashType::Sha1 => 2,
            HashType::Sha224 => 3,
            HashType::Sha256 => 4,
            HashType::Sha384 => 5,
            HashType::Sha512 => 6,
        }
    }

    /// Length of a digest in bytes.
    pub fn digest_bytes(self) -> usize {
        match self {
            HashType::Md5 => 16,
            HashType::Sha1 => 20,
            HashType::Sha224 => 28,
            HashType::Sha256 => 32,
            HashType::Sha384 => 48,
            HashType::Sha512 => 64,
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
            HashType::Sha224 => Hasher::Sha224(sha2::Sha224::default()),
            HashType::Sha256 => Hasher::Sha256(sha2::Sha256::default()),
            HashType::Sha384 => Hasher::Sha384(sha2::Sha384::default()),
            HashType::Sha512 => Hasher::Sha512(sha2::Sha512::default()),
        }
    }
}

/// A digest computation in progress.
pub enum Hasher {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha224(sha2::Sha224),
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// Feeds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        use md5::Digest as _;
        match self {
            Hasher::Md5(hasher) => hasher.update(bytes),
            Hasher::Sha1(hasher) => hasher.update(bytes),
            Hasher::Sha224(hasher) => hasher.update(bytes),
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha384(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The checksum of all bytes fed.
    pub fn finish(self) -> Checksum {
        use md5::Digest as _;
        let (hashtype, digest) = match self {
            Hasher::Md5(hasher) => (HashType::Md5, hasher.finalize().to_vec()),
            Hasher::Sha1(hasher) => (HashType::Sha1, hasher.finalize().to_vec()),
            Hasher::Sha224(hasher) => (HashType::Sha224, hasher.finalize().to_vec()),
            Hasher::Sha256(hasher) => (HashType::Sha256, hasher.finalize().to_vec()),
            Hasher::Sha384(hasher) => (HashType::Sha384, hasher.finalize().to_vec()),
            Hasher::Sha512(hasher) => (HashType::Sha512, hasher.finalize().to_vec()),
        };
        Checksum { hashtype, digest }
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
            "SHA-256:9336ebf25087d91c818ee6e9ec29f8c1",
            "SHA256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "MD5",
        ] {
            assert_eq!(Checksum::parse(malformed.as_bytes()), None, "{malformed}");
        }
    }

    #[test]
    fn hashes_in_pieces() {
        for (name, number, hex) in [
            ("MD5", 1, "900150983cd24fb0d6963f7d28e17f72"),
            ("SHA-1", 2, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            ("SHA-224", 3, "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            ("SHA-256", 4, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "SHA-384",
                5,
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            ),
            (
                "SHA-512",
                6,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            let hashtype = HashType::from_number(number).expect("known");
            assert_eq!(HashType::from_name(name.as_bytes()), Some(hashtype));
            let mut hasher = hashtype.hasher();
            hasher.update(b"a");
            hasher.update(b"bc");
            let checksum = hasher.finish();
            assert_eq!(checksum.to_string(), format!("{name}:{hex}"));
            assert_eq!(Checksum::parse(checksum.to_string().as_bytes()), Some(checksum));
        }
        assert_eq!(HashType::from_number(7), None);
    }
}
