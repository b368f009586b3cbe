//! Conditional requests (RFC 9110, 13): is the file that the client has, or does not want, still the same? Pure.

use std::fmt;
use std::time::SystemTime;

/// Which content of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version {
    /// In whole seconds, as HTTP tells times.
    pub modified: SystemTime,
    /// Since 1970.
    pub modified_nanos: u128,
    pub length: u64,
}

/// As an entity tag. Another copy of the same file has another one.
impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{:x}-{:x}\"", self.modified_nanos, self.length)
    }
}

/// The headers of a request that make it depend on the version.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Preconditions<'a> {
    pub if_match: Option<&'a str>,
    pub if_none_match: Option<&'a str>,
    pub if_modified_since: Option<&'a str>,
    pub if_unmodified_since: Option<&'a str>,
    pub if_range: Option<&'a str>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 412.
    Failed,
    /// 304.
    Unmodified,
    /// A range, if one is asked for, counts only if the client's other parts are of this version.
    Send { range_counts: bool },
}

impl Preconditions<'_> {
    /// In the order of RFC 9110, 13.2.2. Dates that cannot be read count as not said.
    pub fn decide(&self, version: &Version) -> Outcome {
        let may = match self.if_match {
            Some(tags) => lists(tags, version, false),
            None => self.if_unmodified_since.and_then(date).is_none_or(|since| version.modified <= since),
        };
        if !may {
            return Outcome::Failed;
        }
        let has_it = match self.if_none_match {
            Some(tags) => lists(tags, version, true),
            None => self.if_modified_since.and_then(date).is_some_and(|since| version.modified <= since),
        };
        if has_it {
            return Outcome::Unmodified;
        }
        let range_counts = self.if_range.is_none_or(|validator| match validator.starts_with(['"', 'W']) {
            true => lists(validator, version, false),
            false => date(validator) == Some(version.modified),
        });
        Outcome::Send { range_counts }
    }
}

/// Does the list of entity tags hold that of this version? Weak ones count only in a weak comparison.
fn lists(tags: &str, version: &Version, weak_too: bool) -> bool {
    let own = version.to_string();
    tags.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag == own || weak_too && tag.strip_prefix("W/") == Some(&own))
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    const BEFORE: Option<&str> = Some("Thu, 01 Jan 1970 00:16:39 GMT");
    const SAME: Option<&str> = Some("Thu, 01 Jan 1970 00:16:40 GMT");
    const OWN: Option<&str> = Some("\"e8d4a51000-6\"");
    const OTHER: Option<&str> = Some("\"0-6\"");
    const WHOLE: Outcome = Outcome::Send { range_counts: true };

    fn decide(preconditions: Preconditions<'_>) -> Outcome {
        let secs = 1000;
        let modified = UNIX_EPOCH + Duration::from_secs(secs);
        preconditions.decide(&Version { modified, modified_nanos: u128::from(secs) * 1_000_000_000, length: 6 })
    }

    #[test]
    fn what_the_client_has_is_not_sent() {
        let none = Preconditions::default();
        assert_eq!(decide(none), WHOLE);
        assert_eq!(decide(Preconditions { if_modified_since: SAME, ..none }), Outcome::Unmodified);
        assert_eq!(decide(Preconditions { if_modified_since: BEFORE, ..none }), WHOLE);
        assert_eq!(decide(Preconditions { if_modified_since: Some("yesterday"), ..none }), WHOLE);
        for tags in ["*", "\"e8d4a51000-6\"", "W/\"e8d4a51000-6\"", "\"x\", \"e8d4a51000-6\""] {
            assert_eq!(decide(Preconditions { if_none_match: Some(tags), ..none }), Outcome::Unmodified, "{tags}");
        }
        // A tag is more exact than a date.
        assert_eq!(decide(Preconditions { if_none_match: OTHER, if_modified_since: SAME, ..none }), WHOLE);
    }

    #[test]
    fn what_the_client_does_not_want_is_refused() {
        let none = Preconditions::default();
        assert_eq!(decide(Preconditions { if_match: OTHER, ..none }), Outcome::Failed);
        assert_eq!(decide(Preconditions { if_match: Some("W/\"e8d4a51000-6\""), ..none }), Outcome::Failed);
        assert_eq!(decide(Preconditions { if_match: OWN, if_unmodified_since: BEFORE, ..none }), WHOLE);
        assert_eq!(decide(Preconditions { if_unmodified_since: BEFORE, ..none }), Outcome::Failed);
        assert_eq!(decide(Preconditions { if_unmodified_since: SAME, ..none }), WHOLE);
    }

    #[test]
    fn ranges_of_another_version_do_not_count() {
        let none = Preconditions::default();
        for (if_range, range_counts) in [(SAME, true), (BEFORE, false), (OWN, true), (OTHER, false), (Some("x"), false)]
        {
            assert_eq!(decide(Preconditions { if_range, ..none }), Outcome::Send { range_counts }, "{if_range:?}");
        }
    }
}
