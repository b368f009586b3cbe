//! Who waits for copies of a file is told when one was recorded by this tracker.
//!
//! A hint, never the truth: other trackers record copies too, so a waiter looks into the database from time to time anyway.

use crate::ids::Fid;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The shared handle. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct CopyNotices {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Kept beside the map so that telling costs nothing while nobody waits.
    waiting: AtomicUsize,
    by_fid: Mutex<HashMap<Fid, Waiters>>,
}

#[derive(Debug, Default)]
struct Waiters {
    count: usize,
    notify: Arc<Notify>,
}

impl Shared {
    fn by_fid(&self) -> MutexGuard<'_, HashMap<Fid, Waiters>> {
        self.by_fid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CopyNotices {
    /// From now on this waiter is told of copies of the file.
    pub fn listen(&self, fid: Fid) -> CopyListener {
        let mut by_fid = self.shared.by_fid();
        let waiters = by_fid.entry(fid).or_default();
        waiters.count += 1;
        self.shared.waiting.fetch_add(1, Ordering::AcqRel);
        CopyListener { shared: self.shared.clone(), fid, notify: waiters.notify.clone() }
    }

    /// A copy of the file was recorded.
    pub fn tell(&self, fid: Fid) {
        if self.shared.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Some(waiters) = self.shared.by_fid().get(&fid) {
            waiters.notify.notify_waiters();
        }
    }
}

/// One waiter; stops listening when dropped.
#[derive(Debug)]
pub struct CopyListener {
    shared: Arc<Shared>,
    fid: Fid,
    notify: Arc<Notify>,
}

impl CopyListener {
    /// Ends with the next notice after this call. Call it before looking into the database, await it afterwards: then no
    /// notice is missed.
    pub fn next(&self) -> tokio::sync::futures::Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for CopyListener {
    fn drop(&mut self) {
        let mut by_fid = self.shared.by_fid();
        if let Some(waiters) = by_fid.get_mut(&self.fid) {
            waiters.count -= 1;
            if waiters.count == 0 {
                by_fid.remove(&self.fid);
            }
        }
        self.shared.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[test]
    fn only_those_who_wait_for_the_file_are_told() {
        let notices = CopyNotices::default();
        let (first, other) = (notices.listen(Fid(1)), notices.listen(Fid(2)));
        let (mut told, mut not_told) = (Box::pin(first.next()), Box::pin(other.next()));
        notices.tell(Fid(1));
        assert!(told.as_mut().now_or_never().is_some());
        assert!(not_told.as_mut().now_or_never().is_none());
        drop((told, not_told));
        drop((first, other));
        assert!(notices.shared.by_fid().is_empty());
        assert_eq!(notices.shared.waiting.load(Ordering::Acquire), 0);
    }
}
