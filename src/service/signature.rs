//! Signed requests: who knows the key of the storage nodes may store and delete there, wherever he calls from.
//!
//! The header `X-Mogile-Signature: v1 SECONDS MAC` holds a Unix time and an HMAC-SHA256 of version, method, path and time. It proves who asks for
//! what, and when; not what is stored: somebody on the way can put other bytes below a request that he has seen, or send it once
//! more, for as long as its time counts. Against that there is TLS (docs/SECURITY.md).

use super::secrets::hex;
use ring::hmac;
use std::path::Path;
use std::sync::Arc;

/// The header's name, in lower case.
pub const HEADER: &str = "x-mogile-signature";
/// How far the clocks of the two may be apart, and how long a request takes at most until it is looked at.
pub const WINDOW_SECS: i64 = 300;
const VERSION: &str = "v1";
/// A shorter key can be guessed.
const KEY_BYTES_MIN: usize = 32;

/// A key that signers and nodes share. Clones are one.
#[derive(Clone)]
pub struct SigningKey(Arc<hmac::Key>);

/// Keys are shown to nobody.
impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl SigningKey {
    /// Reads a file whose text, without blanks around it, is the key; no path, no key.
    ///
    /// # Errors
    /// A sentence with the file.
    pub fn read(path: &Path) -> Result<Option<Self>, String> {
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let named = |why: String| format!("{}: {why}", path.display());
        let text = std::fs::read(path).map_err(|error| named(error.to_string()))?;
        Self::new(text.trim_ascii()).map(Some).map_err(named)
    }

    /// # Errors
    /// The key is too short.
    pub fn new(secret: &[u8]) -> Result<Self, String> {
        if secret.len() < KEY_BYTES_MIN {
            return Err(format!(
                "a key needs {KEY_BYTES_MIN} characters at least, as `openssl rand -hex 32` prints them"
            ));
        }
        Ok(Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret))))
    }

    /// The header's value for this request at this time.
    pub fn sign(&self, method: &str, path: &str, now_secs: i64) -> String {
        let tag = hmac::sign(&self.0, signed(method, path, now_secs).as_bytes());
        format!("{VERSION} {now_secs} {}", hex(tag.as_ref()))
    }

    /// Why the header does not prove this request at this time, if so.
    ///
    /// # Errors
    /// A few words for whoever sent it.
    pub fn verify(&self, value: &str, method: &str, path: &str, now_secs: i64) -> Result<(), &'static str> {
        let parts: Vec<&str> = value.split(' ').collect();
        let [VERSION, secs, mac] = parts[..] else { return Err("the signature has another form") };
        let Some((secs, mac)) = secs.parse::<i64>().ok().zip(bytes_of_hex(mac)) else {
            return Err("the signature has another form");
        };
        if now_secs.abs_diff(secs) > WINDOW_SECS.unsigned_abs() {
            return Err("the signature is of another time: are the clocks right?");
        }
        hmac::verify(&self.0, signed(method, path, secs).as_bytes(), &mac)
            .map_err(|_| "the signature is of another key or request")
    }
}

/// Does it change what a node holds?
pub fn is_write(method: &str) -> bool {
    !matches!(method, "GET" | "HEAD" | "OPTIONS")
}

/// What the MAC is made of. Neither methods nor paths have line ends.
fn signed(method: &str, path: &str, secs: i64) -> String {
    format!("{VERSION}\n{method}\n{path}\n{secs}")
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| (0..text.len()).step_by(2).filter_map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn key(letter: char) -> SigningKey {
        SigningKey::new(letter.to_string().repeat(KEY_BYTES_MIN).as_bytes()).expect("long enough")
    }

    #[test]
    fn a_signature_is_of_one_key_request_and_time() {
        let signature = key('a').sign("PUT", "/dev1/a", NOW);
        let verify = |key: SigningKey, method, path, now| key.verify(&signature, method, path, now).is_ok();
        assert!(verify(key('a'), "PUT", "/dev1/a", NOW));
        assert!(verify(key('a'), "PUT", "/dev1/a", NOW + WINDOW_SECS));
        assert!(verify(key('a'), "PUT", "/dev1/a", NOW - WINDOW_SECS));
        assert!(!verify(key('b'), "PUT", "/dev1/a", NOW));
        assert!(!verify(key('a'), "DELETE", "/dev1/a", NOW));
        assert!(!verify(key('a'), "PUT", "/dev1/b", NOW));
        assert!(!verify(key('a'), "PUT", "/dev1/a", NOW + WINDOW_SECS + 1));
        assert!(!verify(key('a'), "PUT", "/dev1/a", NOW - WINDOW_SECS - 1));
    }

    /// As RFC 4231 and openssl have it: others can make signatures, too.
    #[test]
    fn others_can_sign() {
        // printf 'v1\nPUT\n/dev1/a\n1700000000' | openssl dgst -sha256 -hmac aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
        let mac = "5d008c413f355ccd4556f3d50d0a34a17a593e690c230d25ef11864a17eaa867";
        assert_eq!(key('a').sign("PUT", "/dev1/a", NOW), format!("v1 1700000000 {mac}"));
    }

    #[test]
    fn nonsense_is_refused() {
        for value in
            ["", "v1", "v1 x y", "v2 1700000000 00", "v1 1700000000 0", "v1 1700000000 éé", "v1 1700000000  00"]
        {
            assert!(key('a').verify(value, "PUT", "/dev1/a", NOW).is_err(), "{value}");
        }
        assert!(SigningKey::new(b"short").is_err());
        assert!(!format!("{:?}", key('a')).contains("aaa"));
    }
}
