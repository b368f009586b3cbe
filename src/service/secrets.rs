//! Secrets that prove who somebody is: made at random, kept as digests, compared in a time that says nothing. Pure but
//! for the random numbers.
//!
//! Digests are plain SHA-256: that is enough for what was made here (256 random bits), and not for words that people
//! think of.

use sha2::{Digest as _, Sha256};

/// SHA-256 of a secret.
pub type SecretDigest = [u8; 32];

pub fn digest(secret: &[u8]) -> SecretDigest {
    Sha256::digest(secret).into()
}

/// Takes as long whatever differs: every byte is compared.
pub fn is_same_digest(one: &SecretDigest, other: &SecretDigest) -> bool {
    let differences = one.iter().zip(other).fold(0, |found, (one, other)| found | (one ^ other));
    std::hint::black_box(differences) == 0
}

/// Is it the secret that is wanted? Takes as long whatever differs.
pub fn is_same_secret(given: &[u8], wanted: &[u8]) -> bool {
    is_same_digest(&digest(given), &digest(wanted))
}

/// 256 random bits as 64 hexadecimal digits.
pub fn random_secret() -> String {
    hex(&rand::random::<[u8; 32]>())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A digest as [`hex`] writes it.
pub fn digest_of_hex(text: &str) -> Option<SecretDigest> {
    let mut digest = SecretDigest::default();
    if text.len() != 2 * digest.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_apart() {
        assert!(is_same_secret(b"sesame", b"sesame"));
        assert!(!is_same_secret(b"sesame", b"sesamf"));
        assert!(!is_same_secret(b"", b"sesame"));
        assert_ne!(random_secret(), random_secret());
        assert_eq!(random_secret().len(), 64);
    }

    #[test]
    fn digests_survive_being_written() {
        let known = digest(b"sesame");
        assert_eq!(digest_of_hex(&hex(&known)), Some(known));
        assert_eq!(digest_of_hex(&hex(&known).to_uppercase()), Some(known));
        for wrong in ["", "00", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(digest_of_hex(wrong), None, "{wrong}");
        }
    }
}
