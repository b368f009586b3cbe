//! What is known of a device whose disk is not the one that it should be.

/// The disk of a device does not bear the mark that trackers remember: another disk is mounted, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardFailure {
    pub expected: String,
    /// `None`: it shows no mark.
    pub seen: Option<String>,
}

impl GuardFailure {
    /// As a clause.
    pub fn text(&self) -> String {
        match &self.seen {
            Some(seen) => {
                format!("another disk is mounted: it bears the mark {seen}, not {} (mount guard)", self.expected)
            }
            None => format!("its disk is not mounted: the mark {} is missing (mount guard)", self.expected),
        }
    }
}
