//! Reply lines of the tracker, taken apart.

use crate::protocol::args::Args;
use bstr::ByteSlice as _;
use hyper::StatusCode;

/// A reply line as a result.
pub struct Reply;

/// The tracker said no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: String,
    pub text: String,
}

impl Refused {
    pub fn status(&self) -> StatusCode {
        match self.code.as_str() {
            "unknown_key" | "unreg_domain" => StatusCode::NOT_FOUND,
            "no_answer" => StatusCode::SERVICE_UNAVAILABLE,
            "failure" => StatusCode::BAD_GATEWAY,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// For people.
    pub fn sentence(&self) -> String {
        match self.text.is_empty() {
            true => self.code.clone(),
            false => format!("{} ({})", self.text, self.code),
        }
    }
}

impl Reply {
    /// The pairs of `OK …`, or the error of `ERR code text`.
    ///
    /// # Errors
    /// The tracker refused, or did not answer.
    pub fn parse(line: &[u8]) -> Result<Args, Refused> {
        let line = line.trim_end_with(|c| c == '\r' || c == '\n');
        let mut words = line.splitn(3, |&byte| byte == b' ');
        match words.next() {
            Some(b"OK") => Ok(Args::decode(line.get(3..).unwrap_or_default())),
            Some(b"ERR") => {
                let code = words.next().unwrap_or_default().to_str_lossy().into_owned();
                let text = crate::protocol::args::unescape(words.next().unwrap_or_default()).to_string();
                Err(Refused { code, text })
            }
            _ => Err(Refused { code: "no_answer".to_owned(), text: "The tracker does not answer now".to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_pairs_or_refusals() {
        let pairs = Reply::parse(b"OK a=1&b=x+y%0A\r\n").expect("a success");
        assert_eq!((pairs.int("a"), pairs.get("b").map(|b| b.to_string())), (1, Some("x y\n".to_owned())));
        assert_eq!(Reply::parse(b"OK \r\n").map(|pairs| pairs.pairs().len()), Ok(0));
        let refused = Reply::parse(b"ERR unknown_key Unknown+key\r\n").expect_err("a refusal");
        assert_eq!(
            (refused.sentence().as_str(), refused.status()),
            ("Unknown key (unknown_key)", StatusCode::NOT_FOUND)
        );
        assert_eq!(Reply::parse(b"").map_err(|refused| refused.code), Err("no_answer".to_owned()));
    }
}
