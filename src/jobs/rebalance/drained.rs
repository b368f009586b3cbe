//! The source that a run has set to drain, remembered until it is alive again.

use super::field;
use super::policy::RebalancePolicy;
use crate::cluster::device_state::DeviceStatus;
use crate::ids::DevId;
use crate::store::{StoreConnection, StoreResult, devices, server_settings};
use std::collections::BTreeMap;

/// The device whose status the run has changed to drain.
pub(super) fn drained(settings: &BTreeMap<String, String>) -> Option<DevId> {
    settings.get(field::DRAINED)?.parse().ok().map(DevId)
}

/// Makes the device alive again that the run has drained, unless somebody has decided otherwise meanwhile, or it is to be
/// left as it is; true if its status was changed.
///
/// # Errors
/// The database failed.
pub(super) fn give_back(
    conn: &mut StoreConnection,
    settings: &BTreeMap<String, String>,
    leave_as_it_is: bool,
) -> StoreResult<bool> {
    let Some(devid) = drained(settings) else { return Ok(false) };
    server_settings::set(conn, field::DRAINED, None)?;
    if leave_as_it_is {
        return Ok(false);
    }
    devices::change_status(conn, devid, DeviceStatus::Drain, DeviceStatus::Alive)
}

/// [`give_back`] for a run that is forgotten before it came to an end, because somebody has taken its tracker out of the
/// settings. To be called while its policy is still there, and only if no run is under way.
///
/// # Errors
/// The database failed.
pub fn give_back_abandoned(conn: &mut StoreConnection) -> StoreResult<bool> {
    let settings = server_settings::all(conn)?;
    let policy = settings.get(field::POLICY).and_then(|policy| policy.parse::<RebalancePolicy>().ok());
    give_back(conn, &settings, policy.is_some_and(|policy| policy.leave_in_drain_mode))
}
