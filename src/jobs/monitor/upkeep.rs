//! What a monitor writes to the database: usage figures, the guards of devices, and changes of status by rule.
//!
//! Run on a thread that may block. Nothing here waits for a lock that another tracker holds: that one does the work.

use super::automation::{self, Order, Reason, Rules};
use super::guards::{GuardUpdate, Guards};
use crate::cluster::ClusterSnapshot;
use crate::ids::{DevId, Fid};
use crate::store::device_guard::{self, StatusChange};
use crate::store::{Session, StoreResult, devices};
use slog::{Logger, crit, info, warn};
use std::time::Duration;

/// Stores usage figures. One tracker at a time writes the usage columns (J18).
pub async fn store_usages(session: &Session, usages: Vec<devices::DeviceUsage>, interval_secs: i64) -> StoreResult<()> {
    let Some(lock) = session.try_lock("mgfs:device_update", Duration::ZERO).await? else { return Ok(()) };
    let stored = session.write(move |conn| devices::update_usage(conn, &usages, interval_secs)).await;
    lock.release().await;
    stored
}

/// Stores what a round learned about marks and about devices that nobody reaches.
pub async fn store_guards(session: &Session, update: GuardUpdate) -> StoreResult<()> {
    session.write(move |conn| update.store(conn)).await
}

/// What became of the rules.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RuleReport {
    /// Status changes that were made.
    pub changed: usize,
    /// Why others were not made.
    pub refused: Vec<String>,
}

/// Changes the status of devices as the rules say; one tracker at a time, by what the table says now.
pub async fn apply_rules(
    session: &Session,
    cluster: &ClusterSnapshot,
    rules: Rules,
    log: &Logger,
) -> StoreResult<RuleReport> {
    let Some(lock) = session.try_lock("mogilefs:device_rules", Duration::ZERO).await? else {
        return Ok(RuleReport::default());
    };
    let report = apply_locked(session, cluster, rules, log).await;
    lock.release().await;
    report
}

async fn apply_locked(
    session: &Session,
    cluster: &ClusterSnapshot,
    rules: Rules,
    log: &Logger,
) -> StoreResult<RuleReport> {
    let guards = session.read(Guards::read)?;
    let decision = automation::decide(cluster, &guards, &rules);
    let mut report = RuleReport { changed: 0, refused: decision.refused };
    for order in decision.orders {
        if let Some(fid) = only_copy(session, cluster, &order)? {
            report.refused.push(format!(
                "device {} is not marked dead: file {fid} has no copy on another device that can be read",
                order.devid
            ));
            continue;
        }
        if carry_out(session, &order).await? {
            report.changed += 1;
            crit!(log, "device status changed by rule"; "devid" => order.devid, "from" => order.from.name(),
                "to" => order.to.name(), "reason" => order.reason.text());
        } else {
            info!(log, "device status not changed by rule: it is another one by now"; "devid" => order.devid);
        }
    }
    Ok(report)
}

/// A file that would be lost with the device.
fn only_copy(session: &Session, cluster: &ClusterSnapshot, order: &Order) -> StoreResult<Option<Fid>> {
    if !order.is_final() {
        return Ok(None);
    }
    let others = cluster.devices().filter(|view| view.device.devid != order.devid && view.may_be_read());
    let others: Vec<DevId> = others.map(|view| view.device.devid).collect();
    session.read(|conn| device_guard::file_only_on(conn, order.devid, &others))
}

async fn carry_out(session: &Session, order: &Order) -> StoreResult<bool> {
    let change = StatusChange {
        devid: order.devid,
        from: order.from,
        to: order.to,
        unreachable_for_secs: match order.reason {
            Reason::Unreachable { at_least_secs, .. } => Some(at_least_secs),
            Reason::MountGuard => None,
        },
    };
    session.write(move |conn| device_guard::change_status(conn, &change)).await
}

/// Says what the rules refused, when that is another thing than before.
pub fn log_refusals(log: &Logger, before: &mut Vec<String>, refused: Vec<String>) {
    for reason in refused.iter().filter(|reason| !before.contains(reason)) {
        warn!(log, "device status is left alone by rule"; "reason" => reason);
    }
    *before = refused;
}
