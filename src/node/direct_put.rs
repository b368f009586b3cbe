//! Small PUTs by hand: the head parsed in place, the body stored as soon as all of it is here.
//!
//! As for reading ([`super::direct`]), whatever is not plainly said is left to the library, large bodies too: they go to
//! disk piece by piece. What makes an upload whole and durable is in [`super::upload`] alone.

use super::NodeShared;
use super::direct::{Manners, keeps_alive};
use super::fetch::Found;
use super::pulse::Pulse;
use super::upload::{self, Announced, Refusal, Stored, UploadError};
use hyper::StatusCode;
use std::rc::Rc;

/// Bodies up to here are held in memory whole.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What is to be stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Put {
    path: String,
    pub body_bytes: usize,
    announced: Option<Announced>,
}

/// `None` for whatever is not a small upload of a whole file, said in the usual words.
pub(super) fn plain(request: &httparse::Request<'_, '_>) -> Option<(Put, Manners)> {
    let target = request.path.filter(|target| target.starts_with('/'))?;
    let is_old = request.version? == 0;
    let (mut length, mut announced, mut keep_alive) = (None, None, !is_old);
    for header in request.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let text = std::str::from_utf8(header.value).ok()?;
            // Numbers with signs, and lengths that are told twice, are the library's to judge.
            let value = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<usize>().ok()).flatten()?;
            if length.replace(value).is_some() {
                return None;
            }
        } else if is("content-md5") {
            if announced.replace(upload::decode_md5(header.value)?).is_some() {
                return None;
            }
        } else if is("connection") {
            keep_alive = keeps_alive(header.value, keep_alive)?;
        } else if ["content-range", "transfer-encoding", "expect", "upgrade", "trailer"].into_iter().any(is) {
            return None;
        }
    }
    let body_bytes = length.filter(|&length| length <= BODY_BYTES_MAX)?;
    let path = target.split_once('?').map_or(target, |(path, _)| path).to_owned();
    Some((Put { path, body_bytes, announced }, Manners { is_head: false, is_old, keep_alive }))
}

impl Put {
    /// Stores the body; when this returns, so much of it is on disk as the policy says.
    pub async fn store(&self, shared: &NodeShared, pulse: &Rc<Pulse>, body: &[u8]) -> Result<Stored, UploadError> {
        let stored = upload::store_small(shared, pulse, &self.path, self.announced, body).await;
        stored.inspect_err(|error| upload::note(shared, &self.path, error))
    }
}

/// The answer, and whether the connection can go on.
pub(super) fn answer(outcome: Result<Stored, UploadError>) -> (Found, bool) {
    match outcome {
        Ok(Stored { replaced: true }) => (Found::empty(StatusCode::NO_CONTENT), true),
        Ok(Stored { replaced: false }) => (Found::empty(StatusCode::CREATED), true),
        Err(error) => {
            let Refusal { status, line, closes } = Refusal::of(&error);
            (Found::text(status, format!("{line}\n").into()), !closes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Option<(Put, Manners)> {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut headers);
        assert!(request.parse(head.as_bytes()).expect("a request").is_complete());
        plain(&request)
    }

    #[test]
    fn small_uploads_are_stored_here() {
        let put = |length| Put { path: "/dev1/a".to_owned(), body_bytes: length, announced: None };
        let new = Manners { is_head: false, is_old: false, keep_alive: true };
        assert_eq!(read("PUT /dev1/a HTTP/1.1\r\ncontent-length: 7\r\n\r\n"), Some((put(7), new)));
        assert_eq!(read("PUT /dev1/a?b HTTP/1.1\r\nContent-Length: 65536\r\n\r\n"), Some((put(65536), new)));
        let old = Manners { is_old: true, keep_alive: false, ..new };
        assert_eq!(read("PUT /dev1/a HTTP/1.0\r\nContent-Length: 0\r\n\r\n"), Some((put(0), old)));
        let md5 = "Content-MD5: kDPg4wXyR8DDyA0MeEjIsw==";
        let announced = read(&format!("PUT /dev1/a HTTP/1.1\r\nContent-Length: 1\r\n{md5}\r\n\r\n")).expect("plain").0;
        assert!(announced.announced.is_some());
    }

    #[test]
    fn all_others_are_left_to_the_library() {
        for headers in [
            "",
            "Content-Length: 65537",
            "Content-Length: +1",
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: 1\r\nExpect: 100-continue",
            "Content-Length: 1\r\nContent-Range: bytes 0-0/9",
            "Content-Length: 1\r\nContent-MD5: AAAA",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked",
            "Content-Length: 1\r\nConnection: upgrade",
        ] {
            assert_eq!(
                read(&format!("PUT /a HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n").replace("\r\n\r\n\r\n", "\r\n\r\n")),
                None,
                "{headers}"
            );
        }
    }
}
