//! What a rebalance goes by: the policy an operator sets, the state of the run, and the devices that the policy selects
//! (jobs.md 11). Policy and state are texts in the settings that all trackers share, readable by those of the reference.
//!
//! Pure: nothing here asks a database or a node, and nothing here moves a file.

pub mod policy;
pub mod selection;
pub mod state;

/// Names of the settings.
pub mod field {
    /// The tracker that fills the queue; absent while no rebalance runs.
    pub const HOST: &str = "rebal_host";
    pub const POLICY: &str = "rebal_policy";
    pub const STATE: &str = "rebal_state";
    /// [`SIGNAL_STOP`](super::SIGNAL_STOP): the run is to stop.
    pub const SIGNAL: &str = "rebal_signal";
}

/// The one value of [`field::SIGNAL`].
pub const SIGNAL_STOP: &str = "stop";

/// A name that neither policy nor state has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid setting {0}")]
pub struct InvalidSetting(pub String);

/// The pairs of `name=value name=value`. One white-space character separates, so that two in a row enclose an empty
/// name; those at the end mean nothing. What follows a second `=` is dropped.
fn items(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let text = text.trim_end_matches(|character: char| character.is_ascii_whitespace());
    let items = (!text.is_empty()).then(|| text.split(|character: char| character.is_ascii_whitespace()));
    items.into_iter().flatten().map(|item| {
        let mut parts = item.split('=');
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    })
}

/// The numbers of `1,2,3`; empty elements and what is no number are left out.
fn numbers(text: &str) -> impl Iterator<Item = i64> {
    text.split(',').filter_map(|element| element.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::items;

    fn pairs(text: &str) -> Vec<(&str, &str)> {
        items(text).collect()
    }

    #[test]
    fn items_are_separated_by_one_white_space_character() {
        assert_eq!(pairs("a=1 b=2\nc=3"), [("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(pairs("a=1  b=2"), [("a", "1"), ("", ""), ("b", "2")]);
        assert_eq!(pairs(" a=1"), [("", ""), ("a", "1")]);
        assert_eq!(pairs("a=1 \n"), [("a", "1")]);
        assert_eq!(pairs(""), []);
        assert_eq!(pairs(" "), []);
        assert_eq!(pairs("a b=1=2 =3"), [("a", ""), ("b", "1"), ("", "3")]);
    }
}
