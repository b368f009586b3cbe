//! Rebalance: copies are moved from chosen devices to chosen others (jobs.md 11).
//!
//! What it goes by is the policy an operator sets, the state of the run, and the devices that the policy selects. Policy
//! and state are texts in the settings that all trackers share, readable by those of the reference. What is taken next is
//! decided in [`plan`], stored by [`pass`] and carried out by [`run`].
//!
//! A copy is removed only by `replicate::move_away`, never here.

mod drained;
pub mod dry_run;
mod pass;
pub mod plan;
pub mod policy;
pub mod progress;
mod run;
pub mod selection;
pub mod state;

pub use drained::give_back_abandoned;
pub use pass::{NO_DESTINATION, pass};
pub use run::run;

/// Names of the settings.
pub mod field {
    /// The tracker that fills the queue; absent while no rebalance runs.
    pub const HOST: &str = "rebal_host";
    pub const POLICY: &str = "rebal_policy";
    pub const STATE: &str = "rebal_state";
    /// [`SIGNAL_STOP`](super::SIGNAL_STOP): the run is to stop.
    pub const SIGNAL: &str = "rebal_signal";
    /// Ours: the device that the run has set to drain, and that is alive again after it.
    pub const DRAINED: &str = "rebal_drained";
    /// Ours: why the last run ended before it was done, what a run waits for, or what it could not go by.
    pub const PROBLEM: &str = "rebal_problem";
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
