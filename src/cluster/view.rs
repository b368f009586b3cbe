//! The one handle to the latest [`ClusterSnapshot`]. Readers take no lock and send no message; only the Monitor (and
//! local changes that it makes known) replaces the snapshot.

use super::ClusterSnapshot;
use arc_swap::{ArcSwap, Guard};
use std::sync::Arc;

/// A cloneable handle; all clones see the same snapshot.
#[derive(Clone, Default)]
pub struct ClusterView {
    latest: Arc<ArcSwap<ClusterSnapshot>>,
}

impl ClusterView {
    /// A view that starts with this snapshot.
    pub fn new(snapshot: ClusterSnapshot) -> Self {
        Self { latest: Arc::new(ArcSwap::from_pointee(snapshot)) }
    }

    /// The latest snapshot, cheaply; do not hold it across an await (use [`ClusterView::load_full`]).
    pub fn load(&self) -> Guard<Arc<ClusterSnapshot>> {
        self.latest.load()
    }

    /// The latest snapshot, to keep.
    pub fn load_full(&self) -> Arc<ClusterSnapshot> {
        self.latest.load_full()
    }

    /// Replaces the snapshot for all readers at once.
    pub fn publish(&self, snapshot: ClusterSnapshot) {
        self.latest.store(Arc::new(snapshot));
    }
}
