//! Row locks that other nodes of a Galera cluster see.
//!
//! There a lock on a row that is only read is known to its own node alone; between nodes nothing counts but the rows that
//! both have written, and of two transactions that wrote the same row at the same time the later one is rolled back as a
//! deadlock. So where one transaction relies on a row that another may take away, both write a row of `mogilefs_hold` besides
//! (docs/decisions/0015). Nothing is written anywhere else: there the locks themselves do.

use super::connection::StoreConnection;
use super::error::StoreResult;
use super::schema::mogilefs_hold as hold;
use super::types::{Int, plus};
use crate::ids::{DevId, Dmid};
use diesel::prelude::*;
use std::cell::Cell;

/// Uploads into a domain share its hold: each writes one of so many rows, so that they seldom meet; who deletes writes all.
const SHARES: u32 = 256;

thread_local! {
    /// In a transaction that has to write its holds: the share that it uses. A connection of diesel carries nothing of ours, and
    /// a transaction runs on one thread from its beginning to its end.
    static SHARE: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Which share a session uses: random, so that sessions of all trackers are spread.
pub(super) fn choose_share() -> u32 {
    use rand::RngExt as _;
    rand::rng().random_range(0..SHARES)
}

/// While this lives, transactions of this thread write their holds.
pub(super) struct WritesHolds {
    before: Option<u32>,
}

impl WritesHolds {
    pub(super) fn with_share(share: u32) -> Self {
        Self { before: SHARE.replace(Some(share % SHARES)) }
    }
}

impl Drop for WritesHolds {
    fn drop(&mut self) {
        SHARE.set(self.before);
    }
}

/// The domain and its classes stay until this transaction ends; others may rely on that at the same time.
pub(super) fn share_domain(conn: &mut StoreConnection, dmid: Dmid) -> StoreResult<()> {
    match SHARE.get() {
        Some(share) => write(conn, vec![share_name(dmid, share)]),
        None => Ok(()),
    }
}

/// Nobody relies on the domain or its classes until this transaction ends, or this transaction is rolled back.
pub(super) fn own_domain(conn: &mut StoreConnection, dmid: Dmid) -> StoreResult<()> {
    match SHARE.get() {
        Some(_) => write(conn, (0..SHARES).map(|share| share_name(dmid, share)).collect()),
        None => Ok(()),
    }
}

/// The status of the device is this transaction's.
pub(super) fn device(conn: &mut StoreConnection, devid: DevId) -> StoreResult<()> {
    exclusive(conn, || format!("device:{devid}"))
}

/// The shared settings are this transaction's.
pub(super) fn settings(conn: &mut StoreConnection) -> StoreResult<()> {
    exclusive(conn, || "settings".to_owned())
}

/// The tree of paths of the domain is this transaction's.
pub(super) fn paths(conn: &mut StoreConnection, dmid: Dmid) -> StoreResult<()> {
    exclusive(conn, || format!("paths:{dmid}"))
}

fn share_name(dmid: Dmid, share: u32) -> String {
    format!("domain:{dmid}:{share}")
}

fn exclusive(conn: &mut StoreConnection, name: impl FnOnce() -> String) -> StoreResult<()> {
    match SHARE.get() {
        Some(_) => write(conn, vec![name()]),
        None => Ok(()),
    }
}

/// Another value each time: a row that stays as it was is not replicated.
fn write(conn: &mut StoreConnection, names: Vec<String>) -> StoreResult<()> {
    let rows: Vec<_> = names.into_iter().map(|name| (hold::name.eq(name), hold::writes.eq(Int(1)))).collect();
    let once_more = hold::writes.eq(plus(hold::writes, Int(1)));
    match conn {
        #[cfg(feature = "mysql")]
        StoreConnection::Mysql(c) => {
            diesel::insert_into(hold::table)
                .values(&rows)
                .on_conflict(diesel::dsl::DuplicatedKeys)
                .do_update()
                .set(once_more)
                .execute(c)?;
            Ok(())
        }
        // Their locks are everybody's.
        _ => {
            let _ = (rows, once_more);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_are_written_in_their_scope_only() {
        assert_eq!(SHARE.get(), None);
        let outer = WritesHolds::with_share(SHARES + 3);
        assert_eq!(SHARE.get(), Some(3));
        drop(WritesHolds::with_share(4));
        assert_eq!(SHARE.get(), Some(3));
        drop(outer);
        assert_eq!(SHARE.get(), None);
        assert!(choose_share() < SHARES);
    }
}
