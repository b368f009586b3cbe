//! `/metrics`: everything that this tracker counts or knows, in the text format of Prometheus.
//!
//! Whoever scrapes costs the tracker next to nothing: counters are read as they are, and what the database must be asked
//! for is shared with the web page and at most so often renewed ([`super::page::figures`]).

pub mod cluster;
pub mod process;
pub mod text;
pub mod tracker;

use super::page::figures::Figures;
use crate::cluster::ClusterView;
use crate::metrics::Metrics;
use crate::store::Store;
use text::{Exposition, Kind};

/// Where the figures come from.
pub struct Exporter {
    pub metrics: Metrics,
    pub view: ClusterView,
    pub store: Store,
    pub min_free_space_mb: i64,
}

impl Exporter {
    /// The whole text.
    pub async fn text(&self, figures: &Figures) -> String {
        let latest = figures.latest().await;
        let mut text = Exposition::default();
        let build = [("version", crate::tracker::VERSION), ("database", self.store.backend().name())];
        text.family(Kind::Gauge, "build_info", "1; the labels say what runs.").sample(&build, 1);
        tracker::write_counters(&mut text, &self.metrics);
        tracker::write_database(&mut text, &self.store);
        tracker::write_figures(&mut text, &latest);
        cluster::write(&mut text, &self.view.load_full(), self.min_free_space_mb);
        process::write(&mut text);
        text.into_text()
    }
}
