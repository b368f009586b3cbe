//! Commands that set up, begin, end and watch a rebalance. They change the settings that all trackers share.

pub mod reset;
pub mod set_policy;
pub mod start;
pub mod status;
pub mod stop;
pub mod test;

use crate::jobs::query::error::CommandError;
use crate::jobs::rebalance::InvalidSetting;
use crate::protocol::error_code::ErrorCode;

/// A stored policy or state that somebody has written past the commands cannot be gone by.
fn unusable(invalid: &InvalidSetting) -> CommandError {
    CommandError::with_text(ErrorCode::Failure, invalid.to_string())
}
